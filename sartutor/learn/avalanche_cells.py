"""One cell of the benchmark `avalanche-small`: an entrant is trained on the scenes of a seed, and scored on others.

Rows of one seed see the same scenes and the same boxes, so that they can be compared in pairs. What several rows build
on, such as phase 1, is trained once and kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from sartutor.learn.adapt import Adapted, Method, adapt
from sartutor.learn.avalanche_rows import PUSHES, Entrant
from sartutor.learn.checkpoints import is_complete
from sartutor.learn.curves import read_curve
from sartutor.learn.evaluate import Answer, questions, sam_answer, score, score_images
from sartutor.learn.models import SamModel, load_model
from sartutor.learn.rivals import load_rival, pretrain_rival, rival_answer, train_rival
from sartutor.learn.runner import cpu_seconds, scene_interval
from sartutor.learn.sam.adapted import AdaptedSam
from sartutor.learn.sam.baselines import fill_boxes, otsu_boxes
from sartutor.learn.scores import ImageScore, summary
from sartutor.learn.settings import as_settings
from sartutor.presets import AdaptRecipe, BenchmarkSizes, RivalRecipe, ShapesRecipe
from sartutor.sar.boxes import PROMPTS, loosened_boxes
from sartutor.sar.folder import Dataset, DatasetWriter, Entry
from sartutor.sim.avalanche import avalanche_scene
from sartutor.sim.benchmark import role_seed, write_benchmark, write_single

RULES: dict[str, Answer] = {
    "fill_box": fill_boxes,
    "otsu_box": partial(otsu_boxes, bands=("VV0", "VV1", "DEM")),
}
"""Entrants that learn nothing."""


@dataclass(frozen=True)
class Row:
    """All that a cell is made from, beside its seed; `name` is that of the entrant."""

    name: str
    entrant: Entrant
    data: BenchmarkSizes
    adaptation: AdaptRecipe
    rival: RivalRecipe


@dataclass(frozen=True)
class PretrainedRow(Row):
    """A rival that begins with drawn shapes."""

    pretraining: ShapesRecipe


CLASS_METRICS = ("n", "iou", "precision", "recall", "hit_rate")
"""What is recorded of the objects of a class of size or slope."""

SHAPES_SEED = 1
"""Of the drawn shapes, which are those that `sam_tiny_base` has seen."""


def run_cell(row: Row, seed: int, work: Path, device: str = "auto") -> dict[str, Any]:
    """Scores of a row at a seed on unseen scenes for every kind of prompt, and what it took to train.

    `iou_box` and the like are means over objects, each in its own tight box; `iou_small`, `recall_flat` and their
    kin those of one class at prompt "box". Data and trained models are kept in `work`; it may be deleted.
    """
    pairs = six_bands(row, seed, work)
    data = benchmark(row, seed, work)
    answer, about = entrant(row, seed, data, work, device)
    scores = {
        prompt: score_images(answer, questions(data, "test", prompt, seed, terrain=pairs))
        for prompt in PROMPTS
    }
    values = dict(about)
    for prompt, found in scores.items():
        values |= short_summary(found, prompt)
    low, high = scene_interval(_by_image(scores["box"]), lambda rows: rows[:, 0].sum() / rows[:, 1].sum())
    return {**values, "iou_box_low": low, "iou_box_high": high}


def loosened_scores(row: Row, seed: int, work: Path, device: str = "auto") -> dict[str, float]:
    """Mean IoU of whole images with objects, `images_iou_<push>`, when boxes are looser and looser."""
    data = benchmark(row, seed, work)
    answer, _ = entrant(row, seed, data, work, device)
    asked = [each for each in questions(data, "test", "box", seed) if each.truth.any()]
    found = {}
    for push in PUSHES:
        loose = [replace(each, boxes=tuple(loosened_boxes(each.truth, push))) for each in asked]
        found[f"images_iou_{push}"] = summary([score(each, answer) for each in loose])["images"]["iou"]
    return found


def validation_iou(row: Row, seed: int, work: Path, device: str = "auto") -> dict[str, float]:
    """Only how well the last thing that is trained does on validation, for a search."""
    return {"val_iou": entrant(row, seed, benchmark(row, seed, work), work, device)[1]["val_iou"]}


def benchmark(row: Row, seed: int, work: Path) -> Dataset:
    """The scenes of a seed with the bands that a row is given."""
    pairs = six_bands(row, seed, work)
    if row.entrant.input == "pairs":
        return pairs
    return write_single(pairs, row.entrant.input, work / f"avalanche-{seed}-{row.entrant.input}")


def six_bands(row: Row, seed: int, work: Path) -> Dataset:
    """The scenes of a seed with all of their bands; in training those without debris for a row that learns them."""
    pairs = write_benchmark(work / f"avalanche-{seed}", seed, row.data, progress=False)
    if row.entrant.method.empty_share == 0:
        return pairs
    return with_empties(pairs, work / f"avalanche-{seed}-empties", seed, row.data)


def with_empties(pairs: Dataset, folder: Path, seed: int, sizes: BenchmarkSizes) -> Dataset:
    """The benchmark of a seed in `folder`, its training scenes the first that were drawn, with debris or without.

    One in ten has none, and lies where a scene with debris lay in `pairs`. The other splits are those of `pairs`.
    """
    writer = DatasetWriter(folder, pairs.description)
    train, first = pairs.ids("train"), [f"{seed}-train-{index:04d}" for index in range(sizes.train)]
    others = [entry for entry in pairs.entries if entry.split != "train"]
    for id in {*train} & {*first} | {entry.id for entry in others}:
        if not writer.has(id):
            writer.write(id, pairs.scene(id), pairs.mask(id) == 1)
    left = (id for id in train if id not in first)
    for place, id in zip(left, (id for id in first if id not in train), strict=True):
        if not writer.has(id):
            scene, debris = avalanche_scene((role_seed(seed, "train"), first.index(id)), sizes.side)
            writer.write(id, replace(scene, grid=pairs.scene(place).grid), debris > 0)
    return writer.finish([*(Entry(id, "train", id) for id in first), *others])


def entrant(row: Row, seed: int, data: Dataset, work: Path, device: str) -> tuple[Answer, dict[str, float]]:
    """What answers boxes, and its trained parameters, CPU-seconds of training and best IoU on validation."""
    match row.entrant.kind:
        case "rule":
            return RULES[row.name], {}
        case "base":
            return sam_answer(load_model("sam_tiny_base"), data), {}
        case "sam":
            model, about = _adapted(row, seed, data, work, device)
            return sam_answer(model, data), about
        case _:
            return _rival(row, seed, data, work, device)


def _adapted(
    row: Row, seed: int, data: Dataset, work: Path, device: str
) -> tuple[SamModel, dict[str, float]]:
    """The model of a row, and what all of its phases took."""
    init, spent = None, 0.0
    for phase in range(1, row.entrant.phase + 1):
        method = _relevant(row.entrant.method, phase)
        name = _key("sam", phase, row, method, seed)
        out = work / f"{name}.safetensors"
        train = partial(
            adapt,
            data.folder,
            out,
            recipe=row.adaptation,
            init=init,
            phases=[phase],
            method=method,
            seed=seed,
            device=device,
            progress=False,
        )
        about = _once(out, partial(_best, train))
        spent += about["train_cpu_seconds"]
        init = out
    model = load_model(str(init))
    assert isinstance(model.sam, AdaptedSam)
    parameters = trained_parameters(model.sam, row.entrant.phase)
    model.sam.use_phase(row.entrant.phase)
    return model, {"val_iou": about["val_iou"], "train_cpu_seconds": spent, "parameters": parameters}


def _relevant(method: Method, phase: int) -> Method:
    """The choices that matter up to a phase, so that rows which differ later share what comes before."""
    if phase < 3:
        method = replace(method, fusion="gate")
    return replace(method, alignment="supervised") if phase < 2 else method


def trained_parameters(model: AdaptedSam, phase: int) -> int:
    """How many numbers all phases up to this one train."""
    names = {name for each in range(1, phase + 1) for name in model.train_phase(each)}
    return sum(p.numel() for name, p in model.named_parameters() if name in names)


def _rival(row: Row, seed: int, data: Dataset, work: Path, device: str) -> tuple[Answer, dict[str, float]]:
    name, init, spent = row.entrant.network, None, 0.0
    out = work / f"{_key(name, 1, row, row.entrant.method, seed)}.safetensors"
    if isinstance(row, PretrainedRow):
        init, spent = pretrained_rival(name, row.pretraining, work, device)

    def train() -> float:
        train_rival(name, data, row.rival, out, seed, device, init)
        return 1 - min(loss for _, loss in read_curve(out).validation)

    about = _once(out, train)
    if init is not None:
        whole = about["train_cpu_seconds"] + spent
        about |= {"pretraining_cpu_seconds": spent, "train_cpu_seconds": whole}
    rival = load_rival(out)
    return rival_answer(rival, data), {**about, "parameters": sum(p.numel() for p in rival.parameters())}


def pretrained_rival(name: str, recipe: ShapesRecipe, work: Path, device: str) -> tuple[Path, float]:
    """A rival that has learned from drawn shapes, and the CPU-seconds of that: trained once for all cells in `work`.

    Processes wait for the one that trains; what was interrupted goes on, and its time counts too.
    """
    digest = hashlib.sha256(json.dumps((asdict(recipe), SHAPES_SEED)).encode()).hexdigest()[:12]
    out = work / f"shapes-{name}-{digest}.safetensors"
    clock = out.with_suffix(".seconds")
    work.mkdir(parents=True, exist_ok=True)
    with FileLock(out.with_suffix(".lock")):
        if not is_complete(out, recipe.steps):
            with _clocked(clock):
                pretrain_rival(name, recipe, out, SHAPES_SEED, device)
    return out, _spent(clock)


@contextmanager
def _clocked(clock: Path) -> Iterator[None]:
    """Add the CPU-seconds of what is done to those in a file, interrupted or not."""
    before, began = _spent(clock), cpu_seconds()
    try:
        yield
    finally:
        clock.write_text(json.dumps(before + cpu_seconds() - began))


def _spent(clock: Path) -> float:
    return float(json.loads(clock.read_text())) if clock.exists() else 0.0


def _best(train: Callable[[], Adapted]) -> float:
    return train().val_iou[0]


def _once(out: Path, train: Callable[[], float]) -> dict[str, float]:
    """Best IoU on validation and CPU-seconds of a training that makes `out`; trains where that is not known yet."""
    known, clock = out.with_suffix(".json"), out.with_suffix(".seconds")
    if not known.exists():
        with _clocked(clock):
            best = train()
        known.write_text(json.dumps({"val_iou": best, "train_cpu_seconds": _spent(clock)}))
    return json.loads(known.read_text())


def _key(kind: str, phase: int, row: Row, method: Method, seed: int) -> str:
    """A name of a trained model, which rows that build on it share."""
    sizes = asdict(row.rival) if kind != "sam" else asdict(row.adaptation)
    if kind == "sam":
        sizes["phases"] = sizes["phases"][:phase]
    if isinstance(row, PretrainedRow):
        sizes["pretraining"] = asdict(row.pretraining)
    made_from = (kind, phase, row.entrant.input, as_settings(method), asdict(row.data), sizes, seed)
    return f"{kind}{phase}-{hashlib.sha256(json.dumps(made_from).encode()).hexdigest()[:12]}-{seed}"


def short_summary(scores: Sequence[ImageScore], prompt: str) -> dict[str, Any]:
    """The numbers of one prompt, by short names."""
    found = summary(scores)
    values = {
        f"{name}_{prompt}": found["objects"][name] for name in ("iou", "precision", "recall", "hit_rate")
    }
    values |= {f"images_iou_{prompt}": found["images"]["iou"], f"pooled_iou_{prompt}": found["pooled"]["iou"]}
    values[f"empty_share_{prompt}"] = found["empty"]["share"]
    if prompt != "box":
        return values
    for name, some in (found["by_size"] | found["by_slope"]).items():
        values |= {f"{metric}_{name}": some[metric] for metric in CLASS_METRICS}
    return {**values, "objects": found["objects"]["n"]}


def _by_image(scores: Sequence[ImageScore]) -> NDArray[np.float64]:
    """Sum of IoU and number of objects of each image that has any."""
    rows = [
        (sum(part.iou for part in score.objects), len(score.objects)) for score in scores if score.objects
    ]
    return np.array(rows, float)
