"""Polygons from files become objects to correct, whatever their format, reference system and faults."""

from __future__ import annotations

import json
from pathlib import Path

import annotating
import geopandas
import numpy as np
import pytest
import shapely
from affine import Affine
from rasterio.crs import CRS
from rasterio.windows import Window
from shapely.geometry import LineString, MultiPolygon, Point, Polygon, box, mapping

from sartutor.errors import DataError
from sartutor.lab.annotator import Session
from sartutor.lab.annotator.export import write_vector
from sartutor.lab.annotator.imports import from_mask, import_polygons
from sartutor.sar.scene import Band, Grid, Scene

SCENE = annotating.scene()


def at(row: float, col: float, height: float = 6, width: float = 8) -> Polygon:
    """A rectangle in UTM, placed by pixels of the scene."""
    x, y = 600_000 + 10 * col, 5_200_000 - 10 * row
    return box(x, y - 10 * height, x + 10 * width, y)


def written(shapes, path: Path, crs: object = annotating.UTM, **columns) -> Path:
    frame = geopandas.GeoDataFrame(columns, geometry=list(shapes), crs=None if crs is None else "EPSG:32632")
    frame = frame if crs in (None, annotating.UTM) else frame.to_crs(crs)
    frame.to_file(path)
    return path


def rectangle(scene: Scene, annotation) -> tuple[int, int, int, int]:
    """Rows and columns from and below of all mask pixels, which fill it."""
    whole = np.zeros(scene.grid.shape, bool)
    whole[annotation.window.toslices()] = annotation.mask
    rows, cols = np.flatnonzero(whole.any(1)), np.flatnonzero(whole.any(0))
    assert whole[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1].all()
    return rows[0], rows[-1] + 1, cols[0], cols[-1] + 1


@pytest.mark.parametrize("name", ["a.gpkg", "a.geojson", "a.shp"])
@pytest.mark.parametrize("crs", [annotating.UTM, "EPSG:4326", "EPSG:3857", "EPSG:31287"])
def test_every_format_and_reference_system_gives_the_same_pixels(tmp_path, name, crs):
    path = written([at(3, 4), at(20, 30)], tmp_path / name, crs, label=["debris", None])
    found = import_polygons(path, SCENE)
    assert (found.outside, found.no_areas) == (0, 0)
    assert [rectangle(SCENE, one) for one in found.objects] == [(3, 9, 4, 12), (20, 26, 30, 38)]
    assert [(one.kind, one.status, one.label, one.note) for one in found.objects] == [
        ("imported", "open", "debris", ""),
        ("imported", "open", "object", ""),
    ]
    for one in found.objects:
        assert one.soft.shape == (1, *one.mask.shape)
        assert set(np.unique(one.soft)) <= {0, 255}


def test_an_exported_session_comes_back_as_it_was(tmp_path):
    session = Session.open(SCENE, tmp_path / "kept.sqlite")
    for shape in (box(600_080, 5_199_780, 600_230, 5_199_930), box(600_150, 5_199_780, 600_320, 5_199_920)):
        session.add(annotating.annotation(SCENE, shape, annotating.UTM))
    for ending in ("gpkg", "geojson"):
        path = write_vector(SCENE, session.objects, tmp_path / f"out.{ending}")
        back = import_polygons(path, SCENE).objects
        assert [one.pixels for one in back] == [one.pixels for one in session.objects]
        for one, other in zip(back, session.objects, strict=True):
            assert one.outline.equals(other.outline)
    added = session.apply(added=back)
    assert [one.id for one in added] == [3, 4]


def test_holes_are_left_out_and_parts_stay_one_object_unless_asked(tmp_path):
    ring = Polygon(at(2, 2, 12, 12).exterior, [at(5, 5, 4, 4).exterior.coords])
    path = written([MultiPolygon([ring, at(20, 40)])], tmp_path / "a.gpkg")
    (one,) = import_polygons(path, SCENE).objects
    assert one.pixels == 144 - 16 + 48
    assert not one.mask[5 - 2 : 9 - 2, 5 - 2 : 9 - 2].any()
    assert one.polygon.covers(shapely.buffer(one.outline, -1))
    assert [part.pixels for part in import_polygons(path, SCENE, parts=True).objects] == [128, 48]


def test_masks_of_any_shape_come_back_from_their_outlines(tmp_path):
    mask = np.random.default_rng(0).random((14, 20)) < 0.7
    mask[3:10, 3:10] = False
    mask[5:7, 5:7] = True  # an island in a hole
    one = from_mask(mask, Window(10, 12, 20, 14), SCENE.grid, "manual")
    (back,) = import_polygons(write_vector(SCENE, [one], tmp_path / "out.gpkg"), SCENE).objects
    whole = np.zeros((2, *SCENE.grid.shape), bool)
    for layer, each in zip(whole, (one, back), strict=True):
        layer[each.window.toslices()] = each.mask
    assert np.array_equal(*whole)


def test_a_polygon_that_crosses_itself_is_made_valid_and_says_so(tmp_path):
    west, south, east, north = at(4, 4, 10, 10).bounds
    bow_tie = Polygon([(west, south), (east, north), (east, south), (west, north)])
    (one,) = import_polygons(written([bow_tie], tmp_path / "a.gpkg"), SCENE).objects
    assert 40 <= one.pixels <= 60
    assert "crossed itself" in one.note


def test_single_pixels_and_less_are_kept(tmp_path):
    path = written([at(7, 9, 1, 1), at(11.1, 13.1, 0.2, 0.3)], tmp_path / "a.gpkg")
    found = import_polygons(path, SCENE)
    assert [rectangle(SCENE, one) for one in found.objects] == [(7, 8, 9, 10), (11, 12, 13, 14)]


def test_what_lies_outside_or_is_no_area_is_counted(tmp_path):
    far, no_data, clipped = at(500, 500), at(36, 52, 2, 3), at(-3, -4, 10, 10)
    line = LineString([(600_050, 5_199_900), (600_100, 5_199_950)])
    shapes = [at(3, 4), far, no_data, clipped, line, Point(600_100, 5_199_900), None]
    path = tmp_path / "a.geojson"
    features = [
        {"type": "Feature", "properties": {}, "geometry": None if s is None else mapping(s)} for s in shapes
    ]
    crs = {"type": "name", "properties": {"name": "EPSG:32632"}}
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": features}))
    found = import_polygons(path, SCENE)
    assert (len(found.objects), found.outside, found.no_areas) == (2, 2, 3)
    assert rectangle(SCENE, found.objects[1]) == (0, 7, 0, 6)
    assert found.objects[1].note == "clipped to the scene"


@pytest.mark.parametrize("crs", [annotating.DEGREES, CRS.from_epsg(32660)])
@pytest.mark.parametrize("cut", [True, False])
def test_polygons_across_the_antimeridian(tmp_path, crs, cut):
    transform = (
        Affine(0.01, 0, 179.8, 0, -0.01, 10)
        if crs.is_geographic
        else Affine(1100, 0, 807_000, 0, -1100, 1_106_000)
    )
    pixels = np.random.default_rng(0).normal(-15, 1, (1, 40, 40)).astype(np.float32)
    grid = Grid(transform, crs, 40, 40)
    scene = Scene(pixels, (Band("VV", "db", "sigma0"),), grid, np.ones((40, 40), bool), "dateline")
    west, east = box(179.9, 9.8, 180, 9.9), box(-180, 9.8, -179.9, 9.9)
    around = Polygon([(179.9, 9.8), (-179.9, 9.8), (-179.9, 9.9), (179.9, 9.9)])
    shape = MultiPolygon([west, east]) if cut else around
    path = tmp_path / "a.geojson"
    feature = {"type": "Feature", "properties": {}, "geometry": mapping(shape)}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    (one,) = import_polygons(path, scene).objects
    assert one.pixels == pytest.approx(200, rel=0.1)
    top, bottom, left, right = rectangle(scene, one) if crs.is_geographic else (0, 10, 10, 30)
    assert (bottom - top, right - left) == (10, 20)


def test_a_scene_without_a_reference_system_takes_numbers_as_they_are(tmp_path):
    scene = annotating.scene(None)
    path = written([box(4, 3, 12, 9)], tmp_path / "a.gpkg", None)
    assert rectangle(scene, import_polygons(path, scene).objects[0]) == (3, 9, 4, 12)


def test_files_that_cannot_be_taken_are_named_with_the_cure(tmp_path):
    (tmp_path / "text.gpkg").write_text("no")
    with pytest.raises(DataError, match=r"none\.gpkg is not there"):
        import_polygons(tmp_path / "none.gpkg", SCENE)
    with pytest.raises(DataError, match=r"text\.gpkg cannot be read"):
        import_polygons(tmp_path / "text.gpkg", SCENE)
    path = written([Point(600_100, 5_199_900)], tmp_path / "points.gpkg")
    with pytest.raises(DataError, match=r"points\.gpkg holds no polygon"):
        import_polygons(path, SCENE)
    with pytest.raises(DataError, match=r"bare\.shp does not say its coordinate reference system"):
        import_polygons(written([at(3, 4)], tmp_path / "bare.shp", None), SCENE)
    two = tmp_path / "two.gpkg"
    for layer in ("first", "second"):
        geopandas.GeoDataFrame(geometry=[at(3, 4)], crs="EPSG:32632").to_file(two, layer=layer)
    with pytest.raises(DataError, match=r"two\.gpkg has the layers first, second; name one"):
        import_polygons(two, SCENE)
    assert len(import_polygons(two, SCENE, layer="second").objects) == 1
    (tmp_path / "alone.shp").write_bytes((tmp_path / "bare.shp").read_bytes())
    with pytest.raises(DataError, match=r"alone\.shp"):
        import_polygons(tmp_path / "alone.shp", SCENE)
