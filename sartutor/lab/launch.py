"""JupyterLab on this machine's loopback, on the notebooks, with its token kept."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import as_file, files
from pathlib import Path

from sartutor.errors import OutputError, SarTutorError

FIRST = "00_welcome.ipynb"
LOOPBACK = "127.0.0.1"
PORT = 8888
COPIES = "sartutor-notebooks"


def find_notebooks(start: Path) -> Path:
    """The folder with the notebooks: at or below `start`, or in the repository that the package runs from.

    Installed without a repository, the packaged notebooks are copied to `start/sartutor-notebooks`; files that are
    there already are the reader's own and stay. Raises SarTutorError where there are none at all.
    """
    for folder in _places(start):
        if (folder / FIRST).is_file():
            return folder
    try:
        with as_file(files("sartutor") / "notebooks") as packaged:
            return _copy_new(packaged, start / COPIES)
    except FileNotFoundError as error:
        raise SarTutorError(
            f"There is no {FIRST} here and none came with the package; "
            "clone the repository and run `sartutor lab` in it."
        ) from error


def _places(start: Path) -> Iterator[Path]:
    yield from (start, start / "notebooks", start / COPIES)
    yield Path(__file__).resolve().parents[2] / "notebooks"


def _copy_new(source: Path, target: Path) -> Path:
    notebooks = sorted(source.glob("*.ipynb"))
    if source / FIRST not in notebooks:
        raise FileNotFoundError(source / FIRST)
    try:
        target.mkdir(exist_ok=True)
        for notebook in notebooks:
            if not (target / notebook.name).exists():
                shutil.copyfile(notebook, target / notebook.name)
    except OSError as error:
        raise OutputError(
            f"The notebooks cannot be copied to {target} ({error.strerror}); "
            "run `sartutor lab` in a folder of your own."
        ) from error
    return target


def has_browser() -> bool:
    """Whether a browser window can open here: not over SSH, and on Linux only with a display."""
    if os.environ.get("SSH_CONNECTION"):
        return False
    if sys.platform.startswith("linux"):
        return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return True


def port_is_free(port: int) -> bool:
    """Whether a server may listen on this loopback port (0: on any)."""
    with socket.socket() as probe:
        if os.name == "posix":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def lab_command(folder: Path, port: int | None, browser: bool) -> list[str]:
    """The command line of JupyterLab on `folder`; `port` None is the first free one from 8888 up."""
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        f"--ServerApp.ip={LOOPBACK}",
        f"--ServerApp.root_dir={folder}",
    ]
    command += [f"--LabApp.default_url=/lab/tree/{FIRST}", f"--ServerApp.port={port or PORT}"]
    if not browser:
        command.append("--no-browser")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    return command


def launch(port: int | None = None, browser: bool = True) -> None:
    """Become JupyterLab on the notebooks. Raises SarTutorError where there are none or `port` is taken."""
    if port is not None and not port_is_free(port):
        raise SarTutorError(f"Port {port} of this machine is taken; choose another one or leave --port away.")
    folder = find_notebooks(Path.cwd())
    browser = browser and has_browser()
    print(f"JupyterLab on {folder}; Ctrl-C twice ends it.", file=sys.stderr)
    if not browser:
        near = port or PORT
        print(
            "Open the address with ?token= below in a browser on this machine; from another machine, first run "
            f"`ssh -L {near}:{LOOPBACK}:{near} USER@HOST` there (with the port of that address).",
            file=sys.stderr,
            flush=True,
        )
    _become(lab_command(folder, port, browser))


def _become(command: list[str]) -> None:
    """Replace this process, so that Ctrl-C reaches JupyterLab alone; Windows cannot, and waits instead."""
    if os.name == "posix":
        os.execv(command[0], command)
    sys.exit(subprocess.run(command, check=False).returncode)
