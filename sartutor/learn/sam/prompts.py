"""Imprecise prompts for training: boxes drawn loosely, clicks that correct, and clicks on an object."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sartutor.sar.boxes import Box

MAX_POINTS = 2


def loosen(rng: np.random.Generator, box: Box, shape: tuple[int, int]) -> Box:
    """Push every side outward on its own by -3 to 30 % of the box, half of the time by up to 12 px; clip to `shape`."""
    width, height = box[2] - box[0], box[3] - box[1]
    relative = rng.random() < 0.5
    push = rng.uniform(-0.03, 0.3, 4) * (width, height, width, height) if relative else rng.uniform(0, 12, 4)
    x0, y0 = max(box[0] - push[0], 0.0), max(box[1] - push[1], 0.0)
    return x0, y0, min(box[2] + push[2], float(shape[1])), min(box[3] + push[3], float(shape[0]))


def random_box(rng: np.random.Generator, shape: tuple[int, int]) -> Box:
    """A box anywhere, each side 10-60 % of the scene."""
    height, width = (float(rng.uniform(0.1, 0.6) * side) for side in shape)
    x0, y0 = float(rng.uniform(0, shape[1] - width)), float(rng.uniform(0, shape[0] - height))
    return x0, y0, x0 + width, y0 + height


def corrective_points(
    rng: np.random.Generator, target: NDArray[np.bool_], inside: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Up to two clicks (MAX_POINTS, 3) of x, y, label: 1 on the target, 0 beside it in the box, -1 = none."""
    points = np.full((MAX_POINTS, 3), -1, np.float32)
    for i in range(int(rng.integers(1, MAX_POINTS + 1))):
        label = int(rng.integers(0, 2))
        rows, cols = np.nonzero(target if label else inside & ~target)
        if len(rows):
            pick = rng.integers(len(rows))
            points[i] = cols[pick] + 0.5, rows[pick] + 0.5, label
    return points


def clicks_on(rng: np.random.Generator, target: NDArray[np.bool_]) -> NDArray[np.float64]:
    """One to `MAX_POINTS` clicks (n, 2) of column and row, each the centre of any pixel of a target (rows, columns)."""
    rows, cols = np.nonzero(target)
    picks = rng.integers(len(rows), size=int(rng.integers(1, MAX_POINTS + 1)))
    return np.column_stack((cols[picks], rows[picks])).astype(np.float64) + 0.5
