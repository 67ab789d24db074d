"""What lies under the cursor: every band with its unit, and where that is."""

from __future__ import annotations

import time
from html import escape

import ipywidgets as widgets
from rasterio.windows import Window

from sartutor.lab.annotator.layers import UNITS, in_decibels
from sartutor.lab.annotator.placement import Placement
from sartutor.sar.scene import Readable

PAUSE_S = 0.05
"""Least time between two answers, in seconds: a mouse tells of more places than anybody reads."""


class Readout(widgets.HTML):
    """One line below the map."""

    def __init__(self, scene: Readable, placement: Placement) -> None:
        self.scene, self.placement, self._last = scene, placement, 0.0
        super().__init__(value='<div class="sartutor-readout">&nbsp;</div>')

    def hover(self, lat: float, lon: float) -> None:
        """Tell of a place on the map, unless another was told of a moment ago."""
        if (now := time.monotonic()) - self._last < PAUSE_S:
            return
        self._last = now
        self.value = (
            f'<div class="sartutor-readout">{escape(described(self.scene, self.placement, lat, lon))}</div>'
        )


def described(scene: Readable, placement: Placement, lat: float, lon: float) -> str:
    """Values of all bands at a place on the map, backscatter in dB, and the place itself."""
    col, row = placement.pixel(lon, lat)
    where = f"column {int(col)}, row {int(row)}"
    if not (0 <= col < scene.grid.width and 0 <= row < scene.grid.height):
        return " "
    if placement.on_earth:
        where = f"{abs(lat):.5f}° {'N' if lat >= 0 else 'S'}, {abs(lon):.5f}° {'E' if lon >= 0 else 'W'} · {where}"
    pixel = scene.read(Window(int(col), int(row), 1, 1))
    if not pixel.valid.all():
        return f"no data · {where}"
    told = []
    for name in pixel.band_names:
        one = in_decibels(pixel.select([name]))
        unit = UNITS.get(one.bands[0].units, one.bands[0].units)
        value = float(one.pixels[0, 0, 0].real)
        told.append(f"{name} {value:.0f} {unit}" if unit == "m" else f"{name} {value:.1f} {unit}")
    return f"{' · '.join(told)} · {where}"
