"""Avalanches on an inclined plane that ends on flat ground, where everything is known, and on simulated mountains."""

import numpy as np
import pytest

from sartutor.sar.terrain import gradient, slope
from sartutor.sim import flow
from sartutor.sim.terrain import fractal_terrain

PIXEL = 10.0
ROWS, COLUMNS, FOOT = 120, 61, 60


def plane(angle=35.0, floor=0.0):
    """Heights that fall southward at `angle` degrees down to row `FOOT`, and at `floor` degrees beyond."""
    row = np.arange(ROWS)[:, None]
    above = np.tan(np.deg2rad(angle)) * PIXEL * np.maximum(FOOT - row, 0)
    below = np.tan(np.deg2rad(floor)) * PIXEL * np.maximum(row - FOOT, 0)
    return np.broadcast_to(above - below, (ROWS, COLUMNS)).astype(np.float32)


def patch(rows=slice(10, 14), columns=slice(28, 33)):
    release = np.zeros((ROWS, COLUMNS), np.uint16)
    release[rows, columns] = 1
    return release


@pytest.fixture(scope="module", params=[24.0, 28.0, 32.0])
def run(request):
    """An avalanche on the plane, and the row at which the energy line from its top meets the flat ground."""
    drop = plane()[10, 0]
    stop = 10 + drop / np.tan(np.deg2rad(request.param)) / PIXEL
    return flow.flow(plane(), PIXEL, patch(), [request.param]), stop


def test_it_stops_where_the_energy_line_meets_the_ground(run):
    rows = np.nonzero(run[0].flux[0])[0]
    assert rows.max() == pytest.approx(run[1], abs=1.5)


def test_it_flows_straight_down_and_spreads_alike_to_both_sides(run):
    flux = run[0].flux[0]
    centre = flux @ np.arange(COLUMNS) / np.maximum(flux.sum(axis=1), 1e-9)
    assert centre[12 : int(run[1])] == pytest.approx(30, abs=0.05)
    assert flux == pytest.approx(flux[:, ::-1], abs=1e-4)
    assert np.ptp(np.nonzero(flux[FOOT])[0]) > 5


def test_mass_never_goes_uphill(run):
    assert np.nonzero(run[0].flux[0])[0].min() == 10


def test_mass_is_conserved_until_it_rests(run):
    flux, deposit = run[0].flux[0], run[0].deposit[0]
    assert deposit.sum() == pytest.approx(1, abs=1e-4)
    assert flux[FOOT - 10 : FOOT].sum(axis=1) == pytest.approx(1 - deposit[: FOOT - 10].sum(), abs=0.03)


def test_mass_rests_beyond_the_foot_of_the_slope(run):
    assert run[0].deposit[0][FOOT:].sum() > 0.85


def test_the_energy_line_is_highest_at_the_foot():
    run = flow.flow(plane(), PIXEL, patch(), [25.0])
    row, _ = np.unravel_index(run.energy[0].argmax(), run.energy[0].shape)
    assert row == FOOT
    fall, way = plane()[10, 0], (FOOT - 10) * PIXEL
    assert run.energy[0].max() == pytest.approx(fall - way * np.tan(np.deg2rad(25)), rel=0.01)


def test_a_slope_gentler_than_alpha_is_not_descended():
    run = flow.flow(plane(30.0), PIXEL, patch(), [35.0])
    assert np.array_equal(run.flux[0] > 0, patch() > 0)


def test_avalanches_run_one_by_one_as_they_run_together():
    both = patch()
    both[20:24, 10:14] = 2
    together = flow.flow(plane(), PIXEL, both, [26.0, 30.0])
    second = np.where(both == 2, 1, 0).astype(np.uint16)
    alone = flow.flow(plane(), PIXEL, second, [30.0])
    assert together.flux[1] == pytest.approx(alone.flux[0], abs=1e-5)
    assert together.deposit[0] == pytest.approx(
        flow.flow(plane(), PIXEL, patch(), [26.0]).deposit[0], abs=1e-5
    )


def test_nothing_released_is_nothing_deposited():
    run = flow.flow(plane(), PIXEL, np.zeros((ROWS, COLUMNS), np.uint16), [])
    assert run.flux.shape == (0, ROWS, COLUMNS)
    assert not flow.debris(plane(), PIXEL, run, 0).any()
    assert flow.beta_angle(plane(), PIXEL, np.zeros((ROWS, COLUMNS), np.uint16)).size == 0


def test_alpha_follows_beta_by_the_regression():
    assert flow.runout_angle(30.0) == pytest.approx(27.4)
    assert flow.runout_angle([20.0, 40.0]) == pytest.approx([17.8, 37.0])


def test_the_regression_names_the_paper_that_its_numbers_come_from():
    assert "Bakkehoi, Domaas and Lied (1983, Annals of Glaciology 4)" in " ".join(
        flow.runout_angle.__doc__.split()
    )


@pytest.mark.parametrize("angle", [25.0, 35.0])
def test_beta_is_the_sight_from_the_foot_to_the_top(angle):
    beta = flow.beta_angle(plane(angle, floor=3.0), PIXEL, patch())
    assert beta == pytest.approx([angle], abs=0.8)


def test_beta_sees_through_a_steep_upper_and_a_gentle_lower_part():
    row = np.arange(ROWS)[:, None]
    height = np.maximum(FOOT - row, 0) * 8.0 + np.maximum(90 - np.maximum(row, FOOT), 0) * 3.0
    beta = flow.beta_angle(np.broadcast_to(height, (ROWS, COLUMNS)).astype(np.float32), PIXEL, patch())
    assert beta == pytest.approx([np.rad2deg(np.arctan((50 * 8 + 30 * 3) / 800))], abs=0.8)


def test_debris_is_a_tongue_on_gentle_ground_that_reaches_the_stop(run):
    deposit = flow.debris(plane(), PIXEL, run[0], 500)
    rows, columns = np.nonzero(deposit)
    assert rows.min() >= FOOT - 1
    assert rows.max() == pytest.approx(run[1], abs=3)
    assert 30 in columns
    assert set(np.unique(deposit)) == {0, 1}
    assert np.ptp(columns) < 50


def test_small_deposits_are_left_out():
    run = flow.flow(plane(), PIXEL, patch(), [28.0])
    area = np.count_nonzero(flow.debris(plane(), PIXEL, run, 0)) * PIXEL**2
    assert flow.debris(plane(), PIXEL, run, area).any()
    assert not flow.debris(plane(), PIXEL, run, area + 1).any()


@pytest.mark.parametrize(("angle", "releases"), [(15.0, False), (27.5, False), (35.0, True), (58.0, False)])
def test_only_slopes_of_28_to_55_degrees_release(angle, releases):
    areas = flow.release_areas(plane(angle)[: FOOT - 2], PIXEL, np.random.default_rng(0), 5)
    assert areas.any() == releases


def test_ridges_do_not_release():
    column = np.arange(101)
    ridge = np.broadcast_to(-7.0 * np.abs(column - 50), (101, 101)).astype(np.float32)
    areas = flow.release_areas(ridge, PIXEL, np.random.default_rng(0), 200)
    assert areas.any()
    assert not areas[:, 49:52].any()


def test_release_areas_come_in_all_widths_across_the_slope():
    widths, lengths = [], []
    for seed in range(60):
        areas = flow.release_areas(plane(35.0)[: FOOT - 2], PIXEL, np.random.default_rng(seed), 1)
        rows, columns = np.nonzero(areas)
        widths.append(np.ptp(columns) + 1)
        lengths.append(np.ptp(rows) + 1)
    assert min(widths) <= 6
    assert max(widths) >= 30
    assert np.median(np.array(widths) / np.array(lengths)) == pytest.approx(2, abs=0.4)


def test_on_mountains_release_stays_steep_flow_goes_down_and_debris_sizes_span_a_wide_range():
    sizes, drops = [], []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        height = fractal_terrain(rng, 128, 20.0)
        release = flow.release_areas(height, 20.0, rng, 8)
        angles = slope(gradient(height, (20.0, 20.0)))[release > 0]
        assert angles.min() >= 28
        assert angles.max() <= 55
        alpha = flow.runout_angle(flow.beta_angle(height, 20.0, release)) + 1
        run = flow.flow(height, 20.0, release, alpha)
        assert run.deposit.sum(axis=(1, 2)) == pytest.approx(1, abs=1e-3)
        for number, (flux, deposit) in enumerate(zip(run.flux, run.deposit, strict=True), start=1):
            assert height[flux > 0].max() <= height[release == number].max()
            drops.append(height[release == number].mean() - (deposit * height).sum())
        counts = np.bincount(flow.debris(height, 20.0, run, 2000).ravel())[1:]
        sizes += list(counts[counts > 0])
    assert min(drops) >= -0.01  # m; one may stay where it broke
    assert np.mean(np.array(drops) > 10) > 0.9
    assert np.percentile(sizes, 97) > 20 * np.percentile(sizes, 3)
