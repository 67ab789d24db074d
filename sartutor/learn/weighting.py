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
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

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

SHUFFLE_SEED = 0
"""Seed of the order of pixels in the control "shuffled"."""

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
        mean, std = self.columns(values)
        return torch.where(valid, (values - mean) / std, 0.0)

    def decibels(self, image: Tensor) -> Tensor:
        """The inverse of `standardise` (..., C, H, W): radar bands in dB, others in their own units."""
        mean, std = self.columns(image)
        return (image * std).add_(mean)

    def columns(self, like: Tensor) -> Tensor:
        """Mean and standard deviation (2, C, 1, 1)."""
        return torch.tensor((self.mean, self.std), dtype=like.dtype, device=like.device)[..., None, None]


def known_pixels(image: Tensor, valid: Tensor) -> Tensor:
    """The image with 0 (the mean) where it is not valid; DataError where a valid pixel is not finite."""
    image = torch.where(valid, image, 0)
    if not torch.stack(image.aminmax()).isfinite().all():  # one pass, and not a number wins
        raise DataError(
            "A chip has pixels that are said to be valid and are not finite; mark those pixels as no data."
        )
    return image


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
        linear: linear power of radar bands (B, C, H, W), 0 or more.
        valid: bool (B, 1, H, W); other pixels count in no minimum, maximum or percentile.
        mode: "per_channel" scales every band for itself; "shared_avg" scales the mean of the bands' power, and
            all bands share the weights.
        strength: s.
        clip_percentile: percentile of the valid power that counts as the greatest; None takes the maximum.

    Returns:
        Weights of the shape and number type of `linear`. Raises DataError where valid power is negative or not finite.
    """
    power = linear.mean(dim=1, keepdim=True) if mode == "shared_avg" else linear
    counted = valid.to(power.dtype)
    weights = torch.where(valid, power, 0.0)
    peak = weights.amax((2, 3), keepdim=True)
    high = peak if clip_percentile is None else upper_percentile(weights, valid, clip_percentile)
    # in place from here on: fresh memory for each step would cost more than the arithmetic
    weights.addcmul_(1 - counted, peak)
    low = weights.amin((2, 3), keepdim=True)
    if not ((low >= 0) & torch.isfinite(peak)).all():
        raise DataError(
            "a chip holds power that is negative or not finite at pixels said to be valid; mark them as no data."
        )
    scale = high - low + RANGE_EPSILON * high + torch.finfo(power.dtype).tiny
    weights.sub_(low).div_(scale)
    torch.sub(weights.new_tensor(strength), weights, alpha=strength, out=weights)
    return weights.clamp_(0, strength).exp_().mul_(counted).expand(linear.shape)


def upper_percentile(power: Tensor, valid: Tensor, percentile: float) -> Tensor:
    """The percentile of the valid pixels of each image and band (B, C, 1, 1), linear between neighbours.

    Args:
        power: values (B, C, H, W) of 0 or more, 0 where not valid.
        valid: bool (B, 1, H, W).
        percentile: from 0 to 100; the nearer to 100, the less there is to sort. Images without a valid pixel have 0.
    """
    share = 1 - percentile / 100
    values = power.flatten(2)
    count = valid.flatten(2).sum(dim=2, keepdim=True)
    rank = (share * (count - 1)).clamp(min=0)
    largest = _largest(values, min(values.shape[2], int(share * (values.shape[2] - 1)) + 2))
    upper = rank.floor().long()
    lower = torch.minimum(upper + 1, (count - 1).clamp(min=0))
    above, below = (largest.gather(2, i.expand(*largest.shape[:2], 1)) for i in (upper, lower))
    return torch.lerp(above, below, (rank - upper).to(values.dtype))[..., None]


@dataclass(frozen=True)
class WeightRule:
    """How the pixels of a chip are weighted in the loss of pretraining; SarTutorError for what is unknown.

    Args:
        mode: "none" (all valid pixels 1), "per_channel" (default of the released code) or "shared_avg"
            (arXiv 2503.01181); the same for one band (arXiv 2603.15119).
        domain: "physical" weighs by power; "zscore" by 10^(z / 10) of standardised decibels z, as the released loaders
            of arXiv 2503.01181 do; "clipped" by power up to its 99th percentile.
        strength: s in exp(s (1 - n)), 0 or more.
        control: what tells the cause of a gain from its side effects, on radar bands: "unit_mean" divides by the mean
            over the valid pixels of each image and band, "shuffled" moves the weights to other valid pixels of the
            same image, "inverted" weighs bright pixels (e^s / w), "despeckled" takes them from averaged power.
    """

    mode: Mode = "per_channel"
    domain: Domain = "physical"
    strength: float = 1.0
    control: Control = "none"

    def __post_init__(self) -> None:
        for what, known in (("mode", Mode), ("domain", Domain), ("control", Control)):
            if (value := getattr(self, what)) not in get_args(known):
                raise SarTutorError(
                    f"There is no weighting {what} {value!r}; use one of {', '.join(get_args(known))}."
                )
        if not (math.isfinite(self.strength) and self.strength >= 0):
            raise SarTutorError(f"A weighting strength of {self.strength:g} is none; use 0 or more.")

    @torch.no_grad()
    def weights(self, image: Tensor, valid: Tensor, statistics: BandStatistics) -> Tensor:
        """Weights (B, C, H, W) of an `image` standardised by `statistics`, `valid` bool (B, 1, H, W).

        They depend on the chip alone, not on its batch. Raises DataError where valid pixels are not finite.
        """
        if self.mode == "none" or not any(statistics.radar):
            return valid.to(image.dtype).expand(image.shape)
        radar = torch.tensor(statistics.radar_bands, device=image.device)
        seen = despeckle(image, valid, statistics) if self.control == "despeckled" else image
        seen = seen if all(statistics.radar) else seen.index_select(1, radar)
        mean, std = statistics.columns(image)[:, radar]
        if self.domain == "zscore":
            mean, std = torch.zeros_like(mean), torch.ones_like(std)
        linear = torch.addcmul(NEPERS_PER_DB * mean, seen, NEPERS_PER_DB * std).exp_()
        clip = CLIP_PERCENTILE if self.domain == "clipped" else None
        found = backscatter_weights(linear, valid, self.mode, self.strength, clip)
        found = self._controlled(found, valid)
        if all(statistics.radar):
            return found
        return valid.to(image.dtype).expand(image.shape).index_copy(1, radar, found)

    def _controlled(self, weights: Tensor, valid: Tensor) -> Tensor:
        match self.control:
            case "unit_mean":
                return divided_by_mean(weights, valid)
            case "shuffled":
                return shuffled(weights, valid)
            case "inverted":
                return torch.where(valid, math.exp(self.strength) / weights, 0.0)
        return weights


def divided_by_mean(weights: Tensor, valid: Tensor) -> Tensor:
    """Weights (B, C, H, W) of mean 1 over the valid pixels (B, 1, H, W) of each image and band."""
    mean = weights.sum((2, 3), keepdim=True) / valid.sum((2, 3), keepdim=True)
    return torch.where(valid, weights / mean, 0.0)


def shuffled(weights: Tensor, valid: Tensor) -> Tensor:
    """Weights (B, C, H, W) moved to other valid pixels (B, 1, H, W) of their image, all bands alike.

    The order is drawn once for all images, so that a chip has the same weights in every pass, batch and process.
    """
    outside = ~valid.flatten(1)
    generator = torch.Generator().manual_seed(SHUFFLE_SEED)
    keys = torch.rand(outside.shape[1], generator=generator).to(weights.device).expand(outside.shape)
    source = keys.masked_fill(outside, 2).argsort(dim=1)[:, None].expand(*weights.shape[:2], -1)
    target = outside.byte().argsort(dim=1, stable=True)[:, None].expand_as(source)
    flat = weights.flatten(2)
    return torch.zeros_like(flat).scatter(2, target, flat.gather(2, source)).view(weights.shape)


def despeckle(image: Tensor, valid: Tensor, statistics: BandStatistics) -> Tensor:
    """The standardised image (B, C, H, W) with its radar bands averaged over `DESPECKLE_PX` squared, in power.

    Only valid pixels (B, 1, H, W) count in an average; other pixels and other bands stay as they are.
    """
    db = statistics.decibels(image)
    power = torch.where(valid, torch.exp(NEPERS_PER_DB * db), 0.0)
    sums, counts = (avg_pool2d(x, DESPECKLE_PX, 1, DESPECKLE_PX // 2) for x in (power, valid.to(power.dtype)))
    averaged = statistics.standardise(torch.log(sums / counts) / NEPERS_PER_DB, valid)
    radar = torch.tensor(statistics.radar, device=image.device)[:, None, None]
    return torch.where(radar & valid, averaged, image)


def weighted_mean_shift_db(db: Tensor, weights: Tensor) -> float:
    """E[w x] / E[w] - E[x] in dB over pixels of weight above 0, `db` and `weights` of one shape.

    The constant of least weighted squared error lies by so much above the plain mean: below it, since dark pixels
    weigh more, although speckle in dB is as wide at every level.
    """
    seen = weights > 0
    x, w = db[seen].double(), weights[seen].double()
    return float((w * x).sum() / w.sum() - x.mean())


def _largest(values: Tensor, count: int) -> Tensor:
    """The `count` largest of the last axis of values of 0 or more, falling. Groups of 8 are sorted first."""
    groups = pad(values, (0, -values.shape[-1] % 8)).unflatten(-1, (8, -1))
    chosen = groups.amax(-2).topk(min(count, groups.shape[-1]), sorted=False).indices[..., None, :]
    few = groups.gather(-1, chosen.expand(*groups.shape[:-1], -1)).flatten(-2)
    return few.topk(count).values
