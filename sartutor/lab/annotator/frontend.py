"""What only the browser can do, as a widget without a face: keys heard wherever the focus is, swipe, a strong line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.resources import files

import anywidget
import traitlets
from ipywidgets import Widget, widget_serialization

SOURCE = files(__package__).joinpath("frontend.js")


class Frontend(anywidget.AnyWidget):
    """Hears keys, cuts the upper picture at `swipe`, a share of its width, while `comparing`, and marks one shape.

    `chosen` is the number of the shape of the draw control `control` that is drawn with a strong line. `heard` are the
    names of the keys that are wanted, `tools` drawing tools by key, which stay in the browser. Arrows, Enter and Escape
    are heard while `drafting`, and left to the map otherwise.
    """

    _esm = SOURCE.read_text("utf-8")
    heard = traitlets.List(traitlets.Unicode()).tag(sync=True)
    tools = traitlets.Dict().tag(sync=True)
    drafting = traitlets.Bool(False).tag(sync=True)
    comparing = traitlets.Bool(False).tag(sync=True)
    swipe = traitlets.Float(1.0).tag(sync=True)
    label = traitlets.Unicode().tag(sync=True)
    control = traitlets.Instance(Widget).tag(sync=True, **widget_serialization)
    chosen = traitlets.Int(None, allow_none=True).tag(sync=True)

    def __init__(
        self, label: str, acts: Mapping[str, Callable[[], object]], tools: Mapping[str, str], control: Widget
    ) -> None:
        super().__init__(label=label, heard=list(acts), tools=dict(tools), control=control)
        self._acts = dict(acts)
        self.on_msg(self._on_message)

    def press(self, key: str) -> None:
        """What pressing a key does."""
        if key in self._acts:
            self._acts[key]()

    def _on_message(self, _: object, content: object, __: object) -> None:
        if isinstance(content, dict) and isinstance(content.get("key"), str):
            self.press(content["key"])
