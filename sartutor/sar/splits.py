"""Training, validation and test parts that share no ground: spatial blocks with guard bands, groups of passes.

Neighbouring pixels resemble each other, so pixels or chips drawn at random test little but memory; blocks with
empty ground between them test what is new. Passes over one place belong together for the same reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, minimum_filter

from sartutor.errors import DataError
from sartutor.sar.tiles import Tile

NOBODY = -1
"""Value of pixels in guard bands: they belong to no split."""

SHARES: Mapping[str, float] = MappingProxyType({"train": 0.7, "val": 0.15, "test": 0.15})
"""Splits and their shares where nothing else is asked for."""


def block_split(
    shape: tuple[int, int],
    block: int,
    guard: int,
    shares: Mapping[str, float] = SHARES,
    seed: int = 0,
) -> NDArray[np.int8]:
    """Which split each pixel belongs to: an index into `shares`, or -1 in the guard bands.

    The scene is cut into square blocks, each drawn for one split. A pixel within `guard` pixels (across, down or
    diagonally) of a block of another split is nobody's. Windows that reach `guard` pixels from a pixel therefore
    stay on blocks of its own split: those of two splits share no pixel.

    Args:
        shape: rows and columns.
        block: side of a block in pixels; the last ones may be smaller.
        guard: at least what a window and a filter together reach from its centre, in pixels.
        shares: share of the blocks' area by split; met up to about one block, guard bands not counted.
        seed: of the draw; equal seeds, equal splits.

    Raises:
        DataError: fewer blocks than splits, or a split of which the guard bands leave nothing.
    """
    if block < 1 or guard < 0 or min(shape) < 1:
        raise DataError(f"blocks of {block} px with a guard of {guard} px in {shape} px; use positive sizes.")
    sides = [np.diff([*range(0, n, block), n]) for n in shape]
    owners = _drawn(np.outer(*sides).ravel(), shares, seed).reshape(len(sides[0]), len(sides[1]))
    blocks: NDArray[np.int8] = owners.repeat(sides[0], axis=0).repeat(sides[1], axis=1)
    reach = 2 * guard + 1
    alone = maximum_filter(blocks, reach, mode="nearest") == minimum_filter(blocks, reach, mode="nearest")
    splits = np.where(alone, blocks, np.int8(NOBODY))
    for index, name in enumerate(shares):
        if not (splits == index).any():
            raise DataError(
                f"guard bands of {guard} px leave nothing of the {name} split in blocks of {block} px; use "
                f"blocks of more than {2 * guard} px, or a smaller guard."
            )
    return splits


def tiles_of_split(
    tiles: Sequence[Tile], splits: NDArray[np.int8], name: str, shares: Mapping[str, float] = SHARES
) -> list[Tile]:
    """The tiles whose windows lie wholly inside the split `name` of a `block_split` with these shares.

    Raises DataError where there is no such split, or no such tile.
    """
    if name not in shares:
        raise DataError(f"there is no split {name!r}; use one of {', '.join(shares)}.")
    own = splits == list(shares).index(name)
    found = [tile for tile in tiles if own[tile.window.toslices()].all()]
    if not found:
        raise DataError(
            f"no tile lies wholly inside the {name} split; use smaller tiles, or blocks of at least twice a "
            "tile and its guard bands."
        )
    return found


def check_disjoint(splits: NDArray[np.int8], reach: int) -> None:
    """Prove that windows reaching `reach` pixels around pixels of two splits share no pixel.

    Args:
        splits: index of a split, or -1, by pixel (rows, columns).
        reach: pixels from a window's centre to its edge, plus the radius of a filter used before.

    Raises:
        DataError: two splits come closer than that; both are named by index, with a pixel both see.
    """
    seen = {
        int(index): maximum_filter(splits == index, 2 * reach + 1, mode="constant")
        for index in np.unique(splits[splits != NOBODY])
    }
    for one, other in combinations(seen, 2):
        if (both := seen[one] & seen[other]).any():
            row, col = np.argwhere(both)[0]
            raise DataError(
                f"windows that reach {reach} px around pixels of splits {one} and {other} both see row {row}, "
                f"column {col}; use a guard of at least {reach} px."
            )


def group_split(groups: Sequence[str], shares: Mapping[str, float] = SHARES, seed: int = 0) -> dict[str, str]:
    """The split of each group, so that what belongs together (passes over one place, one event) stays together.

    Args:
        groups: the group of each sample: a place, a relative orbit, an event.
        shares: share of the samples by split, met as nearly as whole groups allow.
        seed: of the draw; equal seeds, equal splits, in whatever order the samples come.

    Raises:
        DataError: fewer groups than splits.
    """
    sizes = dict(sorted(Counter(groups).items()))
    owners = _drawn(np.array(list(sizes.values()), np.int64), shares, seed)
    names = list(shares)
    return {group: names[owner] for group, owner in zip(sizes, owners.tolist(), strict=True)}


def leave_one_out(groups: Sequence[str]) -> Iterator[tuple[str, list[int], list[int]]]:
    """Each group once as the test: its name, the indexes of all other samples, and of its own.

    Raises DataError where there is but one group, so that nothing would be left to train on.
    """
    names = list(dict.fromkeys(groups))
    if len(names) < 2:
        raise DataError("leaving one group out leaves nothing to train on; name at least two groups.")
    for name in names:
        own = [index for index, group in enumerate(groups) if group == name]
        yield name, [index for index, group in enumerate(groups) if group != name], own


def _drawn(sizes: NDArray[np.integer], shares: Mapping[str, float], seed: int) -> NDArray[np.int8]:
    """A split for each part of the given sizes.

    Parts come in a drawn order, larger ones first, and each goes to the split that lacks most; while there are
    just enough parts left, only splits that have none yet are served.
    """
    wanted = np.array(list(shares.values()), float)
    if len(wanted) == 0 or wanted.min() <= 0 or len(sizes) < len(wanted):
        raise DataError(
            f"{len(sizes)} blocks or groups cannot make splits {dict(shares)}; shares must be positive, and at "
            "least one block or group is needed for each."
        )
    lacking = wanted / wanted.sum() * sizes.sum()
    order = np.random.default_rng(seed).permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    owners = np.full(len(sizes), NOBODY, np.int8)
    for left, part in zip(range(len(sizes), 0, -1), order, strict=True):
        empty = ~np.isin(np.arange(len(wanted)), owners)
        served = empty if empty.sum() >= left else np.ones_like(empty)
        owner = int(np.argmax(np.where(served, lacking, -np.inf)))
        owners[part] = owner
        lacking[owner] -= sizes[part]
    return owners
