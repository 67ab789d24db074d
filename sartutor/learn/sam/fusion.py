"""The selective fusion gate: at every place of two encoders' embeddings, how much each of them counts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from sartutor.learn.sam.model import Embedding

HIDDEN = 32
"""Channels between the gate's two convolutions (arXiv 2408.09085, released code)."""


class SelectiveFusionGate(nn.Module):
    """Weights (B, encoders, h, w) that add up to 1 at every token of `encoders` embeddings (B, C, h, w).

    softmax(conv3x3(GELU(conv3x3(u)))) of the embeddings u stacked along channels (arXiv 2408.09085, taken over by
    arXiv 2601.01213).
    """

    def __init__(self, channels: int, encoders: int = 2) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(encoders * channels, HIDDEN, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(HIDDEN, encoders, 3, padding=1),
        )

    def forward(self, tokens: Sequence[Tensor]) -> Tensor:
        return self.layers(torch.cat(list(tokens), 1)).softmax(1)


def average_weights(tokens: Sequence[Tensor]) -> Tensor:
    """Weights (B, encoders, h, w) that are equal everywhere: the ablation."""
    batch, _, height, width = tokens[0].shape
    return tokens[0].new_full((batch, len(tokens), height, width), 1 / len(tokens))


def first_weights(tokens: Sequence[Tensor]) -> Tensor:
    """Weights (B, encoders, h, w) that are 1 for the first encoder and 0 for others: what fusion has to beat."""
    weights = torch.zeros_like(average_weights(tokens))
    weights[:, 0] = 1
    return weights


def fused(embeddings: Sequence[Embedding], weights: Tensor) -> Embedding:
    """One embedding: at every level the sum of the encoders', each times its weight (B, encoders, h, w).

    All channels of a place share the weights; for levels finer than the tokens they are resized bilinearly.
    """
    levels = zip(*embeddings, strict=True)
    return tuple(_weighted(list(level), weights) for level in levels)


def _weighted(parts: list[Tensor], weights: Tensor) -> Tensor:
    """sum_m w_m e_m of maps (B, C, H, W)."""
    size = parts[0].shape[-2:]
    if weights.shape[-2:] != size:
        weights = functional.interpolate(weights, size, mode="bilinear")
    each = zip(parts, weights.unbind(1), strict=True)
    return torch.stack([part * weight[:, None] for part, weight in each]).sum(0)
