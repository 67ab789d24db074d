"""The command line: what it prints, its exit codes, and how fast it starts."""

import errno
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio

from sartutor import __version__, catalog, cli
from sartutor.errors import DataError
from sartutor.presets import BenchmarkSizes
from sartutor.sim.benchmark import write_benchmark

START_SECONDS = 0.3


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SARTUTOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SARTUTOR_MIRROR", raising=False)
    return tmp_path / "cache"


def complaint(capsys, *arguments):
    """The one line on standard error with which the arguments are refused."""
    assert cli.main(list(arguments)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    return line


def run(code):
    """Run Python with the package in a new process; returns its standard output."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help_names_the_commands(capsys, arguments):
    assert cli.main(arguments) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {name} " in out for name in ("lab", "doctor", "fetch", "mirror"))


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["nix"], "see `sartutor --help`"),
        (["fetch"], "--list"),
        (["fetch", "--frob"], "see `sartutor fetch --help`"),
        (["fetch", "xyzzy"], "sartutor fetch --list"),
        (["fetch", "sam_vit_b"], "sam-vit-b"),
        (["fetch", "mmflood"], "--from PATH"),
        (["fetch", "mmflood", "--from", "/nowhere"], "There is no"),
        (["mirror"], "see `sartutor mirror --help`"),
        (["mirror", "DIR"], "see `sartutor mirror --help`"),
        (["mirror", "DIR", "mmflood"], "cannot be mirrored"),
        (["lab", "--port", "80"], "--port"),
        (["lab", "--port", "many"], "--port"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "hint",
)
def test_bad_input_is_one_line_and_code_2(capsys, arguments, hint):
    line = complaint(capsys, *arguments)
    assert line.startswith("sartutor: ")
    assert hint in line


def failing(error):
    def fetch(*_arguments):
        raise error

    return fetch


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (DataError("two\nlines."), "two lines."),
        (
            OSError(errno.ENOSPC, "No space left on device", "/data/x"),
            "/data/x: No space left on device; free some",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "/data/x"), "/data/x: Permission denied; check"),
        (OSError("gone"), "gone"),
    ],
)
def test_an_error_inside_is_one_line_and_code_2(capsys, monkeypatch, error, hint):
    monkeypatch.setattr(catalog, "fetch", failing(error))
    assert hint in complaint(capsys, "fetch", "sam-vit-b")


def test_an_interrupt_is_one_line_and_code_130(capsys, monkeypatch):
    monkeypatch.setattr(catalog, "fetch", failing(KeyboardInterrupt()))
    assert cli.main(["fetch", "sam-vit-b"]) == 130
    assert capsys.readouterr().err.splitlines() == ["sartutor: interrupted."]


def test_a_defect_is_not_hidden(monkeypatch):
    monkeypatch.setattr(catalog, "fetch", failing(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        cli.main(["fetch", "sam-vit-b"])


def test_the_list_shows_every_item(capsys):
    assert cli.main(["fetch", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(catalog.items())
    assert cli.main(["fetch", "--list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed["sam-vit-b"]["files"][0]["bytes"] == 375_042_383
    assert listed["sam-vit-b"]["here"] is False


def test_from_registers_a_folder(capsys, tmp_path):
    (tmp_path / "mmflood").mkdir()
    (tmp_path / "mmflood" / "activations.json").write_text("{}")
    assert cli.main(["fetch", "mmflood", "--from", str(tmp_path / "mmflood"), "--json"]) == 0
    capsys.readouterr()
    assert cli.main(["fetch", "mmflood", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["files"] == {"activations.json": str(tmp_path / "mmflood" / "activations.json")}
    assert found["licence"].startswith("MIT")


@pytest.mark.parametrize("place", ["~nobody-of-this-name/x", "file"])
@pytest.mark.parametrize("variable", ["SARTUTOR_CACHE", "SARTUTOR_MIRROR"])
def test_a_cache_or_mirror_that_is_no_folder_is_named(capsys, tmp_path, monkeypatch, variable, place):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mirror").mkdir()
    for name in ("file", "~nobody-of-this-name"):
        (tmp_path / name).touch()
    monkeypatch.setenv("SARTUTOR_MIRROR", "mirror")
    monkeypatch.setenv(variable, place)
    assert place.split("/")[0] in complaint(capsys, "fetch", "sen1floods11-spain")


@pytest.mark.mirror
def test_fetch_and_mirror_from_a_mirror(capsys, tmp_path, monkeypatch, mirror: Path):
    monkeypatch.setenv("SARTUTOR_MIRROR", str(mirror))
    assert cli.main(["fetch", "sen1floods11-spain", "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert all(Path(path).is_file() for path in json.loads(out)["files"].values())
    assert cli.main(["mirror", str(tmp_path / "stick"), "avaframe-alr"]) == 0
    assert (tmp_path / "stick" / "avaframe-alr" / "avaAlr.tif").is_file()


def seconds_of(code):
    """The best of three runs of `code` in new processes, measured inside."""
    timed = f"import time; t = time.perf_counter(); {code}; print(time.perf_counter() - t)"
    return min(float(run(timed).split()[-1]) for _ in range(3))


def test_import_is_fast_and_light():
    assert seconds_of("import sartutor") < START_SECONDS
    loaded = run("import sys, sartutor; print(*sys.modules)").split()
    assert not {"torch", "leafmap", "numpy", "rasterio"} & set(loaded)


def test_help_is_fast_and_light():
    loaded = run("import sys, sartutor.cli as c; c.main(['--help']); print(*sys.modules)").split()
    assert not {"torch", "leafmap", "numpy", "rasterio", "pydantic"} & set(loaded)
    started = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "sartutor.cli", "--help"], check=True, capture_output=True, timeout=60
    )
    assert time.monotonic() - started < 10 * START_SECONDS


def test_a_closed_pipe_ends_quietly():
    command = f"{sys.executable} -m sartutor.cli fetch --list | head -n 1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=True)
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


def test_check_counts_the_images_of_a_folder_and_says_what_is_strange(tmp_path, capsys):
    folder = write_benchmark(tmp_path / "folder", 1, BenchmarkSizes(64, 2, 1, 1), progress=False).folder
    assert cli.main(["check", str(folder)]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == ["nothing strange found"]
    with rasterio.open(
        folder / "images" / next(path.name for path in (folder / "images").iterdir()), "r+"
    ) as file:
        file.write(np.full(file.shape, -12, np.float32), 1)
    assert cli.main(["check", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert sum(found["images"].values()) == 4
    assert "has one value everywhere" in found["doubts"][0]


def test_check_names_a_broken_file(tmp_path, capsys):
    folder = write_benchmark(tmp_path / "folder", 1, BenchmarkSizes(64, 2, 1, 1), progress=False).folder
    broken = next((folder / "masks").iterdir())
    broken.write_bytes(b"")
    assert broken.name in complaint(capsys, "check", str(folder))
