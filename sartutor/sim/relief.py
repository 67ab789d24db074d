"""What relief does to backscatter that refers to the ellipsoid: brightness of slopes, layover and shadow.

A map pixel collects the power of all ground that shares its slant-range cell. On a slope alone in its cell that is
sin(theta) / cos(psi), psi being the angle between the surface normal and the normal of the image plane (Ulander 1996,
IEEE TGRS 34(5)). Where several slopes share a cell, their illuminated areas add up (Small 2011, IEEE TGRS 49(8)).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sartutor.sar.flattening import illuminated_facets
from sartutor.sar.terrain import View
from sartutor.sar.visibility import Lines, beam_lines, ray_height, slant_range

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]

BRIGHTEST_DB = 8.0
"""Most that a slope alone adds: as it nears the incidence angle its pixel area grows without bound."""

BINS = 2
"""Steps of slant range per radar pixel at which illuminated areas are counted."""

SHORTEST = 0.05
"""Least extent of a facet in slant range, in radar pixels: the area of a steeper one is spread over so much."""


def terrain_brightness(along: ArrayLike, across: ArrayLike, incidence_deg: ArrayLike) -> Array:
    """Factor by which a slope changes sigma0 that refers to the ellipsoid: sin(theta) / cos(psi), at most 8 dB.

    1 on flat ground, more on slopes towards the radar, where cos(psi) < 0 (layover) the most.

    Args:
        along: rise of the ground per metre in the direction that the beam goes.
        across: rise per metre at right angles to it.
        incidence_deg: incidence on flat ground in degrees; all three broadcast.
    """
    along, across = np.asarray(along, np.float32), np.asarray(across, np.float32)
    theta = np.deg2rad(np.asarray(incidence_deg, np.float32))
    sine = np.sin(theta)
    cosine = (sine - np.cos(theta) * along) / np.sqrt(1 + along * along + across * across)
    factor: Array = sine / np.maximum(cosine, sine * np.float32(10 ** (-BRIGHTEST_DB / 10)))
    return factor


@dataclass(frozen=True)
class Folds:
    """What heights hide and fold in slant range; arrays (rows, columns).

    `shadow` is ground that gets no beam. `area` is known in layover alone, elsewhere not-a-number: the area that is
    illuminated in the pixel's slant-range cell, normal to the beam, over that of flat ground. Power follows it where
    all ground of the cell has one gamma0.
    """

    shadow: Mask
    area: Array


def folds(height: Array, pixel_m: float, view: View) -> Folds:
    """Shadow, and areas in layover, of heights in m without gaps, row 0 in the north.

    Shadow is that of `sartutor.sar.visibility.shadow`, layover that of `layover` there, and areas are those of
    `sartutor.sar.flattening.area_ratio`, counted for all lines at once, which takes a third of the time.
    """
    lines = beam_lines(height, (pixel_m, pixel_m), view)
    profiles = lines.gather(height)
    slant, ray = slant_range(profiles, lines, view), ray_height(profiles, lines, view)
    theta = np.deg2rad(view.incidence_deg)
    cell = float(lines.step_m * np.sin(theta))
    facets = illuminated_facets(slant, ray, float(np.sin(theta)), cell)
    folded = (np.fmax.accumulate(slant, axis=1) > slant) | (_least_behind(slant) < slant)
    area = np.full(slant.shape, np.nan)
    area[folded] = np.tan(theta) * _density(slant, folded, *facets, cell)
    hidden = np.full(ray.shape, -np.inf)
    np.subtract(np.fmax.accumulate(ray, axis=1)[:, :-1], ray[:, 1:], out=hidden[:, 1:])
    return Folds(lines.scatter(hidden) > 0, lines.scatter(area).astype(np.float32))


def _least_behind(slant: Lines) -> Lines:
    """Shortest slant range from each sample on."""
    least: Lines = np.fmin.accumulate(slant[:, ::-1], axis=1)[:, ::-1]
    return least


def _density(
    slant: Lines, wanted: Mask, start: Lines, end: Lines, area: Lines, cell: float
) -> NDArray[np.float64]:
    """Area per slant range in a radar pixel of `cell` metres around the wanted samples.

    Every facet spreads its area evenly, so that the area up to a slant range is a broken line. Its changes of slope
    are shared out to the steps on both sides, which leaves it exact at the steps; in between it is interpolated.
    """
    origin, step = float(np.nanmin(slant)) - 2 * cell, cell / BINS
    count = int((np.nanmax(slant) - origin) / step) + 4 * BINS
    lit = np.flatnonzero(area > 0)
    first = lit // area.shape[1] * count
    ends = start.ravel()[lit], end.ravel()[lit]
    near, far = np.minimum(*ends), np.maximum(*ends)
    far = np.maximum(far, near + SHORTEST * cell)
    rate = area.ravel()[lit] / (far - near)
    total = np.zeros(len(slant) * count)
    for corner, bend in ((near, rate), (far, -rate)):
        place = np.clip((corner - origin) / step, 0, count - 3)
        before = place.astype(np.intp)
        late = bend * (place - before)
        total += np.bincount(first + before + 1, bend - late, len(total))
        total += np.bincount(first + before + 2, late, len(total))
    total = np.cumsum(np.cumsum(total.reshape(-1, count), axis=1), axis=1).ravel() * step
    place = (slant[wanted] - origin) / step + np.nonzero(wanted)[0] * count
    whole = place.astype(np.intp)
    part = place - whole
    back, on = (
        total[at] + part * (total[at + 1] - total[at]) for at in (whole - BINS // 2, whole + BINS // 2)
    )
    return (on - back) / cell
