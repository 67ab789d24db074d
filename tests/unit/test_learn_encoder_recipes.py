"""The recipes of the embedded encoders, at their smallest, and the encoders themselves."""

from importlib.resources import files
from pathlib import Path

import pytest
import torch

from sartutor.errors import CheckpointError
from sartutor.learn import encoder_recipes, recipes, records
from sartutor.learn.checkpoints import export_half, load_tensors, save_tensors
from sartutor.learn.chips import SimulatedChips
from sartutor.learn.encoder_recipes import ENCODERS
from sartutor.learn.pretrain import EMBEDDED, load_pretrained
from sartutor.learn.weighting import WeightRule

CARRIED = Path(str(files("sartutor.weights")))


def run(name, folder):
    places = ("--work", folder / "work", "--weights", folder / "weights", "--records", folder / "records")
    return recipes.main([name, "--preset", "smoke", "--device", "cpu", *map(str, places)])


@pytest.mark.parametrize("name", ENCODERS)
def test_a_recipe_ends_with_half_precision_weights_records_and_a_card(tmp_path, name, monkeypatch):
    monkeypatch.setattr(encoder_recipes, "TEST_SEEDS", range(9101, 9103))
    assert run(name, tmp_path) == 0
    tensors, about = load_tensors(tmp_path / "weights" / f"{name}.safetensors")
    assert {value.dtype for value in tensors.values()} == {torch.float16}
    assert (about["kind"], about["seed"]) == (ENCODERS[name].method, encoder_recipes.SEED)
    found = records.read_records(tmp_path / "records", name)
    assert [record["seed"] for record in found] == [9101, 9102]
    card = (tmp_path / "weights" / f"{name}.md").read_text()
    for score in ("loss", "mean_loss", "bias_db_dark"):
        mean, half = records.mean_interval([record["values"][score] for record in found])
        assert f"{mean:.3f} ± {half:.3f}" in card
    monkeypatch.setattr(encoder_recipes, "pretrain", lambda *_, **__: pytest.fail("trained again"))
    assert run(name, tmp_path) == 0


def test_half_precision_that_restores_otherwise_is_refused(tmp_path):
    trained, exported = tmp_path / "full.safetensors", tmp_path / "half.safetensors"
    tensors, about = load_tensors(CARRIED / "simmim_hh.safetensors")
    save_tensors(trained, {name: value.float() for name, value in tensors.items()}, about)
    export_half(trained, exported)
    statistics = load_pretrained("simmim_hh").statistics
    chips = SimulatedChips(ENCODERS["simmim_hh"].domain, 9101, 2, 128, statistics)
    encoder_recipes.check_half(trained, exported, chips)
    save_tensors(exported, {**tensors, "decoder.linear.bias": tensors["decoder.linear.bias"] + 0.1}, about)
    with pytest.raises(CheckpointError, match=r"half\.safetensors restores other pixels"):
        encoder_recipes.check_half(trained, exported, chips)


@pytest.mark.parametrize("name", EMBEDDED)
def test_an_embedded_encoder_is_found_by_name_and_has_learned(name):
    model = load_pretrained(name)
    assert load_pretrained(name, ENCODERS[name].method).rule == WeightRule()
    for record in records.read_records(Path(__file__).parents[2] / "results" / "records", name):
        assert record["values"]["loss"] < record["values"]["mean_loss"]
        assert record["values"]["weighted_loss"] < record["values"]["weighted_mean_loss"]
    shapes = [
        tuple(each.shape[1:])
        for each in model.features(torch.zeros(1, len(model.statistics.names), 128, 128))
    ]
    assert shapes == [(width, 32 // 2**i, 32 // 2**i) for i, width in enumerate(model.widths)]


def test_both_embedded_encoders_fit_into_eight_megabytes():
    assert {encoder.name for encoder in ENCODERS.values()} == set(EMBEDDED)
    assert sum((CARRIED / f"{name}.safetensors").stat().st_size for name in EMBEDDED) < 8e6
