"""What a scene can be looked at as: bands, change, composite, terrain."""

from __future__ import annotations

import base64
from dataclasses import replace
from io import BytesIO

import annotating
import numpy as np
import pytest
from PIL import Image

from sartutor.errors import GeometryError
from sartutor.lab.annotator.backdrop import histogram
from sartutor.lab.annotator.layers import Shown, channel_ranges, colored, layers, look, robust_range
from sartutor.lab.annotator.pictures import Picture
from sartutor.lab.annotator.placement import Placement
from sartutor.lab.annotator.readout import described
from sartutor.sar.scene import Band, Scene

SIX = (
    *(Band(name, "db", "sigma0") for name in ("VV0", "VV1", "VH0", "VH1")),
    Band("DEM", "m"),
    Band("class", "class"),
)


@pytest.fixture(scope="module")
def scene() -> Scene:
    """Two dates: VV rises by 6 dB in the bright square; heights climb by 10 m a column to the east."""
    small = annotating.scene()
    before = np.full(small.grid.shape, -15, np.float32)
    after = before.copy()
    after[10:20, 10:20] = -9
    height = np.broadcast_to(500 + 10 * np.arange(60, dtype=np.float32), small.grid.shape)
    kind = np.zeros(small.grid.shape, np.float32)
    return replace(small, pixels=np.stack([before, after, before, before, height, kind]), bands=SIX)


def seen(scene: Scene, name: str) -> Shown:
    """A layer of the scene by its name."""
    layer = next(layer for layer in layers(scene.bands) if layer.name == name)
    return look(layer, scene, Placement(scene.grid))


def pixels(picture: Picture) -> np.ndarray:
    """Red, green, blue and alpha."""
    content = base64.b64decode(picture.url.split(",", 1)[1])
    return np.asarray(Image.open(BytesIO(content)).convert("RGBA")).astype(int)


def test_layers_follow_from_the_bands():
    names = [layer.name for layer in layers(SIX)]
    assert names[:6] == [band.name for band in SIX]
    assert {"VV change", "VH change", "VV before, after, change", "hillshade", "slope"} <= set(names)
    assert [layer.name for layer in layers((*SIX, Band("slope", "degree")))].count("slope") == 1


def test_heights_with_numbers_are_no_dates():
    assert len(layers((Band("h0", "m"), Band("h1", "m")))) == 6


def test_change_is_after_less_before_in_decibels_whatever_the_units(scene):
    power = replace(
        scene,
        pixels=np.concatenate([10 ** (scene.pixels[:4] / 10), scene.pixels[4:]]).astype(np.float32),
        bands=tuple(replace(band, units="power") if band.units == "db" else band for band in scene.bands),
    )
    for each in (scene, power):
        shown = seen(each, "VV change")
        assert shown.spread().max() == pytest.approx(6, abs=1e-3)
        assert np.median(shown.spread()) == pytest.approx(0, abs=1e-3)
        assert "VV1 less VV0" in shown.title


def test_a_change_has_its_zero_in_the_middle_of_the_colours(scene):
    shown = seen(scene, "VV change")
    low, high = robust_range(shown.spread(), "change")
    assert low == -high
    flat = pixels(colored(shown, (-6, 6)))[30, 30]
    assert flat[:3].min() > 235
    rise = pixels(colored(shown, (-6, 6)))[..., 0] - pixels(colored(shown, (-6, 6)))[..., 2]
    assert rise.max() > 60  # orange where it became brighter


def test_a_composite_has_before_after_and_change_as_its_colours(scene):
    shown = seen(scene, "VV before, after, change")
    assert shown.is_composite
    picture = pixels(colored(shown, *channel_ranges(shown)))
    brighter = picture[..., 1] > 200
    assert brighter.sum() > 50
    assert (picture[brighter][:, 2] > 200).all()
    assert np.ptp(picture[picture[..., 3] > 0][:, 0]) == 0


def test_slope_and_hillshade_are_those_of_the_heights(scene):
    inner = seen(scene, "slope").spread()
    assert np.median(inner) == pytest.approx(45, abs=0.5)
    east = np.median(seen(scene, "hillshade").spread())
    west = scene.pixels.copy()
    west[4] = west[4][:, ::-1]
    away = np.median(seen(replace(scene, pixels=west), "hillshade").spread())
    assert east > away + 0.5  # ground that rises to the east faces the light in the north-west


def test_heights_in_a_scene_without_coordinates_have_no_slope(scene):
    nowhere = replace(scene, grid=replace(scene.grid, crs=None))
    with pytest.raises(GeometryError, match="slopes are unknown"):
        seen(nowhere, "slope")


def test_a_histogram_says_what_it_shows(scene):
    drawn = histogram(seen(scene, "DEM").spread(), (600, 900), "m")
    assert 'aria-label="histogram of the values shown, from 5' in drawn
    assert drawn.count("<rect") == 48
    assert 5 < drawn.count('opacity="0.9"') < 43


def test_the_read_out_names_units_and_places(scene):
    placement = Placement(scene.grid)
    lon, lat = placement.point_to_map(600_155, 5_199_845, None)
    said = described(scene, placement, lat, lon)
    assert said.startswith("VV0 -15.0 dB · VV1 -9.0 dB")
    assert "DEM 650 m" in said
    assert said.endswith("column 15, row 15")
    lon, lat = placement.point_to_map(600_595, 5_199_605, None)
    assert described(scene, placement, lat, lon).startswith("no data")
    assert described(scene, placement, 0, 0).strip() == ""


@pytest.mark.parametrize("crs", [annotating.UTM, annotating.DEGREES, None])
def test_places_go_to_the_map_and_back(scene, crs):
    placed = scene if crs is not None else replace(scene, grid=replace(scene.grid, crs=None))
    placement = Placement(placed.grid)
    lon, lat = placement.point_to_map(600_155, 5_199_845, None)
    x, y = placement.point_from_map(lon, lat, crs)
    back = placement.point_to_map(x, y, crs)
    assert back == pytest.approx((lon, lat), abs=1e-9)
    assert placement.pixel(lon, lat) == pytest.approx((15.5, 15.5), abs=1e-3)
