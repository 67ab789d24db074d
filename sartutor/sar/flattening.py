"""Radiometric terrain flattening: gamma0 by the illuminated area that each radar pixel truly held.

Slopes towards the sensor are bright because a radar pixel holds more of their ground, and in layover several
slopes at once. The area is accumulated from the height model in the geometry of the radar and divided out:
gamma0_T = beta0 A_beta / A_gamma (D. Small, "Flattening Gamma: Radiometric Terrain Correction for SAR Imagery",
IEEE TGRS 49(8), 2011). The sensor is taken as far away: parallel rays, one incidence for the whole scene, so
cut a wide swath into parts. The slope along the flight direction then has no say: it widens the facet as much
as it turns it, and strips of facets along the beam give the areas exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sartutor.errors import DataError, GeometryError
from sartutor.sar.alos2_products import find_alos2_name
from sartutor.sar.flattened import states_flattening
from sartutor.sar.radiometry import RADAR_UNITS, beta0_from_gamma0, beta0_from_sigma0, from_linear, to_linear
from sartutor.sar.scene import Grid, Quantity, Scene
from sartutor.sar.terrain import Array, Spacing, View, heights, spacing_m
from sartutor.sar.visibility import Lines, beam_lines, ray_height, shadow, slant_range

MIN_AREA = 0.03
"""Smallest illuminated area, relative to flat ground, that is divided by: below is mostly noise (assumed)."""

SHARPEST = 1e-3
"""Least extent in slant range of a facet, in radar pixels: one at right angles to the beam has none at all."""

LINES_AT_ONCE = 256
"""Lines of the beam that are worked on together, so that a large raster needs little memory besides its own."""

_BETA0: dict[Quantity, Callable[[NDArray[Any], float], NDArray[Any]]] = {
    "beta0": lambda power, incidence_deg: power,
    "sigma0": beta0_from_sigma0,
    "gamma0": beta0_from_gamma0,
}


def flatten_terrain(scene: Scene, dem: Scene, view: View) -> Scene:
    """The scene's backscatter as terrain-flattened gamma0; bands that are no backscatter stay as they are.

    Ground in radar shadow, and next to none illuminated, becomes not valid. A note says how it was done.

    Args:
        scene: sigma0, beta0 or gamma0 of the ellipsoid, orthorectified (geocoded with heights), in power,
            amplitude or dB.
        dem: heights in metres on the same north-up grid.
        view: where the beam comes from; its incidence is also the one that the scene was calibrated with.

    Raises:
        DataError: the scene is flattened already, not calibrated, projected onto the ellipsoid without heights (ALOS-2
            level 1.5), or `dem` holds no heights.
        GeometryError: grids differ, are not north-up, or have no coordinate reference system.
    """
    _check_radiometry(scene)
    _check_places(scene)
    _check_grids(scene, dem)
    height, spacing = heights(dem), spacing_m(dem.grid)
    ratio = area_ratio(height, spacing, view)
    hidden = shadow(height, spacing, view) | (ratio < MIN_AREA * area_ratio_of_plane(0, view.incidence_deg))
    valid = scene.valid & np.isfinite(ratio) & ~hidden
    pixels = np.where(valid, scene.pixels, np.nan).astype(np.float32)
    for layer, band in zip(pixels, scene.bands, strict=True):
        if band.units in RADAR_UNITS:
            beta0 = _BETA0[band.quantity](to_linear(layer[valid], band.units), view.incidence_deg)
            layer[valid] = from_linear(beta0 / ratio[valid], band.units)
    bands = tuple(replace(b, quantity="gamma0") if b.units in RADAR_UNITS else b for b in scene.bands)
    return replace(
        scene, pixels=pixels, bands=bands, valid=valid, notes=(*scene.notes, _note(scene, hidden, view))
    )


def area_ratio(height: ArrayLike, spacing: Spacing, view: View) -> Array:
    """Illuminated area per area of the slant-range pixel, A_gamma / A_beta, (rows, columns).

    Flat ground has cot(theta), ground without beam 0. In layover all facets of a radar pixel add up. The pixel
    is as long in slant range as a pixel of flat ground in the direction of the beam. Holes are bridged by
    straight ground along the beam; a pixel alone on its line has no area (at a corner, not-a-number).

    Args:
        height: (rows, columns) in metres, row 0 in the north; not-a-number without data.
        spacing: metres per row and per column, as from `spacing_m`.
        view: where the beam comes from.
    """
    lines = beam_lines(height, spacing, view)
    sine = float(np.sin(np.deg2rad(view.incidence_deg)))
    cell = lines.step_m * sine
    profiles = lines.gather(height)  # block by block, heights make way for ratios
    for begin in range(0, len(profiles), LINES_AT_ONCE):
        block = profiles[begin : begin + LINES_AT_ONCE]
        ground = _bridged(block)
        ends = slant_range(ground, lines, view), ray_height(ground, lines, view)
        facets = illuminated_facets(*ends, sine, cell)
        slant = slant_range(block, lines, view)
        block[...] = [_density(*line, cell) for line in zip(slant, *facets, strict=True)]
    return lines.scatter(profiles).astype(np.float32)


def area_ratio_of_plane(slope_deg: float, incidence_deg: float) -> float:
    """A_gamma / A_beta of a plane, |cot(theta - slope)|: slopes towards the sensor are positive, in degrees.

    Infinite where the slope equals theta, and 0 where it is steeper than 90 degrees - theta away from the sensor.
    """
    if slope_deg <= incidence_deg - 90:
        return 0.0
    with np.errstate(divide="ignore"):
        return float(np.abs(1 / np.tan(np.deg2rad(incidence_deg - slope_deg))))


def illuminated_facets(slant: Lines, ray: Lines, sine: float, cell: float) -> tuple[Lines, Lines, Lines]:
    """Strips of ground between samples along the beam: slant range of start and end, and area of the lit part.

    The area is that normal to the beam, per metre along the flight direction: how far a strip's upper ray
    rises above all earlier ones, times sin(theta). Hidden strips have none, and the sum is the beam's cross
    section.

    Args:
        slant: (lines, samples) slant range in metres.
        ray: (lines, samples) height of the rays, as from `ray_height`.
        sine: sin(theta).
        cell: extent of a radar pixel in slant range, in metres.

    Returns:
        Three arrays (lines, samples + 1): before and behind a line the ground goes on as it came for a radar
        pixel, so that the outermost pixels are whole; area is not-a-number elsewhere without data.
    """
    edge = ((0, 0), (1, 1))
    slant, ray = (np.pad(values, edge, constant_values=np.nan) for values in (slant, ray))
    rise = np.diff(ray, axis=1)
    area = np.diff(np.fmax.accumulate(ray, axis=1), axis=1)
    lit = np.divide(area, rise, out=np.zeros_like(rise), where=rise > 0)
    end, span = slant[:, 1:], np.diff(slant, axis=1)
    facets = end - lit * span, end, np.where(np.isnan(span), np.nan, area * sine)
    return _continued(*facets, np.isfinite(slant), cell)


def cosine_correction(power: ArrayLike, local_incidence: ArrayLike, incidence: float) -> Array:
    """The legacy correction of slopes: power cos(theta) / cos(local incidence); angles in degrees.

    It knows how a facet is turned, but not how many of them share a radar pixel. A slope a in the plane of
    incidence, positive towards the sensor, stays off by sin(theta) / sin(theta - a): without limit as a nears
    theta, and layover stays as it is. Not-a-number where the ground faces away from the sensor. Use
    `flatten_terrain` for data; this shows why.
    """
    cosine = np.cos(np.deg2rad(np.asarray(local_incidence, np.float64)))
    with np.errstate(divide="ignore", invalid="ignore"):
        corrected = np.asarray(power) * np.cos(np.deg2rad(incidence)) / cosine
    return np.where(cosine > 1e-9, corrected, np.nan).astype(np.float32)


def _bridged(profiles: Lines) -> Lines:
    """Heights along the beam with holes closed by straight lines; not-a-number before and behind the ground."""
    known = np.isfinite(profiles)
    bridged = profiles.copy()
    for index in np.flatnonzero(np.diff(known, axis=1).sum(axis=1) > 1):
        at = np.flatnonzero(known[index])
        hole = at[0] + np.flatnonzero(~known[index, at[0] : at[-1]])
        bridged[index, hole] = np.interp(hole, at, profiles[index, at])
    return bridged


def _continued(
    start: Lines, end: Lines, area: Lines, known: NDArray[np.bool_], cell: float
) -> tuple[Lines, Lines, Lines]:
    """The facets, with more of the same where the ground of a line begins and stops.

    They go on for the extent of a radar pixel in slant range, or of the facet where that is larger.
    """
    span = end - start
    times = np.maximum(1, cell / np.maximum(np.abs(span), SHARPEST * cell))
    begins, stops = known[:, 1:] & ~known[:, :-1], known[:, :-1] & ~known[:, 1:]

    def joined(own: Lines, after: Lines, before: Lines) -> Lines:
        beside = np.where(begins, np.roll(before, -1, axis=1), own)
        return np.where(stops, np.roll(after, 1, axis=1), beside)

    return (
        joined(start, end, start - times * span),
        joined(end, end + times * span, start),
        joined(area, times * area, times * area),
    )


def _density(slant: Lines, start: Lines, end: Lines, area: Lines, cell: float) -> NDArray[np.float64]:
    """Area per slant range in a radar pixel of `cell` metres around each sample of one line.

    Every facet spreads its area evenly over its slant range. The area up to a slant range is then a broken
    line, exact at its corners.
    """
    known = np.isfinite(area)
    if not known.any():
        return np.full(slant.shape, np.nan)
    start, end, area = start[known], end[known], area[known]
    near = np.minimum(start, end)
    length = np.maximum(np.abs(end - start), SHARPEST * cell)
    corners = np.concatenate([near, near + length])
    order = np.argsort(corners, kind="stable")
    corners = corners[order]
    rate = np.cumsum(np.concatenate([area / length, -area / length])[order])
    total = np.concatenate([[0.0], np.cumsum(rate[:-1] * np.diff(corners))])
    upto = np.interp(slant + cell / 2, corners, total)
    return (upto - np.interp(slant - cell / 2, corners, total)) / cell


def _check_radiometry(scene: Scene) -> None:
    """Raise DataError for what is flattened at delivery, as JAXA's mosaics are, or is no calibrated backscatter."""
    if states_flattening(scene):
        raise DataError(
            f"{scene.name} is corrected for slopes already and must not be flattened again; use it as it is."
        )
    measured = [band for band in scene.bands if band.units in (*RADAR_UNITS, "dn", "complex")]
    if not measured:
        raise DataError(f"{scene.name}: no band is radar backscatter, nothing to flatten.")
    for band in measured:
        if band.units not in RADAR_UNITS or band.quantity == "none":
            raise DataError(
                f"{scene.name}: {band.name} ({band.units}, quantity {band.quantity}) is not calibrated "
                "backscatter; calibrate it, or name what it is (quantity='sigma0')."
            )


def _check_places(scene: Scene) -> None:
    """Raise DataError for level 1.5, in which a place at height h lies h / tan(theta) off its own."""
    said = find_alos2_name(scene.name)
    if scene.product == "alos2-l1.5" or (said is not None and said.level == "1.5"):
        raise DataError(
            f"{scene.name} is level 1.5, projected without heights, so slopes lie elsewhere than in the height model; "
            "take level 2.1."
        )


def _check_grids(scene: Scene, dem: Scene) -> None:
    for part in (scene, dem):
        if part.grid.crs is None:
            raise GeometryError(
                f"{part.name} has no coordinate reference system; assign one (gdal_edit.py -a_srs EPSG:... "
                "FILE)."
            )
    if not _same_grid(scene.grid, dem.grid):
        raise GeometryError(
            f"{scene.name} and {dem.name} lie on different grids; warp the heights first (warp(dem, scene.grid))."
        )
    a, b, _, d, e, _ = scene.grid.transform[:6]
    if b or d or a <= 0 or e >= 0:
        raise GeometryError(
            f"{scene.name} is not north-up; warp it and the heights to such a grid first (grid_in_crs, warp)."
        )


def _same_grid(one: Grid, other: Grid) -> bool:
    """Whether two grids are the same to a thousandth of a pixel."""
    if one.shape != other.shape or one.crs != other.crs:
        return False
    corners = np.array([(0, 0, 1), (one.width, one.height, 1)]).T
    between = ~one.transform @ other.transform
    moved = np.array(between[:6]).reshape(2, 3) @ corners
    return bool(np.allclose(moved, corners[:2], rtol=0, atol=1e-3))


def _note(scene: Scene, hidden: NDArray[np.bool_], view: View) -> str:
    count = int(np.count_nonzero(hidden & scene.valid))
    return (
        f"Terrain-flattened gamma0 by facet areas (Small 2011), incidence {view.incidence_deg:g}, look azimuth "
        f"{view.look_azimuth_deg:g} degrees; {count} px in shadow set to no data."
    )
