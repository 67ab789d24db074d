"""What notebooks 06 and 09 say of the recorded experiments is what the committed records say."""

from pathlib import Path

import pytest

from sartutor.learn.avalanche_rows import HARD
from sartutor.learn.record_tables import PLANNED_SEEDS, Question, answers, within
from sartutor.learn.records import mean_interval, read_records
from sartutor.learn.report import METHODS, SCORES
from sartutor.learn.runner import Difference, of_row, paired_difference
from sartutor.learn.starts import FRACTIONS, LONGER, STARTS, TASK_CELLS, row_name

RECORDS, OTHERS, AVALANCHES = (
    read_records(Path(__file__).parents[2] / "results" / "records", table)
    for table in ("weighting", "weighting_tasks", "avalanche_small")
)
FEW = FRACTIONS[1]


def difference(method: str, a: str, b: str, share: float, metric: str = "frozen_miou") -> Difference:
    return paired_difference(RECORDS, *(row_name(method, start, share) for start in (a, b)), metric)


def test_the_main_table_is_complete_but_for_longer_pretraining():
    asked = {
        (row_name(m, s, f), seed)
        for m in METHODS
        for s in STARTS
        if s not in LONGER
        for f in FRACTIONS
        for seed in PLANNED_SEEDS
    }
    assert asked <= {(record["configuration"], record["seed"]) for record in RECORDS}
    assert len({record["values"]["simulator"] for record in RECORDS}) == 1


@pytest.mark.parametrize("share", FRACTIONS)
def test_pretraining_leaves_something_in_the_encoder(share):
    for start in ("unweighted", "physical"):
        assert difference("simmim", start, "random", share).verdict == "better"


def test_it_gives_more_where_labels_are_few():
    assert (
        difference("simmim", "unweighted", "random", FEW).mean
        > difference("simmim", "unweighted", "random", 1.0).mean
    )


@pytest.mark.parametrize("share", FRACTIONS)
def test_weights_leave_nothing_that_can_be_seen(share):
    gained = difference("simmim", "unweighted", "random", share).mean
    found = difference("simmim", "physical", "unweighted", share)
    assert found.verdict == "undecided"
    assert found.smallest_resolved < gained / 10
    for control in ("shuffled", "inverted"):
        assert difference("simmim", "physical", control, share).verdict != "better"


def test_weights_shift_the_guess():
    for method in METHODS:
        plain, weighted = (
            [r["values"]["pretraining_bias_db_bright"] for r in of_row(RECORDS, row_name(method, start, 1.0))]
            for start in ("unweighted", "zscore")
        )
        assert max(weighted) < min(plain)


def test_weights_do_mixmae_a_little_harm_with_all_labels():
    assert difference("mixmae", "physical", "unweighted", 1.0).verdict == "worse"


@pytest.mark.parametrize("share", FRACTIONS)
def test_fine_tuning_hides_what_pretraining_gave(share):
    fine_tuned = difference("simmim", "unweighted", "random", share, "miou")
    frozen = difference("simmim", "unweighted", "random", share)
    assert fine_tuned.verdict == "undecided"
    assert fine_tuned.smallest_resolved > 2 * frozen.smallest_resolved
    assert fine_tuned.smallest_resolved > frozen.mean
    for method in METHODS:
        assert difference(method, "physical", "unweighted", share, "miou").verdict == "undecided"


def test_mixmae_learned_little():
    for share in FRACTIONS:
        assert difference("mixmae", "unweighted", "random", share).verdict == "undecided"
    assert difference("mixmae", "unweighted", "random", FEW, "miou").verdict == "better"
    known = of_row(RECORDS, row_name("mixmae", "unweighted", 1.0))
    assert all(
        0.98 < r["values"]["pretraining_loss"] / r["values"]["pretraining_mean_loss"] < 1 for r in known
    )


@pytest.mark.parametrize("share", FRACTIONS)
def test_less_speckle_helps_simmim_more_than_weights(share):
    assert difference("simmim", "filtered", "physical", share).verdict == "better"
    assert difference("simmim", "filtered", "filtered_random", share).verdict == "better"


def test_other_tasks_decide_nothing_about_weights():
    found = []
    for task, shares in TASK_CELLS.items():
        here = [record for record in OTHERS if record["data"] == task]
        for method in METHODS:
            for share in shares:
                rows = [row_name(method, start, share) for start in ("physical", "unweighted")]
                found.append(paired_difference(here, *rows, SCORES[task]))
    assert len(found) == 16
    assert all(each.seeds == len(PLANNED_SEEDS) for each in found)
    assert sum(each.verdict != "undecided" for each in found) <= 1


def test_no_start_is_shown_to_beat_the_answer_flood_to_every_pair():
    for name in {record["configuration"] for record in OTHERS if record["data"] == "flood"}:
        mean, half = mean_interval([r["values"]["f1"] for r in of_row(OTHERS, name, "flood")])
        assert mean - half < 2 / 3  # precision 1/2, recall 1


def test_an_answer_is_the_difference_at_each_seed_and_what_it_decides():
    known = [
        {"configuration": name, "seed": seed, "values": {"miou": miou + seed}}
        for name, miou in (("a", 0.3), ("b", 0.2))
        for seed in (1, 2)
    ]
    question = Question("Is a better?", "a", "b", "miou")
    line = answers(known, [question]).splitlines()[-1]
    assert line == "| Is a better? | `a` less `b` | `miou` | 2 | +0.1000 ± 0.0000: better so far |"
    assert "not run yet" in answers([], [question])


@pytest.mark.parametrize("fused", ["phase3_chip", "stacked_long"])
def test_a_unet_that_is_told_the_boxes_is_ahead_of_fusion(fused):
    found = paired_difference(AVALANCHES, fused, "box_unet", "iou_box")
    assert (found.verdict, found.seeds) == ("worse", len(PLANNED_SEEDS))


def test_early_fusion_is_ahead_of_late_fusion_that_is_trained_as_long():
    found = paired_difference(AVALANCHES, "phase3_chip", "stacked_long", "iou_box")
    assert found.verdict == "worse"
    assert found.seeds == len(PLANNED_SEEDS)


@pytest.mark.parametrize("row", ["chip", "phase3_chip", "stacked_long"])
def test_small_debris_is_hard_and_flat_ground_is_not(row):
    small, flat = (within(AVALANCHES, row, *metrics) for metrics in HARD.values())
    assert (small.verdict, flat.verdict) == ("worse", "undecided")
    assert small.seeds == flat.seeds == len(PLANNED_SEEDS)


def test_a_metric_is_compared_with_another_of_the_same_seed():
    known = [
        {"configuration": "a", "data": "d", "seed": seed, "values": {"x": x, "y": x - 0.2}}
        for seed, x in enumerate((0.5, 0.7, 0.6))
    ]
    found = within([*known, {**known[0], "seed": 3, "values": {"x": 0.9, "y": None}}], "a", "x", "y")
    assert (found.seeds, found.verdict) == (3, "better")
    assert found.mean == pytest.approx(0.2)
    assert within(known, "b", "x", "y") is None
