"""What a radar makes of a scene: speckle through its point-spread function, looks, texture and noise.

The reflectivity of every pixel is multiplied by a complex circular Gaussian, coherent targets are added, the
point-spread function acts on the complex field, and looks are averaged after detection. Speckle and its
correlation between neighbours follow; they are not drawn separately. Limits: one isotropic Gaussian response, no
side lobes, no ambiguities, the same response for signal and thermal noise; dates and polarisations share no speckle
(no interferometric coherence, no co-polarised correlation) except for coherent targets.
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
        Sensor("sentinel1", "C", ("VV", "VH"), 10.0, 4, 1.2, (-27.0, -27.0)),
        Sensor("gaofen3", "C", QUAD, 8.0, 1, 0.6, (-27.0, -29.0, -29.0, -27.0)),
        Sensor("alos2", "L", QUAD, 6.25, 2, 0.5, (-32.0, -34.0, -34.0, -32.0)),
        Sensor("palsar2_mosaic", "L", ("HH", "HV"), 25.0, 7, 0.75, (-36.0, -36.0)),
        Sensor("terrasarx", "X", QUAD, 3.0, 1, 0.6, (-22.0, -24.0, -24.0, -22.0)),
        Sensor("airborne_l", "L", QUAD, 2.5, 4, 0.6, (-38.0, -38.0, -38.0, -38.0)),
        Sensor("airborne_c", "C", QUAD, 2.5, 4, 0.6, (-36.0, -36.0, -36.0, -36.0)),
        Sensor("airborne_x", "X", QUAD, 2.5, 4, 0.6, (-34.0, -34.0, -34.0, -34.0)),
    )
}
"""Products that the synthetic worlds imitate. Everything not named here is assumed.

- sentinel1: IW GRD, high resolution: 10 m pixels, ENL 4.4, resolution 20 m x 22 m, noise specified at -22 dB or
  better (ESA, Sentinel-1 technical guide). 20 m at half power is a Gaussian of 1.2 px; noise in flight lies below
  its specification.
- gaofen3: quad-polarised stripmap of 8 m, single look.
- alos2: PALSAR-2 stripmap fine, quad-polarised: resolution 8.7 m x 5.3 m, 6.25 m pixels, 2 looks (PASCO's table).
- palsar2_mosaic: JAXA's 25 m mosaic; looks (6.4 HH, 7.1 HV) and the correlation of neighbours (0.62 along rows, 0.1
  along columns, here the same both ways) from the ocean of tile N23W161.
- terrasarx: an X-band stripmap image of 3 m; quad polarisation is an experimental mode.
- airborne_*: one airborne radar in three bands.
"""


def circular_gaussian(rng: Rng, shape: tuple[int, ...], psf_px: float) -> Complex:
    """Complex circular Gaussian field (..., rows, columns) seen through the point-spread function; E|z|^2 = 1.

    Fully developed speckle of one look: |z|^2 is exponential, the phase uniform (Goodman 1976).
    """
    return _complex(_field(rng, _workspace(shape, psf_px), psf_px))


def speckle(rng: Rng, shape: tuple[int, ...], looks: int, psf_px: float) -> Array:
    """Multiplicative speckle (..., rows, columns) of mean 1: |z|^2 averaged over `looks` independent fields.

    Each pixel is Gamma(looks, 1 / looks), so its ENL is `looks`; neighbours correlate as `psf_autocorrelation`
    squared.
    """
    total = np.zeros(shape, np.float32)
    work = _workspace(shape, psf_px)
    for _ in range(looks):
        _add_power(total, _field(rng, work, psf_px))
    return total / np.float32(looks)


def texture(rng: Rng, shape: tuple[int, int], order: float, correlation_px: float) -> Array:
    """Gamma-distributed texture (rows, columns) of mean 1 and variance 1 / order.

    Its product with speckle is K-distributed, with 1/ENL = 1/L + 1/order + 1/(L order) (Jakeman and Pusey 1976).
    The Gaussian field that it is mapped from has an autocorrelation of 1/e at `correlation_px` pixels.
    """
    psf_px = correlation_px / 2
    normal = np.sqrt(np.float32(2)) * _field(rng, _workspace(shape, psf_px), psf_px)[0]
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
            looks; a target of amplitude A spreads the power |A|^2 over its response. Given for one date only,
            they are the same at all dates.
    """
    amplitude = _amplitude(power, sensor)
    steady = _steady(coherent, sensor.psf_px)
    seen = np.zeros(power.shape, np.float32)
    work = _workspace(power.shape[1:], sensor.psf_px)
    for band in range(len(power)):
        for _ in range(sensor.looks):
            field = _field(rng, work, sensor.psf_px, amplitude[band])
            if steady is not None:
                field += steady[band % len(steady)]
            _add_power(seen[band], field)
    seen /= np.float32(sensor.looks)
    return seen


def slc(rng: Rng, power: Array, sensor: Sensor, coherent: Complex | None = None) -> Complex:
    """Single-look complex image (bands, rows, columns) of the sigma0 `power`: `observe` before detection."""
    amplitude = _amplitude(power, sensor)
    steady = _steady(coherent, sensor.psf_px)
    work = _workspace(power.shape[1:], sensor.psf_px)
    image = np.stack([_complex(_field(rng, work, sensor.psf_px, band)) for band in amplitude])
    return image if steady is None else image + _complex(np.moveaxis(steady, 1, 0))


def psf_taps(psf_px: float) -> Array:
    """The point-spread function along one axis: a Gaussian cut at 2 standard deviations, sum of squares 1."""
    reach = round(2 * psf_px)
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
    floors = np.tile(np.asarray(sensor.noise_floor_db, np.float32), dates)
    return np.sqrt(_bordered(power + db_to_power(floors)[:, None, None], sensor.psf_px, "edge"))


def _steady(coherent: Complex | None, psf_px: float) -> Array | None:
    """Coherent targets seen through the point-spread function: (bands, 2, rows, columns), real and imaginary."""
    if coherent is None:
        return None
    parts = np.stack([coherent.real, coherent.imag], axis=1).astype(np.float32)
    return _through_psf(np.stack([_bordered(part, psf_px, "constant") for part in parts]), psf_px)


def _bordered(layers: Array, psf_px: float, mode: Literal["edge", "constant"]) -> Array:
    """Layers (n, rows, columns) with a border as wide as the point-spread function reaches."""
    reach = len(psf_taps(psf_px)) // 2
    return np.pad(layers, ((0, 0), (reach, reach), (reach, reach)), mode)


def _workspace(shape: tuple[int, ...], psf_px: float) -> Array:
    """Memory for a field and two intermediate results, each (2, ..., rows, columns) with border.

    Held over all looks: fresh memory for each would cost as much as the arithmetic.
    """
    border = len(psf_taps(psf_px)) - 1
    return np.empty((3, 2, *shape[:-2], shape[-2] + border, shape[-1] + border), np.float32)


def _field(rng: Rng, work: Array, psf_px: float, amplitude: Array | None = None) -> Array:
    """One look (2, ..., rows, columns), real and imaginary part, in `work`; `amplitude` has the border, too."""
    field = _white(rng, work)
    if amplitude is not None:
        field *= amplitude
    return _through_psf(field, psf_px, work[1:])


def _white(rng: Rng, work: Array) -> Array:
    """White circular Gaussian field in work[0]: real and imaginary part, E(re^2 + im^2) = 1.

    Exponential power and uniform phase (Box and Muller 1958): a third of the time of two normal variates.
    """
    real, imaginary = work[0]
    radius, phase = work[1]
    pairs = rng.bit_generator.random_raw(radius.size).view(np.uint32).reshape(2, *radius.shape)
    np.add(pairs[0], 1, out=radius, dtype=np.float32, casting="unsafe")
    radius *= np.float32(2**-32)
    np.sqrt(np.negative(np.log(radius, out=radius), out=radius), out=radius)
    np.multiply(pairs[1], np.float32(2 * np.pi * 2**-32), out=phase, dtype=np.float32, casting="unsafe")
    np.multiply(radius, np.cos(phase, out=real), out=real)
    np.multiply(radius, np.sin(phase, out=imaginary), out=imaginary)
    return work[0]


def _through_psf(field: Array, psf_px: float, spare: Array | None = None) -> Array:
    """Correlate the last two axes with the point-spread function; they lose its border, `field` is overwritten."""
    taps = psf_taps(psf_px)
    between, pair = np.empty((2, *field.shape), np.float32) if spare is None else spare
    rows, columns = (length - len(taps) + 1 for length in field.shape[-2:])
    flat, scratch = field.reshape(-1), pair.reshape(-1)
    down = _correlate(flat, taps, field.shape[-1], between.reshape(-1), scratch)
    _correlate(down, taps, 1, flat, scratch)
    return field[..., :rows, :columns]


def _correlate(source: Array, taps: Array, stride: int, total: Array, pair: Array) -> Array:
    """Correlate values `stride` apart with symmetric taps, into the start of `total`; `pair` is scratch space.

    All arrays are flat, which is three times as fast as row by row; what runs over the ends of rows and columns
    falls into their border.
    """
    length = len(source) - (len(taps) - 1) * stride
    parts = [source[start * stride :][:length] for start in range(len(taps))]
    total, pair = total[:length], pair[:length]
    middle = len(taps) // 2
    np.multiply(parts[middle], taps[middle], out=total)
    for i in range(middle):
        np.add(parts[i], parts[-1 - i], out=pair)
        pair *= taps[i]
        total += pair
    return total


def _add_power(total: Array, planes: Array) -> None:
    """Add the power of real and imaginary part (2, ...) to `total`; `planes` are overwritten."""
    for plane in np.square(planes, out=planes):
        total += plane


def _complex(planes: Array) -> Complex:
    """Real and imaginary part (2, ...) as one complex array."""
    joined = np.empty(planes.shape[1:], np.complex64)
    joined.real, joined.imag = planes
    return joined
