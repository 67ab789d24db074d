"""Units of backscatter: decibels, power, amplitude and digital numbers, and how to tell them apart.

Averages of backscatter are averages of power. `to_linear` and `from_linear` lead from any unit to the domain
in which its values may be averaged, and back; everything that resamples goes through this pair.

Backscatter is given per area in the slant plane (beta0), on the ground (sigma0) or perpendicular to the beam
(gamma0). On an ellipsoid the three differ by the incidence angle theta alone: sigma0 = beta0 sin(theta) and
gamma0 = sigma0 / cos(theta) = beta0 tan(theta).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sartutor.errors import DataError
from sartutor.sar.flattened import states_flattening
from sartutor.sar.scene import Band, Quantity, Scene, Units

ALOS2_CALIBRATION_FACTOR_DB = -83.0
"""Calibration factor of PALSAR-2 level 1.5/2.1 products and mosaics, in dB (JAXA's calibration page)."""

ALOS2_SLC_TERM_DB = 32.0
"""What is subtracted for level 1.1 besides, in dB: sigma0 = 10 log10 <I^2 + Q^2> + CF - 32.0 (same page)."""

POWER_FLOOR = 1e-8
"""Smallest power that becomes decibels (-80 dB); noise-subtracted power may be zero or negative."""

MANY_ZEROS = 0.01
"""Share of exact zeros among radar values from which on they are probably fill."""

RADAR_UNITS = ("power", "db", "amplitude")
"""Units of calibrated backscatter that convert into each other without further knowledge."""


def db_to_power(db: ArrayLike) -> NDArray[Any]:
    """Power of decibels: 10^(dB / 10)."""
    return np.exp(np.asarray(db) * (math.log(10) / 10), dtype=_floating(db))


def power_to_db(power: ArrayLike, floor: float = POWER_FLOOR) -> NDArray[Any]:
    """Decibels of power: 10 log10(power); power below `floor` (zero and negative too) counts as `floor`."""
    values = np.asarray(power, dtype=_floating(power))
    return 10.0 * np.log10(np.maximum(values, values.dtype.type(floor)))


def alos2_dn_to_power(dn: ArrayLike, factor_db: float = ALOS2_CALIBRATION_FACTOR_DB) -> NDArray[np.float32]:
    """Backscatter power of PALSAR-2 digital numbers: DN^2 10^(CF / 10).

    Average the result, never the digital numbers: 10 log10 <DN^2> + CF is the calibrated value.
    """
    return np.square(np.asarray(dn, dtype=np.float32)) * np.float32(10.0 ** (factor_db / 10.0))


def alos2_slc_to_power(
    z: ArrayLike, factor_db: float = ALOS2_CALIBRATION_FACTOR_DB
) -> NDArray[np.floating[Any]]:
    """Backscatter power of PALSAR-2 level 1.1 complex values: (I^2 + Q^2) 10^((CF - 32) / 10).

    Average the result over looks: 10 log10 <I^2 + Q^2> + CF - 32.0 is the calibrated value.
    """
    values = np.asarray(z)
    scale = values.real.dtype.type(10.0 ** ((factor_db - ALOS2_SLC_TERM_DB) / 10.0))
    return (np.square(values.real) + np.square(values.imag)) * scale


def sigma0_from_beta0(beta0: ArrayLike, incidence_deg: ArrayLike) -> NDArray[Any]:
    """Power per ground area of power per slant-range area: beta0 sin(theta), on the ellipsoid."""
    return np.asarray(beta0) * np.sin(np.deg2rad(incidence_deg))


def beta0_from_sigma0(sigma0: ArrayLike, incidence_deg: ArrayLike) -> NDArray[Any]:
    """Power per slant-range area of power per ground area: sigma0 / sin(theta), on the ellipsoid."""
    return np.asarray(sigma0) / np.sin(np.deg2rad(incidence_deg))


def gamma0_from_sigma0(sigma0: ArrayLike, incidence_deg: ArrayLike) -> NDArray[Any]:
    """Power per area across the beam of power per ground area: sigma0 / cos(theta), on the ellipsoid."""
    return np.asarray(sigma0) / np.cos(np.deg2rad(incidence_deg))


def sigma0_from_gamma0(gamma0: ArrayLike, incidence_deg: ArrayLike) -> NDArray[Any]:
    """Power per ground area of power per area across the beam: gamma0 cos(theta), on the ellipsoid."""
    return np.asarray(gamma0) * np.cos(np.deg2rad(incidence_deg))


def gamma0_from_beta0(beta0: ArrayLike, incidence_deg: ArrayLike) -> NDArray[Any]:
    """Power per area across the beam of power per slant-range area: beta0 tan(theta), on the ellipsoid."""
    return np.asarray(beta0) * np.tan(np.deg2rad(incidence_deg))


def beta0_from_gamma0(gamma0: ArrayLike, incidence_deg: ArrayLike) -> NDArray[Any]:
    """Power per slant-range area of power per area across the beam: gamma0 / tan(theta), on the ellipsoid."""
    return np.asarray(gamma0) / np.tan(np.deg2rad(incidence_deg))


_CONVERSIONS: dict[tuple[Quantity, Quantity], Callable[[ArrayLike, ArrayLike], NDArray[Any]]] = {
    ("beta0", "sigma0"): sigma0_from_beta0,
    ("beta0", "gamma0"): gamma0_from_beta0,
    ("sigma0", "beta0"): beta0_from_sigma0,
    ("sigma0", "gamma0"): gamma0_from_sigma0,
    ("gamma0", "beta0"): beta0_from_gamma0,
    ("gamma0", "sigma0"): sigma0_from_gamma0,
}


def convert_quantity(scene: Scene, quantity: Quantity, incidence_deg: float | NDArray[Any]) -> Scene:
    """The scene with its backscatter bands as sigma0, beta0 or gamma0, on the ellipsoid.

    Args:
        scene: backscatter bands in power or dB that state what they are; other bands stay as they are.
        quantity: "sigma0", "beta0" or "gamma0".
        incidence_deg: angle between beam and the ellipsoid's normal in degrees, one for all or (rows, columns).
            Where it is not a number the result is not valid.

    Raises DataError when a band is so already or does not state its quantity, when bands need calibration or
    conversion to power first, when angles do not lie between 0 and 90 degrees, or when the scene states that it is
    terrain-flattened: the ellipsoid's incidence says nothing about its slopes.
    """
    _check_quantities(scene, quantity)
    angle, valid = _angles(scene, incidence_deg)
    pixels = scene.pixels.copy()
    for layer, band in zip(pixels, scene.bands, strict=True):
        if band.units in ("power", "db"):
            ratio = _CONVERSIONS[band.quantity, quantity](1.0, angle)
            layer[...] = layer + power_to_db(ratio) if band.units == "db" else layer * ratio
    bands = tuple(replace(b, quantity=quantity) if b.units in ("power", "db") else b for b in scene.bands)
    return replace(scene, pixels=pixels, bands=bands, valid=valid)


def to_linear(values: NDArray[Any], units: Units) -> NDArray[Any]:
    """Values in the domain where they may be averaged: power for db, amplitude and dn, unchanged for others.

    Digital numbers of detected radar products are amplitudes up to a factor, so their squares are averaged.
    Units "1" (8-bit pictures, indices) have an unknown relation to power and are averaged as they are.
    """
    with np.errstate(over="ignore"):  # fill values outside the valid mask
        if units == "db":
            return db_to_power(values)
        if units in ("amplitude", "dn"):
            return np.square(values)
    return values


def from_linear(values: NDArray[Any], units: Units) -> NDArray[Any]:
    """The inverse of `to_linear`."""
    if units == "db":
        return power_to_db(values)
    if units in ("amplitude", "dn"):
        return np.sqrt(np.maximum(values, 0))
    return values


def in_decibels(layer: NDArray[Any], units: Units) -> NDArray[Any]:
    """Backscatter of any units, complex too, in dB; values of other bands as they are."""
    if units == "complex":
        return power_to_db(np.square(np.abs(layer)))
    if units in (*RADAR_UNITS, "dn") and units != "db":
        return power_to_db(to_linear(layer.real, units))
    return layer.real


def to_units(scene: Scene, units: Literal["db", "power"]) -> Scene:
    """The scene with its backscatter bands in dB or in power; other bands (angles, classes) stay as they are.

    Raises DataError when a band is so already, when it holds digital numbers without calibration, when most of its
    power is negative, or when no band is backscatter. Values that had to be raised to the floor of -80 dB are counted
    in the scene's notes.
    """
    if units not in ("db", "power"):
        raise DataError(f"{scene.name}: backscatter converts to 'db' or 'power', not to {units!r}.")
    _check_convertible(scene, units)
    pixels = scene.pixels.copy()
    notes: list[str] = []
    for layer, band in zip(pixels, scene.bands, strict=True):
        if band.units in RADAR_UNITS:
            refuse_negative(layer[scene.valid], band.units, f"{scene.name}: {band.name}")
            power = to_linear(layer, band.units)
            notes += _floored(power, scene.valid, band) if units == "db" else []
            layer[...] = power_to_db(power) if units == "db" else power
    bands = tuple(replace(b, units=units) if b.units in RADAR_UNITS else b for b in scene.bands)
    return replace(scene, pixels=pixels, bands=bands, notes=(*scene.notes, *notes))


def guess_units(values: ArrayLike) -> tuple[Units, str]:
    """Units that a sample of valid values plausibly has, and a sentence that says what was concluded and why.

    Args:
        values: valid pixels of one band, any shape; their number type counts (16-bit integers are no 8-bit
            picture), not-a-number does not.

    Returns:
        The units ("db", "power", "dn", "class", "complex", or "1" for pictures without a physical unit)
        and the sentence.
    """
    array = np.asarray(values)
    if np.iscomplexobj(array):
        return "complex", "complex values: single-look complex data"
    sample = array[np.isfinite(array)].astype(np.float64)
    if sample.size == 0:
        raise DataError("no valid value to judge units by; name the units.")
    low, middle, high = (float(q) for q in np.percentile(sample, (1, 50, 99)))
    wide = bool(np.issubdtype(array.dtype, np.integer)) and array.dtype.itemsize > 1
    units, reason = _judge(sample, low, middle, high, wide)
    zeros = float(np.mean(sample == 0))
    if units in ("db", "power", "dn") and zeros > MANY_ZEROS:
        reason += f"; {zeros:.0%} are exactly 0, which should be named as no-data if it is fill"
    return units, f"values {low:.4g} to {high:.4g} (1st to 99th percentile, median {middle:.4g}): {reason}"


def doubt_units(values: ArrayLike, units: Units) -> str | None:
    """A sentence where valid values of calibrated backscatter look like other units than the stated ones, or None."""
    if units not in RADAR_UNITS:
        return None
    guess, reason = guess_units(values)
    alike = "power" if units == "amplitude" else units
    return None if guess == alike else f"is said to be in {units}, but looks like {guess} ({reason})."


def refuse_negative(values: NDArray[Any], units: Units, what: str) -> None:
    """Raise DataError where most of what is said to be power or amplitude lies below -1, as decibels do.

    Power is negative where noise was subtracted, even half of it over dark water, but by a fraction of 1.
    """
    if units in ("power", "amplitude") and 2 * np.count_nonzero(values < -1) > values.size:
        raise DataError(
            f"{what} is said to be in {units}, but most of it is negative, as decibels are; name the true units."
        )


def _judge(
    sample: NDArray[np.float64], low: float, middle: float, high: float, wide: bool
) -> tuple[Units, str]:
    least, most = sample.min(), sample.max()
    whole = bool(np.all(sample == np.round(sample)))
    if whole and least >= -1 and most <= 20:
        return "class", "a few whole numbers, a label image"
    if least >= 0 and most <= 255 and not wide and (whole or (middle >= 1 and most > 200)):
        return "1", "0 to 255, an 8-bit picture without a physical unit"
    if least == 0 and most == 1:
        return "1", "exactly 0 to 1, a picture already scaled"
    if abs(sample.mean()) < 0.5 and 0.5 < sample.std() < 2 and low < -1:
        return "1", "mean near 0 and standard deviation near 1, standardised already"
    if low < -1 and low > -100 and high < 60 and middle < 20:
        return "db", "mostly negative and moderate, backscatter in decibels"
    if low >= -1 and middle < 1 and high < 1000:
        return "power", _power_or_amplitude(middle, float(np.mean(sample < 0)))
    if least >= 0:
        return "dn", (
            "large and not negative, digital numbers (amplitude) without calibration (name the units if it is "
            "height or angle)"
        )
    return "1", "no radar unit fits, taken as plain numbers"


def _power_or_amplitude(middle: float, negative: float) -> str:
    """What is said of small values: amplitude and power overlap, only negative values decide for power."""
    if negative:
        return f"small, {negative:.0%} negative, backscatter power with its noise subtracted"
    level = power_to_db(middle)
    return (
        f"small and not negative, backscatter power with median {level:.1f} dB (if it is amplitude, whose "
        f"median would be {2 * level:.1f} dB, name the units)"
    )


def _floating(values: ArrayLike) -> np.dtype[Any]:
    return np.result_type(np.asarray(values).dtype, np.float32)


def _check_convertible(scene: Scene, units: str) -> None:
    def named(*found: str) -> str:
        return ", ".join(band.name for band in scene.bands if band.units in found)

    if already := named(units):
        raise DataError(
            f"{scene.name}: {already} already in {units}; convert only once (or name the true units)."
        )
    if raw := named("dn"):
        raise DataError(f"{scene.name}: {raw} holds digital numbers; calibrate before converting to {units}.")
    if not named(*RADAR_UNITS):
        raise DataError(f"{scene.name}: no band is radar backscatter, nothing to convert to {units}.")


def _check_quantities(scene: Scene, quantity: Quantity) -> None:
    wanted = [name for name in get_args(Quantity) if name != "none"]
    if quantity not in wanted:
        raise DataError(f"{scene.name}: backscatter converts to {', '.join(wanted)}, not to {quantity!r}.")
    for band in scene.bands:
        if band.units in ("dn", "complex"):
            raise DataError(
                f"{scene.name}: {band.name} is not calibrated ({band.units}); calibrate it before {quantity}."
            )
        if band.units == "amplitude":
            raise DataError(
                f"{scene.name}: {band.name} is amplitude; make it power first (to_units(scene, 'power'))."
            )
        if band.units in ("power", "db"):
            _check_quantity(scene.name, band, quantity)
    if not any(band.units in ("power", "db") for band in scene.bands):
        raise DataError(f"{scene.name}: no band is radar backscatter, nothing to convert to {quantity}.")
    if states_flattening(scene):
        raise DataError(
            f"{scene.name} is terrain-flattened, so the ellipsoid's incidence does not lead to {quantity}; use it as "
            "it is, or start from a product that is not flattened."
        )


def _check_quantity(scene: str, band: Band, quantity: Quantity) -> None:
    if band.quantity == quantity:
        raise DataError(
            f"{scene}: {band.name} is {quantity} already; convert only once (or name the true quantity)."
        )
    if band.quantity == "none":
        raise DataError(
            f"{scene}: {band.name} does not state whether it is sigma0, beta0 or gamma0; name its quantity "
            "when opening the file."
        )


def _angles(scene: Scene, incidence_deg: float | NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Incidence angles that fit the scene, harmless where not valid, and where both are valid."""
    angle = np.asarray(incidence_deg, np.float64)
    if angle.ndim and angle.shape != scene.grid.shape:
        raise DataError(
            f"{scene.name}: incidence angles {angle.shape} do not fit {scene.grid.shape} (rows, columns)."
        )
    valid = scene.valid & np.isfinite(angle)
    used = np.broadcast_to(angle, scene.grid.shape)[valid]
    if (not angle.ndim and not np.isfinite(angle)) or np.any((used <= 0) | (used >= 90)):
        raise DataError(
            f"{scene.name}: incidence angles must lie between 0 and 90 degrees; give them in degrees "
            "against the vertical."
        )
    return np.where(valid, angle, 45.0), valid


def _floored(power: NDArray[Any], valid: NDArray[np.bool_], band: Band) -> list[str]:
    count = int(np.count_nonzero((power < POWER_FLOOR) & valid))
    return [f"{band.name}: {count} px below {POWER_FLOOR:g} power set to -80 dB."] if count else []
