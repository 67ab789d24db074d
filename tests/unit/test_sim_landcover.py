"""Simulated land cover: plans, what height and direction do to backscatter, domains, and the real samples."""

from dataclasses import replace

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window
from scipy import ndimage

from sartutor.errors import DataError
from sartutor.sar.alos2 import read_mosaic
from sartutor.sar.radiometry import db_to_power, power_to_db, to_units
from sartutor.sim import landcover
from sartutor.sim.backscatter import LAND_COVERS, mean_db, spread_db
from sartutor.sim.gaps import DOMAINS, PARTS, POLARISATIONS
from sartutor.sim.landcover import (
    Domain,
    domain_sensor,
    landcover_scene,
    reflectivity,
    street_gain,
)
from sartutor.sim.layout import BUILDING, CROPLAND, FOREST, REGIONS, WATER, Layout, draw_layout
from sartutor.sim.sensor import SENSORS, observe

AIRBORNE = SENSORS["airborne_c"].only("HH", "HV", "VV")
LEVEL = np.full(64, 40.0, np.float32)


def rng(seed=5):
    return np.random.default_rng(seed)


def plan(labels, slope=0.0, street=45.0):
    shape = (64, 64)
    labels = np.broadcast_to(labels, shape).astype(np.uint8)
    level = np.zeros(shape, np.float32)
    return Layout(labels, level, level + np.float32(slope), street, level)


@pytest.fixture
def even(monkeypatch):
    """No forest texture, no masts."""
    monkeypatch.setattr(landcover, "FOREST_ORDER", 1e6)
    monkeypatch.setattr(landcover, "MASTS_PER_KM2", 0.0)


def level_db(layout, incidence=LEVEL):
    """Mean power per band and column in dB."""
    power, coherent = reflectivity(rng(), layout, AIRBORNE, incidence)
    return power_to_db((power + np.abs(coherent) ** 2).mean(1))


@pytest.mark.parametrize("name", DOMAINS)
def test_a_seed_is_a_scene(name):
    domain = DOMAINS[name]
    scene, labels = landcover_scene(1, domain, 96)
    again, _ = landcover_scene(1, domain, 96)
    other, _ = landcover_scene(2, domain, 96)
    assert scene.digest() == again.digest() != other.digest()
    assert labels.dtype == np.uint8
    assert labels.shape == scene.grid.shape == (96, 96)
    assert scene.pixels.dtype == np.float32
    assert np.isfinite(scene.pixels).all()
    assert scene.valid.all()
    assert domain.name in scene.notes[0]


def test_a_power_scene_holds_sigma0_of_its_polarisations():
    scene, _ = landcover_scene(0, Domain("plains", "full", None, "gaofen3", "C"), 64)
    assert scene.band_names == ("HH", "HV", "VV")
    assert {(band.units, band.quantity) for band in scene.bands} == {("power", "sigma0")}
    assert scene.grid.transform.a == SENSORS["gaofen3"].pixel_m
    assert (scene.pixels > 0).all()
    assert to_units(scene, "db").bands[0].units == "db"


@pytest.mark.parametrize(("pair", "platform", "band"), [("VV+VH", "sentinel1", "C"), ("HH+HV", "alos2", "L")])
def test_two_polarisations_are_two_bands_of_one_place(pair, platform, band):
    scene, labels = landcover_scene(3, Domain("plains", pair, None, platform, band), 64)
    assert scene.band_names == tuple(pair.split("+"))
    alone, there = landcover_scene(3, Domain("plains", pair[:2], None, platform, band), 64)
    assert np.array_equal(labels, there)
    co, cross = scene.pixels.mean((1, 2))
    assert co == pytest.approx(alone.pixels.mean(), rel=0.2)
    assert cross < co / 3


@pytest.mark.parametrize("part", ["real", "imag"])
def test_a_complex_part_is_signed_and_holds_half_the_power(part):
    domain = Domain("plains", "HH", part, "gaofen3", "C")
    scene, labels = landcover_scene(0, domain)
    assert scene.bands[0].name == f"HH_{part}"
    assert scene.bands[0].units == "1"
    power, _ = landcover_scene(0, replace(domain, complex_part=None))
    field = ndimage.binary_erosion(labels == CROPLAND, iterations=2)
    values = scene.pixels[0][field]
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(values.size / 4)
    assert 2 * np.mean(values**2) == pytest.approx(power.pixels[0][field].mean(), rel=0.06)


def test_a_place_stays_the_same_in_other_polarisations_and_complex_parts():
    plans = [landcover_scene(4, domain)[1] for domain in (*POLARISATIONS.values(), *PARTS.values())]
    assert all(np.array_equal(labels, plans[0]) for labels in plans)


@pytest.mark.parametrize("region", REGIONS)
def test_a_few_seeds_show_every_class_in_every_region(region):
    domain = Domain(region, "VV", None, "sentinel1", "C")
    shares = (
        np.mean([np.bincount(plan_of(seed, domain).ravel(), minlength=7) for seed in range(6)], 0) / 256**2
    )
    assert (shares > 0.003).all()
    assert shares.max() < 0.75


def plan_of(seed, domain):
    region = REGIONS[domain.region]
    return draw_layout(rng(seed), region, 256, domain_sensor(domain).pixel_m).labels


def test_regions_differ_in_their_classes():
    share = {}
    for name, region in REGIONS.items():
        plans = [draw_layout(rng(seed), region, 128, 10).labels for seed in range(8)]
        share[name] = np.bincount(np.ravel(plans), minlength=7) / np.size(plans)
    assert share["north"][FOREST] > 2 * share["south"][FOREST]
    assert share["delta"][WATER] > 2 * share["south"][WATER]
    assert share["metropolis"][BUILDING] > 3 * share["north"][BUILDING]
    assert share["plains"][CROPLAND] > 1.5 * share["north"][CROPLAND]


def test_fields_of_a_class_differ_by_a_standard_normal_level():
    plan = draw_layout(rng(2), REGIONS["delta"], 512, 10)
    _, count = ndimage.label(plan.labels == CROPLAND)
    inside = ndimage.binary_erosion(plan.labels == CROPLAND, iterations=2)
    levels = np.unique(plan.deviation[inside])
    assert count > 50
    assert 100 < levels.size < 1021
    assert levels.mean() == pytest.approx(0, abs=0.15)
    assert levels.std() == pytest.approx(1, abs=0.15)


def test_finer_pixels_show_larger_houses():
    def sizes(pixel_m):
        labels = draw_layout(rng(1), REGIONS["metropolis"], 256, pixel_m).labels
        houses, count = ndimage.label(labels == BUILDING)
        return np.median(np.bincount(houses.ravel())[1:]), count

    assert sizes(2.5)[0] > 4 * sizes(10)[0]


@pytest.mark.parametrize("band", ["L", "C", "X"])
def test_class_means_agree_with_the_table(band, monkeypatch):
    """Median over scenes of each class's mean power, away from its borders, within the spread between fields."""
    for what in ("EDGE_DB", "SHADOW_DB", "MASTS_PER_KM2"):
        monkeypatch.setattr(landcover, what, 0.0)
    monkeypatch.setattr(landcover, "AIRBORNE_DEGREE", (40.0, 40.0))
    domain = Domain("metropolis", "full", None, "airborne", band)
    sensor, found = domain_sensor(domain), {}
    for seed in range(6):
        for region in ("metropolis", "north", "south"):
            scene, labels = landcover_scene(seed, replace(domain, region=region), 128)
            for value in np.unique(labels):
                inside = labels == value if value == BUILDING else ndimage.binary_erosion(labels == value)
                if value == BUILDING or inside.sum() > 80:
                    found.setdefault(value, []).append(scene.pixels[:, inside].mean(1))
    assert len(found) == 7
    for value, powers in found.items():
        medians = power_to_db(np.median(powers, axis=0))
        for polarisation, floor, median in zip(
            sensor.polarisations, sensor.noise_floor_db, medians, strict=True
        ):
            cover = LAND_COVERS[value]
            table = db_to_power(mean_db(cover, band, polarisation, 40.0)) + db_to_power(floor)
            tolerance = spread_db(cover, band, polarisation)
            assert median == pytest.approx(float(power_to_db(table)), abs=tolerance), (cover, polarisation)


@pytest.mark.usefixtures("even")
def test_the_forest_edge_is_bright_towards_the_radar_and_casts_shadow_behind():
    labels = np.full(64, CROPLAND)
    labels[20:44] = FOREST
    open_land, forest = level_db(plan(CROPLAND)), level_db(plan(FOREST))
    columns = level_db(plan(labels))
    tangent = np.tan(np.radians(40.0))
    edge = round(landcover.TREE_M / tangent / 2.5)
    shadow = round(landcover.TREE_M * tangent / 2.5)
    assert columns[:, 20 : 20 + edge].mean() - forest.mean() == pytest.approx(landcover.EDGE_DB, abs=0.02)
    assert columns[:, 20 + edge : 44].mean() == pytest.approx(forest.mean(), abs=0.02)
    behind = slice(44, 44 + shadow)
    assert columns[:, behind] - open_land[:, behind] == pytest.approx(landcover.SHADOW_DB, abs=1e-3)
    rest = np.r_[0:20, 44 + shadow : 64]
    assert columns[:, rest] == pytest.approx(open_land[:, rest], abs=1e-3)


@pytest.mark.usefixtures("even")
def test_slopes_towards_the_radar_are_brighter_and_water_lies_level():
    flat, facing = level_db(plan(CROPLAND)), level_db(plan(CROPLAND, slope=8.0))
    law = mean_db("cropland", "C", "HH", 32.0) - mean_db("cropland", "C", "HH", 40.0)
    area = power_to_db(np.sin(np.radians(40.0)) / np.sin(np.radians(32.0)))
    assert facing[0] - flat[0] == pytest.approx(np.full(64, law + area), abs=1e-3)
    assert np.array_equal(level_db(plan(WATER)), level_db(plan(WATER, slope=8.0)))


@pytest.mark.usefixtures("even")
def test_near_range_is_brighter_than_far_range():
    span = np.linspace(36, 44, 64, dtype=np.float32)
    columns = level_db(plan(WATER), span)
    assert columns[2, 0] - columns[2, -1] == pytest.approx(
        float(mean_db("water", "C", "VV", 36.0) - mean_db("water", "C", "VV", 44.0)), abs=1e-3
    )


@pytest.mark.usefixtures("even")
def test_streets_across_the_look_brighten_a_settlement():
    gains = [street_gain(angle) for angle in np.linspace(0, 90, 2001)]
    assert np.mean(gains) == pytest.approx(1, abs=1e-3)
    assert street_gain(0) == street_gain(90) == max(gains)
    assert street_gain(0) > 5 * street_gain(45)
    houses = np.full((64, 64), CROPLAND)
    houses[8:56, 8:24] = BUILDING
    across, askew = level_db(plan(houses, street=0.0)), level_db(plan(houses, street=45.0))
    assert (across - askew)[:, 8].min() > 5
    assert (across - askew)[:, 9:] == pytest.approx(0, abs=1e-4)


@pytest.mark.usefixtures("even")
def test_walls_return_their_share_of_a_settlement_s_power():
    houses = np.full((64, 64), CROPLAND)
    houses[::8, 8:16], houses[4::8, 30:36] = BUILDING, BUILDING
    power, coherent = reflectivity(rng(), plan(houses, street=20.0), AIRBORNE, LEVEL)
    walls = (coherent != 0).all(0)
    house = houses == BUILDING
    assert np.flatnonzero(walls.any(0)).tolist() == [8, 30]
    expected = landcover.WALL_SHARE * street_gain(20.0) * 2 * power[:, house].sum(1)
    assert (np.abs(coherent) ** 2).sum((1, 2)) == pytest.approx(expected, rel=0.5)


@pytest.mark.parametrize(
    ("domain", "words"),
    [
        (Domain("moon", "VV", None, "gaofen3", "C"), "unknown region; choose from north"),
        (Domain("north", "VV", None, "balloon", "C"), "unknown platform; choose from sentinel1"),
        (Domain("north", "VV", None, "sentinel1", "X"), "sentinel1 is a C-band radar"),
        (Domain("north", "HH", None, "sentinel1", "C"), "sentinel1 has no HH"),
    ],
)
def test_domains_that_no_sensor_sees_are_refused(domain, words):
    with pytest.raises(DataError, match=words):
        landcover_scene(0, domain)


def pure(mask):
    """Pixels at least 3 px inside."""
    return ndimage.binary_erosion(mask, iterations=3)


@pytest.mark.mirror
@pytest.mark.parametrize(
    ("polarisation", "band", "water_db", "land_db"), [("VV", 1, -20.66, -9.17), ("VH", 2, -27.72, -16.22)]
)
def test_simulated_levels_beside_the_spanish_chip(mirror, polarisation, band, water_db, land_db):
    """Medians in dB, pixels 3 px inside their class. Found (simulated less real, plains): water -1.2 VV, +1.3 VH
    (the chip's thermal noise is subtracted, the simulation keeps it), land -2.5 VV, -1.7 VH (the chip shows wet
    ground after a flood).
    """
    folder = mirror / "sen1floods11-spain"
    with rasterio.open(folder / "Spain_7370579_S1Hand.tif") as file:
        real = file.read(band)
    with rasterio.open(folder / "Spain_7370579_LabelHand.tif") as file:
        label = np.where(np.isfinite(real), file.read(1), -1)
    seen = {
        "water": float(np.median(real[pure(label == 1)])),
        "land": float(np.median(real[pure(label == 0)])),
    }
    assert seen == {"water": pytest.approx(water_db, abs=0.01), "land": pytest.approx(land_db, abs=0.01)}
    made = {"water": [], "land": []}
    for seed in range(6):
        scene, labels = landcover_scene(seed, Domain("plains", polarisation, None, "sentinel1", "C"))
        made["water"].append(scene.pixels[0][pure(labels == WATER)])
        made["land"].append(scene.pixels[0][pure(labels != WATER)])
    for kind, tolerance in (("water", 2.0), ("land", 3.0)):
        median = float(power_to_db(np.median(np.concatenate(made[kind]))))
        assert median == pytest.approx(seen[kind], abs=tolerance), kind


@pytest.mark.mirror
def test_simulated_levels_beside_the_palsar2_tile(mirror):
    """Medians of gamma0 in dB at the tile's own incidence. Found (simulated less real): ocean +0.3 HH, +0.3 HV, land
    +0.1 HH, +0.1 HV; the table's rows come from this tile. The land's quartiles are wider apart than simulated
    ones (5.6 to 3.3 dB): slopes.
    """
    archive = mirror / "palsar2-mosaic-n23w161/N23W161_20_MOS_F02DAR.tar.gz"
    tile = read_mosaic(archive, Window(1155, 3950, 3115, 550))
    sensor = SENSORS["palsar2_mosaic"]
    fields = np.kron(rng().standard_normal((40, 40)), np.ones((8, 8)))
    for value, cover in ((50, "water"), (255, "background")):
        where = tile.valid & (tile.band("mask") == value)
        angle = float(np.median(tile.band("linci")[where]))
        levels = [mean_db(cover, "L", p, angle) + spread_db(cover, "L", p) * fields for p in ("HH", "HV")]
        seen = observe(rng(), db_to_power(np.stack(levels)).astype(np.float32), sensor)
        made = np.median(seen, axis=(1, 2)) / np.cos(np.radians(angle))
        real = [np.median(tile.band(p)[where]) for p in ("HH", "HV")]
        assert power_to_db(made) == pytest.approx(power_to_db(real), abs=1.0), cover


def test_masts_are_point_targets_on_land_with_their_cross_section(monkeypatch):
    monkeypatch.setattr(landcover, "MASTS_PER_KM2", 40.0)
    sensor = SENSORS["airborne_x"].only("HH", "HV")
    flat = np.zeros((400, 400), np.float32)
    wide = Layout(flat.astype(np.uint8), flat, flat, 45.0, flat)
    wide.labels[:] = CROPLAND
    wide.labels[200:] = WATER
    _, coherent = reflectivity(rng(), wide, sensor, np.full(400, 40.0, np.float32))
    section = power_to_db(np.abs(coherent[:, (coherent != 0).any(0)]) ** 2 * sensor.pixel_m**2)
    assert 10 <= section.shape[1] <= 32
    assert not coherent[:, 200:].any()
    low, high = landcover.MAST_DBM2
    assert low <= section[0].min() <= section[0].max() <= high
    assert section[1] - section[0] == pytest.approx(landcover.MAST_CROSS_DB, abs=1e-3)
