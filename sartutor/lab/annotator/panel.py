"""The widgets beside and below the map, made by plain functions; they know nothing of sessions or models."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from importlib.resources import files
from typing import Any, Literal

import ipywidgets as widgets

from sartutor.lab.annotator import labels
from sartutor.lab.annotator.pictures import Legend

Kind = Literal["busy", "done", "problem"]
MARKS: dict[Kind, str] = {"busy": "…", "done": "✓", "problem": "⚠"}


class StatusLine(widgets.HTML):
    """One sentence on what happened and what to do next, read out by screen readers; a bar while work is going on."""

    def say(self, text: str, kind: Kind = "done", step: tuple[int, int] | None = None) -> None:
        """Show plain text; `step` (done, all) fills the bar, without it a busy bar only moves."""
        value = f' value="{step[0]}" max="{step[1]}"' if step else ""
        bar = f'<progress aria-label="{escape(labels.WORKING)}"{value}></progress>' if kind == "busy" else ""
        role = "alert" if kind == "problem" else "status"
        mark = f'<span class="sartutor-mark" aria-hidden="true">{MARKS[kind]}</span>'
        inside = f"{mark}<span>{escape(text)}</span>{bar}"
        self.value = f'<div class="sartutor-status sartutor-{kind}" role="{role}">{inside}</div>'


class Panel(widgets.VBox):
    """Band and legend, list of objects, undo, redo, delete and export."""

    def __init__(self, bands: tuple[str, ...], export_to: str) -> None:
        self.band = widgets.ToggleButtons(
            options=bands, description="", tooltips=[f"{labels.BAND} {b}" for b in bands]
        )
        self.legend = widgets.HTML()
        self.objects = widgets.Select(options=[], rows=13, tooltip=labels.OBJECTS_TIP, layout=_wide())
        self._choose: Callable[[int | None], None] = lambda id: None
        self.objects.observe(self._on_choice, "value")
        self.undo = _button(labels.UNDO, labels.UNDO_TIP, "undo")
        self.redo = _button(labels.REDO, labels.REDO_TIP, "repeat")
        self.delete = _button(labels.DELETE, labels.DELETE_TIP, "trash")
        self.export_to = widgets.Text(
            export_to, tooltip=labels.EXPORT_TO_TIP, continuous_update=False, layout=_wide()
        )
        self.export = _button(labels.EXPORT, labels.EXPORT_TIP, "download")
        self.export.button_style = "primary"
        steps = widgets.HBox([self.undo, self.redo, self.delete], layout=_wide())
        super().__init__(
            [
                _heading(labels.BAND),
                self.band,
                self.legend,
                _heading(labels.OBJECTS),
                self.objects,
                steps,
                _heading(labels.EXPORT_TO),
                self.export_to,
                self.export,
            ]
        )
        self.add_class("sartutor-panel")

    @property
    def chosen(self) -> int | None:
        """Number of the object chosen in the list."""
        return self.objects.value

    def on_choice(self, act: Callable[[int | None], None]) -> None:
        """Call `act` with the number of an object when a reader chooses it."""
        self._choose = act

    def show_legend(self, legend: Legend) -> None:
        """What black and white mean, with units."""
        low, high = (f"{v:.1f}" if legend.units == "dB" else f"{v:.4g}" for v in (legend.low, legend.high))
        ends = f"<span>{low}</span><b>{escape(legend.units)}</b><span>{high}</span>"
        self.legend.value = (
            f'<div class="sartutor-legend"><div>{escape(legend.title)}</div>'
            f'<div class="sartutor-ramp"></div><div class="sartutor-ends">{ends}</div></div>'
        )

    def show_objects(self, lines: list[tuple[str, int]], chosen: int | None) -> None:
        """The list of objects, as (text, number), one marked as chosen; `on_choice` is for readers, not for this."""
        self.objects.unobserve(self._on_choice, "value")
        with self.objects.hold_sync():
            self.objects.options = lines
            self.objects.value = chosen
        self.objects.observe(self._on_choice, "value")
        self.objects.disabled = not lines
        self.delete.disabled = self.export.disabled = not lines

    def _on_choice(self, change: dict[str, Any]) -> None:
        self._choose(change["new"])


def frame(the_map: widgets.Widget, panel: Panel, status: StatusLine, log: widgets.Output) -> widgets.VBox:
    """The map, the panel beside it, the status line and reports of the unexpected below."""
    look = widgets.HTML(f"<style>{files(__package__).joinpath('look.css').read_text('utf-8')}</style>")
    look.layout.display = "none"
    row = widgets.HBox([the_map, panel])
    row.add_class("sartutor-row")
    whole = widgets.VBox([look, row, status, log])
    whole.add_class("sartutor-annotator")
    return whole


def _heading(text: str) -> widgets.HTML:
    return widgets.HTML(f'<div class="sartutor-heading">{escape(text)}</div>')


def _button(text: str, tip: str, icon: str) -> widgets.Button:
    return widgets.Button(description=text, tooltip=tip, icon=icon, layout=_wide())


def _wide() -> widgets.Layout:
    return widgets.Layout(width="100%")
