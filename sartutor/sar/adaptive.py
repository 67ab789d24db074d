"""The formulas of the adaptive speckle filters, pixel by pixel.

The model: intensity I = R n, where n is gamma distributed with mean 1 and variance Cu^2 = 1/L for L looks. A
window gives the local mean M and variance V, so Ci^2 = V / M^2 tells how much of the variation is not speckle.
The functions compare V with Cu^2 M^2, not Ci with Cu, so that a mean of zero or below (noise was subtracted)
needs no division. Subtracted noise makes V larger than the model says: see `sartutor.sar.speckle`. All arguments are
arrays of one shape or numbers; results are in the units of M.

Lee: IEEE TPAMI 2(2), 1980. Frost, Stiles, Shanmugan, Holtzman: TPAMI 4(2), 1982. Kuan, Sawchuk, Strand, Chavel:
TPAMI 7(2), 1985. Lopes, Touzi, Nezry: IEEE TGRS 28(6), 1990 (enhanced Lee). Lopes, Nezry, Touzi, Laur: IGARSS 1990
(Gamma-MAP).
"""

from __future__ import annotations

import numpy as np

from sartutor.errors import DataError
from sartutor.sar.windows import Array

TINY = np.float32(1e-37)
"""Stands in for a variance of zero in a quotient."""


def check_looks(looks: float) -> None:
    """Raise DataError unless `looks` is above 0 (infinitely many are allowed: no speckle)."""
    if not looks > 0:
        raise DataError(f"speckle of {looks:g} looks does not exist; give a number above 0.")


def lee_weight(mean: Array, variance: Array, looks: float) -> Array:
    """Weight of the pixel against the local mean: W = 1 - Cu^2 / Ci^2, within [0, 1] (Lee 1980)."""
    weight = np.square(mean)
    weight *= np.float32(-1 / looks)
    with np.errstate(over="ignore"):
        weight /= np.maximum(variance, TINY)
    weight += 1
    return np.maximum(weight, 0, out=weight)


def kuan_weight(mean: Array, variance: Array, looks: float) -> Array:
    """Weight of the pixel: W = (1 - Cu^2 / Ci^2) / (1 + Cu^2), within [0, 1] (Kuan et al. 1985)."""
    return lee_weight(mean, variance, looks) / np.float32(1 + 1 / looks)


def enhanced_lee_weight(mean: Array, variance: Array, looks: float, damping: float) -> Array:
    """Weight of the pixel, 1 - exp(-D (Ci - Cu) / (Cmax - Ci)) with Cmax = sqrt(1 + 2/L) (Lopes et al. 1990).

    It is 0 for Ci <= Cu and 1 for Ci >= Cmax, continuously; a mean of zero or below counts as Ci >= Cmax.
    """
    speckle, most = np.float32(1 / np.sqrt(looks)), np.float32(np.sqrt(1 + 2 / looks))
    with np.errstate(over="ignore"):
        spread = np.minimum(np.sqrt(variance) / np.maximum(mean, TINY), most)
        ratio = np.maximum(spread - speckle, 0) / np.maximum(most - spread, TINY)
    return np.where(spread >= most, np.float32(1), 1 - np.exp(-np.float32(damping) * ratio))


def weighted(mean: Array, pixel: Array, weight: Array) -> Array:
    """R = M + W (I - M); overwrites the weight."""
    weight *= pixel - mean
    weight += mean
    return weight


def gamma_map_estimate(mean: Array, variance: Array, pixel: Array, looks: float) -> Array:
    """The most probable R where R itself is gamma distributed around M (Lopes et al. 1990).

    The mean for Ci <= Cu, the pixel for Ci >= sqrt(2) Cu, and in between (B M + sqrt(D)) / (2 A) with
    A = (1 + Cu^2) / (Ci^2 - Cu^2), B = A - L - 1 and D = M^2 B^2 + 4 A L M I.
    It jumps at sqrt(2) Cu. Negative pixels count as zero in D; a negative mean has no gamma law and is kept.
    """
    square = np.square(mean)
    speckle = square / np.float32(looks)
    between = (variance > speckle) & (variance < 2 * speckle) & (mean > 0)
    result = np.where(variance >= 2 * speckle, pixel, mean)
    result = np.where(variance == 0, mean, result)
    if between.any():
        m, i = mean[between], np.maximum(pixel[between], 0)
        a = np.float32(1 + 1 / looks) * square[between] / (variance[between] - speckle[between])
        b = a - np.float32(looks + 1)
        result[between] = (b * m + np.sqrt(np.square(m * b) + 4 * a * np.float32(looks) * m * i)) / (2 * a)
    return result
