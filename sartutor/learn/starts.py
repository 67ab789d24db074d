"""What the experiments on weighting compare, and what each comparison asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from sartutor.learn.weighting import WeightRule


@dataclass(frozen=True)
class Start:
    """What an encoder starts from: pretraining with a rule of weights, or random numbers (None); `filtered` chips."""

    rule: WeightRule | None
    filtered: bool = False


STARTS = {
    "random": Start(None),
    "unweighted": Start(WeightRule("none")),
    "physical": Start(WeightRule()),
    "zscore": Start(WeightRule(domain="zscore")),
    "clipped": Start(WeightRule(domain="clipped")),
    "unit_mean": Start(WeightRule(control="unit_mean")),
    "shuffled": Start(WeightRule(control="shuffled")),
    "inverted": Start(WeightRule(control="inverted")),
    "despeckled": Start(WeightRule(control="despeckled")),
    "filtered": Start(WeightRule(), filtered=True),
    "filtered_random": Start(None, filtered=True),
    "unweighted_longer": Start(WeightRule("none")),
    "physical_longer": Start(WeightRule()),
}
"""Rows of the main table by name."""

LONGER = {"unweighted_longer": 4, "physical_longer": 4}
"""How many times as many steps of pretraining as the others these starts have."""

MEANINGS = {
    "random": "no pretraining",
    "unweighted": "pretrained, all pixels alike",
    "physical": "weights from linear power",
    "zscore": "weights from 10^(z / 10) of standardised decibels z",
    "clipped": "weights from linear power up to its 99th percentile",
    "unit_mean": "physical weights, divided by their mean over each image and band",
    "shuffled": "physical weights at other pixels of the same image",
    "inverted": "weights that favour bright pixels",
    "despeckled": "physical weights from averaged power",
    "filtered": "as physical, all chips Lee-filtered before pretraining and fine-tuning",
    "filtered_random": "no pretraining, all chips Lee-filtered",
    "unweighted_longer": "as unweighted, four times as many steps",
    "physical_longer": "as physical, four times as many steps",
}
"""What each start is, in words."""

WEIGHTINGS = ("physical", "zscore", "clipped")
"""Starts among which the best weighting is chosen for other tasks."""

FRACTIONS = (1.0, 0.125)
"""Shares of the labels in the main table."""

TASK_CELLS = {"land_cover": (0.5, 0.25), "multilabel": (1.0, 0.5, 0.25, 0.125), "flood": (1.0, 0.125)}
"""Tasks and shares of labels for the best weighting only."""


class Question(NamedTuple):
    """What is asked by comparing start `a` with start `b`."""

    text: str
    a: str
    b: str

    @property
    def on_weights(self) -> bool:
        """Whether the starts differ in weights alone: both pretrained, for as long, on the same images."""
        a, b = STARTS[self.a], STARTS[self.b]
        as_long = LONGER.get(self.a) == LONGER.get(self.b)
        return None not in (a.rule, b.rule) and a.filtered == b.filtered and as_long


QUESTIONS = (
    Question("Does pretraining without weights help?", "unweighted", "random"),
    Question("Does weighted pretraining help?", "physical", "random"),
    Question("Do weights help?", "physical", "unweighted"),
    Question("Do z-score weights help?", "zscore", "unweighted"),
    Question("Do clipped weights help?", "clipped", "unweighted"),
    Question("Is it more than a larger loss?", "unit_mean", "unweighted"),
    Question("Does it matter where the weights lie?", "physical", "shuffled"),
    Question("Is dark the right way round?", "physical", "inverted"),
    Question("Do weights from less speckled power do better?", "despeckled", "physical"),
    Question("Does filtered input do better?", "filtered", "physical"),
    Question("Does filtered input do better without pretraining?", "filtered_random", "random"),
    Question("Does weighted pretraining help on filtered input?", "filtered", "filtered_random"),
    Question("Does longer pretraining help?", "unweighted_longer", "random"),
    Question("Is longer better?", "unweighted_longer", "unweighted"),
    Question("Do weights help in longer pretraining?", "physical_longer", "unweighted_longer"),
)
"""Comparisons of the main table."""


def row_name(method: str, start: str, fraction: float) -> str:
    """The name of a row in records: method, start, and labels in percent."""
    return f"{method}-{start}-{100 * fraction:g}"
