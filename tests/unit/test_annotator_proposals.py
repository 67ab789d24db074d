"""Boxes that nobody drew: what changed between two dates, and an object carried to another date's grid."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS
from rasterio.windows import Window
from scipy import ndimage
from shapely.geometry import box

from sartutor.errors import DataError, GeometryError
from sartutor.lab.annotator import proposals
from sartutor.lab.annotator.annotation import Annotation
from sartutor.lab.annotator.proposals import (
    change_db,
    changed_parts,
    changed_shapes,
    connected_parts,
    dates,
    propagate,
    unchanged_law,
)
from sartutor.sar import resize
from sartutor.sar.footprint import outline, pixel_box
from sartutor.sar.scene import Band, Grid, Scene

UTM = CRS.from_epsg(32632)
NAMES = ("VV0", "VV1")


def pair(units="db", looks=4, names=NAMES, changes=((100, 50, 40, 6.0), (30, 150, 20, -9.0))):
    """Two dates of even ground under speckle; squares (row, column, side, dB) changed."""
    rng = np.random.default_rng(0)
    power = 0.05 * rng.standard_gamma(looks, (2, 200, 220)) / looks
    for row, col, side, step in changes:
        power[1, row : row + side, col : col + side] *= 10 ** (step / 10)
    pixels = {"db": 10 * np.log10(power), "power": power, "amplitude": np.sqrt(power)}[units]
    grid = Grid(Affine(10, 0, 600_000, 0, -10, 5_200_000), UTM, 200, 220)
    bands = tuple(Band(name, units) for name in names)
    return Scene(pixels.astype(np.float32), bands, grid, np.ones((200, 220), bool), "valley")


@pytest.mark.parametrize("units", ["db", "power", "amplitude"])
def test_boxes_lie_around_what_changed_strongest_first(units):
    scene = pair(units)
    found = [pixel_box(outline(shape, None, scene.grid)) for shape in changed_shapes(scene)]
    assert len(found) == 2
    for (x0, y0, x1, y1), (row, col, side, _) in zip(
        found, ((100, 50, 40, 0), (30, 150, 20, 0)), strict=True
    ):
        assert x0 < col < col + side < x1
        assert y0 < row < row + side < y1
        assert max(x1 - x0, y1 - y0) < side + 24
    assert len(changed_shapes(scene, most=1)) == 1


def test_strips_give_what_the_whole_gives(monkeypatch):
    scene = pair()
    whole = sorted(changed_parts(scene, 1), key=lambda part: part.box)
    monkeypatch.setattr(resize, "STRIP_PIXELS", 220 * 11)
    monkeypatch.setattr(proposals, "SAMPLED_STRIPS", 1000)
    pieces = sorted(changed_parts(scene, 1), key=lambda part: part.box)
    assert [part.box for part in pieces] == [part.box for part in whole]
    assert [part.pixels for part in pieces] == [part.pixels for part in whole]
    np.testing.assert_allclose([p.strength for p in pieces], [p.strength for p in whole], rtol=1e-4)


def test_parts_across_strips_are_those_of_the_whole_image():
    values = np.random.default_rng(1).random((60, 50)).astype(np.float32)
    labels, count = ndimage.label(values > 0.6, np.ones((3, 3)))
    expected = [
        (float(c.start), float(r.start), float(c.stop), float(r.stop))
        for r, c in ndimage.find_objects(labels)
    ]
    found = connected_parts((values[row : row + 7] for row in range(0, 60, 7)), 0.6)
    assert sorted(part.box for part in found) == sorted(expected)
    assert sorted(part.pixels for part in found) == sorted(np.bincount(labels.ravel())[1:])
    assert len(found) == count
    assert connected_parts(iter([values[:30], values[30:]]), 2) == []


def test_change_is_the_ratio_of_mean_powers_and_no_data_counts_nowhere():
    before, after = np.ones((20, 20), np.float32), np.full((20, 20), 10, np.float32)
    after[:, ::2] = 0.1
    valid = np.ones((20, 20), bool)
    valid[:, ::2] = False
    np.testing.assert_allclose(change_db(before, after, valid, 5)[valid], 10, atol=1e-4)
    after[:, ::2] = 4
    assert change_db(before, after, ~(before > 2), 5)[10, 11] == pytest.approx(
        10 * np.log10((10 * 15 + 4 * 10) / 25)
    )


def test_change_hardly_moves_the_law_of_what_is_unchanged():
    rng = np.random.default_rng(2)
    changes = rng.normal(0.5, 1.2, 100_000)
    changes[:5000] += 8
    centre, deviation = unchanged_law(changes)
    assert centre == pytest.approx(0.5, abs=0.1)
    assert deviation == pytest.approx(1.2, rel=0.08)


def test_false_alarms_are_as_few_as_asked_for(monkeypatch):
    monkeypatch.setattr(proposals, "FALSE_ALARMS", 0.01)
    scene = pair(changes=())
    marked = sum(part.pixels for part in changed_parts(scene, 1))
    assert marked / scene.valid.size == pytest.approx(0.01, rel=0.6)


def test_nothing_to_compare_and_nothing_changed_are_said():
    with pytest.raises(DataError, match="no band on two dates"):
        changed_shapes(pair(names=("VV", "VH")))
    with pytest.raises(DataError, match="nothing has changed"):
        changed_shapes(pair(changes=()))
    nothing = pair()
    with pytest.raises(DataError, match="no pixel that is valid on both dates"):
        changed_shapes(replace(nothing, valid=np.zeros_like(nothing.valid)))


def test_pairs_are_told_by_name_or_date():
    one, other = date(2024, 1, 1), date(2024, 1, 13)
    names = ("DEM0", "DEM1", "VH1", "VV0", "VH0", "VV1")
    bands = [Band(name, "m" if name[0] == "D" else "db") for name in names]
    assert dates(bands) == {"VH": (4, 2), "VV": (3, 5)}
    dated = [Band("VV", "power", date=other), Band("VH", "power", date=one), Band("VV_2", "power", date=one)]
    assert dates(dated) == {"VV": (2, 0)}
    worded = [Band(name, "power") for name in ("VV_post", "vh_pre", "VV_pre", "vh_post")]
    assert dates(worded) == {"VV": (2, 0), "VH": (1, 3)}


def annotation(mask, grid, window=None):
    window = window or Window(40, 60, mask.shape[1], mask.shape[0])
    drawn = box(600_400, 5_199_000, 600_700, 5_199_400)
    return Annotation(
        7, "box", drawn, None, (), window, mask[None].astype(np.uint8) * 255, np.ones_like(mask), (0.9,), grid
    )


def test_an_object_is_carried_to_another_grid_and_crs():
    scene = pair()
    mask = np.zeros((30, 30), bool)
    mask[5:15, 10:20] = True
    here = annotation(mask, scene.grid)
    finer = replace(
        scene,
        pixels=np.zeros((2, 400, 440), np.float32),
        valid=np.ones((400, 440), bool),
        grid=Grid(scene.grid.transform @ Affine.scale(0.5), UTM, 400, 440),
    )
    margin = 10 * 400 / 512
    found = pixel_box(outline(propagate(here, finer), None, finer.grid))
    np.testing.assert_allclose(found, (100 - margin, 130 - margin, 120 + margin, 150 + margin), atol=0.01)
    degrees = Grid(Affine(1e-4, 0, 10.3, 0, -1e-4, 46.96), CRS.from_epsg(4326), 400, 400)
    other = replace(
        scene, pixels=np.zeros((2, 400, 400), np.float32), valid=np.ones((400, 400), bool), grid=degrees
    )
    ground = propagate(here, other)
    back = pixel_box(outline(ground, degrees.crs, scene.grid))
    assert back[0] < 50 < 60 < back[2]
    assert back[1] < 65 < 75 < back[3]


def test_an_empty_mask_gives_its_drawn_shape_and_other_places_are_refused():
    scene = pair()
    empty = annotation(np.zeros((30, 30), bool), scene.grid)
    margin = 10 * 200 / 512
    found = pixel_box(outline(propagate(empty, scene), None, scene.grid))
    np.testing.assert_allclose(found, (40 - margin, 60 - margin, 70 + margin, 100 + margin), atol=0.01)
    away = replace(scene, grid=replace(scene.grid, transform=Affine(10, 0, 700_000, 0, -10, 5_300_000)))
    with pytest.raises(GeometryError, match="lies outside"):
        propagate(empty, away)
    with pytest.raises(GeometryError, match="do not both have"):
        propagate(empty, replace(scene, grid=replace(scene.grid, crs=None)))
