"""A folder of your own data: images, masks, splits and a `dataset.yaml` that says what they are.

    images/<id>.tif   bands as listed in dataset.yaml; no data is the file's no-data value or not-a-number
    masks/<id>.tif    one band of whole numbers, same size
    splits.csv        header id,split,block; split is train, val or the name of a test set
    dataset.yaml      bands: [{name: VV0, units: db, range: [-23, -3]}, ...]
                      labels: {background: [0], object: [1, 255]}, or one list a land-cover class
                      optional primary: [names], secondary: [names], ignore: 254

A block is a place. No place is both learned from and tested on, so a block lies in one split; test sets may share
one. Where whole images are labelled and not their pixels, there are no masks: dataset.yaml has
`image_labels: [names]` in place of `labels`, and `labels.csv` (header id,labels) names those of each image, with a
bar between two.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self, TypeVar

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    StringConstraints,
    ValidationError,
    model_validator,
)
from rasterio.io import MemoryFile
from tqdm import tqdm

from sartutor.errors import DataError, OutputError
from sartutor.sar import geotiff
from sartutor.sar.collars import NEVER_MEASURED, RADAR
from sartutor.sar.files import replacing
from sartutor.sar.geotiff import write_scene
from sartutor.sar.ground import outline_deg, shared_ground
from sartutor.sar.layers import Layer, layers_of, offset_pixels, opened, read_layers
from sartutor.sar.radiometry import MANY_ZEROS, doubt_units
from sartutor.sar.scene import Band, Grid, Scene, Units

IGNORE = -1
"""Value in masks of pixels that count in no loss and no score: not labelled, not looked at."""

SAME_PLACE = "same_place"
"""Split of images that show ground of another split: never learned from, never in the score of the held-out place."""

ENDINGS = (*geotiff.ENDINGS, *map(str.upper, geotiff.ENDINGS))
"""Of the files of images and masks; where there are two of a name the first of these is read."""

MISPLACED = (
    "its mask says that it lies elsewhere, by more than a pixel; look whether it is that of the image."
)

RANGE_PERCENTILES = (1, 99)
"""Percentiles of the training pixels between which a band without a range is stretched."""

RANGE_SAMPLE = 500_000
"""Training pixels that ranges are computed from, drawn evenly from all valid ones."""

Name = Annotated[str, StringConstraints(min_length=1)]
Values = Annotated[
    tuple[int, ...], BeforeValidator(lambda given: (given,) if isinstance(given, int) else given)
]
"""Values in mask files; one alone needs no brackets."""
Range = tuple[FiniteFloat, FiniteFloat]


class Strict(BaseModel):
    """What is read from YAML: without entries that mean nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


Described = TypeVar("Described", bound=Strict)


class BandRule(Strict):
    """One band of the images: its name, units, and the values that become 0 and 1 (None: from the training split)."""

    name: Name
    units: Annotated[Units, BeforeValidator(lambda given: "1" if given == 1 else str(given).lower())]
    range: Range | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.range is not None and not self.range[0] < self.range[1]:
            raise ValueError("the first number of a range is smaller than the second")
        return self


class Description(Strict):
    """The content of dataset.yaml.

    `labels` maps a meaning to the values that stand for it in mask files: background and object, or the classes of
    a land cover in their order. `image_labels` lists what whole images may be labelled with instead.
    """

    bands: tuple[BandRule, ...] = Field(min_length=1)
    primary: Annotated[tuple[Name, ...], Field(min_length=1)] | None = None
    secondary: tuple[Name, ...] | None = None
    labels: dict[Name, Values] | None = None
    ignore: Values = ()
    image_labels: tuple[Name, ...] | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        names = self.band_names
        if len(set(names)) < len(names):
            raise ValueError("two bands have the same name")
        if self.labels is not None and self.image_labels is not None:
            raise ValueError("give labels (of pixels) or image_labels (of whole images), not both")
        if self.labels is not None:
            self._check_labels(self.labels)
        self._check_encoders()
        return self

    def _check_labels(self, labels: dict[str, tuple[int, ...]]) -> None:
        if len(labels) < 2:
            raise ValueError("labels need two meanings at least, such as background and object")
        if "object" in labels and set(labels) != {"background", "object"}:
            raise ValueError("labels are background and object, or the classes of a land cover")
        values = [value for listed in labels.values() for value in listed] + list(self.ignore)
        if len(set(values)) < len(values):
            raise ValueError("a mask value stands for two things in labels and ignore")

    def _check_encoders(self) -> None:
        names = self.band_names
        asked = (self.primary or ()) + (self.secondary or ())
        if unknown := [name for name in asked if name not in names]:
            raise ValueError(f"primary or secondary names {unknown[0]!r}, which is no band")
        if any(len(set(names)) < len(names) for names in (self.primary or (), self.secondary or ())):
            raise ValueError("primary or secondary names a band twice")
        if self.secondary and not self.primary:
            raise ValueError("secondary is given without primary")
        if self.primary is None and len(names) > 6:
            raise ValueError("more than 6 bands need primary and secondary, 3 names each at most")
        if max(len(self.primary or ()), len(self.secondary or ())) > 3:
            raise ValueError("one encoder takes 3 bands at most: name 3 in primary and 3 in secondary")

    @property
    def rasters(self) -> tuple[str, ...]:
        """The folders of rasters: images, and masks where pixels are labelled."""
        return ("images",) if self.labels is None else ("images", "masks")

    @property
    def band_names(self) -> tuple[str, ...]:
        """Names in storage order."""
        return tuple(band.name for band in self.bands)

    @property
    def units(self) -> dict[str, Units]:
        """Units of each band, in storage order."""
        return {band.name: band.units for band in self.bands}

    @property
    def encoder_bands(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Bands of the primary and the secondary encoder: as named, or else bands 1-3 and 4-6."""
        if self.primary is not None:
            return self.primary, self.secondary or ()
        return self.band_names[:3], self.band_names[3:]

    @property
    def classes(self) -> tuple[str, ...]:
        """What the values 0, 1, ... of a mask mean: background and object, or the classes in their order."""
        if self.labels is None:
            return ()
        return ("background", "object") if "object" in self.labels else tuple(self.labels)

    def dump(self) -> str:
        """The description as YAML."""
        return yaml.safe_dump(self.model_dump(mode="json", exclude_defaults=True), sort_keys=False)


class Entry(NamedTuple):
    """One line of splits.csv."""

    id: str
    split: str
    block: str


class Dataset:
    """A folder of images with labels; nothing but its lists is in memory. Made by `open_dataset`."""

    def __init__(
        self,
        folder: Path,
        description: Description,
        entries: Sequence[Entry],
        image_labels: dict[str, tuple[str, ...]],
    ) -> None:
        self.folder = folder
        self.description = description
        self.entries = tuple(entries)
        self.image_labels = image_labels
        self.primary, self.secondary = description.encoder_bands
        self._splits = {entry.id: entry for entry in entries}

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits in the order of splits.csv."""
        return tuple(dict.fromkeys(entry.split for entry in self.entries))

    def ids(self, split: str) -> tuple[str, ...]:
        """The images of a split in the order of splits.csv; DataError where it has none."""
        found = tuple(entry.id for entry in self.entries if entry.split == split)
        if not found:
            raise DataError(
                f"{self.folder / 'splits.csv'} has no image in split {split!r}; it has {', '.join(self.splits)}."
            )
        return found

    def block(self, id: str) -> str:
        """The place that an image shows."""
        return self._entry(id).block

    def scene(self, id: str) -> Scene:
        """An image with the names and units of dataset.yaml; DataError where it does not have its bands or any data.

        What no radar, height or angle measures, such as -9999, is no data whether the file says so or not.
        """
        path = self.image_path(id)
        found, grid = layers_of(path, len(self.description.bands))
        layers = [replace(layer, fills=NEVER_MEASURED) for layer in found]
        bands = self._bands(path, layers)
        pixels, valid = read_layers(layers)
        if not valid.any():
            raise DataError(_no_data(path, bands, layers))
        return Scene(pixels, bands, grid, valid, id)

    def mask(self, id: str) -> NDArray[np.int16]:
        """The labels (rows, columns) of an image: 1 object, 0 background, -1 ignored; or the number of the class.

        Ignored are the values of `ignore`, not-a-number, and the file's no-data value unless it is listed in
        labels. Raises DataError where the mask has another size than the image, values that mean nothing, or a no-data
        value that is listed as a class beside another value that the file holds.
        """
        path = self._image_file("masks", id)
        if self.description.labels is None:
            raise DataError(
                f"{self.folder / 'dataset.yaml'} has no labels of pixels; there are no masks to read."
            )
        values, listed, shape = _read_values(path, self.description.labels)
        with opened(self.image_path(id)) as image:
            if image.shape != shape:
                raise DataError(
                    f"{path} has {shape[0]} x {shape[1]} px and its image {image.shape[0]} x {image.shape[1]}; "
                    "give both the same size."
                )
        return _as_classes(path, values, listed, self.description)

    @cached_property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Low and high of each band in its units: as given, or the 1st and 99th percentile of the training pixels.

        Percentiles are of valid pixels drawn evenly from all of the training split.
        """
        given = {band.name: band.range for band in self.description.bands if band.range is not None}
        missing = [name for name in self.description.band_names if name not in given]
        if missing:
            given |= self._percentiles(missing)
        return {name: given[name] for name in self.description.band_names}

    def check_headers(self) -> list[str]:
        """Open every image, without reading its pixels; DataError at the first whose bands are not those listed.

        Returns sentences of doubt about splits that show the same ground.
        """
        grids = {}
        for entry in self.entries:
            path = self.image_path(entry.id)
            layers, grids[entry.id] = layers_of(path, len(self.description.bands))
            self._bands(path, layers)
        return list(self._doubt_places(grids))

    def check(self, progress: bool = True) -> list[str]:
        """Read every image and mask; DataError at the first that is not as it should be.

        Returns sentences of doubt: bands of the first image whose values do not look like the units of dataset.yaml,
        radar bands that are the same everywhere in an image or often 0, masks that lie elsewhere than their images,
        what will stop a training, and splits that show the same ground.
        """
        doubts = _doubt_units(self.scene(self.entries[0].id))
        grids: dict[str, Grid] = {}
        objects: dict[str, int] = {}
        strange: dict[str, list[str]] = {}
        for entry in tqdm(self.entries, desc="checking", unit="image", disable=not progress):
            scene = self.scene(entry.id)
            grids[entry.id] = scene.grid
            found = [*_even_bands(scene), *_zeros(scene)]
            if self.description.labels is not None:
                objects[entry.split] = objects.get(entry.split, 0) + bool((self.mask(entry.id) == 1).any())
                found += [MISPLACED] if self._is_misplaced(entry.id, scene.grid) else []
            for sentence in found:
                strange.setdefault(sentence, []).append(entry.id)
        for sentence, ids in strange.items():
            more = f" (and {len(ids) - 1} more)" if len(ids) > 1 else ""
            doubts.append(f"{ids[0]}{more}: {sentence}")
        if unplaced := sum(outline_deg(grid) is None for grid in grids.values()):
            doubts.append(
                f"{unplaced} images have no coordinate reference system that places them on the Earth: nothing tells "
                "whether splits share ground."
            )
        return [*doubts, *self._doubt_training(objects), *self._doubt_places(grids)]

    def fingerprint(self) -> str:
        """SHA-256 of what training sees: description, and ids and sizes of files to learn from and to validate with."""
        sha = hashlib.sha256(self.description.model_dump_json().encode())
        for entry in self.entries:
            if entry.split in ("train", "val"):
                sizes = [self._image_file(kind, entry.id).stat().st_size for kind in self.description.rasters]
                sha.update(f"{entry.id} {entry.split} {sizes};".encode())
        return sha.hexdigest()

    def _doubt_training(self, objects: Mapping[str, int]) -> Iterator[str]:
        """Sentences about what will stop a training, given the number of images with objects in each split."""
        needed = ("train", "val") if {"train", "val"} & set(self.splits) else ()
        for split in needed:
            if split not in self.splits:
                yield f"splits.csv has no split {split!r}, which training needs."
            elif "object" in self.description.classes and not objects.get(split):
                yield f"no mask of split {split!r} marks an object."
        if "train" in self.splits:
            try:
                _ = self.ranges
            except DataError as error:
                yield str(error)

    def _is_misplaced(self, id: str, image: Grid) -> bool:
        """Whether a mask says that it lies elsewhere than its image, by more than a pixel."""
        mask = layers_of(self._image_file("masks", id))[1]
        known = None not in (image.crs, mask.crs)
        return known and (image.crs != mask.crs or offset_pixels(image, mask) > 1)

    def _doubt_places(self, grids: Mapping[str, Grid]) -> Iterator[str]:
        """Sentences about splits that show the same ground, of which training or validation is one."""
        names = [name for name in self.splits if name != SAME_PLACE]
        for one, other in combinations(names, 2):
            if not {"train", "val"} & {one, other}:
                continue
            ids, others = self.ids(one), self.ids(other)
            shared = shared_ground([grids[id] for id in ids], [grids[id] for id in others])
            if found := next(shared, None):
                yield (
                    f"{others[found[1]]} of split {other!r} shows ground of {ids[found[0]]} of split {one!r}, and so "
                    "may others; put one place into one split."
                )

    def _percentiles(self, names: list[str]) -> dict[str, tuple[float, float]]:
        sample = _even_sample(self.scene(id).select(names) for id in self.ids("train"))
        found = {}
        for name, values in zip(names, sample, strict=True):
            low, high = (float(q) for q in np.percentile(values, RANGE_PERCENTILES))
            if not low < high:
                raise DataError(
                    f"{self.folder}: band {name} is {low:g} nearly everywhere in training; give it a range."
                )
            found[name] = (low, high)
        return found

    def _bands(self, path: Path, layers: Sequence[Layer]) -> tuple[Band, ...]:
        rules = self.description.bands
        if len(layers) != len(rules):
            raise DataError(
                f"{path} has {len(layers)} bands and dataset.yaml lists {len(rules)}; list those of the images."
            )
        stated, listed = [str(layer.name).lower() for layer in layers], [rule.name.lower() for rule in rules]
        if stated != listed and sorted(stated) == sorted(listed):
            raise DataError(
                f"{path} names its bands {', '.join(stated)} and dataset.yaml lists {', '.join(listed)}; list them in "
                "the order of the images."
            )
        for layer, rule in zip(layers, rules, strict=True):
            if layer.units not in (None, rule.units):
                raise DataError(
                    f"{path} states {layer.units} for band {rule.name} and dataset.yaml {rule.units}; correct one."
                )
        return tuple(
            Band(rule.name, rule.units, layer.quantity or "none", layer.date)
            for layer, rule in zip(layers, rules, strict=True)
        )

    def _entry(self, id: str) -> Entry:
        if id not in self._splits:
            raise DataError(f"{self.folder / 'splits.csv'} has no image {id!r}; add a line for it.")
        return self._splits[id]

    def image_path(self, id: str) -> Path:
        """The file of an image. Raises DataError where splits.csv has no such id."""
        return self._image_file("images", id)

    def _image_file(self, kind: str, id: str) -> Path:
        paths = [self.folder / kind / f"{self._entry(id).id}{ending}" for ending in ENDINGS]
        return next((path for path in paths if path.exists()), paths[0])


def open_dataset(folder: str | Path) -> Dataset:
    """Open a folder of your own data; its pixels are read later, one image at a time (`Dataset.check` reads all).

    Raises DataError, naming the file and the cure, when dataset.yaml or splits.csv is missing or wrong, an image or
    mask is missing, or a block is shared between training, validation and testing.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; give the one that holds dataset.yaml.")
    description = read_description(folder / "dataset.yaml", Description)
    entries = read_splits(folder / "splits.csv")
    for kind in description.rasters:
        there = {path.stem for path in rasters_in(folder / kind)}
        if missing := next((entry.id for entry in entries if entry.id not in there), None):
            raise DataError(
                f"{folder / kind / missing}.tif is missing; add it or remove its line from splits.csv."
            )
    labelled = {} if description.image_labels is None else _read_image_labels(folder, description, entries)
    return Dataset(folder, description, entries, labelled)


def rasters_in(folder: Path) -> list[Path]:
    """The files of a folder that may be images or masks, by name; none where there is no such folder."""
    return sorted(path for path in folder.glob("*") if path.suffix in ENDINGS)


def read_splits(path: Path) -> list[Entry]:
    """The lines of a splits.csv; DataError where one is wrong or training shares a block with another split."""
    entries = [Entry(*row) for row in _rows(path, ("id", "split", "block"))]
    seen: set[str] = set()
    for entry in entries:
        check_id(entry.id, path)
        if not entry.split or not entry.block:
            raise DataError(f"{path}: image {entry.id} has no split or no block; name both.")
        if entry.id in seen:
            raise DataError(f"{path} lists image {entry.id} twice; remove one line.")
        seen.add(entry.id)
    _check_blocks(path, entries)
    return entries


def check_id(id: str, where: str | Path) -> None:
    """Raise DataError unless an id is a plain file name, which cannot lead out of the folder."""
    if (
        not id
        or id != id.strip()
        or ".." in id
        or any(sign in id for sign in '/\\:*?"<>|')
        or not id.isprintable()
    ):
        raise DataError(
            f"{where}: {id!r} cannot be an id; use a file name without folders, '..' or signs like : and *."
        )


class DatasetWriter:
    """Writes a folder of your own data image by image, each file whole or not at all; it can be continued.

    splits.csv comes last, in `finish`: a folder without it is not complete and is not opened.
    """

    def __init__(self, folder: str | Path, description: Description) -> None:
        """Start or continue in `folder`; DataError where another data set lies there."""
        self.folder = Path(folder)
        self.description = description
        path = self.folder / "dataset.yaml"
        if path.exists() and read_description(path, Description) != description:
            raise DataError(f"{path} describes another data set; choose an empty folder.")
        try:
            (self.folder / "images").mkdir(parents=True, exist_ok=True)
            if description.labels is not None:
                (self.folder / "masks").mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"cannot make {self.folder} ({error.strerror}); choose a folder that can be written to."
            ) from error
        _write_text(path, description.dump())

    def has(self, id: str) -> bool:
        """Whether an image, and its mask where there are masks, is written already."""
        return all((self.folder / kind / f"{id}.tif").is_file() for kind in self.description.rasters)

    def write(self, id: str, scene: Scene, mask: NDArray[Any] | None = None) -> None:
        """Write an image and its mask of whole numbers from 0 to 255, with the values of the description's labels."""
        check_id(id, self.folder)
        names, units = zip(*((band.name, band.units) for band in self.description.bands), strict=True)
        if tuple((band.name, band.units) for band in scene.bands) != tuple(zip(names, units, strict=True)):
            raise DataError(
                f"{id}: bands {', '.join(scene.band_names)} are not those of dataset.yaml, {', '.join(names)}."
            )
        if (mask is None) != (self.description.labels is None):
            raise DataError(f"{id}: a mask is written if and only if dataset.yaml has labels of pixels.")
        if mask is not None:
            write_labels(mask, scene.grid, self.folder / "masks" / f"{id}.tif")
        write_scene(scene, self.folder / "images" / f"{id}.tif")

    def finish(
        self, entries: Iterable[Entry], image_labels: Mapping[str, Sequence[str]] | None = None
    ) -> Dataset:
        """Write splits.csv, and labels.csv where whole images are labelled, and open the folder."""
        if image_labels is not None:
            rows = [(id, "|".join(labels)) for id, labels in image_labels.items()]
            write_csv(self.folder / "labels.csv", ("id", "labels"), rows)
        write_csv(self.folder / "splits.csv", Entry._fields, entries)
        return open_dataset(self.folder)


def write_labels(values: NDArray[Any], grid: Grid, path: Path) -> None:
    """Write whole numbers from 0 to 255 (rows, columns) as a GeoTIFF of one byte a pixel without a no-data value."""
    if values.shape != grid.shape or values.min() < 0 or values.max() > 255:
        raise DataError(f"{path}: labels are whole numbers from 0 to 255 on a grid of {grid.shape} pixels.")
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "compress": "deflate"}
    with MemoryFile() as memory:
        with memory.open(
            **profile, height=grid.height, width=grid.width, crs=grid.crs, transform=grid.transform
        ) as file:
            file.write(values.astype(np.uint8), 1)
        with replacing(path) as part:
            part.write_bytes(memory.read())


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file with a header, whole or not at all."""
    with replacing(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _write_text(path: Path, text: str) -> None:
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing; every folder of your own data has one.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text; save it as UTF-8.") from error


def read_description(path: Path, kind: type[Described]) -> Described:
    """The content of a YAML file as a model; DataError where it is not as it should be."""
    try:
        return kind.model_validate(yaml.safe_load(_read_text(path)))
    except yaml.YAMLError as error:
        raise DataError(f"{path} is not YAML ({' '.join(str(error).split())}); correct it.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "content"
        said = first["msg"].removeprefix("Value error, ")
        raise DataError(f"{path}, {where}: {said[:1].lower()}{said[1:]}; correct it.") from error


def _rows(path: Path, header: tuple[str, ...]) -> Iterator[list[str]]:
    """The rows of a CSV file below its header."""
    lines = [[cell.strip() for cell in row] for row in csv.reader(_read_text(path).splitlines()) if row]
    if not lines or tuple(lines[0]) != header:
        raise DataError(f"{path} does not begin with the header {','.join(header)}; add it.")
    if len(lines) == 1:
        raise DataError(f"{path} lists no image; add a line for each.")
    for number, row in enumerate(lines[1:], start=2):
        if len(row) != len(header):
            raise DataError(f"{path}, line {number}: has {len(row)} cells, not {len(header)}; correct it.")
        yield row


def _check_blocks(path: Path, entries: Sequence[Entry]) -> None:
    """Raise DataError where training or validation share a block with another split."""
    first: dict[str, str] = {}
    for entry in entries:
        role = entry.split if entry.split in ("train", "val") else "test"
        if first.setdefault(entry.block, role) != role:
            raise DataError(
                f"{path}: block {entry.block!r} lies in {first[entry.block]} and in {entry.split}, so that a place "
                "is learned and tested on; put all of its images into one of them."
            )


def _read_image_labels(
    folder: Path, description: Description, entries: Sequence[Entry]
) -> dict[str, tuple[str, ...]]:
    path = folder / "labels.csv"
    found = {id: tuple(filter(None, labels.split("|"))) for id, labels in _rows(path, ("id", "labels"))}
    known = set(description.image_labels or ())
    for id, labels in found.items():
        if unknown := [label for label in labels if label not in known]:
            raise DataError(
                f"{path}: image {id} is labelled {unknown[0]!r}, which dataset.yaml does not list."
            )
    if missing := next((entry.id for entry in entries if entry.id not in found), None):
        raise DataError(f"{path} has no line for image {missing}; add one (its labels may be empty).")
    return found


def _read_values(
    path: Path, labels: Mapping[str, tuple[int, ...]]
) -> tuple[NDArray[Any], NDArray[np.bool_], tuple[int, int]]:
    """Values of a mask file, where they are labels and not no-data, and its rows and columns."""
    with opened(path) as file:
        if file.count != 1:
            raise DataError(f"{path} has {file.count} bands; a mask has one.")
        values = file.read(1)
        labelled = np.isfinite(values)
        name = next((name for name, listed in labels.items() if file.nodata in listed), None)
        if file.nodata is not None and name is None:
            labelled &= values != file.nodata
        others = [value for value in labels.get(name or "", ()) if value != file.nodata]
        if name != "background" and np.isin(values, others).any():
            raise DataError(
                f"{path} declares {file.nodata:g} to be no data, and dataset.yaml lists it as {name} beside "
                f"{others[0]}; take it out of the file's description if it is {name}, else out of labels."
            )
        return values, labelled, file.shape


def _as_classes(
    path: Path, values: NDArray[Any], labelled: NDArray[np.bool_], description: Description
) -> NDArray[np.int16]:
    """Numbers of classes, or IGNORE, from the values of a mask file."""
    classes = np.full(values.shape, IGNORE, np.int16)
    known = ~labelled | np.isin(values, description.ignore)
    labels = description.labels or {}
    for number, name in enumerate(description.classes):
        here = labelled & np.isin(values, labels[name])
        classes[here] = number
        known |= here
    if not known.all():
        strange = ", ".join(f"{value:g}" for value in np.unique(values[~known])[:5])
        raise DataError(
            f"{path} holds the values {strange}, which dataset.yaml lists in neither labels nor ignore."
        )
    return classes


def _no_data(path: Path, bands: Sequence[Band], layers: Sequence[Layer]) -> str:
    """What to say of an image no pixel of which has data in all bands."""
    empty = [
        band.name for band, layer in zip(bands, layers, strict=True) if not read_layers([layer])[1].any()
    ]
    if len(empty) in (0, len(bands)):
        where = "" if empty else " in all bands at once"
        return f"{path} holds no data{where} (all is no-data or not a number); remove it from splits.csv."
    return (
        f"{path}: band {empty[0]} holds no data (all is no-data or not a number); remove the image from splits.csv, "
        "or the band from every image and dataset.yaml."
    )


def _doubt_units(scene: Scene) -> list[str]:
    """Sentences about calibrated bands whose values look like other units than they are said to have."""
    doubts = (
        (band.name, doubt_units(layer[scene.valid], band.units))
        for band, layer in zip(scene.bands, scene.pixels, strict=True)
    )
    return [f"{scene.name}: band {name} {doubt}" for name, doubt in doubts if doubt]


def _even_bands(scene: Scene) -> list[str]:
    """A sentence for each radar band that is the same at all valid pixels."""
    return [
        f"band {band.name} has one value everywhere, as speckle never has; look at it."
        for band, layer in zip(scene.bands, scene.pixels, strict=True)
        if band.units in RADAR and (layer[scene.valid] == layer[scene.valid][0]).all()
    ]


def _zeros(scene: Scene) -> list[str]:
    """A sentence for each radar band that is 0 in more of the valid pixels than a measurement ever is."""
    return [
        f"band {band.name} is exactly 0 in places, which looks like no data; if it is fill, declare it in "
        "the files as their no-data value."
        for band, layer in zip(scene.bands, scene.pixels, strict=True)
        if band.units in RADAR and (layer[scene.valid] == 0).mean() > MANY_ZEROS
    ]


def _even_sample(scenes: Iterable[Scene], size: int = RANGE_SAMPLE, seed: int = 0) -> NDArray[np.float32]:
    """Pixels (bands, n) of all scenes together, at most `size`, each valid pixel with the same chance."""
    rng = np.random.default_rng(seed)
    keys, kept = np.empty(0), None
    for scene in scenes:
        values = np.asarray(scene.pixels[:, scene.valid], np.float32)
        keys = np.concatenate([keys, rng.random(values.shape[1])])
        kept = values if kept is None else np.concatenate([kept, values], axis=1)
        if len(keys) > size:
            lowest = np.argpartition(keys, size)[:size]
            keys, kept = keys[lowest], kept[:, lowest]
    assert kept is not None
    return kept
