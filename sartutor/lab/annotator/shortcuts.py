"""What each key does; `labels.KEYS` says it in words."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from sartutor.lab.annotator.draft import WAYS

if TYPE_CHECKING:
    from sartutor.lab.annotator.view import Annotator

TOOLS = {"b": "rectangle", "g": "polygon"}
"""Keys of drawing tools, which stay in the browser."""

NUDGE = 0.05
"""How far one key moves the threshold."""

Act = Callable[[], object]


def shortcuts(annotator: Annotator) -> dict[str, Act]:
    """What each key does, but for those of drawing tools."""
    acts: dict[str, Act] = {
        "s": lambda: annotator.click_mode(0),
        "p": lambda: annotator.click_mode(1),
        "n": lambda: annotator.click_mode(2),
        "f": annotator.full,
        "c": annotator.propose,
        "a": annotator.accept,
        "r": annotator.reject,
        "Delete": annotator.delete,
        "z": annotator.undo,
        "Control+z": annotator.undo,
        "y": annotator.redo,
        "Control+y": annotator.redo,
        "j": lambda: annotator.choose(1),
        "i": lambda: annotator.choose(-1),
        "+": lambda: nudge(annotator, NUDGE),
        "-": lambda: nudge(annotator, -NUDGE),
        "x": lambda: next_answer(annotator),
        "l": annotator.backdrop.next,
        "h": annotator.backdrop.toggle_masks,
        "e": annotator.export,
    }
    return acts | drafting(annotator)


def drafting(annotator: Annotator) -> dict[str, Act]:
    """Keys of a box that is drawn without a mouse."""
    acts: dict[str, Act] = {
        "k": annotator.begin_draft,
        "Enter": annotator.end_draft,
        "Escape": annotator.drop_draft,
    }
    for way in WAYS:
        acts[f"Arrow{way}"] = partial(annotator.draft.move, way)
        acts[f"Shift+Arrow{way}"] = partial(annotator.draft.resize, way)
    return acts


def nudge(annotator: Annotator, step: float) -> None:
    """A higher or a lower threshold of the chosen object."""
    slider = annotator.panel.threshold
    wanted = round(annotator.chosen().threshold + step, 2)
    annotator.adjust("threshold", min(max(wanted, slider.min), slider.max))


def next_answer(annotator: Annotator) -> None:
    """The next of the model's answers."""
    chosen = annotator.chosen()
    annotator.adjust("choice", (chosen.choice + 1) % len(chosen.scores))
