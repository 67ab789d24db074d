"""No-data that a raster does not declare: collars of a fill value around what was measured.

Some values are no measurement at all (-9999, -32768, -3.4e38) and count as no data wherever they stand. Others
may be measured: 0 and 1 count as fill only in backscatter (a height or a slope may be 0), 32767 in heights and
angles too, and all of them only in rasters that declare no no-data, where a solid area of exactly that value
touches the raster's border, and where it is not scattered among the measurements besides. What was concluded is
said in a sentence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window
from scipy import ndimage

from sartutor.errors import DataError
from sartutor.sar.layers import Layer, is_fill, read_stored
from sartutor.sar.radiometry import guess_units
from sartutor.sar.scene import Grid, Units

NEVER_MEASURED = (-9999.0, -32768.0, -3.4e38)
"""Fill values that no radar, height or angle takes; the last stands for everything down to float's least."""

SOLID_SIDE = 5
"""Rows and columns of a block without a gap that makes an area of equal values solid."""

SCATTERED = 0.01
"""Share of the other pixels that may hold a value outside solid areas, if the value is to count as fill."""

CORNER_SIDE = 64
"""Rows and columns of the windows in a raster's corners that are searched for collars."""

RADAR = ("dn", "amplitude", "power", "db", "complex")

Stored = list[tuple[Window, NDArray[Any]]]
"""Windows of a band, with the numbers as they are stored."""


def without_collars(
    layers: Sequence[Layer],
    windows: Sequence[Window],
    grid: Grid,
    names: Sequence[str],
    units: Sequence[Units | None],
) -> tuple[list[Layer], list[str]]:
    """The layers with the fill values that they do not declare, and a sentence for each conclusion.

    Args:
        layers: bands of files on `grid`.
        windows: parts of the raster to judge by; its corners are added where none is the whole.
        grid: of the raster.
        names: one a band, for the sentences.
        units: stated ones, None where the values have to tell.
    """
    whole = any((window.height, window.width) == grid.shape for window in windows)
    places = windows if whole else [*windows, *_corners(grid)]
    stored = [(window, read_stored(layers, window)) for window in places]
    found, notes = [], []
    for index, (layer, name, unit) in enumerate(zip(layers, names, units, strict=True)):
        own = [(window, values[index]) for window, values in stored]
        fills, sentences = _fills(layer, own, grid, unit)
        found.append(replace(layer, fills=fills))
        notes += [f"{name}: {sentence}" for sentence in sentences]
    return found, notes


def beyond_zeros(
    layer: Layer, windows: Sequence[Window], others: Iterator[Window], name: str, unit: Units | None
) -> list[Window]:
    """The first of `others` in which a band is not zero that is so in all `windows`; none where that is not needed.

    Raises DataError when a band of backscatter holds nothing but zeros. Bands of 8-bit or signed whole numbers
    that state no units may be labels and pass.
    """

    def measured(window: Window) -> bool:
        return bool(np.any(read_stored([layer], window)[0]))

    if any(measured(window) for window in windows):
        return []
    if found := next(filter(measured, others), None):
        return [found]
    kind = np.dtype(layer.dtype)
    if unit in RADAR or (unit is None and kind.kind != "i" and kind != np.uint8):
        raise DataError(
            f"{layer.path}: {name} holds nothing but zeros, no measurement; fetch the file again, or name its "
            "units (class) if it is a label image."
        )
    return []


def _fills(
    layer: Layer, stored: Stored, grid: Grid, unit: Units | None
) -> tuple[tuple[float, ...], list[str]]:
    values = np.concatenate([part.ravel() for _, part in stored])
    never = [f for f in NEVER_MEASURED if np.any(is_fill(values, f)) and not _declared(layer, f)]
    notes = [f"{_share(values, fill)} are {fill:g}, no measurement: taken as no data." for fill in never]
    if layer.declares:
        return tuple(never), notes
    for fill in _candidates(layer, values[~_any_fill(values, never)], unit):
        collar, scattered = _collar(stored, fill, grid)
        if collar and scattered <= SCATTERED:
            never.append(fill)
            notes.append(
                f"{_share(values, fill)} are exactly {fill:g} in solid areas at the border: taken as no data."
            )
        elif collar:
            notes.append(
                f"{fill:g} fills solid areas at the border and {scattered:.0%} of the rest: kept as data; tag the "
                "no-data value if it is fill."
            )
    return tuple(never), notes


def _candidates(layer: Layer, values: NDArray[Any], unit: Units | None) -> list[float]:
    """Values that might be fill in a band, as its units and number type allow."""
    kind = np.dtype(layer.dtype)
    possible = [fill for fill in (0.0, 1.0, 32767.0) if np.any(values == fill)]
    rest = values[~np.isin(values, possible)]
    if not possible or not np.any(np.isfinite(rest)):
        return []
    judged = unit or guess_units(rest)[0]
    if judged not in (*RADAR, "m", "degree"):
        return []
    digital = judged == "dn" and (kind.kind == "u" or unit == "dn")
    zero = digital or judged in ("db", "power", "amplitude", "complex")
    allowed = {0.0: zero, 1.0: digital, 32767.0: True}
    return [fill for fill in possible if allowed[fill]]


def _collar(stored: Stored, fill: float, grid: Grid) -> tuple[bool, float]:
    """Whether a solid area of a value touches the raster's border, and its share of pixels outside solid areas."""
    touches, scattered, outside = False, 0, 0
    for window, values in stored:
        mask = values == fill
        labels, _ = ndimage.label(mask)
        side = np.minimum(SOLID_SIDE, mask.shape)
        solid = np.unique(labels[ndimage.binary_erosion(mask, np.ones(side, bool))])
        inside = np.isin(labels, solid[solid > 0])
        touches |= bool(np.any(inside & _border(window, grid)))
        scattered += int(np.count_nonzero(mask & ~inside))
        outside += int(np.count_nonzero(~inside))
    return touches, scattered / max(outside, 1)


def _border(window: Window, grid: Grid) -> NDArray[np.bool_]:
    """The pixels of a window that lie on the raster's outermost rows and columns."""
    (top, bottom), (left, right) = window.toranges()
    rows, cols = np.arange(top, bottom), np.arange(left, right)
    on_rows, on_cols = np.isin(rows, (0, grid.height - 1)), np.isin(cols, (0, grid.width - 1))
    border: NDArray[np.bool_] = on_rows[:, None] | on_cols[None, :]
    return border


def _corners(grid: Grid) -> list[Window]:
    rows, cols = (min(n, CORNER_SIDE) for n in grid.shape)
    return [Window(x, y, cols, rows) for x in (0, grid.width - cols) for y in (0, grid.height - rows)]


def _declared(layer: Layer, fill: float) -> bool:
    return layer.nodata is not None and bool(is_fill(np.array(layer.nodata), fill))


def _any_fill(values: NDArray[Any], fills: Sequence[float]) -> NDArray[np.bool_]:
    found = np.zeros(values.shape, bool)
    for fill in fills:
        found |= is_fill(values, fill)
    return found


def _share(values: NDArray[Any], fill: float) -> str:
    share = float(np.mean(is_fill(values, fill)))
    return f"{share:.0%} of the sampled pixels" if share >= 0.01 else "some sampled pixels"
