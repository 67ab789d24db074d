"""The part of `docs/RESULTS.md` on domain generalisation: the benchmark `gaps`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from statistics import median

from sartutor.learn.gap_rows import (
    ENCODERS,
    MEANINGS,
    ORDER,
    QUESTIONS,
    SEEN,
    SEEN_MEANINGS,
    SEEN_QUESTIONS,
    TRAINERS,
    with_gains,
)
from sartutor.learn.gap_table import EXPERIMENT, SEARCH, SEARCH_SEED, TOKENS, WHOLE
from sartutor.learn.record_tables import (
    PLANNED_SEEDS,
    answers,
    difference,
    interval,
    mean,
    searched,
    table,
    values,
    verdict,
)
from sartutor.learn.records import read_records
from sartutor.learn.runner import Records, of_row
from sartutor.sim.gaps import FIRST, GAPS, OWN_NAMES

COLUMNS = {"miou": "mIoU", "val_score": "own domain", "largest_share": "busiest expert"}
"""Columns of the main table beside the gaps."""


def gaps(folder: Path) -> list[str]:
    """What each encoder carries over each kind of gap, and the comparisons."""
    known = read_records(folder, EXPERIMENT)
    parts = [
        "## From one domain to another",
        TEXT,
        _meant(MEANINGS),
        *_searched(read_records(folder, SEARCH)),
    ]
    if not known:
        return [*parts, "No row has been run yet."]
    seeds = sorted({record["seed"] for record in known})
    parts += [f"Seeds so far: {', '.join(map(str, seeds))} of {PLANNED_SEEDS.start} to {PLANNED_SEEDS[-1]}."]
    parts += [
        "### One gap of each kind",
        _scores(known, ENCODERS),
        "### What was asked of gaps",
        answers(known, QUESTIONS),
        order_found(known),
    ]
    return [*parts, *_whole(read_records(folder, WHOLE)), *_tokens(read_records(folder, TOKENS), known)]


def order_found(known: Records) -> str:
    """What the records say of the order of arXiv 2603.12008, step by step."""
    said: dict[str, list[str]] = {"better": [], "worse": [], "undecided": []}
    for a, b in pairwise(ORDER):
        found = difference(known, a, b, "miou")
        if found is None:
            return "The order of arXiv 2603.12008 has not been looked for yet."
        said[found.verdict].append(f"`{a}` over `{b}`")
    rows, steps = " > ".join(f"`{name}`" for name in ORDER), len(ORDER) - 1
    if len(said["better"]) == steps:
        return f"The order of arXiv 2603.12008, {rows}, is found: each of its steps is decided that way."
    parts = {"decided that way": "better", "decided the other way": "worse", "undecided": "undecided"}
    each = "; ".join(f"{words}: {', '.join(said[kind]) or 'none'}" for words, kind in parts.items())
    return f"**The order of arXiv 2603.12008, {rows}, is not found.** Of its {steps} steps {each}."


def _meant(meanings: Mapping[str, str]) -> str:
    """What each row is."""
    return table(("row", "what is frozen"), [[f"`{name}`", words] for name, words in meanings.items()])


def _searched(known: Records) -> list[str]:
    """The score on validation at every learning rate."""
    found = searched(known, TRAINERS, "val_score")
    return (
        [f"### Learning rates of continued pretraining (mIoU on the sources, seed {SEARCH_SEED})", found]
        if found
        else []
    )


def _scores(known: Records, names: Iterable[str]) -> str:
    columns = COLUMNS | {f"miou_{name}": name for name in FIRST.values()}
    rows = []
    for name in names:
        of = of_row(known, name)
        scores = [interval(of, metric) for metric in columns]
        sizes = (
            [f"{mean(of, each) / 1e6:.2f}" for each in ("active_parameters", "parameters")] if of else "--"
        )
        spent = [each for each in values(of, "encoder_cpu_seconds") if each >= 1]
        chips = " to ".join(f"{mean(of, end):.3f}" for end in ("miou_low", "miou_high")) if of else "-"
        cost = f"{median(spent):.0f}" if spent else "-"
        rows.append([f"`{name}`", str(len(of)), *scores, chips, *sizes, cost])
    return table(("row", "seeds", *columns.values(), "over chips", "M active", "M in all", "CPU s"), rows)


def _whole(known: Records) -> list[str]:
    """All gaps, of the rows that have them."""
    if not (names := [name for name in ENCODERS if of_row(known, name)]):
        return []
    rows = []
    for gap, (kind, _, _) in GAPS.items():
        scores = [interval(of_row(known, name), f"miou_{gap}") for name in names]
        added = [
            verdict(difference(known, name, "dense", f"miou_{gap}")) for name in names if name != "dense"
        ]
        rows.append([f"{gap}*" if gap in OWN_NAMES else gap, kind, *scores, *added])
    head = ("gap", "differs in", *(f"`{name}`" for name in names))
    more = (f"`{name}` less `dense`" for name in names if name != "dense")
    return ["### All gaps", ALL, table((*head, *more), rows)]


def _tokens(known: Records, others: Records) -> list[str]:
    """Rows whose experts see more tokens."""
    if not known:
        return []
    found = answers(with_gains([*others, *known]), SEEN_QUESTIONS)
    return ["### Do experts lack tokens?", LACK, _meant(SEEN_MEANINGS), _scores(known, SEEN), found]


TEXT = f"""An encoder is pretrained on simulated chips of 167 domains (regions, radar bands, platforms, polarisations,
parts of complex images) whose labels are partly wrong, and frozen; then a head of two linear layers learns land cover
in one domain, and is asked in another (`python -m sartutor.learn.experiments gaps`). No domain that is learned from or
asked is among those of pretraining, though their regions and radars are. mIoU is pooled over the test chips of a
target; `own domain` is that on other chips of the sources, by which everything is chosen. All rows of a seed see the
same chips and errors of labels, all from `dense` on have the same start and number of steps, and one expert of six
multiplies as often as one dense layer (sorting tokens costs time beside it). `plain` is a weak rival: as many steps as
a head has, at the rate of `dense`. `busiest expert` is the share of all choices that the busiest expert of a block gets
(mean over blocks); with k chosen it is at most 1/k. `over chips` is the 95 % interval of the mean mIoU when the test
chips of a seed are drawn again, mean over seeds. CPU s are those of continued pretraining, of `masked` those of masked
pretraining, median over seeds; `plain` learns where heads do, which is not counted. Letters of gaps stand for simulated
domains, not for the data sets of arXiv 2603.12008.

Each interval below stands alone: of {len(QUESTIONS)} questions, one would be decided wrongly even if nothing had an
effect, so that a verdict near its limit wants new seeds. Learning rates were searched for five rows, at one seed and a
third of the length. Where the best one differs, so do the rates of what is compared: `all` and all that is derived from
it learn at a third of the rate of `dense`, `moe`, `descriptors` and `balance`."""

ALL = """The mixture that did best on the sources' own validation chips, of those that compute as much as `dense` and
learned from as many right labels, beside `dense`. Names with * are this project's. HV2F and VH2F are one question here:
sender and receiver may change places."""

LACK = """Where six experts take turns, each learns from a sixth of the tokens that one layer sees. If that is what
they lack, more steps must help them more than they help one layer, and six that see every token must do better than
one that is chosen. An undecided difference does not show that two rows are equal."""
