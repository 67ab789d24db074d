"""The linear layer on frozen maps: the least squares it solves, and that it finds what the maps hold and no more."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from sartutor.learn import frozen
from sartutor.learn.frozen import dense_tokens, frozen_scores, ridge

CLASSES = ("water", "field", "town")


class Drawn:
    """Chips of random blocks of 4 x 4 px of a class each, at the class's level plus noise."""

    def __init__(self, count, seed, noise=0.0, unknown=False):
        rng = np.random.default_rng(seed)
        blocks = torch.from_numpy(rng.integers(0, len(CLASSES), (count, 8, 8)))
        self.labels = blocks.repeat_interleave(4, 1).repeat_interleave(4, 2)
        drawn = torch.from_numpy(rng.normal(0, noise, self.labels.shape))
        self.images = (self.labels.double() + drawn).float()[:, None]
        if unknown:
            self.labels[:, :16] = -1
        self.classes = CLASSES

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return {"image": self.images[index], "label": self.labels[index]}


class Maps(nn.Module):
    """An "encoder" that knows which level each token has, or just the mean of a chip; maps at strides 4 and 8."""

    def __init__(self, blind=False):
        super().__init__()
        self.blind = blind

    def features(self, image):
        levels = functional.avg_pool2d(image, 4).round().long()[:, 0]
        fine = functional.one_hot(levels, len(CLASSES)).permute(0, 3, 1, 2).float()
        if self.blind:
            fine = fine.mean((2, 3), keepdim=True).expand_as(fine)
        return [fine, functional.avg_pool2d(fine, 2)]


def test_ridge_is_weighted_least_squares_with_a_free_last_row():
    rng = np.random.default_rng(1)
    features, share, weight = rng.normal(size=(40, 5)), rng.random((40, 3)), rng.random(40) + 0.1
    layers = ridge(*(torch.from_numpy(each) for each in (features, share, weight)))
    inputs = np.column_stack([features, np.ones(40)])
    for penalty, layer in zip(frozen.PENALTIES, layers, strict=True):
        root = np.sqrt(weight / weight.sum())[:, None]
        rows = np.vstack([root * inputs, np.sqrt(penalty) * np.eye(6)[:5]])
        expected = np.linalg.lstsq(rows, np.vstack([root * share, np.zeros((5, 3))]), rcond=None)[0]
        np.testing.assert_allclose(layer.numpy(), expected, atol=1e-5)


def test_maps_that_hold_the_answer_are_read_but_for_corners_finer_than_a_token():
    scores = frozen_scores(Maps(), Drawn(12, 1), Drawn(4, 2), Drawn(4, 3))
    assert scores == pytest.approx({"frozen_miou": 1.0, "frozen_val_score": 1.0}, abs=0.07)


def test_maps_that_do_not_hold_it_are_not_read():
    assert frozen_scores(Maps(blind=True), Drawn(12, 1), Drawn(4, 2), Drawn(4, 3))["frozen_miou"] < 0.4


def test_pixels_without_a_class_count_nowhere():
    tokens = dense_tokens(Maps(), Drawn(3, 1, unknown=True))
    assert tokens.features.shape == (3 * 8 * 8, 6)
    assert tokens.share.sum() == 3 * 4 * 8
    chips = [Drawn(12, seed, unknown=True) for seed in (1, 2, 3)]
    assert frozen_scores(Maps(), *chips)["frozen_miou"] > 0.93


def test_a_class_that_training_lacks_is_missed_and_breaks_nothing():
    train = Drawn(12, 1)
    train.labels[train.labels == 2] = -1
    found = frozen_scores(Maps(), train, Drawn(4, 2), Drawn(4, 3))["frozen_miou"]
    assert found == pytest.approx(2 / 3 * 0.75, abs=0.2)
    assert found < 0.8


def test_the_encoder_stays_as_it_was():
    encoder = nn.Sequential(nn.Conv2d(1, 4, 4, 4))
    encoder.features = lambda image: [encoder(image)] * 4
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    frozen_scores(encoder, Drawn(6, 1, 0.3), Drawn(4, 2, 0.3), Drawn(4, 3, 0.3))
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert all(parameter.grad is None for parameter in encoder.parameters())


def test_a_probe_finds_a_linear_rule_and_is_the_ridge_solution():
    features = (
        torch.randn(60, 5, generator=torch.Generator().manual_seed(0)) * torch.tensor([1, 9, 1, 1, 1.0]) + 3
    )
    label = (features[:, [1]] > 3).float()
    guess = frozen.linear_probe(features, label)(features)
    assert guess[label > 0].mean() > guess[label < 1].mean() + 0.5
    x = ((features - features.mean(0)) / features.std(0)).double()
    solutions = [
        x @ torch.linalg.solve(x.T @ x + 60 * p * torch.eye(5), x.T @ (label - label.mean()).double())
        for p in frozen.PROBE_PENALTIES
    ]
    assert min(float((s + label.mean() - guess).abs().max()) for s in solutions) < 1e-5


def test_the_error_without_a_sample_is_that_of_fitting_without_it():
    generator = torch.Generator().manual_seed(1)
    x, y = (torch.randn(12, size, generator=generator, dtype=torch.float64) for size in (3, 1))
    x, y = x - x.mean(0), y - y.mean(0)
    errors = []
    for i in range(12):
        keep = torch.arange(12) != i
        ones = torch.ones(11, 1, dtype=torch.float64)
        design = torch.cat([ones, x[keep]], 1)
        penalty = 4.0 * torch.diag(torch.tensor([0.0, 1, 1, 1], dtype=torch.float64))
        weight = torch.linalg.solve(design.T @ design + penalty, design.T @ y[keep])
        errors.append(float((y[i] - torch.cat([torch.ones(1), x[i]]) @ weight).square()))
    left, size, _ = torch.linalg.svd(x, full_matrices=False)
    assert frozen._left_out_error(left, size, y, 4.0) == pytest.approx(np.mean(errors))
