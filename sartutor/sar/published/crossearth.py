"""Benchmark suite of CrossEarth-SAR (arXiv 2603.12008), or any folders of images beside folders of label images.

The layout of the suite is not known here: unlike the other converters, this one is told where everything is, and never
ran on the original. A YAML file says it, in the words of dataset.yaml and with paths below the source:

    bands: [{name: VV, units: dn}]      the first bands of every image file
    level_db: -40                       optional, with units dn: level in dB of a digital number of 1
    labels: {water: [1], forest: [2]}   values of label files by class; the same list for every domain
    ignore: 0                           optional
    splits:
      train: {images: a/train/images, labels: a/train/labels}
      test: {images: a/test/images, labels: a/test/labels}

A label file has the name of its image, whatever its ending, and one band of whole numbers from 0 to 255. One folder is
one domain: convert source and target each with a file of its own. Each split counts as one place. Where no `val` is
named, one training image in eight validates, by a seeded draw; pieces of one scene may then lie in both.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import FiniteFloat, model_validator

from sartutor.errors import DataError
from sartutor.sar.folder import Description, Name, Strict, read_description
from sartutor.sar.layers import layers_of, read_layers
from sartutor.sar.published.common import Content, Plan, Sample
from sartutor.sar.radiometry import db_to_power
from sartutor.sar.scene import Band, Scene

ENDINGS = (".tif", ".tiff", ".png", ".jpg", ".jpeg")
"""Of files that are taken for images or labels."""

VALIDATING = 8
"""One in so many training images validates where no split does."""


class Folders(Strict):
    """Where the images and labels of a split lie, below the source."""

    images: Name
    labels: Name


class Layout(Description):
    """What a layout file says: a description as in dataset.yaml, a level for digital numbers, and folders by split."""

    splits: dict[Name, Folders]
    level_db: FiniteFloat | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.labels is None:
            raise ValueError("labels are missing; name the classes and their values in label files")
        if "train" not in self.splits and "test" not in self.splits:
            raise ValueError("splits name neither train nor test")
        if self.level_db is not None and any(band.units != "dn" for band in self.bands):
            raise ValueError("level_db is given and a band is not in dn")
        return self

    @property
    def written(self) -> Description:
        """The description of what is written: digital numbers with a level become power."""
        content = self.model_dump(exclude={"splits", "level_db"})
        if self.level_db is not None:
            content["bands"] = [{**band, "units": "power"} for band in content["bands"]]
        return Description.model_validate(content)


def plan(source: Path, layout: Path | None) -> Plan:
    """Images as the layout file says, in its splits."""
    if layout is None:
        raise DataError(
            "the layout of crossearth-sar-benchmarks is not known here; say in a YAML file where images and labels are "
            "(`sartutor.sar.published.crossearth` shows one) and give it as --layout."
        )
    said = read_description(layout, Layout)
    samples = [
        sample for split, folders in said.splits.items() for sample in _samples(source, split, folders, said)
    ]
    if "val" not in said.splits:
        samples = _validating(samples)
    return Plan(said.written, samples, lambda sample: sample.split)


def _samples(source: Path, split: str, folders: Folders, said: Layout) -> list[Sample]:
    images, labels = (_files(source / folder) for folder in (folders.images, folders.labels))
    if missing := sorted(images.keys() - labels.keys()):
        raise DataError(
            f"{images[missing[0]]} has no label of that name in {source / folders.labels}; correct the layout."
        )
    return [
        Sample(f"{split}_{name}", split, partial(_read, image, labels[name], said), split)
        for name, image in sorted(images.items())
    ]


def _files(folder: Path) -> dict[str, Path]:
    """The rasters of a folder by their names without endings."""
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; correct the layout.")
    found = {path.stem: path for path in folder.iterdir() if path.suffix.lower() in ENDINGS}
    if not found:
        raise DataError(f"{folder} holds no image ({', '.join(ENDINGS)}); correct the layout.")
    return found


def _validating(samples: list[Sample]) -> list[Sample]:
    """The samples, some of the training among them now for validation."""
    training = [sample.id for sample in samples if sample.split == "train"]
    places = np.random.default_rng(0).permutation(len(training))[: len(training) // VALIDATING]
    drawn = {training[place] for place in places}
    return [replace(each, split="val", place="val") if each.id in drawn else each for each in samples]


def _read(image: Path, label: Path, said: Layout) -> Content | None:
    layers, grid = layers_of(image)
    if len(layers) < len(said.bands):
        raise DataError(
            f"{image} has {len(layers)} bands and the layout names {len(said.bands)}; correct it."
        )
    pixels, valid = read_layers(layers[: len(said.bands)])
    if said.level_db is not None:
        valid = valid & (pixels > 0).all(0)
        pixels = (np.square(pixels) * db_to_power(said.level_db)).astype(np.float32)
    mask = _labels(label, said)
    if mask.shape != grid.shape:
        sizes = [" x ".join(map(str, shape)) for shape in (mask.shape, grid.shape)]
        raise DataError(f"{label} has {sizes[0]} px and {image} {sizes[1]}; give both the same size.")
    bands = tuple(Band(band.name, band.units) for band in said.written.bands)
    return (Scene(pixels, bands, grid, valid, image.stem), mask) if valid.any() else None


def _labels(path: Path, said: Layout) -> NDArray[np.uint8]:
    """Values (rows, columns) of a label file, all of which the layout lists."""
    layers, _ = layers_of(path)
    if len(layers) != 1:
        raise DataError(f"{path} has {len(layers)} bands; turn its colours into one number a class.")
    values = read_layers(layers)[0][0]
    known = {*said.ignore, *(value for listed in (said.labels or {}).values() for value in listed)}
    if strange := set(np.unique(values).tolist()) - known:
        raise DataError(f"{path} holds the value {min(strange):g}, which the layout lists nowhere; add it.")
    return values.astype(np.uint8)
