"""Two acquisitions of one place on one grid: before and after, seen from the same track.

What changes between two images of one track is the ground; between two tracks it is also the view. Images are
therefore paired only when relative orbit, mode, pass and look direction agree.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.registration import phase_cross_correlation

from sartutor.errors import DataError, GeometryError
from sartutor.sar.alos2_products import find_alos2_name
from sartutor.sar.flattened import states_flattening
from sartutor.sar.radiometry import RADAR_UNITS, power_to_db, to_linear
from sartutor.sar.scene import Band, Grid, Scene
from sartutor.sar.sentinel1 import POLARISATIONS, parse_s1_name
from sartutor.sar.terrain import heights, spacing_m, terrain_layers
from sartutor.sar.warp import warp

SHIFT_SIDE = 1024
"""Most rows and columns, in the middle of the scene, that the residual shift is estimated from."""

SHIFT_STEPS = 10
"""Steps a pixel in which the residual shift is estimated."""

MIN_SHIFT_PIXELS = 64
"""Fewest rows and columns from which a residual shift is estimated."""

_LOOKS = {"R": "right", "L": "left"}
_PASSES = {"A": "ascending", "D": "descending"}


@dataclass(frozen=True)
class Acquisition:
    """From where and when an image was taken; None where it is not known.

    `relative_orbit` is the track (Sentinel-1: 1 to 175; ALOS-2: orbit within the 14-day cycle, 0 to 206), `mode`
    the beam mode (IW, UBS), `look` is "right" or "left", `orbit_pass` is "ascending" or "descending".
    """

    relative_orbit: int | None = None
    mode: str | None = None
    look: str | None = None
    orbit_pass: str | None = None
    date: date | None = None


def acquisition_of(scene: Scene) -> Acquisition:
    """What the scene's name and dates say; Sentinel-1 always looks to the right, its names leave the pass open."""
    days = {band.date for band in scene.bands if band.name.upper().startswith(POLARISATIONS) and band.date}
    day = days.pop() if len(days) == 1 else None
    if named := parse_s1_name(scene.name):
        return Acquisition(named.relative_orbit, named.mode, "right", None, day or named.start.date())
    if said := find_alos2_name(scene.name):
        look, orbit_pass = _LOOKS.get(said.look), _PASSES.get(said.orbit_direction)
        return Acquisition(said.repeat_orbit, said.mode or None, look, orbit_pass, day or said.date)
    return Acquisition(date=day)


def pair(
    before: Scene,
    after: Scene,
    grid: Grid | None = None,
    *,
    acquisitions: tuple[Acquisition, Acquisition] | None = None,
    same_geometry: bool = False,
) -> Scene:
    """Both scenes as one, in power on one grid: bands VV0, VV1, VH0, VH1 (0 reference, 1 activity), as far as both
    have the polarisations.

    Args:
        before: the reference, calibrated (power, dB or amplitude), with bands named by polarisation.
        after: the activity image, taken later.
        grid: where the result lies; None: the grid of the scene with the smaller pixels.
        acquisitions: of both, as a SAFE folder states them (`open_safe(...).acquisition`) or a search does; None: what
            the scenes' names say (`acquisition_of`).
        same_geometry: states that what is not known of the acquisitions (track, mode, pass, look) is the same.

    Returns:
        The scene, valid where both are. Its notes state the residual shift (`residual_shift`): it is not corrected,
        since an estimate from speckle and real change is no better than the products' own geometry.

    Raises:
        DataError: the views differ or are not known to agree, `before` is not the earlier one, no polarisation is
            in both, units are not calibrated, one polarisation is sigma0 here and gamma0 there, or one scene alone
            states that it is terrain-flattened.
        GeometryError: the scenes do not overlap, on the grid or at all.
    """
    first, second = acquisitions or (acquisition_of(before), acquisition_of(after))
    _check_views(before, after, first, second, same_geometry)
    _check_flattening(before, after)
    shared = _shared_bands(before, after)
    days = (first.date, second.date)
    parts = [_in_power(s, shared, d) for s, d in zip((before, after), days, strict=True)]
    target = grid or min((before.grid, after.grid), key=_pixel_metres)
    placed = [part if part.grid == target else warp(part, target) for part in parts]
    return _interleaved(placed[0], placed[1], shared)


def with_terrain(pair: Scene, dem: Scene) -> Scene:
    """The pair with two more bands, DEM (m) and slope (degree), valid where terrain is known, too.

    The slope is that of the height model on its own pixels, whose ground size its coordinate reference system tells
    (degrees are turned into metres), and is then warped as the heights are.

    Args:
        pair: any scene with a coordinate reference system.
        dem: a height model with one band in metres; it need not share the pair's grid.

    Raises:
        DataError: the height model is not in metres, or holds fill values for heights.
        GeometryError: one of the two has no coordinate reference system, or they do not overlap.
    """
    height = heights(dem)
    layers = terrain_layers(dem).select(["slope"])
    both = replace(
        layers,
        pixels=np.stack([np.where(layers.valid, height, 0), layers.pixels[0]]),
        bands=(Band("DEM", "m"), Band("slope", "degree")),
    )
    ground = warp(both, pair.grid)
    lost = int(np.count_nonzero(pair.valid & ~ground.valid))
    notes = (f"{lost} valid px have no terrain in {dem.name} and are left out.",) if lost else ()
    return replace(
        pair,
        pixels=np.concatenate([pair.pixels, ground.pixels]),
        bands=(*pair.bands, *ground.bands),
        valid=pair.valid & ground.valid,
        notes=(*pair.notes, *notes),
    )


def residual_shift(
    before: NDArray[Any], after: NDArray[Any], valid: NDArray[np.bool_]
) -> tuple[float, float] | None:
    """Rows and columns by which `after` lies off `before`, to a tenth of a pixel, by cross-correlation of dB.

    Args:
        before: (rows, columns) power.
        after: power on the same grid.
        valid: where both are valid; the middle `SHIFT_SIDE` rows and columns are looked at.

    Returns:
        (rows, columns), or None where fewer than `MIN_SHIFT_PIXELS` rows or columns, or less than half of the
        pixels, are valid, or where all is one value. Speckle of two dates is independent: without lasting structure
        the estimate means nothing.
    """
    middle = tuple(_middle(size) for size in valid.shape)
    used = valid[middle]
    if min(used.shape) < MIN_SHIFT_PIXELS or used.mean() < 0.5:
        return None
    images = [power_to_db(layer[middle]) for layer in (before, after)]
    flat = [np.where(used, image - image[used].mean(), 0) for image in images]
    if not all(image.any() for image in flat):
        return None
    found, _, _ = phase_cross_correlation(flat[1], flat[0], upsample_factor=SHIFT_STEPS, normalization=None)
    return float(found[0]), float(found[1])


def _check_views(
    before: Scene, after: Scene, first: Acquisition, second: Acquisition, same_geometry: bool
) -> None:
    names = [field.name for field in fields(Acquisition) if field.name != "date"]
    known = {name: (getattr(first, name), getattr(second, name)) for name in names}
    differing = [
        f"{name.replace('_', ' ')} {a} and {b}"
        for name, (a, b) in known.items()
        if a is not None and b is not None and a != b
    ]
    if differing:
        raise DataError(
            f"{before.name} and {after.name} differ in {', '.join(differing)}; pair images of the same track and view."
        )
    missing = [name.replace("_", " ") for name, values in known.items() if None in values]
    if missing and not same_geometry:
        raise DataError(
            f"{before.name} and {after.name} do not both state their {', '.join(missing)}; pass acquisitions, or "
            "same_geometry=True if you know them to be the same."
        )
    if first.date and second.date and first.date >= second.date:
        raise DataError(
            f"{before.name} ({first.date}) was not taken before {after.name} ({second.date}); exchange them."
        )


def _check_flattening(before: Scene, after: Scene) -> None:
    (flat, name), (also_flat, other) = ((states_flattening(scene), scene.name) for scene in (before, after))
    if flat != also_flat:
        one, other = (name, other) if flat else (other, name)
        raise DataError(
            f"{one} is terrain-flattened and {other} does not state that it is: slopes would look like change; flatten "
            "it too, or say in its notes that it is terrain-flattened."
        )


def _shared_bands(before: Scene, after: Scene) -> tuple[str, ...]:
    """Polarisations that both have, as stored; DataError where there is none or their conventions differ."""
    shared = tuple(name for name in before.band_names if _is_radar(name) and name in after.band_names)
    if not shared:
        raise DataError(
            f"{before.name} ({', '.join(before.band_names)}) and {after.name} ({', '.join(after.band_names)}) share "
            "no polarisation; name the bands VV and VH in both."
        )
    for name in shared:
        one, other = (scene.bands[scene.band_names.index(name)] for scene in (before, after))
        for scene, band in ((before, one), (after, other)):
            if band.units not in RADAR_UNITS:
                raise DataError(f"{scene.name}: {name} is {band.units!r}; calibrate it before pairing.")
        if one.quantity != other.quantity and "none" not in (one.quantity, other.quantity):
            raise DataError(
                f"{name} is {one.quantity} in {before.name} and {other.quantity} in {after.name}; use one convention."
            )
    return shared


def _is_radar(name: str) -> bool:
    return name.upper() in POLARISATIONS


def _in_power(scene: Scene, names: tuple[str, ...], day: date | None) -> Scene:
    chosen = scene.select(names)
    pixels = np.stack(
        [to_linear(layer, band.units) for layer, band in zip(chosen.pixels, chosen.bands, strict=True)]
    )
    bands = tuple(replace(band, units="power", date=band.date or day) for band in chosen.bands)
    return replace(chosen, pixels=pixels, bands=bands)


def _pixel_metres(grid: Grid) -> float:
    """Side of a square pixel of the grid's mean area, metres; its own units without coordinate reference system."""
    if grid.crs is None:
        return float(np.sqrt(abs(grid.transform.determinant)))
    per_row, per_column = spacing_m(grid)
    return float(np.sqrt(np.mean(per_row) * np.mean(per_column)))


def _interleaved(before: Scene, after: Scene, names: tuple[str, ...]) -> Scene:
    valid = before.valid & after.valid
    if not valid.any():
        raise GeometryError(
            f"{before.name} and {after.name} have no valid pixel in common; choose images that overlap."
        )
    layers = [scene.band(name) for name in names for scene in (before, after)]
    bands = [
        replace(scene.bands[scene.band_names.index(name)], name=f"{name}{index}")
        for name in names
        for index, scene in enumerate((before, after))
    ]
    name = f"{before.name} to {after.name}"
    notes = tuple(dict.fromkeys((*before.notes, *after.notes)))
    found = residual_shift(layers[0], layers[1], valid)
    return Scene(
        np.stack(layers), tuple(bands), before.grid, valid, name, before.product, (*notes, _shift_note(found))
    )


def _shift_note(shift: tuple[float, float] | None) -> str:
    if shift is None:
        return "residual shift between the dates: not estimated, there is too little to compare."
    return (
        f"residual shift of the later image: {shift[0]:+.1f} rows, {shift[1]:+.1f} columns (cross-correlation of dB; "
        "not corrected)."
    )


def _middle(size: int) -> slice:
    start = max(0, (size - SHIFT_SIDE) // 2)
    return slice(start, start + min(size, SHIFT_SIDE))
