"""Pictures of what records of the experiments say: label efficiency, controls, and where something helps.

Every number is a mean over seeds with its 95 % t interval, or a difference taken seed by seed. Nothing here trains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sartutor.lab import plots
from sartutor.learn.cells import PRETRAINED
from sartutor.learn.reconstruction import PREFIX, STRATA
from sartutor.learn.record_tables import PLANNED_SEEDS, difference, interval
from sartutor.learn.records import mean_interval, recorded
from sartutor.learn.report import METHODS, READOUTS, SCORES
from sartutor.learn.runner import Difference, Records, of_row
from sartutor.learn.starts import FRACTIONS, MEANINGS, QUESTIONS, STARTS, TASK_CELLS, WEIGHTINGS, row_name

SHARES = (1.0, 0.5, 0.25, 0.125)
"""Shares of the labels, all of them first."""

PUBLISHED_AP = {
    "pretrained": {1.0: 0.7141, 0.5: 0.6928, 0.25: 0.6616, 0.125: 0.6453},
    "random": {1.0: 0.6107, 0.5: 0.5781, 0.25: 0.5545, 0.125: 0.5268},
}
"""Macro average precision on BigEarthNet by start and share of labels, from `analysis/train_data_sampling.py` in the
released code of arXiv 2503.01181 (acaglayan/SAR-W-MixMAE): real Sentinel-1 chips, 19 classes, no intervals given."""

SCORE_NAMES = {"miou": "mIoU", "ap_macro": "average precision (macro)", "f1": "F1"}
"""Of the scores in `SCORES`, on axes."""

COLORS = {"random": plots.ORANGE, "unweighted": plots.GREEN, **dict.fromkeys(WEIGHTINGS, plots.BLUE)}
"""Of the starts in pictures."""

BIAS_COLORS = {
    "unweighted": plots.GREEN,
    "physical": plots.BLUE,
    "zscore": plots.PURPLE,
    "clipped": plots.ORANGE,
    "inverted": plots.RED,
}
"""Of the starts in the picture of biases."""

VERDICT_COLORS = {"better": plots.BLUE, "worse": plots.RED, "undecided": "0.6"}


class Point(NamedTuple):
    """Mean of a score over `seeds` records with a `share` of the labels, and half the width of its interval."""

    share: float
    mean: float
    half: float
    seeds: int


class Answer(NamedTuple):
    """A comparison of two starts in one cell of the tables; `found` is None where no seed has both."""

    text: str
    found: Difference | None


def known_records() -> list[dict[str, Any]]:
    """All records of the two tables on weighting that come with the package."""
    return [*recorded("weighting"), *recorded("weighting_tasks")]


def points(known: Records, method: str, task: str, start: str) -> list[Point]:
    """The score that a task goes by, at every share of labels that has records."""
    found = []
    for share in SHARES:
        of = of_row(known, row_name(method, start, share), task)
        if values := [record["values"][SCORES[task]] for record in of]:
            found.append(Point(share, *mean_interval(values), len(values)))
    return found


def compared(known: Records, method: str, task: str, share: float, a: str, b: str, metric: str) -> Answer:
    """Start `a` less start `b` in a metric of one cell."""
    here = [record for record in known if record["data"] == task]
    one, other = (row_name(method, each, share) for each in (a, b))
    return Answer(f"{a} less {b}", difference(here, one, other, metric))


def answers(known: Records, method: str, share: float, metric: str = "miou") -> list[Answer]:
    """What the main table says to each of its questions, land cover in a metric of `READOUTS`."""
    found = [compared(known, method, "land_cover", share, q.a, q.b, metric).found for q in QUESTIONS]
    return [Answer(question.text, each) for question, each in zip(QUESTIONS, found, strict=True)]


def best_start(known: Records, method: str) -> str:
    """The weighting that was taken to the other tasks, or "physical" where none was yet."""
    there = {r["configuration"] for r in known if r["experiment"] == "weighting_tasks"}
    names = (start for start in WEIGHTINGS if any(n.startswith(f"{method}-{start}-") for n in there))
    return next(names, "physical")


def start_table(known: Records, method: str, share: float) -> pd.DataFrame:
    """The main table on land cover: every start, its mIoU fine-tuned and frozen, what it adds to random weights."""
    rows = []
    for start in STARTS:
        of = of_row(known, row_name(method, start, share), "land_cover")
        row: dict[str, Any] = {"start": start, "what it is": MEANINGS[start], "seeds": len(of)}
        for metric, title in READOUTS.items():
            gain = compared(known, method, "land_cover", share, start, "random", metric).found
            row[title] = interval(of, metric)
            row[f"{title}, less random"] = "" if start == "random" else said(gain)
        rows.append(row)
    return pd.DataFrame(rows).set_index("start")


def said(found: Difference | None) -> str:
    """A difference in words."""
    if found is None:
        return "no seed yet"
    if found.seeds < 2:
        return f"{found.mean:+.3f}, one seed decides nothing"
    return f"{found.mean:+.3f} ± {found.smallest_resolved:.3f}: {found.verdict}"


def decided(found: Sequence[Answer]) -> tuple[int, int]:
    """How many answers are decided, of how many that have an interval."""
    known = [a.found for a in found if a.found is not None and a.found.seeds > 1]
    return sum(each.verdict != "undecided" for each in known), len(known)


def summary(known: Records) -> list[str]:
    """What the main table says, in sentences."""
    if not known:
        return ["No record yet: fill the table first."]
    cells = [(method, share, metric) for method in METHODS for share in FRACTIONS for metric in READOUTS]
    return [line for cell in cells for line in _sentences(known, *cell)]


def _sentences(known: Records, method: str, share: float, metric: str) -> list[str]:
    """What one method, share of labels and readout say of physical weights."""
    a, b, c, d = (
        compared(known, method, "land_cover", share, "physical", other, metric).found
        for other in ("random", "unweighted", "shuffled", "inverted")
    )
    where = f"{method}, {100 * share:g} % of the labels, land cover, {READOUTS[metric]}."
    return [
        f"{where} Weighted pretraining less ...",
        f"    ... random weights: {said(a)}",
        f"    ... unweighted pretraining: {said(b)}",
        f"    {conclusion(b, c, d)}",
    ]


def conclusion(weights: Difference | None, shuffled: Difference | None, inverted: Difference | None) -> str:
    """What physical weights less none, less shuffled ones and less inverted ones say together."""
    if weights is None or weights.seeds < 2:
        return "Too few seeds for a conclusion about weights."
    if weights.verdict == "worse":
        return "Weights do harm here."
    if weights.verdict == "undecided":
        return f"That weights help is not shown: less than {weights.smallest_resolved:.3f} is not resolved."
    controls = {"shuffled": shuffled, "inverted": inverted}
    open_ones = [name for name, each in controls.items() if each is None or each.verdict != "better"]
    if open_ones:
        return f"Weights help, but not shown to be better than {' and '.join(open_ones)} ones: the reason stays open."
    return "Weights help, and it matters where they lie and that dark counts more."


def draw_efficiency(known: Records) -> Figure:
    """Score over share of labels for every method and task, with intervals over seeds.

    Published numbers on BigEarthNet stand in grey beside the cell that resembles theirs.
    """
    tasks = list(TASK_CELLS)
    figure = plots.Picture(figsize=(12.6, 7.4), layout="constrained")
    grid = figure.subplots(len(METHODS), len(tasks))
    for row, method in zip(grid, METHODS, strict=True):
        for axes, task in zip(row, tasks, strict=True):
            _efficiency(axes, known, method, task)
            if (method, task) == ("mixmae", "multilabel"):
                _published(axes)
    named = {
        text: line
        for axes in figure.axes
        for line, text in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(named.values(), named, loc="outside lower center", ncols=5, frameon=False, fontsize="small")
    return figure


def _efficiency(axes: Axes, known: Records, method: str, task: str) -> None:
    seeds: list[int] = []
    for start, shift in (("random", 0.97), ("unweighted", 1.0), (best_start(known, method), 1.03)):
        if found := points(known, method, task, start):
            x, y, half, count = zip(*found, strict=True)
            percent = [shift * 100 * share for share in x]
            axes.errorbar(
                percent, y, half, fmt="o-", color=COLORS[start], capsize=3, markersize=4, label=start
            )
            seeds += count
    if not seeds:
        axes.annotate("no record yet", (0.5, 0.9), xycoords="axes fraction", ha="center", color="0.4")
    axes.set(xscale="log", xlim=(11, 115), xlabel="share of the labels (%)", ylabel=SCORE_NAMES[SCORES[task]])
    axes.set_xticks([100 * share for share in SHARES], [f"{100 * share:g}" for share in SHARES])
    axes.minorticks_off()
    axes.set_title(f"{method}, {task.replace('_', ' ')}: {_seeds(seeds)}", fontsize="medium")


def _published(axes: Axes) -> None:
    for (start, values), line in zip(PUBLISHED_AP.items(), ("-", "--"), strict=True):
        x, y = zip(*values.items(), strict=True)
        label = f"theirs, BigEarthNet, {start}"
        axes.plot([100 * share for share in x], y, f"s{line}", color="0.65", markersize=3, label=label)


def _seeds(counts: Sequence[int]) -> str:
    if not counts:
        return "no record yet"
    low, high = min(counts), max(counts)
    number = str(low) if low == high else f"{low} to {high}"
    missing = "" if low >= len(PLANNED_SEEDS) else f" of {len(PLANNED_SEEDS)}"
    return f"{number}{missing} seeds"


def draw_answers(known: Records, metric: str = "miou") -> Figure:
    """Every question of the main table: the difference and its interval, by method and share of labels."""
    figure = plots.Picture(figsize=(12.6, 5.6), layout="constrained")
    grid = figure.subplots(1, len(METHODS) * len(FRACTIONS), sharey=True)
    cells = [(method, share) for method in METHODS for share in FRACTIONS]
    for axes, (method, share) in zip(grid, cells, strict=True):
        found = answers(known, method, share, metric)
        _forest(axes, [answer.found for answer in found])
        axes.set_yticks(range(len(found)), [answer.text for answer in found], fontsize="small")
        axes.set_title(f"{method}, {100 * share:g} % labels", fontsize="medium")
        axes.set_xlabel(f"difference in mIoU, {READOUTS[metric]}")
    grid[0].invert_yaxis()
    _verdict_legend(figure)
    return figure


def draw_gains(known: Records) -> Figure:
    """Where it helps: each cell of task and share of labels, three comparisons, the verdict as colour."""
    cells = [(m, task, share) for m in METHODS for task in TASK_CELLS for share in _shares(task)]
    figure = plots.Picture(figsize=(12.6, 6.2), layout="constrained")
    names = ("unweighted less random", "weighted less random", "weighted less unweighted")
    grid = figure.subplots(1, len(names), sharey=True)
    for axes, name in zip(grid, names, strict=True):
        found = [_gain(known, name, *cell) for cell in cells]
        _forest(axes, found)
        axes.set_yticks(
            range(len(cells)), [f"{m}, {t.replace('_', ' ')}, {100 * s:g} %" for m, t, s in cells]
        )
        axes.set_title(name, fontsize="medium")
        axes.set_xlabel("difference in the task's score")
    grid[0].invert_yaxis()
    _verdict_legend(figure)
    return figure


def draw_class_gains(known: Records, classes: Sequence[str], share: float, a: str, b: str) -> Figure:
    """In which classes of land cover start `a` differs from start `b`, in IoU."""
    figure = plots.Picture(figsize=(9.6, 3.4), layout="constrained")
    grid = figure.subplots(1, len(METHODS), sharey=True)
    for axes, method in zip(grid, METHODS, strict=True):
        each = [
            compared(known, method, "land_cover", share, a, b, f"iou_{k}").found for k in range(len(classes))
        ]
        _forest(axes, each)
        axes.set_yticks(range(len(classes)), classes)
        axes.set_title(f"{method}, {100 * share:g} % labels", fontsize="medium")
        axes.set_xlabel(f"IoU, {a} less {b}")
    grid[0].invert_yaxis()
    return figure


def draw_bias(known: Records, starts: Sequence[str] = ("unweighted", *WEIGHTINGS, "inverted")) -> Figure:
    """What weights do to the restored picture: its bias in dB on dark, middle and bright pixels, by start."""
    figure = plots.Picture(figsize=(9.6, 3.4), layout="constrained")
    grid = figure.subplots(1, len(METHODS), sharey=True)
    for axes, method in zip(grid, METHODS, strict=True):
        axes.axhline(0, color="black", linewidth=0.8)
        for place, start in enumerate(starts):
            _bias(axes, of_row(known, row_name(method, start, FRACTIONS[0])), start, place - len(starts) / 2)
        axes.set_xticks(range(len(STRATA)), [f"{name} third" for name in STRATA])
        axes.set_title(method, fontsize="medium")
    grid[0].set_ylabel("restored less true (dB)")
    lines, names = grid[0].get_legend_handles_labels()
    figure.legend(
        lines, names, loc="outside lower center", ncols=len(starts), frameon=False, fontsize="small"
    )
    return figure


def _bias(axes: Axes, of: Records, start: str, shift: float) -> None:
    """Bias of one start on every third, means over seeds with their intervals."""
    found = [[r["values"].get(f"{PRETRAINED}{PREFIX}{name}") for r in of] for name in STRATA]
    known = [mean_interval(values) for values in found if values and None not in values]
    if len(known) == len(STRATA):
        mean, half = zip(*known, strict=True)
        color = BIAS_COLORS[start]
        places = [place + 0.06 * shift for place in range(len(STRATA))]
        axes.errorbar(places, mean, half, fmt="o", capsize=3, markersize=4, color=color, label=start)


def _shares(task: str) -> list[float]:
    """All shares of labels of a task, those of the main table too."""
    there = {*TASK_CELLS[task], *(FRACTIONS if task == "land_cover" else ())}
    return sorted(there, reverse=True)


def _gain(known: Records, name: str, method: str, task: str, share: float) -> Difference | None:
    words: Mapping[str, str] = {"weighted": best_start(known, method)}
    a, _, b = name.split()
    return compared(known, method, task, share, words.get(a, a), words.get(b, b), SCORES[task]).found


def _forest(axes: Axes, found: Sequence[Difference | None]) -> None:
    """Differences with their intervals, one below the other; a single seed is a hollow dot without an interval."""
    axes.axvline(0, color="black", linewidth=0.8)
    for place, each in enumerate(found):
        if each is None:
            axes.annotate(
                "no seed yet", (0, place), (4, 0), textcoords="offset points", va="center", fontsize="x-small"
            )
        elif each.seeds < 2:
            axes.plot(each.mean, place, "o", color="0.6", fillstyle="none")
        else:
            color = VERDICT_COLORS[each.verdict]
            axes.errorbar(
                each.mean, place, xerr=each.smallest_resolved, fmt="o", color=color, capsize=3, markersize=4
            )
    axes.set_ylim(-0.6, len(found) - 0.4)
    axes.locator_params(axis="x", nbins=5)
    axes.tick_params(axis="x", labelsize="small")
    edge = max([0.01, *(abs(e.mean) + (e.smallest_resolved if e.seeds > 1 else 0) for e in found if e)])
    axes.set_xlim(-1.1 * edge, 1.1 * edge)


def _verdict_legend(figure: Figure) -> None:
    handles = [Line2D([], [], marker="o", color=color, label=name) for name, color in VERDICT_COLORS.items()]
    handles.append(Line2D([], [], marker="o", color="0.6", fillstyle="none", linestyle="", label="one seed"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize="small")
