"""`sartutor segment`: mask, outlines and report on all kinds of grids; bad input ends with exit code 2 and one line."""

import json

import geopandas
import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasters import write

from sartutor import cli
from sartutor.learn.checkpoints import save_tensors
from sartutor.learn.models import load_model
from sartutor.learn.sam.adapted import AdaptedSam
from sartutor.sar.footprint import bounds
from sartutor.sar.geotiff import open_scene, write_scene
from sartutor.sar.scene import Grid, Scene
from sartutor.sim import shapes


def save(folder, crs="EPSG:32632", bands=("VV", "VH"), name="scene.tif", change=None) -> tuple:
    scene, _ = shapes.scene(11, bands, crs, size=256)
    scene = change(scene) if change else scene
    write_scene(scene, folder / name)
    return folder / name, scene


def box_of(scene: Scene, x0: float, y0: float, x1: float, y1: float) -> list[str]:
    corners = [scene.grid.transform * point for point in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))]
    xs, ys = zip(*corners, strict=True)
    return [str(v) for v in (min(xs), min(ys), max(xs), max(ys))]


def run(*arguments) -> int:
    return cli.main(["segment", *map(str, arguments)])


@pytest.mark.parametrize("names", [("VV", "h"), ("vv", "H"), ("B1", "B2")])
def test_units_that_are_not_stated_are_those_that_the_model_learned(tmp_path, capsys, names):
    values = np.random.default_rng(0).uniform(0.1, 0.3, (2, 96, 96)).astype(np.float32)
    values[:, 30:60, 30:60] *= 3
    values[1] = values[1] * 30 - 8  # heights, a part of them below the sea
    path = write(tmp_path / "s.tif", values, descriptions=names)
    sam = AdaptedSam(load_model("sam_tiny_base").sam, 1)
    header = {"kind": "adapted_sam", "architecture": "tiny", "base": "sam_tiny_base", "phases": [1]}
    header |= {"activation": "gelu", "fusion": "gate", "tuning": "adapters", "scales": ["chip"]}
    header |= {"base_digest": load_model("sam_tiny_base").digest, "bands": ["VV", "h"]}
    header |= {"branches": [[["VV", -25, 0], ["h", -10, 30]]], "units": {"VV": "amplitude", "h": "m"}}
    save_tensors(tmp_path / "own.safetensors", sam.state_dict(), header)
    box = box_of(open_scene(path), 25, 25, 65, 65)
    said = ("--model", tmp_path / "own.safetensors", "--box", *box, "--json")
    assert run(path, *said, "--out", tmp_path / "m.tif") == 0
    notes = json.loads(capsys.readouterr().out)["notes"]
    assert f"{names[0]}: units taken as amplitude, as the model learned it." in notes
    assert f"{names[1]}: units taken as m, as the model learned it." in notes


@pytest.mark.parametrize(
    ("likely", "found"), [("dn", "db"), ("power", "db"), ("complex", "db"), ("db", "db"), ("m", "m")]
)
def test_values_may_speak_against_the_units_that_are_likely(tmp_path, likely, found):
    values = np.random.default_rng(0).normal(-12, 3, (96, 96)).astype(np.float32)
    path = write(tmp_path / "s.tif", values, descriptions=("VV",))
    assert open_scene(path, likely=lambda names: [likely]).bands[0].units == found


def rotated(scene: Scene) -> Scene:
    transform = scene.grid.transform * Affine.rotation(25)
    grid = Grid(transform, scene.grid.crs, *scene.grid.shape)
    return Scene(scene.pixels, scene.bands, grid, scene.valid, scene.name)


@pytest.mark.parametrize(
    ("crs", "change"),
    [("EPSG:32632", None), ("EPSG:4326", None), ("EPSG:31287", None), ("EPSG:32632", rotated), (None, None)],
)
def test_mask_is_on_the_source_grid_and_the_report_is_whole(tmp_path, capsys, crs, change):
    path, scene = save(tmp_path, crs, change=change)
    place = box_of(scene, 60, 80, 120, 130)
    out, vector = tmp_path / "mask.tif", tmp_path / "out.gpkg"
    assert run(path, "--box", *place, "--out", out, "--vector", vector, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    with rasterio.open(out) as mask:
        values = mask.read(1)
        assert mask.dtypes == ("uint8",)
        assert mask.nodata == 255
        assert mask.crs == scene.grid.crs
        assert mask.transform.almost_equals(scene.grid.transform)
        assert values.shape == scene.grid.shape
    assert set(np.unique(values)) == {0, 1}
    assert (values == 1).sum() == report["objects"][0]["pixels"] > 0
    assert set(report) >= {"mask", "vector", "model", "seconds", "objects"}
    assert set(report["objects"][0]) == {"box", "score", "pixels", "area_m2"}
    assert report["model"] == "sam_tiny_base"
    outlines = geopandas.read_file(vector)
    assert len(outlines) == 1
    assert outlines.geometry.is_valid.all()
    if crs:
        expected = report["objects"][0]["pixels"] * (100 if crs != "EPSG:4326" else 84.3)
        assert report["objects"][0]["area_m2"] == pytest.approx(expected, rel=0.01)
        assert CRS.from_wkt(outlines.crs.to_wkt()) == scene.grid.crs


def test_boxes_in_another_crs_and_several_boxes_make_a_union(tmp_path, capsys):
    path, scene = save(tmp_path)
    west, south, east, north = bounds(scene.grid, CRS.from_epsg(4326))
    x, y = np.linspace(west, east, 6), np.linspace(south, north, 6)
    first, second = (x[1], y[1], x[3], y[3]), (x[2], y[2], x[4], y[4])
    out = tmp_path / "mask.tif"
    assert run(path, "--box", *first, "--box", *second, "--box-crs", "EPSG:4326", "--out", out, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    pixels = [found["pixels"] for found in report["objects"]]
    total = (rasterio.open(out).read(1) == 1).sum()
    assert max(pixels) <= total <= sum(pixels)


def test_several_files_are_the_bands_of_one_scene(tmp_path, capsys):
    _, scene = save(tmp_path)
    for name in ("VV", "VH"):
        write_scene(scene.select((name,)), tmp_path / f"{name}.tif")
    place = box_of(scene, 60, 80, 120, 130)
    for number, files in enumerate(([tmp_path / "scene.tif"], [tmp_path / "VV.tif", tmp_path / "VH.tif"])):
        assert run(*files, "--box", *place, "--out", tmp_path / f"{number}.tif") == 0
    assert np.array_equal(rasterio.open(tmp_path / "0.tif").read(), rasterio.open(tmp_path / "1.tif").read())


def test_no_data_is_255(tmp_path):
    def cut(scene: Scene) -> Scene:
        scene.valid[:40] = False
        return scene

    path, scene = save(tmp_path, change=cut)
    assert run(path, "--box", *box_of(scene, 60, 20, 120, 90), "--out", tmp_path / "mask.tif") == 0
    values = rasterio.open(tmp_path / "mask.tif").read(1)
    assert (values[:40] == 255).all()
    assert (values[40:] != 255).all()


INSIDE, OUTSIDE = (60, 80, 120, 130), (600, 80, 700, 130)


@pytest.mark.parametrize(
    ("pixels", "extra", "says"),
    [
        (OUTSIDE, [], "scene.tif; draw it within"),
        ((60, 80, 60, 130), [], "zero area"),
        ((60, 80, 60.2, 130), [], "thinner than one pixel"),
        (INSIDE, ["--model", "nothing.safetensors"], "nothing.safetensors"),
        (INSIDE, ["--model", "sam_giant"], "sam_giant"),
        (INSIDE, ["--box-crs", "EPSG:hello"], "EPSG:hello"),
        (INSIDE, ["--vector", "/proc/none/out.gpkg"], "out.gpkg"),
        (INSIDE, ["--colour", "blue"], "--colour"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(tmp_path, capsys, pixels, extra, says):
    path, scene = save(tmp_path)
    out = tmp_path / "mask.tif"
    assert run(path, "--box", *box_of(scene, *pixels), "--out", out, *extra) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert says in said.err
    assert said.err.count("\n") == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["scene.tif"]


def test_an_unwritable_mask_is_named(tmp_path, capsys):
    path, scene = save(tmp_path)
    assert run(path, "--box", *box_of(scene, *INSIDE), "--out", tmp_path / "none" / "mask.tif") == 2
    assert "mask.tif" in capsys.readouterr().err


def test_four_bands_are_refused_with_the_cure(tmp_path, capsys):
    path, scene = save(tmp_path, bands=("A", "B", "C", "D"))
    assert run(path, "--box", *box_of(scene, *INSIDE), "--out", tmp_path / "mask.tif") == 2
    assert "at most 3" in capsys.readouterr().err


def test_a_box_crs_on_a_scene_without_crs_is_refused(tmp_path, capsys):
    path, scene = save(tmp_path, None)
    out = tmp_path / "mask.tif"
    assert run(path, "--box", *box_of(scene, *INSIDE), "--box-crs", "EPSG:4326", "--out", out) == 2
    assert "no coordinate reference system" in capsys.readouterr().err


@pytest.mark.mirror
def test_the_spain_chip_gives_a_mask_on_its_own_grid(mirror, tmp_path, capsys):
    chip = mirror / "sen1floods11-spain" / "Spain_7370579_S1Hand.tif"
    box = ("-0.7650", "38.0950", "-0.7550", "38.1050")
    out, vector = tmp_path / "mask.tif", tmp_path / "out.gpkg"
    assert run(chip, "--box", *box, "--out", out, "--vector", vector, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    with rasterio.open(out) as mask, rasterio.open(chip) as source:
        assert mask.transform == source.transform
        assert mask.crs == source.crs == CRS.from_epsg(4326)
        assert mask.shape == source.shape
    assert geopandas.read_file(vector).crs.to_epsg() == 4326
    assert report["objects"][0]["area_m2"] == pytest.approx(report["objects"][0]["pixels"] * 78.5, rel=0.05)
