"""A box for those who work without a mouse: it begins in the middle of the map and follows the arrow keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import ipyleaflet
from shapely.geometry import Polygon, box

from sartutor.errors import GeometryError
from sartutor.lab.annotator import labels
from sartutor.lab.annotator.canvas import shown_bounds

if TYPE_CHECKING:
    import leafmap

Way = Literal["Left", "Right", "Up", "Down"]
WAYS: dict[Way, tuple[int, int]] = {"Left": (-1, 0), "Right": (1, 0), "Up": (0, 1), "Down": (0, -1)}
FIRST, STEP = 1 / 6, 1 / 60
"""Shares of the map's extent: the side of a new box, and how far a key moves it."""


class Draft:
    """At most one box on the map that is not drawn yet."""

    def __init__(self, the_map: leafmap.Map) -> None:
        self.map = the_map
        self._layer: ipyleaflet.Rectangle | None = None

    def begin(self) -> None:
        """A new box in the middle of what the map shows."""
        self.drop()
        west, south, east, north = shown_bounds(self.map)
        lat, lon = (south + north) / 2, (west + east) / 2
        high, wide = FIRST / 2 * (north - south), FIRST / 2 * (east - west)
        bounds = ((lat - high, lon - wide), (lat + high, lon + wide))
        self._layer = ipyleaflet.Rectangle(
            bounds=bounds, color="#CC79A7", weight=3, fill=False, dash_array="6"
        )
        ipyleaflet.Map.add(self.map, self._layer)  # leafmap's own would open its list of layers

    def move(self, way: Way) -> None:
        """One step left, right, up or down."""
        self._shift(way, way)

    def resize(self, way: Way) -> None:
        """One step wider (right), narrower (left), higher (up) or lower (down)."""
        self._shift(None, way)

    def drop(self) -> Polygon | None:
        """Take the box off the map and return it in degrees; None where there is none."""
        if self._layer is None:
            return None
        layer, self._layer = self._layer, None
        ipyleaflet.Map.remove(self.map, layer)
        (south, west), (north, east) = layer.bounds
        return box(west, south, east, north)

    def _shift(self, lower_left: Way | None, upper_right: Way) -> None:
        """Move the two corners; a box never turns inside out."""
        if self._layer is None:
            raise GeometryError(labels.NO_DRAFT)
        left, bottom, right, top = shown_bounds(self.map)
        step = (STEP * (right - left), STEP * (top - bottom))
        corners = []
        for (lat, lon), way in zip(self._layer.bounds, (lower_left, upper_right), strict=True):
            east, north = WAYS[way] if way else (0, 0)
            corners.append((lat + north * step[1], lon + east * step[0]))
        (south, west), (north_end, east_end) = corners
        if north_end > south and east_end > west:
            self._layer.bounds = corners
