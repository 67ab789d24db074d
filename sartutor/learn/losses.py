"""Losses for prompted masks, which take logits, targets and weights (..., H, W), and for maps of many classes."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from sartutor.errors import SarTutorError
from sartutor.sar.folder import IGNORE


def dice_loss(logits: Tensor, target: Tensor, weight: Tensor, eps: float = 1e-5) -> Tensor:
    """1 - (2 sum p g + eps) / (sum p^2 + sum g^2 + eps) per mask: the squared-denominator Dice of arXiv 2601.01213."""
    p, g = logits.sigmoid() * weight, target * weight
    overlap, size = (p * g).sum((-2, -1)), p.square().sum((-2, -1)) + g.square().sum((-2, -1))
    return 1 - (2 * overlap + eps) / (size + eps)


def cross_entropy_loss(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Binary cross-entropy averaged over the weighted pixels of each mask."""
    each = functional.binary_cross_entropy_with_logits(logits, target.expand_as(logits), reduction="none")
    return (each * weight).sum((-2, -1)) / weight.sum((-2, -1)).clamp_min(1)


MaskLoss = Literal["dice", "bce", "focal"]


def mask_loss(logits: Tensor, target: Tensor, weight: Tensor, kind: MaskLoss = "dice") -> Tensor:
    """Loss per prompted mask, of logits (..., H, W), targets and weights: "dice", "bce" or "focal" (gamma 2).

    A mask that should be empty learns by cross-entropy under "dice" too: there Dice is 1 - eps / (sum p^2 + eps), which
    is 1 with hardly any gradient for all masks but those that are nearly empty. SarTutorError for another kind.
    """
    if kind not in get_args(MaskLoss):
        raise SarTutorError(f"There is no loss {kind!r}; use one of {', '.join(get_args(MaskLoss))}.")
    if kind == "focal":
        each = sigmoid_focal_loss(logits, target.expand_as(logits), alpha=-1, gamma=2.0)
        return (each * weight).sum((-2, -1)) / weight.sum((-2, -1)).clamp_min(1)
    cross_entropy = cross_entropy_loss(logits, target, weight)
    if kind == "bce":
        return cross_entropy
    wanted = (target * weight).sum((-2, -1)) > 0
    return torch.where(wanted, dice_loss(logits, target, weight), cross_entropy)


def mask_iou(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """IoU of the mask at sigmoid > 0.5 with the target, per mask; 1 where both are empty. Carries no gradient."""
    mask = (logits.detach() > 0).to(target.dtype) * weight
    overlap = (mask * target).sum((-2, -1))
    union = (mask + target * weight).sum((-2, -1)) - overlap
    return (overlap + 1e-6) / (union + 1e-6)


def class_dice_loss(logits: Tensor, target: Tensor, ignore: int = IGNORE, eps: float = 1e-5) -> Tensor:
    """Mean over the classes in the labels of 1 - (2 sum p g + eps) / (sum p + sum g + eps), a scalar.

    Sums run over all pixels of the batch that are not ignored; p is the softmax of the logits, g is 1 in the pixels
    of a class. 0 where every pixel is ignored (Dice loss of arXiv 1606.04797 with plain denominators).

    Args:
        logits: scores (B, C, H, W).
        target: class numbers (B, H, W).
        ignore: label of pixels that count nowhere.
        eps: keeps the ratio finite.
    """
    known = (target != ignore)[:, None]
    truth = functional.one_hot(target * known[:, 0], logits.shape[1]).movedim(-1, 1) * known
    p = logits.softmax(1) * known
    overlap, size = (p * truth).sum((0, 2, 3)), (p + truth).sum((0, 2, 3))
    each = 1 - (2 * overlap + eps) / (size + eps)
    present = truth.sum((0, 2, 3)) > 0
    return (each * present).sum() / present.sum().clamp_min(1)


def focal_loss(
    logits: Tensor, target: Tensor, alpha: Tensor, gamma: float = 2.0, ignore: int = IGNORE
) -> Tensor:
    """Mean over labelled pixels of -alpha_c (1 - p_t)^gamma ln p_t, a scalar; 0 where every pixel is ignored.

    p_t is the softmax probability of the pixel's own class c (arXiv 1708.02002). With gamma 0 it is cross-entropy
    weighted by alpha, divided by the number of pixels (not, as in torch, by the sum of their weights).

    Args:
        logits: scores (B, C, H, W).
        target: class numbers (B, H, W).
        alpha: weight of each class (C,).
        gamma: how much less pixels count that are already right.
        ignore: label of pixels that count nowhere.
    """
    surprise = functional.cross_entropy(logits, target, reduction="none", ignore_index=ignore)
    known = target != ignore
    weight = alpha.to(logits)[target * known] * known
    return (weight * (1 - (-surprise).exp()) ** gamma * surprise).sum() / known.sum().clamp_min(1)


def land_cover_loss(logits: Tensor, target: Tensor, class_weights: Tensor) -> Tensor:
    """0.5 Dice + 0.5 focal with gamma 2 and alpha = 0.5 x class weight, a scalar (arXiv 2603.15119, released code).

    Args:
        logits: scores (B, C, H, W).
        target: class numbers (B, H, W), IGNORE where there is none.
        class_weights: `sartutor.sar.class_statistics.class_weights` of the training labels (C,).
    """
    return 0.5 * class_dice_loss(logits, target) + 0.5 * focal_loss(logits, target, 0.5 * class_weights)
