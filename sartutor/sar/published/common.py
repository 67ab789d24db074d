"""What the converters of published data sets share: samples, reading, splits that share no ground."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from sartutor.errors import DataError
from sartutor.sar.folder import SAME_PLACE, Dataset, DatasetWriter, Description, Entry
from sartutor.sar.ground import shared_ground
from sartutor.sar.layers import check_same_grid, layers_of, read_layers
from sartutor.sar.scene import Band, Grid, Scene
from sartutor.sar.splits import SHARES, group_split

OBJECT = {"background": (0,), "object": (1,)}
"""Labels of what is written: one kind of object."""

IGNORED = 255
"""Value in mask files of pixels that nobody labelled."""

Content = tuple[Scene, NDArray[Any] | None]
"""An image and its mask, None where there are no masks."""


@dataclass(frozen=True)
class Sample:
    """One image to be: its id, the place it shows, how it is read (None: it holds too little data), its labels."""

    id: str
    place: str
    read: Callable[[], Content | None]
    split: str = ""
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """A published data set as it will be written; `finish` adds files of its own for the ids that were written."""

    description: Description
    samples: list[Sample]
    split_of: Callable[[Sample], str]
    finish: Callable[[Path, set[str]], None] = field(default=lambda out, ids: None)


def write(plan: Plan, out: Path, progress: bool) -> Dataset:
    """Write what is not there yet, then splits that share no ground."""
    writer = DatasetWriter(out, plan.description)
    written = []
    for sample in tqdm(plan.samples, desc=out.name, unit="image", disable=not progress):
        if not writer.has(sample.id):
            content = sample.read()
            if content is None:
                continue
            writer.write(sample.id, *content)
        written.append(sample)
    plan.finish(out, {sample.id for sample in written})
    entries = [Entry(sample.id, plan.split_of(sample), sample.place) for sample in written]
    grids = [layers_of(out / "images" / f"{entry.id}.tif")[1] for entry in entries]
    labels = {sample.id: sample.labels for sample in written} if plan.description.image_labels else None
    return writer.finish(kept_apart(entries, grids), labels)


def kept_apart(entries: Sequence[Entry], grids: Sequence[Grid]) -> list[Entry]:
    """The entries, but training and validation images that show ground of another split move to `SAME_PLACE`.

    A test image stays and a training image yields to one of validation.
    """
    result = list(entries)
    for one, other in shared_ground(grids, grids):
        entry, rival = entries[one], entries[other]
        if _rank(entry) < _rank(rival):
            result[one] = Entry(entry.id, SAME_PLACE, f"{entry.block} & {rival.block}")
    return result


def _rank(entry: Entry) -> int:
    return {"train": 0, "val": 1}.get(entry.split, 2)


def by_place(
    places: Iterable[str], test: tuple[str, ...], val: tuple[str, ...], source: Path
) -> Callable[[Sample], str]:
    """The split of a sample by its place: as named, or as a seeded draw of whole places.

    Where there are fewer places than splits, those that are not named are tests, or training beside named ones.
    """
    known = sorted(set(places))
    if unknown := [place for place in (*test, *val) if place not in known]:
        raise DataError(f"{source} has no place {unknown[0]!r}; it has {', '.join(known[:20])}.")
    if both := set(test) & set(val):
        raise DataError(f"{both.pop()!r} is held out for testing and for validation; name it once.")
    named = dict.fromkeys(val, "val") | dict.fromkeys(test, "test")
    rest = [place for place in known if place not in named]
    shares = {
        split: share for split, share in SHARES.items() if split == "train" or split not in named.values()
    }
    enough = len(rest) >= len(shares)
    drawn = group_split(rest, shares) if enough else dict.fromkeys(rest, "train" if named else "test")
    splits: dict[Any, str] = {**drawn, **named}
    return lambda sample: splits[sample.place]


def read_files(
    paths: Sequence[Path], bands: Sequence[Band], limits_db: tuple[float, float] | None = None
) -> Scene | None:
    """A scene from single-band files, or one file; None where it has no data.

    Zero power and decibels outside `limits_db` are no data.
    """
    found = [layers_of(path) for path in paths]
    check_same_grid(list(paths), [grid for _, grid in found])
    layers = [layer for part, _ in found for layer in part]
    if len(layers) != len(bands):
        raise DataError(
            f"{paths[0]}: {len(layers)} bands where {', '.join(b.name for b in bands)} are expected."
        )
    pixels, valid = read_layers(layers)
    for layer, band in zip(pixels, bands, strict=True):
        if band.units == "power":
            valid &= layer > 0
        if band.units == "db" and limits_db is not None:
            valid &= (layer >= limits_db[0]) & (layer <= limits_db[1])
    return Scene(pixels, tuple(bands), found[0][1], valid, paths[0].stem) if valid.any() else None


def found_files(source: Path, pattern: str, what: str) -> list[Path]:
    files = sorted(path for path in source.rglob(pattern) if not path.name.startswith("."))
    if not files:
        raise DataError(
            f"{source} has no {pattern} anywhere below; give the folder that {what} was unpacked to."
        )
    return files


def read_mask(path: Path, image: Path) -> NDArray[np.uint8]:
    """A mask (rows, columns): 1 object, 0 background, `IGNORED` where the file has anything else.

    Raises GeometryError where it does not lie on the grid of the file `image`.
    """
    layers, grid = layers_of(path)
    check_same_grid([image, path], [layers_of(image)[1], grid])
    values, _ = read_layers(layers[:1])
    return np.where(values[0] == 1, 1, np.where(values[0] == 0, 0, IGNORED)).astype(np.uint8)
