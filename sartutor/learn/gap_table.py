"""The tables of the benchmark `gaps`: a search of learning rates, every row on one gap of each kind, two on all gaps.

A last one asks whether experts lack tokens to learn from.

Learning rates of continued pretraining are searched on validation chips of the sources, at a seed of its own, in runs
of a third of the length; rows that differ from `all` or `dense` in one choice take over the rate of these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sartutor.errors import DataError
from sartutor.learn.gap_cells import Row, run_cell, validation_score
from sartutor.learn.gap_rows import AGREEMENT, ENCODERS, LONGER, SEEN, TRAINERS, Encoder, trainer
from sartutor.learn.runner import Records, Table
from sartutor.presets import GapSizes
from sartutor.sim.gaps import FIRST, GAPS

EXPERIMENT, WHOLE, SEARCH, DATA = "gaps", "gaps_all", "gaps_search", "gaps"
TOKENS = "gaps_tokens"

SEARCH_SEED, SEARCH_SHARE = 0, 0.34
"""Seed of the search, on which no rows are compared, and its share of the steps."""

Rates = Mapping[str, float]
"""Learning rate by trainer."""


def search_table(sizes: GapSizes) -> Table[Row]:
    """Every trainer at every rate of the grid."""
    rows = {
        _searched(name, rate): row(name, _shortened(sizes), {name: rate}, tuple(FIRST.values()))
        for name in TRAINERS
        for rate in sizes.rates
    }
    return Table(SEARCH, DATA, rows, (SEARCH_SEED,))


def chosen_rates(records: Records, sizes: GapSizes) -> Rates:
    """The rate of each trainer with the best score on validation. DataError where the search is not complete."""
    found = {record["configuration"]: record["values"]["val_score"] for record in records}
    if missing := [name for name in search_table(sizes).configurations if name not in found]:
        raise DataError(f"the search of learning rates lacks {missing[0]}; complete it first.")
    return {name: max(sizes.rates, key=lambda rate: found[_searched(name, rate)]) for name in TRAINERS}


def main_table(sizes: GapSizes, rates: Rates, seeds: Sequence[int]) -> Table[Row]:
    """Every row on the first gap of each kind."""
    rows = {name: row(name, sizes, rates, tuple(FIRST.values())) for name in ENCODERS}
    return Table(EXPERIMENT, DATA, rows, seeds)


def whole_table(sizes: GapSizes, rates: Rates, best: str, seeds: Sequence[int]) -> Table[Row]:
    """The best mixture and the dense encoder on all gaps."""
    rows = {name: row(name, sizes, rates, tuple(GAPS)) for name in ("dense", best)}
    return Table(WHOLE, DATA, rows, seeds)


def tokens_table(sizes: GapSizes, rates: Rates, seeds: Sequence[int]) -> Table[Row]:
    """Rows whose experts see more tokens, and a dense one to compare, on the first gap of each kind."""
    continued = sizes.continued
    long = replace(sizes, continued=replace(continued, steps=LONGER * continued.steps))
    gaps = tuple(FIRST.values())
    rows = {name: row(name, long if name.endswith("_long") else sizes, rates, gaps) for name in SEEN}
    return Table(TOKENS, DATA, rows, seeds)


def best_mixture(records: Records) -> str:
    """The mixture with the best mean score on validation chips of the sources; targets play no part.

    Only those that compute and are told as much as `dense`: one expert chosen, as many labels right. DataError where
    none has a record.
    """
    names = [name for name, encoder in ENCODERS.items() if _is_rival(encoder)]
    scores = {name: _validated(records, name) for name in names}
    if not (known := {name: found for name, found in scores.items() if found}):
        raise DataError("the table `gaps` has no mixture of experts yet; fill it first.")
    return max(known, key=lambda name: float(np.mean(known[name])))


def _is_rival(encoder: Encoder) -> bool:
    """Whether an encoder is a mixture of the computing and the labels of `dense`."""
    return encoder.mixture is not None and encoder.mixture.chosen == 1 and encoder.agreement == AGREEMENT


def row(name: str, sizes: GapSizes, rates: Rates, gaps: tuple[str, ...]) -> Row:
    """A row with its rate; where none is known it is that of the preset."""
    rate = rates.get(trainer(name), sizes.continued.learning_rate)
    return Row(
        (ENCODERS | SEEN)[name], replace(sizes, continued=replace(sizes.continued, learning_rate=rate)), gaps
    )


def fill(
    sizes: GapSizes, seeds: Sequence[int], records: Path, work: Path, device: str
) -> list[dict[str, Any]]:
    """Fill the search, the table, that of all gaps and that of tokens; returns the records of the table."""
    work.mkdir(parents=True, exist_ok=True)
    search = search_table(sizes)
    rates = chosen_rates(
        search.run(lambda row, seed: validation_score(row, seed, work, device), records), sizes
    )

    def cell(row: Row, seed: int) -> dict[str, Any]:
        return run_cell(row, seed, work, device)

    known = main_table(sizes, rates, seeds).run(cell, records)
    whole_table(sizes, rates, best_mixture(known), seeds).run(cell, records)
    tokens_table(sizes, rates, seeds).run(cell, records)
    return known


def _shortened(sizes: GapSizes) -> GapSizes:
    steps = max(1, round(SEARCH_SHARE * sizes.continued.steps))
    return replace(sizes, continued=replace(sizes.continued, steps=steps, save_every=steps))


def _searched(name: str, rate: float) -> str:
    return f"{name}-rate{rate:g}"


def _validated(records: Records, name: str) -> list[float]:
    return [record["values"]["val_score"] for record in records if record["configuration"] == name]
