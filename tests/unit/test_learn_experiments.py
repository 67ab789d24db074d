"""Experiments: rows that share what they may share, choices that go by validation alone, a report of records alone."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sartutor.errors import DataError
from sartutor.learn import cells, experiments, report, starts
from sartutor.learn.chips import ALOS2_HH, SimulatedChips
from sartutor.learn.experiments import best_weighting, chosen_rates, main_table, search_table, task_tables
from sartutor.learn.filtering import FilteredChips
from sartutor.learn.records import read_records, write_record
from sartutor.presets import EXPERIMENT_SIZES

SMOKE = EXPERIMENT_SIZES["smoke"]
FEW = {name: starts.STARTS[name] for name in ("random", "physical", "filtered")}


def rates(sizes=SMOKE):
    return {(method, start): sizes.rates[0] for method in cells.DOMAINS for start in starts.STARTS}


def record(name, seed=1, data="land_cover", **values):
    return {"configuration": name, "seed": seed, "data": data, "values": values}


def searched(scores):
    """Records of a complete search: `scores` by name of configuration, 0 elsewhere."""
    return [record(name, val_score=scores.get(name, 0.0)) for name in search_table(SMOKE).configurations]


def test_all_rows_have_equal_updates_and_differ_only_in_their_start():
    table = main_table(EXPERIMENT_SIZES["laptop"], rates(EXPERIMENT_SIZES["laptop"]), (1, 2))
    rows = list(table.configurations.values())
    assert len(rows) == 2 * len(starts.STARTS) * 2
    for method in cells.DOMAINS:
        mine = {name.split("-")[1]: row for name, row in table.configurations.items() if row.method == method}
        plain = {replace(row, start=starts.STARTS["random"], fraction=1.0) for row in mine.values()}
        assert {row.pretraining.steps for row in plain} == {800, 3200}
        assert len({replace(row, pretraining=mine["random"].pretraining) for row in plain}) == 1
        assert {name for name, row in mine.items() if row.pretraining.steps == 3200} == set(starts.LONGER)
    assert len({(row.downstream.steps, row.downstream.batch) for row in rows}) == 1


def test_every_start_is_searched_on_the_same_grid_at_a_seed_that_no_row_is_compared_on():
    table = search_table(SMOKE)
    tried = {}
    for row in table.configurations.values():
        key = (row.method, row.start, row.pretraining.steps)
        tried.setdefault(key, set()).add(row.downstream.learning_rate)
    assert set(map(frozenset, tried.values())) == {frozenset(SMOKE.rates)}
    assert len(tried) == 2 * len(starts.STARTS)
    assert set(table.seeds).isdisjoint(report.PLANNED_SEEDS)
    assert experiments.main(["weighting", "--preset", "smoke", "--seeds", "0"]) == 2


def test_the_rate_of_a_start_is_the_best_on_validation():
    low, high = SMOKE.rates
    chosen = chosen_rates(searched({f"simmim-zscore-25-rate{high:g}": 0.5}), SMOKE)
    assert chosen["simmim", "zscore"] == high
    assert chosen["simmim", "physical"] == chosen["mixmae", "zscore"] == low
    with pytest.raises(DataError, match="complete it first"):
        chosen_rates(searched({})[1:], SMOKE)


def test_the_best_weighting_is_chosen_on_validation_not_on_the_test():
    known = [
        record(f"simmim-{start}-{percent}", val_score=val, miou=1 - val)
        for start, val in (("physical", 0.3), ("zscore", 0.4), ("clipped", 0.2), ("inverted", 0.9))
        for percent in ("100", "12.5")
    ]
    assert best_weighting(known, "simmim") == "zscore"
    with pytest.raises(DataError, match="nothing of mixmae with physical"):
        best_weighting(known, "mixmae")


def test_other_tasks_are_asked_of_three_starts():
    tables = task_tables(SMOKE, rates(), {"simmim": "zscore", "mixmae": "clipped"}, (1,))
    assert {table.data for table in tables} == {"land_cover", "multilabel", "flood"}
    flood = next(table for table in tables if table.data == "flood")
    assert {name.split("-")[1] for name in flood.configurations} == {
        "random",
        "unweighted",
        "zscore",
        "clipped",
    }


def test_no_two_roles_or_seeds_share_scenes():
    scenes = [cells._scenes(seed, role) for seed in range(6) for role in cells.ROLES]
    assert len(set(scenes)) == len(scenes)


def test_filtered_chips_lose_speckle_and_keep_levels_and_labels():
    chips = SimulatedChips(ALOS2_HH, 3, 1, 64)
    filtered = FilteredChips(chips, 2)[0]
    plain = chips[0]
    smoothness = [float((x["image"][:, 1:] - x["image"][:, :-1]).abs().mean()) for x in (plain, filtered)]
    power = [float((10 ** (chips.statistics.decibels(x["image"]) / 10)).mean()) for x in (plain, filtered)]
    assert smoothness[1] < 0.7 * smoothness[0]
    assert power[1] == pytest.approx(power[0], rel=0.05)
    assert torch.equal(filtered["label"], plain["label"])
    assert plain["image"].data_ptr() != filtered["image"].data_ptr()


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A folder of records: the smallest table, of three starts and one method, filled from the command line."""
    folder = tmp_path_factory.mktemp("table")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiments, "STARTS", FEW)
        patch.setattr(experiments, "DOMAINS", {"mixmae": cells.DOMAINS["mixmae"]})
        options = ("--records", folder / "r", "--work", folder / "w", "--report", folder / "d" / "R.md")
        arguments = ["weighting", "--preset", "smoke", "--seeds", "1", *map(str, options)]
        assert experiments.main(arguments) == 0
        patch.setattr(experiments, "run_cell", lambda *_, **__: pytest.fail("a finished cell is run again"))
        assert experiments.main(arguments) == 0
    return folder


def test_a_table_is_filled_and_continued_cell_by_cell(filled):
    known = {each["configuration"]: each["values"] for each in read_records(filled / "r", "weighting")}
    assert set(known) == {f"mixmae-{start}-{percent}" for start in FEW for percent in ("100", "12.5")}
    few, all_of_them = known["mixmae-physical-12.5"], known["mixmae-physical-100"]
    assert few["chips"] < all_of_them["chips"]
    assert few["pretraining_loss"] == all_of_them["pretraining_loss"]
    assert 0 <= few["miou_low"] <= few["miou"] <= few["miou_high"] <= 1
    assert "pretraining_loss" not in known["mixmae-random-100"]
    assert all(values["finetune_cpu_seconds"] > 0 for values in known.values())
    assert all(0 <= values["frozen_miou"] <= 1 for values in known.values())


def test_both_shares_of_labels_start_from_one_pretraining(filled):
    assert len(list((filled / "w").glob("mixmae-*-1.safetensors"))) == 2  # physical and filtered


def test_the_report_says_what_is_missing_and_decides_nothing_from_one_seed(filled):
    text = (filled / "d" / "R.md").read_text()
    state = next(line for line in text.splitlines() if line.startswith("| 1 |")).split(" | ")
    assert state[1] == "not run yet"
    assert state[2].startswith("missing: `unweighted` 100 %, `unweighted` 12.5 %, `zscore`")
    assert state[2].count(" %") == 2 * (len(starts.STARTS) - len(FEW))
    assert "| 2 | not run yet | not run yet |" in text
    line = next(line for line in text.splitlines() if "Does weighted pretraining help?" in line)
    assert line.count("± none: undecided so far") == 2
    assert "better" not in [cell.strip() for line in text.splitlines() for cell in line.split("|")]


def test_every_number_of_the_report_comes_from_the_records(tmp_path):
    for seed in range(1, 6):
        for start, miou in (("random", 0.2), ("physical", 0.3)):
            noise = 0.001 * seed * (start == "physical")
            values = {"miou": miou + noise, "miou_low": 0.1, "miou_high": 0.4, "parameters": 2e6, "chips": 4}
            values |= {"finetune_cpu_seconds": 7.0, "simulator": "a", "frozen_miou": miou / 2 - noise}
            write_record(tmp_path, "weighting", f"simmim-{start}-100", "land_cover", seed, values)
    text = report.report(tmp_path)
    line = next(line for line in text.splitlines() if "Does weighted pretraining help?" in line)
    assert line.split("|")[3:-1] == [
        " 5 ",
        " +0.1030 ± 0.0020: better ",
        " +0.0470 ± 0.0020: better ",
    ]
    assert "0.303 ± 0.002" in text
    assert "2.00" in text


def test_the_best_rate_of_the_search_is_told_once_it_is_complete(tmp_path):
    names = list(search_table(SMOKE).configurations.items())
    for number, (name, row) in enumerate(names):
        settings = {"downstream": {"learning_rate": row.downstream.learning_rate}}
        values = {"val_score": number / 1000, "settings": settings}
        write_record(tmp_path, "weighting_search", name, "land_cover", 0, values)
        if number == 1:
            assert "not complete: 2 cells so far" in report.report(tmp_path)
            assert "**" not in report.report(tmp_path)
    text = report.report(tmp_path)
    assert "| simmim | `random` | 0.0000 | **0.0010** |" in text
    assert text.count("**") == 2 * 2 * len(starts.STARTS)


def test_records_of_two_simulators_are_told(tmp_path):
    values = {"miou": 0.2, "miou_low": 0.1, "miou_high": 0.4, "parameters": 2e6, "finetune_cpu_seconds": 7.0}
    for seed in (1, 2):
        here = {**values, "simulator": f"of day {seed}"}
        write_record(tmp_path, "weighting", "simmim-random-100", "land_cover", seed, here)
    assert "2 versions of the simulator" in report.report(tmp_path)


def test_a_report_of_nothing_says_so(tmp_path):
    text = report.report(tmp_path)
    assert "| 5 | not run yet | not run yet |" in text
    assert "No cell has been run yet." in text


@pytest.mark.parametrize("task", ["multilabel", "flood"])
def test_a_cell_of_another_task_has_its_score(tmp_path, task):
    row = experiments._row(SMOKE, "mixmae", "random", task, 0.5, 1e-3)
    values = cells.run_cell(row, 1, tmp_path, "cpu")
    assert {report.SCORES[task], "val_score", "simulator", "parameters"} <= set(values)
    assert values["chips"] == SMOKE.downstream[task].train / 2


def test_the_committed_report_is_that_of_the_committed_records():
    repository = Path(__file__).parents[2]
    written = (repository / "docs" / "RESULTS.md").read_text(encoding="utf-8")
    assert written == report.report(repository / "results" / "records"), "run python -m sartutor.learn.report"
