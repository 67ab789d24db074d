"""The widgets beside and below the map, made by plain functions; they know nothing of sessions or models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import ipywidgets as widgets
import pandas as pd

from sartutor.lab.annotator import labels
from sartutor.lab.annotator.annotation import Annotation
from sartutor.lab.annotator.merging import Agreement

Kind = Literal["busy", "done", "problem"]
MARKS: dict[Kind, str] = {"busy": "…", "done": "✓", "problem": "⚠"}


MODELS = ("sam_tiny_base", "sam_tiny_avalanche", "vit_b")
"""Models that are offered by name (`sartutor.learn.models.MODEL_NAMES`, which would load torch)."""


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
    """Objects: how they are asked for, the list of them, and what can be done with the one chosen."""

    def __init__(self, model: str) -> None:
        self.model = widgets.Combobox(
            value=model,
            options=MODELS,
            ensure_option=False,
            continuous_update=False,
            tooltip=labels.MODEL_TIP,
            layout=wide(),
        )
        self.scale = widgets.Dropdown(
            options=labels.SCALES, description=labels.SCALE, tooltip=labels.SCALE_TIP, layout=wide()
        )
        self.offer_scales(1, None)
        self.mode = widgets.ToggleButtons(options=labels.MODES, tooltips=labels.MODE_TIPS)
        self.full = button(labels.FULL, labels.FULL_TIP, "expand")
        self.changed = button(labels.CHANGED, labels.CHANGED_TIP, "exchange")
        self.objects = widgets.Select(options=[], rows=7, tooltip=labels.OBJECTS_TIP, layout=wide())
        self.accept = button(labels.ACCEPT, labels.ACCEPT_TIP, "check")
        self.reject = button(labels.REJECT, labels.REJECT_TIP, "times")
        self.delete = button(labels.DELETE, labels.DELETE_TIP, "trash")
        self.undo = button(labels.UNDO, labels.UNDO_TIP, "undo")
        self.redo = button(labels.REDO, labels.REDO_TIP, "repeat")
        self.threshold = _slider(labels.THRESHOLD, labels.THRESHOLD_TIP, 0.02, 0.98, 0.01)
        self.smoothing = _slider(labels.SMOOTHING, labels.SMOOTHING_TIP, 0.0, 5.0, 0.25)
        self.choice = widgets.Dropdown(description=labels.CHOICE, tooltip=labels.CHOICE_TIP, layout=wide())
        self.label = widgets.Combobox(
            description=labels.CLASS,
            ensure_option=False,
            continuous_update=False,
            tooltip=labels.CLASS_TIP,
            layout=wide(),
        )
        self._acts: dict[str, Callable[[Any], None]] = {}
        rows = [
            heading(labels.MODEL),
            self.model,
            self.scale,
            self.mode,
            _row(self.full, self.changed),
            heading(labels.OBJECTS),
            self.objects,
            _row(self.accept, self.reject, self.delete),
            _row(self.undo, self.redo),
            self.threshold,
            self.smoothing,
            self.choice,
            self.label,
        ]
        super().__init__(rows)
        for name in ("objects", *ADJUSTED):
            getattr(self, name).observe(partial(self._on_value, name), "value")

    def offer_scales(self, count: int, chosen: str | None) -> None:
        """Let a reader choose how much is seen around a box, where the model knows more than one scale."""
        self.scale.value = chosen or ""
        self.scale.layout.display = "" if count > 1 else "none"

    @property
    def chosen(self) -> int | None:
        """Number of the object chosen in the list."""
        return self.objects.value

    def on_choice(self, act: Callable[[int | None], None]) -> None:
        """Call `act` with the number of an object when a reader chooses it."""
        self._acts["objects"] = act

    def on_adjust(self, act: Callable[[str, Any], None]) -> None:
        """Call `act` with the name of a field of the chosen object, and its value, when a reader changes it."""
        for name in ADJUSTED:
            self._acts[name] = partial(act, name)

    def show_objects(self, objects: Sequence[Annotation], chosen: Annotation | None, frozen: bool) -> None:
        """The list of objects and what can be changed of the chosen one; nothing where `frozen`."""
        acts, self._acts = self._acts, {}  # what changes here is not the reader's doing
        with self.objects.hold_sync():
            self.objects.options = [(labels.listed(one), one.id) for one in objects]
            self.objects.value = chosen.id if chosen else None
        if chosen:
            self.threshold.value, self.smoothing.value = chosen.threshold, chosen.smoothing
            with self.choice.hold_sync():
                self.choice.options = labels.answers(chosen)
                self.choice.value = chosen.choice
            self.label.value = chosen.label
            self.label.options = sorted({one.label for one in objects})
        self._acts = acts
        self.objects.disabled = not objects
        for each in (self.accept, self.reject, self.delete, *(getattr(self, name) for name in ADJUSTED)):
            each.disabled = chosen is None or frozen

    def _on_value(self, name: str, change: dict[str, Any]) -> None:
        if name in self._acts:
            self._acts[name](change["new"])


ADJUSTED = ("threshold", "smoothing", "choice", "label")
"""Widgets of the panel that change a field of the same name of the chosen object."""


class Files(widgets.VBox):
    """Where objects are kept, what they are exported as, and from where others are taken over."""

    def __init__(self, kept_in: str, export_to: str) -> None:
        self.export_to = _text(export_to, labels.EXPORT_TO_TIP)
        self.formats = {
            ending: widgets.Checkbox(
                ending in FIRST_FORMATS, description=text, indent=False, layout=widgets.Layout(width="auto")
            )
            for ending, text in labels.FORMATS.items()
        }
        self.export = button(labels.EXPORT, labels.EXPORT_TIP, "download")
        self.export.button_style = "primary"
        self.import_from = _text("", labels.IMPORT_FROM_TIP)
        self.take_over = button(labels.IMPORT, labels.IMPORT_TIP, "upload")
        self.other_date = _text("", labels.OTHER_DATE_TIP)
        self.carry_over = button(labels.CARRY_OVER, labels.CARRY_OVER_TIP, "arrow-right")
        self.sessions = widgets.SelectMultiple(rows=3, tooltip=labels.SEVERAL_TIP, layout=wide())
        self.compare = button(labels.AGREEMENT, labels.AGREEMENT_TIP, "balance-scale")
        self.merge = button(labels.MERGE, labels.MERGE_TIP, "compress")
        self.agreement = widgets.HTML()
        super().__init__(
            [
                heading(labels.SESSION),
                widgets.HTML(f'<div class="sartutor-path">{escape(kept_in)}</div>'),
                heading(labels.EXPORT_TO),
                self.export_to,
                *self.formats.values(),
                self.export,
                heading(labels.IMPORT_FROM),
                self.import_from,
                self.take_over,
                heading(labels.OTHER_DATE),
                self.other_date,
                self.carry_over,
                heading(labels.SEVERAL),
                self.sessions,
                _row(self.compare, self.merge),
                self.agreement,
            ]
        )

    @property
    def endings(self) -> list[str]:
        """What is ticked, by the ending of its file."""
        return [ending for ending, box in self.formats.items() if box.value]

    def list_sessions(self, folder: Path) -> None:
        """Offer the session files of a folder; those that were chosen stay it."""
        chosen, found = self.sessions.value, sorted(folder.glob("*.sqlite"))
        if [path for _, path in self.sessions.options] != found:
            self.sessions.options = [(path.name, path) for path in found]
            self.sessions.value = tuple(path for path in found if path in chosen)

    def show_agreement(self, found: Agreement, conflicts: pd.DataFrame) -> None:
        """How far annotators agree, and a table of what they do not."""
        self.agreement.value = f"<div>{escape(labels.agreed(found))}</div>" + as_table(
            conflicts[["A", "a", "B", "b", "iou", "conflict"]]
        )


FIRST_FORMATS = (".tif", ".gpkg", ".geojson")
"""Formats that are ticked at first, by ending."""


def keys_table() -> widgets.HTML:
    """What each key does."""
    rows = "".join(
        f"<tr><td><kbd>{escape(key)}</kbd></td><td>{escape(what)}</td></tr>"
        for key, what in labels.KEYS.items()
    )
    return widgets.HTML(f'<table class="sartutor-keys">{rows}</table>')


def tabs(**pages: widgets.Widget) -> widgets.Tab:
    """Pages beside the map, by title."""
    made = widgets.Tab(list(pages.values()), titles=list(pages))
    made.add_class("sartutor-panel")
    return made


def frame(the_map: widgets.Widget, panel: widgets.Widget, *below: widgets.Widget) -> widgets.VBox:
    """The map, the panel beside it, and whatever stands below them."""
    look = widgets.HTML(f"<style>{files(__package__).joinpath('look.css').read_text('utf-8')}</style>")
    look.layout.display = "none"
    row = widgets.HBox([the_map, panel])
    row.add_class("sartutor-row")
    whole = widgets.VBox([look, row, *below])
    whole.add_class("sartutor-annotator")
    return whole


def as_table(rows: pd.DataFrame) -> str:
    """Rows as HTML; what is not known is left empty."""
    return str(rows.to_html(index=False, border=0, na_rep="", float_format="%.2f", classes="sartutor-table"))


def heading(text: str) -> widgets.HTML:
    """A small title above some widgets."""
    return widgets.HTML(f'<div class="sartutor-heading">{escape(text)}</div>')


def button(text: str, tip: str, icon: str) -> widgets.Button:
    """A button as wide as its place."""
    return widgets.Button(description=text, tooltip=tip, icon=icon, layout=wide())


def wide() -> widgets.Layout:
    """As wide as the place."""
    return widgets.Layout(width="auto", flex="1 1 0%")


def _text(value: str, tip: str) -> widgets.Text:
    return widgets.Text(value, tooltip=tip, placeholder=tip, continuous_update=False, layout=wide())


def _row(*children: widgets.Widget) -> widgets.HBox:
    return widgets.HBox(children, layout=wide())


def _slider(text: str, tip: str, low: float, high: float, step: float) -> widgets.FloatSlider:
    return widgets.FloatSlider(
        description=text, tooltip=tip, min=low, max=high, step=step, readout_format=".2f", layout=wide()
    )
