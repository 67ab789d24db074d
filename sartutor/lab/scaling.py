"""Pictures and tables of scaling up: what presets mean, what memory and time go to, what to rent and for how long."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import ipywidgets as widgets
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sartutor.lab import plots
from sartutor.lab.explorers import choice, explorer, slider
from sartutor.learn.costs import Cost, adaptation_cost, hours, memory_bytes, mixture_cost, pretraining_cost
from sartutor.presets import (
    ADAPT_RECIPES,
    MIXMAE_SIZES,
    MIXTURE_RUNS,
    PRETRAIN_RECIPES,
    SAM_SIZES,
    SWIN_SIZES,
    VIT_SIZES,
)

EXPERTS = 6
"""Experts of a layer in arXiv 2603.12008."""

BANDS = 2
"""Bands of chips in the counts of pretraining on Swin; others take three."""

UTILISATION = (0.2, 0.4)
"""Share of a GPU's peak that a training like these is assumed to use: from and to."""


@dataclass(frozen=True)
class Gpu:
    """Peak of dense bfloat16 products in operations per second, and memory in bytes, as its maker states them."""

    peak: float
    memory: float


GPUS = {
    "RTX 4090, 24 GB": Gpu(165e12, 24e9),
    "A100, 80 GB": Gpu(312e12, 80e9),
    "H100 SXM, 80 GB": Gpu(989e12, 80e9),
}
"""Three GPUs that are often rented."""


@dataclass(frozen=True)
class Job:
    """A training as a preset has it: `steps` of `batch` images of `side` x `side` pixels, `cost` being that of one."""

    command: str
    preset: str
    model: str
    side: int
    steps: int
    batch: int
    cost: Cost

    @property
    def operations(self) -> float:
        """Floating-point operations of the whole training."""
        return self.steps * self.batch * self.cost.step


@cache
def jobs(presets: tuple[str, ...]) -> list[Job]:
    """Every training of some presets, its cost counted; of adaptation phase 1."""
    return [
        job for preset in presets for job in (*_pretraining(preset), _adaptation(preset), _mixture(preset))
    ]


def _pretraining(preset: str) -> list[Job]:
    found = []
    for name, recipes in PRETRAIN_RECIPES.items():
        (method, backbone), one = name.split("-"), recipes[preset]
        side = MIXMAE_SIZES[one.size].image_size if method == "mixmae" else _side(backbone, one.size)
        cost = pretraining_cost(method, backbone, one.size, BANDS if backbone == "swin" else 3)
        command = f"pretrain {method} {backbone}"
        found.append(Job(command, preset, f"{backbone} {one.size}", side, one.steps, one.batch, cost))
    return found


def _adaptation(preset: str) -> Job:
    one = ADAPT_RECIPES[preset]
    cost, steps = adaptation_cost(one.size), one.phases[0].steps
    side = _side("sam", one.size)
    return Job("adapt, phase 1", preset, f"sam {one.size}", side, steps, one.batch, cost)


def _mixture(preset: str) -> Job:
    one = MIXTURE_RUNS[preset]
    cost, model = mixture_cost(one.size, EXPERTS), f"vit {one.size}, {EXPERTS} experts"
    return Job("mixture", preset, model, _side("vit", one.size), one.steps, one.batch, cost)


def _side(backbone: str, size: str) -> int:
    if backbone == "swin":
        return SWIN_SIZES[size].image_size
    return (SAM_SIZES if backbone == "sam" else VIT_SIZES)[size].image_size


def preset_table(of: Sequence[Job]) -> pd.DataFrame:
    """Sizes of trainings: parameters in millions, operations of an image in 10^9, of all in 10^12."""
    columns = {
        "command": [job.command for job in of],
        "preset": [job.preset for job in of],
        "model": [job.model for job in of],
        "side (px)": [job.side for job in of],
        "steps": [job.steps for job in of],
        "batch": [job.batch for job in of],
        "parameters (M)": [round(job.cost.parameters / 1e6, 2) for job in of],
        "trained (M)": [round(job.cost.trained / 1e6, 2) for job in of],
        "GFLOP an image": [round(job.cost.step / 1e9, 2) for job in of],
        "TFLOP in all": [_rounded(job.operations / 1e12) for job in of],
    }
    return pd.DataFrame(columns).sort_values(["command", "parameters (M)"]).set_index(["command", "preset"])


def _rounded(value: float) -> str:
    """A number with three digits that count, and with commas where it is large."""
    return f"{value:.3g}" if value < 1000 else f"{float(f'{value:.3g}'):,.0f}"


def devices_needed(cost: Cost, batch: int, memory: float) -> int | None:
    """GPUs that a step's images fit on, evenly shared, by the estimate of memory; None where one image is too large."""
    for count in range(1, batch + 1):
        if batch % count == 0 and memory_bytes(cost, batch / count) < memory:
            return count
    return None


def rent_explorer(of: Sequence[Job]) -> widgets.VBox:
    """Estimates of hours, GPUs and money of trainings; the price is the reader's."""
    price = widgets.BoundedFloatText(
        value=0,
        min=0,
        max=1000,
        step=0.1,
        description="price of a GPU and hour",
        style={"description_width": "initial"},
    )
    return explorer(
        lambda gpu, devices, utilisation, price: draw_rent(of, gpu, devices, utilisation / 100, price),
        gpu=choice(list(GPUS), "GPU"),
        devices=slider([1, 2, 4, 8, 16, 32], 8, "GPUs"),
        utilisation=slider(list(range(5, 65, 5)), 30, "used share of the peak (%)"),
        price=price,
    )


def draw_rent(of: Sequence[Job], gpu: str, devices: int, utilisation: float, price: float) -> Figure:
    """Hours of each training on so many GPUs: a dot at one utilisation, a line over `UTILISATION`."""
    one = GPUS[gpu]
    figure = plots.Picture(figsize=(12.5, 1.3 + 0.55 * len(of)), layout="constrained")
    axes = figure.subplots()
    said = []
    for place, job in enumerate(of):
        most, least = (hours(job.operations, one.peak, share, devices) for share in UTILISATION)
        mean = hours(job.operations, one.peak, utilisation, devices)
        obstacle = _obstacle(job, devices, one.memory)
        text = f"{_duration(mean)}{_money(mean * devices * price)}{obstacle and f', but {obstacle}'}"
        axes.plot([least, most], [place, place], color=plots.BLUE, linewidth=5, alpha=0.4)
        axes.plot(mean, place, "o", color=plots.RED if obstacle else plots.BLUE)
        axes.annotate(text, (max(most, mean), place), (10, 0), textcoords="offset points", va="center")
        said.append(f"{job.command}, {job.model}: {text}")
    axes.set_yticks(range(len(of)), [f"{job.command}\n{job.model}, {job.side} px" for job in of])
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set(xlim=(low, high * (high / low) ** 0.8), xlabel="hours (estimate)")
    axes.set_title(
        f"{devices} x {gpu}, {utilisation:.0%} of the peak used; lines: {UTILISATION[0]:.0%} to {UTILISATION[1]:.0%}"
    )
    axes.invert_yaxis()
    figure.set_label(
        f"Estimates on {devices} x {gpu} at {utilisation:.0%} of the peak: " + "; ".join(said) + "."
    )
    return figure


def _duration(hour: float) -> str:
    """A time in the unit that suits it."""
    if hour < 1 / 60:
        return f"{hour * 3600:.2g} s"
    if hour < 2:
        return f"{hour * 60:.0f} min"
    return f"{hour:.0f} h" if hour < 100 else f"{hour / 24:.0f} days"


def _money(amount: float) -> str:
    return f", costs {_rounded(amount)}" if amount else ""


def _obstacle(job: Job, devices: int, memory: float) -> str:
    """What keeps a training from running on so many GPUs; nothing where it can."""
    needed = devices_needed(job.cost, job.batch, memory)
    if needed is None:
        return "not even one image fits"
    if needed > devices:
        return f"needs {needed} GPUs for its batch"
    return f"a batch of {job.batch} cannot be shared by {devices}" if job.batch % devices else ""


def draw_memory(kept: Mapping[str, float], seconds: Mapping[str, float]) -> Figure:
    """What several ways to compute a step keep for the backward pass, in MB, and how long they take, in s."""
    figure = plots.Picture(figsize=(11, 1 + 0.5 * len(kept)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, values, label, color in (
        (panels[0], kept, "kept for the backward pass (MB)", plots.BLUE),
        (panels[1], seconds, "time of a step (s)", plots.ORANGE),
    ):
        bars = axes.barh(range(len(values)), list(values.values()), color=color)
        axes.bar_label(bars, fmt="%.3g", padding=4)
        axes.set(xlabel=label, xlim=(0, 1.2 * max(values.values())))
    panels[0].set_yticks(range(len(kept)), list(kept))
    panels[0].invert_yaxis()
    said = "; ".join(f"{name}: {kept[name]:.3g} MB, {seconds[name]:.2g} s" for name in kept)
    figure.set_label(f"Memory and time of a step: {said}.")
    return figure


def draw_curves(curves: Mapping[str, Sequence[float]]) -> Figure:
    """Losses of several runs over their steps, the first as a wide line that the others lie upon."""
    figure = plots.Picture(figsize=(7.5, 3.4), layout="constrained")
    axes = figure.subplots()
    styles = ((plots.BLUE, 7, "-", 0.35), (plots.ORANGE, 2, "-", 1.0), (plots.GREEN, 2, ":", 1.0))
    for (name, losses), (color, width, line, alpha) in zip(curves.items(), styles, strict=False):
        steps = np.arange(1, len(losses) + 1)
        axes.plot(steps, losses, line, color=color, linewidth=width, alpha=alpha, label=name)
    axes.set(xlabel="step", ylabel="loss")
    axes.legend(frameon=False)
    ends = "; ".join(f"{name} ends at {losses[-1]:.4f}" for name, losses in curves.items())
    figure.set_label(f"Loss curves on top of each other: {ends}.")
    return figure


def seam_rates(classes: NDArray[np.uint8], starts: Sequence[int], patch: int) -> tuple[float, float]:
    """How often the class changes from row to row: where windows begin, and between other rows of patches.

    Args:
        classes: map (rows, columns).
        starts: first rows of windows, multiples of `patch`.
        patch: rows of a patch of the model, between which maps change more often than inside.
    """
    changes = (classes[1:] != classes[:-1]).mean(1)
    edges = {start for start in starts if 0 < start < len(classes)}
    others = set(range(patch, len(classes), patch)) - edges
    at, beside = (
        float(np.mean([changes[row - 1] for row in rows])) if rows else math.nan for rows in (edges, others)
    )
    return at, beside
