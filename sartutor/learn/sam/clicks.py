"""What clicks change around them, whatever the decoder made of them.

A decoder that saw few corrections in training hardly moves for a click, and one that was adapted with boxes alone does
not know them. A click is a fact, however, so it also speaks for the pixels that look like it and lie near it: near by
the geodesic distance of interactive segmentation (arXiv 1707.00652), which grows faster across edges of the image.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.graph import MCP_Geometric

REACH_PX = 8.0
"""Geodesic distance, in pixels of an even area, at which a click counts exp(-1/2)."""

EDGE_COST = 50.0
"""Pixels of an even area that one pixel is worth where the image rises by its whole range from one to the next."""

SMOOTHING_PX = 1.0
"""Standard deviation of the smoothing before edges are looked for, so that speckle makes fewer."""

FARTHEST = 4
"""Reaches from a click at which it counts no more."""

Layers = NDArray[np.floating]


def corrected(probabilities: Layers, image: Layers, clicks: NDArray[np.float64]) -> NDArray[np.float32]:
    """Probabilities (K, h, w) pulled towards 1 around clicks inside the object and towards 0 around those outside.

    With a and b the weights exp(-(d / reach)^2 / 2) of the nearest click inside and outside and w the larger of them,
    p becomes (1 - w) p + w a / (a + b).

    Args:
        probabilities: of masks on a window.
        image: layers (n, h, w) of the window in [0, 1].
        clicks: column and row in the window and label (P, 3): 1 inside, 0 outside.
    """
    shape = (image.shape[-2], image.shape[-1])
    inside, outside = (click_weight(image, clicks[clicks[:, 2] == label, :2], shape) for label in (1, 0))
    most = np.maximum(inside, outside)
    known = inside / np.maximum(inside + outside, np.finfo(np.float32).tiny)
    return ((1 - most) * probabilities + most * known).astype(np.float32)


def click_weight(image: Layers, points: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]:
    """How much the nearest of the points (n, 2) of columns and rows counts in every pixel (h, w), 0 to 1."""
    weight = np.zeros(shape)
    margin = int(FARTHEST * REACH_PX)
    for col, row in np.floor(points).astype(int):
        top, left = max(row - margin, 0), max(col - margin, 0)
        part = (slice(top, row + margin + 1), slice(left, col + margin + 1))
        distance = geodesic_distance(image[:, *part], (row - top, col - left))
        weight[part] = np.maximum(weight[part], np.exp(-np.square(distance / REACH_PX) / 2))
    return weight


def geodesic_distance(image: Layers, start: tuple[int, int]) -> NDArray[np.float64]:
    """Length (h, w) of the cheapest way from `start` (row, column) to every pixel of layers (n, h, w).

    A step of one pixel costs 1 + `EDGE_COST` times the gradient of the smoothed layers, root of the sum of squares.
    """
    smooth = ndimage.gaussian_filter(image.astype(np.float64), (0, SMOOTHING_PX, SMOOTHING_PX))
    slopes = [ndimage.sobel(layer, axis) / 8 for layer in smooth for axis in (0, 1)]
    cost = 1 + EDGE_COST * np.sqrt(np.square(slopes).sum(0))
    return np.asarray(MCP_Geometric(cost).find_costs([start])[0])
