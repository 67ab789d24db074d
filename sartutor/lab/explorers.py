"""Pictures with sliders: every explorer is a plain drawing function, and `explorer` puts controls above it."""

from __future__ import annotations

from collections.abc import Callable

import ipywidgets as widgets
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sartutor.lab import plots
from sartutor.sar import boxes, radiometry, refined_lee, speckle, speckle_law, visibility
from sartutor.sar.terrain import View
from sartutor.sim import sensor

Array = NDArray[np.floating]

EDGE_DB = 6.0
"""Step between the two halves of `step_scene`, in dB."""

PIXEL_M = 2.5
"""Sample of the cross-section in `draw_geometry`, in metres."""

SAMPLES_PER_CELL = 16
"""Samples of even ground in one cell of the slant-range image."""

PLACES_KM = {"A": 2.0, "B": 4.0, "C": 6.0}
"""Ground range of the foot, the top and the back of the mountain in `draw_geometry`."""

CEILING_M = 1600.0
"""Upper end of the cross-section in `draw_geometry`."""

CONTROL = {"width": "340px", "margin": "2px 28px 2px 2px"}
"""Layout of a slider."""


def explorer(draw: Callable[..., Figure], **controls: widgets.Widget) -> widgets.VBox:
    """Controls above the picture that `draw` makes of their values; it is drawn anew when one of them changes.

    Each keyword of `draw` has its control. The figure's label becomes the picture's alternative text.
    """
    picture = widgets.HTML()

    def redraw(_change: object = None) -> None:
        picture.value = plots.picture_html(
            draw(**{name: control.value for name, control in controls.items()})
        )

    for control in controls.values():
        control.observe(redraw, "value")
    redraw()
    row = widgets.Box(list(controls.values()), layout=widgets.Layout(flex_flow="row wrap"))
    return widgets.VBox([row, picture])


def slider(
    values: list[float] | list[int] | list[str], start: float | str, name: str
) -> widgets.SelectionSlider:
    """A slider over given values that redraws when it is let go."""
    return widgets.SelectionSlider(
        options=values,
        value=start,
        description=name,
        continuous_update=False,
        style={"description_width": "initial"},
        layout=CONTROL,
    )


def choice(options: list[str], name: str) -> widgets.Dropdown:
    """A drop-down list; the first option is chosen."""
    layout = {"width": "max-content", "margin": CONTROL["margin"]}
    style = {"description_width": "initial"}
    return widgets.Dropdown(options=options, description=name, style=style, layout=layout)


def speckle_explorer(seed: int = 0) -> widgets.VBox:
    """Looks and neighbourhood of speckle, with the histogram against the gamma law."""
    return explorer(
        lambda looks, psf, scale: draw_speckle(looks, psf, scale, seed),
        looks=slider([1, 2, 4, 8, 16, 32], 1, "looks"),
        psf=slider([0.0, 0.4, 0.6, 0.8, 1.0, 1.5], 0.0, "sensor blur (px)"),
        scale=choice(["power", "dB"], "scale"),
    )


def filter_explorer(seed: int = 0) -> widgets.VBox:
    """A speckle filter on a step edge, with its profile."""
    return explorer(
        lambda name, size, looks: draw_filter(name, size, looks, seed),
        name=choice(list(speckle.FILTERS), "filter"),
        size=slider([3, 5, 7, 9, 11], 7, "window (px)"),
        looks=slider([1, 2, 4, 8, 16], 4, "looks"),
    )


def geometry_explorer() -> widgets.VBox:
    """A mountain under a moving beam: shadow, layover, and where each slope lands in the image."""
    return explorer(
        draw_geometry,
        incidence=slider([15, 20, 25, 30, 35, 40, 45, 50, 55, 60], 35, "incidence (degree)"),
        height=slider([200, 400, 600, 800, 1000, 1300], 800, "mountain (m)"),
    )


def stretch_explorer(decibels: Array, valid: NDArray[np.bool_]) -> widgets.VBox:
    """Which decibels are black and which are white, and the same picture in power."""
    low, high = (float(np.floor(q)) for q in np.percentile(decibels[valid], (2, 98)))
    return explorer(
        lambda limits, scale: draw_stretch(decibels, valid, limits, scale),
        limits=widgets.FloatRangeSlider(
            value=(low, high + 1),
            min=-40,
            max=15,
            step=0.5,
            description="range (dB)",
            continuous_update=False,
            readout_format=".1f",
            style={"description_width": "initial"},
            layout={**CONTROL, "width": "460px"},
        ),
        scale=choice(["dB", "power"], "show"),
    )


def jitter_explorer(mask: NDArray[np.bool_]) -> widgets.VBox:
    """Boxes drawn loosely around labelled objects, as training draws them."""
    return explorer(
        lambda increase, seed: draw_jitter(mask, increase, seed),
        increase=slider([1, 5, 10, 20, 50, 100], 20, "jitter (px of 512)"),
        seed=slider([0, 1, 2, 3, 4, 5, 6, 7], 0, "draw"),
    )


def step_scene(looks: int, seed: int, side: int = 128) -> tuple[Array, Array]:
    """Power (side, side) of two even halves, `EDGE_DB` apart, without and with speckle."""
    clean = np.where(np.arange(side) < side // 2, 1.0, radiometry.db_to_power(EDGE_DB))
    clean = np.broadcast_to(clean.astype(np.float32), (side, side))
    return clean, clean * sensor.speckle(np.random.default_rng(seed), (side, side), looks, 0.0)


def draw_speckle(looks: int, psf: float, scale: str, seed: int) -> Figure:
    """An even area under speckle, and the histogram of its values with the law of that many looks."""
    figure, (left, right) = panel_figure(2)
    values = sensor.speckle(np.random.default_rng(seed), (160, 160), looks, psf)
    measured = speckle.enl(values)
    decibels = radiometry.power_to_db(values)
    plots.show_image(left, decibels, f"looks: {looks}, ENL measured: {measured:.1f}", limits=(-15, 6))
    if scale == "dB":
        at = np.linspace(-25, 8, 300)
        shown, law, unit = decibels, speckle_law.db_pdf(at, 1, looks), "dB relative to the mean"
    else:
        at = np.linspace(0.005, 4, 300)
        shown, law, unit = values, speckle_law.intensity_pdf(at, 1, looks), "power relative to the mean"
    bins = np.linspace(at[0], at[-1], 80).tolist()
    right.hist(np.ravel(shown), bins, density=True, color=plots.BLUE, alpha=0.5, label="pixels")
    right.plot(at, law, color=plots.RED, label="gamma law" if scale == "power" else "gamma law, in dB")
    right.set(xlabel=unit, ylabel="probability density", title="histogram and law")
    right.legend(fontsize="small")
    figure.set_label(
        f"Speckle of {looks} looks beside the histogram of its pixels; measured ENL {measured:.1f}."
    )
    return figure


def draw_filter(name: str, size: int, looks: int, seed: int) -> Figure:
    """A step edge before and after a speckle filter, and the mean power along it in dB; refined Lee is 7 px wide."""
    size = refined_lee.SIZE if name == "refined_lee" else size
    figure, (left, middle, right) = panel_figure(3)
    clean, noisy = step_scene(looks, seed)
    filtered = speckle.FILTERS[name](noisy, looks, size, None)
    even = np.s_[16:-16, 16:48]
    for axes, values, title in ((left, noisy, "before"), (middle, filtered, f"{name}, {size} px")):
        title = f"{title}: ENL {speckle.enl(values[even]):.0f}"
        plots.show_image(axes, radiometry.power_to_db(values), title, limits=(-8, 12))
    columns = np.arange(44, 84)
    for values, color, label in (
        (clean, "black", "truth"),
        (noisy, plots.ORANGE, "before"),
        (filtered, plots.BLUE, name),
    ):
        profile = radiometry.power_to_db(values[:, columns].mean(0))
        right.plot(columns, profile, color=color, label=label)
    right.set(xlabel="column (px)", ylabel="mean power of the column (dB)", title="edge profile")
    right.legend(fontsize="small")
    figure.set_label(f"A step edge of {EDGE_DB:.0f} dB before and after the {name} filter of {size} px.")
    return figure


def draw_geometry(incidence: int, height: int) -> Figure:
    """True-to-scale cross-section of a mountain seen from the left, and the brightness of each slant-range cell."""
    figure = Figure(figsize=(7.9, 5.0))
    place = {
        "left": 0.095,
        "right": 0.835,
        "bottom": 0.11,
        "top": 0.93,
        "hspace": 0.55,
        "height_ratios": [2, 3],
    }
    upper, lower = figure.subplots(2, 1, gridspec_kw=place)
    ground = np.arange(0, 8000, PIXEL_M)
    profile = height * np.exp(-(((ground - 4000) / 900) ** 2)).astype(np.float32)
    strip = np.repeat(profile[None], 3, 0)
    view = View(float(incidence), 90.0)
    hidden = visibility.shadow(strip, (PIXEL_M, PIXEL_M), view)[1]
    folded = visibility.layover(strip, (PIXEL_M, PIXEL_M), view)[1]
    upper.fill_between(ground / 1000, profile, color="0.88")
    for where, color, label in (
        (~hidden & ~folded, plots.BLUE, "seen once"),
        (folded, plots.RED, "layover"),
        (hidden, "black", "shadow"),
    ):
        upper.plot(ground[where] / 1000, profile[where], ".", color=color, markersize=4, label=label)
    upper.set(xlabel="ground range (km)", ylabel="height (m)", title="the ground, beam from the left")
    upper.set(xlim=(0, 8), ylim=(-60, CEILING_M), aspect=1 / 1000)
    upper.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.01, 1))
    at, brightness = slant_range_image(ground, profile, hidden, float(incidence))
    inner = slice(1, -1)  # the outermost cells are filled only in part
    lower.step(
        at[inner] / 1000, radiometry.power_to_db(brightness[inner], 1e-2), color=plots.BLUE, where="mid"
    )
    lower.set(xlabel="slant range (km)", ylabel="dB (even ground = 0)", title="the image", ylim=(-21, 27))
    _draw_places(upper, lower, float(incidence), ground, profile)
    figure.set_label(
        f"At {incidence} degrees {folded.mean():.0%} of the ground is layover and {hidden.mean():.0%} is shadow."
    )
    return figure


def slant_range_image(
    ground: Array, profile: Array, hidden: NDArray[np.bool_], incidence_deg: float
) -> tuple[Array, Array]:
    """Slant range (cells) in metres and power of each cell, relative to even ground, of a cross-section.

    Each piece of ground scatters in proportion to the area that it turns to the beam, if it is lit; what shares
    a slant range adds up (Small 2011).
    """
    angle = np.radians(incidence_deg)
    slant = ground * np.sin(angle) - profile * np.cos(angle)
    rise = np.gradient(profile, ground)
    facing = np.clip(np.cos(angle) + rise * np.sin(angle), 0, None) * (ground[1] - ground[0])
    step = SAMPLES_PER_CELL * (ground[1] - ground[0]) * np.sin(angle)
    edges = np.arange(slant.min(), slant.max() + step, step)
    power, _ = np.histogram(slant, edges, weights=np.where(hidden, 0, facing))
    return (edges[:-1] + edges[1:]) / 2, power / (SAMPLES_PER_CELL * (ground[1] - ground[0]) * np.cos(angle))


def draw_stretch(
    decibels: Array, valid: NDArray[np.bool_], limits: tuple[float, float], scale: str
) -> Figure:
    """A band in dB or power between two limits, and where they lie in its histogram."""
    figure, (left, right) = panel_figure(2)
    low, high = limits[0], max(limits[1], limits[0] + 0.5)
    if scale == "power":
        ends = float(radiometry.db_to_power(low)), float(radiometry.db_to_power(high))
        plots.show_image(left, radiometry.db_to_power(decibels), "in power", "power", valid, ends)
    else:
        plots.show_image(left, decibels, "in decibels", "dB", valid, (low, high))
    clipped = float(np.mean((decibels[valid] < low) | (decibels[valid] > high)))
    plots.show_histogram(right, {"pixels": decibels[valid]}, "dB", f"{clipped:.0%} clipped")
    right.axvspan(low, high, color=plots.ORANGE, alpha=0.2)
    figure.set_label(
        f"The scene shown from {low:g} to {high:g} dB in {scale}; {clipped:.0%} of its pixels are clipped."
    )
    return figure


def draw_jitter(mask: NDArray[np.bool_], increase: int, seed: int) -> Figure:
    """A label with its tight boxes and one draw of loose boxes, merged where they overlap."""
    figure, (axes,) = panel_figure(1)
    rng = np.random.default_rng(seed)
    shape = (mask.shape[0], mask.shape[1])
    tight = boxes.object_boxes(mask)
    loose = boxes.merge_overlapping([boxes.jittered(rng, box, shape, increase) for box in tight])
    axes.set_anchor("W")
    axes.imshow(mask, cmap="gray_r", vmin=0, vmax=2, interpolation="nearest")
    for index, box in enumerate(loose):
        plots.draw_box(axes, box, plots.ORANGE, "prompt" if index == 0 else None)
    axes.set(
        title=f"{len(tight)} objects, {len(loose)} boxes after merging",
        xlabel="column (px)",
        ylabel="row (px)",
    )
    axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.01, 1))
    figure.set_label(f"{len(loose)} loose boxes around {len(tight)} labelled objects.")
    return figure


def panel_figure(count: int, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure that belongs to no window, with rows of `count` panels; one alone has room for a legend.

    Margins are fixed, in inches: to fit them to the labels takes as long as to draw, and makes pictures jump.
    """
    width, height = 4.0 * count + 1.2 * (count == 1), 3.3 * rows
    left, right, gap, tall = 0.85, 0.95, 1.65, 2.4
    panel = (width - left - right - gap * (count - 1)) / count
    place = {
        "left": left / width,
        "right": 1 - right / width,
        "bottom": 0.55 / height,
        "top": 1 - 0.35 / height,
        "hspace": 0.9 / tall,
    }
    figure = Figure(figsize=(width, height))
    axes = figure.subplots(rows, count, squeeze=False, gridspec_kw={**place, "wspace": gap / panel})
    return figure, list(np.ravel(axes))


def _draw_places(upper: Axes, lower: Axes, incidence_deg: float, ground: Array, profile: Array) -> None:
    """Parallel rays to `PLACES_KM` in the cross-section, and the slant ranges where these places appear."""
    angle = np.radians(incidence_deg)
    for name, place in PLACES_KM.items():
        height = float(np.interp(1000 * place, ground, profile))
        start = place - (CEILING_M - height) / 1000 * np.tan(angle)
        upper.plot([start, place], [CEILING_M, height], color=plots.ORANGE, linewidth=1, linestyle="--")
        upper.annotate(name, (place, height), (3, 3), textcoords="offset points", weight="bold")
        slant = place * np.sin(angle) - height / 1000 * np.cos(angle)
        lower.axvline(slant, color=plots.ORANGE, linewidth=1, linestyle="--")
        lower.annotate(name, (slant, 21), (3, 0), textcoords="offset points", weight="bold")
