"""Large scenes where the map is enlarged: their own pixels, where they belong."""

from __future__ import annotations

import base64
from dataclasses import replace
from io import BytesIO

import annotating
import numpy as np
import pytest
from affine import Affine
from PIL import Image
from rasterio.crs import CRS
from rasterio.windows import Window
from shapely.geometry import box

from sartutor.lab.annotator import Annotator, Segmenter
from sartutor.lab.annotator.closer import Part, is_worth, seen_window
from sartutor.lab.annotator.placement import Placement
from sartutor.sar.coordinates import transform_points
from sartutor.sar.footprint import ground
from sartutor.sar.resize import overview
from sartutor.sar.scene import Band, Grid, Scene

SIDE = 2600
SQUARE = (1300, 1400, 1310, 1424)
"""Left, top, right and bottom of what is bright, in pixels."""
GRIDS = {
    "utm": Grid(Affine(10, 0, 600_000, 0, -10, 5_200_000), annotating.UTM, SIDE, SIDE),
    "rotated": Grid(
        Affine(10, 0, 600_000, 0, -10, 5_200_000) @ Affine.rotation(25), annotating.UTM, SIDE, SIDE
    ),
    "degrees": Grid(Affine(1.3e-4, 0, 10.3, 0, -0.9e-4, 46.95), annotating.DEGREES, SIDE, SIDE),
    "nowhere": Grid(Affine.identity(), None, SIDE, SIDE),
}


def scene(grid: Grid) -> Scene:
    """Dark ground with one bright rectangle."""
    pixels = np.full((1, SIDE, SIDE), -20, np.float32)
    left, top, right, bottom = SQUARE
    pixels[0, top:bottom, left:right] = 0
    valid = np.ones((SIDE, SIDE), bool)
    valid[:200, :200] = False
    return Scene(pixels, (Band("VV", "db", "sigma0"),), grid, valid, "large")


def around(placement: Placement, left: float, top: float, right: float, bottom: float) -> tuple[float, ...]:
    """West, south, east and north on the map of a window in pixels."""
    corners = np.array(box(left, top, right, bottom).exterior.coords)[:-1]
    return placement.to_map(ground(corners, placement.grid, None), None).bounds


@pytest.fixture(params=list(GRIDS))
def annotator(request, tmp_path, monkeypatch) -> Annotator:
    """An annotator of a large scene on one of the grids."""
    monkeypatch.setenv("SARTUTOR_CACHE", str(tmp_path))
    monkeypatch.setattr(Segmenter, "predictor", None)
    return Annotator(scene(GRIDS[request.param]), session_path=tmp_path / "kept.sqlite")


def test_what_is_shown_closer_lies_where_it_belongs_within_half_a_pixel(annotator):
    placement = annotator.placement
    annotator.backdrop.look_closer(around(placement, 1250, 1350, 1400, 1500)).result()
    closer = annotator.map.layers[1]
    content = closer.url.split(",", 1)[1]
    shown = np.asarray(Image.open(BytesIO(base64.b64decode(content))).convert("RGBA")).astype(int)
    mercator = transform_points(np.array(closer.bounds)[:, ::-1], annotating.DEGREES, CRS.from_epsg(3857))
    (west, south), (east, north) = mercator
    rows, cols = np.nonzero((shown[..., 0] > 127) & (shown[..., 3] > 0))
    height, width = shown.shape[:2]
    x = west + (cols + 0.5) / width * (east - west)
    y = north - (rows + 0.5) / height * (north - south)
    places = transform_points(np.column_stack((x, y)), CRS.from_epsg(3857), annotating.DEGREES)
    pixels = np.array([placement.pixel(*place) for place in places])
    found = np.concatenate((pixels.mean(0) * 2, np.ptp(pixels, axis=0)))
    left, top, right, bottom = SQUARE
    assert np.abs(found[:2] / 2 - ((left + right) / 2, (top + bottom) / 2)).max() < 0.5
    assert np.abs(found[2:] - (right - left, bottom - top)).max() < 2
    assert closer.opacity == 1


def test_the_whole_scene_and_what_has_no_data_is_not_shown_closer(annotator):
    placement = annotator.placement
    closer = annotator.map.layers[1]
    for part, opacity in (
        ((1250, 1350, 1400, 1500), 1),
        ((0, 0, SIDE, SIDE), 0),
        ((20, 20, 100, 100), 0),
        ((SIDE + 100, 0, SIDE + 300, 100), 0),
    ):
        annotator.backdrop.look_closer(around(placement, *part)).result()
        assert closer.opacity == opacity, part


def test_another_stretch_is_seen_closer_too(annotator):
    closer = annotator.map.layers[1]
    bounds = around(annotator.placement, 1250, 1350, 1400, 1500)
    annotator.backdrop.look_closer(bounds).result()
    before = closer.url
    annotator.backdrop.stretch.value = (-20.4, -10)
    annotator.backdrop._background.submit(lambda: None).result()
    assert closer.url != before


def test_a_map_that_moves_on_is_followed(annotator):
    asked = []
    annotator.backdrop.look_closer = asked.append
    west, south, east, north = around(annotator.placement, 1250, 1350, 1400, 1500)
    annotator.map.set_state({"south": south, "west": west, "north": north, "east": east})
    assert asked[-1] == pytest.approx((west, south, east, north))


def test_a_part_is_read_as_a_scene_is():
    whole = scene(GRIDS["utm"])
    part = Part(whole, Window(1200, 1300, 400, 300))
    np.testing.assert_array_equal(part.read().pixels, whole.read(part.window).pixels)
    inner = part.read(Window(90, 95, 30, 40))
    np.testing.assert_array_equal(inner.pixels, whole.read(Window(1290, 1395, 30, 40)).pixels)
    assert inner.grid == whole.grid.crop(Window(1290, 1395, 30, 40))
    assert overview(part, 100).grid.shape == (75, 100)


def test_only_a_sharper_picture_is_worth_reading():
    grid = GRIDS["utm"]
    window = seen_window(grid, Placement(grid), around(Placement(grid), 100, 200, 500, 600))
    assert abs(window.width - 1.2 * 400) < 20  # the map's box is not turned as the grid is
    assert is_worth(window, grid)
    assert not is_worth(Window(0, 0, 2500, 2500), grid)
    assert not is_worth(window, replace(grid, width=1100, height=1100))
