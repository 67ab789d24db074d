"""AvalCD (doi:10.5281/zenodo.15863589): avalanches in pairs of Sentinel-1 images, seven events at four places.

Layout: <event>/<event>_{preVV,preVH,postVV,postVH,DEM,SLP,GT}.tif, all of an event on one grid. Tested on folders
made in that layout, not on the original. Assumed: Nuuk's HH and HV files bear those names or VV and VH; SLP is in
degrees; GT is 1 on debris and 0 beside it; VV and VH are sigma0 or gamma0 in dB, which is not stated here.
"""

from __future__ import annotations

from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from sartutor.errors import DataError
from sartutor.sar.folder import SAME_PLACE, Description
from sartutor.sar.layers import layers_of
from sartutor.sar.published.common import (
    IGNORED,
    OBJECT,
    Content,
    Plan,
    Sample,
    found_files,
    read_files,
    read_mask,
)
from sartutor.sar.scene import Band, Scene

LIMITS_DB = (-45.0, 15.0)
"""Values outside are invalid (arXiv 2603.22658)."""

TEST_EVENT = "Tromso_20241220"
"""Event that the publisher tests on."""

CHIP_SIDE = 512
"""Rows and columns, nearly, of the chips that events are cut into."""

BANDS = (
    Band("VV0", "db"), Band("VH0", "db"), Band("VV1", "db"), Band("VH1", "db"),
    Band("DEM", "m"), Band("slope", "degree"),
)  # fmt: skip
"""Bands as written: 0 before, 1 after the event; at Nuuk VV is HH and VH is HV."""

RANGES = ((-23, -3), (-27, -7), (-23, -3), (-27, -7), (0, 4000), (0, 90))
"""Values that become 0 and 1, by band (arXiv 2601.01213, released code)."""

_FILES = (
    ("preVV", "preHH"),
    ("preVH", "preHV"),
    ("postVV", "postHH"),
    ("postVH", "postHV"),
    ("DEM",),
    ("SLP",),
)


def plan(source: Path, test: tuple[str, ...], val: tuple[str, ...]) -> Plan:
    """Events as chips; an event is a place and a day, such as Livigno_20240403.

    Leaving one event out (`test`; as published Tromso_20241220) leaves out its place: other events there form the
    test split `same_place`, never the training. `val` names events or places, whose whole place validates; when
    empty, the place that comes before the tested one in the alphabet. (The publisher validates on Nuuk_20210411 and
    trains on Nuuk_20160413, which is the same place.)
    """
    _event.cache_clear()
    folders = {path.parent.name: path.parent for path in found_files(source, "*_GT.tif", "AvalCD")}
    events = sorted(folders)
    tested = test or ((TEST_EVENT,) if TEST_EVENT in folders else (events[-1],))
    splits = leave_out(events, tested, val, source)
    samples = [sample for event in events for sample in _chips(folders[event])]
    return Plan(_description(), samples, lambda sample: splits[sample.id.rsplit("_", 2)[0]])


def leave_out(events: list[str], test: tuple[str, ...], val: tuple[str, ...], source: Path) -> dict[str, str]:
    """The split of each event: held-out ones test, others at their place are set aside, one place validates."""
    places = sorted({place(event) for event in events})
    if unknown := [name for name in (*test, *val) if name not in events and name not in places]:
        raise DataError(f"{source} has no event {unknown[0]!r}; it has {', '.join(events)}.")
    tested = {place(name) for name in test}
    left = [name for name in places if name not in tested]
    before = [name for name in left if name < min(tested)] or left
    validating = {place(name) for name in val} or set(before[-1:] if len(left) > 1 else [])
    if both := tested & validating:
        raise DataError(f"{both.pop()} is held out for testing and for validation; name another place.")

    def split(event: str) -> str:
        if place(event) in tested:
            return "test" if {event, place(event)} & set(test) else SAME_PLACE
        return "val" if place(event) in validating else "train"

    return {event: split(event) for event in events}


def place(event: str) -> str:
    """The place of an event: its name without the day."""
    return event.split("_")[0]


def _description() -> Description:
    bands = [
        {"name": band.name, "units": band.units, "range": limits}
        for band, limits in zip(BANDS, RANGES, strict=True)
    ]
    encoders = {"primary": ("VV0", "VV1", "DEM"), "secondary": ("VH0", "VH1", "slope")}
    return Description.model_validate({"bands": bands, "labels": OBJECT, "ignore": IGNORED, **encoders})


def _chips(folder: Path) -> list[Sample]:
    """An event in chips of about `CHIP_SIDE` px that do not overlap."""
    _, grid = layers_of(folder / f"{folder.name}_GT.tif")
    rows, cols = (
        np.linspace(0, size, max(1, round(size / CHIP_SIDE)) + 1).astype(int) for size in grid.shape
    )
    windows = [
        Window(int(x0), int(y0), int(x1 - x0), int(y1 - y0))
        for y0, y1 in pairwise(rows)
        for x0, x1 in pairwise(cols)
    ]
    return [
        Sample(f"{folder.name}_{w.row_off}_{w.col_off}", place(folder.name), partial(_chip, folder, w))
        for w in windows
    ]


def _chip(folder: Path, window: Window) -> Content | None:
    scene, mask = _event(folder)
    part = scene.read(window)
    return (part, mask[window.toslices()]) if part.valid.any() else None


@lru_cache(maxsize=1)
def _event(folder: Path) -> tuple[Scene, NDArray[Any]]:
    """All of an event; kept while its chips are cut."""
    files = [_file(folder, names) for names in _FILES]
    scene = read_files(files, BANDS, LIMITS_DB)
    if scene is None:
        raise DataError(f"{folder} holds no pixel that is valid in all of its layers; unpack it again.")
    return scene, read_mask(folder / f"{folder.name}_GT.tif", files[0])


def _file(folder: Path, names: tuple[str, ...]) -> Path:
    paths = [folder / f"{folder.name}_{name}.tif" for name in names]
    for path in paths:
        if path.is_file():
            return path
    raise DataError(f"{paths[0]} is missing; unpack the whole of AvalCD.")
