"""`docs/RESULTS.md` from the records alone: `python -m sartutor.learn.report`. No number in it is typed by hand."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sartutor.learn.avalanche_report import avalanches, embedded
from sartutor.learn.cells import PRETRAINED
from sartutor.learn.effort_report import effort
from sartutor.learn.gap_report import gaps
from sartutor.learn.pretrain import EMBEDDED
from sartutor.learn.reconstruction import PREFIX, STRATA
from sartutor.learn.record_tables import (
    PLANNED_SEEDS,
    difference,
    interval,
    mean,
    said,
    table,
    verdict,
)
from sartutor.learn.records import read_records
from sartutor.learn.runner import Records, of_row
from sartutor.learn.starts import (
    FRACTIONS,
    MEANINGS,
    QUESTIONS,
    STARTS,
    TASK_CELLS,
    WEIGHTINGS,
    row_name,
)
from sartutor.sar.files import replacing

SCORES = {"land_cover": "miou", "multilabel": "ap_macro", "flood": "f1"}
"""The score that each task goes by."""

READOUTS = {"miou": "fine-tuned", "frozen_miou": "frozen"}
"""The scores of land cover, and how they are read off an encoder."""

SCORE_COLUMNS = (
    "start",
    "seeds",
    *(title for name in READOUTS.values() for title in (f"mIoU {name}", "less `random`")),
    "fine-tuned, over chips of one seed",
    "M parameters",
    "CPU s pretraining",
    "CPU s fine-tuning",
)

METHODS = {
    "simmim": "SAR-W-SimMIM, simulated ALOS-2 HH",
    "mixmae": "SAR-W-MixMAE, simulated Sentinel-1 VV and VH",
}
"""Titles of the methods."""


def write_report(records: Path, out: Path) -> None:
    """Write the report of all records in a folder."""
    with replacing(out) as part:
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(report(records), encoding="utf-8")


def report(records: Path) -> str:
    """The whole report as Markdown."""
    parts = [
        HEAD,
        *weighting(records),
        *tasks(records),
        *avalanches(records),
        *effort(records),
        *gaps(records),
        *embedded(records),
        *encoders(records),
        *shapes(records),
    ]
    return "\n\n".join(parts) + "\n"


def weighting(folder: Path) -> list[str]:
    """The main table on land cover: scores, comparisons, restoration."""
    known = read_records(folder, "weighting")
    meanings = [[f"`{name}`", meaning] for name, meaning in MEANINGS.items()]
    parts = ["## Does weighting by backscatter help?", WEIGHTING, table(("start", "meaning"), meanings)]
    parts += [_filled(known), *_searched(read_records(folder, "weighting_search"))]
    for method, title in METHODS.items():
        mine = [record for record in known if record["configuration"].startswith(f"{method}-")]
        for fraction in FRACTIONS if mine else ():
            parts += [f"### {title}: land cover, {100 * fraction:g} % of the labels"]
            parts += [_scores(mine, method, fraction), _answers(mine, method, fraction)]
        if mine:
            parts += [f"### {title}: what is restored", RESTORED, _restored(mine, method)]
    return parts


def _filled(known: Records) -> str:
    """Which cells of the table are missing, by seed and method."""
    there = {(record["configuration"], record["seed"]) for record in known}
    rows = [[str(seed), *(_lack(there, method, seed) for method in METHODS)] for seed in PLANNED_SEEDS]
    count = len({record["values"]["simulator"] for record in known})
    mixed = f"\n\nThe records come from {count} versions of the simulator." if count > 1 else ""
    return table(("cells of seed", *METHODS), rows) + mixed


def _lack(there: set[tuple[str, int]], method: str, seed: int) -> str:
    """What is missing of a method at a seed."""
    cells = [(start, fraction) for start in STARTS for fraction in FRACTIONS]
    missing = [each for each in cells if (row_name(method, *each), seed) not in there]
    if len(missing) == len(cells):
        return "not run yet"
    names = ", ".join(f"`{start}` {100 * fraction:g} %" for start, fraction in missing)
    return f"missing: {names}" if missing else "complete"


def _searched(known: Records) -> list[str]:
    """The validation score at every rate of the search; once all are there, the best in bold."""
    if not known:
        return ["### Learning rates of fine-tuning", "Not searched yet."]
    rates = sorted({_rate(record) for record in known})
    complete = len(known) == len(METHODS) * len(STARTS) * len(rates)
    rows = []
    for method, start in ((method, start) for method in METHODS for start in STARTS):
        of = [record for record in known if record["configuration"].startswith(f"{method}-{start}-")]
        found = {_rate(record): record["values"]["val_score"] for record in of}
        best = max(found.values()) if complete else math.nan
        if found:
            rows.append([method, f"`{start}`", *(_score(found.get(rate), best) for rate in rates)])
    state = SEARCHED if complete else f"{SEARCHED} The search is not complete: {len(known)} cells so far."
    return [
        "### Learning rates of fine-tuning",
        state,
        table(("method", "start", *(f"{r:g}" for r in rates)), rows),
    ]


def _rate(record: Mapping[str, Any]) -> float:
    return record["values"]["settings"]["downstream"]["learning_rate"]


def _score(score: float | None, best: float) -> str:
    if score is None:
        return "-"
    return f"**{score:.4f}**" if score == best else f"{score:.4f}"


def _scores(known: Records, method: str, fraction: float) -> str:
    """Every start's scores, what it adds to random weights, and what it cost."""
    rows = []
    for start in STARTS:
        name, random = (row_name(method, each, fraction) for each in (start, "random"))
        of = of_row(known, name)
        if not of:
            rows.append([f"`{start}`", "0", *["-"] * (len(SCORE_COLUMNS) - 2)])
            continue
        scores = [each for metric in READOUTS for each in _score_and_gain(known, name, random, metric)]
        cost = [f"{mean(of, each):.0f}" for each in (f"{PRETRAINED}cpu_seconds", "finetune_cpu_seconds")]
        chips = " to ".join(f"{mean(of, each):.3f}" for each in ("miou_low", "miou_high"))
        size = f"{mean(of, 'parameters') / 1e6:.2f}"
        rows.append([f"`{start}`", str(len(of)), *scores, chips, size, *cost])
    return table(SCORE_COLUMNS, rows)


def _score_and_gain(known: Records, name: str, random: str, metric: str) -> list[str]:
    """A row's score, and what it adds to that of random weights."""
    gain = difference(known, name, random, metric)
    return [interval(of_row(known, name), metric), "-" if gain is None or name == random else said(gain)]


def _answers(known: Records, method: str, fraction: float) -> str:
    """Every question's difference and verdict, after fine-tuning and frozen."""
    rows = []
    for question in QUESTIONS:
        a, b = (row_name(method, start, fraction) for start in (question.a, question.b))
        found = [difference(known, a, b, metric) for metric in READOUTS]
        pair = f"`{question.a}` less `{question.b}`"
        rows.append([question.text, pair, str(found[0].seeds if found[0] else 0), *map(verdict, found)])
    return table(("question", "comparison", "seeds", *READOUTS.values()), rows)


def _restored(known: Records, method: str) -> str:
    """How each pretrained model restores chips of the test."""
    columns = [PRETRAINED + each for each in ("loss", "mean_loss", *(PREFIX + name for name in STRATA))]
    rows = []
    for start, about in STARTS.items():
        of = of_row(known, row_name(method, start, FRACTIONS[0]))
        if about.rule is not None and of:
            rows.append([f"`{start}`", str(len(of)), *(interval(of, column) for column in columns)])
    head = ("start", "seeds", "loss, all pixels alike", "of the mean", *(f"{each}, dB" for each in STRATA))
    return table(head, rows)


def tasks(folder: Path) -> list[str]:
    """The best weighting on other tasks and shares of labels."""
    known = read_records(folder, "weighting_tasks")
    rows = [
        [title, task.replace("_", " "), f"{100 * fraction:g} %", f"`{start}`", *_task_cells(known, *cell)]
        for method, title in METHODS.items()
        for task, fractions in TASK_CELLS.items()
        for fraction in fractions
        for start in ("random", "unweighted", *WEIGHTINGS)
        if of_row(known, row_name(*(cell := (method, start, fraction, task))[:3]), task)
    ]
    head = ("method", "task", "labels", "start", "seeds", "score", "less `random`", "less `unweighted`")
    parts = ["## Other tasks and shares of labels", TASKS]
    return [*parts, table(head, rows) if rows else "No cell has been run yet."]


def _task_cells(known: Records, method: str, start: str, fraction: float, task: str) -> list[str]:
    """Seeds, score, and differences from the two starts without weights."""
    here, score = [record for record in known if record["data"] == task], SCORES[task]
    name, *others = (row_name(method, each, fraction) for each in (start, "random", "unweighted"))
    of = of_row(here, name)
    gains = [None if name == other else difference(here, name, other, score) for other in others]
    added = ["-" if gain is None else said(gain) for gain in gains]
    return [str(len(of)), f"{score} {interval(of, score)}", *added]


def encoders(folder: Path) -> list[str]:
    """The embedded encoders."""
    columns = [
        "weighted_loss",
        "weighted_mean_loss",
        "loss",
        "mean_loss",
        *(PREFIX + name for name in STRATA),
    ]
    known = {name: read_records(folder, name) for name in EMBEDDED}
    rows = [
        [f"`{name}`", str(len(of)), *(interval(of, column) for column in columns)]
        for name, of in known.items()
        if of
    ]
    head = (
        "encoder",
        "seeds",
        "weighted loss",
        "of the mean",
        "loss",
        "of the mean",
        *(f"{each}, dB" for each in STRATA),
    )
    return ["## Embedded encoders", ENCODERS, table(head, rows) if rows else "None has been scored yet."]


def shapes(folder: Path) -> list[str]:
    """The embedded promptable model."""
    known = read_records(folder, "sam_tiny_base")
    rows = []
    for family in sorted({family for record in known for family in record["values"]}):
        of = [{**record, "values": record["values"][family]} for record in known]
        rows.append(
            [family, str(len(of)), *(interval(of, name) for name in ("fill_box", "otsu_box", "model"))]
        )
    head = ("family", "seeds", "fill the box", "Otsu in the box", "model")
    return ["## `sam_tiny_base` on drawn shapes", SHAPES, table(head, rows) if rows else "Not scored yet."]


HEAD = """# Results

Made by `python -m sartutor.learn.report` from the records in `results/records`, one a cell; no result is typed by hand.
± is the half width of a 95 % t interval over seeds (none for a single seed). Losses are better when small, scores when
large. All data are simulated; nothing here has been measured on real scenes."""

WEIGHTING = """A small encoder is started in one of these ways, then asked for land cover with all labels or an eighth
of them (`python -m sartutor.learn.experiments weighting`), and that twice: fine-tuned with UPerNet on top, and frozen,
with one linear layer on its maps that is solved in closed form. All rows of a method have the same architecture, the
same number of updates (those named longer have four times as many in pretraining), and the same grid of learning rates
of fine-tuning; rows of one seed see the same scenes, and differences are taken seed by seed. Each seed draws its own
weights, masks and scenes for pretraining, labels, validation and test. The learning rate of pretraining is one for all
rows of a method. A difference stands with the smallest that its seeds resolve. It is called better or worse where its
95 % t interval over seeds leaves out 0, and undecided otherwise. Each verdict stands alone: of twenty comparisons of
equals, about one would be decided."""

SEARCHED = """Validation mIoU with a quarter of the labels, at a seed that no row is compared on; the best rate of a
start, in bold, is that of its rows below."""

RESTORED = """Test chips, all pixels alike; for SAR-W-SimMIM hidden pixels and mean absolute error in standard
deviations of a band, the mean being that of the band; for SAR-W-MixMAE all pixels, each where it was hidden, and mean
squared error in standard deviations of its cell, the mean being that of the cell, which is also what the restored
cell is given back. Then restored less true backscatter in dB, by thirds of the pixels by despeckled level; a smooth
guess is too bright where it is dark, and too dark where it is bright. Filtered rows are judged on filtered chips."""

TASKS = """From random weights, from pretraining without weights, and from the weighting that did best on the validation
chips of the table above (`python -m sartutor.learn.experiments weighting_tasks`), at the learning rates found there."""

ENCODERS = """Scores of the encoders in `sartutor/weights` on unseen seeds, beside predicting the mean; their cards say
more."""

SHAPES = """Mean IoU over objects, boxes 10 px loose (per 512 px of scene), on unseen seeds."""


def main(arguments: list[str] | None = None) -> int:
    """Command line of the report."""
    parser = argparse.ArgumentParser(description="Write docs/RESULTS.md from the records.")
    parser.add_argument("--records", type=Path, default=Path("results/records"))
    parser.add_argument("--out", type=Path, default=Path("docs/RESULTS.md"))
    given = parser.parse_args(arguments)
    write_report(given.records, given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
