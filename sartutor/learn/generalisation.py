"""From one domain to another: pretraining on many, a head trained on one, a question asked on the next.

As in arXiv 2603.12008: an encoder is pretrained by segmentation on labels that are partly wrong, its feed-forward
layers being mixtures of experts; then it is frozen, and for each source domain a head learns on its maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from sartutor.learn.chips import Chips, Sample, Shuffled
from sartutor.learn.domains import DomainChips
from sartutor.learn.loop import Batch, Schedule, Validation, Watch, fit
from sartutor.learn.metrics import confusion_matrix, mean_iou
from sartutor.learn.moe import balance_loss, mixtures
from sartutor.learn.vit import Encoded, Vit
from sartutor.presets import ContinuedRecipe, HeadRecipe
from sartutor.sar.folder import IGNORE

SHUFFLE = 4
"""Side of the square of pixels that the head gives for each token, before they are resized to all of its pixels."""

BATCH = 16
"""Chips that are encoded at once where nothing is learned."""


class FrozenEncoder(Protocol):
    """What gives maps (B, widths[i], g, g) of images (B, 3, S, S) and their descriptors (B, 3)."""

    @property
    def widths(self) -> tuple[int, ...]: ...

    def encode(self, image: Tensor, descriptors: Tensor | None = None) -> Encoded: ...


class LightHead(nn.Module):
    """Class scores from maps of one size, token by token: two linear layers, a pixel shuffle, bilinear resizing."""

    def __init__(self, widths: Sequence[int], classes: int, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(sum(widths))
        self.hidden = nn.Linear(sum(widths), channels)
        self.scores = nn.Linear(channels, classes * SHUFFLE**2)

    def forward(self, maps: Tensor, size: tuple[int, int]) -> Tensor:
        """Logits (B, classes, *size) of stacked maps (B, sum of widths, g, g)."""
        tokens = self.norm(maps.permute(0, 2, 3, 1))
        scores = self.scores(functional.gelu(self.hidden(tokens))).permute(0, 3, 1, 2)
        return functional.interpolate(functional.pixel_shuffle(scores, SHUFFLE), size, mode="bilinear")


class Segmenter(nn.Module):
    """A transformer and a light head, trained together."""

    def __init__(self, encoder: Vit, classes: int, channels: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = LightHead(encoder.widths, classes, channels)

    def forward(self, image: Tensor, descriptors: Tensor) -> tuple[Tensor, Encoded]:
        """Logits (B, classes, S, S) of images (B, 3, S, S), and what the encoder made of them."""
        found = self.encoder.encode(image, descriptors)
        return self.head(torch.cat(found.maps, 1), (image.shape[2], image.shape[3])), found


def segmentation_loss(logits: Tensor, label: Tensor) -> Tensor:
    """Mean cross-entropy over labelled pixels, of logits (B, classes, H, W) and labels (B, H, W)."""
    return functional.cross_entropy(logits.float(), label, ignore_index=IGNORE)


def mixture_loss(model: Segmenter, batch: Batch) -> Tensor:
    """L = L_seg + lambda x the sum of all mixtures' balance losses (arXiv 2603.12008)."""
    logits, found = model(batch["image"], batch["descriptors"])
    loss = segmentation_loss(logits, batch["label"])
    layers = mixtures(model.encoder)
    for layer, routing in zip(layers, found.routings, strict=True):
        loss = loss + layer.mixture.balance * balance_loss(routing)
    return loss


def continue_pretraining(
    encoder: Vit,
    chips: DomainChips,
    recipe: ContinuedRecipe,
    channels: int,
    out: Path,
    header: dict[str, Any],
    seed: int,
    device: str = "auto",
    watch: Watch | None = None,
    progress: bool = True,
) -> Segmenter:
    """Train an encoder, in place, with a light head of `channels` on labelled chips of many domains.

    `out` becomes the checkpoint, whose `header` says what is trained; an interrupted run goes on. Raises what `fit`
    raises.
    """
    torch.manual_seed(seed)
    model = Segmenter(encoder, len(chips.classes), channels)
    schedule = Schedule.of(recipe, recipe.save_every, (0.9, 0.999))
    data = Shuffled(chips, recipe.steps * recipe.batch, seed)

    def loss_of(model: nn.Module, batch: Batch, step: int) -> Tensor:
        return mixture_loss(cast(Segmenter, model), batch)

    fit(
        model,
        loss_of,
        cast("Dataset[Batch]", data),
        recipe.batch,
        schedule,
        out,
        {**header, "recipe": asdict(recipe), "seed": seed},
        device,
        seed=seed,
        watch=watch,
        progress=progress,
    )
    return model.eval()


class KeptMaps(Dataset[Sample]):
    """Maps that a frozen encoder makes of chips, half precision, and the chips' labels: `maps` and `label`."""

    def __init__(self, encoder: FrozenEncoder, chips: Chips) -> None:
        self.classes = chips.classes
        parts = [(encoded_maps(encoder, sample), sample["label"]) for sample in _batches(chips)]
        maps, labels = zip(*parts, strict=True)
        self.maps, self.label = torch.cat(maps).half(), torch.cat(labels).to(torch.int8)

    def __len__(self) -> int:
        return len(self.maps)

    def __getitem__(self, index: int) -> Sample:
        return {"maps": self.maps[index].float(), "label": self.label[index].long()}


@torch.no_grad()
def encoded_maps(encoder: FrozenEncoder, sample: Sample) -> Tensor:
    """Stacked maps (B, D, g, g) of a batch of chips, on the CPU."""
    return torch.cat(encoder.encode(sample["image"], sample["descriptors"]).maps, 1).float().cpu()


class Turns(Dataset[Sample]):
    """Samples in a new order every pass, `draws` in all."""

    def __init__(self, data: KeptMaps, draws: int, seed: int) -> None:
        self.data, self.draws, self.seed = data, draws, seed

    def __len__(self) -> int:
        return self.draws

    def __getitem__(self, index: int) -> Sample:
        turn, place = divmod(index, len(self.data))
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + turn)
        return self.data[int(torch.randperm(len(self.data), generator=generator)[place])]


def train_head(
    encoder: FrozenEncoder,
    train: KeptMaps,
    val: KeptMaps,
    recipe: HeadRecipe,
    seed: int,
    out: Path,
    device: str = "auto",
) -> tuple[LightHead, float]:
    """A head on a frozen encoder's maps with the weights that do best on `val`, and its mIoU there."""
    torch.manual_seed(seed)
    head = LightHead(encoder.widths, len(train.classes), recipe.channels)
    schedule = Schedule.of(recipe, recipe.check_every, (0.9, 0.999))
    size = (train.label.shape[1], train.label.shape[2])

    def loss_of(model: nn.Module, batch: Batch, step: int) -> Tensor:
        return segmentation_loss(model(batch["maps"], size), batch["label"])

    def worse(model: nn.Module) -> float:
        return -mean_iou(confusions(cast(LightHead, model), val).sum(0))

    curve = fit(
        head,
        loss_of,
        cast("Dataset[Batch]", Turns(train, recipe.steps * recipe.batch, seed)),
        recipe.batch,
        schedule,
        out,
        {"kind": "head", "recipe": asdict(recipe), "seed": seed},
        device,
        seed=seed,
        validation=Validation(recipe.check_every, recipe.steps, worse),
        progress=False,
    )
    return head.eval(), -min(loss for _, loss in curve.validation)


@torch.no_grad()
def confusions(head: LightHead, data: KeptMaps) -> Tensor:
    """Confusion matrix of each chip (chips, classes, classes)."""
    device = next(head.parameters()).device
    found = []
    for sample in DataLoader(data, BATCH):
        size = (sample["label"].shape[1], sample["label"].shape[2])
        guess = head(sample["maps"].to(device), size).argmax(1).cpu()
        found += [
            confusion_matrix(mine, true, len(data.classes))
            for mine, true in zip(guess, sample["label"], strict=True)
        ]
    return torch.stack(found)


def _batches(chips: Chips) -> DataLoader[Sample]:
    return DataLoader(cast("Dataset[Sample]", chips), BATCH)
