"""The benchmark `avalanche-small`: simulated pairs with avalanche debris, as a folder of own data.

Bands, their ranges and their encoders are those of arXiv 2601.01213 (released code): VV, heights for the primary
encoder, VH and slope for the secondary. As there, nothing is learned from scenes without debris; the test keeps them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import Literal, get_args

from affine import Affine
from tqdm import tqdm

from sartutor.presets import BenchmarkSizes
from sartutor.sar.folder import BandRule, Dataset, DatasetWriter, Description, Entry
from sartutor.sar.scene import Grid
from sartutor.sim.avalanche import avalanche_scene

VV_RANGE_DB, VH_RANGE_DB = (-23.0, -3.0), (-27.0, -7.0)
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
