"""`sartutor pretrain`: a folder in any units becomes a checkpoint; what does not fit is one line and exit code 2."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from sartutor import cli
from sartutor.learn.checkpoints import load_tensors
from sartutor.learn.curves import read_curve
from sartutor.learn.pretrain import load_pretrained
from sartutor.sar.folder import DatasetWriter, Description, Entry
from sartutor.sar.scene import Band, Grid, Scene
from sartutor.sim.landcover import Domain, landcover_scene

SIDE = 96


def write_folder(folder, bands, images=2):
    """Simulated land cover as a folder of bands named as given, in power; without labels of pixels."""
    described = [{"name": name, "units": "power"} for name in bands]
    writer = DatasetWriter(folder, Description.model_validate({"bands": described}))
    for index in range(images):
        scene, _ = landcover_scene(index, Domain("plains", "VV+VH", None, "sentinel1", "C"), SIDE)
        pixels = np.stack([scene.pixels[i % len(scene.pixels)] for i in range(len(bands))]).astype(np.float32)
        grid = Grid(scene.grid.transform, None, SIDE, SIDE)
        made = Scene(pixels, tuple(Band(name, "power", "sigma0") for name in bands), grid, scene.valid)
        writer.write(str(index), made)
    writer.finish([Entry(str(index), "train", str(index)) for index in range(images)])
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("data"), ("VV", "VH"))


def run(*arguments) -> int:
    return cli.main(["pretrain", *map(str, arguments)])


def test_a_finished_checkpoint_is_not_written_over(folder, tmp_path, capsys):
    out = tmp_path / "a.safetensors"
    out.write_bytes(b"mine")
    assert run(folder, "--method", "mixmae", "--preset", "smoke", "--out", out) == 2
    assert "a.safetensors is there and complete; choose another name" in capsys.readouterr().err
    assert out.read_bytes() == b"mine"


def test_a_folder_becomes_a_checkpoint_that_says_what_it_is(folder, tmp_path, capsys):
    out = tmp_path / "new" / "a.safetensors"
    options = ("--method", "mixmae", "--preset", "smoke", "--out", out, "--device", "cpu")
    assert run(folder, *options, "--weighting", "shared_avg", "--seed", 3, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report) == {"out", "steps", "seconds", "loss", "baseline"}
    assert report["out"] == str(out)
    assert report["loss"] == pytest.approx(report["baseline"], rel=0.3)
    about = load_tensors(out)[1]
    expected = {
        "kind": "mixmae",
        "backbone": "swin",
        "architecture": "smoke",
        "bands": ["VV", "VH"],
        "seed": 3,
    }
    assert expected.items() <= about.items()
    assert about["rule"]["mode"] == "shared_avg"
    assert len(read_curve(out).loss) == about["step"] == report["steps"]
    assert load_pretrained(out).features(torch.zeros(1, 2, 64, 64))[0].shape[0] == 1


def test_simmim_starts_from_a_checkpoint_and_says_what_it_came_to(folder, tmp_path, capsys):
    parent, out = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    options = ("--method", "simmim", "--backbone", "swin", "--preset", "smoke", "--device", "cpu")
    assert run(folder, *options, "--out", parent) == 0
    assert "predicting the mean" in capsys.readouterr().out
    assert run(folder, *options, "--out", out, "--init", parent) == 0
    assert load_tensors(out)[1]["parent"]
    assert read_curve(out).loss[0] < read_curve(parent).loss[0]


def test_a_branch_takes_the_bands_of_its_encoder(tmp_path):
    six = write_folder(tmp_path / "six", ("VV0", "VV1", "height", "VH0", "VH1", "slope"))
    options = ("--method", "simmim", "--backbone", "swin", "--preset", "smoke", "--device", "cpu")
    for branch, bands in (("primary", ["VV0", "VV1", "height"]), ("secondary", ["VH0", "VH1", "slope"])):
        out = tmp_path / f"{branch}.safetensors"
        assert run(six, *options, "--branch", branch, "--out", out) == 0
        assert load_tensors(out)[1]["bands"] == bands


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--method", "mixmae", "--branch", "third"], "no branch 'third'; use one of primary, secondary"),
        (["--method", "mixmae", "--branch", "secondary"], "names no bands for the secondary encoder"),
        (["--method", "mae"], "no method 'mae'; use one of simmim, mixmae"),
        (["--method", "mixmae", "--backbone", "sam"], "use `--method simmim --backbone sam`"),
        (["--method", "simmim", "--backbone", "resnet"], "no backbone 'resnet'"),
        (["--method", "mixmae", "--preset", "huge"], "no preset 'huge'"),
        (["--method", "mixmae", "--weighting", "heavy"], "'heavy'; use one of"),
        (["--method", "mixmae", "--strength", "-1"], "strength"),
        (["--method", "mixmae", "--device", "abacus"], "abacus"),
        (["--method", "mixmae", "--colour", "blue"], "--colour"),
        ([], "--method"),
        (["--method", "simmim", "--backbone", "swin", "--preset", "laptop"], "less than a chip of 128 x 128"),
        (["--method", "mixmae", "--init", "none.safetensors"], "no checkpoint none.safetensors"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(folder, tmp_path, capsys, options, says):
    more = [] if "--preset" in options else ["--preset", "smoke"]
    assert run(folder, *options, *more, "--out", tmp_path / "a.safetensors") == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert says in said.err
    assert said.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "says"), [("a.pth", "ends in .safetensors"), ("x/a.safetensors", "cannot write")]
)
def test_a_checkpoint_without_a_place_is_refused_before_the_work(folder, tmp_path, capsys, name, says):
    (tmp_path / "x").write_text("")
    assert run(folder, "--method", "mixmae", "--preset", "smoke", "--out", tmp_path / name) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1


def test_help_and_refusals_need_no_torch():
    code = "import sys; from sartutor.cli import main; main(['pretrain', '--help']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
