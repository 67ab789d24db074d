"""Errors that a user can act on: one sentence that names the file and the cure.

Every error raised on purpose is a `SarTutorError`; the command line turns it into one line and exit code 2,
the annotator into its status line.
"""

import sys
from collections.abc import Callable


class SarTutorError(Exception):
    """Base of all errors that say what went wrong and what to do about it."""


class DataError(SarTutorError):
    """A file, band or value that cannot be what it should be (units, bands, no-data, truncation)."""


class GeometryError(SarTutorError):
    """A box, polygon, grid or coordinate reference system that does not fit the scene."""


class CatalogError(SarTutorError):
    """A catalogued item that cannot be found, fetched or verified."""


class CheckpointError(SarTutorError):
    """A checkpoint that is unsafe, damaged, or of another model."""


class OutputError(SarTutorError):
    """A place that cannot be written to."""


def exit_code(command: Callable[[], object], going_on: str) -> int:
    """Run a command: 0 when it ends, 2 for bad input, 130 when interrupted, with one line on standard error.

    `going_on` says what the same command does next after an interruption.
    """
    try:
        command()
    except SarTutorError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"Stopped; the same command goes on {going_on}.", file=sys.stderr)
        return 130
    return 0
