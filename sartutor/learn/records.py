"""Records of experiments: one small JSON per (experiment, configuration, data, seed); text quotes nothing else.

And what sums up a handful of them: means and ratios with their intervals.
"""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

import sartutor
from sartutor.sar.files import replacing


def record_path(folder: Path, experiment: str, configuration: str, data: str, seed: int) -> Path:
    """Where the record of one cell lies."""
    return folder / experiment / f"{configuration}-{data}-{seed}.json"


def write_record(
    folder: Path, experiment: str, configuration: str, data: str, seed: int, values: dict[str, Any]
) -> Path:
    """Write one record at once or not at all, replacing an older one of the same name; returns its path."""
    path = record_path(folder, experiment, configuration, data, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"experiment": experiment, "configuration": configuration, "data": data, "seed": seed}
    made = {"version": sartutor.__version__, "machine": platform.machine(), "cores": os.cpu_count()}
    with replacing(path) as part:
        part.write_text(json.dumps({**about, **made, "values": values}, indent=1, sort_keys=True) + "\n")
    return path


def read_records(folder: Path, experiment: str) -> list[dict[str, Any]]:
    """All records of an experiment, sorted by file name."""
    return [json.loads(path.read_text()) for path in sorted((folder / experiment).glob("[!.]*.json"))]


def recorded(experiment: str) -> list[dict[str, Any]]:
    """The records of an experiment that come with the package, sorted by file name; none where it was not run yet."""
    return read_records(Path(str(files("sartutor.records"))), experiment)


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean of one value per seed and the half width of its 95 % t interval (0 for a single value)."""
    count = len(values)
    if count < 2:
        return float(np.mean(values)), 0.0
    half = stats.t.ppf(0.975, count - 1) * np.std(values, ddof=1) / np.sqrt(count)
    return float(np.mean(values)), float(half)


class Ratio(NamedTuple):
    """A ratio of totals and half the width of its 95 % interval (infinite for a single pair)."""

    value: float
    half: float


def total_ratio(numerators: ArrayLike, denominators: ArrayLike) -> Ratio:
    """Ratio R of the totals of two numbers known for each of n units, and the half width of its 95 % t interval.

    The standard error is that of the residuals y - R x: s / (sqrt(n) mean(x)), with n - 1 degrees of freedom (Cochran,
    Sampling Techniques, 1977, section 2.11). Units are what was drawn: objects, or scenes with all of theirs.
    """
    y, x = np.asarray(numerators, float), np.asarray(denominators, float)
    ratio = float(y.sum() / x.sum())
    if len(y) < 2:
        return Ratio(ratio, math.inf)
    error = np.std(y - ratio * x, ddof=1) / (math.sqrt(len(y)) * x.mean())
    return Ratio(ratio, float(stats.t.ppf(0.975, len(y) - 1) * error))
