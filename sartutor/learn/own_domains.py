"""Folders of your own data as domains, and what must hold between one that is learned from and one that is asked.

Public data sets enter the benchmark this way: a folder a domain, with one list of classes in every `dataset.yaml`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from sartutor.errors import DataError
from sartutor.learn.chips import FolderChips, Sample
from sartutor.learn.domains import Scales, scene_descriptors
from sartutor.learn.sam.inputs import three_channels
from sartutor.learn.weighting import BandStatistics
from sartutor.sar import folder as own
from sartutor.sar.ground import shared_ground
from sartutor.sar.layers import layers_of
from sartutor.sar.radiometry import RADAR_UNITS


class OwnDomain(Dataset[Sample]):
    """Chips of one split of a folder in the scales of an encoder: three channels of decibels, labels, descriptors.

    The primary bands are shown: one fills three channels, two (a, b) become a, b, (a + b) / 2, three stay in order.

    Raises DataError for a split without images, images smaller than a chip, a folder without classes, and bands that
    are not calibrated backscatter.
    """

    def __init__(self, folder: own.Dataset, split: str, side: int, scales: Scales) -> None:
        _check(folder)
        names = folder.primary
        decibels = BandStatistics(names, (0.0,) * len(names), (1.0,) * len(names), (True,) * len(names))
        self._chips = FolderChips(folder, split, side, statistics=decibels)
        self.classes, self.scales, self.statistics = self._chips.classes, scales, scales.statistics
        self._name = str(folder.folder)

    def __len__(self) -> int:
        return len(self._chips)

    def __getitem__(self, index: int) -> Sample:
        db, valid, label = self._channels(index)
        image, told = shown(db, valid, self.scales)
        return {"image": image, "valid": valid, "label": label, "descriptors": told}

    def descriptors(self, index: int) -> NDArray[np.float64] | None:
        """Raw descriptors of a chip; None where there is nothing to describe."""
        db, valid, _ = self._channels(index)
        return raw_descriptors(db, valid)

    def _channels(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Three channels of decibels, where they are valid, and labels."""
        sample = self._chips[index]
        return three_channels(sample["image"], self._name), sample["valid"], sample["label"]


def shown(db: Tensor, valid: Tensor, scales: Scales) -> tuple[Tensor, Tensor]:
    """What a model of these scales is given of three channels in dB: image (3, S, S) and descriptors (3,).

    `db` (3, S, S) may be anything finite where `valid` (1, S, S) is False. Channels that are the same everywhere, whose
    ENL has no bound, are not described; a chip of such channels alone, or without data, has the descriptors of the mean
    image.
    """
    raw = raw_descriptors(db, valid)
    told = np.zeros(3) if raw is None else scales.descriptors.apply(raw[None])[0]
    return scales.statistics.standardise(db, valid), torch.from_numpy(told).float()


def raw_descriptors(db: Tensor, valid: Tensor) -> NDArray[np.float64] | None:
    """[H_DE, ENL, R_LR] of the channels in dB (3, S, S) that vary where `valid` (1, S, S); None where none does."""
    known = db[:, valid[0]]
    if not known.shape[1]:
        return None
    varies = known.amax(1) > known.amin(1)
    return scene_descriptors(db[varies].numpy(), valid.numpy()) if bool(varies.any()) else None


def check_taxonomy(source: own.Dataset, target: own.Dataset) -> None:
    """Raise DataError unless two folders name the same classes in the same order."""
    a, b = source.description.classes, target.description.classes
    if a != b:
        raise DataError(
            f"{target.folder} has the classes {', '.join(b) or 'none'} and {source.folder} {', '.join(a) or 'none'}; "
            "map both to one list under `labels` in their dataset.yaml."
        )


def missing_classes(folder: own.Dataset, split: str) -> tuple[str, ...]:
    """Classes that no label of a split has."""
    there: set[int] = set()
    for id in folder.ids(split):
        there |= set(np.unique(folder.mask(id)).tolist())
    return tuple(name for code, name in enumerate(folder.description.classes) if code not in there)


def refuse_missing(folder: own.Dataset, split: str, every: bool = False) -> None:
    """Raise DataError where a folder has no classes, or a split no label at all, or not of `every` class."""
    _check(folder)
    missing = missing_classes(folder, split)
    if len(missing) == len(folder.description.classes):
        raise DataError(
            f"No pixel of split {split!r} of {folder.folder} has a label; add masks that show some."
        )
    if missing and every:
        raise DataError(
            f"No label of split {split!r} of {folder.folder} is {missing[0]}, so that it cannot be learned; add images "
            "that show it, or take it out of `labels` in every dataset.yaml."
        )


def refuse_shared(source: own.Dataset, target: own.Dataset) -> None:
    """Raise DataError where a target is the source, or judged by ground that the source's training or validation shows.

    Images without a coordinate reference system are taken to lie apart.
    """
    if source.folder.resolve() == target.folder.resolve():
        raise DataError(f"{target.folder} is the source itself; name another folder to ask on.")
    refuse_learned_ground(source, ("train", "val"), target, judging_split(target))


def refuse_learned_ground(
    source: own.Dataset, splits: Sequence[str], target: own.Dataset, judges: str
) -> None:
    """Raise DataError where the split of a target that `judges` shows ground of some `splits` of a source."""
    learned = [id for split in splits for id in source.ids(split)]
    judging = target.ids(judges)
    grids = (
        [layers_of(folder.image_path(id))[1] for id in ids]
        for folder, ids in ((target, judging), (source, learned))
    )
    for one, other in shared_ground(*grids):
        raise DataError(
            f"{target.image_path(judging[one])} shows ground of {source.image_path(learned[other])}, which is learned "
            "from; leave one of them out of its splits.csv."
        )


def judging_split(folder: own.Dataset) -> str:
    """The split that judges: the first that is neither train nor val, or else val. DataError where there is none.

    Images that a converter set aside, since they show ground of another split, judge nothing.
    """
    names = [name for name in folder.splits if name not in ("train", own.SAME_PLACE)]
    if not names:
        raise DataError(
            f"{folder.folder} has no split to judge by; name one in its splits.csv, as in `test`."
        )
    return next((name for name in names if name != "val"), "val")


def _check(folder: own.Dataset) -> None:
    if not folder.description.classes:
        raise DataError(f"{folder.folder} has no classes; list them under `labels` in its dataset.yaml.")
    for band in folder.description.bands:
        if band.name in folder.primary and band.units not in (*RADAR_UNITS, "complex"):
            raise DataError(
                f"{folder.folder}: band {band.name} is in {band.units!r} and an encoder of many domains takes "
                "calibrated backscatter; calibrate it to db or power, or list others as `primary` in its dataset.yaml."
            )
