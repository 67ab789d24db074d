"""Labelled chips of the downstream tasks, and how many of the labels are given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sartutor.errors import DataError
from sartutor.learn.chips import Chips, Sample
from sartutor.learn.weighting import BandStatistics
from sartutor.sar.class_statistics import class_counts, class_weights
from sartutor.sar.folder import IGNORE
from sartutor.sar.radiometry import power_to_db
from sartutor.sim.flood import flood_pair
from sartutor.sim.landcover import Domain

LEAST_SHARE = 0.05
"""Share of a chip's labelled pixels above which a class counts as one of the chip's labels."""


class Part:
    """Some of the chips, by index."""

    def __init__(self, chips: Chips, indexes: Sequence[int]) -> None:
        self.statistics, self.classes = chips.statistics, chips.classes
        self._chips, self._indexes = chips, indexes

    def __len__(self) -> int:
        return len(self._indexes)

    def __getitem__(self, index: int) -> Sample:
        return self._chips[self._indexes[index]]


class MultiLabel:
    """Chips with labels per pixel as chips with many labels: float32 (classes,), 1 for each that covers enough."""

    def __init__(self, chips: Chips, least: float = LEAST_SHARE) -> None:
        self.statistics, self.classes = chips.statistics, chips.classes
        self._chips, self._least = chips, least

    def __len__(self) -> int:
        return len(self._chips)

    def __getitem__(self, index: int) -> Sample:
        sample = self._chips[index]
        return {**sample, "label": covering(sample["label"], len(self.classes), self._least)}


def covering(label: Tensor, classes: int, least: float) -> Tensor:
    """1 for each class that more than the share `least` of the labelled pixels (H, W) has, else 0, (classes,)."""
    counts = torch.bincount(label[label != IGNORE], minlength=classes)
    return (counts > least * counts.sum()).float()


class FloodPairs:
    """Simulated pairs: `image` (2, C, S, S) before and after, `label` 1 with a flood between, as in every other pair.

    Args:
        domain: what is seen, and by which radar.
        seed: pairs of different seeds share no place.
        count: number of pairs; all are simulated at once and held in memory.
        side: rows and columns in pixels.
        statistics: of the bands, radar in dB.
    """

    classes = ("no flood", "flood")

    def __init__(self, domain: Domain, seed: int, count: int, side: int, statistics: BandStatistics) -> None:
        self.statistics = statistics
        self._samples = [self._pair(domain, seed, index, side) for index in range(count)]

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Sample:
        return self._samples[index]

    def _pair(self, domain: Domain, seed: int, index: int, side: int) -> Sample:
        place = int(np.random.SeedSequence((seed, index)).generate_state(1, np.uint64)[0])
        pair = flood_pair(place, domain, side, flood := index % 2 == 1)
        values = torch.from_numpy(power_to_db(np.stack([pair.before, pair.after]))).float()
        valid = torch.ones(2, 1, side, side, dtype=torch.bool)
        return {
            "image": self.statistics.standardise(values, valid),
            "valid": valid,
            "label": torch.tensor(int(flood)),
        }


def label_subset(count: int, fraction: float, seed: int, blocks: Sequence[str] | None = None) -> list[int]:
    """Which of `count` chips keep their labels, sorted: `fraction` of them (rounded), at least one.

    Subsets of one seed are nested: the chips of 12.5 % are among those of 25 %. Where the spatial block of each chip
    is named, whole blocks are taken one after the other, and only the last may be taken in part, for few labels mean
    few places, not thin samples of all. Raises DataError for a fraction outside (0, 1].
    """
    if not 0 < fraction <= 1:
        raise DataError(f"{fraction:g} is no share of labels; use a number above 0 and up to 1.")
    order = np.random.default_rng(seed).permutation(count)
    if blocks is not None:
        first = {block: place for place, block in reversed(list(enumerate(blocks[i] for i in order)))}
        order = np.array(sorted(order, key=lambda i: first[blocks[i]]))
    return sorted(order[: max(1, round(fraction * count))].tolist())


def training_weights(chips: Chips) -> Tensor:
    """Weights of the classes (classes,) from the labels per pixel of all chips (arXiv 2603.15119)."""
    classes = len(chips.classes)
    counts = sum(class_counts(chips[i]["label"].numpy(), classes) for i in range(len(chips)))
    return torch.from_numpy(class_weights(counts)).float()
