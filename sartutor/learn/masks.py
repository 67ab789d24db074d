"""Which patches of a chip are hidden: seeded masks that do not depend on how many processes draw them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sartutor.errors import DataError


def patch_mask(side: int, patch: int, ratio: float, places: Sequence[int], seed: int, step: int) -> Tensor:
    """One mask per chip, bool (B, side/patch, side/patch), True = hidden (SimMIM, arXiv 2111.09886, section 3.2).

    `places` are the chips' places in the global batch of this step: the mask of a place is the same whether one
    process draws the whole batch or each of several draws its share. Of n patches, ceil(ratio n) are hidden.
    Raises DataError where patches of `patch` pixels do not tile a chip of `side` pixels.
    """
    grid = patch_grid(side, patch)
    masks = [_hide(grid * grid, ratio, (seed, step, place)) for place in places]
    return torch.from_numpy(np.stack(masks)).view(-1, grid, grid)


def token_mask(side: int, patch: int, ratio: float, seed: int, step: int) -> Tensor:
    """One mask for a whole batch, bool (side/patch, side/patch), True at ceil(ratio n) of n patches (arXiv 2205.13137).

    Raises DataError where patches of `patch` pixels do not tile a chip of `side` pixels.
    """
    grid = patch_grid(side, patch)
    return torch.from_numpy(_hide(grid * grid, ratio, (seed, step))).view(grid, grid)


def upsample_mask(mask: Tensor, factor: int) -> Tensor:
    """Repeat each cell of masks (..., h, w) `factor` times in both directions: (..., h factor, w factor)."""
    *batch, height, width = mask.shape
    cells = mask[..., :, None, :, None].expand(*batch, height, factor, width, factor)
    return cells.reshape(*batch, height * factor, width * factor)


def patch_grid(side: int, patch: int) -> int:
    """How many patches of `patch` pixels lie side by side in `side` pixels; DataError unless they tile it."""
    if side < patch or side % patch:
        raise DataError(
            f"Chips of {side} x {side} pixels cannot be hidden in patches of {patch} pixels; "
            f"use chips whose side is a multiple of {patch}, or another mask patch."
        )
    return side // patch


def _hide(count: int, ratio: float, key: tuple[int, ...]) -> np.ndarray:
    """Flat mask of `count` patches with ceil(ratio count) hidden ones, drawn from the generator of `key`."""
    hidden = math.ceil(round(ratio * count, 6))
    mask = np.zeros(count, dtype=bool)
    mask[np.random.default_rng(key).permutation(count)[:hidden]] = True
    return mask
