"""Whether a model does better when it looks at the parts of large boxes beside the whole: asked on validation.

Where a box is too large for the model's input it is seen shrunk. Its parts are seen at full resolution, but in none of
them the whole object, so which does better depends on the objects.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from sartutor.errors import SarTutorError
from sartutor.learn.evaluate import Answer, Question, question, sam_answer, score
from sartutor.learn.models import SamModel
from sartutor.learn.sam.samples import labelled_ids
from sartutor.sar.boxes import full_box, lies_in
from sartutor.sar.folder import Dataset


@dataclass(frozen=True)
class PartsTrial:
    """Mean IoU of the objects in large boxes on `images`, seen as a whole alone and in parts too, and the verdict.

    Parts are `better` where the IoU of images rises by more than its standard error over them.
    """

    images: int
    iou_whole: float
    iou_in_parts: float
    better: bool


def try_parts(
    model: SamModel, folder: Dataset, most_images: int, seed: int = 0, progress: bool = False
) -> PartsTrial | None:
    """Ask a model about the large boxes of images of the split val both ways; None where there are none.

    More than `most_images` are drawn from at random. An image that cannot be read or answered is left out.
    """
    model.sam.eval()
    ways = [sam_answer(replace(model, by_parts=by_parts), folder) for by_parts in (False, True)]
    asked = _large(replace(model, by_parts=True), folder, seed)
    bar = tqdm(asked, "large boxes", unit="image", disable=not progress)
    ious = list(islice((found for each in bar if (found := _compared(each, ways))), most_images))
    if not ious:
        return None
    whole, parts = np.transpose(ious)
    better = _above_standard_error(parts - whole)
    return PartsTrial(len(ious), float(whole.mean()), float(parts.mean()), better)


def _compared(asked: Question, ways: list[Answer]) -> list[float]:
    """The mean IoU over objects of each way to answer; none where one has no answer."""
    with suppress(SarTutorError):
        return [fmean(each.iou for each in score(asked, way).objects) for way in ways]
    return []


def _large(model: SamModel, folder: Dataset, seed: int) -> Iterator[Question]:
    """Questions about those boxes alone that have parts, and the objects in them, in random order."""
    ids = labelled_ids(folder, "val")
    for place in np.random.default_rng(seed).permutation(len(ids)):
        shape = folder.mask(ids[place]).shape
        if not model.parts(full_box(shape), shape):
            continue  # nor has any smaller box
        with suppress(SarTutorError):
            whole = question(folder, ids[place])
            boxes = tuple(box for box in whole.boxes if model.parts(box, shape))
            objects = tuple(each for each in whole.parts if any(lies_in(each.box, box) for box in boxes))
            if objects:
                yield replace(whole, boxes=boxes, parts=objects)


def _above_standard_error(gain: NDArray[np.float64]) -> bool:
    """Whether the mean of differences is above its standard error; never of a single one."""
    return len(gain) > 1 and bool(gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)))
