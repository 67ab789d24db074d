"""Land cover under a radar: scenes of the seven classes of CrossEarth-SAR, in domains that differ as in its gaps.

A domain says which region is seen, by which platform and radar band, in which polarisation, and whether as power or
as one part of the complex image (arXiv 2603.12008). The radar looks along increasing columns. Limits: slopes are bright
up to a limit and cause no layover, tree and house heights are constants, row direction and soil moisture act only as
spread between fields.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from sartutor.errors import DataError
from sartutor.sar.radiometry import db_to_power, power_to_db
from sartutor.sar.scene import Band, Grid, Scene
from sartutor.sim.backscatter import LAND_COVERS, angular_exponent, falloff_db, mean_db, spread_db
from sartutor.sim.layout import BUILDING, FOREST, REGIONS, ROAD, WATER, Labels, Layout, draw_layout
from sartutor.sim.relief import terrain_brightness
from sartutor.sim.sensor import SENSORS, RadarBand, Sensor, observe, slc, texture

Array = NDArray[np.float32]
Complex = NDArray[np.complex64]
Mask = NDArray[np.bool_]
Rng = np.random.Generator

FULL = ("HH", "HV", "VV")
"""Channels of the polarisation "full"."""

INCIDENCE_DEGREE = {"sentinel1": (31, 45), "gaofen3": (25, 45), "alos2": (28, 40), "terrasarx": (22, 43)}
"""Range of incidence angles of each satellite in degrees (assumed within what their modes allow)."""

AIRBORNE_DEGREE, AIRBORNE_SPAN_DEGREE = (32, 48), 8.0
"""Incidence in mid-scene, and its growth from near to far range across an airborne scene, in degrees (assumed)."""

TREE_M, HOUSE_M = 14.0, 8.0
"""Heights of trees and houses in m (assumed)."""

EDGE_DB, SHADOW_DB = 3.0, -10.0
"""Level of forest edges that face the radar, and of ground in the shadow of trees and houses, in dB (assumed)."""

FOREST_ORDER, FOREST_CORRELATION_M = 6.0, 15.0
"""Order and correlation length of forest texture (assumed)."""

WALL_SHARE = 0.5
"""Share of a settlement's mean power that comes back from walls by double bounce (assumed)."""

MASTS_PER_KM2, MAST_DBM2, MAST_CROSS_DB = 6.0, (10.0, 35.0), -15.0
"""Point targets on land (pylons, masts, tanks): how many, their radar cross-section, and their HV less HH (assumed)."""


@dataclass(frozen=True)
class Domain:
    """Where, how and by what a scene is seen.

    Args:
        region: a name in `sartutor.sim.layout.REGIONS`.
        polarisation: "VV", "HH", "HV", "VH", two of them as "VV+VH", or "full" for HH, HV and VV.
        complex_part: "real" or "imag" part of the single-look complex image; None for detected power.
        platform: a satellite in `INCIDENCE_DEGREE`, or "airborne".
        band: radar band; a satellite has only one.
    """

    region: str
    polarisation: str
    complex_part: Literal["real", "imag"] | None
    platform: str
    band: RadarBand

    @property
    def name(self) -> str:
        """A short text that names all of it."""
        part = f"-{self.complex_part}" if self.complex_part else ""
        return f"{self.region}-{self.platform}-{self.band}-{self.polarisation}{part}"


def landcover_scene(seed: int, domain: Domain, size: int = 256) -> tuple[Scene, Labels]:
    """A scene of `size` x `size` pixels and its labels (rows, columns), positions in `LAND_COVERS`.

    Power scenes hold sigma0 in power units with the sensor's noise in it, one band per polarisation; complex parts
    are signed numbers without unit. The same seed gives the same scene, and the same plan wherever region and pixel
    size are the same.
    """
    sensor = domain_sensor(domain)
    layout = domain_layout(seed, domain, size)
    rng = np.random.default_rng((seed, 1))
    power, coherent = reflectivity(rng, layout, sensor, column_incidence(rng, domain, size))
    pixels = _acquired(rng, power, coherent, sensor, domain)
    bands = tuple(_band(polarisation, domain) for polarisation in sensor.polarisations)
    transform = Affine(sensor.pixel_m, 0, 600000, 0, -sensor.pixel_m, 5200000)
    grid = Grid(transform, CRS.from_epsg(32632), size, size)
    note = f"Simulated land cover, domain {domain.name}; the radar looks along increasing columns."
    valid = np.ones((size, size), bool)
    scene = Scene(pixels, bands, grid, valid, f"landcover-{domain.name}-{seed}", "synthetic", (note,))
    return scene, layout.labels


def domain_layout(seed: int, domain: Domain, size: int) -> Layout:
    """The plan of the scene of that seed, `size` x `size` pixels."""
    place = np.random.default_rng((seed, 0, list(REGIONS).index(domain.region)))
    return draw_layout(place, REGIONS[domain.region], size, domain_sensor(domain).pixel_m)


def domain_sensor(domain: Domain) -> Sensor:
    """The sensor of a domain, with its polarisations only; DataError where there is none."""
    if domain.region not in REGIONS:
        raise DataError(f"domain {domain.name}: unknown region; choose from {', '.join(REGIONS)}.")
    airborne = domain.platform == "airborne"
    if not airborne and domain.platform not in INCIDENCE_DEGREE:
        known = ", ".join((*INCIDENCE_DEGREE, "airborne"))
        raise DataError(f"domain {domain.name}: unknown platform; choose from {known}.")
    sensor = SENSORS[f"airborne_{domain.band.lower()}" if airborne else domain.platform]
    if sensor.band != domain.band:
        raise DataError(f"domain {domain.name}: {sensor.name} is a {sensor.band}-band radar.")
    return sensor.only(*(FULL if domain.polarisation == "full" else domain.polarisation.split("+")))


def reflectivity(rng: Rng, layout: Layout, sensor: Sensor, incidence_deg: Array) -> tuple[Array, Complex]:
    """Mean power (bands, rows, columns) of a plan without speckle, and its coherent targets.

    Args:
        rng: source of scene-wide deviations, texture and targets.
        layout: the plan.
        sensor: gives band, polarisations and pixel size.
        incidence_deg: incidence on level ground in degrees, one per column.
    """
    labels = layout.labels
    slope = np.where(labels == WATER, np.float32(0), layout.slope_deg)  # water lies level
    falloff = falloff_db(incidence_deg - slope)
    shape = _shape_db(labels, sensor, float(np.mean(incidence_deg)))
    shape += power_to_db(terrain_brightness(np.tan(np.radians(slope)), 0, incidence_deg))
    power = np.stack([_level_db(rng, layout, sensor.band, p, falloff) + shape for p in sensor.polarisations])
    power = db_to_power(power)
    if (wood := labels == FOREST).any():
        grain = texture(rng, wood.shape, FOREST_ORDER, max(FOREST_CORRELATION_M / sensor.pixel_m, 1))
        power[:, wood] *= grain[wood]
    coherent = _double_bounce(rng, layout, power) + _masts(rng, labels, sensor)
    power[:, labels == BUILDING] *= np.float32(1 - WALL_SHARE)
    return power, coherent


def column_incidence(rng: Rng, domain: Domain, size: int) -> Array:
    """Incidence on level ground for every column, in degrees."""
    airborne = domain.platform == "airborne"
    low, high = AIRBORNE_DEGREE if airborne else INCIDENCE_DEGREE[domain.platform]
    half = AIRBORNE_SPAN_DEGREE / 2 if airborne else 0
    return (rng.uniform(low, high) + np.linspace(-half, half, size)).astype(np.float32)


def street_gain(street_deg: float) -> float:
    """Double bounce of a street grid relative to its mean over all directions; largest for walls across the look.

    A floor and a Gaussian lobe of 12 degrees around the cardinal directions (assumed), of mean 1 over 0 to 90.
    """
    off = min(street_deg % 90, 90 - street_deg % 90)
    floor, lobe = 0.2, 12.0
    mean = floor + np.sqrt(np.pi) * lobe / 90
    return float((floor + np.exp(-((off / lobe) ** 2))) / mean)


def _level_db(rng: Rng, layout: Layout, band: str, polarisation: str, falloff: Array) -> Array:
    """Mean backscatter of every pixel in dB: class level, angle, deviation of its field and of the whole scene."""
    levels = np.array([mean_db(cover, band, polarisation) for cover in LAND_COVERS], np.float32)
    exponents = np.array([angular_exponent(cover, polarisation) for cover in LAND_COVERS], np.float32)
    spreads = np.array([spread_db(cover, band, polarisation) for cover in LAND_COVERS], np.float32)
    levels += 0.3 * spreads * rng.standard_normal(len(levels), dtype=np.float32)
    spreads[ROAD] = 0  # the roads of a scene are alike
    labels = layout.labels
    return levels[labels] + exponents[labels] * falloff + spreads[labels] * layout.deviation


def _shape_db(labels: Labels, sensor: Sensor, incidence_deg: float) -> Array:
    """What height makes of levels, in dB: bright forest edges towards the radar, shadow behind trees and houses."""
    tangent = np.tan(np.radians(incidence_deg))
    wood, house = labels == FOREST, labels == BUILDING
    edge = wood & ~_behind(wood, TREE_M / tangent / sensor.pixel_m)
    shade = _shaded(wood, TREE_M * tangent / sensor.pixel_m) | _shaded(
        house, HOUSE_M * tangent / sensor.pixel_m
    )
    return np.select([edge, shade & ~wood & ~house], [EDGE_DB, SHADOW_DB], 0).astype(np.float32)


def _shaded(mask: Mask, length_px: float) -> Mask:
    """Pixels within `length_px` (rounded) behind a pixel of the mask, seen along the columns."""
    shade = np.zeros_like(mask)
    for step in range(1, round(length_px) + 1):
        shade[:, step:] |= mask[:, :-step]
    return shade


def _behind(mask: Mask, depth_px: float) -> Mask:
    """Pixels of the mask deeper than `depth_px` (rounded, at least 1) behind its edge towards the radar."""
    deep = mask.copy()
    for step in range(1, max(round(depth_px), 1) + 1):
        deep[:, step:] &= mask[:, :-step]
    return deep


def _double_bounce(rng: Rng, layout: Layout, power: Array) -> Complex:
    """Coherent amplitudes (bands, rows, columns) on the walls that face the radar.

    Together they return `WALL_SHARE` of the mean power of all houses, more where streets run across the look, less
    elsewhere (`street_gain`); single walls vary exponentially, so that a few stand out as point targets.
    """
    house = layout.labels == BUILDING
    wall = house.copy()
    wall[:, 1:] &= ~house[:, :-1]
    coherent = np.zeros(power.shape, np.complex64)
    count = np.count_nonzero(wall)
    if count:
        gain = WALL_SHARE * street_gain(layout.street_deg) * np.count_nonzero(house) / count
        strength = gain * power[:, wall] * rng.standard_exponential(count, dtype=np.float32)
        phase = rng.uniform(0, 2 * np.pi, (len(power), count))
        coherent[:, wall] = np.sqrt(strength) * np.exp(1j * phase)
    return coherent


def _masts(rng: Rng, labels: Labels, sensor: Sensor) -> Complex:
    """Coherent amplitudes of single targets on land: |A|^2 = radar cross-section / pixel area."""
    coherent = np.zeros((len(sensor.polarisations), *labels.shape), np.complex64)
    count = rng.poisson(MASTS_PER_KM2 * labels.size * sensor.pixel_m**2 / 1e6)
    rows, cols = rng.integers(0, labels.shape, (count, 2)).T
    section = db_to_power(rng.uniform(*MAST_DBM2, count)) * (labels[rows, cols] != WATER)
    phase = rng.uniform(0, 2 * np.pi, count)
    for layer, polarisation in zip(coherent, sensor.polarisations, strict=True):
        weight = db_to_power(0.0 if polarisation in ("HH", "VV") else MAST_CROSS_DB)
        layer[rows, cols] = np.sqrt(weight * section) / sensor.pixel_m * np.exp(1j * phase)
    return coherent


def _acquired(
    rng: Rng, power: Array, coherent: Complex, sensor: Sensor, domain: Domain
) -> NDArray[np.float32]:
    """The sensor's image: detected power, or one part of the complex image."""
    if domain.complex_part is None:
        return observe(rng, power, sensor, coherent)
    image = slc(rng, power, sensor, coherent)
    return np.ascontiguousarray(image.real if domain.complex_part == "real" else image.imag)


def _band(polarisation: str, domain: Domain) -> Band:
    """The band of a polarisation, in power or as a part of the complex image."""
    if domain.complex_part:
        return Band(f"{polarisation}_{domain.complex_part}", "1")
    return Band(polarisation, "power", "sigma0")
