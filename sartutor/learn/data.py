"""Data sets for training: item i of a seed is always the same, so a run resumes without sampler state."""

from __future__ import annotations

import numpy as np
import torch
from affine import Affine
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.utils.data import Dataset

from sartutor.learn.sam.contrast import box_mask
from sartutor.learn.sam.inputs import model_image, prompt_window
from sartutor.learn.sam.prompts import MAX_POINTS, corrective_points, loosen, random_box
from sartutor.sar.boxes import Box, tight_box
from sartutor.sar.scene import Band, Grid, Scene
from sartutor.sim import shapes

Batch = dict[str, Tensor]
_SCENE_SIDE = 320


class ShapeWindows(Dataset[Batch]):
    """Prompted windows from drawn scenes; item i holds `windows` windows of scene i.

    Fields, n = windows, S = model side: image (n, 3, S, S) float16, box (n, 4), points (n, 2, 3) and target (n, S, S)
    bool in pixels of the model input.
    """

    def __init__(self, seed: int, scenes: int, windows: int, side: int) -> None:
        self.seed, self.scenes, self.windows, self.side = seed, scenes, windows, side

    def __len__(self) -> int:
        return self.scenes

    def __getitem__(self, index: int) -> Batch:
        rng = np.random.default_rng((self.seed, index))
        scene, labels = training_scene(rng)
        samples = [self._window(rng, scene, labels) for _ in range(self.windows)]
        return {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}

    def _window(self, rng: np.random.Generator, scene: Scene, labels: NDArray[np.uint16]) -> Batch:
        box = training_box(rng, labels)
        context = rng.uniform(0.8, 1.2) if rng.random() < 0.85 else rng.uniform(1.2, 4)
        window = prompt_window(box, scene.grid.shape, self.side, context)
        image, frame = model_image(scene.read(window), self.side)
        target = (frame.covered(labels[window.toslices()] > 0) > 0.5).numpy()
        placed = torch.tensor(frame.box(box, window))
        inside = box_mask(placed[None], self.side)[0].numpy()
        points = np.full((MAX_POINTS, 3), -1, np.float32)
        if rng.random() < 0.2:
            points = corrective_points(rng, target & inside, inside)
        return {
            "image": image.half(),
            "box": placed,
            "points": torch.from_numpy(points),
            "target": torch.from_numpy(target & inside),
        }


def training_box(rng: np.random.Generator, labels: NDArray[np.uint16]) -> Box:
    """Mostly one object, loosely boxed; one time in ten a box anywhere, if an object shows in it.

    A user draws a box because there is something, so a box without an object is no training case unless the scene
    has none: a model that learns to answer "nothing" does so for every faint object.
    """
    objects = np.unique(labels[labels > 0])
    anywhere = random_box(rng, labels.shape)
    if len(objects) == 0 or (rng.random() < 0.1 and _share(labels, anywhere) > 0.03):
        return anywhere
    return loosen(rng, tight_box(labels == rng.choice(objects)), labels.shape)


def _share(labels: NDArray[np.uint16], box: Box) -> float:
    """How much of a box is object."""
    x0, y0, x1, y1 = (round(edge) for edge in box)
    return float((labels[y0:y1, x0:x1] > 0).mean())


def training_scene(rng: np.random.Generator) -> tuple[Scene, NDArray[np.uint16]]:
    """One drawn scene of 1-3 bands: in power, or as an 8-bit picture of amplitude or decibels with clipped ends."""
    family = "fractal" if rng.random() < 0.25 else None
    bands = int(rng.choice([1, 2, 3], p=[0.5, 0.35, 0.15]))
    drawing = shapes.draw(rng, _SCENE_SIDE, bands, family, sides=(8, 160), contrast_db=(3, 12))
    pixels, units = drawing.power, "power"
    if rng.random() < 0.4:
        pixels, units = _eight_bit(rng, pixels), "1"
    described = tuple(Band(f"B{i + 1}", units) for i in range(len(pixels)))  # type: ignore[arg-type]
    valid = np.ones(drawing.labels.shape, bool)
    if rng.random() < 0.15:
        valid &= ~_collar(rng, _SCENE_SIDE)
    outlines = _by_hand(rng, drawing.labels) if rng.random() < 0.35 else drawing.labels
    labels = np.where(valid, outlines, 0).astype(np.uint16)
    return Scene(pixels, described, Grid(Affine.identity(), None, _SCENE_SIDE, _SCENE_SIDE), valid), labels


def _by_hand(rng: np.random.Generator, labels: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Object ids as people outline them: smoother than what shows, and rather around it than inside it."""
    shown = labels > 0
    smooth = ndimage.gaussian_filter(shown.astype(np.float32), rng.uniform(0.5, 2)) > rng.uniform(0.2, 0.5)
    return np.where(smooth | shown, ndimage.grey_dilation(labels, 7), 0)


def _eight_bit(rng: np.random.Generator, power: NDArray[np.float32]) -> NDArray[np.float32]:
    """A picture as people export it: amplitude or decibels stretched to 0-255, up to 3 % clipped at either end."""
    levels = np.sqrt(power) if rng.random() < 0.4 else 10 * np.log10(power)
    low, high = np.quantile(levels[:, ::4, ::4], [rng.uniform(0, 0.03), 1 - rng.uniform(0, 0.03)])
    return np.round(np.clip((levels - low) / (high - low), 0, 1) * 255).astype(np.float32)


def _collar(rng: np.random.Generator, side: int) -> NDArray[np.bool_]:
    """The slanted no-data wedge at the edge of an orbit."""
    y, x = np.mgrid[:side, :side]
    angle = rng.uniform(0, 2 * np.pi)
    along = x * np.cos(angle) + y * np.sin(angle)
    return along > np.quantile(along, rng.uniform(0.8, 0.98))
