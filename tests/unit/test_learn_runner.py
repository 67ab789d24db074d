"""Tables that go on where they stopped, paired differences, and intervals over scenes."""

import json
from dataclasses import dataclass

import numpy as np
import pytest
from scipy import stats

from sartutor.errors import DataError, OutputError
from sartutor.learn.records import read_records, record_path, write_record
from sartutor.learn.runner import Table, paired_difference, scene_interval


@dataclass(frozen=True)
class Row:
    gain: float
    layers: tuple[int, ...] = (1, 2)


ROWS = {"plain": Row(0.0), "better": Row(1.0)}


def table(rows=ROWS, seeds=(1, 2)):
    return Table("trial", "drawn", rows, seeds)


class Cell:
    """Counts its calls; stops the table at call number `stop`."""

    def __init__(self, stop=None):
        self.calls = []
        self.stop = stop

    def __call__(self, row, seed):
        if len(self.calls) == self.stop:
            raise KeyboardInterrupt
        self.calls.append((row.gain, seed))
        return {"score": row.gain + seed / 10}


def test_every_cell_is_recorded_with_its_settings_and_times(tmp_path):
    found = table().run(Cell(), tmp_path)
    assert {(r["configuration"], r["seed"], r["values"]["score"]) for r in found} == {
        ("plain", 1, 0.1),
        ("plain", 2, 0.2),
        ("better", 1, 1.1),
        ("better", 2, 1.2),
    }
    values = json.loads(record_path(tmp_path, "trial", "better", "drawn", 2).read_text())["values"]
    assert values["settings"] == {"gain": 1.0, "layers": [1, 2]}
    assert values["seconds"] >= 0
    assert values["cpu_seconds"] >= 0


def test_a_stopped_table_keeps_what_is_done_and_goes_on_from_there(tmp_path):
    stopped, rest, nothing = Cell(stop=3), Cell(), Cell()
    with pytest.raises(KeyboardInterrupt):
        table().run(stopped, tmp_path)
    assert stopped.calls == [(0.0, 1), (1.0, 1), (0.0, 2)]
    assert len(read_records(tmp_path, "trial")) == 3
    assert len(table().run(rest, tmp_path)) == 4
    assert rest.calls == [(1.0, 2)]
    table().run(nothing, tmp_path)
    assert nothing.calls == []


def test_only_the_records_of_the_table_are_given(tmp_path):
    for configuration, data, seed in (
        ("other", "drawn", 1),
        ("plain", "real", 1),
        ("plain", "drawn", 9),
    ):
        write_record(tmp_path, "trial", configuration, data, seed, {"score": 5.0})
    assert len(table().run(Cell(), tmp_path)) == 4


def test_a_row_whose_settings_changed_is_refused_by_file(tmp_path):
    table().run(Cell(), tmp_path)
    with pytest.raises(OutputError, match=r"plain-drawn-1\.json was made with other settings"):
        table({"plain": Row(0.5)}).run(Cell(), tmp_path)


def test_a_record_appears_whole_or_not_at_all(tmp_path):
    write_record(tmp_path, "e", "c", "d", 1, {"score": 1.0})
    with pytest.raises(TypeError):
        write_record(tmp_path, "e", "c", "d", 1, {"score": object()})
    files = list((tmp_path / "e").iterdir())
    assert [path.name for path in files] == ["c-d-1.json"]
    assert json.loads(files[0].read_text())["values"] == {"score": 1.0}


def test_a_record_that_another_process_is_writing_is_not_read(tmp_path):
    path = write_record(tmp_path, "e", "c", "d", 1, {"score": 1.0})
    (path.parent / ".c-d-2.0a0a.json").write_text('{"half')
    assert len(read_records(tmp_path, "e")) == 1


def test_a_cell_that_another_process_filled_meanwhile_is_not_run_again(tmp_path):
    cell = Cell()

    def fills_all(row, seed):
        if not cell.calls:
            table().run(cell, tmp_path)
        return {"score": -1.0}

    table().run(fills_all, tmp_path)
    assert len(cell.calls) == 4
    assert sum(record["values"]["score"] < 0 for record in read_records(tmp_path, "trial")) == 1


def records(**scores):
    return [
        {"configuration": name, "seed": seed, "values": {"miou": value}}
        for name, values in scores.items()
        for seed, value in enumerate(values)
    ]


def test_differences_are_paired_by_seed():
    """Rows that vary far more than they differ are told apart, as by scipy's paired t test."""
    a, b = [0.51, 0.72, 0.33, 0.94, 0.15], [0.50, 0.70, 0.32, 0.92, 0.14]
    found = paired_difference(records(a=a, b=b), "a", "b", "miou")
    interval = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert found.mean == pytest.approx(0.014)
    assert found.mean - found.smallest_resolved == pytest.approx(interval.low)
    assert found.verdict == "better"
    assert found.seeds == 5
    assert paired_difference(records(a=a, b=b), "b", "a", "miou").verdict == "worse"


def test_a_difference_smaller_than_the_design_resolves_is_undecided():
    found = paired_difference(records(a=[0.5, 0.6, 0.7], b=[0.6, 0.5, 0.68]), "a", "b", "miou")
    assert abs(found.mean) < found.smallest_resolved
    assert found.verdict == "undecided"


def test_one_pair_decides_nothing_and_no_pair_is_refused():
    assert paired_difference(records(a=[0.9], b=[0.1, 0.2]), "a", "b", "miou").verdict == "undecided"
    with pytest.raises(DataError, match="'a' and 'c' have 'miou' for no seed"):
        paired_difference(records(a=[0.9], b=[0.1]), "a", "c", "miou")
    with pytest.raises(DataError, match="'ap' for no seed"):
        paired_difference(records(a=[0.9], b=[0.1]), "a", "b", "ap")


def test_the_interval_over_scenes_is_that_of_the_mean_and_seeded():
    scenes = np.random.default_rng(4).normal(2, 1, (100, 1))
    low, high = scene_interval(scenes, lambda drawn: float(drawn.mean()), seed=1)
    half = 1.96 * scenes.std() / 10
    assert low == pytest.approx(scenes.mean() - half, abs=0.05)
    assert high == pytest.approx(scenes.mean() + half, abs=0.05)
    assert scene_interval(scenes, lambda drawn: float(drawn.mean()), seed=1) == (low, high)


def test_scenes_are_drawn_whole():
    """Two scenes of many pixels: the score can only be that of one of them, or of both together."""
    scenes = np.array([[[90, 10]], [[20, 80]]])
    seen = set()

    def share(drawn):
        seen.add(round(float(drawn[..., 0].sum() / drawn.sum()), 6))
        return 0.0

    scene_interval(scenes, share)
    assert seen == {0.9, 0.2, 0.55}


def test_one_scene_is_refused():
    with pytest.raises(DataError, match="at least two scenes"):
        scene_interval(np.ones((1, 2)), lambda drawn: 0.0)
