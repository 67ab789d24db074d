"""Drawn shapes under speckle: the scenes on which the tiny promptable model learns what "inside the box" means.

A scene is a cluttered background (patches, fractal texture, a slope of brightness), some target objects of one
family that are brighter or darker than it, distractors, and multiplicative gamma speckle, all in power. It is no
simulation of a landscape; it teaches figure and ground at any contrast, size and number of looks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.features import rasterize
from rasterio.transform import from_origin
from rasterio.warp import transform
from scipy import fft, ndimage
from shapely import affinity
from shapely.geometry import LineString, Point, Polygon
from shapely.geometry.base import BaseGeometry

from sartutor.sar.scene import Band, Grid, Scene

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]
Rng = np.random.Generator


def fractal_field(rng: Rng, size: int, slope: float) -> Array:
    """Gaussian random field (size, size) with amplitude spectrum k^(-slope/2), mean 0, standard deviation 1."""
    spectrum = fft.rfft2(rng.standard_normal((size, size), dtype=np.float32)) * _amplitudes(size, slope)
    field = fft.irfft2(spectrum, s=(size, size))
    return ((field - field.mean()) / field.std()).astype(np.float32)


@lru_cache(maxsize=16)
def _amplitudes(size: int, slope: float) -> Array:
    """Amplitude k^(-slope/2) of each wave of a real Fourier transform, 0 for the mean."""
    k = np.hypot(fft.fftfreq(size)[:, None], fft.rfftfreq(size)[None, :]).astype(np.float32)
    k[0, 0] = np.inf
    amplitudes: Array = k ** (-slope / 2)
    return amplitudes


def parcels(rng: Rng, size: int, width: float) -> Array:
    """A patchwork of fields (size, size): slanted cells about `width` px wide, each of a random level N(0, 1)."""
    angle, stretch = rng.uniform(0, np.pi), rng.uniform(1, 3)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    across = np.floor((x * np.cos(angle) + y * np.sin(angle)) / max(width, 2)).astype(np.int64)
    along = np.floor(
        (y * np.cos(angle) - x * np.sin(angle)) / max(stretch * width, 2) + 0.37 * across
    ).astype(np.int64)
    levels = rng.standard_normal(1021, dtype=np.float32)
    return levels[(across * 331 + along * 577) % len(levels)]


def _wobble(rng: Rng, radius: float, roughness: float, points: int = 64) -> Polygon:
    """Star-shaped outline: radius modulated by five random harmonics."""
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    order = np.arange(1, 6)
    waves = np.cos(np.outer(order, angle) + rng.uniform(0, 2 * np.pi, 5)[:, None])
    r = radius * np.exp(roughness * (rng.normal(0, 1, 5) / order) @ waves)
    return Polygon(np.c_[r * np.cos(angle), r * np.sin(angle)])


def _curve(rng: Rng, length: float, bend: float) -> LineString:
    """A smooth wandering line, centred."""
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, bend, 16))
    steps = np.c_[np.cos(heading), np.sin(heading)] * length / 16
    path = np.cumsum(steps, axis=0)
    return LineString(path - path.mean(axis=0))


def _blob(rng: Rng, side: float) -> BaseGeometry:
    shape = affinity.scale(_wobble(rng, side / 2, rng.uniform(0.05, 0.4)), 1, rng.uniform(0.35, 1))
    return affinity.rotate(shape, rng.uniform(0, 180))


def _polygon(rng: Rng, side: float) -> BaseGeometry:
    corners = int(rng.integers(3, 8))
    angle = np.sort(rng.uniform(0, 2 * np.pi, corners))
    shape = Polygon(np.c_[np.cos(angle), np.sin(angle)] * side / 2).buffer(0)
    box = shapely.box(-side / 2, -side * rng.uniform(0.15, 0.5), side / 2, side * rng.uniform(0.15, 0.5))
    return affinity.rotate(box if rng.random() < 0.5 else shape, rng.uniform(0, 180))


def _ribbon(rng: Rng, side: float) -> BaseGeometry:
    return _curve(rng, 1.4 * side, 0.35).buffer(max(side * rng.uniform(0.03, 0.1), 1.2))


def _tongue(rng: Rng, side: float) -> BaseGeometry:
    spine = _curve(rng, side, 0.15)
    stops = np.linspace(0, 1, 10)
    width = side * rng.uniform(0.05, 0.2) * (0.3 + np.sin(np.pi * stops ** rng.uniform(0.6, 3)))
    return shapely.union_all(
        [Point(spine.interpolate(t, normalized=True)).buffer(w) for t, w in zip(stops, width, strict=True)]
    )


def _ring(rng: Rng, side: float) -> BaseGeometry:
    outer = _wobble(rng, side / 2, 0.15)
    hole = affinity.translate(affinity.scale(outer, *rng.uniform(0.3, 0.7, 2)), *rng.normal(0, side / 20, 2))
    return outer.difference(hole.buffer(0))


_OUTLINES: dict[str, Callable[[Rng, float], BaseGeometry]] = {
    "blob": _blob,
    "polygon": _polygon,
    "ribbon": _ribbon,
    "fractal": _blob,
    "tongue": _tongue,
    "ring": _ring,
    "parcels": _blob,
}
FAMILIES: tuple[str, ...] = tuple(_OUTLINES)


def _stamp(outline: BaseGeometry, size: int) -> Mask:
    """Pixels (size, size) whose centre lies inside the outline."""
    if outline.is_empty:
        return np.zeros((size, size), bool)
    return rasterize([(outline, 1)], (size, size), transform=Affine.identity(), dtype="uint8").astype(bool)


def draw_object(rng: Rng, family: str, side: float, center: tuple[float, float], size: int) -> Mask:
    """One object of `family`, about `side` px wide around `center` (x, y), on a (size, size) canvas."""
    outline = affinity.translate(_OUTLINES[family](rng, side), *center)
    mask = _stamp(outline, size)
    if mask.any() and family in ("fractal", "parcels"):
        rough = family == "fractal"
        field = (
            fractal_field(rng, size, rng.uniform(2.2, 3.2))
            if rough
            else parcels(rng, size, side * rng.uniform(0.1, 0.3))
        )
        mask &= field > np.quantile(field[mask], rng.uniform(0.2, 0.55))
    return mask


def place_objects(
    rng: Rng, size: int, family: str, count: int, sides: tuple[float, float]
) -> NDArray[np.uint16]:
    """Object ids (size, size), 0 = none; up to `count` objects that do not touch, sides log-uniform in `sides` px."""
    labels = np.zeros((size, size), np.uint16)
    near = np.zeros((size, size), bool)
    for _ in range(count):
        side = float(np.exp(rng.uniform(*np.log(sides))))
        center = rng.uniform(0, size, 2)
        mask = draw_object(rng, family, side, (center[0], center[1]), size)
        if mask.sum() >= 12 and not near[mask].any():
            labels[mask] = labels.max() + 1
            near |= ndimage.binary_dilation(mask, iterations=2)
    return labels


def _background_db(rng: Rng, size: int) -> Array:
    """Clutter in dB around 0: patches of four levels, often fields, fractal texture and a linear trend."""
    edges = np.sort(rng.normal(0, 1, 3))
    patches = np.digitize(fractal_field(rng, size, rng.uniform(2.5, 4)), edges)
    levels = rng.normal(0, rng.choice([0.3, 1.0, 2.0]), 4)
    y, x = np.mgrid[:size, :size] / size - 0.5
    trend = rng.normal(0, 1) * x + rng.normal(0, 1) * y
    clutter = levels[patches] + trend + rng.uniform(0, 1.5) * fractal_field(rng, size, rng.uniform(1, 2.5))
    if rng.random() < 0.4:
        clutter = clutter + rng.uniform(0.3, 2) * parcels(
            rng, size, np.exp(rng.uniform(np.log(5), np.log(50)))
        )
    return clutter.astype(np.float32)


def _distractors_db(rng: Rng, size: int) -> Array:
    """What is not the target: shapes of all families at other contrasts, and bright points, alone or as towns."""
    layer = np.zeros((size, size), np.float32)
    for _ in range(int(rng.integers(0, 8))):
        side = float(np.exp(rng.uniform(np.log(8), np.log(size / 3))))
        center = rng.uniform(0, size, 2)
        outline = affinity.translate(_OUTLINES[str(rng.choice(FAMILIES))](rng, side), *center)
        layer[_stamp(outline, size)] += rng.normal(0, 3)
    houses = int(rng.integers(20, 120)) if rng.random() < 0.5 else 0
    town = rng.normal(rng.uniform(0, size, 2), size * rng.uniform(0.02, 0.15), (houses, 2))
    points = np.concatenate([rng.uniform(0, size, (int(rng.integers(0, 12)), 2)), town])
    for row, col in points[(points >= 0).all(1) & (points < size).all(1)].astype(int):
        layer[row : row + 2, col : col + 2] += rng.uniform(3, 15)
    return layer


def speckle(rng: Rng, shape: tuple[int, ...], looks: float) -> Array:
    """Gamma multiplicative noise of fully developed speckle: mean 1, variance 1/looks, independent between pixels."""
    return rng.standard_gamma(looks, shape, dtype=np.float32) / np.float32(looks)


def observe(rng: Rng, power: Array, looks: float, blur: float) -> Array:
    """`power` (bands, size, size) under speckle, then averaged over neighbours, as multilooking and resampling do.

    A Gaussian of standard deviation `blur` px averages in power: neighbours share speckle, and the edge of a dark
    object is brightened by its surroundings. `looks` is nominal: the speckle before the average has
    looks / (1 + 4 pi blur^2) looks, at least 1, a divisor made for a wide Gaussian. Over blurs of 0.4 to 1.2 px an
    even area ends at 1.4 to 18 looks for 1 to 16 nominal ones. A sensor's own point-spread function acts on the
    complex field instead, which correlates speckle without averaging it.
    """
    before = max(1.0, looks / (1 + 4 * np.pi * blur**2))
    noisy = power * speckle(rng, power.shape, before)
    return ndimage.gaussian_filter(noisy, (0, blur, blur)) if blur else noisy


@dataclass(frozen=True)
class Drawing:
    """Backscatter `power` (bands, size, size) under speckle of nominally `looks` looks, and object ids (size, size)."""

    power: Array
    labels: NDArray[np.uint16]
    family: str
    contrast_db: float
    looks: float


def _contrast_layer(rng: Rng, labels: NDArray[np.uint16], contrast: float) -> Array:
    """Contrast in dB on the objects: each a little different, and patchy, down to parts that hardly show.

    Real objects are uneven (wind on water, reeds, wet and dry snow), and their labels cover what does not show.
    """
    each = contrast * rng.uniform(0.7, 1.3, int(labels.max()) + 1).astype(np.float32)
    each[0] = 0
    patchy = rng.uniform(0, 0.2) if rng.random() < 0.4 else rng.uniform(0.2, 0.8)
    field = fractal_field(rng, labels.shape[0], rng.uniform(1.5, 3))
    return each[labels] * np.clip(1 + patchy * field, 0.1, 1.6)


def draw(
    rng: Rng,
    size: int = 384,
    bands: int = 2,
    family: str | None = None,
    sides: tuple[float, float] = (8, 240),
    contrast_db: tuple[float, float] = (2.5, 11),
    looks: tuple[float, float] = (1, 16),
) -> Drawing:
    """Draw one scene; everything not given is random. Contrast is of either sign, looks are log-uniform."""
    family = family or str(rng.choice(FAMILIES))
    labels = place_objects(rng, size, family, int(np.exp(rng.uniform(np.log(3), np.log(30)))), sides)
    contrast = float(rng.choice([-1, 1]) * rng.uniform(*contrast_db))
    n_looks = float(np.exp(rng.uniform(*np.log(looks))))
    shared = _background_db(rng, size)
    clutter = _distractors_db(rng, size)
    target = _contrast_layer(rng, labels, contrast)
    layers = []
    for band in range(bands):
        strength = 1.0 if band == 0 else rng.uniform(0.3, 1.2)
        own = shared if band == 0 else 0.6 * shared + 0.4 * _background_db(rng, size)
        layers.append(np.where(labels > 0, 0.5, 1) * (own + clutter) + strength * target)
    backscatter = 10 ** (np.stack(layers) / 10) + 10 ** (rng.uniform(-25, -8) / 10)
    blur = float(rng.choice([0.0, rng.uniform(0.4, 1.2)], p=[0.3, 0.7]))
    power = observe(rng, backscatter.astype(np.float32), n_looks, blur)
    return Drawing(power, labels, family, contrast, n_looks)


def family_scene(seed: tuple[int, ...], family: str, size: int = 512) -> tuple[Scene, NDArray[np.uint16]]:
    """An unreferenced scene in dB of one family at the training's full range of contrast and looks, for testing."""
    rng = np.random.default_rng(seed)
    drawing = draw(rng, size, int(rng.integers(1, 4)), family, sides=(10, 160))
    return _in_decibels(
        drawing, None, tuple(f"B{i + 1}" for i in range(len(drawing.power))), f"{family}-{seed}"
    )


def scene(
    seed: int,
    bands: tuple[str, ...] = ("VV", "VH"),
    crs: str | None = "EPSG:32632",
    size: int = 512,
) -> tuple[Scene, NDArray[np.uint16]]:
    """A georeferenced sigma0 scene in dB (10 m pixels where `crs` is in metres) and its object ids (rows, columns).

    The same seed gives the same scene. `crs=None` gives one without georeference, a geographic `crs` one in degrees.
    """
    drawing = draw(
        np.random.default_rng(seed), size, len(bands), sides=(12, size / 3), contrast_db=(5, 10), looks=(3, 6)
    )
    return _in_decibels(drawing, crs, bands, f"shapes-{seed}")


def _in_decibels(
    drawing: Drawing, crs: str | None, bands: tuple[str, ...], name: str
) -> tuple[Scene, NDArray[np.uint16]]:
    """A drawing as sigma0 scene: the first band around -10 dB, every further one 7 dB lower."""
    level = np.array([-10.0 - 7.0 * i for i in range(len(bands))], np.float32)[:, None, None]
    decibel = 10 * np.log10(np.maximum(drawing.power, 1e-6)) + level
    described = tuple(Band(band, "db", "sigma0") for band in bands)
    rows, cols = drawing.labels.shape
    grid = Grid(_placement(crs), CRS.from_user_input(crs) if crs else None, rows, cols)
    valid = np.ones(grid.shape, bool)
    return Scene(decibel.astype(np.float32), described, grid, valid, name, "synthetic"), drawing.labels


def _placement(crs: str | None) -> Affine:
    """10 m pixels (1e-4 degrees where `crs` is geographic) with the upper left corner at 11.4 E, 47.2 N (Alps)."""
    if crs is None:
        return Affine.identity()
    target = CRS.from_user_input(crs)
    (x,), (y,) = transform(CRS.from_epsg(4326), target, [11.4], [47.2])
    return (
        from_origin(x, y, 1e-4, 1e-4)
        if target.is_geographic
        else from_origin(round(x, -1), round(y, -1), 10, 10)
    )
