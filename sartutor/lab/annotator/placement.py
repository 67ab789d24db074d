"""Where a scene lies on the map: on the Earth, or, without a coordinate reference system, on a grid of pixels.

The map speaks degrees (EPSG:4326). A scene that does not say where it lies is shown around 0 N, 0 E, its longer side
one degree long: there, degrees are proportional to pixels and the map distorts nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from affine import Affine
from rasterio.crs import CRS
from shapely.affinity import affine_transform, translate
from shapely.geometry import Polygon

from sartutor.errors import GeometryError
from sartutor.lab.annotator.degrees import unwrapped
from sartutor.sar.coordinates import DEGREES, apply_affine, bounds, transform_points
from sartutor.sar.scene import Grid

MAP_LIMIT_DEG = 85.05
"""Latitude, north and south, beyond which web mercator shows nothing."""

Corners = tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True)
class Placement:
    """The way between a scene's coordinates and the map's degrees; `grid` is the scene's."""

    grid: Grid

    @cached_property
    def on_earth(self) -> bool:
        """Whether the scene says where on the Earth it lies, and the map reaches there.

        Local and engineering coordinates do not say it; web mercator ends before the poles.
        """
        if self.grid.crs is None:
            return False
        try:
            _, south, _, north = bounds(self.grid, DEGREES)
        except GeometryError:
            return False
        return south > -MAP_LIMIT_DEG and north < MAP_LIMIT_DEG and not self._holds_a_pole

    @property
    def _holds_a_pole(self) -> bool:
        poles = transform_points(np.array([[0.0, 90.0], [0.0, -90.0]]), DEGREES, self.grid.crs)
        pixels = apply_affine(~self.grid.transform, poles)
        inside = (pixels > 0) & (pixels < (self.grid.width, self.grid.height))
        return bool((np.isfinite(pixels) & inside).all(axis=1).any())

    @cached_property
    def _middle(self) -> float:
        """Longitude of the scene's middle, beyond 180 degrees where it lies across the antimeridian."""
        west, _, east, _ = bounds(self.grid, DEGREES)
        return (west + east) / 2

    def turns(self, lon: float) -> float:
        """Degrees, whole turns, that bring a longitude near to the scene, where the map shows it."""
        return 360.0 * round((self._middle - lon) / 360) if self.on_earth else 0.0

    def near(self, corners: Corners) -> Corners:
        """((south, west), (north, east)) moved by whole turns to where the map shows the scene."""
        (south, west), (north, east) = corners
        turn = self.turns((west + east) / 2)
        return (south, west + turn), (north, east + turn)

    def on_map(self, part: Grid) -> Grid:
        """A part of the scene's grid, or a coarser one over it, with coordinates that can be shown."""
        if self.on_earth:
            return part
        return Grid(self._to_degrees * part.transform, DEGREES, part.height, part.width)

    def from_map(self, polygon: Polygon) -> tuple[Polygon, CRS | None]:
        """A polygon drawn in degrees, as the scene understands it, and its coordinate reference system."""
        if self.on_earth:
            return polygon, DEGREES
        return affine_transform(polygon, (~self._to_degrees).to_shapely()), None

    def to_map(self, polygon: Polygon, crs: CRS | None) -> Polygon:
        """A polygon in `crs` (None: coordinates of the scene) in degrees."""
        if not self.on_earth:
            return affine_transform(polygon, self._to_degrees.to_shapely())
        whole = unwrapped(polygon, crs or self.grid.crs, DEGREES)
        west, _, east, _ = whole.bounds
        return translate(whole, self.turns((west + east) / 2))

    def point_from_map(self, lon: float, lat: float, crs: CRS | None) -> tuple[float, float]:
        """A place on the map as x and y in `crs` (None: coordinates of the scene)."""
        place = np.array([[lon, lat]], float)
        if self.on_earth:
            x, y = transform_points(place, DEGREES, crs or self.grid.crs)[0]
        else:
            x, y = apply_affine(~self._to_degrees, place)[0]
        return float(x), float(y)

    def point_to_map(self, x: float, y: float, crs: CRS | None) -> tuple[float, float]:
        """x and y in `crs` (None: coordinates of the scene) as longitude and latitude on the map."""
        place = np.array([[x, y]], float)
        if self.on_earth:
            lon, lat = transform_points(place, crs or self.grid.crs, DEGREES)[0]
            lon += self.turns(lon)
        else:
            lon, lat = apply_affine(self._to_degrees, place)[0]
        return float(lon), float(lat)

    def pixel(self, lon: float, lat: float) -> tuple[float, float]:
        """Column and row, of pixel corners, of a place on the map; not on the scene for places beside it."""
        col, row = apply_affine(~self.grid.transform, np.array([self.point_from_map(lon, lat, None)]))[0]
        return float(col), float(row)

    @property
    def _to_degrees(self) -> Affine:
        height, width = self.grid.shape
        side = 1 / max(height, width)
        pixels = Affine(side, 0, -side * width / 2, 0, -side, side * height / 2)
        return pixels * ~self.grid.transform
