"""Bi-temporal scenes of avalanche debris in mountains, with what makes it hard to find.

A world is terrain with land cover and the two states of its snow; a scene is what a radar with VV and VH makes of it
before (0) and after (1) an avalanche cycle. Sigma0 refers to the ellipsoid and is geocoded, not flattened: slopes
towards the radar are bright, shadow holds noise alone. Both dates share orbit and view, as pairs for change detection
must. Confusers, one function each, add changes that are no debris and debris that is no change.

Limits: terrain brightness is painted in map geometry; in layover areas add up, but as if all ground of a cell were of
one cover, so that nothing is copied; flow, layover, shadow and texture are computed on pixels of twice the size; snow,
soil and trees differ by level and texture alone, equally in VV and VH; rotating or mirroring a scene turns the look
direction against the terrain, which no radar does (crops are fine). Levels of land covers and their sources:
`sartutor.sim.backscatter`. The other numbers are assumed unless a source is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import lru_cache
from itertools import product
from typing import TypeVar

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from scipy import ndimage

from sartutor.errors import GeometryError
from sartutor.sar.radiometry import db_to_power, power_to_db
from sartutor.sar.scene import Band, Grid, Scene
from sartutor.sar.terrain import View, gradient, heights, local_incidence, slope, spacing_m
from sartutor.sim import flow
from sartutor.sim.backscatter import mean_db, spread_db
from sartutor.sim.landcover import FOREST_CORRELATION_M, FOREST_ORDER
from sartutor.sim.relief import folds, terrain_brightness
from sartutor.sim.sensor import SENSORS, RadarBand, Sensor, observe, texture
from sartutor.sim.shapes import parcels
from sartutor.sim.terrain import fractal_terrain, grain, smooth_field

Array = NDArray[np.float32]
Complex = NDArray[np.complex64]
Labels = NDArray[np.uint16]
Mask = NDArray[np.bool_]
Rng = np.random.Generator
Value = TypeVar("Value", np.bool_, np.float32)

POLARISATIONS = ("VV", "VH")
COVERS = ("grass", "dry_snow", "wet_snow", "forest", "rock", "water", "cropland", "road")
GRASS, DRY, WET, FOREST, ROCK, WATER, FIELD, ROAD = range(len(COVERS))

CANDIDATES = 9
"""Avalanche paths of a scene of 256 x 256 pixels; some have fresh debris, some old debris, some none."""

LEAST_DEBRIS_M2 = 2000.0
"""Smallest deposit; that of avalanches mapped in Sentinel-1 images (Leinss et al. 2020)."""

EARLY_STOP_DEGREE = (-1.0, 5.0)
"""How much larger than that of the longest runout an avalanche's alpha is."""

DRY_CONTRAST_DB, WET_CONTRAST_DB = (3.0, 6.0), (1.5, 4.0)
"""How much brighter than the snow around it debris is in VV at C-band, for avalanches in dry and in wet snow."""

VH_SHARE = (0.7, 1.1)
"""Contrast in VH as a share of that in VV, in dB."""

DEBRIS_TEXTURE_DB = 1.2
"""Standard deviation of the debris' brightness over some 20 m."""

LEAST_AREA = 0.1
"""Least brightness factor in layover, where hardly any of a cell's ground gets the beam."""

LEAST_ALPHA_DEGREE = 12.0
"""Smallest runout angle; paths that soon end in a hollow have no meaningful beta."""

CONFUSER_CHANCE = 0.6
"""Share of scenes in which each confuser takes part."""

UTM = CRS.from_epsg(32632)
CORNER = (600_000.0, 5_200_000.0)
"""Easting and northing in m of the upper left corner of simulated terrain."""


@dataclass
class Canvas:
    """A world while it is made; arrays are (rows, columns).

    `cover` indexes `COVERS`; grass is snow above `snow_line_m`, wet below the `wet_line_m` of each date, a height for
    every pixel. `both_db` is added on both dates, `change_db` on date 1 alone; `deposits` are the debris ids of
    all avalanche paths, `fresh` those of date 1; `confused` marks what confusers have changed.
    """

    height: Array
    slope: Array
    incidence: Array
    terrain_db: Array
    shadow: Mask
    cover: NDArray[np.uint8]
    snow_line_m: float
    wet_line_m: list[Array]
    both_db: Array
    change_db: Array
    deposits: Labels
    fresh: NDArray[np.intp]
    confused: Mask

    def cover_on(self, when: int) -> NDArray[np.uint8]:
        """Land cover with the snow of date 0 or 1."""
        snow = (self.cover == GRASS) & (self.height > self.snow_line_m)
        cover = self.cover.copy()
        cover[snow] = DRY
        cover[snow & (self.height < self.wet_line_m[when])] = WET
        return cover


Confuser = Callable[[Rng, Canvas], None]


def field_work(rng: Rng, canvas: Canvas) -> None:
    """Bright flat fields: ploughing, harvest or irrigation changes whole parcels of cropland by 2 to 6 dB."""
    size = max(canvas.height.shape)
    rows, cols = canvas.height.shape
    level = parcels(rng, size, rng.uniform(6, 20))[:rows, :cols]
    worked = (canvas.cover == FIELD) & (np.abs(level) > 0.8)
    canvas.change_db += worked * np.where(level > -1.3, rng.uniform(2, 6), -rng.uniform(2, 6)).astype(
        np.float32
    )
    canvas.confused |= worked


def wet_snow_line(rng: Rng, canvas: Canvas) -> None:
    """The line below which snow is wet lies higher or lower on date 1: a band of 5 dB change along contours."""
    before = canvas.cover_on(0)
    relief = float(np.ptp(canvas.height))
    base = np.clip(canvas.wet_line_m[0], canvas.height.min(), canvas.height.max())
    canvas.wet_line_m[1] = base + np.float32(rng.choice([-1, 1]) * rng.uniform(0.05, 0.4) * relief)
    canvas.confused |= before != canvas.cover_on(1)


def old_debris(rng: Rng, canvas: Canvas) -> None:
    """Debris of earlier avalanches is as bright on both dates, a little less than fresh debris."""
    paths = np.setdiff1d(_numbers(canvas.deposits), canvas.fresh)
    old = np.isin(canvas.deposits, paths[rng.random(len(paths)) < 0.8])
    canvas.both_db += old * np.float32(rng.uniform(2, 4.5))
    canvas.confused |= old


def layover_edges(rng: Rng, canvas: Canvas) -> None:
    """A rest of misregistration, up to 0.3 pixels, makes bright edges of steep slopes brighter or darker."""
    down, right = np.gradient(canvas.terrain_db)
    angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.3)
    edge = np.float32(length) * (np.float32(np.sin(angle)) * down + np.float32(np.cos(angle)) * right)
    canvas.change_db += edge
    canvas.confused |= np.abs(edge) > 0.3


def ice(rng: Rng, canvas: Canvas) -> None:
    """Lakes freeze, thaw, or are roughened by wind between the dates: 4 to 10 dB brighter or darker."""
    water = canvas.cover == WATER
    if rng.random() < 0.5:
        canvas.both_db += water * np.float32(8.0)  # frozen on date 0
        canvas.change_db -= water * np.float32(rng.uniform(4, 8))
    else:
        canvas.change_db += water * np.float32(rng.uniform(4, 10))
    canvas.confused |= water


CONFUSERS: tuple[Confuser, ...] = (field_work, wet_snow_line, old_debris, layover_edges, ice)
"""Everything that makes the task hard."""


@dataclass(frozen=True)
class Settings:
    """What may be chosen of a world.

    Attributes:
        sensor: its VV and VH are simulated, and the pixel spacing is its.
        view: where the beam comes from; None: either pass of Sentinel-1, 32 to 44 degrees.
        wet_share: share of worlds that have wet snow on date 0.
        empty_share: share of worlds in which no avalanche comes down; where no path ends in gentle terrain,
            worlds are empty, too.
        confusers: what else changes; empty: nothing but debris.
    """

    sensor: Sensor = SENSORS["sentinel1"]
    view: View | None = None
    wet_share: float = 0.5
    empty_share: float = 0.08
    confusers: tuple[Confuser, ...] = CONFUSERS


DEFAULTS = Settings()


@dataclass(frozen=True)
class AvalancheWorld:
    """What the radar looks at, and the truth about it; arrays are (rows, columns) unless said otherwise.

    Attributes:
        height: heights in m, without gaps; `valid` is False where the height model had none.
        slope: in degrees.
        cover: (2, rows, columns) land cover of both dates, indices of `COVERS`.
        labels: ids 1, 2, ... of fresh debris; not where shadow hides it.
        contrast_db: VV contrast of each avalanche, by id - 1.
        power: sigma0 without speckle and noise, (4, rows, columns): VV0, VH0, VV1, VH1.
        coherent: amplitudes of huts (2, rows, columns) in VV and VH, the same on both dates.
        confused: what confusers changed.
    """

    height: Array
    valid: Mask
    slope: Array
    view: View
    shadow: Mask
    cover: NDArray[np.uint8]
    labels: Labels
    contrast_db: Array
    power: Array
    coherent: Complex | None
    confused: Mask
    grid: Grid
    dates: tuple[date, date] = field(default=(date(2024, 1, 1), date(2024, 1, 13)))


def avalanche_scene(
    seed: int | Sequence[int], size: int = 256, dem: Scene | None = None, settings: Settings = DEFAULTS
) -> tuple[Scene, Labels]:
    """A pair of radar images with terrain, and the ids of its debris (rows, columns); same seed, same scene.

    The bands are VV0, VV1, VH0, VH1 (sigma0 in dB, dated), DEM (m) and slope (degree). The share of scenes
    without debris is about `empty_share` and some more, one in ten.

    Args:
        seed: an integer, or several.
        size: rows and columns of simulated terrain.
        dem: a height model to use instead, in pixels as large as the sensor's, in metres; no-data stays no-data.
        settings: sensor, view, wetness, confusers.

    Raises:
        GeometryError: the pixels of `dem` are not those of the sensor.
    """
    rng = np.random.default_rng(seed)
    world = avalanche_world(rng, size, dem, settings)
    sensor = settings.sensor.only(*POLARISATIONS)
    decibels = power_to_db(observe(rng, world.power, sensor, world.coherent))[[0, 2, 1, 3]]
    pixels = np.concatenate([decibels, world.height[None], world.slope[None]]).astype(np.float32)
    radar = (Band(f"{name}{i}", "db", "sigma0", world.dates[i]) for name in POLARISATIONS for i in (0, 1))
    bands = (*radar, Band("DEM", "m"), Band("slope", "degree"))
    name = f"avalanche-{seed}" if dem is None else f"avalanche-{dem.name}-{seed}"
    notes = () if dem is None else dem.notes
    return Scene(pixels, bands, world.grid, world.valid, name, "synthetic", notes), world.labels


def avalanche_samples(
    seed: int, count: int, size: int = 256, settings: Settings = DEFAULTS
) -> Iterator[tuple[Scene, Labels]]:
    """`count` scenes one by one; the i-th is that of the seeds (`seed`, i), in whatever order they are made."""
    for index in range(count):
        yield avalanche_scene((seed, index), size, settings=settings)


def avalanche_world(rng: Rng, size: int, dem: Scene | None, settings: Settings) -> AvalancheWorld:
    """Terrain, its land cover, its avalanches and its sigma0 on two dates."""
    height, grid = _ground(rng, size, dem, settings.sensor)
    valid = np.isfinite(height)
    height = height if valid.all() else _without_gaps(height)
    canvas, view = _canvas(rng, height, settings)
    for confuser in settings.confusers:
        if rng.random() < CONFUSER_CHANCE:
            confuser(rng, canvas)
    labels, contrast = _fresh_debris(rng, canvas, valid, settings.sensor.band)
    cover = np.stack([canvas.cover_on(0), canvas.cover_on(1)])
    start = date(2021 + int(rng.integers(4)), 1, 1) + timedelta(days=int(rng.integers(110)))
    return AvalancheWorld(
        height=height,
        valid=valid,
        slope=canvas.slope,
        view=view,
        shadow=canvas.shadow,
        cover=cover,
        labels=labels,
        contrast_db=contrast,
        power=_sigma0(rng, canvas, cover, labels, contrast, settings.sensor.band),
        coherent=_huts(rng, canvas),
        confused=canvas.confused,
        grid=grid,
        dates=(start, start + timedelta(days=int(rng.choice([6, 12])))),
    )


def _ground(rng: Rng, size: int, dem: Scene | None, sensor: Sensor) -> tuple[Array, Grid]:
    """Heights in m (not-a-number where unknown) and their grid."""
    if dem is None:
        x, y = CORNER
        grid = Grid(Affine(sensor.pixel_m, 0, x, 0, -sensor.pixel_m, y), UTM, size, size)
        height = fractal_terrain(rng, size, sensor.pixel_m) + np.float32(rng.uniform(300, 1700))
        if rng.random() < 0.4:
            height = np.maximum(height, np.quantile(height, rng.uniform(0.01, 0.06)))  # a lake
        return height.astype(np.float32), grid
    per_row, per_column = spacing_m(dem.grid)
    if not all(np.allclose(metres, sensor.pixel_m, rtol=0.02) for metres in (per_row, per_column)):
        raise GeometryError(
            f"{dem.name}: pixels are {np.mean(per_row):.4g} x {np.mean(per_column):.4g} m and {sensor.name} has "
            f"{sensor.pixel_m:g} m; warp the height model to such a grid first (sartutor.sar.warp)."
        )
    return heights(dem), dem.grid


def _without_gaps(height: Array) -> Array:
    """Heights with the nearest known one where there is none."""
    nearest = ndimage.distance_transform_edt(
        ~np.isfinite(height), return_distances=False, return_indices=True
    )
    filled: Array = height[tuple(nearest)]
    return filled


def _canvas(rng: Rng, height: Array, settings: Settings) -> tuple[Canvas, View]:
    """The world before confusers and fresh debris, and the view of it."""
    pixel = settings.sensor.pixel_m
    view = settings.view or View.of_pass(
        "ascending" if rng.random() < 0.5 else "descending", rng.uniform(32, 44)
    )
    rise = gradient(height, (pixel, pixel))
    slopes = slope(rise)
    half = _halved(height)
    deposits, track = _avalanches(rng, half, 2 * pixel, height.shape)
    seen = folds(half, 2 * pixel, view)
    incidence, bright = _exposure(rise, _doubled(seen.area, height.shape), view)
    canvas = Canvas(
        height=height,
        slope=slopes,
        incidence=incidence,
        terrain_db=power_to_db(bright),
        shadow=_doubled(seen.shadow, height.shape),
        cover=_land_cover(rng, height, slopes, track),
        snow_line_m=_level(height, rng.uniform(-0.6, 0.3)),
        wet_line_m=[],
        both_db=np.zeros(height.shape, np.float32),
        change_db=np.zeros(height.shape, np.float32),
        deposits=np.where(_lake(height, slopes), 0, deposits).astype(np.uint16),
        fresh=np.zeros(0, np.intp),
        confused=np.zeros(height.shape, bool),
    )
    line = _level(height, rng.uniform(0.1, 1.1)) if rng.random() < settings.wet_share else -np.inf
    wobble = np.float32(0.04 * np.ptp(height)) * _field(rng, height.shape, 3.0, 8)
    canvas.wet_line_m = [np.float32(line) + wobble] * 2
    canvas.fresh = _choose_fresh(rng, canvas.deposits, settings.empty_share)
    canvas.both_db += _natural_spread(rng, canvas.cover, settings.sensor.band)
    canvas.both_db += _texture_db(rng, canvas.cover, pixel)
    return canvas, view


def _exposure(rise: Array, area: Array, view: View) -> tuple[Array, Array]:
    """Angle in degrees at which ground scatters, and the factor by which terrain changes its sigma0.

    Both are those of the slope, but in layover, where `area` is known, those of all ground that shares a cell: a
    mixture of slopes, whose gamma0 is taken to be that of flat ground.
    """
    azimuth = np.deg2rad(view.look_azimuth_deg)
    sine, cosine = np.float32(np.sin(azimuth)), np.float32(np.cos(azimuth))
    east, north = rise
    alone = terrain_brightness(east * sine + north * cosine, east * cosine - north * sine, view.incidence_deg)
    folded = np.isfinite(area)
    angle = np.where(folded, np.float32(view.incidence_deg), local_incidence(rise, view))
    return angle, np.where(folded, np.maximum(area, np.float32(LEAST_AREA)), alone)


def _avalanches(rng: Rng, half: Array, pixel_m: float, shape: tuple[int, ...]) -> tuple[Labels, Mask]:
    """Deposits of all avalanche paths and where their tracks keep trees away, both at full size.

    Snow evens the terrain out before an avalanche runs over it (Veitinger et al. 2016), hence the smoothing.
    """
    smooth = ndimage.gaussian_filter(half, 1.0, mode="nearest")
    count = max(2, round(CANDIDATES * half.size / 128**2))
    release = flow.release_areas(smooth, pixel_m, rng, count)
    beta = flow.beta_angle(smooth, pixel_m, release)
    alpha = flow.runout_angle(beta) + rng.uniform(*EARLY_STOP_DEGREE, len(beta))
    run = flow.flow(smooth, pixel_m, release, np.maximum(alpha, LEAST_ALPHA_DEGREE))
    deposits = flow.debris(smooth, pixel_m, run, LEAST_DEBRIS_M2)
    track = (run.flux >= flow.TRACK_SHARE).any(axis=0) | (deposits > 0)
    return _roughened(rng, deposits, shape), _doubled(track, shape)


def _roughened(rng: Rng, labels: Labels, shape: tuple[int, ...]) -> Labels:
    """Labels at twice the size; outlines wander by about a pixel, as snow does and squares do not."""
    rows, cols = shape
    index = []
    for axis, line in enumerate(np.ogrid[:rows, :cols]):
        place = line.astype(np.float32) + np.float32(0.9) * grain(rng, max(shape))[:rows, :cols]
        index.append(np.clip(place / 2, 0, labels.shape[axis] - 1, out=place).astype(np.intp))
    return labels[tuple(index)]


def _choose_fresh(rng: Rng, deposits: Labels, empty_share: float) -> NDArray[np.intp]:
    """Ids of the avalanches that come down between the dates: 3 of 5, at least one unless the scene is empty."""
    ids = _numbers(deposits)
    if not len(ids) or rng.random() < empty_share:
        return np.zeros(0, np.intp)
    return np.sort(rng.permutation(ids)[: max(1, rng.binomial(len(ids), 0.6))])


def _numbers(labels: Labels) -> NDArray[np.intp]:
    """The ids that occur, ascending, without 0."""
    counts = np.bincount(labels.ravel())
    return np.flatnonzero(counts[1:]) + 1


def _land_cover(rng: Rng, height: Array, slopes: Array, track: Mask) -> NDArray[np.uint8]:
    """Forest below a tree line in patches, rock where it is steep, fields and a road in valleys, lakes, else grass."""
    patches = _field(rng, height.shape, 2.5, 4)
    tree_line = (
        np.float32(_level(height, rng.uniform(0.1, 0.7))) + np.float32(0.05 * np.ptp(height)) * patches
    )
    cover = np.full(height.shape, GRASS, np.uint8)
    cover[(height < tree_line) & (patches > -0.3) & (slopes < 50)] = FOREST
    cover[slopes > 47 + 4 * patches] = ROCK
    low = height < _level(height, rng.uniform(0.15, 0.4))
    cover[low & (slopes < 10)] = FIELD
    road = height > _level(height, rng.uniform(0.08, 0.25))
    edge = (road ^ np.roll(road, 1, axis=0)) | (road ^ np.roll(road, 1, axis=1))
    cover[edge & (slopes < 35)] = ROAD
    cover[track] = GRASS
    cover[_lake(height, slopes)] = WATER
    return cover


def _lake(height: Array, slopes: Array) -> Mask:
    """Water: the lowest ground where it is quite level."""
    water: Mask = (slopes < 0.1) & (height <= height.min() + 1)
    return water


def _level(height: Array, share: float) -> float:
    """Height at a share of the way from the lowest to the highest point."""
    low, high = float(height.min()), float(height.max())
    return low + share * (high - low)


def _natural_spread(rng: Rng, cover: NDArray[np.uint8], band: RadarBand) -> Array:
    """Differences between places of one cover in dB, the same on both dates."""
    spread = np.array([spread_db(name, band, "VV") for name in COVERS], np.float32)
    return spread[cover] * _field(rng, cover.shape, 2.0, 4)


def _texture_db(rng: Rng, cover: NDArray[np.uint8], pixel_m: float) -> Array:
    """Texture of trees and rocks in dB, the same on both dates: under speckle their power is K-distributed.

    Rocks have the order and correlation length of forest.
    """
    rows, cols = cover.shape
    coarse = (rows + 1) // 2, (cols + 1) // 2
    grains = texture(rng, coarse, FOREST_ORDER, max(FOREST_CORRELATION_M / (2 * pixel_m), 1))
    rough = (cover == FOREST) | (cover == ROCK)
    return rough * _doubled(power_to_db(grains), cover.shape)


@lru_cache(maxsize=8)
def contrast_scale(band: RadarBand) -> float:
    """By how much debris in dry snow stands out in a radar band, as a share of its contrast in dB at C-band."""
    here, there = (mean_db("debris", b, "VV") - mean_db("dry_snow", b, "VV") for b in (band, "C"))
    return float(here / there)


def _fresh_debris(rng: Rng, canvas: Canvas, valid: Mask, band: RadarBand) -> tuple[Labels, Array]:
    """Fresh deposits that a radar can see, as ids 1, 2, ..., and the VV contrast of each in dB."""
    seen = np.isin(canvas.deposits, canvas.fresh) & valid & ~canvas.shadow
    labels = np.zeros(seen.shape, np.uint16)
    _, ids = np.unique(canvas.deposits[seen], return_inverse=True)
    labels[seen] = ids + 1
    wet = canvas.height < canvas.wet_line_m[1]
    count = np.bincount(ids)
    mostly_wet = np.bincount(ids, wet[seen]) > count / 2
    dry_db, wet_db = (rng.uniform(*limits, len(count)) for limits in (DRY_CONTRAST_DB, WET_CONTRAST_DB))
    contrast = contrast_scale(band) * np.where(mostly_wet, wet_db, dry_db)
    return labels, contrast.astype(np.float32)


def _sigma0(
    rng: Rng, canvas: Canvas, cover: NDArray[np.uint8], labels: Labels, contrast_db: Array, band: RadarBand
) -> Array:
    """Sigma0 without speckle (4, rows, columns), VV0, VH0, VV1, VH1; 0 in shadow."""
    rows, cols = labels.shape
    debris = np.append(np.float32(0), contrast_db)[labels]
    debris += (labels > 0) * np.float32(DEBRIS_TEXTURE_DB) * grain(rng, max(rows, cols))[:rows, :cols]
    steady = db_to_power(canvas.both_db + canvas.terrain_db)
    steady[canvas.shadow] = 0
    angle = np.clip(np.round(4 * canvas.incidence), 0, 360).astype(np.intp)
    power = np.empty((4, rows, cols), np.float32)
    for layer, (when, polarisation) in zip(power, product((0, 1), POLARISATIONS), strict=True):
        table = _table(band, polarisation)
        np.multiply(table.take(cover[when] * np.intp(table.shape[1]) + angle), steady, out=layer)
        if when == 1:
            share = 1.0 if polarisation == "VV" else rng.uniform(*VH_SHARE)
            layer *= db_to_power(canvas.change_db + np.float32(share) * debris)
    return power


@lru_cache(maxsize=8)
def _table(band: RadarBand, polarisation: str) -> Array:
    """Mean sigma0 (power) of `COVERS` (rows) at 0, 1/4, 2/4, ... 90 degrees of local incidence (columns)."""
    degrees = np.arange(361) / 4
    return db_to_power(np.stack([mean_db(cover, band, polarisation, degrees) for cover in COVERS]))


def _huts(rng: Rng, canvas: Canvas) -> Complex | None:
    """Point targets in the valleys of one world in three, with amplitudes that do not change between the dates."""
    ground = np.flatnonzero((canvas.slope < 15) & ~canvas.shadow & np.isin(canvas.cover, (GRASS, FIELD)))
    if not ground.size or rng.random() < 2 / 3:
        return None
    places = rng.choice(ground, int(rng.integers(1, 12)))
    strength = rng.uniform(3, 13, len(places))
    phase = np.exp(2j * np.pi * rng.random((2, len(places))))
    amplitude = np.sqrt(db_to_power(np.stack([strength, strength - 8]))) * phase
    coherent = np.zeros((2, canvas.height.size), np.complex64)
    coherent[:, places] = amplitude
    return coherent.reshape(2, *canvas.height.shape)


def _field(rng: Rng, shape: tuple[int, ...], slope_: float, coarse: int) -> Array:
    """`smooth_field` cut to a shape."""
    return smooth_field(rng, max(shape), slope_, coarse)[: shape[0], : shape[1]]


def _halved(height: Array) -> Array:
    """Means over 2 x 2 pixels; an odd last row or column counts twice."""
    even = np.pad(height, [(0, length % 2) for length in height.shape], mode="edge")
    rows, cols = even.shape
    means: Array = even.reshape(rows // 2, 2, cols // 2, 2).mean(axis=(1, 3))
    return means


def _doubled(raster: NDArray[Value], shape: tuple[int, ...]) -> NDArray[Value]:
    """Every pixel as 2 x 2 pixels, cut to `shape`."""
    return raster.repeat(2, axis=0).repeat(2, axis=1)[: shape[0], : shape[1]]
