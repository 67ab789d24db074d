"""Drawn polygons and pixels: where a shape on the ground lies in a raster, and back.

Pixel coordinates are (column, row) of pixel corners: (0, 0) is the upper left corner of the first pixel,
whose centre is (0.5, 0.5). A shape is kept as a polygon all the way: its corners are transformed, never its
bounding box alone, and its edges are densified before they change coordinate systems, where straight lines
bend.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyproj
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio import features
from rasterio.crs import CRS
from rasterio.windows import Window
from shapely.geometry import MultiPolygon, Polygon, box, shape

from sartutor.errors import GeometryError
from sartutor.sar.coordinates import (
    POINTS_PER_EDGE,
    Points,
    apply_affine,
    bounds,
    crs_name,
    densify,
    same_crs,
    transform_points,
    transformer,
    unwrap,
    world_width,
)
from sartutor.sar.scene import Grid

ROUNDING = 1e-6
"""Pixels by which an outline may pass the edge of a grid through rounding alone."""

FARTHEST = 1e12
"""Coordinates are smaller than this in every system for places on a planet."""


def box_polygon(west: float, south: float, east: float, north: float) -> Polygon:
    """The rectangle between two corners, in whatever coordinates they are given.

    Raises GeometryError for coordinates that are not finite or beyond `FARTHEST`, for zero area and for
    corners in the wrong order; a box across the antimeridian continues beyond 180 degrees (179 to 181).
    """
    edges = f"box {west:.10g} {south:.10g} {east:.10g} {north:.10g}"
    if not np.all(np.abs([west, south, east, north]) < FARTHEST):
        raise GeometryError(
            f"{edges} has a coordinate that is not a number or beyond any map; give west, south, east, north."
        )
    if west > east or south > north:
        raise GeometryError(
            f"{edges} has its corners in the wrong order; give west south east north "
            "(across the antimeridian go on beyond 180, as in 179 to 181)."
        )
    if west == east or south == north:
        raise GeometryError(f"{edges} has zero area; draw or give a box with some width and height.")
    return box(west, south, east, north)


def outline(polygon: Polygon, crs: CRS | None, grid: Grid) -> Points:
    """A polygon's outer ring in pixel coordinates of `grid`, as (n, 2) columns and rows, not closed.

    Args:
        polygon: the drawn shape; holes are ignored.
        crs: coordinate reference system of the polygon; None means the coordinates of `grid` itself.
        grid: where the pixels lie.

    Returns:
        The corners in drawing order. Where the coordinate reference system changes, what lies more than the grid's
        size away from it is left out, and there are `POINTS_PER_EDGE` points an edge, the first of them its corner.
    """
    _check_polygon(polygon)
    ring = np.asarray(polygon.exterior.coords, dtype=np.float64)[:-1, :2]
    if crs is None or same_crs(crs, grid.crs):
        ring = _where_grid_lies(ring, grid.crs, grid)
    else:
        near = _without_far_parts(_where_grid_lies(ring, crs, grid), crs, grid)
        ring = transform_points(densify(near), crs, grid.crs)
        ring = _where_grid_lies(unwrap(ring, grid.crs), grid.crs, grid) if grid.crs else ring
    return apply_affine(~grid.transform, ring)


def to_pixels(points: Points, crs: CRS | None, grid: Grid) -> Points:
    """Columns and rows (n, 2) on `grid` of single points in `crs` (None: the grid's own).

    Each is taken where the grid lies, however often it has been around the world.
    """
    placed = points if crs is None else transform_points(points, crs, grid.crs)
    near = [_where_grid_lies(point[None], grid.crs, grid) for point in placed]
    return apply_affine(~grid.transform, np.concatenate([np.empty((0, 2)), *near]))


def window_outline(window: Window) -> Points:
    """The corners of a window as an outline in pixels: upper left, upper right, lower right, lower left."""
    x, y = window.col_off, window.row_off
    right, below = x + window.width, y + window.height
    return np.array([(x, y), (right, y), (right, below), (x, below)], np.float64)


def ground(points: Points, grid: Grid, crs: CRS | None) -> Polygon:
    """The polygon in `crs` (None: the grid's own) of an outline in pixels; the inverse of `outline`."""
    ring = apply_affine(grid.transform, points)
    return Polygon(ring if crs is None else transform_points(ring, grid.crs, crs))


def pixel_box(points: Points) -> tuple[float, float, float, float]:
    """Least and greatest column and row of an outline: (x0, y0, x1, y1), not rounded."""
    (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    return float(x0), float(y0), float(x1), float(y1)


def pixel_window(pixels: tuple[float, float, float, float], grid: Grid) -> Window:
    """The whole pixels that a pixel box touches: rounded outward, clipped to the grid."""
    x0, y0 = (max(int(np.floor(v)), 0) for v in pixels[:2])
    x1, y1 = (min(int(np.ceil(v)), n) for v, n in zip(pixels[2:], (grid.width, grid.height), strict=True))
    return Window(x0, y0, x1 - x0, y1 - y0)


def clip_outline(
    points: Points, grid: Grid, *, name: str = "the scene", crs: CRS | None = None
) -> tuple[Points, bool]:
    """The part of an outline that lies on the grid, and whether anything was cut off.

    Raises GeometryError when nothing is left; the message names the scene and its bounds in `crs`, the
    coordinate reference system that the shape was given in.
    """
    if not np.all(np.isfinite(points)):
        raise GeometryError(_outside(grid, name, crs))
    x0, y0, x1, y1 = pixel_box(points)
    if min(x0, y0, grid.width - x1, grid.height - y1) >= -ROUNDING:
        return points.clip((0, 0), (grid.width, grid.height)), False
    inside = _clip_ring(points, (0, 0, grid.width, grid.height))
    if len(inside) < 3 or Polygon(inside).area == 0:
        raise GeometryError(_outside(grid, name, crs))
    return inside, True


def rasterize(points: Points, window: Window) -> NDArray[np.bool_]:
    """Pixels of `window` (height, width) whose centre lies inside an outline."""
    transform = Affine.translation(window.col_off, window.row_off)
    size = (int(window.height), int(window.width))
    return features.rasterize([Polygon(points)], size, transform=transform, dtype="uint8").astype(bool)


def mask_polygons(mask: NDArray[np.bool_], grid: Grid, window: Window | None = None) -> MultiPolygon:
    """The outlines of a mask's parts, along pixel edges, in coordinates of `grid`.

    Args:
        mask: (height, width) of `window`, or of the grid.
        grid: the grid that `window` is counted on.
        window: where the mask lies on the grid; the whole grid when None.
    """
    part = grid if window is None else grid.crop(window)
    found = features.shapes(mask.astype(np.uint8), mask=mask, connectivity=4, transform=part.transform)
    return MultiPolygon([shape(geometry) for geometry, _ in found])


def area_m2(part: Polygon | MultiPolygon | NDArray[np.bool_], grid: Grid) -> float | None:
    """Area on the ellipsoid, in square metres, of a geometry in `grid.crs` or of a mask on `grid`.

    None where the grid has no coordinate reference system, or one without an ellipsoid.
    """
    if grid.crs is None:
        return None
    geometry = mask_polygons(part, grid) if isinstance(part, np.ndarray) else part
    if geometry.is_empty:
        return 0.0
    west, south, east, north = geometry.bounds
    dense = shapely.segmentize(geometry, max(east - west, north - south) / POINTS_PER_EDGE)
    crs = pyproj.CRS(grid.crs.to_wkt())
    geod, geographic = crs.get_geod(), crs.geodetic_crs
    if geod is None or geographic is None:
        return None
    to_degrees = transformer(crs.to_wkt(), geographic.to_wkt())
    degrees = shapely.transform(dense, lambda ring: np.column_stack(to_degrees.transform(*ring.T)))
    return abs(float(geod.geometry_area_perimeter(degrees)[0]))


def _check_polygon(polygon: Polygon) -> None:
    if polygon.is_empty or not np.all(np.abs(polygon.bounds) < FARTHEST):
        raise GeometryError("the drawn shape has no corners on any map; draw it again.")
    if polygon.area == 0:
        raise GeometryError("the drawn shape has zero area; draw a box with some width and height.")


def _where_grid_lies(ring: Points, crs: CRS | None, grid: Grid) -> Points:
    """The ring moved by whole turns around the world to where the grid lies: maps repeat, rasters do not."""
    period = None if crs is None else world_width(crs)
    if period is None:
        return ring
    west, _, east, _ = bounds(grid, crs)
    width = float(np.ptp(ring[:, 0]))
    if width > period / 2 > east - west:
        raise GeometryError(
            f"the box spans {360 * width / period:.0f} degrees of longitude, more than half the world; draw a "
            "smaller one, or across the antimeridian go on beyond 180 (as in 179 to 181)."
        )
    turns = np.round(((west + east) / 2 - (ring[:, 0].min() + ring[:, 0].max()) / 2) / period)
    return ring + np.array([turns * period, 0.0])


def _without_far_parts(ring: Points, crs: CRS, grid: Grid) -> Points:
    """The ring without what lies more than the grid's size away from it, where projections lose meaning.

    A ring that is far away as a whole stays as it is.
    """
    west, south, east, north = bounds(grid, crs)
    width, height = east - west, north - south
    near = _clip_ring(ring, (west - width, south - height, east + width, north + height))
    return near if len(near) >= 3 else ring


def _clip_ring(points: Points, edges: tuple[float, float, float, float]) -> Points:
    """The part of a ring inside x0, y0, x1, y1; fewer than 3 points where there is none."""
    x0, y0, x1, y1 = edges
    for axis, bound, sign in ((0, x0, 1), (0, x1, -1), (1, y0, 1), (1, y1, -1)):
        points = _clip_half_plane(points, axis, bound, sign)
    return points


def _clip_half_plane(points: Points, axis: int, bound: float, sign: int) -> Points:
    """A ring's part where sign (x - bound) >= 0 on an axis: one step of Sutherland and Hodgman (1974)."""
    kept: list[NDArray[Any]] = []
    distances = sign * (points[:, axis] - bound) if len(points) else np.empty(0)
    for index, (point, distance) in enumerate(zip(points, distances, strict=True)):
        before, past = points[index - 1], distances[index - 1]
        if past * distance < 0:
            kept.append(before + (point - before) * past / (past - distance))
        if distance >= 0:
            kept.append(point)
    return np.array(kept).reshape(-1, 2)


def _outside(grid: Grid, name: str, crs: CRS | None) -> str:
    west, south, east, north = bounds(grid, crs)
    spans = f"{west:.7g} {south:.7g} {east:.7g} {north:.7g}"
    return f"the box lies outside {name}; draw it within {spans} in {crs_name(crs or grid.crs)}."
