"""`sartutor lab`: which notebooks, which command line, and that JupyterLab really answers with its token only."""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from sartutor.errors import OutputError, SarTutorError
from sartutor.lab import launch


@pytest.fixture
def lonely(tmp_path, monkeypatch):
    """A place from which no repository is found."""
    monkeypatch.setattr(
        launch, "__file__", str(tmp_path / "site-packages" / "sartutor" / "lab" / "launch.py")
    )
    monkeypatch.setattr(launch, "files", lambda _package: tmp_path / "site-packages" / "sartutor")
    return tmp_path


def write_notebooks(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True)
    for name in names or (launch.FIRST, "01_sar_basics.ipynb"):
        (folder / name).write_text("{}")
    return folder


@pytest.mark.parametrize("place", [".", "notebooks", "sartutor-notebooks"])
def test_notebooks_at_hand_are_used(lonely, place):
    (lonely / "here").mkdir()
    folder = lonely / "here" / place
    if place == ".":
        (folder / launch.FIRST).write_text("{}")
    else:
        write_notebooks(folder)
    assert launch.find_notebooks(lonely / "here").resolve() == folder.resolve()


def test_those_of_the_repository_are_found_from_anywhere(lonely):
    folder = write_notebooks(lonely / "site-packages" / "notebooks")
    assert launch.find_notebooks(lonely) == folder


def test_packaged_ones_are_copied_and_edits_stay(lonely):
    write_notebooks(lonely / "site-packages" / "sartutor" / "notebooks")
    (lonely / "here").mkdir()
    copies = launch.find_notebooks(lonely / "here")
    assert sorted(path.name for path in copies.iterdir()) == [launch.FIRST, "01_sar_basics.ipynb"]
    (copies / launch.FIRST).write_text("mine")
    assert launch.find_notebooks(lonely / "here") == copies
    assert (copies / launch.FIRST).read_text() == "mine"


def test_no_notebooks_at_all(lonely):
    with pytest.raises(SarTutorError, match="clone the repository"):
        launch.find_notebooks(lonely)


def test_no_room_for_the_copies(lonely):
    write_notebooks(lonely / "site-packages" / "sartutor" / "notebooks")
    (lonely / launch.COPIES).write_text("in the way")
    with pytest.raises(OutputError, match="cannot be copied"):
        launch.find_notebooks(lonely)


def test_the_command_keeps_to_loopback_and_keeps_the_token(tmp_path):
    command = launch.lab_command(tmp_path, None, browser=False)
    assert "--ServerApp.ip=127.0.0.1" in command
    assert "--no-browser" in command
    assert not [part for part in command if "token" in part.lower()]
    assert "--no-browser" not in launch.lab_command(tmp_path, 9999, browser=True)


def test_a_browser_needs_a_display(monkeypatch):
    monkeypatch.setattr(launch.sys, "platform", "linux")
    for name in ("SSH_CONNECTION", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert not launch.has_browser()
    monkeypatch.setenv("DISPLAY", ":0")
    assert launch.has_browser()
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.1 22")
    assert not launch.has_browser()


def test_a_taken_port_is_refused():
    with socket.socket() as taken:
        taken.bind((launch.LOOPBACK, 0))
        taken.listen()
        with pytest.raises(SarTutorError, match="is taken"):
            launch.launch(taken.getsockname()[1])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((launch.LOOPBACK, 0))
        return probe.getsockname()[1]


@pytest.fixture
def lab(tmp_path):
    """A running JupyterLab, started by the command; gives the address that it printed."""
    write_notebooks(tmp_path / "notebooks")
    command = [sys.executable, "-m", "sartutor.cli", "lab", "--no-browser", "--port", str(free_port())]
    home = {"JUPYTER_CONFIG_DIR": str(tmp_path / "c"), "JUPYTER_DATA_DIR": str(tmp_path / "d")}
    running = subprocess.Popen(
        command,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **home, "PYTHONUNBUFFERED": "1"},
    )
    try:
        yield next(
            filter(None, (re.search(r"http://127\S+token=\S+", line) for line in running.stderr))
        ).group()
    finally:
        running.terminate()
        try:
            running.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            running.kill()
            running.communicate()


def status_of(address: str) -> int:
    """The HTTP status of an address; the server prints its address shortly before it listens."""
    for _ in range(100):
        try:
            with urllib.request.urlopen(address) as answer:
                return answer.status
        except urllib.error.HTTPError as refused:
            return refused.code
        except urllib.error.URLError:
            time.sleep(0.2)
    raise AssertionError(f"nothing listens at {address}")


@pytest.mark.timeout(180)
def test_jupyterlab_answers_with_its_token_only(lab):
    assert f"/lab/tree/{launch.FIRST}?token=" in lab
    base, token = lab.split("/lab/tree")[0], lab.split("token=")[1]
    first = f"{base}/api/contents/{launch.FIRST}?content=0"
    assert status_of(f"{first}&token={token}") == 200
    assert status_of(first) == 403
