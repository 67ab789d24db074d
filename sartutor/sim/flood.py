"""Pairs of radar images of one place, between which water has risen over low open ground, or has not.

A flood is level: it covers fields, bare ground, grass and roads below one height, and looks as dark as open water.
Between the dates, with or without flood, all land changes with its moisture, some fields are harvested or ploughed, and
all water changes with the wind. Limits: water does not have to find its way, forest and houses keep their backscatter
(no double bounce from flooded trunks and walls), and moisture and wind are the same all over the scene.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sartutor.errors import DataError
from sartutor.sar.radiometry import db_to_power
from sartutor.sim.landcover import Domain, column_incidence, domain_layout, domain_sensor, reflectivity
from sartutor.sim.layout import BACKGROUND, BARE, CROPLAND, ROAD, WATER, Layout
from sartutor.sim.sensor import observe

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]
Rng = np.random.Generator

OPEN_GROUND = (ROAD, BARE, CROPLAND, BACKGROUND)
"""Covers that a flood hides."""

FLOODED_SHARE = (0.04, 0.20)
"""Range of the share of a scene that a flood covers, drawn evenly (assumed)."""

MOISTURE_DB = 1.0
"""Standard deviation of the change of all land between the dates, in dB (assumed)."""

WORKED_SHARE, WORKED_SPREAD = 0.3, 2.0
"""Share of fields that are harvested or ploughed, and the standard deviation of their change in those of their class
(assumed)."""


@dataclass(frozen=True, eq=False)
class FloodPair:
    """Two images of one place: sigma0 in power units (bands, rows, columns) of each date, and what was flooded."""

    before: Array
    after: Array
    flooded: Mask


def flood_pair(seed: int, domain: Domain, size: int, flood: bool) -> FloodPair:
    """Images of `size` x `size` pixels from one orbit at two dates, with a `flood` between them or without.

    Both show the plan of `landcover_scene` of this seed; only speckle, moisture, fields, wind and the flood differ.
    The image before is the same with and without flood. DataError for a domain of complex parts.
    """
    if domain.complex_part is not None:
        raise DataError(
            f"domain {domain.name}: pairs are detected power; choose a domain without complex parts."
        )
    draws, sensor = np.random.default_rng((seed, 2)), domain_sensor(domain)
    layout = domain_layout(seed, domain, size)
    incidence = column_incidence(draws, domain, size)
    share, (wind, moisture) = draws.uniform(*FLOODED_SHARE), draws.standard_normal(2)
    flooded = low_ground(layout, share if flood else 0.0)
    power, targets = reflectivity(np.random.default_rng((seed, 3)), layout, sensor, incidence)
    risen = under_water(worked(draws, layout), flooded, wind)
    power_after, _ = reflectivity(np.random.default_rng((seed, 3)), risen, sensor, incidence)
    power_after[:, risen.labels != WATER] *= db_to_power(MOISTURE_DB * moisture)
    before, after = (observe(draws, each, sensor, targets) for each in (power, power_after))
    return FloodPair(before, after, flooded)


def low_ground(layout: Layout, share: float) -> Mask:
    """The lowest open ground, `share` of the scene's pixels or all open ground there is."""
    ground = np.isin(layout.labels, OPEN_GROUND)
    count = min(round(share * ground.size), np.count_nonzero(ground))
    lowest = np.argsort(np.where(ground, layout.height, np.inf), axis=None)[:count]
    flooded = np.zeros(ground.size, bool)
    flooded[lowest] = True
    return flooded.reshape(ground.shape)


def worked(rng: Rng, layout: Layout) -> Layout:
    """The plan after some of its fields were harvested or ploughed: brighter or darker, each field as a whole."""
    farmed = (layout.labels == CROPLAND) | (layout.labels == BARE)
    fields, field = np.unique(layout.deviation[farmed], return_inverse=True)
    change = WORKED_SPREAD * rng.standard_normal(len(fields)) * (rng.random(len(fields)) < WORKED_SHARE)
    deviation = layout.deviation.copy()
    deviation[farmed] = (fields + change)[field]
    return replace(layout, deviation=deviation)


def under_water(layout: Layout, flooded: Mask, wind: float) -> Layout:
    """The plan with water in place of what is flooded, and all water rougher by `wind` standard deviations."""
    labels = np.where(flooded, np.uint8(WATER), layout.labels)
    still = np.where(flooded, np.float32(0), layout.deviation)
    return replace(layout, labels=labels, deviation=still + np.float32(wind) * (labels == WATER))
