"""What a side-looking beam sees of terrain: layover and shadow, active and passive.

Heights h are followed along lines in the direction of the beam, x being the ground range. For a far sensor all
rays are parallel, and the curvature of the Earth is left out. Then u = h + x cot(theta) is the same along a
ray, and w = x - h cot(theta) is slant range divided by sin(theta): ground is in shadow where an earlier u is
larger, and in layover where w is not unique. Slopes that cause it (active: steeper than theta towards the
sensor, or than 90 degrees - theta away from it) and what they cover (passive) come out alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sartutor.errors import GeometryError
from sartutor.sar.terrain import Spacing, View, check_spacing

Mask: TypeAlias = NDArray[np.bool_]

Lines: TypeAlias = NDArray[np.float64]
"""(lines, samples) along the beam, away from the sensor; not-a-number outside the raster."""


COLUMNS_AT_ONCE = 256
"""Columns that are interpolated together, so that a large raster needs little memory besides its own."""


@dataclass(frozen=True)
class BeamLines:
    """Parallel lines through a raster in the direction of the beam, one sample in each column (or row).

    A line passes through pixel centres along one axis of the raster and is interpolated linearly between its
    two neighbours along the other, so that along the main axes nothing is interpolated at all.

    Attributes:
        shape: rows and columns of the raster.
        step_m: ground distance of the samples of a line.
        swapped: samples follow rows rather than columns.
        reversed: samples run against the raster's order.
        shear: pixels to the side per sample, -1 to 1.
    """

    shape: tuple[int, int]
    step_m: float
    swapped: bool
    reversed: bool
    shear: float

    @classmethod
    def of(cls, shape: tuple[int, int], spacing: Spacing, view: View) -> BeamLines:
        """Lines through a raster with row 0 in the north; where metres per column vary, their mean counts."""
        per_row, per_column = (float(np.mean(metres)) for metres in check_spacing(spacing, shape[0]))
        azimuth = np.deg2rad(view.look_azimuth_deg)
        down, right = -np.cos(azimuth) / per_row, np.sin(azimuth) / per_column
        swapped = bool(abs(down) > abs(right))
        along, across = (down, right) if swapped else (right, down)
        shear = round(float(across / abs(along)), 9)  # a cardinal direction needs no interpolation
        return cls(shape, float(1 / abs(along)), swapped, bool(along < 0), shear)

    @property
    def ground_range(self) -> NDArray[np.float64]:
        """Metres of each sample along its line."""
        count = self.shape[0] if self.swapped else self.shape[1]
        return self.step_m * np.arange(count, dtype=np.float64)

    def gather(self, raster: ArrayLike) -> Lines:
        """The raster along the lines; a sample is not-a-number where its nearest pixel is."""
        values = np.pad(
            self._turned(np.asarray(raster, np.float64)), ((1, 1), (0, 0)), constant_values=np.nan
        )
        values[~np.isfinite(values)] = np.nan
        first, whole, part = self._offsets(values.shape)
        count = values.shape[0] - 2 + int(np.ptp(whole)) + 1
        return _between(values, _widened(values), count, 1 + first + whole, part, 1)

    def scatter(self, lines: Lines) -> NDArray[np.float64]:
        """Values along the lines back on the raster: the inverse of `gather`, interpolated again."""
        rows = self.shape[1] if self.swapped else self.shape[0]
        first, whole, part = self._offsets((rows, lines.shape[1]))
        return self._turned(_between(lines, lines, rows, -first - whole, part, -1), back=True)

    def _offsets(self, shape: tuple[int, ...]) -> tuple[int, NDArray[np.int64], NDArray[np.float64]]:
        """The first line's row at sample 0, and each sample's offset from there: whole pixels and the part."""
        offset = self.shear * np.arange(shape[1])
        whole = np.floor(offset).astype(np.int64)
        return -int(whole.max()) - 1, whole, offset - whole

    def _turned(self, values: NDArray[Any], back: bool = False) -> NDArray[Any]:
        if self.swapped and not back:
            values = values.T
        values = values[:, ::-1] if self.reversed else values
        return values.T if self.swapped and back else values


def shadow(height: ArrayLike, spacing: Spacing, view: View) -> Mask:
    """Where terrain hides the ground from the sensor, (rows, columns) bool.

    Args:
        height: (rows, columns) in metres, row 0 in the north; not-a-number casts and gets no shadow.
        spacing: metres per row and per column, as from `spacing_m`.
        view: where the beam comes from.
    """
    lines = beam_lines(height, spacing, view)
    ray = ray_height(lines.gather(height), lines, view)
    before = np.fmax.accumulate(ray, axis=1)[:, :-1]
    return lines.scatter(_margin(before - ray[:, 1:], ray, first=True)) > 0


def layover(height: ArrayLike, spacing: Spacing, view: View) -> Mask:
    """Where ground shares its slant range with other ground in its line, (rows, columns) bool.

    Whether that other ground is in shadow is not asked. Arguments are those of `shadow`; not-a-number is no
    ground.
    """
    lines = beam_lines(height, spacing, view)
    slant = slant_range(lines.gather(height), lines, view)
    before = np.fmax.accumulate(slant, axis=1)[:, :-1] - slant[:, 1:]
    after = slant[:, :-1] - np.fmin.accumulate(slant[:, ::-1], axis=1)[:, -2::-1]
    margins = _margin(before, slant, first=True), _margin(after, slant, first=False)
    return lines.scatter(np.maximum(*margins)) > 0


def ray_height(profiles: Lines, lines: BeamLines, view: View) -> Lines:
    """Height above sample 0 of the ray through each sample of gathered heights, in metres: h + x cot(theta)."""
    return profiles + lines.ground_range / np.tan(np.deg2rad(view.incidence_deg))


def slant_range(profiles: Lines, lines: BeamLines, view: View) -> Lines:
    """Slant range of gathered heights in metres, from sample 0 at height 0: x sin(theta) - h cos(theta)."""
    theta = np.deg2rad(view.incidence_deg)
    return lines.ground_range * np.sin(theta) - profiles * np.cos(theta)


def beam_lines(height: ArrayLike, spacing: Spacing, view: View) -> BeamLines:
    """The lines of a beam through a raster of heights; GeometryError where it has not two dimensions."""
    shape = np.shape(height)
    if len(shape) != 2:
        raise GeometryError(f"heights {shape} are no raster; give (rows, columns).")
    return BeamLines.of((shape[0], shape[1]), spacing, view)


def _margin(difference: Lines, samples: Lines, first: bool) -> Lines:
    """Differences with the sample that has no neighbour put back: never hidden, not-a-number without data."""
    known = np.where(np.isfinite(samples), -np.inf, np.nan)
    column = known[:, :1] if first else known[:, -1:]
    full = np.concatenate([column, difference] if first else [difference, column], axis=1)
    return np.where(np.isnan(full), known, full)


def _widened(values: Lines) -> Lines:
    """The values, continued by one row in a straight line where they end."""
    wide = values.copy()
    for near, next_one, edge in (
        (values[1:-1], values[2:], wide[:-2]),
        (values[1:-1], values[:-2], wide[2:]),
    ):
        found = np.isnan(edge) & np.isfinite(near)
        rise = np.where(np.isfinite(next_one), near - next_one, 0)
        edge[found] = (near + rise)[found]
    return wide


def _between(
    values: Lines, others: Lines, count: int, start: NDArray[np.int64], part: NDArray[np.float64], side: int
) -> Lines:
    """`count` rows of each column from `start` on, moved by `part` (0 to 1) towards the row `side` further on.

    The nearer of the two rows decides whether there is a value; the other one, taken from `others`, counts
    where it has one.
    """
    result = np.empty((count, values.shape[1]))
    swap, weight = part > 0.5, np.minimum(part, 1 - part)
    to_nearest, to_other = np.where(swap, side, 0), np.where(swap, 0, side)
    for begin in range(0, values.shape[1], COLUMNS_AT_ONCE):
        columns = np.arange(begin, min(begin + COLUMNS_AT_ONCE, values.shape[1]))
        rows = np.arange(count)[:, None] + start[columns]
        nearest = _at(values, rows + to_nearest[columns], columns)
        other = _at(others, rows + to_other[columns], columns)
        with np.errstate(invalid="ignore"):
            mixed = nearest + weight[columns] * (other - nearest)
        result[:, columns] = np.where(np.isfinite(other) & (weight[columns] > 0), mixed, nearest)
    return result


def _at(values: Lines, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Lines:
    inside = (rows >= 0) & (rows < values.shape[0])
    return np.where(inside, values[np.clip(rows, 0, values.shape[0] - 1), columns], np.nan)
