"""How much time does prompting save? A timed comparison of drawing outlines by hand and drawing boxes for a model.

Every object is done both ways. In the first round half of them, drawn by lot, are outlined by hand, the others
prompted; in the second round each is done the other way. Ways alternate and objects come in a drawn order in both
rounds, so that neither practice nor knowing an object already favours a way. arXiv 2601.01213 reports 60.28 % less time
for prompting, by a paired one-tailed t-test.
"""

from __future__ import annotations

import csv
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, fields
from itertools import zip_longest
from pathlib import Path
from statistics import fmean
from typing import Literal, get_args

import numpy as np
import pandas as pd
from scipy import stats

from sartutor.errors import DataError, OutputError
from sartutor.learn.records import total_ratio
from sartutor.sar.files import check_writable

Way = Literal["polygon", "box"]
WAYS: tuple[Way, ...] = get_args(Way)
"""An outline drawn by hand, or a box (with corrections) for a model."""


@dataclass(frozen=True)
class Trial:
    """One object to be annotated in one way."""

    object: int
    way: Way


@dataclass(frozen=True)
class Timed:
    """One row of the log: a trial, its time in seconds, and its IoU with the reference (None: there is none)."""

    object: int
    way: Way
    seconds: float
    iou: float | None = None


@dataclass(frozen=True)
class TimeSaved:
    """What a study says: `saved` is the share of the time by hand that prompting saves, from `low` to `high` (95 %).

    `pairs` counts objects done both ways; `seconds` and `iou` are means by way (None where an IoU is not known); `p` is
    that of the paired one-tailed t-test of "prompting is faster" (not-a-number for fewer than two pairs).
    """

    pairs: int
    saved: float
    low: float
    high: float
    p: float
    seconds: dict[Way, float]
    iou: dict[Way, float | None]

    @property
    def verdict(self) -> Literal["faster", "slower", "undecided"]:
        """Whether prompting is faster; undecided where the interval holds 0."""
        if self.low <= 0 <= self.high:
            return "undecided"
        return "faster" if self.saved > 0 else "slower"


def plan(objects: Sequence[int], seed: int = 0) -> list[Trial]:
    """Trials of a study in their order: two rounds over all objects, each time in the other way.

    Raises DataError for an object listed twice.
    """
    if len(set(objects)) < len(objects):
        raise DataError("an object is listed twice in the study; name each once.")
    rng = np.random.default_rng(seed)
    mixed = rng.permutation(np.asarray(objects, int)).tolist()
    half = (len(mixed) + 1) // 2
    begins, follows = rng.permutation(np.asarray(WAYS)).tolist()
    swapped = [rng.permutation(part).tolist() for part in (mixed[half:], mixed[:half])]
    return [
        *_alternated({begins: mixed[:half], follows: mixed[half:]}),
        *_alternated({begins: swapped[0], follows: swapped[1]}),
    ]


def _alternated(objects: Mapping[Way, Sequence[int]]) -> list[Trial]:
    """Trials of one round, ways in turn; the way with one object more begins."""
    parts = [[Trial(int(id), way) for id in ids] for way, ids in objects.items()]
    longer, shorter = sorted(parts, key=len, reverse=True)
    return [trial for pair in zip_longest(longer, shorter) for trial in pair if trial is not None]


class Study:
    """A plan and its log, one CSV row a trial, on disk as soon as the trial ends; a study can be continued.

    Args:
        trials: of `plan`.
        log: CSV file, made where it is missing; one file an annotator.
        clock: gives seconds.

    Raises DataError where the log is not one of these trials in this order.
    """

    def __init__(
        self, trials: Sequence[Trial], log: Path | str, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.trials = tuple(trials)
        self.log = Path(log)
        self._clock = clock
        self._begun: float | None = None
        self._ended: float | None = None
        self.done = read_log(self.log) if self.log.exists() else []
        if [Trial(row.object, row.way) for row in self.done] != list(self.trials[: len(self.done)]):
            raise DataError(f"{self.log} is the log of another study; choose another file.")

    @property
    def trial(self) -> Trial | None:
        """What is to be done now; None when all is done."""
        return self.trials[len(self.done)] if len(self.done) < len(self.trials) else None

    def begin(self) -> None:
        """Start the clock of the present trial; again, to start it anew."""
        self._begun, self._ended = self._clock(), None

    def end(self, iou: float | None = None) -> Timed:
        """Stop the clock, write the row, and go on to the next trial.

        Raises DataError where no clock runs, OutputError where the row cannot be written: the trial then stays, with
        the clock stopped, and can be ended again.
        """
        trial = self.trial
        if trial is None or self._begun is None:
            raise DataError("no trial of the study is running; begin one first.")
        self._ended = self._ended or self._clock()
        row = Timed(trial.object, trial.way, round(self._ended - self._begun, 3), iou)
        _append(row, self.log)
        self.done.append(row)
        self._begun = self._ended = None
        return row


def read_log(path: Path | str) -> list[Timed]:
    """The rows of a log. Raises DataError, naming file and line, for what is none."""
    header = [field.name for field in fields(Timed)]
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as the log of a study; choose another file.") from error
    if not rows or rows[0] != header:
        raise DataError(f"{path} does not begin with {','.join(header)}; choose the log of a study.")
    return [_row(path, number, row) for number, row in enumerate(rows[1:], 2)]


def _row(path: Path | str, number: int, cells: Sequence[str]) -> Timed:
    try:
        object, way, seconds, iou = cells
        known: Way = WAYS[WAYS.index(way)]
        return Timed(int(object), known, float(seconds), float(iou) if iou else None)
    except ValueError as error:
        raise DataError(f"{path}, line {number}: is no trial of a study; correct or remove it.") from error


def _append(row: Timed, path: Path) -> None:
    """Add a row, after the header where there is none; what cannot be written whole is not written at all."""
    check_writable(path)
    size = path.stat().st_size if path.exists() else 0
    try:
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            if not size:
                writer.writerow([field.name for field in fields(Timed)])
            writer.writerow(["" if value is None else value for value in astuple(row)])
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        with suppress(OSError):
            os.truncate(path, size)
        raise OutputError(f"cannot write {path} ({error.strerror}); choose a folder with room.") from error


def time_saved(*logs: Sequence[Timed]) -> TimeSaved:
    """Compare the ways over the objects that were done both ways; one log an annotator.

    `saved` is 1 less the ratio of total times. Raises DataError where no object was done both ways.
    """
    pairs = [pair for log in logs for pair in _pairs(log)]
    if not pairs:
        raise DataError("no object was annotated both ways yet; go on with the study.")
    by_hand, prompted = ([row.seconds for row in rows] for rows in zip(*pairs, strict=True))
    ratio, half = total_ratio(prompted, by_hand)
    test = stats.ttest_rel(by_hand, prompted, alternative="greater") if len(pairs) > 1 else None
    return TimeSaved(
        len(pairs),
        1 - ratio,
        1 - ratio - half,
        1 - ratio + half,
        math.nan if test is None else float(test.pvalue),
        {"polygon": fmean(by_hand), "box": fmean(prompted)},
        {way: _mean_iou([pair[index] for pair in pairs]) for index, way in enumerate(WAYS)},
    )


def _pairs(log: Sequence[Timed]) -> list[tuple[Timed, Timed]]:
    """The rows (by hand, prompted) of the objects of one annotator that have both."""
    rows = {(row.object, row.way): row for row in log}
    ids = dict.fromkeys(row.object for row in log)
    return [
        (rows[id, "polygon"], rows[id, "box"]) for id in ids if {(id, way) for way in WAYS} <= rows.keys()
    ]


def paired(log: Sequence[Timed]) -> pd.DataFrame:
    """One row an object done both ways: seconds and IoU by hand and prompted, and the percentage of time saved."""
    rows = [
        (
            hand.object,
            hand.seconds,
            prompted.seconds,
            100 * (1 - prompted.seconds / hand.seconds),
            hand.iou,
            prompted.iou,
        )
        for hand, prompted in _pairs(log)
    ]
    columns = ["object", "by hand (s)", "prompted (s)", "saved (%)", "IoU by hand", "IoU prompted"]
    return pd.DataFrame(rows, columns=columns)


def _mean_iou(rows: Sequence[Timed]) -> float | None:
    """Mean IoU; None where one of the rows has none."""
    known = [row.iou for row in rows if row.iou is not None]
    return fmean(known) if len(known) == len(rows) else None
