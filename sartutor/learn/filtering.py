"""Chips without most of their speckle: Lee-filtered before anything learns from them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sartutor.learn.chips import Chips, Sample
from sartutor.sar.radiometry import db_to_power, power_to_db
from sartutor.sar.speckle import lee


class FilteredChips(Dataset[Sample]):
    """Chips whose radar bands are Lee-filtered in power, for nominally so many `looks`; kept in memory.

    They stay standardised by the statistics of the chips as they were.
    """

    def __init__(self, chips: Chips, looks: float) -> None:
        self.statistics, self.classes = chips.statistics, chips.classes
        self._samples = [self._filtered(chips[i], looks) for i in range(len(chips))]

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Sample:
        return self._samples[index]

    def _filtered(self, sample: Sample, looks: float) -> Sample:
        image, valid = sample["image"], sample["valid"]
        values = self.statistics.decibels(image).numpy()
        for band in self.statistics.radar_bands:
            values[band] = _lee_db(values[band], looks, valid[0].numpy())
        filtered: Tensor = self.statistics.standardise(torch.from_numpy(values), valid)
        return {**sample, "image": filtered}


def _lee_db(db: np.ndarray, looks: float, valid: np.ndarray) -> np.ndarray:
    return power_to_db(lee(db_to_power(db), looks, valid=valid))
