"""What adaptation learns from: masks of prompted objects, or another encoder's embeddings."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from sartutor.errors import DataError
from sartutor.learn.device import bf16_pays
from sartutor.learn.losses import MaskLoss, mask_iou, mask_loss
from sartutor.learn.sam.adapted import AdaptedSam
from sartutor.learn.sam.kept import KeptEmbeddings
from sartutor.learn.sam.model import Embedding
from sartutor.learn.sam.samples import Batch, Outside, PromptedImages, box_targets

QUALITY_WEIGHT = 0.1
"""Weight of the error of the predicted IoU, so that the score of a mask goes on meaning something."""


class PromptLoss:
    """Mean loss over all boxes of a batch, each against the objects in it, and the error of the predicted IoU.

    Images are encoded once, however many boxes they have; with `kept` embeddings, once in the whole run. What lies
    `outside` of a box is free, or background.
    """

    def __init__(
        self, kind: MaskLoss = "dice", kept: KeptEmbeddings | None = None, outside: Outside = "free"
    ) -> None:
        self.kind, self.kept, self.outside = kind, kept, outside

    def __call__(self, model: nn.Module, batch: Batch, step: int) -> Tensor:
        logits, quality, target, weight = prompted_masks(
            cast(AdaptedSam, model), batch, self.kept, self.outside
        )
        each = mask_loss(logits, target, weight, self.kind)
        error = (quality - mask_iou(logits, target, weight)).square()
        return (each + QUALITY_WEIGHT * error).mean()


class AlignmentLoss:
    """Mean squared distance of the secondary encoder's embedding from the primary one's; needs no labels."""

    def __init__(self, kept: KeptEmbeddings) -> None:
        self.kept = kept

    def __call__(self, model: nn.Module, batch: Batch, step: int) -> Tensor:
        images = batch["image"].float()
        learned = cast(AdaptedSam, model).encode_branch(images, 1)
        return embedding_distance(learned, self.kept.embed(images, 0))


def embedding_distance(one: Embedding, other: Embedding) -> Tensor:
    """Mean squared difference of two embeddings, averaged over their levels; the image among them does not count."""
    levels = [place for place in range(len(one)) if place != 1]
    return torch.stack([(one[i].float() - other[i].float()).square().mean() for i in levels]).mean()


class ValidationLoss:
    """1 less the mean IoU over the prompted boxes of a fixed list of samples."""

    def __init__(
        self, samples: PromptedImages, batch: int, kept: KeptEmbeddings | None, device: torch.device
    ) -> None:
        self.samples, self.batch, self.kept, self.device = samples, batch, kept, device
        self.mixed = torch.autocast(device.type, torch.bfloat16, enabled=bf16_pays(device))

    def __call__(self, model: nn.Module) -> float:
        found = []
        for first in range(0, len(self.samples), self.batch):
            some = [self.samples[i] for i in range(first, min(first + self.batch, len(self.samples)))]
            batch = {name: value.to(self.device) for name, value in default_collate(some).items()}
            with self.mixed:
                logits, _, target, weight = prompted_masks(cast(AdaptedSam, model), batch, self.kept)
            wanted = (target * weight).sum((-2, -1)) > 0
            found.append(mask_iou(logits, target, weight)[wanted])
        scores = torch.cat(found)
        if not len(scores):
            raise DataError(
                "No box of the validation holds an object on valid pixels, so that nothing can be judged; add images "
                "to the split val."
            )
        return 1 - float(scores.mean())


def prompted_masks(
    model: AdaptedSam, batch: Batch, kept: KeptEmbeddings | None = None, outside: Outside = "free"
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits (N, S, S) and predicted IoU (N,) of all boxes of a batch, their targets and weights (N, S, S)."""
    images = batch["image"].float()
    embedding = model.encode(images) if kept is None else kept.encode(images)
    place, boxes, target, weight = box_targets(batch, outside)
    clicked = bool((batch["points"][..., 2] >= 0).any())
    points = batch["points"][place] if clicked else None
    if len(images) > 1:  # one image serves all boxes as it is
        embedding = tuple(level[place] for level in embedding)
    logits, quality = model.decode(embedding, boxes, points)
    logits = logits[:, :1].float()
    if logits.shape[-2:] != target.shape[-2:]:
        logits = nn.functional.interpolate(logits, target.shape[-2:], mode="bilinear")
    return logits[:, 0], quality[:, 0].float(), target[:, 0], weight[:, 0]
