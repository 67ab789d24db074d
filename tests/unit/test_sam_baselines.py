"""Baselines with known answers."""

import numpy as np
import pytest

from sartutor.learn.sam.baselines import fill_box, iou, otsu_box
from sartutor.learn.sam.evaluate import connected_objects, loose_box
from sartutor.learn.sam.prompts import tight_box


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


def test_fill_box_counts_pixel_centres():
    assert fill_box((10, 10), (2, 3, 5, 7)).sum() == 12
    assert fill_box((10, 10), (2.4, 3, 5.6, 7)).sum() == 16
    assert fill_box((10, 10), (2.6, 3, 5.4, 7)).sum() == 8


def test_iou_of_known_masks():
    one, other = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    assert iou(one, other) == 1
    one[:2], other[1:3] = True, True
    assert iou(one, other) == pytest.approx(1 / 3)


def test_objects_are_connected_parts_of_at_least_fifty_pixels_largest_first():
    mask = np.zeros((60, 60), bool)
    mask[0:7, 0:7] = True
    mask[10:20, 10:20] = True
    mask[30:50, 30:50] = True
    assert [int(part.sum()) for part in connected_objects(mask)] == [400, 100]


def test_evaluation_boxes_are_ten_pixels_loose_on_a_512_chip_and_scale_below():
    assert loose_box((100, 100, 120, 130), (512, 512)) == (90, 90, 130, 140)
    assert loose_box((100, 100, 120, 130), (2000, 3000)) == (90, 90, 130, 140)
    assert loose_box((100, 100, 120, 130), (256, 300)) == (95, 95, 125, 135)
    assert loose_box((2, 3, 250, 255), (256, 256)) == (0, 0, 255, 256)


def test_tight_box_is_in_pixel_corners():
    mask = np.zeros((9, 9), bool)
    mask[3:5, 2:7] = True
    assert tight_box(mask) == (2, 3, 7, 5)
