"""Draw a box on the map, get a mask: session (state), segmenter (model), view (widgets)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sartutor.lab.annotator.annotation import Annotation
from sartutor.lab.annotator.segmenter import Segmenter
from sartutor.lab.annotator.session import Session

if TYPE_CHECKING:
    from sartutor.lab.annotator.view import Annotator

__all__ = ["Annotation", "Annotator", "Segmenter", "Session"]


def __getattr__(name: str) -> object:
    """Import the widgets only where they are asked for."""
    if name == "Annotator":
        from sartutor.lab.annotator.view import Annotator

        return Annotator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
