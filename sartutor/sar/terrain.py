"""Slope, aspect and the angle of the beam on terrain: first derivatives of a height model, in metres.

Gradients know their grid. On geographic grids a degree of longitude shrinks with latitude, and web mercator
stretches the ground by half at 48 degrees, so distances come from the ellipsoid (`spacing_m`). Heights without
data are not-a-number; whatever touches them has no slope, so that the edge of a model is never a cliff.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import pyproj
from numpy.typing import ArrayLike, NDArray
from rasterio.crs import CRS

from sartutor.errors import DataError, GeometryError
from sartutor.sar.coordinates import Points, apply_affine, crs_name, transform_points
from sartutor.sar.scene import Band, Grid, Scene

Array: TypeAlias = NDArray[np.float32]

Spacing: TypeAlias = tuple[float, float | NDArray[np.floating[Any]]]
"""Metres per row and metres per column; the latter also (rows, 1), one a row."""

HEADING_DEG = {"ascending": -12.0, "descending": -168.0}
"""Flight direction of Sentinel-1 at middle latitudes, clockwise from true north, to about 2 degrees (assumed
for other near-polar sun-synchronous orbits; it turns with latitude, so give the product's heading if known)."""

NOMINAL_SCALE = 0.01
"""Relative scale error up to which a map's metres count as ground metres (UTM and national grids: < 0.002)."""

LOWEST_M, HIGHEST_M = -500.0, 9000.0
"""Heights that land can have, with margin: the shore of the Dead Sea, -430 m, and the top of Everest, 8849 m."""

CLIFF_M = 100.0
"""Median step around heights of exactly 0 or 1 m from which on they are fill, not sea."""


@dataclass(frozen=True)
class View:
    """Where the beam comes from: a far sensor, so that all its rays are parallel.

    `incidence_deg` is the ellipsoid's, from the vertical; `look_azimuth_deg` the direction in which the beam
    travels over the ground, clockwise from grid north. Grid north differs from true north by up to about 3
    degrees in UTM, and by any angle in polar maps: `on_grid` turns a view given from true north.
    """

    incidence_deg: float
    look_azimuth_deg: float

    def __post_init__(self) -> None:
        if not 0 < self.incidence_deg < 90:
            raise GeometryError(
                f"incidence of {self.incidence_deg:g} degrees is not between 0 and 90; give the angle "
                "from the vertical (Sentinel-1 IW: 29 to 46)."
            )
        if not np.isfinite(self.look_azimuth_deg):
            raise GeometryError("the look azimuth is no number; give degrees clockwise from north.")

    @classmethod
    def of_pass(
        cls,
        orbit_pass: Literal["ascending", "descending"],
        incidence_deg: float,
        look: Literal["right", "left"] = "right",
        heading_deg: float | None = None,
    ) -> View:
        """The view from an orbit, from true north; `heading_deg` is that of flight (None: `HEADING_DEG`)."""
        if orbit_pass not in HEADING_DEG or look not in ("right", "left"):
            raise GeometryError(
                f"a pass is 'ascending' or 'descending' and a look 'right' or 'left', not {orbit_pass!r} "
                f"and {look!r}."
            )
        heading = HEADING_DEG[orbit_pass] if heading_deg is None else heading_deg
        return cls(incidence_deg, (heading + (90.0 if look == "right" else -90.0)) % 360.0)

    def on_grid(self, grid: Grid) -> View:
        """This view, given from true north, as seen from the grid north of a map (at the grid's middle)."""
        return replace(self, look_azimuth_deg=(self.look_azimuth_deg - convergence_deg(grid)) % 360.0)

    def to_sensor(self) -> tuple[float, float, float]:
        """Unit vector from the ground to the sensor: east, north, up."""
        theta, azimuth = np.deg2rad(self.incidence_deg), np.deg2rad(self.look_azimuth_deg)
        east, north = -np.sin(theta) * np.sin(azimuth), -np.sin(theta) * np.cos(azimuth)
        return float(east), float(north), float(np.cos(theta))


def gradient(height: ArrayLike, spacing: Spacing) -> Array:
    """Rise per metre towards east and towards north, (2, rows, columns), by central differences.

    Args:
        height: (rows, columns) in metres, row 0 in the north; not-a-number where there is no data.
        spacing: metres per row and per column, as from `spacing_m`; columns also (rows, 1).

    Returns:
        Not-a-number where the height or a neighbour needed has no data; one-sided differences at the border.
    """
    heights = np.asarray(height, np.result_type(np.asarray(height).dtype, np.float32))
    if heights.ndim != 2 or min(heights.shape) < 2:
        raise GeometryError(f"heights {heights.shape} have no gradient; give at least 2 x 2 (rows, columns).")
    unknown = ~np.isfinite(heights)
    heights = np.where(unknown, np.nan, heights)
    per_row, per_column = check_spacing(spacing, heights.shape[0])
    down, east = np.gradient(heights)
    result: Array = np.stack([east / per_column, -down / per_row]).astype(np.float32)
    result[:, unknown] = np.nan
    return result


def slope(gradient: ArrayLike) -> Array:
    """Slope in degrees of a gradient (2, rows, columns): atan |grad h|."""
    east, north = np.asarray(gradient)
    return np.rad2deg(np.arctan(np.hypot(east, north))).astype(np.float32)


def aspect(gradient: ArrayLike) -> Array:
    """Direction of steepest descent, degrees clockwise from north; not-a-number where the ground is flat."""
    east, north = np.asarray(gradient)
    degrees = np.rad2deg(np.arctan2(-east, -north)).astype(np.float32) % np.float32(360)
    return np.where((east == 0) & (north == 0), np.float32(np.nan), degrees)


def local_incidence(gradient: ArrayLike, view: View) -> Array:
    """Angle between the surface normal and the direction to the sensor, in degrees: cos = n . l.

    Above 90 degrees the ground faces away from the sensor and gets no beam.
    """
    east, north = np.asarray(gradient, np.float64)
    to_east, to_north, up = view.to_sensor()
    cosine = (up - east * to_east - north * to_north) / np.sqrt(1 + east**2 + north**2)
    return np.rad2deg(np.arccos(np.clip(cosine, -1, 1))).astype(np.float32)


def spacing_m(grid: Grid) -> Spacing:
    """Ground metres per row and per column of a grid.

    Both are numbers where the map's scale is true to `NOMINAL_SCALE`, as in UTM. On geographic grids, web
    mercator and the like they are lengths on the ellipsoid along the middle column: the mean per row, and
    (rows, 1) per column.

    Raises GeometryError for a grid without coordinate reference system, or one that its coordinates contradict.
    """
    crs = _known_crs(grid)
    rows, columns = _ground_steps(grid, crs)
    if crs.is_projected:
        a, b, _, d, e, _ = grid.transform[:6]
        unit = float(crs.linear_units_factor[1])
        nominal = unit * float(np.hypot(b, e)), unit * float(np.hypot(a, d))
        scales = np.concatenate([rows / nominal[0], columns / nominal[1]])
        if np.all(np.abs(scales - 1) <= NOMINAL_SCALE):
            return nominal
    return float(rows.mean()), columns[:, None]


def convergence_deg(grid: Grid) -> float:
    """Direction of grid north at the middle of a grid, degrees clockwise from true north, -180 to 180."""
    crs = _known_crs(grid)
    x, y = grid.transform @ (grid.width / 2, grid.height / 2)
    step = 1e-4 if crs.is_geographic else 10.0
    lon, lat, geod = _on_ellipsoid(np.array([(x, y), (x, y + step)]), crs)
    return float(geod.inv(lon[0], lat[0], lon[1], lat[1])[0])


def heights(dem: Scene) -> Array:
    """Heights of a height model in metres, (rows, columns), not-a-number where there is no data.

    Raises DataError when no band, or more than one, is in metres, or when values are no heights of land.
    """
    bands = [band for band in dem.bands if band.units == "m"]
    if len(bands) != 1:
        stated = ", ".join(f"{band.name} in {band.units}" for band in dem.bands)
        raise DataError(
            f"{dem.name}: a height model needs exactly one band in metres and has {stated}; name the units "
            "(units='m'), after multiplying feet by 0.3048."
        )
    _refuse_feet(dem)
    result: Array = np.where(dem.valid, dem.band(bands[0].name), np.nan).astype(np.float32)
    _refuse_fill(result, dem.name)
    return result


def dem_gradient(dem: Scene) -> Array:
    """Rise per metre of a height model towards the map's east and north, on rotated and south-up grids, too.

    Raises GeometryError for sheared grids, rotated geographic ones, and those that `spacing_m` refuses.
    """
    height = heights(dem)
    along_row, up_column = gradient(height, spacing_m(dem.grid))
    right, up = _axes(dem)
    return np.stack([along_row * right[i] + up_column * up[i] for i in (0, 1)]).astype(np.float32)


def terrain_layers(dem: Scene) -> Scene:
    """Slope and aspect of a height model in metres, both in degrees, as a scene on its grid.

    Where the ground is flat the aspect is set to 0, and a note says how often. Aspects are directions: warp
    the height model rather than its aspect.

    Raises:
        DataError: heights are not in metres, or are no heights of land.
        GeometryError: the grid has no coordinate reference system, is sheared, or contradicts its coordinates.
    """
    rise = dem_gradient(dem)
    directions = aspect(rise)
    valid: NDArray[np.bool_] = np.all(np.isfinite(rise), axis=0)
    flat = valid & np.isnan(directions)
    pixels = np.stack([slope(rise), np.where(flat, np.float32(0), directions)])
    notes = (f"aspect: {np.count_nonzero(flat)} flat px set to 0.",) if flat.any() else ()
    bands = (Band("slope", "degree"), Band("aspect", "degree"))
    return replace(dem, pixels=pixels, bands=bands, valid=valid, notes=(*dem.notes, *notes))


def check_spacing(spacing: Spacing, rows: int) -> Spacing:
    """The spacing of a raster of `rows` rows; GeometryError where it is not positive or does not fit."""
    for metres in spacing:
        if not np.all(np.asarray(metres) > 0) or np.shape(metres) not in ((), (1, 1), (rows, 1)):
            raise GeometryError(
                f"spacing must be metres above 0 per row and per column (or one a row, ({rows}, 1)); "
                "take it from spacing_m(grid)."
            )
    return spacing


def _known_crs(grid: Grid, name: str = "the grid") -> CRS:
    if grid.crs is None:
        raise GeometryError(
            f"{name} has no coordinate reference system, so its slopes are unknown; assign one "
            "(gdal_edit.py -a_srs EPSG:... FILE)."
        )
    return grid.crs


def _ground_steps(grid: Grid, crs: CRS) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Length in metres of each row's step down and step to the right, on the ellipsoid in the middle column."""
    middle = np.column_stack([np.full(grid.height, grid.width / 2), np.arange(grid.height) + 0.5])

    def length(step: tuple[float, float]) -> NDArray[np.float64]:
        ends = [apply_affine(grid.transform, middle + np.array(step) * part) for part in (-0.5, 0.5)]
        lon, lat, geod = _on_ellipsoid(np.concatenate(ends), crs)
        count = grid.height
        return np.asarray(geod.inv(lon[:count], lat[:count], lon[count:], lat[count:])[2])

    steps = length((0.0, 1.0)), length((1.0, 0.0))
    if not all(np.all(np.isfinite(step) & (step > 0)) for step in steps):
        raise GeometryError(
            f"coordinates lie outside of {crs_name(crs)}; assign the coordinate reference system that the "
            "heights truly have."
        )
    return steps


def _on_ellipsoid(points: Points, crs: CRS) -> tuple[NDArray[np.float64], NDArray[np.float64], pyproj.Geod]:
    """Longitude and latitude of points in degrees, and the ellipsoid that they lie on."""
    system = pyproj.CRS(crs.to_wkt())
    geod = system.get_geod()
    if system.geodetic_crs is None or geod is None:
        raise GeometryError(
            f"{crs_name(crs)} has no place on Earth; assign the true coordinate reference system."
        )
    lon, lat = transform_points(points, crs, CRS.from_wkt(system.geodetic_crs.to_wkt())).T
    return lon, np.clip(lat, -90, 90), geod


def _axes(dem: Scene) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Unit vectors (east, north on the map) to the right along rows and up along columns."""
    a, b, _, d, e, _ = dem.grid.transform[:6]
    right, up = np.array([a, d]) / np.hypot(a, d), -np.array([b, e]) / np.hypot(b, e)
    turned = max(abs(right[1]), abs(up[0])) > 1e-6
    if abs(right @ up) > 1e-6 or (turned and _known_crs(dem.grid).is_geographic):
        raise GeometryError(
            f"{dem.name}: slopes need square corners, and rows along parallels on geographic grids; warp it "
            "to a north-up grid first (grid_in_crs, warp)."
        )
    return right, up


def _refuse_feet(dem: Scene) -> None:
    """Raise DataError when the vertical part of the coordinate reference system is not in metres."""
    axes = pyproj.CRS(_known_crs(dem.grid, dem.name).to_wkt()).axis_info
    for axis in axes:
        if axis.direction in ("up", "down") and abs(axis.unit_conversion_factor - 1) > 1e-9:
            raise DataError(
                f"{dem.name}: heights are in {axis.unit_name} by their coordinate reference system; multiply "
                "them by its length in metres (feet: 0.3048) and assign a horizontal system."
            )


def _refuse_fill(height: Array, name: str) -> None:
    """Raise DataError when a height model is empty, or holds fill values that no tag declares."""
    known = height[np.isfinite(height)]
    if known.size == 0 or not known.any():
        raise DataError(f"{name}: all heights are 0 or no data; choose another height model.")
    low, high = float(known.min()), float(known.max())
    if low < LOWEST_M or high > HIGHEST_M:
        raise DataError(
            f"{name}: heights from {low:g} to {high:g} m are no land; declare the fill value as no-data "
            "(gdal_edit.py -a_nodata -9999 FILE) or mask the sea floor."
        )
    for fill in (0.0, 1.0):
        if (step := _step_around(height, fill)) > CLIFF_M:
            raise DataError(
                f"{name}: heights of exactly {fill:g} m end in cliffs of {step:.0f} m, so they are fill; "
                f"declare {fill:g} as no-data (gdal_edit.py -a_nodata {fill:g} FILE)."
            )


def _step_around(height: Array, fill: float) -> float:
    """Median step in metres between pixels of exactly `fill` and neighbours with other heights; 0 without any."""
    is_fill = height == fill
    if not is_fill.any():
        return 0.0
    steps = []
    for axis in (0, 1):
        edge = np.diff(is_fill.astype(np.int8), axis=axis) != 0
        steps.append(np.abs(np.diff(height, axis=axis)[edge]))
    found = np.concatenate(steps)
    found = found[np.isfinite(found)]
    return float(np.median(found)) if found.size else 0.0
