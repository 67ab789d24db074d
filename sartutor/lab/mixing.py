"""Pictures of MixMAE: whose tokens are where, who may attend to whom, and what is restored from what."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

import ipywidgets as widgets
import numpy as np
import torch
from matplotlib import colors
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn

from sartutor.errors import DataError
from sartutor.lab import plots
from sartutor.lab.explorers import choice, explorer, panel_figure, slider
from sartutor.lab.masking import batch_of, stretch
from sartutor.learn.chips import Chips, Sample
from sartutor.learn.masked_swin import CELL, may_attend
from sartutor.learn.masks import token_mask, upsample_mask
from sartutor.learn.mixmae import MASK_RATIO, MixMAE, mix, patchify, targets, unpatchify
from sartutor.learn.pretrain import Model
from sartutor.learn.reconstruction import reconstruction_scores

MOST_PAIRS = 4
"""Pairs of chips that are looked at."""

MASK_SEEDS = list(range(16))
"""Seeds of masks to choose from."""

TINT = 0.3
"""Share of the colour that says whose a pixel is, beside its brightness."""

OWN, PARTNER = plots.BLUE, plots.ORANGE
"""Colours of a chip's own cells and of its partner's."""


def paired(chips: Chips, model: MixMAE, most: int) -> Sample:
    """The first chips, an even number of `most` or fewer, as one batch, standardised as the model knows it.

    Raises DataError for chips of another number of bands, and for a single chip.
    """
    if len(chips.statistics.names) != len(model.statistics.names):
        raise DataError(
            f"The chips have {len(chips.statistics.names)} radar bands and the model knows "
            f"{len(model.statistics.names)}; give data with {' and '.join(model.statistics.names)}."
        )
    if len(chips) < 2:
        raise DataError("There is one chip to look at, and mixing needs two; give a larger image.")
    batch = batch_of(chips, min(len(chips), most) // 2 * 2)
    image = model.statistics.standardise(chips.statistics.decibels(batch["image"]), batch["valid"])
    return {**batch, "image": image}


def cell_means(image: Tensor, valid: Tensor) -> Tensor:
    """Chips (B, C, H, W) each cell of which is its mean over valid pixels and bands: what a prediction of 0 means."""
    pixels = patchify(image)
    return unpatchify(targets(pixels, patchify(valid.expand_as(image)), True).mean.expand_as(pixels))


def show_owned(axes: Axes, decibels: Tensor, theirs: Tensor, title: str, limits: tuple[float, float]) -> None:
    """A band (S, S) in dB, bluish, and orange where `theirs` (cells, cells) says that the partner is seen."""
    low, high = limits
    grey = ((decibels.numpy() - low) / (high - low)).clip(0, 1)[..., None]
    where = upsample_mask(theirs, len(decibels) // len(theirs)).numpy()[..., None]
    color = np.where(where, colors.to_rgb(PARTNER), colors.to_rgb(OWN))
    plots.show_color(axes, (1 - TINT) * grey + TINT * color, title)


def show_mixing(axes: Sequence[Axes], pair: Tensor, mask: Tensor) -> None:
    """Six panels: two chips (2, S, S) of one band in dB, the mask (cells, cells), both mixtures, one unmixed."""
    limits = stretch(pair)
    nobody = torch.zeros_like(mask)
    mixed = mix(pair[..., None], mask)[..., 0]
    again = mix(mixed[..., None], mask)[..., 0]
    show_owned(axes[0], pair[0], nobody, "chip A", limits)
    show_owned(axes[1], pair[1], ~nobody, "chip B", limits)
    white = torch.full_like(pair[0], limits[1])
    show_owned(axes[2], white, mask, "mask: orange is exchanged", limits)
    show_owned(axes[3], mixed[0], mask, "mixture 1: A, and B where masked", limits)
    show_owned(axes[4], mixed[1], ~mask, "mixture 2: B, and A where masked", limits)
    show_owned(axes[5], again[0], nobody, "exchanged back: chip A", limits)


def most_mixed(mask: Tensor, side: int, window: int) -> tuple[Tensor, Tensor] | None:
    """Whose the tokens of a window are, bool (window, window), and who may attend to whom, bool (N, N), N = window^2.

    The window of a map `side` tokens wide in which both chips have the most even share; None where windows hold one
    chip each.
    """
    allowed = may_attend(mask, side, window)
    if allowed is None:
        return None
    owners = upsample_mask(mask, side // len(mask)).unflatten(0, (-1, window)).unflatten(2, (-1, window))
    owners = owners.permute(0, 2, 1, 3).flatten(0, 1)
    chosen = int((owners.float().mean((1, 2)) - 0.5).abs().argmin())
    return owners[chosen], allowed[chosen]


def show_attention(axes: Sequence[Axes], owners: Tensor, allowed: Tensor) -> None:
    """Two panels: whose the tokens of a window are (window, window), and which pairs of them may attend (N, N)."""
    theirs = owners.flatten()[:, None].expand_as(allowed)
    codes = torch.where(allowed, 1 + theirs.int(), 0).numpy()
    names = {1: ("token of A", OWN), 2: ("token of B", PARTNER)}
    plots.show_classes(axes[0], 1 + owners.int().numpy(), names, "a window of tokens")
    names = {1: ("A to A", OWN), 2: ("B to B", PARTNER), 0: ("forbidden", "white")}
    plots.show_classes(axes[1], codes, names, "who may attend to whom")
    axes[0].set(xlabel="column (token)", ylabel="row (token)")
    axes[1].set(xlabel="token that is looked at", ylabel="token that looks")


def show_change(
    axes: Axes, change: Tensor, mask: Tensor, title: str, limits: tuple[float, float] = (-5, 1)
) -> None:
    """By how much each token (side, side) changed, white where by nothing at all; bordered: `mask` (cells, cells)."""
    powers = torch.where(change > 0, change, torch.nan).log10().numpy()
    plots.show_image(axes, powers, title, "log10 of the mean change", None, limits)
    plots.outline(axes, upsample_mask(mask, len(change) // len(mask)).numpy(), PARTNER, "cells of B")
    axes.set(xlabel="column (token)", ylabel="row (token)")


def show_streams(axes: Sequence[Axes], model: MixMAE, batch: Sample, mask: Tensor, band: int) -> None:
    """Eight panels, four for each chip of the first pair: its mixture, both streams where they count, and unmixed."""
    first, second = model.streams(batch["image"][:2], mask, batch["valid"][:2])
    truth, first, second = (
        model.statistics.decibels(each)[:, band] for each in (batch["image"][:2], first, second)
    )
    limits = stretch(truth)
    mixed = mix(truth[..., None], mask)[..., 0]
    hidden = upsample_mask(mask, CELL)
    for chip, name in enumerate("AB"):
        row, other = axes[4 * chip : 4 * chip + 4], "BA"[chip]
        show_owned(
            row[0], mixed[chip], mask if chip == 0 else ~mask, f"mixture {chip + 1}, {name}'s own", limits
        )
        shown = (
            (f"{name} from mixture {chip + 1}", torch.where(hidden, first[chip], torch.nan)),
            (f"{name} from {other}'s mixture", torch.where(hidden, torch.nan, second[chip])),
            (f"unmixed: {name} whole", torch.where(hidden, first[chip], second[chip])),
        )
        for panel, (title, values) in zip(row[1:], shown, strict=True):
            plots.show_image(panel, values.numpy(), title, "dB", None, limits)


def show_cells(axes: Axes, decibels: Tensor, values: Tensor, title: str, form: str = ".1f") -> None:
    """A band (S, S) in dB with a number (cells, cells) written into each of its cells."""
    plots.show_image(axes, decibels.numpy(), title, "dB")
    for (row, column), value in np.ndenumerate(values.numpy()):
        place = CELL * (column + 0.5), CELL * (row + 0.5)
        box = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.5}
        axes.text(*place, f"{value:{form}}", ha="center", va="center", color="black", bbox=box)


def mixing_explorer(models: Mapping[str, tuple[MixMAE, Sample]]) -> widgets.VBox:
    """Mix pairs of chips under masks of any seed, and let a model restore both, at once; each model has its chips."""
    pairs = min(MOST_PAIRS, *(len(batch["image"]) // 2 for _, batch in models.values()))
    bands = list(next(iter(models.values()))[0].statistics.names)
    return explorer(
        lambda model, pair, seed, band: draw_restored(*models[model], pair, seed, bands.index(band)),
        model=choice(list(models), "model"),
        pair=slider(list(range(pairs)), 0, "pair"),
        seed=slider(MASK_SEEDS, 0, "seed of the mask"),
        band=choice(bands, "band"),
    )


def draw_restored(model: MixMAE, batch: Sample, pair: int, seed: int, band: int) -> Figure:
    """Both chips of a pair: the band in dB, its mixture, the means of its cells, and restored, with errors in dB."""
    image, valid = (batch[key][2 * pair : 2 * pair + 2] for key in ("image", "valid"))
    mask = token_mask(image.shape[-1], CELL, MASK_RATIO, seed, 0)
    guesses = model.reconstruct(image, mask, valid), cell_means(image, valid)
    truth, restored, means = (model.statistics.decibels(each)[:, band] for each in (image, *guesses))
    known = valid[:, 0].numpy()
    error, plain = (float((each - truth)[valid[:, 0]].square().mean().sqrt()) for each in (restored, means))
    limits, mixed = stretch(truth[valid[:, 0]]), mix(truth[..., None], mask)[..., 0]
    figure, axes = panel_figure(4, rows=2)
    for chip, name in enumerate("AB"):
        row = axes[4 * chip : 4 * chip + 4]
        plots.show_image(row[0], truth[chip].numpy(), f"chip {name}", "dB", known[chip], limits)
        show_owned(row[1], mixed[chip], mask if chip == 0 else ~mask, f"mixture {chip + 1}", limits)
        for panel, guess, title in (
            (row[2], means, "means of cells"),
            (row[3], restored, "restored"),
        ):
            off = float((guess - truth)[chip][valid[chip, 0]].square().mean().sqrt())
            plots.show_image(
                panel, guess[chip].numpy(), f"{title}: {off:.2f} dB off", "dB", known[chip], limits
            )
    figure.set_label(
        f"Pair {pair}, {model.statistics.names[band]}, mask {seed}: both chips, their mixtures, the means of their "
        f"cells ({plain:.2f} dB off, root mean square) and both restored ({error:.2f} dB off)."
    )
    return figure


def cell_scores(model: MixMAE, batch: Sample, step: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Of each cell and band: its standard deviation in dB, and the correlation of restored with true pixels within it.

    Cells with pixels that are not valid are left out.
    """
    image, valid = batch["image"], batch["valid"]
    restored = model.reconstruct(image, model.mask(batch, step), valid)
    truth, guess = (cell_pixels(model.statistics.decibels(each)) for each in (image, restored))
    whole = cell_pixels(valid.expand_as(image)).all(-1)
    truth, guess = (each[whole] - each[whole].mean(-1, keepdim=True) for each in (truth, guess))
    spread = truth.square().mean(-1).sqrt()
    both = (truth * guess).mean(-1) / (spread * guess.square().mean(-1).sqrt()).clamp_min(1e-6)
    return spread.numpy(), both.numpy()


def unseen_scores(model: MixMAE, batch: Sample) -> dict[str, float]:
    """`reconstruction_scores` of a batch."""
    samples = [{name: batch[name][i] for name in ("image", "valid")} for i in range(len(batch["image"]))]
    return reconstruction_scores(model, cast(Chips, samples), len(samples))


def step_seconds(model: nn.Module, batch: Sample, tries: int = 3) -> float:
    """Seconds that loss and gradient of a batch take: the fastest of some tries."""
    times = []
    for step in range(tries):
        start = time.perf_counter()
        cast(Model, model).loss(batch, step).backward()
        times.append(time.perf_counter() - start)
        model.zero_grad(set_to_none=True)
    return min(times)


def cell_pixels(image: Tensor) -> Tensor:
    """Pixels (B, C, H, W) gathered by cell, each band for itself: (B, C, cells, cells, 32 x 32)."""
    return patchify(image).unflatten(3, (CELL**2, -1)).permute(0, 4, 1, 2, 3)
