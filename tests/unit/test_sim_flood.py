"""Flood pairs: one place at two dates, dark water over low ground between them or not."""

import numpy as np
import pytest
from scipy import ndimage

from sartutor.errors import DataError
from sartutor.sar.radiometry import power_to_db
from sartutor.sim import flood
from sartutor.sim.backscatter import mean_db
from sartutor.sim.flood import FLOODED_SHARE, OPEN_GROUND, flood_pair, low_ground, under_water, worked
from sartutor.sim.landcover import Domain, domain_layout, landcover_scene
from sartutor.sim.layout import BARE, CROPLAND, WATER

PLAINS = Domain("plains", "VV", None, "sentinel1", "C")
SIDE = 192


@pytest.fixture
def still(monkeypatch):
    """No change of moisture, and no work on fields."""
    monkeypatch.setattr(flood, "MOISTURE_DB", 0.0)
    monkeypatch.setattr(flood, "WORKED_SHARE", 0.0)


def mean_change_db(pair, where):
    """Change of the mean power of some pixels."""
    return float(power_to_db(pair.after[0][where].mean()) - power_to_db(pair.before[0][where].mean()))


def test_a_seed_is_a_pair_and_before_the_flood_nothing_tells_that_it_will_come():
    pair, again, dry = (flood_pair(3, PLAINS, 64, risen) for risen in (True, True, False))
    assert np.array_equal(pair.after, again.after)
    assert np.array_equal(pair.before, dry.before)
    assert not np.array_equal(pair.after, dry.after)
    assert pair.flooded.any()
    assert not dry.flooded.any()
    assert pair.before.shape == pair.after.shape == (1, 64, 64)


def test_pairs_show_the_place_of_the_scene_of_that_seed():
    _, labels = landcover_scene(3, PLAINS, 64)
    assert np.array_equal(labels, domain_layout(3, PLAINS, 64).labels)


def test_flood_lies_on_open_ground_below_one_height():
    layout = domain_layout(5, PLAINS, SIDE)
    flooded = low_ground(layout, 0.1)
    ground = np.isin(layout.labels, OPEN_GROUND)
    assert flooded.mean() == pytest.approx(0.1, abs=1e-3)
    assert ground[flooded].all()
    assert layout.height[flooded].max() <= layout.height[ground & ~flooded].min()
    assert np.array_equal(low_ground(layout, 1.0), ground)
    assert not low_ground(layout, 0.0).any()


def test_flooded_ground_becomes_water_and_the_rest_stays():
    layout = domain_layout(5, PLAINS, SIDE)
    flooded = low_ground(layout, 0.1)
    risen = under_water(layout, flooded, 0.5)
    assert (risen.labels[flooded] == WATER).all()
    assert np.array_equal(risen.labels[~flooded], layout.labels[~flooded])
    assert np.ptp(risen.deviation[flooded]) == 0
    land = risen.labels != WATER
    assert np.array_equal(risen.deviation[land], layout.deviation[land])


@pytest.mark.usefixtures("still")
def test_flooded_ground_turns_as_dark_as_water_and_dry_land_keeps_its_level():
    after, drops = [], []
    for seed in range(6):
        pair = flood_pair(seed, PLAINS, SIDE, True)
        assert FLOODED_SHARE[0] <= pair.flooded.mean() <= FLOODED_SHARE[1] + 0.01
        inside = ndimage.binary_erosion(pair.flooded, iterations=4)
        after.append(float(power_to_db(np.median(pair.after[0][inside]))))
        drops.append(mean_change_db(pair, inside))
        labels = domain_layout(seed, PLAINS, SIDE).labels
        dry = ndimage.binary_erosion(~pair.flooded & (labels != WATER), iterations=4)
        assert mean_change_db(pair, dry) == pytest.approx(0, abs=0.15)
    assert max(drops) < -2
    assert np.mean(after) == pytest.approx(mean_db("water", "C", "VV"), abs=3)


def test_moisture_moves_all_land_alike_with_or_without_flood():
    changes = []
    for seed in range(12):
        pair = flood_pair(seed, PLAINS, 96, False)
        changes.append(mean_change_db(pair, domain_layout(seed, PLAINS, 96).labels != WATER))
    assert 0.4 < np.std(changes) < 2
    assert abs(np.mean(changes)) < 1


@pytest.mark.usefixtures("still")
def test_speckle_of_the_dates_is_independent():
    layout = domain_layout(7, PLAINS, SIDE)
    pair = flood_pair(7, PLAINS, SIDE, False)
    field = ndimage.binary_erosion(layout.labels == CROPLAND, iterations=3)
    level = layout.deviation[field].round(3)
    values, index = np.unique(level, return_inverse=True)
    before, after = (image[0][field] for image in (pair.before, pair.after))
    largest = index == np.bincount(index).argmax()
    assert len(values) > 1
    assert largest.sum() > 300
    assert before[largest].std() / before[largest].mean() > 0.3
    assert abs(np.corrcoef(before[largest], after[largest])[0, 1]) < 0.25


def test_targets_stay_where_they_are():
    town = Domain("metropolis", "HH", None, "alos2", "L")
    pair = flood_pair(1, town, 96, True)
    bright = pair.before[0] > np.quantile(pair.before[0], 0.995)
    assert np.median(pair.after[0][bright & ~pair.flooded]) > np.quantile(pair.after[0], 0.97)


def test_some_fields_change_as_a_whole_and_nothing_else():
    layout = domain_layout(5, PLAINS, SIDE)
    change = worked(np.random.default_rng(2), layout).deviation - layout.deviation
    farmed = np.isin(layout.labels, (CROPLAND, BARE))
    assert (change[~farmed] == 0).all()
    fields = [change[farmed & (layout.deviation == level)] for level in np.unique(layout.deviation[farmed])]
    assert max(np.ptp(field) for field in fields) == 0
    assert 0.1 < np.mean([field[0] != 0 for field in fields]) < 0.5
    assert min(field[0] for field in fields) < -1 < 1 < max(field[0] for field in fields)


def test_complex_parts_are_refused():
    with pytest.raises(DataError, match="without complex parts"):
        flood_pair(1, Domain("plains", "HH", "real", "gaofen3", "C"), 64, True)
