"""Pairs of acquisitions: one grid, one view, in power; and the terrain beneath them."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS
from rasters import HERE, UTM
from scipy import ndimage

from sartutor.errors import DataError, GeometryError, SarTutorError
from sartutor.sar.pairs import Acquisition, acquisition_of, pair, residual_shift, with_terrain
from sartutor.sar.radiometry import power_to_db
from sartutor.sar.scene import Band, Grid, Scene

SHAPE = (90, 100)
GRID = Grid(HERE, UTM, *SHAPE)
FIRST = "S1A_IW_GRDH_1SDV_20230105T170824_20230105T170849_046653_04098A_2F79"
LATER = "S1A_IW_GRDH_1SDV_20230117T170824_20230117T170849_046828_04098A_2F79"
VIEW = Acquisition(117, "IW", "right", "ascending")


def scene(name=FIRST, grid=GRID, level=0.1, units="power", quantity="gamma0", bands=("VV", "VH"), day=None):
    values = np.full((len(bands), *grid.shape), level, np.float32)
    values[1:] /= 10
    values = power_to_db(values) if units == "db" else values
    listed = tuple(Band(band, units, quantity, day) for band in bands)
    return Scene(values, listed, grid, np.ones(grid.shape, bool), name, "sentinel-1")


def seen(day, **changes):
    return replace(VIEW, date=date(2023, 1, day), **changes)


def refused(kind, *words, before=None, after=None, **arguments):
    with pytest.raises(SarTutorError) as caught:
        pair(before or scene(), after or scene(LATER), **arguments)
    message = str(caught.value)
    assert isinstance(caught.value, kind)
    assert message.endswith(".")
    assert "\n" not in message
    for word in words:
        assert word in message


def test_bands_are_named_by_polarisation_and_date():
    both = pair(scene(), scene(LATER, level=0.4), same_geometry=True)
    assert both.bands == (
        Band("VV0", "power", "gamma0", date(2023, 1, 5)),
        Band("VV1", "power", "gamma0", date(2023, 1, 17)),
        Band("VH0", "power", "gamma0", date(2023, 1, 5)),
        Band("VH1", "power", "gamma0", date(2023, 1, 17)),
    )
    assert both.pixels[:, 5, 5] == pytest.approx([0.1, 0.4, 0.01, 0.04])
    assert both.grid == GRID


def test_decibels_and_power_meet_in_power():
    both = pair(scene(units="db"), scene(LATER), same_geometry=True)
    assert both.band("VV0") == pytest.approx(both.band("VV1"), rel=1e-5)
    assert {band.units for band in both.bands} == {"power"}


def test_the_finer_grid_is_taken_and_averages_are_of_power():
    coarse = Grid(HERE @ Affine.scale(2), UTM, 45, 50)
    assert pair(scene(grid=coarse), scene(LATER), same_geometry=True).grid == GRID
    speckle = scene(LATER)
    speckle.pixels[:, :, ::2] = 1.9
    speckle.pixels[:, :, 1::2] = 0.1
    shared = pair(scene(level=1.0), speckle, coarse, same_geometry=True)
    assert shared.band("VV1")[5:-5, 5:-5] == pytest.approx(1.0, rel=1e-4)


def test_degrees_and_metres_are_compared_on_the_ground():
    degrees = Grid(Affine(5e-4, 0, 10.315, 0, -5e-4, 46.945), CRS.from_epsg(4326), 20, 25)
    assert pair(scene(grid=degrees), scene(LATER), same_geometry=True).grid == GRID


def test_valid_is_where_both_are():
    before, after = scene(), scene(LATER)
    before.valid[:20] = False
    after.valid[:, :30] = False
    assert np.array_equal(pair(before, after, same_geometry=True).valid, before.valid & after.valid)


def test_names_of_products_tell_the_view():
    assert acquisition_of(scene()) == Acquisition(31, "IW", "right", None, date(2023, 1, 5))
    assert acquisition_of(scene("chip", day=date(2020, 3, 1))) == Acquisition(date=date(2020, 3, 1))


def alos2(orbit, day, mode="UBSR2.1GUD"):
    return scene(f"IMG-HH-ALOS2{orbit:05}3210-{day}-{mode}", bands=("HH",))


def test_alos2_names_tell_the_whole_view():
    said = acquisition_of(alos2(45850, "221119"))
    assert said == Acquisition(45850 % 207, "UBS", "right", "descending", date(2022, 11, 19))
    assert pair(alos2(45850, "221119"), alos2(46057, "221203")).band_names == ("HH0", "HH1")


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (alos2(46058, "221203"), "relative orbit 103 and 104"),
        (alos2(46057, "221203", "UBSL2.1GUD"), "look right and left"),
        (alos2(46057, "221203", "FBDR2.1GUD"), "mode UBS and FBD"),
    ],
)
def test_alos2_passes_of_another_view_are_refused(after, words):
    refused(DataError, words, before=alos2(45850, "221119"), after=after)


@pytest.mark.parametrize("first", [True, False])
def test_gamma0_of_the_ellipsoid_and_of_the_terrain_do_not_meet(first):
    flat = {"notes": ("terrain-flattened (RTC product).",)}
    before, after = (
        replace(s, **flat if chosen else {}) for s, chosen in ((scene(), first), (scene(LATER), not first))
    )
    name = (before if first else after).name
    refused(DataError, f"{name} is terrain-flattened", before=before, after=after, same_geometry=True)
    both = pair(*(replace(s, **flat) for s in (before, after)), same_geometry=True)
    assert both.notes.count(*flat["notes"]) == 1


def test_stated_acquisitions_need_no_further_word():
    both = pair(scene("a"), scene("b"), acquisitions=(seen(5), seen(17)))
    assert both.bands[0].date == date(2023, 1, 5)
    assert both.bands[3].date == date(2023, 1, 17)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"relative_orbit": 44}, "relative orbit 117 and 44"),
        ({"orbit_pass": "descending"}, "orbit pass ascending and descending"),
        ({"look": "left"}, "look right and left"),
        ({"mode": "EW"}, "mode IW and EW"),
    ],
)
def test_another_view_is_refused_even_when_called_the_same(changes, words):
    refused(DataError, words, "same track", acquisitions=(seen(5), seen(17, **changes)), same_geometry=True)


def test_all_differences_are_named():
    other = seen(17, relative_orbit=44, orbit_pass="descending")
    refused(DataError, "relative orbit", "orbit pass", acquisitions=(seen(5), other))


def test_an_unknown_view_is_refused_with_the_cure():
    refused(DataError, "relative orbit, mode, look, orbit pass", "same_geometry=True", before=scene("chip"))
    refused(DataError, "orbit pass;", "same_geometry=True")


def test_tracks_in_names_are_compared():
    other = LATER.replace("046828", "046800")
    refused(DataError, "relative orbit 31 and 3", after=scene(other), same_geometry=True)


@pytest.mark.parametrize("day", [5, 3])
def test_before_comes_before_after(day):
    refused(DataError, "2023-01-05", "exchange", acquisitions=(seen(5), seen(day)))


def test_unlike_bands_are_refused():
    kept = {"same_geometry": True}
    refused(DataError, "HH, HV", "no polarisation", after=scene(LATER, bands=("HH", "HV")), **kept)
    refused(DataError, "'dn'", "calibrate", after=scene(LATER, units="dn", quantity="none"), **kept)
    refused(DataError, "sigma0", "gamma0", "one convention", after=scene(LATER, quantity="sigma0"), **kept)


def test_one_shared_polarisation_is_enough():
    both = pair(scene(), scene(LATER, bands=("VV",)), same_geometry=True)
    assert both.band_names == ("VV0", "VV1")


def test_no_overlap_is_refused():
    far = Grid(Affine.translation(1e5, 0) @ HERE, UTM, *SHAPE)
    refused(GeometryError, "overlap", after=scene(LATER, far), same_geometry=True)
    empty = scene(LATER)
    empty.valid[:] = False
    refused(GeometryError, "no valid pixel in common", after=empty, same_geometry=True)
    refused(GeometryError, after=scene(LATER, Grid(HERE, None, *SHAPE)), same_geometry=True)


def textured(shift, seed):
    """Structure of 2 px that moves by `shift`, under independent speckle of 16 looks."""
    rng = np.random.default_rng(7)
    ground = ndimage.shift(ndimage.gaussian_filter(rng.normal(size=(256, 256)), 2) * 40, shift, mode="wrap")
    return 10 ** (ground / 10) * np.random.default_rng(seed).gamma(16, 1 / 16, (256, 256))


@pytest.mark.parametrize("shift", [(0, 0), (1.5, -2.3), (-0.4, 6)])
def test_a_shift_is_found_below_speckle(shift):
    valid = np.ones((256, 256), bool)
    valid[:40] = False
    assert residual_shift(textured((0, 0), 1), textured(shift, 2), valid) == pytest.approx(shift, abs=0.2)


def test_a_shift_is_reported_and_not_corrected():
    grid = Grid(HERE, UTM, 256, 256)
    before, after = scene(grid=grid), scene(LATER, grid)
    before.pixels[:], after.pixels[:] = textured((0, 0), 1), textured((2, 0), 2)
    both = pair(before, after, same_geometry=True)
    assert np.array_equal(both.band("VV1"), after.band("VV"))
    assert "+2.0 rows, " in both.notes[-1]
    assert "not corrected" in both.notes[-1]


def test_too_little_for_a_shift_is_said():
    small = Grid(HERE, UTM, 30, 30)
    assert "not estimated" in pair(scene(grid=small), scene(LATER, small), same_geometry=True).notes[-1]


def slope_scene(grid, metres_per_degree):
    """Heights that rise 0.2 m a metre towards the east."""
    columns = np.arange(grid.width) * grid.transform.a * metres_per_degree
    height = np.broadcast_to(500 + 0.2 * columns, (1, *grid.shape)).astype(np.float32)
    return Scene(height, (Band("elevation", "m"),), grid, np.ones(grid.shape, bool), "dem")


def test_slope_is_that_of_the_ground_on_a_geographic_model():
    both = pair(scene(), scene(LATER), same_geometry=True)
    degrees = Grid(Affine(1 / 3600, 0, 10.30, 0, -1 / 3600, 46.96), CRS.from_epsg(4326), 90, 120)
    east = 111_320 * np.cos(np.radians(46.94))
    full = with_terrain(both, slope_scene(degrees, east))
    assert full.bands[4:] == (Band("DEM", "m"), Band("slope", "degree"))
    assert full.valid.all()
    assert full.band("slope") == pytest.approx(np.degrees(np.arctan(0.2)), abs=0.06)
    middle = full.band("DEM")[45]
    assert (middle[90] - middle[10]) / 800 == pytest.approx(0.2, abs=0.002)


def test_pixels_without_terrain_are_left_out_and_counted():
    both = pair(scene(), scene(LATER), same_geometry=True)
    half = Grid(HERE, UTM, SHAPE[0], 50)
    full = with_terrain(both, slope_scene(half, 1))
    assert full.valid[:, :49].all()
    assert not full.valid[:, 51:].any()
    assert "valid px have no terrain in dem" in full.notes[-1]


def test_a_model_that_is_not_in_metres_is_refused():
    with pytest.raises(DataError, match="metres"):
        with_terrain(pair(scene(), scene(LATER), same_geometry=True), scene("vv"))
