"""Where a session is kept: an SQLite file with every step ever made and every state an object ever had.

A step is written in one transaction, so that a kernel that dies loses nothing and leaves nothing half done; what was
undone can be redone in a later kernel. One kernel at a time writes to a file; others read.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import platform
import sqlite3
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout
from rasterio.errors import CRSError
from shapely.errors import ShapelyError

from sartutor.errors import DataError, GeometryError, OutputError
from sartutor.lab.annotator.annotation import Annotation, packed, unpacked
from sartutor.sar.scene import Grid

FORMAT = "sartutor-session-2"

TABLES = (
    "CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS bodies (digest TEXT PRIMARY KEY, body BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS versions (version INTEGER PRIMARY KEY, head TEXT NOT NULL, digest TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS changes (step INTEGER NOT NULL, object INTEGER NOT NULL, before INTEGER, "
    "after INTEGER, PRIMARY KEY (step, object))",
)
"""Pixels are kept once, however many states of an object have them."""


@dataclass(frozen=True, eq=False)
class Step:
    """What one step changed: the state of objects by number, before and after; None is no object."""

    before: Mapping[int, Annotation | None]
    after: Mapping[int, Annotation | None]


@dataclass
class Store:
    """The file of one session; nothing is written before there is a step.

    `about` is kept with the steps: scene name and digest. `steps` and `done` are what the file says: all steps, and
    how many of them are not taken back.
    """

    path: Path
    about: Mapping[str, str]
    steps: list[Step] = field(default_factory=list)
    done: int = 0
    _versions: dict[Annotation, int] = field(default_factory=dict, repr=False)
    _lock: FileLock | None = field(default=None, repr=False)

    def load(self, grid: Grid) -> None:
        """Take over what is kept in the file, if there is one.

        Raises DataError when it is no session, or that of another scene; it is never overwritten then.
        """
        if self.path.exists():
            with _readable(self.path):
                self._read(grid)

    def lock(self) -> str | None:
        """Become the one that writes; who holds the file where another kernel does already, None otherwise."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(_beside(self.path, ".lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return self._holder()
        self._lock = lock
        with suppress(OSError):
            _beside(self.path, ".holder").write_text(_myself(), encoding="utf-8")
        return None

    def release(self) -> None:
        """Let another kernel write."""
        if self._lock is not None:
            _beside(self.path, ".holder").unlink(missing_ok=True)
            self._lock.release()
            self._lock = None

    def write(self, steps: Sequence[Step], done: int) -> None:
        """Make the file say this, whatever it lacks; OutputError where it cannot, and nothing has changed then."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=5)) as file, file:
                file.execute("PRAGMA synchronous = FULL")
                file.execute("BEGIN IMMEDIATE")
                for table in TABLES:
                    file.execute(table)
                self._check_unchanged(file)
                versions = dict(self._versions)
                same = _common(self.steps, steps)
                _forget(file, self.steps[same:], same, versions)
                for number, step in enumerate(steps[same:], same):
                    _write_step(file, number, step, versions)
                about = {"format": FORMAT, **self.about, "done": str(done)}
                file.executemany("INSERT OR REPLACE INTO about VALUES (?, ?)", about.items())
        except (sqlite3.Error, OSError) as error:
            raise OutputError(
                f"cannot write {self.path} ({error}); your objects are kept in memory and written with the next "
                "change: free some space, or make the folder writable."
            ) from error
        self.steps, self.done, self._versions = list(steps), done, versions

    def _check_unchanged(self, file: sqlite3.Connection) -> None:
        """OutputError where the file does not say what it said last; a file that is gone is written anew."""
        stored = file.execute("SELECT value FROM about WHERE key = 'done'").fetchone()
        if stored is None:
            self.steps, self.done, self._versions = [], 0, {}
            return
        count = file.execute("SELECT COUNT(DISTINCT step) FROM changes").fetchone()[0]
        if (int(stored[0]), count) != (self.done, len(self.steps)):
            raise OutputError(
                f"{self.path} was changed by another kernel meanwhile; run the cell again to go on from there."
            )

    def _read(self, grid: Grid) -> None:
        """Opened for writing, so that what a killed kernel left half done is taken back."""
        with closing(sqlite3.connect(f"{self.path.resolve().as_uri()}?mode=rw", uri=True, timeout=5)) as file:
            file.execute("BEGIN")
            if not file.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]:
                return
            known = dict(file.execute("SELECT key, value FROM about"))
            if known.get("format") != FORMAT:
                raise ValueError(f"format {known.get('format')}")
            if known["digest"] != self.about["digest"]:
                raise DataError(
                    f"{self.path} belongs to another scene ({known['scene']}); give each scene its own "
                    "session_path, or none."
                )
            kept = _states(file, grid)
            changes = file.execute("SELECT step, object, before, after FROM changes ORDER BY step")
            self.steps = _steps(changes, kept)
            self.done = int(known["done"])
        self._versions = {annotation: version for version, annotation in kept.items()}
        if not 0 <= self.done <= len(self.steps):
            raise ValueError(f"step {self.done} of {len(self.steps)}")

    def _holder(self) -> str:
        with suppress(OSError):
            return _beside(self.path, ".holder").read_text(encoding="utf-8")
        return "another kernel"


def _states(file: sqlite3.Connection, grid: Grid) -> dict[int, Annotation]:
    """Every state of every object by its number; those with the same pixels share them."""
    query = "SELECT version, head, body, digest FROM versions JOIN bodies USING (digest)"
    kept: dict[int, Annotation] = {}
    first: dict[str, Annotation] = {}
    for version, head, body, digest in file.execute(query):
        state = unpacked(head, body, grid)
        same = first.setdefault(digest, state)
        kept[version] = replace(state, soft=same.soft, inside=same.inside)
    return kept


def _steps(
    changes: Iterator[tuple[int, int, int | None, int | None]], kept: Mapping[int, Annotation]
) -> list[Step]:
    found: dict[int, tuple[dict[int, Annotation | None], dict[int, Annotation | None]]] = {}
    for step, id, before, after in changes:
        old, new = found.setdefault(step, ({}, {}))
        old[id] = None if before is None else kept[before]
        new[id] = None if after is None else kept[after]
    return [Step(*found[number]) for number in range(len(found))]


def _write_step(file: sqlite3.Connection, number: int, step: Step, versions: dict[Annotation, int]) -> None:
    for id in step.after:
        pair = [_version(file, one, versions) for one in (step.before[id], step.after[id])]
        file.execute("INSERT INTO changes VALUES (?, ?, ?, ?)", (number, id, *pair))


def _forget(
    file: sqlite3.Connection, steps: Sequence[Step], first: int, versions: dict[Annotation, int]
) -> None:
    """Drop steps, from number `first` on, that were taken back and can be repeated no more, and what they made."""
    file.execute("DELETE FROM changes WHERE step >= ?", (first,))
    made = {state for step in steps for state in step.after.values() if state is not None}
    numbers = [(versions.pop(state),) for state in made if state in versions]
    if numbers:
        file.executemany("DELETE FROM versions WHERE version = ?", numbers)
        file.execute("DELETE FROM bodies WHERE digest NOT IN (SELECT digest FROM versions)")


def _version(
    file: sqlite3.Connection, annotation: Annotation | None, versions: dict[Annotation, int]
) -> int | None:
    """The number under which a state of an object is kept; it is written where it is new."""
    if annotation is None:
        return None
    if annotation not in versions:
        head, body = packed(annotation)
        digest = hashlib.sha256(body).hexdigest()
        file.execute("INSERT OR IGNORE INTO bodies VALUES (?, ?)", (digest, body))
        made = file.execute("INSERT INTO versions (head, digest) VALUES (?, ?)", (head, digest))
        versions[annotation] = int(made.lastrowid or 0)
    return versions[annotation]


def _common(one: Sequence[Step], other: Sequence[Step]) -> int:
    """How many steps two histories share from the beginning on."""
    pairs = zip(one, other, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a is not b), min(len(one), len(other)))


DAMAGES = (
    sqlite3.Error,
    OSError,
    ValueError,
    KeyError,
    TypeError,
    ShapelyError,
    CRSError,
    GeometryError,
    zlib.error,
)
"""What reading a file raises that is damaged, or something else."""


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Say of a damaged file, or one that is something else, what it is not."""
    try:
        yield
    except DAMAGES as error:
        raise DataError(
            f"{path} is not a readable annotation file of this version ({error}); move it away to start afresh, "
            "together with a file of that name that ends in -journal, if there is one."
        ) from error


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(f".{path.name}{ending}")


def _myself() -> str:
    return (
        f"{user()} on {platform.node()}, process {os.getpid()}, since {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    )


def user() -> str:
    """Name of the person at the keyboard, as the system knows it."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "somebody"
