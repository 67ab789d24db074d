"""A plain vision transformer (arXiv 2010.11929) from timm's parts, in which mixtures of experts may take a place.

It starts from random weights, from masked pretraining on radar (`sartutor.learn.simmim.VitSimMIM`) or from DINOv2
(arXiv 2304.07193), whose names its weights have.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, cast

import torch
from timm.models.vision_transformer import Block, VisionTransformer, checkpoint_filter_fn
from torch import Tensor, nn

from sartutor.errors import CheckpointError, DataError
from sartutor.learn.checkpoints import load_pickle
from sartutor.learn.moe import Mixture, MixtureOfExperts, Routing
from sartutor.presets import VitSize
from sartutor.sar.descriptors import NAMES

LEVELS = 2
"""Maps that a head is given: after half of the blocks, and after all."""


class Encoded(NamedTuple):
    """What a transformer makes of images: `maps`, `LEVELS` of (B, D, g, g), and the routing of each mixture."""

    maps: list[Tensor]
    routings: list[Routing]


class Vit(VisionTransformer):
    """A vision transformer for three-channel images (B, 3, S, S), S a multiple of the patch.

    Positions are resampled for images of another size than `size.image_size`.
    """

    def __init__(self, size: VitSize) -> None:
        super().__init__(
            img_size=size.image_size,
            patch_size=size.patch,
            in_chans=3,
            num_classes=0,
            global_pool="",
            embed_dim=size.width,
            depth=size.depth,
            num_heads=size.heads,
            class_token=size.class_token,
            init_values=size.layer_scale,
            dynamic_img_size=True,
        )
        self.size = size

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the maps."""
        return (self.size.width,) * LEVELS

    def mix(self, mixture: Mixture) -> None:
        """Replace the feed-forward layer of every block by copies of it and a router (arXiv 2603.12008)."""
        for block in self.blocks:
            block.mlp = MixtureOfExperts(cast(nn.Module, block.mlp), self.size.width, mixture)

    def encode(self, image: Tensor, descriptors: Tensor | None = None) -> Encoded:
        """Maps of images (B, 3, S, S) and, with mixtures, what became of their tokens.

        `descriptors` are standardised, (B, 3); None takes those of the mean image. Raises DataError for a side that
        patches do not tile.
        """
        return self.encode_tokens(self.patches(image), descriptors)

    def patches(self, image: Tensor) -> Tensor:
        """Embedded patches (B, g, g, D) without positions."""
        rows, cols = image.shape[2:]
        if rows % self.size.patch or cols % self.size.patch:
            raise DataError(
                f"Patches of {self.size.patch} px do not tile images of {rows} x {cols} px; cut them to a multiple."
            )
        return self.patch_embed(image)

    def encode_tokens(self, patches: Tensor, descriptors: Tensor | None = None) -> Encoded:
        """As `encode`, of embedded patches (B, g, g, D)."""
        batch, rows, cols, _ = patches.shape
        told = patches.new_zeros(batch, len(NAMES)) if descriptors is None else descriptors
        tokens, maps, routings = self._pos_embed(patches), [], []
        for number, block in enumerate(self.blocks, 1):
            tokens, routing = _passed(block, tokens, told)
            routings += routing
            if number * LEVELS % len(self.blocks) == 0:
                last = self.norm(tokens)[:, self.num_prefix_tokens :]
                maps.append(last.transpose(1, 2).unflatten(2, (rows, cols)))
        return Encoded(maps, routings)

    def features(self, image: Tensor) -> list[Tensor]:
        """The maps alone."""
        return self.encode(image).maps


def _passed(block: nn.Module, tokens: Tensor, told: Tensor) -> tuple[Tensor, list[Routing]]:
    """Tokens (B, N, D) after a block, and the routing where it has experts."""
    block = cast(Block, block)
    tokens = tokens + block.drop_path1(block.ls1(block.attn(block.norm1(tokens))))
    if not isinstance(block.mlp, MixtureOfExperts):
        return tokens + block.drop_path2(block.ls2(block.mlp(block.norm2(tokens)))), []
    out, routing = block.mlp(block.norm2(tokens), told)
    return tokens + block.drop_path2(block.ls2(out)), [routing]


def load_dinov2(vit: Vit, path: Path) -> None:
    """Put official weights of DINOv2 (`dinov2_vits14_pretrain.pth`, ...) into a transformer of that size.

    Its patches and positions are resampled. Raises CheckpointError for weights of another size or that are none.
    """
    tensors = load_pickle(path)
    try:
        vit.load_state_dict(checkpoint_filter_fn(tensors, vit))
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} does not hold the weights of DINOv2 of size {vit.size.name}; take the file of that size."
        ) from error


def build_vit(size: VitSize, seed: int) -> Vit:
    """A transformer with random weights."""
    torch.manual_seed(seed)
    return Vit(size)
