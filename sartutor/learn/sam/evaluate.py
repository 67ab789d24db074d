"""Scores of a prompted model on single objects of a labelled scene, each asked for alone, beside its baselines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from shapely.geometry import Polygon, box

from sartutor.learn.sam.baselines import otsu_box
from sartutor.learn.sam.predictor import Predictor
from sartutor.learn.scores import box_counts
from sartutor.sar.boxes import Box, Mask, fill_box, loose_box, tight_box
from sartutor.sar.footprint import apply_affine
from sartutor.sar.scene import Grid, Scene


@dataclass(frozen=True)
class ComparedObject:
    """IoU of one object with its label by three ways, all cut to the object's own tight box; `box` is the prompt."""

    box: Box
    pixels: int
    model: float
    fill_box: float
    otsu_box: float


def pixel_polygon(pixels: Box, grid: Grid) -> Polygon:
    """The polygon, in coordinates of the grid, of a box in pixels."""
    corners = np.asarray(box(*pixels).exterior.coords, float)[:-1]
    return Polygon(apply_affine(grid.transform, corners))


def score_objects(
    predictor: Predictor, scene: Scene, truth: Mask, objects: list[Mask]
) -> list[ComparedObject]:
    """Prompt every object with its loosened box and compare the masks with the label `truth` (rows, columns)."""
    return [_score(predictor, scene, truth, tight_box(part), int(part.sum())) for part in objects]


def _score(predictor: Predictor, scene: Scene, truth: Mask, tight: Box, pixels: int) -> ComparedObject:
    prompt = loose_box(tight, scene.grid.shape)
    segment = predictor.segment(pixel_polygon(prompt, scene.grid))
    mask = np.zeros(scene.grid.shape, bool)
    mask[segment.window.toslices()] = segment.mask
    values: NDArray[np.floating] = np.asarray(scene.pixels[0], np.float32)
    answers = mask, fill_box(scene.grid.shape, prompt), otsu_box(values, scene.valid, prompt)
    scores = (box_counts(answer, truth, scene.valid, tight).iou for answer in answers)
    return ComparedObject(prompt, pixels, *scores)
