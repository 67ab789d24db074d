"""Windows and model inputs: context, power-domain resampling, contrast, no-data, and the way back."""

import numpy as np
import pytest
import torch
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from sartutor.errors import DataError
from sartutor.learn.sam.inputs import (
    NO_DATA_LEVEL,
    Frame,
    box_parts,
    model_image,
    on_lattice,
    prompt_window,
    three_channels,
)
from sartutor.sar.scene import Band, Grid, Scene


def make_scene(pixels: np.ndarray, units: str = "db", valid: np.ndarray | None = None) -> Scene:
    pixels = np.atleast_3d(pixels.T).T.astype(np.float32)
    bands = tuple(Band(f"B{i}", units) for i in range(len(pixels)))
    shape = pixels.shape[1:]
    grid = Grid(Affine.identity(), None, *shape)
    return Scene(pixels, bands, grid, np.ones(shape, bool) if valid is None else valid)


any_box = given(
    x=st.floats(0, 900), y=st.floats(0, 700), w=st.floats(1, 400), h=st.floats(1, 400), rows=st.integers(20, 1000),
    cols=st.integers(20, 1200),
)  # fmt: skip


def check_holds(window, box, rows, cols):
    assert 0 <= window.col_off <= window.col_off + window.width <= cols
    assert 0 <= window.row_off <= window.row_off + window.height <= rows
    assert window.col_off <= box[0] + 1
    assert window.row_off <= box[1] + 1
    assert window.col_off + window.width >= box[2] - 1
    assert window.row_off + window.height >= box[3] - 1


@any_box
def test_window_is_inside_the_scene_and_holds_the_box(x, y, w, h, rows, cols):
    box = (min(x, cols - 1), min(y, rows - 1), min(x + w, cols), min(y + h, rows))
    check_holds(prompt_window(box, (rows, cols), 256), box, rows, cols)


@any_box
def test_a_shared_chip_holds_its_box_at_every_edge_of_a_scene_of_any_size(x, y, w, h, rows, cols):
    box = (min(x, cols - 1), min(y, rows - 1), min(x + w, cols), min(y + h, rows))
    window = on_lattice(prompt_window(box, (rows, cols), 256, scale="chip"), (rows, cols))
    check_holds(window, box, rows, cols)


@pytest.mark.parametrize(
    ("side", "window"), [(8, 64), (20, 80), (60, 240), (100, 256), (128, 256), (300, 600)]
)
def test_window_gives_as_much_context_as_costs_no_resolution(side, window):
    assert prompt_window((500, 500, 500 + side, 500 + side), (2000, 2000), 256).width == window


def test_a_small_scene_is_its_own_window():
    window = prompt_window((10, 10, 20, 20), (40, 50), 256)
    assert (window.width, window.height) == (50, 40)


def test_shrinking_averages_power_not_decibels():
    """A checkerboard of 0 and -20 dB has mean power -2.97 dB everywhere; mean dB would be -10."""
    checker = np.where(np.indices((512, 512)).sum(0) % 2, 0.0, -20.0)
    checker[:, :256] = -20
    image, _ = model_image(make_scene(checker), 256)
    dark, bright = image[0, 128, 60], image[0, 128, 200]
    assert (dark, bright) == (0, pytest.approx(1))
    uniform = np.where(np.indices((512, 512)).sum(0) % 2, 0.0, -20.0)
    uniform[:, :100], uniform[:, 100:200] = -20, 10 * np.log10(0.505)
    image, _ = model_image(make_scene(uniform), 256)
    assert image[0, 128, 75] == pytest.approx(image[0, 128, 200].item(), abs=0.02)


def test_no_data_is_the_mean_level_and_moves_nothing():
    values = np.random.default_rng(0).normal(-10, 2, (100, 100))
    valid = np.ones((100, 100), bool)
    valid[:, 70:] = False
    spoiled = np.where(valid, values, 1e6)
    image, frame = model_image(make_scene(values, valid=valid), 256)
    again, _ = model_image(make_scene(spoiled, valid=valid), 256)
    torch.testing.assert_close(image, again)
    assert (image[:, :, round(75 * frame.scale) :] == NO_DATA_LEVEL).all()


def test_not_a_number_outside_the_valid_mask_does_not_leak():
    values = np.random.default_rng(0).normal(-10, 2, (64, 64))
    valid = np.ones((64, 64), bool)
    valid[:20] = False
    values[:20] = np.nan
    image, _ = model_image(make_scene(values, valid=valid), 256)
    assert torch.isfinite(image).all()


@pytest.mark.parametrize("units", ["db", "power", "amplitude", "dn", "1"])
def test_every_unit_becomes_a_picture_between_zero_and_one(units):
    values = np.random.default_rng(1).gamma(4, 2, (3, 90, 90))
    image, _ = model_image(make_scene(values, units), 256)
    assert image.min() == 0
    assert image.max() == 1
    assert 0.2 < image[:, :90, :90].mean() < 0.8


def test_power_below_zero_is_darkest_and_leaves_the_contrast_of_the_rest():
    """Noise-subtracted power may be negative; -80 dB in the percentiles would squeeze all other greys."""
    power = np.random.default_rng(2).gamma(4, 0.25, (256, 256))
    negative = np.random.default_rng(3).random((256, 256)) < 0.04
    plain, _ = model_image(make_scene(power, "power"), 256)
    noisy, _ = model_image(make_scene(np.where(negative, -0.001, power), "power"), 256)
    assert (noisy[0][torch.from_numpy(negative)] == 0).all()
    rest = torch.from_numpy(~negative)
    assert (noisy[0][rest] - plain[0][rest]).abs().max() < 0.02


def test_a_constant_window_is_finite():
    image, _ = model_image(make_scene(np.full((64, 64), -12.0)), 256)
    assert torch.isfinite(image).all()


def test_one_two_and_three_bands_become_three_channels():
    a, b, c = torch.rand(3, 4, 4)
    assert torch.equal(three_channels(a[None]), torch.stack([a, a, a]))
    assert torch.equal(three_channels(torch.stack([a, b])), torch.stack([a, b, (a + b) / 2]))
    assert torch.equal(three_channels(torch.stack([a, b, c])), torch.stack([a, b, c]))
    with pytest.raises(DataError, match="at most 3"):
        three_channels(torch.rand(4, 4, 4), "scene.tif")


def test_a_window_without_data_is_refused_by_name():
    with pytest.raises(DataError, match="scene: the window"):
        model_image(make_scene(np.zeros((64, 64)), valid=np.zeros((64, 64), bool)), 256)


@pytest.mark.parametrize("shape", [(64, 64), (256, 256), (300, 200), (600, 600)])
def test_a_mask_comes_back_to_the_window_it_went_in_with(shape):
    frame = Frame(shape, 256)
    mask = np.zeros(shape, np.float32)
    mask[shape[0] // 4 : shape[0] // 2, shape[1] // 3 : shape[1] // 2] = 1
    there = frame.pad(frame.fit(torch.from_numpy(mask)[None]), 0)
    back = frame.back(there)[0].numpy() > 0.5
    overlap = (back & (mask > 0)).sum() / (back | (mask > 0)).sum()
    assert there.shape == (1, 256, 256)
    assert overlap > 0.97


def test_boxes_near_each_other_share_a_chip_in_which_they_lie_well_inside():
    rng = np.random.default_rng(0)
    shape, side = (3000, 5000), 1024
    seen = set()
    for _ in range(200):
        length = rng.uniform(4, side / 2)
        x, y = rng.uniform(0, np.array(shape[::-1]) - length)
        box = (x, y, x + length, y + length)
        window = on_lattice(prompt_window(box, shape, side, scale="chip"), shape)
        seen.add((window.col_off, window.row_off))
        assert (window.width, window.height) == (side, side)
        for start, low, high, limit in (
            (window.col_off, box[0], box[2], shape[1]),
            (window.row_off, box[1], box[3], shape[0]),
        ):
            assert 0 <= start <= limit - side
            assert low - start >= min(side / 8 - 1, low)
            assert start + side - high >= min(side / 8 - 1, limit - high)
    assert len(seen) < 200 * 0.8
    assert on_lattice(prompt_window((5, 5, 30, 30), (700, 900), side, scale="chip"), (700, 900)).width == 900


@pytest.mark.parametrize(
    ("box", "shape"),
    [((10.3, 20.7, 90.2, 60.1), (900, 700)), ((0, 0, 256, 256), (256, 256)), ((3, 3, 250, 30), (200, 256))],
)
def test_a_box_that_is_seen_at_full_resolution_is_its_only_part(box, shape):
    assert box_parts(box, shape, 256) == [box]


def test_parts_fill_a_large_box_and_lie_well_inside_their_chips():
    rng = np.random.default_rng(1)
    shape, side = (1500, 1100), 256
    for _ in range(100):
        x, y = rng.uniform(0, 500, 2)
        box = (x, y, x + rng.uniform(5, 600), y + rng.uniform(165, 900))
        parts = box_parts(box, shape, side)
        assert 2 <= len(parts) <= 16
        assert sum((right - left) * (bottom - top) for left, top, right, bottom in parts) == pytest.approx(
            (box[2] - box[0]) * (box[3] - box[1])
        )
        assert (min(p[0] for p in parts), min(p[1] for p in parts)) == box[:2]
        assert (max(p[2] for p in parts), max(p[3] for p in parts)) == box[2:]
        inner = {part[2] for part in parts} - {box[2]} | {part[3] for part in parts} - {box[3]}
        assert all(end == round(end) for end in inner)
        for left, top, right, bottom in parts:
            window = on_lattice(prompt_window((left, top, right, bottom), shape, side, scale="chip"), shape)
            assert window.col_off <= left < right <= window.col_off + window.width
            assert window.row_off <= top < bottom <= window.row_off + window.height
            assert window.width >= side
            assert window.width == side or max(box[2] - box[0], box[3] - box[1]) > 2 * side
