"""Scores with known answers, against scikit-learn, and what absent classes do to means."""

import math

import pytest
import torch
from sklearn import metrics

from sartutor.errors import DataError
from sartutor.learn.metrics import (
    class_accuracy,
    class_iou,
    confusion_matrix,
    mean_accuracy,
    mean_iou,
    pixel_accuracy,
    segmentation_scores,
)

TRUE = torch.tensor([[0, 0, 0, 1], [1, 1, 2, -1]])
GUESS = torch.tensor([[0, 0, 1, 1], [1, 0, 2, 2]])


def test_a_confusion_matrix_by_hand_leaves_out_ignored_pixels():
    confusion = confusion_matrix(GUESS, TRUE, 4)
    assert confusion.tolist() == [[2, 1, 0, 0], [1, 2, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    without_first = confusion_matrix(GUESS[:, :3], TRUE[:, :3], 3, ignore=0)
    assert without_first.tolist() == [[0, 0, 0], [1, 1, 0], [0, 0, 1]]


def test_scores_by_hand():
    confusion = confusion_matrix(GUESS, TRUE, 4)
    assert class_iou(confusion)[:3].tolist() == pytest.approx([0.5, 0.5, 1.0])
    assert class_accuracy(confusion)[:3].tolist() == pytest.approx([2 / 3, 2 / 3, 1.0])
    assert mean_iou(confusion) == pytest.approx(2 / 3)
    assert mean_accuracy(confusion) == pytest.approx(7 / 9)
    assert pixel_accuracy(confusion) == pytest.approx(5 / 7)


def test_a_class_nobody_saw_is_nan_and_left_out_but_a_wrongly_predicted_one_counts():
    absent = confusion_matrix(torch.tensor([0, 0]), torch.tensor([0, 0]), 3)
    assert class_iou(absent).isnan().tolist() == [False, True, True]
    assert mean_iou(absent) == 1
    invented = confusion_matrix(torch.tensor([0, 2]), torch.tensor([0, 0]), 3)
    assert class_iou(invented).tolist()[::2] == [0.5, 0.0]
    assert mean_iou(invented) == pytest.approx(0.25)
    assert mean_accuracy(invented) == pytest.approx(0.5)


def test_all_scores_are_numbers_and_name_the_classes_that_have_one():
    scores = segmentation_scores(confusion_matrix(GUESS, TRUE, 4))
    assert scores.keys() == {"miou", "macc", "accuracy", "iou_0", "iou_1", "iou_2"}
    assert all(math.isfinite(value) for value in scores.values())


def test_matrices_of_parts_add_up_to_that_of_scikit_learn():
    generator = torch.Generator().manual_seed(1)
    true = torch.randint(-1, 5, (6, 20, 20), generator=generator)
    guess = torch.randint(0, 5, (6, 20, 20), generator=generator)
    parts = [confusion_matrix(g, t, 5) for g, t in zip(guess, true, strict=True)]
    expected = metrics.confusion_matrix(true[true >= 0], guess[true >= 0], labels=range(5))
    assert torch.stack(parts).sum(0).tolist() == expected.tolist()


def test_numbers_that_are_no_class_and_other_shapes_are_refused():
    with pytest.raises(DataError, match="label 7 is none of the classes 0 to 2"):
        confusion_matrix(torch.tensor([0]), torch.tensor([7]), 3)
    with pytest.raises(DataError, match="prediction 3 is none of the classes 0 to 2"):
        confusion_matrix(torch.tensor([3]), torch.tensor([0]), 3)
    with pytest.raises(DataError, match="on one grid"):
        confusion_matrix(torch.zeros(4), torch.zeros(2, 2), 3)
