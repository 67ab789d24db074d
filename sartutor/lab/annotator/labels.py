"""Every word that the annotator shows: labels, tooltips, sentences of the status line.

Sentences are plain text; the panel escapes them before they become HTML.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sartutor.lab.annotator.annotation import Annotation

BAND = "Band"
OBJECTS, OBJECTS_TIP = "Objects", "Choose an object to mark its box or to delete it"
UNDO, UNDO_TIP = "Undo", "Take the last change back"
REDO, REDO_TIP = "Redo", "Repeat the change taken back last"
DELETE, DELETE_TIP = "Delete", "Delete the object chosen in the list"
EXPORT, EXPORT_TIP = "Export", "Write all masks as GeoTIFF, GeoPackage and GeoJSON"
EXPORT_TO = "Export to"
EXPORT_TO_TIP = "Folder and name of the exported files, without an ending"
WORKING = "working"
START = "Click the rectangle tool ■ at the left of the map, then drag a box around one object."
NEXT = "Draw the next box, or adjust a box with the edit tool."
NO_CRS = "This scene does not say where it lies: it is shown as a grid of pixels, and areas count pixels."
READING = "Reading the scene."
LOADING = "Loading the model."
EMBEDDING = "Computing the first embedding."
SAVING = "Saving."
SEGMENTING = "Looking for the object."
EXPORTING = "Writing files."
NOTHING_TO_UNDO = "There is nothing to take back."
NOTHING_TO_REDO = "There is nothing to repeat."
NOTHING_CHOSEN = "There is no object to delete; draw a box first."
NOTHING_TO_EXPORT = "There is nothing to export yet; draw a box first."
UNDONE = "Took the last change back."
REDONE = "Repeated the change."
UNEXPECTED = "Something unexpected happened, your objects are safe; the report stands below the map."


def scene_picture(title: str, name: str) -> str:
    """Alternative text of the radar layer."""
    return f"radar picture of {name}, {title}"


def mask_picture(annotation: Annotation) -> str:
    """Alternative text of a mask."""
    return f"mask of object {annotation.id}, {size(annotation)}"


def size(annotation: Annotation) -> str:
    """How large an object is: hectares below a square kilometre; pixels where the scene is not on the Earth."""
    area = annotation.area_m2
    if area is None:
        return f"{annotation.pixels:,} px"
    return f"{area / 1e6:,.2f} km²" if area >= 1e6 else f"{area / 1e4:,.2f} ha"


def listed(annotation: Annotation) -> str:
    """One line in the list of objects."""
    return f"{annotation.id} · {size(annotation)} · score {annotation.score:.2f}"


def found(annotations: Sequence[Annotation], seconds: float) -> str:
    """After a box was drawn or changed."""
    said = " ".join(_found(annotation) for annotation in annotations)
    return f"{said} ({1000 * seconds:.0f} ms) {NEXT}"


def deleted(ids: Sequence[int]) -> str:
    """After objects were deleted."""
    named = ", ".join(str(id) for id in ids)
    if len(ids) > 1:
        return f"Deleted objects {named}. {UNDO} brings them back."
    return f"Deleted object {named}. {UNDO} brings it back."


def resumed(count: int, path: Path) -> str:
    """After a session was found on disk."""
    return f"Resumed {count} object{'s' if count != 1 else ''} from {path}. {NEXT}"


def exported(paths: Sequence[Path]) -> str:
    """After an export."""
    return f"Wrote {', '.join(str(path) for path in paths)}."


def _found(annotation: Annotation) -> str:
    named = f"Object {annotation.id}" + (f" ({annotation.note})" if annotation.note else "")
    if not annotation.pixels:
        return f"{named}: nothing found in this box; draw it tighter around the object."
    ground = f", {size(annotation)}" if annotation.area_m2 is not None else ""
    return f"{named}: {annotation.pixels:,} px{ground}, score {annotation.score:.2f}."
