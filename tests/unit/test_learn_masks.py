"""Patch masks: exact counts, the same for every number of processes, different from step to step."""

import pytest
import torch

from sartutor.errors import DataError
from sartutor.learn.masks import patch_mask, token_mask, upsample_mask


@pytest.mark.parametrize(
    ("side", "patch", "hidden"), [(64, 32, 3), (64, 16, 10), (128, 16, 39), (256, 32, 39)]
)
def test_as_many_patches_are_hidden_as_the_ratio_says_rounded_up(side, patch, hidden):
    mask = patch_mask(side, patch, 0.6, range(4), seed=1, step=2)
    assert mask.dtype == torch.bool
    assert mask.shape == (4, side // patch, side // patch)
    assert mask.flatten(1).sum(1).tolist() == [hidden] * 4


def test_a_ratio_that_is_whole_up_to_rounding_hides_no_patch_too_many():
    assert patch_mask(160, 16, 0.55, [0], 0, 0).sum() == 55


def test_two_processes_draw_the_masks_of_one():
    whole = patch_mask(128, 16, 0.6, range(8), seed=3, step=5)
    assert torch.equal(whole[::2], patch_mask(128, 16, 0.6, range(0, 8, 2), seed=3, step=5))
    assert torch.equal(whole[4:], patch_mask(128, 16, 0.6, range(4, 8), seed=3, step=5))


def test_masks_differ_between_chips_steps_and_seeds():
    masks = patch_mask(128, 16, 0.6, range(8), 3, 5)
    others = [
        masks.roll(1, 0),
        patch_mask(128, 16, 0.6, range(8), 3, 6),
        patch_mask(128, 16, 0.6, range(8), 4, 5),
    ]
    assert all((masks != other).flatten(1).any(1).all() for other in others)


def test_every_patch_is_hidden_equally_often():
    often = patch_mask(64, 16, 0.5, range(4000), 0, 0).float().mean(0)
    assert (often - 0.5).abs().max() < 0.04


def test_the_one_mask_of_a_batch_has_an_exact_number_of_ones():
    masks = [token_mask(128, 32, 0.5, seed=0, step=step) for step in range(20)]
    assert all(mask.shape == (4, 4) and mask.sum() == 8 for mask in masks)
    assert len({tuple(mask.flatten().tolist()) for mask in masks}) > 15
    assert torch.equal(masks[7], token_mask(128, 32, 0.5, seed=0, step=7))


def test_upsampling_repeats_cells():
    mask = torch.tensor([[[True, False], [False, True]]])
    assert torch.equal(upsample_mask(mask, 3), torch.kron(mask, torch.ones(1, 3, 3, dtype=torch.bool)))


@pytest.mark.parametrize(("side", "patch"), [(24, 32), (48, 32), (100, 16)])
def test_patches_that_do_not_tile_the_chip_are_refused_with_the_cure(side, patch):
    with pytest.raises(DataError, match=rf"{side} x {side} pixels .* multiple of {patch}"):
        patch_mask(side, patch, 0.6, [0], 0, 0)
    with pytest.raises(DataError, match=rf"multiple of {patch}"):
        token_mask(side, patch, 0.5, 0, 0)
