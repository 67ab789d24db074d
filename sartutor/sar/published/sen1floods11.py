"""Sen1Floods11 (Bonafilia et al., CVPR Workshops 2020): hand-labelled water in Sentinel-1 chips of floods.

Layout: .../S1Hand/<country>_<number>_S1Hand.tif (VV, VH in dB) and .../LabelHand/<country>_<number>_LabelHand.tif
(-1 not labelled, 0 no water, 1 water), in whatever folders. Tested on folders made in that layout and on one
original chip. The published lists of training, validation and test chips are not used: they share countries, but
for Bolivia, which is held out there and here.
"""

from __future__ import annotations

from pathlib import Path

from sartutor.errors import DataError
from sartutor.sar.folder import Description
from sartutor.sar.published.common import (
    IGNORED,
    OBJECT,
    Content,
    Plan,
    Sample,
    by_place,
    found_files,
    read_files,
    read_mask,
)
from sartutor.sar.scene import Band

BANDS = (Band("VV", "db", "sigma0"), Band("VH", "db", "sigma0"))
"""Bands of a chip in their order."""

HELD_OUT = "Bolivia"
"""Country that the publisher holds out."""


def plan(source: Path, test: tuple[str, ...], val: tuple[str, ...]) -> Plan:
    """Chips with water as object; whole countries are held out, Bolivia for testing where nothing is named."""
    images = found_files(source, "*_S1Hand.tif", "Sen1Floods11")
    labels = {path.name: path for path in source.rglob("*_LabelHand.tif")}
    samples = [_sample(path, labels) for path in images]
    places = {sample.place for sample in samples}
    tested = test or ((HELD_OUT,) if HELD_OUT in places - set(val) and len(places) > 1 else ())
    description = {
        "bands": [{"name": b.name, "units": b.units} for b in BANDS],
        "labels": OBJECT,
        "ignore": IGNORED,
    }
    splits = by_place([sample.place for sample in samples], tested, val, source)
    return Plan(Description.model_validate(description), samples, splits)


def _sample(image: Path, labels: dict[str, Path]) -> Sample:
    id = image.name.removesuffix("_S1Hand.tif")
    label = labels.get(f"{id}_LabelHand.tif")
    if label is None:
        raise DataError(f"{image} has no label {id}_LabelHand.tif; fetch it too.")
    return Sample(id, id.split("_")[0], lambda: _read(image, label))


def _read(image: Path, label: Path) -> Content | None:
    scene = read_files([image], BANDS)
    return None if scene is None else (scene, read_mask(label, image))
