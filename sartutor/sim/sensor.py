"""What a radar makes of a scene: speckle through its point-spread function, looks, texture and noise.

The reflectivity of every pixel is multiplied by a complex circular Gaussian, coherent targets are added, the
point-spread function acts on the complex field, and looks are averaged after detection. Speckle and its
correlation between neighbours follow; they are not drawn separately. Limits: one isotropic Gaussian response, no
side lobes, no ambiguities, the same response for signal and thermal noise, dates without interferometric
coherence except in coherent targets.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv, ndtr

from sartutor.errors import DataError
from sartutor.sar.radiometry import db_to_power

Array = NDArray[np.float32]
Complex = NDArray[np.complex64]
Rng = np.random.Generator
RadarBand = Literal["L", "C", "X"]


@dataclass(frozen=True)
class Sensor:
    """A radar product: what it measures, how finely and how cleanly.

    `looks` are independent complex looks averaged in power; `psf_px` is the standard deviation of the Gaussian
    point-spread function of the complex field, in pixels; `noise_floor_db` is the noise-equivalent sigma0 of each
    polarisation, in dB, contained in the power as in a product whose noise was not subtracted.
    """

    name: str
    band: RadarBand
    polarisations: tuple[str, ...]
    pixel_m: float
    looks: int
    psf_px: float
    noise_floor_db: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.noise_floor_db) != len(self.polarisations):
            raise DataError(f"sensor {self.name}: name one noise floor for each of {self.polarisations}.")

    def only(self, *polarisations: str) -> Sensor:
        """The same sensor with these of its polarisations, in this order; DataError for one it does not have."""
        if missing := [name for name in polarisations if name not in self.polarisations]:
            raise DataError(
                f"sensor {self.name} has no {missing[0]}; choose from {', '.join(self.polarisations)}."
            )
        floors = dict(zip(self.polarisations, self.noise_floor_db, strict=True))
        return replace(
            self, polarisations=polarisations, noise_floor_db=tuple(floors[name] for name in polarisations)
        )


QUAD = ("HH", "HV", "VH", "VV")

SENSORS = {
    sensor.name: sensor
    for sensor in (
        Sensor("sentinel1", "C", ("VV", "VH"), 10.0, 4, 0.85, (-27.0, -27.0)),
        Sensor("gaofen3", "C", QUAD, 8.0, 1, 0.6, (-27.0, -29.0, -29.0, -27.0)),
        Sensor("alos2", "L", QUAD, 6.25, 2, 0.5, (-32.0, -34.0, -34.0, -32.0)),
        Sensor("palsar2_mosaic", "L", ("HH", "HV"), 25.0, 7, 0.6, (-36.0, -36.0)),
        Sensor("terrasarx", "X", QUAD, 3.0, 1, 0.6, (-22.0, -24.0, -24.0, -22.0)),
        Sensor("airborne_l", "L", QUAD, 1.5, 4, 0.6, (-38.0, -38.0, -38.0, -38.0)),
        Sensor("airborne_c", "C", QUAD, 1.5, 4, 0.6, (-36.0, -36.0, -36.0, -36.0)),
        Sensor("airborne_x", "X", QUAD, 1.0, 4, 0.6, (-34.0, -34.0, -34.0, -34.0)),
    )
}
"""Products that the synthetic worlds imitate."""


def circular_gaussian(rng: Rng, shape: tuple[int, ...], psf_px: float) -> Complex:
    """Complex circular Gaussian field (..., rows, columns) seen through the point-spread function; E|z|^2 = 1.

    Fully developed speckle of one look: |z|^2 is exponential, the phase uniform (Goodman 1976).
    """
    return _complex(_through_psf(_noise(rng, shape, psf_px), psf_px))


def speckle(rng: Rng, shape: tuple[int, ...], looks: int, psf_px: float) -> Array:
    """Multiplicative speckle (..., rows, columns) of mean 1: |z|^2 averaged over `looks` independent fields.

    Each pixel is Gamma(looks, 1 / looks), so its ENL is `looks`; neighbours correlate as `psf_autocorrelation`
    squared.
    """
    total = np.zeros(shape, np.float32)
    for _ in range(looks):
        total += _detected(_through_psf(_noise(rng, shape, psf_px), psf_px))
    return total / np.float32(looks)


def texture(rng: Rng, shape: tuple[int, int], order: float, correlation_px: float) -> Array:
    """Gamma-distributed texture (rows, columns) of mean 1 and variance 1 / order.

    Its product with speckle is K-distributed, with 1/ENL = 1/L + 1/order + 1/(L order) (Jakeman and Pusey 1976).
    The Gaussian field that it is mapped from has an autocorrelation of 1/e at `correlation_px` pixels.
    """
    psf_px = correlation_px / 2
    normal = np.sqrt(np.float32(2)) * _through_psf(_noise(rng, shape, psf_px), psf_px)[0]
    steps = np.linspace(-5, 5, 512)
    return np.interp(normal, steps, gammaincinv(order, ndtr(steps)) / order).astype(np.float32)


def observe(rng: Rng, power: Array, sensor: Sensor, coherent: Complex | None = None) -> Array:
    """Detected power that `sensor` makes of the sigma0 `power`, both (bands, rows, columns), noise included.

    Each look is |h * (sqrt(power + noise) z + coherent)|^2 with fresh speckle z for every band and look and the
    point-spread function h on the complex field, so that the expected power is (power + noise) averaged with h^2.
    Bands are the sensor's polarisations of one date, or of several dates one after the other.

    Args:
        rng: source of speckle.
        power: sigma0 without speckle (linear).
        sensor: gives looks, point-spread function and noise floor.
        coherent: complex amplitudes of point targets and double bounce (bands, rows, columns), the same in all
            looks; a target of amplitude A spreads the power |A|^2 over its response.
    """
    amplitude = _amplitude(power, sensor)
    steady = _steady(coherent, power.shape, sensor.psf_px)
    seen = np.zeros(power.shape, np.float32)
    for band in range(len(power)):
        for _ in range(sensor.looks):
            seen[band] += _detected(_look(rng, amplitude[band], steady[band], sensor.psf_px))
    return seen / np.float32(sensor.looks)


def slc(rng: Rng, power: Array, sensor: Sensor, coherent: Complex | None = None) -> Complex:
    """Single-look complex image (bands, rows, columns) of the sigma0 `power`: `observe` before detection."""
    amplitude = _amplitude(power, sensor)
    steady = _steady(coherent, power.shape, sensor.psf_px)
    looks = [_look(rng, a, s, sensor.psf_px) for a, s in zip(amplitude, steady, strict=True)]
    return np.stack([_complex(look) for look in looks])


def psf_taps(psf_px: float) -> Array:
    """The point-spread function along one axis: a Gaussian cut at 2.5 standard deviations, sum of squares 1."""
    reach = round(2.5 * psf_px)
    if reach == 0:
        return np.ones(1, np.float32)
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / psf_px) ** 2)
    return (taps / np.sqrt(np.sum(taps**2))).astype(np.float32)


def psf_autocorrelation(psf_px: float, lag: int) -> float:
    """Correlation of the complex field between pixels `lag` apart along an axis; its square is that of power."""
    taps = psf_taps(psf_px)
    return float(taps[: len(taps) - lag] @ taps[lag:]) if lag < len(taps) else 0.0


def _amplitude(power: Array, sensor: Sensor) -> Array:
    """Square root of power plus noise, with a border as wide as the point-spread function reaches."""
    dates, rest = divmod(len(power), len(sensor.polarisations))
    if rest or not dates:
        raise DataError(
            f"{len(power)} bands are no whole number of dates of {', '.join(sensor.polarisations)}; "
            f"choose the sensor's polarisations with Sensor.only()."
        )
    noise = db_to_power(np.tile(np.float32(sensor.noise_floor_db), dates))[:, None, None]
    reach = len(psf_taps(sensor.psf_px)) // 2
    return np.sqrt(np.pad(power + noise, ((0, 0), (reach, reach), (reach, reach)), "edge"), dtype=np.float32)


def _steady(
    coherent: Complex | None, shape: tuple[int, ...], psf_px: float
) -> NDArray[np.float32] | list[None]:
    """Coherent targets seen through the point-spread function, (bands, 2, rows, columns); nothing where None."""
    if coherent is None:
        return [None] * shape[0]
    reach = len(psf_taps(psf_px)) // 2
    padded = np.pad(coherent, ((0, 0), (reach, reach), (reach, reach)))
    return _through_psf(np.stack([padded.real, padded.imag], axis=1).astype(np.float32), psf_px)


def _look(rng: Rng, amplitude: Array, steady: Array | None, psf_px: float) -> Array:
    """One look (2, rows, columns), real and imaginary part, of a band's padded `amplitude`."""
    field = _circular(rng, amplitude.shape)
    field *= amplitude
    seen = _through_psf(field, psf_px)
    return seen if steady is None else seen + steady


def _noise(rng: Rng, shape: tuple[int, ...], psf_px: float) -> Array:
    """White circular field, larger than `shape` by the reach of the point-spread function on every side."""
    border = len(psf_taps(psf_px)) - 1
    return _circular(rng, (*shape[:-2], shape[-2] + border, shape[-1] + border))


def _circular(rng: Rng, shape: tuple[int, ...]) -> Array:
    """White circular Gaussian field (2, *shape): real and imaginary part, E(re^2 + im^2) = 1.

    Exponential power and uniform phase (Box and Muller 1958): three times as fast as two normal variates.
    """
    field = np.empty((2, *shape), np.float32)
    radius = np.sqrt(-np.log1p(-rng.random(shape, dtype=np.float32)))
    phase = np.float32(2 * np.pi) * rng.random(shape, dtype=np.float32)
    np.multiply(radius, np.cos(phase), out=field[0])
    np.multiply(radius, np.sin(phase), out=field[1])
    return field


def _through_psf(field: Array, psf_px: float) -> Array:
    """Correlate the last two axes with the point-spread function; they shrink by its border."""
    taps = psf_taps(psf_px)
    reach = len(taps) // 2
    for axis in (-2, -1):
        length = field.shape[axis] - 2 * reach
        parts = [_part(field, axis, start, length) for start in range(len(taps))]
        total = taps[reach] * parts[reach]
        for i in range(reach):
            pair = parts[i] + parts[-1 - i]
            pair *= taps[i]
            total += pair
        field = total
    return field


def _part(field: Array, axis: int, start: int, length: int) -> Array:
    rows = slice(start, start + length)
    return field[..., rows, :] if axis == -2 else field[..., rows]


def _detected(planes: Array) -> Array:
    """Power of real and imaginary part (2, ...)."""
    return np.square(planes[0]) + np.square(planes[1])


def _complex(planes: Array) -> Complex:
    """Real and imaginary part (2, ...) as one complex array."""
    joined = np.empty(planes.shape[1:], np.complex64)
    joined.real, joined.imag = planes
    return joined
