"""Coordinates: between reference systems, through affine transforms, and around the world."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pyproj
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from sartutor.errors import GeometryError
from sartutor.sar.scene import Grid

DEGREES = CRS.from_epsg(4326)
"""Longitude and latitude."""

POINTS_PER_EDGE = 32
"""Points that an edge is divided into before it changes its coordinate reference system."""

Points = NDArray[np.float64]
"""(n, 2) coordinates: x or longitude or column first."""


def bounds(grid: Grid, crs: CRS | None = None) -> tuple[float, float, float, float]:
    """West, south, east and north of a grid in `crs` (None: its own), from its densified edge.

    A grid across the antimeridian gets an eastern bound beyond 180 degrees, never a box around the world.
    """
    corners = np.array(
        [(0, 0), (grid.width, 0), (grid.width, grid.height), (0, grid.height)], dtype=np.float64
    )
    ring = apply_affine(grid.transform, densify(corners))
    if crs is not None and not same_crs(crs, grid.crs):
        ring = unwrap(transform_points(ring, grid.crs, crs), crs)
    if not np.all(np.isfinite(ring)):
        raise GeometryError(
            f"the grid cannot be shown in {crs}; choose a coordinate reference system that covers it."
        )
    (west, south), (east, north) = ring.min(axis=0), ring.max(axis=0)
    return float(west), float(south), float(east), float(north)


def densify(ring: Points) -> Points:
    """The ring with `POINTS_PER_EDGE` points an edge, its corners kept exactly."""
    steps = np.arange(POINTS_PER_EDGE)[None, :, None] / POINTS_PER_EDGE
    following = np.roll(ring, -1, axis=0)
    return (ring[:, None] + steps * (following - ring)[:, None]).reshape(-1, 2)


def same_crs(one: CRS | None, other: CRS | None) -> bool:
    """Whether two coordinate reference systems, or their absence, are the same."""
    return one == other


def transform_points(points: Points, source: CRS | None, target: CRS | None) -> Points:
    """(n, 2) coordinates, x or longitude first, from one coordinate reference system into another."""
    if source is None or target is None:
        raise GeometryError(
            "the scene has no coordinate reference system; give the box in the scene's own pixel coordinates."
        )
    if same_crs(source, target):
        return points
    try:
        found = transformer(source.to_wkt(), target.to_wkt())
    except pyproj.exceptions.ProjError as error:
        raise GeometryError(
            f"no transformation leads from {crs_name(source)} to {crs_name(target)}; assign the coordinate "
            "reference system that the scene truly has."
        ) from error
    return np.column_stack(found.transform(*points.T))


def crs_name(crs: CRS | None) -> str:
    """A coordinate reference system in a few words: its code where it has one."""
    if crs is None:
        return "pixel coordinates"
    code = crs.to_string()
    return code if len(code) <= 30 else pyproj.CRS(crs.to_wkt()).name


def unwrap(ring: Points, crs: CRS) -> Points:
    """A ring whose x runs on beyond 180 degrees where it crosses the antimeridian, instead of jumping back."""
    period = world_width(crs)
    if period is None:
        return ring
    x = np.unwrap(ring[:, 0], period=period)
    turns = np.floor(x.min() / period + 0.5 + 1e-9)
    return np.column_stack((x - turns * period, ring[:, 1]))


def world_width(crs: CRS) -> float | None:
    """Distance in x after which the world repeats: 360 degrees, the equator of web mercator, or None."""
    if crs.is_geographic:
        return 2 * np.pi / float(crs.units_factor[1])
    return 2 * np.pi * 6378137.0 if crs.to_epsg() == 3857 else None


def apply_affine(transform: Affine, points: Points) -> Points:
    """(n, 2) points through an affine transform."""
    a, b, c, d, e, f = transform[:6]
    return points @ np.array([[a, d], [b, e]]) + np.array([c, f])


@lru_cache(maxsize=64)
def transformer(source: str, target: str) -> pyproj.Transformer:
    """The transformation between two systems in WKT, x or longitude first; kept, as making one is slow."""
    return pyproj.Transformer.from_crs(source, target, always_xy=True)
