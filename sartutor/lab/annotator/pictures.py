"""Pictures for the map: PNG data URLs, which need no second port, and masks warped to web mercator."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from PIL import Image
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.warp import reproject
from scipy.ndimage import binary_erosion

from sartutor.lab.annotator.annotation import Status
from sartutor.sar.coordinates import DEGREES, bounds
from sartutor.sar.scene import Grid
from sartutor.sar.warp import grid_in_crs

WEB_MERCATOR = CRS.from_epsg(3857)
MASK_COLORS: dict[Status, tuple[int, ...]] = {
    "open": (230, 159, 0, 110, 255, 194, 48, 255),
    "accepted": (0, 158, 115, 110, 60, 215, 170, 255),
    "rejected": (0, 0, 0, 0, 150, 150, 150, 255),
}
"""Red, green, blue and opacity of the inside and of the edge: orange, bluish green, grey, of the palette of Okabe and
Ito (2008), told apart with every kind of colour blindness."""
MASK_ZOOM = 4
"""Picture pixels for one scene pixel of a mask, so that its edge stays thin when the map is enlarged."""
MAX_SIDE = 1024
"""Longest side of a picture, in pixels."""


@dataclass(frozen=True)
class Picture:
    """A PNG as a data URL and where it lies: ((south, west), (north, east)) in degrees."""

    url: str
    bounds: tuple[tuple[float, float], tuple[float, float]]


def mask_picture(mask: NDArray[np.bool_], grid: Grid, status: Status) -> Picture:
    """A mask on `grid` (which has a coordinate reference system): filled and edged, nearest pixel, else transparent."""
    around = grid_in_crs(grid, WEB_MERCATOR, max_side=MAX_SIDE)
    zoom = max(1, min(MASK_ZOOM, MAX_SIDE // max(around.shape)))
    target = Grid(
        around.transform * Affine.scale(1 / zoom), around.crs, around.height * zoom, around.width * zoom
    )
    shown = _nearest(mask, grid, target)
    edge = shown & ~binary_erosion(shown, iterations=zoom)
    picture = Image.fromarray(shown.astype(np.uint8) + edge, "P")
    picture.putpalette(bytes((0, 0, 0, 0, *MASK_COLORS[status])), "RGBA")
    return Picture(data_url(picture), corners(target))


def corners(grid: Grid) -> tuple[tuple[float, float], tuple[float, float]]:
    """((south, west), (north, east)) of a web-mercator grid in degrees."""
    west, south, east, north = bounds(grid, DEGREES)
    return (south, west), (north, east)


def data_url(picture: Image.Image) -> str:
    """A picture as a PNG data URL; fast rather than small, for it travels within one machine mostly."""
    buffer = BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _nearest(mask: NDArray[np.bool_], grid: Grid, target: Grid) -> NDArray[np.bool_]:
    shown = np.zeros(target.shape, np.uint8)
    reproject(
        mask.astype(np.uint8),
        shown,
        src_transform=grid.transform,
        src_crs=grid.crs,
        dst_transform=target.transform,
        dst_crs=target.crs,
        resampling=Resampling.nearest,
    )
    return shown.astype(bool)
