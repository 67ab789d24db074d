"""The part of `docs/RESULTS.md` on the simulated annotator: clicks that prompting saves, by class of size."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from sartutor.learn.effort import effort_table
from sartutor.learn.effort_records import EXPERIMENT, efforts
from sartutor.learn.record_tables import table
from sartutor.learn.records import read_records

MEANINGS = {
    "points-0.5": "`sam_tiny_avalanche`, clicks into errors, usable from IoU .5",
    "points-0.7": "`sam_tiny_avalanche`, clicks into errors, usable from IoU .7",
    "threshold-0.5": "`sam_tiny_avalanche`, threshold moved, usable from IoU .5",
    "threshold-0.7": "`sam_tiny_avalanche`, threshold moved, usable from IoU .7",
    "base": "`sam_tiny_base`, which knows no debris, threshold moved, usable from IoU .5",
}
"""The rows of the table, in words."""

COLUMNS = {
    "objects": "{:.0f}",
    "box": "{:.2f}",
    "usable": "{:.0%}",
    "corrected": "{:.0%}",
    "given_up": "{:.0%}",
    "by_hand": "{:.1f}",
    "prompted": "{:.1f}",
}
"""Columns of `effort_table`, and how they are written."""

HEAD = ("row", "size", *(name.replace("_", " ") for name in COLUMNS), "saved")


def effort(folder: Path) -> list[str]:
    """What prompting saves, by model, way to correct and class of size."""
    known = read_records(folder, EXPERIMENT)
    parts = ["## Clicks that prompting saves", TEXT]
    rows = [
        row
        for name in MEANINGS
        if (found := efforts(name, known))
        for row in _rows(name, effort_table(found))
    ]
    return [*parts, table(HEAD, rows) if rows else "Not run yet."]


def _rows(name: str, found: pd.DataFrame) -> list[list[str]]:
    """A line for each class of size, the row's meaning on the first."""
    return [
        [
            "" if number else MEANINGS[name],
            str(size),
            *(form.format(line[column]) for column, form in COLUMNS.items()),
            f"{line['saved']:+.2f} ± {line['±']:.2f}",
        ]
        for number, (size, line) in enumerate(found.iterrows())
    ]


TEXT = """A simulated annotator does all objects of scenes that no model has seen, each in two ways (`python -m
sartutor.learn.effort_records`): outlined by hand, with as few corners as reach the same IoU, each misplaced by about a
pixel (where none reach it, as for many small objects at an IoU of .7, with those that come nearest); and prompted, by a
loose box, corrections while the mask is not usable, and an outline by hand where these do not help. `box` is the mean
IoU of the box alone; usable are masks of the box alone, corrected those that became usable, given up the rest. Medians
of clicks by hand and prompted; `saved` is the share of all clicks that prompting saves, negative where it costs more,
with half its 95 % interval over scenes. Clicks are not seconds: what looking and deciding cost, only people can measure
(`sartutor.lab.study`)."""
