"""`sartutor adapt`: a folder becomes a model that `evaluate` takes; bad input is one line and exit code 2."""

import json

import pytest
from adapting import write_folder

from sartutor import cli
from sartutor.learn.adapt import Method, preset_recipe
from sartutor.learn.checkpoints import load_tensors
from sartutor.learn.parts import PartsTrial
from sartutor.presets import ADAPT_RECIPES, LORA_RATE


def run(*arguments) -> int:
    return cli.main([*map(str, arguments)])


def one_line(capsys, *words):
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    assert said.startswith("sartutor: ")
    for word in words:
        assert word in said


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("gray"), ("gray",), "1").folder


@pytest.fixture(scope="module")
def checkpoint(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "mine.safetensors"
    assert run("adapt", folder, "--preset", "smoke", "--out", out, "--device", "cpu", "--seed", 3) == 0
    return out


def test_a_folder_of_gray_pictures_becomes_a_model_that_is_evaluated(checkpoint, folder, capsys):
    about = load_tensors(checkpoint)[1]
    assert (about["preset"], about["seed"], about["phases"]) == ("smoke", 3, [1])
    assert about["recipe"]["batch"] == ADAPT_RECIPES["smoke"].batch
    capsys.readouterr()
    assert run("evaluate", folder, "--model", checkpoint, "--split", "test", "--prompt", "box", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["objects"]["n"] >= 1
    assert 0 <= report["objects"]["iou"] <= 1


def test_json_says_what_was_done(folder, tmp_path, capsys):
    out = tmp_path / "a.safetensors"
    assert (
        run("adapt", folder, "--preset", "smoke", "--out", out, "--phases", "1", "--scale", "near", "--json")
        == 0
    )
    made = json.loads(capsys.readouterr().out)
    assert made["out"] == str(out)
    assert made["ran"] == made["phases"] == [1]
    assert load_tensors(out)[1]["scales"] == ["near"]


def test_choices_reach_the_checkpoint(folder, tmp_path):
    out = tmp_path / "a.safetensors"
    choices = {"tuning": "lora", "activation": "relu", "prompts": "points", "encoders": "stacked"}
    options = [word for name, value in choices.items() for word in (f"--{name}", value)]
    assert run("adapt", folder, "--preset", "smoke", "--out", out, *options, "--device", "cpu") == 0
    assert choices.items() <= load_tensors(out)[1].items()


def test_low_rank_updates_have_a_learning_rate_of_their_own():
    usual, lora = (preset_recipe("laptop", Method(tuning=tuning)) for tuning in ("adapters", "lora"))
    assert usual == ADAPT_RECIPES["laptop"]
    ratios = [b.learning_rate / a.learning_rate for a, b in zip(usual.phases, lora.phases, strict=True)]
    assert ratios == [LORA_RATE, LORA_RATE, 1]


@pytest.mark.parametrize(
    ("groups", "encoders", "alone"), [(1, "pair", True), (2, "stacked", True), (2, "pair", False)]
)
def test_one_encoder_learns_as_long_as_all_phases(groups, encoders, alone):
    first = preset_recipe("laptop", Method(encoders=encoders), groups).phases[0]
    phases = ADAPT_RECIPES["laptop"].phases
    expected = (sum(p.steps for p in phases), sum(p.patience for p in phases)) if alone else (400, 4)
    assert (first.steps, first.patience) == expected


def test_a_folder_of_one_encoder_is_trained_so(checkpoint):
    assert load_tensors(checkpoint)[1]["recipe"]["phases"][0]["steps"] == 6


def test_what_was_found_about_parts_is_said(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sartutor.learn.adapt.try_parts", lambda *_: PartsTrial(7, 0.5, 0.625, True))
    assert run("adapt", folder, "--preset", "smoke", "--out", tmp_path / "a.safetensors") == 0
    said = capsys.readouterr().out
    assert (
        "large boxes are seen in parts too: IoU in 7 images of validation 0.500 as wholes, 0.625 in parts too"
        in said
    )


def test_a_finished_model_is_not_written_over(checkpoint, folder, capsys):
    before = checkpoint.read_bytes()
    assert run("adapt", folder, "--preset", "smoke", "--out", checkpoint) == 2
    one_line(capsys, "mine.safetensors is there and complete", "choose another name")
    assert checkpoint.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--phases", "one"), ("'one' is not numbers with commas",)),
        (("--phases", "2"), ("needs bands for a second encoder", "secondary:")),
        (("--phases", "7"), ("no phase 7", "1, 2, 3")),
        (("--fusion", "sum"), ("no fusion 'sum'", "gate, average, first")),
        (("--loss", "iou"), ("no loss 'iou'", "dice, bce, focal")),
        (("--prompts", "words"), ("no prompts 'words'", "loose, tight, points")),
        (("--tuning", "all"), ("no tuning 'all'", "adapters, lora")),
        (("--activation", "tanh"), ("no activation 'tanh'", "gelu, relu")),
        (("--encoders", "three"), ("no encoders 'three'", "pair, stacked")),
        (("--encoders", "stacked", "--phases", "1,2"), ("Phase 2 needs bands for a second encoder",)),
        (("--outside", "sky"), ("no outside 'sky'", "free, background")),
        (("--empty-share", "1"), ("share of empty images is 1", "0 to below 1")),
        (("--preset", "huge"), ("no preset 'huge'",)),
        (("--init", "sam_huge"), ("no model 'sam_huge'",)),
        (("--init", "nowhere.safetensors"), ("no checkpoint nowhere.safetensors",)),
        (("--device", "abacus"), ("no device 'abacus'",)),
    ],
)
def test_what_does_not_fit(folder, tmp_path, capsys, options, words):
    preset = () if "--preset" in options else ("--preset", "smoke")
    assert run("adapt", folder, *preset, "--out", tmp_path / "a.safetensors", *options) == 2
    one_line(capsys, *words)
    assert not (tmp_path / "a.safetensors").exists()


def test_a_folder_that_is_none(tmp_path, capsys):
    assert run("adapt", tmp_path / "nowhere", "--out", tmp_path / "a.safetensors") == 2
    one_line(capsys, "nowhere is no folder")
