"""Every notebook runs from top to bottom, off the network, on synthetic and on real data."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import offline
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
CELL_LIMIT = 180  # s for one cell: ten times what the slowest needs, so that only a hang exceeds it
NOTEBOOK_LIMIT = 540  # s
each_notebook = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)


def execute(notebook: Path, data: str, folder: Path, env: dict[str, str]) -> nbformat.NotebookNode:
    """Run a notebook with papermill in `folder` and return it with its outputs."""
    target = folder / notebook.name
    command = [sys.executable, "-m", "papermill", notebook, target, "--no-progress-bar", "--cwd", folder]
    command += ["--execution-timeout", str(CELL_LIMIT), "-p", "PRESET", "smoke", "-p", "DATA", data]
    settings = {"SARTUTOR_CACHE": str(folder / "cache"), "SARTUTOR_MIRROR": "", **env}
    done = offline.run(command, settings, folder, NOTEBOOK_LIMIT)
    assert done.returncode == 0, done.stderr[-4000:]
    return nbformat.read(target, as_version=4)


def leaves(value: object) -> Iterator[object]:
    """All values inside nested dictionaries and lists."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from leaves(item)
    else:
        yield value


def check_run(executed: nbformat.NotebookNode, folder: Path, number: str, data: str) -> None:
    """The numbers were written and are numbers; no cell warned; every exercise waits for its reader."""
    numbers = json.loads((folder / "runs" / "smoke" / data / f"{number}-0.json").read_text())
    values = [value for value in leaves(numbers) if isinstance(value, float)]
    assert values
    assert all(math.isfinite(value) for value in values), numbers
    warned = [
        output.text
        for cell in executed.cells
        for output in cell.get("outputs", [])
        if output.get("name") == "stderr" and "Warning" in output.text
    ]
    assert not warned, warned
    said = "".join(output.get("text", "") for cell in executed.cells for output in cell.get("outputs", []))
    assert said.count(": waiting for your answer") == sum(
        "solution" in cell.metadata.get("tags", []) for cell in executed.cells
    )


@each_notebook
def test_runs_on_synthetic_data(notebook: Path, tmp_path: Path):
    executed = execute(notebook, "synthetic", tmp_path, env={})
    check_run(executed, tmp_path, notebook.stem[:2], "synthetic")


@pytest.mark.mirror
@each_notebook
def test_runs_on_real_data(notebook: Path, tmp_path: Path, mirror: Path):
    executed = execute(notebook, "sample", tmp_path, env={"SARTUTOR_MIRROR": str(mirror)})
    check_run(executed, tmp_path, notebook.stem[:2], "sample")


def test_the_isolation_isolates(tmp_path: Path):
    """What runs the notebooks reaches loopback alone; the address asked for is reserved for documentation."""
    code = (
        "import socket; here = socket.create_server(('127.0.0.1', 0));"
        "socket.create_connection(here.getsockname()); print('loopback', flush=True);"
        "socket.create_connection(('192.0.2.1', 80), timeout=20)"
    )
    done = offline.run([sys.executable, "-c", code], {}, tmp_path, timeout=60)
    assert done.stdout == "loopback\n"
    assert "unreachable" in done.stderr or "no network" in done.stderr
