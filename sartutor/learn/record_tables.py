"""Records in Markdown tables: means with their intervals, and differences with what they decide."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from sartutor.errors import DataError
from sartutor.learn.records import mean_interval
from sartutor.learn.runner import Difference, Records, of_row, paired_difference

PLANNED_SEEDS = range(1, 6)
"""Seeds of a complete table; with fewer, verdicts stand "so far"."""


class Question(NamedTuple):
    """What is asked by comparing row `a` with row `b` in a metric of the records; more is better."""

    text: str
    a: str
    b: str
    metric: str


def values(known: Records, metric: str) -> list[float]:
    """A metric of all records that have it."""
    return [record["values"][metric] for record in known if record["values"].get(metric) is not None]


def mean(known: Records, metric: str) -> float:
    """Mean of a metric; 0 of what no record has, such as the cost of pretraining that there was none of."""
    found = values(known, metric)
    return sum(found) / len(found) if found else 0.0


def interval(known: Records, metric: str) -> str:
    """Mean over seeds and half the width of its 95 % t interval."""
    found = values(known, metric)
    if not found:
        return "-"
    middle, half = mean_interval(found)
    return f"{middle:.3f} ± {half:.3f}" if len(found) > 1 else f"{middle:.3f}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def difference(known: Records, a: str, b: str, metric: str) -> Difference | None:
    """Row `a` less row `b`; None where they have no seed in common."""
    try:
        return paired_difference(known, a, b, metric)
    except DataError:
        return None


def within(known: Records, row: str, metric: str, other: str) -> Difference | None:
    """One metric of a row less another of it, from the differences at each seed; None where it has not both."""
    found = [record["values"] for record in of_row(known, row)]
    pairs = [each[metric] - each[other] for each in found if None not in (each.get(metric), each.get(other))]
    if not pairs:
        return None
    middle, half = mean_interval(pairs)
    return Difference(
        row, row, f"{metric} less {other}", middle, half if len(pairs) > 1 else math.inf, len(pairs)
    )


def said(found: Difference) -> str:
    """A difference with the smallest that its seeds resolve."""
    resolved = f"{found.smallest_resolved:.4f}" if math.isfinite(found.smallest_resolved) else "none"
    return f"{found.mean:+.4f} ± {resolved}"


def verdict(found: Difference | None) -> str:
    """A difference and what it decides."""
    if found is None:
        return "not run yet"
    so_far = "" if found.seeds >= len(PLANNED_SEEDS) else " so far"
    return f"{said(found)}: {found.verdict}{so_far}"


def answers(known: Records, questions: Iterable[Question]) -> str:
    """A table of what the records say to each question."""
    rows = []
    for question in questions:
        found = difference(known, question.a, question.b, question.metric)
        pair = f"`{question.a}` less `{question.b}`"
        seeds = str(found.seeds if found else 0)
        rows.append([question.text, pair, f"`{question.metric}`", seeds, verdict(found)])
    return table(("question", "comparison", "metric", "seeds", "difference"), rows)


def hardships(known: Records, rows: Iterable[str], pairs: Mapping[str, tuple[str, str]]) -> str:
    """A table of how much worse rows are at some things than at others: metric less metric, by what it is called."""
    found = []
    for row in rows:
        each = [within(known, row, *metrics) for metrics in pairs.values()]
        if known_ones := [one for one in each if one]:
            seeds = max(one.seeds for one in known_ones)
            found.append([f"`{row}`", str(seeds), *(verdict(one) if one else "-" for one in each)])
    return table(("row", "seeds", *pairs), found)


def searched(known: Records, trainers: Iterable[str], metric: str) -> str | None:
    """A table of a search of learning rates, the best of each trainer in bold; None where there are no records.

    Configurations are named `<trainer>-rate<learning rate>`.
    """
    found = {record["configuration"]: record["values"][metric] for record in known}
    rates = sorted({name.rpartition("-rate")[2] for name in found}, key=float)
    rows = []
    for trainer in trainers:
        mine = [found.get(f"{trainer}-rate{rate}", math.nan) for rate in rates]
        best = max((value for value in mine if not math.isnan(value)), default=math.nan)
        rows.append([f"`{trainer}`", *(_in_bold(value, best) for value in mine)])
    return table(("trainer", *rates), rows) if rates else None


def _in_bold(value: float, best: float) -> str:
    if math.isnan(value):
        return "-"
    return f"**{value:.3f}**" if value == best else f"{value:.3f}"
