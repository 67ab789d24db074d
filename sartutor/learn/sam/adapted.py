"""Segment Anything adapted to up to six bands: one frozen trunk, a branch per three bands, a gate, a mask decoder.

The three phases of arXiv 2601.01213: (1) the primary branch and the mask decoder learn together; (2) the secondary
branch learns to be understood by that decoder, which stays as it is, so that both embed alike; (3) a gate learns which
branch to trust where, and the decoder goes on learning, while both encoders stay as they are.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from sartutor.errors import SarTutorError
from sartutor.learn.sam.adapters import Activation
from sartutor.learn.sam.fusion import SelectiveFusionGate, average_weights, first_weights, fused
from sartutor.learn.sam.lora import Tuning
from sartutor.learn.sam.model import Embedding, EncoderBranch, RadarSam

PHASES = (1, 2, 3)

Fusion = Literal["gate", "average", "first"]
"""How two encoders become one: by a gate that is learned, half and half, or by leaving out the second."""

Encoders = Literal["pair", "stacked"]
"""An encoder for every three bands, or one for all of them, stacked."""


class AdaptedSam(nn.Module):
    """What adaptation adds to a base model, which stays as it is and is no part of the parameters or the state.

    Images are (B, branches, 3, S, S) in [0, 1]; boxes (N, 4) in pixels of the S x S input. Phases 1 and 2 decode with
    `mask_decoder`, phase 3 with `fusion_decoder`, so that every phase of a finished model can be looked at.

    Args:
        base: the model to start from.
        branches: 1 or 2 triples of bands, each with an encoder of its own; with 2 there is a gate.
        activation: of the adapters.
        fusion: of two encoders.
        tuning: of each encoder.
        encoders: "stacked" has one encoder for all bands, and phase 1 alone: the ablation.
    """

    base: RadarSam

    def __init__(
        self,
        base: RadarSam,
        branches: int = 2,
        activation: Activation = "gelu",
        fusion: Fusion = "gate",
        tuning: Tuning = "adapters",
        encoders: Encoders = "pair",
    ) -> None:
        super().__init__()
        if branches not in (1, 2):
            raise SarTutorError(f"{branches} encoders cannot be adapted; use 1 or 2.")
        object.__setattr__(self, "base", copy.deepcopy(base).requires_grad_(False).eval())
        self.size = base.size
        self.stacked = encoders == "stacked"
        count, triples = (1, branches) if self.stacked else (branches, 1)
        self.branches = nn.ModuleList(
            EncoderBranch(self.base, tuning, activation, triples) for _ in range(count)
        )
        gated = count == 2 and fusion == "gate"
        self.fusion = fusion
        self.gate = SelectiveFusionGate(base.size.embedding) if gated else None
        self.mask_decoder = copy.deepcopy(base.mask_decoder)
        self.fusion_decoder = copy.deepcopy(base.mask_decoder) if count == 2 else None
        self.use_phase(1)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> AdaptedSam:
        """Move or convert the base too."""
        self.base._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def use_phase(self, phase: int) -> AdaptedSam:
        """Encode and decode as a phase does.

        SarTutorError for a phase that does not exist, or that needs two encoders where there is one.
        """
        if phase not in PHASES:
            raise SarTutorError(f"There is no phase {phase}; use {', '.join(map(str, PHASES))}.")
        if phase > 1 and len(self.branches) == 1:
            raise SarTutorError(
                f"Phase {phase} needs a secondary encoder; give more than three bands and do not stack them."
            )
        self.phase = phase
        fused = self.fusion_decoder if phase == 3 else None
        self.base.mask_decoder = fused or self.mask_decoder
        return self

    def checkpoint_blocks(self, on: bool) -> None:
        """Whether the encoders' blocks compute their activations again in the backward pass instead of keeping them."""
        self.base.image_encoder.checkpointing = on

    def train_phase(self, phase: int) -> list[str]:
        """Let only what a phase trains learn, and encode as the phase does; names of the trained parameters.

        SarTutorError as of `use_phase`.
        """
        self.use_phase(phase)
        trained = {1: ("branches.0.", "mask_decoder."), 2: ("branches.1.",), 3: ("gate.", "fusion_decoder.")}
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name.startswith(trained[phase]))
        return [name for name, parameter in self.named_parameters() if parameter.requires_grad]

    def begin_fusion(self) -> None:
        """Start phase 3 from the decoder that both encoders have learned to speak to."""
        assert self.fusion_decoder is not None
        self.fusion_decoder.load_state_dict(self.mask_decoder.state_dict())

    def encode(self, images: Tensor) -> Embedding:
        """The embedding that the phase decodes: of one branch in phases 1 and 2, of both fused in phase 3."""
        if self.phase < 3:
            return self.encode_branch(images, self.phase - 1)
        with torch.no_grad():
            both = [self.encode_branch(images, index) for index in range(len(self.branches))]
        return self.fuse(both)

    def encode_branch(self, images: Tensor, index: int) -> Embedding:
        """The embedding of one branch."""
        branch: EncoderBranch = self.branches[index]  # type: ignore[assignment]
        return self.base.encode(self.seen(images, index), branch)

    def seen(self, images: Tensor, index: int) -> Tensor:
        """What a branch sees of images: its own three bands (B, 3, S, S), or all of them, stacked."""
        return images.flatten(1, 2) if self.stacked else images[:, index]

    def fuse(self, embeddings: Sequence[Embedding]) -> Embedding:
        """One embedding of both branches, weighted at every place."""
        return fused(embeddings, self.fusion_weights([each[0] for each in embeddings]))

    def fusion_weights(self, tokens: Sequence[Tensor]) -> Tensor:
        """How much each branch's tokens (B, C, h, w) count at every place (B, 2, h, w)."""
        if self.gate is not None:
            return self.gate(tokens)
        return average_weights(tokens) if self.fusion == "average" else first_weights(tokens)

    def decode(
        self, embedding: Embedding, boxes: Tensor, points: Tensor | None = None, around: bool = True
    ) -> tuple[Tensor, Tensor]:
        """As `RadarSam.decode`, with the mask decoder of the phase."""
        return self.base.decode(embedding, boxes, points, around)
