"""How often each class occurs in labels, and the weights that make up for it (arXiv 2603.15119)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sartutor.errors import DataError


def class_counts(labels: ArrayLike, classes: int, ignore: int = -1) -> NDArray[np.intp]:
    """Pixels of each class 0, 1, ..., `classes` - 1; counts of several images add up.

    Args:
        labels: class numbers of any shape, valid pixels alone.
        classes: how many classes there are.
        ignore: label of pixels that count nowhere.

    Raises:
        DataError: a label is no class; it is named.
    """
    values = np.asarray(labels).ravel()
    values = values[values != ignore]
    inside = (values >= 0) & (values < classes)
    if np.issubdtype(values.dtype, np.floating):
        inside &= values % 1 == 0
    if not inside.all():
        raise DataError(
            f"label {values[~inside][0]:g} is none of the classes 0 to {classes - 1}, nor {ignore} (ignored); "
            "map the labels to these first."
        )
    return np.bincount(values.astype(np.intp, copy=False), minlength=classes)


def class_frequencies(counts: ArrayLike) -> NDArray[np.float64]:
    """Share of each class, sum 1; DataError where nothing was counted."""
    total = np.sum(counts)
    if total <= 0:
        raise DataError("no labelled pixel was counted, so classes have no frequency; check the labels.")
    return np.asarray(counts, np.float64) / total


def class_weights(counts: ArrayLike) -> NDArray[np.float64]:
    """Weight of each class in a loss: w_c = (1 - f_c) / (C - 1), sum 1, larger for rarer classes.

    f_c is the share of class c and C the number of classes. The weights in the released code of
    arXiv 2603.15119 agree with this law (inferred: they sum to 1 and give shares that sum to 1).

    Raises DataError for fewer than two classes, or where nothing was counted.
    """
    frequencies = class_frequencies(counts)
    if len(frequencies) < 2:
        raise DataError("one class needs no weights; count at least two classes.")
    return (1 - frequencies) / (len(frequencies) - 1)


def frequencies_of_weights(weights: ArrayLike) -> NDArray[np.float64]:
    """Shares that `class_weights` was given: f_c = 1 - (C - 1) w_c, the inverse of its law."""
    values = np.asarray(weights, np.float64)
    return 1 - (len(values) - 1) * values
