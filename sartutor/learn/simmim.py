"""SAR-W-SimMIM: patches of a radar chip are hidden and painted in, with a loss weighted by backscatter.

SimMIM (arXiv 2111.09886) hides large patches, lets the encoder see a learned token in their place, and asks one linear
layer for their pixels. SAR-W-SimMIM (arXiv 2603.15119) weights the absolute error of each pixel by a function of its
backscatter. Here the encoder is a Swin Transformer; the image encoder of Segment Anything, so that an adapted Segment
Anything can start from radar images; or a plain vision transformer, from which experts are copied.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from sartutor.errors import DataError, SarTutorError
from sartutor.learn.distributed import global_mean
from sartutor.learn.masks import patch_mask, upsample_mask
from sartutor.learn.sam.model import RadarSam
from sartutor.learn.swin import build_swin, features
from sartutor.learn.vit import Vit
from sartutor.learn.weighting import BandStatistics, WeightRule, known_pixels
from sartutor.presets import SamSize, SwinSize, VitSize

MASK_PATCH = 16
"""Side of a hidden patch in pixels (arXiv 2603.15119); arXiv 2111.09886 takes 32."""

MASK_RATIO = 0.6
"""Share of the patches that is hidden (arXiv 2111.09886, section 4.1)."""

STRETCH = 2.326
"""Standard deviations between the mean of a band and either end of Segment Anything's [0, 1]: the 1st and 99th
percentile of a normal distribution."""

Error = Literal["l1", "mse", "huber"]
ERRORS: Mapping[Error, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": partial(functional.l1_loss, reduction="none"),
    "mse": partial(functional.mse_loss, reduction="none"),
    "huber": partial(functional.huber_loss, reduction="none"),
}
"""Errors of single pixels; "huber" turns from squared to absolute at 1."""


def masked_error(
    restored: Tensor, image: Tensor, weight: Tensor, counted: Tensor, error: Error = "l1"
) -> Tensor:
    """L = sum(W e(x, x') M V) / (sum(M V) + 1e-5) / C, e the error of a pixel, over the batches of all processes.

    SimMIM's loss (arXiv 2111.09886, section 3.4) with the weights W of arXiv 2603.15119 and without the pixels that
    hold no data. The denominator counts pixels and not their weights: weights of 2 double the loss. The gradient with
    respect to x' is exactly zero where M or V is.

    Args:
        restored: x', float (B, C, H, W).
        image: x, (B, C, H, W).
        weight: W, (B, C, H, W).
        counted: M V, bool (B, 1, H, W): hidden pixels that hold data.
        error: kind of e.
    """
    total = (weight * counted * ERRORS[error](restored, image)).sum()
    return global_mean(total, image.shape[1] * (counted.sum() + 1e-5))


class MaskedRestoration(nn.Module, ABC):
    """Hide patches, restore the chip, count the error where pixels were hidden; what encodes is the subclass's.

    `rule` and `statistics` give the weight of each pixel; `seed`, the step and a chip's number give its mask. `token`
    is the side in pixels of the encoder's tokens at its input. SarTutorError for an unknown `error`, DataError for a
    `mask_patch` that tokens do not tile.
    """

    def __init__(
        self,
        statistics: BandStatistics,
        rule: WeightRule,
        seed: int,
        mask_patch: int,
        error: Error,
        token: int,
    ) -> None:
        super().__init__()
        if error not in ERRORS:
            raise SarTutorError(f"There is no error {error!r}; use one of {', '.join(ERRORS)}.")
        if mask_patch < token or mask_patch % token:
            raise DataError(
                f"Patches of {mask_patch} pixels are no whole tokens of {token} pixels and cannot be hidden; use a "
                f"multiple of {token}."
            )
        self.statistics, self.rule, self.seed, self.error = statistics, rule, seed, error
        self.mask_patch, self.tokens_per_patch = mask_patch, mask_patch // token

    @abstractmethod
    def reconstruct(self, image: Tensor, mask: Tensor) -> Tensor:
        """Chips (B, C, S, S) painted whole from what `mask` (B, S/mask_patch, S/mask_patch) leaves to be seen."""

    def mask(self, batch: Mapping[str, Tensor], step: int) -> Tensor:
        """Masks (B, S/mask_patch, S/mask_patch) of a step for chips numbered by `index` (B,), else from 0."""
        image = batch["image"]
        places = batch["index"].tolist() if "index" in batch else range(len(image))
        side = min(image.shape[2:])
        return patch_mask(side, self.mask_patch, MASK_RATIO, places, self.seed, step).to(image.device)

    def loss(self, batch: Mapping[str, Tensor], step: int) -> Tensor:
        """Weighted error at the hidden pixels of a batch with `image` (B, C, S, S) and `valid` (B, 1, S, S).

        Raises DataError where chips are not of the encoder's size or bands, patches do not tile them, or a valid pixel
        is not finite.
        """
        valid = batch["valid"]
        image = known_pixels(batch["image"], valid)
        mask = self.mask(batch, step)
        weight = self.rule.weights(image, valid, self.statistics)
        counted = upsample_mask(mask, self.mask_patch)[:, None] & valid
        return masked_error(self.reconstruct(image, mask).float(), image, weight, counted, self.error)


class SimMIM(MaskedRestoration):
    """SimMIM with a Swin Transformer for chips of any number of bands, of the size's side.

    The decoder is one linear layer from the last stage's tokens to the 32 x 32 pixels that each stands for.
    """

    def __init__(
        self,
        size: SwinSize,
        statistics: BandStatistics,
        rule: WeightRule,
        seed: int = 0,
        mask_patch: int = MASK_PATCH,
        error: Error = "l1",
    ) -> None:
        super().__init__(statistics, rule, seed, mask_patch, error, size.patch)
        self.size = size
        channels = len(statistics.names)
        self.encoder = build_swin(size, channels)
        self.mask_token = mask_token(size.width)
        self.decoder = PixelDecoder(size.widths[-1], 8 * size.patch, channels)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the maps that `features` gives."""
        return self.size.widths

    def features(self, image: Tensor) -> list[Tensor]:
        """Maps (B, C, H, W) at strides 4, 8, 16 and 32 of chips in which nothing is hidden."""
        return features(self.encoder, image)

    def reconstruct(self, image: Tensor, mask: Tensor) -> Tensor:
        """Chips (B, C, S, S) painted whole from what `mask` (B, S/mask_patch, S/mask_patch) leaves to be seen."""
        return self.paint(image, upsample_mask(mask, self.tokens_per_patch))

    def paint(self, image: Tensor, hidden: Tensor) -> Tensor:
        """Chips (B, C, S, S) painted whole, with the tokens `hidden`, bool (B, S/patch, S/patch), unseen."""
        return self.decoder(features(self.encoder, image, hidden, self.mask_token)[-1])


class SamSimMIM(MaskedRestoration):
    """SimMIM with the image encoder of Segment Anything, for chips of three bands in the order of its inputs.

    The weights of the encoder carry the names that they have in `RadarSam`, and what is decoded is the embedding that
    Segment Anything gives to its mask decoder. Bands are mapped to [0, 1] as there, the mean and all that is no data to
    0.5, `STRETCH` standard deviations to the ends. The mask token stands in place of patch embeddings, before positions
    are added.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        size: SamSize,
        statistics: BandStatistics,
        rule: WeightRule,
        seed: int = 0,
        mask_patch: int = MASK_PATCH,
        error: Error = "l1",
    ) -> None:
        check_three_bands("Segment Anything's encoder", statistics)
        super().__init__(statistics, rule, seed, mask_patch, error, size.patch)
        self.size = size
        sam = RadarSam(size)
        self.image_encoder = sam.image_encoder
        self.mask_token = mask_token(size.width)
        self.decoder = PixelDecoder(size.embedding, size.patch, 3)
        self.register_buffer("pixel_mean", sam.pixel_mean, persistent=False)
        self.register_buffer("pixel_std", sam.pixel_std, persistent=False)

    def reconstruct(self, image: Tensor, mask: Tensor) -> Tensor:
        """Chips (B, 3, S, S) painted whole from what `mask` (B, S/mask_patch, S/mask_patch) leaves to be seen."""
        side = self.size.image_size
        if image.shape[1:] != (3, side, side):
            raise DataError(
                f"Segment Anything's {self.size.name} encoder takes 3 bands of {side} x {side} pixels and was given "
                f"{' x '.join(map(str, image.shape[1:]))}; cut chips of that size."
            )
        return self.decoder(self.embedding(image, upsample_mask(mask, self.tokens_per_patch)))

    def embedding(self, image: Tensor, hidden: Tensor) -> Tensor:
        """What SAM's mask decoder is given (B, embedding, g, g) of chips whose tokens `hidden` (B, g, g) are unseen."""
        levels = (0.5 + image / (2 * STRETCH)).clamp(0, 1)
        tokens = self.image_encoder.patch_embed((levels - self.pixel_mean) / self.pixel_std)
        tokens = torch.where(hidden[..., None], self.mask_token.to(tokens.dtype), tokens)
        return self.image_encoder.embed(tokens + self.image_encoder.pos_embed)


class VitSimMIM(MaskedRestoration):
    """SimMIM with a plain vision transformer, for chips of three bands; one linear layer decodes its last map."""

    def __init__(
        self,
        size: VitSize,
        statistics: BandStatistics,
        rule: WeightRule,
        seed: int = 0,
        mask_patch: int = MASK_PATCH,
        error: Error = "l1",
    ) -> None:
        check_three_bands("A plain vision transformer", statistics)
        super().__init__(statistics, rule, seed, mask_patch, error, size.patch)
        self.size = size
        self.encoder = Vit(size)
        self.mask_token = mask_token(size.width)
        self.decoder = PixelDecoder(size.width, size.patch, 3)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the maps that `features` gives."""
        return self.encoder.widths

    def features(self, image: Tensor) -> list[Tensor]:
        """Maps (B, D, g, g) of chips in which nothing is hidden."""
        return self.encoder.features(image)

    def reconstruct(self, image: Tensor, mask: Tensor) -> Tensor:
        """Chips (B, 3, S, S) painted whole from what `mask` (B, S/mask_patch, S/mask_patch) leaves to be seen."""
        patches = self.encoder.patches(image)
        hidden = upsample_mask(mask, self.tokens_per_patch)[..., None]
        shown = torch.where(hidden, self.mask_token.to(patches.dtype), patches)
        return self.decoder(self.encoder.encode_tokens(shown).maps[-1])


class PixelDecoder(nn.Module):
    """From a map (B, C, g, g) to pixels (B, bands, g stride, g stride): a 1 x 1 convolution and a pixel shuffle."""

    def __init__(self, width: int, stride: int, bands: int) -> None:
        super().__init__()
        self.stride = stride
        self.linear = nn.Linear(width, bands * stride**2)

    def forward(self, map: Tensor) -> Tensor:
        pixels = self.linear(map.permute(0, 2, 3, 1))
        return functional.pixel_shuffle(pixels.permute(0, 3, 1, 2), self.stride)


def check_three_bands(encoder: str, statistics: BandStatistics) -> None:
    """Raise DataError where an encoder for three bands is given another number."""
    if len(statistics.names) != 3:
        raise DataError(
            f"{encoder} takes three bands and was given {', '.join(statistics.names)}; choose three, such as VV "
            "before, VV after and height."
        )


def mask_token(width: int) -> nn.Parameter:
    """A token (C,) that is learned, to stand in place of what is hidden."""
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(width), std=0.02))
