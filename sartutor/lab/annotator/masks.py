"""Masks and clicked points of objects as layers of the map; only what changed is drawn anew."""

from __future__ import annotations

from collections.abc import Sequence

import ipyleaflet

from sartutor.lab.annotator import labels
from sartutor.lab.annotator.annotation import Annotation
from sartutor.lab.annotator.canvas import Overlay
from sartutor.lab.annotator.pictures import mask_picture
from sartutor.lab.annotator.placement import Placement

INSIDE, OUTSIDE = "#009E73", "#D55E00"
"""Green and vermilion of the palette of Okabe and Ito (2008): clicks that add and clicks that take away."""


class Masks:
    """One overlay an object, and one circle for every point clicked for the chosen one."""

    def __init__(self, placement: Placement) -> None:
        self.placement = placement
        self.opacity = 1.0
        self._overlays: dict[int, Overlay] = {}
        self._drawn: dict[int, Annotation] = {}

    def show(self, objects: Sequence[Annotation], chosen: Annotation | None) -> tuple[ipyleaflet.Layer, ...]:
        """The layers of these objects, in their order."""
        for gone in self._overlays.keys() - {one.id for one in objects}:
            self._overlays.pop(gone).close()
            del self._drawn[gone]
        for one in objects:
            if self._drawn.get(one.id) is not one:
                self._draw(one)
        return (*(self._overlays[one.id] for one in objects), *(self._points(chosen) if chosen else ()))

    def fade(self, opacity: float) -> None:
        """Show all masks more or less strongly, 0 to 1."""
        self.opacity = opacity
        for overlay in self._overlays.values():
            overlay.opacity = opacity

    def _draw(self, one: Annotation) -> None:
        grid = self.placement.on_map(one.grid.crop(one.window))
        picture = mask_picture(one.mask, grid, one.status)
        overlay = self._overlays.setdefault(one.id, Overlay(opacity=self.opacity))
        with overlay.hold_sync():
            overlay.url, overlay.bounds = picture.url, self.placement.near(picture.bounds)
            overlay.alt = labels.mask_picture(one.id)
        self._drawn[one.id] = one

    def _points(self, one: Annotation) -> list[ipyleaflet.CircleMarker]:
        return [self._circle(one, x, y, inside) for x, y, inside in one.points]

    def _circle(self, one: Annotation, x: float, y: float, inside: bool) -> ipyleaflet.CircleMarker:
        lon, lat = self.placement.point_to_map(x, y, one.crs)
        color = INSIDE if inside else OUTSIDE
        return ipyleaflet.CircleMarker(
            location=(lat, lon), radius=5, color="#fff", weight=2, fill_color=color, fill_opacity=1.0
        )
