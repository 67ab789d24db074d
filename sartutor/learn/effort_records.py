"""The table of the simulated annotator: `python -m sartutor.learn.effort_records` fills its records, seed by seed.

Interrupt it at any time; the same command goes on at the next cell. A cell takes some 20 s of a core.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sartutor.errors import exit_code
from sartutor.learn.effort import Correction, Effort, HandDrawn, measure
from sartutor.learn.models import load_model
from sartutor.learn.records import recorded
from sartutor.learn.runner import Records, Table, of_row
from sartutor.presets import EFFORT_SIZES, EffortSizes

EXPERIMENT, DATA = "effort", "avalanche-small"

SEEDS = range(41, 46)
"""Of scenes that no model of the package was trained or tuned on."""


@dataclass(frozen=True)
class Row:
    """A model, how its masks are corrected, the IoU from which on they are usable, and the scenes."""

    model: str
    correct: Correction
    usable: float
    sizes: EffortSizes


def effort_rows(sizes: EffortSizes) -> dict[str, Row]:
    """The adapted model with both corrections at both qualities, and the model that it was adapted from."""
    rows = {
        f"{correct}-{usable}": Row("sam_tiny_avalanche", correct, usable, sizes)
        for usable in (0.5, 0.7)
        for correct in ("threshold", "points")
    }
    return {**rows, "base": Row("sam_tiny_base", "threshold", 0.5, sizes)}


def cell(row: Row, seed: int) -> dict[str, Any]:
    """Every object of the scenes of a seed, as JSON can hold it."""
    found = measure(load_model(row.model), [seed], row.sizes, row.correct, row.usable, progress=False)
    return {"objects": [asdict(one) for one in found]}


def fill(folder: Path, sizes: EffortSizes, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Run the cells that have no record in `folder` yet; returns the records of the table."""
    return Table(EXPERIMENT, DATA, effort_rows(sizes), seeds).run(cell, folder)


def efforts(row: str, records: Records | None = None) -> list[Effort]:
    """The objects of all seeds of a row, for `effort_table`; None: of the records that come with the package."""
    known = recorded(EXPERIMENT) if records is None else records
    objects = (one for record in of_row(known, row) for one in record["values"]["objects"])
    return [Effort(**{**one, "by_hand": HandDrawn(*one["by_hand"])}) for one in objects]


def main(arguments: list[str] | None = None) -> int:
    """Command line of the table."""
    parser = argparse.ArgumentParser(description="Fill the table of the simulated annotator; continues.")
    parser.add_argument("--preset", choices=sorted(EFFORT_SIZES), default="laptop")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--records", type=Path, default=Path("results/records"))
    given = parser.parse_args(arguments)
    return exit_code(partial(fill, given.records, EFFORT_SIZES[given.preset], given.seeds), "at this cell")


if __name__ == "__main__":
    sys.exit(main())
