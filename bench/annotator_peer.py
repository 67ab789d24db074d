"""A session of 50 boxes beside segment-geospatial's box path, side by side in one run, in JSON objects.

    python -m bench.annotator_peer [BOXES]

The peer is not one of this project's requirements. Where it is missing, the bench says how to get it: into an
environment of its own that sees this one's packages, say

    python -m venv --system-site-packages /tmp/peer
    /tmp/peer/bin/pip install segment-geospatial
    /tmp/peer/bin/python -m bench.annotator_peer

Both get the same GeoTIFF of one image of ViT-B (1,024 px, three bands of bytes), the same random ViT-B weights and the
same boxes in degrees, take turns box by box, and end each with the mask on the source grid and on disk: there a
GeoTIFF, here a step of the session. The peer embeds the scene once. What this project embeds depends on the box, so
"new" is the first time that a box is drawn, and "again" when its surroundings are known: a corner that was moved, a
click, a second object. `sam_tiny_base`, which only this project can run, is measured too. Times are medians in ms.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.crs import CRS
from shapely.geometry import Polygon, box

from bench.weights import random_weights
from sartutor.lab.annotator.annotation import annotate
from sartutor.lab.annotator.segmenter import Segmenter
from sartutor.lab.annotator.session import Session
from sartutor.sar.coordinates import bounds
from sartutor.sar.geotiff import open_scene
from sartutor.sar.scene import Grid

try:
    from samgeo import SamGeo
    from samgeo.common import bbox_to_xy
except ImportError:
    SamGeo = None

BOXES = 50
SIDE = 1024
DEGREES = CRS.from_epsg(4326)
GRID = Grid(Affine(10, 0, 600_000, 0, -10, 5_200_000), CRS.from_epsg(32632), SIDE, SIDE)
Draw = Callable[[Polygon], object]


def boxes(count: int) -> list[Polygon]:
    """Boxes in degrees, 4 to 20 % of the scene's side."""
    rng = np.random.default_rng(0)
    west, south, east, north = bounds(GRID, DEGREES)
    sides = rng.uniform(0.04, 0.2, (count, 2))
    corners = rng.uniform(0.05, 0.95 - sides)
    scale = np.array([east - west, north - south])
    starts, ends = corners * scale + (west, south), (corners + sides) * scale + (west, south)
    return [box(*start, *end) for start, end in zip(starts, ends, strict=True)]


def make_scene(path: Path) -> None:
    """Four-look speckle over a slow change of brightness, as three bands of bytes."""
    rng = np.random.default_rng(0)
    level = np.linspace(40, 160, SIDE) * rng.standard_gamma(4, (3, SIDE, SIDE)) / 4
    place = {"crs": GRID.crs, "transform": GRID.transform, "width": SIDE, "height": SIDE, "count": 3}
    with rasterio.open(path, "w", driver="GTiff", dtype="uint8", **place) as file:
        file.write(level.clip(1, 255).astype(np.uint8))


def peer(scene: Path, weights: Path, folder: Path) -> Draw:
    """segment-geospatial with the scene embedded: a box in degrees becomes a GeoTIFF of its mask."""
    model = SamGeo("vit_b", automatic=False, checkpoint=str(weights))
    model.set_image(str(scene))

    def draw(polygon: Polygon) -> None:
        pixels = bbox_to_xy(str(scene), list(polygon.bounds), "EPSG:4326")
        sides = [float(side) for side in pixels]  # version 1.4.2 takes a single box as floats alone
        model.predict(boxes=sides, output=str(folder / "peer.tif"), dtype="uint8", index=0)

    return draw


def ours(scene: Path, model: str | Path, folder: Path) -> Draw:
    """This project's annotator without its widgets: a box in degrees becomes a step of the session."""
    source = open_scene(scene, units="dn")
    segmenter = Segmenter(source, model, folder / "embeddings")
    session = Session.open(source, folder / f"{Path(model).stem}.sqlite")
    segmenter.warm_up()

    def draw(polygon: Polygon) -> None:
        session.add(annotate(segmenter.segment(polygon, DEGREES), source.grid))

    return draw


def timed(draw: Draw, polygon: Polygon) -> float:
    """Milliseconds."""
    start = time.perf_counter()
    draw(polygon)
    return 1000 * (time.perf_counter() - start)


def measure(sides: dict[str, Draw], drawn: Sequence[Polygon]) -> dict[str, Any]:
    """Medians over boxes in which all take turns, each box twice in a row; the first box is not counted."""
    first, again = ({name: [] for name in sides} for _ in range(2))
    for polygon in drawn:
        for name, draw in sides.items():
            first[name].append(timed(draw, polygon))
            again[name].append(timed(draw, polygon))
    new = {name: float(np.median(times[1:])) for name, times in first.items()}
    known = {name: float(np.median(times[1:])) for name, times in again.items()}
    return {"new_ms": new, "again_ms": known}


def main(count: int = BOXES) -> None:
    """Measure and print."""
    if SamGeo is None:
        raise SystemExit(
            "No segment-geospatial here: install it as the head of bench/annotator_peer.py says."
        )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scene, weights = folder / "scene.tif", folder / "vit_b.pth"
        make_scene(scene)
        random_weights(weights)
        sides = {
            "peer": peer(scene, weights, folder),
            "vit_b": ours(scene, weights, folder),
            "tiny": ours(scene, "sam_tiny_base", folder),
        }
        found = measure(sides, boxes(count))
    for kind, times in found.items():
        ratios = {f"{name}_speedup": round(times["peer"] / times[name], 2) for name in ("vit_b", "tiny")}
        rounded = {name: round(ms, 1) for name, ms in times.items()}
        print(json.dumps({"boxes": count, "kind": kind, **rounded, **ratios}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
