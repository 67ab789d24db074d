"""Local copies of catalogued data sets: recorded once with their hashes, compared on later use."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError
from tqdm import tqdm

from sartutor.catalog.disk import write_text
from sartutor.catalog.schema import Item
from sartutor.catalog.transfer import digest
from sartutor.errors import CatalogError


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    bytes: int
    modified_ns: int
    sha256: str


class _Record(BaseModel):
    """What was registered: files by their path below `root`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    item: str
    root: Path
    files: dict[str, _Entry]


def record_path(entry: Item, cache: Path) -> Path:
    """Where the record of an item lies."""
    return cache / entry.name / "registered.json"


def record(entry: Item, source: Path, cache: Path, progress: bool) -> dict[str, Path]:
    """Hash all files of `source` (a file or a folder) and keep the record; returns them as `registered` will."""
    root, paths = (source.parent, [source]) if source.is_file() else (source, _files(source))
    if not paths:
        raise CatalogError(
            f"{source} holds no files to register as {entry.name}; give the folder with the data."
        )
    total = sum(path.stat().st_size for path in paths)
    with tqdm(total=total, unit="B", unit_scale=True, desc="hashing", delay=0.5, disable=not progress) as bar:
        found = {path.relative_to(root).as_posix(): _entry(path, bar) for path in paths}
    kept = _Record(item=entry.name, root=root, files=found)
    write_text(record_path(entry, cache), kept.model_dump_json(indent=1))
    return {name: root / name for name in found}


def registered(entry: Item, cache: Path) -> dict[str, Path]:
    """The registered files of an item, by their path below the registered folder.

    A file whose size and time of change are as recorded is taken as unchanged; any other is hashed again.
    Raises CatalogError with the steps to get the data when nothing is registered, and for lost or changed files.
    """
    path = record_path(entry, cache)
    if not path.is_file():
        raise CatalogError(_how_to_get(entry))
    kept = _read(path, entry)
    for name, known in kept.files.items():
        _compare(entry, kept.root / name, known)
    return {name: kept.root / name for name in kept.files}


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _entry(path: Path, bar: tqdm) -> _Entry:
    facts = path.stat()
    try:
        return _Entry(bytes=facts.st_size, modified_ns=facts.st_mtime_ns, sha256=digest(path, bar))
    except OSError as error:
        raise CatalogError(f"{path} cannot be read ({error.strerror}); correct its permissions.") from error


def _read(path: Path, entry: Item) -> _Record:
    try:
        return _Record.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        raise CatalogError(
            f"The record {path} is damaged; run `sartutor fetch {entry.name} --from PATH` again."
        ) from error


def _compare(entry: Item, path: Path, known: _Entry) -> None:
    again = f"put the registered copy back, or run `sartutor fetch {entry.name} --from PATH` again"
    if not path.is_file():
        raise CatalogError(f"{path}, registered as part of {entry.name}, is gone; {again}.")
    facts = path.stat()
    if (facts.st_size, facts.st_mtime_ns) == (known.bytes, known.modified_ns):
        return
    if facts.st_size != known.bytes or digest(path) != known.sha256:
        raise CatalogError(f"{path} has changed since it was registered as part of {entry.name}; {again}.")


def _how_to_get(entry: Item) -> str:
    steps = "; ".join(f"({number}) {step}" for number, step in enumerate(entry.steps, start=1))
    return (
        f"{entry.name} is catalogued, not fetched for you (access: {entry.access}): {steps}; "
        f"then run `sartutor fetch {entry.name} --from PATH`."
    )
