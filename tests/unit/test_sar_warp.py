"""Other grids: mean power is kept, no-data does not bleed, pixels land where they belong."""

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS

from sartutor.errors import DataError, GeometryError
from sartutor.sar import resize as resizing
from sartutor.sar.footprint import bounds, transform_points
from sartutor.sar.radiometry import db_to_power, power_to_db
from sartutor.sar.resize import strips
from sartutor.sar.scene import Band, Grid, Scene
from sartutor.sar.warp import grid_in_crs, overview, resize, warp

DEGREES = CRS.from_epsg(4326)
MERCATOR = CRS.from_epsg(3857)
UTM = CRS.from_epsg(32632)


def projected(height=120, width=160, side=10.0):
    return Grid(Affine(side, 0, 600000, 0, -side, 5200000), UTM, height, width)


def scene(layers, units="power", grid=None, valid=None):
    pixels = np.asarray(layers, np.float32)
    pixels = pixels[None] if pixels.ndim == 2 else pixels
    grid = grid or projected(*pixels.shape[1:])
    bands = tuple(Band(f"B{i}", units) for i in range(1, len(pixels) + 1))
    return Scene(pixels, bands, grid, np.ones(grid.shape, bool) if valid is None else valid, "test")


def one_look(shape, seed=0):
    """Fully developed speckle of one look around a mean power of 1."""
    return np.random.default_rng(seed).exponential(size=shape)


def centres(grid):
    columns, rows = np.meshgrid(np.arange(grid.width) + 0.5, np.arange(grid.height) + 0.5)
    return np.column_stack([axis.ravel() for axis in grid.transform @ (columns, rows)])


def test_shrinking_a_db_scene_keeps_its_mean_power_where_averaging_db_loses_2_5_db():
    source = scene(power_to_db(one_look((512, 512))), "db")
    smaller = resize(source, (32, 32))
    mean_power = power_to_db(db_to_power(source.pixels).mean())
    assert power_to_db(db_to_power(smaller.pixels).mean()) == pytest.approx(mean_power, abs=1e-4)
    averaged_db = source.pixels.reshape(32, 16, 32, 16).mean(axis=(1, 3))
    assert averaged_db.mean() - mean_power == pytest.approx(-2.51, abs=0.05)
    assert smaller.pixels.mean() - mean_power == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("crs", [UTM, DEGREES, MERCATOR])
def test_warping_a_db_scene_keeps_its_mean_power(crs):
    source = scene(power_to_db(one_look((600, 600))), "db")
    target = warp(source, grid_in_crs(source.grid, crs, max_side=60))
    mean = db_to_power(target.pixels[0][target.valid]).mean()
    assert power_to_db(mean) == pytest.approx(power_to_db(db_to_power(source.pixels).mean()), abs=0.05)
    assert target.pixels[0][target.valid].mean() > -0.3


@pytest.mark.parametrize(("units", "power"), [("amplitude", 2), ("dn", 2), ("1", 1), ("power", 1)])
def test_each_unit_is_averaged_in_its_own_domain(units, power):
    source = scene([[1.0, 3.0], [5.0, 7.0]], units)
    expected = np.mean(np.array([1, 3, 5, 7.0]) ** power) ** (1 / power)
    assert resize(source, (1, 1)).pixels[0, 0, 0] == pytest.approx(expected)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 60), st.integers(1, 60))
def test_a_constant_stays_constant_at_any_size(height, width, rows, cols):
    result = resize(scene(np.full((height, width), -7.5), "db"), (rows, cols))
    assert result.valid.all()
    assert result.pixels == pytest.approx(-7.5, abs=1e-4)


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 40), st.integers(2, 40), st.data())
def test_shrinking_keeps_the_mean_exactly(height, width, data):
    rows, cols = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
    values = one_look((height, width))
    assert resize(scene(values), (rows, cols)).pixels.mean() == pytest.approx(values.mean(), rel=1e-5)


def test_enlarging_interpolates_linearly():
    ramp = np.tile(np.arange(10.0), (4, 1))
    result = resize(scene(ramp), (4, 40)).pixels[0, 0]
    expected = np.clip((np.arange(40) + 0.5) / 4 - 0.5, 0, 9)
    assert result == pytest.approx(expected, abs=1e-5)


def test_fine_stripes_are_averaged_not_sampled():
    stripes = np.tile([0.0, 1.0], (200, 100))
    for shrunk in (
        resize(scene(stripes), (66, 66)),
        warp(scene(stripes), grid_in_crs(projected(200, 200), UTM, 40)),
    ):
        inner = shrunk.pixels[0, 2:-2, 2:-2]
        assert np.abs(inner - 0.5).max() < 0.26


def test_no_data_does_not_bleed():
    values = np.full((100, 100), 0.1)
    valid = np.ones((100, 100), bool)
    values[:, 37:] = 1e6
    valid[:, 37:] = False
    source = scene(values, valid=valid)
    finer = Grid(source.grid.transform @ Affine.scale(0.7), UTM, 140, 140)
    for result in (
        resize(source, (30, 30)),
        resize(source, (170, 170)),
        warp(source, grid_in_crs(source.grid, DEGREES)),
        warp(source, grid_in_crs(source.grid, DEGREES, 25)),
        warp(source, finer),
    ):
        assert result.pixels[0][result.valid] == pytest.approx(0.1, rel=1e-4)
        assert np.isnan(result.pixels[0][~result.valid]).all()
        assert result.valid[:, :20].any()


def test_valid_area_is_kept():
    valid = np.zeros((200, 200), bool)
    valid[30:151, 41:172] = True
    source = scene(np.ones((200, 200)), valid=valid)
    for result in (resize(source, (83, 83)), warp(source, grid_in_crs(source.grid, UTM, 70))):
        side = np.sqrt(abs(result.grid.transform.determinant))
        assert result.valid.sum() * side**2 == pytest.approx(valid.sum() * 100, rel=0.03)


def test_classes_take_the_nearest_pixel():
    labels = np.kron(np.array([[1.0, 5], [9, 200]]), np.ones((30, 30)))
    source = scene(labels, "class")
    for result in (
        resize(source, (7, 7)),
        resize(source, (90, 90)),
        warp(source, grid_in_crs(source.grid, DEGREES)),
    ):
        assert set(np.unique(result.pixels[0][result.valid])) == {1, 5, 9, 200}
    assert resize(source, (2, 2)).pixels[0].tolist() == [[1, 5], [9, 200]]


ROTATED = Grid(Affine(10, 0, 600000, 0, -10, 5200000) @ Affine.rotation(25), UTM, 150, 200)


@pytest.mark.parametrize("source_grid", [projected(150, 200), ROTATED], ids=["north-up", "rotated"])
@pytest.mark.parametrize("crs", [UTM, DEGREES, MERCATOR])
def test_pixels_land_where_they_belong(source_grid, crs):
    """A plane over the ground is the same plane on any grid: 1 unit a metre, tested to 0.01 px."""
    x, y = centres(source_grid).T
    plane = (x - 600000) + 2 * (y - 5199000)
    source = scene(plane.reshape(source_grid.shape), "1", source_grid)
    target = grid_in_crs(source_grid, crs)
    result = warp(source, target)
    x, y = transform_points(centres(target), crs, UTM).T
    expected = ((x - 600000) + 2 * (y - 5199000)).reshape(target.shape)
    inner = result.valid.copy()
    columns, rows = ~source_grid.transform @ (x, y)
    inner &= ((columns > 1) & (columns < 199) & (rows > 1) & (rows < 149)).reshape(target.shape)
    assert inner.sum() > 0.4 * inner.size
    assert np.abs(result.pixels[0] - expected)[inner].max() < 0.01 * 10 * 3


def test_a_shift_by_whole_pixels_is_exact():
    source = scene(one_look((40, 50)))
    moved = warp(source, Grid(source.grid.transform @ Affine.translation(7, 5), UTM, 30, 30))
    assert (moved.pixels == source.pixels[:, 5:35, 7:37]).all()


def test_grid_in_crs_covers_with_pixels_of_the_same_area():
    source = projected(300, 400)
    target = grid_in_crs(source, MERCATOR)
    west, south, east, north = bounds(source, MERCATOR)
    assert bounds(target)[0] == pytest.approx(west)
    assert bounds(target)[3] == pytest.approx(north)
    assert bounds(target)[2] >= east - 1e-6
    assert bounds(target)[1] <= south + 1e-6
    assert target.transform.a == -target.transform.e
    scale = 1 / np.cos(np.radians(bounds(source, DEGREES)[1]))
    assert target.transform.a == pytest.approx(10 * scale, rel=0.02)
    assert max(grid_in_crs(source, MERCATOR, max_side=128).shape) == 128
    assert grid_in_crs(source, UTM).shape == source.shape


@pytest.mark.parametrize("crs", [DEGREES, MERCATOR])
def test_a_scene_across_the_antimeridian_is_one_piece(crs):
    grid = Grid(Affine(100, 0, 625000, 0, -100, 7200000), CRS.from_epsg(32660), 200, 300)
    target = grid_in_crs(grid, crs)
    assert max(target.shape) < 700
    result = warp(scene(np.ones(grid.shape), grid=grid), target)
    assert result.valid.mean() > 0.8


def test_grids_without_a_system_warp_among_themselves():
    bare = Grid(Affine.identity(), None, 40, 40)
    source = scene(one_look((40, 40)), grid=bare)
    result = warp(source, Grid(Affine.scale(2), None, 20, 20))
    assert result.pixels == pytest.approx(resize(source, (20, 20)).pixels, rel=1e-5)
    with pytest.raises(GeometryError, match="coordinate reference system"):
        warp(source, projected())
    with pytest.raises(GeometryError, match="coordinate reference system"):
        grid_in_crs(bare, DEGREES)


def test_no_overlap_is_an_error():
    far = Grid(Affine(10, 0, 700000, 0, -10, 5300000), UTM, 20, 20)
    with pytest.raises(GeometryError, match="does not overlap"):
        warp(scene(np.ones((20, 20))), far)


def test_complex_bands_are_not_averaged():
    grid = projected(4, 4)
    slc = Scene(np.ones((1, 4, 4), np.complex64), (Band("VV", "complex"),), grid, np.ones((4, 4), bool))
    for reduce in (lambda: resize(slc, (2, 2)), lambda: warp(slc, grid)):
        with pytest.raises(DataError, match="complex"):
            reduce()


def test_no_size_is_an_error():
    with pytest.raises(GeometryError, match="at least 1 x 1"):
        resize(scene(np.ones((4, 4))), (0, 3))


@pytest.mark.parametrize("threads", [1, 3])
def test_an_overview_in_strips_is_the_resized_whole(monkeypatch, threads):
    monkeypatch.setattr(resizing.os, "cpu_count", lambda: threads)
    valid = np.random.default_rng(3).random((101, 67)) > 0.3
    source = scene(power_to_db(one_look((2, 101, 67))), "db", valid=valid)
    whole = resize(source, (30, 20))
    monkeypatch.setattr(resizing, "STRIP_PIXELS", 67 * 7)
    parts = overview(source, 30)
    assert parts.grid == whole.grid
    assert (parts.valid == whole.valid).all()
    assert np.nan_to_num(parts.pixels) == pytest.approx(np.nan_to_num(whole.pixels), abs=1e-4)
    assert overview(source, 200) is source


@pytest.mark.parametrize("width", [1, 700, 10_000, 15_000, 40_000])
def test_strips_cover_every_row_once_in_whole_tiles_where_they_are_many_rows(width):
    found = list(strips(Grid(Affine.identity(), None, 12_345, width)))
    assert [window.row_off for window in found] == list(np.cumsum([0] + [w.height for w in found[:-1]]))
    assert sum(window.height for window in found) == 12_345
    assert all(window.width == width for window in found)
    assert max(window.height * width for window in found) <= 2 * resizing.STRIP_PIXELS
    if width < 20_000:
        assert all(window.row_off % 512 == 0 for window in found)
