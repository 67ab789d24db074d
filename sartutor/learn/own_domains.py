"""Gaps between folders of your own data: a head learns on one of them and is asked on another.

Public data sets enter the benchmark this way: a folder a domain, with one list of classes in every `dataset.yaml`.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sartutor.errors import DataError
from sartutor.learn.chips import FolderChips, Sample
from sartutor.learn.domains import Scales, scene_descriptors
from sartutor.learn.generalisation import FrozenEncoder, KeptMaps, confusions, train_head
from sartutor.learn.metrics import mean_iou
from sartutor.learn.sam.inputs import three_channels
from sartutor.learn.weighting import BandStatistics
from sartutor.presets import HeadRecipe
from sartutor.sar import folder as own
from sartutor.sar.radiometry import RADAR_UNITS


class OwnDomain(Dataset[Sample]):
    """Chips of one split of a folder in the scales of an encoder: three channels of decibels, labels, descriptors.

    One band fills three channels, two (a, b) become a, b, (a + b) / 2, three stay in their order.

    Raises DataError for a split without images, images smaller than a chip, a folder without classes, and bands that
    are not calibrated backscatter.
    """

    def __init__(self, folder: own.Dataset, split: str, side: int, scales: Scales) -> None:
        _check(folder)
        names = folder.description.band_names
        decibels = BandStatistics(names, (0.0,) * len(names), (1.0,) * len(names), (True,) * len(names))
        self._chips = FolderChips(folder, split, side, statistics=decibels)
        self.classes, self.scales, self.statistics = self._chips.classes, scales, scales.statistics
        self._name = str(folder.folder)

    def __len__(self) -> int:
        return len(self._chips)

    def __getitem__(self, index: int) -> Sample:
        sample = self._chips[index]
        db, valid = three_channels(sample["image"], self._name), sample["valid"]
        image, told = shown(db, valid, self.scales)
        return {"image": image, "valid": valid, "label": sample["label"], "descriptors": told}


def shown(db: Tensor, valid: Tensor, scales: Scales) -> tuple[Tensor, Tensor]:
    """What a model of these scales is given of three channels in dB: image (3, S, S) and descriptors (3,).

    `db` (3, S, S) may be anything finite where `valid` (1, S, S) is False. A chip without data has the descriptors of
    the mean image.
    """
    told = np.zeros(3)
    if bool(valid.any()):
        told = scales.descriptors.apply(scene_descriptors(db.numpy(), valid.numpy())[None])[0]
    return scales.statistics.standardise(db, valid), torch.from_numpy(told).float()


class Transfer(NamedTuple):
    """mIoU of a head on its own domain and on the target, and the classes that the target's labels lack."""

    own: float
    target: float
    missing: tuple[str, ...]


def transfer(
    encoder: FrozenEncoder,
    source: own.Dataset,
    target: own.Dataset,
    side: int,
    scales: Scales,
    recipe: HeadRecipe,
    seed: int,
    out: Path,
    device: str = "auto",
) -> Transfer:
    """Train a head on the splits train and val of `source`, score it on its other split and on that of `target`.

    A class that the target lacks is left out of its mean where the head does not call it either. Raises DataError where
    the folders have other classes, and what `OwnDomain` raises.
    """
    check_taxonomy(source, target)
    train, val, test, asked = (
        KeptMaps(encoder, OwnDomain(folder, split, side, scales))
        for folder, split in (
            (source, "train"),
            (source, "val"),
            (source, judging_split(source)),
            (target, judging_split(target)),
        )
    )
    head, _ = train_head(encoder, train, val, recipe, seed, out, device)
    own_score, score = (mean_iou(confusions(head, kept).sum(0)) for kept in (test, asked))
    return Transfer(own_score, score, missing_classes(asked))


def check_taxonomy(source: own.Dataset, target: own.Dataset) -> None:
    """Raise DataError unless two folders name the same classes in the same order."""
    a, b = source.description.classes, target.description.classes
    if a != b:
        raise DataError(
            f"{target.folder} has the classes {', '.join(b) or 'none'} and {source.folder} {', '.join(a) or 'none'}; "
            "map both to one list under `labels` in their dataset.yaml."
        )


def missing_classes(data: KeptMaps) -> tuple[str, ...]:
    """Classes that no label has."""
    there = set(data.label.unique().tolist())
    return tuple(name for code, name in enumerate(data.classes) if code not in there)


def judging_split(folder: own.Dataset) -> str:
    """The split that judges: the first that is neither train nor val, or else val. DataError where there is none."""
    names = [name for name in folder.splits if name != "train"]
    if not names:
        raise DataError(
            f"{folder.folder} has no split to judge by; name one in its splits.csv, as in `test`."
        )
    return next((name for name in names if name != "val"), "val")


def _check(folder: own.Dataset) -> None:
    if not folder.description.classes:
        raise DataError(f"{folder.folder} has no classes; list them under `labels` in its dataset.yaml.")
    for band in folder.description.bands:
        if band.units not in RADAR_UNITS and band.units != "complex":
            raise DataError(
                f"{folder.folder}: band {band.name} is in {band.units!r} and an encoder of many domains takes "
                "calibrated backscatter; calibrate it to db or power, or leave it out of dataset.yaml."
            )
