"""Every word that the annotator shows: labels, tooltips, sentences of the status line.

Sentences are plain text; the panel escapes them before they become HTML.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sartutor.lab.annotator.annotation import Annotation
from sartutor.lab.study import TimeSaved, Trial, Way

if TYPE_CHECKING:
    from sartutor.lab.annotator.merging import Agreement

OBJECTS_TAB, PICTURE_TAB, FILES_TAB, KEYS_TAB = "Objects", "Picture", "Files", "Keys"
LAYER, LAYER_TIP = "Picture", "What lies below the masks"
STRETCH, STRETCH_TIP = "Stretch", "Values at the two ends of the colours"
COMPARE, COMPARE_TIP = "Swipe over it", "A second picture, left of the line on the map"
SWIPE_TIP = "Move the line between the two pictures"
NOTHING = "nothing"
GATE = "gate weights"
OPACITY, OPACITY_TIP = "Masks", "How strongly masks cover the picture"
MODEL, MODEL_TIP = "Model", "Name of a model, or path of your own checkpoint"
SCALE, SCALE_TIP = (
    "Looks at",
    "How much around a box the model sees; around clicks alone it sees all that it can",
)
SCALES = {"both, averaged": "", "what is around the box": "near", "all that its input holds": "chip"}
MODE_TIPS = ("A click chooses an object", "A click adds to the chosen object", "A click takes away from it")
MODES = ("choose", "+ point", "− point")
FULL, FULL_TIP = "Full view", "Look for one object in all that the map shows"
CHANGED, CHANGED_TIP = "Changed", "Propose what changed most between the two dates"
OBJECTS, OBJECTS_TIP = "Objects", "Choose an object to change, decide about or delete it"
ACCEPT, ACCEPT_TIP = "Accept", "The chosen object is as it should be"
REJECT, REJECT_TIP = "Reject", "The chosen object is none; it will not be exported"
UNDO, UNDO_TIP = "Undo", "Take the last change back"
REDO, REDO_TIP = "Redo", "Repeat the change taken back last"
DELETE, DELETE_TIP = "Delete", "Delete the object chosen in the list"
THRESHOLD, THRESHOLD_TIP = "Threshold", "Probability above which a pixel belongs to the object"
SMOOTHING, SMOOTHING_TIP = "Smoothing", "Sigma, in pixels, of the smoothing before the threshold"
CHOICE, CHOICE_TIP = "Answer", "The model's answers, with its own guess of how good each is"
CLASS, CLASS_TIP = "Class", "What the chosen object is"
EXPORT, EXPORT_TIP = "Export", "Write all objects but rejected ones in the formats that are ticked"
FORMATS = {
    ".tif": "GeoTIFF, a mask on the scene's grid",
    ".gpkg": "GeoPackage, outlines and attributes",
    ".geojson": "GeoJSON, outlines in degrees",
    ".coco.json": "COCO, run lengths for detectors",
    "-training": "Folder to train with, accepted ones",
}
IMPORT, IMPORT_TIP = "Import", "Take over polygons of a file as objects to correct"
IMPORT_FROM, IMPORT_FROM_TIP = "Import from", "GeoPackage, GeoJSON or Shapefile"
EXPORT_TO = "Export to"
EXPORT_TO_TIP = "Folder and name of the exported files, without an ending"
OTHER_DATE, OTHER_DATE_TIP = (
    "Objects of another date",
    "File of its scene; its session lies beside this one",
)
CARRY_OVER, CARRY_OVER_TIP = "Carry over", "Look for the objects of the other date again, in the same boxes"
SEVERAL, SEVERAL_TIP = "Several annotators", "Session files of this scene; Control or Shift chooses several"
AGREEMENT, AGREEMENT_TIP = "Compare", "How far these annotators agree, and where they do not"
MERGE, MERGE_TIP = "Merge", "Write what they say together as a new session"
SESSION = "Kept in"
WORKING = "working"
START = "Press b or click the rectangle tool ■ at the left of the map, then drag a box around one object."
NEXT = "Draw the next box, or adjust this one."
NO_CRS = "This scene does not say where it lies: it is shown as a grid of pixels, and areas count pixels."
OFF_MAP = "The map does not reach where this scene lies, or its coordinates are local: it is shown as a grid of pixels."
READING = "Reading the scene."
LOADING = "Loading the model."
EMBEDDING = "Computing the first embedding."
SAVING = "Saving."
SEGMENTING = "Looking for the object."
PROPOSING = "Looking for what changed."
EXPORTING = "Writing files."
NOTHING_TO_UNDO = "There is nothing to take back."
NOTHING_TO_REDO = "There is nothing to repeat."
NOTHING_CHOSEN = "There is no object chosen; draw a box first."
NO_FORMAT = "Nothing was written: tick a format that this scene can have."
NO_NAME = "The field “Export to” is empty; give a folder and a name."
NOTHING_TO_EXPORT = "There is nothing to export yet; draw a box first."
NO_DATA = "No pixel with data lies in this outline; draw it on the scene."
UNDONE = "Took the last change back."
REDONE = "Repeated the change."
POINTING = (
    "A click on the map chooses an object; press b or g to draw a shape.",
    "A click on the map adds to the chosen object; press s to stop.",
    "A click on the map takes away from the chosen object; press s to stop.",
)
ANNOTATOR = "Annotator: a map to draw boxes on, press k for a box that arrow keys move"
NOT_SHOWN = "The map is not shown anywhere yet; run annotator.show() in a notebook first."
NO_DRAFT = "There is no box to move; press k to begin one."
DRAFTING = "Arrows move the box, Shift and arrows resize it, Enter looks inside, Escape drops it."
DROPPED = "Dropped the box."
UNEXPECTED = "Something unexpected happened, your objects are safe; the report stands below the map."

BEGIN, BEGIN_TIP = "Start", "Go to the object and start the clock"
DONE, DONE_TIP = "Done", "Stop the clock and keep what is drawn"
WAYS: dict[Way, str] = {
    "polygon": "outlined by hand with the polygon tool (g)",
    "box": "with a box (b) and corrections",
}
BEGUN = "The clock is running; draw the object in the circle, then press Done."
DRAW_FIRST = "Nothing is drawn yet; draw the object in the circle first."
ALL_DONE = "All trials are done; thank you."
PAUSED = "Press Start when you are ready; the clock stands still."

KEYS = {
    "b": "draw boxes",
    "g": "draw an outline",
    "k": "a box that arrow keys move",
    "s": "clicks choose objects again",
    "p": "clicks add to the object",
    "n": "clicks take away from it",
    "f": "look in all that is shown",
    "c": "propose what changed",
    "a": "accept the chosen object",
    "r": "reject it",
    "Delete": "delete it",
    "z": "undo",
    "y": "redo",
    "j": "choose the next object",
    "i": "choose the one before",
    "+": "higher threshold, smaller mask",
    "-": "lower threshold, larger mask",
    "x": "the model's next answer",
    "l": "the next picture",
    "h": "hide or show the masks",
    "e": "export",
}
"""What each key does."""


def histogram(low: float, high: float, units: str) -> str:
    """Alternative text of a histogram."""
    return f"histogram of the values shown, from {low:.1f} to {high:.1f} {units}"


def scene_picture(name: str) -> str:
    """Alternative text of the picture below the masks; it cannot change, so what is shown is said in the legend."""
    return f"radar picture of {name}"


def mask_picture(id: int) -> str:
    """Alternative text of a mask; it cannot change, so the size stands in the list."""
    return f"mask of object {id}"


def size(annotation: Annotation) -> str:
    """How large an object is: hectares below a square kilometre; pixels where the scene is not on the Earth."""
    area = annotation.area_m2
    if area is None:
        return f"{annotation.pixels:,} px"
    return f"{area / 1e6:,.2f} km²" if area >= 1e6 else f"{area / 1e4:,.2f} ha"


def listed(annotation: Annotation) -> str:
    """One line in the list of objects."""
    mark = {"open": "·", "accepted": "✓", "rejected": "✗"}[annotation.status]
    label = "" if annotation.label == "object" else f" {annotation.label}"
    return f"{mark} {annotation.id}{label} · {size(annotation)} · score {annotation.score:.2f}"


def answers(annotation: Annotation) -> list[tuple[str, int]]:
    """The model's answers by number and score; the first is the single one, the others are parts and wholes."""
    return [(f"{i + 1} ({score:.2f})", i) for i, score in enumerate(annotation.scores)]


def decided(annotation: Annotation) -> str:
    """After an object was accepted or rejected."""
    return f"Object {annotation.id} is {annotation.status}. {NEXT}"


def changed(annotation: Annotation) -> str:
    """After a slider was moved."""
    return f"Object {annotation.id}: {annotation.pixels:,} px, {size(annotation)}."


def imported(count: int, outside: int, no_areas: int) -> str:
    """After polygons were taken over."""
    left = f" {outside} lie beside the scene or on no data and were left out." if outside else ""
    left += f" {no_areas} are no areas and were left out." if no_areas else ""
    return f"Took over {count} object{'s' if count != 1 else ''}.{left} Accept, change or reject each."


def proposed(count: int, seconds: float) -> str:
    """After proposals were made."""
    said = "1 object" if count == 1 else f"{count} objects"
    return f"Proposed {said} ({seconds:.1f} s); accept, change or reject each."


def now_asked(model: str) -> str:
    """After the model was changed."""
    return f"{model} answers from now on; objects stay as they are."


def now_seen(scale: str | None) -> str:
    """After it was chosen how much the model sees."""
    name = next(name for name, value in SCALES.items() if value == (scale or ""))
    return f"From now on the model looks at {name}; objects stay as they are."


def no_session(path: Path) -> str:
    """Where another date was never annotated."""
    return f"{path} is not there: annotate the other date first, with its session in the same folder."


def compared(people: int) -> str:
    """After session files were compared."""
    return f"Compared {people} annotators; what they do not agree on stands on the page {FILES_TAB}."


def agreed(found: Agreement) -> str:
    """How far annotators agree."""
    return (
        f"In both: {found.objects}, in one alone: {found.alone}; mean IoU {found.iou:.2f}, "
        f"kappa {found.kappa:.2f}"
    )


def merged(path: Path, objects: Sequence[Annotation]) -> str:
    """After session files were merged."""
    left = sum(one.status == "open" for one in objects)
    return f"Wrote {path}: {len(objects)} objects, {left} of them open. Give it as session_path to go on with it."


def trial(number: int, trials: int, task: Trial) -> str:
    """What is to be done next in a timed study."""
    return f"Trial {number} of {trials}: object {task.object}, {WAYS[task.way]}."


def saved(found: TimeSaved) -> str:
    """What a timed study says."""
    said = f"Boxes saved {100 * found.saved:.0f} % of the time"
    if found.pairs < 2:
        return f"{said} for one object; an interval needs two."
    interval = f"{100 * found.low:.0f} to {100 * found.high:.0f} %, p = {found.p:.3f}"
    return f"{said} for {found.pairs} objects done both ways ({interval}): {found.verdict}."


def held(session: str, by: str) -> str:
    """Where another kernel has the session open."""
    return f"{session} is held by {by}: you can look, but not change anything here."


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
