"""Speckle: how many looks an image has, and filters that average it away, always in power.

Speckle multiplies: with L looks, intensity is its mean times a gamma variable of mean 1 and variance 1/L. Every
function takes linear power (rows, columns), counts no-data nowhere, and treats the border as a mirror.
Averages of decibels would be biased by psi(L) - ln L (-2.5 dB for one look); `filter_scene` therefore turns
decibels into power first.

Thermal noise is speckled like the echo. Where its mean eta was subtracted, the variance is that of the sum,
(R + eta)^2 / L, and filters and estimates that expect R^2 / L take dark ground for texture and leave it as it is. They
are right again on power + eta, from which eta is subtracted afterwards, as `filter_scene` does with its `noise`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter1d

from sartutor.errors import DataError
from sartutor.sar.adaptive import (
    check_looks,
    enhanced_lee_weight,
    gamma_map_estimate,
    kuan_weight,
    lee_weight,
    weighted,
)
from sartutor.sar.radiometry import RADAR_UNITS, from_linear, to_linear
from sartutor.sar.refined_lee import SIZE, refined_lee
from sartutor.sar.resize import refuse_complex
from sartutor.sar.scene import Scene
from sartutor.sar.windows import Array, Block, Formula, checked, decaying_average, moving, window_sum

Mask = NDArray[np.bool_] | None
Filter = Callable[[ArrayLike, float, int, Mask], Array]

RAYLEIGH_CONTRAST = 0.5227
"""Standard deviation over mean of one-look amplitude: sqrt(4 / pi - 1)."""

LOG_STEP = 0.02
"""Width of the histogram bins of ln ENL in `estimate_looks`."""

LOG_SMOOTHING = 0.1
"""Standard deviation, in ln ENL, of the smoothing before the mode is read."""

FLAT = np.float32(1e-6)
"""Variance below this part of the squared mean is rounding of 32-bit sums: nothing varies."""

STEEPEST = np.float32(1e6)
"""Greatest Ci^2 that Frost's weights see: all other pixels' weight is then nothing."""


def enl(power: ArrayLike, valid: Mask = None) -> float:
    """Equivalent number of looks of an even area in linear intensity: mean^2 / variance.

    For amplitude the law is (0.5227 / C)^2 with C = standard deviation / mean: see `enl_amplitude`.
    Infinite where nothing varies; DataError with fewer than two valid pixels.
    """
    values = _sample(power, valid)
    variance = values.var()
    return float(values.mean() ** 2 / variance) if variance > 0 else float("inf")


def enl_amplitude(amplitude: ArrayLike, valid: Mask = None) -> float:
    """Equivalent number of looks of an even area in amplitude: (0.5227 / C)^2, C = deviation / mean.

    Exact for one look; for many it tends to 1.09 L, because amplitude is then nearly normal with C = 1 / (2 sqrt L).
    """
    return RAYLEIGH_CONTRAST**2 * enl(amplitude, valid)


def enl_map(power: ArrayLike, valid: Mask = None, size: int = 7) -> Array:
    """mean^2 / variance (of the population) in the window of each pixel; infinite where nothing varies.

    In a window of n independent pixels of even L-look speckle, 1 / ENL has the mean (n - 1) / (n L + 1):
    a small window shows slightly too many looks.
    """

    def formula(block: Block) -> Array:
        mean, variance = block.moments()
        flat = variance <= FLAT * np.square(mean)
        return np.where(flat, np.float32(np.inf), np.square(mean) / np.where(flat, 1, variance))

    return moving(formula, power, size, valid)


def estimate_looks(power: ArrayLike, valid: Mask = None, size: int = 7) -> float:
    """Equivalent number of looks of a whole scene: the mode of the local one, over windows without no-data.

    Even areas agree with each other, texture and edges lower the local ENL in many ways, so the most
    frequent value is that of the speckle. The mode is taken of ln ENL and corrected for the window's n pixels by
    L = (ENL (n - 1) - 1) / n, the inverse of the law in `enl_map`. Correlated pixels (oversampled
    products) raise the result above what a large even area gives; a scene of texture without even areas
    lowers it, and so does subtracted noise where the echo is not far above it (add it before).
    """
    image, mask = checked(power, valid)
    local = enl_map(image, mask, size)
    inside = np.isfinite(local) & (local > 0)
    if mask is not None:
        count = moving(lambda block: window_sum(block.values, size), mask, size, None)
        inside &= count > size * size - 0.5
    logs = np.log(local[inside])
    if logs.size == 0:
        raise DataError("no window of the image shows speckle, so looks cannot be estimated; name them.")
    n = size * size
    return max(float((np.exp(_mode(logs)) * (n - 1) - 1) / n), 1 / n)


def boxcar(power: ArrayLike, size: int = 7, valid: Mask = None) -> Array:
    """Mean of the valid pixels in size x size."""

    def formula(block: Block) -> Array:
        count = block.count(lambda ones: window_sum(ones, size), size * size)
        return window_sum(block.values, size) / count

    return moving(formula, power, size, valid)


def lee(power: ArrayLike, looks: float, size: int = 7, valid: Mask = None) -> Array:
    """Lee filter: M + W (I - M), W = 1 - Cu^2 / Ci^2 (Lee 1980)."""

    def formula(block: Block) -> Array:
        mean, variance = block.moments()
        return weighted(mean, block.centre, lee_weight(mean, variance, looks))

    return _adaptive(formula, power, looks, size, valid)


def kuan(power: ArrayLike, looks: float, size: int = 7, valid: Mask = None) -> Array:
    """Kuan filter: M + W (I - M), W = (1 - Cu^2 / Ci^2) / (1 + Cu^2) (Kuan et al. 1985)."""

    def formula(block: Block) -> Array:
        mean, variance = block.moments()
        return weighted(mean, block.centre, kuan_weight(mean, variance, looks))

    return _adaptive(formula, power, looks, size, valid)


def enhanced_lee(
    power: ArrayLike, looks: float, size: int = 7, valid: Mask = None, damping: float = 1.0
) -> Array:
    """Enhanced Lee filter: the mean where only speckle varies, the pixel at targets (Lopes et al. 1990)."""

    def formula(block: Block) -> Array:
        mean, variance = block.moments()
        return weighted(mean, block.centre, enhanced_lee_weight(mean, variance, looks, damping))

    return _adaptive(formula, power, looks, size, valid)


def gamma_map(power: ArrayLike, looks: float, size: int = 7, valid: Mask = None) -> Array:
    """Gamma-MAP filter: the most probable backscatter if it is gamma distributed itself (Lopes et al. 1990)."""

    def formula(block: Block) -> Array:
        return gamma_map_estimate(*block.moments(), block.centre, looks)

    return _adaptive(formula, power, looks, size, valid)


def frost(power: ArrayLike, size: int = 7, valid: Mask = None, damping: float = 2.0) -> Array:
    """Frost filter: an average with weights exp(-K Ci^2 |t|), |t| the distance in pixels (Frost et al. 1982).

    It needs no number of looks. A mean of zero or below leaves the pixel as it is.
    """

    def formula(block: Block) -> Array:
        mean, variance = block.moments()
        contrast = np.full(mean.shape, STEEPEST)
        np.divide(variance, np.square(mean), out=contrast, where=mean > 0)
        return decaying_average(block, np.float32(damping) * np.minimum(contrast, STEEPEST))

    return moving(formula, power, size, valid)


def multitemporal(stack: ArrayLike, size: int = 7, valid: Mask = None) -> Array:
    """Average over dates that keeps each date's own backscatter (Quegan and Yu 2001, equal weights).

    Date k becomes M_k times the mean over all dates of I_i / M_i, with M the local mean. For N dates of independent
    L-look speckle and windows of n pixels the result has L N / (1 + (N - 1) / n) looks (to first order).

    Args:
        stack: co-registered linear power (dates, rows, columns).
        size: rows and columns of the window of the local mean.
        valid: (rows, columns) for all dates, or (dates, rows, columns); a date counts where it is valid.

    Returns:
        float32 power like `stack`, not-a-number where not valid. A date whose local mean is zero or below
        (noise was subtracted) adds nothing to the others' average there.
    """
    images = np.asarray(stack)
    if images.ndim != 3:
        raise DataError(f"a stack is (dates, rows, columns), not {images.shape}; add the axis of dates.")
    masks = np.broadcast_to(True if valid is None else valid, images.shape)
    means = np.stack([boxcar(image, size, mask) for image, mask in zip(images, masks, strict=True)])
    ratios = np.zeros(images.shape[1:], np.float32)
    counts = np.zeros(images.shape[1:], np.float32)
    for image, mean, mask in zip(images, means, masks, strict=True):
        usable = mask & (mean > 0)
        np.add(ratios, np.divide(image, mean, where=usable, out=np.zeros_like(mean)), out=ratios)
        counts += usable
    average = np.divide(ratios, counts, where=counts > 0, out=np.ones_like(ratios))
    means *= average
    return means


FILTERS: dict[str, Filter] = {
    "boxcar": lambda power, looks, size, valid: boxcar(power, size, valid),
    "lee": lee,
    "kuan": kuan,
    "enhanced_lee": enhanced_lee,
    "frost": lambda power, looks, size, valid: frost(power, size, valid),
    "gamma_map": gamma_map,
    "refined_lee": lambda power, looks, size, valid: _refined_lee(power, looks, size, valid),
}
"""Every filter of one image by name, called with (power, looks, size, valid)."""


def filter_scene(
    scene: Scene,
    name: str,
    looks: float | Sequence[float] | None = None,
    size: int = 7,
    noise: ArrayLike = 0.0,
) -> Scene:
    """The scene with its backscatter bands filtered in power; bands in dB come back in dB.

    Args:
        scene: at least one band in power, dB or amplitude; angles, heights and classes stay as they are.
        name: a key of `FILTERS`.
        looks: equivalent number of looks, one for all or one a backscatter band; None estimates it from each band.
        size: rows and columns of the window.
        noise: power of the thermal noise that was subtracted, a number or anything that broadcasts to (bands, rows,
            columns); it is added for the filter and subtracted again. Decibels have lost what lay below their floor.

    Returns:
        The scene with a note for each band that says what was done. Raises DataError for complex bands, digital
        numbers, an unknown filter, looks or noise that do not fit, and a scene without backscatter.
    """
    if name not in FILTERS:
        raise DataError(f"no speckle filter is called {name!r}; use one of {', '.join(FILTERS)}.")
    _check_filterable(scene)
    radar = [index for index, band in enumerate(scene.bands) if band.units in RADAR_UNITS]
    pixels, added, notes = scene.pixels.copy(), _noise(scene, noise), []
    for index, given in zip(radar, _one_a_band(scene, looks, len(radar)), strict=True):
        layer, band, eta = pixels[index], scene.bands[index], added[index]
        power = np.where(scene.valid, to_linear(layer, band.units) + eta, np.float32(0))
        used = estimate_looks(power, scene.valid, size) if given is None else given
        layer[...] = from_linear(FILTERS[name](power, used, size, scene.valid) - eta, band.units)
        how = ("estimated" if given is None else "given") + (", with its noise" if eta.any() else "")
        notes.append(f"{band.name}: {name} filter in power, {size} x {size} px, {used:.3g} looks ({how}).")
    return replace(scene, pixels=pixels, notes=(*scene.notes, *notes))


def _noise(scene: Scene, noise: ArrayLike) -> Array:
    """The noise at every pixel."""
    values = np.asarray(noise, np.float32)
    try:
        spread = np.broadcast_to(values, scene.pixels.shape)
    except ValueError as error:
        raise DataError(
            f"{scene.name}: noise {values.shape} does not fit {scene.pixels.shape} (bands, rows, columns)."
        ) from error
    return spread


def _one_a_band(scene: Scene, looks: float | Sequence[float] | None, count: int) -> Sequence[float | None]:
    if not isinstance(looks, Sequence):
        return [looks] * count
    if len(looks) != count:
        raise DataError(
            f"{scene.name}: {len(looks)} numbers of looks for {count} backscatter bands; give one each."
        )
    return looks


def _check_filterable(scene: Scene) -> None:
    refuse_complex(scene.bands, scene.name)
    if raw := ", ".join(band.name for band in scene.bands if band.units == "dn"):
        raise DataError(f"{scene.name}: {raw} holds digital numbers; calibrate before filtering speckle.")
    if not any(band.units in RADAR_UNITS for band in scene.bands):
        raise DataError(f"{scene.name}: no band is radar backscatter, so there is no speckle to filter.")


def _adaptive(formula: Formula, power: ArrayLike, looks: float, size: int, valid: Mask) -> Array:
    check_looks(looks)
    return moving(formula, power, size, valid)


def _refined_lee(power: ArrayLike, looks: float, size: int, valid: Mask) -> Array:
    if size != SIZE:
        raise DataError(f"the refined Lee filter has a window of {SIZE} pixels, not {size}; use {SIZE}.")
    return refined_lee(power, looks, valid)


def _sample(values: ArrayLike, valid: Mask) -> NDArray[np.float64]:
    array = np.asarray(values) if valid is None else np.asarray(values)[valid]
    if array.size < 2:
        raise DataError("looks are counted from at least two valid pixels; choose a larger area.")
    return array.astype(np.float64).ravel()


def _mode(logs: Array) -> float:
    """The most frequent value, read off a smoothed histogram."""
    low, high = float(logs.min()) - 1, float(logs.max()) + 1
    counts, edges = np.histogram(logs, bins=max(1, round((high - low) / LOG_STEP)), range=(low, high))
    smooth = gaussian_filter1d(counts.astype(float), LOG_SMOOTHING / (edges[1] - edges[0]), mode="constant")
    peak = int(smooth.argmax())
    return float(edges[peak] + edges[peak + 1]) / 2
