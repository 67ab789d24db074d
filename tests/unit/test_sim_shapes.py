"""Drawn scenes: reproducible, with the statistics they claim."""

import numpy as np
import pytest
from rasterio.crs import CRS

from sartutor.sim import shapes


def test_same_seed_same_scene_other_seed_other_scene():
    one, labels = shapes.scene(3, size=128)
    again, labels_again = shapes.scene(3, size=128)
    other, _ = shapes.scene(4, size=128)
    assert one.digest() == again.digest()
    assert np.array_equal(labels, labels_again)
    assert one.digest() != other.digest()


@pytest.mark.parametrize("looks", [1.0, 4.0, 16.0])
def test_speckle_has_mean_one_and_variance_one_over_looks(looks):
    noise = shapes.speckle(np.random.default_rng(0), (400, 400), looks)
    assert noise.mean() == pytest.approx(1, abs=0.02)
    assert noise.var() == pytest.approx(1 / looks, rel=0.05)


@pytest.mark.parametrize("family", shapes.FAMILIES)
def test_every_family_draws_separate_objects_of_its_size(family):
    labels = shapes.place_objects(np.random.default_rng(1), 256, family, 12, (16, 48))
    ids = np.unique(labels[labels > 0])
    assert len(ids) >= 3
    for number in ids:
        rows, cols = np.nonzero(labels == number)
        assert max(np.ptp(rows), np.ptp(cols)) <= 48 * 1.8


def test_objects_differ_from_their_surroundings_by_the_contrast():
    contrasts = []
    for seed in range(8):
        drawing = shapes.draw(np.random.default_rng(seed), 256, 1, "polygon", (20, 80), (8, 9), (16, 16))
        inside, outside = drawing.power[0][drawing.labels > 0], drawing.power[0][drawing.labels == 0]
        if inside.size:
            contrasts.append(
                np.sign(drawing.contrast_db) * 10 * np.log10(np.median(inside) / np.median(outside))
            )
    assert np.median(contrasts) == pytest.approx(8.5, abs=3)
    assert min(contrasts) > 0


@pytest.mark.parametrize("crs", ["EPSG:32632", "EPSG:4326", "EPSG:31287", None])
def test_scene_carries_bands_units_and_grid(crs):
    scene, labels = shapes.scene(5, ("VV0", "VV1", "VH0"), crs, size=96)
    assert scene.band_names == ("VV0", "VV1", "VH0")
    assert {band.units for band in scene.bands} == {"db"}
    assert scene.grid.crs == (CRS.from_user_input(crs) if crs else None)
    assert scene.pixels.shape == (3, 96, 96)
    assert labels.shape == (96, 96)
    assert labels.max() > 0


def test_fractal_field_gets_rougher_with_less_slope():
    rough, smooth = (shapes.fractal_field(np.random.default_rng(2), 128, slope) for slope in (1.0, 4.0))
    assert rough.std() == pytest.approx(1, abs=1e-3)
    assert np.abs(np.diff(rough)).mean() > 3 * np.abs(np.diff(smooth)).mean()


@pytest.mark.parametrize(("looks", "blur"), [(1, 0.4), (1, 1.2), (16, 0.4), (16, 1.2), (4, 0.0)])
def test_observing_keeps_the_mean_power_and_stays_within_the_documented_looks(looks, blur):
    seen = shapes.observe(np.random.default_rng(0), np.ones((1, 300, 300), np.float32), looks, blur)
    assert seen.mean() == pytest.approx(1, abs=0.02)
    enl = seen.mean() ** 2 / seen.var()
    assert enl == pytest.approx(looks, rel=0.05) if blur == 0 else 1.3 < enl < 19
