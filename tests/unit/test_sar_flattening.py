"""Terrain flattening on planes in closed form, on simulated mountains, and where it must not be done at all."""

from dataclasses import replace

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS
from scipy import ndimage

from sartutor.errors import DataError, GeometryError
from sartutor.sar.flattening import (
    MIN_AREA,
    area_ratio,
    area_ratio_of_plane,
    cosine_correction,
    flatten_terrain,
    illuminated_facets,
)
from sartutor.sar.geotiff import read_scene
from sartutor.sar.radiometry import power_to_db
from sartutor.sar.scene import Band, Grid, Scene
from sartutor.sar.terrain import View, gradient, heights, local_incidence, slope, spacing_m
from sartutor.sar.visibility import BeamLines, layover, ray_height, shadow, slant_range

UTM = CRS.from_epsg(32632)
NORTH_UP = Affine(10, 0, 6e5, 0, -10, 5.2e6)
AZIMUTHS = (0, 78, 90, 137, 282)


def scene_of(values, units="power", quantity="sigma0", valid=None, **kwargs):
    values = np.asarray(values, np.float32)
    grid = Grid(NORTH_UP, UTM, *values.shape)
    valid = np.ones(values.shape, bool) if valid is None else valid
    return Scene(values[None], (Band("VV", units, quantity),), grid, valid, "take", **kwargs)


def dem_of(height, **kwargs):
    return replace(scene_of(height, "m", "none", **kwargs), name="hill")


def plane(slope_deg, azimuth, sideways=0.0, shape=(40, 50)):
    """Heights of a plane that rises by `slope_deg` against the beam and by `sideways` m/m along the flight."""
    rows, cols = np.mgrid[: shape[0], : shape[1]] * 10.0
    east, north = np.sin(np.deg2rad(azimuth)), np.cos(np.deg2rad(azimuth))
    along, across = cols * east - rows * north, cols * north + rows * east
    return 2000 + np.tan(np.deg2rad(slope_deg)) * along + sideways * across


def mountains(side=128, rise=220, seed=5):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(side, side)), 6)
    return 1000 + rise * noise / noise.std()


def known(ratio):
    """A ratio without the few corner pixels that are alone on their line of the beam."""
    assert np.isnan(ratio).sum() <= 2
    return ratio[np.isfinite(ratio)]


@pytest.mark.parametrize("azimuth", AZIMUTHS)
@pytest.mark.parametrize("incidence", [23.0, 39.0])
def test_flat_ground_has_the_area_of_the_ellipsoid(azimuth, incidence):
    ratio = known(area_ratio(np.full((30, 40), 700.0), (10, 12), View(incidence, azimuth)))
    assert ratio == pytest.approx(1 / np.tan(np.deg2rad(incidence)), rel=1e-5)


@pytest.mark.parametrize("azimuth", AZIMUTHS)
@pytest.mark.parametrize("tilt", [-60, -52, -30, -5, 5, 20, 30, 34, 36, 45, 60])
def test_planes_have_the_area_of_their_slope_in_the_plane_of_incidence(azimuth, tilt):
    for sideways in (0, 0.4):
        ratio = known(area_ratio(plane(tilt, azimuth, sideways), (10, 10), View(35, azimuth)))
        expected = area_ratio_of_plane(tilt, 35)
        assert ratio == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_area_of_planes_in_closed_form():
    assert area_ratio_of_plane(0, 45) == pytest.approx(1)
    assert area_ratio_of_plane(15, 45) == pytest.approx(np.sqrt(3))
    assert area_ratio_of_plane(-15, 45) == pytest.approx(1 / np.sqrt(3))
    assert area_ratio_of_plane(75, 45) == pytest.approx(np.sqrt(3))  # layover, near and far are exchanged
    assert area_ratio_of_plane(35, 35) == np.inf
    assert area_ratio_of_plane(-56, 35) == 0


def test_the_area_is_that_of_facets_with_their_normals():
    """cos(local incidence) of the beam falls on a facet, whose slant-range area is its other projection."""
    height, view = plane(12, 78, 0.5), View(35, 78)
    rise = gradient(height, (10, 10))
    across_beam = np.cos(np.deg2rad(local_incidence(rise, view)))
    on_slant_plane = np.cos(np.deg2rad(local_incidence(rise, View(55, 78 + 180))))
    assert known(area_ratio(height, (10, 10), view)) == pytest.approx(
        np.mean(across_beam / on_slant_plane), rel=1e-3
    )


@pytest.mark.parametrize("azimuth", AZIMUTHS)
def test_all_of_the_beam_falls_somewhere(azimuth):
    """Facets share the beam's cross section between them, each part once, whatever hides what."""
    height, view = mountains(), View(40, azimuth)
    lines = BeamLines.of(height.shape, (10, 10), view)
    ray, slant = (of(lines.gather(height), lines, view) for of in (ray_height, slant_range))
    sine = np.sin(np.deg2rad(40))
    start, end, area = illuminated_facets(slant, ray, sine, lines.step_m * sine)
    complete = np.isfinite(slant).sum(axis=1) > 20
    own = np.isfinite(slant)[:, 1:] & np.isfinite(slant)[:, :-1]
    total = np.nansum(np.where(own, area[:, 1:-1], 0), axis=1)
    first = np.array([row[np.isfinite(row)][0] for row in ray[complete]])
    assert total[complete] == pytest.approx(sine * (np.nanmax(ray[complete], axis=1) - first))
    assert np.nanmin(area) >= 0
    assert np.isfinite(start[np.isfinite(area)]).all()
    assert np.isfinite(end[np.isfinite(area)]).all()


def test_the_area_is_kept_in_every_radar_pixel():
    """On a row whose slant range grows evenly, cells tile it: the sum over pixels is the sum over facets."""
    bumps = np.tile(2.0 * np.sin(np.arange(200) / 5), (3, 1))
    ratio = area_ratio(bumps, (10, 10), View(35, 90))
    slant = slant_range(bumps, BeamLines.of(bumps.shape, (10, 10), View(35, 90)), View(35, 90))
    total = (ratio * np.gradient(slant, axis=1)).sum(axis=1)
    sine = np.sin(np.deg2rad(35))
    rise = (bumps[:, -1] - bumps[:, 0] + 1990 / np.tan(np.deg2rad(35))) * sine
    assert total == pytest.approx(rise + 10 * np.cos(np.deg2rad(35)), rel=2e-3)


def radar_image(height, view, pixel=10.0, finer=6):
    """beta0 of ground with gamma0 = 1 as a radar on a map sees it, from many small facets with their normals.

    Facets that are in the beam add their area across it to cells of slant range and azimuth; every map pixel
    takes the value of the cell that it lies in, by linear interpolation.
    """
    side = height.shape[0]
    at = (np.arange(side * finer) + 0.5) / finer - 0.5
    fine = ndimage.map_coordinates(height, np.meshgrid(at, at, indexing="ij"), order=1, mode="nearest")
    small = pixel / finer
    rise = gradient(fine, (small, small))
    area = small**2 / np.cos(np.deg2rad(slope(rise))) * np.cos(np.deg2rad(local_incidence(rise, view)))
    area[(area < 0) | shadow(fine, (small, small), view)] = 0
    theta, azimuth = np.deg2rad(view.incidence_deg), np.deg2rad(view.look_azimuth_deg)
    cell = np.array([pixel * np.sin(theta), pixel])

    def cells(rows, cols, h):
        along = cols * pixel * np.sin(azimuth) - rows * pixel * np.cos(azimuth)
        across = cols * pixel * np.cos(azimuth) + rows * pixel * np.sin(azimuth)
        return (along * np.sin(theta) - h * np.cos(theta)) / cell[0], across / cell[1]

    facets = np.array([part.ravel() for part in cells(*np.meshgrid(at, at, indexing="ij"), fine)])
    low = np.floor(facets.min(axis=1)) - 3
    bins = [np.arange(count + 6) - 0.5 for count in np.ceil(np.ptp(facets, axis=1)).astype(int)]
    image, *_ = np.histogram2d(*(facets - low[:, None]), bins=bins, weights=area.ravel())
    pixels = np.array(cells(*np.mgrid[:side, :side], height)) - low[:, None, None]
    return ndimage.map_coordinates(image / cell.prod(), pixels, order=1)


@pytest.fixture(scope="module", params=[(90, 35), (78, 39), (282, 39)])
def take(request):
    """A view, mountains, beta0 of even ground on them, and pixels away from layover, shadow and the border."""
    azimuth, incidence = request.param
    view, height = View(incidence, azimuth), mountains(rise=30)
    special = layover(height, (10, 10), view) | shadow(height, (10, 10), view)
    plain = ~ndimage.binary_dilation(special, iterations=3)
    plain[:12] = plain[-12:] = plain[:, :12] = plain[:, -12:] = False
    return view, height, radar_image(height, view), plain


def test_even_ground_on_mountains_comes_out_even(take):
    view, height, beta0, plain = take
    flattened = flatten_terrain(scene_of(beta0, quantity="beta0"), dem_of(height), view)
    before, after = power_to_db(beta0[plain]), power_to_db(flattened.band("VV")[plain])
    assert plain.mean() > 0.5
    assert before.std() > 3
    assert after.std() < 0.25
    assert after.mean() == pytest.approx(0, abs=0.02)


def test_layover_comes_out_near_the_rest(take):
    """The radar's own blur keeps its narrow peaks about a decibel lower than facets without blur."""
    view, height, beta0, _ = take
    folded = layover(height, (10, 10), view)
    folded[:12] = folded[-12:] = folded[:, :12] = folded[:, -12:] = False
    flattened = flatten_terrain(scene_of(beta0, quantity="beta0"), dem_of(height), view)
    before = beta0[folded] * np.tan(np.deg2rad(view.incidence_deg))
    assert folded.sum() > 200
    assert power_to_db(before.mean()) > 10
    assert power_to_db(flattened.band("VV")[folded].mean()) == pytest.approx(-0.7, abs=0.5)


def test_the_cosine_leaves_mountains_uneven(take):
    view, height, beta0, plain = take
    local = local_incidence(gradient(height, (10, 10)), view)
    legacy = power_to_db(cosine_correction(beta0, local, view.incidence_deg)[plain])
    assert 1.8 < legacy.std() < power_to_db(beta0[plain]).std()


@pytest.mark.parametrize("tilt", [-40, -20, 0, 10, 20, 30, 34])
def test_the_cosine_is_short_by_the_crowding_in_slant_range(tilt):
    local = np.array([35.0 - tilt])
    gamma0 = area_ratio_of_plane(tilt, 35) * np.tan(np.deg2rad(35))  # of even ground, by the ellipsoid's area
    excess = np.sin(np.deg2rad(35)) / np.sin(np.deg2rad(35 - tilt))
    assert cosine_correction(gamma0, local, 35) == pytest.approx(excess, rel=1e-5)
    if tilt == 34:
        assert power_to_db(excess) > 15


def test_the_cosine_has_no_answer_without_a_beam():
    assert np.isnan(cosine_correction([0.1, 0.1], [90.0, 110.0], 35)).all()


@pytest.mark.parametrize(
    ("quantity", "factor"),
    [("sigma0", 1 / np.cos(np.deg2rad(39))), ("gamma0", 1), ("beta0", np.tan(np.deg2rad(39)))],
)
def test_flat_ground_gets_gamma0_of_the_ellipsoid(quantity, factor):
    values = np.random.default_rng(0).gamma(4, 0.02, (20, 30))
    flattened = flatten_terrain(
        scene_of(values, quantity=quantity), dem_of(np.full((20, 30), 400)), View(39, 90)
    )
    assert flattened.bands == (Band("VV", "power", "gamma0"),)
    assert flattened.valid.all()
    assert flattened.band("VV") == pytest.approx(values * factor, rel=1e-5)


@pytest.mark.parametrize("units", ["db", "amplitude"])
def test_other_units_go_through_power_and_back(units):
    values = np.random.default_rng(0).gamma(4, 0.02, (40, 50)) + 0.001
    given = power_to_db(values) if units == "db" else np.sqrt(values)
    dem, view = dem_of(plane(20, 78)), View(35, 78)
    expected = flatten_terrain(scene_of(values), dem, view)
    found = flatten_terrain(scene_of(given, units), dem, view)
    back = 10 ** (found.band("VV") / 10) if units == "db" else found.band("VV") ** 2
    assert found.bands[0].units == units
    assert (found.valid == expected.valid).all()
    assert back[found.valid] == pytest.approx(expected.band("VV")[found.valid], rel=1e-4)


def test_power_below_the_noise_keeps_its_sign():
    values = np.full((40, 50), -0.01)
    flattened = flatten_terrain(scene_of(values), dem_of(plane(-20, 90)), View(35, 90))
    assert (flattened.band("VV") < 0).all()


def test_bands_that_are_no_backscatter_stay_as_they_are():
    values = np.full((2, 40, 50), 0.1, np.float32)
    values[1] = 37
    both = replace(
        scene_of(values[0]), pixels=values, bands=(Band("VV", "power", "sigma0"), Band("linci", "degree"))
    )
    flattened = flatten_terrain(both, dem_of(plane(20, 90)), View(35, 90))
    assert (flattened.band("linci") == 37).all()
    assert flattened.bands == (Band("VV", "power", "gamma0"), Band("linci", "degree"))


def test_ground_without_beam_is_no_data_and_is_counted():
    height = np.full((40, 60), 500.0)
    height[:, 30] = 800.0
    flattened = flatten_terrain(scene_of(np.ones((40, 60))), dem_of(height), View(40, 90))
    hidden = ~flattened.valid
    assert (hidden == shadow(height, (10, 10), View(40, 90))).mean() > 0.97
    assert hidden[:, 32:54].all()
    assert not hidden[:, 57:].any()
    assert np.isnan(flattened.band("VV")[hidden]).all()
    assert f"{hidden.sum()} px in shadow" in flattened.notes[-1]


def test_grazing_ground_is_no_data():
    faint = area_ratio_of_plane(-54, 35) / area_ratio_of_plane(0, 35)
    assert faint < MIN_AREA
    flattened = flatten_terrain(scene_of(np.ones((40, 50))), dem_of(plane(-54, 90)), View(35, 90))
    assert not flattened.valid.any()


def test_no_data_of_either_stays_no_data_and_bends_nothing():
    height, view = plane(20, 78), View(35, 78)
    seen, measured = np.ones((40, 50), bool), np.ones((40, 50), bool)
    seen[:10, :20] = False
    seen[25, 25] = False
    measured[30:, 40:] = False
    dem = dem_of(np.where(seen, height, 32767), valid=seen)
    flattened = flatten_terrain(scene_of(np.ones((40, 50)), valid=measured), dem, view)
    assert not flattened.valid[~(seen & measured)].any()
    assert (flattened.valid == (seen & measured)).sum() >= 2000 - 3
    expected = 1 / np.sin(np.deg2rad(35)) / area_ratio_of_plane(20, 35)
    assert flattened.band("VV")[flattened.valid] == pytest.approx(expected, rel=1e-3)


def test_works_on_degrees():
    step = 1 / 3600
    grid = Grid(Affine(step, 0, 11, 0, -step, 60), CRS.from_epsg(4326), 40, 50)
    east = 10.0 * np.arange(50) + np.zeros((40, 1)) + 100
    take, dem = (replace(part, grid=grid) for part in (scene_of(np.ones((40, 50))), dem_of(east)))
    flattened = flatten_terrain(take, dem, View(39, 270))
    per_column = spacing_m(grid)[1].mean()
    expected = area_ratio_of_plane(-np.rad2deg(np.arctan(10 / per_column)), 39)
    found = 1 / np.sin(np.deg2rad(39)) / flattened.band("VV")
    assert found == pytest.approx(expected, rel=1e-3)


def test_flattening_twice_is_refused_by_its_own_note():
    dem = dem_of(plane(10, 90))
    once = flatten_terrain(scene_of(np.ones((40, 50))), dem, View(35, 90))
    with pytest.raises(DataError, match="again"):
        flatten_terrain(once, dem, View(35, 90))


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"product": "palsar2-mosaic"}, "again"),
        ({"name": "S1A_IW_20210101T000000_DVP_RTC30_G_gpuned_FD6A"}, "again"),
        ({"name": "iw-vv.rtc"}, "again"),
        ({"name": "N47E011_20_sl_HH_F02DAR"}, "again"),
        ({"notes": ("slope-corrected by its maker.",)}, "again"),
        ({"notes": ("gamma0 flattened by dem (sarsen, gamma_bilinear).",)}, "again"),
        ({"product": "alos2-l1.5"}, "take level 2.1"),
        ({"name": "IMG-HH-ALOS2458503210-221119-UBSR1.5GUD"}, "take level 2.1"),
        ({"bands": (Band("VV", "power"),)}, "not calibrated backscatter"),
        ({"bands": (Band("VV", "dn", "sigma0"),)}, "not calibrated backscatter"),
        ({"bands": (Band("linci", "degree"),)}, "no band is radar"),
    ],
)
def test_what_must_not_be_flattened_is_refused(part, words):
    take = replace(scene_of(np.ones((40, 50))), **part)
    with pytest.raises(DataError, match=words):
        flatten_terrain(take, dem_of(plane(10, 90)), View(35, 90))


def test_orthorectified_alos2_scenes_are_flattened():
    take = replace(
        scene_of(np.ones((40, 50))), name="IMG-HH-ALOS2458503210-221119-UBSR2.1GUD", product="alos2-l2.1"
    )
    assert flatten_terrain(take, dem_of(plane(10, 90)), View(35, 90)).bands[0].quantity == "gamma0"


def test_a_note_that_says_not_flattened_is_no_obstacle():
    take = scene_of(
        np.ones((40, 50)), notes=("Range-Doppler terrain correction.", "Not terrain-flattened.", "Starch.")
    )
    assert flatten_terrain(take, dem_of(plane(10, 90)), View(35, 90)).valid.all()


@pytest.mark.parametrize(
    ("take", "dem", "words"),
    [
        ({"transform": NORTH_UP @ Affine.translation(1, 0)}, {}, "different grids"),
        ({}, {"crs": CRS.from_epsg(32633)}, "different grids"),
        ({}, {"crs": None}, "hill has no coordinate reference system"),
        ({"crs": None}, {"crs": None}, "take has no coordinate reference system"),
        (
            {"transform": Affine(10, 0, 6e5, 0, 10, 5e6)},
            {"transform": Affine(10, 0, 6e5, 0, 10, 5e6)},
            "north-up",
        ),
        (
            {"transform": NORTH_UP @ Affine.rotation(5)},
            {"transform": NORTH_UP @ Affine.rotation(5)},
            "north-up",
        ),
    ],
)
def test_grids_that_do_not_fit_are_refused(take, dem, words):
    parts = [
        replace(part, grid=replace(part.grid, **changes))
        for part, changes in ((scene_of(np.ones((40, 50))), take), (dem_of(plane(10, 90)), dem))
    ]
    with pytest.raises(GeometryError, match=words):
        flatten_terrain(*parts, View(35, 90))


@pytest.mark.mirror
def test_an_alpine_model_flattens(mirror):
    model = read_scene(mirror / "avaframe-alr" / "avaAlr.tif", units="m")
    view = View.of_pass("descending", 39)
    height, spacing = heights(model), spacing_m(model.grid)
    ratio = area_ratio(height, spacing, view)
    assert (np.isfinite(ratio) == model.valid).all()
    relative = ratio[model.valid] * np.tan(np.deg2rad(39))
    percentiles = np.percentile(relative, [1, 10, 50, 90, 99])
    assert percentiles == pytest.approx([0.234, 0.643, 1.183, 4.819, 22.19], rel=0.01)
    beta0 = np.where(model.valid, ratio, -9999.0)
    take = replace(model, pixels=beta0[None].astype(np.float32), bands=(Band("VV", "power", "beta0"),))
    flattened = flatten_terrain(take, model, view)
    assert not flattened.valid[~model.valid].any()
    assert flattened.valid.sum() > 0.99 * model.valid.sum()
    assert flattened.band("VV")[flattened.valid] == pytest.approx(1, rel=1e-3)
