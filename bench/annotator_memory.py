"""How much memory an annotator takes where many share a host: one process each, as kernels of a hub are.

    python -m bench.annotator_memory [PROCESSES]

prints one JSON object, MiB a process: what the machine has less of while they run, for an annotator that has drawn
boxes all over a scene, and for a process that only imports it. Weights of 32 bits are mapped, so processes share them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import torch

from sartutor.learn.checkpoints import save_tensors
from sartutor.learn.sam.model import RadarSam
from sartutor.presets import SAM_SIZES

PROCESSES = 4
SCRIPT = """
import sys
import numpy as np
from affine import Affine
from rasterio.crs import CRS
from shapely.geometry import box
from sartutor.lab.annotator import Annotator
from sartutor.lab.annotator.placement import Placement
from sartutor.sar.scene import Band, Grid, Scene
import sartutor.learn.sam.predictor

if sys.argv[1]:
    rng = np.random.default_rng(0)
    pixels = 10 * np.log10(rng.gamma(4, 0.02, (2, 1024, 1024))).astype(np.float32)
    grid = Grid(Affine(10, 0, 600_000, 0, -10, 5_200_000), CRS.from_epsg(32632), 1024, 1024)
    bands = (Band("VV", "db", "sigma0"), Band("VH", "db", "sigma0"))
    scene = Scene(pixels, bands, grid, np.ones((1024, 1024), bool))
    annotator = Annotator(scene, sys.argv[1], session_path=sys.argv[2])
    for x, y in rng.integers(100, 900, (int(sys.argv[3]), 2)):
        west, north = 600_000 + 10 * x, 5_200_000 - 10 * y
        square = box(west, north - 400, west + 400, north)
        annotator.draw(annotator.placement.to_map(square, grid.crs))
print("ready", flush=True)
sys.stdin.read()
"""


def memory_mib(model: str, boxes: int, processes: int, folder: Path) -> float:
    """MiB a process that the machine has less of while so many annotate."""
    before = psutil.virtual_memory().available
    started = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, model, str(folder / f"{model[-8:]}{n}.sqlite"), str(boxes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(processes)
    ]
    for each in started:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    used = before - psutil.virtual_memory().available
    for each in started:
        each.communicate("")
    return used / processes / 2**20


def main() -> None:
    """Measure and print."""
    processes = int(sys.argv[1]) if len(sys.argv) > 1 else PROCESSES
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        large = folder / "vit_b.safetensors"
        about = {"kind": "sam", "architecture": "vit_b", "phases": []}
        save_tensors(large, RadarSam(SAM_SIZES["vit_b"]).state_dict(), about)
        torch.set_num_threads(1)
        imports = memory_mib("", 0, processes, folder)
        tiny = memory_mib("sam_tiny_base", 20, processes, folder)
        vit_b = memory_mib(str(large), 2, processes, folder)
    found = {"imports": imports, "tiny": tiny, "vit_b": vit_b}
    print(json.dumps({"processes": processes, **{name: round(value) for name, value in found.items()}}))


if __name__ == "__main__":
    main()
