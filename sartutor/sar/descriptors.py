"""Three physical descriptors of a radar image, which tell a mixture of experts what kind of image it sees.

CrossEarth-SAR (arXiv 2603.12008) describes each image X by s = [H_DE, ENL, R_LR], computed on X' = log(1 + |X|):
the entropy of gradient directions, the equivalent number of looks, and the variance of block means. No
statement was found on the following, so it is chosen here (assumed): 36 direction bins over [0, pi), the first
centred on 0 so that edges along rows and columns lie on no bin's border, weighted by gradient magnitude, hard
binning; all three descriptors in one domain, X' or power or dB; 16 x 16 blocks; log(1 + ENL) and standardisation
by the training set before a router sees them.

Two warnings. The ENL of a whole image, and any ENL of X' or dB, is a measure of contrast, not the classical
ENL of intensity over an even area. And log(1 + |X|) compresses digital numbers and 8-bit pictures, but is
nearly the identity on calibrated power, which lies far below 1.

All functions work on the last two axes, so that a batch (N, rows, columns) gives N values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import entr

from sartutor.errors import DataError
from sartutor.sar.radiometry import power_to_db

Values = NDArray[np.float64]
Mask = NDArray[np.bool_] | None

Domain = Literal["log1p", "power", "db"]
"""What the descriptors are computed on: log(1 + |X|) as written, power, or decibels."""

NAMES = ("directional_entropy", "enl", "local_roughness")
"""The descriptors in their order."""

MOST_LOOKS = 1e6
"""ENL of an image in which nothing varies; finite, so that it can be averaged (assumed)."""


def log_scaled(image: ArrayLike) -> NDArray[Any]:
    """X' = log(1 + |X|), natural logarithm; complex values by their magnitude."""
    return np.log1p(np.abs(image))


def directional_entropy(image: ArrayLike, valid: Mask = None, bins: int = 36) -> Values:
    """H_DE = - sum p ln p over `direction_shares`: 0 for one direction, ln(bins) for all alike, 0 without gradients."""
    return entr(direction_shares(image, valid, bins)).sum(-1)[()]


def direction_shares(image: ArrayLike, valid: Mask = None, bins: int = 36) -> Values:
    """p (..., bins): shares of the directions of the Sobel gradient, weighted by its magnitude; 0 where there is none.

    Directions are gradient angles modulo pi; bin i has those nearest to i pi / bins. Pixels whose 3 x 3 neighbourhood
    leaves the image or touches no-data are left out.
    """
    values, valid = _masked(image, valid)
    across, down = _sobel(values)
    known = _whole_neighbourhood(valid)
    angle = np.rint(np.arctan2(down, across) * (bins / np.pi)).astype(np.intp) % bins
    weight = np.hypot(across, down) * known
    images = weight[..., 0, 0].size
    index = angle.reshape(images, -1) + bins * np.arange(images)[:, None]
    histogram = np.bincount(index.ravel(), weight.ravel(), images * bins).reshape(images, bins)
    share = histogram / np.maximum(histogram.sum(1, keepdims=True), np.finfo(float).tiny)
    return share.reshape(*weight.shape[:-2], bins)


def contrast_enl(image: ArrayLike, valid: Mask = None) -> Values:
    """(mean / standard deviation)^2 of all valid pixels, at most `MOST_LOOKS`; 0 for an image of zeros.

    On power of an even area it is the equivalent number of looks; see the module's warning for all else.
    """
    values, valid = _masked(image, valid)
    count = valid.sum((-2, -1))
    mean = values.sum((-2, -1)) / count
    variance = (np.square(values - mean[..., None, None]) * valid).sum((-2, -1)) / count
    square = np.square(mean)
    return square / np.maximum(np.maximum(variance, square / MOST_LOOKS), np.finfo(float).tiny)


def local_roughness(image: ArrayLike, valid: Mask = None, blocks: int = 16) -> Values:
    """R_LR = Var_j(mu_j): the variance of the means of blocks x blocks parts of the image.

    A block counts by its share of valid pixels; without no-data and with sides that are multiples of `blocks`
    this is the plain population variance. Raises DataError for an image with fewer rows or columns than blocks.
    """
    values, valid = _masked(image, valid)
    if min(values.shape[-2:]) < blocks:
        raise DataError(
            f"an image of {values.shape[-2]} x {values.shape[-1]} pixels has no {blocks} x {blocks} blocks; "
            "ask for fewer."
        )
    count = _block_sums(valid.astype(float), blocks)
    means = _block_sums(values, blocks) / np.maximum(count, 1)
    share = count / count.sum((-2, -1), keepdims=True)
    centre = (share * means).sum((-2, -1), keepdims=True)
    return (share * np.square(means - centre)).sum((-2, -1))


def descriptors(
    images: ArrayLike, domain: Domain = "log1p", valid: Mask = None, bins: int = 36, blocks: int = 16
) -> Values:
    """The raw s = [H_DE, ENL, R_LR] of each image.

    Args:
        images: X, linear power or complex samples (N, rows, columns).
        domain: what they are computed on, `Domain`.
        valid: False at no-data, in the shape of `images`.
        bins: directions of the entropy.
        blocks: blocks along each side of the roughness.

    Returns:
        (N, 3) in nat, 1, and the squared units of the domain; standardise it before a router sees it.
    """
    values = _in_domain(np.asarray(images), domain)
    if values.ndim != 3:
        raise DataError(f"a batch of images is (N, rows, columns), not {values.shape}; add or drop an axis.")
    return np.stack(
        [
            directional_entropy(values, valid, bins),
            contrast_enl(values, valid),
            local_roughness(values, valid, blocks),
        ],
        axis=1,
    )


@dataclass(frozen=True)
class Standardisation:
    """Means and standard deviations over the training set of [H_DE, ln(1 + ENL), R_LR]."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @classmethod
    def fit(cls, raw: ArrayLike) -> Standardisation:
        """From the raw descriptors (N, 3) of the training set; a descriptor that never varies keeps its scale."""
        compressed = _compressed(raw)
        deviation = compressed.std(axis=0)
        deviation[deviation == 0] = 1
        return cls(tuple(compressed.mean(axis=0).tolist()), tuple(deviation.tolist()))

    def apply(self, raw: ArrayLike) -> Values:
        """Raw descriptors (N, 3) with mean 0 and standard deviation 1 over the training set."""
        return (_compressed(raw) - self.mean) / self.deviation


def _compressed(raw: ArrayLike) -> Values:
    """[H_DE, ln(1 + ENL), R_LR] of raw descriptors."""
    values = np.array(raw, np.float64)
    if values.ndim != 2 or values.shape[1] != len(NAMES) or len(values) == 0:
        raise DataError(
            f"descriptors are (N, {len(NAMES)}), not {values.shape}; compute them with `descriptors`."
        )
    values[:, 1] = np.log1p(values[:, 1])
    return values


def _in_domain(images: NDArray[Any], domain: Domain) -> NDArray[Any]:
    if domain not in get_args(Domain):
        raise DataError(f"unknown domain {domain!r}; use one of {', '.join(get_args(Domain))}.")
    with np.errstate(invalid="ignore", over="ignore"):  # fill values outside the valid mask
        if domain == "log1p":
            return log_scaled(images)
        power = np.square(np.abs(images)) if np.iscomplexobj(images) else images
        return power_to_db(power) if domain == "db" else power


def _masked(image: ArrayLike, valid: Mask) -> tuple[Values, NDArray[np.bool_]]:
    """The image in float64 with 0 at no-data, and its mask; DataError where no pixel or no finite one is left."""
    values = np.asarray(image, np.float64)
    mask = np.ones(values.shape, bool) if valid is None else np.broadcast_to(valid, values.shape)
    values = np.where(mask, values, 0)
    if values.ndim < 2 or not mask.any(axis=(-2, -1)).all():
        raise DataError("an image without a valid pixel has no descriptors; leave it out.")
    if not np.isfinite(values).all():
        raise DataError("the image is not finite everywhere; mark what is no data in its valid mask.")
    return values, mask


def _sobel(values: Values) -> tuple[Values, Values]:
    """Sobel gradients along columns and rows at inner pixels: differences of (1, 2, 1) weighted neighbours."""
    smooth_rows = values[..., :-2, :] + 2 * values[..., 1:-1, :] + values[..., 2:, :]
    smooth_cols = values[..., :-2] + 2 * values[..., 1:-1] + values[..., 2:]
    return smooth_rows[..., 2:] - smooth_rows[..., :-2], smooth_cols[..., 2:, :] - smooth_cols[..., :-2, :]


def _whole_neighbourhood(valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Inner pixels whose 3 x 3 neighbours are all valid."""
    rows = valid[..., :-2, :] & valid[..., 1:-1, :] & valid[..., 2:, :]
    return rows[..., :-2] & rows[..., 1:-1] & rows[..., 2:]


def _block_sums(values: Values, blocks: int) -> Values:
    for axis in (-2, -1):
        size = values.shape[axis]
        values = np.add.reduceat(values, np.arange(blocks) * size // blocks, axis=axis)
    return values
