"""Pictures of MixMAE follow the model, the mask and the chips that they show."""

import numpy as np
import pytest
import torch
from pretraining import SIDE, SpeckledChips

from sartutor.errors import DataError
from sartutor.lab import masking, mixing, plots
from sartutor.learn.masked_swin import CELL
from sartutor.learn.pretrain import build_model, mean_loss, mean_predictor
from sartutor.learn.weighting import BandStatistics, WeightRule

CHECKERED = torch.tensor([[True, False], [False, True]])


@pytest.fixture(scope="module")
def chips() -> SpeckledChips:
    return SpeckledChips(bands=2, count=5)


@pytest.fixture(scope="module")
def model(chips):
    return build_model("mixmae", "swin", "smoke", chips.statistics, WeightRule(), 0).eval()


@pytest.fixture(scope="module")
def batch(chips, model):
    return mixing.paired(chips, model, 4)


def test_chips_come_in_pairs_and_in_the_standard_of_the_model(chips):
    other = BandStatistics(("B0", "B1"), (-10.0, -20.0), (2.0, 8.0), (True, True))
    known = build_model("mixmae", "swin", "smoke", other, WeightRule(), 0)
    batch = mixing.paired(chips, known, 32)
    assert len(batch["image"]) == 4
    own = chips.statistics.decibels(masking.batch_of(chips, 4)["image"])
    torch.testing.assert_close(other.decibels(batch["image"]), own)


def test_one_band_and_one_chip_are_refused(model):
    with pytest.raises(DataError, match="1 radar bands and the model knows 2; give data with B0 and B1"):
        mixing.paired(SpeckledChips(bands=1), model, 4)
    with pytest.raises(DataError, match="mixing needs two"):
        mixing.paired(SpeckledChips(bands=2, count=1), model, 4)


def test_means_of_cells_are_what_a_decoder_of_zeros_restores(model, batch):
    nothing = mean_predictor(model)
    expected = nothing.reconstruct(batch["image"], CHECKERED, batch["valid"])
    means = mixing.cell_means(batch["image"], batch["valid"])
    torch.testing.assert_close(means, expected)
    torch.testing.assert_close(means[1, 0, 0, 0], batch["image"][1, :, :CELL, :CELL].mean())


def test_mixtures_are_drawn_in_the_colours_of_their_chips():
    axes = plots.panels(6)
    mixing.show_mixing(axes, torch.linspace(-20, 0, 2 * SIDE**2).view(2, SIDE, SIDE), CHECKERED)
    first, second = (axes[i].images[0].get_array() for i in (3, 4))
    is_orange = [picture[..., 0] > picture[..., 2] for picture in (first, second)]
    hidden = CHECKERED.repeat_interleave(CELL, 0).repeat_interleave(CELL, 1).numpy()
    assert np.array_equal(is_orange[0], hidden)
    assert np.array_equal(is_orange[1], ~hidden)
    np.testing.assert_array_equal(axes[5].images[0].get_array(), axes[0].images[0].get_array())


def test_the_window_shown_is_the_most_mixed_one():
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[2, 3] = mask[3, 2] = mask[0, 0] = True
    owners, allowed = mixing.most_mixed(mask, 16, 8)
    assert torch.equal(owners, CHECKERED.flip(0).repeat_interleave(4, 0).repeat_interleave(4, 1))
    assert allowed.float().mean() == 0.5
    assert mixing.most_mixed(mask, 32, 8) is None


def test_attention_is_drawn_between_tokens_of_one_chip_alone():
    owners, allowed = mixing.most_mixed(CHECKERED, 8, 8)
    axes = plots.panels(2)
    mixing.show_attention(axes, owners, allowed)
    white = (axes[1].images[0].get_array() == 1).all(-1)
    assert np.array_equal(white, ~allowed.numpy())


def test_streams_show_only_what_was_hidden_from_them(model, batch):
    axes = plots.panels(8, columns=4)
    mixing.show_streams(axes, model, batch, CHECKERED, band=1)
    hidden = CHECKERED.repeat_interleave(CELL, 0).repeat_interleave(CELL, 1).numpy()
    first, second, whole = (np.ma.filled(axes[i].images[0].get_array(), np.nan) for i in (1, 2, 3))
    assert np.array_equal(np.isfinite(first), hidden)
    assert np.array_equal(np.isfinite(second), ~hidden)
    restored = model.statistics.decibels(model.reconstruct(batch["image"], CHECKERED, batch["valid"]))
    np.testing.assert_allclose(whole, restored[0, 1].numpy(), rtol=1e-5)


def test_controls_redraw_the_restored_pair_and_say_its_error(model, batch):
    box = mixing.mixing_explorer({"fresh": (model, batch), "mean": (mean_predictor(model), batch)})
    (name, pair, seed, band), picture = box.children[0].children, box.children[1]
    assert "Pair 0, B0, mask 0" in picture.value
    pair.value, band.value, seed.value = 1, "B1", 3
    assert "Pair 1, B1, mask 3" in picture.value
    name.value = "mean"
    said = mixing.draw_restored(mean_predictor(model), batch, 1, 3, 1).get_label()
    errors = [
        float(part.split(" dB")[0].split("(")[1]) for part in said.split("cells ")[1].split("restored ")
    ]
    assert errors[0] == errors[1]


def test_scores_compare_with_the_mean_of_each_cell(model, batch):
    scores = mixing.unseen_scores(model, batch)
    assert scores["weighted_loss"] == pytest.approx(mean_loss(model, [(0, batch)]), rel=1e-4)
    nothing = mixing.unseen_scores(mean_predictor(model), batch)
    assert nothing["loss"] == nothing["mean_loss"] == pytest.approx(2047 / 2048, rel=1e-4)


def test_correlation_within_cells_ignores_the_level_and_unknown_cells(model, batch, monkeypatch):
    monkeypatch.setattr(model, "reconstruct", lambda image, mask, valid: 0.5 * image + 3)
    spread, link = mixing.cell_scores(model, batch, 0)
    assert link == pytest.approx(1, abs=1e-5)
    cell = model.statistics.decibels(batch["image"])[0, 0, :CELL, :CELL]
    assert spread[0] == pytest.approx(float(cell.std(correction=0)), rel=1e-4)
    valid = batch["valid"].clone()
    valid[0, 0, 5, 5] = False
    fewer, _ = mixing.cell_scores(model, {**batch, "valid": valid}, 0)
    assert len(fewer) == len(spread) - 2


def test_a_step_takes_time_and_leaves_no_gradient(model, batch):
    assert mixing.step_seconds(model, batch, tries=1) > 0
    assert all(parameter.grad is None for parameter in model.parameters())
