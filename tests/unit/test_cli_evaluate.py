"""`sartutor evaluate`: any folder with masks of objects becomes one report; what does not fit is one line, exit 2."""

import json
import subprocess
import sys

import numpy as np
import pytest
from affine import Affine
from evaluating import disc, pair, write_folder

from sartutor import cli

SIDE = 72
KEYS = {"model", "split", "prompt", "objects", "images", "pooled", "empty", "baselines", "seconds"}
SCORES = {"iou", "precision", "recall", "f1"}


def run(*arguments) -> int:
    return cli.main(["evaluate", *map(str, arguments), "--device", "cpu"])


def report_of(capsys, *arguments):
    assert run(*arguments, "--json") == 0
    said = capsys.readouterr()
    return json.loads(said.out, parse_constant=pytest.fail)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    masks = {
        "test-a": disc((SIDE, SIDE), 30, 36, 11),
        "test-b": np.zeros((SIDE, SIDE)),
        "train-c": np.ones((4, 4)),
    }
    images = {id: (pair(mask), mask) for id, mask in masks.items()}
    write_folder(tmp_path_factory.mktemp("data"), images)
    return tmp_path_factory.getbasetemp() / "data0"


@pytest.fixture(scope="module")
def report(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "new" / "report.json"
    assert run(folder, "--split", "test", "--report", out) == 0
    return json.loads(out.read_text(), parse_constant=pytest.fail)


def test_the_report_has_what_other_programs_read(report):
    assert set(report) >= KEYS
    assert (report["model"], report["split"], report["prompt"]) == ("sam_tiny_base", "test", "box")
    assert set(report["baselines"]) == {"fill_box", "otsu_box"}
    for found in (report, *report["baselines"].values()):
        assert (found["objects"]["n"], found["images"]["n"], found["empty"]["n"]) == (1, 1, 1)
        assert isinstance(found["empty"]["false_positive_pixels"], int)
        for kind in ("objects", "images", "pooled"):
            assert set(found[kind]) >= SCORES
            assert all(0 <= found[kind][name] <= 1 for name in SCORES)
    assert report["seconds"] > 0


def test_the_baselines_are_worth_what_the_drawing_says(report):
    filled, otsu = report["baselines"]["fill_box"], report["baselines"]["otsu_box"]
    mask = disc((SIDE, SIDE), 30, 36, 11)
    assert filled["objects"]["iou"] == pytest.approx(mask.sum() / 23**2)
    assert filled["objects"]["recall"] == 1
    assert filled["empty"]["false_positive_pixels"] == SIDE**2
    assert otsu["objects"]["iou"] > 0.9


def test_a_prompt_is_seeded_and_the_file_says_what_is_printed(folder, tmp_path, capsys):
    options = (folder, "--prompt", "jitter", "--model", "sam_tiny_base")
    first = report_of(capsys, *options, "--seed", 1, "--report", tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text()) == first
    again, other = (report_of(capsys, *options, "--seed", seed) for seed in (1, 2))
    del first["seconds"], again["seconds"]
    assert first == again
    assert other["baselines"]["fill_box"]["images"] != first["baselines"]["fill_box"]["images"]


def test_people_read_a_table(folder, capsys):
    assert run(folder, "--prompt", "full", "--least-pixels", 500) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said[1:4]] == ["sam_tiny_base", "fill_box", "otsu_box"]
    assert said[1].split()[1] == "-"  # no object is that large
    assert said[4].startswith("0 objects in 1 images; ")


def test_any_folder_of_pictures_will_do(tmp_path, capsys):
    """8-bit pictures of one band, masks of {0, 1} and {0, 255}, no coordinates, odd sizes, larger than the model."""
    images = {}
    for number, shape in enumerate([(40, 64), (300, 280), (33, 29)]):
        mask = disc(shape, shape[0] // 2, shape[1] // 2, 9)
        grey = np.random.default_rng(number).normal(90, 12, shape) + 70 * mask
        images[f"test-{number}"] = (grey.clip(0, 255).astype(np.uint8), mask * (255 if number else 1))
    write_folder(tmp_path / "new", images, ("grey",), "1", place=(Affine.identity(), None))
    found = report_of(capsys, tmp_path / "new")
    assert (found["objects"]["n"], found["images"]["n"]) == (3, 3)
    assert found["baselines"]["otsu_box"]["objects"]["iou"] > 0.9
    assert found["objects"]["iou"] > 0.5


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--split", "exam"], "no image in split 'exam'; it has test, train"),
        (["--prompt", "word"], "no prompt 'word'; use one of box, jitter, full"),
        (["--model", "sam_huge"], "no model 'sam_huge'; use one of sam_tiny_base"),
        (["--model", "none.safetensors"], "no checkpoint none.safetensors"),
        (["--least-pixels", "0"], "--least-pixels"),
        (["--seed", "-1"], "--seed"),
        (["--colour", "blue"], "--colour"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(folder, tmp_path, capsys, options, says):
    assert run(folder, *options, "--report", tmp_path / "a.json") == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert says in said.err
    assert said.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_device_that_is_not_there(folder, capsys):
    assert cli.main(["evaluate", str(folder), "--device", "abacus"]) == 2
    assert "no device 'abacus'" in capsys.readouterr().err


def test_help_needs_no_torch():
    code = "import sys; from sartutor.cli import main; main(['evaluate', '--help']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
