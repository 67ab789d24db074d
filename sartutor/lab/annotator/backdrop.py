"""The pictures below the masks, and the widgets that choose, stretch and compare them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from html import escape
from typing import Any

import ipywidgets as widgets
import numpy as np
from numpy.typing import NDArray

from sartutor.errors import DataError
from sartutor.lab.annotator import labels
from sartutor.lab.annotator.canvas import Overlay
from sartutor.lab.annotator.closer import is_worth, look_at_part, seen_window
from sartutor.lab.annotator.layers import Layer, Shown, channel_ranges, colored, layers, look, robust_range
from sartutor.lab.annotator.panel import heading, wide
from sartutor.lab.annotator.placement import Placement
from sartutor.lab.annotator.segmenter import yielding
from sartutor.sar.scene import Readable, Scene

Attempt = Callable[[Callable[[], object]], None]

BINS = 48
WIDEST = (0.1, 99.9)
"""Percentiles of the valid pixels between which the stretch can be set."""
RAMPS = {
    "change": "linear-gradient(to right, #2d004b, #b2abd2, #f7f7f7, #fdb863, #7f3b08)",
    "composite": "linear-gradient(to right, #f00 33%, #0f0 33% 67%, #00f 67%)",
}
GREY = "linear-gradient(to right, #000, #fff)"


class Backdrop(widgets.VBox):
    """One picture of the scene, and above it a second one to swipe with.

    `scene` is a small picture of `source`, whose pixels are shown where the map is enlarged. `attempt` carries out
    what a reader asked for and tells what goes wrong, such as heights in feet.
    """

    def __init__(self, scene: Scene, source: Readable, placement: Placement, attempt: Attempt) -> None:
        self.scene, self.source, self.placement, self._attempt = scene, source, placement, attempt
        self._background = ThreadPoolExecutor(1, "picture", initializer=yielding)
        self._seen: tuple[float, float, float, float] | None = None
        self._asked = 0
        self.known = {layer.name: layer for layer in layers(scene.bands)}
        self._looked: dict[str, Shown] = {}
        self._made: dict[str, Callable[[], Scene]] = {}
        self._ranges: dict[str, tuple[float, float]] = {}
        names = list(self.known)
        self.layer = widgets.Dropdown(options=names, tooltip=labels.LAYER_TIP, layout=wide())
        self.compare = widgets.Dropdown(
            options=_comparable(names),
            tooltip=labels.COMPARE_TIP,
            layout=wide(),
        )
        self.swipe = widgets.FloatSlider(
            value=0.5, min=0, max=1, step=0.005, readout=False, tooltip=labels.SWIPE_TIP, layout=wide()
        )
        self.stretch = widgets.FloatRangeSlider(
            readout=False, continuous_update=False, tooltip=labels.STRETCH_TIP, layout=wide()
        )
        self.opacity = widgets.FloatSlider(
            value=1.0, min=0, max=1, step=0.05, readout=False, tooltip=labels.OPACITY_TIP, layout=wide()
        )
        self.histogram = widgets.HTML()
        self.legend = widgets.HTML()
        self._lower, self._upper = Overlay(), Overlay(class_name="sartutor-upper")
        self._closer = Overlay(class_name="sartutor-closer", opacity=0.0)
        super().__init__(
            [
                heading(labels.LAYER),
                self.layer,
                self.legend,
                heading(labels.STRETCH),
                self.histogram,
                self.stretch,
                heading(labels.COMPARE),
                self.compare,
                self.swipe,
                heading(labels.OPACITY),
                self.opacity,
            ]
        )
        self.swipe.disabled = True
        self.layer.observe(lambda change: self._attempt(lambda: self._show(change["new"])), "value")
        self.compare.observe(lambda change: self._attempt(lambda: self._show_upper(change["new"])), "value")
        self.stretch.observe(self._on_stretch, "value")
        self._show(names[0])

    @property
    def overlays(self) -> tuple[Overlay, ...]:
        """Layers of the map: the lower picture, what is closer of a large scene, and the upper picture, if any."""
        closer = (self._closer,) if self.is_coarse else ()
        return (self._lower, *closer, *((self._upper,) if self.compare.value else ()))

    @property
    def is_coarse(self) -> bool:
        """Whether the scene has more pixels than the picture of all of it."""
        return self.scene.grid.shape != self.source.grid.shape

    @property
    def bounds(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """((south, west), (north, east)) of the picture in degrees."""
        return self._lower.bounds

    def look_closer(self, bounds: tuple[float, float, float, float]) -> Future[None]:
        """Show what lies between west, south, east and north, in degrees, as soon as it is read from the scene."""
        self._seen = bounds
        self._asked += 1
        return self._background.submit(self._attempt, partial(self._make_closer, self._asked))

    def _make_closer(self, asked: int) -> None:
        """The picture of the part, unless another was asked for since."""
        name, layer = self.layer.value, self.known.get(self.layer.value)
        grid = self.source.grid
        window = seen_window(grid, self.placement, self._seen) if self._seen and layer else None
        if asked != self._asked:
            return
        if layer is None or window is None or not is_worth(window, grid):
            self._closer.opacity = 0.0
            return
        try:
            shown = look_at_part(layer, self.source, window, self.placement)
        except DataError:  # no pixel with data there
            self._closer.opacity = 0.0
            return
        picture = colored(shown, *self._ends(self._looked[name]))
        if asked == self._asked:
            with self._closer.hold_sync():
                self._closer.url, self._closer.bounds = picture.url, self.placement.near(picture.bounds)
                self._closer.opacity = 1.0

    def _ends(self, shown: Shown) -> list[tuple[float, float]]:
        """The values at the ends of a layer's colours."""
        return channel_ranges(shown) if shown.is_composite else [self._ranges[shown.layer.name]]

    def _show_lower(self, shown: Shown) -> None:
        """Another picture below the masks; the closer one waits for its own."""
        self._draw(self._lower, shown)
        self._closer.opacity = 0.0
        if self._seen:
            self.look_closer(self._seen)

    def _show(self, name: str) -> None:
        """Show a layer below the masks."""
        shown = self.looked(name)
        self._show_lower(shown)
        self._set_stretch(shown)
        self._explain(shown)

    def _show_upper(self, name: str) -> None:
        """Show a second layer above the first, left of the swipe line; nothing for an empty name."""
        if name:
            self._draw(self._upper, self.looked(name))
        self.swipe.disabled = not name

    def next(self, step: int = 1) -> None:
        """Show the next layer, or the one before."""
        names = list(self.layer.options)
        self.layer.value = names[(names.index(self.layer.value) + step) % len(names)]

    def toggle_masks(self) -> None:
        """Hide the masks, or show them again."""
        self.opacity.value = 0.0 if self.opacity.value else 1.0

    def offer(self, name: str, make: Callable[[], Scene] | None) -> None:
        """A layer of values from 0 to 1 that is made anew whenever it is shown; None takes it away."""
        if make is None:
            self._made.pop(name, None)
        else:
            self._made[name] = make
        names = [*self.known, *self._made]
        if list(self.layer.options) != names:
            shown, upper = self.layer.value, self.compare.value
            self.layer.options, self.compare.options = names, _comparable(names)
            self.layer.value = shown if shown in names else names[0]
            self.compare.value = upper if upper in names else ""

    def looked(self, name: str) -> Shown:
        """A layer on the map's grid, computed once but for those that are offered."""
        if name in self._made:
            scene = self._made[name]()
            self._ranges[name] = (0.0, 1.0)
            return look(Layer(name, "band", scene.band_names), scene, self.placement)
        if name not in self._looked:
            self._looked[name] = look(self.known[name], self.scene, self.placement)
            shown = self._looked[name]
            self._ranges.setdefault(name, robust_range(shown.spread(), shown.layer.kind))
        return self._looked[name]

    def _draw(self, overlay: Overlay, shown: Shown) -> None:
        picture = colored(shown, *self._ends(shown))
        with overlay.hold_sync():
            overlay.url, overlay.bounds = picture.url, self.placement.near(picture.bounds)
            overlay.alt = labels.scene_picture(self.scene.name)

    def _on_stretch(self, change: dict[str, Any]) -> None:
        self._attempt(lambda: self._restretch(change))

    def _restretch(self, change: dict[str, Any]) -> None:
        low, high = change["new"]
        if high > low:
            self._ranges[self.layer.value] = (low, high)
            shown = self.looked(self.layer.value)
            self._show_lower(shown)
            self._explain(shown)

    def _set_stretch(self, shown: Shown) -> None:
        """The slider spans what the layer holds; moving it here is not the reader's doing."""
        self.stretch.disabled = shown.is_composite
        if shown.is_composite:
            return
        ends = self._ranges[shown.layer.name]
        widest = np.percentile(shown.spread(), WIDEST)
        low, high = float(min(widest[0], ends[0])), float(max(widest[1], ends[1]))
        self.stretch.unobserve(self._on_stretch, "value")
        with self.stretch.hold_trait_notifications():
            self.stretch.min, self.stretch.max = min(low, self.stretch.max), max(high, low + 1e-6)
            self.stretch.min, self.stretch.step = low, max((high - low) / 200, 1e-6)
            self.stretch.value = ends
        self.stretch.observe(self._on_stretch, "value")

    def _explain(self, shown: Shown) -> None:
        """Legend and histogram."""
        ends = self._ranges[shown.layer.name]
        kind = shown.layer.kind
        low, high = ("", "") if shown.is_composite else (f"{end:.1f}" for end in ends)
        units = "" if shown.is_composite else shown.units
        self.legend.value = (
            f'<div class="sartutor-legend"><div>{escape(shown.title)}</div>'
            f'<div class="sartutor-ramp" style="background: {RAMPS.get(kind, GREY)}"></div>'
            f'<div class="sartutor-ends"><span>{low}</span><b>{escape(units)}</b><span>{high}</span></div></div>'
        )
        self.histogram.value = "" if shown.is_composite else histogram(shown.spread(), ends, shown.units)


def _comparable(names: Sequence[str]) -> list[tuple[str, str]]:
    """Options of what a picture is compared with."""
    return [(labels.NOTHING, ""), *((name, name) for name in names)]


def histogram(values: NDArray[np.float32], ends: tuple[float, float], units: str) -> str:
    """How often each value occurs, as a drawing in SVG; what lies between the ends of the stretch is dark."""
    low, high = np.percentile(values, WIDEST)
    counts, edges = np.histogram(values, BINS, (low, max(high, low + 1e-6)))
    tops = 36 * counts / counts.max()
    middles = (edges[:-1] + edges[1:]) / 2
    bars = "".join(
        f'<rect x="{i}" y="{36 - top:.1f}" width="0.9" height="{top:.1f}" '
        f'opacity="{0.9 if ends[0] <= middle <= ends[1] else 0.3}"/>'
        for i, (top, middle) in enumerate(zip(tops, middles, strict=True))
    )
    said = labels.histogram(float(low), float(high), units)
    return (
        f'<svg class="sartutor-histogram" viewBox="0 0 {BINS} 36" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(said)}">{bars}</svg>'
    )
