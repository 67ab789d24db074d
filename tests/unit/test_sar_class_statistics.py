"""Counts and weights of classes, against the constants of arXiv 2603.15119."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sartutor.errors import DataError
from sartutor.sar.class_statistics import (
    class_counts,
    class_frequencies,
    class_weights,
    frequencies_of_weights,
)

RELEASED = [
    0.11347487,
    0.10774269,
    0.10684644,
    0.11319541,
    0.06752731,
    0.12183155,
    0.12457897,
    0.12064208,
    0.12416070,
]
"""Class weights in the released code of arXiv 2603.15119."""


def test_released_weights_give_the_shares_of_nine_classes():
    shares = 100 * frequencies_of_weights(RELEASED)
    assert shares.sum() == pytest.approx(100, abs=1e-4)
    assert shares == pytest.approx([9.2, 13.8, 14.5, 9.4, 46.0, 2.5, 0.34, 3.5, 0.67], abs=0.05)


def test_weights_of_such_counts_are_the_released_ones():
    counts = np.round(1e8 * frequencies_of_weights(RELEASED)).astype(int)
    assert class_weights(counts) == pytest.approx(RELEASED, abs=1e-8)


def test_weights_in_closed_form():
    assert class_weights([75, 25, 0]) == pytest.approx([0.125, 0.375, 0.5])
    assert class_weights([7, 7]) == pytest.approx([0.5, 0.5])


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=12).filter(any))
def test_weights_sum_to_one_and_rarer_classes_weigh_more(counts):
    weights = class_weights(counts)
    assert weights.sum() == pytest.approx(1)
    assert (weights >= -1e-12).all()
    assert (np.diff(weights[np.argsort(counts)]) <= 1e-12).all()
    assert frequencies_of_weights(weights) == pytest.approx(class_frequencies(counts))


def test_ignored_labels_count_nowhere_and_missing_classes_count_zero():
    labels = np.array([[0, 2, -1], [2, 2, -1]])
    assert class_counts(labels, 4).tolist() == [1, 0, 3, 0]
    assert class_counts(np.float32([[0, 255, 1]]), 2, ignore=255).tolist() == [1, 1]
    assert class_counts(np.uint8([3, 3]), 4, ignore=-1).tolist() == [0, 0, 0, 2]
    assert class_counts(np.full(5, -1), 3).tolist() == [0, 0, 0]


@pytest.mark.parametrize("label", [9, -2, 0.5, np.nan])
def test_a_label_that_is_no_class_is_named(label):
    with pytest.raises(DataError, match=f"label {label:g} is none of the classes 0 to 8"):
        class_counts([0, 1, label], 9)


def test_nothing_counted_and_one_class_are_refused():
    with pytest.raises(DataError, match="check the labels"):
        class_weights([0, 0, 0])
    with pytest.raises(DataError, match="at least two"):
        class_weights([5])
