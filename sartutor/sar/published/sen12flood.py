"""SEN12-FLOOD (Rambour et al., IEEE DataPort 2020): series of Sentinel-1 images of places, flooded or not.

Layout: S1list.json beside one folder a place; its keys are the folders, and below each key the numbered images with
`filename`, `FLOODING` and `orbit`. Files are <folder>/<filename>_corrected_VV.tif and ..._VH.tif: linear power in
EPSG:4326, zero where nothing was seen. Tested on folders made in that layout, not on the original.

Whole images are labelled, so there are no masks but labels.csv (flood, or nothing). `pairs.csv` (header
before,after,flooded,same_track) lists the pairs of arXiv 2503.01181: the first image not flooded, each two once;
all images of a place are brought onto the grid of its first, in power. `same_track` is true where both were taken
from one relative orbit; between other tracks the view changes, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

from sartutor.errors import DataError, GeometryError
from sartutor.sar.folder import Description, write_csv
from sartutor.sar.layers import layers_of
from sartutor.sar.published.common import Content, Plan, Sample, by_place, read_files
from sartutor.sar.scene import Band
from sartutor.sar.sentinel1 import parse_s1_name
from sartutor.sar.warp import warp

LEAST_VALID = 0.75
"""Least share of valid pixels of an image (arXiv 2503.01181 drops pairs with 25 % zeros or more)."""

FLOOD = "flood"
"""The one label of an image."""

PAIR_COLUMNS = ("before", "after", "flooded", "same_track")
"""Header of pairs.csv."""

BANDS = (Band("VV", "power"), Band("VH", "power"))
"""Bands of an image as written."""


@dataclass(frozen=True)
class Listed:
    """One image of S1list.json: its folder, the beginning of its file names, and whether it shows a flood."""

    folder: Path
    filename: str
    flooded: bool

    @property
    def id(self) -> str:
        """Its name in the folder that is written."""
        return f"{self.folder.name}_{self.filename}"

    @property
    def files(self) -> list[Path]:
        """VV and VH."""
        return [self.folder / f"{self.filename}_corrected_{band.name}.tif" for band in BANDS]

    @property
    def track(self) -> int | None:
        """Relative orbit; None where the file name does not say it."""
        product = parse_s1_name(self.filename)
        return product.relative_orbit if product else None


def plan(source: Path, test: tuple[str, ...], val: tuple[str, ...]) -> Plan:
    """Images with the label flood or none, places (folders) held out as a whole, and pairs.csv."""
    listed = [image for image in read_list(source) if all(path.is_file() for path in image.files)]
    if not listed:
        raise DataError(
            f"{source} has none of the images that its S1list.json lists; unpack the whole archive there."
        )
    grids: dict[Path, list[Path]] = {}
    for image in listed:
        grids.setdefault(image.folder, image.files)
    samples = [
        Sample(
            image.id,
            image.folder.name,
            partial(_read, image, grids[image.folder]),
            labels=(FLOOD,) if image.flooded else (),
        )
        for image in listed
    ]
    bands = [{"name": band.name, "units": band.units} for band in BANDS]
    return Plan(
        Description.model_validate({"bands": bands, "image_labels": [FLOOD]}),
        samples,
        by_place([sample.place for sample in samples], test, val, source),
        lambda out, ids: write_csv(
            out / "pairs.csv", PAIR_COLUMNS, pairs([i for i in listed if i.id in ids])
        ),
    )


def read_list(source: Path) -> list[Listed]:
    """The images of S1list.json in their order; DataError where it is missing or not as published."""
    path = source / "S1list.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return [image for folder, entries in content.items() for image in _images(source / folder, entries)]
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing; give the folder that SEN12-FLOOD was unpacked to.") from error
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise DataError(f"{path} is not the list that SEN12-FLOOD comes with; unpack it again.") from error


def pairs(images: list[Listed]) -> Iterator[tuple[str, str, str, str]]:
    """Lines of pairs.csv: each two images of a place once, one that is not flooded first."""
    for one, other in combinations(images, 2):
        if one.folder != other.folder or (one.flooded and other.flooded):
            continue
        before, after = (other, one) if one.flooded else (one, other)
        same = before.track is not None and before.track == after.track
        yield before.id, after.id, str(after.flooded).lower(), str(same).lower()


def _images(folder: Path, entries: dict[str, Any]) -> Iterator[Listed]:
    """The numbered images of one place; what else it says (count, folder, geo) is passed over."""
    for number in sorted((key for key in entries if key.isdigit()), key=int):
        entry = entries[number]
        yield Listed(folder, entry["filename"], str(entry["FLOODING"]).lower() == "true")


def _read(image: Listed, first: list[Path]) -> Content | None:
    """An image on the grid of the first of its place; None where too little of it is valid."""
    product = parse_s1_name(image.filename)
    day = product.start.date() if product else None
    scene = read_files(image.files, [replace(band, date=day) for band in BANDS])
    target = layers_of(first[0])[1]
    if scene is not None and scene.grid != target:
        try:
            scene = warp(scene, target)
        except GeometryError:
            return None
    if scene is None or scene.valid.mean() <= LEAST_VALID:
        return None
    return replace(scene, name=image.id), None
