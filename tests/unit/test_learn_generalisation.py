"""Pretraining on many domains, heads on frozen encoders, and the cells of the benchmark of gaps."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from sartutor.learn import gap_cells
from sartutor.learn.chips import simulator
from sartutor.learn.domains import DomainChips
from sartutor.learn.gap_cells import Embedded, Row, run_cell
from sartutor.learn.gap_report import gaps, order_found
from sartutor.learn.gap_rows import (
    ENCODERS,
    LONGER,
    MEANINGS,
    ORDER,
    QUESTIONS,
    SEEN,
    SEEN_MEANINGS,
    SEEN_QUESTIONS,
    TRAINERS,
    trainer,
    with_gains,
)
from sartutor.learn.gap_table import (
    EXPERIMENT,
    SEARCH,
    SEARCH_SEED,
    TOKENS,
    best_mixture,
    chosen_rates,
    fill,
    main_table,
    search_table,
    tokens_table,
    whole_table,
)
from sartutor.learn.generalisation import (
    KeptMaps,
    Segmenter,
    Turns,
    confusions,
    continue_pretraining,
    mixture_loss,
    train_head,
)
from sartutor.learn.heads import LightHead, segmentation_loss
from sartutor.learn.metrics import mean_iou
from sartutor.learn.moe import Mixture, balance_loss
from sartutor.learn.record_tables import PLANNED_SEEDS
from sartutor.learn.records import read_records
from sartutor.learn.runner import paired_difference
from sartutor.learn.vit import build_vit
from sartutor.presets import GAP_SIZES, VIT_SIZES, HeadRecipe
from sartutor.sim.gaps import FIRST, GAPS, POLARISATIONS

SIZES = GAP_SIZES["smoke"]
HEAD = HeadRecipe(32, 60, 6, 4, 1e-2, 0.05, 5.0, 20, 8, 4, 4)


RECORDS = Path(__file__).parents[2] / "results" / "records"


@pytest.fixture(scope="module")
def chips():
    return DomainChips([POLARISATIONS["F"]], 3, 8, 64)


def batch(chips, count=4):
    return next(iter(DataLoader(chips, count)))


def test_the_loss_is_that_of_the_labels_and_lambda_times_that_of_the_balance_in_every_block(chips):
    vit = build_vit(VIT_SIZES["smoke"], 0)
    vit.mix(Mixture(balance=0.5))
    model = Segmenter(vit, 7, 16).eval()
    some = batch(chips)
    logits, found = model(some["image"], some["descriptors"])
    assert len(found.routings) == VIT_SIZES["smoke"].depth
    expected = segmentation_loss(logits, some["label"]) + 0.5 * sum(balance_loss(r) for r in found.routings)
    assert mixture_loss(model, some).item() == pytest.approx(expected.item(), rel=1e-6)


def test_the_head_answers_at_the_size_of_the_image_whatever_the_grid():
    head = LightHead((8, 8), 7, 16)
    assert head(torch.zeros(2, 16, 5, 5), (40, 40)).shape == (2, 7, 40, 40)


def test_continued_pretraining_learns_and_leaves_a_checkpoint(chips, tmp_path):
    recipe = replace(SIZES.continued, steps=30, learning_rate=3e-3)
    vit = build_vit(VIT_SIZES["smoke"], 0)
    vit.mix(Mixture())
    some = batch(chips)
    before = mixture_loss(Segmenter(vit, 7, 16), some).item()
    out = tmp_path / "x.safetensors"
    model = continue_pretraining(vit, chips, recipe, 16, out, {"kind": "x"}, 0, "cpu", progress=False)
    assert mixture_loss(model, some).item() < before - 0.2
    assert out.exists()


def test_a_head_learns_on_kept_maps_without_touching_the_encoder(chips, tmp_path):
    vit = build_vit(VIT_SIZES["smoke"], 0).eval()
    before = {name: value.clone() for name, value in vit.state_dict().items()}
    train, val = (
        KeptMaps(vit, chips),
        KeptMaps(vit, DomainChips([POLARISATIONS["F"]], 4, 4, 64, chips.scales)),
    )
    head, score = train_head(vit, train, val, HEAD, 0, tmp_path / "head.safetensors", "cpu")
    untrained = mean_iou(confusions(LightHead(vit.widths, 7, 32), train).sum(0))
    assert mean_iou(confusions(head, train).sum(0)) > untrained + 0.05
    assert score == pytest.approx(mean_iou(confusions(head, val).sum(0)), abs=1e-6)
    assert all(torch.equal(value, before[name]) for name, value in vit.state_dict().items())


def test_kept_maps_give_the_head_what_encoding_anew_would(chips):
    vit = build_vit(VIT_SIZES["smoke"], 0).eval()
    kept, some = KeptMaps(vit, chips), batch(chips)
    with torch.no_grad():
        expected = torch.cat(vit.encode(some["image"]).maps, 1)
    assert torch.allclose(kept[2]["maps"], expected[2], atol=2e-3)
    assert torch.equal(kept[2]["label"], chips[2]["label"])


def test_every_turn_has_every_sample_once(chips):
    kept = KeptMaps(build_vit(VIT_SIZES["smoke"], 0).eval(), chips)
    turns = Turns(kept, 16, 5)
    sums = [float(turns[i]["maps"].sum()) for i in range(16)]
    assert sorted(sums[:8]) == sorted(sums[8:])
    assert sums[:8] != sums[8:]


def test_an_embedded_encoder_sees_its_own_bands_in_its_own_scale():
    chips = DomainChips([POLARISATIONS["F"]], 3, 2, 128)
    encoder = Embedded("simmim_hh", chips.scales)
    seen = []
    encoder.model.features = lambda image: (
        seen.append(image) or [torch.zeros(2, w, 4, 4) for w in encoder.widths]
    )
    maps = encoder.encode(batch(chips, 2)["image"]).maps
    db = chips.statistics.decibels(batch(chips, 2)["image"])[:, :1]
    own = encoder.model.statistics
    assert torch.allclose(seen[0], (db - own.mean[0]) / own.std[0], atol=1e-4)
    assert {tuple(each.shape[2:]) for each in maps} == {(16, 16)}


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


@pytest.mark.parametrize("name", ["plain", "masked", "dense", "all", "normalised"])
def test_a_cell_scores_every_gap_it_is_asked(work, name):
    row = Row(ENCODERS[name], SIZES, ("VV2F", "N2S"))
    values = run_cell(row, 1, work, "cpu")
    assert values["miou"] == pytest.approx((values["miou_VV2F"] + values["miou_N2S"]) / 2)
    assert values["val_score"] == pytest.approx((values["val_VV2F"] + values["val_N2S"]) / 2)
    assert values["miou_low"] <= values["miou_high"]
    assert ("largest_share" in values) == bool(ENCODERS[name].mixture)
    assert values["parameters"] >= values["active_parameters"]


def test_rows_of_one_seed_share_their_start_and_a_cell_is_the_same_again(work):
    row = Row(ENCODERS["all"], SIZES, ("VV2F",))
    first, again = (run_cell(row, 1, work, "cpu") for _ in range(2))
    assert first["miou"] == again["miou"]
    assert len(list(work.glob("masked-*-1.safetensors"))) == 1


def test_no_two_roles_and_seeds_have_scenes_in_common():
    seeds = [gap_cells._scenes(seed, role) for seed in range(6) for role in gap_cells.ROLES]
    assert len(set(seeds)) == len(seeds)


def test_every_row_has_a_meaning_and_every_question_two_rows():
    assert set(MEANINGS) == set(ENCODERS)
    assert set(SEEN_MEANINGS) == set(SEEN)
    for question in QUESTIONS:
        assert {question.a, question.b} <= set(ENCODERS)
    for question in SEEN_QUESTIONS:
        assert {question.a, question.b} <= {*ENCODERS, *SEEN, "all_gain", "dense_gain"}
    assert {trainer(name) for name in ENCODERS | SEEN} <= set(TRAINERS)


def test_tables_ask_one_gap_of_each_kind_of_all_and_all_gaps_of_two():
    rates = dict.fromkeys(TRAINERS, 0.001) | {"dense": 3e-3}
    table = main_table(SIZES, rates, (1,))
    assert set(table.configurations) == set(ENCODERS)
    assert {row.gaps for row in table.configurations.values()} == {tuple(FIRST.values())}
    assert table.configurations["masked"].sizes.continued.learning_rate == 3e-3
    assert {row.gaps for row in whole_table(SIZES, rates, "all", (1,)).configurations.values()} == {
        tuple(GAPS)
    }


def test_long_rows_take_more_steps_and_differ_in_nothing_else():
    rates = dict.fromkeys(TRAINERS, 0.001)
    short = main_table(SIZES, rates, (1,)).configurations
    rows = tokens_table(SIZES, rates, (1,)).configurations
    for name in ("dense", "all"):
        long = replace(short[name].sizes.continued, steps=LONGER * short[name].sizes.continued.steps)
        assert rows[f"{name}_long"] == replace(short[name], sizes=replace(short[name].sizes, continued=long))
    assert rows["six_chosen"].sizes == short["all"].sizes
    assert rows["six_chosen"].encoder.mixture.chosen == 6


def test_the_search_is_shorter_and_the_best_rate_is_that_of_validation():
    table = search_table(SIZES)
    assert {row.sizes.continued.steps for row in table.configurations.values()} == {1}
    scores = dict.fromkeys(table.configurations, 0.1) | {"all-rate0.001": 0.2, "moe-rate0.0005": 0.3}
    records = [{"configuration": name, "values": {"val_score": score}} for name, score in scores.items()]
    rates = chosen_rates(records, SIZES)
    assert (rates["all"], rates["moe"]) == (1e-3, 5e-4)


def test_the_best_mixture_is_chosen_without_targets():
    records = [
        {"configuration": "all", "values": {"val_score": 0.3, "miou": 0.9}},
        {"configuration": "moe", "values": {"val_score": 0.4, "miou": 0.1}},
        {"configuration": "dense", "values": {"val_score": 0.9, "miou": 0.9}},
    ]
    assert best_mixture(records) == "moe"
    more = [{"configuration": name, "values": {"val_score": 0.8}} for name in ("two_chosen", "true_labels")]
    assert best_mixture(records + more) == "moe"  # these compute more than `dense`, or are told more


def scored(rows):
    """Records of rows at three seeds, with a score each."""
    return [
        {"configuration": name, "seed": seed, "values": {"miou": score + 0.001 * seed * (len(name) % 2)}}
        for name, score in rows.items()
        for seed in (1, 2, 3)
    ]


def test_an_order_is_found_only_where_every_step_is_decided_that_way():
    falling = dict(zip(ORDER, (0.9, 0.8, 0.7, 0.6, 0.5), strict=True))
    assert "is found" in order_found(scored(falling))
    swapped = order_found(scored({**falling, "dense": 0.65, "balance": 0.7}))
    assert "is not found" in swapped
    assert "decided the other way: `moe` over `dense`" in swapped
    assert "undecided: `balance` over `descriptors`" in swapped
    assert "has not been looked for yet" in order_found(scored({"all": 0.9, "balance": 0.8}))


def test_what_more_steps_add_is_taken_seed_by_seed():
    scores = {
        ("all", 1): 0.2,
        ("all_long", 1): 0.5,
        ("dense", 1): 0.3,
        ("dense_long", 2): 0.4,
        ("dense", 2): 0.3,
    }
    records = [
        {"configuration": name, "seed": seed, "values": {"miou": score}}
        for (name, seed), score in scores.items()
    ]
    found = with_gains(records)[len(records) :]
    assert [(each["configuration"], each["seed"]) for each in found] == [("all_gain", 1), ("dense_gain", 2)]
    assert [each["values"]["miou"] for each in found] == pytest.approx([0.3, 0.1])


def test_filling_goes_through_search_table_and_all_gaps(monkeypatch, tmp_path):
    """With few rows, rates and gaps, else as it is."""
    few = {name: ENCODERS[name] for name in ("dense", "all")}
    monkeypatch.setattr("sartutor.learn.gap_table.ENCODERS", few)
    monkeypatch.setattr("sartutor.learn.gap_table.TRAINERS", ("dense", "all"))
    monkeypatch.setattr("sartutor.learn.gap_table.FIRST", {"region": "N2S"})
    monkeypatch.setattr("sartutor.learn.gap_table.GAPS", {"N2S": GAPS["N2S"], "S2N": GAPS["S2N"]})
    known = fill(SIZES, (1,), tmp_path / "records", tmp_path / "work", "cpu")
    assert {record["configuration"] for record in known} == {"dense", "all"}
    whole = read_records(tmp_path / "records", "gaps_all")
    assert all("miou_S2N" in record["values"] for record in whole)
    assert len(whole) == 2
    tokens = read_records(tmp_path / "records", "gaps_tokens")
    assert {record["configuration"] for record in tokens} == set(SEEN)
    assert "Do experts lack tokens?" in "".join(gaps(tmp_path / "records"))


def test_every_recorded_cell_of_the_search_is_one_of_the_table_as_it_is_now():
    known = read_records(RECORDS, SEARCH)
    table = search_table(GAP_SIZES["laptop"])
    done = sum(
        table._is_done(RECORDS, name, SEARCH_SEED) for name in table.configurations
    )  # or other settings
    assert done == len(known) > 0


def test_records_say_what_the_notebook_says_of_experts_that_see_more():
    """Notebook 10, section 8."""
    known = with_gains([*read_records(RECORDS, EXPERIMENT), *read_records(RECORDS, TOKENS)])
    found = {
        (question.a, question.b): paired_difference(known, question.a, question.b, question.metric).verdict
        for question in SEEN_QUESTIONS
    }
    assert found == {
        ("all_long", "all"): "better",
        ("dense_long", "dense"): "better",
        ("all_gain", "dense_gain"): "undecided",
        ("all_long", "dense_long"): "undecided",
        ("six_chosen", "all"): "better",
        ("six_chosen", "dense"): "undecided",
    }


def test_the_tables_of_gaps_are_complete_and_made_with_the_settings_of_now():
    """A cell that was made with other settings raises."""
    sizes = GAP_SIZES["laptop"]
    rates = chosen_rates(read_records(RECORDS, SEARCH), sizes)
    main = main_table(sizes, rates, PLANNED_SEEDS)
    best = best_mixture(main.records(RECORDS))
    others = whole_table(sizes, rates, best, PLANNED_SEEDS), tokens_table(sizes, rates, PLANNED_SEEDS)
    for table in (main, *others):
        names, found = table.configurations, table.records(RECORDS)
        assert all(table._is_done(RECORDS, name, seed) for name in names for seed in PLANNED_SEEDS)
        assert {record["values"]["simulator"] for record in found} == {simulator()}
