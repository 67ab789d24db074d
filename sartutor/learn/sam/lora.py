"""LoRA (arXiv 2106.09685) by peft: low-rank updates of a frozen encoder's weights."""

from __future__ import annotations

import copy
from typing import Literal, TypeVar

from torch import nn

from sartutor.errors import SarTutorError
from sartutor.learn.sam.encoder import ImageEncoder

Trunk = TypeVar("Trunk", bound=nn.Module)

Tuning = Literal["adapters", "lora"]
"""How a branch makes the trunk its own: by adapters beside the weights, or by low-rank updates of them."""

RANK = 4
"""Of the updates (arXiv 2408.09085, released code)."""


class LowRankUpdates(nn.ModuleList):
    """Of every block's queries, keys and values W x + b, an update up(down(x)) of rank 4, in place of adapters.

    peft puts them into a copy of the encoder's modules that shares its weights: these exist once, however many sets of
    updates there are, and the encoder given goes on without them. `up` starts at zero, so that training starts from the
    encoder as it was. Rank and scale (1) are those of the released code of arXiv 2408.09085, which updates only
    queries and values, each through a `down` of its own: as many parameters.

    SarTutorError where peft is not installed.
    """

    encoder: ImageEncoder

    def __init__(self, encoder: ImageEncoder) -> None:
        updated = with_updates(encoder)
        layers = [updated.get_submodule(f"blocks.{i}.attn.qkv") for i in range(len(encoder.blocks))]
        pairs = (("down", "lora_A.default"), ("up", "lora_B.default"))
        super().__init__(
            nn.ModuleDict({name: layer.get_submodule(part) for name, part in pairs}) for layer in layers
        )
        object.__setattr__(self, "encoder", updated)

    def within(self, encoder: ImageEncoder) -> ImageEncoder:
        """The encoder given to begin with, with the updates in it."""
        self.encoder.checkpointing = encoder.checkpointing
        return self.encoder


def with_updates(encoder: Trunk) -> Trunk:
    """The encoder with updates of rank 4 of its blocks' queries, keys and values, which are all that learns of it.

    These are new modules around the same weights, which no longer learn: the encoder given goes on without updates.

    SarTutorError where peft is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise SarTutorError(
            'Low-rank updates need peft; install it with: pip install "sartutor[paper]".'
        ) from error
    shared = {id(weight): weight for weight in encoder.parameters()}
    config = LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["qkv"])
    return inject_adapter_in_model(config, copy.deepcopy(encoder, shared))


def merged(encoder: Trunk) -> Trunk:
    """The encoder with its updates as part of the weights, W + B A: new modules and weights, without peft's."""
    plain = copy.deepcopy(encoder)
    for name, layer in list(plain.named_modules()):
        if hasattr(layer, "get_base_layer"):
            layer.merge()
            plain.set_submodule(name, layer.get_base_layer())
    return plain
