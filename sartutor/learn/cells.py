"""One cell of an experiment on weighting: a small encoder is pretrained, fine-tuned for a task, and scored.

All of it is drawn anew with the cell's seed: weights, masks, and the scenes of pretraining, of labels and of the test.
Rows of one seed see the same scenes, so that they can be compared in pairs.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast, get_args

from sartutor.learn.chips import ALOS2_HH, SENTINEL1_DUAL, Chips, SimulatedChips, simulator
from sartutor.learn.curves import read_curve
from sartutor.learn.downstream import finetune
from sartutor.learn.filtering import FilteredChips
from sartutor.learn.frozen import frozen_scores
from sartutor.learn.labelled import FloodPairs, MultiLabel, Part, label_subset, training_weights
from sartutor.learn.pretrain import Model, build_model, load_pretrained, pretrain
from sartutor.learn.reconstruction import reconstruction_scores
from sartutor.learn.runner import cpu_seconds
from sartutor.learn.starts import Start
from sartutor.learn.tasks import Task, flood_task, land_cover_task, multilabel_task
from sartutor.learn.upernet import Encoder
from sartutor.learn.weighting import BandStatistics, WeightRule
from sartutor.presets import MIXMAE_SIZES, SWIN_SIZES, DownstreamRecipe, MixMaeSize, PretrainRecipe, SwinSize
from sartutor.sim.landcover import domain_sensor

DOMAINS = {"simmim": ALOS2_HH, "mixmae": SENTINEL1_DUAL}
"""What each method is pretrained on: as its paper, ALOS-2 HH and Sentinel-1 VV and VH."""

FIRST_SCENES = 100
"""Scenes of smaller seeds belong to the embedded encoders."""

Role = Literal["pretraining", "train", "val", "test"]
ROLES: tuple[Role, ...] = get_args(Role)
"""What a cell needs scenes for; each has a seed of its own."""

JUDGED_BATCHES = 8
"""Batches of test chips that are restored by the pretrained model."""

PRETRAINED = "pretraining_"
"""Begins the names of what is known of a cell's pretrained model."""


@dataclass(frozen=True)
class Row:
    """All that a cell is made from, beside its seed: `chips` scenes of pretraining, a `fraction` of the labels."""

    method: str
    start: Start
    task: str
    fraction: float
    chips: int
    pretraining: PretrainRecipe
    downstream: DownstreamRecipe


def run_cell(row: Row, seed: int, work: Path, device: str = "auto") -> dict[str, Any]:
    """Scores of a row at a seed: those of `finetune`, `val_score`, CPU-seconds, and those of the pretrained model.

    Land cover is also read off the encoder as it was before fine-tuning (`frozen_scores`). `simulator` names the
    version that the scenes are from. Pretrained models and simulated scenes are kept in `work` for the cells that share
    them; it may be deleted.
    """
    model, about = _encoder(row, seed, work, device)
    encoder = cast(Encoder, model)
    task, chips = _task(row, seed, work)
    frozen = frozen_scores(encoder, *chips) if row.task == "land_cover" else {}
    began = cpu_seconds()
    with tempfile.TemporaryDirectory(dir=work) as folder:
        out = Path(folder) / "downstream.safetensors"
        scores = finetune(task, encoder, *chips, row.downstream, seed, out, device)
        best = -min(loss for _, loss in read_curve(out).validation)
    spent = {"finetune_cpu_seconds": cpu_seconds() - began}
    return {**scores, "val_score": best, **frozen, **spent, **about, "simulator": simulator()}


def _encoder(row: Row, seed: int, work: Path, device: str) -> tuple[Model, dict[str, float]]:
    """The model to fine-tune, and what is known of it: nothing where its weights are random."""
    chips = _chips(row.method, row.start.filtered, seed, "pretraining", row.chips, _side(row), work)
    if row.start.rule is None:
        rule = WeightRule("none")
        return build_model(row.method, "swin", row.pretraining.size, chips.statistics, rule, seed), {}
    out = work / f"{_key(row, seed)}.safetensors"
    known = out.with_suffix(".json")
    if not known.exists():
        spent = _pretrain(chips, row, row.start.rule, seed, out, device)
        known.write_text(json.dumps({**_judged(row, seed, work, out), "cpu_seconds": spent}))
    about = json.loads(known.read_text())
    return load_pretrained(out), {f"{PRETRAINED}{name}": value for name, value in about.items()}


def _pretrain(chips: Chips, row: Row, rule: WeightRule, seed: int, out: Path, device: str) -> float:
    """Pretrain from the first step, whatever was left by an interrupted run; CPU-seconds."""
    began = cpu_seconds()
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        fresh = Path(folder) / out.name
        pretrain(
            chips,
            row.method,
            fresh,
            backbone="swin",
            recipe=row.pretraining,
            rule=rule,
            seed=seed,
            device=device,
        )
        fresh.replace(out)
    return cpu_seconds() - began


def _judged(row: Row, seed: int, work: Path, checkpoint: Path) -> dict[str, float]:
    """How well chips of the test are restored, and at which bias."""
    model = load_pretrained(checkpoint)
    count = JUDGED_BATCHES * row.pretraining.batch
    chips = _chips(row.method, row.start.filtered, seed, "test", count, _side(row), work, model.statistics)
    return reconstruction_scores(model, chips, row.pretraining.batch)


def _task(row: Row, seed: int, work: Path) -> tuple[Task, tuple[Chips, Chips, Chips]]:
    """The task, and its chips for training, validation and the test."""
    train, val, test = (_labelled(row, seed, role, work) for role in ("train", "val", "test"))
    some = Part(train, label_subset(len(train), row.fraction, seed))
    match row.task:
        case "land_cover":
            task = land_cover_task(len(train.classes), training_weights(some))
        case "multilabel":
            task = multilabel_task(len(train.classes))
        case _:
            task = flood_task()
    return task, (some, val, test)


def _labelled(row: Row, seed: int, role: Role, work: Path) -> Chips:
    """All labelled chips of a role."""
    recipe = row.downstream
    count = {"train": recipe.train, "val": recipe.val, "test": recipe.test}[role]
    side, filtered = _side(row), row.start.filtered
    statistics = _chips(row.method, filtered, seed, "pretraining", row.chips, side, work).statistics
    if row.task == "flood":
        return _pairs(row.method, seed, role, count, recipe.side, statistics)
    chips = _chips(row.method, filtered, seed, role, count, recipe.side, work, statistics)
    return MultiLabel(chips) if row.task == "multilabel" else chips


@lru_cache(maxsize=8)
def _chips(
    method: str,
    filtered: bool,
    seed: int,
    role: Role,
    count: int,
    side: int,
    work: Path,
    statistics: BandStatistics | None = None,
) -> Chips:
    """Simulated chips of a role; those of pretraining measure the statistics that all others take over."""
    domain = DOMAINS[method]
    chips = SimulatedChips(domain, _scenes(seed, role), count, side, statistics, work / "chips")
    return FilteredChips(chips, domain_sensor(domain).looks) if filtered else chips


@lru_cache(maxsize=6)
def _pairs(
    method: str, seed: int, role: Role, count: int, side: int, statistics: BandStatistics
) -> FloodPairs:
    """Simulated pairs of a role."""
    return FloodPairs(DOMAINS[method], _scenes(seed, role), count, side, statistics)


def _scenes(seed: int, role: Role) -> int:
    """The seed of the scenes of a role: no two roles and no two seeds have one in common."""
    return FIRST_SCENES + len(ROLES) * seed + ROLES.index(role)


def _side(row: Row) -> int:
    """Rows and columns of the chips of pretraining in pixels."""
    sizes: Mapping[str, SwinSize | MixMaeSize] = SWIN_SIZES if row.method == "simmim" else MIXMAE_SIZES
    return sizes[row.pretraining.size].image_size


def _key(row: Row, seed: int) -> str:
    """A name of the pretrained model, which rows of other tasks and labels share."""
    made_from = (row.method, asdict(row.start), row.chips, asdict(row.pretraining), seed)
    digest = hashlib.sha256(json.dumps(made_from).encode()).hexdigest()[:12]
    return f"{row.method}-{digest}-{seed}"
