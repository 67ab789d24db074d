"""Losses for prompted masks; every function takes logits and targets (..., H, W) and a weight of the same shape."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def dice_loss(logits: Tensor, target: Tensor, weight: Tensor, eps: float = 1e-5) -> Tensor:
    """1 - (2 sum p g + eps) / (sum p^2 + sum g^2 + eps) per mask: the squared-denominator Dice of arXiv 2601.01213."""
    p, g = logits.sigmoid() * weight, target * weight
    overlap, size = (p * g).sum((-2, -1)), p.square().sum((-2, -1)) + g.square().sum((-2, -1))
    return 1 - (2 * overlap + eps) / (size + eps)


def cross_entropy_loss(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Binary cross-entropy averaged over the weighted pixels of each mask."""
    each = functional.binary_cross_entropy_with_logits(logits, target.expand_as(logits), reduction="none")
    return (each * weight).sum((-2, -1)) / weight.sum((-2, -1)).clamp_min(1)


def mask_iou(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """IoU of the mask at sigmoid > 0.5 with the target, per mask; 1 where both are empty. Carries no gradient."""
    mask = (logits.detach() > 0).to(target.dtype) * weight
    overlap = (mask * target).sum((-2, -1))
    union = (mask + target * weight).sum((-2, -1)) - overlap
    return (overlap + 1e-6) / (union + 1e-6)
