"""Outlines around the world: in one piece across the antimeridian, and cut there as GeoJSON asks for (RFC 7946)."""

from __future__ import annotations

import math

import numpy as np
import shapely
from rasterio.crs import CRS
from shapely.geometry import LinearRing, MultiPolygon, Polygon

from sartutor.sar.coordinates import DEGREES, Points, transform_points, unwrap, world_width

DECIMALS = 7
"""Of coordinates in degrees: one centimetre."""


def in_degrees(outline: MultiPolygon, crs: CRS) -> MultiPolygon:
    """An outline in EPSG:4326: exterior rings counterclockwise, cut at the antimeridian (RFC 7946, 3.1.6 and 3.1.9).

    Raises GeometryError where no transformation leads from `crs` there.
    """
    pieces = [piece for part in outline.geoms for piece in _pieces(unwrapped(part, crs, DEGREES))]
    rounded = shapely.transform(MultiPolygon(pieces), lambda points: np.round(points, DECIMALS))
    return shapely.orient_polygons(rounded)


def unwrapped(polygon: Polygon, crs: CRS, target: CRS) -> Polygon:
    """A polygon in `target` whose rings run on where the world repeats instead of jumping back; holes stay inside."""
    exterior = _ring(polygon.exterior, crs, target)
    period = world_width(target)
    holes = [_ring(hole, crs, target) for hole in polygon.interiors]
    if period is not None:
        middle = exterior[:, 0].min() + np.ptp(exterior[:, 0]) / 2
        turns = [round((middle - hole[:, 0].mean()) / period) for hole in holes]
        holes = [hole + np.array([period * n, 0.0]) for hole, n in zip(holes, turns, strict=True)]
    return Polygon(exterior, holes)


def _ring(ring: LinearRing, crs: CRS, target: CRS) -> Points:
    return unwrap(transform_points(np.asarray(ring.coords)[:, :2], crs, target), target)


def _pieces(whole: Polygon) -> list[Polygon]:
    """The parts of a polygon between the antimeridian and itself a turn later, each within -180 to 180 degrees."""
    west, _, east, _ = whole.bounds
    turns = range(math.floor((west + 180) / 360), math.ceil((east + 180) / 360))
    if len(turns) == 1:
        return [_shifted(whole, -360 * turns[0])]
    parts = [
        _shifted(shapely.clip_by_rect(whole, 360 * turn - 180, -90, 360 * turn + 180, 90), -360 * turn)
        for turn in turns
    ]
    return [piece for part in parts for piece in shapely.get_parts(part) if piece.geom_type == "Polygon"]


def _shifted(part: Polygon, degrees: float) -> Polygon:
    return shapely.transform(part, lambda points: points + np.array([degrees, 0.0]))
