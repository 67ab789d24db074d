"""Several people annotate one scene: how far they agree, where they do not, and what they say together.

Objects of two people are the same where their masks overlap with an IoU of at least a half, paired so that the sum of
IoUs is greatest (Kuhn 1955). Agreement of pixels beyond chance is Cohen's kappa for two people, Fleiss' for more.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import numpy as np
import pandas as pd
import shapely
from numpy.typing import ArrayLike, NDArray
from rasterio.windows import Window
from scipy.optimize import linear_sum_assignment

from sartutor.errors import DataError, OutputError
from sartutor.lab.annotator.annotation import Annotation, Status
from sartutor.lab.annotator.export import union, valid_pixels
from sartutor.lab.annotator.imports import from_mask
from sartutor.lab.annotator.provenance import kept
from sartutor.lab.annotator.session import Session
from sartutor.lab.annotator.training import marked
from sartutor.sar.scene import Readable

SAME_IOU = 0.5
"""Least IoU of masks of the same object."""

Work = Mapping[str, Sequence[Annotation]]
"""Objects by annotator."""


class Pair(NamedTuple):
    """The same object as two people drew it."""

    one: Annotation
    other: Annotation
    iou: float


@dataclass(frozen=True)
class Agreement:
    """How far annotators agree on what they did not reject.

    `objects` counts objects found by all of a pair of annotators, `alone` those by one of the pair, over all pairs.
    `iou` is the mean over the former (not-a-number: none), `iou_of_all` that with 0 for the latter. `kappa` is of the
    pixels with data, between -1 and 1 (not-a-number where everybody says the same of all of them).
    """

    annotators: tuple[str, ...]
    objects: int
    alone: int
    iou: float
    iou_of_all: float
    kappa: float


def read_work(scene: Readable, paths: Sequence[Path | str]) -> dict[str, tuple[Annotation, ...]]:
    """The objects of sessions of one scene by annotator; files stay as they are, and may be open elsewhere.

    A person is named as most objects of the file say, or else as the file. Raises DataError for a file that is not
    there, is no session, or one of another scene, and for fewer than two.
    """
    if len(paths) < 2:
        raise DataError("agreement needs two annotators at least; give two session files.")
    work: dict[str, tuple[Annotation, ...]] = {}
    for path in map(Path, paths):
        if not path.is_file():
            raise DataError(f"{path} is not there; give the session file of each annotator.")
        objects = Session.read(scene, path).objects
        names = Counter(one.annotator for one in objects if one.annotator)
        name = names.most_common(1)[0][0] if names else path.stem
        work[name if name not in work else f"{name} ({path})"] = objects
    return work


def mask_iou(one: Annotation, other: Annotation) -> float:
    """IoU of two masks of one scene; 0 where both are empty."""
    shared = int(np.count_nonzero(one.mask & marked(other, one.window)))
    return shared / max(one.pixels + other.pixels - shared, 1)


def match(one: Sequence[Annotation], other: Sequence[Annotation], least: float = SAME_IOU) -> list[Pair]:
    """The objects that two people both have, in the order of the first; no object is in two pairs."""
    ious = np.zeros((len(one), len(other)))
    for row, col in shapely.STRtree(_boxes(other)).query(_boxes(one), "intersects").T:
        iou = mask_iou(one[row], other[col])
        ious[row, col] = iou if iou >= least else 0
    rows, cols = linear_sum_assignment(ious, maximize=True)
    return [
        Pair(one[r], other[c], float(ious[r, c])) for r, c in zip(rows, cols, strict=True) if ious[r, c] > 0
    ]


def _boxes(objects: Sequence[Annotation]) -> NDArray[np.object_]:
    """The windows of objects as rectangles (n)."""
    sides = np.array([one.window.flatten() for one in objects], float).reshape(-1, 4)
    return shapely.box(sides[:, 0], sides[:, 1], sides[:, 0] + sides[:, 2], sides[:, 1] + sides[:, 3])


def agreement(scene: Readable, work: Work) -> Agreement:
    """How far two or more annotators of a scene agree."""
    known = {name: kept(objects) for name, objects in work.items()}
    pairs, found = [], 0
    for one, other in combinations(known.values(), 2):
        pairs += match(one, other)
        found += len(one) + len(other)
    alone = found - 2 * len(pairs)
    total = sum(pair.iou for pair in pairs)
    return Agreement(
        tuple(work),
        len(pairs),
        alone,
        total / len(pairs) if pairs else math.nan,
        total / (len(pairs) + alone) if found else math.nan,
        _kappa(scene, list(known.values())),
    )


def _kappa(scene: Readable, work: Sequence[Sequence[Annotation]]) -> float:
    """Cohen's kappa of the pixels of two people, Fleiss' of more."""
    valid = valid_pixels(scene)
    said = [union(objects, scene.grid)[valid] for objects in work]
    if len(said) == 2:
        table = np.bincount(2 * said[0].astype(int) + said[1], minlength=4).reshape(2, 2)
        return cohen_kappa(table)
    votes = np.bincount(np.sum(said, axis=0, dtype=int), minlength=len(said) + 1)
    return fleiss_kappa(votes)


def cohen_kappa(table: ArrayLike) -> float:
    """(p_o - p_e) / (1 - p_e) of two people's decisions (Cohen 1960): p_o agree, p_e would by chance.

    `table` (n, n) counts items by the category of the first and of the second. Not-a-number where chance alone agrees.
    """
    shares = np.asarray(table, float) / np.sum(table)
    by_chance = float(shares.sum(1) @ shares.sum(0))
    return _beyond_chance(float(np.trace(shares)), by_chance)


def fleiss_kappa(votes: ArrayLike) -> float:
    """The same of n people's decisions between yes and no (Fleiss 1971).

    `votes` (n + 1) counts items by how many people said yes. An item with j of them has the share of agreeing pairs
    (j (j - 1) + (n - j) (n - j - 1)) / (n (n - 1)).
    """
    items = np.asarray(votes, float) / np.sum(votes)
    people = len(items) - 1
    yes = np.arange(people + 1)
    no = people - yes
    agreeing = float(items @ (yes * (yes - 1) + no * (no - 1))) / (people * (people - 1))
    share = float(items @ yes) / people
    return _beyond_chance(agreeing, share**2 + (1 - share) ** 2)


def _beyond_chance(agreeing: float, by_chance: float) -> float:
    return math.nan if by_chance == 1 else (agreeing - by_chance) / (1 - by_chance)


def conflicts(work: Work) -> pd.DataFrame:
    """Where annotators differ, pair by pair, one row an object; "only" rows have no number on one side.

    Columns: `A` and `B` (annotators), `a` and `b` (numbers of the objects), `iou`, `label_a`, `label_b`, `status_a`,
    `status_b`, and `conflict`: only in A, only in B, class, status, or class and status.
    """
    columns = ["A", "B", "a", "b", "iou", "label_a", "label_b", "status_a", "status_b", "conflict"]
    rows = [
        (*names, *row)
        for names in combinations(work, 2)
        for row in _conflicts(work[names[0]], work[names[1]])
    ]
    return pd.DataFrame(rows, columns=columns).astype({"a": "Int64", "b": "Int64", "iou": float})


def _conflicts(one: Sequence[Annotation], other: Sequence[Annotation]) -> list[tuple[object, ...]]:
    pairs = match(one, other)
    rows: list[tuple[object, ...]] = []
    for a, b, iou in pairs:
        differing = " and ".join(
            what
            for what, differs in (("class", a.label != b.label), ("status", a.status != b.status))
            if differs
        )
        if differing:
            rows.append((a.id, b.id, iou, a.label, b.label, a.status, b.status, differing))
    for a in _rest(one, [pair.one for pair in pairs]):
        rows.append((a.id, None, None, a.label, None, a.status, None, "only in A"))
    for b in _rest(other, [pair.other for pair in pairs]):
        rows.append((None, b.id, None, None, b.label, None, b.status, "only in B"))
    return rows


def _rest(objects: Sequence[Annotation], paired: Sequence[Annotation]) -> list[Annotation]:
    """What is in no pair; rejected objects that nobody else has are no conflict."""
    return [one for one in kept(objects) if one not in paired]


def merged(work: Work) -> list[Annotation]:
    """What annotators say together: one object for each that any of them has.

    Its mask is where most of those who have it mark it. It is accepted where most annotators say so, and rejected where
    most have rejected it or do not have it; in every other case, and where no class has a majority, it is open, and its
    note says what they said.
    """
    groups: list[dict[str, Annotation]] = []
    for name, objects in work.items():
        firsts = [next(iter(group.values())) for group in groups]
        homes = {pair.other: firsts.index(pair.one) for pair in match(firsts, objects)}
        for one in objects:
            if one in homes:
                groups[homes[one]][name] = one
            else:
                groups.append({name: one})
    return [_together(group, list(work)) for group in groups]


def _together(group: Mapping[str, Annotation], annotators: Sequence[str]) -> Annotation:
    """One object of those who have it."""
    members = list(group.values())
    status, label = _decided(members, len(annotators))
    said = [f"{name}: {_said(group.get(name))}" for name in annotators]
    one = members[0] if len(members) == 1 else _joined(members)
    return replace(
        one,
        label=label,
        status=status,
        seconds=sum(member.seconds for member in members),
        note=one.note if status != "open" else "; ".join(filter(None, (one.note, *said))),
    )


def _said(member: Annotation | None) -> str:
    return "nothing" if member is None else f"{member.label}, {member.status}"


def _decided(members: Sequence[Annotation], annotators: int) -> tuple[Status, str]:
    """Status by the majority of annotators, who reject also what they do not have; class by that of who has it."""
    label, backers = Counter(member.label for member in members).most_common(1)[0]
    said = Counter(member.status for member in members)
    if 2 * (said["rejected"] + annotators - len(members)) > annotators:
        return "rejected", label
    agreed = 2 * said["accepted"] > annotators and 2 * backers > len(members)
    return ("accepted" if agreed else "open"), label


def _joined(members: Sequence[Annotation]) -> Annotation:
    """The majority's mask; its score is the mean IoU between members."""
    bounds = np.array([np.transpose(member.window.toranges()).ravel() for member in members])
    (top, left), (bottom, right) = bounds.min(0)[:2].tolist(), bounds.max(0)[2:].tolist()
    window = Window(left, top, right - left, bottom - top)
    votes = np.sum([marked(member, window) for member in members], axis=0)
    score = fmean(mask_iou(*pair) for pair in combinations(members, 2))
    first = members[0]
    one = from_mask(2 * votes > len(members), window, first.grid, first.kind, score=round(score, 4))
    same = len({(member.model, member.model_digest) for member in members}) == 1
    return replace(one, model=first.model, model_digest=first.model_digest) if same else one


def merge(scene: Readable, paths: Sequence[Path | str], out: Path | str) -> Session:
    """Write what the annotators of session files say together as a new session, and open it.

    Raises DataError as `read_work`, OutputError where there is a file of that name already.
    """
    out = Path(out)
    if out.exists():
        raise OutputError(f"{out} is there already; choose another name for the merged session.")
    work = read_work(scene, paths)
    session = Session.open(scene, out, ", ".join(work))
    session.apply(added=merged(work))
    return session
