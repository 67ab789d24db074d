"""Where a scene lies on the map: on the Earth, or, without a coordinate reference system, on a grid of pixels.

The map speaks degrees (EPSG:4326). A scene that does not say where it lies is shown around 0 N, 0 E, its longer side
one degree long: there, degrees are proportional to pixels and the map distorts nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import shapely
from affine import Affine
from rasterio.crs import CRS
from shapely.affinity import affine_transform
from shapely.geometry import Polygon

from sartutor.errors import GeometryError
from sartutor.sar.coordinates import apply_affine, bounds, transform_points
from sartutor.sar.scene import Grid

DEGREES = CRS.from_epsg(4326)


@dataclass(frozen=True)
class Placement:
    """The way between a scene's coordinates and the map's degrees; `grid` is the scene's."""

    grid: Grid

    @cached_property
    def on_earth(self) -> bool:
        """Whether the scene says where on the Earth it lies; local and engineering coordinates do not."""
        if self.grid.crs is None:
            return False
        try:
            bounds(self.grid, DEGREES)
        except GeometryError:
            return False
        return True

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
        crs = crs or self.grid.crs
        return shapely.transform(polygon, lambda ring: transform_points(ring, crs, DEGREES))

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
