"""Explorers: pictures follow their controls, say what they show, and follow the physics that they teach."""

import base64
import io

import ipywidgets as widgets
import numpy as np
import pytest
from matplotlib.patches import Rectangle
from PIL import Image

from sartutor.lab import explorers, plots
from sartutor.sar import speckle


def test_a_control_redraws_the_picture_and_its_alternative_text():
    box = explorers.speckle_explorer()
    controls, picture = box.children[0].children, box.children[1]
    before = picture.value
    assert before.startswith('<img alt="Speckle of 1 looks')
    controls[0].value = 16
    assert 'alt="Speckle of 16 looks' in picture.value
    assert picture.value != before


def test_alternative_text_is_escaped():
    figure, _ = explorers.panel_figure(1)
    figure.set_label('<b>"5 > 4"</b>')
    assert 'alt="&lt;b&gt;&quot;5 &gt; 4&quot;&lt;/b&gt;"' in plots.picture_html(figure)


@pytest.mark.parametrize(
    ("place", "size"),
    [
        ((0.25, 0.25, 0.5, 0.5), (120, 70)),
        ((-0.25, 0.5, 0.5, 0.75), (120, 95)),  # it hangs out of the figure, on the left and above
        ((0, 0, 0, 0), (400, 300)),
    ],
)
def test_a_cropped_picture_is_what_is_drawn_and_a_margin(place, size):
    figure = plots.Picture(figsize=(2, 1))
    left, bottom, width, height = place
    figure.add_artist(Rectangle((left, bottom), width, height, color="black", linewidth=0))
    png = plots.picture_html(figure, crop=True).split("base64,")[1].split('"')[0]
    assert np.abs(np.subtract(Image.open(io.BytesIO(base64.b64decode(png))).size, size)).max() <= 1


@pytest.mark.parametrize("name", speckle.FILTERS)
def test_every_filter_can_be_explored(name):
    figure = explorers.draw_filter(name, 5, 4, 0)
    assert name in figure.get_label()


@pytest.mark.parametrize("scale", ["power", "dB"])
def test_the_histogram_of_speckle_follows_the_law(scale):
    figure = explorers.draw_speckle(4, 0.0, scale, 0)
    axes = figure.axes[1]
    centres = [bar.get_x() + bar.get_width() / 2 for bar in axes.patches]
    law = np.interp(centres, *axes.lines[0].get_data())
    heights = np.array([bar.get_height() for bar in axes.patches])
    assert np.abs(heights - law).max() < 0.15 * law.max()


def test_even_ground_has_brightness_one_and_shadow_none():
    ground = np.arange(0, 4000, 10.0)
    at, power = explorers.slant_range_image(ground, np.zeros_like(ground), np.zeros(400, bool), 35.0)
    assert power[2:-2] == pytest.approx(1)
    assert np.diff(at) == pytest.approx(explorers.SAMPLES_PER_CELL * 10 * np.sin(np.radians(35)))
    _, dark = explorers.slant_range_image(ground, np.zeros_like(ground), np.ones(400, bool), 35.0)
    assert not dark.any()


def test_a_slope_as_steep_as_the_beam_falls_into_one_cell():
    ground = np.arange(0, 1000, 10.0)
    profile = np.tan(np.radians(35)) * ground
    _, power = explorers.slant_range_image(ground, profile, np.zeros(100, bool), 35.0)
    assert (power > 0).sum() == 1


def test_a_flat_beam_casts_shadow_and_a_steep_one_folds():
    flat, steep = (explorers.draw_geometry(angle, 1300).get_label() for angle in (60, 15))
    assert "0% is shadow" in steep
    assert "0% is shadow" not in flat
    assert " 0% of the ground is layover" in flat


def test_stretch_and_jitter_say_what_they_did():
    decibels = np.linspace(-20, 0, 400).reshape(20, 20).astype(np.float32)
    valid = np.ones((20, 20), bool)
    box = explorers.stretch_explorer(decibels, valid)
    assert isinstance(box.children[0].children[0], widgets.FloatRangeSlider)
    assert "50% of its pixels" in explorers.draw_stretch(decibels, valid, (-10, 5), "power").get_label()
    mask = np.zeros((128, 128), bool)
    mask[10:20, 10:20] = mask[60:80, 60:90] = True
    assert "2 loose boxes around 2" in explorers.draw_jitter(mask, 5, 0).get_label()
    assert "1 loose boxes around 2" in explorers.draw_jitter(mask, 400, 1).get_label()
