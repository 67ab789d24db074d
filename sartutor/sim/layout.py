"""Plans of made-up landscapes: lakes, rivers, forests, fields, settlements and roads as a map of seven classes.

Lengths are metres on the ground, so that a finer sensor sees fewer and larger fields. The plans are drawn from
random fields and straight grids, not grown: roads end nowhere in particular and rivers do not follow the terrain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from sartutor.sim.backscatter import LAND_COVERS
from sartutor.sim.shapes import fractal_field, parcels

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]
Labels = NDArray[np.uint8]
Rng = np.random.Generator

BUILDING, ROAD, WATER, BARE, FOREST, CROPLAND, BACKGROUND = range(len(LAND_COVERS))
"""Label values: positions in `LAND_COVERS`, the classes of CrossEarth-SAR-200K (arXiv 2603.12008)."""

STREET_M, HIGHWAY_M = 9.0, 16.0
"""Widths of streets and main roads in m; nothing is drawn narrower than 1.2 px."""


@dataclass(frozen=True)
class Region:
    """What landscapes of one part of the world have in common; shares are of the area, all values assumed.

    `cropland` and `bare` are shares of the open land; `block_m` and `lot_m` are distances of streets and of houses;
    `built` is the share of lots with a house; `relief_deg` is the standard deviation of the slope towards the radar.
    """

    field_m: float
    cropland: float
    bare: float
    forest: float
    lakes: float
    river_m: float
    town_m: float
    block_m: float
    lot_m: float
    built: float
    relief_deg: float


REGIONS = {
    "north": Region(90, 0.35, 0.05, 0.50, 0.12, 20, 260, 130, 45, 0.35, 3.0),
    "south": Region(60, 0.45, 0.30, 0.12, 0.01, 25, 300, 60, 22, 0.75, 5.0),
    "plains": Region(220, 0.70, 0.18, 0.10, 0.02, 50, 350, 110, 35, 0.55, 0.5),
    "delta": Region(50, 0.75, 0.08, 0.04, 0.06, 130, 320, 80, 25, 0.65, 0.2),
    "metropolis": Region(120, 0.30, 0.20, 0.08, 0.02, 70, 900, 95, 42, 0.85, 1.0),
}
"""Boreal lakeland; dry land of small plots; large-scale farmland; wetland of rice strips; city."""


@dataclass(frozen=True, eq=False)
class Layout:
    """A plan, (rows, columns) each.

    `labels` are positions in `LAND_COVERS`; `deviation` is by how many standard deviations a field, house, lake or
    stand of trees differs from the mean of its class; `slope_deg` is the ground's rise towards larger columns;
    `street_deg` is the angle between streets and the columns' direction, 0 to 90 degrees; `height` is that of the
    ground in its own standard deviations.
    """

    labels: Labels
    deviation: Array
    slope_deg: Array
    street_deg: float
    height: Array


@dataclass(frozen=True, eq=False)
class _Town:
    area: Mask
    streets: Mask
    houses: Mask
    deviation: Array
    street_deg: float


def draw_layout(rng: Rng, region: Region, size: int, pixel_m: float) -> Layout:
    """Draw a plan of `size` x `size` pixels, each `pixel_m` m wide."""
    height = fractal_field(rng, size, 3.5)
    town = _town(rng, region, size, pixel_m)
    levels = parcels(rng, size, max(region.field_m * rng.uniform(0.7, 1.5) / pixel_m, 4))
    labels = _fields(region, levels)
    labels[_largest(fractal_field(rng, size, 2.8), region.forest * rng.uniform(0.6, 1.4))] = FOREST
    labels[_largest(-height, region.lakes * rng.uniform(0, 2)) | _river(rng, region, size, pixel_m)] = WATER
    labels[town.area] = BACKGROUND
    labels[town.houses] = BUILDING
    labels[town.streets | _highways(rng, size, pixel_m)] = ROAD
    farmed = (labels == CROPLAND) | (labels == BARE)
    natural = np.where(farmed, _second_level(levels), fractal_field(rng, size, 2.5))
    deviation = np.where(labels == BUILDING, town.deviation, natural).astype(np.float32)
    slope = np.gradient(height, axis=1)
    return Layout(labels, deviation, region.relief_deg / slope.std() * slope, town.street_deg, height)


def _fields(region: Region, levels: Array) -> Labels:
    """Cropland, bare ground and grassland by the random level of each field."""
    sown, ploughed = ndtri([region.cropland, region.cropland + region.bare])
    return np.select([levels < sown, levels < ploughed], [CROPLAND, BARE], BACKGROUND).astype(np.uint8)


def _second_level(levels: Array) -> Array:
    """Another standard normal level for each field, from the last digits of its first one."""
    digits = np.mod(levels * 1024, 1)
    return ndtri(np.clip(digits, 0.005, 0.995)).astype(np.float32)


def _largest(field: Array, share: float) -> Mask:
    """The `share` of pixels with the largest values."""
    return field > np.quantile(field, 1 - min(share, 1)) if share > 0 else np.zeros(field.shape, bool)


def _river(rng: Rng, region: Region, size: int, pixel_m: float) -> Mask:
    """A winding band along the zero line of a smooth field, about `river_m` wide."""
    field = fractal_field(rng, size, 5.0)
    steepness = np.hypot(*np.gradient(field))
    return np.abs(field) < max(region.river_m * rng.uniform(0.6, 1.4) / pixel_m, 1.5) / 2 * steepness


def _highways(rng: Rng, size: int, pixel_m: float) -> Mask:
    """Two or three gently curved roads across the scene."""
    roads = np.zeros((size, size), bool)
    for _ in range(int(rng.integers(2, 4))):
        along, across = _rotated(size, rng.uniform(0, np.pi))
        bend = size * rng.uniform(0, 0.08) * np.sin(along * rng.uniform(3, 9) / size + rng.uniform(0, 6))
        roads |= np.abs(across - bend - size * rng.uniform(-0.4, 0.4)) < max(HIGHWAY_M / pixel_m, 1.2) / 2
    return roads


def _town(rng: Rng, region: Region, size: int, pixel_m: float) -> _Town:
    """A settlement on a grid of streets; its outline is ragged, its area at most about half the scene."""
    angle = rng.uniform(0, np.pi / 2)
    along, across = _rotated(size, angle)
    radius = min(region.town_m * rng.uniform(0.6, 1.3) / pixel_m, 0.4 * size)
    center = rng.uniform(-0.35, 0.35, 2) * size
    distance = np.hypot(along - center[0], across - center[1])
    area = distance < radius * (1 + 0.2 * fractal_field(rng, size, 3.5))
    streets = _lines(along, region, pixel_m) | _lines(across, region, pixel_m)
    houses, deviation = _houses(rng, region, along, across, pixel_m)
    return _Town(area, area & streets, area & houses & ~streets, deviation, float(np.degrees(angle)))


def _lines(position: Array, region: Region, pixel_m: float) -> Mask:
    """Streets at every `block_m`."""
    block, width = max(region.block_m / pixel_m, 6), max(STREET_M / pixel_m, 1.2)
    return np.mod(position, np.float32(block)) < width


def _houses(rng: Rng, region: Region, along: Array, across: Array, pixel_m: float) -> tuple[Mask, Array]:
    """Houses on the built lots, and the deviation of each lot."""
    lot = np.float32(max(region.lot_m / pixel_m, 3))
    column, row = np.floor(along / lot).astype(np.int32), np.floor(across / lot).astype(np.int32)
    number = (column * 331 + row * 577) % 1021
    built = (rng.random(1021) < region.built)[number]
    inside = (np.mod(along, lot) < 0.75 * lot) & (np.mod(across, lot) < 0.6 * lot)
    return built & inside, rng.standard_normal(1021, dtype=np.float32)[number]


def _rotated(size: int, angle: float) -> tuple[Array, Array]:
    """Coordinates in pixels from the centre along and across a direction, `angle` rad from the columns' one."""
    x = np.arange(size, dtype=np.float32) - size / 2
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return x * cosine + x[:, None] * sine, x[:, None] * cosine - x * sine
