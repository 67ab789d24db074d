"""The tables of the benchmark `avalanche-small`: a search of learning rates, then every entrant at every seed.

A last one loosens the boxes that two of them are asked with.

Each learning rate is searched on validation at a seed of its own, in runs of a third of the length: those of the three
phases, which rows of other inputs and choices take over, of low-rank updates and of alignment without labels, and those
of the rivals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sartutor.errors import DataError
from sartutor.learn.avalanche_cells import (
    PretrainedRow,
    Row,
    loosened_scores,
    pretrained_rival,
    run_cell,
    validation_iou,
)
from sartutor.learn.avalanche_rows import ENTRANTS, LONG, LOOSE, PRETRAINED, TRAINERS, searched_as
from sartutor.learn.runner import Records, Table
from sartutor.presets import AdaptRecipe, AvalancheSizes, ShapesRecipe

EXPERIMENT, SEARCH, DATA = "avalanche_small", "avalanche_search", "avalanche-small"
LOOSENED = "avalanche_loose"

SEARCH_SEED = 0
"""Of the search of learning rates; no rows are compared on it."""

Rates = Mapping[str, float]
"""Learning rate by trainer."""

Shapes = Mapping[str, ShapesRecipe]
"""How each rival is pretrained on drawn shapes."""


def main_table(sizes: AvalancheSizes, shapes: Shapes, rates: Rates, seeds: Sequence[int]) -> Table[Row]:
    """Every entrant, with the rates of the search."""
    rows = {name: row(sizes, name, rates) for name in ENTRANTS}
    for name in PRETRAINED:
        rows[name] = PretrainedRow(**vars(rows[name]), pretraining=shapes[rows[name].entrant.network])
    return Table(EXPERIMENT, DATA, rows, seeds)


def loose_table(sizes: AvalancheSizes, rates: Rates, seeds: Sequence[int]) -> Table[Row]:
    """Rows that learned from loose boxes and from tight ones, to be asked with boxes of every looseness."""
    return Table(LOOSENED, DATA, {name: row(sizes, name, rates) for name in LOOSE}, seeds)


def search_table(sizes: AvalancheSizes, trainer: str, known: Rates) -> Table[Row]:
    """One trainer at every rate of the grid; the phases before it are trained in full with the rates known so far."""
    rows = {
        f"{trainer}-rate{rate:g}": shortened(
            row(sizes, trainer, {**known, trainer: rate}), sizes.search_share
        )
        for rate in sizes.rates
    }
    return Table(SEARCH, DATA, rows, (SEARCH_SEED,))


def chosen_rate(records: Records, sizes: AvalancheSizes, trainer: str) -> float:
    """The rate with the best IoU on validation. DataError where the search is not complete."""
    found = {record["configuration"]: record["values"]["val_iou"] for record in records}
    names = {rate: f"{trainer}-rate{rate:g}" for rate in sizes.rates}
    if missing := [name for name in names.values() if name not in found]:
        raise DataError(f"the search of learning rates lacks {missing[0]}; complete it first.")
    return max(sizes.rates, key=lambda rate: found[names[rate]])


def row(sizes: AvalancheSizes, name: str, rates: Rates) -> Row:
    """An entrant with its sizes and rates; where no rate is known it is that of the preset."""
    entrant = ENTRANTS[name]
    adaptation = with_rates(sizes.adaptation, [rates.get(searched_as(entrant, phase)) for phase in (1, 2, 3)])
    if name in LONG:
        adaptation = lengthened(adaptation)
    rival = replace(sizes.rival, learning_rate=rates.get(entrant.network, sizes.rival.learning_rate))
    return Row(name, entrant, sizes.data, adaptation, rival)


def lengthened(recipe: AdaptRecipe) -> AdaptRecipe:
    """A recipe whose first phase takes the steps of all."""
    first, second, last = recipe.phases
    whole = replace(first, steps=first.steps + second.steps + last.steps)
    return replace(recipe, phases=(whole, second, last))


def with_rates(recipe: AdaptRecipe, rates: Sequence[float | None]) -> AdaptRecipe:
    """A recipe with other learning rates for some phases."""
    pairs = zip(recipe.phases, rates, strict=True)
    phases = [phase if rate is None else replace(phase, learning_rate=rate) for phase, rate in pairs]
    return replace(recipe, phases=(phases[0], phases[1], phases[2]))


def shortened(whole: Row, share: float) -> Row:
    """A row whose last phase, or whose rival, is trained for a share of the steps and judged at the end."""
    steps = max(1, round(share * whole.rival.steps))
    rival = replace(whole.rival, steps=steps, check_every=steps)
    phases = list(whole.adaptation.phases)
    if last := whole.entrant.phase:
        steps = max(1, round(share * phases[last - 1].steps))
        phases[last - 1] = replace(phases[last - 1], steps=steps, check_every=steps)
    adaptation = replace(whole.adaptation, phases=(phases[0], phases[1], phases[2]))
    return replace(whole, adaptation=adaptation, rival=rival)


def searched_rates(sizes: AvalancheSizes, records: Path, work: Path, device: str) -> Rates:
    """Complete the search, trainer by trainer, and return what it found."""
    rates: dict[str, float] = {}
    for trainer in TRAINERS:
        table = search_table(sizes, trainer, rates)
        found = table.run(lambda row, seed: validation_iou(row, seed, work, device), records)
        rates[trainer] = chosen_rate(found, sizes, trainer)
    return rates


def pretrain(shapes: Shapes, work: Path, device: str) -> None:
    """Pretrain all rivals on drawn shapes; cells do so too where it has not been done."""
    for name, recipe in shapes.items():
        pretrained_rival(name, recipe, work, device)


def fill(
    sizes: AvalancheSizes, shapes: Shapes, seeds: Sequence[int], records: Path, work: Path, device: str
) -> list[dict[str, Any]]:
    """Fill the search, the table and that of loose boxes; returns the records of the table."""
    rates = searched_rates(sizes, records, work, device)
    table = main_table(sizes, shapes, rates, seeds)
    known = table.run(lambda row, seed: run_cell(row, seed, work, device), records)
    loose_table(sizes, rates, seeds).run(lambda row, seed: loosened_scores(row, seed, work, device), records)
    return known
