"""From a box on a scene to what the model sees, and back: window, resampling in power, contrast, three channels.

Training and inference both go through these functions, so the model meets in use exactly what it learned on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from rasterio.windows import Window
from torch import Tensor
from torch.nn import functional

from sartutor.errors import DataError
from sartutor.sar.boxes import Box
from sartutor.sar.radiometry import POWER_FLOOR, RADAR_UNITS, power_to_db, to_linear
from sartutor.sar.scene import Scene, Units

SMALLEST_WINDOW = 64

WIDEST_DB = 40.0
"""Most decibels that a range spans; a range of digital numbers may begin at 0."""
NO_DATA_LEVEL = 0.5
"""Value of no-data and padding in [0, 1]: the mean of a stretched window."""

Scale = Literal["near", "chip"]
"""How much of a scene is encoded for a box: the surroundings of the box, or a chip of the model's size."""

MOST_PARTS = 4
"""Parts of a box along each side, at most."""

SHRUNK_LITTLE = 1.25
"""Up to so many times the model's input, what is seen of a box is not worth looking at closer."""

Ranges = Mapping[str, tuple[float, float]]
"""By name, the bands of an encoder in their order, and their levels that become 0 and 1: decibels, or own units."""


def prompt_window(
    box: Box, shape: tuple[int, int], model_side: int, context: float = 1.0, scale: Scale = "near"
) -> Window:
    """The square part of a scene of `shape` (rows, columns) that is encoded for a box.

    "near" takes as much context as costs no resolution: four times the longer side of the box, but not more than
    `model_side` pixels unless twice the box needs it, and never under 64 px. "chip" takes `model_side` pixels, or twice
    the box where that is more, as arXiv 2601.01213 does whatever the size of the object. Shifted inward at the scene's
    edge, cut to the scene where that is smaller. `context` widens it.
    """
    longer = max(box[2] - box[0], box[3] - box[1])
    widest = max(model_side, 2 * longer)
    side = (max(SMALLEST_WINDOW, min(widest, 4 * longer)) if scale == "near" else widest) * context
    rows, cols = (min(round(side), limit) for limit in shape)
    row = round((box[1] + box[3] - rows) / 2)
    col = round((box[0] + box[2] - cols) / 2)
    return Window(_within(col, cols, shape[1]), _within(row, rows, shape[0]), cols, rows)


def box_parts(box: Box, shape: tuple[int, int], model_side: int) -> list[Box]:
    """Parts of a box on a scene of `shape` (rows, columns) that are to be looked at one by one.

    Each is at most half as long as the model's input, so that it is seen at full resolution, or a `MOST_PARTS`th of the
    box; they meet between pixels. A box that is hardly shrunk as a whole is its only part.
    """
    if min(2 * max(box[2] - box[0], box[3] - box[1]), max(shape)) <= SHRUNK_LITTLE * model_side:
        return [box]
    ends = []
    for low, high in ((box[0], box[2]), (box[1], box[3])):
        count = min(MOST_PARTS, max(1, ceil(2 * (high - low) / (model_side - 2))))
        between = [float(round(low + (high - low) * part / count)) for part in range(1, count)]
        ends.append(list(pairwise([low, *between, high])))
    return [(left, top, right, bottom) for top, bottom in ends[1] for left, right in ends[0]]


def pixels_of(box: Box, window: Window | None = None) -> tuple[slice, slice]:
    """Rows and columns of a scene, or of a window of it, that a box inside it touches."""
    row, col = (0, 0) if window is None else (int(window.row_off), int(window.col_off))
    left, top, right, bottom = floor(box[0]), floor(box[1]), ceil(box[2]), ceil(box[3])
    return slice(top - row, bottom - row), slice(left - col, right - col)


def on_lattice(window: Window, shape: tuple[int, int]) -> Window:
    """A window of a scene of `shape` (rows, columns), moved by at most an eighth of its sides to a place that others
    share, so that boxes near each other have one embedding. A box in the middle, half as long as it, stays inside, and
    so does one that the edge of the scene keeps from the middle."""
    rows, cols = int(window.height), int(window.width)
    return Window(
        _shared(window.col_off, cols, shape[1]), _shared(window.row_off, rows, shape[0]), cols, rows
    )


def _shared(start: int, size: int, limit: int) -> int:
    """The nearest of the starts, a quarter of a window apart, that windows share; the far edge has one of its own."""
    step, last = max(1, size // 4), limit - size
    return min((min(round(start / step) * step, last), last), key=lambda place: abs(place - start))


def _within(start: int, size: int, limit: int) -> int:
    return min(max(start, 0), limit - size)


@dataclass(frozen=True)
class Frame:
    """How a window (rows, columns) lies in the square model input: scaled by `scale`, at the upper left corner."""

    shape: tuple[int, int]
    side: int

    @property
    def scale(self) -> float:
        """Model pixels per scene pixel."""
        return self.side / max(self.shape)

    @property
    def inner(self) -> tuple[int, int]:
        """Rows and columns of the model input that hold the window; the rest is padding."""
        return round(self.shape[0] * self.scale), round(self.shape[1] * self.scale)

    def box(self, box: Box, window: Window) -> tuple[float, ...]:
        """A box of the scene in pixels of the model input."""
        offset = (window.col_off, window.row_off) * 2
        return tuple((value - start) * self.scale for value, start in zip(box, offset, strict=True))

    def points(self, points: NDArray[np.floating], window: Window) -> NDArray[np.float64]:
        """Points (n, 2) of the scene, columns and rows, in pixels of the model input."""
        return (np.asarray(points, np.float64) - (window.col_off, window.row_off)) * self.scale

    def fit(self, layers: Tensor) -> Tensor:
        """Resample layers (n, rows, columns) to the model input without its padding; antialiased when shrinking."""
        return _resize(layers, self.inner)

    def pad(self, layers: Tensor, value: float) -> Tensor:
        """Fill layers of `inner` size up to the square."""
        rows, cols = self.inner
        return functional.pad(layers, (0, self.side - cols, 0, self.side - rows), value=value)

    def covered(self, mask: NDArray[np.bool_]) -> Tensor:
        """How much of each pixel of the model's input (side, side) a mask of the window covers, 0 to 1."""
        return self.pad(self.fit(torch.from_numpy(mask.astype(np.float32))[None]), 0)[0]

    def back(self, layers: Tensor) -> Tensor:
        """Resample layers (n, side, side) of the model's output to the window."""
        rows, cols = self.inner
        return _resize(layers[:, :rows, :cols], self.shape)


def _resize(layers: Tensor, shape: tuple[int, int]) -> Tensor:
    if tuple(layers.shape[-2:]) == shape:
        return layers
    return functional.interpolate(layers[None], shape, mode="bilinear", antialias=True)[0]


def model_image(scene: Scene, side: int, ranges: Ranges | None = None) -> tuple[Tensor, Frame]:
    """A window of a scene as model input (3, side, side) in [0, 1], each band stretched to its range.

    That is the one in `ranges`, which has all bands, or else the 1st to 99th percentile of the window. Radar bands
    (calibrated or digital numbers) are resampled in power and stretched in decibels; pictures as they are. No-data
    counts in no average and no percentile, and becomes `NO_DATA_LEVEL`.

    Raises DataError for a window without data and for more than three bands.
    """
    if not scene.valid.any():
        raise DataError(
            f"{scene.name}: the window that holds the box has no data; draw the box over valid pixels."
        )
    frame = Frame(scene.grid.shape, side)
    valid = torch.from_numpy(scene.valid.astype(np.float32))[None]
    weight = frame.fit(valid)
    known = np.where(scene.valid, scene.pixels, 1)
    linear = np.stack(
        [to_linear(values, band.units) for values, band in zip(known, scene.bands, strict=True)]
    )
    mean = frame.fit(torch.from_numpy((linear * scene.valid).astype(np.float32))) / weight.clamp_min(1e-6)
    seen = weight[0] > 0.5
    levels = [
        _stretch(layer, band.units, seen, None if ranges is None else ranges[band.name])
        for layer, band in zip(mean, scene.bands, strict=True)
    ]
    image = torch.where(seen, three_channels(torch.stack(levels), scene.name), NO_DATA_LEVEL)
    return frame.pad(image, NO_DATA_LEVEL), frame


def branch_image(scene: Scene, side: int, ranges: Ranges) -> Tensor:
    """What one encoder sees of a scene (3, side, side)."""
    return model_image(scene.select(tuple(ranges)), side, ranges)[0]


def three_channels(bands: Tensor, name: str = "the scene") -> Tensor:
    """SAM's three channels from 1-3 bands (n, h, w): one is repeated, two (a, b) become a, b, (a + b) / 2."""
    if len(bands) == 1:
        return bands.repeat(3, 1, 1)
    if len(bands) == 2:
        return torch.cat([bands, bands.mean(0, keepdim=True)])
    if len(bands) == 3:
        return bands
    raise DataError(
        f"{name} has {len(bands)} bands and one encoder takes at most 3; write those that you want to a file of their "
        "own (rio stack IN.tif --bidx 1,2 -o OUT.tif)."
    )


def level_range(low: float, high: float, units: Units) -> tuple[float, float]:
    """A range of values in `units` as one of levels: decibels for radar, where low is at least 40 dB below high."""
    if not in_decibels(units):
        return low, high
    power = to_linear(np.array([low, high], np.float64), units)
    top = float(power_to_db(power[1]))
    return max(float(power_to_db(power[0])), top - WIDEST_DB), top


Kind = Literal["backscatter", "digital numbers", "values"]
"""What levels of a band mean: calibrated backscatter, digital numbers of a radar, or anything else."""


def kind_of(units: Units) -> Kind:
    """The kind of a band; only bands of one kind have levels in common."""
    if units in RADAR_UNITS:
        return "backscatter"
    return "digital numbers" if units == "dn" else "values"


def kinds_of(units: Mapping[str, Units]) -> dict[str, Kind]:
    """What bands measure, by name."""
    return {name: kind_of(each) for name, each in units.items()}


def passes(units: Units, kind: Kind) -> bool:
    """Whether a band in these units can be read as the kind that was learned.

    Digital numbers pass for values: heights in a file that states no units are taken to be such numbers.
    """
    given = kind_of(units)
    return given == kind or (given, kind) == ("digital numbers", "values")


def refuse_other_kinds(
    units: Mapping[str, Units], kinds: Mapping[str, Kind], who: str, where: str | Path
) -> None:
    """Raise DataError where a band, of `units` by name, is of another kind than a model, called `who`, learned."""
    for name, kind in kinds.items():
        if name in units and not passes(units[name], kind):
            raise DataError(
                f"{where}: band {name} is in units {units[name]!r} and {who} learned it as {kind}; correct its units, "
                "or give what the model learned."
            )


def in_decibels(units: Units) -> bool:
    """Whether a band is looked at in decibels: calibrated backscatter, and digital numbers too."""
    return units in (*RADAR_UNITS, "dn")


def _stretch(average: Tensor, units: Units, seen: Tensor, known_range: tuple[float, float] | None) -> Tensor:
    """Map a range, or else the 1st-99th percentile of the seen pixels, to [0, 1]; radar bands in decibels.

    Power that noise subtraction left at zero or below is the darkest there is, but counts in no percentile.
    """
    radar = in_decibels(units)
    values = 10 * torch.log10(average.clamp_min(POWER_FLOOR)) if radar else average
    if known_range is not None:
        low, high = torch.tensor(known_range)
        return ((values - low) / (high - low)).clamp(0, 1)
    known = seen & (average > POWER_FLOOR) if radar else seen
    sample = values[known][:: max(1, int(known.sum()) // 16384)]
    if len(sample) == 0:
        return torch.full_like(values, NO_DATA_LEVEL)
    low, high = torch.quantile(sample, torch.tensor([0.01, 0.99]))
    return ((values - low) / (high - low).clamp_min(1e-6)).clamp(0, 1)
