"""Training data and losses: reproducible items, prompts that keep their promises, known loss values."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sartutor.errors import SarTutorError
from sartutor.learn.data import ShapeWindows
from sartutor.learn.device import denormals_flushed, pick_device
from sartutor.learn.losses import cross_entropy_loss, dice_loss, mask_iou
from sartutor.learn.sam.contrast import box_mask
from sartutor.learn.sam.prompts import corrective_points, loosen, random_box


def test_item_i_of_a_seed_is_always_the_same_and_others_differ():
    data = ShapeWindows(seed=5, scenes=10, windows=2, side=256)
    one, again, other = data[3], data[3], data[4]
    assert all(torch.equal(one[key], again[key]) for key in one)
    assert not torch.equal(one["image"], other["image"])


def test_targets_lie_in_their_boxes_and_images_are_pictures():
    data = ShapeWindows(seed=6, scenes=10, windows=3, side=128)
    found = 0
    for index in range(6):
        item = data[index]
        inside = box_mask(item["box"], 128)
        assert not (item["target"] & ~inside).any()
        assert item["image"].shape == (3, 3, 128, 128)
        assert 0 <= item["image"].min() <= item["image"].max() <= 1
        found += int(item["target"].flatten(1).any(1).sum())
    assert found >= 12


@given(
    x=st.floats(0, 80), y=st.floats(0, 50), w=st.floats(4, 19), h=st.floats(4, 9), seed=st.integers(0, 9999)
)
def test_loose_boxes_stay_on_the_scene_and_keep_nearly_all_of_the_tight_one(x, y, w, h, seed):
    loose = loosen(np.random.default_rng(seed), (x, y, x + w, y + h), (60, 100))
    assert 0 <= loose[0] <= x + 0.03 * w
    assert 0 <= loose[1] <= y + 0.03 * h
    assert 100 >= loose[2] >= x + 0.97 * w
    assert 60 >= loose[3] >= y + 0.97 * h


@given(seed=st.integers(0, 9999))
def test_random_boxes_lie_on_the_scene(seed):
    x0, y0, x1, y1 = random_box(np.random.default_rng(seed), (60, 100))
    assert 0 <= x0 < x1 <= 100
    assert 0 <= y0 < y1 <= 60


def test_corrections_click_inside_on_the_target_and_outside_beside_it():
    target, inside = np.zeros((32, 32), bool), np.zeros((32, 32), bool)
    inside[4:28, 4:28], target[10:20, 10:20] = True, True
    for seed in range(50):
        for x, y, label in corrective_points(np.random.default_rng(seed), target, inside):
            if label >= 0:
                assert inside[int(y), int(x)]
                assert target[int(y), int(x)] == bool(label)


def test_dice_loss_has_its_known_values():
    target, weight = torch.zeros(1, 4, 4), torch.ones(1, 4, 4)
    target[:, :2] = 1
    certain = torch.where(target > 0, 50.0, -50.0)
    assert dice_loss(certain, target, weight).item() == pytest.approx(0, abs=1e-5)
    assert dice_loss(-certain, target, weight).item() == pytest.approx(1, abs=1e-4)
    half = dice_loss(torch.zeros(1, 4, 4), target, weight).item()  # p = 1/2: 1 - 2 * 4 / (16 / 4 + 8)
    assert half == pytest.approx(1 / 3, abs=1e-5)


def test_cross_entropy_is_the_mean_over_weighted_pixels():
    target, weight = torch.zeros(1, 4, 4), torch.zeros(1, 4, 4)
    weight[:, 0] = 1
    logits = torch.full((1, 4, 4), 7.0)
    logits[:, 0] = 0
    assert cross_entropy_loss(logits, target, weight).item() == pytest.approx(math.log(2))


def test_losses_give_no_gradient_outside_the_weight():
    logits = torch.randn(2, 8, 8, requires_grad=True)
    target, weight = (torch.rand(2, 8, 8) > 0.5).float(), torch.zeros(2, 8, 8)
    weight[:, 2:6, 2:6] = 1
    (dice_loss(logits, target * weight, weight) + cross_entropy_loss(logits, target, weight)).sum().backward()
    assert (logits.grad[weight == 0] == 0).all()
    assert (logits.grad[weight == 1] != 0).all()


def test_mask_iou_of_known_masks():
    target, weight = torch.zeros(1, 4, 4), torch.ones(1, 4, 4)
    logits = torch.full((1, 4, 4), -1.0)
    assert mask_iou(logits, target, weight).item() == pytest.approx(1)
    target[:, :2], logits[:, 1:3] = 1, 1.0
    assert mask_iou(logits, target, weight).item() == pytest.approx(1 / 3, abs=1e-4)


def test_denormals_are_flushed_only_inside():
    tiny = torch.tensor([1e-40])
    with denormals_flushed():
        assert (tiny * 1.0).item() == 0
    assert (tiny * 1.0).item() > 0


def test_a_device_that_is_not_there_is_refused():
    assert pick_device("cpu").type == "cpu"
    with pytest.raises(SarTutorError, match="no device 'cuda:77'"):
        pick_device("cuda:77")
    with pytest.raises(SarTutorError, match="no device 'abacus'"):
        pick_device("abacus")
