"""Adapters: small bottlenecks beside the frozen blocks of an image encoder, which are all that is trained of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from torch import Tensor, nn

from sartutor.errors import SarTutorError
from sartutor.presets import SamSize

Activation = Literal["gelu", "relu"]
ACTIVATIONS: Mapping[Activation, Callable[[], nn.Module]] = {"gelu": nn.GELU, "relu": nn.ReLU}
"""GELU is what the released code of arXiv 2601.01213 runs, ReLU what its text says."""

RATIO = 0.25
"""Width of the bottleneck over that of the tokens (arXiv 2601.01213)."""

MLP_SCALE = 0.5
"""What the adapter beside the MLP is multiplied by (arXiv 2601.01213)."""


class Adapter(nn.Module):
    """W2 act(W1 x) with biases, tokens (..., D) to (..., D) through D / 4.

    W2 starts at zero, so that training starts from the encoder as it was; the released code of arXiv 2601.01213 starts
    at random. SarTutorError for an activation that is not known.
    """

    def __init__(self, width: int, activation: Activation = "gelu") -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise SarTutorError(
                f"There is no activation {activation!r}; use one of {', '.join(ACTIVATIONS)}."
            )
        inner = int(RATIO * width)
        self.down, self.act, self.up = (
            nn.Linear(width, inner),
            ACTIVATIONS[activation](),
            nn.Linear(inner, width),
        )
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.up(self.act(self.down(tokens)))


class BlockAdapter(nn.Module):
    """The two adapters of a block: `space` after its attention, with a skip, and `mlp` beside its MLP."""

    def __init__(self, width: int, activation: Activation = "gelu") -> None:
        super().__init__()
        self.space, self.mlp = Adapter(width, activation), Adapter(width, activation)

    def after_attention(self, attended: Tensor) -> Tensor:
        """h + A(h) of what attention gave."""
        return attended + self.space(attended)

    def beside_mlp(self, normed: Tensor) -> Tensor:
        """s A(n) of the normed tokens n that the MLP is given, to be added to what it gives."""
        return MLP_SCALE * self.mlp(normed)


class Adapters(nn.ModuleList):
    """One `BlockAdapter` per block of an encoder: a set that makes one trunk another encoder."""

    def __init__(self, size: SamSize, activation: Activation = "gelu") -> None:
        super().__init__(BlockAdapter(size.width, activation) for _ in range(size.depth))
