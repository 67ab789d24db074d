"""Two encoders become one, for the notebook on fusion: gates, mixtures by hand, records, failures and their pictures.

The model is an adapted one with two branches and a gate; scenes and objects are those of `aligning`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple, cast

import ipywidgets as widgets
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from sartutor.errors import DataError
from sartutor.lab import plots
from sartutor.lab.aligning import (
    CHANGE_DB,
    LEAST_PIXELS,
    NOTEBOOK_BENCHMARKS,
    Lesson,
    SeenObject,
    calm_change,
    encoder_names,
    rank_correlation,
)
from sartutor.lab.explorers import choice, explorer, panel_figure, slider
from sartutor.learn.avalanche_rows import ENTRANTS, MEANINGS
from sartutor.learn.evaluate import Answer, Question, questions
from sartutor.learn.losses import mask_iou
from sartutor.learn.models import SamModel
from sartutor.learn.records import mean_interval
from sartutor.learn.runner import Records, of_row
from sartutor.learn.sam.adapted import AdaptedSam
from sartutor.learn.sam.fusion import fused
from sartutor.learn.sam.inputs import Frame
from sartutor.learn.sam.model import Embedding
from sartutor.learn.sam.samples import Batch, box_targets
from sartutor.learn.scores import SIZES, SLOPES, Counts, box_counts, class_of
from sartutor.sar.boxes import Box, Mask, full_box
from sartutor.sar.dates import before_after
from sartutor.sar.scene import Scene
from sartutor.sim.avalanche import (
    CONFUSERS,
    AvalancheWorld,
    Confuser,
    Settings,
    avalanche_scene,
    avalanche_world,
)
from sartutor.sim.benchmark import role_seed

Array = NDArray[np.floating]

PAPER_IOU = {"phase3": 0.5981, "composite": 0.5821, "segformer": 0.4328, "unet": 0.4226}
"""IoU of arXiv 2601.01213 on images of Norway that are not public, by the row of the benchmark that stands for it.

Those of Segment Anything see the surroundings of a box there, the publication whole chips; that its single encoder is
the composite of its code is assumed."""

GRIDS_PX = (2, 4, 8)
"""Sides of the cells of a mask, in pixels of the image, whose best possible IoU is looked at."""


WEIGHT_MAP = "cividis"
"""Colours of weights: the same for readers who see no red or no green."""


class Difficulty(NamedTuple):
    """A scene without fresh debris in which one thing, or nothing, changes: `name`, the scene, and where it does."""

    name: str
    scene: Scene
    confused: Mask


# Models and embeddings ---------------------------------------------------------------------------------------------


def start_of_fusion(model: SamModel) -> SamModel:
    """The model as it is before phase 3: both encoders and the decoder of phase 1, and a new gate."""
    learned, about = cast(AdaptedSam, model.sam), {**model.about, "phases": [1, 2], "fusion": "gate"}
    sam = AdaptedSam(learned.base, 2, about["activation"], "gate", about["tuning"])
    sam.branches.load_state_dict(learned.branches.state_dict())
    sam.mask_decoder.load_state_dict(learned.mask_decoder.state_dict())
    sam.begin_fusion()
    return replace(model, name=f"{model.name} after phase 2", sam=sam.use_phase(3).eval(), about=about)


@torch.no_grad()
def both_embeddings(sam: AdaptedSam, images: Tensor) -> list[Embedding]:
    """What each encoder makes of images (B, 2, 3, S, S)."""
    return [sam.encode_branch(images.float(), index) for index in range(2)]


def shares(tokens: Tensor, second: float) -> Tensor:
    """Weights (B, 2, h, w) that trust the second encoder by the same share everywhere; `tokens` (B, C, h, w)."""
    batch, _, height, width = tokens.shape
    return tokens.new_tensor([1 - second, second]).view(1, 2, 1, 1).expand(batch, 2, height, width)


@torch.no_grad()
def decoded(sam: AdaptedSam, embedding: Embedding, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (N, S, S) of all boxes of a batch by the decoder in use, with targets and weights (N, S, S)."""
    place, boxes, target, weight = box_targets(batch)
    logits = sam.decode(tuple(level[place] for level in embedding), boxes)[0][:, :1]
    logits = nn.functional.interpolate(logits, target.shape[-2:], mode="bilinear")
    return logits[:, 0], target[:, 0], weight[:, 0]


def batch_iou(sam: AdaptedSam, embedding: Embedding, batch: Batch) -> float:
    """Mean IoU over the boxes of a batch that hold an object."""
    logits, target, weight = decoded(sam, embedding, batch)
    wanted = (target * weight).sum((-2, -1)) > 0
    return float(mask_iou(logits, target, weight)[wanted].mean())


def mixing_curve(
    sam: AdaptedSam, embeddings: Sequence[Embedding], batch: Batch, steps: Sequence[float]
) -> list[float]:
    """Mean IoU for every share of the second encoder, the same at all places."""
    return [batch_iou(sam, fused(embeddings, shares(embeddings[0][0], each)), batch) for each in steps]


# The gate on whole scenes -------------------------------------------------------------------------------------------


def gate_weights(model: SamModel, scene: Scene) -> Array:
    """How much the second encoder counts at every token (rows, columns) when all of a scene is asked about."""
    piece = scene.read(model.windows(full_box(scene.grid.shape), scene.grid.shape)[-1])
    return np.asarray(model.gate_weights(piece).pixels[0], np.float32)


def token_means(values: NDArray[Any], side: int, patch: int) -> Array:
    """Means of a layer (rows, columns) over what each token sees, when it is scaled to a model input of `side`."""
    layer = torch.from_numpy(np.asarray(values, np.float32))[None]
    fitted = Frame(values.shape[-2:], side).fit(layer)
    return nn.functional.avg_pool2d(fitted, patch)[0].numpy()


def world_of(known: Lesson, id: str) -> AvalancheWorld | None:
    """The simulated world behind an image: what shadow hides, and what confusers changed; None of your own data."""
    if known.key not in ("synthetic", "sample"):
        return None
    seed, _, index = id.split("-")
    side = known.folder.scene(id).grid.height
    assert int(seed) >= NOTEBOOK_BENCHMARKS
    return avalanche_world(
        np.random.default_rng((role_seed(int(seed), "test"), int(index))), side, None, Settings()
    )


def local_contrast(values: Array, size: int) -> Array:
    """Standard deviation of a layer (rows, columns) in a window of `size` px around every pixel."""
    mean, square = (ndimage.uniform_filter(each, size) for each in (values, values**2))
    return np.sqrt(np.maximum(square - mean**2, 0))


def circumstances(known: Lesson, question: Question, world: AvalancheWorld | None) -> dict[str, Array]:
    """Layers (rows, columns) that may tell which encoder to trust, by name."""
    names = encoder_names(known.model)
    first, second = (calm_change(question.scene, bands) for bands in known.model.branches)
    layers = {f"change in {names[0]}": first, f"change in {names[1]}": second}
    layers[f"{names[1]} less {names[0]}"] = second - first
    for name, change in zip(names, (first, second), strict=True):
        layers[f"contrast in {name}"] = local_contrast(change, known.sam.size.patch)
    for name in ("slope", "DEM"):
        if name in question.scene.band_names:
            layers[name] = np.asarray(question.scene.band(name), np.float64)
    layers["debris"] = question.truth.astype(np.float64)
    if world is not None:
        layers["shadow"] = world.shadow.astype(np.float64)
        layers["confused"] = world.confused.astype(np.float64)
    return layers


def trust(
    known: Lesson, asked: Sequence[Question], weights: Mapping[str, Array], worlds: Mapping[str, Any]
) -> dict[str, list[float]]:
    """Rank correlation of the gate's weights with each circumstance, over the tokens of each scene where it varies."""
    sam, found = known.sam, dict[str, list[float]]()
    for question in asked:
        for name, layer in circumstances(known, question, worlds[question.id]).items():
            means = token_means(layer, sam.size.image_size, sam.size.patch)
            relation = rank_correlation(means.ravel(), weights[question.id].ravel())
            if relation is not None:
                found.setdefault(name, []).append(relation)
    return found


# Live training -------------------------------------------------------------------------------------------------------


class LiveFusion:
    """A picture that follows phase 3: IoU on prompted boxes, the gate's weights, one mask.

    Show `widget`, and give `Watch(every, live.look)` to `adapt`. Encoders do not change, so the embeddings of the
    batch are given, not computed.

    Args:
        title: how the encoders are fused.
        batch: prompted samples, all of which are judged; the first is shown.
        embeddings: of both encoders for the batch.
        references: IoU to compare with, by name, drawn as level lines.
        others: earlier runs, drawn along.
    """

    def __init__(
        self,
        title: str,
        batch: Batch,
        embeddings: Sequence[Embedding],
        references: Mapping[str, float],
        others: Sequence[LiveFusion] = (),
    ) -> None:
        self.title, self.batch, self.embeddings = title, batch, embeddings
        self.references, self.others = references, others
        self.steps: list[int] = []
        self.ious: list[float] = []
        self.weights: list[float] = []
        self.widget = widgets.HTML("The picture comes with the first steps.")

    @torch.no_grad()
    def look(self, model: nn.Module, step: int) -> None:
        """Judge the model after so many steps, and draw."""
        sam = cast(AdaptedSam, model)
        weights = sam.fusion_weights([each[0] for each in self.embeddings])
        embedding = fused(self.embeddings, weights)
        self.steps.append(step)
        self.ious.append(batch_iou(sam, embedding, self.batch))
        self.weights.append(float(weights[:, 1].mean()))
        logits, target, weight = decoded(sam, embedding, self.batch)
        shown = weights[0, 1].numpy(), (logits[0] > 0).numpy(), target[0].numpy() > 0, weight[0].numpy() > 0
        self.widget.value = plots.picture_html(draw_fusion(self, *shown))


def draw_fusion(live: LiveFusion, weights: Array, marked: Mask, truth: Mask, inside: Mask) -> Figure:
    """IoU over steps, the weight of the second encoder at every token of the first sample, and its mask."""
    figure, (left, middle, right) = panel_figure(3)
    palette = (plots.BLUE, plots.ORANGE, plots.PURPLE)
    for run, color in zip((live, *live.others), palette, strict=False):
        left.plot(run.steps, run.ious, ".-", color=color, label=run.title)
    for (name, level), style in zip(live.references.items(), ("--", ":", "-."), strict=False):
        left.axhline(level, color="0.4", linestyle=style, label=name)
    left.set(xlabel="step", ylabel="mean IoU", title=f"step {live.steps[-1]}: IoU {live.ious[-1]:.3f}")
    around = [*live.ious, *live.references.values(), *(iou for run in live.others for iou in run.ious)]
    left.set_ylim(min(around) - 0.08, max(around) + 0.03)
    left.legend(fontsize="x-small", loc="lower right")
    show_weights(middle, weights, f"second encoder: {live.weights[-1]:.2f} on average")
    middle.set(xlabel="column (token)", ylabel="row (token)")
    plots.show_errors(right, marked & inside, truth & inside, "mask in the box")
    rows, cols = (np.flatnonzero(inside.any(axis)) for axis in (1, 0))
    plots.zoom(right, (cols[0], rows[0], cols[-1] + 1, rows[-1] + 1), 0.1)
    figure.set_label(
        f"{live.title}: after {live.steps[-1]} steps IoU {live.ious[-1]:.3f}; the second encoder counts "
        f"{live.weights[-1]:.2f} on average; "
        + ", ".join(f"{name} {level:.3f}" for name, level in live.references.items())
        + "."
    )
    return figure


# Pictures of weights and masks ---------------------------------------------------------------------------------------


def show_weights(axes: Axes, weights: Array, title: str, extent: tuple[int, int] | None = None) -> None:
    """Weights of the second encoder (tokens) from 0 to 1; `extent` (rows, columns) stretches them over an image."""
    place = None if extent is None else (-0.5, extent[1] - 0.5, extent[0] - 0.5, -0.5)
    picture = axes.imshow(weights, cmap=WEIGHT_MAP, vmin=0, vmax=1, interpolation="nearest", extent=place)
    axes.figure.colorbar(
        picture, cax=axes.inset_axes((1.04, 0, 0.05, 1)), label="weight of the second encoder"
    )
    axes.set(title=title, xlabel="column (px)", ylabel="row (px)")


def mix_explorer(sam: AdaptedSam, batch: Batch, embeddings: Sequence[Embedding]) -> widgets.VBox:
    """Both encoders mixed by hand, beside the gate, on one window of a batch."""
    return explorer(
        lambda second, number: draw_mixture(sam, batch, embeddings, second, number),
        second=slider([round(0.1 * i, 1) for i in range(11)], 0.5, "share of the second encoder"),
        number=slider(list(range(len(batch["image"]))), 0, "window"),
    )


def draw_mixture(
    sam: AdaptedSam, batch: Batch, embeddings: Sequence[Embedding], second: float, number: int
) -> Figure:
    """The first box of a window: mask of the mixture, mask of the gate, and the gate's weights."""
    one = {name: value[number : number + 1] for name, value in batch.items()}
    own = [tuple(level[number : number + 1] for level in each) for each in embeddings]
    weights = sam.fusion_weights([each[0] for each in own]).detach()
    figure, axes = panel_figure(3)
    said = []
    for panel, name, each in zip(
        axes, (f"by hand, {second:.1f}", "the gate"), (shares(own[0][0], second), weights), strict=False
    ):
        logits, target, weight = decoded(sam, fused(own, each), one)
        marked, truth, inside = (layer[0].numpy() > 0 for layer in (logits, target, weight))
        iou = float(mask_iou(logits[:1], target[:1], weight[:1])[0])
        said.append(f"{name}: IoU {iou:.2f}")
        plots.show_errors(panel, marked & inside, truth & inside, said[-1])
        rows, cols = (np.flatnonzero(inside.any(axis)) for axis in (1, 0))
        plots.zoom(panel, (cols[0], rows[0], cols[-1] + 1, rows[-1] + 1), 0.1)
    show_weights(axes[2], weights[0, 1].numpy(), f"weights of the gate, mean {weights[0, 1].mean():.2f}")
    axes[2].set(xlabel="column (token)", ylabel="row (token)")
    figure.set_label(f"Window {number}, {'; '.join(said)}.")
    return figure


def scene_explorer(
    known: Lesson, asked: Sequence[Question], weights: Mapping[str, Array], worlds: Mapping[str, Any]
) -> widgets.VBox:
    """Which encoder the gate trusts on a scene, beside what may tell why."""
    return explorer(
        lambda number: draw_scene(known, asked[number], weights[asked[number].id], worlds[asked[number].id]),
        number=slider(list(range(len(asked))), 0, "scene"),
    )


def draw_scene(known: Lesson, question: Question, weights: Array, world: AvalancheWorld | None) -> Figure:
    """Change in both bands, slope, shadow and confusers where they are known, and the weights; debris in orange."""
    layers, names = circumstances(known, question, world), encoder_names(known.model)
    figure, axes = panel_figure(3, 2)
    for panel, name, bands in zip(axes, names, known.model.branches, strict=False):
        limits = CHANGE_DB if before_after(tuple(bands)) else None
        plots.show_image(
            panel, layers[f"change in {name}"], f"change in {name}", "dB", question.scene.valid, limits
        )
    show_weights(axes[2], weights, f"weight of {names[1]}, mean {weights.mean():.2f}", question.truth.shape)
    for panel, name, unit in zip(
        axes[3:], ("slope", "shadow", "confused"), ("degree", "0 or 1", "0 or 1"), strict=True
    ):
        if name in layers:
            plots.show_image(panel, layers[name], name, unit, limits=None if name == "slope" else (0, 1))
        else:
            panel.set_visible(False)
    for panel in axes:
        if panel.get_visible():
            plots.outline(panel, question.truth, plots.ORANGE)
    figure.set_label(
        f"Image {question.id}: {names[1]} counts {weights.mean():.2f} on average, "
        f"from {weights.min():.2f} to {weights.max():.2f}."
    )
    return figure


# Objects and failures ------------------------------------------------------------------------------------------------


def asked_about(known: Lesson, prompt: str = "box", seed: int = 0) -> list[Question]:
    """The images of the test split with boxes; whole images where there is no object."""
    return list(questions(known.folder, known.test, prompt, seed, LEAST_PIXELS))


def remembered(answer: Answer) -> Answer:
    """The same answer, computed once for each image and boxes."""
    kept: dict[tuple[str, tuple[Box, ...]], Mask] = {}

    def again(scene: Scene, boxes: Sequence[Box]) -> Mask:
        key = scene.name, tuple(boxes)
        if key not in kept:
            kept[key] = answer(scene, boxes)
        return kept[key]

    return again


def object_counts(each: SeenObject, answer: Answer) -> Counts:
    """Pixels of one object in its tight box, asked about with all boxes of its image."""
    question = each.question
    marked = answer(question.scene, question.boxes)
    return box_counts(marked, question.truth, question.known, each.part.box)


def worst_of(objects: Sequence[SeenObject], ious: Array, size: str = "any", slope: str = "any") -> list[int]:
    """Places of the objects of a class of size and of slope, lowest IoU first."""
    chosen = [
        index
        for index, each in enumerate(objects)
        if size in ("any", class_of(each.part.pixels, SIZES))
        and slope in ("any", class_of(each.part.slope, SLOPES))
    ]
    return sorted(chosen, key=lambda index: float(ious[index]))


def failure_explorer(
    known: Lesson, objects: Sequence[SeenObject], ious: Array, answer: Answer, most: int = 8
) -> widgets.VBox:
    """The worst objects of a class of size and of slope, one after the other."""

    def draw(size: str, slope: str, place: int) -> Figure:
        found = worst_of(objects, ious, size, slope)
        if place >= len(found):
            figure, (axes,) = panel_figure(1)
            axes.set_axis_off()
            axes.set_title(f"{len(found)} objects, no more")
            figure.set_label(f"There are {len(found)} objects of this class.")
            return figure
        return draw_failure(known, objects[found[place]], answer)

    return explorer(
        draw,
        size=choice(["any", *SIZES], "size"),
        slope=choice(["any", "flat", "sloping", "steep"], "slope"),
        place=slider(list(range(most)), 0, "place from the worst"),
    )


def draw_failure(known: Lesson, each: SeenObject, answer: Answer) -> Figure:
    """One object: the first band before and after with its label, and what the mask hits, adds and misses."""
    figure, axes = panel_figure(3)
    iou = show_failure(axes, known, each, answer)
    figure.set_label(
        f"An object of {each.part.pixels} px on image {each.question.id}: IoU {iou:.2f}; before, after, and errors."
    )
    return figure


def show_failure(axes: Sequence[Axes], known: Lesson, each: SeenObject, answer: Answer) -> float:
    """Fill three panels with an object before, after, and the errors of its mask; returns its IoU."""
    scene, question, bands = each.question.scene, each.question, tuple(known.model.branches[0])
    names = before_after(bands) or (bands[0], bands[-1])
    marked = answer(scene, question.boxes)
    for panel, name in zip(axes, names, strict=False):
        low, high = known.model.branches[0][name]
        unit = scene.bands[scene.band_names.index(name)].units
        limits, written = ((low, high), "dB") if unit == "db" else (None, str(unit))
        plots.show_image(
            panel, scene.band(name), f"{name}, {each.part.pixels} px", written, scene.valid, limits
        )
        plots.outline(panel, question.truth, plots.ORANGE)
    plots.outline(axes[1], marked, plots.BLUE)
    iou = object_counts(each, answer).iou
    plots.show_errors(axes[2], marked, question.truth, f"IoU in its own box {iou:.2f}")
    for panel in axes[:3]:
        plots.zoom_inside(panel, each.part.box, 0.8, each.mask.shape)
    return iou


def show_by_size(
    axes: Axes, objects: Sequence[SeenObject], ious: Mapping[str, Array], ceilings: Mapping[int, Array]
) -> None:
    """IoU of every object over its size, by method, with the median of the best that coarse masks allow."""
    pixels = np.array([each.part.pixels for each in objects])
    colors = (plots.BLUE, plots.ORANGE, plots.GREEN)
    for (name, values), color, marker in zip(ious.items(), colors, ("o", "x", "+"), strict=False):
        axes.semilogx(pixels, values, marker, color=color, alpha=0.7, markersize=5, label=name)
    order = np.argsort(pixels)
    for (side, values), style in zip(ceilings.items(), (":", "--", "-"), strict=False):
        smooth = ndimage.median_filter(values[order], min(9, len(order)), mode="nearest")
        axes.semilogx(pixels[order], smooth, style, color="0.3", label=f"best on a grid of {side} px")
    axes.set(xlabel="size of the object (px)", ylabel="IoU", ylim=(-0.02, 1.02), title="IoU by size")
    ticks = [50, 100, 200, 400, 800, 1600]
    axes.set_xticks(ticks, list(map(str, ticks)))
    axes.minorticks_off()


def grid_ceiling(mask: Mask, side: int) -> float:
    """IoU of a mask (rows, columns) with itself on a grid of `side` px, each cell full where most of it is."""
    rows, cols = (-(-length // side) * side for length in mask.shape)
    padded = np.pad(mask, ((0, rows - mask.shape[0]), (0, cols - mask.shape[1])))
    full = padded.reshape(rows // side, side, cols // side, side).mean((1, 3)) > 0.5
    coarse = full.repeat(side, 0).repeat(side, 1)[: mask.shape[0], : mask.shape[1]]
    return float((coarse & mask).sum() / (coarse | mask).sum())


# Things that are no debris -------------------------------------------------------------------------------------------


def difficulties(seed: int, count: int, side: int) -> list[Difficulty]:
    """Scenes without fresh debris: `count` in which nothing else changes, and as many with each confuser."""
    chosen: list[tuple[Confuser, ...]] = [(), *((one,) for one in CONFUSERS)]
    found = []
    for kind, confusers in enumerate(chosen):
        name = confusers[0].__name__.replace("_", " ") if confusers else "none"
        settings = Settings(empty_share=1.0, confusers=confusers)
        seeds = ((NOTEBOOK_BENCHMARKS, seed, kind, index) for index in range(99))
        drawn = ((each, _confused(each, side, settings)) for each in seeds)
        some = ((each, confused) for each, confused in drawn if not confusers or confused.any())
        found += [
            Difficulty(name, avalanche_scene(each, side, settings=settings)[0], confused)
            for each, confused in islice(some, count)
        ]
    return found


def _confused(seed: tuple[int, ...], side: int, settings: Settings) -> Mask:
    return avalanche_world(np.random.default_rng(seed), side, None, settings).confused


def false_shares(answer: Answer, empty: Sequence[Difficulty]) -> dict[str, tuple[float, float]]:
    """Share of pixels marked where a confuser is, and elsewhere, by its name, when all of a scene is asked about."""
    found: dict[str, list[tuple[int, int, int, int]]] = {}
    for each in empty:
        marked = answer(each.scene, [full_box(each.scene.grid.shape)]) & each.scene.valid
        on, off = each.confused & each.scene.valid, ~each.confused & each.scene.valid
        row = int((marked & on).sum()), int(on.sum()), int((marked & off).sum()), int(off.sum())
        found.setdefault(each.name, []).append(row)
    sums = {name: np.sum(rows, 0) for name, rows in found.items()}
    return {name: (float(s[0] / max(s[1], 1)), float(s[2] / max(s[3], 1))) for name, s in sums.items()}


# Records -------------------------------------------------------------------------------------------------------------


def recorded_means(records: Records, metric: str) -> dict[str, tuple[float, float, int]]:
    """Mean over seeds, half of its 95 % t interval (0 for one seed) and seeds, of the rows that are there."""
    found = {}
    for name in ENTRANTS:
        values = [r["values"][metric] for r in of_row(records, name) if r["values"].get(metric) is not None]
        if values:
            found[name] = (*mean_interval(values), len(values))
    return found


def show_records(axes: Axes, means: Mapping[str, tuple[float, float, int]], metric: str) -> None:
    """Dots with intervals, best on top; a hollow dot is a single seed, which has no interval."""
    order = sorted(means, key=lambda name: means[name][0])
    for place, name in enumerate(order):
        mean, half, seeds = means[name]
        color = (
            plots.BLUE
            if ENTRANTS[name].kind == "sam"
            else plots.ORANGE
            if ENTRANTS[name].kind == "rival"
            else "0.4"
        )
        face = color if seeds > 1 else "none"
        axes.errorbar(mean, place, xerr=half or None, fmt="o", color=color, markerfacecolor=face, capsize=3)
    axes.set_yticks(range(len(order)), order)
    for label, color in (
        ("Segment Anything, adapted", plots.BLUE),
        ("other networks", plots.ORANGE),
        ("not trained here", "0.4"),
    ):
        axes.plot([], [], "o", color=color, label=label)
    axes.set(xlabel="mean over seeds, 95 % interval", title=metric)


def show_paper(axes: Axes) -> None:
    """What the publication reports on its own data."""
    order = sorted(PAPER_IOU, key=lambda name: PAPER_IOU[name])
    for place, name in enumerate(order):
        color = plots.BLUE if ENTRANTS[name].kind == "sam" else plots.ORANGE
        axes.plot(PAPER_IOU[name], place, "D", color=color)
    axes.set_yticks(range(len(order)), order)
    axes.set(xlabel="IoU", title="reported for Norway (other data)", ylim=(-0.6, len(order) - 0.4))


def meaning(name: str) -> str:
    """A row of the benchmark in words."""
    return MEANINGS[name].replace("`", "")


def refuse_without_gate(known: Lesson) -> None:
    """Raise DataError for a model that has not been through phase 3 with a gate."""
    if 3 not in known.model.about["phases"] or known.sam.gate is None:
        raise DataError(
            f"{known.model.name} has no trained gate; adapt it with `sartutor adapt FOLDER --phases 1,2,3`."
        )
