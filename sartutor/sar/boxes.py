"""Prompts from masks: boxes around objects, as loose as a hurried hand draws them.

The recipe is that of the released code of arXiv 2601.01213 in its order: contours, enlarge, merge. Its constants
are pixels of a 512-px chip; on smaller images they shrink with the shorter side, on larger ones they stay.
"""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from sartutor.errors import DataError

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels: columns and rows of pixel corners, not centres."""

Mask = NDArray[np.bool_]
"""(rows, columns) bool, True on objects."""

CHIP_SIDE = 512
"""Side, in pixels, of the chips that the constants of this module are meant for (arXiv 2601.01213)."""

LOOSE_PX = 10.0
"""Evaluation boxes are this much larger on every side, in pixels of a 512-px chip (arXiv 2601.01213, released code)."""

JITTER_PX, WIDE_JITTER_PX = 20, 100
"""Training boxes grow by 0 to one less than this, in whole pixels of a 512-px chip, each side on its own."""

MIXTURE = (0.8, 0.1, 0.1)
"""Shares of training samples with the usual jitter, the wide one, and the whole image as box."""

RANDOM_SIDE_PX = (50, 250)
"""Least side, and the first that is too large, of the box drawn where nothing is labelled."""

PROMPTS = ("box", "jitter", "full")
"""How a model is asked in evaluation: loosened boxes, boxes as in training, or the whole image."""

_EIGHT = np.ones((3, 3), np.uint8)


def scale(shape: tuple[int, int]) -> float:
    """Pixels of an image of `shape` (rows, columns) per pixel of a 512-px chip: min(rows, columns, 512) / 512."""
    return min(*shape, CHIP_SIDE) / CHIP_SIDE


def full_box(shape: tuple[int, int]) -> Box:
    """The whole image of `shape` (rows, columns) as a box: a prompt that says nothing."""
    return 0.0, 0.0, float(shape[1]), float(shape[0])


def tight_box(mask: Mask) -> Box:
    """Bounding box in pixel corners of a mask that is not empty."""
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return float(cols[0]), float(rows[0]), float(cols[-1] + 1), float(rows[-1] + 1)


def fill_box(shape: tuple[int, int], box: Box) -> Mask:
    """Every pixel of (rows, columns) whose centre lies in the box."""
    x, y = np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5
    return np.outer((y > box[1]) & (y < box[3]), (x > box[0]) & (x < box[2]))


def connected_objects(mask: Mask, least_pixels: int = 50) -> list[Mask]:
    """Connected parts (8 neighbours) of a mask of at least `least_pixels`, largest first."""
    parts, _ = ndimage.label(mask, _EIGHT)
    sizes = np.bincount(parts.ravel())[1:]
    order = [index for index in np.argsort(sizes)[::-1] if sizes[index] >= least_pixels]
    return [parts == index + 1 for index in order]


def parts_at(mask: Mask, points: NDArray[np.floating]) -> Mask:
    """The connected parts (8 neighbours) of a mask that hold at least one of the points (n, 2), columns and rows."""
    parts, _ = ndimage.label(mask, _EIGHT)
    cols, rows = np.floor(points).astype(int).T
    return np.isin(parts, parts[rows, cols]) & mask


def object_boxes(mask: Mask) -> list[Box]:
    """Bounding boxes of the external contours of a mask, from top to bottom.

    A contour surrounds a part connected over 8 neighbours; holes, and what lies in them, belong to it.
    """
    parts, _ = ndimage.label(without_holes(mask), _EIGHT)
    return [
        (float(cols.start), float(rows.start), float(cols.stop), float(rows.stop))
        for rows, cols in ndimage.find_objects(parts)
    ]


def without_holes(mask: Mask) -> Mask:
    """A mask with all that no path over 4 neighbours leads out of; four times as fast as SciPy's on large images."""
    outside, _ = ndimage.label(np.pad(~np.asarray(mask, bool), 1, constant_values=True))
    return (outside != outside[0, 0])[1:-1, 1:-1]


def enlarge(box: Box, push: NDArray[np.floating] | float, shape: tuple[int, int]) -> Box:
    """A box whose sides (left, top, right, bottom) are pushed outward by `push` pixels, cut to `shape`."""
    left, top, right, bottom = np.broadcast_to(np.asarray(push, float), (4,)).tolist()
    return (
        max(box[0] - left, 0.0),
        max(box[1] - top, 0.0),
        min(box[2] + right, float(shape[1])),
        min(box[3] + bottom, float(shape[0])),
    )


def loose_box(tight: Box, shape: tuple[int, int], push: float = LOOSE_PX) -> Box:
    """A tight box whose sides are pushed outward by so many px of a 512-px chip, scaled to the image and cut to it."""
    return enlarge(tight, push * scale(shape), shape)


def jittered(rng: np.random.Generator, box: Box, shape: tuple[int, int], increase_by: int = JITTER_PX) -> Box:
    """A box with each side pushed outward on its own by 0 to `increase_by` - 1 px of a 512-px chip, cut to `shape`."""
    return enlarge(box, rng.integers(0, increase_by, 4) * scale(shape), shape)


def lies_in(box: Box, outer: Box) -> bool:
    """Whether a box lies wholly in another; it may touch its edges."""
    left, top, right, bottom = outer
    return box[0] >= left and box[1] >= top and box[2] <= right and box[3] <= bottom


def merge_overlapping(boxes: list[Box]) -> list[Box]:
    """Boxes none of which overlap: those that share area become their common bounding box, until none does.

    Boxes that only touch stay apart. The order is from top to bottom, then from left to right.
    """
    corners = np.array(boxes, float).reshape(-1, 4)
    count = -1
    while len(corners) != count:
        count = len(corners)
        corners = _merged(corners)
    merged: list[Box] = [tuple(box) for box in corners.tolist()]
    return sorted(merged, key=lambda box: (box[1], box[0], box[3], box[2]))


def evaluation_boxes(mask: Mask, prompt: str = "box", seed: int = 0) -> list[Box]:
    """The boxes that a model is asked with in evaluation, one of `PROMPTS`.

    Args:
        mask: (rows, columns) bool, the label.
        prompt: "box" loosens every side by `LOOSE_PX`, "jitter" by a draw as in training, "full" is the image.
        seed: of the jitter, which is drawn for each object on its own: it does not change with the others.

    Returns:
        Boxes that do not overlap; none where the mask is empty, except for "full".
    """
    shape = (mask.shape[0], mask.shape[1])
    refuse_unknown_prompt(prompt)
    if prompt == "full":
        return [full_box(shape)]
    if prompt == "box":
        return loosened_boxes(mask, LOOSE_PX)
    tight = object_boxes(mask)
    own = [np.random.default_rng([seed, *map(int, box)]) for box in tight]
    return merge_overlapping([jittered(rng, box, shape) for rng, box in zip(own, tight, strict=True)])


def loosened_boxes(mask: Mask, push: float) -> list[Box]:
    """The boxes of a label (rows, columns), every side pushed outward as of `loose_box`; merged where they overlap."""
    shape = (mask.shape[0], mask.shape[1])
    return merge_overlapping([loose_box(box, shape, push) for box in object_boxes(mask)])


def refuse_unknown_prompt(prompt: str) -> None:
    """Raise DataError unless a prompt is one of `PROMPTS`."""
    if prompt not in PROMPTS:
        raise DataError(f"There is no prompt {prompt!r}; use one of {', '.join(PROMPTS)}.")


def training_boxes(rng: np.random.Generator, mask: Mask) -> list[Box]:
    """The imprecise boxes of one training sample (arXiv 2601.01213, released code).

    Eight in ten samples have boxes with a jitter of 20 px, one in ten of 100 px, one in ten the whole image. A
    sample without a labelled pixel has one random box.
    """
    shape = (mask.shape[0], mask.shape[1])
    if not mask.any():
        return [random_box(rng, shape)]
    kind = int(rng.choice(len(MIXTURE), p=MIXTURE))
    if kind == 2:
        return [full_box(shape)]
    increase_by = (JITTER_PX, WIDE_JITTER_PX)[kind]
    return merge_overlapping([jittered(rng, box, shape, increase_by) for box in object_boxes(mask)])


def random_box(rng: np.random.Generator, shape: tuple[int, int]) -> Box:
    """A box of side U{50..249} px of a 512-px chip anywhere in the image (a square: assumed, one side is named)."""
    side = float(rng.integers(*RANDOM_SIDE_PX)) * scale(shape)
    x0, y0 = float(rng.uniform(0, shape[1] - side)), float(rng.uniform(0, shape[0] - side))
    return x0, y0, x0 + side, y0 + side


def box_target(mask: Mask, box: Box) -> Mask:
    """The mask inside the box and nothing outside: a box answers only for the objects in it."""
    return mask & fill_box((mask.shape[0], mask.shape[1]), box)


def _merged(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Boxes (n, 4) with each group of those that share area replaced by its bounding box; one round."""
    tree = shapely.STRtree(shapely.box(*boxes.T))
    one, other = tree.query(tree.geometries, predicate="intersects")
    share = np.minimum(boxes[one, 2:], boxes[other, 2:]) - np.maximum(boxes[one, :2], boxes[other, :2])
    one, other = one[(share > 0).all(1)], other[(share > 0).all(1)]
    graph = coo_array((np.ones(len(one), bool), (one, other)), shape=(len(boxes), len(boxes)))
    count, group = connected_components(graph, directed=False)
    around = np.tile([np.inf, np.inf, -np.inf, -np.inf], (count, 1))
    np.minimum.at(around[:, :2], group, boxes[:, :2])
    np.maximum.at(around[:, 2:], group, boxes[:, 2:])
    return around
