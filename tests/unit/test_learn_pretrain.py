"""Pretraining from chips to a checkpoint: learns, says what it is, resumes after a kill, and runs in two processes."""

import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pretraining import SIDE, SpeckledChips, recipe
from processes import in_two_processes
from torch.utils.data import default_collate

from sartutor.errors import SarTutorError
from sartutor.learn import loop
from sartutor.learn.checkpoints import load_tensors, state_path
from sartutor.learn.curves import read_curve
from sartutor.learn.loop import Watch
from sartutor.learn.pretrain import (
    ThreeChannels,
    chosen_backbone,
    load_pretrained,
    mean_loss,
    mean_predictor,
    pretrain,
    three_statistics,
)
from sartutor.learn.simmim import SimMIM, masked_error
from sartutor.learn.weighting import WeightRule
from sartutor.presets import PRESETS, PRETRAIN_RECIPES, SWIN_SIZES

HERE = str(Path(__file__).parent)
KINDS = [("simmim", "swin"), ("mixmae", "swin")]
QUIET = {"device": "cpu", "progress": False}


def batch_of(chips, *numbers):
    return default_collate([{**chips[i], "index": torch.tensor(i)} for i in numbers])


@pytest.mark.parametrize(("method", "backbone"), KINDS)
def test_a_checkpoint_gives_the_trained_model_back(tmp_path, method, backbone):
    out, seen = tmp_path / "a.safetensors", []
    rule = WeightRule("shared_avg", "clipped", 0.5)
    batch = batch_of(SpeckledChips(), 100, 101)

    def look(model, step):
        with torch.no_grad():
            seen.append(model.loss(batch, 0).item())

    made = pretrain(
        SpeckledChips(),
        method,
        out,
        backbone=backbone,
        recipe=recipe(4),
        rule=rule,
        watch=Watch(4, look),
        **QUIET,
    )
    model = load_pretrained(out, method)
    assert model.rule == rule
    assert model.statistics == SpeckledChips().statistics
    assert not model.training
    with torch.no_grad():
        assert model.loss(batch, 0).item() == pytest.approx(seen[0], rel=1e-6)
    assert made.steps == 4
    assert made.baseline > 0


@pytest.mark.parametrize("bands", [1, 2, 3])
def test_the_encoder_of_segment_anything_takes_up_to_three_bands(tmp_path, bands):
    out = tmp_path / "a.safetensors"
    chips = SpeckledChips(bands, 256, 2)
    pretrain(chips, "simmim", out, recipe=recipe(1, 1, "tiny"), **QUIET)
    about = load_tensors(out)[1]
    assert (about["backbone"], about["bands"]) == ("sam", list(chips.statistics.names))
    assert load_pretrained(out).statistics == three_statistics(chips.statistics)


@pytest.mark.parametrize("bands", [1, 2, 3])
def test_three_channels_are_three_bands_in_decibels(bands):
    chips = SpeckledChips(bands)
    plain, three = chips[0]["image"], ThreeChannels(chips)[0]["image"]
    db = chips.statistics.decibels(plain)
    expected = {1: db.repeat(3, 1, 1), 2: torch.cat([db, db.mean(0, keepdim=True)]), 3: db}[bands]
    torch.testing.assert_close(three_statistics(chips.statistics).decibels(three), expected)


@pytest.mark.parametrize(("method", "backbone"), KINDS)
def test_it_learns_more_than_the_mean(tmp_path, method, backbone):
    sizes = recipe(60, 8, save_every=60)
    out = tmp_path / "a.safetensors"
    made = pretrain(SpeckledChips(), method, out, backbone=backbone, recipe=sizes, **QUIET)
    curve = read_curve(made.out)
    assert np.mean(curve.loss[-10:]) < 0.8 * np.mean(curve.loss[:10])
    assert made.loss < 0.9 * made.baseline


def test_the_baseline_is_the_loss_of_a_picture_of_the_mean():
    chips = SpeckledChips()
    model = SimMIM(SWIN_SIZES["smoke"], chips.statistics, WeightRule())
    batch = batch_of(chips, 3, 4)
    weight = model.rule.weights(batch["image"], batch["valid"], model.statistics)
    hidden = model.mask(batch, 5).repeat_interleave(16, 1).repeat_interleave(16, 2)[:, None]
    expected = masked_error(torch.zeros_like(batch["image"]), batch["image"], weight, hidden)
    assert mean_loss(mean_predictor(model), [(5, batch)]) == pytest.approx(expected.item(), rel=1e-5)
    assert mean_loss(model, [(5, batch)]) != pytest.approx(expected.item(), rel=1e-5)


def test_starting_weights_are_those_of_the_parent(tmp_path):
    parent, out = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    first = {}
    still = Watch(1, lambda model, step: first.setdefault(step, model.decoder.linear.bias.detach().clone()))
    options = {"backbone": "swin", **QUIET}
    pretrain(SpeckledChips(), "simmim", parent, recipe=recipe(8), **options)
    pretrain(SpeckledChips(), "simmim", out, recipe=recipe(1), init=parent, watch=still, **options)
    moved = (first[1] - load_tensors(parent)[0]["decoder.linear.bias"]).abs().max()
    assert 0 < moved <= 1.01e-3


def test_backbones_that_are_meant_where_none_is_named():
    assert chosen_backbone("simmim", None) == "sam"
    assert chosen_backbone("mixmae", None) == "swin"
    with pytest.raises(SarTutorError, match="mixmae does not pretrain the backbone sam"):
        chosen_backbone("mixmae", "sam")


def test_every_preset_has_a_recipe_for_every_model():
    assert set(PRETRAIN_RECIPES) == {"simmim-swin", "simmim-sam", "simmim-vit", "mixmae-swin"}
    for recipes in PRETRAIN_RECIPES.values():
        assert set(recipes) == set(PRESETS)
        assert all(made.batch % 2 == 0 and made.warmup < made.steps for made in recipes.values())


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {here!r})
from pretraining import SpeckledChips, recipe
from sartutor.learn.loop import Watch
from sartutor.learn.pretrain import pretrain
kill = Watch({step}, lambda model, step: os.kill(os.getpid(), signal.SIGKILL))
pretrain(SpeckledChips(), {method!r}, Path({out!r}), backbone="swin", recipe=recipe(9), watch=kill, device="cpu")
"""


def test_a_run_killed_at_any_step_ends_with_the_same_bits(tmp_path):
    step, method = random.randint(3, 8), random.choice(["simmim", "mixmae"])
    whole, part = tmp_path / "whole.safetensors", tmp_path / "part.safetensors"
    code = KILLED.format(here=HERE, step=step, method=method, out=str(part))
    with (tmp_path / "said").open("w+") as said:
        killed = subprocess.run([sys.executable, "-c", code], stdout=said, stderr=said, timeout=120)
    assert killed.returncode == -signal.SIGKILL, (tmp_path / "said").read_text()[-2000:]
    assert load_tensors(state_path(part))[1]["step"] == 2 * ((step - 1) // 2)
    for out in (whole, part):
        pretrain(SpeckledChips(), method, out, backbone="swin", recipe=recipe(9), **QUIET)
    resumed = load_tensors(part)[0]
    for name, tensor in load_tensors(whole)[0].items():
        assert torch.equal(tensor, resumed[name]), f"{method}, killed after step {step}: {name}"
    assert read_curve(whole) == read_curve(part)


def hidden_corner(sample) -> None:
    """Every chip lacks another share of its data, so that shares of a batch count different numbers of pixels."""
    lost = int(sample["image"].abs().sum()) % SIDE
    sample["valid"][:, :lost] = False
    sample["image"][:, :lost] = 0


def train_both(folder: Path) -> None:
    from pretraining import ChangedChips

    for method, backbone in KINDS:
        chips = ChangedChips(hidden_corner)
        pretrain(
            chips, method, folder / f"{method}.safetensors", backbone=backbone, recipe=recipe(6), **QUIET
        )


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without distributed")
def test_two_processes_follow_the_curve_of_one(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "bf16_pays", lambda device: False)
    alone, together = tmp_path / "alone", tmp_path / "together"
    train_both(alone)
    in_two_processes("test_learn_pretrain", "train_both", together)
    for method, _ in KINDS:
        one, two = (read_curve(folder / f"{method}.safetensors").loss for folder in (alone, together))
        assert len(two) == 6
        np.testing.assert_allclose(two, one, rtol=2e-4, err_msg=method)
