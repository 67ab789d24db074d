"""The laws of fully developed speckle: how intensity, amplitude and decibels of an even area scatter.

The intensity of L independent looks over an even area of mean power R is R n with n ~ Gamma(L, 1/L): its mean
is R, its variance R^2 / L. All functions take arrays and broadcast; L is any positive number, so that an
equivalent number of looks is one too. (Goodman, Speckle Phenomena in Optics, 2007; Oliver and Quegan,
Understanding Synthetic Aperture Radar Images, 2004, chapter 4.)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import digamma, gammaln, polygamma, xlogy

DB_PER_NEPER = 10.0 / np.log(10.0)
"""Decibels of power per unit of its natural logarithm."""


def log_bias_db(looks: ArrayLike) -> NDArray[np.float64]:
    """Mean of speckle in dB: (10 / ln 10) (psi(L) - ln L), -2.51 dB for one look.

    The mean of decibels lies this far from the decibels of the mean power, on an even area.
    """
    looks = np.asarray(looks, np.float64)
    return DB_PER_NEPER * (digamma(looks) - np.log(looks))


def log_std_db(looks: ArrayLike) -> NDArray[np.float64]:
    """Standard deviation of speckle in dB: (10 / ln 10) sqrt(psi1(L)), 5.57 dB for one look, at any mean."""
    return DB_PER_NEPER * np.sqrt(polygamma(1, np.asarray(looks, np.float64)))


def intensity_pdf(x: ArrayLike, mean: ArrayLike, looks: ArrayLike) -> NDArray[np.float64]:
    """Density of the intensity x of an even area: the gamma law (exponential for one look).

    p(x) = L^L x^(L-1) exp(-L x / R) / (Gamma(L) R^L) with mean power R; zero for negative x.
    """
    values, mean, looks = (np.asarray(a, np.float64) for a in (x, mean, looks))
    ratio = np.where(values >= 0, values, np.inf) / mean
    with np.errstate(over="ignore", invalid="ignore"):
        log_density = looks * np.log(looks) - gammaln(looks) - np.log(mean) + xlogy(looks - 1, ratio)
        density = np.exp(log_density - looks * ratio)
    return np.where(np.isfinite(ratio), density, 0.0)


def amplitude_pdf(a: ArrayLike, mean: ArrayLike, looks: ArrayLike) -> NDArray[np.float64]:
    """Density of the amplitude a = sqrt(intensity): 2 a p(a^2), the Nakagami law (Rayleigh for one look).

    `mean` is the mean power R; zero for negative a.
    """
    values = np.asarray(a, np.float64)
    positive = np.maximum(values, np.finfo(np.float64).tiny)
    return np.where(values > 0, 2 * positive * intensity_pdf(np.square(positive), mean, looks), 0.0)


def db_pdf(db: ArrayLike, mean: ArrayLike, looks: ArrayLike) -> NDArray[np.float64]:
    """Density of decibels x = 10 log10(intensity): I p(I) ln(10) / 10 at I = 10^(x / 10).

    `mean` is the mean power R, not in dB. The law keeps its shape at every R and is only moved.
    """
    intensity = np.power(10.0, np.asarray(db, np.float64) / 10.0)
    return intensity * intensity_pdf(intensity, mean, looks) / DB_PER_NEPER
