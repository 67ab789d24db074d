"""Brightness of slopes, layover and shadow of simulated relief, against closed forms and the exact facet areas."""

import numpy as np
import pytest

from sartutor.sar.flattening import area_ratio, area_ratio_of_plane
from sartutor.sar.terrain import View, gradient, local_incidence
from sartutor.sar.visibility import layover, shadow
from sartutor.sim.relief import BRIGHTEST_DB, folds, terrain_brightness
from sartutor.sim.terrain import fractal_terrain

VIEW = View.of_pass("descending", 38)
TANGENT = np.tan(np.deg2rad(38))


def test_flat_ground_keeps_its_brightness():
    assert terrain_brightness(0.0, 0.0, [20, 38, 60]) == pytest.approx(1)


@pytest.mark.parametrize("angle", [-40.0, -10.0, 10.0, 25.0])
def test_a_slope_along_the_beam_has_the_ratio_of_sines(angle):
    expected = np.sin(np.deg2rad(38)) / np.sin(np.deg2rad(38 - angle))
    assert terrain_brightness(np.tan(np.deg2rad(angle)), 0, 38) == pytest.approx(expected, rel=1e-3)


def test_the_slope_that_scatters_at_its_local_angle_has_the_area_of_the_flattening():
    """Sine ratio of sigma0 and facet area of gamma0 say the same: they differ by the cosines of the two angles."""
    local = 38 - 15
    ratio = area_ratio_of_plane(15, 38) * TANGENT
    cosines = np.cos(np.deg2rad(38)) / np.cos(np.deg2rad(local))
    assert terrain_brightness(np.tan(np.deg2rad(15)), 0, 38) == pytest.approx(ratio * cosines, rel=1e-5)


def test_a_slope_across_the_beam_is_larger_by_its_cosine():
    assert terrain_brightness(0, 1, 38) == pytest.approx(np.sqrt(2))


def test_slopes_towards_the_radar_are_bright_up_to_a_limit():
    assert 10 * np.log10(terrain_brightness([0.75, 3.0], 0, 38)) == pytest.approx(BRIGHTEST_DB)


@pytest.mark.parametrize("orbit", ["ascending", "descending"])
@pytest.mark.parametrize("seed", [1, 2])
def test_folds_agree_with_the_exact_areas_layover_and_shadow(orbit, seed):
    view = View.of_pass(orbit, 36)
    height = fractal_terrain(np.random.default_rng(seed), 128, 20.0)
    found = folds(height, 20.0, view)
    assert np.array_equal(found.shadow, shadow(height, (20.0, 20.0), view))
    folded = np.isfinite(found.area)
    exact = layover(height, (20.0, 20.0), view)
    assert exact.sum() > 200
    assert np.count_nonzero(folded != exact) < 0.05 * exact.sum()
    areas = TANGENT_36 * area_ratio(height, (20.0, 20.0), view)
    difference = 10 * np.log10(found.area / areas)[folded & exact & ~found.shadow]
    assert np.median(difference) == pytest.approx(0, abs=0.15)
    assert np.percentile(np.abs(difference), 95) < 1


TANGENT_36 = np.tan(np.deg2rad(36))


def test_flat_ground_has_neither_shadow_nor_layover():
    found = folds(np.full((40, 50), 700, np.float32), 10.0, VIEW)
    assert not found.shadow.any()
    assert np.isnan(found.area).all()


def test_a_cliff_towards_the_radar_adds_its_area_to_the_ground_before_it():
    """A step of 100 m seen from the west at 45 degrees: 100 m of ground before it share their range with the wall."""
    height = np.zeros((20, 60), np.float32)
    height[:, 30:] = 100
    found = folds(height, 10.0, View(45, 90))
    middle = found.area[10]
    assert np.isfinite(middle[21:30]).all()
    assert np.isnan(middle[:19]).all()
    assert middle[22:28] == pytest.approx(3, abs=0.4)
    local = local_incidence(gradient(height, (10.0, 10.0)), View(45, 90))
    assert local[10, 5] == pytest.approx(45, abs=1e-3)
