"""Notebook 11 in a real JupyterLab in a real browser: drag a box, see a mask, edit, delete, undo, export.

Screenshots are kept in `runs/browser/`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import rasterio
from rasterio.crs import CRS
from shapely.geometry import Polygon, box

from sartutor.lab import data
from sartutor.lab.annotator import Annotation, Session
from sartutor.sar.coordinates import transform_points
from sartutor.sar.footprint import outline, rasterize
from sartutor.sar.scene import Scene
from sartutor.sar.warp import grid_in_crs

pytest.importorskip("playwright.sync_api", reason="no playwright: pip install -e '.[dev]'")
import driver

ROOT = Path(__file__).parents[2]
SHOTS = ROOT / "runs" / "browser"
NOTEBOOK = ROOT / "notebooks" / "11_interactive_segmentation.ipynb"
DRAWN = (0.8, 0.24, 0.95, 0.42)
"""A box over the scene, as fractions of its picture: left, top, right, bottom."""
CORNER = (0.98, 0.47)
"""Where the lower right corner of the box is dragged to."""
TOLERANCE = 2e-4
"""Degrees that a drag may be off: one or two screen pixels."""

NEAR = 10
"""Screen pixels that a mask's picture may reach beyond its box: pixels of the scene and their rotation."""

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def sample() -> str:
    """The real scene where the mirror is, the synthetic one elsewhere."""
    return "sample" if Path(os.environ.get("SARTUTOR_MIRROR", "") or "none").is_dir() else "synthetic"


@pytest.fixture(scope="module")
def scene(sample, tmp_path_factory) -> Scene:
    """The scene that the notebook shows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SARTUTOR_CACHE", str(tmp_path_factory.mktemp("cache")))
        return data.sentinel1(sample, "smoke", 0).scene.read()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The folder that JupyterLab serves."""
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module")
def lab(folder, sample) -> Iterator[driver.Lab]:
    """Notebook 11, all cells run; the page may ask nothing but loopback and may not fail."""
    name = driver.copy_notebook(NOTEBOOK, folder, {"PRESET": "smoke", "DATA": sample})
    with driver.opened_notebook(folder, name, {"SARTUTOR_CACHE": str(folder / "cache")}) as lab:
        try:
            lab.run_all()
            yield lab
        finally:
            lab.shot(SHOTS / "9-end.png")
    asked = {urlsplit(address) for address in lab.asked if not address.startswith(("data:", "blob:"))}
    assert {address.hostname for address in asked} == {"127.0.0.1"}


@pytest.fixture(scope="module")
def annotator(lab) -> driver.AnnotatorPage:
    """The annotator of the notebook, ready."""
    lab.show_cell("Annotator(")
    page = driver.AnnotatorPage(lab.page)
    page.wait_ready()
    lab.shot(SHOTS / "1-ready.png")
    return page


def kept(folder: Path, scene: Scene) -> tuple[Annotation, ...]:
    """The objects in the session's file, the oldest first."""
    (path,) = (folder / "annotations").glob("*-????????.sqlite")
    return Session.read(scene, path).objects


def ground(scene: Scene, left: float, top: float, right: float, bottom: float) -> Polygon:
    """What a box over the picture is on the ground, in degrees: computed without the browser."""
    picture = grid_in_crs(scene.grid, CRS.from_epsg(3857), max_side=1024)
    corners = [
        picture.transform * (x * picture.width, y * picture.height) for x, y in ((left, bottom), (right, top))
    ]
    (west, south), (east, north) = transform_points(np.array(corners), picture.crs, CRS.from_epsg(4326))
    return box(west, south, east, north)


def agrees(annotation: Annotation, expected: Polygon) -> bool:
    """Whether a kept shape is the expected box up to a screen pixel or two."""
    return bool(np.allclose(annotation.polygon.bounds, expected.bounds, rtol=0, atol=TOLERANCE))


def test_a_reader_draws_edits_deletes_undoes_and_exports(lab, annotator, folder, scene):
    """One story, as its steps build on each other."""
    before = annotator.masks.count()

    annotator.draw(DRAWN)
    annotator.has(before + 1)
    annotator.says("score")
    lab.shot(SHOTS / "2-drawn.png")
    assert agrees(kept(folder, scene)[-1], ground(scene, *DRAWN))
    seen, drawn = annotator.masks.last.bounding_box(), annotator.place(*DRAWN[:2])
    assert seen["x"] >= drawn[0] - NEAR
    assert seen["y"] >= drawn[1] - NEAR

    annotator.move_corner(DRAWN[2:], CORNER)
    edited = ground(scene, *DRAWN[:2], *CORNER)
    annotator.until(lambda: agrees(kept(folder, scene)[-1], edited))
    annotator.says("score")
    annotator.has(before + 1)
    lab.shot(SHOTS / "3-edited.png")

    annotator.remove_box((0.88, 0.33))
    annotator.says("Deleted object")
    annotator.has(before)
    assert len(kept(folder, scene)) == before
    lab.shot(SHOTS / "4-deleted.png")

    annotator.button("Undo").click()
    annotator.says("Took the last change back")
    annotator.has(before + 1)
    assert agrees(kept(folder, scene)[-1], edited)

    annotator.tab("Files")
    annotator.button("Export").click()
    annotator.says("Wrote")
    lab.shot(SHOTS / "5-exported.png")
    annotator.tab("Objects")
    check_export(folder, scene)


def check_export(folder: Path, scene: Scene) -> None:
    """The exported mask lies on the scene's grid, inside the drawn boxes, and is not empty."""
    (path,) = (folder / "annotations").glob("*.tif")
    with rasterio.open(path) as file:
        mask = file.read(1)
        assert (file.crs, file.transform, file.shape) == (
            scene.grid.crs,
            scene.grid.transform,
            scene.grid.shape,
        )
    allowed = np.zeros(mask.shape, bool)
    for annotation in kept(folder, scene):
        points = outline(annotation.polygon, annotation.crs, scene.grid)
        allowed |= rasterize(points, rasterio.windows.Window(0, 0, mask.shape[1], mask.shape[0]))
    assert (mask == 1).sum() > 100
    assert not (mask == 1)[~allowed].any()
    assert np.array_equal(mask == 255, ~scene.valid)


def test_a_box_beside_the_scene_is_refused_in_the_status_line(lab, annotator):
    before = annotator.masks.count()
    annotator.draw((1.03, 0.4, 1.12, 0.6))
    annotator.says("outside")
    annotator.has(before)
    lab.shot(SHOTS / "6-outside.png")


def test_it_can_be_read_in_the_dark(lab, annotator):
    lab.set_theme("JupyterLab Dark")
    annotator.wait_ready()
    lab.shot(SHOTS / "7-dark.png")
    lab.set_theme("JupyterLab Light")
