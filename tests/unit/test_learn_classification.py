"""Scores of classification with known answers, and what classes that tell nothing do to means."""

import math

import pytest
import torch

from sartutor.learn.classification import binary_scores, multilabel_scores


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
