"""What stands out from the border of a box: a first guess that the mask decoder starts from.

It is Otsu's threshold, made soft and kept per channel: a function of the image and the box alone, with nothing to
learn in it. The decoder is free to follow it, to mend it or to drop it.
"""

from __future__ import annotations

import torch
from torch import Tensor

BINS = 64
CONTRAST_CHANNELS = 4
"""One for each channel of the image, and one for the box itself."""


def box_mask(boxes: Tensor, side: int) -> Tensor:
    """Pixels (N, side, side), bool, whose centre lies in each of the boxes (N, 4)."""
    centre = torch.arange(side, device=boxes.device) + 0.5
    x = (centre > boxes[:, :1]) & (centre < boxes[:, 2:3])
    y = (centre > boxes[:, 1:2]) & (centre < boxes[:, 3:])
    return y[:, :, None] & x[:, None, :]


@torch.no_grad()
def box_contrast(image: Tensor, boxes: Tensor) -> Tensor:
    """Signed contrast (N, 4, S, S) of every pixel in its box; 0 outside.

    `image` (N, 3, S, S) lies in [0, 1], `boxes` (N, 4) in its pixels. Channels 0-2 hold the distance from Otsu's
    threshold of that channel in standard deviations of the box, within [-2, 2], positive on the side that the box's
    border is not on; channel 3 is 1 in the box. It carries no gradient: a gate that weights images learns through their
    embeddings alone.
    """
    side = image.shape[-1]
    rows, cols = extent(boxes, side)
    rim = boxes.new_tensor([1.0, 1.0, -1.0, -1.0]) * side / 128
    inside, within = (box_mask(each, side)[:, None, rows, cols] for each in (boxes, boxes + rim))
    contrast = image.new_zeros(len(boxes), CONTRAST_CHANNELS, side, side)
    contrast[..., rows, cols] = _contrast(image[..., rows, cols], inside, inside & ~within)
    return contrast


def extent(boxes: Tensor, side: int, margin: int = 0, step: int = 1) -> tuple[slice, slice]:
    """Rows and columns, from one multiple of `step` to another, that hold all boxes (N, 4) with a margin in pixels."""
    low = ((boxes[:, :2].amin(0) - margin) / step).floor() * step
    high = ((boxes[:, 2:].amax(0) + margin) / step).ceil() * step
    (left, top), (right, bottom) = (bound.clamp(0, side).int().tolist() for bound in (low, high))
    return slice(top, bottom), slice(left, right)


def _contrast(image: Tensor, inside: Tensor, border: Tensor) -> Tensor:
    """Contrast (N, 4, h, w) of the part of the images that all boxes lie in."""
    counts = _histogram(image, inside)
    threshold = otsu_threshold(counts)
    border_level = _median(_histogram(image, border))
    away = torch.where(border_level > threshold, -1.0, 1.0)
    contrast = away[..., None, None] * (image - threshold[..., None, None]) / _spread(counts)[..., None, None]
    return torch.cat([contrast.clamp(-2, 2) * inside, inside.to(image.dtype)], 1)


def _centres(like: Tensor) -> Tensor:
    return (torch.arange(BINS, device=like.device, dtype=like.dtype) + 0.5) / BINS


def _histogram(image: Tensor, where: Tensor) -> Tensor:
    """Counts (N, 3, BINS) of the levels in [0, 1] of the pixels `where` (N, 1, S, S)."""
    bins = (image * BINS).long().clamp(0, BINS - 1).flatten(2)
    weight = where.to(image.dtype).expand_as(image).flatten(2)
    return torch.zeros(*image.shape[:2], BINS, device=image.device, dtype=image.dtype).scatter_add_(
        2, bins, weight
    )


def otsu_threshold(counts: Tensor) -> Tensor:
    """Otsu's threshold (...,) in [0, 1] of histograms (..., BINS): the largest variance between the two sides."""
    levels = _centres(counts)
    below = counts.cumsum(-1)
    above = below[..., -1:] - below
    sum_below = (counts * levels).cumsum(-1)
    sum_above = sum_below[..., -1:] - sum_below
    gap = sum_below / below.clamp_min(1) - sum_above / above.clamp_min(1)
    return (torch.argmax(below * above * gap.square(), -1) + 1) / BINS


def _median(counts: Tensor) -> Tensor:
    """Median level (...,) of histograms (..., BINS)."""
    below = counts.cumsum(-1)
    return (torch.argmax((below >= 0.5 * below[..., -1:]).to(torch.int8), -1) + 0.5) / BINS


def _spread(counts: Tensor) -> Tensor:
    """Standard deviation (...,) of histograms (..., BINS), at least one bin."""
    levels, total = _centres(counts), counts.sum(-1).clamp_min(1)
    mean = (counts * levels).sum(-1) / total
    return (((counts * levels.square()).sum(-1) / total - mean.square()).clamp_min(0).sqrt()).clamp_min(
        1 / BINS
    )
