"""Draw the README's picture: a synthetic scene with a box, what the embedded model says, and the mask."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from PIL import Image

from sartutor.lab import plots
from sartutor.learn.models import load_model
from sartutor.learn.sam.evaluate import pixel_polygon
from sartutor.learn.sam.predictor import Predictor
from sartutor.sar.boxes import connected_objects, loose_box, tight_box
from sartutor.sim import shapes

TARGET = Path(__file__).with_name("box-to-mask.png")
SEED, SIDE, OBJECT, COLORS = 4, 300, 1, 128


def draw() -> None:
    """Write the picture, with few colours so that it stays small."""
    scene, labels = shapes.scene(SEED, size=SIDE)
    part = connected_objects(labels > 0)[OBJECT]
    box = loose_box(tight_box(part), scene.grid.shape)
    segment = Predictor(load_model(), scene).segment(pixel_polygon(box, scene.grid))
    mask, probability = np.zeros(scene.grid.shape, bool), np.full(scene.grid.shape, np.nan)
    mask[segment.window.toslices()], probability[segment.window.toslices()] = (
        segment.mask,
        segment.probability,
    )
    _, (first, second, third) = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained")
    gray = {"cmap": "gray", "interpolation": "nearest"}
    first.imshow(scene.pixels[0], vmin=-22, vmax=2, **gray)
    second.imshow(probability, vmin=0, vmax=1, **gray)
    second.set_facecolor("0.85")
    third.imshow(scene.pixels[0], vmin=-22, vmax=2, **gray)
    for axes, title in ((first, "draw a box"), (second, "ask the model"), (third, "get a mask")):
        plots.draw_box(axes, box, plots.BLUE)
        axes.set_title(title, fontsize=13)
        axes.set(xticks=[], yticks=[])
    third.imshow(np.ma.masked_equal(mask, False), cmap=ListedColormap([plots.ORANGE]), alpha=0.6)
    first.figure.savefig(TARGET, dpi=90)
    Image.open(TARGET).convert("RGB").quantize(COLORS).save(TARGET, optimize=True)


if __name__ == "__main__":
    draw()
