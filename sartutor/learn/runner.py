"""Experiments as data: a table of configurations x seeds, and what its records say about differences.

A cell is trained, scored and recorded on its own, so that a table can be stopped and continued at any cell.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from tqdm.auto import tqdm

from sartutor.errors import DataError, OutputError
from sartutor.learn.records import mean_interval, read_records, record_path, write_record
from sartutor.learn.settings import as_settings

Configuration = TypeVar("Configuration")
Cell = Callable[[Configuration, int], Mapping[str, Any]]
"""Gives the numbers of one row and seed."""

Records = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Table(Generic[Configuration]):
    """An experiment: what is compared, on which data, with which seeds.

    Args:
        experiment: name of the folder of records.
        data: name of the data, part of each record's name.
        configurations: the rows by name; dataclasses, or what JSON can hold.
        seeds: repetitions of every row.
    """

    experiment: str
    data: str
    configurations: Mapping[str, Configuration]
    seeds: Sequence[int]

    def run(self, cell: Cell[Configuration], folder: Path) -> list[dict[str, Any]]:
        """Fill the cells that have no record yet, and return the records of the table.

        All rows of a seed come before the next seed, so that an unfinished table still holds whole pairs. Several
        processes fill a table together if each has seeds of its own; with the same ones they would run the same cells.
        Each record is written as its cell ends, with `seconds` and `cpu_seconds` (of all processes) beside what `cell`
        returns. Raises OutputError where a record was made with other settings than its row has now.
        """
        cells = [(name, seed) for seed in self.seeds for name in self.configurations]
        waiting = [each for each in cells if not self._is_done(folder, *each)]
        done = len(cells) - len(waiting)
        bar = tqdm(waiting, desc=self.experiment, total=len(cells), initial=done, unit="cell")
        for name, seed in bar:
            bar.set_postfix_str(f"{name}, seed {seed}")
            if not self._is_done(folder, name, seed):  # another process may have filled it by now
                self._fill(cell, folder, name, seed)
        return self.records(folder)

    def records(self, folder: Path) -> list[dict[str, Any]]:
        """Those records of the experiment that belong to this table."""
        return [
            record
            for record in read_records(folder, self.experiment)
            if record["configuration"] in self.configurations
            and record["data"] == self.data
            and record["seed"] in self.seeds
        ]

    def _is_done(self, folder: Path, name: str, seed: int) -> bool:
        """Whether a cell has a record; OutputError where it is one of other settings."""
        path = record_path(folder, self.experiment, name, self.data, seed)
        if not path.exists():
            return False
        if json.loads(path.read_text())["values"].get("settings") != as_settings(self.configurations[name]):
            raise OutputError(f"{path} was made with other settings; rename the row, or remove the record.")
        return True

    def _fill(self, cell: Cell[Configuration], folder: Path, name: str, seed: int) -> None:
        """Run a cell and record what it gives."""
        settings = as_settings(self.configurations[name])
        start, cpu_start = time.perf_counter(), cpu_seconds()
        values = cell(self.configurations[name], seed)
        spent = {"seconds": time.perf_counter() - start, "cpu_seconds": cpu_seconds() - cpu_start}
        write_record(
            folder, self.experiment, name, self.data, seed, {**values, **spent, "settings": settings}
        )


@dataclass(frozen=True)
class Difference:
    """Row `a` less row `b` in one metric: mean over `seeds` pairs, and half the width of its 95 % t interval."""

    a: str
    b: str
    metric: str
    mean: float
    smallest_resolved: float
    seeds: int

    @property
    def verdict(self) -> Literal["better", "worse", "undecided"]:
        """Whether `a` is better than `b` where more is better; undecided when the interval holds 0."""
        if abs(self.mean) <= self.smallest_resolved:
            return "undecided"
        return "better" if self.mean > 0 else "worse"


def of_row(records: Records, row: str, data: str | None = None) -> list[Mapping[str, Any]]:
    """The records of a row, of all data or of one."""
    return [r for r in records if r["configuration"] == row and (data is None or r["data"] == data)]


def paired_difference(records: Records, a: str, b: str, metric: str) -> Difference:
    """How much more row `a` has than row `b` of a metric, from the differences at each seed that both have.

    A single pair resolves nothing (infinite half width). Raises DataError where there is no pair.
    """
    rows = {name: _by_seed(records, name, metric) for name in (a, b)}
    pairs = [rows[a][seed] - rows[b][seed] for seed in sorted(rows[a].keys() & rows[b].keys())]
    if not pairs:
        raise DataError(f"rows {a!r} and {b!r} have {metric!r} for no seed in common; run both first.")
    mean, half = mean_interval(pairs)
    return Difference(a, b, metric, mean, half if len(pairs) > 1 else math.inf, len(pairs))


def scene_interval(
    scenes: NDArray[Any],
    score: Callable[[NDArray[Any]], float],
    seed: int = 0,
    draws: int = 1000,
) -> tuple[float, float]:
    """95 % percentile interval of a score when whole test scenes are drawn again with replacement.

    Scenes are the unit because pixels and overlapping chips of one scene resemble each other. Two models are
    compared on the same scenes by stacking what is known of both and scoring the difference.

    Args:
        scenes: what the score needs of each scene (scenes, ...), for example confusion matrices.
        score: of any number of such scenes.
        seed: of the draws.
        draws: how many there are.

    Raises DataError for fewer than two scenes.
    """
    if len(scenes) < 2:
        raise DataError("one scene cannot be drawn in two ways; test on at least two scenes.")
    found = stats.bootstrap(
        (np.arange(len(scenes)),),
        lambda drawn: score(scenes[drawn]),
        n_resamples=draws,
        vectorized=False,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)


def _by_seed(records: Records, configuration: str, metric: str) -> dict[int, float]:
    """The metric of a row by seed."""
    return {
        record["seed"]: record["values"][metric]
        for record in of_row(records, configuration)
        if record["values"].get(metric) is not None
    }


def cpu_seconds() -> float:
    """Processor time of this process and of its children that have ended."""
    return sum(os.times()[:4])
