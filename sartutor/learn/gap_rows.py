"""What the benchmark `gaps` compares, and what each comparison asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sartutor.learn.moe import Mixture
from sartutor.learn.record_tables import Question
from sartutor.learn.runner import Records

AGREEMENT, WEAKER = 0.7588, 0.632
"""Shares of right labels in pretraining: the mean of arXiv 2603.12008, and its OpenEarthMap-SAR part."""


@dataclass(frozen=True)
class Encoder:
    """What is frozen before a head learns on a source.

    Args:
        kind: "plain" learns from the source alone, whole; "masked" has masked pretraining alone; "embedded" is an
            encoder that comes with the package; "continued" goes on from "masked" by segmentation of many domains.
        mixture: experts of a "continued" encoder; None keeps its feed-forward layers.
        agreement: share of right labels in continued pretraining; None takes the true ones.
        name: of an embedded encoder.
    """

    kind: Literal["plain", "masked", "embedded", "continued"] = "continued"
    mixture: Mixture | None = None
    agreement: float | None = AGREEMENT
    name: str = ""


def _all(agreement: float | None = AGREEMENT, **choices: object) -> Encoder:
    return Encoder(mixture=Mixture(**choices), agreement=agreement)  # type: ignore[arg-type]


ENCODERS = {
    "plain": Encoder("plain"),
    "masked": Encoder("masked"),
    "simmim_hh": Encoder("embedded", name="simmim_hh"),
    "mixmae_s1": Encoder("embedded", name="mixmae_s1"),
    "dense": Encoder(),
    "moe": _all(balance=0.0, descriptors=()),
    "descriptors": _all(balance=0.0),
    "balance": _all(descriptors=()),
    "all": _all(),
    "normalised": _all(gate="normalised"),
    "unnormalised": _all(gate="unnormalised"),
    "three": _all(experts=3),
    "twelve": _all(experts=12),
    "two_chosen": _all(chosen=2),
    "three_chosen": _all(chosen=3),
    "entropy": _all(descriptors=("directional_entropy",)),
    "enl": _all(descriptors=("enl",)),
    "roughness": _all(descriptors=("local_roughness",)),
    "weaker": _all(WEAKER),
    "true_labels": _all(None),
    "dense_weaker": Encoder(agreement=WEAKER),
    "dense_true_labels": Encoder(agreement=None),
}
"""Rows of the table by name."""

MEANINGS = {
    "plain": "nothing: the same transformer from random weights, trained whole on the source, as long as heads are",
    "masked": "masked pretraining (SimMIM) on chips of many domains, without labels",
    "simmim_hh": "the embedded encoder of that name, on the first channel",
    "mixmae_s1": "the embedded encoder of that name, on the first two channels",
    "dense": "from `masked`, continued by segmentation of many domains on weak labels",
    "moe": "as `dense`, six experts a block, one chosen, routed by tokens",
    "descriptors": "as `moe`, routed by tokens and the three descriptors",
    "balance": "as `moe`, with the balance loss",
    "all": "descriptors and balance loss: CrossEarth-SAR",
    "normalised": "as `all`, gate of the publication, always 1 with one expert chosen",
    "unnormalised": "as `all`, gate 6 pi",
    "three": "as `all`, three experts",
    "twelve": "as `all`, twelve experts",
    "two_chosen": "as `all`, two experts chosen",
    "three_chosen": "as `all`, three experts chosen",
    "entropy": "as `all`, directional entropy alone",
    "enl": "as `all`, ENL alone",
    "roughness": "as `all`, local roughness alone",
    "weaker": "as `all`, 63.20 % of the labels right instead of 75.88 %",
    "true_labels": "as `all`, all labels right",
    "dense_weaker": "as `dense`, 63.20 % of the labels right",
    "dense_true_labels": "as `dense`, all labels right",
}
"""What each row is, in words."""


LONGER = 3
"""How many times as many steps rows of `SEEN` that end in `_long` take."""

SEEN = {"dense_long": Encoder(), "all_long": _all(), "six_chosen": _all(chosen=6)}
"""Rows that ask whether experts lack tokens to learn from, of which each sees a sixth in `all`."""

SEEN_MEANINGS = {
    "dense_long": f"as `dense`, {LONGER} times as many steps of continued pretraining",
    "all_long": f"as `all`, {LONGER} times as many steps",
    "six_chosen": "as `all`, all six experts chosen: each sees every token, at six times the computing of these layers",
}
"""What each of them is, in words."""


def _asked(text: str, a: str, b: str, metric: str = "miou") -> Question:
    return Question(text, a, b, metric)


QUESTIONS = (
    _asked("Is pretraining on many domains better than a short training on the source?", "dense", "plain"),
    _asked("Does it help more than masked pretraining alone?", "dense", "masked"),
    _asked("Is masked pretraining alone better than that?", "masked", "plain"),
    _asked("Are experts better than one layer?", "moe", "dense"),
    _asked("Is the whole better than one layer?", "all", "dense"),
    _asked("Does the balance loss help?", "balance", "moe"),
    _asked("Do descriptors help?", "descriptors", "moe"),
    _asked("Do descriptors help beside the balance loss?", "all", "balance"),
    _asked("Does the balance loss help beside descriptors?", "all", "descriptors"),
    _asked("Is the balance loss better than descriptors?", "balance", "descriptors"),
    _asked("Does the router need the task's gradient?", "all", "normalised"),
    _asked("Is the gate of 1 better than 6 pi?", "all", "unnormalised"),
    _asked("Are six experts better than three?", "all", "three"),
    _asked("Are twelve better than six?", "twelve", "all"),
    _asked("Is one chosen better than two?", "all", "two_chosen"),
    _asked("Is one chosen better than three?", "all", "three_chosen"),
    _asked("Is entropy alone better than all three for another polarisation?", "entropy", "all", "miou_VV2F"),
    _asked("Is ENL alone better than all three for complex values?", "enl", "all", "miou_C(r)2R"),
    _asked("Is roughness alone better than all three for another region?", "roughness", "all", "miou_N2S"),
    _asked("Do wrong labels cost?", "true_labels", "all"),
    _asked("Do more wrong labels cost more?", "all", "weaker"),
    _asked("Do wrong labels cost a dense encoder?", "dense_true_labels", "dense"),
    _asked("Do more wrong labels cost it more?", "dense", "dense_weaker"),
)
"""Comparisons of the table; more is better in every metric."""

SEEN_QUESTIONS = (
    _asked("Do more steps help six experts?", "all_long", "all"),
    _asked("Do they help one layer?", "dense_long", "dense"),
    _asked("Do they help six experts more than one layer?", "all_gain", "dense_gain"),
    _asked("Are experts better than one layer after more steps?", "all_long", "dense_long"),
    _asked("Are six experts that see every token better than one that is chosen?", "six_chosen", "all"),
    _asked("Are they better than one layer?", "six_chosen", "dense"),
)
"""Comparisons with rows of `SEEN`, and with what `with_gains` makes of them."""

ORDER = ("all", "balance", "descriptors", "moe", "dense")
"""The rows that arXiv 2603.12008 puts in an order, best first."""

TRAINERS = ("dense", "moe", "descriptors", "balance", "all")
"""Rows whose learning rate of continued pretraining is searched."""


def with_gains(records: Records) -> Records:
    """The records, and as rows `all_gain` and `dense_gain` what more steps add to `all` and `dense` at each seed."""
    scores = {(r["configuration"], r["seed"]): r["values"]["miou"] for r in records}
    gains = [
        {
            "configuration": f"{name}_gain",
            "seed": seed,
            "values": {"miou": scores[long, seed] - scores[name, seed]},
        }
        for name in ("all", "dense")
        for long, seed in scores
        if long == f"{name}_long" and (name, seed) in scores
    ]
    return [*records, *gains]


def trainer(name: str) -> str:
    """The row whose learning rate another one takes over."""
    if name in TRAINERS:
        return name
    return "all" if (ENCODERS | SEEN)[name].mixture else "dense"
