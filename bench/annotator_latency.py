"""How long a reader waits for a mask: mouse up to mask painted, over 100 boxes, in a real JupyterLab and browser.

    python -m bench.annotator_latency

prints one JSON object, milliseconds. It uses the synthetic scene, so that it measures the same everywhere.
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
NOTEBOOK = ROOT / "notebooks" / "11_interactive_segmentation.ipynb"


def measure() -> list[float]:
    """Milliseconds for each of the boxes, which differ in place and size."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        notebook = driver.copy_notebook(NOTEBOOK, folder, {"PRESET": "smoke", "DATA": "synthetic"})
        with driver.lab_server(folder, {}) as url, driver.browser() as browser:
            lab = driver.Lab.open(browser, url, notebook)
            lab.run_all()
            lab.show_cell("Annotator(")
            annotator = driver.AnnotatorPage(lab.page)
            annotator.wait_ready()
            return [annotator.draw_timed(box) for box in boxes()]


def boxes() -> list[driver.Box]:
    """Boxes over the whole picture, 4 to 20 % of its width."""
    rng = np.random.default_rng(0)
    sides = rng.uniform(0.04, 0.2, (BOXES, 2))
    corners = rng.uniform(0.02, 0.97 - sides)
    return [(x, y, x + width, y + height) for (x, y), (width, height) in zip(corners, sides, strict=True)]


def main() -> None:
    """Measure and print."""
    if driver.chromium() is None:
        raise SystemExit("No Chromium here: install Debian's chromium (apt-get install chromium).")
    times = measure()
    median, p95 = np.percentile(times, (50, 95))
    print(json.dumps({"boxes": len(times), "median_ms": round(median), "p95_ms": round(p95)}))


if __name__ == "__main__":
    main()
