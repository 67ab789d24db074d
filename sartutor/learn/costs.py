"""What an item costs in training: operations and memory, counted on tensors of which nothing but the shapes exists.

A model on PyTorch's device "meta" has no numbers, so that the papers' sizes are counted in a second on any laptop.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from sartutor.learn.mixmae import CELL, MixMAE, mix
from sartutor.learn.moe import Mixture
from sartutor.learn.pretrain import Model, build_model
from sartutor.learn.sam.adapted import AdaptedSam
from sartutor.learn.sam.model import RadarSam
from sartutor.learn.vit import build_vit
from sartutor.learn.weighting import BandStatistics, WeightRule
from sartutor.presets import SAM_SIZES, VIT_SIZES

META = torch.device("meta")

STATE_BYTES = 16
"""Bytes of a trained number in float32: itself, its gradient, and the two means that AdamW keeps."""

FROZEN_BYTES = 4
"""Bytes of a number that is not trained."""


class Cost(NamedTuple):
    """Of a model, and of one item in training.

    `forward` and `step` (forward and backward) are floating-point operations of matrix products and convolutions, two
    for a multiplication and an addition; `kept` are bytes of what the backward pass needs of the forward pass.
    """

    parameters: int
    trained: int
    forward: float
    step: float
    kept: float


def counted(model: nn.Module, forward: Callable[[], Tensor], items: int = 1) -> Cost:
    """The cost of an item, from one pass both ways of `forward`, which gives a tensor made of so many items."""
    with FlopCounterMode(display=False) as counter:
        out, kept = kept_bytes(forward)
        there = counter.get_total_flops()
        out.float().mean().backward()
        both = counter.get_total_flops()
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    trained = sum(size for size, learns in sizes if learns)
    return Cost(sum(size for size, _ in sizes), trained, there / items, both / items, kept / items)


def kept_bytes(forward: Callable[[], Tensor]) -> tuple[Tensor, int]:
    """What `forward` gives, and the bytes it keeps for the backward pass; parameters are there anyway and left out."""
    found: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if not isinstance(tensor if tensor._base is None else tensor._base, nn.Parameter):
            storage = tensor.untyped_storage()
            found[storage._cdata] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        out = forward()
    return out, sum(found.values())


def memory_bytes(cost: Cost, items: float, share: float = 0.75) -> float:
    """An estimate of what a GPU holds for so many items a step: weights, optimizer and activations.

    `share` is what is left of float32's activations in mixed bfloat16, in which softmax, norms and residuals stay in
    float32. Buffers of libraries come on top.
    """
    frozen = cost.parameters - cost.trained
    return STATE_BYTES * cost.trained + FROZEN_BYTES * frozen + share * items * cost.kept


def hours(operations: float, peak: float, utilisation: float, devices: int = 1) -> float:
    """An estimate of how long `operations` take on devices of `peak` operations a second, of which a share is used."""
    return operations / (peak * utilisation * devices) / 3600


def pretraining_model(method: str, backbone: str, size: str, bands: int) -> Model:
    """A fresh model of masked pretraining, of as many bands; names are those of `sartutor.learn.pretrain`."""
    names = tuple(f"band {number}" for number in range(bands))
    statistics = BandStatistics(names, (0.0,) * bands, (1.0,) * bands, (True,) * bands)
    return build_model(method, backbone, size, statistics, WeightRule(), 0)


def pretraining_cost(method: str, backbone: str, size: str, bands: int) -> Cost:
    """The cost of a chip in masked pretraining; arguments are those of `pretraining_model`."""
    model = pretraining_model(method, backbone, size, bands).to(META)
    side = model.size.image_size
    chips = torch.empty(2, len(model.statistics.names), side, side, device=META)
    if isinstance(model, MixMAE):
        return counted(model, lambda: _mixed(model, chips), 2)
    mask = torch.zeros(2, *(side // model.mask_patch,) * 2, dtype=torch.bool, device=META)
    return counted(model, lambda: model.reconstruct(chips, mask), 2)


def adaptation_cost(size: str) -> Cost:
    """The cost of encoding an image in phase 1 of adaptation: adapters in a frozen base of that size, by name.

    What the mask decoder computes for each box is left out; its weights are among those that are trained.
    """
    model = AdaptedSam(RadarSam(SAM_SIZES[size]), branches=1).to(META)
    model.train_phase(1)
    side = model.size.image_size
    images = torch.empty(1, 1, 3, side, side, device=META)
    found = counted(model, lambda: model.encode(images)[0])
    frozen = sum(p.numel() for p in model.base.parameters() if not p.requires_grad)
    return found._replace(parameters=found.parameters + frozen)


def mixture_cost(size: str, experts: int) -> Cost:
    """The cost of an image in continued pretraining of a transformer of that size whose layers are `experts` experts.

    A token is computed by one of them, so that the operations are those of the transformer without experts.
    """
    vit = build_vit(VIT_SIZES[size], 0)
    mixed = copy.deepcopy(vit)
    mixed.mix(Mixture(experts=experts, chosen=1))
    parameters = sum(parameter.numel() for parameter in mixed.parameters())
    image = torch.empty(1, 3, *(vit.size.image_size,) * 2, device=META)
    dense = vit.to(META)
    found = counted(dense, lambda: torch.cat(dense.features(image), 1))
    return found._replace(parameters=parameters, trained=parameters)


def _mixed(model: MixMAE, chips: Tensor) -> Tensor:
    """Both streams that the decoder makes of a mixture."""
    cells = chips.shape[-1] // CELL
    mask = torch.zeros(cells, cells, dtype=torch.bool, device=META)
    encoded = model.encoder(mix(model.encoder.embed(chips), mask), mask)[-1]
    return torch.stack(model.decoder(encoded, mask))
