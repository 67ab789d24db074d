"""Folders of simulated scenes and sizes of adaptation that are small enough for tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from affine import Affine

from sartutor.presets import ADAPT_RECIPES, AdaptPhase, AdaptRecipe
from sartutor.sar.folder import Dataset, DatasetWriter, Description, Entry
from sartutor.sar.scene import Band, Grid, Scene
from sartutor.sim import shapes

SIDE = 96
SIDES = (20, 60)
"""Of objects."""
SIX = ("VV0", "VV1", "VH0", "VH1", "DEM", "slope")
UNITS = {"DEM": "m", "slope": "degree"}


def recipe(steps: int = 2, batch: int = 2, **more: object) -> AdaptRecipe:
    """A recipe of three phases alike."""
    phase = AdaptPhase(steps, 1e-3, steps, 2)
    sizes = {"phases": (phase,) * 3, "batch": batch, "validation": 2, "save_every": 1, **more}
    return replace(ADAPT_RECIPES["smoke"], **sizes)  # type: ignore[arg-type]


def write_folder(
    folder: Path, bands: tuple[str, ...] = SIX, units: str = "db", splits: str = "train train val test"
) -> Dataset:
    """Drawn shapes in as many bands as asked for, each with its own speckle, one scene a word of `splits`."""
    primary, secondary = (bands[:3], bands[3:]) if bands != SIX else (SIX[:2] + SIX[4:5], SIX[2:4] + SIX[5:])
    described = {
        "bands": [{"name": name, "units": UNITS.get(name, units)} for name in bands],
        "labels": {"background": [0], "object": [1, 255]},
        "primary": list(primary),
    }
    if secondary:
        described["secondary"] = list(secondary)
    writer = DatasetWriter(folder, Description.model_validate(described))
    names = splits.split()
    for index in range(len(names)):
        scene, mask = drawn(index, bands, units)
        writer.write(str(index), scene, mask)
    return writer.finish(Entry(str(i), split, str(i)) for i, split in enumerate(names))


def drawn(seed: int, bands: tuple[str, ...], units: str = "db") -> tuple[Scene, np.ndarray]:
    """A scene of bright shapes, and its mask of 0 and 255."""
    rng = np.random.default_rng(seed)
    labels = shapes.draw(rng, SIDE, 1, "blob", sides=SIDES, contrast_db=(6, 10)).labels > 0
    level = -15 + 8 * labels
    pixels = np.stack([level + rng.normal(0, 1.5, labels.shape) for _ in bands]).astype(np.float32)
    if units == "1":
        pixels = np.clip((pixels + 25) * 10, 0, 255).astype(np.uint8).astype(np.float32)
    if units == "power":
        pixels = (10 ** (pixels / 10)).astype(np.float32)
    grid = Grid(Affine(10, 0, 600_000, 0, -10, 5_200_000), None, SIDE, SIDE)
    described = tuple(Band(name, UNITS.get(name, units)) for name in bands)  # type: ignore[arg-type]
    return Scene(pixels, described, grid, np.ones(labels.shape, bool)), np.where(labels, 255, 0)
