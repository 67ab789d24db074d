"""How long notebooks take, and how much memory: kernel and all that it starts, together.

    python -m bench.notebooks PRESET [NUMBER ...]

prints one JSON object per notebook: seconds from the first process to the last, and the most memory seen at once (MiB;
on Linux a page that processes share is divided among them, elsewhere it counts for each). All notebooks unless told
otherwise. `bar` is what both are held to with that preset, `ok` whether they hold here.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"

LOOK_SECONDS = 0.5

BARS = {"smoke": {"seconds": 35}, "laptop": {"seconds": 600, "peak_mib": 5722}}
"""Most seconds, and MiB of 6 GB, by preset."""


def measured(notebook: Path, preset: str) -> dict[str, float]:
    """Run a notebook in a folder of its own; RuntimeError where a cell fails."""
    with tempfile.TemporaryDirectory() as folder:
        papermill = [sys.executable, "-m", "papermill", str(notebook), f"{folder}/out.ipynb"]
        options = ["-p", "PRESET", preset, "--cwd", folder, "--no-progress-bar"]
        began, most = time.perf_counter(), 0
        with subprocess.Popen([*papermill, *options], stderr=subprocess.DEVNULL) as run:
            while run.poll() is None:
                most = max(most, held(psutil.Process(run.pid)))
                time.sleep(LOOK_SECONDS)
        if run.returncode:
            raise RuntimeError(f"{notebook.name} failed with preset {preset}; run it by hand.")
    return {"seconds": round(time.perf_counter() - began, 1), "peak_mib": round(most / 2**20)}


def held(process: psutil.Process) -> int:
    """Bytes that a process and its children hold now; on Linux each with its part of what is shared."""
    total = 0
    with suppress(psutil.NoSuchProcess):
        for each in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                total += each.memory_full_info().pss if psutil.LINUX else each.memory_info().rss
    return total


def main(preset: str = "smoke", *numbers: str) -> None:
    """Measure and print."""
    for notebook in sorted(NOTEBOOKS.glob("*.ipynb")):
        if not numbers or notebook.name[:2] in numbers:
            found, bar = measured(notebook, preset), BARS.get(preset, {})
            ok = all(found[name] <= most for name, most in bar.items())
            print(
                json.dumps({"notebook": notebook.stem, "preset": preset, **found, "bar": bar, "ok": ok}),
                flush=True,
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
