"""The annotator on the map: pictures, draw control, masks and panel, kept in step with one session."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, cast

import ipyleaflet
import ipywidgets as widgets
import numpy as np
from IPython.display import display
from rasterio.crs import CRS
from shapely.geometry import Point, Polygon, box

from sartutor import catalog
from sartutor.errors import DataError, GeometryError, OutputError, SarTutorError
from sartutor.lab.annotator import drawing, labels, pictures
from sartutor.lab.annotator.annotation import Annotation, Kind, Segmented, annotate
from sartutor.lab.annotator.backdrop import Backdrop
from sartutor.lab.annotator.canvas import blank_map, draw_control, scale_bar, shown_bounds
from sartutor.lab.annotator.draft import Draft
from sartutor.lab.annotator.drawing import Changes, Sent
from sartutor.lab.annotator.export import export
from sartutor.lab.annotator.frontend import Frontend
from sartutor.lab.annotator.imports import import_polygons, outlined
from sartutor.lab.annotator.masks import Masks
from sartutor.lab.annotator.merging import agreement, conflicts, merge, read_work
from sartutor.lab.annotator.panel import Files, Panel, StatusLine, frame, keys_table, tabs
from sartutor.lab.annotator.placement import Placement
from sartutor.lab.annotator.proposals import propagate
from sartutor.lab.annotator.provenance import kept
from sartutor.lab.annotator.readout import Readout
from sartutor.lab.annotator.segmenter import Segmenter
from sartutor.lab.annotator.session import FOLDER, Session, default_path, plain_name
from sartutor.lab.annotator.shortcuts import TOOLS, shortcuts
from sartutor.sar.coordinates import DEGREES
from sartutor.sar.footprint import ground
from sartutor.sar.geotiff import kept_overview, open_scene
from sartutor.sar.scene import Readable, Scene

if TYPE_CHECKING:
    from sartutor.learn.sam.inputs import Scale
    from sartutor.learn.sam.predictor import PromptPoint


AHEAD = 4
"""Open objects whose surroundings are embedded before they are chosen."""


class Annotator:
    """Draw a box on the map, get a mask.

    Args:
        scene: what to annotate; a scene in memory or in a file.
        model: name of an embedded or fetched model, or path of a checkpoint.
        session_path: where the objects are kept at every change and resumed from; by default one file a scene in
            `annotations/`.
        annotator: who annotates; by default the name that the system knows.

    `session` holds the objects, `map` is a leafmap map and `widget` everything that `show` displays. Errors in what a
    reader does are told in the status line; the methods raise them. While `by_hand` is true no model is asked: a drawn
    shape is the object itself. `marks` are layers that are shown above the masks.
    """

    def __init__(
        self,
        scene: Readable,
        model: str | Path = "sam_tiny_base",
        session_path: Path | str | None = None,
        annotator: str | None = None,
    ) -> None:
        self.scene = scene
        self.placement = Placement(scene.grid)
        self.segmenter = Segmenter(scene, model)
        self.session = Session.open(scene, session_path, annotator)
        self.status = StatusLine()
        self.log = widgets.Output()
        self.panel = Panel(self.segmenter.model)
        self.files = Files(str(self.session.path), str(FOLDER / plain_name(scene)))
        small = kept_overview(scene, pictures.MAX_SIDE, catalog.cache_dir() / "overviews")
        self.backdrop = Backdrop(small, scene, self.placement, self.attempt)
        self.readout = Readout(scene, self.placement)
        self.by_hand = False
        self.marks: tuple[ipyleaflet.Layer, ...] = ()
        self.control = draw_control()
        self.sent = Sent(self.placement)
        self.map = blank_map(self.backdrop.bounds)
        scale = [scale_bar()] if self.placement.on_earth else []
        self.map.controls = (*self.map.controls, self.control, *scale)
        self.masks = Masks(self.placement)
        self.draft = Draft(self.map)
        acts = {key: partial(self.attempt, act) for key, act in shortcuts(self).items()}
        self.frontend = Frontend(labels.ANNOTATOR, acts, TOOLS, self.control)
        self.widget = self._framed()
        self._refresh()
        self._listen()
        self.status.say(self._greeting())

    def show(self) -> None:
        """Display the annotator, then make ready for the first box."""
        display(self.widget)
        self.prepare()

    def prepare(self) -> None:
        """Load the model and compute a first embedding; what is wrong with the model is told and raised."""
        try:
            self.status.say(labels.LOADING, "busy", (0, 2))
            self.segmenter.predictor  # noqa: B018
            self._offer_choices()
            self.status.say(labels.EMBEDDING, "busy", (1, 2))
            self.segmenter.warm_up()
        except SarTutorError as error:
            self.status.say(str(error), "problem")
            raise
        self.status.say(self._greeting())

    # Asking the model ------------------------------------------------------------------------------------

    def draw(self, polygon: Polygon) -> Annotation:
        """What dragging a box does: segment inside `polygon` and keep the object.

        The polygon is in EPSG:4326, or in the scene's own coordinates where it has no coordinate reference system.
        """
        crs = DEGREES if self.placement.on_earth else None
        self._carry_out(Changes(added=[self.placement.to_map(polygon, crs)]))
        return self.session.objects[-1]

    def point(self, lat: float, lon: float, inside: bool) -> Annotation:
        """What a click does: an object again, with a place that belongs to it or does not.

        It is the chosen object, unless the place lies in another one alone; in an empty session a place inside begins
        one.
        """
        start = time.perf_counter()
        asked = self._pointed_at(lat, lon)
        if asked is None and inside:
            crs = DEGREES if self.placement.on_earth else None
            begun = self.segmenter.segment_points(
                [(*self.placement.point_from_map(lon, lat, crs), True)], crs
            )
            done = self._keep([self._annotated(begun, "point")])
        else:
            asked = asked or self.chosen()
            place = self.placement.point_from_map(lon, lat, asked.crs)
            found = self._ask_again(asked, [*asked.points, (*place, inside)])
            kind: Kind = "polygon" if asked.kind in ("imported", "manual") else asked.kind
            done = self._keep(edited={asked.id: self._annotated(found, kind)})
        self.status.say(labels.found(done, time.perf_counter() - start))
        return done[0]

    def full(self) -> Annotation:
        """One object in all that the map shows."""
        start = time.perf_counter()
        found = self.segmenter.segment(*self.placement.from_map(box(*shown_bounds(self.map))))
        done = self._keep([self._annotated(found, "full")])
        self.status.say(labels.found(done, time.perf_counter() - start))
        return done[0]

    def propose(self) -> list[Annotation]:
        """Objects where most changed between the two dates and none is yet, strongest first."""
        start = time.perf_counter()
        self.status.say(labels.PROPOSING, "busy")
        known = [self.sent.shape(one).buffer(drawing.ROUNDING) for one in self.session.objects]
        found = [
            self._annotated(one, "change")
            for one in self.segmenter.proposals()
            if not any(shape.covers(self.placement.to_map(one.polygon, one.crs)) for shape in known)
        ]
        made = self._keep(found)
        self.status.say(labels.proposed(len(made), time.perf_counter() - start))
        return made

    def carry_over(self, other: Session) -> list[Annotation]:
        """Objects of another date, but for rejected ones, looked for again in the same boxes here.

        One whose box lies beside this scene, or on no data, is left out.
        """
        start = time.perf_counter()
        found = []
        for one in kept(other.objects):
            with suppress(SarTutorError):
                again = self.segmenter.segment(propagate(one, self.scene), None)
                found.append(replace(self._annotated(again, "propagated"), label=one.label))
        made = self._keep(found)
        self._list_sessions()  # this one may be new
        self.status.say(labels.proposed(len(made), time.perf_counter() - start))
        return made

    def use(self, model: str | Path) -> None:
        """Ask another model from now on."""
        self.status.say(labels.LOADING, "busy")
        try:
            self.segmenter.use(model)
        finally:
            self.panel.model.value = self.segmenter.model
        self._offer_choices()
        self.status.say(labels.now_asked(self.segmenter.model))

    def look(self, scale: Scale | None) -> None:
        """Let the model look at one of its scales alone from now on; None: at all of them."""
        try:
            self.segmenter.look(scale)
        finally:
            self._offer_choices()
        self.status.say(labels.now_seen(scale))

    # Deciding --------------------------------------------------------------------------------------------

    def accept(self) -> None:
        """The chosen object is as it should be; the next open one is chosen."""
        self._decide(self.session.accept)

    def reject(self) -> None:
        """The chosen object is none; the next open one is chosen."""
        self._decide(self.session.reject)

    def chosen(self) -> Annotation:
        """The object chosen in the list; GeometryError where there is none."""
        if self.panel.chosen is None:
            raise GeometryError(labels.NOTHING_CHOSEN)
        return self.session.get(self.panel.chosen)

    def adjust(self, name: str, value: object) -> None:
        """Change threshold, smoothing, choice or label of the chosen object."""
        chosen = self.chosen()
        if getattr(chosen, name) == value:
            return
        try:
            changed = self.session.change(chosen.id, **{name: value})  # type: ignore[arg-type]
        finally:
            self._refresh(chosen.id)
        self.status.say(labels.changed(changed))

    def choose(self, step: int) -> None:
        """Choose the next object, or the one before."""
        ids = [one.id for one in self.session.objects]
        if ids:
            place = ids.index(self.panel.chosen) if self.panel.chosen in ids else -1
            self._choose(ids[(place + step) % len(ids)])

    def undo(self) -> None:
        """Take the last change back."""
        self._travel(self.session.undo, labels.UNDONE, labels.NOTHING_TO_UNDO)

    def redo(self) -> None:
        """Repeat the change taken back last."""
        self._travel(self.session.redo, labels.REDONE, labels.NOTHING_TO_REDO)

    def delete(self, id: int | None = None) -> None:
        """Delete object `id`; the one chosen in the list when None."""
        self._carry_out(Changes(deleted=[self.chosen().id if id is None else id]))

    def start_over(self) -> None:
        """Delete all objects, for good: no undo brings them back."""
        self._keep(deleted=[one.id for one in self.session.objects])
        self.session.settle()
        self._refresh()

    def export(self, stem: Path | str | None = None, endings: Sequence[str] | None = None) -> list[Path]:
        """Write the objects; `stem` is folder and name without an ending, `endings` are those of `export.WRITERS`.

        Where they are None, the panel's are taken.
        """
        if not self.session.objects:
            raise GeometryError(labels.NOTHING_TO_EXPORT)
        self.status.say(labels.EXPORTING, "busy")
        to = self.files.export_to.value if stem is None else stem
        if not Path(to).name:
            raise OutputError(labels.NO_NAME)
        paths = export(self.scene, self.session.objects, to, endings or self.files.endings)
        if not paths:
            raise OutputError(labels.NO_FORMAT)
        self.status.say(labels.exported(paths))
        return paths

    def take_over(self, path: Path | str | None = None) -> list[Annotation]:
        """Take over the polygons of a file (None: the panel's) as objects to correct."""
        found = import_polygons(self.files.import_from.value if path is None else path, self.scene)
        made = self._keep(found.objects)
        self._list_sessions()  # this one may be new
        self.status.say(labels.imported(len(made), found.outside, found.no_areas))
        return made

    # Several files ---------------------------------------------------------------------------------------

    def carry_over_from(self, path: Path | str | None = None) -> list[Annotation]:
        """Carry over the objects of the scene in a file (None: the panel's), whose session lies beside this one."""
        other = open_scene(self.files.other_date.value if path is None else path)
        where = self.session.path.parent / default_path(other).name
        if not where.exists():
            raise DataError(labels.no_session(where))
        return self.carry_over(Session.read(other, where))

    def compare(self) -> None:
        """Show how far the session files chosen in the panel agree, and where they do not."""
        work = read_work(self.scene, self.files.sessions.value)
        self.files.show_agreement(agreement(self.scene, work), conflicts(work))
        self.status.say(labels.compared(len(work)))

    def merge(self) -> Path:
        """Write what the session files chosen in the panel say together as a session of its own, beside this one."""
        path = self.session.path
        merged = (path.with_stem(f"{path.stem}-merged-{number}") for number in count(1))
        out = next(each for each in merged if not each.exists())
        made = merge(self.scene, self.files.sessions.value, out)
        made.close()
        self._list_sessions()
        self.status.say(labels.merged(out, made.objects))
        return out

    # Without a mouse -------------------------------------------------------------------------------------

    def click_mode(self, index: int) -> None:
        """What a click on the map does: 0 shapes, 1 add a point to the chosen object, 2 one that takes away."""
        self.panel.mode.index = index
        self.status.say(labels.POINTING[index])

    def begin_draft(self) -> None:
        """A box in the middle of the map that arrow keys move."""
        self.draft.begin()
        self.frontend.drafting = True
        self.status.say(labels.DRAFTING)

    def end_draft(self) -> None:
        """Look inside that box."""
        drawn = self.drop_draft()
        if drawn is not None:
            self._carry_out(Changes(added=[drawn]))

    def drop_draft(self) -> Polygon | None:
        """Take that box off the map."""
        self.frontend.drafting = False
        self.status.say(labels.DROPPED)
        return self.draft.drop()

    # Listening -------------------------------------------------------------------------------------------

    def _framed(self) -> widgets.VBox:
        """Map, pages beside it, lines below it."""
        pages = tabs(
            **{
                labels.OBJECTS_TAB: self.panel,
                labels.PICTURE_TAB: self.backdrop,
                labels.FILES_TAB: self.files,
                labels.KEYS_TAB: keys_table(),
            }
        )
        pages.observe(lambda _: self._list_sessions(), "selected_index")
        return frame(self.map, pages, self.readout, self.status, self.log, self.frontend)

    def _list_sessions(self) -> None:
        """Offer the session files that lie beside this one."""
        self.files.list_sessions(self.session.path.parent)

    def _listen(self) -> None:
        """Connect what a reader does to the methods above."""
        self.control.observe(lambda change: self.attempt(lambda: self._on_drawn(change["new"])), "data")
        self.map.on_interaction(self._on_mouse)
        self.map.observe(lambda _: self.attempt(self._look_closer), "bounds")
        self.panel.on_choice(lambda id: self.attempt(lambda: self._choose(id)))
        self.panel.on_adjust(lambda name, value: self.attempt(lambda: self.adjust(name, value)))
        self.panel.model.observe(lambda change: self.attempt(lambda: self._on_model(change["new"])), "value")
        self.panel.scale.observe(lambda change: self.attempt(lambda: self._on_scale(change["new"])), "value")
        self.panel.mode.observe(lambda change: self.click_mode(change["owner"].index), "value")
        self.backdrop.compare.observe(lambda _: self._on_compare(), "value")
        self.backdrop.opacity.observe(lambda change: self.masks.fade(change["new"]), "value")
        widgets.jslink((self.backdrop.swipe, "value"), (self.frontend, "swipe"))
        for button, act in (
            (self.panel.full, self.full),
            (self.panel.changed, self.propose),
            (self.panel.accept, self.accept),
            (self.panel.reject, self.reject),
            (self.panel.delete, self.delete),
            (self.panel.undo, self.undo),
            (self.panel.redo, self.redo),
            (self.files.export, self.export),
            (self.files.take_over, self.take_over),
            (self.files.carry_over, self.carry_over_from),
            (self.files.compare, self.compare),
            (self.files.merge, self.merge),
        ):
            button.on_click(lambda _, act=act: self.attempt(act))

    def _on_drawn(self, data: list[drawing.Feature]) -> None:
        self._carry_out(self.sent.changes(self.session.objects, data))

    def _on_compare(self) -> None:
        self.frontend.comparing = bool(self.backdrop.compare.value)
        self._refresh()

    def _look_closer(self) -> None:
        """Where the map stopped moving, a large scene is shown as sharp as the map is."""
        if self.backdrop.is_coarse:
            self.backdrop.look_closer(shown_bounds(self.map))

    def _on_mouse(self, type: str = "", coordinates: Sequence[float] = (), **_: object) -> None:
        """Wherever the mouse goes, the read-out follows."""
        if type == "mousemove":
            self.attempt(partial(self.readout.hover, coordinates[0], coordinates[1]))
        elif type == "click":
            self.attempt(partial(self._on_click, coordinates[0], coordinates[1], self.panel.mode.index))

    def _on_click(self, lat: float, lon: float, mode: int) -> None:
        """A point where points are wanted; otherwise the object that was clicked on is chosen."""
        if mode:
            self.point(lat, lon, inside=mode == 1)
        elif under := self._under(lat, lon):
            self._choose(min(under, key=lambda one: one.polygon.area).id)

    def _under(self, lat: float, lon: float) -> list[Annotation]:
        """Objects whose shape holds a place on the map."""
        place = Point(lon, lat)
        return [one for one in self.session.objects if self.sent.shape(one).contains(place)]

    def _pointed_at(self, lat: float, lon: float) -> Annotation | None:
        """Which object a point is for: the chosen one, unless only others hold the place."""
        under = self._under(lat, lon)
        chosen = self.session.get(self.panel.chosen) if self.panel.chosen is not None else None
        return chosen if chosen in under or not under else under[-1]

    def _on_model(self, name: str) -> None:
        if name != self.segmenter.model:
            self.use(name)

    def _on_scale(self, scale: str) -> None:
        if (scale or None) != self.segmenter.scale:
            self.look(cast("Scale | None", scale or None))

    def attempt(self, act: Callable[[], object]) -> None:
        """Do what a reader asked for; whatever goes wrong is told, never lost in a callback."""
        try:
            act()
        except SarTutorError as error:
            self.status.say(str(error), "problem")
        except Exception:
            self.status.say(labels.UNEXPECTED, "problem")
            self.log.append_stderr(traceback.format_exc())

    # Keeping in step -------------------------------------------------------------------------------------

    def _offer_choices(self) -> None:
        """The scales that the model knows, and a layer of the weights of its second encoder, where it has one."""
        self.panel.offer_scales(len(self.segmenter.trained.scales), self.segmenter.scale)
        self.backdrop.offer(labels.GATE, self._gate_weights if self.segmenter.has_gate else None)

    def _gate_weights(self) -> Scene:
        """Weights around the chosen object, or in all of the scene."""
        if self.panel.chosen is not None:
            return self.segmenter.gate_weights(self.chosen().polygon, self.chosen().crs)
        height, width = self.scene.grid.shape
        corners = np.array([(0, 0), (width, 0), (width, height), (0, height)])
        return self.segmenter.gate_weights(ground(corners, self.scene.grid, None), None)

    def _carry_out(self, changes: Changes) -> None:
        """Segment, keep, show. A shape that cannot be segmented changes nothing, and is told of when all is done."""
        if not changes:
            return
        start = time.perf_counter()
        self.status.say(labels.SEGMENTING if changes.added or changes.edited else labels.SAVING, "busy")
        failures: list[SarTutorError] = []
        try:
            added = [one for polygon in changes.added if (one := self._segment(polygon, failures))]
            edited = {
                id: one
                for id, polygon in changes.edited.items()
                if (one := self._segment(polygon, failures, self.session.get(id)))
            }
        except BaseException:
            self._refresh()  # the map forgets what was not looked into
            raise
        done = self._keep(added, edited, changes.deleted)
        if failures:
            raise failures[0]
        seconds = time.perf_counter() - start
        self.status.say(labels.found(done, seconds) if done else labels.deleted(changes.deleted))

    def _segment(
        self, polygon: Polygon, failures: list[SarTutorError], before: Annotation | None = None
    ) -> Annotation | None:
        """The object in a shape in degrees; None where it fails, with the reason added to `failures`.

        Clicks of the object that it replaces count on where they lie in the new shape.
        """
        kind: Kind = "box" if drawing.same(polygon, polygon.envelope) else "polygon"
        points = [] if before is None else self._clicks_in(polygon, before)
        try:
            drawn, crs = self.placement.from_map(polygon)
            if self.by_hand:
                return self._by_hand(drawn, crs)
            return self._annotated(self.segmenter.segment(drawn, crs, points), kind)
        except SarTutorError as error:
            failures.append(error)
            return None

    def _by_hand(self, polygon: Polygon, crs: CRS | None) -> Annotation:
        """What lies in a shape."""
        found = outlined([polygon], crs, self.scene, "manual")
        if found is None:
            raise GeometryError(labels.NO_DATA)
        return found

    def _clicks_in(self, polygon: Polygon, before: Annotation) -> list[PromptPoint]:
        """Clicks of an object that lie in a shape in degrees, in the coordinates that such shapes are asked in."""
        crs = DEGREES if self.placement.on_earth else None
        places = [(*self.placement.point_to_map(x, y, before.crs), inside) for x, y, inside in before.points]
        return [
            (*self.placement.point_from_map(lon, lat, crs), inside)
            for lon, lat, inside in places
            if polygon.contains(Point(lon, lat))
        ]

    def _ask_again(self, chosen: Annotation, points: Sequence[PromptPoint]) -> Segmented:
        """The model's answer to an object's shape, or to points alone, with other points."""
        if chosen.kind == "point":
            return self.segmenter.segment_points(points, chosen.crs)
        return self.segmenter.segment(chosen.polygon, chosen.crs, points)

    def _annotated(self, found: Segmented, kind: Kind) -> Annotation:
        model, digest = self.segmenter.model, self.segmenter.digest
        return annotate(found, self.scene.grid, kind=kind, model=model, model_digest=digest)

    def _keep(
        self,
        added: Sequence[Annotation] = (),
        edited: Mapping[int, Annotation] | None = None,
        deleted: Sequence[int] = (),
    ) -> list[Annotation]:
        """One step of the session, shown whether it could be saved or not."""
        done: list[Annotation] = []
        try:
            if added or edited or deleted:
                done = self.session.apply(added, edited, deleted)
        finally:
            newest = [one.id for one in done] or [one.id for one in self.session.objects[-1:] if added]
            self._refresh(newest[-1] if newest else None)
        return done

    def _decide(self, decide: Callable[[int], Annotation]) -> None:
        """Accept or reject the chosen object, and choose the next open one."""
        chosen = self.chosen()
        try:
            decided = decide(chosen.id)
        finally:
            later = [one for one in self.session.objects if one.status == "open" and one.id > chosen.id]
            self._refresh(later[0].id if later else chosen.id)
        self._look_ahead()
        self.status.say(labels.decided(decided))

    def _choose(self, id: int | None) -> None:
        """Another object is the chosen one."""
        self._refresh(id)
        self._look_ahead()

    def _look_ahead(self) -> None:
        """Embed in the background what is around open objects that a reader will probably go to: next, and near."""
        chosen = self.panel.chosen
        if chosen is None or not self.segmenter.ready:
            return
        here = self.sent.shape(self.session.get(chosen)).centroid
        waiting = [one for one in self.session.objects if one.status == "open" and one.id != chosen]
        waiting.sort(key=lambda one: (one.id < chosen, one.id))
        near = sorted(waiting[1:], key=lambda one: here.distance(self.sent.shape(one).centroid))
        shapes = [self.placement.from_map(self.sent.shape(one)) for one in (*waiting[:1], *near)[:AHEAD]]
        self.segmenter.prefetch([polygon for polygon, _ in shapes], shapes[0][1] if shapes else None)

    def _travel(self, step: Callable[[], bool], done: str, nothing: str) -> None:
        """Undo or redo, and say which."""
        if self.session.held_by is not None:
            raise OutputError(labels.held(str(self.session.path), self.session.held_by))
        try:
            moved = step()
        finally:
            self._refresh()
        self.status.say(done if moved else nothing)

    def _refresh(self, chosen: int | None = None) -> None:
        """Show what the session holds: masks first, which are waited for, then the list and the drawn shapes.

        Shapes, which may be being edited or deleted, are sent only where they are others than the map holds.
        """
        objects = self.session.objects
        ids = [one.id for one in objects]
        wanted = (chosen, self.panel.chosen, *ids[-1:])
        chosen = next((id for id in wanted if id in ids), None)
        marked = self.session.get(chosen) if chosen is not None else None
        self._show_layers(marked)
        self.panel.show_objects(objects, marked, self.session.held_by is not None)
        self.panel.undo.disabled = not self.session.can_undo
        self.panel.redo.disabled = not self.session.can_redo
        self.frontend.chosen = chosen
        self.control.data = self.sent.features(objects)

    def _show_layers(self, chosen: Annotation | None) -> None:
        shown = self.masks.show(self.session.objects, chosen)
        self.map.layers = (*self.backdrop.overlays, *shown, *self.marks)

    def _greeting(self) -> str:
        """The first sentence in the status line."""
        known = len(self.session.objects)
        first = labels.resumed(known, self.session.path) if known else labels.START
        if self.session.held_by is not None:
            first = labels.held(str(self.session.path), self.session.held_by)
        if self.placement.on_earth:
            return first
        return f"{labels.NO_CRS if self.scene.grid.crs is None else labels.OFF_MAP} {first}"
