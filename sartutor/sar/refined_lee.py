"""The refined Lee filter: statistics from the half of the window that lies on the pixel's side of an edge.

Nine overlapping 3 x 3 means of a 7 x 7 window show which way an edge runs through it, and on which side of the
edge the centre is. The mean and variance for Lee's formula then come from that half alone, 28 pixels with the
dividing line (Lee 1981, CGIP 15; window layout as in Lee and Pottier 2009, ch. 5), so that an edge is
neither blurred nor left noisy.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sartutor.sar.adaptive import check_looks, lee_weight, weighted
from sartutor.sar.windows import Array, Block, line_sum, mean_variance, moving, window_sum

SIZE = 7
"""Rows and columns of the window; the half-windows are defined for no other."""

HALF = 28
"""Pixels of a half-window: 7 x 4, or a triangle with its diagonal."""

DIRECTIONS = ("left", "right", "top", "bottom", "upper right", "lower left", "upper left", "lower right")
"""Which half, in the order of `half_sums` and of `edge_side`."""


def refined_lee(power: ArrayLike, looks: float, valid: NDArray[np.bool_] | None = None) -> Array:
    """Lee filter over the half of a 7 x 7 window that does not cross the nearest edge.

    Args:
        power: linear intensity (rows, columns).
        looks: equivalent number of looks.
        valid: False at no-data.

    Returns:
        float32 power, not-a-number where not valid.
    """
    check_looks(looks)

    def formula(block: Block) -> Array:
        mean, variance = half_moments(block, edge_side(block))
        return weighted(mean, block.centre, lee_weight(mean, variance, looks))

    return moving(formula, power, SIZE, valid)


def edge_side(block: Block) -> NDArray[np.uint8]:
    """Number in `DIRECTIONS` of the half of each pixel's window that lies on its own side of the edge.

    The edge runs across the strongest of four gradients of the 3 x 3 means; of the two halves that it
    separates, the pixel belongs to the one whose 3 x 3 mean, on the gradient's axis, is closer to the
    mean around the pixel. Ties go to the first.
    """
    mean = nine_means(block)
    sides = (((1, 0), (1, 2)), ((0, 1), (2, 1)), ((0, 2), (2, 0)), ((0, 0), (2, 2)))
    strongest = np.full(mean[1, 1].shape, -1, np.float32)
    chosen = np.zeros(strongest.shape, np.uint8)
    for number, (gradient, (one, other)) in enumerate(zip(gradients(mean), sides, strict=True)):
        strength = np.abs(gradient)
        second = np.abs(mean[other] - mean[1, 1]) < np.abs(mean[one] - mean[1, 1])
        chosen = np.where(strength > strongest, np.uint8(2 * number) + second, chosen)
        np.maximum(strongest, strength, out=strongest)
    return chosen


def nine_means(block: Block) -> dict[tuple[int, int], Array]:
    """3 x 3 means around the centre and two pixels away from it, by (row, column) of 0, 1, 2.

    One without a valid pixel takes the mean of the whole window, and so speaks for neither side.
    """
    sums = window_sum(block.values, 3)
    rows, cols = sums.shape[0] - 4, sums.shape[1] - 4
    if block.weight is None:
        sums /= 9
    else:
        count = window_sum(block.weight, 3)
        sums /= np.maximum(count, 1)
    places = {
        (r, c): (slice(2 * r, 2 * r + rows), slice(2 * c, 2 * c + cols)) for r in range(3) for c in range(3)
    }
    means = {place: sums[where] for place, where in places.items()}
    if block.weight is None:
        return means
    whole, _ = block.moments()
    return {place: np.where(count[places[place]] > 0, means[place], whole) for place in places}


def gradients(mean: dict[tuple[int, int], Array]) -> tuple[Array, Array, Array, Array]:
    """Differences of three 3 x 3 means each: right - left, bottom - top, and along both diagonals.

    The third is upper right - lower left, the fourth upper left - lower right.
    """
    return (
        mean[0, 2] + mean[1, 2] + mean[2, 2] - mean[0, 0] - mean[1, 0] - mean[2, 0],
        mean[2, 0] + mean[2, 1] + mean[2, 2] - mean[0, 0] - mean[0, 1] - mean[0, 2],
        mean[0, 1] + mean[0, 2] + mean[1, 2] - mean[1, 0] - mean[2, 0] - mean[2, 1],
        mean[0, 0] + mean[0, 1] + mean[1, 0] - mean[1, 2] - mean[2, 1] - mean[2, 2],
    )


def half_moments(block: Block, side: NDArray[np.uint8]) -> tuple[Array, Array]:
    """Mean and variance over the chosen half of each pixel's window."""

    def total(values: Array) -> Array:
        return _chosen(half_sums(values), side)

    return mean_variance(total(block.values), total(np.square(block.values)), block.count(total, HALF))


def half_sums(values: Array) -> Iterator[Array]:
    """Sums over each of the eight half-windows, one after the other in the order of `DIRECTIONS`."""
    rows = values.shape[0] - SIZE + 1
    seven_down, four_down = line_sum(values, SIZE, 0), line_sum(values, 4, 0)
    yield line_sum(seven_down[:, :-3], 4, 1)
    yield line_sum(seven_down[:, 3:], 4, 1)
    yield line_sum(four_down[:rows], SIZE, 1)
    yield line_sum(four_down[3:], SIZE, 1)
    from_left, from_right = _lines(values), [line[:, ::-1] for line in _lines(values[:, ::-1])]
    yield _triangle(from_right[::-1])
    yield _triangle(from_left)
    yield _triangle(from_left[::-1])
    yield _triangle(from_right)


def _lines(values: Array) -> list[Array]:
    """Sums over the first 1, 2, ... 7 pixels of the seven around each column."""
    cols = values.shape[1] - SIZE + 1
    lines = [values[:, :cols]]
    for offset in range(1, SIZE):
        lines.append(lines[-1] + values[:, offset : offset + cols])
    return lines


def _triangle(lines: list[Array]) -> Array:
    """The sum of one line below the other."""
    rows = lines[0].shape[0] - SIZE + 1
    total = lines[0][:rows] + lines[1][1 : 1 + rows]
    for row in range(2, SIZE):
        total += lines[row][row : row + rows]
    return total


def _chosen(candidates: Iterator[Array], side: NDArray[np.uint8]) -> Array:
    """Candidate number `side` at each pixel; a product with 0 or 1 is faster here than a choice."""
    result = np.zeros(side.shape, np.float32)
    for number, candidate in enumerate(candidates):
        result += candidate * (side == number)
    return result
