"""The part of `docs/RESULTS.md` on avalanches: the benchmark `avalanche-small`, and the embedded adapted model."""

from __future__ import annotations

from pathlib import Path

from sartutor.learn.avalanche_recipe import NAME, score_table
from sartutor.learn.avalanche_rows import (
    ENTRANTS,
    HARD,
    LOOSE,
    LOOSE_QUESTIONS,
    MEANINGS,
    PUSHES,
    QUESTIONS,
    TRAINERS,
)
from sartutor.learn.avalanche_table import EXPERIMENT, LOOSENED, SEARCH, SEARCH_SEED
from sartutor.learn.record_tables import (
    PLANNED_SEEDS,
    answers,
    hardships,
    interval,
    mean,
    searched,
    table,
    values,
)
from sartutor.learn.records import read_records
from sartutor.learn.runner import Records, of_row
from sartutor.learn.scores import SIZES, SLOPES
from sartutor.sar.boxes import PROMPTS

SCORES = {
    "iou_box": "IoU, box",
    "precision_box": "precision",
    "recall_box": "recall",
    "hit_rate_box": "found",
    "iou_jitter": "IoU, jitter",
    "iou_full": "IoU, full",
}
"""Columns of the main table: over objects."""

CLASS_NAMES = (*SIZES, *SLOPES)
CLASSES = {f"iou_{name}": name for name in CLASS_NAMES}
"""Columns of the table by size and slope."""

WHOLES = {f"images_iou_{prompt}": f"images, {prompt}" for prompt in PROMPTS} | {
    "pooled_iou_box": "pooled, box",
    "empty_share_full": "marked of empty images",
}
"""Columns of the table over whole images."""


def avalanches(folder: Path) -> list[str]:
    """The benchmark: what is compared, the search, scores, classes, comparisons."""
    known = read_records(folder, EXPERIMENT)
    parts = ["## Adapting Segment Anything to avalanches", TEXT]
    parts += [table(("row", "what it is"), [[f"`{name}`", MEANINGS[name]] for name in ENTRANTS])]
    parts += _searched(read_records(folder, SEARCH))
    if not known:
        return [*parts, "No row has been run yet."]
    seeds = sorted({record["seed"] for record in known})
    parts += [f"Seeds so far: {', '.join(map(str, seeds))} of {PLANNED_SEEDS.start} to {PLANNED_SEEDS[-1]}."]
    parts += ["### Objects", _scores(known, SCORES), "### Objects by size and slope, prompt `box`", CLASSED]
    parts += [_scores(known, CLASSES), BY_CLASS, _by_class(known), IS_HARD, hardships(known, ENTRANTS, HARD)]
    parts += ["### Whole images", _scores(known, WHOLES)]
    parts += ["### What was asked", answers(known, QUESTIONS)]
    return [*parts, *_loosened(read_records(folder, LOOSENED))]


def embedded(folder: Path) -> list[str]:
    """The embedded adapted model on unseen seeds."""
    known = read_records(folder, NAME)
    return [f"## `{NAME}` on unseen seeds", EMBEDDED, score_table(known) if known else "Not scored yet."]


def _loosened(known: Records) -> list[str]:
    """Rows that are asked with boxes of every looseness."""
    if not known:
        return []
    scores = [
        [f"`{name}`", str(len(of)), *(interval(of, f"images_iou_{push}") for push in PUSHES)]
        for name in LOOSE
        for of in [of_row(known, name)]
    ]
    found = table(("row", "seeds", *(f"{push} px" for push in PUSHES)), scores)
    return ["### How loose may a box be?", PUSHED, found, answers(known, LOOSE_QUESTIONS)]


def _searched(known: Records) -> list[str]:
    """The score on validation at every learning rate."""
    found = searched(known, TRAINERS, "val_iou")
    return (
        [f"### Learning rates (IoU of validation prompts, seed {SEARCH_SEED}, a third of the steps)", found]
        if found
        else []
    )


def _scores(known: Records, columns: dict[str, str]) -> str:
    rows = []
    for name in ENTRANTS:
        of = of_row(known, name)
        cost = [_cost(of, "parameters", 1e6, "{:.2f}"), _cost(of, "train_cpu_seconds", 1, "{:.0f}")]
        scores = [interval(of, metric) for metric in columns]
        if columns is SCORES:
            scores.append(_over_scenes(of))
        rows.append([f"`{name}`", str(len(of)), *scores, *cost])
    more = ("over scenes",) if columns is SCORES else ()
    return table(("row", "seeds", *columns.values(), *more, "M trained", "CPU s"), rows)


def _by_class(known: Records) -> str:
    """Precision, recall and share found in each class, of the rows that have them."""
    rows = []
    for name in ENTRANTS:
        if of := [each for each in of_row(known, name) if "recall_small" in each["values"]]:
            rows.append([f"`{name}`", str(len(of)), *(_triple(of, part) for part in CLASS_NAMES)])
    return table(("row", "seeds", *CLASS_NAMES), rows) if rows else "None yet."


def _triple(of: Records, part: str) -> str:
    """Means over seeds of one class."""
    names = [f"{metric}_{part}" for metric in ("precision", "recall", "hit_rate")]
    known = all(values(of, name) for name in names)
    return " / ".join(f"{mean(of, name):.2f}" for name in names) if known else "-"


def _over_scenes(of: Records) -> str:
    """Ends of the interval of the IoU with `box` when scenes are drawn again, mean over seeds."""
    ends = ("iou_box_low", "iou_box_high")
    return " to ".join(f"{mean(of, end):.3f}" for end in ends) if values(of, ends[0]) else "-"


def _cost(of: Records, metric: str, unit: float, form: str) -> str:
    return form.format(mean(of, metric) / unit) if values(of, metric) else "-"


TEXT = f"""Simulated pairs of Sentinel-1 images with debris (`python -m sartutor.learn.experiments avalanche`), 160
scenes of 256 px to learn from, 32 to validate, 64 to test, all new for every seed. Rows of one seed see the same scenes
and are asked with the same boxes: `box` is 10 px loose on every side (of 512), `jitter` 0 to 19 px, drawn for every
side, as four fifths of the boxes in training are (the others are wider, or the whole image); on average that is no
looser than `box`. `full` is the whole image. IoU, precision and recall are means over objects of at least 50 px, each
in its own tight box, which also flatters filling the box; whole images are below. `over scenes` is the 95 % interval of
the IoU with `box` when the scenes of a seed are drawn again, mean over seeds. Found are objects with an IoU above .3. A
rival, and `stacked_long`, is trained for as many steps as all three phases together. Segment Anything is
`sam_tiny_base` here, which saw drawn shapes and not SA-1B: what the publication says of transfer from photographs is
not tested by this table. Rivals start from random weights, those named `_shapes` from the same drawn shapes, seen for
the same CPU time. Adapted rows see the surroundings of a box, but for `chip`, `two_scales`, `stacked_long` and those
named `_chip`; `sartutor adapt` sees whole chips unless told otherwise: when that was settled they had the better
validation IoU at every seed run so far, each row judged on samples cut as it sees them. A phase has equal steps in all
rows but `stacked_long`; so a row of three phases takes more of them than one of the first alone: `first`, `average` and
`stacked_long` are its fair comparisons. A step on whole chips learns from more boxes and takes longer, and how both do
after longer training this table does not say. Learning rates were searched for the eight trainers below, at one seed
and a third of the length, and where the best is the first or last of the grid, a better one may lie beyond it; all
other rows take the rates of the phases they share or vary. CPU s were measured on several machines beside other work,
and tell no more than which row costs several times as much as another; they are of all training behind a row, parts
that it shares with others and pretraining of rivals included, that of the base not, and of a run that was interrupted
may lack what came before. Those of `first` and `first_chip`, and their trained numbers, hold phase 2, of which they use
nothing: their decoder is trained as long as that of `phase3` and `phase3_chip`, which have a trained second encoder
besides. `aligned_free` imitates in 160 views of labelled images, which come again and again, `phase2` learns from new
ones in every step, and for both the best step is chosen by labels: what they differ in is not labels alone. Each
verdict below stands alone: of {len(QUESTIONS)} questions, one or two would be decided wrongly even if nothing had an
effect, and some were looked at before all seeds had run."""

PUSHED = """Mean IoU of whole images with objects when every side of every box is pushed outward, in px of a 512-px
chip; boxes that then overlap are merged."""

CLASSED = """Small are objects under 150 px, large those from 400 px; flat is under 16.5 degrees, steep from 19
degrees: a third of the simulated deposits each."""

BY_CLASS = """Precision / recall / share of objects found, of the same objects: means over seeds. They were not recorded
at first, so a row may have fewer seeds here."""

IS_HARD = """What is hard: differences within a row, seed by seed."""

EMBEDDED = """Adapted on more scenes and for longer than the rows above, and on whole chips, as `chip` and those named
`_chip`; its card in `sartutor/weights` says how. Mean IoU over objects unless it says otherwise."""
