"""Drawn polygons and pixels: exact round trips, clipping, refusals, areas and the antimeridian."""

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.windows import Window
from shapely.geometry import Polygon

from sartutor.errors import GeometryError
from sartutor.sar.footprint import (
    POINTS_PER_EDGE,
    area_m2,
    bounds,
    box_polygon,
    clip_outline,
    ground,
    mask_polygons,
    outline,
    pixel_box,
    pixel_window,
    rasterize,
    transform_points,
)
from sartutor.sar.scene import Grid

DEGREES = CRS.from_epsg(4326)
MERCATOR = CRS.from_epsg(3857)
UTM = CRS.from_epsg(32632)

PROJECTED = Grid(Affine(10, 0, 600000, 0, -10, 5200000), UTM, 300, 400)
GEOGRAPHIC = Grid(Affine(9e-5, 0, 9.5, 0, -9e-5, 47.0), DEGREES, 300, 400)
ROTATED = Grid(PROJECTED.transform @ Affine.rotation(33), UTM, 300, 400)
ROTATED_GEOGRAPHIC = Grid(GEOGRAPHIC.transform @ Affine.rotation(-71), DEGREES, 300, 400)
BARE = Grid(Affine.identity(), None, 300, 400)
GRIDS = [PROJECTED, GEOGRAPHIC, ROTATED, ROTATED_GEOGRAPHIC, BARE]

sides = st.tuples(st.floats(0, 390), st.floats(0, 290), st.floats(0.01, 200), st.floats(0.01, 200))


def pixel_ring(x, y, width, height):
    return np.array([(x, y), (x + width, y), (x + width, y + height), (x, y + height)])


@pytest.mark.parametrize("grid", GRIDS, ids=["projected", "geographic", "rotated", "rotated degrees", "bare"])
@settings(deadline=None)
@given(sides)
def test_corners_return_exactly_in_the_grid_s_own_coordinates(grid, side):
    ring = pixel_ring(*side)
    polygon = ground(ring, grid, grid.crs)
    there = outline(polygon, grid.crs, grid)
    assert np.abs(there - ring).max() < 1e-6
    back = np.array(ground(there, grid, grid.crs).exterior.coords)
    unit = np.abs(np.array(grid.transform)[[0, 1, 3, 4]]).max()
    assert np.abs(back - np.array(polygon.exterior.coords)).max() / unit < 1e-6


@pytest.mark.parametrize("grid", GRIDS[:4], ids=["projected", "geographic", "rotated", "rotated degrees"])
@pytest.mark.parametrize("crs", [DEGREES, MERCATOR, CRS.from_epsg(3035)], ids=["degrees", "mercator", "laea"])
@settings(max_examples=30, deadline=None)
@given(sides)
def test_corners_return_through_another_system(grid, crs, side):
    ring = pixel_ring(*side)
    there = outline(ground(ring, grid, crs), crs, grid)
    corners = there if len(there) == 4 else there[::POINTS_PER_EDGE]
    assert np.abs(corners - ring).max() < 0.01


@pytest.mark.parametrize("grid", [PROJECTED, ROTATED])
def test_edges_are_densified_before_they_bend(grid):
    """Every point of a parallel of latitude lies on the outline, not on the chord between its ends."""
    grid = Grid(grid.transform @ Affine.scale(10), UTM, 3000, 3000)
    west, south, east, north = 9.0, 46.8, 12.0, 47.2
    there = outline(box_polygon(west, south, east, north), DEGREES, grid)
    assert len(there) == 4 * POINTS_PER_EDGE
    middle = transform_points(np.array([[(west + east) / 2, north]]), DEGREES, UTM)
    pixel = np.array(~grid.transform @ tuple(middle[0]))
    ring = shapely.LinearRing(there)
    assert ring.distance(shapely.Point(pixel)) < 0.05
    chord = shapely.LinearRing(
        outline(box_polygon(west, south, east, north), DEGREES, grid)[::POINTS_PER_EDGE]
    )
    assert chord.distance(shapely.Point(pixel)) > 2


def test_a_box_in_degrees_is_not_its_two_corners():
    """100 x 100 px drawn in UTM come back as 100 x 100 px, although the box leans in degrees."""
    polygon = ground(pixel_ring(100, 100, 100, 100), PROJECTED, DEGREES)
    assert pixel_box(outline(polygon, DEGREES, PROJECTED)) == pytest.approx((100, 100, 200, 200), abs=0.01)


def test_inside_stays_as_drawn():
    ring = pixel_ring(10, 20, 30, 40)
    inside, clipped = clip_outline(ring, PROJECTED)
    assert np.array_equal(inside, ring)
    assert not clipped


@pytest.mark.parametrize("crs", [DEGREES, MERCATOR])
def test_the_whole_scene_is_not_cut_by_rounding(crs):
    box = box_polygon(*bounds(GEOGRAPHIC, crs))
    inside, clipped = clip_outline(outline(box, crs, GEOGRAPHIC), GEOGRAPHIC)
    assert not clipped
    assert pixel_box(inside) == pytest.approx((0, 0, 400, 300), abs=1e-6)
    assert pixel_window(pixel_box(inside), GEOGRAPHIC) == Window(0, 0, 400, 300)


def test_half_outside_is_clipped():
    inside, clipped = clip_outline(pixel_ring(-50, 250, 100, 100), PROJECTED)
    assert clipped
    assert pixel_box(inside) == (0, 250, 50, 300)
    assert Polygon(inside).area == pytest.approx(50 * 50)


@settings(deadline=None)
@given(st.floats(-300, 600), st.floats(-300, 500), st.floats(20, 400), st.floats(0, 360))
def test_clipping_keeps_exactly_the_common_area(x, y, size, angle):
    turned = shapely.affinity.rotate(shapely.box(x, y, x + size, y + size), angle)
    common = turned.intersection(shapely.box(0, 0, 400, 300)).area
    points = np.array(turned.exterior.coords)[:-1]
    if common > 1e-6:
        assert Polygon(clip_outline(points, PROJECTED)[0]).area == pytest.approx(common, rel=1e-6, abs=1e-6)
    elif common == 0:
        with pytest.raises(GeometryError):
            clip_outline(points, PROJECTED)


def test_outside_names_scene_and_bounds_in_the_drawn_system():
    there = outline(box_polygon(20, 40, 21, 41), DEGREES, PROJECTED)
    west, south, east, north = bounds(PROJECTED, DEGREES)
    with pytest.raises(GeometryError, match="outside chip") as caught:
        clip_outline(there, PROJECTED, name="chip.tif", crs=DEGREES)
    message = str(caught.value)
    assert "EPSG:4326" in message
    assert all(f"{value:.7g}" in message for value in (west, south, east, north))


def test_a_box_over_a_continent_covers_the_scene():
    """Its corners lie where the projection of the scene has lost its meaning."""
    for grid in (PROJECTED, ROTATED):
        there = outline(box_polygon(-80, -60, 95, 89), DEGREES, grid)
        inside, clipped = clip_outline(there, grid, crs=DEGREES)
        assert clipped
        assert Polygon(inside).area == pytest.approx(grid.width * grid.height)


def test_touching_the_edge_is_outside():
    with pytest.raises(GeometryError, match="outside"):
        clip_outline(pixel_ring(400, 0, 10, 10), PROJECTED)


def test_far_side_of_the_world_is_outside():
    there = outline(box_polygon(-171.5, -47.1, -171.4, -47.0), DEGREES, PROJECTED)
    with pytest.raises(GeometryError, match="outside"):
        clip_outline(there, PROJECTED, crs=DEGREES)


@pytest.mark.parametrize(
    ("corners", "words"),
    [
        ((9, 47, 9, 48), "zero area"),
        ((9, 47, 10, 47), "zero area"),
        ((9, float("nan"), 10, 48), "not a number"),
        ((9, 47, float("inf"), 48), "not a number"),
        ((10, 47, 9, 48), "wrong order"),
        ((179, 47, -179, 48), "beyond 180"),
    ],
)
def test_boxes_that_are_none_are_refused(corners, words):
    with pytest.raises(GeometryError, match=words):
        box_polygon(*corners)


@pytest.mark.parametrize("polygon", [Polygon(), Polygon([(0, 0), (1, 1), (2, 2)])])
def test_shapes_without_area_are_refused(polygon):
    with pytest.raises(GeometryError, match="draw"):
        outline(polygon, DEGREES, PROJECTED)


def test_a_grid_without_system_takes_its_own_coordinates_only():
    assert pixel_box(outline(box_polygon(5, 6, 8, 9), None, BARE)) == (5, 6, 8, 9)
    with pytest.raises(GeometryError, match="pixel coordinates"):
        outline(box_polygon(5, 6, 8, 9), DEGREES, BARE)


def test_a_system_that_is_none_is_refused():
    local = Grid(Affine.identity(), CRS.from_wkt('LOCAL_CS["desk",UNIT["metre",1]]'), 30, 40)
    assert pixel_box(outline(box_polygon(5, 6, 8, 9), None, local)) == (5, 6, 8, 9)
    with pytest.raises(GeometryError, match=r"desk.* to EPSG:4326"):
        bounds(local, DEGREES)


def test_window_is_rounded_outward_and_clipped():
    assert pixel_window((10.2, 20.0, 30.1, 40.0), PROJECTED) == Window(10, 20, 21, 20)
    assert pixel_window((-5.5, 290.5, 3.0, 310.0), PROJECTED) == Window(0, 290, 3, 10)


def test_pixels_belong_by_their_centre():
    inside = rasterize(np.array([(2.4, 1.6), (5.6, 1.6), (5.6, 3.4), (2.4, 3.4)]), Window(1, 1, 6, 4))
    expected = np.zeros((4, 6), bool)
    expected[1:2, 1:5] = True
    assert (inside == expected).all()


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1))
def test_mask_polygons_are_valid_and_cover_the_mask(seed):
    mask = np.random.default_rng(seed).random((12, 15)) < 0.6
    window = Window(30, 40, 15, 12)
    geometry = mask_polygons(mask, PROJECTED, window)
    assert geometry.is_valid
    assert geometry.area == pytest.approx(mask.sum() * 100)
    columns, rows = np.meshgrid(np.arange(30.5, 45), np.arange(40.5, 52))
    x, y = PROJECTED.transform @ (columns, rows)
    assert (shapely.contains_xy(geometry, x, y) == mask).all()


def test_no_mask_no_polygons():
    assert mask_polygons(np.zeros(PROJECTED.shape, bool), PROJECTED).is_empty
    assert area_m2(np.zeros(PROJECTED.shape, bool), PROJECTED) == 0


def test_area_on_the_ellipsoid():
    mask = np.zeros(GEOGRAPHIC.shape, bool)
    mask[100:200, 50:250] = True
    latitude = np.radians(47.0 - 150 * 9e-5)
    squared = 0.00669437999014
    curvature = 1 - squared * np.sin(latitude) ** 2
    meridian = 6378137 * (1 - squared) / curvature**1.5
    across = 6378137 / np.sqrt(curvature) * np.cos(latitude)
    expected = mask.sum() * meridian * across * np.radians(9e-5) ** 2
    assert area_m2(mask, GEOGRAPHIC) == pytest.approx(expected, rel=1e-4)


def test_area_does_not_depend_on_the_projection():
    ring = pixel_ring(50, 50, 200, 100)
    areas = [
        area_m2(ground(outline(ground(ring, PROJECTED, crs), crs, PROJECTED), PROJECTED, UTM), PROJECTED)
        for crs in (UTM, DEGREES, MERCATOR)
    ]
    assert areas == pytest.approx([areas[0]] * 3, rel=1e-4)
    assert areas[0] == pytest.approx(200 * 100 * 100, rel=2e-3)


def test_area_without_a_system_is_unknown():
    assert area_m2(np.ones(BARE.shape, bool), BARE) is None


ACROSS = Grid(Affine(100, 0, 625000, 0, -100, 7200000), CRS.from_epsg(32660), 200, 300)


@pytest.mark.parametrize(("crs", "turn"), [(DEGREES, 360.0), (MERCATOR, 2 * np.pi * 6378137)])
def test_across_the_antimeridian_bounds_go_on(crs, turn):
    west, _, east, _ = bounds(ACROSS, crs)
    assert west < turn / 2 < east
    assert east - west < turn / 100


@pytest.mark.parametrize("turns", [-1, 0, 1])
def test_a_box_on_any_copy_of_the_world_is_the_same_pixels(turns):
    west, south, east, north = bounds(ACROSS, DEGREES)
    middle = (west + east) / 2 + 360 * turns
    drawn = box_polygon(middle - 0.2, south + 0.05, middle + 0.2, north - 0.05)
    x0, y0, x1, y1 = pixel_box(outline(drawn, DEGREES, ACROSS))
    assert 0 < x1 - x0 < 300
    assert 0 < y1 - y0 < 200
    assert outline(drawn, DEGREES, GEOGRAPHIC).shape == (4, 2)


def test_a_box_around_the_world_is_refused():
    in_degrees = Grid(Affine(0.01, 0, 179, 0, -0.01, 65), DEGREES, 100, 200)
    for grid in (ACROSS, in_degrees, GEOGRAPHIC):
        with pytest.raises(GeometryError, match="half the world"):
            outline(box_polygon(-179.9, 64, 179.9, 65), DEGREES, grid)
    world = Grid(Affine(0.5, 0, -180, 0, -0.5, 90), DEGREES, 360, 720)
    assert pixel_box(outline(box_polygon(-170, -80, 170, 80), DEGREES, world)) == pytest.approx(
        (20, 20, 700, 340)
    )
