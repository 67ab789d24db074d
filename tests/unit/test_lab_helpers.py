"""What the notebooks lean on: their data, their numbers, their exercises, their pictures."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.pylabtools import select_figure_formats

from sartutor.errors import DataError, SarTutorError
from sartutor.lab import data, plots
from sartutor.lab.checks import check
from sartutor.presets import preset
from sartutor.sar import alos2
from sartutor.sar.geotiff import write_mask, write_scene


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], answer: object, expected: object) -> str:
    check("Exercise", answer, expected, hint="Look again.", tolerance=0.01)
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (1.005, 1.0),
        (np.array(2), 2),
        (" Water ", "water"),
        (np.ones(3), np.ones(3)),
        ([1, np.nan], np.array([1, np.nan])),
    ],
)
def test_right_answers_are_praised(answer: object, expected: object, capsys: pytest.CaptureFixture[str]):
    assert said(capsys, answer, expected) == "Exercise: right, well done.\n"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [(1.1, 1.0), ("one", 1.0), (3, "water"), (np.ones(2), np.ones(3)), ([1, [2, 3]], 1.0)],
)
def test_wrong_answers_get_the_hint(answer: object, expected: object, capsys: pytest.CaptureFixture[str]):
    assert said(capsys, answer, expected) == "Exercise: not yet. Look again.\n"


@pytest.mark.parametrize("answer", [..., None])
def test_no_answer_yet_is_no_mistake(answer: object, capsys: pytest.CaptureFixture[str]):
    assert said(capsys, answer, 1.0).startswith("Exercise: waiting")


def test_synthetic_example_is_labelled_and_repeatable():
    one, two = (data.sentinel1("synthetic", "smoke", 3) for _ in range(2))
    assert one.scene.digest() == two.scene.digest()
    assert one.label.shape == one.scene.grid.shape == (preset("smoke").scene_side,) * 2
    assert set(np.unique(one.label)) == {0, 1}


def test_own_raster_has_no_label(here: Path):
    write_scene(data.sentinel1("synthetic", "smoke", 0).scene.read(), here / "mine.tif")
    own = data.sentinel1(str(here / "mine.tif"), "smoke", 0)
    assert (own.label, own.key) == (None, "mine")
    assert [band.name for band in own.scene.bands] == ["VV", "VH"]


def test_own_folder_brings_its_label(here: Path):
    example = data.sentinel1("synthetic", "smoke", 0)
    scene = example.scene.read()
    for folder in ("images", "masks"):
        (here / "mine" / folder).mkdir(parents=True)
    write_scene(scene, here / "mine/images/a.tif")
    write_mask(example.label, scene.valid, scene.grid, here / "mine/masks/a.tif")
    own = data.sentinel1(str(here / "mine"), "smoke", 0)
    assert np.array_equal(own.label, example.label)


def test_folder_without_images_is_named(here: Path):
    (here / "nothing_here").mkdir()
    with pytest.raises(DataError, match="nothing_here"):
        data.sentinel1("nothing_here", "smoke", 0)


def test_synthetic_tile_reads_like_a_real_one(here: Path):
    tile = data.mosaic_tile("synthetic", "smoke", 0)
    scene = alos2.read_mosaic(tile.folder)
    assert scene.band_names == ("HH", "HV", "linci", "date", "mask")
    mask = scene.band("mask")
    assert not scene.valid[mask == 0].any()
    assert scene.valid[mask > 0].all()
    level = {value: 10 * np.log10(scene.band("HH")[mask == value].mean()) for value in (50, 150, 255)}
    assert level[150] < level[50] < level[255]
    assert level[50] == pytest.approx(-18, abs=0.2)  # dB, as drawn


@pytest.mark.mirror
def test_sample_tile_is_unpacked_once_fetched(here: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SARTUTOR_CACHE", str(here / "cache"))
    tile = data.mosaic_tile("sample", "smoke", 0)
    assert tile.folder == here / "runs/smoke/sample/02-tile"
    assert "JAXA" in tile.credit
    assert len(list(tile.folder.glob("*.tif"))) == 5


@pytest.mark.mirror
def test_sample_scene_has_its_label(here: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SARTUTOR_CACHE", str(here / "cache"))
    example = data.sentinel1("sample", "smoke", 0)
    assert np.sum(example.label == 1) == 70_035
    assert np.sum(example.label == -1) == 99
    assert "Sen1Floods11" in example.credit


def test_clearest_object_stands_out_most():
    scene = data.sentinel1("synthetic", "smoke", 0).scene.read()
    label = np.zeros(scene.grid.shape, np.int8)
    label[20:40, 20:40] = label[100:120, 20:40] = 1
    label[20, 20] = label[100, 20] = 0  # no object fills its box
    label[200:203, 200:203] = 1
    scene.pixels[0] = -10
    scene.pixels[0][20:40, 20:40] = -12
    scene.pixels[0][100:120, 20:40] = -6
    scene.pixels[0][200, 200] = 30  # bright, but too small to count
    scene.pixels[0][20, 20] = scene.pixels[0][100, 20] = -10
    assert np.array_equal(np.argwhere(data.clearest_object(scene, label))[0], (100, 21))


def test_numbers_go_beside_the_project_file(here: Path, monkeypatch: pytest.MonkeyPatch):
    (here / "pyproject.toml").touch()
    (here / "notebooks").mkdir()
    monkeypatch.chdir(here / "notebooks")
    data.write_numbers("03", "smoke", "synthetic", 7, {"error": -0.5})
    assert json.loads((here / "runs/smoke/synthetic/03-7.json").read_text()) == {"error": -0.5}


def test_unknown_preset_names_the_known_ones():
    with pytest.raises(SarTutorError, match="smoke, laptop, paper"):
        preset("huge")


def test_pictures_name_their_units():
    example = data.sentinel1("synthetic", "smoke", 0)
    first, second, third = plots.panels(3)
    values = example.scene.pixels[0]
    plots.show_image(first, values, "VV", "dB", example.scene.valid)
    plots.outline(first, example.label > 0, label="label")
    plots.draw_box(first, (10, 10, 50, 60), label="box")
    plots.legend(first)
    plots.show_histogram(second, {"all": values, "objects": values[example.label > 0]}, "VV (dB)", "VV")
    plots.show_classes(third, example.label, {1: ("object", plots.BLUE)}, "label")
    first.figure.canvas.draw()
    assert first.images[0].colorbar.ax.get_ylabel() == "dB"
    assert second.get_xlabel() == "VV (dB)"
    assert first.get_xlabel() == "column (px)"
    assert [text.get_text() for text in first.get_legend().get_texts()] == ["label", "box"]
    said = plots.alternative_text(first.figure)
    assert said.startswith(
        "VV, in dB, label, box; VV, share of pixels (%) over VV (dB), all, objects; label, 1: object"
    )
    assert f'alt="{said}"' in first.figure._repr_html_()
    plt.close("all")


def test_a_notebook_draws_a_picture_once(monkeypatch):
    shell = InteractiveShell()
    monkeypatch.setattr(plots, "get_ipython", lambda: shell)
    select_figure_formats(shell, {"png"})
    figure = plots.panels(1)[0].figure
    shown, _ = shell.display_formatter.format(figure)
    assert set(shown) == {"text/html", "text/plain"}
    assert "image/png" in shell.display_formatter.format(plt.subplots()[0])[0]
    plt.close("all")


def test_outline_follows_pixel_edges():
    axes = plots.panels(1)[0]
    mask = np.zeros((8, 8), bool)
    mask[2:5, 3:7] = True
    plots.outline(axes, mask)
    (border,) = axes.collections[0].get_paths()
    assert np.allclose(border.vertices.min(0), (2.5, 1.5), atol=0.2)
    assert np.allclose(border.vertices.max(0), (6.5, 4.5), atol=0.2)
    plt.close("all")


def test_empty_mask_has_no_outline():
    axes = plots.panels(1)[0]
    plots.outline(axes, np.zeros((8, 8), bool))
    assert not axes.collections
    plt.close("all")


def test_main_colors_set_apart_what_differs():
    maps = np.zeros((5, 4, 4))
    maps[2, :2] = 1
    colors = plots.main_colors(maps)
    assert colors.shape == (4, 4, 3)
    assert abs(colors[0, 0, 0] - colors[3, 3, 0]) == pytest.approx(1)
    assert np.ptp(colors[:2, :, 0]) == pytest.approx(0)
