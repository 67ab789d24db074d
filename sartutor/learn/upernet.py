"""UPerNet: one label per pixel from the four maps of a hierarchical encoder (arXiv 1807.10221).

The head is that of arXiv 2603.15119: a pyramid of adaptive maximum pools, group norm and GELU. The decoder of
segmentation_models_pytorch pools means, normalises over the batch, and stops at a quarter of the image's side.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

POOLS = (1, 2, 3, 6)
"""Sides of the pooled maps of the pyramid."""

GROUP = 16
"""Channels a group of the group norms: 16 groups at 256 channels; fewer would leave little of a map of one pixel."""


class Encoder(Protocol):
    """What a decoder needs of an encoder, which is also an `nn.Module`."""

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the four maps, finest first."""

    def features(self, image: Tensor) -> list[Tensor]:
        """Four maps (B, widths[i], H_i, W_i) of an image (B, C, H, W), finest first."""


def block(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """Convolution, group norm, GELU; the size of the map stays."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
        nn.GroupNorm(outputs // GROUP, outputs),
        nn.GELU(),
    )


def resized(maps: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Maps (B, C, h, w) resampled bilinearly to `size`, rows and columns."""
    return functional.interpolate(maps, size, mode="bilinear", align_corners=False)


class PyramidPooling(nn.Module):
    """The coarsest map beside its maxima over 1, 4, 9 and 36 parts: what the scene holds, and where roughly."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            nn.Sequential(nn.AdaptiveMaxPool2d(side), block(inputs, outputs, 1)) for side in POOLS
        )
        self.join = block(inputs + len(POOLS) * outputs, outputs, 3)

    def forward(self, coarsest: Tensor) -> Tensor:
        """(B, inputs, h, w) to (B, outputs, h, w)."""
        pooled = [resized(level(coarsest), coarsest.shape[2:]) for level in self.levels]
        return self.join(torch.cat([coarsest, *pooled], 1))


class UPerNet(nn.Module):
    """Any encoder with four maps, and the decoder that makes class scores of them.

    Pyramid pooling on the coarsest map, a feature pyramid down to the finest, all levels joined at a quarter of the
    image's side, and two doublings with convolutions on the way to full size.

    Args:
        encoder: gives the maps; its parameters are trained along.
        classes: scores per pixel.
        channels: width of the decoder, a multiple of 16.
        dropout: share of the joined channels dropped in training.
    """

    def __init__(self, encoder: Encoder, classes: int, channels: int, dropout: float) -> None:
        super().__init__()
        self.encoder = encoder
        *finer, coarsest = encoder.widths
        self.pyramid = PyramidPooling(coarsest, channels)
        self.lateral = nn.ModuleList(block(width, channels, 1) for width in finer)
        self.smooth = nn.ModuleList(block(channels, channels, 3) for _ in finer)
        self.fuse = block((len(finer) + 1) * channels, channels, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.head = nn.ModuleList(block(channels, channels, 3) for _ in range(2))
        self.scores = nn.Conv2d(channels, classes, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, classes, H, W) of an image (B, C, H, W)."""
        rows, cols = image.shape[2:]
        joined = self.fuse(self._joined(self.encoder.features(image), (rows // 4, cols // 4)))
        maps = self.dropout(joined)
        for conv, share in zip(self.head, (2, 1), strict=True):
            maps = conv(resized(maps, (rows // share, cols // share)))
        return self.scores(maps)

    def _joined(self, features: list[Tensor], size: tuple[int, int]) -> Tensor:
        """All levels of the feature pyramid at one size (B, 4 x channels, h, w)."""
        *finer, coarsest = features
        level = self.pyramid(coarsest)
        levels = [level]
        steps = list(zip(finer, self.lateral, self.smooth, strict=True))
        for fine, lateral, smooth in reversed(steps):
            side = lateral(fine)
            level = side + resized(level, side.shape[2:])
            levels.append(smooth(level))
        return torch.cat([resized(each, size) for each in levels], 1)
