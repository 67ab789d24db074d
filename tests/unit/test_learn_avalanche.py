"""The benchmark of adaptation: rows that share what they may, rates by validation alone, a report of records alone."""

import json
from dataclasses import asdict, replace
from functools import partial
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import segmentation_models_pytorch as smp

from sartutor.errors import DataError
from sartutor.learn import avalanche_cells, avalanche_recipe, avalanche_table, recipes, rivals
from sartutor.learn.adapt import Method
from sartutor.learn.avalanche_rows import (
    ENTRANTS,
    LONG,
    LOOSE,
    LOOSE_QUESTIONS,
    MEANINGS,
    PRETRAINED,
    PUSHES,
    QUESTIONS,
    TRAINERS,
)
from sartutor.learn.avalanche_table import (
    DATA,
    EXPERIMENT,
    LOOSENED,
    SEARCH,
    chosen_rate,
    loose_table,
    main_table,
    row,
    search_table,
    shortened,
)
from sartutor.learn.evaluate import questions
from sartutor.learn.models import load_model
from sartutor.learn.records import read_records, record_path, write_record
from sartutor.learn.report import report
from sartutor.learn.scores import SIZES, SLOPES
from sartutor.presets import AVALANCHE_RECIPES, AVALANCHE_SIZES, BENCHMARK_SIZES, RIVAL_SHAPES, BenchmarkSizes
from sartutor.sar.boxes import PROMPTS, loosened_boxes
from sartutor.sim.benchmark import composite, difference, write_benchmark, write_single

SMOKE, LAPTOP = AVALANCHE_SIZES["smoke"], AVALANCHE_SIZES["laptop"]
CARRIED = Path(str(files("sartutor.weights")))


def test_every_row_has_a_meaning_and_every_question_rows():
    assert ENTRANTS.keys() == MEANINGS.keys()
    assert {name for question in QUESTIONS for name in (question.a, question.b)} <= ENTRANTS.keys()
    assert set(TRAINERS) | set(LOOSE) <= ENTRANTS.keys()
    assert {question.metric for question in LOOSE_QUESTIONS} == {f"images_iou_{push}" for push in PUSHES}


def test_rows_of_one_phase_have_equal_updates():
    table = main_table(LAPTOP, RIVAL_SHAPES["laptop"], {}, (1,))
    short = {each.adaptation for name, each in table.configurations.items() if name not in LONG}
    assert short == {LAPTOP.adaptation}
    steps = sum(phase.steps for phase in LAPTOP.adaptation.phases)
    assert [table.configurations[name].adaptation.phases[0].steps for name in LONG] == [steps] * len(LONG)
    assert {each.rival.steps for each in table.configurations.values()} == {steps}
    assert LAPTOP.rival.batch == LAPTOP.adaptation.batch


def test_phases_that_rows_have_in_common_are_trained_once():
    def key(name, phase, seed=1):
        given = row(LAPTOP, name, {})
        method = avalanche_cells._relevant(given.entrant.method, phase)
        return avalanche_cells._key("sam", phase, given, method, seed)

    assert len({key(name, 1) for name in ("phase1", "phase3", "average", "first", "aligned_free")}) == 1
    assert key("phase2", 2) == key("average", 2) != key("aligned_free", 2)
    assert len({key(name, 3) for name in ("phase3", "average", "first", "aligned_free_gate")}) == 4
    assert len({key(name, 1) for name in ("phase1", "composite", "tight", "chip", "lora", "stacked")}) == 6
    assert len({key(name, 1) for name in ("chip", "phase2_chip", "phase3_chip", "first_chip")}) == 1
    assert key("phase1", 1) != key("phase1", 1, seed=2)


def test_a_search_ends_its_last_phase_early_and_no_other():
    whole = row(LAPTOP, "phase2", {"phase1": 3e-4})
    short = shortened(whole, 0.5)
    assert [phase.steps for phase in short.adaptation.phases] == [300, 100, 150]
    assert short.adaptation.phases[0].learning_rate == 3e-4
    table = search_table(LAPTOP, "phase2", {"phase1": 3e-4})
    found = [each.adaptation.phases[1].learning_rate for each in table.configurations.values()]
    assert found == list(LAPTOP.rates)


def test_rows_take_the_rates_of_the_same_updates_and_alignment():
    rates = {trainer: float(place) for place, trainer in enumerate(TRAINERS[:5])}

    def taken(name):
        return [phase.learning_rate for phase in row(LAPTOP, name, rates).adaptation.phases]

    assert taken("phase3") == taken("chip") == [0, 1, 2]
    assert taken("lora") == [rates["lora"], 1, 2]
    assert taken("aligned_free") == taken("aligned_free_gate") == [0, rates["aligned_free"], 2]


def test_the_best_rate_on_validation_is_chosen():
    scores = dict(zip(LAPTOP.rates, (0.1, 0.3, 0.2), strict=True))
    known = [
        {"configuration": f"unet-rate{rate:g}", "values": {"val_iou": score}}
        for rate, score in scores.items()
    ]
    assert chosen_rate(known, LAPTOP, "unet") == LAPTOP.rates[1]
    with pytest.raises(DataError, match="lacks unet-rate"):
        chosen_rate(known[1:], LAPTOP, "unet")


def test_rules_are_scored_for_every_prompt(tmp_path):
    given = replace(row(SMOKE, "otsu_box", {}), data=BenchmarkSizes(256, 1, 1, 4))
    values = avalanche_cells.run_cell(given, 1, tmp_path)
    for prompt in PROMPTS:
        assert 0 <= values[f"iou_{prompt}"] <= 1
    assert values["iou_box_low"] <= values["iou_box"] <= values["iou_box_high"]
    assert values["objects"] == sum(values[f"n_{name}"] for name in ("small", "medium", "large"))
    for metric in ("recall", "hit_rate"):
        of_classes = [values[f"n_{name}"] * (values[f"{metric}_{name}"] or 0) for name in SIZES]
        assert sum(of_classes) == pytest.approx(values["objects"] * values[f"{metric}_box"])


def test_looser_boxes_are_worth_less_where_all_of_them_is_marked(tmp_path):
    given = replace(row(SMOKE, "fill_box", {}), data=BenchmarkSizes(256, 1, 1, 4))
    values = avalanche_cells.loosened_scores(given, 1, tmp_path)
    assert list(values) == [f"images_iou_{push}" for push in PUSHES]
    scores = list(values.values())
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 1.5 * scores[-1]
    asked = questions(write_benchmark(tmp_path / "avalanche-1", 1, given.data), "test", "box")
    tight = [each for each in asked if each.truth.any()]
    by_hand = [each.truth.sum() / _filled(loosened_boxes(each.truth, 0), each.truth.shape) for each in tight]
    assert scores[0] == pytest.approx(np.mean(by_hand), rel=0.02)
    whole = avalanche_cells.run_cell(given, 1, tmp_path)
    assert values["images_iou_10"] == pytest.approx(whole["images_iou_box"])


def _filled(boxes, shape):
    marked = np.zeros(shape, bool)
    for left, top, right, bottom in boxes:
        marked[int(top) : int(bottom), int(left) : int(right)] = True
    return marked.sum()


def test_the_table_of_loose_boxes_has_the_rows_of_the_main_one():
    main, loose = (
        table(LAPTOP, *given, {}, (1, 2))
        for table, given in ((main_table, (RIVAL_SHAPES["laptop"],)), (loose_table, ()))
    )
    assert {name: main.configurations[name] for name in LOOSE} == loose.configurations


RECORDS = Path(__file__).parents[2] / "results" / "records"


def test_every_recorded_cell_is_one_of_the_table_as_it_is_now():
    searched = read_records(RECORDS, SEARCH)
    rates = {trainer: chosen_rate(searched, LAPTOP, trainer) for trainer in TRAINERS}
    known = read_records(RECORDS, EXPERIMENT)
    seeds = sorted({record["seed"] for record in known})
    table = main_table(LAPTOP, RIVAL_SHAPES["laptop"], rates, seeds)
    cells = [(name, seed) for name in table.configurations for seed in seeds]
    done = sum(table._is_done(RECORDS, name, seed) for name, seed in cells)  # raises for other settings
    assert done == len(known) > 0


def test_rivals_begin_with_the_shapes_of_the_base():
    rows = main_table(LAPTOP, RIVAL_SHAPES["laptop"], {}, (1,)).configurations
    for name in PRETRAINED:
        plain = rows[name.removesuffix("_shapes")]
        assert rows[name].entrant == plain.entrant
        assert rows[name].rival == plain.rival
        assert _keyed(rows[name]) != _keyed(plain)
    assert avalanche_cells.SHAPES_SEED == recipes.SEED


def _keyed(given):
    return avalanche_cells._key(given.entrant.network, 1, given, given.entrant.method, 1)


def test_a_rival_is_pretrained_once_and_an_interruption_costs_nothing_but_its_time(tmp_path, monkeypatch):
    shallow = partial(smp.Unet, "resnet18", encoder_depth=3, decoder_channels=(32, 16, 16))
    monkeypatch.setattr(rivals, "NETWORKS", {**rivals.NETWORKS, "unet": shallow})
    loss, calls = rivals._shapes_loss, []

    def counted(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return loss(*arguments)

    monkeypatch.setattr(rivals, "_shapes_loss", counted)
    rows = main_table(SMOKE, RIVAL_SHAPES["smoke"], {}, (1,)).configurations
    given = replace(rows["unet_shapes"], data=BenchmarkSizes(256, 1, 1, 2))
    with pytest.raises(KeyboardInterrupt):
        avalanche_table.pretrain({"unet": given.pretraining}, tmp_path, "cpu")
    (clock,) = tmp_path.glob("shapes-unet-*.seconds")
    lost = float(clock.read_text())
    values = [avalanche_cells.run_cell(given, seed, tmp_path, "cpu") for seed in (1, 2)]
    assert len(calls) == 1 + given.pretraining.steps  # two were saved before the third was lost
    assert values[0]["pretraining_cpu_seconds"] == values[1]["pretraining_cpu_seconds"] > lost > 0
    assert all(each["train_cpu_seconds"] > each["pretraining_cpu_seconds"] for each in values)


def test_the_composite_takes_vh_where_it_changed_more():
    flat = np.full((2, 2), -12.0, np.float32)
    bands = {"VV0": flat, "VV1": flat, "VH0": flat - 8, "VH1": flat - 8 + 5, "DEM": flat * 0 + 2000}
    before, after, height = composite(bands)
    assert before == pytest.approx((-20 + 27) / 20)  # VH0 in [0, 1]
    assert after == pytest.approx((-15 + 27) / 20)
    assert height == pytest.approx(0.5)
    quiet = composite({**bands, "VH1": flat - 8})
    assert quiet[0] == pytest.approx((-12 + 23) / 20)  # VV0
    assert difference(bands)[1] == pytest.approx(5)


def test_scenes_without_debris_are_learned_by_a_row_that_learns_them(tmp_path):
    sizes = BenchmarkSizes(64, 16, 2, 3)
    given = replace(row(SMOKE, "chip_empty", {}), data=sizes)
    pairs = avalanche_cells.six_bands(replace(row(SMOKE, "chip", {}), data=sizes), 3, tmp_path)
    made = avalanche_cells.six_bands(given, 3, tmp_path)
    debris = [bool((made.mask(id) == 1).any()) for id in made.ids("train")]
    assert made.ids("train") == tuple(f"3-train-{index:04d}" for index in range(sizes.train))
    assert 0 < sum(debris) < sizes.train
    assert (made.ids("val"), made.ids("test")) == (pairs.ids("val"), pairs.ids("test"))
    assert len({tuple(made.scene(id).grid.transform) for id in made.ids("train")}) == sizes.train


def test_the_folder_with_empties_can_be_continued_and_is_the_same(tmp_path):
    sizes = BenchmarkSizes(64, 16, 2, 3)
    pairs = write_benchmark(tmp_path / "pairs", 3, sizes, progress=False)
    whole = avalanche_cells.with_empties(pairs, tmp_path / "whole", 3, sizes)
    again = avalanche_cells.with_empties(pairs, tmp_path / "again", 3, sizes)
    for id in [*again.ids("train")[2:5], again.ids("test")[0]]:
        (again.folder / "images" / f"{id}.tif").unlink()
    continued = avalanche_cells.with_empties(pairs, tmp_path / "again", 3, sizes)
    assert continued.entries == whole.entries
    for id in whole.ids("train"):
        assert continued.scene(id).grid == whole.scene(id).grid
        assert np.array_equal(continued.scene(id).pixels, whole.scene(id).pixels, equal_nan=True)


def test_three_bands_of_the_benchmark_have_its_labels_and_splits(tmp_path):
    pairs = write_benchmark(tmp_path / "pairs", 1, BENCHMARK_SIZES["smoke"], progress=False)
    for kind in ("composite", "difference"):
        single = write_single(pairs, kind, tmp_path / kind)
        assert single.entries == pairs.entries
        assert len(single.primary) == 3
        assert not single.secondary
        id = pairs.ids("train")[0]
        assert np.array_equal(single.mask(id), pairs.mask(id))
        slopes = [
            [
                part.slope
                for question in questions(single, "train", "box", terrain=terrain)
                for part in question.parts
            ]
            for terrain in (None, pairs)
        ]
        own = [part.slope for question in questions(pairs, "train", "box") for part in question.parts]
        assert set(slopes[0]) == {None}
        assert slopes[1] == own != []


def test_the_report_says_what_records_say(tmp_path):
    def values(iou, parameters):
        return {"iou_box": iou, "iou_small": iou / 2, "parameters": parameters, "train_cpu_seconds": 60}

    assert "No row has been run yet" in report(tmp_path)
    for seed in (1, 2):
        write_record(tmp_path, EXPERIMENT, "phase1", DATA, seed, values(0.5 + seed / 100, 1_225_204))
        write_record(tmp_path, EXPERIMENT, "base", DATA, seed, values(0.25, None))
        write_record(tmp_path, SEARCH, "phase1-rate0.001", DATA, seed, {"val_iou": 0.4})
    classes = {
        f"{metric}_{name}": value + place / 100
        for metric, value in (("precision", 0.7), ("recall", 0.8), ("hit_rate", 0.9))
        for place, name in enumerate((*SIZES, *SLOPES))
    }
    classes["recall_steep"] = None  # no such object
    write_record(tmp_path, EXPERIMENT, "tight", DATA, 1, values(0.5, None) | classes)
    text = report(tmp_path)
    assert "| `phase1` | 2 | 0.515 ± 0.064 |" in text
    assert "1.23 | 60 |" in text
    assert "| `tight` | 1 | 0.70 / 0.80 / 0.90 | 0.71 / 0.81 / 0.91 |" in text
    assert "0.74 / 0.84 / 0.94 | - |" in text
    assert (
        "| Does adaptation help? | `phase1` less `base` | `iou_box` | 2 | +0.2650 ± 0.0635: better so far |"
        in text
    )
    assert "not run yet" in text
    assert "How loose may a box be?" not in text
    for name, score in (("phase1", 0.5), ("tight", 0.4)):
        write_record(tmp_path, LOOSENED, name, DATA, 1, {f"images_iou_{push}": score for push in PUSHES})
    text = report(tmp_path)
    assert "| `phase1` | 1 | 0.500 |" in text
    assert "help when boxes are 40 px too large?" in text


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """The recipe at its smallest."""
    monkeypatch.setattr(avalanche_recipe, "TEST_SEEDS", range(901, 903))
    places = [tmp_path / name for name in ("work", "weights", "records")]
    avalanche_recipe.make("smoke", *places, "cpu")
    return tmp_path


def test_the_recipe_ends_with_half_precision_weights_records_and_a_card(recipe):
    exported = recipe / "weights" / "sam_tiny_avalanche.safetensors"
    assert exported.stat().st_size <= 9e6
    model = load_model(exported)
    assert model.about["phases"] == [1, 2, 3]
    for seed in (901, 902):
        assert record_path(
            recipe / "records", avalanche_recipe.NAME, "smoke", "avalanche-small", seed
        ).is_file()
    card = exported.with_suffix(".md").read_text()
    assert "VV0, VV1, DEM and VH0, VH1, slope" in card
    assert "A chip of 256 px" in card
    assert "901, 902" in card
    assert "phase 3 less phase 1: objects " in card


def test_the_embedded_model_fits_its_budget_and_is_complete():
    path = CARRIED / "sam_tiny_avalanche.safetensors"
    assert path.stat().st_size <= 9e6
    model = load_model("sam_tiny_avalanche")
    assert model.about["phases"] == [1, 2, 3]
    assert model.about["base"] == "sam_tiny_base"
    assert model.sam.phase == 3
    assert (model.scales, model.chip_side) == (("chip",), 256)
    assert model.about["recipe"] == json.loads(json.dumps(asdict(AVALANCHE_RECIPES["laptop"].adaptation)))
    assert (
        Method(**{name: model.about[name] for name in ("activation", "fusion", "alignment", "loss")})
        == Method()
    )
    assert (CARRIED / "sam_tiny_avalanche.md").read_text() == avalanche_recipe._card(path, RECORDS)
