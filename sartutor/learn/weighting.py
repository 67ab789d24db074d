"""Backscatter weights of masked pretraining: dark pixels count more (arXiv 2503.01181, arXiv 2603.15119).

A pixel of linear power p in an image of least power a and greatest power b has n = (p - a) / (b - a) and the weight
w = exp(s (1 - n)), s the strength: 1 at the brightest pixel, e^s at the darkest. Weights are defined for radar bands
alone; other bands, such as height or slope, have the weight 1, and pixels without data 0 in all bands.

What to know before trusting them: one bright target stretches b, and all other weights fall together near e^s. And
weights come from the speckled target itself, so that the optimum of a weighted loss is darker than the mean
(`weighted_mean_shift_db`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch
from torch import Generator, Tensor
from torch.nn.functional import avg_pool2d

from sartutor.errors import CheckpointError, DataError, SarTutorError

ChannelMode = Literal["per_channel", "shared_avg"]
Mode = Literal["none", "per_channel", "shared_avg"]
Domain = Literal["physical", "zscore", "clipped"]
Control = Literal["none", "unit_mean", "shuffled", "inverted", "despeckled"]

CLIP_PERCENTILE = 99.0
"""Percentile of the valid pixels that takes the part of the greatest power in the domain "clipped"."""

RANGE_EPSILON = 1e-6
"""Part of an image's greatest power that is added to its range, so that an image of one power divides by no zero."""

DESPECKLE_PX = 7
"""Rows and columns of the box over which power is averaged in the control "despeckled", in pixels."""

NEPERS_PER_DB = math.log(10) / 10
"""Natural logarithm of the power ratio that is 1 dB."""


@dataclass(frozen=True)
class BandStatistics:
    """Names, mean and standard deviation of bands, over valid training pixels; `radar` says which are backscatter.

    Radar bands are in dB, others in their own units.
    """

    names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    radar: tuple[bool, ...]

    def __post_init__(self) -> None:
        if not len(self.names) == len(self.mean) == len(self.std) == len(self.radar):
            raise DataError(
                f"the statistics of bands {', '.join(self.names)} need one mean, one standard deviation and one "
                "radar flag a band."
            )
        for name, mean, std in zip(self.names, self.mean, self.std, strict=True):
            if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
                raise DataError(
                    f"band {name} has mean {mean:g} and standard deviation {std:g} in training and cannot be "
                    "standardised; remove the band or correct its values."
                )

    @property
    def radar_bands(self) -> tuple[int, ...]:
        """Positions of the radar bands."""
        return tuple(i for i, radar in enumerate(self.radar) if radar)

    def to_json(self) -> dict[str, Any]:
        """Lists and texts for the header of a checkpoint."""
        return {key: list(values) for key, values in asdict(self).items()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> BandStatistics:
        """The inverse of `to_json`; CheckpointError where an entry is missing."""
        try:
            return cls(*(tuple(content[key]) for key in ("names", "mean", "std", "radar")))
        except (KeyError, TypeError) as error:
            raise CheckpointError(
                f"the header's band statistics lack {error}; use a checkpoint of pretraining by sartutor."
            ) from error

    def standardise(self, values: Tensor, valid: Tensor) -> Tensor:
        """(value - mean) / std of values (..., C, H, W), 0 where `valid` (..., 1, H, W) is False."""
        return torch.where(valid, (values - self._column(self.mean)) / self._column(self.std), 0.0)

    def decibels(self, image: Tensor) -> Tensor:
        """The inverse of `standardise` (..., C, H, W): radar bands in dB, others in their own units."""
        return torch.addcmul(self._column(self.mean, image), image, self._column(self.std, image))

    @staticmethod
    def _column(values: tuple[float, ...], like: Tensor | None = None) -> Tensor:
        return torch.tensor(values, device=None if like is None else like.device)[:, None, None]


def backscatter_weights(
    linear: Tensor,
    valid: Tensor,
    mode: ChannelMode = "per_channel",
    strength: float = 1.0,
    clip_percentile: float | None = None,
) -> Tensor:
    """Weights exp(s (1 - n)) in [1, e^s], n the power scaled to [0, 1] within each image; 0 without data.

    The released code of arXiv 2503.01181 has n = (p - min) / (max - min + 1e-6). Here 1e-6 is a part of the greatest
    power, so that weights do not depend on the unit of power and those of dark scenes are not pressed together;
    images of one power have the weight e^s, as there.

    Args:
        linear: linear power of radar bands (B, C, H, W).
        valid: bool (B, 1, H, W); other pixels count in no minimum, maximum or percentile.
        mode: "per_channel" scales every band for itself; "shared_avg" scales the mean of the bands' power, and
            all bands share the weights.
        strength: s.
        clip_percentile: percentile of the valid power that counts as the greatest; None takes the maximum.

    Returns:
        Weights of the shape and number type of `linear`. Raises DataError where valid power is not finite.
    """
    power = linear.mean(dim=1, keepdim=True) if mode == "shared_avg" else linear
    low = power.masked_fill(~valid, torch.inf).amin((2, 3), keepdim=True)
    filled = power.masked_fill(~valid, -torch.inf)
    high = filled.amax((2, 3), keepdim=True)
    _refuse_not_finite(low, high, valid)
    if clip_percentile is not None:
        high = upper_percentile(filled, valid, clip_percentile)
    scale = high - low + RANGE_EPSILON * high.abs() + torch.finfo(linear.dtype).tiny
    scaled = ((power - low) / scale).clamp(0, 1)
    weights = torch.where(valid, torch.exp(strength * (1 - scaled)), 0.0)
    return weights.expand(linear.shape)


def upper_percentile(filled: Tensor, valid: Tensor, percentile: float) -> Tensor:
    """The percentile of the valid pixels of each image and band (B, C, 1, 1), linear between neighbours.

    Args:
        filled: values (B, C, H, W), minus infinity where not valid.
        valid: bool (B, 1, H, W).
        percentile: from 0 to 100; the nearer to 100, the less there is to sort.

    Images without a valid pixel give minus infinity.
    """
    raise NotImplementedError


@dataclass(frozen=True)
class WeightRule:
    """How the pixels of a chip are weighted in the loss of pretraining.

    Args:
        mode: "none" (all valid pixels 1), "per_channel" (arXiv 2603.15119) or "shared_avg" (arXiv 2503.01181).
        domain: "physical" weighs by power; "zscore" by 10^(z / 10) of standardised decibels, as the released code of
            both papers does; "clipped" by power up to its 99th percentile.
        strength: s in exp(s (1 - n)), 0 or more.
        control: what tells the cause of a gain from its side effects, on radar bands: "unit_mean" divides by the mean
            over the valid pixels of each image and band, "shuffled" moves the weights to other valid pixels of the
            same image, "inverted" weighs bright pixels (e^s / w), "despeckled" takes them from averaged power.
    """

    mode: Mode = "per_channel"
    domain: Domain = "physical"
    strength: float = 1.0
    control: Control = "none"

    def weights(
        self, image: Tensor, valid: Tensor, statistics: BandStatistics, generator: Generator | None = None
    ) -> Tensor:
        """Weights (B, C, H, W) of an `image` standardised by `statistics`, `valid` bool (B, 1, H, W).

        `generator` (on the CPU) draws the order of "shuffled", torch's own where None.
        """
        raise NotImplementedError


def despeckle(image: Tensor, valid: Tensor, statistics: BandStatistics) -> Tensor:
    """The standardised image (B, C, H, W) with its radar bands averaged over valid pixels, in power."""
    raise NotImplementedError


def weighted_mean_shift_db(db: Tensor, weights: Tensor) -> float:
    """E[w x] / E[w] - E[x] in dB: by how much the constant of least weighted squared error is off the mean of x."""
    raise NotImplementedError
