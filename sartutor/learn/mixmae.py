"""SAR-W-MixMAE: two radar chips mixed into one, told apart again, with a loss weighted by backscatter.

MixMAE (arXiv 2205.13137) fills the masked tokens of one image with tokens of another, so that nothing the encoder
sees is empty, and asks the decoder to restore both. SAR-W-MixMAE (arXiv 2503.01181) weights the squared error of
each pixel by a function of its backscatter.

Partners are neighbours, chips 2i and 2i + 1 of the global batch. The released program takes chips i and B - 1 - i
instead, by flipping the batch: the same objective, as the order of a shuffled batch means nothing. Neighbours stay
together when a batch is split between processes, as long as every process gets an even share; the mask is drawn from
seed and step, the same everywhere; and the mean is over the valid pixels of all processes. So several processes
compute what one would.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from sartutor.errors import DataError
from sartutor.learn.distributed import global_mean
from sartutor.learn.masked_swin import CELL, MaskedSwin, fixed_positions
from sartutor.learn.masks import token_mask, upsample_mask
from sartutor.learn.weighting import BandStatistics, WeightRule, known_pixels
from sartutor.presets import MixMaeSize

MASK_RATIO = 0.5
"""Share of the cells of a mixed chip that come from the partner (arXiv 2205.13137, section 4.1)."""


def partner(values: Tensor) -> Tensor:
    """Each pair (2i, 2i + 1) along the batch exchanged."""
    return values.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)


def mix(tokens: Tensor, mask: Tensor) -> Tensor:
    """Tokens or pixels (B, side, side, C), those of the partner where the mask (cells, cells) is True."""
    masked = upsample_mask(mask, tokens.shape[1] // len(mask))
    return torch.where(masked[..., None], partner(tokens), tokens)


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
    """Mean of W (prediction - target)^2 over the valid pixels of all processes; all four are of one shape."""
    error = torch.where(valid, weight * (prediction - target).square(), 0)
    return global_mean(error.sum(), valid.sum())


class TwoStreamDecoder(nn.Module):
    """Plain transformer that completes each half of the mixed tokens (arXiv 2205.13137, section 3.2)."""

    def __init__(self, size: MixMaeSize, channels: int) -> None:
        super().__init__()
        self.embed = nn.Linear(size.widths[-1], size.decoder_width)
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
        self.apply(_initialise)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the maps that `features` gives."""
        return self.size.widths

    def mask(self, batch: Mapping[str, Tensor], step: int) -> Tensor:
        """The mask (cells, cells) of one step: one for all chips, True where a chip shows its partner."""
        image = batch["image"]
        return token_mask(self._checked_side(image), CELL, MASK_RATIO, self.seed, step).to(image.device)

    def loss(self, batch: Mapping[str, Tensor], step: int) -> Tensor:
        """Weighted error of one batch with `image` (B, C, H, W) and `valid` (B, 1, H, W), B even.

        Raises DataError for an odd batch, for chips that are no squares of whole cells of 32 px or have other bands
        than `statistics`, and for valid pixels that are not finite.
        """
        valid = batch["valid"]
        image = known_pixels(batch["image"], valid)
        mask = self.mask(batch, step)
        weight = self.rule.weights(image, valid, self.statistics)
        restored = unmix(*self._streams(image, mask), mask).float()
        everywhere = patchify(valid.expand_as(image))
        wanted = targets(patchify(image), everywhere, self.normalise_targets).tokens
        return weighted_square_error(restored, wanted, patchify(weight), everywhere)

    @torch.no_grad()
    def reconstruct(self, image: Tensor, mask: Tensor, valid: Tensor | None = None) -> Tensor:
        """Chips (B, C, H, W) restored from mixtures with their partners, in the units of the input; B is even.

        Where targets are normalised, each cell takes its mean and standard deviation from the image itself, over
        `valid` (B, 1, H, W).
        """
        first, second = self.streams(image, mask, valid)
        return torch.where(upsample_mask(mask, CELL), first, second)

    @torch.no_grad()
    def streams(self, image: Tensor, mask: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Each chip restored twice, from its share of its own mixture and of its partner's; as `reconstruct`."""
        self._checked_side(image)
        valid = torch.ones_like(image[:, :1], dtype=torch.bool) if valid is None else valid
        image = known_pixels(image, valid)
        first, second = self._streams(image, mask)
        _, mean, std = targets(patchify(image), patchify(valid.expand_as(image)), self.normalise_targets)
        return unpatchify(first.float() * std + mean), unpatchify(partner(second.float()) * std + mean)

    def features(self, image: Tensor) -> list[Tensor]:
        """Feature maps (B, C, H, W) at strides 4, 8, 16 and 32 of unmixed images, in which all tokens attend."""
        self._checked_side(image)
        return [each.permute(0, 3, 1, 2) for each in self.encoder(self.encoder.embed(image))]

    def _streams(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """What the decoder makes of the mixture at each place, (B, cells, cells, P): chip 2i, and its partner."""
        if len(image) % 2:
            raise DataError(
                f"MixMAE mixes chips in pairs, and this batch has {len(image)}; use a batch size that is even in every "
                "process, and drop a last batch that is not full."
            )
        encoded = self.encoder(mix(self.encoder.embed(image), mask), mask)[-1]
        return self.decoder(encoded, mask)

    def _checked_side(self, image: Tensor) -> int:
        channels, height, width = image.shape[1:]
        if channels != len(self.statistics.names):
            raise DataError(
                f"The model is of the {len(self.statistics.names)} bands {', '.join(self.statistics.names)}, and these "
                f"chips have {channels}; give it the same bands in this order."
            )
        if height != width or height % CELL:
            raise DataError(
                f"MixMAE needs square chips whose side is a multiple of {CELL} pixels, and these have {height} x "
                f"{width}; cut them to one."
            )
        return height


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
