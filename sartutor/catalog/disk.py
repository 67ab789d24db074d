"""Writing to the user's disk: room is asked for first, and what goes wrong becomes one sentence."""

from __future__ import annotations

import errno
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sartutor.errors import OutputError

_CURE = "choose another folder (SARTUTOR_CACHE sets the one for downloads)"
_FULL = (errno.ENOSPC, errno.EDQUOT)


def human(size: float) -> str:
    """A size in bytes as a person reads it: 14.9 kB, 2.6 GB."""
    if size < 1000:
        return f"{size:.0f} B"
    power = min(int(math.log10(size) // 3), 4)
    return f"{size / 1000**power:.1f} {('kB', 'MB', 'GB', 'TB')[power - 1]}"


def free_bytes(folder: Path) -> int:
    """Free space on the disk of `folder`, which need not exist yet."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def make_room(folder: Path, needed: int) -> None:
    """Raises OutputError when the disk of `folder` has less than `needed` bytes free."""
    if free_bytes(folder.absolute()) < needed:
        raise OutputError(
            f"The disk of {folder} is full: {human(needed)} are needed; free some space or {_CURE}."
        )


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Make `folder` and turn a full disk or a missing permission inside the block into an OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise OutputError(f"The disk of {folder} is full; free some space or {_CURE}.") from error
        if isinstance(error, PermissionError) or error.errno == errno.EROFS:
            raise OutputError(f"{folder} cannot be written to (permission denied); {_CURE}.") from error
        if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
            raise OutputError(
                f"{error.filename or folder} is in the way ({error.strerror}); {_CURE}."
            ) from error
        raise


def write_text(path: Path, text: str) -> None:
    """Write a small file whole or not at all."""
    with writing(path.parent):
        scratch = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            scratch.write_text(text, encoding="utf-8")
            os.replace(scratch, path)
        finally:
            with suppress(OSError):
                scratch.unlink(missing_ok=True)
