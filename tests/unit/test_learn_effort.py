"""The simulated annotator: outlines, corrections, and an honest count of clicks."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from sartutor.errors import DataError
from sartutor.learn import effort, effort_records, effort_report
from sartutor.learn.effort import (
    Effort,
    HandDrawn,
    clicks_saved,
    correction,
    effort_table,
    outer_ring,
    outlined,
)
from sartutor.learn.models import load_model
from sartutor.learn.records import recorded
from sartutor.learn.runner import Table
from sartutor.presets import EFFORT_SIZES


@pytest.fixture(scope="module")
def model():
    return load_model("sam_tiny_avalanche")


@pytest.fixture
def disc() -> np.ndarray:
    """A disc of radius 20 px."""
    rows, cols = np.mgrid[:80, :100]
    return (rows - 40) ** 2 + (cols - 50) ** 2 < 20**2


def one(scene: str = "a", pixels: int = 200, clicks: int = 9, **more) -> Effort:
    values = {"box_iou": 0.8, "prompted_iou": 0.8, "corrections": 0, "usable": 0.5, **more}
    return Effort(scene, pixels, by_hand=HandDrawn(clicks - 1, 0.9), **values)


def test_the_outer_ring_joins_parts_that_touch_at_corners_and_fills_holes():
    mask = np.zeros((12, 12), bool)
    mask[1:5, 1:5] = mask[5:9, 5:9] = True
    mask[2, 2] = False
    assert outer_ring(mask).area == pytest.approx(32, abs=0.1)
    assert not outer_ring(mask).interiors


def test_more_quality_needs_more_corners(disc):
    everywhere, rng = np.ones_like(disc), np.random.default_rng(0)
    found = [outlined(disc, everywhere, iou, rng) for iou in (0.5, 0.8, 0.93)]
    assert [drawn.iou >= iou for drawn, iou in zip(found, (0.5, 0.8, 0.93), strict=True)] == [True] * 3
    assert 3 <= found[0].corners < found[1].corners < found[2].corners < 20
    assert found[0].clicks == found[0].corners + 1


def test_what_no_hand_reaches_is_the_best_of_all(disc):
    best = outlined(disc, np.ones_like(disc), 0.999, np.random.default_rng(0))
    assert 0.9 < best.iou < 0.999
    assert not one(clicks=best.clicks, prompted_iou=0.999).equalled


def test_a_hand_that_is_steady_reaches_what_a_shaking_one_does_not(disc, monkeypatch):
    monkeypatch.setattr(effort, "CLICK_NOISE_PX", 0.0)
    assert outlined(disc, np.ones_like(disc), 0.99, np.random.default_rng(0)).iou >= 0.99


def test_a_correction_lies_in_the_middle_of_the_largest_error(disc):
    everywhere = np.ones_like(disc)
    marked = disc.copy()
    marked[30:41, 40:51] = False
    marked[2:5, 2:5] = True
    assert correction(marked, disc, everywhere) == (45.5, 35.5, True)
    marked = disc.copy()
    marked[10:16, 80:87] = True
    x, y, inside = correction(marked, disc, everywhere)
    assert (82 < x < 85, 12 < y < 14, inside) == (True, True, False)
    marked[37, 50] = False
    known = everywhere.copy()
    known[10:16, 80:87] = False
    assert correction(marked, disc, known) == (50.5, 37.5, True)


def test_an_object_that_is_given_up_costs_both_ways():
    assert one().clicks == 2
    assert one(corrections=1).clicks == 3
    lost = one(prompted_iou=0.4, corrections=1)
    assert lost.given_up
    assert lost.clicks == 2 + 1 + 9


def test_saved_clicks_are_counted_by_scene():
    objects = [one("a"), one("a", clicks=5), one("b", prompted_iou=0.2, clicks=5)]
    share, half = clicks_saved(objects)
    assert share == pytest.approx(1 - (2 + 2 + 7) / (9 + 5 + 5))
    assert half > 1
    assert math.isinf(clicks_saved(objects[:2])[1])


def test_the_table_tells_classes_of_size_apart():
    objects = [one("a", 60, prompted_iou=0.3, box_iou=0.3), one("b", 60), one("b", 500, clicks=20)]
    table = effort_table(objects)
    assert list(table.index) == ["small", "large", "all"]
    assert table.loc["small", "given_up"] == table.loc["small", "usable"] == 0.5
    assert table.loc["large", "saved"] == pytest.approx(0.9)
    assert table.loc["all", "objects"] == 3
    with pytest.raises(DataError, match="more scenes"):
        effort_table([])


@pytest.mark.parametrize("correct", ["threshold", "points"])
def test_scenes_are_annotated_both_ways(model, correct):
    found = effort.measure(model, [41], EFFORT_SIZES["smoke"], correct, usable=0.7, progress=False)
    assert len(found) >= 1
    for each in found:
        assert 3 <= each.by_hand.corners < 60
        assert each.prompted_iou >= each.box_iou
        assert (each.corrections > 0) == (each.box_iou < 0.7)
        assert each.corrections <= (1 if correct == "threshold" else effort.MOST_POINTS)
    again = effort.measure(model, [41], EFFORT_SIZES["smoke"], correct, usable=0.7, progress=False)
    assert again == found


def test_records_give_the_objects_back(tmp_path):
    row = effort_records.effort_rows(EFFORT_SIZES["smoke"])["threshold-0.5"]
    table = Table("effort", "avalanche-small", {"threshold-0.5": row}, [41])
    records = table.run(effort_records.cell, tmp_path)
    again = effort.measure(load_model(row.model), [41], row.sizes, row.correct, row.usable, progress=False)
    assert effort_records.efforts("threshold-0.5", records) == again
    assert effort_records.efforts("points-0.5", records) == []


@pytest.mark.parametrize("name", effort_records.effort_rows(EFFORT_SIZES["laptop"]))
def test_the_records_are_complete_and_of_the_rows_as_they_are(name):
    known = effort_records.of_row(recorded("effort"), name)
    assert [record["seed"] for record in known] == list(effort_records.SEEDS)
    row = json.loads(json.dumps(asdict(effort_records.effort_rows(EFFORT_SIZES["laptop"])[name])))
    assert all(record["values"]["settings"] == row for record in known)


def test_what_the_records_say():
    table = effort_table(effort_records.efforts("points-0.5"))
    assert table.loc["all", "saved"] - table.loc["all", "±"] > 0
    assert (table.loc[["medium", "large"], "saved"] > table.loc["small", "saved"]).all()
    strict = effort_table(effort_records.efforts("threshold-0.7"))
    assert strict.loc["small", "saved"] < 0
    assert effort_table(effort_records.efforts("base")).loc["all", "saved"] < 0


def test_the_report_says_what_is_saved_of_every_row_and_size(tmp_path):
    said = effort_report.effort(Path(str(files("sartutor.records"))))[-1]
    every = effort_table(effort_records.efforts("points-0.5")).loc["all"]
    assert f"| all | {every['objects']:.0f} |" in said
    assert f"| {every['saved']:+.2f} ± {every['±']:.2f} |" in said
    assert set(effort_report.MEANINGS) == set(effort_records.effort_rows(EFFORT_SIZES["laptop"]))
    assert effort_report.effort(tmp_path)[-1] == "Not run yet."
