"""The timed study driven through its buttons, without a browser and without a model."""

from __future__ import annotations

import annotating
import numpy as np
import pytest
from shapely.geometry import box

from sartutor.lab.annotator import Segmenter, labels
from sartutor.lab.annotator.timed import TimedStudy
from sartutor.lab.study import read_log

SQUARE = box(600_080, 5_199_780, 600_230, 5_199_930)


@pytest.fixture(autouse=True)
def no_model(monkeypatch):
    """Segment by brightness."""
    monkeypatch.setattr(Segmenter, "digest", "0" * 64)
    monkeypatch.setattr(Segmenter, "segment", lambda self, *shape: annotating.segment(self.scene, *shape))


def study(folder) -> TimedStudy:
    """A study of the bright square and of another place."""
    objects = np.zeros((2, 40, 60), bool)
    objects[0, 10:20, 10:20] = True
    objects[1, 12:20, 12:18] = True
    return TimedStudy(annotating.scene(), list(objects), folder / "log.csv")


def do(timed: TimedStudy) -> None:
    """One trial: start, draw around the bright square, done."""
    timed.begin.click()
    annotator = timed.annotator
    annotator.draw(annotator.placement.to_map(SQUARE, annotating.UTM))
    timed.done.click()


def test_every_object_is_done_both_ways_and_the_pairs_are_shown(tmp_path):
    timed = study(tmp_path)
    for number in range(1, 5):
        task = timed.study.trial
        assert f"Trial {number} of 4: object {task.object}, {labels.WAYS[task.way]}" in timed.task.value
        do(timed)
        assert timed.annotator.session.objects == ()
    assert labels.ALL_DONE in timed.task.value
    assert timed.begin.disabled
    assert timed.done.disabled
    ious = {(row.object, row.way): row.iou for row in read_log(tmp_path / "log.csv")}
    assert ious[1, "box"] == 1
    assert ious[1, "polygon"] == pytest.approx(100 / 225, abs=1e-3)
    assert ious[2, "box"] == 0.48
    assert timed.results.value.count("<tr") == 3
    assert "for 2 objects done both ways" in timed.results.value


def test_a_trial_begins_with_an_empty_map_at_the_object_in_the_circle(tmp_path):
    timed = study(tmp_path)
    annotator = timed.annotator
    annotator.draw(annotator.placement.to_map(SQUARE, annotating.UTM))
    timed.begin.click()
    assert annotator.session.objects == ()
    (circle,) = annotator.marks
    assert annotator.map.layers[-1] is circle
    lat, lon = annotator.map.center
    col, row = annotator.placement.pixel(lon, lat)
    assert 14 <= col <= 16
    assert 14 <= row <= 17
    timed.done.click()
    assert labels.DRAW_FIRST in annotator.status.value
    assert timed.study.done == []


def test_undo_brings_nothing_back_from_another_trial(tmp_path):
    timed = study(tmp_path)
    annotator = timed.annotator
    do(timed)
    timed.begin.click()
    assert annotator.panel.undo.disabled
    annotator.undo()
    assert annotator.session.objects == ()
    annotator.draw(annotator.placement.to_map(SQUARE, annotating.UTM))
    assert not annotator.panel.undo.disabled
    annotator.undo()
    assert annotator.session.objects == ()


def test_an_interrupted_study_goes_on_where_it_stopped(tmp_path):
    first = study(tmp_path)
    do(first)
    first.begin.click()
    again = study(tmp_path)
    assert "Trial 2 of 4" in again.task.value
    assert again.study.trial == first.study.trial
    do(again)
    assert len(read_log(tmp_path / "log.csv")) == 2
