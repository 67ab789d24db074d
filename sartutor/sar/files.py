"""Output files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sartutor.errors import OutputError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it becomes `path` when the block ends without an error.

    On any error nothing is left behind and an older file of that name stays as it was. What the operating
    system refuses (no such folder, not writable, disk full) becomes an OutputError.
    """
    path = Path(path)
    part = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    try:
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
