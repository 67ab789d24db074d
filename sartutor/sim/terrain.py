"""Simulated mountains: ridges, spurs and flat valley floors from fractal fields.

One broad Gaussian field f with a steep spectrum draws the large forms. Its zero line becomes the valley: height
grows as f^2 near it (a flat, U-shaped floor) and as |f| far from it (straight flanks), up to a sharp crest behind
which it falls again. A second field g cuts gullies and spurs into the flanks as 1 - |g|, sharp along its zero line
as ridges are; a third adds roughness that grows with height. The forms are drawn, not eroded: there is no drainage
network, and closed hollows occur.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from sartutor.sim.shapes import fractal_field

Array = NDArray[np.float32]
Rng = np.random.Generator

STEEP_DEGREE, STEEP_SHARE = 30.0, 0.4
"""Default steepness: this share of the ground is steeper than this angle (assumed; high alpine terrain)."""

COARSE = 4
"""Large forms are drawn on pixels this many times larger."""

VALLEY_WIDTH = 0.5
"""Field value, in standard deviations, at which the valley floor turns into its flanks."""

CREST = 1.8
"""Field value, in standard deviations, of the crest that ends a flank."""


def fractal_terrain(
    rng: Rng, size: int, pixel_m: float = 10.0, relief_m: float | None = None, roughness: float = 0.025
) -> Array:
    """Heights in m, (size, size), lowest 0.

    Args:
        rng: source of every random number.
        size: rows and columns, at least 16.
        pixel_m: pixel spacing in m.
        relief_m: highest minus lowest point in m; when None, so much that `STEEP_SHARE` of the ground is steeper
            than `STEEP_DEGREE`.
        roughness: height of the fine forms as a share of the local height above the valley.
    """
    broad = smooth_field(rng, size, 6.0)
    mountain = _flanks((broad - np.quantile(broad, rng.uniform(0.25, 0.75))) / broad.std())
    spurs = np.abs(smooth_field(rng, size, 3.5))
    spurs = 1 - spurs / spurs.max()
    height = mountain * (0.65 + 0.35 * spurs + roughness * fractal_field(rng, size, 4.2))
    height -= height.min()
    factor = relief_m / height.max() if relief_m is not None else _steepness_factor(height, pixel_m)
    result: Array = np.float32(factor) * height
    return result


def smooth_field(rng: Rng, size: int, slope: float, coarse: int = COARSE) -> Array:
    """`fractal_field` without detail below `coarse` pixels, (size, size): quicker, and not periodic."""
    count = _interpolation(size, coarse).shape[1]
    field = fractal_field(rng, fft.next_fast_len(3 * count // 2), slope)
    return _interpolated(field[:count, :count], size, coarse)


def grain(rng: Rng, size: int, coarse: int = 2) -> Array:
    """White noise of about `coarse` pixels' width, (size, size), standard deviation 1."""
    count = _interpolation(size, coarse).shape[1]
    field = _interpolated(rng.standard_normal((count, count), dtype=np.float32), size, coarse)
    result: Array = field / field.std()
    return result


def _interpolated(field: Array, size: int, coarse: int) -> Array:
    weights = _interpolation(size, coarse)
    return (weights @ field @ weights.T).astype(np.float32, copy=False)


@lru_cache(maxsize=16)
def _interpolation(size: int, coarse: int) -> Array:
    """Cubic spline weights (size, coarse samples) of samples every `coarse` pixels."""
    count = -(-size // coarse) + 3
    weights = ndimage.zoom(np.eye(count, dtype=np.float32), (coarse, 1), order=3)
    return weights[coarse : coarse + size].astype(np.float32, copy=False)


def _flanks(field: Array) -> Array:
    """Height above the valley: parabolic within `VALLEY_WIDTH` of the field's zero line, straight up to `CREST`."""
    folded = np.abs(CREST - np.abs(CREST - np.abs(field)))
    return (folded * folded / (folded + VALLEY_WIDTH)).astype(np.float32, copy=False)


def _steepness_factor(height: Array, pixel_m: float) -> float:
    """Vertical exaggeration that makes `STEEP_SHARE` of the ground steeper than `STEEP_DEGREE`."""
    down, right = np.gradient(height, pixel_m)
    steep = np.quantile(np.hypot(down, right), 1 - STEEP_SHARE)
    return float(np.tan(np.deg2rad(STEEP_DEGREE)) / steep)
