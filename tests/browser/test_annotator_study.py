"""The timed study, and objects of several files, by mouse in a real JupyterLab.

Screenshots are kept in `runs/browser/study/`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sartutor.lab.annotator import Session
from sartutor.lab.annotator.session import default_path
from sartutor.lab.study import read_log
from sartutor.sar.geotiff import open_scene, write_scene

pytest.importorskip("playwright.sync_api", reason="no playwright: pip install -e '.[dev]'")
sys.path.append(str(Path(__file__).parent))
import driver
import scenes

SHOTS = Path(__file__).parents[2] / "runs" / "browser" / "study"
HEAD = """
import sys
sys.path.append({here!r})
import numpy as np
import scenes
from sartutor.lab.annotator import Annotator
from sartutor.lab.annotator.timed import TimedStudy
"""
STUDY = """
rows, cols = np.mgrid[:200, :200]
study = TimedStudy(scenes.scene("utm"), [np.hypot(rows - 150, cols - 50) < 20], "study/log.csv")
study.show()
"""
FILES = """
annotator = Annotator(scenes.scene("utm"), session_path="files/mine.sqlite", annotator="A")
annotator.show()
"""
pytestmark = [pytest.mark.browser, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A notebook, another date of its scene as a file with a session, and the session of another annotator."""
    folder = tmp_path_factory.mktemp("study")
    cells = [HEAD.format(here=str(Path(__file__).parent)), STUDY, FILES]
    driver.write_notebook(folder / "study.ipynb", cells)
    here = scenes.scene("utm")
    (folder / "files").mkdir()
    write_scene(here, folder / "earlier.tif")
    earlier = open_scene(folder / "earlier.tif")
    drawn = scenes.disc(earlier)
    for path, scene in (
        (folder / "files" / default_path(earlier).name, earlier),
        (folder / "files" / "other.sqlite", here),
    ):
        session = Session.open(scene, path, "B")
        session.add(drawn)
        session.close()
    return folder


@pytest.fixture(scope="module")
def lab(folder) -> Iterator[driver.Lab]:
    """The notebook, all cells run."""
    with driver.opened_notebook(folder, "study.ipynb") as lab:
        lab.run_all()
        yield lab


def test_an_object_is_outlined_by_hand_and_prompted_and_the_pair_is_shown(lab, folder):
    lab.show_cell("TimedStudy(scenes")
    shown = driver.AnnotatorPage(lab.page, 0)
    shown.wait_ready()
    around = lab.page.locator(".sartutor-study")
    log = folder / "study" / "log.csv"
    for trial in (1, 2):
        around.scroll_into_view_if_needed()
        task = around.locator(".sartutor-status").first
        shown.until(lambda trial=trial, task=task: f"Trial {trial} of 2" in task.inner_text())
        around.locator("button", has_text="Start").click()
        shown.says("The clock is running")
        corners = ((0.15, 0.65), (0.35, 0.65), (0.35, 0.85), (0.15, 0.85))
        if "by hand" in task.inner_text():
            shown.outline(corners)
        else:
            shown.draw((*corners[0], *corners[2]))
        shown.has(1)
        shown.stop_drawing()
        lab.shot(SHOTS / f"trial-{trial}.png")
        around.locator("button", has_text="Done").click()
        shown.until(lambda trial=trial: log.exists() and len(read_log(log)) == trial)
        shown.has(0)
    around.locator(".sartutor-table").wait_for()
    lab.shot(SHOTS / "done.png")
    ious = {row.way: row.iou for row in read_log(log)}
    assert ious["polygon"] > 0.6
    assert ious["box"] > 0.7


def test_objects_are_carried_over_and_files_compared_and_merged(lab, folder):
    lab.show_cell("files/mine.sqlite")
    shown = driver.AnnotatorPage(lab.page, 1)
    shown.wait_ready()
    shown.tab("Files")
    field = shown.root.locator("input[placeholder^='File of its scene']")
    field.fill(str(folder / "earlier.tif"))
    field.press("Enter")
    shown.button("Carry over").click()
    shown.has(1)
    files = shown.root.locator(".sartutor-panel select[multiple]")
    files.select_option(["mine.sqlite", "other.sqlite"])
    shown.button("Compare").click()
    shown.says("Compared 2 annotators")
    found = shown.root.locator(".sartutor-panel", has_text="In both: 1")
    found.wait_for()
    shown.button("Merge").click()
    shown.says("mine-merged-1.sqlite")
    lab.shot(SHOTS / "files.png")
    merged = Session.read(scenes.scene("utm"), folder / "files" / "mine-merged-1.sqlite")
    assert len(merged.objects) == 1
