"""Slope, aspect and local incidence on planes and cones of known answer, on every kind of grid."""

from dataclasses import replace

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS

from sartutor.errors import GeometryError
from sartutor.sar.geotiff import read_scene
from sartutor.sar.scene import Band, Grid, Scene
from sartutor.sar.terrain import (
    HEADING_DEG,
    View,
    aspect,
    convergence_deg,
    dem_gradient,
    gradient,
    heights,
    local_incidence,
    slope,
    spacing_m,
    terrain_layers,
)

UTM, DEGREES, MERCATOR = (CRS.from_epsg(code) for code in (32632, 4326, 3857))


def plane(east, north, shape=(20, 30), spacing=(10.0, 10.0)):
    """Heights that rise by `east` and `north` metres per metre, row 0 in the north."""
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    return 500 + east * cols * spacing[1] - north * rows * spacing[0]


def tilted(slope_deg, azimuth_deg, **kwargs):
    """A plane that descends towards `azimuth_deg`, clockwise from north."""
    rise, azimuth = np.tan(np.deg2rad(slope_deg)), np.deg2rad(azimuth_deg)
    return plane(-rise * np.sin(azimuth), -rise * np.cos(azimuth), **kwargs)


def dem(height, transform, crs=UTM, valid=None):
    height = np.asarray(height, np.float32)
    grid = Grid(transform, crs, *height.shape)
    valid = np.ones(height.shape, bool) if valid is None else valid
    return Scene(height[None], (Band("height", "m"),), grid, valid, "hill")


@pytest.mark.parametrize("shape", [(2, 2), (20, 30)])
def test_gradient_of_a_plane_is_its_rise_up_to_the_border(shape):
    found = gradient(plane(0.3, -0.2, shape, (5, 20)), (5, 20))
    assert found.shape == (2, *shape)
    assert found.dtype == np.float32
    assert found[0] == pytest.approx(0.3, abs=1e-5)
    assert found[1] == pytest.approx(-0.2, abs=1e-5)


def test_gradient_takes_another_column_spacing_in_each_row():
    per_column = np.linspace(10, 20, 20)[:, None]
    height = 0.4 * np.arange(30) * per_column
    assert gradient(height, (10, per_column))[0] == pytest.approx(0.4, abs=1e-5)


def test_whole_numbers_of_metres_have_a_gradient():
    assert gradient(plane(0.5, 0).astype(np.int16), (10, 10))[0] == pytest.approx(0.5)


@pytest.mark.parametrize("missing", [np.nan, np.inf])
def test_no_data_is_no_cliff(missing):
    height = plane(0.1, 0.2)
    height[8:12, 10:14] = missing
    found = slope(gradient(height, (10, 10)))
    assert np.isnan(found[8:12, 10:14]).all()
    assert np.nanmax(found) == pytest.approx(np.rad2deg(np.arctan(np.hypot(0.1, 0.2))), abs=1e-3)
    assert np.isnan(found).sum() == 16 + 16  # the hole and the pixels that share an edge with it


@pytest.mark.parametrize("azimuth", [0, 45, 100, 190, 359])
@pytest.mark.parametrize("degrees", [1, 30, 70])
def test_slope_and_aspect_of_a_tilted_plane(degrees, azimuth):
    found = gradient(tilted(degrees, azimuth), (10, 10))
    assert slope(found) == pytest.approx(degrees, abs=1e-2)
    assert (aspect(found) - azimuth + 180) % 360 - 180 == pytest.approx(0, abs=1e-2)


def test_flat_ground_has_no_aspect():
    found = gradient(plane(0, 0), (10, 10))
    assert np.isnan(aspect(found)).all()
    assert (slope(found) == 0).all()


def test_a_cone_falls_in_all_directions_alike():
    rows, cols = np.mgrid[:101, :101] - 50
    found = gradient(1000 - 0.7 * 10 * np.hypot(rows, cols), (10, 10))
    away = np.hypot(rows, cols) > 10
    assert slope(found)[away] == pytest.approx(np.rad2deg(np.arctan(0.7)), abs=0.15)
    outwards = np.rad2deg(np.arctan2(cols, -rows))
    assert (aspect(found) - outwards + 180)[away] % 360 - 180 == pytest.approx(0, abs=0.3)


@pytest.mark.parametrize(
    ("orbit_pass", "look", "azimuth"),
    [
        ("ascending", "right", 78),
        ("descending", "right", 282),
        ("ascending", "left", 258),
        ("descending", "left", 102),
    ],
)
def test_the_beam_travels_at_right_angles_to_the_flight(orbit_pass, look, azimuth):
    assert View.of_pass(orbit_pass, 35, look).look_azimuth_deg == azimuth
    known = View.of_pass(orbit_pass, 35, look, heading_deg=HEADING_DEG[orbit_pass] + 5)
    assert known.look_azimuth_deg == azimuth + 5


def test_the_sensor_is_where_the_beam_comes_from():
    assert View(30, 90).to_sensor() == pytest.approx((-0.5, 0, np.sqrt(3) / 2))
    assert View(30, 180).to_sensor() == pytest.approx((0, 0.5, np.sqrt(3) / 2))


@pytest.mark.parametrize("incidence", [0, 90, -30, float("nan")])
def test_impossible_views_are_refused(incidence):
    with pytest.raises(GeometryError, match="between 0 and 90"):
        View(incidence, 90)
    with pytest.raises(GeometryError, match="'ascending' or 'descending'"):
        View.of_pass("up", 35)
    with pytest.raises(GeometryError, match="azimuth"):
        View(35, float("nan"))


@pytest.mark.parametrize("azimuth", [0, 78, 282])
@pytest.mark.parametrize("tilt", [0, 20, 35, 60])
def test_slopes_in_the_plane_of_incidence_turn_the_angle_by_themselves(azimuth, tilt):
    view = View(35, azimuth)
    towards = gradient(tilted(tilt, azimuth + 180), (10, 10))
    away = gradient(tilted(tilt, azimuth), (10, 10))
    assert local_incidence(towards, view) == pytest.approx(abs(35 - tilt), abs=0.02)
    assert local_incidence(away, view) == pytest.approx(35 + tilt, abs=0.02)


def test_slopes_along_the_flight_direction_widen_the_angle_by_their_cosine():
    sideways = gradient(tilted(40, 0), (10, 10))
    cosine = np.cos(np.deg2rad(35)) * np.cos(np.deg2rad(40))
    assert local_incidence(sideways, View(35, 90)) == pytest.approx(np.rad2deg(np.arccos(cosine)), abs=1e-2)


def test_spacing_of_utm_is_that_of_the_grid():
    assert spacing_m(Grid(Affine(10, 0, 6e5, 0, -20, 5.2e6), UTM, 30, 20)) == (20, 10)


def test_spacing_of_survey_feet_is_in_metres():
    feet = CRS.from_epsg(2263)  # New York Long Island, US survey feet
    per_row, per_column = spacing_m(Grid(Affine(100, 0, 9.9e5, 0, -100, 2.1e5), feet, 10, 10))
    assert per_row == pytest.approx(30.48006, abs=1e-4)
    assert per_column == per_row


def ellipsoid(latitude):
    """Metres per degree north and east on WGS 84: radii of curvature."""
    a, e2, phi = 6378137.0, 0.00669437999014, np.deg2rad(latitude)
    root = 1 - e2 * np.sin(phi) ** 2
    return np.deg2rad(a * (1 - e2) / root**1.5), np.deg2rad(a * np.cos(phi) / np.sqrt(root))


@pytest.mark.parametrize("top", [0.05, 47.0, -30.0, 80.0])
def test_spacing_of_degrees_follows_the_ellipsoid(top):
    step = 0.8 / 3600
    grid = Grid(Affine(step, 0, 9, 0, -step, top), DEGREES, 400, 30)
    per_row, per_column = spacing_m(grid)
    latitudes = top - (np.arange(400) + 0.5) * step
    north, east = ellipsoid(latitudes)
    assert per_row == pytest.approx(step * north.mean(), rel=1e-6)
    assert per_column.shape == (400, 1)
    assert per_column[:, 0] == pytest.approx(step * east, rel=1e-6)


def test_spacing_of_web_mercator_is_that_of_the_ground():
    grid = Grid(Affine(10, 0, 1e6, 0, -10, 5942074), MERCATOR, 10, 10)  # 47 degrees north
    north, east = ellipsoid(46.999)
    per_row, per_column = spacing_m(grid)
    assert per_column == pytest.approx(10 * east / np.deg2rad(6378137), rel=1e-4)
    assert per_row == pytest.approx(10 * np.cos(np.deg2rad(47)) * north / np.deg2rad(6378137), rel=1e-4)
    assert per_row == pytest.approx(6.82, abs=0.03)


@pytest.mark.parametrize("vertical", ["5773", "5703"])  # metres above EGM96 and NAVD88
def test_a_vertical_system_in_metres_changes_nothing(vertical):
    model = dem(
        plane(0.2, 0), Affine(10, 0, 6e5, 0, -10, 5.2e6), CRS.from_user_input(f"EPSG:32632+{vertical}")
    )
    assert spacing_m(model.grid) == (10, 10)
    assert terrain_layers(model).band("slope") == pytest.approx(np.rad2deg(np.arctan(0.2)), abs=1e-3)
    degrees = replace(
        model.grid,
        crs=CRS.from_user_input(f"EPSG:4326+{vertical}"),
        transform=Affine(1e-4, 0, 9, 0, -1e-4, 47),
    )
    assert spacing_m(degrees)[0] == pytest.approx(1e-4 * ellipsoid(47)[0], rel=1e-4)


@pytest.mark.parametrize(
    ("crs", "x", "y", "convergence"),
    [
        (
            UTM,
            6.1e5,
            6.65e6,
            np.rad2deg(np.arctan(np.tan(np.deg2rad(1.97085)) * np.sin(np.deg2rad(59.9725)))),
        ),
        (UTM, 5e5, 5.2e6, 0),
        (DEGREES, 12, 47, 0),
        (CRS.from_epsg(3413), -1e6, -1e6, -45),  # the pole lies to the upper right
    ],
)
def test_grid_north_turns_with_the_map(crs, x, y, convergence):
    step = 1e-4 if crs.is_geographic else 10.0
    grid = Grid(Affine(step, 0, x, 0, -step, y), crs, 2, 2)
    assert convergence_deg(grid) == pytest.approx(convergence, abs=1e-3)
    assert View(35, 10).on_grid(grid).look_azimuth_deg == pytest.approx((10 - convergence) % 360, abs=1e-3)


def test_a_plane_has_the_same_slope_on_degrees_as_in_metres():
    step = 1 / 3600
    grid = Grid(Affine(step, 0, 11, 0, -step, 60.0), DEGREES, 60, 50)
    north, east = ellipsoid(60 - (np.arange(60) + 0.5) * step)
    rows, cols = np.mgrid[:60, :50]
    height = 2000 + 0.3 * (cols - 25) * step * east[:, None] - 0.4 * rows * step * north[30]
    layers = terrain_layers(dem(height, grid.transform, DEGREES))
    assert layers.band("slope") == pytest.approx(np.rad2deg(np.arctan(0.5)), abs=0.02)
    assert layers.band("aspect") == pytest.approx(180 + np.rad2deg(np.arctan2(0.3, 0.4)), abs=0.1)


TURN = Affine.translation(6e5, 5.2e6) @ Affine.rotation(30)


@pytest.mark.parametrize(
    "transform",
    [
        Affine(10, 0, 6e5, 0, -10, 5.2e6),
        Affine(10, 0, 6e5, 0, 10, 5.2e6),
        Affine(-10, 0, 6e5, 0, -10, 5.2e6),
        TURN @ Affine.scale(10, -20),
        Affine.translation(6e5, 5.2e6) @ Affine.rotation(-100) @ Affine.scale(7, -10),
    ],
    ids=["north-up", "south-up", "mirrored", "turned", "turned far"],
)
def test_layers_are_those_of_the_ground_however_the_grid_lies(transform):
    rows, cols = np.mgrid[:20, :30] + 0.5
    x, y = transform @ (cols, rows)
    height = 1000 + 0.3 * (x - 6e5) + 0.4 * (y - 5.2e6)
    layers = terrain_layers(dem(height, transform))
    assert layers.bands == (Band("slope", "degree"), Band("aspect", "degree"))
    assert layers.band("slope") == pytest.approx(np.rad2deg(np.arctan(0.5)), abs=1e-2)
    assert layers.band("aspect") == pytest.approx(180 + np.rad2deg(np.arctan2(0.3, 0.4)), abs=1e-2)
    assert layers.grid.transform == transform


def test_layers_are_valid_where_the_gradient_is_known():
    valid = np.ones((20, 30), bool)
    valid[:, :5] = False
    height = np.where(valid, plane(0.2, 0), -9999)
    layers = terrain_layers(dem(height, Affine(10, 0, 6e5, 0, -10, 5.2e6), valid=valid))
    assert not layers.valid[:, :6].any()
    assert layers.valid[:, 6:].all()
    assert layers.band("slope")[layers.valid] == pytest.approx(np.rad2deg(np.arctan(0.2)), abs=1e-2)
    assert layers.notes == ()


def test_flat_pixels_of_a_scene_stay_valid_and_are_counted():
    height = plane(0.2, 0)
    height[5:15, 5:15] = 700
    layers = terrain_layers(dem(height, Affine(10, 0, 6e5, 0, -10, 5.2e6)))
    assert layers.valid.all()
    assert (layers.band("aspect")[6:14, 6:14] == 0).all()
    assert layers.notes == ("aspect: 64 flat px set to 0.",)


@pytest.mark.mirror
def test_an_alpine_model_has_alpine_slopes(mirror):
    model = read_scene(mirror / "avaframe-alr" / "avaAlr.tif", units="m")
    layers = terrain_layers(model)
    assert spacing_m(model.grid) == (5, 5)
    assert model.valid.mean() == pytest.approx(0.6938, abs=1e-4)
    assert not (layers.valid & ~model.valid).any()
    assert layers.valid.sum() > 0.99 * model.valid.sum()
    steepness = layers.band("slope")[layers.valid]
    assert np.percentile(steepness, [1, 50, 90, 99]) == pytest.approx([1.32, 24.01, 40.92, 57.36], abs=0.01)
    assert steepness.max() == pytest.approx(82.3, abs=0.1)  # rock; a cliff at the collar would have 90
    facing = layers.band("aspect")[layers.valid]
    assert np.mean((facing > 90) & (facing < 270)) == pytest.approx(0.925, abs=0.005)  # it falls to the south
    assert np.isnan(dem_gradient(model)[:, ~model.valid]).all()
    assert np.nanmin(heights(model)) == pytest.approx(566, abs=1)
