"""Segment Anything taken apart and adapted, for the notebook on adapters: scenes, inner pictures, loosened prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import ipywidgets as widgets
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn

from sartutor.lab import plots
from sartutor.lab.aligning import CHANGE_DB, calm_change, in_turns
from sartutor.lab.data import MADE_UP, height_model, runs_folder
from sartutor.lab.explorers import choice, explorer, panel_figure, slider
from sartutor.learn.evaluate import Answer, Part, Question, questions, score
from sartutor.learn.losses import dice_loss, mask_iou, mask_loss
from sartutor.learn.models import EMBEDDED, SamModel, load_model
from sartutor.learn.sam.adapted import AdaptedSam
from sartutor.learn.sam.baselines import otsu_box
from sartutor.learn.sam.inputs import passes
from sartutor.learn.sam.model import EncoderBranch, RadarSam
from sartutor.learn.sam.objectives import prompted_masks
from sartutor.learn.sam.samples import Batch, box_targets
from sartutor.learn.scores import Counts, ImageScore, count
from sartutor.presets import BenchmarkSizes
from sartutor.sar import warp
from sartutor.sar.boxes import Box, Mask, box_target, enlarge, fill_box
from sartutor.sar.dates import before_after
from sartutor.sar.folder import Dataset, DatasetWriter, Entry, open_dataset
from sartutor.sar.scene import Scene, Units
from sartutor.sar.terrain import spacing_m
from sartutor.sim.avalanche import DEFAULTS, avalanche_scene
from sartutor.sim.benchmark import DESCRIPTION, write_benchmark

Array = NDArray[np.floating]

NOTEBOOK_BENCHMARKS = 600
"""Benchmarks of smaller seeds belong to the experiments and to other notebooks."""

TRAINED = "sam_tiny_avalanche"
"""The adapted model that comes with the package."""

ROWS = {
    "fill_box": "fill the box",
    "otsu_box": "Otsu in the box",
    "base": "frozen base",
    "phase1": "phase 1",
    "tight": "as phase 1, trained on tight boxes",
    "chip": "as phase 1, on whole chips",
    "two_scales": "as phase 1, the mean of both",
    "lora": "as phase 1, LoRA instead of adapters",
}
"""Configurations of the experiment `avalanche_small` that concern phase 1, in words."""

PUSHES = (0, 2, 5, 10, 15, 20, 30, 40, 60)
"""By how many pixels every side of a box can be loosened."""

LEAST_PIXELS = 50
"""Smaller parts of a label are not looked at on their own."""


@dataclass(frozen=True)
class Lesson:
    """What to learn from (train, val), and the split of a folder to judge by; `key`, `credit` as in `Example`."""

    folder: Dataset
    test: Dataset
    split: str
    key: str
    credit: str


def lesson(data: str, preset_name: str, seed: int, sizes: BenchmarkSizes) -> Lesson:
    """The scenes of the notebook.

    Args:
        data: "synthetic" simulates mountains, radar and avalanches; "sample" simulates radar and avalanches on a real
            mountain to judge by, because no labelled pair of dates is small and free; all else is a folder of your
            own data with the splits train, val and another one.
        preset_name: names the folder that the scenes are kept in.
        seed: of the scenes.
        sizes: how many.
    """
    if data not in ("synthetic", "sample"):
        own = open_dataset(data)
        split = next((name for name in own.splits if name not in ("train", "val")), "val")
        return Lesson(own, own, split, Path(data).name, f"Your own data: {data}")
    place = runs_folder(preset_name, "synthetic") / f"07-scenes-{seed}"
    made = write_benchmark(place, NOTEBOOK_BENCHMARKS + seed, sizes, progress=False)
    if data == "synthetic":
        return Lesson(made, made, "test", data, MADE_UP)
    real, credit = _on_a_real_mountain(preset_name, seed, max(sizes.test // 4, 2))
    return Lesson(made, real, "test", data, f"Simulated radar and avalanches on real terrain. {credit}")


def _on_a_real_mountain(preset_name: str, seed: int, count: int) -> tuple[Dataset, str]:
    """`count` simulated pairs of one mountain, with other avalanches in each, and whose terrain it is."""
    relief = height_model("sample", preset_name, seed)
    heights = relief.scene.read()
    pixels = spacing_m(heights.grid)[0] / DEFAULTS.sensor.pixel_m
    ground = warp.overview(heights, round(max(heights.grid.shape) * pixels))
    writer = DatasetWriter(runs_folder(preset_name, "sample") / f"07-scenes-{seed}", DESCRIPTION)
    ids = [f"{seed}-{index}" for index in range(count)]
    for index, id in enumerate(ids):
        if not writer.has(id):
            scene, debris = avalanche_scene((NOTEBOOK_BENCHMARKS, seed, index), dem=ground)
            writer.write(id, scene, debris > 0)
    return writer.finish([Entry(id, "test", "mountain") for id in ids]), relief.credit


@dataclass(frozen=True, eq=False)
class Debris:
    """One labelled object on the image that it is on."""

    question: Question
    part: Part


def debris(asked: Sequence[Question], limit: int | None = None) -> list[Debris]:
    """The objects on images, at most `limit`: one of each image in turn, so that every image has its say."""
    return in_turns([Debris(question, part) for part in question.parts] for question in asked)[:limit]


def ready_model(name: str, units: Mapping[str, Units]) -> SamModel | None:
    """An embedded model in phase 1; None where there is none of that name, or not for bands of these units."""
    if name not in EMBEDDED:
        return None
    model = load_model(name)
    if not all(band in units and passes(units[band], model.kinds[band]) for band in model.branches[0]):
        return None
    cast(AdaptedSam, model.sam).use_phase(1)
    return model


def unit_of(scene: Scene, band: str) -> str:
    """The unit of a band as it is written beside a scale."""
    unit = scene.bands[scene.band_names.index(band)].units
    return "dB" if unit == "db" else str(unit)


def asked_about(known: Lesson) -> list[Question]:
    """The images of the test split, each with loosened boxes around its objects."""
    return list(questions(known.test, known.split, "box", least_pixels=LEAST_PIXELS))


def object_ious(scores: Sequence[ImageScore]) -> NDArray[np.float64]:
    """IoU of every object."""
    return np.array([part.iou for image in scores for part in image.objects])


def score_all(answers: Mapping[str, Answer], asked: Sequence[Question]) -> dict[str, list[ImageScore]]:
    """Every method asked about every image."""
    return {name: [score(question, answer) for question in asked] for name, answer in answers.items()}


def gain_interval(
    scores: Mapping[str, Sequence[ImageScore]], better: str, than: str, draws: int = 2000
) -> tuple[float, float, float]:
    """Mean IoU of objects by one method less that by another, and 95 % of it when images are drawn anew."""
    pairs = [
        np.array([a.iou - b.iou for a, b in zip(one.objects, other.objects, strict=True)])
        for one, other in zip(scores[better], scores[than], strict=True)
        if one.objects
    ]
    rng = np.random.default_rng(0)
    sums, sizes = np.array([each.sum() for each in pairs]), np.array([len(each) for each in pairs])
    drawn = rng.integers(0, len(pairs), (draws, len(pairs)))
    means = sums[drawn].sum(1) / sizes[drawn].sum(1)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(sums.sum() / sizes.sum()), float(low), float(high)


# Inside the model --------------------------------------------------------------------------------------------------


@contextmanager
def listening(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, list[Tensor]]]:
    """Collect what modules give while the block runs, by name, once for every call."""
    heard: dict[str, list[Tensor]] = {name: [] for name in modules}
    hooks = [
        module.register_forward_hook(lambda _m, _i, out, name=name: heard[name].append(out.detach()))
        for name, module in modules.items()
    ]
    try:
        yield heard
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def token_maps(sam: RadarSam, image: Tensor, branch: EncoderBranch | None = None) -> dict[str, Tensor]:
    """Maps (C, h, w) of an image (3, S, S) on its way through the encoder: patches, every block, the embedding."""
    encoder = sam.image_encoder
    blocks = {f"block {i + 1}": block for i, block in enumerate(encoder.blocks)}
    with listening({"patches": encoder.patch_embed, **blocks}) as heard:
        embedding = sam.encode(image[None], branch)[0][0]
    maps = {name: outs[0][0].permute(2, 0, 1) for name, outs in heard.items()}
    return {**maps, "embedding": embedding}


def depth_explorer(
    ways: Mapping[str, Callable[[Tensor], Mapping[str, Tensor]]], images: Sequence[Tensor]
) -> widgets.VBox:
    """What tokens have in common, as colours, by depth: `ways` give the maps of an image by name of the model."""
    kept = {(name, i): way(image) for name, way in ways.items() for i, image in enumerate(images)}
    depths = list(next(iter(kept.values())))
    controls: dict[str, widgets.Widget] = {
        "depth": slider(depths, depths[-1], "after"),
        "number": slider(list(range(len(images))), 0, "scene"),
    }
    if len(ways) > 1:
        controls["model"] = choice(list(ways), "model")
    first = next(iter(ways))
    return explorer(
        lambda depth, number, model=first: draw_depth(images[number], kept[model, number][depth], depth),
        **controls,
    )


def draw_depth(image: Tensor, maps: Tensor, depth: str) -> Figure:
    """The image (3, S, S), its tokens (C, h, w) as colours, and how alike each is to the one in the middle."""
    figure, (left, middle, right) = panel_figure(3)
    plots.show_color(left, image.permute(1, 2, 0).numpy(), "what the encoder sees")
    plots.show_color(
        middle, plots.main_colors(maps.numpy()), f"after {depth}: {' x '.join(map(str, maps.shape))}"
    )
    unit = nn.functional.normalize(maps - maps.mean((1, 2), keepdim=True), dim=0)
    row, col = (side // 2 for side in maps.shape[1:])
    alike = torch.einsum("chw,c->hw", unit, unit[:, row, col]).numpy()
    plots.show_image(right, alike, "cosine with the middle token", "", limits=(-1, 1))
    right.plot(col, row, "+", color=plots.ORANGE, markersize=12, markeredgewidth=2)
    for axes in (middle, right):
        axes.set(xlabel="column (token)", ylabel="row (token)")
    figure.set_label(
        f"An image, its tokens after {depth} in three colours, and their likeness to the one in the middle."
    )
    return figure


def show_patches(axes: Axes, image: Tensor, patch: int) -> None:
    """An image (3, S, S) with the lines along which it is cut."""
    plots.show_color(axes, image.permute(1, 2, 0).numpy(), f"patches of {patch} x {patch} px")
    for place in range(patch, image.shape[-1], patch):
        for line in (axes.axhline, axes.axvline):
            line(place - 0.5, color="white", linewidth=0.5)


# Prompts -----------------------------------------------------------------------------------------------------------


def loosened(answer: Answer, one: Debris, push: float) -> tuple[Box, Mask, Counts]:
    """The box of an object with every side pushed outward, the answer to it, and its counts.

    All that is labelled in the box is meant; pixels outside it do not count.
    """
    question = one.question
    shape = question.truth.shape[0], question.truth.shape[1]
    box = enlarge(one.part.box, push, shape)
    marked = answer(question.scene, [box])
    inside = fill_box(shape, box) & question.known
    return box, marked, count(marked, box_target(question.truth, box), inside)


def robustness(
    answers: Mapping[str, Answer], some: Sequence[Debris], pushes: Sequence[int]
) -> dict[str, NDArray[np.float64]]:
    """IoU (objects, pushes) of each method as boxes are loosened."""
    return {
        name: np.array([[loosened(answer, one, push)[2].iou for push in pushes] for one in some])
        for name, answer in answers.items()
    }


def prompt_explorer(
    answers: Mapping[str, Answer], some: Sequence[Debris], bands: Sequence[str]
) -> widgets.VBox:
    """Loosen a box and see the answer of a method."""
    return explorer(
        lambda push, number, name: draw_prompt(answers[name], some[number], push, bands),
        push=slider(list(PUSHES), 5, "loosened by (px)"),
        number=slider(list(range(len(some))), 0, "object"),
        name=choice(list(answers), "answer of"),
    )


def draw_prompt(answer: Answer, one: Debris, push: int, bands: Sequence[str]) -> Figure:
    """What changed with the box and the label, and which of its pixels the answer hits, adds and misses."""
    box, marked, counts = loosened(answer, one, push)
    figure, (left, right) = panel_figure(2)
    scene, truth = one.question.scene, one.question.truth
    show_change(left, scene, bands)
    plots.outline(left, truth, plots.ORANGE, "debris")
    plots.draw_box(left, box, plots.GREEN, "box")
    left.legend(fontsize="x-small", loc="upper right")
    plots.show_errors(
        right, marked & fill_box(truth.shape, box), box_target(truth, box), f"IoU {counts.iou:.2f}"
    )
    plots.draw_box(right, box, plots.GREEN)
    for axes in (left, right):
        plots.zoom_inside(axes, box, 0.25, truth.shape)
    right.legend(fontsize="x-small", loc="upper left", bbox_to_anchor=(1.02, 1))
    figure.set_label(
        f"A box loosened by {push} px on every side: IoU {counts.iou:.2f}; {counts.hits} pixels hit, "
        f"{counts.extra} too many, {counts.missed} missed."
    )
    return figure


def show_robustness(axes: Axes, found: Mapping[str, Array], pushes: Sequence[int]) -> None:
    """Mean IoU over how far boxes are loosened."""
    styles = ("-", "-", "--", ":")
    colors = (plots.BLUE, plots.ORANGE, plots.GREEN, "black")
    for (name, values), color, style in zip(found.items(), colors, styles, strict=False):
        axes.plot(pushes, values.mean(0), style, marker=".", color=color, label=name)
    axes.set(xlabel="box loosened on every side by (px)", ylabel="mean IoU in the box", ylim=(0, 1))
    axes.set_title("loose boxes")
    axes.legend(fontsize="small", frameon=False)


# Losses ------------------------------------------------------------------------------------------------------------


def empty_gradients(probabilities: Sequence[float], side: int = 64) -> dict[str, list[float]]:
    """How hard each loss pulls down the mask of an empty target: its gradient, summed over side x side logits."""
    found: dict[str, list[float]] = {"dice": [], "bce": []}
    empty, weight = (
        torch.zeros(1, side, side, dtype=torch.double),
        torch.ones(1, side, side, dtype=torch.double),
    )
    for p in probabilities:
        level = float(np.log(p / (1 - p)))
        for name, pulls in found.items():
            logits = torch.full((1, side, side), level, dtype=torch.double, requires_grad=True)
            _loss(name, logits, empty, weight).sum().backward()
            assert logits.grad is not None
            pulls.append(float(logits.grad.sum()))
    return found


def _loss(name: str, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    return dice_loss(logits, target, weight) if name == "dice" else mask_loss(logits, target, weight, "bce")


# Training ----------------------------------------------------------------------------------------------------------


def batch_references(batch: Batch, bands: Sequence[str]) -> dict[str, float]:
    """Mean IoU of two answers without a network on the boxes of a batch: filling them, and Otsu of what changed.

    `bands` are those of the first encoder; where they are no pair of dates, Otsu's threshold is on the first one.
    """
    place, boxes, target, weight = box_targets(batch)
    image = batch["image"].float()[:, 0]
    pair = before_after(bands)
    before, after = ([*bands].index(name) for name in pair) if pair else (None, 0)
    change = image[:, after] if before is None else image[:, after] - image[:, before]
    values = change[place].numpy()
    inside = weight[:, 0].numpy() > 0
    otsu = np.stack(
        [otsu_box(v, k, cast(Box, tuple(b))) for v, k, b in zip(values, inside, boxes.tolist(), strict=True)]
    )
    answers = {"fill the box": inside, "Otsu in the box": otsu}
    truth = target[:, 0].numpy() > 0
    wanted = truth.any((1, 2))
    return {
        name: float(
            np.mean(
                [(m & t).sum() / (m | t).sum() for m, t in zip(marked[wanted], truth[wanted], strict=True)]
            )
        )
        for name, marked in answers.items()
    }


class LiveAdapting:
    """A picture that follows phase 1: IoU on prompted validation boxes, and one mask as it improves.

    Show `widget`, and give `Watch(every, live.look)` to `adapt`.

    Args:
        batch: prompted samples, all of which are judged; the first box of the first one is shown.
        references: IoU to compare with, by name, drawn as level lines.
    """

    def __init__(self, batch: Batch, references: Mapping[str, float]) -> None:
        self.batch, self.references = batch, references
        self.steps: list[int] = []
        self.ious: list[float] = []
        self.first: Array | None = None
        self.widget = widgets.HTML("The picture comes with the first steps.")

    @torch.no_grad()
    def look(self, model: nn.Module, step: int) -> None:
        """Judge the model after so many steps, and draw."""
        device = next(model.parameters()).device
        batch = {name: value.to(device) for name, value in self.batch.items()}
        logits, _, target, weight = prompted_masks(cast(AdaptedSam, model), batch)
        wanted = (target * weight).sum((-2, -1)) > 0
        self.steps.append(step)
        self.ious.append(float(mask_iou(logits, target, weight)[wanted].mean()))
        probability = np.where(weight[0].cpu() > 0, logits[0].sigmoid().float().cpu(), np.nan)
        self.first = probability if self.first is None else self.first
        self.widget.value = plots.picture_html(draw_adapting(self, probability, target[0].cpu().numpy() > 0))


def draw_adapting(live: LiveAdapting, probability: Array, truth: Mask) -> Figure:
    """IoU over steps with its level lines, and the probability in one box before the first step and now."""
    figure, (left, middle, right) = panel_figure(3)
    left.plot(live.steps, live.ious, ".-", color=plots.BLUE, label="boxes of validation")
    for (name, level), color in zip(live.references.items(), (plots.ORANGE, plots.GREEN), strict=False):
        left.axhline(level, color=color, linestyle="--", label=name)
    left.set(xlabel="step", ylabel="mean IoU", title=f"step {live.steps[-1]}: IoU {live.ious[-1]:.2f}")
    left.set_ylim(0, 1)
    left.legend(fontsize="small")
    rows, cols = (np.flatnonzero(np.isfinite(probability).any(axis)) for axis in (1, 0))
    box = cols[0], rows[0], cols[-1] + 1, rows[-1] + 1
    assert live.first is not None
    for axes, values, title in (
        (middle, live.first, "before"),
        (right, probability, f"step {live.steps[-1]}"),
    ):
        plots.show_image(axes, values, title, "probability", None, (0, 1))
        plots.outline(axes, truth, plots.ORANGE, "debris")
        plots.outline(axes, np.nan_to_num(values) > 0.5, plots.BLUE, "mask")
        plots.zoom(axes, box, 0.1)
        axes.legend(fontsize="x-small", loc="upper right")
    levels = ", ".join(f"{name} {level:.2f}" for name, level in live.references.items())
    figure.set_label(
        f"After {live.steps[-1]} steps the mean IoU on validation boxes is {live.ious[-1]:.2f}; {levels}."
    )
    return figure


# Results -----------------------------------------------------------------------------------------------------------


def show_object(axes: Axes, one: Debris, answer: Answer, bands: Sequence[str], name: str = "") -> None:
    """One object in what changed with the label, the mask and its IoU within its own box."""
    scene, truth = one.question.scene, one.question.truth
    marked = answer(scene, one.question.boxes)
    x0, y0, x1, y1 = map(int, one.part.box)
    here = np.s_[y0:y1, x0:x1]
    iou = count(marked[here], truth[here], one.question.known[here]).iou
    show_change(axes, scene, bands, f"{name}{one.part.pixels} px: IoU {iou:.2f}")
    plots.outline(axes, truth, plots.ORANGE, "debris")
    plots.outline(axes, marked, plots.BLUE, "mask")
    plots.zoom_inside(axes, one.part.box, 0.8, truth.shape)
    axes.legend(fontsize="x-small", loc="upper right")


def show_change(axes: Axes, scene: Scene, bands: Sequence[str], title: str = "") -> None:
    """What changed between two dates, averaged over 5 x 5 px, in dB; the first band where there is one date."""
    pair = before_after(bands)
    name, limits = (f"{pair[1]} - {pair[0]}", CHANGE_DB) if pair else (bands[0], None)
    unit = unit_of(scene, pair[1] if pair else bands[0])
    plots.show_image(axes, calm_change(scene, bands), title or name, unit, scene.valid, limits)


def show_by_size(axes: Axes, pixels: Sequence[int], ious: Mapping[str, Array]) -> None:
    """IoU of every object over its size, by method."""
    for (name, values), color, marker in zip(
        ious.items(), (plots.BLUE, plots.ORANGE, plots.GREEN), ("o", "x", "+"), strict=False
    ):
        axes.semilogx(pixels, values, marker, color=color, alpha=0.7, markersize=5, label=name)
    axes.set(xlabel="size of the object (px)", ylabel="IoU", ylim=(-0.02, 1.02), title="IoU by size")
    ticks = [50, 100, 200, 500, 1000, 2000, 5000]
    axes.set_xticks(ticks, list(map(str, ticks)))
    axes.minorticks_off()
    axes.legend(fontsize="small", frameon=False)


def recorded_mean(records: Sequence[Mapping[str, Any]], name: str, value: str) -> float | None:
    """Mean over seeds of a configuration; None where it was not run, or has no such value."""
    found = [r["values"].get(value) for r in records if r["configuration"] == name]
    known = [each for each in found if each is not None]
    return float(np.mean(known)) if known else None
