"""Chips to pretrain on and to learn land cover from: simulated scenes, or a folder of your own data.

A sample holds `image` float32 (C, H, W), every band standardised, radar bands in dB, 0 (the mean) without data; `valid`
bool (1, H, W); and where there are labels `label`, int64 (H, W) with -1 for what does not count, or float32 (K,), 1 for
each label of the whole image. Chips without any valid pixel are given as they are: their pixels weigh 0 and count in no
loss. Item i of a seed is always the same, so that a run resumes without sampler state.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from torch import Tensor

from sartutor.learn.weighting import BandStatistics
from sartutor.sar.folder import Dataset as Folder
from sartutor.sim.landcover import Domain

Sample = dict[str, Tensor]

ALOS2_HH = Domain("plains", "HH", None, "alos2", "L")
"""One channel as in arXiv 2603.15119: ALOS-2, L-band, HH."""

SENTINEL1_DUAL = Domain("plains", "VV+VH", None, "sentinel1", "C")
"""Two channels as in arXiv 2503.01181: Sentinel-1, C-band, VV and VH."""


class Chips(Protocol):
    """A data set of chips; `classes` are the meanings of labels 0, 1, ..., empty where there are no labels."""

    statistics: BandStatistics
    classes: tuple[str, ...]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


class SimulatedChips:
    """Simulated land cover: chip i is scene i of the seed, with the seven classes of arXiv 2603.12008.

    Args:
        domain: what is seen, and by which radar.
        seed: chips of different seeds share no scene; take one for training and others for testing.
        count: number of chips; the first ones of a seed are the same for every count.
        side: rows and columns in pixels.
        statistics: those of the training chips or of a product (`named_statistics`); None measures these chips.
        cache: folder in which simulated chips are kept for later runs; None keeps them in memory alone.
    """

    def __init__(
        self,
        domain: Domain,
        seed: int,
        count: int,
        side: int,
        statistics: BandStatistics | None = None,
        cache: Path | None = None,
    ) -> None:
        raise NotImplementedError


class FolderChips:
    """Chips of one split of a folder of your own data.

    Args:
        folder: an opened folder.
        split: a split of it; no other is read (the statistics are those of "train").
        side: rows and columns of a chip in pixels.
        draws: None cuts a grid that covers every pixel once; a number makes that many random crops with random
            flips, for training.
        seed: of the random crops.
        statistics: those of a checkpoint, whose bands are then chosen; None measures all bands of "train".
    """

    def __init__(
        self,
        folder: Folder,
        split: str,
        side: int,
        draws: int | None = None,
        seed: int = 0,
        statistics: BandStatistics | None = None,
    ) -> None:
        raise NotImplementedError


class Shuffled:
    """Chips in a new order every pass and randomly flipped, `draws` in all, for training."""

    def __init__(self, chips: Chips, draws: int, seed: int) -> None:
        raise NotImplementedError


def check_bands(statistics: BandStatistics, names: Sequence[str]) -> None:
    """Raise CheckpointError unless `names` are the bands that a checkpoint was trained on, in its order."""
    raise NotImplementedError


def named_statistics(name: str, bands: Sequence[str]) -> BandStatistics:
    """The means and standard deviations of a product in dB, by its name in `NORMALISATIONS`."""
    raise NotImplementedError
