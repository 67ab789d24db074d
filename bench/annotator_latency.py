"""How long a reader waits for a mask: mouse up to mask painted, over 100 boxes, in a real JupyterLab and browser.

    python -m bench.annotator_latency [BOXES]

prints one JSON object, milliseconds; medians of every 20 boxes in turn too, for there are ever more objects. It uses
the synthetic scene, so that it measures the same everywhere.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "browser"))

import driver  # noqa: E402

BOXES = 100
CELL = """
from sartutor.lab import data
from sartutor.lab.annotator import Annotator
annotator = Annotator(data.sentinel1("synthetic", "smoke", 0).scene.read())
annotator.show()
"""


def measure(count: int) -> list[float]:
    """Milliseconds for each of the boxes, which differ in place and size."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        notebook = driver.write_notebook(folder / "latency.ipynb", [CELL])
        with driver.lab_server(folder, {}) as url, driver.browser() as browser:
            lab = driver.Lab.open(browser, url, notebook)
            lab.run_all()
            annotator = driver.AnnotatorPage(lab.page)
            annotator.wait_ready()
            return [annotator.draw_timed(box) for box in boxes(count)]


def boxes(count: int) -> list[driver.Box]:
    """Boxes over the whole picture, 4 to 20 % of its width."""
    rng = np.random.default_rng(0)
    sides = rng.uniform(0.04, 0.2, (count, 2))
    corners = rng.uniform(0.02, 0.97 - sides)
    return [(x, y, x + width, y + height) for (x, y), (width, height) in zip(corners, sides, strict=True)]


def main(count: int = BOXES) -> None:
    """Measure and print."""
    if driver.chromium() is None:
        raise SystemExit("No Chromium here: install Debian's chromium (apt-get install chromium).")
    times = measure(count)
    median, p95 = np.percentile(times, (50, 95))
    twenties = [round(float(np.median(times[start : start + 20]))) for start in range(0, count, 20)]
    found = {"boxes": count, "median_ms": round(median), "p95_ms": round(p95), "medians_of_20_ms": twenties}
    print(json.dumps(found))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
