"""What a prompted model has to beat: filling the box, and Otsu's threshold inside it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.filters import threshold_otsu

from sartutor.sar.boxes import Box, Mask, fill_box


def otsu_box(values: NDArray[np.floating], valid: Mask, box: Box) -> Mask:
    """Otsu's threshold on the valid pixels (rows, columns) of a box; the object is the side its border is not on.

    `values` are decibels or a picture; the polarity comes from the median of the box's outermost pixels, never from
    a label.
    """
    inside = fill_box(values.shape, box) & valid
    if not inside.any() or np.ptp(values[inside]) == 0:
        return np.zeros(values.shape, bool)
    threshold = threshold_otsu(values[inside])
    core = fill_box(values.shape, (box[0] + 1, box[1] + 1, box[2] - 1, box[3] - 1))
    border = inside & ~core
    border_is_bright = np.median(values[border if border.any() else inside]) > threshold
    return inside & (values <= threshold if border_is_bright else values > threshold)


def iou(one: Mask, other: Mask) -> float:
    """Intersection over union of two masks; 1 where both are empty."""
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else 1.0
