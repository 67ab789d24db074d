"""Calibration of Sentinel-1 ground range detected (GRD) products: look-up tables and thermal noise.

A GRD image holds amplitudes as digital numbers. Its annotation gives, on a coarse grid of lines and pixels, the
calibration values A and the noise power eta in the same units as DN^2; between them both are interpolated
bilinearly. Subtracting noise leaves a power that is negative wherever speckle of the noise itself lies above the
echo. It stays signed, since a mean over clipped values is too bright; only decibels need a floor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rasterio.windows import Window

from sartutor.errors import DataError


def calibrate(dn: ArrayLike, lut: ArrayLike) -> NDArray[np.float32]:
    """Backscatter power of digital numbers: |DN|^2 / A^2 (Sentinel-1 product specification).

    `lut` holds A of the convention that is asked for: sigmaNought, betaNought or gamma.
    """
    return denoise(dn, 0.0, lut)


def denoise(dn: ArrayLike, noise: ArrayLike, lut: ArrayLike) -> NDArray[np.float32]:
    """Backscatter power without thermal noise, signed: (|DN|^2 - eta) / A^2 (Sentinel-1 product specification).

    Args:
        dn: digital numbers.
        noise: eta in units of DN^2, see `thermal_noise`.
        lut: A, as in `calibrate`.
    """
    power = np.square(np.abs(np.asarray(dn)).astype(np.float32)) - np.asarray(noise, dtype=np.float32)
    return power / np.square(np.asarray(lut, dtype=np.float32))


def interpolate_lut(
    lines: ArrayLike, pixels: Sequence[ArrayLike], values: Sequence[ArrayLike], window: Window
) -> NDArray[np.float32]:
    """A look-up table at every pixel of a window: linear along each line's pixels, then linear between lines.

    Args:
        lines: (n,) image lines that have values, ascending.
        pixels: n vectors of image columns, ascending; each line may have its own.
        values: n vectors of values, as long as those of `pixels`.
        window: whole pixels of the image; beyond the table its border values hold on.

    Returns:
        (rows, columns) of the window.
    """
    known = np.asarray(lines, dtype=np.float64)
    rows, columns = _axes(window)
    after = np.clip(np.searchsorted(known, rows, side="right"), min(1, len(known) - 1), len(known) - 1)
    before = np.maximum(after - 1, 0)
    used, place = np.unique(np.concatenate([before, after]), return_inverse=True)
    along = np.stack([np.interp(columns, pixels[i], values[i]) for i in used]).astype(np.float32)
    low, high = along[place[: len(rows)]], along[place[len(rows) :]]
    span = np.maximum(known[after] - known[before], 1e-9)
    share = np.clip((rows - known[before]) / span, 0, 1).astype(np.float32)[:, None]
    return low + share * (high - low)


@dataclass(frozen=True, eq=False)
class LookUpTable:
    """Annotated values on lines of an image, each line at pixels of its own; see `interpolate_lut`."""

    lines: NDArray[np.int64]
    pixels: tuple[NDArray[np.int64], ...]
    values: tuple[NDArray[np.float32], ...]

    def __post_init__(self) -> None:
        sizes = [(len(p), len(v)) for p, v in zip(self.pixels, self.values, strict=True)]
        if not sizes or len(self.lines) != len(sizes) or any(p != v or p == 0 for p, v in sizes):
            raise DataError(
                "a look-up table needs as many values as pixels on each line; get the product again."
            )
        if np.any(np.diff(self.lines) <= 0) or any(np.any(np.diff(p) <= 0) for p in self.pixels):
            raise DataError("lines and pixels of a look-up table must ascend; get the product again.")

    def over(self, window: Window) -> NDArray[np.float32]:
        """Values at every pixel of a window, (rows, columns)."""
        return interpolate_lut(self.lines, self.pixels, self.values, window)


@dataclass(frozen=True, eq=False)
class AzimuthNoise:
    """Noise along azimuth in one block of the image, a factor on the noise along range.

    `first` and `last` are (line, pixel), both inside the block; `lines` ascend.
    """

    first: tuple[int, int]
    last: tuple[int, int]
    lines: NDArray[np.int64]
    values: NDArray[np.float32]


def azimuth_noise(blocks: Sequence[AzimuthNoise], window: Window) -> NDArray[np.float32]:
    """Azimuth noise factor at every pixel of a window, (rows, columns); 1 where no block lies.

    Products have one block or more a swath, which change in the middle of the image (since processor version
    2.9); older products have none.
    """
    rows, columns = _axes(window)
    factor = np.ones((len(rows), len(columns)), np.float32)
    for block in blocks:
        inside = _between(rows, block.first[0], block.last[0])
        across = _between(columns, block.first[1], block.last[1])
        factor[inside, across] = np.interp(rows[inside], block.lines, block.values)[:, None]
    return factor


def thermal_noise(
    along_range: LookUpTable, along_azimuth: Sequence[AzimuthNoise], window: Window
) -> NDArray[np.float32]:
    """Thermal noise in units of DN^2 over a window: eta = eta_range eta_azimuth (Sentinel-1 product specification)."""
    return along_range.over(window) * azimuth_noise(along_azimuth, window)


def _axes(window: Window) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Image lines and columns of a window."""
    rows, columns = window.toranges()
    return np.arange(*rows, dtype=np.float64), np.arange(*columns, dtype=np.float64)


def _between(positions: NDArray[np.float64], first: int, last: int) -> slice:
    return slice(*np.searchsorted(positions, (first, last + 1)))
