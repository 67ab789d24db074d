"""Chips of many simulated domains in one form: three channels of decibels, labels, and physical descriptors.

A channel is another polarisation in each domain, so that all channels share one mean and standard deviation; a single
polarisation fills all three, as in arXiv 2603.12008. One part of a complex image is squared like power. Descriptors are
those of X' = log(1 + |X|), X being digital numbers of amplitude with the calibration factor of JAXA's products, 0 dB at
`DIGITAL_DB`: log(1 + |X|) is nearly the identity on calibrated power, and decibels, but for scale and zero, on digital
numbers (assumed; no statement of what X is was found).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from tqdm.auto import tqdm

from sartutor.errors import CheckpointError
from sartutor.learn.checkpoints import kept_tensors
from sartutor.learn.chips import SCENES_PER_SEED, Sample, simulator
from sartutor.learn.weighting import BandStatistics
from sartutor.sar.descriptors import Standardisation, descriptors
from sartutor.sar.radiometry import db_to_power, power_to_db
from sartutor.sar.scene import Scene
from sartutor.sim.backscatter import LAND_COVERS
from sartutor.sim.gaps import weak_labels
from sartutor.sim.landcover import Domain, landcover_scene

CHANNELS = ("channel 1", "channel 2", "channel 3")

DIGITAL_DB = 83.0
"""Level in dB at which a digital number is 1, negated: 10 log10(DN^2) - 83 is sigma0 of ALOS-2's products."""


@dataclass(frozen=True)
class Scales:
    """How chips are shown to a model, measured on its pretraining: decibels of channels, and descriptors."""

    statistics: BandStatistics
    descriptors: Standardisation

    def to_json(self) -> dict[str, Any]:
        """For the header of a checkpoint."""
        return {"statistics": self.statistics.to_json(), "descriptors": asdict(self.descriptors)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Scales:
        """The inverse of `to_json`; CheckpointError where an entry is missing."""
        try:
            told = {key: tuple(values) for key, values in content["descriptors"].items()}
            return cls(BandStatistics.from_json(content["statistics"]), Standardisation(**told))
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"the header's scales lack {error}; train the model again.") from error


class DomainChips(Dataset[Sample]):
    """Simulated chips of several domains; chip i is of domain i modulo their number.

    A sample has `image` (3, S, S), `valid` bool (1, S, S), `label` int64 (S, S) and `descriptors` (3,), standardised.
    All chips are made at the start. Where two domains have one region and pixel size, they show the same places.

    Args:
        domains: what is seen, and by which radars.
        seed: chips of different seeds share no scene.
        count: number of chips of all domains together.
        side: rows and columns in pixels.
        scales: those of the model's pretraining; None measures these chips.
        agreement: share of the pixels whose label is right (`weak_labels`); None leaves all labels as they are.
        cache: folder in which chips are kept for later runs; it may be deleted at any time. None keeps none.

    Raises OutputError where the cache cannot be written.
    """

    classes: tuple[str, ...] = LAND_COVERS

    def __init__(
        self,
        domains: Sequence[Domain],
        seed: int,
        count: int,
        side: int,
        scales: Scales | None = None,
        agreement: float | None = None,
        cache: Path | None = None,
    ) -> None:
        self.domains, self.side = tuple(domains), side
        chips = _kept(self.domains, seed, count, side, cache)
        self._db, self._label, self.raw_descriptors = (
            chips["db"],
            chips["label"],
            chips["descriptors"].double(),
        )
        if agreement is not None:
            self._label = _weakened(self._label, agreement, seed)
        self.scales = _measured(self._db, self.raw_descriptors) if scales is None else scales
        self.statistics = self.scales.statistics
        self._told = torch.from_numpy(self.scales.descriptors.apply(self.raw_descriptors.numpy())).float()

    def __len__(self) -> int:
        return len(self._db)

    def __getitem__(self, index: int) -> Sample:
        db = self._db[index].float()
        valid = torch.ones(1, *db.shape[1:], dtype=torch.bool)
        return {
            "image": self.statistics.standardise(db, valid),
            "valid": valid,
            "label": self._label[index].long(),
            "descriptors": self._told[index],
        }

    def decibels(self, index: int) -> NDArray[np.float32]:
        """Channels (3, S, S) of chip `index` in dB."""
        return self._db[index].float().numpy()

    def domain(self, index: int) -> Domain:
        """What chip `index` shows."""
        return self.domains[index % len(self.domains)]


def decibels(scene: Scene) -> NDArray[np.float32]:
    """Three channels (3, rows, columns) in dB of a scene of power or of one part of a complex image."""
    power = np.square(scene.pixels) if scene.bands[0].units == "1" else scene.pixels
    return np.broadcast_to(power_to_db(power), (3, *scene.grid.shape))


def digital_numbers(db: NDArray[Any]) -> NDArray[np.float64]:
    """X: digital numbers of amplitude, as those of JAXA's products, of levels in dB."""
    return np.sqrt(db_to_power(np.asarray(db, np.float64) + DIGITAL_DB))


def scene_descriptors(db: NDArray[Any], valid: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """Raw [H_DE, ENL, R_LR] (3,) of channels (C, rows, columns) in dB: means over the channels.

    `valid` (rows, columns) is False at no-data, whose levels may be anything finite.
    """
    return descriptors(digital_numbers(db), "log1p", valid).mean(0)


def _kept(
    domains: tuple[Domain, ...], seed: int, count: int, side: int, cache: Path | None
) -> dict[str, Tensor]:
    """Chips from the cache, or made anew where it has no whole file of them."""
    names = hashlib.sha256(" ".join(domain.name for domain in domains).encode()).hexdigest()[:12]
    path = None if cache is None else cache / f"{names}-{side}px-{count}-{seed}-{simulator()}.safetensors"
    return kept_tensors(path, {"kind": "domain chips"}, lambda: _simulated(domains, seed, count, side))


def _simulated(domains: tuple[Domain, ...], seed: int, count: int, side: int) -> dict[str, Tensor]:
    """`db` float16 (n, 3, S, S), `label` uint8 (n, S, S), `descriptors` float32 (n, 3), raw."""
    shown, labels, told = [], [], []
    for index in tqdm(range(count), desc="simulated chips", unit="chip", leave=False):
        place = seed * SCENES_PER_SEED + index // len(domains)
        scene, label = landcover_scene(place, domains[index % len(domains)], side)
        db = decibels(scene)
        shown.append(db.astype(np.float16))
        labels.append(label)
        told.append(scene_descriptors(db))
    return {
        "db": torch.from_numpy(np.stack(shown)),
        "label": torch.from_numpy(np.stack(labels).astype(np.uint8)),
        "descriptors": torch.from_numpy(np.stack(told)).float(),
    }


def _weakened(label: Tensor, agreement: float, seed: int) -> Tensor:
    """Labels (n, S, S) of which a share is right, the same for the same seed."""
    chips = [
        weak_labels(np.random.default_rng((seed, index)), chip.numpy(), agreement)
        for index, chip in enumerate(label)
    ]
    return torch.from_numpy(np.stack(chips))


def _measured(db: Tensor, raw: Tensor) -> Scales:
    """One mean and standard deviation for all channels of chips, and those of their descriptors."""
    values = db.double()
    level, spread = float(values.mean()), float(values.std())
    statistics = BandStatistics(CHANNELS, (level,) * 3, (spread,) * 3, (True,) * 3)
    return Scales(statistics, Standardisation.fit(raw.numpy()))
