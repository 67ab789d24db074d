"""Drives a real JupyterLab in a real browser: the server, the page, and the annotator as a reader handles it.

Used by the browser tests and by `bench/annotator_latency.py`. Nothing but loopback is needed.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WINDOW = {"width": 1400, "height": 1000}
SERVER_LIMIT = 120  # s until the server answers
PAGE_LIMIT = 120_000  # ms until something that should appear does
NOTEBOOK_LIMIT = 900_000  # ms for all cells of a notebook

Box = tuple[float, float, float, float]
"""Left, top, right, bottom as fractions of the radar picture."""

KERNEL_IDLE = """
() => {
  const context = window.jupyterapp?.shell.currentWidget?.sessionContext;
  return context?.isReady && context.session?.kernel?.status === "idle";
}
"""
RUN_ALL = """
() => {
  window.allCellsRan = false;
  jupyterapp.commands.execute("notebook:run-all-cells").then(() => { window.allCellsRan = true; });
}
"""
SET_THEME = "name => { jupyterapp.commands.execute('apputils:change-theme', {theme: name}); }"
ERRORS = """
() => {
  const cells = Array.from(jupyterapp.shell.currentWidget.content.widgets);
  const outputs = cells.flatMap(cell => cell.model.outputs?.toJSON() ?? []);
  return outputs.filter(output => output.output_type === "error");
}
"""
SHOW_CELL = """
async source => {
  const notebook = jupyterapp.shell.currentWidget.content;
  const index = notebook.widgets.findIndex(cell => cell.model.sharedModel.getSource().includes(source));
  notebook.activeCellIndex = index;
  await notebook.scrollToItem(index, "start");
}
"""
WATCH_MASKS = """
() => {
  window.maskTimes = {released: null, shown: null};
  const times = window.maskTimes;
  const shown = () => requestAnimationFrame(() => setTimeout(() => { times.shown ??= performance.now(); }));
  document.addEventListener("mouseup", () => { times.released = performance.now(); }, {capture: true, once: true});
  new MutationObserver((records, observer) => {
    for (const image of records.flatMap(record => [...record.addedNodes])) {
      if (!(image instanceof HTMLImageElement) || !image.alt.startsWith("mask of object")) continue;
      observer.disconnect();
      image.decode().then(shown);
    }
  }).observe(document.querySelector(".sartutor-annotator .leaflet-overlay-pane"), {childList: true});
}
"""


def chromium() -> str | None:
    """The path of an installed Chromium or Chrome, if any."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextmanager
def lab_server(folder: Path, env: Mapping[str, str], base: str = "/") -> Iterator[str]:
    """JupyterLab serving `folder` on loopback with a fresh token and settings; yields its URL with `{}` for a path.

    `base` is the path that all addresses begin with, as behind the proxy of a hub.
    """
    port, token, own = free_port(), secrets.token_hex(16), folder / ".server"
    own.mkdir(parents=True)
    with (own / "log.txt").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *_server_options(folder, port, token, base)],
            env={**os.environ, **_own_settings(own), **env},
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
        try:
            _wait_until_up(f"http://127.0.0.1:{port}{base}api/status?token={token}", process, own / "log.txt")
            yield f"http://127.0.0.1:{port}{base}{{}}?token={token}"
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium(), args=list(CHROMIUM_FLAGS))
        try:
            yield started
        finally:
            started.close()


@contextmanager
def opened_notebook(
    folder: Path, name: str, env: Mapping[str, str] | None = None, base: str = "/"
) -> Iterator[Lab]:
    """A notebook of a folder in a JupyterLab of its own, in which nothing may go wrong.

    Skips the test where there is no browser; `env` and `base` are those of `lab_server`.
    """
    if chromium() is None:
        pytest.skip(
            "no Chromium: install Debian's chromium (apt-get install chromium) or put one on the PATH"
        )
    with lab_server(folder, env or {}, base) as url, browser() as started:
        lab = Lab.open(started, url, name)
        yield lab
    assert not lab.failures


def copy_notebook(source: Path, folder: Path, parameters: Mapping[str, Any]) -> str:
    """Copy a notebook into `folder`, with other parameters; returns its name."""
    notebook = nbformat.read(source, as_version=4)
    cell = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    cell.source += "".join(f"\n{name} = {value!r}" for name, value in parameters.items())
    nbformat.write(notebook, folder / source.name)
    return source.name


def write_notebook(path: Path, cells: Sequence[str]) -> str:
    """Write a notebook of code cells; returns its name."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, path)
    return path.name


def free_port() -> int:
    """A port on loopback that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Lab:
    """One browser page with a notebook in JupyterLab; what it asked for, and what went wrong in it."""

    page: Page
    asked: list[str]
    failures: list[str]

    @classmethod
    def open(cls, browser: Browser, url: str, notebook: str) -> Lab:
        """Open a notebook and wait until its kernel is there."""
        page = browser.new_page(viewport=WINDOW)
        lab = cls(page, [], [])
        page.on("request", lambda request: lab.asked.append(request.url))
        page.on("pageerror", lambda error: lab.failures.append(str(error)))
        page.set_default_timeout(PAGE_LIMIT)
        page.goto(url.format(f"lab/tree/{notebook}"))
        page.wait_for_selector(".jp-NotebookPanel .jp-Notebook .jp-Cell")
        page.wait_for_function(KERNEL_IDLE)
        return lab

    def set_theme(self, name: str) -> None:
        """Switch to "JupyterLab Light" or "JupyterLab Dark"."""
        self.page.evaluate(SET_THEME, name)
        dark = "false" if "Dark" in name else "true"
        self.page.wait_for_selector(f"body[data-jp-theme-light='{dark}']", state="attached")

    def run_all(self) -> None:
        """Run all cells; fails with the first error."""
        self.page.evaluate(RUN_ALL)
        self.page.wait_for_function("() => window.allCellsRan", timeout=NOTEBOOK_LIMIT)
        errors = self.page.evaluate(ERRORS)
        assert not errors, "\n".join(errors[0]["traceback"])

    def show_cell(self, source: str) -> None:
        """Scroll to the first cell whose source contains a text."""
        self.page.evaluate(SHOW_CELL, source)

    def shot(self, path: Path) -> None:
        """Keep a picture of the whole window."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path)


class AnnotatorPage:
    """An annotator in a notebook, the last or another one, handled as a reader does: with mouse and keyboard."""

    def __init__(self, page: Page, place: int = -1) -> None:
        self.page = page
        self.root = page.locator(".sartutor-annotator").nth(place)
        self.radar = self.root.locator("img[alt^='radar picture']").first
        self.masks = self.root.locator("img[alt^='mask of object']")
        self.boxes = self.root.locator(".leaflet-overlay-pane path.leaflet-interactive[fill-opacity='0']")
        self.status = self.root.locator(".sartutor-status")

    def wait_ready(self) -> None:
        """Wait for the radar picture and for the model, and bring the map into view."""
        self.radar.wait_for()
        expect(self.root.locator(".sartutor-busy")).to_have_count(0, timeout=PAGE_LIMIT)
        self.root.evaluate("node => node.scrollIntoView({block: 'start'})")

    def tab(self, name: str) -> None:
        """Open a page of the panel by its title."""
        self.root.locator(".sartutor-panel .lm-TabBar-tab", has_text=name).click()

    def button(self, name: str) -> Locator:
        """A button of the open page by its label."""
        return self.root.locator(".sartutor-panel button:visible", has_text=name)

    def chooser(self, place: int) -> Locator:
        """A drop-down of the open page, counted from 0."""
        return self.root.locator(".sartutor-panel select:visible").nth(place)

    def press(self, key: str) -> None:
        """Press a key while the annotator has the focus."""
        self.root.focus()
        self.page.keyboard.press(key)

    def click(self, x: float, y: float) -> None:
        """Click on a fraction of the radar picture."""
        self.page.mouse.click(*self.place(x, y))

    def zoom(self, steps: int) -> None:
        """Zoom in by so many clicks on the map's button."""
        for _ in range(steps):
            self.root.locator(".leaflet-control-zoom-in").click()
            self.page.wait_for_timeout(500)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Drag a rectangle between two places on the screen."""
        self._tool("leaflet-draw-draw-rectangle")
        self._drag(start, end)

    def map_area(self) -> tuple[float, float, float, float]:
        """Left, top, width and height of the map on the screen."""
        area = self.root.locator(".leaflet-container").bounding_box()
        assert area is not None
        return area["x"], area["y"], area["width"], area["height"]

    def draw(self, box: Box) -> None:
        """Drag a rectangle over the radar picture."""
        self._tool("leaflet-draw-draw-rectangle")
        left, top = self.place(box[0], box[1])
        right, bottom = self.place(box[2], box[3])
        self._drag((left, top), (right, bottom))

    def outline(self, corners: Sequence[tuple[float, float]]) -> None:
        """Click an outline over the radar picture; the last click is on the first corner again."""
        self._tool("leaflet-draw-draw-polygon")
        for corner in (*corners, corners[0]):
            self.page.mouse.click(*self.place(*corner))
            self.page.wait_for_timeout(300)

    def draw_timed(self, box: Box) -> float:
        """Drag a rectangle; milliseconds from the mouse going up to the mask being painted."""
        self._tool("leaflet-draw-draw-rectangle")
        self.page.evaluate(WATCH_MASKS)
        self._drag(self.place(box[0], box[1]), self.place(box[2], box[3]))
        self.page.wait_for_function("() => window.maskTimes.shown")
        times = self.page.evaluate("() => window.maskTimes")
        return float(times["shown"] - times["released"])

    def stop_drawing(self) -> None:
        """Put the rectangle tool away."""
        if self._active("leaflet-draw-draw-rectangle"):
            self._action("Cancel")

    def move_corner(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Edit: drag the handle nearest to `start` to `end` (fractions of the radar picture), and save."""
        self.stop_drawing()
        self.root.locator(".leaflet-draw-edit-edit").click()
        handles = self.root.locator(".leaflet-editing-icon")
        handles.first.wait_for()
        x, y = self.place(*start)
        nearest = min(_centres(handles), key=lambda c: (c[0] - x) ** 2 + (c[1] - y) ** 2)
        self._drag(nearest, self.place(*end))
        self._action("Save")

    def remove_box(self, inside: tuple[float, float]) -> None:
        """Delete with the map's own tool: click into the box, and save."""
        self.stop_drawing()
        self.root.locator(".leaflet-draw-edit-remove").click()
        self.page.mouse.click(*self.place(*inside))
        self._action("Save")

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Screen position of a fraction of the radar picture."""
        area = self.radar.bounding_box()
        assert area is not None
        return area["x"] + x * area["width"], area["y"] + y * area["height"]

    def says(self, text: str) -> None:
        """Wait until the status line says something."""
        expect(self.status).to_contain_text(text, timeout=PAGE_LIMIT)

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait for what shows outside the page."""
        end = time.monotonic() + PAGE_LIMIT / 1000
        while not holds():
            assert time.monotonic() < end, "what was waited for did not happen"
            self.root.page.wait_for_timeout(100)

    def has(self, masks: int) -> None:
        """Wait until that many masks, and as many boxes, are on the map, all of them painted."""
        expect(self.masks).to_have_count(masks, timeout=PAGE_LIMIT)
        expect(self.boxes).to_have_count(masks, timeout=PAGE_LIMIT)
        for image in self.masks.all():
            image.evaluate("image => image.decode()")

    def _tool(self, name: str) -> None:
        if not self._active(name):
            self.root.locator(f".{name}").click()
        expect(self.root.locator(f".{name}")).to_have_class(re.compile("enabled"))

    def _active(self, name: str) -> bool:
        return "enabled" in (self.root.locator(f".{name}").get_attribute("class") or "")

    def _action(self, name: str) -> None:
        self.root.locator(".leaflet-draw-actions a:visible", has_text=name).first.click()

    def _drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        mouse = self.page.mouse
        mouse.move(*start)
        mouse.down()
        mouse.move((start[0] + end[0]) / 2, (start[1] + end[1]) / 2, steps=3)
        mouse.move(*end, steps=3)
        mouse.up()


def _centres(handles: Locator) -> list[tuple[float, float]]:
    areas = [handle.bounding_box() for handle in handles.all()]
    return [(a["x"] + a["width"] / 2, a["y"] + a["height"] / 2) for a in areas if a]


def _server_options(folder: Path, port: int, token: str, base: str) -> list[str]:
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": port,
        "ServerApp.base_url": base,
        "ServerApp.port_retries": 0,
        "ServerApp.open_browser": False,
        "ServerApp.root_dir": folder,
        "ServerApp.allow_root": True,
        "IdentityProvider.token": token,
        "LabApp.expose_app_in_browser": True,
        "LabApp.news_url": "None",
    }
    return [f"--{name}={value}" for name, value in options.items()]


def _own_settings(own: Path) -> dict[str, str]:
    """Environment that keeps the server out of the reader's own Jupyter folders, and its first-start questions away."""
    settings = own / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(
        json.dumps({"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True})
    )
    return {
        "JUPYTER_CONFIG_DIR": str(own / "config"),
        "JUPYTER_DATA_DIR": str(own / "data"),
        "JUPYTER_RUNTIME_DIR": str(own / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(own / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(own / "workspaces"),
        "IPYTHONDIR": str(own / "ipython"),
    }


def _wait_until_up(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + SERVER_LIMIT
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")
