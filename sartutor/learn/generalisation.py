"""From one domain to another: pretraining on many, a head trained on one, a question asked on the next.

As in arXiv 2603.12008: an encoder is pretrained by segmentation on labels that are partly wrong, its feed-forward
layers being mixtures of experts; then it is frozen, and for each source domain a head learns on its maps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from sartutor.learn.checkpoints import is_done, load_tensors
from sartutor.learn.chips import Chips, Sample, Shuffled
from sartutor.learn.curves import read_curve
from sartutor.learn.heads import Head, build_head
from sartutor.learn.loop import Batch, LossOf, Schedule, Validation, Watch, fit
from sartutor.learn.metrics import confusion_matrix, mean_iou
from sartutor.learn.moe import balance_loss, mixtures
from sartutor.learn.vit import Encoded, Vit
from sartutor.presets import ContinuedRecipe, HeadTraining, Mask2FormerSize, MixtureRun

BATCH = 16
"""Chips that are encoded at once where nothing is learned."""


class FrozenEncoder(Protocol):
    """What gives maps (B, widths[i], g, g) of images (B, 3, S, S) and their descriptors (B, 3)."""

    @property
    def widths(self) -> tuple[int, ...]: ...

    def encode(self, image: Tensor, descriptors: Tensor | None = None) -> Encoded: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...


class Segmenter(nn.Module):
    """A transformer and a head: light, or Mask2Former of the size `decoder`."""

    def __init__(
        self, encoder: Vit, classes: int, channels: int, decoder: Mask2FormerSize | None = None
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = build_head(encoder.widths, classes, channels, decoder)

    def forward(self, image: Tensor, descriptors: Tensor) -> tuple[Tensor, Encoded]:
        """Logits (B, classes, S, S) of images (B, 3, S, S), and what the encoder made of them."""
        found = self.encoder.encode(image, descriptors)
        return self.head(torch.cat(found.maps, 1), (image.shape[2], image.shape[3])), found

    def loss(self, batch: Batch) -> tuple[Tensor, Encoded]:
        """The head's loss on a batch, and what the encoder made of it."""
        found = self.encoder.encode(batch["image"], batch["descriptors"])
        return self.head.loss(torch.cat(found.maps, 1), batch["label"]), found


def mixture_loss(model: Segmenter, batch: Batch) -> Tensor:
    """L = L_seg + lambda x the sum of all mixtures' balance losses (arXiv 2603.12008)."""
    loss, found = model.loss(batch)
    layers = mixtures(model.encoder)
    for layer, routing in zip(layers, found.routings, strict=True):
        loss = loss + layer.mixture.balance * balance_loss(routing)
    return loss


def continue_pretraining(
    encoder: Vit,
    chips: Chips,
    recipe: ContinuedRecipe | MixtureRun,
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
    device = next(encoder.parameters()).device
    found = encoder.encode(sample["image"].to(device), sample["descriptors"].to(device))
    return torch.cat(found.maps, 1).float().cpu()


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
    recipe: HeadTraining,
    seed: int,
    out: Path,
    device: str = "auto",
) -> tuple[Head, float]:
    """A light head on a frozen encoder's maps with the weights that do best on `val`, and its mIoU there."""
    torch.manual_seed(seed)
    head = build_head(encoder.widths, len(train.classes), recipe.channels)
    return head, fit_head(head, train, val, Run(recipe, seed, out, {"kind": "head"}, device, False))


class Run(NamedTuple):
    """How something learns with a head: `out` becomes the checkpoint, whose `header` says what is trained."""

    recipe: HeadTraining
    seed: int
    out: Path
    header: dict[str, Any]
    device: str = "auto"
    progress: bool = True


def fit_head(head: Head, train: KeptMaps, val: KeptMaps, run: Run) -> float:
    """Train a head, in place, on a frozen encoder's maps until it does best on `val`; its mIoU there.

    An interrupted run goes on, one that is done is read. Raises what `fit` raises.
    """

    def loss_of(model: nn.Module, batch: Batch, step: int) -> Tensor:
        return cast(Head, model).loss(batch["maps"], batch["label"])

    data = Turns(train, run.recipe.steps * run.recipe.batch, run.seed)
    judged = partial(confusions, head, val)
    return _fit_best(head, loss_of, data, judged, run)


def fit_updates(model: Segmenter, train: Chips, val: Chips, run: Run) -> float:
    """As `fit_head`, of a head and all that learns of its encoder together; chips are flipped and encoded anew.

    With low-rank updates (`sartutor.learn.sam.lora`) in the place of the adapters that arXiv 2603.12008 marks by "*".
    Those (arXiv 2504.06220) look at high and low frequencies of the tokens apart and mix several adapters by a router.
    """

    def loss_of(model: nn.Module, batch: Batch, step: int) -> Tensor:
        return cast(Segmenter, model).loss(batch)[0]

    data = Shuffled(train, run.recipe.steps * run.recipe.batch, run.seed)
    judged = partial(confusions, model.head, val, model.encoder)
    return _fit_best(model, loss_of, data, judged, run)


def _fit_best(
    model: nn.Module,
    loss_of: LossOf,
    data: Dataset[Sample],
    judged: Callable[[], Tensor],
    run: Run,
) -> float:
    """Train a model until the confusion matrices that `judged` gives are best; leaves it there, and gives its mIoU."""
    recipe, seed, out, header, device, progress = run
    header = {**header, "recipe": asdict(recipe), "seed": seed}
    if is_done(out, header):
        model.load_state_dict(load_tensors(out)[0])
    else:
        fit(
            model,
            loss_of,
            data,
            recipe.batch,
            Schedule.of(recipe, recipe.check_every, (0.9, 0.999)),
            out,
            header,
            device,
            seed=seed,
            validation=Validation(recipe.check_every, recipe.steps, lambda _: -mean_iou(judged().sum(0))),
            progress=progress,
        )
    model.eval()
    return -min(loss for _, loss in read_curve(out).validation)


@torch.no_grad()
def confusions(head: Head, data: KeptMaps | Chips, encoder: FrozenEncoder | None = None) -> Tensor:
    """Confusion matrix of each chip (chips, classes, classes), of kept maps or of chips that `encoder` encodes."""
    device = next(head.parameters()).device
    found = []
    for sample in _batches(data):
        maps = sample["maps"] if encoder is None else encoded_maps(encoder, sample)
        size = (sample["label"].shape[1], sample["label"].shape[2])
        guess = head(maps.to(device), size).argmax(1).cpu()
        found += [
            confusion_matrix(mine, true, len(data.classes))
            for mine, true in zip(guess, sample["label"], strict=True)
        ]
    return torch.stack(found)


def _batches(chips: KeptMaps | Chips) -> DataLoader[Sample]:
    return DataLoader(cast("Dataset[Sample]", chips), BATCH)
