"""Bi-temporal avalanche scenes: what changes between the dates, what does not, and what a radar sees of it."""

from dataclasses import replace

import numpy as np
import pytest
from affine import Affine
from scipy import ndimage
from scipy.special import polygamma

from sartutor.errors import GeometryError
from sartutor.sar.flattening import area_ratio
from sartutor.sar.geotiff import read_scene
from sartutor.sar.radiometry import db_to_power, power_to_db
from sartutor.sar.scene import Band, Grid, Scene
from sartutor.sar.terrain import View, gradient, slope
from sartutor.sar.visibility import layover, shadow
from sartutor.sar.warp import grid_in_crs, warp
from sartutor.sim import avalanche
from sartutor.sim.avalanche import (
    DEFAULTS,
    DRY_CONTRAST_DB,
    UTM,
    WET_CONTRAST_DB,
    Settings,
    avalanche_samples,
    avalanche_scene,
    avalanche_world,
)
from sartutor.sim.backscatter import mean_db, spread_db

VIEW = View.of_pass("descending", 38)
CALM = Settings(view=VIEW, confusers=(), empty_share=0)
SEEDS = range(12)


def world(seed, settings=CALM, size=128):
    return avalanche_world(np.random.default_rng(seed), size, None, settings)


@pytest.fixture(scope="module")
def worlds():
    return [world(seed, size=224) for seed in range(8)]


@pytest.fixture(scope="module")
def scenes():
    return [avalanche_scene(seed, 128) for seed in range(24)]


def change_db(power):
    """VV of date 1 over VV of date 0."""
    return power_to_db(power[2]) - power_to_db(power[0])


def test_same_seed_same_scene_other_seed_other_scene():
    (one, labels), (again, labels_again), (other, _) = (avalanche_scene(seed, 96) for seed in (3, 3, 4))
    assert one.digest() == again.digest()
    assert np.array_equal(labels, labels_again)
    assert one.digest() != other.digest()
    assert avalanche_scene((3, 0), 96)[0].digest() == next(avalanche_samples(3, 1, 96))[0].digest()


def test_bands_say_what_they_are(scenes):
    for scene, labels in scenes[:5]:
        assert scene.band_names == ("VV0", "VV1", "VH0", "VH1", "DEM", "slope")
        assert [band.units for band in scene.bands] == ["db"] * 4 + ["m", "degree"]
        assert {band.quantity for band in scene.bands[:4]} == {"sigma0"}
        before, after = scene.bands[0].date, scene.bands[1].date
        assert (after - before).days in (6, 12)
        assert (scene.bands[2].date, scene.bands[3].date) == (before, after)
        assert scene.grid.crs == UTM
        assert scene.grid.transform[0] == 10
        assert scene.pixels.dtype == np.float32
        assert np.isfinite(scene.pixels).all()
        assert labels.dtype == np.uint16
        assert labels.shape == scene.grid.shape


def test_slope_is_that_of_the_heights(scenes):
    for scene, _ in scenes[:5]:
        assert scene.band("slope") == pytest.approx(
            slope(gradient(scene.band("DEM"), (10.0, 10.0))), abs=1e-3
        )


def test_debris_is_brighter_by_its_contrast(worlds):
    seen = 0
    for one in worlds:
        change = change_db(one.power)
        for number, contrast in enumerate(one.contrast_db, start=1):
            inside = one.labels == number
            if inside.sum() > 60:
                assert change[inside].mean() == pytest.approx(contrast, abs=0.7)
                seen += 1
    assert seen > 10


def test_contrast_is_less_in_wet_snow():
    for wet_share, limits in ((0.0, DRY_CONTRAST_DB), (1.0, WET_CONTRAST_DB)):
        contrasts = np.concatenate(
            [world(seed, replace(CALM, wet_share=wet_share)).contrast_db for seed in SEEDS]
        )
        if wet_share == 0:
            assert contrasts.min() >= limits[0]
            assert contrasts.max() <= limits[1]
        else:
            assert contrasts.min() < DRY_CONTRAST_DB[0]
            assert contrasts.mean() < np.mean(DRY_CONTRAST_DB) - 0.5


def test_without_confusers_nothing_changes_outside_debris(worlds):
    for one in worlds:
        outside = (one.labels == 0) & ~one.shadow
        assert np.array_equal(one.power[:2, outside], one.power[2:, outside])
        assert not one.confused.any()


def test_with_confusers_only_what_they_mark_changes_otherwise():
    settings = Settings(view=VIEW)
    for seed in SEEDS:
        one = world(seed, settings)
        quiet = (one.labels == 0) & ~one.shadow & ~one.confused
        assert np.abs(change_db(one.power)[quiet]).max() < 0.31
        assert quiet.mean() > 0.2


def test_seen_change_outside_debris_has_mean_zero():
    """Speckle leaves 0.045 dB (standard deviation over 24 draws) to the mean change of such a scene."""
    changes, ratios = [], []
    for seed in range(6):
        scene, labels = avalanche_scene(seed, 192, settings=CALM)
        still = ndimage.binary_dilation(labels > 0, iterations=5) == 0
        before, after = (db_to_power(scene.band(name))[still].astype(np.float64) for name in ("VV0", "VV1"))
        changes.append(np.mean(power_to_db(after) - power_to_db(before)))
        ratios.append(after.mean() / before.mean())
    assert changes == pytest.approx([0] * 6, abs=0.2)
    assert np.mean(changes) == pytest.approx(0, abs=0.08)
    assert np.mean(ratios) == pytest.approx(1, abs=0.03)


def test_speckle_is_independent_between_dates():
    flat = Scene(
        np.full((1, 200, 200), 500, np.float32),
        (Band("height", "m"),),
        Grid(Affine(10, 0, 6e5, 0, -10, 5.2e6), UTM, 200, 200),
        np.ones((200, 200), bool),
    )
    scene, labels = avalanche_scene(1, dem=flat, settings=CALM)
    underneath = avalanche_world(np.random.default_rng(1), 0, flat, CALM).power[[0, 2, 1, 3]]
    speckle = db_to_power(scene.pixels[:4]) / (underneath + db_to_power(-27))
    correlation = np.corrcoef(speckle.reshape(4, -1))
    assert not labels.any()
    assert correlation[~np.eye(4, dtype=bool)] == pytest.approx(0, abs=0.04)


def test_shadow_holds_noise_alone():
    low = replace(CALM, view=View.of_pass("ascending", 60))
    levels = {"VV0": [], "VH1": []}
    for seed in range(4):
        one = avalanche_world(np.random.default_rng(seed), 128, None, low)
        scene, labels = avalanche_scene(seed, 128, settings=low)
        deep = ndimage.binary_erosion(one.shadow, iterations=3)
        assert not labels[one.shadow].any()
        for name, found in levels.items():
            found.append(db_to_power(scene.band(name)[deep]))
    for found in levels.values():
        values = np.concatenate(found)
        assert values.size > 100
        assert power_to_db(values.mean()) == pytest.approx(-27, abs=0.5)


def test_layover_is_as_bright_as_the_ground_that_shares_its_cells():
    """Against `area_ratio`: flat ground's gamma0 times the illuminated area; counted in decibels."""
    deficits, pixels = [], (20.0, 20.0)
    for seed in SEEDS:
        one = world(seed, size=128)
        half = one.height.reshape(64, 2, 64, 2).mean(axis=(1, 3))
        folded = layover(half, pixels, one.view) & ~shadow(half, pixels, one.view)
        area = np.tan(np.deg2rad(one.view.incidence_deg)) * area_ratio(half, pixels, one.view)
        flat = np.array([mean_db(name, "C", "VV", one.view.incidence_deg) for name in avalanche.COVERS])
        own = power_to_db(one.power[0]) - flat[one.cover[0]]
        deficits.append((own - power_to_db(area).repeat(2, 0).repeat(2, 1))[folded.repeat(2, 0).repeat(2, 1)])
    deficit = np.concatenate(deficits)
    assert deficit.size > 5000
    assert np.median(deficit) == pytest.approx(0, abs=0.5)
    assert np.percentile(deficit, 5) > -5


def test_trees_and_rocks_have_gamma_texture_on_both_dates_and_snow_has_none():
    plane = plane_of(10.0, side=256)
    seen = {avalanche.FOREST: [], avalanche.DRY: []}
    for seed in range(6):
        one = avalanche_world(np.random.default_rng(seed), 0, plane, replace(CALM, wet_share=0.0))
        steady = (one.cover[0] == one.cover[1]) & (one.labels == 0)
        assert np.array_equal(one.power[:2, steady], one.power[2:, steady])
        decibels = power_to_db(one.power[0])
        jump = decibels[:, 6:] - decibels[:, :-6]
        for cover, jumps in seen.items():
            inside = ndimage.binary_erosion(one.cover[0] == cover, iterations=3)
            jumps.append(jump[inside[:, 6:] & inside[:, :-6]])
    textured, smooth = (np.concatenate(seen[cover]).std() for cover in seen)
    order = avalanche.FOREST_ORDER
    expected = np.sqrt(2 * polygamma(1, order)) * 10 / np.log(10)
    assert np.sqrt(textured**2 - smooth**2) == pytest.approx(expected, rel=0.15)


def water_deviation(one, band, lake):
    """VV of date 0 less the table, in dB; where the lake lies in layover, other ground's areas are in it."""
    return power_to_db(one.power[0, lake]) - mean_db("water", band, "VV", one.view.incidence_deg)


@pytest.mark.parametrize(("band", "share"), [("L", 0.5), ("X", 0.875)])
def test_debris_and_lakes_vary_as_the_table_says_of_the_radar_band(band, share):
    """The same world in two bands: contrast of debris (table: 4 dB at C, 2 at L, 3.5 at X) and spread of water."""
    other = replace(CALM, sensor=replace(CALM.sensor, band=band))
    lakes = 0
    for seed in range(12):
        ours, theirs = world(seed), world(seed, other)
        assert np.array_equal(ours.labels, theirs.labels)
        assert theirs.contrast_db == pytest.approx(share * ours.contrast_db, rel=1e-4)
        lake = (ours.cover[0] == avalanche.WATER) & (ours.slope == 0) & ~ours.shadow
        if lake.any():
            ratio = spread_db("water", band, "VV") / spread_db("water", "C", "VV")
            deviation = water_deviation(theirs, band, lake) - ratio * water_deviation(ours, "C", lake)
            assert np.median(deviation) == pytest.approx(0, abs=0.05)
            lakes += 1
    assert lakes


def test_scenes_have_several_deposits_of_many_sizes_and_one_in_ten_is_empty():
    counts, sizes = [], []
    for seed in range(24):
        labels = avalanche_world(np.random.default_rng(seed), 256, None, DEFAULTS).labels
        found = np.bincount(labels.ravel())[1:]
        counts.append(np.count_nonzero(found))
        sizes += list(found[found > 0])
    assert 0 < np.mean(np.array(counts) == 0) <= 0.25
    assert np.mean(counts) > 2
    assert np.percentile(sizes, 97) > 20 * np.percentile(sizes, 3)
    assert 80 < np.median(sizes) < 500


def test_the_plain_change_image_is_above_chance_and_far_from_enough(scenes):
    thresholds = np.arange(0, 9, 0.5)
    hits, unions, above, below = np.zeros(len(thresholds)), np.zeros(len(thresholds)), [], []
    for scene, labels in scenes:
        change, debris = scene.band("VV1") - scene.band("VV0"), labels > 0
        detected = change[None] > thresholds[:, None, None]
        hits += (detected & debris).sum(axis=(1, 2))
        unions += (detected | debris).sum(axis=(1, 2))
        above.append(change[debris])
        below.append(change[~debris][::20])
    inside, outside = np.concatenate(above), np.sort(np.concatenate(below))
    area_under_curve = np.mean(np.searchsorted(outside, inside)) / len(outside)
    assert 0.6 < area_under_curve < 0.9
    share = len(inside) / (len(inside) + 20 * len(outside))  # the IoU of marking everything
    assert 1.5 * share < (hits / unions).max() < 0.4


def test_without_avalanches_there_is_no_mask():
    scene, labels = avalanche_scene(0, 96, settings=replace(CALM, empty_share=1.0))
    assert not labels.any()
    assert scene.band("VV1").std() > 1


@pytest.mark.parametrize("confuser", avalanche.CONFUSERS, ids=lambda confuser: confuser.__name__)
def test_each_confuser_marks_what_it_does_somewhere(confuser):
    marked, changed = 0, 0.0
    for seed in range(10):
        one = world(seed, replace(CALM, confusers=(confuser,)), 224)
        where = one.confused & ~one.shadow & (one.labels == 0)
        marked += np.count_nonzero(where)
        if where.any():
            changed = max(changed, float(np.abs(change_db(one.power)[where]).max()))
    assert marked > 100
    if confuser is avalanche.old_debris:
        assert changed == 0
    else:
        assert changed > (0.3 if confuser is avalanche.layover_edges else 2)


def test_huts_have_one_amplitude_a_polarisation_for_both_dates(worlds):
    with_huts = [one for one in worlds if one.coherent is not None]
    assert with_huts
    for one in with_huts:
        assert one.coherent.shape == (2, *one.power.shape[1:])
        assert one.coherent.any()


def plane_of(pixel_m, nodata=np.s_[:0], side=0):
    rows, cols = (side, side) if side else (80, 70)
    height = np.float32(1000 + 6 * np.arange(rows)[:, None] + 0 * np.arange(cols))
    valid = np.ones((rows, cols), bool)
    valid[nodata] = False
    grid = Grid(Affine(pixel_m, 0, 6e5, 0, -pixel_m, 5.2e6), UTM, rows, cols)
    return Scene(height[None], (Band("height", "m"),), grid, valid, "plane")


def test_a_height_model_keeps_its_grid_and_its_gaps():
    dem = plane_of(10.0, nodata=np.s_[:20])
    scene, labels = avalanche_scene(2, dem=dem)
    assert scene.grid == dem.grid
    assert np.array_equal(scene.valid, dem.valid)
    assert np.array_equal(scene.band("DEM")[dem.valid], dem.pixels[0][dem.valid])
    assert not labels[:20].any()
    assert np.isfinite(scene.pixels).all()


def test_a_height_model_of_other_pixels_is_refused():
    with pytest.raises(GeometryError, match="plane: pixels are 25 x 25 m"):
        avalanche_scene(0, dem=plane_of(25.0))


@pytest.mark.mirror
def test_avalanches_run_down_a_real_mountain(mirror):
    fine = read_scene(mirror / "avaframe-alr" / "avaAlr.tif", units="m")
    west_corner = grid_in_crs(fine.grid, fine.grid.crs)
    shape = west_corner.height // 2, west_corner.width // 2
    grid = Grid(west_corner.transform @ Affine.scale(2), fine.grid.crs, *shape)
    dem = warp(fine, grid)
    assert not dem.valid.all()
    counts = []
    for seed in range(3):
        scene, labels = avalanche_scene(seed, dem=dem)
        assert scene.grid == grid
        assert not labels[~dem.valid].any()
        assert np.isfinite(scene.pixels).all()
        counts.append(len(np.unique(labels)) - 1)
        if labels.any():
            assert scene.band("DEM")[labels > 0].mean() < dem.pixels[0][dem.valid].max() - 200
    assert sum(counts) >= 3


@pytest.mark.parametrize(
    ("band", "low", "high", "mean", "std"),
    [("VV0", -23, -3, 0.5431, 0.2603), ("VV1", -23, -3, 0.5184, 0.2646), ("VH0", -27, -7, 0.4225, 0.2327)],
)
def test_levels_resemble_those_of_the_norwegian_images(scenes, band, low, high, mean, std):
    """Statistics of arXiv 2601.01213's released code, on its scale from 0 to 1: alike, not fitted."""
    scaled = np.stack([np.clip((scene.band(band) - low) / (high - low), 0, 1) for scene, _ in scenes])
    assert scaled.mean() == pytest.approx(mean, abs=0.1)
    assert scaled.std() == pytest.approx(std, abs=0.06)
