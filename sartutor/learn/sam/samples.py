"""Prompted images for adaptation: labelled scenes, imprecise boxes, and one encoding for all boxes of an image.

A sample holds `image` float16 (branches, 3, S, S) in [0, 1], `target` and `known` bool (S, S), and float32 `box`
(`MOST_BOXES`, 4) and `points` (`MAX_POINTS`, 3) of x, y and label in its pixels, rows of -1 after the last. `known` is
where there is data and a label.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rasterio.windows import Window
from scipy import ndimage
from torch import Tensor
from torch.utils.data import Dataset

from sartutor.errors import DataError
from sartutor.learn.recent import Recent
from sartutor.learn.sam.contrast import box_mask
from sartutor.learn.sam.inputs import (
    Frame,
    Ranges,
    Scale,
    box_parts,
    branch_image,
    level_range,
    pixels_of,
    prompt_window,
)
from sartutor.learn.sam.prompts import MAX_POINTS, clicks_on
from sartutor.sar import folder as own
from sartutor.sar.boxes import Box, Mask, lies_in, merge_overlapping, object_boxes, training_boxes
from sartutor.sar.resize import refuse_complex
from sartutor.sar.scene import Band, Scene, Units

Batch = dict[str, Tensor]

MOST_BOXES = 8
"""Boxes of one image that are learned from at once; which of more is drawn at random."""

Prompts = Literal["loose", "tight", "points"]
"""What to learn from: boxes as imprecise as people draw them, boxes as tight as the objects, or loose ones and clicks.

For a click the box is all that is encoded, as it is in use, and one object is the target.
"""

Outside = Literal["free", "background"]
"""What lies outside of a box: it does not count, or no object is to be found there."""

CLICKED_SHARE = 0.5
"""Share of the samples with clicks in place of boxes under "points"."""

NO_CLICKS = np.empty((0, 2))

SCENE_MEMORY = 512 * 2**20
"""Bytes of scenes of a folder that each process that reads them keeps in memory."""


class Labelled(NamedTuple):
    """A scene, and its labels (rows, columns): 1 object, 0 background, -1 not known."""

    scene: Scene
    labels: NDArray[np.int16]

    @property
    def bytes(self) -> int:
        return self.scene.pixels.nbytes + self.scene.valid.nbytes + self.labels.nbytes


class PromptedImages(Dataset[Batch]):
    """Random training samples of one split of a folder; sample i of a seed is always the same.

    Args:
        folder: an opened folder with masks of objects.
        split: a split of it.
        branches: the bands of each encoder and their ranges, as of `branch_ranges`.
        side: S.
        draws: number of samples.
        seed: of the draws.
        scales: how much is encoded around a box; where there are several, each sample has one of them.
        different: sample i is sample i modulo this number: a list short enough to keep the embeddings of.
        prompts: what to learn from.
        by_parts: boxes too large to be seen at full resolution are seen part by part.
        empty_share: share of the samples from images that are known to hold no object, where there are any; each has
            one random box, in which nothing is to be found.

    Raises DataError for a split without images, or none of which has an object.
    """

    def __init__(
        self,
        folder: own.Dataset,
        split: str,
        branches: Sequence[Ranges],
        side: int,
        draws: int,
        seed: int,
        scales: Sequence[Scale] = ("near",),
        different: int | None = None,
        prompts: Prompts = "loose",
        by_parts: bool = False,
        empty_share: float = 0.0,
    ) -> None:
        self.folder, self.branches, self.side, self.draws = folder, branches, side, draws
        self.seed, self.scales, self.different, self.prompts = seed, scales, different or draws, prompts
        self.by_parts, self.empty_share = by_parts, empty_share
        self.ids = labelled_ids(folder, split)
        self.empty = empty_ids(folder, split) if empty_share else ()
        self._scenes: Recent[Labelled] = Recent(SCENE_MEMORY)

    def __len__(self) -> int:
        return self.draws

    def __getitem__(self, index: int) -> Batch:
        if not 0 <= index < self.draws:
            raise IndexError(index)
        rng = np.random.default_rng((self.seed, index % self.different))
        if self.empty and rng.random() < self.empty_share:
            return self._boxed(rng, mirrored(self._drawn(rng, self.empty, 0), rng))
        labelled = mirrored(self._drawn(rng, self.ids, 1), rng)
        clicked = self.prompts == "points" and rng.random() < CLICKED_SHARE
        return self._clicked(rng, labelled) if clicked else self._boxed(rng, labelled)

    def _boxed(self, rng: np.random.Generator, labelled: Labelled) -> Batch:
        """The surroundings of one box, or of a part of it, and the boxes in them."""
        boxes = self._boxes(rng, labelled.labels == 1)
        chosen = boxes[rng.integers(len(boxes))]
        scale = self.scales[int(rng.integers(len(self.scales)))]
        shape = labelled.scene.grid.shape
        if self.by_parts:
            chosen = self._part(rng, chosen, labelled.labels)
        window = prompt_window(chosen, shape, self.side, rng.uniform(0.8, 1.2), scale)
        others = [box for box in boxes if box != chosen and lies_in(box, _outline(window))]
        some = [chosen, *(others[i] for i in rng.permutation(len(others))[: MOST_BOXES - 1])]
        return prompted(labelled, self.branches, self.side, window, some)

    def _part(self, rng: np.random.Generator, box: Box, labels: NDArray[np.int16]) -> Box:
        """One of the parts of a box in which anything is known; the box itself where it is not cut."""
        parts = box_parts(box, labels.shape, self.side)
        if len(parts) == 1:
            return box
        known = [part for part in parts if (labels[pixels_of(part)] != own.IGNORE).any()] or parts
        return known[rng.integers(len(known))]

    def _clicked(self, rng: np.random.Generator, labelled: Labelled) -> Batch:
        """The surroundings of clicks on one object, which alone is to be found."""
        alone = one_object(rng, labelled.labels)
        clicks = clicks_on(rng, alone == 1)
        extent: Box = (*clicks.min(0), *clicks.max(0))
        shape = labelled.scene.grid.shape
        window = prompt_window(extent, shape, self.side, rng.uniform(0.8, 1.2), "chip")
        return prompted(
            Labelled(labelled.scene, alone), self.branches, self.side, window, [_outline(window)], clicks
        )

    def _drawn(self, rng: np.random.Generator, ids: Sequence[str], label: int) -> Labelled:
        """Any scene of some that has a label where there is data; others are drawn in vain."""
        while True:
            found = self._scenes.get(ids[int(rng.integers(len(ids)))], self._read)
            if (found.labels == label).any():
                return found

    def _boxes(self, rng: np.random.Generator, mask: Mask) -> list[Box]:
        tight = self.prompts == "tight" and mask.any()
        return merge_overlapping(object_boxes(mask)) if tight else training_boxes(rng, mask)

    def _read(self, id: str) -> Labelled:
        """A scene and its labels; where it has no data nothing is known."""
        scene, labels = self.folder.scene(id), self.folder.mask(id)
        return Labelled(scene, np.where(scene.valid, labels, np.int16(own.IGNORE)))


@lru_cache(maxsize=4)
def labelled_ids(folder: own.Dataset, split: str) -> tuple[str, ...]:
    """The images of a split that have an object; the others are `empty_ids` (arXiv 2601.01213 leaves them out).

    Raises DataError where there is none, where all objects lie on no data, and where the folder has labels of another
    kind.
    """
    refuse_no_objects(folder)
    some = tuple(id for id in folder.ids(split) if (folder.mask(id) == 1).any())
    if not some:
        raise DataError(
            f"No mask of split {split!r} in {folder.folder} marks an object; look whether the values under `object` "
            "in dataset.yaml are those of the masks."
        )
    if not any(((folder.mask(id) == 1) & folder.scene(id).valid).any() for id in some):
        raise DataError(
            f"All objects of split {split!r} in {folder.folder} lie where the images have no data; look whether masks "
            "and images show the same ground."
        )
    return some


@lru_cache(maxsize=4)
def empty_ids(folder: own.Dataset, split: str) -> tuple[str, ...]:
    """The images of a split that have data, known to be background, and no object."""
    return tuple(id for id in folder.ids(split) if _is_empty(folder, id))


def _is_empty(folder: own.Dataset, id: str) -> bool:
    mask = folder.mask(id)
    if (mask == 1).any() or not (mask == 0).any():
        return False
    try:
        return bool((folder.scene(id).valid & (mask == 0)).any())
    except DataError:  # no data at all: nothing to learn from, and nothing lost
        return False


def chip_side(folder: own.Dataset, side: int) -> int:
    """Pixels of a scene, a side, of a chip for a model of input `side`: no more than the longest of training images.

    Windows are cut to their scene, so smaller images among larger ones are enlarged in use as they were in training.
    """
    return min(side, max(max(folder.mask(id).shape) for id in labelled_ids(folder, "train")))


def refuse_no_objects(folder: own.Dataset) -> None:
    """Raise DataError unless the masks of a folder tell objects from background."""
    if "object" not in folder.description.classes:
        raise DataError(
            f"{folder.folder / 'dataset.yaml'} names no object to prompt for; give it "
            "`labels: {background: [0], object: [1, 255]}` with the values of its masks."
        )


def refuse_missing_bands(folder: own.Dataset, bands: Sequence[str], who: str) -> None:
    """Raise DataError where a folder lacks one of the bands that a model, called `who`, needs."""
    if missing := [name for name in bands if name not in folder.description.band_names]:
        raise DataError(
            f"{folder.folder / 'dataset.yaml'} has no band {missing[0]!r}, which {who} needs "
            f"({', '.join(bands)}); name the bands of the images as the model does."
        )


def branch_ranges(folder: own.Dataset) -> list[Ranges]:
    """The bands of the primary encoder, and of the secondary where there are any, with their ranges as levels.

    A range that the folder does not give is measured on its training images. DataError for complex bands, and for a
    range that has no two ends in the units that dataset.yaml states.
    """
    units = folder.description.units
    refuse_complex(tuple(map(Band, units, units.values())), str(folder.folder / "dataset.yaml"))
    return [
        {name: _levels(folder, name, units[name]) for name in names}
        for names in (folder.primary, folder.secondary)
        if names
    ]


def _levels(folder: own.Dataset, name: str, units: Units) -> tuple[float, float]:
    """The range of a band as levels."""
    low, high = level_range(*folder.ranges[name], units)
    if not (low < high and np.isfinite((low, high)).all()):
        ends = " to ".join(f"{end:g}" for end in folder.ranges[name])
        raise DataError(
            f"{folder.folder / 'dataset.yaml'}: band {name}, from {ends}, spans no levels in units {units!r}; correct "
            "its units or its range."
        )
    return low, high


def prompted(
    labelled: Labelled,
    branches: Sequence[Ranges],
    side: int,
    window: Window,
    boxes: Sequence[Box],
    clicks: NDArray[np.float64] = NO_CLICKS,
) -> Batch:
    """The sample of a window, its boxes, and clicks inside its object (n, 2), columns and rows of the scene."""
    piece, labels = labelled.scene.read(window), labelled.labels[window.toslices()]
    frame = Frame(piece.grid.shape, side)
    placed = torch.full((MOST_BOXES, 4), -1.0)
    placed[: len(boxes)] = torch.tensor([frame.box(box, window) for box in boxes])
    points = torch.full((MAX_POINTS, 3), -1.0)
    points[: len(clicks), :2] = torch.from_numpy(frame.points(clicks, window))
    points[: len(clicks), 2] = 1
    return {
        "image": torch.stack([branch_image(piece, side, ranges) for ranges in branches]).half(),
        "target": _target(frame, labels == 1, placed[: len(boxes)]),
        "known": frame.covered((labels != own.IGNORE) & piece.valid) > 0.5,
        "box": placed,
        "points": points,
    }


def box_targets(batch: Batch, outside: Outside = "free") -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of all boxes of a batch (N): the image (N,) that each is on, `box` (N, 4), target and weight (N, 1, S, S).

    A box answers for the objects in it. Pixels outside it weigh 0 if they are "free"; they count as "background" in
    arXiv 2601.01213 (released code). Pixels that are not known weigh 0.
    """
    place, number = (batch["box"][..., 0] >= 0).nonzero(as_tuple=True)
    boxes = batch["box"][place, number]
    known = batch["known"][place]
    inside = box_mask(boxes, batch["target"].shape[-1]) & known
    weight = inside if outside == "free" else known
    return place, boxes, (batch["target"][place] & inside)[:, None].float(), weight[:, None].float()


def one_object(rng: np.random.Generator, labels: NDArray[np.int16]) -> NDArray[np.int16]:
    """Labels with one connected part (8 neighbours) of the object, any with the same chance; others are background."""
    parts, count = ndimage.label(labels == 1, np.ones((3, 3), np.uint8))
    chosen = rng.integers(1, count + 1)
    return np.where((parts > 0) & (parts != chosen), 0, labels).astype(np.int16)


def mirrored(labelled: Labelled, rng: np.random.Generator) -> Labelled:
    """A scene and its labels with rows, columns, both or neither reversed, each with the same chance.

    Mirrored terrain is looked at from the other side, which slopes do not show but their shading does.
    """
    flips = tuple(slice(None, None, -1) if rng.random() < 0.5 else slice(None) for _ in range(2))
    scene = labelled.scene
    pixels, valid = np.ascontiguousarray(scene.pixels[:, *flips]), np.ascontiguousarray(scene.valid[flips])
    return Labelled(Scene(pixels, scene.bands, scene.grid, valid, scene.name), labelled.labels[flips])


def _outline(window: Window) -> Box:
    """A window as a box."""
    right, bottom = window.col_off + window.width, window.row_off + window.height
    return float(window.col_off), float(window.row_off), float(right), float(bottom)


def _target(frame: Frame, objects: Mask, boxes: Tensor) -> Tensor:
    """Objects in the model's input (side, side), boxes (n, 4) in its pixels.

    Of what shrinks so much that it fills no pixel of its box by half, the pixels that hold most of it: its box would
    be one that holds nothing.
    """
    share = frame.covered(objects)
    target = share > 0.5
    if frame.scale >= 1:
        return target
    for inside in box_mask(boxes, frame.side):
        most = (share * inside).max()
        if most > 0 and not (target & inside).any():
            target |= inside & (share > most / 2)
    return target
