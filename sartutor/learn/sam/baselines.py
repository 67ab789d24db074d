"""What a prompted model has to beat: filling the box, and Otsu's threshold inside it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from skimage.filters import threshold_otsu

from sartutor.learn.sam.inputs import in_decibels
from sartutor.sar.boxes import Box, Mask, fill_box
from sartutor.sar.dates import before_after
from sartutor.sar.footprint import pixel_window
from sartutor.sar.radiometry import power_to_db, to_linear
from sartutor.sar.scene import Scene


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


def fill_boxes(scene: Scene, boxes: Sequence[Box]) -> Mask:
    """Every pixel (rows, columns) of a scene that lies in a box."""
    marked = np.zeros(scene.grid.shape, bool)
    for box in boxes:
        marked |= fill_box(scene.grid.shape, box)
    return marked


def otsu_boxes(scene: Scene, boxes: Sequence[Box], bands: Sequence[str]) -> Mask:
    """`otsu_box` in every box (rows, columns) of what `contrast` makes of the named bands."""
    values = contrast(scene, bands)
    marked = np.zeros(scene.grid.shape, bool)
    for box in boxes:
        window = pixel_window(box, scene.grid)
        here = window.toslices()
        offset = (window.col_off, window.row_off) * 2
        x0, y0, x1, y1 = (edge - start for edge, start in zip(box, offset, strict=True))
        marked[here] |= otsu_box(values[here], scene.valid[here], (x0, y0, x1, y1))
    return marked


def contrast(scene: Scene, bands: Sequence[str]) -> NDArray[np.floating]:
    """What shows objects in a scene (rows, columns): the change from before to after, or else the first band.

    `before_after` finds the two dates among `bands`. Radar bands are in decibels, others as they are.
    """
    pair = before_after(bands)
    if pair is None:
        return _levels(scene, bands[0])
    before, after = (_levels(scene, name) for name in pair)
    return after - before


def _levels(scene: Scene, name: str) -> NDArray[np.floating]:
    """A band in decibels where it is a radar's; 0 where there is no data."""
    units = scene.bands[scene.band_names.index(name)].units
    values = np.where(scene.valid, np.asarray(scene.band(name), np.float32), np.float32(0))
    return power_to_db(to_linear(values, units)) if in_decibels(units) else values


def iou(one: Mask, other: Mask) -> float:
    """Intersection over union of two masks; 1 where both are empty."""
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else 1.0
