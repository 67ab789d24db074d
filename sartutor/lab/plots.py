"""Pictures for the notebooks: units on every scale, colours that colour-blind readers can tell apart."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from IPython import get_ipython
from matplotlib import colors, patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from matplotlib.transforms import Bbox
from numpy.typing import NDArray
from PIL import Image, ImageOps

from sartutor.sar.boxes import Box, Mask

BLUE, ORANGE, GREEN, RED, PURPLE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"
"""Five colours of the palette of Okabe and Ito (2008)."""

PANEL = 3.6  # inches, one side of a picture

LEGEND = 1.5  # inches, room beside a picture of classes

DPI = 100

OVERHANG = 1.0  # inches, how far a title or legend may reach out of a cropped picture

MARGIN = 10  # pixels, white around a cropped picture


class Picture(Figure):
    """A figure that notebooks show with an alternative text."""

    def _repr_html_(self) -> str:
        return picture_html(self, crop=True)


def draw_once() -> None:
    """Let a notebook show pictures by their HTML alone; it would draw each when a cell ends, and once for a PNG."""
    shell = get_ipython()
    if shell is not None:
        plt.uninstall_repl_displayhook()
        shell.display_formatter.formatters["image/png"].for_type(Picture, lambda picture: None)


def picture_html(figure: Figure, crop: bool = False) -> str:
    """A figure as an image that needs no file, with its alternative text; `crop` takes white margins off."""
    raw, png = io.BytesIO(), io.BytesIO()
    width, height = figure.get_size_inches()
    drawn = Bbox([[-OVERHANG, -OVERHANG], [width + OVERHANG, height + OVERHANG]]) if crop else None
    figure.savefig(raw, format="png", dpi=DPI, bbox_inches=drawn, pil_kwargs={"compress_level": 0})
    picture = Image.open(raw).convert("RGB")
    (_without_margins(picture) if crop else picture).save(png, "png")
    data = base64.b64encode(png.getvalue()).decode("ascii")
    alt = html.escape(alternative_text(figure), quote=True)
    return f'<img alt="{alt}" style="max-width: 100%" src="data:image/png;base64,{data}">'


def _without_margins(picture: Image.Image) -> Image.Image:
    """What is not white, and `MARGIN` pixels around it: faster than to ask every part of a figure where it ends."""
    drawn = ImageOps.invert(picture).getbbox() or (0, 0, *picture.size)
    left, top = (max(0, side - MARGIN) for side in drawn[:2])
    right, bottom = (min(most, side + MARGIN) for side, most in zip(drawn[2:], picture.size, strict=True))
    return picture.crop((left, top, right, bottom))


def alternative_text(figure: Figure) -> str:
    """The label of a figure, or else what its panels say about themselves: titles, units and legends."""
    panels = [axes for axes in figure.axes if axes.get_visible() and axes.get_title()]
    return str(figure.get_label()) or "; ".join(map(_said, panels)) or "picture"


def panels(count: int, columns: int = 3) -> list[Axes]:
    """Axes for `count` pictures side by side, at most `columns` in a row."""
    draw_once()
    columns = min(count, columns)
    rows = -(-count // columns)
    size = (PANEL * 1.1 * columns, PANEL * rows)
    _, axes = plt.subplots(
        rows,
        columns,
        figsize=size,
        squeeze=False,
        layout=ConstrainedLayoutEngine(w_pad=0.1),
        FigureClass=Picture,
    )
    flat = list(axes.ravel())
    for unused in flat[count:]:
        unused.set_visible(False)
    return flat[:count]


def show_image(
    axes: Axes,
    values: NDArray[Any],
    title: str,
    unit: str = "dB",
    valid: NDArray[np.bool_] | None = None,
    limits: tuple[float, float] | None = None,
) -> None:
    """A grey picture of one band with its scale; what is not valid stays white.

    Args:
        axes: where to draw.
        values: (rows, columns).
        title: above the picture.
        unit: at the scale.
        valid: (rows, columns); every finite value when None.
        limits: black and white, in `unit`; the 2nd and 98th percentile of valid values when None.
    """
    seen = np.isfinite(values) if valid is None else valid & np.isfinite(values)
    low, high = limits or _stretch(values[seen])
    picture = axes.imshow(
        np.where(seen, values, np.nan), cmap="gray", vmin=low, vmax=high, interpolation="nearest"
    )
    axes.figure.colorbar(picture, cax=axes.inset_axes((1.04, 0, 0.05, 1)), label=unit)
    _name_pixels(axes, title)


def show_errors(axes: Axes, marked: Mask, truth: Mask, title: str) -> None:
    """Pixels that are hit, marked in error, and missed (rows, columns)."""
    rgb = np.ones((*truth.shape, 3))
    for where, color, name in (
        (marked & truth, BLUE, "hit"),
        (marked & ~truth, ORANGE, "too many"),
        (truth & ~marked, "black", "missed"),
    ):
        rgb[where] = colors.to_rgb(color)
        axes.plot([], [], "s", color=color, label=name)
    show_color(axes, rgb, title)
    axes.legend(fontsize="x-small", loc="upper right")


def show_color(axes: Axes, rgb: NDArray[Any], title: str) -> None:
    """A colour picture, (rows, columns, 3) in [0, 1]."""
    axes.imshow(rgb, interpolation="nearest")
    _name_pixels(axes, title)


def main_colors(maps: NDArray[Any]) -> NDArray[np.float64]:
    """Channels (C, h, w) as a picture (h, w, 3) in [0, 1]: their first three principal components."""
    flat = maps.reshape(len(maps), -1).T.astype(float)
    flat -= flat.mean(0)
    axes = np.linalg.svd(flat, full_matrices=False)[2]
    parts = np.zeros((len(flat), 3))
    parts[:, : min(3, len(axes))] = flat @ axes[:3].T
    low, high = np.quantile(parts, (0.02, 0.98), axis=0)
    scaled = np.clip((parts - low) / np.maximum(high - low, 1e-9), 0, 1)
    return scaled.reshape(*maps.shape[1:], 3)


def show_classes(axes: Axes, codes: NDArray[Any], legend: Mapping[int, tuple[str, str]], title: str) -> None:
    """A picture of class codes (rows, columns); `legend` gives the name and colour of each code to show.

    The figure is made wider by the room that the legend takes.
    """
    figure = axes.figure
    assert isinstance(figure, Figure)
    figure.set_figwidth(figure.get_figwidth() + LEGEND)
    rgb = np.ones((*codes.shape, 3))
    for code, (name, color) in legend.items():
        rgb[codes == code] = colors.to_rgb(color)
        axes.plot([], [], "s", color=color, markeredgecolor="0.4", label=f"{code}: {name}")
    axes.imshow(rgb, interpolation="nearest")
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False)
    _name_pixels(axes, title)


def show_histogram(axes: Axes, samples: Mapping[str, NDArray[Any]], unit: str, title: str) -> None:
    """The distributions of several samples as share of pixels per bin; the x axis is in `unit`."""
    together = np.concatenate([np.ravel(values) for values in samples.values()])
    low, high = np.percentile(together, (0.5, 99.5))
    edges = np.linspace(low, high, 80)
    for (name, values), color in zip(samples.items(), (BLUE, ORANGE, GREEN, RED, PURPLE), strict=False):
        share = np.full(np.size(values), 100 / np.size(values))
        axes.hist(
            np.ravel(values),
            edges.tolist(),
            weights=share,
            histtype="step",
            linewidth=1.6,
            color=color,
            label=name,
        )
    axes.set(xlabel=unit, ylabel="share of pixels (%)", title=title)
    axes.locator_params(axis="x", nbins=6)
    axes.legend(frameon=False)


def outline(axes: Axes, mask: NDArray[np.bool_], color: str = ORANGE, label: str | None = None) -> None:
    """The border of a mask (rows, columns), along pixel edges, over a picture."""
    if mask.any() and not mask.all():
        doubled = np.pad(mask, 1).repeat(4, 0).repeat(4, 1)
        at = (np.arange(doubled.shape[1]) + 0.5) / 4 - 1.5, (np.arange(doubled.shape[0]) + 0.5) / 4 - 1.5
        axes.contour(*at, doubled, levels=[0.5], colors=[color], linewidths=1.4)
    if label:
        axes.plot([], [], color=color, label=label)


def draw_box(axes: Axes, box: Sequence[float], color: str = BLUE, label: str | None = None) -> None:
    """A box x0, y0, x1, y1 in pixel corners over a picture."""
    x0, y0, x1, y1 = box
    corner = (x0 - 0.5, y0 - 0.5)
    patch = Rectangle(corner, x1 - x0, y1 - y0, fill=False, edgecolor=color, linewidth=1.8, label=label)
    patch.set_path_effects([patheffects.withStroke(linewidth=3.6, foreground="white")])
    axes.add_patch(patch)


def zoom(axes: Axes, box: Sequence[float], margin: float = 0.5) -> None:
    """Show only a box x0, y0, x1, y1 and its surroundings, `margin` times its longer side around it."""
    x0, y0, x1, y1 = box
    around = margin * max(x1 - x0, y1 - y0)
    axes.set(xlim=(x0 - around - 0.5, x1 + around - 0.5), ylim=(y1 + around - 0.5, y0 - around - 0.5))


def zoom_inside(axes: Axes, box: Box, margin: float, shape: tuple[int, ...]) -> None:
    """`zoom`, but not beyond an image of `shape` (rows, columns)."""
    zoom(axes, box, margin)
    rows, cols = shape
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    axes.set(xlim=(max(left, -0.5), min(right, cols - 0.5)), ylim=(min(bottom, rows - 0.5), max(top, -0.5)))


def legend(axes: Axes) -> None:
    """Name what was drawn with a label, in a row below the picture so that nothing is hidden."""
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        borderaxespad=4.5,
        ncols=3,
        fontsize="small",
        frameon=False,
    )


def show_scores(axes: Axes, scores: Mapping[str, NDArray[Any]], title: str) -> None:
    """IoU of every object (dots) and its mean (bar) for each method."""
    spread = np.random.default_rng(0)
    palette = (BLUE, ORANGE, GREEN, RED, PURPLE)
    for place, (values, color) in enumerate(zip(scores.values(), palette, strict=False)):
        axes.plot(values, place + spread.uniform(-0.25, 0.25, len(values)), ".", color=color, alpha=0.5)
        axes.plot([np.mean(values)] * 2, [place - 0.35, place + 0.35], color=color, linewidth=4)
    axes.set_yticks(range(len(scores)), [f"{name}\nmean {np.mean(v):.2f}" for name, v in scores.items()])
    axes.set(xlim=(-0.02, 1.02), xlabel="IoU with the label (0 = disjoint, 1 = equal)", title=title)
    axes.invert_yaxis()


def _stretch(values: NDArray[Any]) -> tuple[float, float]:
    low, high = np.percentile(values, (2, 98)) if values.size else (0.0, 1.0)
    return float(low), float(max(high, low + 1e-6))


def _said(axes: Axes) -> str:
    """Title, unit or axes, and the names in the legend of one panel."""
    units = [f"in {image.colorbar.ax.get_ylabel()}" for image in axes.images if image.colorbar]
    over = [] if axes.images else [" over ".join(filter(None, (axes.get_ylabel(), axes.get_xlabel())))]
    drawn = axes.get_legend()
    names = [text.get_text() for text in drawn.get_texts()] if drawn else []
    return ", ".join([axes.get_title(), *units, *over, *names]).replace("\n", " ")


def _name_pixels(axes: Axes, title: str) -> None:
    axes.set(title=title, xlabel="column (px)", ylabel="row (px)")
