"""Heads: what turns the maps of an encoder into a class for every pixel."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from sartutor.presets import Mask2FormerSize
from sartutor.sar.folder import IGNORE

SHUFFLE = 4
"""Side of the square of pixels that the light head gives for each token, before they are resized."""


class Head(nn.Module, ABC):
    """Class scores from stacked maps of one size, and the loss that it learns from."""

    @abstractmethod
    def forward(self, maps: Tensor, size: tuple[int, int]) -> Tensor:
        """Logits (B, classes, *size) of stacked maps (B, sum of widths, g, g)."""

    @abstractmethod
    def loss(self, maps: Tensor, label: Tensor) -> Tensor:
        """Mean loss of stacked maps and labels (B, H, W); pixels labelled -1 count nowhere."""


class LightHead(Head):
    """Token by token: two linear layers, a pixel shuffle, bilinear resizing."""

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

    def loss(self, maps: Tensor, label: Tensor) -> Tensor:
        """Mean cross-entropy over labelled pixels."""
        return segmentation_loss(self(maps, (label.shape[1], label.shape[2])), label)


def segmentation_loss(logits: Tensor, label: Tensor) -> Tensor:
    """Mean cross-entropy over labelled pixels, of logits (B, classes, H, W) and labels (B, H, W)."""
    return functional.cross_entropy(logits.float(), label, ignore_index=IGNORE)


def build_head(
    widths: Sequence[int], classes: int, channels: int, decoder: Mask2FormerSize | None = None
) -> Head:
    """A head with random weights for maps of `widths`: light, or Mask2Former where its size is given.

    Raises SarTutorError where Mask2Former is asked for and transformers is not installed.
    """
    if decoder is None:
        return LightHead(widths, classes, channels)
    from sartutor.learn.mask2former import Mask2FormerHead

    return Mask2FormerHead(widths, classes, channels, decoder)
