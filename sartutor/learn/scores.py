"""What a mask of objects is worth: counts of pixels per object, per image and of all, and their summary.

An object is a connected part of the label; its counts are cut to its own tight box, so that answers to tight, loose
and whole-image prompts are compared on the same pixels. Whatever else is labelled in that box counts as labelled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from sartutor.sar.boxes import Box, Mask

HIT_IOU = 0.3
"""An object is found where its IoU is above this (arXiv 2601.01213, released code)."""

Classes = Mapping[str, tuple[float, float]]
"""Least value of each class, and the first that is too large."""

SIZES = {"small": (0, 150), "medium": (150, 400), "large": (400, np.inf)}
"""Pixels of objects from and below; of the deposits of 50 px and more that are simulated, a third is in each."""

SLOPES = {"flat": (0, 16.5), "sloping": (16.5, 19), "steep": (19, np.inf)}
"""Mean slope of objects in degrees, from and below; of the simulated deposits of 50 px and more, a third is in each."""

SCORES = ("iou", "precision", "recall", "f1")


@dataclass(frozen=True)
class Counts:
    """Pixels that are marked and labelled (`hits`), marked alone (`extra`) or labelled alone (`missed`)."""

    hits: int
    extra: int
    missed: int

    @property
    def iou(self) -> float:
        """Intersection over union; 0 where nothing is marked, as all four scores."""
        return self.hits / max(self.hits + self.extra + self.missed, 1)

    @property
    def precision(self) -> float:
        """Share of the marked pixels that are labelled."""
        return self.hits / max(self.hits + self.extra, 1)

    @property
    def recall(self) -> float:
        """Share of the labelled pixels that are marked."""
        return self.hits / max(self.hits + self.missed, 1)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * self.hits / max(2 * self.hits + self.extra + self.missed, 1)

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.hits + other.hits, self.extra + other.extra, self.missed + other.missed)


@dataclass(frozen=True)
class ObjectScore:
    """One object of at least so many pixels: its tight box, size, and mean slope in degrees where that is known."""

    image: str
    box: Box
    pixels: int
    slope: float | None
    counts: Counts

    @property
    def iou(self) -> float:
        """IoU within its box."""
        return self.counts.iou

    @property
    def hit(self) -> bool:
        """Whether it is found."""
        return self.counts.iou > HIT_IOU


@dataclass(frozen=True)
class ImageScore:
    """One image: its known pixels, the counts over all of them, and its objects."""

    image: str
    known: int
    counts: Counts
    objects: tuple[ObjectScore, ...]

    @property
    def labelled(self) -> bool:
        """Whether any pixel is labelled; an image where none is can only be marked in error."""
        return self.counts.hits + self.counts.missed > 0


def count(marked: Mask, truth: Mask, known: Mask) -> Counts:
    """Compare two masks (rows, columns) where the label is known."""
    marked, truth = marked & known, truth & known
    hits = int(np.count_nonzero(marked & truth))
    return Counts(hits, int(np.count_nonzero(marked)) - hits, int(np.count_nonzero(truth)) - hits)


def box_counts(marked: Mask, truth: Mask, known: Mask, tight: Box) -> Counts:
    """`count` in a tight box, whose sides are whole pixels."""
    x0, y0, x1, y1 = map(int, tight)
    here = slice(y0, y1), slice(x0, x1)
    return count(marked[here], truth[here], known[here])


def summary(scores: Sequence[ImageScore]) -> dict[str, Any]:
    """Scores of a set of images; None where there is nothing to score.

    Returns:
        `objects` and `images`: how many (`n`), and the means over them of IoU, precision, recall and F1 (all 0 where
        nothing is marked); images are those with a labelled pixel. `hit_rate`: share of objects that are found.
        `pooled`: the pixels of these images together, and their counts.
        `empty`: images that are known to have no object, the pixels marked on them in all (`false_positive_pixels`),
        per image, and as a share of their known pixels.
        `by_size` and `by_slope`: as `objects`, of the objects of each class of `SIZES` and `SLOPES`.
    """
    labelled = [score for score in scores if score.labelled]
    objects = [part for score in labelled for part in score.objects]
    return {
        "objects": object_means(objects),
        "images": _means([score.counts for score in labelled]),
        "pooled": _pooled([score.counts for score in labelled]),
        "empty": _empty([score for score in scores if not score.labelled and score.known]),
        "by_size": {name: object_means(part) for name, part in by_size(objects).items()},
        "by_slope": {name: object_means(part) for name, part in by_slope(objects).items()},
    }


def object_means(objects: Sequence[ObjectScore]) -> dict[str, Any]:
    """Number of objects, means of their scores, and share that is found; None where there is none."""
    found = fmean(part.hit for part in objects) if objects else None
    return {**_means([part.counts for part in objects]), "hit_rate": found}


def by_size(objects: Iterable[ObjectScore]) -> dict[str, list[ObjectScore]]:
    """The objects of each class of `SIZES`."""
    return _classes(objects, SIZES, lambda part: part.pixels)


def by_slope(objects: Iterable[ObjectScore]) -> dict[str, list[ObjectScore]]:
    """The objects of each class of `SLOPES`; those without a slope are in none."""
    return _classes(objects, SLOPES, lambda part: part.slope)


def class_of(value: float | None, classes: Classes) -> str | None:
    """The class that a value is in; None without a value, and for one that is in none."""
    if value is None:
        return None
    return next((name for name, (low, high) in classes.items() if low <= value < high), None)


def _classes(
    objects: Iterable[ObjectScore], classes: Classes, value: Callable[[ObjectScore], float | None]
) -> dict[str, list[ObjectScore]]:
    every = [(class_of(value(part), classes), part) for part in objects]
    return {name: [part for found, part in every if found == name] for name in classes}


def _means(counts: Sequence[Counts]) -> dict[str, Any]:
    means = {name: fmean(getattr(one, name) for one in counts) if counts else None for name in SCORES}
    return {"n": len(counts), **means}


def _pooled(counts: Sequence[Counts]) -> dict[str, Any]:
    total = sum(counts, Counts(0, 0, 0))
    scores = {name: getattr(total, name) if counts else None for name in SCORES}
    return {**scores, **vars(total)}


def _empty(scores: Sequence[ImageScore]) -> dict[str, Any]:
    marked = sum(score.counts.extra for score in scores)
    known = sum(score.known for score in scores)
    return {
        "n": len(scores),
        "false_positive_pixels": marked,
        "per_image": marked / len(scores) if scores else None,
        "share": marked / known if known else None,
    }
