"""What has been annotated in one scene: the one state object behind the map, kept on disk at every change.

Plain Python: no widget and no model. A session holds immutable annotations; every change is one step that can be
undone, without limit and in later kernels too, and is written at once, so that a kernel that dies loses nothing.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Unpack
from weakref import WeakValueDictionary

from sartutor.errors import DataError, GeometryError, OutputError
from sartutor.lab.annotator.annotation import Annotation, Fields, Status
from sartutor.lab.annotator.store import Step, Store, user
from sartutor.sar.scene import Readable

FOLDER = Path("annotations")
"""Where sessions are kept and exports go, relative to the working directory (in JupyterLab: the notebook's folder)."""

LONGEST_PAUSE_S = 60.0
"""Of a pause between two steps, no more than this counts as work, in seconds."""

ADJUSTED = {"threshold", "smoothing", "choice"}
"""Fields of an object that are changed with sliders, in many small steps that count as one."""

_open: WeakValueDictionary[Path, Session] = WeakValueDictionary()
"""Sessions of this kernel that write to a file."""


@dataclass(eq=False)
class Session:
    """The annotations of one scene, with undo and redo, kept in `path` at every change.

    `annotator` is who works on them. When the file cannot be written, the change itself stands, an OutputError says so,
    and the next change tries again. Where another kernel has the file open, `held_by` says who, and nothing can be
    changed here.
    """

    scene: Readable
    path: Path
    annotator: str
    store: Store = field(repr=False)
    held_by: str | None = None
    _objects: dict[int, Annotation] = field(default_factory=dict, init=False, repr=False)
    _steps: list[Step] = field(default_factory=list, init=False, repr=False)
    _done: int = field(default=0, init=False, repr=False)
    _settled: int = field(default=0, init=False, repr=False)
    _next: int = field(default=1, init=False, repr=False)
    _last: float = field(default_factory=lambda: time.monotonic(), init=False, repr=False)

    @classmethod
    def open(cls, scene: Readable, path: Path | str | None = None, annotator: str | None = None) -> Session:
        """The session kept in `path` (default: `annotations/`, one file a scene), or a new one; it is the one to write.

        Raises DataError when the file is not a session of this scene; it is never overwritten then. A session that
        this kernel opened before on the same file is closed; OutputError where it has objects that cannot be saved.
        """
        where = default_path(scene) if path is None else Path(path)
        session = cls._unread(scene, where, annotator)
        if earlier := _open.get(where.resolve()):
            if earlier.store.about != session.store.about:
                session._load()  # raises: it stays open where it was
            earlier.close()
        try:
            session.held_by = session.store.lock()
        except OSError:  # no place for a lock: what is written will say so
            session.held_by = None
        try:
            session._load()  # now that no other kernel can write
        except DataError:
            session.store.release()
            raise
        if session.held_by is None:
            _open[where.resolve()] = session
        return session

    @classmethod
    def read(cls, scene: Readable, path: Path | str, annotator: str | None = None) -> Session:
        """The session kept in `path`, only to be read; DataError as of `open`."""
        session = cls._unread(scene, Path(path), annotator)
        session._load()
        return session

    @classmethod
    def _unread(cls, scene: Readable, path: Path, annotator: str | None) -> Session:
        store = Store(path, {"scene": scene.name, "digest": scene.digest()})
        return cls(scene, path, annotator or user(), store, "nobody: it was opened to be read")

    def close(self) -> None:
        """Let another kernel write; nothing can be changed here any more. OutputError where something is unsaved."""
        if self.held_by is None:
            if not self.saved:
                self._save()
            self.held_by = "a later session of this kernel"
            self.store.release()

    def _load(self) -> None:
        """Take over what the file says."""
        self.store.load(self.scene.grid)
        self._steps, self._done = list(self.store.steps), self.store.done
        self._objects.clear()
        for step in self._steps[: self._done]:
            self._put(step.after)
        self._next = max((id for step in self._steps for id in step.after), default=0) + 1

    @property
    def objects(self) -> tuple[Annotation, ...]:
        """The present state, ordered by age."""
        return tuple(self._objects[id] for id in sorted(self._objects))

    @cached_property
    def digest(self) -> str:
        """Content hash of the scene."""
        return self.scene.digest()

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to take back."""
        return self.held_by is None and self._done > self._settled

    @property
    def can_redo(self) -> bool:
        """Whether a step taken back can be repeated."""
        return self.held_by is None and self._done < len(self._steps)

    @property
    def saved(self) -> bool:
        """Whether the file says what the session says."""
        return self.store.done == self._done and self.store.steps == self._steps

    def get(self, id: int) -> Annotation:
        """The annotation of that number."""
        if id not in self._objects:
            raise GeometryError(f"there is no object {id}; the objects are {sorted(self._objects)}.")
        return self._objects[id]

    def apply(
        self,
        added: Iterable[Annotation] = (),
        edited: Mapping[int, Annotation] | None = None,
        deleted: Iterable[int] = (),
    ) -> list[Annotation]:
        """Add, replace and delete as one step; returns the annotations that are new or replaced.

        Args:
            added: annotations that get new numbers.
            edited: annotations by the number of the object that they replace; its class, the time spent on it, and
                how its mask is made of the answer, stay.
            deleted: numbers of objects to drop.

        Raises OutputError where the session is only read, or cannot be written.
        """
        edited, gone = dict(edited or {}), set(deleted)
        known = {id: self.get(id) for id in (*edited, *gone)}
        new = list(added)
        spent = self._lap() / max(1, len(edited) + len(new))
        mine = partial(replace, annotator=self.annotator)
        after: dict[int, Annotation | None] = dict.fromkeys(gone)
        for id, one in edited.items():
            after[id] = mine(_kept(known[id], one), id=id, seconds=known[id].seconds + spent)
        for one in new:
            after[self._next] = mine(one, id=self._next, seconds=one.seconds + spent)
            self._next += 1
        self._step(after)
        return [one for one in after.values() if one is not None]

    def add(self, annotation: Annotation) -> Annotation:
        """A new object."""
        return self.apply(added=[annotation])[0]

    def edit(self, id: int, annotation: Annotation) -> Annotation:
        """Object `id` with another shape and mask."""
        return self.apply(edited={id: annotation})[0]

    def delete(self, id: int) -> None:
        """Drop object `id`."""
        self.apply(deleted=[id])

    def change(self, id: int, **fields: Unpack[Fields]) -> Annotation:
        """Object `id` with another threshold, smoothing, choice, label, status or note.

        Changes of the same fields of the same object, one after the other, are one step to undo.
        """
        before = self.get(id)
        repeated = self._adjusts(id, {*fields})
        fields |= {"annotator": self.annotator, "seconds": before.seconds + self._lap()}
        after = replace(before, **fields)
        if repeated:
            before = self._steps[-1].before[id] or before
            self._steps, self._done = self._steps[:-1], self._done - 1
        self._step({id: after}, {id: before})
        return after

    def accept(self, id: int) -> Annotation:
        """Object `id` is as it should be."""
        return self._decide(id, "accepted")

    def reject(self, id: int) -> Annotation:
        """Object `id` is none; it stays in the session, but leaves it with no export."""
        return self._decide(id, "rejected")

    def undo(self) -> bool:
        """Take the last step back; False when there is none."""
        if not self.can_undo:
            return False
        self._done -= 1
        self._put(self._steps[self._done].before)
        self._save()
        return True

    def settle(self) -> None:
        """What was done so far is not taken back any more."""
        self._settled = self._done

    def redo(self) -> bool:
        """Repeat the step taken back last; False when there is none."""
        if not self.can_redo:
            return False
        self._put(self._steps[self._done].after)
        self._done += 1
        self._save()
        return True

    def _decide(self, id: int, status: Status) -> Annotation:
        return self.change(id, status=status)

    def _adjusts(self, id: int, names: set[str]) -> bool:
        """Whether the last step changed just these fields of this object, with nothing to redo after it."""
        if self._done != len(self._steps) or not self._steps or not names <= ADJUSTED:
            return False
        step = self._steps[-1]
        old, new = step.before.get(id), step.after.get(id)
        if len(step.after) > 1 or old is None or new is None or old.soft is not new.soft:
            return False
        others = Fields.__annotations__.keys() - names - {"annotator", "seconds"}
        return all(getattr(old, name) == getattr(new, name) for name in others)

    def _lap(self) -> float:
        """Seconds of work since the step before."""
        last, self._last = self._last, time.monotonic()
        return min(self._last - last, LONGEST_PAUSE_S)

    def _step(
        self, after: Mapping[int, Annotation | None], before: Mapping[int, Annotation | None] | None = None
    ) -> None:
        if self.held_by is not None:
            raise OutputError(
                f"{self.path} is held by {self.held_by}; close it there and open it again, or give another "
                "session_path."
            )
        before = before or {id: self._objects.get(id) for id in after}
        self._steps = [*self._steps[: self._done], Step(before, dict(after))]
        self._done += 1
        self._put(after)
        self._save()

    def _put(self, states: Mapping[int, Annotation | None]) -> None:
        for id, state in states.items():
            if state is None:
                self._objects.pop(id, None)
            else:
                self._objects[id] = state

    def _save(self) -> None:
        self.store.write(self._steps, self._done)


def _kept(before: Annotation, after: Annotation) -> Annotation:
    """A new answer for an object, with what a person had set."""
    choice = before.choice if before.choice < len(after.scores) else 0
    return replace(
        after, label=before.label, threshold=before.threshold, smoothing=before.smoothing, choice=choice
    )


def default_path(scene: Readable) -> Path:
    """Where a scene's session is kept: `annotations/<name>-<first of its content hash>.sqlite`."""
    return FOLDER / f"{plain_name(scene)}-{scene.digest()[:8]}.sqlite"


def plain_name(scene: Readable) -> str:
    """The scene's name as part of a file name: letters, digits, dot, dash and underscore only."""
    return re.sub(r"[^\w.-]+", "_", Path(scene.name).stem, flags=re.ASCII).strip("._") or "scene"
