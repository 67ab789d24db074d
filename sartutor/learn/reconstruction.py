"""How well a pretrained model restores chips that it has not seen: its loss beside that of the mean, its bias in dB."""

from __future__ import annotations

import copy
from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sartutor.errors import DataError
from sartutor.learn.chips import Chips, Sample
from sartutor.learn.masks import upsample_mask
from sartutor.learn.mixmae import MixMAE
from sartutor.learn.pretrain import Model, mean_loss, mean_predictor
from sartutor.learn.weighting import WeightRule, despeckle

STRATA = ("dark", "middle", "bright")
"""Thirds of the pixels of a band by despeckled level."""

PREFIX = "bias_db_"


class Restored(NamedTuple):
    """What counts of a restored batch: `error` (restored - image) and `level` (despeckled), both (B, C, H, W), in dB.

    `counted` (B, 1, H, W) says at which pixels something was restored.
    """

    error: Tensor
    level: Tensor
    counted: Tensor


def reconstruction_scores(model: Model, chips: Chips, batch: int) -> dict[str, float]:
    """Scores of a model on chips it has not seen; `batch` divides their number, and is even for MixMAE.

    Returns:
        `weighted_loss`: the loss of pretraining; `loss`: the same with all valid pixels equal, which compares models
        of different weights; `weighted_mean_loss` and `mean_loss`: those of predicting the mean (of each band in
        SimMIM, of each cell in MixMAE with normalised targets); and `bias_db_<stratum>`: see `stratum_bias_db`.

    Raises DataError where the chips do not fill whole batches.
    """
    batches = _batches(chips, batch)
    scores = {}
    for name, each in (("loss", model), ("mean_loss", mean_predictor(model))):
        scores[f"weighted_{name}"] = mean_loss(each, batches)
        scores[name] = mean_loss(_unweighted(each), batches)
    return scores | stratum_bias_db([restored(model, sample, step) for step, sample in batches])


def stratum_bias_db(parts: list[Restored]) -> dict[str, float]:
    """`bias_db_<stratum>`: mean of restored less true decibels over the pixels of each third, mean over bands.

    The thirds are of the despeckled level, since pixels picked by their own value would seem biased where nothing is.
    """
    errors, levels, counted = (torch.cat(each) for each in zip(*parts, strict=True))
    bands = [
        _thirds(errors[:, i][counted[:, 0]], levels[:, i][counted[:, 0]]) for i in range(errors.shape[1])
    ]
    means = torch.tensor(bands).mean(0).tolist()
    return {f"{PREFIX}{name}": mean for name, mean in zip(STRATA, means, strict=True)}


@torch.no_grad()
def restored(model: Model, sample: Sample, step: int) -> Restored:
    """What the model makes of the masks of a step, where it saw nothing of the pixel; radar bands alone."""
    image, valid = sample["image"], sample["valid"]
    statistics = model.statistics
    radar = torch.tensor(statistics.radar_bands)
    mask = model.mask(sample, step)
    if isinstance(model, MixMAE):
        guess, counted = model.reconstruct(image, mask, valid), valid
    else:
        guess = model.reconstruct(image, mask)
        counted = upsample_mask(mask, model.mask_patch)[:, None] & valid
    error = (guess - image) * statistics.columns(image)[1]
    level = statistics.decibels(despeckle(image, valid, statistics))
    return Restored(error[:, radar], level[:, radar], counted)


def _thirds(error: Tensor, level: Tensor) -> list[float]:
    """Mean error of the pixels of each third by level."""
    order = error[level.argsort()]
    return [float(part.double().mean()) for part in order.tensor_split(len(STRATA))]


def _unweighted(model: Model) -> Model:
    """A copy of the model that weighs all valid pixels alike."""
    plain = copy.deepcopy(model)
    plain.rule = WeightRule("none")
    return plain


def _batches(chips: Chips, batch: int) -> list[tuple[int, Sample]]:
    """All chips in batches, each with its number as the step of its masks."""
    if len(chips) % batch:
        raise DataError(f"{len(chips)} chips do not fill batches of {batch}; take a multiple.")
    return list(enumerate(DataLoader(cast(Dataset[Sample], chips), batch)))
