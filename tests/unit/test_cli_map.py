"""`sartutor map`: a scene becomes a map of classes; bad input ends with exit code 2 and one line."""

import json

import pytest
import rasterio

from sartutor import cli
from sartutor.sar.geotiff import write_scene
from sartutor.sim import shapes


def run(*arguments) -> int:
    return cli.main(["map", *map(str, arguments)])


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    path = tmp_path_factory.mktemp("scene") / "scene.tif"
    write_scene(shapes.scene(3, ("VV", "VH"), "EPSG:32632", size=200)[0], path)
    return path


def test_a_scene_becomes_a_map(scene, tmp_path, capsys):
    out = tmp_path / "map.tif"
    assert run(scene, "--out", out, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["map"], report["model"]) == (str(out), "generalist_moe")
    with rasterio.open(out) as file, rasterio.open(scene) as source:
        assert (file.shape, file.crs, file.transform) == (source.shape, source.crs, source.transform)
        codes = file.read(1)
    assert sum(report["pixels"].values()) == (codes != 255).sum() == 200 * 200
    assert run(scene, "--out", out) == 0
    assert "cropland" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--overlap", 128), "overlap"),
        (("--model", "sam_tiny_base"), "sam_tiny_base"),
        (("--device", "moon"), "moon"),
    ],
)
def test_bad_input_is_one_line(scene, tmp_path, capsys, words, said):
    assert run(scene, "--out", tmp_path / "map.tif", *words) == 2
    complaint = capsys.readouterr().err.strip()
    assert "\n" not in complaint
    assert said in complaint
    assert not (tmp_path / "map.tif").exists()


def test_a_damaged_scene_or_a_full_folder_leaves_no_map(scene, tmp_path, capsys):
    cut = tmp_path / "cut.tif"
    cut.write_bytes(scene.read_bytes()[:60_000])
    for words in ((cut, "--out", tmp_path / "map.tif"), (scene, "--out", "/dev/null/map.tif")):
        assert run(*words) == 2
        complaint = capsys.readouterr().err.strip()
        assert complaint.startswith("sartutor: ")
        assert "\n" not in complaint
    assert list(tmp_path.iterdir()) == [cut]
