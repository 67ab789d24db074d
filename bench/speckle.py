"""Speckle filters beside other Python packages that have a Lee filter: are results the same, and how long do they take?

    python -m bench.speckle [PYTHON] [SIDE]

prints one JSON object a line. PYTHON is an interpreter whose environment has the other packages (default: this one);
one that is missing there is listed with the command that installs it. Every filter runs on four-look speckle with
7 x 7 windows. Results are compared first, away from the border: with what this package computes, or, where a package
uses another formula, with that formula put together from this package's window sums, so that a row's
`differs_by` says why numbers differ and `max_relative_difference` that it is the whole reason. Slow filters take
fewer pixels; `seconds` is then scaled to SIDE x SIDE (default 4096) by the number of pixels.

`python -m pip install --no-deps` is enough for packages of which one file is used. Not comparable: pyradar (Python 2),
whitebox (downloads a program at first use), pyroSAR and opensartoolkit (call ESA SNAP).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from sartutor.sar.adaptive import kuan_weight, lee_weight, weighted
from sartutor.sar.refined_lee import DIRECTIONS, gradients, half_moments, nine_means
from sartutor.sar.speckle import boxcar, lee, refined_lee
from sartutor.sar.windows import Block, mean_variance, window_sum

LOOKS = 4
SIZE = 7
SIDE = 4096
BORDER = 8
"""Pixels along the border that are not compared: packages continue the image beyond it in different ways."""

Array = NDArray[np.float32]

CHILD = """
import importlib.metadata, importlib.util, json, pathlib, sys, time
import numpy as np

def load(package, file):
    found = importlib.util.find_spec(package)
    if found is None:
        raise ModuleNotFoundError(f"No module named {{package!r}}")
    folder = pathlib.Path(found.submodule_search_locations[0])
    spec = importlib.util.spec_from_file_location(file.split(".")[0].split("/")[-1], next(folder.glob(file)))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

power = np.load(sys.argv[1])
{setup}
seconds = []
while len(seconds) < 3 and sum(seconds) < 5:
    start = time.perf_counter()
    result = run(power)
    seconds.append(time.perf_counter() - start)
np.save(sys.argv[2], np.asarray(result, np.float64))
print(json.dumps({{"seconds": min(seconds), "version": importlib.metadata.version("{package}")}}))
"""
"""Runs one filter in the other interpreter: `setup` defines `run(power)`."""


@dataclass(frozen=True)
class Peer:
    """A filter of another package, and what its result should be.

    `setup` is code that defines `run(power)`, `side` the image's rows and columns, `expected` the same result from
    this package's parts, `ours` the filter it is timed against.
    """

    package: str
    filter: str
    kind: str
    setup: str
    side: int
    expected: Callable[[Array], Array]
    ours: Callable[[Array], Array]
    differs_by: str = ""
    install: str = ""


def our_lee(power: Array) -> Array:
    """Lee as this package has it."""
    return lee(power, LOOKS, SIZE)


def six_by_six(power: Array) -> Array:
    """Lee over three pixels before and two after the centre, as a slice that leaves out its end gives."""
    total = [window_sum(v, SIZE - 1) for v in (power, np.square(power))]
    mean, variance = mean_variance(total[0], total[1], np.float32((SIZE - 1) ** 2))
    inner = power[3:-2, 3:-2]
    result = np.zeros_like(power)
    result[3:-2, 3:-2] = weighted(mean, inner, lee_weight(mean, variance, LOOKS))
    return result


def own_deviations(power: Array) -> Array:
    """Lee with the mean of each pixel's squared deviation from its own local mean, rescaled to the image's mean."""
    mean = boxcar(power, SIZE)
    variance = boxcar(np.square(power - mean), SIZE)
    result = weighted(mean, power, lee_weight(mean, variance, LOOKS))
    return result * (power.mean(dtype=float) / result.mean(dtype=float))


def additive(power: Array) -> Array:
    """M + (V - N) / (V + N) (I - M), with N the mean of V, which is 0 where a window leaves the image."""
    total = [window_sum(v, SIZE) for v in (power, np.square(power))]
    mean, variance = mean_variance(total[0], total[1], np.float32(SIZE * SIZE))
    noise = np.float32(variance.sum(dtype=float) / power.size)
    inside = slice(SIZE // 2, -(SIZE // 2))
    result = np.zeros_like(power)
    weight = (variance - noise) / (variance + noise)
    result[inside, inside] = weighted(mean, power[inside, inside], weight)
    return result


def darker_half(power: Array) -> Array:
    """Kuan for one look over the darker of the two halves that the strongest gradient separates."""
    block = Block(np.pad(power, SIZE // 2, mode="symmetric"), None, SIZE // 2)
    slopes = np.stack(gradients(nine_means(block)))
    strongest = np.abs(slopes).argmax(0)
    rising = np.take_along_axis(slopes, strongest[None], 0)[0] > 0
    halves = (
        ("right", "left"),
        ("bottom", "top"),
        ("upper right", "lower left"),
        ("upper left", "lower right"),
    )
    numbers = np.array([[DIRECTIONS.index(name) for name in pair] for pair in halves], np.uint8)
    mean, variance = half_moments(block, numbers[strongest, rising.astype(int)])
    return weighted(mean, power, kuan_weight(mean, variance, 1))


PEERS = (
    Peer(
        "scipy",
        "lee",
        "vectorised (the usual recipe on two uniform filters)",
        f"""
from scipy.ndimage import uniform_filter
def run(power):
    mean = uniform_filter(power, {SIZE})
    variance = uniform_filter(power ** 2, {SIZE}) - mean ** 2
    weight = np.clip(1 - mean ** 2 / {LOOKS} / variance, 0, 1)
    return mean + weight * (power - mean)
""",
        SIDE,
        our_lee,
        our_lee,
        install="pip install scipy",
    ),
    Peer(
        "findpeaks",
        "lee",
        "loops per pixel",
        f"""
lee_filter = load("findpeaks", "filters/lee.py").lee_filter
def run(power):
    return lee_filter(power * 1e6, win_size={SIZE}, cu={LOOKS}**-0.5) / 1e6
""",
        256,
        six_by_six,
        our_lee,
        "its 7 x 7 window leaves out the last row and column (6 x 6), and it rounds to whole numbers, so that the "
        "image is given 1e6 times brighter",
        "pip install --no-deps findpeaks",
    ),
    Peer(
        "grdl-sartoolbox",
        "lee",
        "vectorised",
        f"""
from grdl_sartoolbox.processing.speckle_filter import LeeFilter
def run(power):
    return LeeFilter(radius={SIZE // 2}, enl={LOOKS}).apply(np.sqrt(power)) ** 2
""",
        SIDE,
        own_deviations,
        our_lee,
        "its variance is the mean of squared deviations from each pixel's own local mean, and the result is "
        "rescaled to the image's mean",
        "pip install grdl-sartoolbox grdl==0.5.1",
    ),
    Peer(
        "polsartools",
        "lee",
        "vectorised (convolution)",
        f"""
import unittest.mock
sys.modules["osgeo"] = unittest.mock.MagicMock()  # GDAL reads its files; arrays in memory need none
from polsartools.preprocess.lee_filter import process_chunk_lee
def run(power):
    return process_chunk_lee([power.astype(float)], {SIZE})[0]
""",
        1024,
        additive,
        our_lee,
        "its noise is additive: one variance for the whole image, W = (V - N) / (V + N), negative where V < N",
        "pip install polsartools",
    ),
    Peer(
        "polsartools",
        "refined_lee",
        "compiled (loops in C++)",
        f"""
run_chunk = load("polsartools", "rflee.*.so").process_chunk_rfleecpp
def run(power):
    zero = np.zeros(power.shape, complex)
    result = np.asarray(run_chunk([power.astype(complex), zero, zero, zero], {SIZE}))[0]
    return np.roll(result, ({SIZE // 2}, {SIZE // 2}), (0, 1))
""",
        256,
        darker_half,
        lambda power: refined_lee(power, LOOKS),
        "it filters the four elements of a covariance matrix at once, for one look, with Kuan's weight, and takes the "
        "darker half of the window wherever the pixel lies; this package's half is the one that resembles the pixel",
        "pip install --no-deps polsartools",
    ),
)


def compare(python: str, peer: Peer, side: int) -> dict[str, object]:
    """One row: the peer's time and how far its result is from what is expected."""
    used = min(peer.side, side)
    power = speckle(used)
    row: dict[str, object] = {"filter": peer.filter, "package": peer.package, "kind": peer.kind}
    with tempfile.TemporaryDirectory() as folder:
        files = [str(Path(folder) / name) for name in ("in.npy", "out.npy")]
        np.save(files[0], power)
        code = CHILD.format(setup=peer.setup, package=peer.package)
        answer = subprocess.run([python, "-c", code, *files], capture_output=True, text=True)
        if answer.returncode:
            reason = answer.stderr.strip().splitlines()[-1]
            return row | {"not_installed": peer.install, "reason": reason}
        told, result = json.loads(answer.stdout.splitlines()[-1]), np.load(files[1])
    seconds = told["seconds"] * (side / used) ** 2
    inner = np.s_[BORDER:-BORDER, BORDER:-BORDER]
    return row | {
        "version": told["version"],
        "seconds": round(seconds, 3),
        "scaled_from_side": used if used != side else None,
        "times_ours": round(seconds / best_of(peer.ours, speckle(side)), 1),
        "max_relative_difference": difference(result[inner], peer.expected(power)[inner]),
        "max_relative_difference_to_our_filter": difference(result[inner], peer.ours(power)[inner]),
        "differs_by": peer.differs_by,
    }


def speckle(side: int) -> Array:
    """Four-look speckle over edges of 10 dB, `side` x `side` pixels."""
    mean = np.where((np.arange(side) // 40) % 2, np.float32(0.02), np.float32(0.2))
    return np.random.default_rng(0).standard_gamma(LOOKS, (side, side), np.float32) * (mean / LOOKS)


def difference(result: NDArray[np.float64], expected: Array) -> float:
    """Greatest difference as a part of the image's mean."""
    return float(f"{np.abs(result - expected).max() / expected.mean():.2g}")


def best_of(run: Callable[[Array], object], power: Array, times: int = 3) -> float:
    """Seconds of the fastest of a few runs."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        run(power)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def ours(side: int) -> dict[str, object]:
    """This package's Lee filter, in seconds and in passes of one uniform filter of the same run."""
    power = speckle(side)
    one_pass = best_of(lambda image: uniform_filter(image, SIZE), power)
    seconds = best_of(our_lee, power)
    return {
        "filter": "lee",
        "package": "sartutor",
        "kind": "vectorised, on all cores",
        "side": side,
        "seconds": round(seconds, 3),
        "uniform_filter_seconds": round(one_pass, 3),
        "uniform_filter_passes": round(seconds / one_pass, 2),
    }


def main(python: str = sys.executable, side: int = SIDE) -> None:
    """Measure and print."""
    print(json.dumps(ours(side)), flush=True)
    for peer in PEERS:
        print(json.dumps(compare(python, peer, side)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:2], *(int(text) for text in sys.argv[2:3]))
