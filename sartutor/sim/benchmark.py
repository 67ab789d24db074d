"""The benchmark `avalanche-small`: simulated pairs with avalanche debris, as a folder of own data.

Bands, their ranges and their encoders are those of arXiv 2601.01213 (released code): VV, heights for the primary
encoder, VH and slope for the secondary. As there, nothing is learned from scenes without debris; the test keeps them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from tqdm import tqdm

from sartutor.presets import BenchmarkSizes
from sartutor.sar.folder import BandRule, Dataset, DatasetWriter, Description, Entry
from sartutor.sar.scene import Band, Grid
from sartutor.sim.avalanche import avalanche_scene

VV_RANGE_DB, VH_RANGE_DB = (-23.0, -3.0), (-27.0, -7.0)
DIFFERENCE_RANGE_DB = (-10.0, 10.0)
HEIGHT_RANGE_M, SLOPE_RANGE_DEGREE = (0.0, 4000.0), (0.0, 90.0)

DESCRIPTION = Description(
    bands=(
        BandRule(name="VV0", units="db", range=VV_RANGE_DB),
        BandRule(name="VV1", units="db", range=VV_RANGE_DB),
        BandRule(name="VH0", units="db", range=VH_RANGE_DB),
        BandRule(name="VH1", units="db", range=VH_RANGE_DB),
        BandRule(name="DEM", units="m", range=HEIGHT_RANGE_M),
        BandRule(name="slope", units="degree", range=SLOPE_RANGE_DEGREE),
    ),
    primary=("VV0", "VV1", "DEM"),
    secondary=("VH0", "VH1", "slope"),
    labels={"background": (0,), "object": (1,)},
)

FIRST_SCENES = 1000
"""Scenes of smaller seeds are for showing."""

PLACES_ACROSS = 32
"""Places that lie side by side before the next row begins."""

Layer = NDArray[np.float32]

Role = Literal["train", "val", "test"]
ROLES: tuple[Role, ...] = get_args(Role)
"""The splits; each has scenes of its own."""


def write_benchmark(folder: Path, seed: int, sizes: BenchmarkSizes, progress: bool = True) -> Dataset:
    """Write the benchmark of a seed to `folder`, or what is missing of it, and open it.

    No two splits and no two seeds share a scene; every scene is a place and a block of its own.

    Raises DataError where another data set lies in `folder`, OutputError where it cannot be written.
    """
    writer = DatasetWriter(folder, DESCRIPTION)
    wanted = {"train": sizes.train, "val": sizes.val, "test": sizes.test}
    entries = []
    with tqdm(total=sum(wanted.values()), desc="avalanche-small", unit="scene", disable=not progress) as bar:
        for role in ROLES:
            for id in islice(_written(writer, seed, role, sizes.side), wanted[role]):
                entries.append(Entry(id, role, id))
                bar.update()
    return writer.finish(entries)


def role_seed(seed: int, role: Role) -> int:
    """The seed of the scenes of a split: no two splits and no two seeds have one in common."""
    return FIRST_SCENES + len(ROLES) * seed + ROLES.index(role)


def _written(writer: DatasetWriter, seed: int, role: Role, side: int) -> Iterator[str]:
    """Ids of the scenes of a split, endlessly, each once it is written."""
    for index in count():
        id = f"{seed}-{role}-{index:04d}"
        if not writer.has(id):
            scene, debris = avalanche_scene((role_seed(seed, role), index), side)
            if role != "test" and not debris.any():
                continue
            place = len(ROLES) * index + ROLES.index(role)
            writer.write(id, replace(scene, grid=_moved(scene.grid, place)), debris > 0)
        yield id


def _moved(grid: Grid, place: int) -> Grid:
    """A grid where no other place is: simulated terrain has one corner, and here scenes lie side by side."""
    row, column = divmod(place, PLACES_ACROSS)
    shift = Affine.translation(column * grid.width, row * grid.height)
    return replace(grid, transform=grid.transform @ shift)


def write_single(pairs: Dataset, input: str, folder: Path) -> Dataset:
    """The benchmark with three bands for one encoder in place of six for two: "composite" or "difference".

    Both are those of the released code of arXiv 2601.01213, where only the composite is scaled; the differences in
    decibels are mapped from `DIFFERENCE_RANGE_DB` (assumed).
    """
    made = SINGLES[input]
    writer = DatasetWriter(folder, made.description)
    for entry in pairs.entries:
        if not writer.has(entry.id):
            scene = pairs.scene(entry.id)
            layers = made.layers(
                {name: np.asarray(scene.band(name), np.float32) for name in scene.band_names}
            )
            bands = tuple(Band(band.name, band.units) for band in made.description.bands)
            writer.write(entry.id, replace(scene, pixels=layers, bands=bands), pairs.mask(entry.id) == 1)
    return writer.finish(pairs.entries)


def composite(bands: Mapping[str, Layer]) -> NDArray[np.float32]:
    """VH where it changed most and VV elsewhere, before and after, and heights; all in [0, 1] (rows, columns).

    With r the mapping to [0, 1], a = r(VH1 - VH0; 0, .25), b = r(VV1 - VV0; 0, .25) of bands in [0, 1] and
    w = r(a - b; 0, 1), it is w VH + (1 - w) VV (arXiv 2601.01213, released code).
    """
    vv0, vv1 = (_scaled(bands[name], *VV_RANGE_DB) for name in ("VV0", "VV1"))
    vh0, vh1 = (_scaled(bands[name], *VH_RANGE_DB) for name in ("VH0", "VH1"))
    weight = np.clip(_scaled(vh1 - vh0, 0, 0.25) - _scaled(vv1 - vv0, 0, 0.25), 0, 1)
    height = _scaled(bands["DEM"], *HEIGHT_RANGE_M)
    return np.stack([weight * vh0 + (1 - weight) * vv0, weight * vh1 + (1 - weight) * vv1, height])


def difference(bands: Mapping[str, Layer]) -> NDArray[np.float32]:
    """VV and VH after less before in dB, and heights in m, (3, rows, columns)."""
    return np.stack([bands["VV1"] - bands["VV0"], bands["VH1"] - bands["VH0"], bands["DEM"]])


def _scaled(values: Layer, low: float, high: float) -> Layer:
    return np.clip((values - low) / (high - low), 0, 1)


class Single(NamedTuple):
    """Three bands made of the six."""

    layers: Callable[[Mapping[str, Layer]], NDArray[np.float32]]
    description: Description


def _single(*bands: BandRule) -> Description:
    return Description(bands=bands, labels=DESCRIPTION.labels)


SINGLES = {
    "composite": Single(
        composite,
        _single(
            *(BandRule(name=name, units="1", range=(0.0, 1.0)) for name in ("before", "after", "height"))
        ),
    ),
    "difference": Single(
        difference,
        _single(
            BandRule(name="VV1-VV0", units="1", range=DIFFERENCE_RANGE_DB),
            BandRule(name="VH1-VH0", units="1", range=DIFFERENCE_RANGE_DB),
            BandRule(name="DEM", units="m", range=HEIGHT_RANGE_M),
        ),
    ),
}
"""What one encoder may be given of the six bands."""
