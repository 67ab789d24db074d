"""`sartutor segment` in clumsy hands: exit code 2 and one sentence, inputs and older results as they were."""

import json
import os
import resource
import warnings

import geopandas
import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import Transformer
from rasterio.crs import CRS
from rasters import HERE, write
from safetensors.torch import load_file, save_file
from shapely.geometry import Point

from sartutor import cli
from sartutor.learn.models import load_model

BOX = ("600700", "5198900", "601500", "5199500")
"""Around the bright patch of `decibels`."""


def decibels(count=1):
    values = np.random.default_rng(0).normal(-12, 2, (count, 200, 300)).astype(np.float32)
    values[:, 60:100, 80:140] += 9
    return values


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with the scene s.tif in it."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "s.tif", decibels())
    return tmp_path


def contents(folder):
    return {
        path.name: path.read_bytes() if path.is_file() else path.stat().st_mode for path in folder.iterdir()
    }


def segment(*arguments):
    return cli.main(["segment", *map(str, arguments)])


@pytest.fixture
def refused(folder, capfd):
    """A function that runs the command, which must end with one sentence and change nothing; gives the sentence."""

    def run(*arguments):
        before = contents(folder)
        capfd.readouterr()
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            assert segment(*arguments) == cli.BAD_INPUT
        said = capfd.readouterr()
        assert said.out == ""
        assert said.err.startswith("sartutor: ")
        assert said.err.endswith(".\n")
        assert said.err.count("\n") == 1
        assert contents(folder) == before
        return said.err

    return run


@pytest.mark.parametrize("name", ["s.tif", "./s.tif", "link.tif"])
def test_the_scene_is_never_overwritten(folder, refused, name):
    os.symlink("s.tif", folder / "link.tif")
    assert name.removeprefix("./") in refused("s.tif", "--box", *BOX, "--out", name)
    assert "s.tif" in refused("link.tif", "--box", *BOX, "--out", "s.tif")


def test_no_other_input_is_overwritten(folder, refused):
    os.rename("s.tif", "s.gpkg")
    assert "s.gpkg" in refused("s.gpkg", "--box", *BOX, "--out", "m.tif", "--vector", "s.gpkg")
    (folder / "own.tif").write_bytes(b"weights")
    assert "own.tif" in refused("s.gpkg", "--box", *BOX, "--out", "own.tif", "--model", "own.tif")


@pytest.mark.parametrize("name", ["m.tif", "m.gpkg", "m.geojson"])
def test_what_others_have_made_is_never_overwritten(folder, refused, name):
    place = ("--out", "m.tif") if name == "m.tif" else ("--out", "n.tif", "--vector", name)
    if name == "m.tif":
        write(folder / name, np.zeros((200, 300), np.uint8))
    else:
        frame = geopandas.GeoDataFrame({"mine": [1]}, geometry=[Point(1, 2)], crs="EPSG:4326")
        frame.to_file(folder / name, layer="my_digitising" if name == "m.gpkg" else None)
    assert f"{name} is there and holds what sartutor did not write" in refused("s.tif", "--box", *BOX, *place)
    (folder / name).unlink()
    for _ in range(2):  # its own results it replaces
        assert segment("s.tif", "--box", *BOX, *place) == 0


def test_the_sources_of_a_virtual_raster_are_never_overwritten(folder, refused):
    band = "<SimpleSource><SourceFilename relativeToVRT='1'>s.tif</SourceFilename></SimpleSource>"
    (folder / "v.vrt").write_text(
        "<VRTDataset rasterXSize='300' rasterYSize='200'><SRS>EPSG:32632</SRS>"
        "<GeoTransform>600000,10,0,5200000,0,-10</GeoTransform>"
        f"<VRTRasterBand dataType='Float32' band='1'>{band}</VRTRasterBand></VRTDataset>"
    )
    assert "s.tif" in refused("v.vrt", "--box", *BOX, "--out", "s.tif")
    assert segment("v.vrt", "--box", *BOX, "--out", "m.tif") == 0


@pytest.mark.parametrize(
    ("places", "says"),
    [
        (("--out", "m.png"), "m.png"),
        (("--out", ""), "ends in .tif"),
        (("--out", "."), "ends in .tif"),
        (("--out", "folder.tif"), "folder.tif"),
        (("--out", "pipe.tif"), "pipe.tif"),
        (("--out", "none/m.tif"), "none/m.tif"),
        (("--out", "s.tif/m.tif"), "s.tif/m.tif"),
        (("--out", "x" * 300 + ".tif"), "too long"),
        (("--out", "m.tif", "--vector", "m.tif"), "m.tif"),
        (("--out", "m.tif", "--vector", "m.shp"), ".gpkg or .geojson"),
        (("--out", "m.tif", "--vector", ""), "choose another name"),
        (("--out", "m.tif", "--vector", "pipe.tif"), "pipe.tif"),
    ],
)
def test_places_are_refused_before_the_work(folder, refused, monkeypatch, places, says):
    (folder / "folder.tif").mkdir()
    os.mkfifo(folder / "pipe.tif")
    monkeypatch.setattr("sartutor.learn.models.load_model", None)
    assert says in refused("s.tif", "--box", *BOX, *places)


def test_outlines_without_a_way_to_degrees_are_refused_as_geojson(folder, refused):
    moon = CRS.from_user_input("IAU_2015:30100")
    write(folder / "moon.tif", decibels(), Affine(1e-3, 0, 9, 0, -1e-3, 7), moon)
    box = ("--box", "9.08", "6.9", "9.14", "6.94", "--out", "m.tif")
    assert "m.geojson" in refused("moon.tif", *box, "--vector", "m.geojson")
    assert segment("moon.tif", *box, "--vector", "m.GPKG") == 0
    assert len(geopandas.read_file(folder / "m.GPKG", layer="masks")) == 1


@pytest.mark.parametrize(
    ("boxes", "says"),
    [
        (("--box", "1", "2", "3"), "'1 2 3' is not four numbers"),
        (("--box", *BOX, "--box", "0", "0", "1", "1"), "box 2: the box lies outside s.tif"),
        (
            ("--box", *BOX, "--box", "600700", "5198900", "600705", "5199500"),
            "box 2: s.tif: the box is thinner",
        ),
        (("--box", "-1e300", "-1e300", "1e300", "1e300"), "beyond any map"),
        (("--box", "nan", "0", "1", "1"), "not a number"),
        (("--box", *BOX, "--box-crs", "EPSG:99999999"), "no coordinate reference system"),
        (("--box", *BOX, "--box-crs", "EPSG:5773"), "no longitude or x"),
    ],
)
def test_boxes_that_cannot_be(refused, boxes, says):
    assert says in refused("s.tif", *boxes, "--out", "m.tif")


@pytest.mark.parametrize(
    ("name", "values", "transform", "says"),
    [
        ("complex.tif", (decibels() * 1j).astype(np.complex64), HERE, "complex"),
        ("constant.tif", np.full((1, 200, 300), -12, np.float32), HERE, "one value"),
        ("zero.tif", np.zeros((1, 200, 300), np.uint16), HERE, "nothing but zeros"),
        ("large.tif", decibels().astype(np.float64) * 1e200, HERE, "no data"),
        ("nowhere.tif", decibels(), Affine(10, 0, np.nan, 0, -10, 5200000), "geotransform"),
        ("four.tif", decibels(4), HERE, "at most 3"),
    ],
)
def test_rasters_that_hold_no_scene(folder, refused, name, values, transform, says):
    write(folder / name, values, transform)
    line = refused(name, "--box", *BOX, "--out", "m.tif")
    assert name in line
    assert says in line


def test_a_name_that_is_no_text_is_one_line(folder, refused):
    os.rename("s.tif", os.fsdecode(b"\xff.tif"))
    assert "rename" in refused(os.fsdecode(b"\xff.tif"), "--box", *BOX, "--out", "m.tif")


@pytest.mark.parametrize("name", ["-o", "ünï <b>&amp;a#b?c%20d 'q'\"\\ new\nline"])
def test_any_name_can_be_read_and_written(folder, name):
    (folder / name).mkdir()
    scene = folder / name / f"{name}.tif"
    os.rename("s.tif", scene)
    out, vector = folder / name / f"{name}-mask.tif", folder / name / f"{name}.gpkg"
    assert segment(scene, "--box", *BOX, "--out", out, "--vector", vector) == 0
    assert rasterio.open(out).read(1).max() == 1
    assert sorted(os.listdir(folder / name)) == sorted(path.name for path in (scene, out, vector))


def test_weights_that_are_not_numbers_are_refused(folder, refused):
    model = load_model("sam_tiny_base")
    broken = {name: (tensor * np.nan).contiguous() for name, tensor in model.sam.state_dict().items()}
    save_file(broken, "diverged.safetensors", {"sartutor": json.dumps(model.about)})
    assert load_file("diverged.safetensors").keys() == broken.keys()
    line = refused("s.tif", "--box", *BOX, "--out", "m.tif", "--model", "diverged.safetensors")
    assert "diverged.safetensors" in line


@pytest.mark.parametrize(
    ("room", "extra", "named"), [(800, (), "m.tif"), (9000, ("--vector", "m.gpkg"), "m.gpkg")]
)
def test_a_full_disk_keeps_the_older_files(folder, refused, room, extra, named):
    assert segment("s.tif", "--box", *BOX, "--out", "m.tif", "--vector", "m.gpkg") == 0
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limit[1]))
    try:
        line = refused("s.tif", "--box", *BOX, "--out", "m.tif", *extra)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert named in line


GRIDS = {
    "degrees": (Affine(1e-4, 0, 9, 0, -1e-4, 47), "EPSG:4326"),
    "utm": (HERE, "EPSG:32632"),
    "lambert": (Affine(10, 0, 400000, 0, -10, 400000), "EPSG:31287"),
    "rotated": (HERE @ Affine.rotation(30), "EPSG:32632"),
    "south up": (Affine(10, 0, 600000, 0, 10, 5198000), "EPSG:32632"),
}


@pytest.mark.parametrize("name", GRIDS)
def test_the_mask_lies_where_the_object_is(folder, name, capsys):
    """Independent of the package: pixel centres through pyproj, the box as a user reads it off a web map."""
    transform, crs = GRIDS[name]
    write(folder / "scene.tif", decibels(), transform, crs)
    to_degrees = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    corners = [
        to_degrees.transform(*(transform @ corner)) for corner in ((76, 56), (144, 56), (144, 104), (76, 104))
    ]
    longitudes, latitudes = zip(*corners, strict=True)
    box = (min(longitudes), min(latitudes), max(longitudes), max(latitudes))
    places = ("--out", "m.tif", "--vector", "m.geojson", "--json")
    assert segment("scene.tif", "--box", *box, "--box-crs", "EPSG:4326", *places) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["mask"] == "m.tif"
    assert said.err == ""
    with rasterio.open("m.tif") as mask, rasterio.open("scene.tif") as scene:
        assert (mask.transform, mask.crs, mask.shape) == (scene.transform, scene.crs, scene.shape)
        found = mask.read(1) == 1
    expected = np.zeros_like(found)
    expected[60:100, 80:140] = True
    assert (found & expected).sum() / (found | expected).sum() > 0.9
    west, south, east, north = geopandas.read_file("m.geojson").total_bounds
    rows, cols = np.nonzero(found)
    corners = [transform @ (cols + dc, rows + dr) for dc in (0, 1) for dr in (0, 1)]
    x, y = np.concatenate([to_degrees.transform(*corner) for corner in corners], axis=1)
    np.testing.assert_allclose([west, south, east, north], [x.min(), y.min(), x.max(), y.max()], atol=1e-6)
