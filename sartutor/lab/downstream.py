"""Pictures of downstream tasks: labelled chips, what a head makes of an encoder's maps, what linear layers read off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import ipywidgets as widgets
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rasterio.windows import Window
from scipy import ndimage
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from sartutor.errors import DataError
from sartutor.lab import data, plots
from sartutor.lab.explorers import choice, explorer, slider
from sartutor.learn.checkpoints import load_header
from sartutor.learn.chips import ALOS2_HH, Chips, FolderChips, Sample, SimulatedChips
from sartutor.learn.classification import average_precision, telling
from sartutor.learn.curves import Curve
from sartutor.learn.encoder_recipes import ENCODERS
from sartutor.learn.frozen import linear_probe
from sartutor.learn.labelled import Part, label_subset
from sartutor.learn.pretrain import Model, build_model, pretrained_path
from sartutor.learn.tasks import cut, pooled
from sartutor.learn.upernet import Encoder, UPerNet
from sartutor.learn.weighting import BandStatistics, WeightRule
from sartutor.presets import DownstreamRecipe
from sartutor.sar.folder import IGNORE, BandRule, DatasetWriter, Description, Entry, open_dataset
from sartutor.sim.backscatter import LAND_COVERS

Array = NDArray[Any]

LESSON_SCENES = 30_000
"""Simulated scenes of smaller seeds belong to other notebooks, to the embedded encoders and to the experiments."""

OTHER_COLORS = (plots.ORANGE, plots.GREEN, plots.PURPLE, plots.RED, "0.35", plots.BLUE, "#F0E442")
"""Of classes that have no colour of their own, by number."""

CLASS_COLORS = dict(
    zip(
        LAND_COVERS,
        (plots.RED, "0.35", plots.BLUE, plots.ORANGE, plots.GREEN, "#F0E442", "#B6D7A8"),
        strict=True,
    )
)
"""Of the simulated classes, by name."""

SHARES = [0.125, 0.25, 0.5, 1.0]
"""Shares of labels to choose from."""


@dataclass(frozen=True)
class Labelled:
    """Chips with one label per pixel in three splits, and the encoder that fits their bands: a name, or a path."""

    encoder: str
    train: Chips
    val: Chips
    test: Chips
    key: str
    credit: str


def land_cover(
    data_name: str, preset_name: str, seed: int, recipe: DownstreamRecipe, encoder: str | None = None
) -> Labelled:
    """The labelled chips of the notebook, standardised as the encoder that fits them was trained.

    "synthetic" is simulated ALOS-2 HH; "sample" a labelled flood in Spain, Sentinel-1 VV and VH, cut in three; all
    else a folder with a dataset.yaml that has `labels` and the splits train, val and a third one. Of folders with more
    chips than the recipe asks for, some are drawn; for folders `encoder` may be the path of a checkpoint of one's own.

    Raises DataError for a folder without labels or without the bands of any embedded encoder.
    """
    counts = {"train": recipe.train, "val": recipe.val, "test": recipe.test}
    if data_name == "synthetic":
        found = statistics("simmim_hh")
        cache = data.runs_folder(preset_name, data_name) / "chips"
        first = LESSON_SCENES + 3 * seed
        train, val, test = (
            SimulatedChips(ALOS2_HH, first + place, count, recipe.side, found, cache)
            for place, count in enumerate(counts.values())
        )
        return Labelled("simmim_hh", train, val, test, data_name, data.MADE_UP)
    folder, key, credit = Path(data_name), Path(data_name).name, f"Your own data: {data_name}"
    if data_name == "sample":
        example = data.sentinel1(data_name, preset_name, seed)
        key, credit = example.key, example.credit
        folder = _in_three(
            example, data.runs_folder(preset_name, key) / f"06-chips-{recipe.side}", recipe.side
        )
    encoder = encoder or _fitting_encoder(folder)
    return _of_folder(folder, encoder, counts, recipe.side, seed, key, credit)


def statistics(encoder: str) -> BandStatistics:
    """Those that an embedded encoder's input is standardised by."""
    return BandStatistics.from_json(load_header(pretrained_path(encoder))["statistics"])


def untrained(encoder: str, seed: int) -> Model:
    """An embedded encoder before its first step: the same architecture with random weights."""
    about = load_header(pretrained_path(encoder))
    shape = about["kind"], about["backbone"], about["architecture"]
    return build_model(*shape, statistics(encoder), WeightRule("none"), seed).eval()


def counts_of(chips: Chips) -> Tensor:
    """Labelled pixels of each class in each chip (chips, classes)."""
    classes = len(chips.classes)
    labels = [chips[i]["label"] for i in range(len(chips))]
    return torch.stack([torch.bincount(label[label != IGNORE], minlength=classes) for label in labels])


def decibels(chips: Chips, sample: Sample) -> Array:
    """A sample's bands in dB (..., C, H, W)."""
    return chips.statistics.decibels(sample["image"]).numpy()


def class_color(classes: Sequence[str], code: int) -> str:
    """The colour of a class in all pictures."""
    return CLASS_COLORS.get(classes[code], OTHER_COLORS[code % len(OTHER_COLORS)])


def show_labels(axes: Axes, codes: Tensor | Array, classes: Sequence[str], title: str) -> None:
    """Class codes (rows, columns) in the colours of their classes; black where there is none."""
    values = np.asarray(codes)
    rgb = np.zeros((*values.shape, 3))
    for code in range(len(classes)):
        rgb[values == code] = to_rgb(class_color(classes, code))
    axes.imshow(rgb, interpolation="nearest")
    axes.set(xlabel="column (px)", ylabel="row (px)")
    axes.set_title(title, fontsize="medium")


def name_classes(axes: Axes, classes: Sequence[str]) -> None:
    """The names of the classes beside a picture of `show_labels`."""
    for code, name in enumerate(classes):
        axes.plot([], [], "s", color=class_color(classes, code), markeredgecolor="0.4", label=name)
    axes.legend(loc="upper left", bbox_to_anchor=(1.03, 1), frameon=False, fontsize="small")


def show_shares(axes: Axes, shares: Mapping[str, float], weights: Sequence[float]) -> None:
    """The share of pixels of each class as bars, and the class weights beside their names."""
    names = list(shares)
    values = 100 * np.array(list(shares.values()))
    axes.barh(names, values, color=[class_color(names, i) for i in range(len(names))])
    for place, (value, weight) in enumerate(zip(values, weights, strict=True)):
        axes.annotate(f" {value:.1f} %, weight {weight:.3f}", (value, place), va="center", fontsize="small")
    axes.set(xlim=(0, 2.2 * values.max()), xlabel="share of labelled pixels (%)", title="classes and weights")
    axes.invert_yaxis()


def show_confusion(axes: Axes, confusion: Tensor, classes: Sequence[str], title: str) -> None:
    """A confusion matrix, each row in percent of its true class."""
    shares = 100 * confusion.double() / confusion.sum(1, keepdim=True)
    axes.imshow(shares.nan_to_num().numpy(), cmap="Blues", vmin=0, vmax=100)
    for row, col in np.ndindex(*shares.shape):
        value = float(shares[row, col])
        if value == value:
            color = "white" if value > 60 else "black"
            axes.annotate(f"{value:.0f}", (col, row), ha="center", va="center", color=color, fontsize="small")
    axes.set_xticks(range(len(classes)), classes, rotation=40, ha="right", fontsize="small")
    axes.set_yticks(range(len(classes)), classes, fontsize="small")
    axes.set(xlabel="predicted", ylabel="true", title=title)


def show_curves(
    losses: Axes, scores: Axes, curves: Mapping[str, Curve], level: float, smooth: int = 10
) -> None:
    """Training loss (running mean) and validation mIoU of several runs; `level` is the mIoU of one class everywhere."""
    for (name, curve), color in zip(curves.items(), (plots.ORANGE, plots.BLUE, plots.GREEN), strict=False):
        window = min(smooth, 1 + len(curve.loss) // 4)
        mean = np.convolve(curve.loss, np.ones(window) / window, "valid")
        losses.plot(np.arange(window, len(curve.loss) + 1), mean, color=color, label=name)
        steps, values = zip(*curve.validation, strict=True)
        scores.plot(steps, [-value for value in values], ".-", color=color, label=name)
    scores.axhline(level, color="0.4", linestyle="--", label="commonest class everywhere")
    losses.set(xlabel="step", ylabel="loss", title="training loss, running mean")
    scores.set(xlabel="step", ylabel="mIoU", title="validation", ylim=(0, None))
    for axes in (losses, scores):
        axes.legend(fontsize="small", frameon=False)


def map_explorer(models: Mapping[str, nn.Module], chips: Chips) -> widgets.VBox:
    """A chip, its labels, what a model says, and where it is wrong."""
    return explorer(
        lambda model, chip: draw_map(models[model], model, chips, chip),
        model=choice(list(models)[::-1], "model"),
        chip=slider(list(range(len(chips))), 0, "chip"),
    )


@torch.no_grad()
def draw_map(model: nn.Module, name: str, chips: Chips, chip: int) -> Figure:
    """First band in dB, labels, prediction and errors of one chip."""
    sample = chips[chip]
    device = next(model.parameters()).device
    guess = model(sample["image"][None].to(device))[0].argmax(0).cpu().numpy()
    truth = sample["label"].numpy()
    wrong = (guess != truth) & (truth != IGNORE)
    share = 1 - wrong.sum() / max(1, (truth != IGNORE).sum())
    figure = plots.Picture(figsize=(13.6, 3.3))
    axes = figure.subplots(1, 4, gridspec_kw={"left": 0.05, "right": 0.88, "wspace": 0.6, "bottom": 0.16})
    plots.show_image(axes[0], decibels(chips, sample)[0], f"chip {chip}, {chips.statistics.names[0]}")
    for each, codes, title in ((axes[1], truth, "labels"), (axes[2], guess, name)):
        show_labels(each, codes, chips.classes, title)
    axes[3].imshow(wrong, cmap="Reds", vmin=0, vmax=1, interpolation="nearest")
    axes[3].set(title=f"wrong (right: {share:.0%})", xlabel="column (px)", ylabel="row (px)")
    name_classes(axes[3], chips.classes)
    for panel in axes[1:]:
        panel.set_ylabel("")
    figure.set_label(
        f"Chip {chip}, its labels, what the model with {name} says, and its errors; {share:.0%} right."
    )
    return figure


def border_accuracy(model: nn.Module, chips: Chips, reach: Sequence[int]) -> dict[str, float]:
    """Share of right pixels by distance to the next border between labels, in pixels up to each of `reach`."""
    far, right = [], []
    for i in range(len(chips)):
        sample = chips[i]
        truth = sample["label"].numpy()
        with torch.no_grad():
            guess = model(sample["image"][None])[0].argmax(0).numpy()
        known = truth != IGNORE
        far.append(ndimage.distance_transform_edt(~_borders(truth))[known])
        right.append((guess == truth)[known])
    distance, hit = np.concatenate(far), np.concatenate(right)
    edges = [0, *reach, np.inf]
    names = [f"up to {each} px" for each in reach] + [f"beyond {reach[-1]} px"]
    rings = [(distance >= low) & (distance < high) for low, high in pairwise(edges)]
    return {name: float(hit[ring].mean()) for name, ring in zip(names, rings, strict=True) if ring.any()}


def confusions(confusion: Tensor, classes: Sequence[str], count: int = 3) -> list[tuple[str, str, float]]:
    """The largest confusions: true class, predicted class, share of the true class."""
    shares = (confusion.double() / confusion.sum(1, keepdim=True)).nan_to_num().fill_diagonal_(0)
    best = shares.flatten().topk(min(count, shares.numel()))
    pairs = [(divmod(int(place), len(classes)), float(share)) for share, place in zip(*best, strict=True)]
    return [(classes[true], classes[guess], share) for (true, guess), share in pairs if share > 0]


# UPerNet ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
def head_maps(model: UPerNet, image: Tensor) -> dict[str, Tensor]:
    """What UPerNet makes of one image (1, C, H, W), by name: encoder maps, pyramid, levels, joined map, scores."""
    model.eval()
    parts = {"pyramid pooling": model.pyramid, "joined": model.fuse, "scores": model.scores}
    steps = [4 * 2**i for i in range(len(model.smooth))]
    parts |= {f"level {step}": layer for step, layer in zip(steps, model.smooth, strict=True)}
    seen: dict[str, Tensor] = {}
    hooks = [
        part.register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out}))
        for name, part in parts.items()
    ]
    model(image)
    for hook in hooks:
        hook.remove()
    maps = {f"stride {4 * 2**i}": each for i, each in enumerate(model.encoder.features(image))}
    order = [*maps, "pyramid pooling", *(f"level {step}" for step in reversed(steps)), "joined", "scores"]
    return {name: (maps | seen)[name] for name in order}


def draw_upernet(model: UPerNet, chips: Chips, chip: int) -> Figure:
    """The way of one chip through UPerNet: every map as a colour picture, with its size."""
    sample = chips[chip]
    maps = head_maps(model, sample["image"][None])
    figure = plots.Picture(figsize=(13.6, 6.0), layout="constrained")
    grid = np.ravel(figure.subplots(2, 6))
    plots_of = [name for name in maps if name != "scores"]
    grid[0].imshow(decibels(chips, sample)[0], cmap="gray", interpolation="nearest")
    grid[0].set_title(_sized("image", sample["image"]), fontsize="medium")
    places = [*grid[1:5], *grid[6:11]]
    for axes, name in zip(places, plots_of, strict=True):
        axes.imshow(plots.main_colors(maps[name][0].numpy()), interpolation="nearest")
        axes.set_title(_sized(name, maps[name][0]), fontsize="medium")
    show_labels(grid[5], sample["label"].numpy(), chips.classes, "labels\n(for comparison)")
    show_labels(
        grid[11], maps["scores"][0].argmax(0).numpy(), chips.classes, _sized("scores", maps["scores"][0])
    )
    for axes in grid:
        axes.set(xticks=[], yticks=[], xlabel="", ylabel="")
    sizes = "; ".join(_sized(name, each[0]).replace("\n", " ") for name, each in maps.items())
    figure.set_label(f"The maps of UPerNet for one chip, channels x rows x columns: {sizes}.")
    return figure


# Linear layers on frozen features --------------------------------------------------------------------------------


@torch.no_grad()
def chip_features(encoder: Encoder, chips: Chips, batch: int = 16) -> Tensor:
    """Mean of the last map of every chip (chips, widths[-1])."""
    loader = DataLoader(cast(Dataset[Sample], chips), batch)
    return torch.cat([pooled(encoder, sample["image"]) for sample in loader])


@torch.no_grad()
def pair_features(encoder: Encoder, pairs: Chips, tile: int) -> Tensor:
    """|f1 - f2| of every tile of every pair (pairs, tiles, widths[-1])."""
    found = [pooled(encoder, cut(pairs[i]["image"], tile)).unflatten(0, (2, -1)) for i in range(len(pairs))]
    return torch.stack([(each[0] - each[1]).abs() for each in found])


def level_features(chips: Chips) -> Tensor:
    """Features without a network: mean and standard deviation of every band of every chip (chips, 2 C)."""
    images = [chips[i]["image"].flatten(1) for i in range(len(chips))]
    return torch.stack([torch.cat([image.mean(1), image.std(1)]) for image in images])


@dataclass(frozen=True)
class Probed:
    """Features of chips to fit on and to test on, (n, D), with their labels (n, K)."""

    features: Mapping[str, tuple[Tensor, Tensor]]
    train: Tensor
    test: Tensor
    classes: Sequence[str]


def probe_explorer(probed: Probed) -> widgets.VBox:
    """A linear layer on each kind of features, fitted anew to a share of the labels."""
    return explorer(
        lambda share, subset: draw_probe(probed, share, subset),
        share=slider([100 * share for share in SHARES], 100.0, "labels (%)"),
        subset=slider(list(range(8)), 0, "draw of the subset"),
    )


def probe_scores(probed: Probed, share: float, draw: int) -> dict[str, list[float]]:
    """Average precision on the test of each `telling` class, by kind of features, with a share of labels.

    The last is that of a blind guess: the share of test chips that have the class.
    """
    some = label_subset(len(probed.train), share, draw)
    there = telling(probed.test)
    found = {}
    for name, (train, test) in probed.features.items():
        guess = linear_probe(train[some], probed.train[some])(test)
        found[name] = [average_precision(guess[:, i], probed.test[:, i]) for i in there]
    return found | {"blind guess": probed.test[:, there].mean(0).tolist()}


def draw_probe(probed: Probed, percent: float, draw: int) -> Figure:
    """Average precision of every class, and their mean, for each kind of features."""
    scores = probe_scores(probed, percent / 100, draw)
    names = [probed.classes[i] for i in telling(probed.test)]
    figure = plots.Picture(figsize=(9.6, 3.9))
    axes = figure.subplots(gridspec_kw={"left": 0.08, "right": 0.72, "bottom": 0.2})
    colors = (plots.BLUE, plots.ORANGE, plots.GREEN, "0.6")
    wide = 0.8 / len(scores)
    for k, ((name, values), color) in enumerate(zip(scores.items(), colors, strict=False)):
        bars = [*values, float(np.mean(values))]
        at = np.arange(len(bars)) + (k - (len(scores) - 1) / 2) * wide
        axes.bar(at, bars, wide, color=color, label=f"{name}: mean {np.mean(values):.2f}")
    axes.set_xticks(range(len(names) + 1), [*names, "mean"], rotation=20)
    count = len(label_subset(len(probed.train), percent / 100, draw))
    axes.set(ylim=(0, 1.02), ylabel="average precision", title=f"{percent:g} % of the labels: {count} chips")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize="small")
    said = ", ".join(f"{name} {np.mean(values):.2f}" for name, values in scores.items())
    figure.set_label(f"Mean average precision with {percent:g} % of the labels, {count} chips: {said}.")
    return figure


# Pairs -----------------------------------------------------------------------------------------------------------


def draw_pair(before: Array, after: Array, flooded: Array, tiles: Tensor, tile: int) -> Figure:
    """A pair in dB (rows, columns), what was flooded, and how much the features of each tile (rows, columns) differ."""
    figure = plots.Picture(figsize=(12.6, 3.4))
    axes = figure.subplots(1, 3, gridspec_kw={"left": 0.06, "right": 0.93, "bottom": 0.15, "wspace": 0.55})
    limits = (float(np.percentile(before, 2)), float(np.percentile(before, 98)))
    for panel, image, title in ((axes[0], before, "before"), (axes[1], after, "after")):
        plots.show_image(panel, image, title, limits=limits)
    plots.outline(axes[1], flooded, plots.ORANGE, "flooded")
    side = tile * (np.arange(tiles.shape[0] + 1)) - 0.5
    mesh = axes[2].pcolormesh(side, side, tiles.numpy(), cmap="cividis")
    figure.colorbar(mesh, cax=axes[2].inset_axes((1.04, 0, 0.05, 1)), label="mean |f1 - f2|")
    plots.outline(axes[2], flooded, plots.ORANGE)
    axes[2].set(
        title=f"difference of {tile}-px tiles", xlabel="column (px)", ylabel="row (px)", aspect="equal"
    )
    axes[2].set_ylim(side[-1], side[0])
    figure.set_label(
        f"A pair of images, the flood outlined in orange, and the difference of features of {tiles.numel()} tiles."
    )
    return figure


# Helpers ---------------------------------------------------------------------------------------------------------


def _in_three(example: data.Example, folder: Path, side: int) -> Path:
    """A folder of one's own data made of one labelled image: three bands of rows, with guards between them."""
    scene = example.scene.read()
    height, width = scene.grid.shape
    assert example.label is not None
    bounds = {
        "train": (0, height - 2 * (side + data.GUARD_PX)),
        "val": (height - 2 * side - data.GUARD_PX, height - side - data.GUARD_PX),
        "test": (height - side, height),
    }
    rules = tuple(BandRule(name=band.name, units=band.units) for band in scene.bands)
    labels: dict[str, tuple[int, ...]] = {"land": (0,), "water": (1,)}
    writer = DatasetWriter(folder, Description(bands=rules, labels=labels, ignore=(255,)))
    mask = np.where(example.label < 0, 255, example.label.astype(np.int16))
    for name, (top, bottom) in bounds.items():
        writer.write(name, scene.read(Window(0, top, width, bottom - top)), mask[top:bottom])
    writer.finish([Entry(name, name, name) for name in bounds])
    return folder


def _fitting_encoder(folder: Path) -> str:
    """The embedded encoder whose bands the folder has; DataError where there is none."""
    names = open_dataset(folder).description.band_names
    fitting = [
        name for name, made in ENCODERS.items() if set(made.domain.polarisation.split("+")) <= set(names)
    ]
    if not fitting:
        raise DataError(
            f"{folder} has the bands {', '.join(names)}, and the embedded encoders take HH, or VV and VH; name the "
            "bands so, or pretrain an encoder of your bands with `sartutor pretrain`."
        )
    return fitting[-1]


def _of_folder(
    folder: Path, encoder: str, counts: Mapping[str, int], side: int, seed: int, key: str, credit: str
) -> Labelled:
    """The labelled chips of a folder, as many as asked for or as there are."""
    dataset = open_dataset(folder)
    if not dataset.description.classes:
        raise DataError(f"{folder} has no labels of pixels; add masks, and labels in dataset.yaml.")
    tests = [split for split in dataset.splits if split not in ("train", "val")]
    found = statistics(encoder)
    parts = []
    for split, count in zip(("train", "val", tests[0] if tests else "test"), counts.values(), strict=True):
        chips = FolderChips(dataset, split, side, None, seed, found)
        parts.append(Part(chips, label_subset(len(chips), min(1.0, count / len(chips)), seed)))
    return Labelled(encoder, parts[0], parts[1], parts[2], key, credit)


def _borders(label: Array) -> NDArray[np.bool_]:
    """Pixels with a neighbour, above, below, left or right, of another label."""
    around = [
        np.roll(np.pad(label, 1, mode="edge"), shift, axis)[1:-1, 1:-1]
        for axis in (0, 1)
        for shift in (1, -1)
    ]
    return np.any([each != label for each in around], axis=0)


def _sized(name: str, maps: Tensor) -> str:
    """A name over the size of a map (C, h, w)."""
    return f"{name}\n{' x '.join(map(str, maps.shape))}"
