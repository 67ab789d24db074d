"""Exercises: a reader's answer is compared with the right one, and the reader is told kindly."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def check(
    exercise: str,
    answer: object,
    expected: str | float | NDArray[Any],
    *,
    hint: str,
    tolerance: float = 1e-6,
) -> None:
    """Print whether an answer is right.

    Args:
        exercise: its name as the reader sees it.
        answer: what the reader put in; `...` or None means that nothing was tried yet.
        expected: the right answer: a number, an array or a word.
        hint: what to look at again when the answer is wrong.
        tolerance: how far numbers may lie from `expected`, in the same units.
    """
    if answer is None or answer is ...:
        print(f"{exercise}: waiting for your answer. Replace the dots and run the cell again.")
        return
    right = _same_word(answer, expected) if isinstance(expected, str) else _close(answer, expected, tolerance)
    print(f"{exercise}: right, well done." if right else f"{exercise}: not yet. {hint}")


def _same_word(answer: object, expected: str) -> bool:
    return isinstance(answer, str) and answer.strip().casefold() == expected.casefold()


def _close(answer: object, expected: float | NDArray[Any], tolerance: float) -> bool:
    try:
        given = np.asarray(answer, dtype=np.float64)
    except (TypeError, ValueError):
        return False
    wanted = np.asarray(expected, dtype=np.float64)
    return given.shape == wanted.shape and bool(np.allclose(given, wanted, 0, tolerance, equal_nan=True))
