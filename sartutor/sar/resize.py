"""Larger and smaller pixels over the same ground, with every average taken in power.

A band in dB is turned into power, averaged, and turned back: the mean of decibels is not the decibels of the
mean (under one-look speckle it lies 2.5 dB lower). Shrinking averages the area below each new pixel, enlarging
interpolates linearly. No-data takes no part: weights are renormalised over what is valid, and a pixel is valid
where at least half of its weight is. Class bands take the nearest pixel.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window
from scipy import sparse

from sartutor.errors import DataError, GeometryError
from sartutor.sar.radiometry import from_linear, to_linear
from sartutor.sar.scene import Band, Grid, Readable, Scene

MIN_VALID_WEIGHT = 0.5
"""Share of a pixel's resampling weight that must be valid for the pixel to be valid."""

STRIP_PIXELS = 4_000_000
"""Pixels of a band that are read at a time when a whole raster is averaged."""

TILE_ROWS = 512
"""Rows of the tiles of most large rasters, or a multiple of them."""

MAX_THREADS = 4
"""Most strips at a time; each needs its memory."""

Kernel = Callable[[int, int], sparse.csr_array]
"""Makes the resampling weights (target, source) of one axis."""


def resize(scene: Scene, shape: tuple[int, int]) -> Scene:
    """The scene on (rows, columns) larger or smaller pixels over the same ground, resampled in power.

    Shrinking averages the area below each new pixel, which keeps the mean power; enlarging interpolates
    bilinearly.
    """
    resizer = Resizer(scene.bands, scene.grid.shape, shape)
    resizer.add(scene, 0)
    pixels, valid = resizer.result()
    return replace(scene, pixels=pixels, valid=valid, grid=resized_grid(scene.grid, shape))


def overview(source: Readable, max_side: int) -> Scene:
    """A whole scene, in memory or in files, with at most `max_side` rows and columns, averaged in power.

    It is read strip by strip, so that a large raster needs little memory; a small one is returned as it is.
    """
    height, width = source.grid.shape
    factor = max(height, width) / max_side
    if factor <= 1:
        return source.read()
    shape = (max(1, round(height / factor)), max(1, round(width / factor)))
    windows = list(strips(source.grid))
    count = min(MAX_THREADS, os.cpu_count() or 1, len(windows))

    def work(first: int) -> tuple[Resizer, Scene]:
        resizer = Resizer(source.bands, source.grid.shape, shape)
        for window in windows[first::count]:
            strip = source.read(window)
            resizer.add(strip, int(window.row_off))
        return resizer, strip

    with ThreadPoolExecutor(count) as pool:
        (resizer, strip), *others = pool.map(work, range(count))
    for other, _ in others:
        resizer.join(other)
    pixels, valid = resizer.result()
    return replace(strip, pixels=pixels, valid=valid, grid=resized_grid(source.grid, shape))


def strips(grid: Grid) -> Iterator[Window]:
    """Windows over whole rows, from top to bottom, of about `STRIP_PIXELS` pixels each.

    Where that is possible they hold whole tiles of a file, so that none is read twice.
    """
    rows = max(1, STRIP_PIXELS // grid.width)
    if rows >= TILE_ROWS // 2:
        rows = max(1, rows // TILE_ROWS) * TILE_ROWS
    for row in range(0, grid.height, rows):
        yield Window(0, row, grid.width, min(rows, grid.height - row))


def resized_grid(grid: Grid, shape: tuple[int, int]) -> Grid:
    """The grid of `shape` pixels over exactly the same ground."""
    height, width = shape
    scale = Affine.scale(grid.width / width, grid.height / height)
    return Grid(grid.transform @ scale, grid.crs, height, width)


class Resizer:
    """Resizes a scene that arrives in strips of rows, so that a large raster needs little memory.

    Sums and weights are separable sparse products, rows @ values @ columns; the result is their quotient.
    """

    def __init__(self, bands: tuple[Band, ...], source: tuple[int, int], target: tuple[int, int]) -> None:
        if min(target) < 1:
            raise GeometryError(
                f"a scene cannot have {target[0]} x {target[1]} pixels; ask for at least 1 x 1."
            )
        refuse_complex(bands, "the scene")
        self.bands = bands
        self._kernels = {
            kernel: [kernel(n, m) for n, m in zip(source, target, strict=True)]
            for kernel in {_kernel(band) for band in bands}
        }
        self._sums = np.zeros((len(bands), *target))
        self._weights = {kernel: np.zeros(target) for kernel in self._kernels}

    def add(self, strip: Scene, first_row: int) -> None:
        """Take in rows `first_row`, `first_row` + 1, ... of the source; each row exactly once."""
        rows = slice(first_row, first_row + strip.grid.height)
        valid = strip.valid.astype(np.float32)
        for kernel, weight in self._weights.items():
            self._take_in(weight, kernel, rows, valid)
        for total, layer, band in zip(self._sums, strip.pixels, self.bands, strict=True):
            linear = np.where(strip.valid, to_linear(layer, band.units), np.float32(0))
            self._take_in(total, _kernel(band), rows, linear)

    def join(self, other: Resizer) -> None:
        """Take in all rows that another resizer has taken in."""
        self._sums += other._sums
        for kernel, weight in self._weights.items():
            weight += other._weights[kernel]

    def result(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Pixels (bands, rows, columns), not-a-number where not valid, and the valid mask (rows, columns)."""
        used = [self._weights[_kernel(band)] for band in self.bands]
        valid: NDArray[np.bool_] = np.all(np.array(used) >= MIN_VALID_WEIGHT, axis=0)
        pixels: NDArray[np.float32] = np.full(self._sums.shape, np.nan, np.float32)
        for layer, total, weight, band in zip(pixels, self._sums, used, self.bands, strict=True):
            layer[valid] = from_linear(total[valid] / weight[valid], band.units)
        return pixels, valid

    def _take_in(
        self, total: NDArray[np.float64], kernel: Kernel, rows: slice, values: NDArray[np.float32]
    ) -> None:
        """Add rows of the source to the rows of the target that they lie in."""
        down, across = self._kernels[kernel]
        shares = down[:, rows]
        filled = np.flatnonzero(np.diff(shares.indptr))
        if len(filled):
            touched = slice(filled[0], filled[-1] + 1)
            total[touched] += (across @ (shares[touched] @ values).T).T


def refuse_complex(bands: tuple[Band, ...], name: str) -> None:
    """Raise DataError for complex bands, whose averages need the carrier removed first."""
    if any(band.units == "complex" for band in bands):
        raise DataError(f"{name}: complex bands cannot be averaged; take their power |z|^2 first.")


def _kernel(band: Band) -> Kernel:
    return _nearest if band.units == "class" else _area_or_linear


def _area_or_linear(source: int, target: int) -> sparse.csr_array:
    """Weights (target, source) of one axis: shares of area when shrinking, linear interpolation otherwise."""
    if target >= source:
        return _linear(source, target)
    edges = np.arange(target + 1) * source / target
    first, last = np.floor(edges[:-1] + 1e-9).astype(int), np.ceil(edges[1:] - 1e-9).astype(int)
    rows = np.repeat(np.arange(target), last - first)
    cols = np.concatenate([np.arange(a, b) for a, b in zip(first, last, strict=True)])
    share = np.minimum(edges[rows + 1], cols + 1) - np.maximum(edges[rows], cols)
    return _sparse(share * target / source, rows, cols, (target, source))


def _linear(source: int, target: int) -> sparse.csr_array:
    centres = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
    left = np.minimum(np.floor(centres).astype(int), max(source - 2, 0))
    right = np.minimum(left + 1, source - 1)
    share = centres - left
    rows = np.tile(np.arange(target), 2)
    weights = np.concatenate([1 - share, share])
    return _sparse(weights, rows, np.concatenate([left, right]), (target, source))


def _nearest(source: int, target: int) -> sparse.csr_array:
    cols = np.floor((np.arange(target) + 0.5) * source / target).astype(int)
    return _sparse(np.ones(target), np.arange(target), cols, (target, source))


def _sparse(
    weights: NDArray[Any], rows: NDArray[Any], cols: NDArray[Any], shape: tuple[int, int]
) -> sparse.csr_array:
    return sparse.csr_array((weights.astype(np.float32), (rows, cols)), shape=shape)
