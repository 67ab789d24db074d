"""Splits that share no ground, proved by brute force on small scenes."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sartutor.errors import DataError
from sartutor.sar.splits import (
    NOBODY,
    SHARES,
    block_split,
    check_disjoint,
    group_split,
    leave_one_out,
    tiles_of_split,
)
from sartutor.sar.tiles import tile_grid

quick = settings(deadline=None, max_examples=15)


def closest(splits):
    """Smallest Chebyshev distance between pixels of different splits, over all pairs of pixels."""
    parts = [np.argwhere(splits == index) for index in range(3)]
    return min(
        np.abs(one[:, None] - other[None]).max(-1).min()
        for i, one in enumerate(parts)
        for other in parts[i + 1 :]
    )


@quick
@given(block=st.integers(5, 9), guard=st.integers(0, 2), seed=st.integers(0, 99))
def test_pixels_of_two_splits_are_more_than_two_guards_apart(block, guard, seed):
    splits = block_split((30, 34), block, guard, seed=seed)
    assert set(np.unique(splits)) - {NOBODY} == {0, 1, 2}
    assert closest(splits) > 2 * guard
    check_disjoint(splits, guard)


@quick
@given(block=st.integers(5, 9), guard=st.integers(0, 2), seed=st.integers(0, 99))
def test_check_disjoint_refuses_what_brute_force_finds_too_close(block, guard, seed):
    splits = block_split((30, 34), block, guard, seed=seed)
    reach = int(closest(splits)) // 2
    if closest(splits) % 2:
        check_disjoint(splits, reach)
        reach += 1
    with pytest.raises(DataError, match="both see row"):
        check_disjoint(splits, reach)


@settings(deadline=None, max_examples=15)
@given(side=st.integers(3, 7), overlap=st.integers(0, 1), radius=st.integers(0, 3), seed=st.integers(0, 99))
def test_tiles_of_two_splits_share_no_pixel_even_when_filtered(side, overlap, radius, seed):
    splits = block_split((80, 90), block=20, guard=radius, seed=seed)
    seen = np.zeros((3, 80 + 2 * radius, 90 + 2 * radius), int)
    for index, name in enumerate(SHARES):
        for tile in tiles_of_split(tile_grid((80, 90), side, overlap), splits, name):
            (top, bottom), (left, right) = tile.window.toranges()
            seen[index, top : bottom + 2 * radius, left : right + 2 * radius] = 1
    assert seen.sum(0).max() == 1


def test_a_split_without_a_whole_tile_and_an_unknown_split_are_named():
    splits = block_split((80, 90), block=20, guard=3)
    with pytest.raises(DataError, match="no tile lies wholly inside the test split"):
        tiles_of_split(tile_grid((80, 90), 18), splits, "test")
    with pytest.raises(DataError, match="use one of train, val, test"):
        tiles_of_split(tile_grid((80, 90), 5), splits, "validation")


def test_shares_are_met_within_one_block_and_the_draw_repeats():
    splits = block_split((1000, 1000), block=50, guard=0, seed=3)
    shares = [(splits == index).mean() for index in range(3)]
    assert shares == pytest.approx([0.7, 0.15, 0.15], abs=1 / 400)
    assert (splits == block_split((1000, 1000), block=50, guard=0, seed=3)).all()
    assert (splits != block_split((1000, 1000), block=50, guard=0, seed=4)).any()


def test_odd_ends_belong_to_smaller_blocks():
    splits = block_split((7, 23), block=10, guard=0, shares={"a": 1, "b": 1}, seed=1)
    assert splits.shape == (7, 23)
    for columns in (slice(0, 10), slice(10, 20), slice(20, 23)):
        assert len(np.unique(splits[:, columns])) == 1
    assert abs((splits == 0).mean() - 0.5) < 0.1


def test_guard_bands_lie_between_different_splits_only():
    splits = block_split((10, 40), block=10, guard=2, shares={"a": 3, "b": 1}, seed=0)
    blocks = block_split((10, 40), block=10, guard=0, shares={"a": 3, "b": 1}, seed=0)[0]
    edges = np.flatnonzero(np.diff(blocks)) + 1
    nobody = sorted(column for edge in edges for column in range(edge - 2, edge + 2))
    assert np.flatnonzero(splits[0] == NOBODY).tolist() == nobody
    assert (splits == splits[0]).all()


@pytest.mark.parametrize(
    ("shape", "block", "guard", "words"),
    [
        ((40, 40), 10, 5, "use blocks of more than 10 px"),
        ((20, 10), 10, 0, "2 blocks or groups cannot make splits"),
        ((20, 10), 0, 0, "positive sizes"),
        ((20, 10), 5, -1, "positive sizes"),
    ],
)
def test_impossible_splits_are_refused(shape, block, guard, words):
    with pytest.raises(DataError, match=words):
        block_split(shape, block, guard)


def test_shares_must_be_positive():
    with pytest.raises(DataError, match="must be positive"):
        block_split((90, 90), 10, 0, {"train": 1.0, "test": 0.0})


def test_three_blocks_serve_three_splits():
    splits = block_split((10, 30), block=10, guard=0)
    assert sorted(splits[0, ::10]) == [0, 1, 2]


@quick
@given(st.lists(st.sampled_from("abcdefgh"), min_size=8, max_size=60), st.integers(0, 9))
def test_a_group_lies_in_one_split_whatever_the_order_of_samples(groups, seed):
    assume(len(set(groups)) >= 3)
    split = group_split(groups, seed=seed)
    assert split.keys() == set(groups)
    assert set(split.values()) == set(SHARES)
    assert group_split(groups[::-1], seed=seed) == split


def test_shares_of_groups_count_samples():
    groups = ["long series"] * 70 + ["b"] * 15 + ["c"] * 15
    assert group_split(groups)["long series"] == "train"
    many = [f"place {i}" for i in range(100) for _ in range(3)]
    counts = [list(group_split(many).values()).count(name) for name in SHARES]
    assert counts == [70, 15, 15]


def test_each_group_is_left_out_once():
    folds = list(leave_one_out(["Tromso", "Livigno", "Tromso", "Nuuk"]))
    assert folds == [("Tromso", [1, 3], [0, 2]), ("Livigno", [0, 2, 3], [1]), ("Nuuk", [0, 1, 2], [3])]


def test_one_group_cannot_be_left_out():
    with pytest.raises(DataError, match="at least two groups"):
        list(leave_one_out(["Livigno", "Livigno"]))
