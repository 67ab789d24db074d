"""Scores of a prompted model on the objects of a labelled scene, beside its baselines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from shapely.geometry import Polygon, box

from sartutor.learn.sam.baselines import Mask, fill_box, iou, otsu_box
from sartutor.learn.sam.inputs import Box
from sartutor.learn.sam.predictor import Predictor
from sartutor.learn.sam.prompts import tight_box
from sartutor.sar.footprint import apply_affine
from sartutor.sar.scene import Grid, Scene

LOOSE_PX = 10.0
"""Evaluation boxes are this much larger on every side, in pixels of a 512-px chip (arXiv 2601.01213, released code)."""


@dataclass(frozen=True)
class ObjectScore:
    """IoU of one object with its label, both cut to the object's own tight box."""

    box: Box
    pixels: int
    model: float
    fill_box: float
    otsu_box: float


def connected_objects(mask: Mask, least_pixels: int = 50) -> list[Mask]:
    """Connected parts (8 neighbours) of a mask of at least `least_pixels`, largest first."""
    parts, _ = ndimage.label(mask, np.ones((3, 3)))
    sizes = np.bincount(parts.ravel())[1:]
    order = [index for index in np.argsort(sizes)[::-1] if sizes[index] >= least_pixels]
    return [parts == index + 1 for index in order]


def loose_box(tight: Box, shape: tuple[int, int]) -> Box:
    """A tight box loosened by `LOOSE_PX`, scaled to the scene, and clipped to it."""
    push = LOOSE_PX * min(*shape, 512) / 512
    return (
        max(tight[0] - push, 0.0),
        max(tight[1] - push, 0.0),
        min(tight[2] + push, float(shape[1])),
        min(tight[3] + push, float(shape[0])),
    )


def pixel_polygon(pixels: Box, grid: Grid) -> Polygon:
    """The polygon, in coordinates of the grid, of a box in pixels."""
    corners = np.asarray(box(*pixels).exterior.coords, float)[:-1]
    return Polygon(apply_affine(grid.transform, corners))


def score_objects(predictor: Predictor, scene: Scene, truth: Mask, objects: list[Mask]) -> list[ObjectScore]:
    """Prompt every object with its loosened box and compare the masks with the label `truth` (rows, columns)."""
    return [_score(predictor, scene, truth, tight_box(part), int(part.sum())) for part in objects]


def _score(predictor: Predictor, scene: Scene, truth: Mask, tight: Box, pixels: int) -> ObjectScore:
    prompt = loose_box(tight, scene.grid.shape)
    segment = predictor.segment(pixel_polygon(prompt, scene.grid))
    mask = np.zeros(scene.grid.shape, bool)
    mask[segment.window.toslices()] = segment.mask
    own = fill_box(scene.grid.shape, tight) & scene.valid
    values: NDArray[np.floating] = np.asarray(scene.pixels[0], np.float32)
    otsu = otsu_box(values, scene.valid, prompt)
    filled = fill_box(scene.grid.shape, prompt)
    return ObjectScore(prompt, pixels, *(iou(guess & own, truth & own) for guess in (mask, filled, otsu)))
