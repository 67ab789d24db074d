"""Exports: aligned, readable by others, whole or not at all."""

from __future__ import annotations

import json
import resource
import signal
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import annotating
import geopandas
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.crs import CRS
from shapely.geometry import box

from sartutor.errors import OutputError
from sartutor.lab.annotator import Session
from sartutor.lab.annotator.degrees import in_degrees
from sartutor.lab.annotator.export import export, union, write_mask, write_vector
from sartutor.lab.annotator.provenance import provenance
from sartutor.sar.footprint import area_m2, mask_polygons
from sartutor.sar.scene import Grid

BOXES = (box(600_080, 5_199_780, 600_230, 5_199_930), box(600_150, 5_199_780, 600_320, 5_199_920))


@pytest.fixture(params=[annotating.UTM, None], ids=["utm", "no-crs"])
def session(request, tmp_path) -> Session:
    """Two objects that overlap and one in which nothing was found."""
    scene = annotating.scene(request.param)
    session = Session.open(scene, tmp_path / "kept.sqlite")
    shapes = [*BOXES, box(600_400, 5_199_700, 600_450, 5_199_750)]
    if request.param is None:
        shapes = [
            box((w - 600_000) / 10, (5_200_000 - n) / 10, (e - 600_000) / 10, (5_200_000 - s) / 10)
            for w, s, e, n in (shape.bounds for shape in shapes)
        ]
    for shape in shapes:
        session.add(annotating.annotation(scene, shape, request.param))
    return session


@contextmanager
def full_disk(room: int):
    """No file may grow beyond `room` bytes, as on a disk that is full."""
    before, old = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, old)


def test_the_mask_lies_on_the_grid_of_the_scene(session, tmp_path):
    path = write_mask(session.scene, session.objects, tmp_path / "new" / "folder" / "mask.tif")
    scene = session.scene
    with rasterio.open(path) as file:
        assert (file.crs, file.transform, file.shape) == (
            scene.grid.crs,
            scene.grid.transform,
            scene.grid.shape,
        )
        assert (file.count, file.dtypes[0], file.nodata) == (1, "uint8", 255)
        values = file.read(1)
    assert np.array_equal(values == 255, ~scene.valid)
    assert np.array_equal(values == 1, union(session.objects, scene.grid))
    assert (values == 1).sum() == 100


def test_the_geopackage_holds_masks_and_drawn_shapes(session, tmp_path):
    path = write_vector(session.scene, session.objects, tmp_path / "out.gpkg")
    masks, drawn = (geopandas.read_file(path, layer=layer) for layer in ("masks", "drawn"))
    assert masks.crs == drawn.crs == session.scene.grid.crs
    assert list(masks["id"]) == list(drawn["id"]) == [1, 2, 3]
    assert list(masks["pixels"]) == [o.pixels for o in session.objects]
    pixel = abs(session.scene.grid.transform.determinant)
    assert list(masks.area / pixel)[:2] == pytest.approx(list(masks["pixels"])[:2])
    assert masks.geometry[2] is None
    assert drawn.geometry[0].equals_exact(session.objects[0].polygon, 1e-6)


def test_geojson_is_in_degrees_and_needs_a_coordinate_reference_system(session, tmp_path):
    path = tmp_path / "out.geojson"
    if session.scene.grid.crs is None:
        with pytest.raises(OutputError, match=r"out\.geojson.*longitude and latitude"):
            write_vector(session.scene, session.objects, path)
        assert not path.exists()
        return
    write_vector(session.scene, session.objects, path)
    masks = geopandas.read_file(path)
    assert masks.crs.to_epsg() == 4326
    back = masks.to_crs(annotating.UTM.to_wkt())
    assert back.geometry[0].symmetric_difference(session.objects[0].outline).area < 1
    assert json.loads(path.read_text())["features"][0]["properties"]["model"] == "model"


def test_export_writes_all_of_it(session, tmp_path):
    endings = [
        path.suffix for path in export(session.scene, session.objects, tmp_path / "run.1" / "my.masks")
    ]
    assert endings == ([".tif", ".gpkg", ".geojson"] if session.scene.grid.crs else [".tif", ".gpkg"])
    assert sorted(path.name for path in (tmp_path / "run.1").iterdir()) == sorted(
        f"my.masks{e}" for e in endings
    )


def test_nothing_to_export_is_an_empty_export(tmp_path):
    scene = annotating.scene()
    paths = export(scene, (), tmp_path / "empty")
    with rasterio.open(paths[0]) as file:
        assert set(np.unique(file.read(1))) == {0, 255}
    assert len(geopandas.read_file(paths[1], layer="masks")) == len(geopandas.read_file(paths[2])) == 0


def test_an_ending_nobody_knows_is_refused(session, tmp_path):
    with pytest.raises(OutputError, match=r"out\.shp.*\.gpkg or \.geojson"):
        write_vector(session.scene, session.objects, tmp_path / "out.shp")


def test_what_was_rejected_stays_and_what_is_open_leaves_with_its_status(session, tmp_path):
    session.accept(1)
    session.reject(2)
    paths = export(session.scene, session.objects, tmp_path / "out", (".tif", ".gpkg", ".coco.json"))
    with rasterio.open(paths[0]) as file:
        assert (file.read(1) == 1).sum() == session.get(1).pixels
    masks = geopandas.read_file(paths[1], layer="masks")
    assert list(zip(masks["id"], masks["status"], strict=True)) == [(1, "accepted"), (3, "open")]
    assert [one["id"] for one in json.loads(paths[2].read_text())["annotations"]] == [1]


def test_a_model_that_was_asked_in_two_ways_is_named_with_both(session):
    first, *others = session.objects
    objects = [replace(first, model_digest="abc-chip"), *(replace(one, model_digest="abc") for one in others)]
    assert provenance(session.scene, objects)["models"] == {"model": "abc, abc-chip"}


def test_every_file_says_where_it_comes_from(session, tmp_path):
    known = {
        "scene": "valley",
        "scene_digest": session.digest,
        "models": {"model": "abc"},
        "annotators": ["Ada"],
    }
    objects = [replace(one, model_digest="abc", annotator="Ada") for one in session.objects]
    endings = (".tif", ".gpkg", ".geojson", ".coco.json")
    for path in export(session.scene, objects, tmp_path / "out", endings):
        found = said(path)
        assert found["software"].startswith("sartutor ")
        assert found["exported"].endswith("+00:00")
        assert {name: found[name] for name in known} == known


def said(path: Path) -> dict:
    """The provenance in a file."""
    if path.suffix == ".geojson":
        return json.loads(path.read_text())["sartutor"]
    if path.suffix == ".json":
        return json.loads(path.read_text())["info"]
    if path.suffix == ".tif":
        with rasterio.open(path) as file:
            tags = file.tags(ns="SARTUTOR")
    else:
        tags = pyogrio.read_info(path, layer="drawn")["layer_metadata"]
        assert tags == pyogrio.read_info(path, layer="masks")["layer_metadata"]
    return {name.lower(): json.loads(text) if text[0] in "[{" else text for name, text in tags.items()}


def around(west: float, crs: CRS, pixel: float) -> Grid:
    """A grid of 20 x 40 pixels whose upper left corner lies at `west` and 10 (degrees) or 1,000,000 (metres)."""
    north = 10.0 if crs.is_geographic else 1_000_000.0
    return Grid(Affine(pixel, 0, west, 0, -pixel, north), crs, 20, 40)


FRAME = np.zeros((20, 40), bool)
FRAME[2:18, 4:36] = True
FRAME[8:12, 22:26] = False


@pytest.mark.parametrize(
    ("grid", "parts"),
    [
        (around(10, annotating.DEGREES, 0.01), 1),
        (around(500_000, annotating.UTM, 10), 1),
        (around(179.8, annotating.DEGREES, 0.01), 2),
        (around(-180.2, annotating.DEGREES, 0.01), 2),
        (around(190, annotating.DEGREES, 0.01), 1),
        (around(829_600, CRS.from_epsg(32660), 10), 2),
        (around(20_037_400, CRS.from_epsg(3857), 10), 2),
        (around(-20, CRS.from_epsg(3995), 1), 2),
    ],
)
def test_outlines_in_degrees_are_as_rfc_7946_asks(grid, parts):
    outline = mask_polygons(FRAME, grid)
    found = in_degrees(outline, grid.crs)
    assert found.is_valid
    assert len(found.geoms) == parts
    for part in found.geoms:
        assert part.exterior.is_ccw
        assert not any(hole.is_ccw for hole in part.interiors)
    lon, lat = shapely.get_coordinates(found).T
    assert np.array_equal(np.round(lon, 7), lon)
    assert -180 <= lon.min() <= lon.max() <= 180
    assert (np.abs(lon) == 180).any() == (parts == 2)
    mean = np.deg2rad(lat.mean())
    assert found.area * 111_000**2 * np.cos(mean) == pytest.approx(area_m2(outline, grid), rel=0.02)


@pytest.mark.parametrize("name", ["out.tif", "out.gpkg", "out.geojson"])
@pytest.mark.parametrize("room", [0.002, 0.3, 0.7, 0.99])
def test_a_full_disk_leaves_the_older_file_and_nothing_else(tmp_path, name, room):
    scene = annotating.scene()
    session = Session.open(scene, tmp_path / "kept.sqlite")
    for shape in BOXES:
        session.add(annotating.annotation(scene, shape, annotating.UTM))
    path = tmp_path / "out" / name
    path.parent.mkdir()
    path.write_text("older")
    write = write_mask if name == "out.tif" else write_vector
    needed = write(scene, session.objects, tmp_path / name).stat().st_size
    with full_disk(int(room * needed)), pytest.raises(OutputError, match=name):
        write(scene, session.objects, path)
    assert path.read_text() == "older"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_named(session, tmp_path):
    (tmp_path / "file").write_text("")
    for write, name in ((write_mask, "out.tif"), (write_vector, "out.gpkg")):
        with pytest.raises(OutputError, match="file"):
            write(session.scene, session.objects, Path(tmp_path / "file" / name))
