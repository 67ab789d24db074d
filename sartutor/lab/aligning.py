"""Two encoders and one decoder, for the notebook on the second encoder: scenes, measures of likeness, pictures.

The model is an adapted one with two branches; of `AdaptedSam`, phase 1 means its primary encoder and phase 2 its
secondary one, both read by the decoder of phase 1.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, zip_longest
from pathlib import Path
from typing import Any, TypeVar, cast

import ipywidgets as widgets
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rasterio.windows import Window
from scipy import ndimage, stats
from torch import Tensor, nn
from torch.utils.data import default_collate

from sartutor.errors import DataError
from sartutor.lab import plots
from sartutor.lab.data import MADE_UP, runs_folder
from sartutor.lab.explorers import choice, explorer, panel_figure, slider
from sartutor.learn.checkpoints import save_tensors
from sartutor.learn.evaluate import Answer, Part, Question, questions, sam_answer, score
from sartutor.learn.losses import mask_iou, mask_loss
from sartutor.learn.models import SamModel, load_model, saved_tensors
from sartutor.learn.sam.adapted import AdaptedSam
from sartutor.learn.sam.inputs import in_decibels
from sartutor.learn.sam.model import EncoderBranch
from sartutor.learn.sam.objectives import prompted_masks
from sartutor.learn.sam.samples import MOST_BOXES, Batch, Labelled, PromptedImages, prompted
from sartutor.learn.scores import SLOPES, Classes, ObjectScore, box_counts, class_of
from sartutor.presets import AligningSizes
from sartutor.sar.boxes import Box, Mask, connected_objects, tight_box
from sartutor.sar.dates import before_after
from sartutor.sar.folder import Dataset, open_dataset
from sartutor.sar.radiometry import power_to_db, to_linear
from sartutor.sar.scene import Scene
from sartutor.sim.benchmark import write_benchmark

Array = NDArray[np.floating]

T = TypeVar("T")

NOTEBOOK_BENCHMARKS = 500
"""Benchmarks of smaller seeds belong to the experiments; no model has learned from those of this notebook."""

CALM_PX = 5
"""Side of the window over which power is averaged before two dates are compared, in pixels."""

RING_PX = (2, 8)
"""How far from an object its surroundings begin and end, in pixels."""

LEAST_PIXELS = 50
"""Smaller objects are not looked at on their own."""

SLOPE_COLORS = {"flat": plots.ORANGE, "sloping": plots.GREEN, "steep": plots.PURPLE}

CHANGE_DB = (-6.0, 8.0)
"""Black and white of pictures of change."""


@dataclass(frozen=True)
class Lesson:
    """What the notebook works on: `test` is the split that nothing is learned from; `key`, `credit` as in `Example`."""

    model: SamModel
    folder: Dataset
    test: str
    key: str
    credit: str

    @property
    def sam(self) -> AdaptedSam:
        """The adapted network of the model."""
        return cast(AdaptedSam, self.model.sam)


@dataclass(frozen=True, eq=False)
class SeenObject:
    """One labelled object: the image it is on, what is known of it, and its mask (rows, columns)."""

    question: Question
    part: Part
    mask: Mask


def lesson(data: str, preset_name: str, seed: int, sizes: AligningSizes, name: str | Path) -> Lesson:
    """A model of two encoders and scenes that it has not seen.

    Args:
        data: "synthetic" or "sample" (no labelled pair of dates comes with the package) simulate a benchmark; all else
            is a folder of your own data with the model's bands.
        preset_name: names the folder that a benchmark is kept in.
        seed: of the benchmark.
        sizes: its size.
        name: of the model, or its path.

    Raises DataError for a model of one encoder, and a folder that lacks its bands, or a test split.
    """
    model = load_model(name)
    if len(model.branches) != 2:
        raise DataError(
            f"{model.name} has one encoder; choose a model that was adapted to more than three bands."
        )
    if data in ("synthetic", "sample"):
        folder = runs_folder(preset_name, "synthetic") / f"08-scenes-{seed}"
        made = write_benchmark(folder, NOTEBOOK_BENCHMARKS + seed, sizes.data, progress=False)
        return Lesson(model, made, "test", data, MADE_UP)
    own = open_dataset(data)
    if missing := [
        band for ranges in model.branches for band in ranges if band not in own.description.band_names
    ]:
        raise DataError(
            f"{data} has no band {missing[0]}, which {model.name} needs; adapt a model to your bands with "
            "`sartutor adapt FOLDER --out mine.safetensors`, and name it in the notebook."
        )
    test = next((split for split in own.splits if split not in ("train", "val")), None)
    if test is None:
        raise DataError(f"{data} has no test images; give some of its images the split `test` in splits.csv.")
    return Lesson(model, own, test, Path(data).name, f"Your own data: {data}")


def seen_objects(asked: Iterable[Question]) -> list[SeenObject]:
    """The objects of at least `LEAST_PIXELS` on images, in the order of `Question.parts`."""
    found = []
    for question in asked:
        by_box = {tight_box(mask): mask for mask in connected_objects(question.truth, LEAST_PIXELS)}
        found += [SeenObject(question, part, by_box[part.box]) for part in question.parts]
    return found


def encoder_names(model: SamModel) -> tuple[str, str]:
    """What the two encoders are called: the radar band of each, without its date."""
    first, second = (next(iter(ranges)).rstrip("0123456789") for ranges in model.branches)
    return first, second


def calm_change(scene: Scene, bands: Iterable[str], size: int = CALM_PX) -> Array:
    """How much brighter date 1 is than date 0 (rows, columns) in dB, or the first band where there is one date.

    Power is averaged over `size` x `size` pixels first. The dates are those that `before_after` finds.
    """
    names = tuple(bands)
    pair = before_after(names)
    levels = [_calm(scene, name, size) for name in (pair or names[:1])]
    return levels[1] - levels[0] if pair else levels[0]


def _calm(scene: Scene, name: str, size: int) -> Array:
    units = scene.bands[scene.band_names.index(name)].units
    linear = np.where(scene.valid, to_linear(scene.band(name), units), 0).astype(np.float64)
    weight = ndimage.uniform_filter(scene.valid.astype(np.float64), size)
    mean = ndimage.uniform_filter(linear, size) / np.maximum(weight, 1e-6)
    return np.asarray(power_to_db(mean) if in_decibels(units) else mean)


def stands_out(values: Array, mask: Mask, valid: Mask) -> float:
    """By how many standard deviations of its surroundings an object's mean differs from theirs.

    Args:
        values: (rows, columns).
        mask: the object.
        valid: what may count as surroundings: pixels with data that are no object.
    """
    near, far = (ndimage.binary_dilation(mask, iterations=steps) for steps in RING_PX)
    ring = values[far & ~near & valid]
    if ring.size < 2 or ring.std() == 0:
        return float("nan")
    return float((values[mask].mean() - ring.mean()) / ring.std())


def contrasts(objects: Sequence[SeenObject], model: SamModel) -> Array:
    """How far each object stands out (objects, 2) of the change that each encoder is shown."""
    rows = []
    for each in objects:
        question = each.question
        around = question.known & ~question.truth
        rows.append(
            [stands_out(calm_change(question.scene, bands), each.mask, around) for bands in model.branches]
        )
    return np.array(rows).reshape(-1, 2)


def cosine_similarity(one: Tensor, other: Tensor, mean: Tensor | None = None) -> Tensor:
    """Cosine of the angle between the tokens (..., C) of two encoders: 1 where they point the same way.

    `mean` (C,) is taken off both first: what all tokens have in common would make any two of them alike.
    """
    if mean is not None:
        one, other = one - mean, other - mean
    return torch.nn.functional.cosine_similarity(one, other, -1)


def linear_cka(one: Tensor, other: Tensor) -> float:
    """Linear centred kernel alignment of the same n things described twice, (n, C) and (n, D): from 0 to 1.

    ||Y'X||^2 / (||X'X|| ||Y'Y||) of columns without their means, Frobenius norms (Kornblith et al., arXiv 1905.00414,
    equation 3). Turning or scaling one description changes nothing: 1 means alike but for that.
    """
    x, y = (each.double() - each.double().mean(0) for each in (one, other))
    return float((y.T @ x).norm() ** 2 / ((x.T @ x).norm() * (y.T @ y).norm()))


def principal_axes(tokens: Tensor, count: int = 3) -> tuple[Tensor, Tensor]:
    """Mean (C,) of tokens (n, C), and the `count` directions (C, count) along which they differ most."""
    mean = tokens.mean(0)
    _, _, axes = torch.linalg.svd(tokens - mean, full_matrices=False)
    return mean, axes[:count].T


def start_of_alignment(model: SamModel) -> SamModel:
    """The model as it is before phase 2: its second branch is new and encodes as the base does."""
    learned, about = cast(AdaptedSam, model.sam), {**model.about, "phases": [1]}
    choices = (about[name] for name in ("activation", "fusion", "tuning"))
    sam = AdaptedSam(learned.base, 2, *choices)
    sam.branches[0].load_state_dict(learned.branches[0].state_dict())
    sam.mask_decoder.load_state_dict(learned.mask_decoder.state_dict())
    return replace(model, name=f"{model.name} after phase 1", sam=sam.use_phase(2).eval(), about=about)


def save_model(model: SamModel, path: Path) -> Path:
    """Write an adapted model, with its base where that does not come with the package; returns the path."""
    sam = cast(AdaptedSam, model.sam)
    save_tensors(path, saved_tensors(sam, model.about["base"] is None), model.about)
    return path


def with_second(model: SamModel, branch: nn.Module) -> SamModel:
    """A copy of the model whose second encoder is a copy of `branch`, ready to predict with it."""
    sam = copy.deepcopy(cast(AdaptedSam, model.sam))
    sam.branches[1].load_state_dict(branch.state_dict())
    return replace(model, sam=sam.use_phase(2).eval())


def object_scores(asked: Iterable[Question], answer: Answer) -> list[ObjectScore]:
    """What an answer is worth for each object, in the order of `seen_objects`."""
    return [part for question in asked for part in score(question, answer).objects]


def object_ious(asked: Iterable[Question], answer: Answer) -> NDArray[np.float64]:
    """IoU of each object, in the order of `seen_objects`."""
    return np.array([part.counts.iou for part in object_scores(asked, answer)])


def ask(known: Lesson, limit: int | None = None) -> list[Question]:
    """The images of the test split with loosened boxes around their objects; those without an object are left out."""
    some = [
        each for each in questions(known.folder, known.test, "box", least_pixels=LEAST_PIXELS) if each.parts
    ]
    return some[:limit]


def mirrored_answer(known: Lesson) -> Answer:
    """The model asked about the mirror image, its answer mirrored back: a second opinion from the same bands."""
    plain = sam_answer(known.model, known.folder)

    def answer(scene: Scene, boxes: Sequence[tuple[float, float, float, float]]) -> Mask:
        flip = np.s_[..., ::-1]
        turned = replace(
            scene,
            pixels=np.ascontiguousarray(scene.pixels[flip]),
            valid=np.ascontiguousarray(scene.valid[flip]),
            name=f"{scene.name} mirrored",
        )
        width = scene.grid.width
        there = [(width - x1, y0, width - x0, y1) for x0, y0, x1, y1 in boxes]
        return np.ascontiguousarray(plain(turned, there)[flip])

    return answer


def windows_of(known: Lesson, objects: Sequence[SeenObject], limit: int) -> Batch:
    """The windows that are seen when at most `limit` objects are asked about, as one batch; images take turns.

    Boxes that share a window are in one sample, at most `MOST_BOXES` of them. Of two scales it is the smaller.
    """
    rows = groupby(objects, lambda each: each.question.id)
    shared: dict[tuple[str, Window], tuple[Question, list[Box]]] = {}
    for each in in_turns([list(row) for _, row in rows])[:limit]:
        question, box = each.question, _box_of(each)
        window = known.model.windows(box, question.truth.shape)[0]
        _, boxes = shared.setdefault((question.id, window), (question, []))
        if box not in boxes:
            boxes.append(box)
    side, branches = known.sam.size.image_size, known.model.branches
    samples = []
    for (_, window), (question, boxes) in shared.items():
        labels = np.where(question.known, question.truth, -1).astype(np.int16)
        labelled = Labelled(question.scene, labels)
        samples.append(prompted(labelled, branches, side, window, boxes[:MOST_BOXES]))
    return cast(Batch, default_collate(samples))


def in_turns(rows: Iterable[Sequence[T]]) -> list[T]:
    """The first of every row, then the second ones, and so on."""
    return [each for turn in zip_longest(*rows) for each in turn if each is not None]


def _box_of(each: SeenObject) -> Box:
    """The box that an object was asked about with; a merged box holds several objects."""
    x, y = (each.part.box[i] + each.part.box[i + 2] for i in (0, 1))
    return next(b for b in each.question.boxes if b[0] <= x / 2 <= b[2] and b[1] <= y / 2 <= b[3])


def watched_batch(known: Lesson, count: int, seed: int) -> Batch:
    """A fixed batch of prompted validation samples, as training draws them."""
    side, model = known.sam.size.image_size, known.model
    samples = PromptedImages(known.folder, "val", model.branches, side, count, seed, model.scales)
    return cast(Batch, default_collate([samples[i] for i in range(count)]))


def levels(sam: AdaptedSam) -> dict[str, int]:
    """Where in an embedding its tokens are, and where the model has a stem, the coarsest of its details."""
    return {"tokens": 0, "details": -1} if sam.size.detail else {"tokens": 0}


def as_rows(features: Tensor) -> Tensor:
    """Features (B, C, h, w) of an embedding as a list of places (B h w, C)."""
    return features.float().permute(0, 2, 3, 1).flatten(0, 2)


@torch.no_grad()
def mean_iou(sam: AdaptedSam, batch: Batch) -> float:
    """Mean IoU over the prompted boxes of a batch that hold an object, in the phase that the model is in."""
    logits, _, target, weight = prompted_masks(sam, batch)
    wanted = (target * weight).sum((-2, -1)) > 0
    return float(mask_iou(logits, target, weight)[wanted].mean())


@torch.no_grad()
def likeness(sam: AdaptedSam, images: Tensor) -> dict[str, float]:
    """Mean cosine between both encoders' features of the same places, less the primary one's mean, at every level."""
    both = [sam.encode_branch(images.float(), index) for index in (0, 1)]
    found = {}
    for name, level in levels(sam).items():
        one, other = (as_rows(embedding[level]) for embedding in both)
        found[name] = float(cosine_similarity(one, other, one.mean(0)).mean())
    return found


def train_with_decoder(
    start: SamModel, samples: PromptedImages, steps: int, batch: int, rate: float
) -> SamModel:
    """Phase 2 as the released code of arXiv 2601.01213 runs it: the decoder learns along with the second encoder."""
    model = with_second(start, cast(AdaptedSam, start.sam).branches[1])
    sam = cast(AdaptedSam, model.sam)
    sam.train_phase(2)
    sam.mask_decoder.requires_grad_(True)
    optimizer = torch.optim.AdamW([p for p in sam.parameters() if p.requires_grad], rate, weight_decay=0.01)
    for step in range(steps):
        part = default_collate([samples[step * batch + i] for i in range(batch)])
        logits, _, target, weight = prompted_masks(sam, part)
        mask_loss(logits, target, weight).mean().backward()
        torch.nn.utils.clip_grad_norm_(sam.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return model


class LiveAlignment:
    """A picture that follows phase 2: IoU through the frozen decoder, likeness of the encoders, one mask.

    Show `widget`, and give `Watch(every, live.look)` to `adapt`.

    Args:
        title: what the second encoder learns from.
        batch: prompted samples, all of which are judged; the first is shown.
        references: IoU to compare with, by name, drawn as level lines.
        other: an earlier run, drawn along.
    """

    def __init__(
        self, title: str, batch: Batch, references: Mapping[str, float], other: LiveAlignment | None = None
    ) -> None:
        self.title, self.batch, self.references, self.other = title, batch, references, other
        self.steps: list[int] = []
        self.ious: list[float] = []
        self.likeness: list[dict[str, float]] = []
        self.widget = widgets.HTML("The picture comes with the first steps.")

    def look(self, model: nn.Module, step: int) -> None:
        """Judge the model after so many steps, and draw."""
        sam = cast(AdaptedSam, model)
        self.steps.append(step)
        self.ious.append(mean_iou(sam, self.batch))
        self.likeness.append(likeness(sam, self.batch["image"]))
        self.widget.value = plots.picture_html(draw_alignment(self, sam))


def draw_alignment(live: LiveAlignment, sam: AdaptedSam) -> Figure:
    """IoU and likeness over steps, and the first sample of the batch with its mask."""
    figure, (left, middle, right) = panel_figure(3)
    for run, color in ((live.other, plots.ORANGE), (live, plots.BLUE)):
        if run is not None:
            left.plot(run.steps, run.ious, ".-", color=color, label=run.title)
            for name, style in zip(run.likeness[-1], (".-", ".--"), strict=False):
                found = [each[name] for each in run.likeness]
                middle.plot(run.steps, found, style, color=color, label=name if run is live else None)
    for (name, level), color in zip(
        live.references.items(), (plots.GREEN, plots.RED, plots.PURPLE), strict=False
    ):
        left.axhline(level, color=color, linestyle="--", label=name)
    left.set(xlabel="step", ylabel="IoU", title=f"step {live.steps[-1]}: IoU {live.ious[-1]:.2f}")
    left.set_ylim(-0.02, 1)
    left.legend(fontsize="x-small")
    said = ", ".join(f"{name} {value:.2f}" for name, value in live.likeness[-1].items())
    middle.set(xlabel="step", ylabel="cosine", title=f"likeness: {said}")
    middle.legend(fontsize="x-small", handlelength=4)
    show_sample(right, sam, {name: value[:1] for name, value in live.batch.items()})
    lines = ", ".join(f"{name} {level:.2f}" for name, level in live.references.items())
    figure.set_label(
        f"{live.title}: after {live.steps[-1]} steps IoU {live.ious[-1]:.2f} and mean cosine of "
        f"{said}; {lines}."
    )
    return figure


@torch.no_grad()
def show_sample(axes: Axes, sam: AdaptedSam, sample: Batch) -> None:
    """What changes in the second encoder's bands of a batch of one, with the first box, its truth and its mask."""
    logits, _, target, weight = prompted_masks(sam, sample)
    image = sample["image"][0, 1].float().numpy()
    change = ndimage.uniform_filter(image[1] - image[0], CALM_PX)
    plots.show_image(axes, change, "second encoder's mask", "date 1 - date 0", limits=(-0.3, 0.4))
    plots.outline(axes, (target[0] * weight[0]).numpy() > 0.5, plots.ORANGE)
    plots.outline(axes, ((logits[0] > 0) * weight[0]).numpy() > 0.5, plots.BLUE)
    box = sample["box"][0, 0].tolist()
    plots.draw_box(axes, box, plots.GREEN)
    plots.zoom(axes, box, 0.2)


def band_explorer(known: Lesson, objects: Sequence[SeenObject]) -> widgets.VBox:
    """An object in the change of either encoder's radar band, and the slope of the ground."""
    return explorer(
        lambda number, size: draw_bands(known, objects[number], size),
        number=slider(list(range(len(objects))), 0, "object"),
        size=slider([1, 3, 5, 9], CALM_PX, "averaged over (px)"),
    )


def draw_bands(known: Lesson, each: SeenObject, size: int = CALM_PX) -> Figure:
    """The surroundings of one object: change in both radar bands with how far it stands out, and the last band."""
    figure, axes = panel_figure(3)
    scene, around = each.question.scene, each.question.known & ~each.question.truth
    said = []
    for panel, bands, name in zip(axes, known.model.branches, encoder_names(known.model), strict=False):
        change = calm_change(scene, bands, size)
        out = stands_out(change, each.mask, around)
        said.append(f"{name} {out:+.1f}")
        limits = CHANGE_DB if before_after(tuple(bands)) else None
        plots.show_image(panel, change, f"{name}: stands out {out:+.1f}", "dB", scene.valid, limits)
    last = tuple(known.model.branches[1])[-1]
    unit = scene.bands[scene.band_names.index(last)].units
    plots.show_image(axes[2], scene.band(last), last, str(unit), scene.valid)
    for panel in axes:
        plots.outline(panel, each.question.truth, plots.ORANGE)
        plots.zoom_inside(panel, each.part.box, 1.5, each.mask.shape)
    figure.set_label(
        f"An object of {each.part.pixels} px on image {each.question.id}, in standard deviations of its "
        f"surroundings: {', '.join(said)}."
    )
    return figure


def show_contrasts(axes: Axes, objects: Sequence[SeenObject], found: Array, names: tuple[str, str]) -> None:
    """How far objects stand out in one band over the other, by slope; on the diagonal both show them alike."""
    for name, color in SLOPE_COLORS.items():
        here = np.array([class_of(each.part.slope, SLOPES) == name for each in objects], bool)
        axes.plot(
            found[here, 0], found[here, 1], "o", color=color, markersize=4, label=f"{name} ({here.sum()})"
        )
    _diagonal(axes, float(np.nanmin(found)) - 0.2, float(np.nanmax(found)) + 0.2)
    axes.set(xlabel=f"{names[0]} (standard deviations)", ylabel=f"{names[1]} (standard deviations)")
    axes.set_title("how far debris stands out")
    axes.legend(fontsize="small", frameon=False)


def show_ious(
    axes: Axes, objects: Sequence[SeenObject], ious: Sequence[Array], names: tuple[str, str]
) -> None:
    """IoU of every object by one encoder over the other, by slope; above the diagonal the second is better."""
    for name, color in SLOPE_COLORS.items():
        here = np.array([class_of(each.part.slope, SLOPES) == name for each in objects], bool)
        axes.plot(
            ious[0][here], ious[1][here], "o", color=color, markersize=4, label=f"{name} ({here.sum()})"
        )
    _diagonal(axes, -0.03, 1.03)
    axes.set(xlabel=f"IoU by {names[0]}", ylabel=f"IoU by {names[1]}", title="one dot, one object")
    axes.legend(fontsize="small", frameon=False)


def _diagonal(axes: Axes, low: float, high: float) -> None:
    axes.plot([low, high], [low, high], color="0.6", linestyle="--", linewidth=1)
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")


def show_answers(
    axes: Sequence[Axes], known: Lesson, each: SeenObject, answers: Mapping[str, Answer], index: int = 1
) -> None:
    """One object in the change of one encoder's band, with the truth (orange) and each answer (blue)."""
    scene, bands = each.question.scene, known.model.branches[index]
    change = calm_change(scene, bands, 3)
    limits = CHANGE_DB if before_after(tuple(bands)) else None
    truth, known_here = each.question.truth, each.question.known
    for panel, (name, answer) in zip(axes, answers.items(), strict=True):
        marked = answer(scene, each.question.boxes)
        value = box_counts(marked, truth, known_here, each.part.box).iou
        plots.show_image(panel, change, f"{name}: IoU {value:.2f}", "dB", scene.valid, limits)
        plots.outline(panel, truth, plots.ORANGE)
        plots.outline(panel, marked, plots.BLUE)
        plots.zoom_inside(panel, each.part.box, 1.0, each.mask.shape)


def show_tokens(axes: Axes, one: Tensor, other: Tensor, title: str, space: tuple[Tensor, Tensor]) -> None:
    """Tokens (n, C) of both encoders along the first two of the same principal axes, some joined by place."""
    mean, directions = space
    points = [((each - mean) @ directions[:, :2]).numpy() for each in (one, other)]
    some = np.random.default_rng(0).permutation(len(one))[:400]
    for i in some[:25]:
        axes.plot(*np.stack([points[0][i], points[1][i]]).T, color="0.75", linewidth=0.7, zorder=1)
    for cloud, color, name in zip(points, (plots.BLUE, plots.ORANGE), ("first", "second"), strict=True):
        axes.plot(*cloud[some].T, ".", color=color, markersize=3, label=f"{name} encoder")
    axes.set(xlabel="first axis", ylabel="second axis", title=title)


def space_explorer(
    stages: Mapping[str, EncoderBranch], known: Lesson, batch: Batch, space: tuple[Tensor, Tensor]
) -> widgets.VBox:
    """One window as both encoders hand it on, in the same colours, and where they agree."""
    models = {name: with_second(known.model, branch) for name, branch in stages.items()}
    return explorer(
        lambda stage, number: draw_spaces(cast(AdaptedSam, models[stage].sam), batch, number, space),
        stage=choice(list(models), "second encoder"),
        number=slider(list(range(len(batch["image"]))), 0, "window"),
    )


def draw_spaces(sam: AdaptedSam, batch: Batch, number: int, space: tuple[Tensor, Tensor]) -> Figure:
    """Tokens of both encoders as colours along the same three axes, and the cosine between them at every place."""
    images = batch["image"][number : number + 1]
    mean, directions = space
    with torch.no_grad():
        embedded = [sam.encode_branch(images.float(), index)[0][0] for index in (0, 1)]
    both = [tokens.float().permute(1, 2, 0) for tokens in embedded]
    colors = [((each - mean) @ directions).numpy() for each in both]
    low, high = np.percentile(colors[0].reshape(-1, 3), (2, 98), axis=0)
    figure, axes = panel_figure(3)
    for panel, values, name in zip(axes, colors, ("first", "second"), strict=False):
        shown = np.clip((values - low) / np.maximum(high - low, 1e-6), 0, 1)
        plots.show_color(panel, shown, f"tokens of the {name} encoder")
        panel.set(xlabel="column (token)", ylabel="row (token)")
    cosine = cosine_similarity(both[0], both[1], mean).numpy()
    plots.show_image(axes[2], cosine, f"cosine: mean {cosine.mean():.2f}", "", limits=(-1, 1))
    axes[2].set(xlabel="column (token)", ylabel="row (token)")
    target = batch["target"][number].numpy()
    step = target.shape[0] // cosine.shape[0]
    coarse = target.reshape(cosine.shape[0], step, -1, step).max((1, 3))
    for panel in axes:
        plots.outline(panel, coarse, "white" if panel is not axes[2] else plots.ORANGE)
    figure.set_label(f"Window {number}: tokens of both encoders; mean cosine {cosine.mean():.2f}.")
    return figure


def by_class(
    objects: Sequence[ObjectScore] | Sequence[Part],
    values: Array,
    classes: Classes,
    key: str,
) -> dict[str, Array]:
    """`values` of the objects in each class of their `key`, "pixels" or "slope"."""
    found = [class_of(getattr(each, key), classes) for each in objects]
    return {name: values[[each == name for each in found]] for name in classes}


def rank_correlation(one: Array, other: Array) -> float | None:
    """Spearman's rank correlation of n pairs; None where there are under three, or one side does not vary."""
    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(stats.spearmanr(one, other).statistic)


def parameters(module: nn.Module) -> int:
    """Number of parameters."""
    return sum(each.numel() for each in module.parameters())


def recorded_rows(
    records: Sequence[Mapping[str, Any]], names: Mapping[str, str], value: str
) -> dict[str, Array]:
    """One value per seed of the configurations that are recorded, by the title of each in `names`."""
    rows = {
        title: np.array(
            [r["values"][value] for r in records if r["configuration"] == name and value in r["values"]]
        )
        for name, title in names.items()
    }
    return {title: found for title, found in rows.items() if len(found)}
