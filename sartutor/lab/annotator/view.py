"""The annotator on the map: radar picture, draw control, masks and panel, kept in step with one session."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import ipywidgets as widgets
from IPython.display import display
from shapely.geometry import Polygon

from sartutor.errors import GeometryError, SarTutorError
from sartutor.lab.annotator import drawing, labels, pictures
from sartutor.lab.annotator.annotation import Annotation, annotate
from sartutor.lab.annotator.canvas import Overlay, blank_map, draw_control, scale_bar
from sartutor.lab.annotator.drawing import Changes
from sartutor.lab.annotator.export import export
from sartutor.lab.annotator.panel import Panel, StatusLine, frame
from sartutor.lab.annotator.placement import DEGREES, Placement
from sartutor.lab.annotator.segmenter import Segmenter
from sartutor.lab.annotator.session import FOLDER, Session, plain_name
from sartutor.sar.resize import overview
from sartutor.sar.scene import Readable


class Annotator:
    """Draw a box on the map, get a mask.

    Args:
        scene: what to annotate; a scene in memory or in a file.
        model: name of an embedded or fetched model, or path of a checkpoint.
        session_path: where the objects are kept at every change and resumed from; by default one file a scene in
            `annotations/`.

    `session` holds the objects, `map` is a leafmap map and `widget` everything that `show` displays. Errors in what a
    reader does are told in the status line; the methods raise them.
    """

    def __init__(
        self, scene: Readable, model: str | Path = "sam_tiny_base", session_path: Path | str | None = None
    ) -> None:
        self.scene = scene
        self.placement = Placement(scene.grid)
        self.segmenter = Segmenter(scene, model)
        self.session = Session.open(scene, session_path)
        self.status = StatusLine()
        self.log = widgets.Output()
        self.panel = Panel(tuple(band.name for band in scene.bands), str(FOLDER / plain_name(scene)))
        self.control = draw_control()
        self._masks: dict[Annotation, Overlay] = {}
        self._overview = overview(scene, pictures.MAX_SIDE)
        self._radar = Overlay()
        self.show_band(scene.bands[0].name)
        self.map = blank_map(self._radar.bounds)
        scale = [scale_bar()] if self.placement.on_earth else []
        self.map.controls = (*self.map.controls, self.control, *scale)
        self.widget = frame(self.map, self.panel, self.status, self.log)
        self._refresh()
        self._listen()
        self.status.say(self._greeting())

    def show(self) -> None:
        """Display the annotator, then make ready for the first box: load the model, compute a first embedding."""
        display(self.widget)
        try:
            self.status.say(labels.LOADING, "busy", (0, 2))
            self.segmenter.predictor  # noqa: B018
            self.status.say(labels.EMBEDDING, "busy", (1, 2))
            self.segmenter.warm_up()
        except SarTutorError as error:
            self.status.say(str(error), "problem")
            raise
        self.status.say(self._greeting())

    def draw(self, polygon: Polygon) -> Annotation:
        """What dragging a box does: segment inside `polygon` and keep the object.

        The polygon is in EPSG:4326, or in the scene's own coordinates where it has no coordinate reference system.
        """
        crs = DEGREES if self.placement.on_earth else None
        self._carry_out(Changes(added=[self.placement.to_map(polygon, crs)]))
        return self.session.objects[-1]

    def undo(self) -> None:
        """Take the last change back."""
        self._travel(self.session.undo, labels.UNDONE, labels.NOTHING_TO_UNDO)

    def redo(self) -> None:
        """Repeat the change taken back last."""
        self._travel(self.session.redo, labels.REDONE, labels.NOTHING_TO_REDO)

    def delete(self, id: int | None = None) -> None:
        """Delete object `id`; the one chosen in the list when None."""
        id = self.panel.chosen if id is None else id
        if id is None:
            raise GeometryError(labels.NOTHING_CHOSEN)
        self._carry_out(Changes(deleted=[id]))

    def export(self, stem: Path | str | None = None) -> list[Path]:
        """Write mask and vectors; `stem` is folder and name without an ending, the panel's when None."""
        self.status.say(labels.EXPORTING, "busy")
        paths = export(self.scene, self.session.objects, self.panel.export_to.value if stem is None else stem)
        self.status.say(labels.exported(paths))
        return paths

    def show_band(self, name: str) -> None:
        """Show another band below the masks."""
        picture, legend = pictures.radar_picture(self._overview, name, self.placement)
        with self._radar.hold_sync():
            self._radar.url, self._radar.bounds = picture.url, picture.bounds
            self._radar.alt = labels.scene_picture(legend.title, self.scene.name)
        self.panel.show_legend(legend)

    def _listen(self) -> None:
        """Connect what a reader does to the methods above."""
        self.control.observe(lambda change: self._try(self._on_drawn, change["new"]), "data")
        self.panel.band.observe(lambda change: self._try(self.show_band, change["new"]), "value")
        self.panel.on_choice(lambda id: self._try(self._refresh, id))
        for button, act in (
            (self.panel.undo, self.undo),
            (self.panel.redo, self.redo),
            (self.panel.delete, self.delete),
            (self.panel.export, self.export),
        ):
            button.on_click(lambda _, act=act: self._try(act))

    def _try(self, act: Callable[..., object], *arguments: object) -> None:
        """Do what a reader asked for; whatever goes wrong is told, never lost in a callback."""
        try:
            act(*arguments)
        except SarTutorError as error:
            self.status.say(str(error), "problem")
        except Exception:
            self.status.say(labels.UNEXPECTED, "problem")
            self.log.append_stderr(traceback.format_exc())

    def _on_drawn(self, data: list[drawing.Feature]) -> None:
        self._carry_out(drawing.changes(self.session.objects, data, self.placement))

    def _carry_out(self, changes: Changes) -> None:
        """Segment, keep, show. A shape that cannot be segmented changes nothing, and is told of when all is done."""
        if not changes:
            return
        start = time.perf_counter()
        self.status.say(labels.SEGMENTING if changes.added or changes.edited else labels.SAVING, "busy")
        failures: list[SarTutorError] = []
        done: list[Annotation] = []
        try:
            added = [s for polygon in changes.added if (s := self._segment(polygon, failures))]
            edited = {
                id: s for id, polygon in changes.edited.items() if (s := self._segment(polygon, failures))
            }
            done = self._keep(added, edited, changes.deleted)
        finally:
            self._refresh(done[-1].id if done else None)
        if failures:
            raise failures[0]
        seconds = time.perf_counter() - start
        self.status.say(labels.found(done, seconds) if done else labels.deleted(changes.deleted))

    def _segment(self, polygon: Polygon, failures: list[SarTutorError]) -> Annotation | None:
        """The object in a shape in degrees; None where it fails, with the reason added to `failures`."""
        try:
            found = self.segmenter.segment(*self.placement.from_map(polygon))
            return annotate(found, self.scene.grid, model=self.segmenter.model)
        except SarTutorError as error:
            failures.append(error)
            return None

    def _keep(
        self, added: list[Annotation], edited: dict[int, Annotation], deleted: list[int]
    ) -> list[Annotation]:
        if not (added or edited or deleted):
            return []
        return self.session.apply(added, edited, deleted)

    def _travel(self, step: Callable[[], bool], done: str, nothing: str) -> None:
        """Undo or redo, and say which."""
        try:
            moved = step()
        finally:
            self._refresh()
        self.status.say(done if moved else nothing)

    def _refresh(self, chosen: int | None = None) -> None:
        """Show what the session holds: masks first, which are waited for, then the list and the drawn shapes."""
        objects = self.session.objects
        self._show_masks(objects)
        ids = [annotation.id for annotation in objects]
        wanted = (chosen, self.panel.chosen, *ids[-1:])
        chosen = next((id for id in wanted if id in ids), None)
        self.panel.show_objects([(labels.listed(o), o.id) for o in objects], chosen)
        self.panel.undo.disabled = not self.session.can_undo
        self.panel.redo.disabled = not self.session.can_redo
        self.control.data = drawing.features(objects, self.placement, chosen)

    def _show_masks(self, objects: Sequence[Annotation]) -> None:
        """One overlay an object; only what changed is drawn anew."""
        before = self._masks
        self._masks = {o: before[o] if o in before else self._mask_overlay(o) for o in objects}
        self.map.layers = (self._radar, *self._masks.values())
        for gone in before.keys() - self._masks.keys():
            before[gone].close()

    def _mask_overlay(self, annotation: Annotation) -> Overlay:
        grid = self.placement.on_map(annotation.grid.crop(annotation.window))
        picture = pictures.mask_picture(annotation.mask, grid)
        return Overlay(url=picture.url, bounds=picture.bounds, alt=labels.mask_picture(annotation))

    def _greeting(self) -> str:
        """The first sentence in the status line."""
        count = len(self.session.objects)
        first = labels.resumed(count, self.session.path) if count else labels.START
        return first if self.placement.on_earth else f"{labels.NO_CRS} {first}"
