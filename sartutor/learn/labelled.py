"""Labelled chips of the downstream tasks, and how many of the labels are given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm.auto import tqdm

from sartutor.errors import DataError
from sartutor.learn.chips import SCENES_PER_SEED, Chips, Sample, check_bands
from sartutor.learn.weighting import BandStatistics
from sartutor.sar.class_statistics import class_counts, class_weights
from sartutor.sar.folder import IGNORE
from sartutor.sar.radiometry import power_to_db
from sartutor.sim.flood import flood_pair
from sartutor.sim.landcover import Domain, domain_sensor

LEAST_SHARE = 0.05
"""Share of a chip's labelled pixels above which a class counts as one of the chip's labels."""


class Part(Dataset[Sample]):
    """Some of the chips, by index."""

    def __init__(self, chips: Chips, indexes: Sequence[int]) -> None:
        self.statistics, self.classes = chips.statistics, chips.classes
        self._chips, self._indexes = chips, indexes

    def __len__(self) -> int:
        return len(self._indexes)

    def __getitem__(self, index: int) -> Sample:
        return self._chips[self._indexes[index]]


class MultiLabel(Dataset[Sample]):
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


class FloodPairs(Dataset[Sample]):
    """Simulated pairs: `image` (2, C, S, S) before and after, `label` 1 with a flood between, as in every other pair.

    Pair i shows the place of scene i of the seed.

    Args:
        domain: what is seen, and by which radar.
        seed: pairs of different seeds share no place.
        count: number of pairs; all are simulated at the start and held in memory.
        side: rows and columns in pixels.
        statistics: those of the encoder's training; their order of bands is taken over.

    Raises CheckpointError for statistics of other bands.
    """

    classes: tuple[str, ...] = ("no flood", "flood")

    def __init__(self, domain: Domain, seed: int, count: int, side: int, statistics: BandStatistics) -> None:
        names = domain_sensor(domain).polarisations
        check_bands(statistics, names)
        self.statistics = statistics
        order = [names.index(name) for name in statistics.names]
        places = tqdm(range(count), desc="simulated pairs", unit="pair", leave=False)
        self._db = [_pair_db(domain, seed * SCENES_PER_SEED + i, side, i % 2 == 1)[:, order] for i in places]

    def __len__(self) -> int:
        return len(self._db)

    def __getitem__(self, index: int) -> Sample:
        db = self._db[index].float()
        valid = torch.ones(2, 1, *db.shape[2:], dtype=torch.bool)
        image = self.statistics.standardise(db, valid)
        return {"image": image, "valid": valid, "label": torch.tensor(index % 2)}


def _pair_db(domain: Domain, seed: int, side: int, flood: bool) -> Tensor:
    """A simulated pair (2, bands, side, side) in dB, half precision."""
    pair = flood_pair(seed, domain, side, flood)
    return torch.from_numpy(power_to_db(np.stack([pair.before, pair.after]))).half()


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
