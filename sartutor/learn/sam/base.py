"""Training of `sam_tiny_base`: prompted windows of drawn shapes, boxes loose on purpose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sartutor.learn.data import ShapeWindows
from sartutor.learn.loop import Schedule, fit
from sartutor.learn.losses import cross_entropy_loss, dice_loss, mask_iou
from sartutor.learn.sam.contrast import box_mask
from sartutor.learn.sam.model import RadarSam
from sartutor.presets import SAM_SIZES, ShapesRecipe


def train(recipe: ShapesRecipe, seed: int, out: Path, device: str = "auto") -> RadarSam:
    """Train the tiny model from scratch by `recipe` and write it to `out` (float32); an interrupted run goes on."""
    torch.manual_seed(seed)
    model = RadarSam(SAM_SIZES["tiny"])
    scenes = recipe.steps * recipe.scenes_per_step
    data = ShapeWindows(seed, scenes, recipe.windows_per_scene, model.size.image_size)
    schedule = Schedule.of(recipe, recipe.save_every)
    fit(
        model,
        _loss,
        data,
        recipe.scenes_per_step,
        schedule,
        out,
        base_header(recipe, seed),
        device,
    )
    return model


def base_header(recipe: ShapesRecipe, seed: int) -> dict[str, Any]:
    """What the checkpoint says of itself."""
    return {
        "kind": "sam",
        "architecture": "tiny",
        "phases": [],
        "bands": "1-3 bands, each stretched to the 1st-99th percentile of its window",
        "recipe": f"drawn shapes: {recipe}",
        "seed": seed,
        "parent": None,
    }


def _loss(model: nn.Module, batch: dict[str, Tensor], step: int) -> Tensor:
    """Mask loss of the single mask, of the best of three alternatives, and the error of the predicted IoU."""
    image, boxes, points, target = (batch[key].flatten(0, 1) for key in ("image", "box", "points", "target"))
    logits, quality = model(image.float().contiguous(memory_format=torch.channels_last), boxes, points)
    goal, inside = target[:, None].float(), box_mask(boxes, logits.shape[-1])[:, None].float()
    single = _mask_loss(logits[:, :1], goal, inside)
    coarse = [layers[..., ::2, ::2] for layers in (logits, goal, inside)]
    best = _mask_loss(coarse[0][:, 1:], coarse[1], coarse[2]).min(1, keepdim=True).values
    error = (quality.float() - mask_iou(*coarse)).square().mean(1, keepdim=True)
    return (single + 0.25 * best + 0.1 * error).mean()


def _mask_loss(logits: Tensor, goal: Tensor, inside: Tensor) -> Tensor:
    """Dice plus a little cross-entropy inside the box; what lies outside is cut away in use, so it is free.

    Dice alone puts the threshold for the best overlap at 0.5; cross-entropy, which puts it at even odds, only keeps
    the gradient alive where a mask is empty.
    """
    logits = logits.float()
    return dice_loss(logits, goal, inside) + 0.05 * cross_entropy_loss(logits, goal, inside)
