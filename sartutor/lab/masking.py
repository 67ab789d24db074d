"""Pictures of masked pretraining: weights beside the image, what is hidden and painted in, a training as it goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import ipywidgets as widgets
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn
from torch.utils.data import default_collate

from sartutor.errors import DataError
from sartutor.lab import plots
from sartutor.lab.explorers import choice, explorer, panel_figure, slider
from sartutor.learn import tasks
from sartutor.learn.cells import PRETRAINED
from sartutor.learn.chips import Chips, Sample
from sartutor.learn.masks import patch_mask, upsample_mask
from sartutor.learn.pretrain import Model, mean_loss
from sartutor.learn.reconstruction import PREFIX, STRATA, Restored, restored
from sartutor.learn.runner import Difference, Records, paired_difference
from sartutor.learn.simmim import SimMIM
from sartutor.learn.starts import row_name
from sartutor.learn.weighting import BandStatistics, ChannelMode, Domain, WeightRule

STRENGTHS = [0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0]
"""What the strength of weights can be moved to."""

RATIOS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
"""Shares of hidden patches to choose from."""

PATCHES = [4, 8, 16, 32, 64]
"""Sides of hidden patches to choose from, in pixels."""

HIDDEN = "#cfe3f1"
"""Colour of hidden pixels: pale blue, since white is no data."""

NEIGHBOUR_PX = 8.0
"""Standard deviation of the Gaussian by which `from_neighbours` weighs visible pixels, in pixels: half a patch."""


def batch_of(chips: Chips, count: int | None = None) -> Sample:
    """The first `count` chips, or all of them, as one batch."""
    return cast(Sample, default_collate([chips[i] for i in range(len(chips) if count is None else count)]))


def cut(sample: Sample, side: int) -> Sample:
    """A batch of chips (B, C, S, S) cut into smaller ones (B n n, C, side, side), n = S / side, without labels."""
    return {key: tasks.cut(sample[key], side) for key in ("image", "valid")}


@torch.no_grad()
def paint(model: SimMIM, image: Tensor, hidden: Tensor) -> Tensor:
    """Chips (B, C, S, S) painted whole from what `hidden`, bool (B, S, S), leaves to be seen.

    A model of smaller chips paints piece by piece. `hidden` consists of whole tokens.
    """
    side, token = model.size.image_size, model.size.patch
    tokens = tasks.cut(hidden[:, None], side)[:, 0, ::token, ::token]
    return _joined(model.paint(tasks.cut(image, side), tokens), image.shape)


def from_neighbours(image: Tensor, hidden: Tensor) -> Tensor:
    """A guess without a network (B, C, S, S): near every pixel, the Gaussian mean of what is visible.

    The mean is of standardised decibels, since decibels are what is to be guessed.
    """
    visible = (~hidden)[:, None].expand(image.shape).double().numpy()
    sigma = (0, 0, NEIGHBOUR_PX, NEIGHBOUR_PX)
    total, share = (
        ndimage.gaussian_filter(each, sigma, truncate=8.0) for each in (image.numpy() * visible, visible)
    )
    return torch.from_numpy(total / np.maximum(share, 1e-12)).to(image.dtype)


def weight_explorer(chips: Chips) -> widgets.VBox:
    """Weights beside the image, by chip, strength, domain and, where there are two radar bands, channel mode."""
    modes = ["per_channel", "shared_avg"] if len(chips.statistics.radar_bands) > 1 else ["per_channel"]
    return explorer(
        lambda chip, strength, domain, mode: draw_weights(
            chips[chip], chips.statistics, strength, domain, mode
        ),
        chip=slider(list(range(len(chips))), 0, "chip"),
        strength=slider(STRENGTHS, 1.0, "strength s"),
        domain=choice(["physical", "zscore", "clipped"], "domain"),
        mode=choice(modes, "channel mode"),
    )


def draw_weights(
    sample: Sample, statistics: BandStatistics, strength: float, domain: Domain, mode: ChannelMode
) -> Figure:
    """The first two radar bands of a chip (C, H, W) in dB, their weights, and weight over dB; one row a band."""
    image, valid = sample["image"], sample["valid"]
    rule = WeightRule(mode, domain, strength)
    weights = rule.weights(image[None], valid[None], statistics)[0].numpy()
    decibels, known = statistics.decibels(image).numpy(), valid[0].numpy()
    bands = statistics.radar_bands[:2]
    figure, axes = panel_figure(3, rows=len(bands))
    said = []
    for row, band in enumerate(bands):
        left, middle, right = axes[3 * row : 3 * row + 3]
        name, found = statistics.names[band], weights[band][known]
        plots.show_image(left, decibels[band], name, "dB", known)
        title = f"weights: mean {found.mean():.2f}, std {found.std():.3f}"
        plots.show_image(middle, weights[band], title, "weight", known, (1, max(np.exp(strength), 1.01)))
        _scatter_weights(right, decibels[band][known], found, strength)
        said.append(f"{name} mean {found.mean():.2f}, standard deviation {found.std():.3f}")
    figure.set_label(
        f"Image, weights ({domain}, {mode}, s = {strength:g}) and weight over dB: {'; '.join(said)}."
    )
    return figure


def mask_explorer(models: Mapping[str, SimMIM], chips: Chips) -> widgets.VBox:
    """Hide patches of a chip and let a model paint them in, at once."""
    side = int(chips[0]["image"].shape[-1])
    return explorer(
        lambda model, chip, ratio, patch, seed: draw_painted(models[model], chips, chip, ratio, patch, seed),
        model=choice(list(models), "model"),
        chip=slider(list(range(len(chips))), 0, "chip"),
        ratio=slider(RATIOS, 0.6, "share hidden"),
        patch=slider([patch for patch in PATCHES if patch < side], 16, "patch (px)"),
        seed=slider(list(range(8)), 0, "seed of the mask"),
    )


def draw_painted(model: SimMIM, chips: Chips, chip: int, ratio: float, patch: int, seed: int) -> Figure:
    """A chip, what is left of it, and what the model paints into it; the first band, errors in dB."""
    statistics = chips.statistics
    image, valid = (chips[chip][key][None] for key in ("image", "valid"))
    hidden = upsample_mask(patch_mask(image.shape[-1], patch, ratio, [chip], seed, 0), patch)
    counted = (hidden & valid[:, 0])[0]
    painted = paint(model, image, hidden)
    error, plain = (
        float((guess - image)[0, 0][counted].abs().mean()) * statistics.std[0]
        for guess in (painted, torch.zeros_like(image))
    )
    truth, filled = (statistics.decibels(each)[0, 0] for each in (image, painted))
    truth[~valid[0, 0]] = torch.nan
    figure, axes = panel_figure(3)
    title = f"painted in: error {error:.1f} dB (mean {plain:.1f})"
    show_hiding(axes, truth.numpy(), filled.numpy(), hidden[0].numpy(), title)
    figure.set_label(
        f"A chip, {ratio:.0%} of it hidden in patches of {patch} px, and painted in: mean error {error:.1f} dB, by "
        f"predicting the mean {plain:.1f} dB."
    )
    return figure


class LiveTraining:
    """A picture that follows a training: the loss on chips it does not learn from, and how one of them is restored.

    Show `widget`, and give `Watch(every, live.look)` to `pretrain`. It works for SimMIM and MixMAE.

    Args:
        sample: a batch of chips, all of which the loss is the mean of; the first is shown.
        references: losses to compare with, by name, drawn as level lines; the masks are those of step 0.
    """

    def __init__(self, sample: Sample, references: Mapping[str, float]) -> None:
        self.sample, self.references = sample, references
        self.steps: list[int] = []
        self.losses: list[float] = []
        self.widget = widgets.HTML("The picture comes with the first steps.")

    def look(self, model: nn.Module, step: int) -> None:
        """Judge the model after so many steps, and draw."""
        device = next(model.parameters()).device
        batch = {name: value.to(device) for name, value in self.sample.items()}
        self.steps.append(step)
        self.losses.append(mean_loss(cast(Model, model), [(0, batch)]))
        found = restored(cast(Model, model), {name: value[:2] for name, value in batch.items()}, 0)
        figure = draw_training(self, cast(Model, model).statistics, Restored(*(each.cpu() for each in found)))
        self.widget.value = plots.picture_html(figure)


def draw_training(live: LiveTraining, statistics: BandStatistics, found: Restored) -> Figure:
    """Loss over steps with its level lines, and the first chip's first radar band before and after."""
    figure, (left, middle, right) = panel_figure(3)
    left.plot(live.steps, live.losses, ".-", color=plots.BLUE, label="unseen chips")
    for (name, level), color in zip(
        live.references.items(), (plots.ORANGE, plots.GREEN, plots.RED), strict=False
    ):
        left.axhline(level, color=color, linestyle="--", label=name)
    left.set(xlabel="step", ylabel="loss", title=f"step {live.steps[-1]}: loss {live.losses[-1]:.3f}")
    left.legend(fontsize="small")
    band = statistics.radar_bands[0]
    truth = statistics.decibels(live.sample["image"][0])[band].numpy()
    counted = found.counted[0, 0].numpy()
    painted = np.where(counted, truth + found.error[0, 0].float().numpy(), truth)
    limits = stretch(truth)
    if counted.all():  # MixMAE hides every pixel in one of its two streams
        plots.show_image(middle, truth, "the chip", "dB", None, limits)
    else:
        plots.show_image(middle, np.where(counted, np.nan, truth), "what is seen", "dB", None, limits)
        middle.set_facecolor(HIDDEN)
    plots.show_image(right, painted, "restored", "dB", None, limits)
    levels = ", ".join(f"{name} {level:.3f}" for name, level in live.references.items())
    figure.set_label(
        f"After {live.steps[-1]} steps the loss on unseen chips is {live.losses[-1]:.3f}; {levels}."
    )
    return figure


def recorded_differences(records: Records, start: str) -> dict[str, Difference]:
    """SimMIM pretrained with weights `start` less without weights: bias in dB by stratum; empty without a pair."""
    a, b = (row_name("simmim", name, 1.0) for name in (start, "unweighted"))
    try:
        return {s: paired_difference(records, a, b, f"{PRETRAINED}{PREFIX}{s}") for s in STRATA}
    except DataError:
        return {}


def show_hiding(
    axes: Sequence[Axes], truth: NDArray[Any], painted: NDArray[Any], hidden: NDArray[np.bool_], title: str
) -> None:
    """Three panels of one band in dB (rows, columns): the chip, what is left of it, and painted in."""
    limits = stretch(truth)
    kept = np.where(hidden, np.nan, truth)
    filled = np.where(hidden, painted, truth)
    for panel, values, name in zip(
        axes, (truth, kept, filled), ("the chip", "what is left", title), strict=True
    ):
        plots.show_image(panel, values, name, "dB", None, limits)
    axes[1].set_facecolor(HIDDEN)


def show_shifts(axes: Sequence[Axes], looks: Sequence[float], shifts: Mapping[str, NDArray[Any]]) -> None:
    """How far (dB) the best answer lies from the unweighted one, by looks: squared errors left, absolute ones right.

    `shifts` holds (looks, 2) by name; the last one is dashed.
    """
    titles = ("squared errors", "absolute errors")
    styles = [".-"] * (len(shifts) - 1) + ["--"]
    colors = (plots.BLUE, plots.ORANGE, plots.GREEN, plots.RED)
    for panel, column, title in zip(axes, range(2), titles, strict=True):
        for (name, values), style, color in zip(shifts.items(), styles, colors, strict=False):
            panel.plot(np.log2(looks), values[:, column], style, color=color, label=name)
        panel.set(xlabel="looks", ylabel="shift of the best answer (dB)", title=title)
        panel.set_xticks(np.log2(looks), [f"{each:g}" for each in looks])
    axes[0].legend(fontsize="small")


def _scatter_weights(axes: Axes, decibels: NDArray[Any], weights: NDArray[Any], strength: float) -> None:
    """Weight of every pixel over its decibels, and how many pixels each level has."""
    some = np.random.default_rng(0).permutation(decibels.size)[:4000]
    axes.plot(decibels[some], weights[some], ".", color=plots.BLUE, markersize=2)
    top = max(float(np.exp(strength)), 1.01)
    axes.set(xlabel="backscatter (dB)", ylabel="weight", title="weight over backscatter")
    axes.set_ylim(1 - 0.06 * (top - 1), top + 0.06 * (top - 1))
    counts = axes.twinx()
    counts.hist(decibels, 60, color=plots.ORANGE, alpha=0.35)
    counts.set_yticks([])


def stretch(decibels: NDArray[Any] | Tensor) -> tuple[float, float]:
    """Black and white for a picture, in dB: the 1st and 99th percentile, at least 1 dB apart."""
    low, high = np.nanpercentile(np.asarray(decibels), (1, 99))
    return float(low), float(max(high, low + 1))


def _joined(pieces: Tensor, shape: Sequence[int]) -> Tensor:
    """The inverse of `tasks.cut`, to chips of `shape`."""
    batch, channels, height, width = shape
    side = pieces.shape[-1]
    cells = pieces.view(batch, height // side, width // side, channels, side, side)
    return cells.permute(0, 3, 1, 4, 2, 5).reshape(batch, channels, height, width)
