"""SAR-W-MixMAE: two radar chips mixed into one, told apart again, with a loss weighted by backscatter.

MixMAE (arXiv 2205.13137) fills the masked tokens of one image with tokens of another, so that nothing the encoder
sees is empty, and asks the decoder to restore both. SAR-W-MixMAE (arXiv 2503.01181) weights the squared error of
each pixel by a function of its backscatter.

Partners are neighbours, chips 2i and 2i + 1 of the global batch. The released program takes chips i and B - 1 - i
instead, by flipping the batch: the same objective, as the order of a shuffled batch means nothing. Neighbours stay
together when a batch is split between processes, as long as every process gets an even share; the mask is drawn from
seed and step, the same everywhere; and the loss is a mean over chips. So several processes compute what one would.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from sartutor.errors import DataError
from sartutor.learn.masked_swin import CELL, MaskedSwin, fixed_positions, upsampled
from sartutor.presets import MixMaeSize

if TYPE_CHECKING:
    from sartutor.learn.weighting import BandStatistics, WeightRule

MASK_RATIO = 0.5
"""Share of the cells of a mixed chip that come from the partner (arXiv 2205.13137, section 4.1)."""


def partner(values: Tensor) -> Tensor:
    """Each pair (2i, 2i + 1) along the batch exchanged."""
    return values.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)


def mix(tokens: Tensor, mask: Tensor) -> Tensor:
    """Tokens (B, side, side, C), those of the partner where the mask (cells, cells) is True."""
    return torch.where(upsampled(mask, tokens.shape[1])[..., None], partner(tokens), tokens)


def unmix(first: Tensor, second: Tensor, mask: Tensor) -> Tensor:
    """Restored tokens (B, cells, cells, P): masked ones of the own first stream, others of the partner's second.

    Each token of each chip is masked in one of the two streams, and is taken from there (arXiv 2503.01181).
    """
    return torch.where(mask[..., None], first, partner(second))


def patchify(image: Tensor) -> Tensor:
    """Pixels (B, C, H, W) gathered by cell: (B, cells, cells, 32 x 32 x C), channels last within a cell."""
    cells = image.unflatten(3, (-1, CELL)).unflatten(2, (-1, CELL))
    return cells.permute(0, 2, 4, 3, 5, 1).flatten(3)


def unpatchify(tokens: Tensor) -> Tensor:
    """The inverse of `patchify`."""
    cells = tokens.unflatten(3, (CELL, CELL, -1)).permute(0, 5, 1, 3, 2, 4)
    return cells.flatten(4, 5).flatten(2, 3)


class Targets(NamedTuple):
    """Tokens to restore (B, cells, cells, P) = (pixels - mean) / std, with the mean and std that were used."""

    tokens: Tensor
    mean: Tensor
    std: Tensor


def targets(pixels: Tensor, valid: Tensor, normalise: bool) -> Targets:
    """What the decoder has to predict; with `normalise` each token has mean 0 and variance 1 over its valid pixels.

    As in arXiv 2111.06377 (section 4.1): unbiased variance, 1e-6 added before the root.
    """
    if not normalise:
        return Targets(pixels, pixels.new_zeros(()), pixels.new_ones(()))
    count = valid.sum(-1, keepdim=True)
    mean = (pixels * valid).sum(-1, keepdim=True) / count.clamp_min(1)
    deviation = (pixels - mean) * valid
    std = (deviation.square().sum(-1, keepdim=True) / (count - 1).clamp_min(1) + 1e-6).sqrt()
    return Targets(deviation / std, mean, std)


def weighted_square_error(prediction: Tensor, target: Tensor, weight: Tensor, valid: Tensor) -> Tensor:
    """Mean over chips of the mean over valid pixels of W (prediction - target)^2; all are (B, ...) of one shape."""
    error = torch.where(valid, weight * (prediction - target).square(), 0).flatten(1).sum(1)
    return (error / valid.flatten(1).sum(1).clamp_min(1)).mean()


class TwoStreamDecoder(nn.Module):
    """Plain transformer that completes each half of the mixed tokens (arXiv 2205.13137, section 3.2)."""

    def __init__(self, size: MixMaeSize, channels: int) -> None:
        super().__init__()
        self.embed = nn.Linear(8 * size.width, size.decoder_width)
        self.mask_token = nn.Parameter(torch.empty(size.decoder_width))
        self.blocks = nn.Sequential(
            *(
                Block(size.decoder_width, size.decoder_heads, qkv_bias=True, norm_layer=nn.LayerNorm)
                for _ in range(size.decoder_depth)
            )
        )
        self.norm = nn.LayerNorm(size.decoder_width)
        self.predict = nn.Linear(size.decoder_width, CELL**2 * channels)
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    def forward(self, encoded: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Two predictions (B, cells, cells, P): one from the unmasked tokens of each chip, one from the masked."""
        tokens, masked = self.embed(encoded), mask[..., None]
        empty = self.mask_token.to(tokens.dtype)
        streams = torch.cat([torch.where(masked, empty, tokens), torch.where(masked, tokens, empty)])
        streams = streams + fixed_positions(streams.shape[1], streams.shape[-1], streams.device)
        streams = self.predict(self.norm(self.blocks(streams.flatten(1, 2))))
        first, second = streams.view(2, len(tokens), *mask.shape, -1)
        return first, second


class MixMAE(nn.Module):
    """Pretraining by mixing and restoring pairs of chips.

    `rule` and `statistics` define the weight of each pixel; `seed` and the step define the mask. With
    `normalise_targets` the decoder predicts each cell up to its own mean and standard deviation.
    """

    def __init__(
        self,
        size: MixMaeSize,
        statistics: BandStatistics,
        rule: WeightRule,
        seed: int = 0,
        normalise_targets: bool = True,
    ) -> None:
        super().__init__()
        self.size, self.statistics, self.rule, self.seed = size, statistics, rule, seed
        self.normalise_targets = normalise_targets
        channels = len(statistics.names)
        self.encoder = MaskedSwin(size, channels)
        self.decoder = TwoStreamDecoder(size, channels)
        self.widths = self.encoder.widths
        self.apply(_initialise)

    def mask(self, side: int, step: int) -> Tensor:
        """The mask (cells, cells) of one step for chips of `side` px: one for the whole batch."""
        raise NotImplementedError

    def loss(self, batch: Mapping[str, Tensor], step: int) -> Tensor:
        """Weighted error of one batch with `image` (B, C, H, W) and `valid` (B, 1, H, W), B even.

        Raises DataError for an odd batch and for chips that are not square with a side of whole cells of 32 px.
        """
        raise NotImplementedError

    def reconstruct(self, image: Tensor, mask: Tensor, valid: Tensor | None = None) -> Tensor:
        """Chips (B, C, H, W) as restored from each other's mixtures, in the units of the input."""
        raise NotImplementedError

    def features(self, image: Tensor) -> list[Tensor]:
        """Feature maps (B, C, H, W) at strides 4, 8, 16 and 32 of unmixed images, in which all tokens attend."""
        _checked_side(image)
        return [each.permute(0, 3, 1, 2) for each in self.encoder(self.encoder.embed(image))]


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _checked_side(image: Tensor) -> int:
    height, width = image.shape[-2:]
    if height != width or height % CELL or not height:
        raise DataError(
            f"MixMAE needs square chips with a side that is a multiple of {CELL} px, and these have {height} x "
            f"{width} px; cut or resize them."
        )
    return height
