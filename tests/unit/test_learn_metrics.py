"""Scores with known answers, against torchmetrics, and what absent classes do to means."""

import math

import pytest
import torch
from torchmetrics.functional.classification import multiclass_confusion_matrix

from sartutor.errors import DataError
from sartutor.learn.metrics import (
    binary_scores,
    class_accuracy,
    class_iou,
    confusion_matrix,
    mean_accuracy,
    mean_iou,
    multilabel_scores,
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


def test_matrices_of_parts_add_up_to_that_of_torchmetrics():
    generator = torch.Generator().manual_seed(1)
    true = torch.randint(-1, 5, (6, 20, 20), generator=generator)
    guess = torch.randint(0, 5, (6, 20, 20), generator=generator)
    parts = [confusion_matrix(g, t, 5) for g, t in zip(guess, true, strict=True)]
    expected = multiclass_confusion_matrix(guess, true, 5, ignore_index=-1)
    assert torch.equal(torch.stack(parts).sum(0), expected)


def test_numbers_that_are_no_class_and_other_shapes_are_refused():
    with pytest.raises(DataError, match="label 7 is none of the classes 0 to 2"):
        confusion_matrix(torch.tensor([0]), torch.tensor([7]), 3)
    with pytest.raises(DataError, match="prediction 3 is none of the classes 0 to 2"):
        confusion_matrix(torch.tensor([3]), torch.tensor([0]), 3)
    with pytest.raises(DataError, match="on one grid"):
        confusion_matrix(torch.zeros(4), torch.zeros(2, 2), 3)


def test_multilabel_scores_by_hand():
    """Class 0 ranks right, wrong, right: AP = (1 + 2/3) / 2; class 1 is perfect; class 2 has no sample.

    Class 3, which all samples have, is right by any guess and counts in no macro mean.
    """
    probability = torch.tensor([[0.9, 0.8, 0.1], [0.7, 0.2, 0.2], [0.6, 0.9, 0.6]])
    target = torch.tensor([[1, 1, 0], [0, 0, 0], [1, 1, 0]])
    scores = multilabel_scores(probability, target.float())
    everywhere = [torch.cat([each, torch.ones(3, 1)], 1) for each in (probability, target)]
    assert {name: value for name, value in multilabel_scores(*everywhere).items() if "macro" in name} == {
        name: value for name, value in scores.items() if "macro" in name
    }
    assert scores["ap_macro"] == pytest.approx((5 / 6 + 1) / 2)
    assert scores["f1_macro"] == pytest.approx((0.8 + 1) / 2)
    assert scores["f1_micro"] == pytest.approx(2 * 4 / (2 * 4 + 2))
    assert scores["ap_micro"] == pytest.approx(0.75 * 1 + 0.25 * 4 / 6)


def test_a_single_class_has_scores():
    scores = multilabel_scores(torch.tensor([[0.9], [0.8], [0.7]]), torch.tensor([[1], [0], [1]]))
    assert scores["ap_macro"] == scores["ap_micro"] == pytest.approx(5 / 6)


def test_without_any_positive_label_there_is_no_score():
    assert all(map(math.isnan, multilabel_scores(torch.rand(4, 3), torch.zeros(4, 3)).values()))


def test_binary_scores_by_hand():
    scores = binary_scores(torch.tensor([0.9, 0.8, 0.3, 0.2]), torch.tensor([1, 0, 1, 0]))
    assert scores == pytest.approx({"accuracy": 0.5, "precision": 0.5, "recall": 0.5, "f1": 0.5})
    scores = binary_scores(torch.tensor([0.9, 0.8, 0.7, 0.2]), torch.tensor([1, 0, 1, 0]))
    assert scores == pytest.approx({"accuracy": 0.75, "precision": 2 / 3, "recall": 1.0, "f1": 0.8})
