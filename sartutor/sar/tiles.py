"""Tiles of a scene: where they lie, which part is whose, and how their results become one scene again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from sartutor.errors import DataError, GeometryError


@dataclass(frozen=True)
class Tile:
    """One window of a scene.

    `row` and `col` count tiles from the upper left; `window` is what is read, whole pixels inside the scene;
    `core` is the part of it nearer to this tile's centre than to its neighbours': cores cover each pixel once.
    """

    row: int
    col: int
    window: Window
    core: Window


def tile_grid(shape: tuple[int, int], side: int, overlap: int = 0) -> list[Tile]:
    """Square tiles that cover a scene, row by row from the upper left.

    Neighbours share `overlap` pixels; the last of a row or column is shifted inward, so that it shares more and
    none lies outside. A scene smaller than a tile makes one smaller window.

    Args:
        shape: rows and columns of the scene.
        side: rows and columns of a tile, in pixels.
        overlap: pixels that neighbours share, less than `side`.

    Raises:
        GeometryError: a scene without pixels, or an overlap that leaves no step from tile to tile.
    """
    _check(shape, side, overlap)
    (tops, down), (lefts, across) = (_starts_and_edges(n, side, overlap) for n in shape)
    height, width = (min(side, n) for n in shape)
    return [
        Tile(row, col, Window(left, top, width, height), _window(down[row : row + 2], across[col : col + 2]))
        for row, top in enumerate(tops)
        for col, left in enumerate(lefts)
    ]


def stitch_weights(shape: tuple[int, int], overlap: int) -> NDArray[np.float64]:
    """Weights (rows, columns) of one tile's pixels: 1 inside, falling linearly over `overlap` pixels to its sides.

    The product of a ramp down and a ramp across. Where two tiles share exactly `overlap` pixels their weights
    add up to 1; at the scene's border and where a shifted tile shares more they do not, so that a mean divides
    by their sum.
    """
    return np.outer(*(_ramp(n, overlap) for n in shape))


class Stitcher:
    """Puts results of tiles together into one scene: their weighted mean where tiles overlap.

    Tiles come row by row, as `tile_grid` lists them, so that besides the result only the sums over one row of
    tiles are held. Give values that may be averaged: power or probabilities, never decibels.
    """

    def __init__(self, bands: int, shape: tuple[int, int], overlap: int = 0) -> None:
        self._overlap = overlap
        self._result = np.full((bands, *shape), np.nan, np.float32)
        self._top = 0
        self._sums = np.zeros((bands, 0, shape[1]))
        self._weights = np.zeros((0, shape[1]))

    def add(self, tile: Tile, values: NDArray[np.generic], valid: NDArray[np.bool_] | None = None) -> None:
        """Take in the values (bands, rows, columns) of a tile's window; what is not `valid` counts nowhere.

        Raises DataError where the values do not fit the window, GeometryError for a tile above the last one.
        """
        rows, cols = tile.window.toslices()
        size = (rows.stop - rows.start, cols.stop - cols.start)
        if values.shape != (len(self._sums), *size) or (valid is not None and valid.shape != size):
            raise DataError(
                f"values {values.shape} of tile {tile.row}, {tile.col} do not fit its window of "
                f"{size[0]} x {size[1]} pixels and {len(self._sums)} bands."
            )
        self._move_to(rows.start, rows.stop)
        part = slice(rows.start - self._top, rows.stop - self._top), cols
        weight = stitch_weights(size, self._overlap)
        weight = weight if valid is None else np.where(valid, weight, 0)
        self._weights[part] += weight
        self._sums[:, *part] += np.where(weight > 0, values, 0) * weight

    def result(self) -> NDArray[np.float32]:
        """The scene (bands, rows, columns); not-a-number where no tile held valid data."""
        self._finish(len(self._weights))
        return self._result

    def _move_to(self, top: int, bottom: int) -> None:
        """Finish the rows above `top`, and make room down to `bottom`."""
        if top < self._top:
            raise GeometryError(
                f"a tile at row {top} came after row {self._top} was finished; sort the tiles."
            )
        self._finish(min(top - self._top, len(self._weights)))
        self._top = top
        if (more := bottom - top - len(self._weights)) > 0:
            self._sums = np.pad(self._sums, ((0, 0), (0, more), (0, 0)))
            self._weights = np.pad(self._weights, ((0, more), (0, 0)))

    def _finish(self, rows: int) -> None:
        """Divide the first `rows` rows of sums by their weights, and let go of them."""
        weight = self._weights[:rows]
        part = self._result[:, self._top : self._top + rows]
        np.divide(self._sums[:, :rows], weight, out=part, where=weight > 0, casting="same_kind")
        self._top += rows
        self._sums, self._weights = self._sums[:, rows:], self._weights[rows:]


def with_halo(window: Window, margin: int, shape: tuple[int, int]) -> tuple[Window, tuple[slice, slice]]:
    """A window grown by `margin` pixels and cut to the scene, and where the window lies inside it.

    A filter that sees `margin` pixels far gives on the grown window, cut back, what it gives on the scene.
    """
    (top, bottom), (left, right) = window.toranges()
    first, start = max(0, top - margin), max(0, left - margin)
    last, stop = min(shape[0], bottom + margin), min(shape[1], right + margin)
    inside = slice(top - first, bottom - first), slice(left - start, right - start)
    return _window((first, last), (start, stop)), inside


def _check(shape: tuple[int, int], side: int, overlap: int) -> None:
    if min(shape) < 1 or side < 1:
        raise GeometryError(
            f"a scene of {shape[0]} x {shape[1]} pixels has no tiles of {side}; use at least 1."
        )
    if not 0 <= overlap < side:
        raise GeometryError(
            f"tiles of {side} pixels cannot overlap by {overlap}; use an overlap from 0 to {side - 1}."
        )


def _starts_and_edges(length: int, side: int, overlap: int) -> tuple[list[int], list[int]]:
    """First pixels of the tiles along one axis, and the edges of their cores: one more than tiles."""
    starts = [*range(0, length - side, side - overlap), max(0, length - side)]
    return starts, [0, *((left + side + right) // 2 for left, right in pairwise(starts)), length]


def _window(rows: Sequence[int], cols: Sequence[int]) -> Window:
    return Window(cols[0], rows[0], cols[1] - cols[0], rows[1] - rows[0])


def _ramp(length: int, overlap: int) -> NDArray[np.float64]:
    rising = (np.arange(length) + 0.5) / max(overlap, 0.5)
    return np.minimum(1, np.minimum(rising, rising[::-1]))
