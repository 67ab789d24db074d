"""Output files that appear whole or not at all."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sartutor.errors import OutputError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it becomes `path` when the block ends without an error.

    On any error nothing is left behind and an older file of that name stays as it was. What the operating
    system refuses (no such folder, not writable, disk full), and a folder or device in the place of the file,
    becomes an OutputError.
    """
    path = Path(path)
    part = path.parent / f".{path.stem}.{secrets.token_hex(4)}{path.suffix}"
    try:
        refuse_no_file(path)
        yield part
        os.replace(part, path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"cannot write {path} ({reason}); choose a folder that can be written to."
        ) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def refuse_no_file(path: Path) -> None:
    """Raise OutputError where a folder or a device lies in the place of a file."""
    if path.exists() and not path.is_file():
        raise OutputError(f"cannot write {path} (it is there and is no file); choose another name.")


def check_writable(path: Path) -> None:
    """Make the folder of a file that is going to be written. Raises OutputError where it cannot be made or written."""
    refuse_no_file(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        reason = None if os.access(path.parent, os.W_OK) else "permission denied"
    except OSError as error:
        reason = error.strerror
    if reason:
        raise OutputError(f"cannot write {path} ({reason}); choose a folder that can be written to.")


def refuse_taken(path: Path, taken: set[Path]) -> None:
    """Raise OutputError where a result would be written over one of the files `taken`, given by resolved paths."""
    if path.resolve() in taken:
        raise OutputError(f"{path} is read or written already; choose another name for the result.")


def check_report(path: Path) -> None:
    """Find out before the work, not after it, that a report has no place. Raises OutputError."""
    if path.suffix.lower() != ".json":
        raise OutputError(f"{path}: the report is JSON; choose a name that ends in .json.")
    check_writable(path)


def write_report(path: Path, report: Mapping[str, Any]) -> None:
    """Write a report as JSON. Raises OutputError where it cannot be written."""
    with replacing(path) as part:
        part.write_text(json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")
