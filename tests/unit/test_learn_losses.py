"""Losses of maps of many classes: known answers, limits, and nothing from ignored pixels."""

import math

import pytest
import torch
from torch.nn import functional

from sartutor.learn.losses import class_dice_loss, focal_loss, land_cover_loss

IGNORE = -1


@pytest.fixture
def sample():
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 4, 8, 8, generator=generator)
    target = torch.randint(-1, 4, (2, 8, 8), generator=generator)
    return logits, target


WEIGHTS = torch.tensor([0.1, 0.2, 0.3, 0.4])


def test_dice_of_even_scores_by_hand():
    """p = 1/2 everywhere on 4 pixels, three of class 0: (2 * 1.5) / (2 + 3) and (2 * 0.5) / (2 + 1)."""
    target = torch.tensor([[[0, 0], [0, 1]]])
    loss = class_dice_loss(torch.zeros(1, 2, 2, 2), target, eps=0)
    assert loss.item() == pytest.approx(((1 - 3 / 5) + (1 - 1 / 3)) / 2)


def test_focal_loss_of_even_scores_by_hand():
    """Every pixel: -alpha (1 - 1/4)^2 ln(1/4)."""
    target = torch.tensor([[[0, 1], [2, -1]]])
    loss = focal_loss(torch.zeros(1, 4, 2, 2), target, WEIGHTS)
    assert loss.item() == pytest.approx((0.1 + 0.2 + 0.3) / 3 * 0.75**2 * math.log(4))


def test_right_and_sure_costs_nothing_and_wrong_and_sure_a_whole_dice():
    target = torch.tensor([[[0, 1], [1, 2]]])
    right = 50 * functional.one_hot(target, 3).movedim(-1, 1).float()
    assert land_cover_loss(right, target, WEIGHTS[:3]).item() == pytest.approx(0, abs=1e-5)
    assert class_dice_loss(right.roll(1, 1), target).item() == pytest.approx(1, abs=1e-5)


def test_dice_averages_over_the_classes_in_the_labels_only():
    target = torch.zeros(1, 2, 2, dtype=torch.long)
    few, many = torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, 2)
    many = torch.cat([few, torch.full((1, 5, 2, 2), -50.0)], 1)
    assert class_dice_loss(many, target).item() == pytest.approx(class_dice_loss(few, target).item())


def test_focal_loss_without_focus_is_weighted_cross_entropy_per_pixel(sample):
    logits, target = sample
    expected = functional.cross_entropy(logits, target, WEIGHTS, ignore_index=IGNORE, reduction="sum")
    loss = focal_loss(logits, target, 0.5 * WEIGHTS, gamma=0)
    assert loss.item() == pytest.approx(0.5 * expected.item() / (target != IGNORE).sum().item(), rel=1e-5)


def test_more_focus_costs_less_and_most_where_pixels_are_right(sample):
    logits, target = sample
    losses = [focal_loss(logits, target, WEIGHTS, gamma) for gamma in (0.0, 1.0, 2.0)]
    assert losses[0] > losses[1] > losses[2] > 0
    easy, hard = torch.zeros(1, 2, 1, 1), torch.zeros(1, 2, 1, 1)
    easy[:, 0], hard[:, 0] = 3.0, -3.0
    first = torch.zeros(1, 1, 1, dtype=torch.long)
    kept = [focal_loss(x, first, WEIGHTS[:2]) / focal_loss(x, first, WEIGHTS[:2], 0.0) for x in (easy, hard)]
    assert kept[0] < 0.01
    assert kept[1] > 0.9


def test_the_loss_is_half_dice_and_half_focal(sample):
    logits, target = sample
    parts = class_dice_loss(logits, target), focal_loss(logits, target, 0.5 * WEIGHTS)
    assert land_cover_loss(logits, target, WEIGHTS).item() == pytest.approx(float(sum(parts)) / 2)


@pytest.mark.parametrize("loss", [class_dice_loss, lambda x, t: focal_loss(x, t, WEIGHTS)])
def test_the_gradient_is_exactly_zero_at_ignored_pixels_only(sample, loss):
    logits, target = sample
    logits.requires_grad_()
    loss(logits, target).backward()
    moved = logits.grad.abs().sum(1)
    assert (moved[target == IGNORE] == 0).all()
    assert (moved[target != IGNORE] > 0).all()


def test_nothing_labelled_is_a_loss_of_zero_with_zero_gradient(sample):
    logits = sample[0].requires_grad_()
    loss = land_cover_loss(logits, torch.full((2, 8, 8), IGNORE), WEIGHTS)
    loss.backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()


def test_a_certain_pixel_has_a_finite_gradient():
    logits = torch.tensor([100.0, -100.0]).reshape(1, 2, 1, 1).requires_grad_()
    land_cover_loss(logits, torch.zeros(1, 1, 1, dtype=torch.long), WEIGHTS[:2]).backward()
    assert logits.grad.isfinite().all()
