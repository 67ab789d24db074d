"""Grids of tiles, their weights, and scenes put together from them."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.windows import Window
from scipy.ndimage import uniform_filter

from sartutor.errors import DataError, GeometryError
from sartutor.sar.tiles import Stitcher, stitch_weights, tile_grid, with_halo

sizes = st.integers(1, 70)
sides = st.integers(1, 30).flatmap(lambda side: st.tuples(st.just(side), st.integers(0, side - 1)))


def counted(windows, shape):
    count = np.zeros(shape, int)
    for window in windows:
        count[window.toslices()] += 1
    return count


def test_three_tiles_and_their_cores_in_closed_form():
    tiles = tile_grid((10, 24), side=10, overlap=2)
    assert [tile.window for tile in tiles] == [Window(x, 0, 10, 10) for x in (0, 8, 14)]
    assert [tile.core for tile in tiles] == [Window(0, 0, 9, 10), Window(9, 0, 7, 10), Window(16, 0, 8, 10)]
    assert [(tile.row, tile.col) for tile in tiles] == [(0, 0), (0, 1), (0, 2)]


def test_a_small_scene_is_one_smaller_window():
    tiles = tile_grid((7, 30), side=20, overlap=4)
    assert [tile.window for tile in tiles] == [Window(0, 0, 20, 7), Window(10, 0, 20, 7)]
    assert tile_grid((5, 6), 256, 32)[0].window == Window(0, 0, 6, 5)


@settings(deadline=None, max_examples=40)
@given(height=sizes, width=sizes, tile=sides)
def test_tiles_cover_the_scene_and_cores_cover_it_once(height, width, tile):
    side, overlap = tile
    tiles = tile_grid((height, width), side, overlap)
    covered = counted([t.window for t in tiles], (height, width))  # a window outside would change its shape
    assert covered.min() >= 1
    assert (counted([t.core for t in tiles], (height, width)) == 1).all()
    assert {(t.window.height, t.window.width) for t in tiles} == {(min(side, height), min(side, width))}
    for t in tiles:
        assert counted([t.window], (height, width))[t.core.toslices()].all()
        assert t.window.row_off + t.window.height <= height
        assert t.window.col_off + t.window.width <= width
    lefts = sorted({t.window.col_off for t in tiles})
    assert all(b - a <= side - overlap for a, b in pairwise(lefts))


@pytest.mark.parametrize(
    ("shape", "side", "overlap"), [((9, 9), 4, 4), ((9, 9), 4, -1), ((0, 9), 4, 0), ((9, 9), 0, 0)]
)
def test_impossible_grids_are_refused(shape, side, overlap):
    with pytest.raises(GeometryError, match=str(side)):
        tile_grid(shape, side, overlap)


def test_weights_are_one_inside_and_ramps_in_the_overlap():
    weights = stitch_weights((8, 9), overlap=4)
    assert weights[3] == pytest.approx(weights[3, 4] * np.array([1, 3, 5, 7, 8, 7, 5, 3, 1]) / 8)
    assert weights.shape == (8, 9)
    assert (stitch_weights((3, 5), overlap=0) == 1).all()


@settings(deadline=None, max_examples=20)
@given(overlap=st.integers(1, 20))
def test_regular_overlaps_are_a_partition_of_unity(overlap):
    across = stitch_weights((81, 40), overlap)[40]
    assert across[-overlap:] + across[:overlap] == pytest.approx(np.ones(overlap))


@settings(deadline=None, max_examples=30)
@given(height=sizes, width=sizes, tile=sides, seed=st.integers(0, 99))
def test_a_scene_is_put_together_exactly_from_its_own_tiles(height, width, tile, seed):
    side, overlap = tile
    scene = np.random.default_rng(seed).gamma(1, 0.1, (2, height, width)).astype(np.float32)
    stitcher = Stitcher(2, (height, width), overlap)
    for t in tile_grid((height, width), side, overlap):
        stitcher.add(t, scene[:, *t.window.toslices()])
    result = stitcher.result()
    assert result.dtype == np.float32
    assert (result == scene).all()


def test_two_tiles_that_disagree_fade_into_each_other():
    left, right = tile_grid((4, 16), side=10, overlap=4)
    stitcher = Stitcher(1, (4, 16), overlap=4)
    stitcher.add(left, np.zeros((1, 4, 10)))
    stitcher.add(right, np.ones((1, 4, 10)))
    assert stitcher.result()[0, 2] == pytest.approx([0] * 6 + [1 / 8, 3 / 8, 5 / 8, 7 / 8] + [1] * 6)


def test_no_data_of_one_tile_is_filled_by_its_neighbour_and_else_stays_no_data():
    left, right = tile_grid((4, 16), side=10, overlap=4)
    valid = np.ones((4, 10), bool)
    valid[1, 8] = valid[2, 0] = False
    values = np.where(valid, 2.0, np.nan)[None]
    stitcher = Stitcher(1, (4, 16), overlap=4)
    stitcher.add(left, values, valid)
    stitcher.add(right, np.full((1, 4, 10), 5.0))
    result = stitcher.result()[0]
    assert result[1, 8] == 5
    assert np.argwhere(np.isnan(result)).tolist() == [[2, 0]]


def test_only_one_row_of_tiles_is_held_besides_the_result():
    tiles = tile_grid((400, 30), side=20, overlap=4)
    stitcher = Stitcher(1, (400, 30), overlap=4)
    for tile in tiles:
        stitcher.add(tile, np.ones((1, 20, 20)))
        assert len(stitcher._weights) <= 20
    assert (stitcher.result() == 1).all()


def test_a_stitcher_names_the_tile_that_does_not_fit():
    tiles = tile_grid((40, 10), side=10)
    stitcher = Stitcher(1, (40, 10))
    with pytest.raises(DataError, match="tile 0, 0"):
        stitcher.add(tiles[0], np.ones((2, 10, 10)))
    stitcher.add(tiles[2], np.ones((1, 10, 10)))
    with pytest.raises(GeometryError, match="sort the tiles"):
        stitcher.add(tiles[0], np.ones((1, 10, 10)))


@settings(deadline=None, max_examples=30)
@given(
    height=st.integers(12, 40), width=st.integers(12, 40), side=st.integers(4, 20), radius=st.integers(0, 3)
)
def test_a_filter_with_a_halo_knows_no_tile_borders(height, width, side, radius):
    scene = np.random.default_rng(height).gamma(1, 1, (height, width))
    size = 2 * radius + 1
    whole = uniform_filter(scene, size)
    for tile in tile_grid((height, width), side):
        outer, inside = with_halo(tile.window, radius, scene.shape)
        part = uniform_filter(scene[outer.toslices()], size)[inside]
        np.testing.assert_allclose(part, whole[tile.window.toslices()])
