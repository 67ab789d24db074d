"""Other grids: warping with every average taken in power.

Where pixels grow, those of the source are first averaged in power to about the new size; then values are
interpolated bilinearly, in power too, at exactly transformed pixel centres. No-data takes no part, as in
`sartutor.sar.resize`, and class bands take the nearest pixel.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.warp import Resampling, reproject

from sartutor.errors import GeometryError
from sartutor.sar.coordinates import Points, apply_affine, bounds, transform_points, unwrap
from sartutor.sar.radiometry import from_linear, to_linear
from sartutor.sar.resize import MIN_VALID_WEIGHT, overview, refuse_complex, resize
from sartutor.sar.scene import Grid, Scene

__all__ = ["grid_in_crs", "overview", "resize", "warp"]

MIN_SHRINK = 1.25
"""Source pixels per target pixel along an axis from which on a warp averages before it interpolates."""

_NO_CRS = CRS.from_wkt('LOCAL_CS["pixels",UNIT["metre",1]]')


def warp(scene: Scene, grid: Grid) -> Scene:
    """The scene on another grid, exact to a small part of a pixel, resampled in power.

    Raises GeometryError when one of the grids has no coordinate reference system, or they do not overlap, and
    DataError for complex bands, whose resampling needs the carrier removed.
    """
    _check_warp(scene, grid)
    fine = _as_coarse_as(grid, scene)
    valid = _reproject(fine.valid, fine.grid, grid, Resampling.bilinear, fill=0.0) >= MIN_VALID_WEIGHT
    pixels = np.full((len(scene.bands), *grid.shape), np.nan, np.float32)
    for index, band in enumerate(scene.bands):
        source, kernel = (scene, Resampling.nearest) if band.units == "class" else (fine, Resampling.bilinear)
        linear = np.where(source.valid, to_linear(source.pixels[index], band.units), np.nan)
        pixels[index] = from_linear(_reproject(linear, source.grid, grid, kernel, fill=np.nan), band.units)
    valid &= np.isfinite(pixels).all(axis=0)
    pixels[:, ~valid] = np.nan
    if not valid.any():
        raise GeometryError(
            f"{scene.name} does not overlap the grid it is warped to; choose a grid inside its bounds."
        )
    return replace(scene, pixels=pixels, valid=valid, grid=grid)


def grid_in_crs(grid: Grid, crs: CRS, max_side: int | None = None) -> Grid:
    """A north-up grid in `crs` around all of `grid`, with square pixels of about the same area as its pixels.

    Args:
        grid: the grid to cover; it must have a coordinate reference system.
        crs: that of the new grid; across the antimeridian its x runs on beyond 180 degrees.
        max_side: most rows or columns; pixels become larger where more were needed.
    """
    west, south, east, north = bounds(grid, crs)
    side = np.sqrt(_pixel_area(grid, crs))
    if max_side is not None:
        side = max(side, (east - west) / max_side, (north - south) / max_side)
    width, height = (max(1, int(np.ceil(length / side - 1e-9))) for length in (east - west, north - south))
    return Grid(Affine(side, 0, west, 0, -side, north), crs, height, width)


def _as_coarse_as(grid: Grid, scene: Scene) -> Scene:
    """The scene on its own ground with pixels as large as those of `grid` in its middle, where larger."""
    points = apply_affine(~grid.transform, _middle_pixel(scene.grid, grid.crs))
    across, down = np.hypot(*np.linalg.inv(points[1:] - points[0]))
    rows, cols = (
        max(1, round(size / factor)) if factor > MIN_SHRINK else size
        for size, factor in zip(scene.grid.shape, (down, across), strict=True)
    )
    return scene if (rows, cols) == scene.grid.shape else resize(scene, (rows, cols))


def _reproject(
    layer: NDArray[Any], source: Grid, target: Grid, kernel: Resampling, fill: float
) -> NDArray[np.float32]:
    result = np.full(target.shape, fill, np.float32)
    reproject(
        layer.astype(np.float32),
        result,
        src_transform=source.transform,
        src_crs=source.crs or _NO_CRS,
        src_nodata=np.nan,
        dst_transform=target.transform,
        dst_crs=target.crs or _NO_CRS,
        dst_nodata=fill,
        resampling=kernel,
        tolerance=0,
        XSCALE=1,
        YSCALE=1,
    )
    return result


def _check_warp(scene: Scene, grid: Grid) -> None:
    if (scene.grid.crs is None) != (grid.crs is None):
        raise GeometryError(
            f"{scene.name}: only one of the two grids has a coordinate reference system; assign one "
            "(gdal_edit.py -a_srs EPSG:... FILE) or stay in pixel coordinates."
        )
    refuse_complex(scene.bands, scene.name)


def _pixel_area(grid: Grid, crs: CRS) -> float:
    """Area of the grid's middle pixel in squared units of `crs`."""
    points = _middle_pixel(grid, crs)
    (a, c), (b, d) = points[1] - points[0], points[2] - points[0]
    return float(abs(a * d - b * c))


def _middle_pixel(grid: Grid, crs: CRS | None) -> Points:
    """Upper left, upper right and lower left corner of the grid's middle pixel in `crs`."""
    corner = np.array([grid.width // 2, grid.height // 2])
    points = apply_affine(grid.transform, corner + np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    return points if crs is None else unwrap(transform_points(points, grid.crs, crs), crs)
