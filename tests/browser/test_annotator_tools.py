"""Every tool of the annotator by mouse and keyboard in a real JupyterLab, on four kinds of grids and three zooms.

Screenshots are kept in `runs/browser/tools/`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from rasterio.crs import CRS

from sartutor.lab.annotator import Annotation, Session
from sartutor.lab.annotator.placement import Placement
from sartutor.sar.coordinates import apply_affine, transform_points
from sartutor.sar.footprint import outline, pixel_box
from sartutor.sar.scene import Scene
from sartutor.sar.warp import grid_in_crs

pytest.importorskip("playwright.sync_api", reason="no playwright: pip install -e '.[dev]'")
sys.path.append(str(Path(__file__).parent))
import driver
import scenes

SHOTS = Path(__file__).parents[2] / "runs" / "browser" / "tools"
CELL = """
import os, sys
sys.path.append({here!r})
import scenes
from sartutor.lab.annotator import Annotator
annotator = Annotator(scenes.scene({name!r}), session_path={name!r} + ".sqlite", annotator="A")
annotator.show()
print("kernel", os.getpid())
"""

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The folder that JupyterLab serves: one notebook, a cell with an annotator for each grid."""
    folder = tmp_path_factory.mktemp("tools")
    cells = [CELL.format(here=str(Path(__file__).parent), name=name) for name in scenes.GRIDS]
    driver.write_notebook(folder / "tools.ipynb", cells)
    return folder


@pytest.fixture(scope="module")
def lab(folder) -> Iterator[driver.Lab]:
    """The notebook, all cells run."""
    with driver.opened_notebook(folder, "tools.ipynb") as lab:
        lab.run_all()
        yield lab


def page(lab: driver.Lab, name: str) -> driver.AnnotatorPage:
    """The annotator of a grid, scrolled to and ready."""
    lab.show_cell(f"Annotator(scenes.scene({name!r})")
    found = driver.AnnotatorPage(lab.page, list(scenes.GRIDS).index(name))
    found.wait_ready()
    return found


def kept(folder: Path, name: str) -> tuple[Annotation, ...]:
    """The objects in the file of a grid's session."""
    return Session.read(scenes.scene(name), folder / f"{name}.sqlite").objects


def pixels_at(scene: Scene, shown: driver.AnnotatorPage, x: float, y: float) -> np.ndarray:
    """Column and row of the scene at a place on the screen, computed from where the picture is, without the map."""
    picture = shown.radar.bounding_box()
    placed = Placement(scene.grid).on_map(scene.grid)
    grid = grid_in_crs(placed, CRS.from_epsg(3857), max_side=1024)
    share = np.array([[(x - picture["x"]) / picture["width"], (y - picture["y"]) / picture["height"]]])
    mercator = apply_affine(grid.transform, share * (grid.width, grid.height))
    return apply_affine(~placed.transform, transform_points(mercator, grid.crs, placed.crs))[0]


@pytest.mark.parametrize("name", list(scenes.GRIDS))
def test_a_box_is_where_it_was_drawn_within_half_a_pixel_at_three_zooms(lab, folder, name):
    shown, scene = page(lab, name), scenes.scene(name)
    left, top, width, height = shown.map_area()
    start = (round(left + 0.40 * width), round(top + 0.42 * height))
    end = (round(left + 0.58 * width), round(top + 0.60 * height))
    corners = [start, (end[0], start[1]), end, (start[0], end[1])]
    for count, zoom in enumerate((0, 2, 2), 1):
        shown.stop_drawing()
        shown.zoom(zoom)
        expected = np.array([pixels_at(scene, shown, *corner) for corner in corners])
        shown.drag(start, end)
        shown.until(lambda count=count: len(kept(folder, name)) == count)
        drawn = kept(folder, name)[-1]
        found = pixel_box(outline(drawn.polygon, drawn.crs, scene.grid))
        assert np.abs(np.array(found) - pixel_box(expected)).max() < 0.5
        lab.shot(SHOTS / f"{name}-{count}.png")
    shown.stop_drawing()


def test_keys_decide_and_change(lab, folder):
    shown = page(lab, "utm")
    total = len(kept(folder, "utm"))
    for key, said in (("a", "is accepted"), ("z", "Took the last change back"), ("r", "is rejected")):
        shown.press(key)
        shown.says(said)
    shown.press("+")
    shown.says("px")
    assert max(one.threshold for one in kept(folder, "utm")) == 0.55
    shown.press("Delete")
    shown.says("Deleted")
    shown.has(total - 1)
    shown.press("Control+z")
    shown.says("Took the last change back")
    shown.has(total)
    assert len(kept(folder, "utm")) == total
    assert lab.page.locator(".jp-Notebook .jp-Cell").count() == len(
        scenes.GRIDS
    )  # no key reached the notebook


def test_the_key_b_takes_the_rectangle_tool(lab):
    shown = page(lab, "utm")
    shown.press("b")
    shown.root.locator(".leaflet-draw-draw-rectangle.leaflet-draw-toolbar-button-enabled").wait_for()
    shown.stop_drawing()


def test_a_box_without_a_mouse(lab, folder):
    shown = page(lab, "utm")
    before = len(kept(folder, "utm"))
    for key in ("k", "ArrowLeft", "ArrowLeft", "ArrowUp", "Shift+ArrowRight", "Enter"):
        shown.press(key)
    shown.until(lambda: len(kept(folder, "utm")) == before + 1)
    lab.shot(SHOTS / "keyboard.png")


def test_a_click_makes_a_shape_strong_at_once_and_while_shapes_are_edited(lab, folder):
    """The shapes stay the same elements: what is being edited is not made anew."""
    shown = page(lab, "utm")
    shapes = shown.root.locator(".leaflet-overlay-pane path.leaflet-interactive[stroke='#56B4E9']")
    count = shown.boxes.count()
    _next_is_strong(shown, shown.boxes)
    shown.root.locator(".leaflet-draw-edit-edit").click()
    handles = shown.root.locator(".leaflet-editing-icon")
    handles.first.wait_for()
    before = handles.count()
    _next_is_strong(shown, shapes)
    chosen = _strong(shapes)
    assert handles.count() == before
    shown.root.locator(".leaflet-draw-actions a:visible", has_text="Cancel").first.click()
    shown.until(lambda: handles.count() == 0)
    lab.page.wait_for_timeout(300)
    assert _strong(shown.boxes) == chosen
    assert shown.boxes.count() == count
    lab.shot(SHOTS / "strong.png")


def test_clicks_correct_an_object(lab, folder):
    shown = page(lab, "utm")
    shown.press("n")
    shown.says("takes away")
    box = shown.boxes.last.bounding_box()
    shown.page.mouse.click(box["x"] + 0.3 * box["width"], box["y"] + 0.3 * box["height"])
    shown.until(lambda: any(one.points for one in kept(folder, "utm")))
    (corrected,) = [one for one in kept(folder, "utm") if one.points]
    assert not corrected.points[0][2]
    lab.shot(SHOTS / "clicks.png")
    shown.press("s")
    shown.says("chooses an object")


def test_pictures_are_chosen_and_swiped(lab):
    shown = page(lab, "utm")
    shown.tab("Picture")
    before = shown.radar.get_attribute("src")
    shown.chooser(0).select_option(label="VV change")
    shown.until(lambda: shown.radar.get_attribute("src") != before)
    shown.chooser(1).select_option(label="VV0")
    upper = shown.root.locator("img.sartutor-upper")
    upper.wait_for()
    shown.until(lambda: "inset" in (upper.get_attribute("style") or ""))
    lab.shot(SHOTS / "swipe.png")
    shown.chooser(1).select_option(label="nothing")
    upper.wait_for(state="detached")
    shown.tab("Objects")


def test_the_read_out_follows_the_mouse(lab):
    shown = page(lab, "utm")
    for share in (0.45, 0.5, 0.55):
        shown.page.mouse.move(*shown.place(share, share))
        shown.page.wait_for_timeout(100)
    line = shown.root.locator(".sartutor-readout")
    shown.until(lambda: "VV0" in line.inner_text())
    assert "dB" in line.inner_text()


def test_a_killed_kernel_loses_nothing(lab, folder):
    before = [(one.id, one.status, one.pixels) for one in kept(folder, "utm")]
    pid = int(lab.page.locator(".jp-OutputArea-output", has_text="kernel").first.inner_text().split()[-1])
    os.kill(pid, signal.SIGKILL)
    lab.page.wait_for_timeout(5000)
    dialog = lab.page.locator(".jp-Dialog button")
    if dialog.count():
        dialog.last.click()
    lab.page.wait_for_function(driver.KERNEL_IDLE)
    lab.run_all()
    shown = page(lab, "utm")
    shown.says("Resumed")
    lab.failures[:] = [text for text in lab.failures if text != "Cannot send"]  # to the killed kernel
    assert [(one.id, one.status, one.pixels) for one in kept(folder, "utm")] == before
    shown.has(len(before))
    shown.press("a")
    shown.says("is accepted")
    lab.shot(SHOTS / "resumed.png")


def _strong(shapes: driver.Locator) -> list[int]:
    """The places of the shapes that are drawn strong."""
    widths = shapes.evaluate_all("nodes => nodes.map(node => Number(node.getAttribute('stroke-width')))")
    return [place for place, width in enumerate(widths) if width == 3]


def _next_is_strong(shown: driver.AnnotatorPage, shapes: driver.Locator) -> None:
    """Choose the next object by its key, and wait until it alone is strong."""
    before = _strong(shapes)
    shown.press("j")
    shown.until(lambda: len(_strong(shapes)) == 1 and _strong(shapes) != before)
