"""Statistics of a moving window over an image with holes, as sums of shifted copies.

A sum over n pixels of a line is put together from sums over half as many, so a window costs about
2 log2(n) vectorised additions per axis. Unlike a running sum it holds no pixel from outside the window: one
bright target leaves no rounding error along the rest of its line. Images are worked on in strips of rows that
fit a core's cache, on several cores.

Beyond the border the image goes on as its mirror image (the edge pixel is repeated: c b a | a b c); no-data is
left out of every sum and of the number of pixels.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sartutor.errors import DataError

Array = NDArray[np.float32]

STRIP_PIXELS = 2**17
"""Pixels of a strip: half a megabyte each for its values, their squares and a handful of statistics."""

MAX_THREADS = 4
"""Most strips at a time; more cores wait for memory."""


@dataclass(frozen=True)
class Block:
    """Rows of an image with `margin` further pixels on each side.

    `values` holds 0 at no-data; `weight` is 1 at valid pixels and 0 elsewhere, None where all are valid.
    """

    values: Array
    weight: Array | None
    margin: int

    @property
    def centre(self) -> Array:
        """The pixels themselves, without the margin."""
        inside = slice(self.margin, -self.margin or None)
        return self.values[inside, inside]

    def moments(self) -> tuple[Array, Array]:
        """Mean and variance (of the population, so divided by n) over the window of each pixel."""
        size = 2 * self.margin + 1
        count = self.count(lambda ones: window_sum(ones, size), size * size)
        return mean_variance(window_sum(self.values, size), window_sum(np.square(self.values), size), count)

    def count(self, total: Callable[[Array], Array], pixels: int) -> Array | np.float32:
        """Valid pixels in a sum over `pixels` pixels, at least 1: `total` of the weight, or just `pixels`."""
        return np.float32(pixels) if self.weight is None else np.maximum(total(self.weight), np.float32(1))


Formula = Callable[[Block], Array]
"""What a filter makes of a block: one value for each pixel of its centre."""


def mean_variance(total: Array, total_of_squares: Array, count: Array | np.float32) -> tuple[Array, Array]:
    """Mean and population variance from sums; rounding never makes the variance negative."""
    mean = total / count
    variance = total_of_squares / count
    variance -= np.square(mean)
    return mean, np.maximum(variance, 0, out=variance)


def window_sum(values: Array, size: int) -> Array:
    """Sums over size x size pixels, wherever the window fits into `values`."""
    return line_sum(line_sum(values, size, axis=0), size, axis=1)


def line_sum(values: Array, size: int, axis: int) -> Array:
    """Sums over `size` neighbours along `axis` of a 2-D array, which becomes size - 1 shorter.

    Two sums over half as many pixels make one, and an odd pixel is added; a size of 1 is the array itself.
    """
    if size == 1:
        return values
    half, length = line_sum(values, size // 2, axis), values.shape[axis] - size + 1
    total = _cut(half, 0, length, axis) + _cut(half, size // 2, length, axis)
    if size % 2:
        total += _cut(values, size - 1, length, axis)
    return total


def decaying_average(block: Block, rate: Array) -> Array:
    """Average with weights exp(-rate |t|), summed ring by ring of equal distance |t| from the centre."""
    total = block.centre.copy()
    weights = (
        np.ones_like(total) if block.weight is None else _shifted(block.weight, 0, 0, block.margin).copy()
    )
    for distance, offsets in _rings(block.margin).items():
        decay = np.exp(-rate * np.float32(distance))
        total += decay * sum(_shifted(block.values, r, c, block.margin) for r, c in offsets)
        if block.weight is None:
            decay *= np.float32(len(offsets))
        else:
            decay *= sum(_shifted(block.weight, r, c, block.margin) for r, c in offsets)
        weights += decay
    return np.divide(total, weights, where=weights > 0, out=total)


def moving(formula: Formula, power: ArrayLike, size: int, valid: NDArray[np.bool_] | None) -> Array:
    """`formula` applied to an image (rows, columns) strip by strip, with windows of `size` x `size` pixels.

    Returns float32, not-a-number where not valid. Raises DataError for an even window, complex or non-finite
    values, and arrays that do not fit each other.
    """
    image, valid = checked(power, valid)
    if size < 1 or size % 2 == 0:
        raise DataError(f"a window of {size} pixels has no centre; use an odd number such as 7.")
    result = np.empty(image.shape, np.float32)

    def work(rows: slice) -> None:
        result[rows] = formula(_block(image, valid, rows, size // 2))
        if valid is not None:
            result[rows][~valid[rows]] = np.nan

    strips = list(_strips(image.shape, size))
    if len(strips) == 1:
        work(strips[0])
    else:
        with ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1)) as pool:
            list(pool.map(work, strips))
    return result


def checked(
    power: ArrayLike, valid: NDArray[np.bool_] | None
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """A two-dimensional real image and its mask (None: all valid); DataError for anything else."""
    image = np.asarray(power)
    if np.iscomplexobj(image):
        raise DataError("complex values have no window statistics here; take their power |z|^2 first.")
    if image.ndim != 2 or image.size == 0:
        raise DataError(f"a window moves over an image (rows, columns), not over shape {image.shape}.")
    if valid is None:
        return image, None
    if valid.shape != image.shape:
        raise DataError(f"the valid mask {valid.shape} does not fit the image {image.shape}.")
    return image, None if valid.all() else valid.astype(bool, copy=False)


def _block(image: NDArray[Any], valid: NDArray[np.bool_] | None, rows: slice, margin: int) -> Block:
    """The strip `rows` with its margin: neighbouring rows, or the mirror image beyond the border."""
    first, last = max(0, rows.start - margin), min(len(image), rows.stop + margin)
    beyond = ((first - rows.start + margin, rows.stop + margin - last), (margin, margin))
    with np.errstate(over="ignore"):  # fill values outside the valid mask
        values = image[first:last].astype(np.float32, copy=False)
    weight = None
    if valid is not None and not valid[first:last].all():
        values = np.where(valid[first:last], values, np.float32(0))
        weight = np.pad(valid[first:last].astype(np.float32), beyond, mode="symmetric")
    if not np.isfinite(values).all():
        raise DataError("the image is not finite everywhere; mark what is no data in its valid mask.")
    return Block(np.pad(values, beyond, mode="symmetric"), weight, margin)


def _strips(shape: tuple[int, int], size: int) -> Iterator[slice]:
    height, width = shape
    rows = max(4 * size, STRIP_PIXELS // width)
    for start in range(0, height, rows):
        yield slice(start, min(height, start + rows))


def _cut(values: Array, start: int, length: int, axis: int) -> Array:
    return values[start : start + length] if axis == 0 else values[:, start : start + length]


def _rings(margin: int) -> dict[float, list[tuple[int, int]]]:
    """The offsets (rows, columns) of a window by their distance from its centre, the centre left out."""
    rings: dict[float, list[tuple[int, int]]] = {}
    for row, col in itertools.product(range(-margin, margin + 1), repeat=2):
        if row or col:
            rings.setdefault(math.hypot(row, col), []).append((row, col))
    return rings


def _shifted(values: Array, row: int, col: int, margin: int) -> Array:
    rows, cols = values.shape[0] - margin, values.shape[1] - margin
    return values[margin + row : rows + row, margin + col : cols + col]
