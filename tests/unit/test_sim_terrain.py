"""Simulated mountains: reproducible, steep enough for avalanches, with valleys, at the relief asked for."""

import numpy as np
import pytest

from sartutor.sar.terrain import gradient, slope
from sartutor.sim.terrain import STEEP_DEGREE, STEEP_SHARE, fractal_terrain, smooth_field

SEEDS = range(8)


def slopes(height, pixel_m=10.0):
    return slope(gradient(height, (pixel_m, pixel_m)))


def test_same_seed_same_terrain_other_seed_other_terrain():
    one, again, other = (fractal_terrain(np.random.default_rng(seed), 96) for seed in (3, 3, 4))
    assert one.dtype == np.float32
    assert np.array_equal(one, again)
    assert not np.allclose(one, other)


@pytest.mark.parametrize("seed", SEEDS)
def test_slopes_release_avalanches_and_end_in_valleys(seed):
    angles = slopes(fractal_terrain(np.random.default_rng(seed), 256))
    assert np.mean(angles > STEEP_DEGREE) == pytest.approx(STEEP_SHARE, abs=0.02)
    assert 0.3 < np.mean((angles > 28) & (angles < 55)) < 0.6
    assert np.mean(angles < 10) > 0.03
    assert np.percentile(angles, 99) < 70


def test_flat_ground_lies_low():
    shares = []
    for seed in SEEDS:
        height = fractal_terrain(np.random.default_rng(seed), 256)
        flat = slopes(height) < 5
        shares.append(np.mean(height[flat] < np.median(height)))
    assert np.mean(shares) > 0.7


@pytest.mark.parametrize("relief", [200.0, 1500.0])
def test_relief_is_kept(relief):
    height = fractal_terrain(np.random.default_rng(1), 100, relief_m=relief)
    assert height.shape == (100, 100)
    assert height.min() == 0
    assert height.max() == pytest.approx(relief, rel=1e-5)


def test_larger_pixels_at_the_same_slopes_make_higher_mountains():
    fine, wide = (fractal_terrain(np.random.default_rng(2), 128, pixel_m) for pixel_m in (10.0, 20.0))
    assert wide == pytest.approx(2 * fine, rel=1e-4)


def test_roughness_adds_short_waves():
    smooth, rough = (
        fractal_terrain(np.random.default_rng(5), 128, relief_m=800.0, roughness=r) for r in (0.0, 0.2)
    )
    assert np.abs(np.diff(rough, n=2)).mean() > 1.3 * np.abs(np.diff(smooth, n=2)).mean()


def test_smooth_field_is_not_periodic_and_has_no_detail():
    jumps, steps = [], []
    for seed in SEEDS:
        field = smooth_field(np.random.default_rng(seed), 96, 3.0)
        assert field.shape == (96, 96)
        jumps.append(np.abs(field[:, 0] - field[:, -1]).mean())
        steps.append(np.abs(np.diff(field, axis=1)).mean())
    assert np.mean(jumps) > 4 * np.mean(steps)
