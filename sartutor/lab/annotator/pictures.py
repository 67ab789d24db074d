"""Pictures for the map: radar bands and masks, warped to web mercator, as PNG data URLs that need no second port."""

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

from sartutor.errors import DataError
from sartutor.lab.annotator.placement import DEGREES, Placement
from sartutor.sar.coordinates import bounds
from sartutor.sar.radiometry import to_units
from sartutor.sar.scene import Band, Grid, Scene
from sartutor.sar.warp import grid_in_crs, warp

WEB_MERCATOR = CRS.from_epsg(3857)
MASK_FILL = (230, 159, 0, 110)
MASK_EDGE = (255, 194, 48, 255)
"""Orange of the palette of Okabe and Ito (2008), told apart with every kind of colour blindness."""
MASK_ZOOM = 4
"""Picture pixels for one scene pixel of a mask, so that its edge stays thin when the map is enlarged."""
MAX_SIDE = 1024
"""Longest side of a picture, in pixels."""
STRETCH = (2.0, 98.0)
"""Percentiles of the valid pixels that become black and white."""
SYMBOLS = {"sigma0": "σ⁰", "beta0": "β⁰", "gamma0": "γ⁰", "none": ""}
UNITS = {"db": "dB", "dn": "DN", "m": "m", "degree": "°", "class": "class", "1": "no unit"}


@dataclass(frozen=True)
class Picture:
    """A PNG as a data URL and where it lies: ((south, west), (north, east)) in degrees."""

    url: str
    bounds: tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True)
class Legend:
    """What black (`low`) and white (`high`) mean in a radar picture, and what is shown, in words."""

    title: str
    low: float
    high: float
    units: str


def radar_picture(scene: Scene, band: str, placement: Placement) -> tuple[Picture, Legend]:
    """One band in grey, no data transparent; backscatter is averaged in power and shown in dB.

    Args:
        scene: the scene or its overview, not warped yet.
        band: name of the band.
        placement: where the scene lies on the map.

    Raises DataError when the scene has no valid pixel at all.
    """
    if not scene.valid.any():
        raise DataError(
            f"{scene.name} has no valid pixel at all; choose another file, or correct its no-data value."
        )
    layer = scene.select([band])
    placed = Scene(layer.pixels, layer.bands, placement.on_map(layer.grid), layer.valid, layer.name)
    target = grid_in_crs(placed.grid, WEB_MERCATOR, max_side=MAX_SIDE)
    shown = in_decibels(warp(placed, target))
    values = np.asarray(shown.pixels[0], np.float32)
    low, high = robust_range(values[shown.valid])
    grey = np.clip((values - low) / (high - low), 0, 1)
    pixels = np.stack((np.nan_to_num(grey) * 255, shown.valid * 255), axis=-1).astype(np.uint8)
    return Picture(data_url(Image.fromarray(pixels, "LA")), corners(target)), legend(
        shown.bands[0], low, high
    )


def in_decibels(scene: Scene) -> Scene:
    """The scene with power and amplitude in dB; what is no backscatter, or in dB already, stays as it is."""
    return to_units(scene, "db") if scene.bands[0].units in ("power", "amplitude") else scene


def robust_range(values: NDArray[np.float32]) -> tuple[float, float]:
    """The values that become black and white; never equal."""
    low, high = (float(v) for v in np.percentile(values, STRETCH))
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def legend(band: Band, low: float, high: float) -> Legend:
    """The legend of one band."""
    title = " ".join(
        filter(None, (band.name, SYMBOLS[band.quantity], band.date.isoformat() if band.date else ""))
    )
    return Legend(title, low, high, UNITS.get(band.units, band.units))


def mask_picture(mask: NDArray[np.bool_], grid: Grid) -> Picture:
    """A mask on `grid` (which has a coordinate reference system): filled and edged, nearest pixel, else transparent."""
    around = grid_in_crs(grid, WEB_MERCATOR, max_side=MAX_SIDE)
    zoom = max(1, min(MASK_ZOOM, MAX_SIDE // max(around.shape)))
    target = Grid(
        around.transform * Affine.scale(1 / zoom), around.crs, around.height * zoom, around.width * zoom
    )
    shown = _nearest(mask, grid, target)
    edge = shown & ~binary_erosion(shown, iterations=zoom)
    picture = Image.fromarray(shown.astype(np.uint8) + edge, "P")
    picture.putpalette(bytes((0, 0, 0, 0, *MASK_FILL, *MASK_EDGE)), "RGBA")
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
