"""Objects larger than the model's input: one wider window, as the predictor takes it, beside stitched tiles.

    python -m bench.large_objects [SCENES]

prints one JSON object for each class of size (the longer side of an object's box, in inputs of the model): how many
objects, the mean IoU of both ways and their paired difference with its 95 % interval, objects being the units, and the
mean time of each. Scenes are drawn shapes of 2,048 px with seeds of their own; boxes are 10 px loose. A tile has the
model's side and shares half of it with its neighbours; its prompt is what lies in it of the box, and probabilities are
averaged where tiles overlap. `sam_tiny_base`, one thread.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator

import numpy as np
import shapely
import torch
from numpy.typing import NDArray
from rasterio.windows import Window

from sartutor.errors import SarTutorError
from sartutor.learn.models import SamModel, load_model
from sartutor.learn.records import mean_interval
from sartutor.learn.sam.evaluate import pixel_polygon
from sartutor.learn.sam.predictor import Predictor
from sartutor.learn.scores import count
from sartutor.sar.boxes import Box, Mask, enlarge, fill_box, tight_box
from sartutor.sar.scene import Scene
from sartutor.sar.tiles import Stitcher, tile_grid
from sartutor.sim import shapes

SCENES = 60
SIDE = 2048
FIRST_SEED = 40_000
LOOSE_PX = 10
CLASSES = ((1.0, 1.5), (1.5, 2.0), (2.0, 3.0))
"""Longer sides of boxes in sides of the model's input, from and below."""

Way = tuple[Mask, float]
"""What was marked on the scene, and the seconds it took."""


def in_one_window(model: SamModel, scene: Scene, box: Box) -> Way:
    """As the predictor answers."""
    start = time.perf_counter()
    found = Predictor(model, scene).segment(pixel_polygon(box, scene.grid))
    seconds = time.perf_counter() - start
    marked = np.zeros(scene.grid.shape, bool)
    marked[found.window.toslices()] = found.mask
    return marked, seconds


def in_tiles(model: SamModel, scene: Scene, box: Box) -> Way:
    """The mean of tiles at full resolution, each asked with its part of the box."""
    start = time.perf_counter()
    side = model.sam.size.image_size
    stitcher = Stitcher(1, scene.grid.shape, side // 2)
    for tile in tile_grid(scene.grid.shape, side, side // 2):
        stitcher.add(tile, probability(model, scene, tile.window, box)[None])
    marked = (stitcher.result()[0] > 0.5) & fill_box(scene.grid.shape, box)
    return marked, time.perf_counter() - start


def probability(model: SamModel, scene: Scene, window: Window, box: Box) -> NDArray[np.float32]:
    """Of the object in one tile (rows, columns): 0 where the box does not reach or nothing can be asked."""
    rows, cols = window.toslices()
    answer = np.zeros((rows.stop - rows.start, cols.stop - cols.start), np.float32)
    within = shapely.box(*box) & shapely.box(cols.start, rows.start, cols.stop, rows.stop)
    if within.area == 0:
        return answer
    try:
        piece = scene.read(window)
        found = Predictor(model, piece).segment(pixel_polygon(within.bounds, scene.grid))
    except SarTutorError:
        return answer
    answer[found.window.toslices()] = found.probability
    return answer


def large_objects(scenes: int, side: int) -> Iterator[tuple[Scene, Mask, Box, float]]:
    """Scene, mask, loose box and size of every object larger than `side` px that its scene's border does not cut."""
    inner = shapely.box(1, 1, SIDE - 1, SIDE - 1)
    for seed in range(FIRST_SEED, FIRST_SEED + scenes):
        scene, labels = shapes.scene(seed, size=SIDE)
        for number in range(1, int(labels.max()) + 1):
            tight = tight_box(labels == number)
            size = max(tight[2] - tight[0], tight[3] - tight[1]) / side
            if size >= CLASSES[0][0] and inner.contains(shapely.box(*tight)):
                yield scene, labels == number, enlarge(tight, LOOSE_PX, labels.shape), size


def measured(model: SamModel, scenes: int) -> Iterator[tuple[float, ...]]:
    """Of each object its size, the IoU in one window and in tiles, and the seconds of both."""
    for scene, truth, box, size in large_objects(scenes, model.sam.size.image_size):
        (window, window_s), (tiles, tiles_s) = (way(model, scene, box) for way in (in_one_window, in_tiles))
        ious = (count(marked, truth, scene.valid).iou for marked in (window, tiles))
        yield size, *ious, window_s, tiles_s


def main(scenes: int = SCENES) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    rows = np.array(list(measured(load_model("sam_tiny_base"), scenes)))
    for least, most in CLASSES:
        chosen = rows[(rows[:, 0] >= least) & (rows[:, 0] < most)]
        if not len(chosen):
            continue
        _, window, tiles, window_s, tiles_s = chosen.mean(0)
        difference, half = mean_interval((chosen[:, 1] - chosen[:, 2]).tolist())
        found = {"window_iou": window, "tiles_iou": tiles, "difference": difference, "interval_95": half}
        found |= {"window_s": window_s, "tiles_s": tiles_s}
        rounded = {name: round(float(value), 3) for name, value in found.items()}
        print(json.dumps({"inputs": [least, most], "objects": len(chosen), **rounded}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
