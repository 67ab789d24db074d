"""How long a batch takes to load and a step of pretraining to compute, so that neither waits for the other.

    python -m bench.loading [STEPS]

prints one JSON object per model of the laptop preset: seconds per batch as one reading process gives them (shuffled,
simulated chips of two bands, made beforehand), and seconds per step of forward, backward and AdamW in this process.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import pairwise

import torch
from torch.utils.data import DataLoader

from sartutor.learn.chips import SENTINEL1_DUAL, Shuffled, SimulatedChips
from sartutor.learn.device import bf16_pays
from sartutor.learn.mixmae import MixMAE
from sartutor.learn.simmim import SimMIM
from sartutor.learn.weighting import WeightRule
from sartutor.presets import MIXMAE_SIZES, PRETRAIN_RECIPES, SWIN_SIZES

STEPS = 20
MODELS = {"simmim-swin": (SimMIM, SWIN_SIZES), "mixmae-swin": (MixMAE, MIXMAE_SIZES)}


def seconds_between(items: Iterable[object]) -> float:
    """Median time from one item to the next."""
    times = [time.perf_counter()]
    times += [time.perf_counter() for _ in items]
    return statistics.median(after - before for before, after in pairwise(times[1:]))


def trained(model: SimMIM | MixMAE, batch: dict[str, torch.Tensor], steps: int) -> Iterator[None]:
    """Train on the same batch over and over."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    for step in range(steps):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16_pays(torch.device("cpu"))):
            loss = model.loss(batch, step)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        yield


def main(steps: int = STEPS) -> None:
    """Measure and print."""
    for name, (build, sizes) in MODELS.items():
        recipe = PRETRAIN_RECIPES[name]["laptop"]
        size = sizes[recipe.size]
        chips = SimulatedChips(SENTINEL1_DUAL, 1, recipe.batch, size.image_size)
        draws = Shuffled(chips, (steps + 1) * recipe.batch, 1)
        loading = seconds_between(DataLoader(draws, recipe.batch, num_workers=1, prefetch_factor=4))
        batch = next(iter(DataLoader(draws, recipe.batch)))
        computing = seconds_between(trained(build(size, chips.statistics, WeightRule()), batch, steps + 1))
        print(json.dumps({"model": name, "batch": recipe.batch, "load_s": loading, "step_s": computing}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
