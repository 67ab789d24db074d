"""How long a reader waits for the map and for a mask, over 100 boxes, in a real JupyterLab and browser.

    python -m bench.annotator_latency [BOXES] [tiny | vit_b]

prints one JSON object, milliseconds: from the start of the cell, after the imports, to the map being there; and from
mouse up to mask painted, medians of every 20 boxes in turn too, for there are ever more objects. It uses the synthetic
scene, so that it measures the same everywhere, and ViT-B with random weights; all of the scene is one chip of it, which
is embedded before the first box.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.weights import random_weights

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "browser"))

import driver  # noqa: E402

BOXES = 100
IMPORTS = """
import leafmap  # or else it is imported with the first map
from sartutor.lab import data
from sartutor.lab.annotator import Annotator
scene = data.sentinel1("synthetic", "smoke", 0).scene.read()
"""
SHOW = "annotator = Annotator(scene, {model!r})\nannotator.show()"
RUN_CELL = """
index => {
  jupyterapp.shell.currentWidget.content.activeCellIndex = index;
  jupyterapp.commands.execute("notebook:run-cell");
}
"""
CELL_RAN = "index => jupyterapp.shell.currentWidget.content.widgets[index].model.executionCount !== null"


def measure(count: int, size: str) -> tuple[float, list[float]]:
    """Milliseconds until the map is there, and for each of the boxes, which differ in place and size."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = "sam_tiny_base" if size == "tiny" else random_weights(folder / "vit_b.pth")
        notebook = driver.write_notebook(folder / "latency.ipynb", [IMPORTS, SHOW.format(model=model)])
        with driver.lab_server(folder, {}) as url, driver.browser() as browser:
            lab = driver.Lab.open(browser, url, notebook)
            lab.page.evaluate(RUN_CELL, 0)
            lab.page.wait_for_function(CELL_RAN, arg=0)
            lab.page.wait_for_function(driver.KERNEL_IDLE)
            annotator = driver.AnnotatorPage(lab.page)
            began = time.perf_counter()
            lab.page.evaluate(RUN_CELL, 1)
            annotator.radar.wait_for()
            first_map = 1000 * (time.perf_counter() - began)
            annotator.wait_ready()
            return first_map, [annotator.draw_timed(box) for box in boxes(count)]


def boxes(count: int) -> list[driver.Box]:
    """Boxes over the whole picture, 4 to 20 % of its width."""
    rng = np.random.default_rng(0)
    sides = rng.uniform(0.04, 0.2, (count, 2))
    corners = rng.uniform(0.02, 0.97 - sides)
    return [(x, y, x + width, y + height) for (x, y), (width, height) in zip(corners, sides, strict=True)]


def main(count: str = str(BOXES), size: str = "tiny") -> None:
    """Measure and print."""
    if driver.chromium() is None:
        raise SystemExit("No Chromium here: install Debian's chromium (apt-get install chromium).")
    first_map, times = measure(int(count), size)
    median, p95 = np.percentile(times, (50, 95))
    twenties = [round(float(np.median(times[start : start + 20]))) for start in range(0, len(times), 20)]
    found = {"model": size, "first_map_ms": round(first_map), "boxes": len(times), "median_ms": round(median)}
    print(json.dumps({**found, "p95_ms": round(p95), "medians_of_20_ms": twenties}))


if __name__ == "__main__":
    main(*sys.argv[1:])
