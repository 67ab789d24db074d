"""How many synthetic samples of 256 x 256 pixels a second one and two processes make.

    python -m bench.simulation [COUNT]

prints one JSON object per family and number of worker processes: COUNT samples (80 unless told otherwise) after the
workers have warmed up. An avalanche sample has six bands and a mask, terrain, flow and speckle included.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from unittest import mock

from sartutor.sim.avalanche import avalanche_scene
from sartutor.sim.gaps import DOMAINS
from sartutor.sim.landcover import landcover_scene

SIZE = 256
COUNT = 80
WORKERS = (1, 2)
ONE_CORE = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""Environment of the workers: NumPy reads it as it starts."""


def avalanche(seed: int) -> int:
    """Make one avalanche scene; its number of bands."""
    return len(avalanche_scene(seed, SIZE)[0].bands)


def landcover(seed: int) -> int:
    """Make one land cover scene of one domain after the other; its number of bands."""
    domains = list(DOMAINS.values())
    return len(landcover_scene(seed, domains[seed % len(domains)], SIZE)[0].bands)


def rate(make: Callable[[int], int], workers: int, count: int) -> float:
    """Samples a second of `workers` processes."""
    spawn = get_context("spawn")
    with mock.patch.dict(os.environ, ONE_CORE), ProcessPoolExecutor(workers, mp_context=spawn) as pool:
        list(pool.map(make, range(4 * workers)))
        start = time.perf_counter()
        list(pool.map(make, range(count), chunksize=4))
        return count / (time.perf_counter() - start)


def main(count: int = COUNT) -> None:
    """Measure and print."""
    for make in (avalanche, landcover):
        for workers in WORKERS:
            result = {"family": make.__name__, "size": SIZE, "workers": workers}
            print(json.dumps({**result, "samples_per_s": round(rate(make, workers, count), 1)}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
