"""A whole scene made into tiles: seconds, megapixels a second, and the most memory that it takes.

    python -m bench.large_scene [SIDE]

prints one JSON object. A two-band scene of 16-bit digital numbers (10,000 x 10,000 pixels unless SIDE says otherwise)
is calibrated, filtered (Lee, 7 x 7) and cut into tiles of 1,024 pixels in a process of its own, so that what
making the scene takes does not count.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

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


def main(side: int = SIDE) -> None:
    """Measure and print."""
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
