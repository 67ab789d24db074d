"""What a scene can be looked at as: each band, the change between two dates, terrain; on the map's grid.

Averages are taken in power, pictures are made of decibels. The values of a layer are computed once; another stretch
only colours them anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sartutor.errors import DataError
from sartutor.lab.annotator.pictures import MAX_SIDE, WEB_MERCATOR, Picture, corners, data_url
from sartutor.lab.annotator.placement import Placement
from sartutor.lab.annotator.proposals import dates
from sartutor.sar.radiometry import to_units
from sartutor.sar.scene import Band, Grid, Scene
from sartutor.sar.terrain import View, dem_gradient, local_incidence, slope
from sartutor.sar.warp import grid_in_crs, warp

Kind = Literal["band", "change", "composite", "hillshade", "slope"]

STRETCH = (2.0, 98.0)
"""Percentiles of the valid pixels that become black and white at first."""
LIGHT = View(45.0, 135.0)
"""Where the light of a hillshade comes from: 45 degrees above the horizon in the north-west, as on most maps."""
SYMBOLS = {"sigma0": "σ⁰", "beta0": "β⁰", "gamma0": "γ⁰", "none": ""}
UNITS = {"db": "dB", "dn": "DN", "m": "m", "degree": "°", "class": "class", "1": ""}
MAPS: dict[Kind, str] = {"change": "PuOr_r"}
"""Colour maps that are not grey: from violet (darker) over white to orange (brighter), safe for all eyes."""


@dataclass(frozen=True)
class Layer:
    """One way to look at a scene, from some of its bands."""

    name: str
    kind: Kind
    bands: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Shown:
    """A layer on a web-mercator `grid`: `values` (rows, columns), or (rows, columns, 3) of a composite."""

    layer: Layer
    title: str
    units: str
    values: NDArray[np.float32]
    valid: NDArray[np.bool_]
    grid: Grid

    @property
    def is_composite(self) -> bool:
        """Whether there are three channels, each with a stretch of its own."""
        return self.values.ndim == 3

    def spread(self) -> NDArray[np.float32]:
        """The valid values, one after the other."""
        return self.values[self.valid].ravel()


def layers(bands: Sequence[Band]) -> tuple[Layer, ...]:
    """All ways to look at a scene with these bands; change where a band has two dates, as VV0 and VV1 have."""
    found = [Layer(band.name, "band", (band.name,)) for band in bands]
    for stem, (before, after) in dates(bands).items():
        pair = (bands[before].name, bands[after].name)
        found.append(Layer(f"{stem} change", "change", pair))
        found.append(Layer(f"{stem} before, after, change", "composite", pair))
    for band in bands:
        if band.units == "m":
            found.append(Layer("hillshade", "hillshade", (band.name,)))
            if not any(other.name.lower() == "slope" for other in bands):
                found.append(Layer("slope", "slope", (band.name,)))
    return tuple(found)


def look(layer: Layer, scene: Scene, placement: Placement, max_side: int = MAX_SIDE) -> Shown:
    """A layer of a scene, or of its overview, warped to the map.

    Raises DataError when the scene has no valid pixel at all.
    """
    if not scene.valid.any():
        raise DataError(
            f"{scene.name} has no valid pixel at all; choose another file, or correct its no-data value."
        )
    made = _terrain(layer, scene) if layer.kind in ("hillshade", "slope") else scene.select(layer.bands)
    placed = replace(made, grid=placement.on_map(made.grid))
    target = grid_in_crs(placed.grid, WEB_MERCATOR, max_side)
    shown = in_decibels(warp(placed, target))
    band = shown.bands[0]
    return Shown(layer, _title(layer, band), _units(band), _values(layer, shown), shown.valid, target)


def in_decibels(scene: Scene) -> Scene:
    """The scene with power and amplitude in dB; what is no backscatter, or in dB already, stays as it is."""
    return to_units(scene, "db") if scene.bands[0].units in ("power", "amplitude") else scene


def robust_range(values: NDArray[np.float32], kind: Kind = "band") -> tuple[float, float]:
    """The values that become the ends of the colour map; never equal, and around 0 for a change."""
    low, high = (float(value) for value in np.percentile(values, STRETCH))
    if kind == "change":
        high = max(abs(low), abs(high), 1e-6)
        return -high, high
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def channel_ranges(shown: Shown) -> list[tuple[float, float]]:
    """The ends of each channel of a composite."""
    return [robust_range(channel[shown.valid]) for channel in np.moveaxis(shown.values, -1, 0)]


def colored(shown: Shown, *ends: tuple[float, float]) -> Picture:
    """The picture of a layer with values at the `ends` of its colours, of each channel; no data is transparent."""
    if shown.is_composite:
        unit = np.stack([_unit(shown.values[..., i], *ends[i]) for i in range(3)], -1)
    elif shown.layer.kind in MAPS:
        unit = matplotlib.colormaps[MAPS[shown.layer.kind]](_unit(shown.values, *ends[0]))[..., :3]
    else:
        unit = _unit(shown.values, *ends[0])[..., None]
    alpha = shown.valid[..., None] * 255.0
    pixels = np.concatenate((unit * 255, alpha), -1).astype(np.uint8)
    picture = Image.fromarray(pixels, "LA" if pixels.shape[-1] == 2 else "RGBA")
    return Picture(data_url(picture), corners(shown.grid))


def _unit(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.float32]:
    """Values as 0 to 1."""
    return np.clip(np.nan_to_num((values - low) / (high - low)), 0, 1)


def _terrain(layer: Layer, scene: Scene) -> Scene:
    """Hillshade (cosine of the angle between the light and the ground) or slope in degrees of the heights."""
    gradient = dem_gradient(scene.select(layer.bands))
    if layer.kind == "slope":
        values, band = slope(gradient), Band("slope", "degree")
    else:
        values = np.cos(np.deg2rad(local_incidence(gradient, LIGHT))).clip(0, None)
        band = Band("hillshade", "1")
    valid = scene.valid & np.isfinite(values)
    return replace(scene, pixels=values[None].astype(np.float32), bands=(band,), valid=valid)


def _values(layer: Layer, shown: Scene) -> NDArray[np.float32]:
    values = np.asarray(shown.pixels, np.float32)
    if layer.kind == "change":
        return values[1] - values[0]
    if layer.kind == "composite":
        return np.stack((values[0], values[1], values[1] - values[0]), -1)
    return values[0]


def _title(layer: Layer, band: Band) -> str:
    """What is shown, in words."""
    if layer.kind == "change":
        return f"{layer.bands[1]} less {layer.bands[0]}"
    if layer.kind == "composite":
        return f"red {layer.bands[0]}, green {layer.bands[1]}, blue their difference"
    day = band.date.isoformat() if band.date else ""
    return " ".join(filter(None, (layer.name, SYMBOLS[band.quantity], day)))


def _units(band: Band) -> str:
    return UNITS.get(band.units, band.units)
