"""Scores of classification, through scikit-learn.

A class that all samples have, or none, tells nothing: it is left out of means.
"""

from __future__ import annotations

import math

from sklearn import metrics
from torch import Tensor


def multilabel_scores(probability: Tensor, target: Tensor) -> dict[str, float]:
    """Average precision, and F1 at probability 0.5: `ap_macro`, `ap_micro`, `f1_macro`, `f1_micro`.

    Macro means are over `telling` classes, and nan without any; micro scores pool all answers.

    Args:
        probability: of each class (samples, classes), in 0..1.
        target: 1 where a sample has the class, else 0 (samples, classes).
    """
    scores = {}
    for name, score in (("ap", average_precision), ("f1", f1)):
        each = [score(probability[:, i], target[:, i]) for i in telling(target)]
        scores[f"{name}_macro"] = sum(each) / len(each) if each else math.nan
        pooled = probability.flatten(), target.flatten()
        scores[f"{name}_micro"] = score(*pooled) if target.any() else math.nan
    return scores


def telling(target: Tensor) -> list[int]:
    """Classes that some samples (samples, classes) have and some lack; the others tell nothing of who knows them."""
    return [i for i, share in enumerate(target.double().mean(0).tolist()) if 0 < share < 1]


def average_precision(probability: Tensor, target: Tensor) -> float:
    """Area under the steps of precision over recall of yes-or-no answers (samples,), at least one of which is yes."""
    return float(metrics.average_precision_score(target.cpu().numpy(), probability.cpu().numpy()))


def f1(probability: Tensor, target: Tensor) -> float:
    """Harmonic mean of precision and recall at probability 0.5 of yes-or-no answers (samples,); 0 without a hit."""
    return float(metrics.f1_score(target.cpu().numpy(), probability.cpu().numpy() > 0.5, zero_division=0))


def binary_scores(probability: Tensor, target: Tensor) -> dict[str, float]:
    """`accuracy`, `precision`, `recall` and `f1` at probability 0.5 of yes-or-no answers (samples,)."""
    truth, guess = target.cpu().numpy(), probability.cpu().numpy() > 0.5
    return {
        "accuracy": float(metrics.accuracy_score(truth, guess)),
        "precision": float(metrics.precision_score(truth, guess, zero_division=0)),
        "recall": float(metrics.recall_score(truth, guess, zero_division=0)),
        "f1": f1(probability, target),
    }
