"""The timed study: balanced plans, logs that lose nothing, and honest intervals."""

from __future__ import annotations

import math
import os
from collections import Counter
from itertools import pairwise

import pytest

from sartutor.errors import DataError, OutputError
from sartutor.lab.study import Study, Timed, Trial, paired, plan, read_log, time_saved


def test_pairs_are_told_object_by_object():
    log = [
        Timed(1, "polygon", 40.0, 0.8),
        Timed(2, "box", 5.0, 0.6),
        Timed(3, "box", 5.0),
        Timed(1, "box", 10.0, 0.7),
        Timed(2, "polygon", 4.0, None),
    ]
    rows = paired(log)
    assert rows["object"].tolist() == [1, 2]
    assert rows["saved (%)"].tolist() == pytest.approx([75, -25])
    assert rows["IoU prompted"].tolist() == [0.7, 0.6]
    assert len(paired(log[:3])) == 0


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("count", [1, 2, 7, 12])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_plan_is_balanced_and_alternates(count, seed):
    trials = plan(range(10, 10 + count), seed)
    assert Counter(trials) == {Trial(i, way): 1 for i in range(10, 10 + count) for way in ("polygon", "box")}
    first, second = trials[:count], trials[count:]
    for part in (first, second):
        assert {trial.object for trial in part} == set(range(10, 10 + count))
        assert all(a.way != b.way for a, b in pairwise(part))


def test_a_plan_depends_on_its_seed_alone():
    assert plan(range(9), 1) == plan(range(9), 1)
    assert plan(range(9), 1) != plan(range(9), 2)
    ways = [plan([1, 2], seed)[0] for seed in range(40)]
    assert set(ways) == {Trial(i, way) for i in (1, 2) for way in ("polygon", "box")}
    with pytest.raises(DataError, match="twice"):
        plan([1, 2, 1])


def test_every_trial_is_on_disk_at_once_and_a_study_goes_on_where_it_stopped(tmp_path):
    trials, clock = plan(range(3), 5), Clock()
    study = Study(trials, tmp_path / "logs" / "ann.csv", clock)
    for seconds, iou in ((12.5, 0.75), (3.0, None)):
        study.begin()
        clock.now += seconds
        study.end(iou)
    text = (tmp_path / "logs" / "ann.csv").read_text()
    assert text.splitlines()[0] == "object,way,seconds,iou"
    assert text.splitlines()[2] == f"{trials[1].object},{trials[1].way},3.0,"
    again = Study(trials, study.log, clock)
    assert again.done == study.done == read_log(study.log)
    assert again.trial == trials[2]
    for _ in range(4):
        again.begin()
        clock.now += 1
        again.end()
    assert again.trial is None
    again.begin()
    with pytest.raises(DataError, match="no trial"):
        again.end()


def test_a_clock_that_does_not_run_is_no_time(tmp_path):
    study = Study(plan([1]), tmp_path / "log.csv", Clock())
    with pytest.raises(DataError, match="begin one"):
        study.end()
    assert not study.log.exists()


def test_a_row_that_cannot_be_written_leaves_the_trial(tmp_path):
    (tmp_path / "file").write_text("")
    study = Study(plan([1]), tmp_path / "file" / "log.csv")
    study.begin()
    with pytest.raises(OutputError, match=r"log\.csv"):
        study.end()
    assert study.trial == study.trials[0]


def test_a_full_disk_costs_neither_the_log_nor_the_time(tmp_path, monkeypatch):
    clock, log = Clock(), tmp_path / "log.csv"
    study = Study(plan([1, 2]), log, clock)
    study.begin()
    clock.now += 7

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        study.end()
    assert log.read_text() == ""
    monkeypatch.undo()
    clock.now += 500
    assert study.end().seconds == 7
    assert read_log(log) == study.done


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", r"log\.csv does not begin with object,way"),
        ("", r"log\.csv does not begin"),
        ("object,way,seconds,iou\n1,box,fast,\n", r"log\.csv, line 2"),
        ("object,way,seconds,iou\n1,pencil,3,\n", r"log\.csv, line 2"),
        ("object,way,seconds,iou\n9,box,3,\n", r"log\.csv is the log of another study"),
    ],
)
def test_a_log_of_something_else_is_refused(tmp_path, text, words):
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(DataError, match=words):
        Study(plan([1, 2]), tmp_path / "log.csv")


def log(by_hand, prompted, iou=None) -> list[Timed]:
    return [
        *(Timed(i, "polygon", s, iou) for i, s in enumerate(by_hand)),
        *(Timed(i, "box", s, iou) for i, s in enumerate(prompted)),
    ]


def test_time_saved_is_that_of_the_totals():
    found = time_saved(log([60, 100, 40], [20, 50, 10], 0.8))
    assert found.saved == pytest.approx(1 - 80 / 200)
    assert found.seconds == {"polygon": pytest.approx(200 / 3), "box": pytest.approx(80 / 3)}
    assert found.iou == {"polygon": pytest.approx(0.8), "box": pytest.approx(0.8)}
    assert found.pairs == 3
    assert found.low < found.saved < found.high
    assert found.verdict == "faster"
    # difference 40, 50, 30: t = 40 / (10 / sqrt 3) with 2 degrees of freedom
    assert found.p == pytest.approx(0.0102, abs=1e-4)


def test_one_pair_decides_nothing_and_none_is_said():
    found = time_saved(log([60], [20]))
    assert (found.pairs, found.verdict, found.iou["box"]) == (1, "undecided", None)
    assert math.isinf(found.high)
    assert math.isnan(found.p)
    with pytest.raises(DataError, match="both ways"):
        time_saved([Timed(1, "box", 3.0), Timed(2, "polygon", 3.0)])


def test_what_was_done_one_way_only_and_by_another_annotator_makes_no_pair():
    one = [*log([60, 100], [30, 50]), Timed(9, "polygon", 500.0)]
    other = [Timed(9, "box", 1.0), Timed(0, "polygon", 30.0), Timed(0, "box", 15.0)]
    found = time_saved(one, other)
    assert (found.pairs, found.saved) == (3, pytest.approx(0.5))


def test_a_slower_way_is_called_slower():
    assert time_saved(log([10, 11, 12, 10], [20, 22, 23, 21])).verdict == "slower"
    assert time_saved(log([10, 11, 12, 10], [2, 30, 3, 12])).verdict == "undecided"
