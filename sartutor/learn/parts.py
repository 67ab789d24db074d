"""Whether a model does better when it looks at the parts of large boxes beside the whole: asked on validation.

Where a box is too large for the model's input it is seen shrunk. Its parts are seen at full resolution, but in none of
them the whole object, so which does better depends on the objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from sartutor.learn.evaluate import Question, questions, sam_answer, score
from sartutor.learn.models import SamModel
from sartutor.sar.boxes import lies_in
from sartutor.sar.folder import Dataset


@dataclass(frozen=True)
class PartsTrial:
    """Mean IoU of the objects in large boxes on `images`, seen as a whole alone and in parts too, and the verdict.

    Parts are `better` where the IoU of images rises by more than its standard error over them.
    """

    images: int
    whole: float
    parts: float
    better: bool


def try_parts(model: SamModel, folder: Dataset, most_images: int) -> PartsTrial | None:
    """Ask a model about the large boxes of the split val both ways; None where there are none."""
    model.sam.eval()
    ways = [sam_answer(replace(model, by_parts=by_parts), folder) for by_parts in (False, True)]
    asked = islice(_large(questions(folder, "val", "box"), replace(model, by_parts=True)), most_images)
    ious = [[fmean(each.iou for each in score(question, way).objects) for way in ways] for question in asked]
    if not ious:
        return None
    whole, parts = np.transpose(ious)
    return PartsTrial(len(ious), float(whole.mean()), float(parts.mean()), _surely_higher(parts - whole))


def _large(asked: Iterable[Question], model: SamModel) -> Iterator[Question]:
    """Questions about those boxes alone that have parts, and the objects in them."""
    for question in asked:
        boxes = tuple(box for box in question.boxes if model.parts(box, question.scene.grid.shape))
        objects = tuple(each for each in question.parts if any(lies_in(each.box, box) for box in boxes))
        if objects:
            yield replace(question, boxes=boxes, parts=objects)


def _surely_higher(gain: NDArray[np.float64]) -> bool:
    """Whether the mean of differences is above its standard error; never of a single one."""
    return len(gain) > 1 and bool(gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)))
