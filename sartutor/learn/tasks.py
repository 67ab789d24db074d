"""Three questions that tell what an encoder is worth: land cover, many labels per chip, flood between two images.

They differ in their head, their loss, and in what the scores need of each test sample (its evidence).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from sartutor.errors import DataError
from sartutor.learn.classification import binary_scores, multilabel_scores
from sartutor.learn.losses import land_cover_loss
from sartutor.learn.metrics import confusion_matrix, segmentation_scores
from sartutor.learn.upernet import Encoder, UPerNet
from sartutor.presets import DownstreamRecipe


@dataclass(frozen=True)
class Task:
    """What is asked of an encoder.

    Args:
        name: of the task, as in the presets.
        head: the whole model from an encoder and a recipe; it has the encoder as its `encoder`.
        loss: mean loss from logits and labels of a batch.
        evidence: what scores need of each sample, (B, ...), from logits and labels of a batch.
        scores: of the evidence of any number of samples.
        best: the score by which the weights are chosen on validation, and whose interval is reported.
    """

    name: str
    head: Callable[[Encoder, DownstreamRecipe], nn.Module]
    loss: Callable[[Tensor, Tensor], Tensor]
    evidence: Callable[[Tensor, Tensor], Tensor]
    scores: Callable[[Tensor], dict[str, float]]
    best: str


def land_cover_task(classes: int, weights: Tensor) -> Task:
    """One class per pixel, labels (B, H, W): UPerNet, 0.5 Dice + 0.5 focal with class `weights` (arXiv 2603.15119)."""

    def head(encoder: Encoder, recipe: DownstreamRecipe) -> nn.Module:
        return UPerNet(encoder, classes, recipe.channels, recipe.dropout)

    def evidence(logits: Tensor, label: Tensor) -> Tensor:
        pairs = zip(logits.argmax(1), label, strict=True)
        return torch.stack([confusion_matrix(guess, true, classes) for guess, true in pairs])

    loss = partial(land_cover_loss, class_weights=weights)
    return Task("land_cover", head, loss, evidence, lambda seen: segmentation_scores(seen.sum(0)), "miou")


def multilabel_task(classes: int) -> Task:
    """Which classes a chip has, labels (B, classes): mean of the last map, one linear layer (arXiv 2503.01181)."""

    def evidence(logits: Tensor, label: Tensor) -> Tensor:
        return torch.stack([logits.sigmoid(), label], 1)

    return Task(
        "multilabel",
        lambda encoder, recipe: PooledClassifier(encoder, classes),
        functional.multilabel_soft_margin_loss,
        evidence,
        lambda seen: multilabel_scores(seen[:, 0], seen[:, 1]),
        "ap_macro",
    )


def flood_task() -> Task:
    """Whether a flood came between two images, labels (B,): differences of tiles (arXiv 2503.01181)."""

    def evidence(logits: Tensor, label: Tensor) -> Tensor:
        return torch.stack([logits.softmax(1)[:, 1], label.to(logits)], 1)

    return Task(
        "flood",
        lambda encoder, recipe: PairClassifier(encoder, recipe.tile),
        functional.cross_entropy,
        evidence,
        lambda seen: binary_scores(seen[:, 0], seen[:, 1]),
        "f1",
    )


class PooledClassifier(nn.Module):
    """Mean of the encoder's last map, and one linear layer."""

    def __init__(self, encoder: Encoder, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.scores = nn.Linear(encoder.widths[-1], classes)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, classes) of an image (B, C, H, W)."""
        return self.scores(pooled(self.encoder, image))


class PairClassifier(nn.Module):
    """|f1 - f2| of the features of each tile at two dates, its mean over the tiles, and one linear layer.

    `tile` is the side of a tile in pixels, what the encoder sees at once.
    """

    def __init__(self, encoder: Encoder, tile: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.tile = tile
        self.scores = nn.Linear(encoder.widths[-1], 2)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, 2) of "no" and "yes" for pairs (B, 2, C, H, W)."""
        tiles = cut(image.flatten(0, 1), self.tile)
        features = pooled(self.encoder, tiles).unflatten(0, (len(image), 2, -1))
        return self.scores((features[:, 0] - features[:, 1]).abs().mean(1))


def pooled(encoder: Encoder, image: Tensor) -> Tensor:
    """Mean over rows and columns of the last map (B, widths[-1])."""
    return encoder.features(image)[-1].mean((2, 3))


def cut(image: Tensor, tile: int) -> Tensor:
    """Tiles (B x n, C, tile, tile) of images (B, C, H, W), those of one image in a row; DataError for a remainder."""
    rows, cols = image.shape[2:]
    if rows % tile or cols % tile:
        raise DataError(f"tiles of {tile} px do not fill images of {rows} x {cols} px; choose a divisor.")
    tiles = image.unfold(2, tile, tile).unfold(3, tile, tile)
    return tiles.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
