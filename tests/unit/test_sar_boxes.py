"""Boxes from masks: contours, enlarge, merge, in this order, and the mixture of training prompts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from sartutor.errors import DataError
from sartutor.sar.boxes import (
    box_target,
    connected_objects,
    enlarge,
    evaluation_boxes,
    fill_box,
    full_box,
    jittered,
    loose_box,
    merge_overlapping,
    object_boxes,
    random_box,
    scale,
    tight_box,
    training_boxes,
    without_holes,
)


def mask(shape, *blocks):
    values = np.zeros(shape, bool)
    for rows, cols in blocks:
        values[slice(*rows), slice(*cols)] = True
    return values


def overlap(one, other):
    return min(one[2], other[2]) > max(one[0], other[0]) and min(one[3], other[3]) > max(one[1], other[1])


def test_boxes_are_in_pixel_corners():
    assert object_boxes(mask((20, 30), ((3, 5), (2, 7)))) == [(2, 3, 7, 5)]
    assert tight_box(mask((20, 30), ((3, 5), (2, 7)))) == (2, 3, 7, 5)


def test_filling_a_box_counts_pixel_centres():
    assert fill_box((10, 10), (2, 3, 5, 7)).sum() == 12
    assert fill_box((10, 10), (2.4, 3, 5.6, 7)).sum() == 16
    assert fill_box((10, 10), (2.6, 3, 5.4, 7)).sum() == 8


def test_diagonal_neighbours_are_one_object_and_gaps_make_two():
    diagonal = mask((20, 20), ((2, 4), (2, 4)), ((4, 6), (4, 6)))
    assert object_boxes(diagonal) == [(2, 2, 6, 6)]
    assert object_boxes(mask((20, 20), ((2, 4), (2, 4)), ((5, 7), (4, 6)))) == [(2, 2, 4, 4), (4, 5, 6, 7)]


def test_holes_and_islands_in_them_belong_to_their_contour():
    ring = mask((40, 40), ((5, 35), (5, 35)))
    ring[10:30, 10:30] = False
    ring[18:22, 18:22] = True
    assert object_boxes(ring) == [(5, 5, 35, 35)]


def test_connected_objects_come_largest_first_without_the_small_ones():
    found = connected_objects(mask((60, 60), ((0, 10), (0, 10)), ((30, 50), (30, 50)), ((20, 22), (0, 2))))
    assert [int(part.sum()) for part in found] == [400, 100]


@pytest.mark.parametrize(
    ("shape", "expected"), [((512, 512), 1), ((2000, 3000), 1), ((256, 300), 0.5), ((640, 64), 0.125)]
)
def test_constants_shrink_with_the_shorter_side_and_never_grow(shape, expected):
    assert scale(shape) == expected
    centre = (shape[1] / 2, shape[0] / 2, shape[1] / 2 + 4, shape[0] / 2 + 4)
    assert loose_box(centre, shape)[0] == centre[0] - 10 * expected


def test_sides_are_pushed_one_by_one_and_cut_to_the_image():
    assert enlarge((5, 6, 10, 12), np.array([1, 2, 3, 4]), (20, 30)) == (4, 4, 13, 16)
    assert enlarge((5, 6, 10, 12), 50.0, (20, 30)) == (0, 0, 30, 20)


def test_merging_goes_on_until_nothing_overlaps():
    chain = [(0, 0, 10, 10), (10, 0, 20, 10), (5, 5, 12, 12)]
    assert merge_overlapping(chain) == [(0, 0, 20, 12)]
    assert merge_overlapping([(0, 0, 10, 10), (10, 0, 20, 10)]) == [(0, 0, 10, 10), (10, 0, 20, 10)]
    assert merge_overlapping([]) == []


@settings(deadline=None, max_examples=30)
@given(
    st.lists(
        st.tuples(st.integers(0, 90), st.integers(0, 90), st.integers(1, 30), st.integers(1, 30)), max_size=20
    )
)
def test_merged_boxes_cover_all_and_are_apart(corners):
    boxes = [(float(x), float(y), float(x + w), float(y + h)) for x, y, w, h in corners]
    merged = merge_overlapping(boxes)
    assert not any(overlap(a, b) for i, a in enumerate(merged) for b in merged[:i])
    for x0, y0, x1, y1 in boxes:
        assert any(a <= x0 and b <= y0 and c >= x1 and d >= y1 for a, b, c, d in merged)


def test_enlarging_comes_before_merging():
    apart = mask((512, 512), ((100, 110), (100, 110)), ((100, 110), (125, 135)))
    assert evaluation_boxes(apart) == [(90, 90, 145, 120)]
    apart = mask((512, 512), ((100, 110), (100, 110)), ((100, 110), (135, 145)))
    assert len(evaluation_boxes(apart)) == 2


def test_an_empty_mask_asks_for_nothing_but_the_whole_image():
    empty = np.zeros((40, 60), bool)
    assert evaluation_boxes(empty) == evaluation_boxes(empty, "jitter") == []
    assert evaluation_boxes(empty, "full") == [full_box((40, 60))] == [(0, 0, 60, 40)]


def test_jitter_in_evaluation_is_each_object_s_own():
    one, two = ((100, 120), (100, 130)), ((300, 340), (300, 320))
    both = evaluation_boxes(mask((512, 512), one, two), "jitter", seed=3)
    assert evaluation_boxes(mask((512, 512), one), "jitter", seed=3) == both[:1]
    assert evaluation_boxes(mask((512, 512), two), "jitter", seed=3) == both[1:]
    assert evaluation_boxes(mask((512, 512), one, two), "jitter", seed=4) != both


def test_unknown_prompts_are_refused():
    with pytest.raises(DataError, match="box, jitter, full"):
        evaluation_boxes(np.ones((4, 4), bool), "point")


@pytest.mark.parametrize(("shape", "expected"), [((512, 512), 9.5), ((256, 256), 4.75)])
def test_training_jitter_is_uniform_over_whole_pixels_of_a_chip(shape, expected):
    rng = np.random.default_rng(0)
    box = (100.0, 100.0, 150.0, 150.0)
    drawn = np.array([jittered(rng, box, shape) for _ in range(2000)])
    push = np.abs(drawn - box)
    assert set(np.unique(push) / scale(shape)) == set(range(20))
    assert push.mean(0) == pytest.approx(expected, rel=0.06)
    assert np.abs(np.corrcoef(push.T) - np.eye(4)).max() < 0.09


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9, 1.0])
def test_holes_are_those_of_scipy(share):
    for seed in range(20):
        mask = np.random.default_rng(seed).random((23, 31)) < share
        assert (without_holes(mask) == ndimage.binary_fill_holes(mask)).all()


def test_training_boxes_follow_the_mixture():
    rng = np.random.default_rng(1)
    label = mask((64, 64), ((30, 32), (30, 32)))
    drawn = [training_boxes(rng, label)[0] for _ in range(1500)]
    push = np.array([np.abs(np.subtract(box, (30, 30, 32, 32))).max() for box in drawn]) / scale((64, 64))
    assert np.mean([box == full_box((64, 64)) for box in drawn]) == pytest.approx(0.1, abs=0.025)
    # four sides of a wide jitter all look like the usual one in 0.2^4 of the draws
    assert np.mean((push >= 20) & (push < 100)) == pytest.approx(0.1 * (1 - 0.2**4), abs=0.025)
    assert np.mean(push < 20) == pytest.approx(0.8, abs=0.04)


def test_samples_without_objects_have_one_random_box_inside():
    rng = np.random.default_rng(2)
    boxes = [training_boxes(rng, np.zeros((256, 300), bool)) for _ in range(1500)]
    assert all(len(one) == 1 for one in boxes)
    x0, y0, x1, y1 = np.array([one[0] for one in boxes]).T
    assert np.allclose(x1 - x0, y1 - y0)
    assert (min(x1 - x0) * 2, max(x1 - x0) * 2) == pytest.approx((50, 249))
    assert min(x0.min(), y0.min(), (300 - x1).min(), (256 - y1).min()) >= 0


def test_a_random_box_fits_the_smallest_images():
    x0, y0, x1, y1 = random_box(np.random.default_rng(0), (8, 8))
    assert 0 <= x0 < x1 <= 8
    assert 0 <= y0 < y1 <= 8


def test_a_box_answers_for_its_inside_only():
    label = mask((40, 40), ((5, 15), (5, 15)), ((30, 35), (30, 35)))
    assert box_target(label, (10.0, 0.0, 40.0, 20.0)).sum() == 10 * 5
    assert box_target(label, full_box((40, 40))).sum() == label.sum()
    assert box_target(label, (9.4, 4.0, 12.6, 16.0)).any(0).nonzero()[0].tolist() == [9, 10, 11, 12]


def test_training_boxes_repeat_with_their_seed():
    label = mask((128, 128), ((10, 20), (10, 20)), ((60, 90), (60, 70)))
    first, again, other = (training_boxes(np.random.default_rng(seed), label) for seed in (5, 5, 6))
    assert first == again != other
