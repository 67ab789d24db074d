"""Scores of restored chips: known answers for bias and loss, and no effect of the weights a model was trained with."""

import pytest
import torch
from pretraining import SpeckledChips
from torch import nn

from sartutor.errors import DataError
from sartutor.learn.mixmae import MixMAE
from sartutor.learn.pretrain import mean_predictor
from sartutor.learn.reconstruction import STRATA, Restored, reconstruction_scores, restored, stratum_bias_db
from sartutor.learn.simmim import SimMIM
from sartutor.learn.weighting import WeightRule
from sartutor.presets import MIXMAE_SIZES, SWIN_SIZES


def simmim(rule=None, bands=2):
    torch.manual_seed(1)
    statistics = SpeckledChips(bands=bands).statistics
    return SimMIM(SWIN_SIZES["smoke"], statistics, rule or WeightRule()).eval()


def mixmae(rule=None):
    torch.manual_seed(1)
    return MixMAE(MIXMAE_SIZES["smoke"], SpeckledChips().statistics, rule or WeightRule()).eval()


def test_bias_is_that_of_each_third_by_level_and_the_mean_of_bands():
    level = torch.arange(9.0).view(1, 1, 3, 3).repeat(1, 2, 1, 1)
    error = torch.stack([torch.floor(level[:, 0] / 3), torch.zeros(1, 3, 3)], 1)
    everywhere = torch.ones(1, 1, 3, 3, dtype=torch.bool)
    found = stratum_bias_db([Restored(error, level, everywhere)])
    assert found == {"bias_db_dark": 0.0, "bias_db_middle": 0.5, "bias_db_bright": 1.0}


def test_bias_counts_only_pixels_that_were_restored():
    level, counted = torch.arange(12.0).view(1, 1, 3, 4), torch.ones(1, 1, 3, 4, dtype=torch.bool)
    counted[..., 3] = False
    error = torch.where(counted, 2.0, 99.0)
    assert set(stratum_bias_db([Restored(error, level, counted)]).values()) == {2.0}


def test_predicting_the_mean_is_too_bright_in_the_dark_by_what_the_ground_lacks():
    chips = SpeckledChips(bands=1, count=16)
    found = reconstruction_scores(mean_predictor(simmim(bands=1)), chips, 4)
    assert found["loss"] == found["mean_loss"]
    assert found["weighted_loss"] == found["weighted_mean_loss"]
    assert found["bias_db_dark"] > 2
    assert found["bias_db_bright"] < -1


@pytest.mark.parametrize("make", [simmim, mixmae])
def test_models_of_different_weights_are_compared_by_one_loss(make):
    chips = SpeckledChips(count=4)
    scores = [reconstruction_scores(make(rule), chips, 2) for rule in (WeightRule(), WeightRule("none"))]
    assert scores[0]["loss"] == scores[1]["loss"] == scores[1]["weighted_loss"]
    assert scores[0]["weighted_loss"] > 1.5 * scores[0]["loss"]
    assert [scores[0][f"bias_db_{name}"] for name in STRATA] == [
        scores[1][f"bias_db_{name}"] for name in STRATA
    ]


def test_scoring_leaves_the_model_as_it_was():
    model = simmim()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    reconstruction_scores(model, SpeckledChips(count=2), 2)
    assert model.rule == WeightRule()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_only_hidden_pixels_of_simmim_are_judged_and_all_of_mixmae():
    sample = {name: torch.stack([SpeckledChips()[i][name] for i in range(2)]) for name in ("image", "valid")}
    shares = [float(restored(model, sample, 0).counted.float().mean()) for model in (simmim(), mixmae())]
    assert shares == [pytest.approx(10 / 16), 1.0]


def test_errors_are_in_decibels():
    model, chip = simmim(bands=1), SpeckledChips(bands=1)[0]
    sample = {name: value[None] for name, value in chip.items()}
    nn.init.zeros_(model.decoder.linear.weight)
    nn.init.constant_(model.decoder.linear.bias, 0.5)
    found = restored(model, sample, 0)
    true = model.statistics.decibels(sample["image"])
    torch.testing.assert_close(found.error, -12 + 4 * 0.5 - true)


def test_chips_that_fill_no_whole_batch_are_refused():
    with pytest.raises(DataError, match="5 chips do not fill batches of 2"):
        reconstruction_scores(mixmae(), SpeckledChips(count=5), 2)
