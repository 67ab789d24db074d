"""BigEarthNet-S1, version 1 (Sumbul et al. 2021) and 2 (reBEN, arXiv 2407.03653): patches with multi-label land cover.

Layout: <patch>/<patch>_VV.tif and <patch>_VH.tif in dB, in whatever folders, where a patch is
S1A_IW_GRDH_1SDV_20170613T165043_33UUP_61_39: product, tile, column and row in the tile. Version 1 has
<patch>_labels_metadata.json beside them, with `labels` of 43 classes; version 2 has metadata.parquet, with s1_name,
labels of 19 classes and split. Tested on folders made in these layouts, not on the originals.

Whole patches are labelled, so there are no masks but labels.csv. Neighbouring tiles overlap by some kilometres:
training patches that show ground of a held-out tile are set aside.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from sartutor.errors import DataError
from sartutor.sar.folder import Description
from sartutor.sar.published.common import Content, Plan, Sample, by_place, found_files, read_files
from sartutor.sar.scene import Band

CLASSES = {
    "Urban fabric": ("Continuous urban fabric", "Discontinuous urban fabric"),
    "Industrial or commercial units": ("Industrial or commercial units",),
    "Arable land": ("Non-irrigated arable land", "Permanently irrigated land", "Rice fields"),
    "Permanent crops": (
        "Vineyards",
        "Fruit trees and berry plantations",
        "Olive groves",
        "Annual crops associated with permanent crops",
    ),
    "Pastures": ("Pastures",),
    "Complex cultivation patterns": ("Complex cultivation patterns",),
    "Land principally occupied by agriculture, with significant areas of natural vegetation": (
        "Land principally occupied by agriculture, with significant areas of natural vegetation",
    ),
    "Agro-forestry areas": ("Agro-forestry areas",),
    "Broad-leaved forest": ("Broad-leaved forest",),
    "Coniferous forest": ("Coniferous forest",),
    "Mixed forest": ("Mixed forest",),
    "Natural grassland and sparsely vegetated areas": ("Natural grassland", "Sparsely vegetated areas"),
    "Moors, heathland and sclerophyllous vegetation": ("Moors and heathland", "Sclerophyllous vegetation"),
    "Transitional woodland, shrub": ("Transitional woodland/shrub",),
    "Beaches, dunes, sands": ("Beaches, dunes, sands",),
    "Inland wetlands": ("Inland marshes", "Peatbogs"),
    "Coastal wetlands": ("Salt marshes", "Salines"),
    "Inland waters": ("Water courses", "Water bodies"),
    "Marine waters": ("Coastal lagoons", "Estuaries", "Sea and ocean"),
}
"""The 19 classes, and those of CORINE that each takes in; the other 11 have no class (Sumbul et al. 2021)."""

WITHOUT_CLASS = (
    "Road and rail networks and associated land",
    "Port areas",
    "Airports",
    "Mineral extraction sites",
    "Dump sites",
    "Construction sites",
    "Green urban areas",
    "Sport and leisure facilities",
    "Bare rock",
    "Burnt areas",
    "Intertidal flats",
)
"""Labels of version 1 that are in none of the 19 classes."""

BANDS = (Band("VV", "db"), Band("VH", "db"))
"""Bands of a patch as written; the backscatter convention is not stated in the files."""

PUBLISHED_SPLITS = {"train": "train", "validation": "val", "test": "test"}
"""Splits of version 2, and what they are called here."""

_MERGED = {old: new for new, merged in CLASSES.items() for old in merged}


def plan_v1(source: Path, test: tuple[str, ...], val: tuple[str, ...]) -> Plan:
    """Version 1; whole tiles (such as 33UUP) are held out, by a seeded draw where none is named.

    The published lists are not used: they draw patches at random, so that neighbours are learned and tested on.
    Patches without any of the 19 classes are left out, as in the published lists.
    """
    folders = [path.parent for path in found_files(source, "S1*_VV.tif", "BigEarthNet-S1")]
    labels = {folder: to_19_classes(_labels(folder)) for folder in folders}
    samples = [_sample(folder, tile(folder.name), labels[folder]) for folder in folders if labels[folder]]
    return Plan(_description(), samples, by_place([sample.place for sample in samples], test, val, source))


def plan_v2(source: Path, test: tuple[str, ...], val: tuple[str, ...]) -> Plan:
    """Version 2; the published splits, which are geographical but divide tiles, or whole tiles where they are named.

    With published splits the place of a patch is the part of its tile that lies in its split.
    """
    table = _metadata(source)
    folders = [path.parent for path in found_files(source, "S1*_VV.tif", "BigEarthNet-S1")]
    known = [folder for folder in folders if folder.name in table]
    if not known:
        raise DataError(
            f"{source / 'metadata.parquet'} lists none of the patches here; unpack both into one folder."
        )
    named = bool(test or val)
    samples = []
    for folder in known:
        labels, split = table[folder.name]
        own = tile(folder.name) if named else f"{tile(folder.name)} {split}"
        samples.append(_sample(folder, own, labels, split))
    if named:
        return Plan(
            _description(), samples, by_place([sample.place for sample in samples], test, val, source)
        )
    return Plan(_description(), samples, lambda sample: sample.split)


def to_19_classes(labels: list[str]) -> tuple[str, ...]:
    """Labels of 43 CORINE classes as those of 19, in the order of these; without the 11 that have none."""
    if unknown := [label for label in labels if label not in _MERGED and label not in WITHOUT_CLASS]:
        raise DataError(
            f"{unknown[0]!r} is no label of BigEarthNet version 1; use version 2 for its own labels."
        )
    found = {_MERGED[label] for label in labels if label in _MERGED}
    return tuple(name for name in CLASSES if name in found)


def tile(patch: str) -> str:
    """The military-grid tile of a patch, such as 33UUP."""
    parts = patch.split("_")
    if len(parts) < 8 or len(parts[-3]) != 5:
        raise DataError(
            f"{patch} is no patch of BigEarthNet-S1, such as S1A_IW_GRDH_1SDV_20170613T165043_33UUP_61_39."
        )
    return parts[-3]


def _description() -> Description:
    bands = [{"name": band.name, "units": band.units} for band in BANDS]
    return Description.model_validate({"bands": bands, "image_labels": list(CLASSES)})


def _sample(folder: Path, place: str, labels: tuple[str, ...], split: str = "") -> Sample:
    return Sample(folder.name, place, lambda: _read(folder), split, labels)


def _read(folder: Path) -> Content | None:
    scene = read_files([folder / f"{folder.name}_{band.name}.tif" for band in BANDS], BANDS)
    return None if scene is None else (scene, None)


def _labels(folder: Path) -> list[str]:
    path = folder / f"{folder.name}_labels_metadata.json"
    try:
        return list(json.loads(path.read_text(encoding="utf-8"))["labels"])
    except FileNotFoundError as error:
        raise DataError(
            f"{path} is missing; version 2 has metadata.parquet instead, convert it as such."
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not the label file of a patch; unpack it again.") from error


def _metadata(source: Path) -> dict[str, tuple[tuple[str, ...], str]]:
    """Labels and split of each Sentinel-1 patch in metadata.parquet."""
    import pandas

    path = source / "metadata.parquet"
    if not path.is_file():
        raise DataError(f"{path} is missing; download the metadata table of version 2 into that folder.")
    try:
        table = pandas.read_parquet(path, columns=["s1_name", "labels", "split"])
    except ImportError as error:
        raise DataError(f'{path} needs a reader of Parquet files: pip install "pyarrow".') from error
    except Exception as error:
        raise DataError(
            f"{path} cannot be read ({' '.join(str(error).split())[:80]}); download it again."
        ) from error
    splits = [PUBLISHED_SPLITS.get(split, split) for split in table["split"]]
    labels = [tuple(name for name in CLASSES if name in np.asarray(own).tolist()) for own in table["labels"]]
    return dict(zip(table["s1_name"], zip(labels, splits, strict=True), strict=True))
