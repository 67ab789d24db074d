"""Baselines with known answers."""

import numpy as np
import pytest

from sartutor.learn.sam.baselines import iou, otsu_box


def disk(contrast: float) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[:64, :64]
    mask = (x - 32) ** 2 + (y - 30) ** 2 < 100
    noise = np.random.default_rng(0).normal(0, 0.5, (64, 64))
    return np.where(mask, contrast, 0.0) + noise, mask


@pytest.mark.parametrize("contrast", [8.0, -8.0])
def test_otsu_finds_bright_and_dark_objects_from_the_border_alone(contrast):
    values, mask = disk(contrast)
    found = otsu_box(values, np.ones_like(mask), (18, 16, 46, 44))
    assert iou(found, mask) > 0.97


def test_otsu_is_empty_on_a_flat_box_and_ignores_no_data():
    flat = np.zeros((20, 20))
    assert not otsu_box(flat, np.ones((20, 20), bool), (2, 2, 10, 10)).any()
    values, mask = disk(8)
    values[:20], valid = 1e9, np.ones_like(mask)
    valid[:20] = False
    assert iou(otsu_box(values, valid, (18, 16, 46, 44)), mask & valid) > 0.97


def test_iou_of_known_masks():
    one, other = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    assert iou(one, other) == 1
    one[:2], other[1:3] = True, True
    assert iou(one, other) == pytest.approx(1 / 3)
