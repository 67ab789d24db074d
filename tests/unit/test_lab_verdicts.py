"""Pictures of records: numbers, seeds and verdicts are those of the records, and what is missing is said to be."""

import numpy as np
import pytest

from sartutor.lab import verdicts
from sartutor.lab.plots import alternative_text
from sartutor.learn.records import mean_interval
from sartutor.learn.report import METHODS, READOUTS
from sartutor.learn.starts import FRACTIONS, QUESTIONS, STARTS, TASK_CELLS, row_name

CLASSES = ("building", "road")


def record(method, start, share, seed, task="land_cover", experiment="weighting", **values):
    name = row_name(method, start, share)
    return {"experiment": experiment, "configuration": name, "data": task, "seed": seed, "values": values}


def table(gains, seeds=range(1, 6)):
    """A main table in which each start adds `gains` to 0.5, plus what all starts of a seed share and a little noise."""
    rng = np.random.default_rng(3)
    found = []
    for seed in seeds:
        luck = rng.normal(0, 0.05)
        for method in METHODS:
            for start in STARTS:
                for share in FRACTIONS:
                    miou = 0.5 + gains.get(start, 0.0) + luck + rng.normal(0, 0.002)
                    bias = {f"pretraining_bias_db_{name}": luck for name in ("dark", "middle", "bright")}
                    each = {**bias, "miou": miou, "iou_0": miou, "iou_1": miou, "frozen_miou": miou / 2}
                    found.append(record(method, start, share, seed, **each))
    return found


def test_points_are_means_with_intervals_and_their_seeds():
    known = [
        record("simmim", "random", 1.0, seed, miou=value) for seed, value in ((1, 0.4), (2, 0.6), (3, 0.5))
    ]
    known += [record("simmim", "random", 0.125, 1, miou=0.3), record("mixmae", "random", 1.0, 1, miou=0.9)]
    whole, eighth = verdicts.points(known, "simmim", "land_cover", "random")
    assert (whole.mean, whole.half) == mean_interval([0.4, 0.6, 0.5])
    assert (whole.share, whole.seeds, eighth.share, eighth.seeds) == (1.0, 3, 0.125, 1)


def test_differences_are_taken_seed_by_seed():
    known = table({"physical": 0.03})
    answer = verdicts.compared(known, "simmim", "land_cover", 1.0, "physical", "random", "miou").found
    assert answer.verdict == "better"
    assert answer.mean == pytest.approx(0.03, abs=0.005)
    assert answer.smallest_resolved < 0.01 < verdicts.points(known, "simmim", "land_cover", "random")[0].half


@pytest.mark.parametrize(
    ("gains", "said"),
    [
        ({}, "is not shown"),
        ({"physical": -0.05}, "do harm"),
        ({"physical": 0.05, "shuffled": 0.05, "inverted": 0.0}, "not shown to be better than shuffled ones"),
        ({"physical": 0.05}, "it matters where they lie"),
    ],
)
def test_the_conclusion_needs_its_controls(gains, said):
    known = table(gains)
    assert sum(said in line for line in verdicts.summary(known)) == len(METHODS) * len(FRACTIONS) * len(
        READOUTS
    )


def test_one_seed_decides_nothing():
    known = table({"physical": 0.2}, seeds=(1,))
    assert all("decides nothing" in line for line in verdicts.summary(known) if "..." in line and "±" in line)
    assert any("Too few seeds" in line for line in verdicts.summary(known))
    assert verdicts.decided(verdicts.answers(known, "simmim", 1.0)) == (0, 0)


def test_decided_answers_are_counted():
    found = verdicts.answers(table({"physical": 0.05, "filtered": 0.05}), "mixmae", 0.125)
    clear, asked = verdicts.decided(found)
    assert asked == len(found)
    assert 4 <= clear < asked


def test_questions_on_weights_compare_equals_in_all_else():
    asked = {(question.a, question.b) for question in QUESTIONS if question.on_weights}
    assert {
        ("physical", "unweighted"),
        ("physical_longer", "unweighted_longer"),
        ("despeckled", "physical"),
    } <= asked
    others = {("unweighted", "random"), ("filtered", "physical"), ("unweighted_longer", "unweighted")}
    assert not others & asked


def test_the_table_names_every_start():
    frame = verdicts.start_table(table({"physical": 0.05}), "simmim", 1.0)
    assert list(frame.index) == list(STARTS)
    assert frame.loc["physical", "fine-tuned, less random"].startswith("+0.05")
    assert frame.loc["physical", "frozen, less random"].startswith("+0.02")
    assert frame.loc["random", "frozen, less random"] == ""
    assert set(verdicts.start_table([], "simmim", 1.0)["frozen"]) == {"-"}


def test_the_best_weighting_is_the_one_that_was_taken_to_other_tasks():
    assert verdicts.best_start([], "simmim") == "physical"
    known = [record("simmim", "zscore", 0.5, 1, experiment="weighting_tasks", miou=0.5)]
    assert verdicts.best_start(known, "simmim") == "zscore"
    assert verdicts.best_start(known, "mixmae") == "physical"


def test_label_efficiency_says_how_many_seeds_it_has():
    assert alternative_text(verdicts.draw_efficiency([])).count("no record yet") == len(METHODS) * len(
        TASK_CELLS
    )
    part = verdicts.draw_efficiency(table({}, seeds=(1, 2)))
    assert "simmim, land cover: 2 of 5 seeds" in alternative_text(part)
    assert "simmim, land cover: 5 seeds" in alternative_text(verdicts.draw_efficiency(table({})))


def test_published_numbers_stand_beside_the_task_they_resemble_alone():
    figure = verdicts.draw_efficiency([])
    grey = [axes for axes in figure.axes if any("theirs" in str(line.get_label()) for line in axes.lines)]
    assert [axes.get_title().split(":")[0] for axes in grey] == ["mixmae, multilabel"]


@pytest.mark.parametrize("seeds", [(), (1,), range(1, 6)])
def test_every_picture_is_drawn_of_any_number_of_seeds(seeds):
    known = table({"physical": 0.02}, seeds)
    figures = (
        verdicts.draw_answers(known),
        verdicts.draw_answers(known, "frozen_miou"),
        verdicts.draw_bias(known),
        verdicts.draw_gains(known),
        verdicts.draw_class_gains(known, CLASSES, 0.125, "physical", "random"),
    )
    for figure in figures:
        assert "simmim" in alternative_text(figure) or "less" in alternative_text(figure)
        drawn = sum(len(axes.containers) for axes in figure.axes)
        assert (drawn > 0) == (len(seeds) > ("dB" not in alternative_text(figure)))
