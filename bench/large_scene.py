"""A large scene: how long its first picture takes, and a whole scene made into tiles.

    python -m bench.large_scene [SIDE]

prints one JSON object a line. First, what the annotator waits for: opening a scene in decibels, hashing its content and
averaging it in power to 1,024 pixels, in every layout, for the first time and with the picture kept. Overviews within
the file would change nothing: how they were averaged is not known, so they are not used. Then tiles: a two-band scene
of 16-bit digital numbers is calibrated, filtered (Lee, 7 x 7) and cut into tiles of 1,024 pixels. Scenes have 10,000 x
10,000 pixels unless SIDE says otherwise; each run is a process of its own, so that making the scene does not count.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.windows import Window

SIDE = 10_000
LOOKS = 4
RUN = """
import json, resource, sys, time
from sartutor.sar.geotiff import open_scene
from sartutor.sar.pipeline import Recipe, prepare

start = time.perf_counter()
recipe = Recipe(calibration_db=-83.0, quantity="gamma0", speckle="lee")
records = prepare(open_scene(sys.argv[1], units="dn"), recipe, sys.argv[2], progress=sys.stderr.isatty())
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
print(json.dumps({"tiles": len(records), "seconds": seconds, "peak_mib": peak}))
"""


OPEN = """
import json, os, resource, sys, time
from pathlib import Path
from sartutor.sar.geotiff import kept_overview, open_scene

def clock():
    now = os.times()
    return time.perf_counter(), now.user + now.system

start = clock()
scene = open_scene(sys.argv[1])
opened = clock()
scene.digest()
hashed = clock()
kept_overview(scene, 1024, Path(sys.argv[2]))
end = clock()
steps = {"open_s": (start, opened), "digest_s": (opened, hashed), "overview_s": (hashed, end), "all_s": (start, end)}
seconds = {name: round(b[0] - a[0], 2) for name, (a, b) in steps.items()}
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
print(json.dumps({**seconds, "cpu_s": round(end[1] - start[1], 2), "peak_mib": round(peak)}))
"""
TILES = {"tiled": True, "blockxsize": 512, "blockysize": 512}
LAYOUTS: dict[str, dict[str, Any]] = {
    "strips": {},
    "tiles": TILES,
    "deflated tiles": {**TILES, "compress": "deflate"},
}


def make_scene(path: Path, side: int) -> None:
    """Write HH and HV amplitudes, four-look speckle over a slow change of brightness, strip by strip."""
    rng = np.random.default_rng(0)
    place = {"crs": "EPSG:32632", "transform": Affine(5, 0, 600000, 0, -5, 5200000), "nodata": 0}
    layout = {"driver": "GTiff", "dtype": "uint16", "tiled": True, "blockxsize": 512, "blockysize": 512}
    mean = 10 ** (np.linspace(-1.6, -0.6, side, dtype=np.float32) + np.float32([[[0]], [[-0.7]]]))
    with rasterio.open(path, "w", width=side, height=side, count=2, **layout, **place) as file:
        for row in range(0, side, 512):
            rows = min(512, side - row)
            power = mean * rng.standard_gamma(LOOKS, (2, rows, side), np.float32) / LOOKS
            file.write(np.sqrt(power * 10**8.3).astype(np.uint16), window=Window(0, row, side, rows))


def measure(side: int) -> dict[str, float]:
    """Make the scene and its tiles in a temporary folder; what the process that made the tiles reports."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scene.tif"
        make_scene(path, side)
        command = [sys.executable, "-c", RUN, str(path), str(Path(folder) / "tiles")]
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def opening(side: int) -> Iterator[dict[str, str | float]]:
    """How long the annotator waits for its first picture, twice for every way to store one scene in decibels."""
    with tempfile.TemporaryDirectory() as name:
        for layout, options in LAYOUTS.items():
            path, kept = Path(name) / f"{layout}.tif", Path(name) / f"kept {layout}"
            make_db_scene(path, side, options)
            for time in ("first", "again"):
                command = [sys.executable, "-c", OPEN, str(path), str(kept)]
                found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
                yield {"opening": f"{side} x {side} x 2 float32, {layout}", "time": time, **found}
            path.unlink()


def make_db_scene(path: Path, side: int, options: dict[str, Any]) -> None:
    """Write VV and VH in decibels, four-look speckle over a slow change of brightness, strip by strip."""
    rng = np.random.default_rng(0)
    place = {"crs": "EPSG:32632", "transform": Affine(10, 0, 600000, 0, -10, 5200000), "nodata": np.nan}
    layout = {"driver": "GTiff", "dtype": "float32", **options, **place}
    mean = np.linspace(-20, -8, side, dtype=np.float32)
    with rasterio.open(path, "w", width=side, height=side, count=2, **layout) as file:
        file.units = ("db", "db")
        for row in range(0, side, 512):
            rows = min(512, side - row)
            power = rng.standard_gamma(LOOKS, (2, rows, side), np.float32) / LOOKS
            file.write(10 * np.log10(power) + mean, window=Window(0, row, side, rows))


def main(side: int = SIDE) -> None:
    """Measure and print."""
    for row in opening(side):
        print(json.dumps(row), flush=True)
    found = measure(side)
    speed = side**2 / 1e6 / found["seconds"]
    row = {
        "large_scene": f"{side} x {side} x 2",
        "tiles": found["tiles"],
        "seconds": round(found["seconds"], 1),
    }
    print(json.dumps({**row, "megapixels_per_s": round(speed, 2), "peak_mib": round(found["peak_mib"])}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
