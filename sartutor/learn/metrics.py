"""Scores of segmentation from one confusion matrix.

A class that nobody saw tells nothing: its score is nan and is left out of means. That is a class neither in the labels
nor in the predictions (for its IoU), or not in the labels (for its accuracy).
"""

from __future__ import annotations

import torch
from torch import Tensor

from sartutor.errors import DataError
from sartutor.sar.folder import IGNORE


def confusion_matrix(predicted: Tensor, target: Tensor, classes: int, ignore: int = IGNORE) -> Tensor:
    """Counts (classes, classes) int64: rows are true classes, columns predicted ones; matrices of parts add up.

    Args:
        predicted: class numbers 0, 1, ..., `classes` - 1 of any shape.
        target: true class numbers in the same shape; pixels labelled `ignore` count nowhere.
        classes: how many classes there are.
        ignore: label of pixels without a class.

    Raises DataError where shapes differ or a number is no class.
    """
    if predicted.shape != target.shape:
        raise DataError(
            f"predictions of shape {tuple(predicted.shape)} for labels of shape {tuple(target.shape)}; "
            "compare them on one grid."
        )
    known = target != ignore
    true, guess = target[known].long(), predicted[known].long()
    for name, values in (("label", true), ("prediction", guess)):
        if len(outside := values[(values < 0) | (values >= classes)]):
            raise DataError(
                f"{name} {outside[0].item()} is none of the classes 0 to {classes - 1}; map the classes first."
            )
    return torch.bincount(true * classes + guess, minlength=classes**2).reshape(classes, classes)


def class_iou(confusion: Tensor) -> Tensor:
    """TP / (TP + FP + FN) of each class (classes,), float64; nan for a class neither labelled nor predicted."""
    hits = confusion.diagonal().double()
    return hits / (confusion.sum(0) + confusion.sum(1) - hits)


def class_accuracy(confusion: Tensor) -> Tensor:
    """TP / (TP + FN) of each class (classes,), float64: its recall; nan for a class not labelled."""
    return confusion.diagonal().double() / confusion.sum(1)


def mean_iou(confusion: Tensor) -> float:
    """mIoU: mean of `class_iou` over the classes that have one."""
    return float(class_iou(confusion).nanmean())


def mean_accuracy(confusion: Tensor) -> float:
    """mAcc: mean of `class_accuracy` over the classes that have one."""
    return float(class_accuracy(confusion).nanmean())


def pixel_accuracy(confusion: Tensor) -> float:
    """Share of labelled pixels that got their class; nan without any."""
    return float(confusion.diagonal().sum().double() / confusion.sum())


def segmentation_scores(confusion: Tensor) -> dict[str, float]:
    """`miou`, `macc`, `accuracy`, and `iou_<class>` for every class that has one."""
    means = {
        "miou": mean_iou(confusion),
        "macc": mean_accuracy(confusion),
        "accuracy": pixel_accuracy(confusion),
    }
    each = {f"iou_{index}": value for index, value in enumerate(class_iou(confusion).tolist())}
    return means | {name: value for name, value in each.items() if value == value}
