"""What an encoder knows before any fine-tuning: one linear layer on its frozen features, solved in closed form.

Nothing is drawn and no learning rate is chosen, so that two encoders differ in nothing but what they have learned.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from sartutor.learn.chips import Chips, Sample
from sartutor.learn.metrics import confusion_matrix, mean_iou
from sartutor.learn.upernet import Encoder

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Penalties of `ridge`, among which validation chooses."""

PROBE_PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Penalties of `linear_probe` per sample, among which it chooses."""

BATCH = 16
"""Chips that are encoded at once."""


class Tokens(NamedTuple):
    """Of each token of the finest map, over all chips: `features` (n, D), and the `share` of its pixels that are of
    each class (n, classes), 0 where they do not count."""

    features: Tensor
    share: Tensor


def frozen_scores(encoder: Encoder, train: Chips, val: Chips, test: Chips) -> dict[str, float]:
    """`frozen_miou` on test and `frozen_val_score` on validation chips of a linear layer on the encoder's four maps.

    Ridge regression from the standardised maps, resized to the finest, to the share of each class in a token. All
    classes weigh alike, as in the score; the penalty is that of `PENALTIES` which does best on `val`. A pixel has the
    class with the greatest share, shares being resized to pixels.
    """
    known = dense_tokens(encoder, train)
    mean, std = known.features.mean(0), known.features.std(0).clamp_min(1e-6)
    weight = known.share @ (1 / known.share.sum(0)).nan_to_num(posinf=0)
    layers = ridge((known.features - mean) / std, known.share, weight)
    scores = [_score(encoder, val, mean, std, layer) for layer in layers]
    best = max(range(len(scores)), key=scores.__getitem__)
    return {
        "frozen_miou": _score(encoder, test, mean, std, layers[best]),
        "frozen_val_score": scores[best],
    }


def ridge(features: Tensor, share: Tensor, weight: Tensor) -> list[Tensor]:
    """Layers (D + 1, classes), the last row added as it is, one for each of `PENALTIES`.

    Each minimises sum_i w_i |f_i W - s_i|^2 / sum_i w_i + penalty |W|^2 for features f (n, D), shares s (n, classes)
    and weights w (n,).
    """
    inputs = torch.cat([features, features.new_ones(len(features), 1)], 1).double()
    scaled = inputs.T * (weight / weight.sum()).double()
    gram, target = scaled @ inputs, scaled @ share.double()
    cost = torch.diag(torch.ones(len(gram), dtype=torch.float64))
    cost[-1, -1] = 0
    return [torch.linalg.solve(gram + penalty * cost, target).float() for penalty in PENALTIES]


def dense_tokens(encoder: Encoder, chips: Chips) -> Tokens:
    """Tokens of all chips."""
    parts = [
        (_maps(encoder, sample), _shares(sample["label"], len(chips.classes))) for sample in _batches(chips)
    ]
    columns = []
    for maps, shares in parts:
        shares = functional.adaptive_avg_pool2d(shares, (maps.shape[2], maps.shape[3]))
        columns.append([each.permute(0, 2, 3, 1).flatten(0, 2) for each in (maps, shares)])
    return Tokens(*(torch.cat(each) for each in zip(*columns, strict=True)))


def _score(encoder: Encoder, chips: Chips, mean: Tensor, std: Tensor, layer: Tensor) -> float:
    """mIoU of a layer on the standardised maps of chips."""
    classes = len(chips.classes)
    seen = torch.zeros(classes, classes, dtype=torch.int64)
    for sample in _batches(chips):
        maps = ((_maps(encoder, sample).permute(0, 2, 3, 1) - mean) / std) @ layer[:-1] + layer[-1]
        shares = functional.interpolate(
            maps.permute(0, 3, 1, 2), size=sample["label"].shape[1:], mode="bilinear"
        )
        seen += confusion_matrix(shares.argmax(1), sample["label"], classes)
    return mean_iou(seen)


@torch.no_grad()
def _maps(encoder: Encoder, sample: Sample) -> Tensor:
    """The encoder's four maps, resized to the finest and stacked (B, D, H, W)."""
    first, *others = (each.float() for each in encoder.features(sample["image"]))
    size = first.shape[2:]
    return torch.cat(
        [first, *(functional.interpolate(each, size=size, mode="bilinear") for each in others)], 1
    )


def _shares(label: Tensor, classes: int) -> Tensor:
    """1 at the class of each pixel (B, classes, H, W), all 0 where it has none."""
    codes = torch.arange(classes)[:, None, None]
    return (label[:, None] == codes).float()


def _batches(chips: Chips) -> DataLoader[Sample]:
    return DataLoader(cast(Dataset[Sample], chips), BATCH)


def linear_probe(features: Tensor, label: Tensor) -> Callable[[Tensor], Tensor]:
    """One linear layer from features (n, D), which stay as they are, to labels (n, K) of 0 and 1, as a function.

    Features are standardised; then ridge regression with the penalty, of `PROBE_PENALTIES`, whose squared error is
    least when each sample is predicted from all others. Nothing but these labels is looked at.
    """
    mean, std, level = features.mean(0), features.std(0).clamp_min(1e-6), label.mean(0)
    known, target = ((features - mean) / std).double(), (label - level).double()
    left, size, right = torch.linalg.svd(known, full_matrices=False)
    best = min(PROBE_PENALTIES, key=lambda penalty: _left_out_error(left, size, target, penalty * len(label)))
    weight = right.T @ ((size / (size.square() + best * len(label)))[:, None] * (left.T @ target))
    return lambda values: ((values - mean) / std) @ weight.float() + level


def _left_out_error(left: Tensor, size: Tensor, target: Tensor, penalty: float) -> float:
    """Mean squared error when each sample is predicted from all others, from the singular vectors of the features."""
    shrunk = size.square() / (size.square() + penalty)
    fitted = left @ (shrunk[:, None] * (left.T @ target))
    leverage = (left.square() @ shrunk + 1 / len(left)).clamp_max(1 - 1e-9)
    return float(((target - fitted) / (1 - leverage[:, None])).square().mean())
