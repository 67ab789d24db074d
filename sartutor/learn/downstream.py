"""What an encoder is worth: it is fine-tuned for a task, chosen on validation, and scored on test chips.

An encoder is any module with `features` and `widths`, with random weights or from pretraining.
"""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from sartutor.learn.chips import Chips, Sample, Shuffled
from sartutor.learn.loop import Batch, Schedule, Validation, fit
from sartutor.learn.runner import scene_interval
from sartutor.learn.tasks import Task
from sartutor.learn.upernet import Encoder
from sartutor.presets import DownstreamRecipe

DRAWS = 400
"""How often test chips are drawn again for the interval of a score."""


def finetune(
    task: Task,
    encoder: Encoder,
    train: Chips,
    val: Chips,
    test: Chips,
    recipe: DownstreamRecipe,
    seed: int,
    out: Path,
    device: str = "auto",
) -> dict[str, float]:
    """Train encoder and head on `train`, keep the weights that do best on `val`, and score them on `test`.

    Returns:
        The task's scores; of the one it goes by, `<name>_low` and `<name>_high` too, the ends of its interval over
        test chips; and the numbers of `parameters` trained and of labelled `chips`.
    """
    model = train_model(task, encoder, train, val, recipe, seed, out, device)
    seen = evidence(task, model, test, recipe.batch)
    low, high = scene_interval(
        seen.numpy(), lambda drawn: task.scores(torch.from_numpy(drawn))[task.best], draws=DRAWS
    )
    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    interval = {f"{task.best}_low": low, f"{task.best}_high": high}
    return {**task.scores(seen), **interval, "parameters": count, "chips": len(train)}


def train_model(
    task: Task,
    encoder: Encoder,
    train: Chips,
    val: Chips,
    recipe: DownstreamRecipe,
    seed: int,
    out: Path,
    device: str = "auto",
) -> nn.Module:
    """The model with the weights that did best on `val`, also saved to `out`; an interrupted run goes on.

    Every share of labels is trained for the same number of steps. `seed` draws the head, the order of the chips and
    their flips. The encoder is trained in place; what it only needs for pretraining stays as it is.
    """
    torch.manual_seed(seed)
    model = task.head(encoder, recipe)
    freeze_unused(model, train[0]["image"][None])

    def loss_of(model: nn.Module, batch: Batch, step: int) -> Tensor:
        return task.loss(model(batch["image"]).float(), batch["label"])

    def worse(model: nn.Module) -> float:
        return -task.scores(evidence(task, model, val, recipe.batch))[task.best]

    fit(
        model,
        loss_of,
        Shuffled(train, recipe.steps * recipe.batch, seed),
        recipe.batch,
        schedule_of(recipe),
        out,
        {"kind": "downstream", "task": task.name, "recipe": asdict(recipe), "seed": seed},
        device,
        seed=seed,
        depth_of=layer_depths(model).__getitem__,
        validation=Validation(recipe.check_every, recipe.steps, worse),
    )
    return model


def schedule_of(recipe: DownstreamRecipe) -> Schedule:
    """AdamW with betas (.9, .999), warm-up and cosine, as both papers fine-tune."""
    schedule = Schedule.of(recipe, recipe.check_every, (0.9, 0.999))
    return replace(schedule, layer_decay=recipe.layer_decay)


@torch.no_grad()
def evidence(task: Task, model: nn.Module, chips: Chips, batch: int) -> Tensor:
    """What the task's scores need of each chip, (chips, ...) on the CPU; the model is left in evaluation mode."""
    model.eval()
    device = next(model.parameters()).device
    found = []
    for sample in DataLoader(cast(Dataset[Sample], chips), batch):
        logits = model(sample["image"].to(device)).float().cpu()
        found.append(task.evidence(logits, sample["label"]))
    return torch.cat(found)


def freeze_unused(model: nn.Module, image: Tensor) -> None:
    """Train no parameter that has no part in the answer to an image, such as a decoder of pretraining."""
    model(image).sum().backward()
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.grad is not None)
        parameter.grad = None


def layer_depths(model: nn.Module) -> dict[str, int]:
    """The depth of each trained parameter of a model with an `encoder`, for layer decay.

    The encoder's embedding has depth 0, the head the greatest. Each block of the encoder is one deeper than the one
    before; what stands between blocks has the depth of the block before it.
    """
    depths: dict[str, int] = {}
    blocks: list[str] = []
    for name in (name for name, parameter in model.named_parameters() if parameter.requires_grad):
        found = re.match(r"encoder\..*?blocks\.\d+\.", name)
        if found and found.group() not in blocks:
            blocks.append(found.group())
        depths[name] = len(blocks)
    return {name: depth if name.startswith("encoder.") else len(blocks) + 1 for name, depth in depths.items()}
