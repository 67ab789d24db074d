"""The map itself: a leafmap map without tiles, overlays with alternative text, and tools to draw with."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import ipyleaflet
import traitlets

from sartutor.errors import GeometryError
from sartutor.lab.annotator import drawing, labels

if TYPE_CHECKING:
    import leafmap

MAP_HEIGHT = 560
"""Screen pixels."""
FIT = (600, 540)
"""Width and height, in screen pixels, that a scene is fitted into at first."""


class Overlay(ipyleaflet.ImageOverlay):
    """An image overlay with alternative text and a CSS class, which Leaflet knows and ipyleaflet does not pass on."""

    alt = traitlets.Unicode().tag(sync=True, o=True)
    class_name = traitlets.Unicode().tag(sync=True, o=True)


class Drawing(ipyleaflet.DrawControl):
    """A draw control whose shapes are not sent back to the browser that sent them."""

    data: traitlets.List[Any] = traitlets.List().tag(sync=True, echo_update=False)


def draw_control() -> Drawing:
    """Rectangles and polygons, edit and delete; the rectangle tool stays on until it is cancelled."""
    control = Drawing(
        rectangle={"shapeOptions": drawing.style(), "showArea": False, "repeatMode": True},
        polygon={"shapeOptions": drawing.style(), "showArea": False, "allowIntersection": False},
        position="topleft",
    )
    for unused in ("polyline", "circlemarker", "circle", "marker"):
        setattr(control, unused, {})
    return control


def scale_bar() -> ipyleaflet.ScaleControl:
    """How long a kilometre is."""
    return ipyleaflet.ScaleControl(position="bottomleft", imperial=False)


def blank_map(bounds: Sequence[Sequence[float]]) -> leafmap.Map:
    """A leafmap map fitted to ((south, west), (north, east)), without a tile layer: nothing asks the network."""
    import leafmap

    (south, west), (north, east) = bounds
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Passing unrecognized arguments")  # leafmap's own, passed on
        the_map = leafmap.Map(
            center=((south + north) / 2, (west + east) / 2),
            zoom=fitting_zoom(bounds),
            zoom_snap=0,
            zoom_delta=0.5,
            height=f"{MAP_HEIGHT}px",
            draw_control=False,
            toolbar_control=False,
            fullscreen_control=False,
            attribution_control=False,
            scale_control=False,
        )
    the_map.layers = ()
    the_map.layout.flex = "1 1 360px"
    return the_map


def shown_bounds(the_map: ipyleaflet.Map) -> tuple[float, float, float, float]:
    """West, south, east, north of what a map shows, in degrees; GeometryError where no browser shows it."""
    if not the_map.bounds:
        raise GeometryError(labels.NOT_SHOWN)
    (south, west), (north, east) = the_map.bounds
    return west, south, east, north


def fitting_zoom(bounds: Sequence[Sequence[float]]) -> float:
    """Leaflet's zoom level at which ((south, west), (north, east)) fits; 256 x 2^zoom px are 360 degrees."""
    (south, west), (north, east) = bounds
    x = (east - west) / 360
    y = (_mercator(north) - _mercator(south)) / 360
    return math.log2(min(FIT[0] / x, FIT[1] / y) / 256)


def _mercator(latitude: float) -> float:
    """Web mercator's y in degrees."""
    return math.degrees(math.asinh(math.tan(math.radians(latitude))))
