"""A large scene where the map is enlarged, in a real JupyterLab at an address such as a hub gives it.

Screenshots are kept in `runs/browser/large/`.
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from sartutor.lab.annotator import Session
from sartutor.sar.footprint import outline, pixel_box

pytest.importorskip("playwright.sync_api", reason="no playwright: pip install -e '.[dev]'")
sys.path.append(str(Path(__file__).parent))
import driver
import scenes

SHOTS = Path(__file__).parents[2] / "runs" / "browser" / "large"
CELL = """
import sys
sys.path.append({here!r})
import scenes
from sartutor.lab.annotator import Annotator
annotator = Annotator(scenes.large(), session_path="large.sqlite")
annotator.show()
"""
MARGIN = 6
"""Screen pixels around the bright rectangle where a box is drawn."""

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The folder that JupyterLab serves."""
    folder = tmp_path_factory.mktemp("large")
    driver.write_notebook(folder / "large.ipynb", [CELL.format(here=str(Path(__file__).parent))])
    return folder


@pytest.fixture(scope="module")
def lab(folder) -> Iterator[driver.Lab]:
    """The notebook, its cell run."""
    env = {"SARTUTOR_CACHE": str(folder / "cache")}
    with driver.opened_notebook(folder, "large.ipynb", env, "/user/a/") as lab:
        lab.run_all()
        yield lab
    asked = [address for address in lab.asked if address.startswith("http")]
    assert all("/user/a/" in address for address in asked)


def test_pixels_of_the_scene_are_shown_where_they_lie(lab, folder):
    shown = driver.AnnotatorPage(lab.page)
    shown.wait_ready()
    shown.zoom(5)  # a pixel of the scene is larger than one of the screen, in which mice move
    closer = shown.root.locator("img.sartutor-closer")
    shown.until(lambda: "opacity: 1" in (closer.get_attribute("style") or ""))
    shown.page.wait_for_timeout(1000)
    picture = closer.get_attribute("src").split(",", 1)[1]
    seen = np.asarray(Image.open(BytesIO(base64.b64decode(picture))).convert("RGBA"))
    parts, count = ndimage.label((seen[..., 0] > 250) & (seen[..., 3] > 0))
    largest = np.bincount(parts.ravel(), minlength=count + 1)[1:].argmax() + 1
    places = np.argwhere(parts == largest)[:, ::-1] + 0.5
    area = closer.bounding_box()
    screen = np.array([area["width"], area["height"]]) / seen.shape[1::-1]
    corner, centre = np.array([area["x"], area["y"]]), places.mean(0) * screen
    reach = np.ptp(places, axis=0) / 2 * screen + MARGIN
    start, end = (tuple(np.round(corner + centre + sign * reach)) for sign in (-1, 1))
    shown.drag(start, end)
    shown.has(1)
    lab.shot(SHOTS / "closer.png")
    (drawn,) = Session.read(scenes.large(), folder / "large.sqlite").objects
    found = np.array(pixel_box(outline(drawn.polygon, drawn.crs, drawn.grid)))
    middle = np.array([found[0] + found[2], found[1] + found[3]]) / 2
    bright = np.array([scenes.BRIGHT[0] + scenes.BRIGHT[2], scenes.BRIGHT[1] + scenes.BRIGHT[3]]) / 2
    assert np.abs(middle - bright).max() < 0.5
    assert drawn.pixels == pytest.approx(12 * 24, rel=0.2)
