"""The scene of the browser tests on four kinds of grids."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
from affine import Affine
from rasterio.crs import CRS
from rasterio.windows import Window

from sartutor.lab.annotator.annotation import Annotation
from sartutor.lab.annotator.imports import from_mask
from sartutor.sar.scene import Band, Grid, Readable, Scene

SIDE = 200
GRIDS = {
    "utm": Grid(Affine(10, 0, 600_000, 0, -10, 5_200_000), CRS.from_epsg(32632), SIDE, SIDE),
    "degrees": Grid(Affine(1.3e-4, 0, 10.3, 0, -0.9e-4, 46.95), CRS.from_epsg(4326), SIDE, SIDE),
    "lambert": Grid(Affine(10, 0, 300_000, 0, -10, 400_000), CRS.from_epsg(31287), SIDE, SIDE),
    "rotated": Grid(
        Affine(10, 0, 600_000, 0, -10, 5_200_000) @ Affine.rotation(25), CRS.from_epsg(32632), SIDE, SIDE
    ),
}


@cache
def scene(name: str) -> Scene:
    """Speckled ground of two dates with bright discs at the second, on the grid of that name."""
    rng = np.random.default_rng(0)
    rows, cols = np.mgrid[:SIDE, :SIDE]
    power = np.full((2, SIDE, SIDE), 0.05)
    for row, col, radius in ((100, 100, 14), (60, 140, 9), (150, 50, 20)):
        power[1][np.hypot(rows - row, cols - col) < radius] *= 8
    speckled = power * rng.gamma(8, 1 / 8, power.shape)
    bands = (Band("VV0", "db", "sigma0"), Band("VV1", "db", "sigma0"))
    pixels = (10 * np.log10(speckled)).astype(np.float32)
    grid = replace(GRIDS[name])
    return Scene(pixels, bands, grid, np.ones((SIDE, SIDE), bool), name)


def disc(scene: Readable) -> Annotation:
    """The largest bright disc, as somebody marked it."""
    rows, cols = np.mgrid[:SIDE, :SIDE]
    window = Window(28, 128, 44, 44)
    inside = (np.hypot(rows - 150, cols - 50) < 20)[window.toslices()]
    return from_mask(inside, window, scene.grid, "manual")


LARGE, BRIGHT = 2600, (1300, 1400, 1312, 1424)
"""Side of a large scene, and left, top, right and bottom of the bright rectangle in it, in pixels."""


def large() -> Scene:
    """A scene whose picture is coarser than its pixels: speckled ground and one small bright rectangle."""
    rng = np.random.default_rng(0)
    pixels = rng.normal(-20, 1, (1, LARGE, LARGE)).astype(np.float32)
    left, top, right, bottom = BRIGHT
    pixels[0, top:bottom, left:right] = 0
    grid = replace(GRIDS["utm"], height=LARGE, width=LARGE)
    return Scene(pixels, (Band("VV", "db", "sigma0"),), grid, np.ones(grid.shape, bool), "large")
