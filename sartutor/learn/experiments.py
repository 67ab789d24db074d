"""Does weighting by backscatter help? `python -m sartutor.learn.experiments NAME` fills a table of records.

`weighting` compares what an encoder starts from, for land cover with many labels and with few. `weighting_tasks` takes
the weighting that did best on the validation of `weighting` to other tasks and shares of labels. The learning rate of
fine-tuning is searched on validation, on the same grid for every start, at a seed of its own (`weighting_search`).
`avalanche` compares ways to adapt Segment Anything, and rivals, on the benchmark `avalanche-small`; `avalanche_shapes`
pretrains the rivals on drawn shapes, which `avalanche` does too where it comes to them first. `gaps` compares encoders
across gaps between domains. Interrupt it at any time; the same command goes on at the next cell. To use several cores,
start it several times with different `--seeds` and OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sartutor.errors import DataError, SarTutorError, exit_code
from sartutor.learn import avalanche_table, gap_table
from sartutor.learn.cells import DOMAINS, Row, run_cell
from sartutor.learn.record_tables import PLANNED_SEEDS
from sartutor.learn.report import write_report
from sartutor.learn.runner import Records, Table
from sartutor.learn.starts import FRACTIONS, LONGER, STARTS, TASK_CELLS, WEIGHTINGS, row_name
from sartutor.presets import (
    AVALANCHE_SIZES,
    EXPERIMENT_SIZES,
    GAP_SIZES,
    RIVAL_SHAPES,
    ExperimentSizes,
    PretrainRecipe,
)

SEARCH_SEED = 0
"""Of the search of learning rates; no rows are compared on it."""

SEARCH_FRACTION = 0.25
"""Share of the labels in the search, between the two of the main table, which both take its rate."""

NAMES = ("weighting", "weighting_tasks", "avalanche", "avalanche_shapes", "gaps")
"""Experiments on the command line."""

Rates = Mapping[tuple[str, str], float]
"""Learning rate of fine-tuning by method and start."""


def search_table(sizes: ExperimentSizes) -> Table[Row]:
    """Land cover from every start at every rate of the grid, at the seed of the search."""
    rows = {
        _searched(method, start, rate): _row(sizes, method, start, "land_cover", SEARCH_FRACTION, rate)
        for method in DOMAINS
        for start in STARTS
        for rate in sizes.rates
    }
    return Table("weighting_search", "land_cover", rows, (SEARCH_SEED,))


def chosen_rates(records: Records, sizes: ExperimentSizes) -> Rates:
    """The rate with the best validation score of every start. DataError where the search is not complete."""
    scores = {record["configuration"]: record["values"]["val_score"] for record in records}
    if missing := [name for name in search_table(sizes).configurations if name not in scores]:
        raise DataError(f"the search of learning rates lacks {missing[0]}; complete it first.")
    return {
        (method, start): max(sizes.rates, key=lambda rate: scores[_searched(method, start, rate)])
        for method in DOMAINS
        for start in STARTS
    }


def main_table(sizes: ExperimentSizes, rates: Rates, seeds: Sequence[int]) -> Table[Row]:
    """Land cover from every start, with all labels and with an eighth of them."""
    rows = {
        row_name(method, start, fraction): _row(
            sizes, method, start, "land_cover", fraction, rates[method, start]
        )
        for method in DOMAINS
        for start in STARTS
        for fraction in FRACTIONS
    }
    return Table("weighting", "land_cover", rows, seeds)


def best_weighting(records: Records, method: str) -> str:
    """The weighting with the best mean validation score over seeds and shares of labels; test scores play no part.

    DataError where one of them has no record.
    """
    scores = {start: _validated(records, method, start) for start in WEIGHTINGS}
    if missing := [start for start, values in scores.items() if not values]:
        raise DataError(
            f"the table `weighting` has nothing of {method} with {missing[0]} weights; fill it first."
        )
    return max(scores, key=lambda start: float(np.mean(scores[start])))


def task_tables(
    sizes: ExperimentSizes, rates: Rates, best: Mapping[str, str], seeds: Sequence[int]
) -> list[Table[Row]]:
    """Other tasks and shares of labels, from random weights and from pretraining without and with the best weights."""
    tables = []
    for task, fractions in TASK_CELLS.items():
        rows = {
            row_name(method, start, fraction): _row(
                sizes, method, start, task, fraction, rates[method, start]
            )
            for method in DOMAINS
            for start in ("random", "unweighted", best[method])
            for fraction in fractions
        }
        tables.append(Table("weighting_tasks", task, rows, seeds))
    return tables


def _row(sizes: ExperimentSizes, method: str, start: str, task: str, fraction: float, rate: float) -> Row:
    pretraining = longer(sizes.pretraining[method], LONGER.get(start, 1))
    recipe = replace(sizes.downstream[task], learning_rate=rate)
    return Row(method, STARTS[start], task, fraction, sizes.chips, pretraining, recipe)


def longer(recipe: PretrainRecipe, times: int) -> PretrainRecipe:
    """A recipe with so many times the steps, warm-up included; the schedule is stretched."""
    milestones = tuple(times * step for step in recipe.milestones)
    return replace(
        recipe,
        steps=times * recipe.steps,
        warmup=times * recipe.warmup,
        milestones=milestones,
        save_every=times * recipe.save_every,
    )


def _searched(method: str, start: str, rate: float) -> str:
    return f"{row_name(method, start, SEARCH_FRACTION)}-rate{rate:g}"


def _validated(records: Records, method: str, start: str) -> list[float]:
    names = [row_name(method, start, fraction) for fraction in FRACTIONS]
    return [record["values"]["val_score"] for record in records if record["configuration"] in names]


def fill(
    name: str, preset: str, seeds: Sequence[int], records: Path, work: Path, report: Path, device: str
) -> None:
    """Fill table `name`, and what must come before it; the report is that of the records whenever a cell runs."""
    sizes = EXPERIMENT_SIZES[preset]
    work.mkdir(parents=True, exist_ok=True)

    def cell(row: Row, seed: int) -> dict[str, Any]:
        write_report(records, report)
        return run_cell(row, seed, work, device)

    rates = chosen_rates(search_table(sizes).run(cell, records), sizes)
    known = main_table(sizes, rates, seeds).run(cell, records)
    if name == "weighting_tasks":
        best = {method: best_weighting(known, method) for method in DOMAINS}
        for seed in seeds:
            for table in task_tables(sizes, rates, best, (seed,)):
                table.run(cell, records)
    write_report(records, report)


def main(arguments: list[str] | None = None) -> int:
    """Command line of the experiments."""
    parser = argparse.ArgumentParser(description="Fill a table of experiments; continues where it stopped.")
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--preset", choices=sorted(EXPERIMENT_SIZES), default="laptop")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(PLANNED_SEEDS))
    parser.add_argument("--records", type=Path, default=Path("results/records"))
    parser.add_argument("--work", type=Path, default=Path("runs/experiments"))
    parser.add_argument("--report", type=Path, default=Path("docs/RESULTS.md"))
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args(arguments)
    return exit_code(partial(_run, given), "at this cell")


def _run(given: argparse.Namespace) -> None:
    if SEARCH_SEED in given.seeds:
        raise SarTutorError(f"Seed {SEARCH_SEED} belongs to the search of learning rates; use others.")
    if given.name == "avalanche_shapes":
        avalanche_table.pretrain(RIVAL_SHAPES[given.preset], given.work, given.device)
    elif given.name == "avalanche":
        sizes, shapes = AVALANCHE_SIZES[given.preset], RIVAL_SHAPES[given.preset]
        avalanche_table.fill(sizes, shapes, given.seeds, given.records, given.work, given.device)
        write_report(given.records, given.report)
    elif given.name == "gaps":
        gap_table.fill(GAP_SIZES[given.preset], given.seeds, given.records, given.work / "gaps", given.device)
        write_report(given.records, given.report)
    else:
        fill(given.name, given.preset, given.seeds, given.records, given.work, given.report, given.device)


if __name__ == "__main__":
    sys.exit(main())
