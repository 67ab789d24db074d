"""Chips and recipes that are small enough for tests of pretraining."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sartutor.learn.weighting import BandStatistics
from sartutor.presets import PretrainRecipe

SIDE = 64


def recipe(steps: int, batch: int = 4, size: str = "smoke", save_every: int = 2) -> PretrainRecipe:
    return PretrainRecipe(size, steps, batch, 2e-3, (0.9, 0.99), 0.05, 2, (), 5.0, save_every)


class SpeckledChips:
    """Chips of one level each with the same stripes and speckle of 4 looks; item i is always the same."""

    classes = ()

    def __init__(self, bands: int = 2, side: int = SIDE, count: int = 64) -> None:
        self.statistics = BandStatistics(
            tuple(f"B{i}" for i in range(bands)), (-12.0,) * bands, (4.0,) * bands, (True,) * bands
        )
        self.bands, self.side, self.count = bands, side, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng = np.random.default_rng(index)
        speckle = 10 * np.log10(rng.gamma(4, 1 / 4, (self.bands, self.side, self.side)))
        stripes = 6 * np.sin(np.arange(self.side) * 2 * np.pi / 32)
        db = torch.from_numpy(rng.normal(-12, 4) + stripes + speckle).float()
        valid = torch.ones(1, self.side, self.side, dtype=torch.bool)
        return {"image": self.statistics.standardise(db, valid), "valid": valid}


class ChangedChips(SpeckledChips):
    """The same, each after a change to its `image` and `valid` in place."""

    def __init__(self, change, **more) -> None:
        super().__init__(**more)
        self.change = change

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        sample = super().__getitem__(index)
        self.change(sample)
        return sample
