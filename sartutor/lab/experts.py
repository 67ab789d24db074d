"""Pictures of domain generalisation: gaps, descriptors, who computes what in a mixture of experts, and its records."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ipywidgets as widgets
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rasterio.windows import Window
from torch import Tensor, nn

from sartutor.lab import plots
from sartutor.lab.downstream import name_classes, show_labels
from sartutor.lab.explorers import choice, explorer, slider
from sartutor.learn.domains import DomainChips, decibels, digital_numbers
from sartutor.learn.gap_rows import ENCODERS
from sartutor.learn.gap_table import EXPERIMENT, TOKENS, WHOLE
from sartutor.learn.generalisation import Segmenter
from sartutor.learn.generalists import Generalist
from sartutor.learn.moe import mixtures
from sartutor.learn.records import recorded
from sartutor.learn.runner import Records, of_row
from sartutor.sar.descriptors import descriptors, direction_shares, log_scaled
from sartutor.sar.radiometry import to_units
from sartutor.sar.scene import Readable
from sartutor.sim.gaps import FIRST, GAPS
from sartutor.sim.landcover import Domain, landcover_scene

Array = NDArray[np.float64]

LESSON_SCENES = 30_000
"""Simulated scenes of smaller seeds belong to other notebooks, recipes and experiments."""

EXPERT_COLORS = (plots.BLUE, plots.ORANGE, plots.GREEN, plots.RED, plots.PURPLE, "#56B4E9")
"""Colours of six experts."""

TITLES = {"directional_entropy": "H_DE (nat)", "enl": "ENL (1)", "local_roughness": "R_LR (1)"}
"""Descriptors at axes; the roughness is that of ln(1 + DN), which has no unit."""


def draw_gaps(names: Sequence[str], seed: int, side: int) -> Figure:
    """Source above, target below, of some gaps, first channel in dB."""
    figure = plots.Picture(figsize=(3.4 * len(names), 6.4), layout="constrained")
    axes = figure.subplots(2, len(names), squeeze=False)
    for column, name in enumerate(names):
        gap = GAPS[name]
        for row, domain in enumerate((gap.source, gap.target)):
            scene, _ = landcover_scene(LESSON_SCENES + seed, domain, side)
            title = f"{name}, {gap.kind}\n{domain.name}" if row == 0 else domain.name
            plots.show_image(axes[row, column], decibels(scene)[0], title)
    figure.set_label(f"Sources (above) and targets (below) of the gaps {', '.join(names)}, in dB.")
    return figure


def centre_db(source: Readable, side: int) -> NDArray[np.float32]:
    """The middle `side` x `side` pixels, or all there are, of the first band in dB; nan where there is no data."""
    rows, cols = source.grid.shape
    height, width = min(side, rows), min(side, cols)
    scene = source.read(Window((cols - width) // 2, (rows - height) // 2, width, height))
    if scene.bands[0].units != "db":
        scene = to_units(scene, "db")
    return np.where(scene.valid, scene.pixels[0].real, np.nan).astype(np.float32)


def descriptor_explorer(images: Mapping[str, NDArray[Any]]) -> widgets.VBox:
    """An image in dB (rows, columns), its directions, its blocks, and the three descriptors."""
    return explorer(
        lambda name, bins, blocks: draw_descriptors(images[name], name, bins, blocks),
        name=choice(list(images), "image"),
        bins=slider([9, 18, 36, 72], 36, "direction bins"),
        blocks=slider([4, 8, 16, 32], 16, "blocks a side"),
    )


def draw_descriptors(db: NDArray[Any], name: str, bins: int, blocks: int) -> Figure:
    """The picture of `descriptor_explorer`."""
    valid = np.isfinite(db)
    digital = digital_numbers(np.where(valid, db, np.nanmedian(db)))
    image = log_scaled(digital)
    entropy, enl, roughness = descriptors(digital[None], "log1p", valid[None], bins, blocks)[0]
    share = direction_shares(image, valid, bins)
    rows, cols = (np.arange(blocks) * size // blocks for size in image.shape)
    counts = np.add.reduceat(np.add.reduceat(np.ones_like(image), rows, 0), cols, 1)
    means = np.add.reduceat(np.add.reduceat(image, rows, 0), cols, 1) / counts
    figure = plots.Picture(figsize=(14, 3.5), layout="constrained")
    axes = figure.subplots(1, 4)
    plots.show_image(axes[0], db, name)
    axes[1].bar(180 / bins * np.arange(bins), share, 180 / bins, color=plots.BLUE)
    axes[1].axhline(1 / bins, color="0.4", linestyle="--")
    axes[1].set(xlabel="direction of the gradient (degrees)", ylabel="share of its magnitude")
    axes[1].set_title(f"H_DE = {entropy:.3f} (most: {np.log(bins):.3f})")
    axes[2].hist(image[valid], 60, color=plots.BLUE)
    axes[2].set(xlabel="X' = ln(1 + DN)", ylabel="pixels", title=f"ENL = {enl:.1f}")
    plots.show_image(axes[3], means, f"R_LR = {roughness:.4f}", "X'")
    figure.set_label(
        f"{name}: entropy {entropy:.3f}, ENL {enl:.1f}, roughness {roughness:.4f}; image, gradient directions, "
        "histogram, block means."
    )
    return figure


def show_descriptors(axes: Axes, raw: Mapping[str, Array], x: int, y: int, names: Sequence[str]) -> None:
    """Two descriptors of groups of images (n, 3), a colour and a marker each."""
    for place, (group, values) in enumerate(raw.items()):
        color = EXPERT_COLORS[place % len(EXPERT_COLORS)]
        marker = "osD^v*P"[place // len(EXPERT_COLORS) % 7]
        axes.plot(values[:, x], values[:, y], marker, color=color, markersize=4, alpha=0.8, label=group)
    axes.set(xlabel=TITLES[names[x]], ylabel=TITLES[names[y]])
    if names[y] == "enl":
        axes.set_yscale("log")


@dataclass
class UsageLog:
    """Where the tokens of one batch go as training goes; give `look` to a `Watch`.

    `shares` of the experts of each block (blocks, n), and `dropped`, the share of choices that no expert had room for.
    """

    batch: Mapping[str, Tensor]
    steps: list[int] = field(default_factory=list)
    shares: list[Array] = field(default_factory=list)
    dropped: list[float] = field(default_factory=list)

    @torch.no_grad()
    def look(self, model: nn.Module, step: int) -> None:
        """Note where the tokens go after `step` steps."""
        assert isinstance(model, Segmenter)
        device = next(model.parameters()).device
        found = model.encoder.encode(self.batch["image"].to(device), self.batch["descriptors"].to(device))
        self.steps.append(step)
        self.shares.append(np.stack([routing.share.cpu().numpy() for routing in found.routings]))
        self.dropped.append(sum(routing.dropped_share for routing in found.routings) / len(found.routings))


def draw_usage(logs: Mapping[str, UsageLog]) -> Figure:
    """Mean over blocks of the sorted shares of experts, over the steps of several runs."""
    figure = plots.Picture(figsize=(5.2 * len(logs), 3.4), layout="constrained")
    axes = figure.subplots(1, len(logs), squeeze=False, sharey=True)[0]
    ends = []
    for panel, (name, log) in zip(axes, logs.items(), strict=True):
        shares = np.sort(np.stack(log.shares), axis=2)[:, :, ::-1].mean(1)
        colors = [EXPERT_COLORS[i % len(EXPERT_COLORS)] for i in range(shares.shape[1])]
        panel.stackplot(log.steps, shares.T, colors=colors)
        panel.set(xlabel="step", title=name, ylim=(0, 1))
        ends.append(
            f"{name}: busiest expert {shares[-1, 0]:.0%}, {log.dropped[-1]:.0%} of the choices dropped"
        )
    axes[0].set_ylabel("share of tokens, busiest expert below")
    figure.set_label("Shares of tokens by expert during training; at the end " + "; ".join(ends) + ".")
    return figure


@torch.no_grad()
def expert_maps(known: Generalist, chips: DomainChips, indexes: Sequence[int]) -> list[NDArray[np.int64]]:
    """The first choice of each token of some chips, (chips, g, g) in every block."""
    samples = [chips[index] for index in indexes]
    image, told = (torch.stack([sample[key] for sample in samples]) for key in ("image", "descriptors"))
    side = chips.side // known.model.encoder.size.patch
    routings = known.model.encoder.encode(image, told).routings
    return [routing.expert[:, 0].reshape(-1, side, side).numpy() for routing in routings]


def expert_explorer(known: Generalist, chips: DomainChips) -> widgets.VBox:
    """A chip, its labels, and which expert of a block computes which of its tokens."""
    blocks = known.model.encoder.size.depth
    return explorer(
        lambda chip, block: draw_experts(known, chips, chip, block - 1),
        chip=slider(list(range(len(chips))), 0, "chip"),
        block=slider(list(range(1, blocks + 1)), blocks, "block"),
    )


def draw_experts(known: Generalist, chips: DomainChips, index: int, block: int) -> Figure:
    """The picture of `expert_explorer`."""
    sample = chips[index]
    experts = expert_maps(known, chips, [index])[block][0]
    figure = plots.Picture(figsize=(13.5, 3.6))
    axes = figure.subplots(1, 3, gridspec_kw={"left": 0.05, "right": 0.86, "wspace": 0.75, "bottom": 0.15})
    plots.show_image(axes[0], chips.statistics.decibels(sample["image"])[0].numpy(), chips.domain(index).name)
    show_labels(axes[1], sample["label"], chips.classes, "labels")
    name_classes(axes[1], chips.classes)
    scale = chips.side // len(experts)
    whole = np.kron(experts, np.ones((scale, scale), int))
    plots.show_color(
        axes[2], np.array([to_rgb(color) for color in EXPERT_COLORS])[whole], f"experts of block {block + 1}"
    )
    for number, color in enumerate(EXPERT_COLORS, 1):
        axes[2].plot([], [], "s", color=color, label=f"expert {number}")
    axes[2].legend(loc="upper left", bbox_to_anchor=(1.03, 1), frameon=False, fontsize="small")
    busy = np.bincount(experts.ravel(), minlength=len(EXPERT_COLORS)) / experts.size
    said = ", ".join(f"expert {i + 1} {share:.0%}" for i, share in enumerate(busy) if share)
    figure.set_label(f"Chip {index}, {chips.domain(index).name}: tokens of block {block + 1} go to {said}.")
    return figure


def expert_shares(known: Generalist, chips: DomainChips, block: int) -> tuple[Array, Array]:
    """Of the tokens of each class (by most of its pixels) and of each domain, the share that each expert computes.

    Returns (classes, n) and (domains, n); nan where there is no token.
    """
    experts_of = mixtures(known.model)[block].mixture.experts
    by_class = np.zeros((len(chips.classes), experts_of))
    by_domain = np.zeros((len(chips.domains), experts_of))
    for index, experts in enumerate(expert_maps(known, chips, range(len(chips)))[block]):
        classes = token_classes(chips[index]["label"].numpy(), len(experts), len(chips.classes))
        np.add.at(by_class, (classes.ravel(), experts.ravel()), 1)
        by_domain[index % len(chips.domains)] += np.bincount(experts.ravel(), minlength=experts_of)
    with np.errstate(invalid="ignore"):
        return by_class / by_class.sum(1, keepdims=True), by_domain / by_domain.sum(1, keepdims=True)


def token_classes(label: NDArray[np.int64], side: int, classes: int) -> NDArray[np.int64]:
    """The commonest class of each token (side, side) of labels (rows, columns) that it tiles."""
    size = len(label) // side
    hot = np.eye(classes)[label].reshape(side, size, side, size, classes)
    return hot.sum((1, 3)).argmax(-1)


def show_heat(axes: Axes, values: Array, rows: Sequence[str], columns: Sequence[str], title: str) -> None:
    """Numbers (rows, columns) in cells that are darker the larger they are; nan stays white."""
    axes.imshow(np.nan_to_num(values), cmap="Blues", vmin=0, aspect="auto")
    largest = np.nanmax(values)
    for place in np.ndindex(*values.shape):
        if np.isfinite(values[place]):
            color = "white" if values[place] > 0.6 * largest else "black"
            row, column = place
            axes.annotate(
                f"{values[place]:.2f}", (column, row), ha="center", va="center", color=color, fontsize="small"
            )
    axes.set_xticks(range(len(columns)), columns, rotation=40, ha="right", fontsize="small")
    axes.set_yticks(range(len(rows)), rows, fontsize="small")
    axes.set_title(title, fontsize="medium")


@torch.no_grad()
def with_capacity(known: Generalist, chips: DomainChips, capacity: float | None) -> tuple[float, float]:
    """Share of choices dropped, and of pixels right, on all chips when experts take `capacity` times an even share."""
    sample = {key: torch.stack([chips[i][key] for i in range(len(chips))]) for key in ("image", "label")}
    model = copy.deepcopy(known.model)
    for layer in mixtures(model):
        layer.mixture = replace(layer.mixture, capacity=capacity)
        layer.train()  # in evaluation nothing is dropped
    told = torch.stack([chips[i]["descriptors"] for i in range(len(chips))])
    logits, found = model(sample["image"], told)
    dropped = sum(routing.dropped_share for routing in found.routings) / len(found.routings)
    return dropped, float((logits.argmax(1) == sample["label"]).double().mean())


def known_gaps() -> list[dict[str, Any]]:
    """The records of the benchmark `gaps` that come with the package."""
    return recorded(EXPERIMENT)


def known_whole() -> list[dict[str, Any]]:
    """The records of two rows on all gaps."""
    return recorded(WHOLE)


def known_tokens() -> list[dict[str, Any]]:
    """The records of rows whose experts see more tokens."""
    return recorded(TOKENS)


def draw_gap_scores(known: Records, gaps: Sequence[str] = tuple(FIRST.values())) -> Figure:
    """Mean mIoU over seeds of every row that has records, gap by gap."""
    names = [name for name in ENCODERS if of_row(known, name)]
    columns = ("val_score", "miou", *(f"miou_{gap}" for gap in gaps))
    values = np.array(
        [[np.mean([r["values"][c] for r in of_row(known, name)]) for c in columns] for name in names]
    ).reshape(len(names), len(columns))
    width = max(10, 0.62 * len(columns))
    figure = plots.Picture(figsize=(width, 1.2 + 0.32 * max(1, len(names))), layout="constrained")
    axes = figure.subplots()
    if not names:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no records yet", ha="center")
    else:
        titles = ("own domain", f"mean of {len(gaps)}", *gaps)
        show_heat(axes, values, names, titles, "mIoU, mean over seeds")
    figure.set_label(f"Heat map of mIoU: {len(names)} encoders, their own domain and {len(gaps)} gaps.")
    return figure


def benchmark_chips(
    domains: Sequence[Domain], seed: int, count: int, known: Generalist, role: int = 0
) -> DomainChips:
    """Chips of a notebook in the scales of a generalist; `role` tells chips to learn from and others apart."""
    side = known.model.encoder.size.image_size
    return DomainChips(domains, LESSON_SCENES + 10 * seed + role, count, side, known.scales)
