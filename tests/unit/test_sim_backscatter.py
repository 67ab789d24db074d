"""The backscatter table: complete, plausible, and in the orders that radar engineers expect."""

import itertools
import re

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window
from scipy import ndimage
from scipy.special import gammaincinv

from sartutor.errors import DataError
from sartutor.sar.alos2 import read_mosaic
from sartutor.sim.backscatter import (
    ANGULAR_EXPONENT,
    COVERS,
    LAND_COVERS,
    MOUNTAIN_COVERS,
    TABLE,
    angular_exponent,
    falloff_db,
    mean_db,
    spread_db,
)

BANDS = ("L", "C", "X")
POLARISATIONS = ("HH", "HV", "VH", "VV")
EVERYTHING = list(itertools.product(COVERS, BANDS, POLARISATIONS))


def level(cover, band="C", polarisation="VV", incidence=35.0):
    return float(mean_db(cover, band, polarisation, incidence))


def test_the_classes_are_those_of_the_benchmark_and_of_the_mountains():
    assert LAND_COVERS == ("building", "road", "water", "bare", "forest", "cropland", "background")
    assert set(MOUNTAIN_COVERS) == {"dry_snow", "wet_snow", "rock", "debris", "grass"}
    assert COVERS == LAND_COVERS + MOUNTAIN_COVERS


def test_every_row_occurs_once_and_names_its_source():
    assert sorted((row.cover, row.band) for row in TABLE) == sorted(itertools.product(COVERS, BANDS))
    assert all("assumed" in row.source for row in TABLE)
    derived = {(row.cover, row.band): row.source for row in TABLE if re.search("(HH|HV|VV): ", row.source)}
    assert set(derived) == {("water", "L"), ("water", "C"), ("forest", "L"), ("background", "L")}
    for source in derived.values():
        assert re.search("median|mean|middle", source)
        assert "35 deg" in source
    assert set(ANGULAR_EXPONENT) == set(COVERS)


@pytest.mark.parametrize(("cover", "band", "polarisation"), EVERYTHING)
def test_levels_are_plausible_and_fall_with_incidence(cover, band, polarisation):
    angles = np.arange(20.0, 51.0, 5.0)
    levels = mean_db(cover, band, polarisation, angles)
    assert levels.shape == angles.shape
    assert levels.dtype == np.float32
    assert np.all(np.diff(levels) < 0)
    assert -40 <= levels.min() <= levels.max() <= 15
    assert 0.5 <= spread_db(cover, band, polarisation) <= 4


@pytest.mark.parametrize(("band", "polarisation"), list(itertools.product(BANDS, POLARISATIONS)))
def test_buildings_and_forest_are_bright_and_smooth_covers_dark(band, polarisation):
    levels = {cover: level(cover, band, polarisation) for cover in LAND_COVERS}
    brightest = sorted(levels, key=levels.get)[-2:]
    assert "building" in brightest
    assert set(brightest) <= {"building", "forest"}
    assert {"water", "road"} <= set(sorted(levels, key=levels.get)[:3])
    if polarisation in ("HH", "VV"):
        assert max(levels, key=levels.get) == "building"


def test_water_is_the_darkest_at_c_band():
    assert min(LAND_COVERS, key=level) == "water"
    assert level("water") < level("road") - 1


@pytest.mark.parametrize("band", BANDS)
def test_cross_polarisation_is_below_both_others_and_reciprocal(band):
    for cover in COVERS:
        assert level(cover, band, "HV") == level(cover, band, "VH")
        assert level(cover, band, "HV") < min(level(cover, band, "HH"), level(cover, band, "VV")) - 4


@pytest.mark.parametrize("band", BANDS)
def test_volumes_depolarise_more_than_surfaces(band):
    def ratio(cover):
        return level(cover, band, "HV") - level(cover, band, "HH")

    assert ratio("forest") > ratio("cropland") >= ratio("bare")
    assert ratio("forest") > ratio("water") + 3


@pytest.mark.parametrize("band", BANDS)
def test_vertical_polarisation_is_brighter_over_water(band):
    assert level("water", band, "VV") > level("water", band, "HH")


@pytest.mark.parametrize("cover", ["bare", "cropland", "grass", "dry_snow", "rock"])
def test_natural_surfaces_get_brighter_with_frequency(cover):
    assert level(cover, "L") < level(cover, "C") < level(cover, "X")


@pytest.mark.parametrize("polarisation", ["VV", "VH"])
def test_snow_at_c_band(polarisation):
    dry, wet, debris = (level(cover, "C", polarisation) for cover in ("dry_snow", "wet_snow", "debris"))
    assert wet < dry - 3
    assert 3 <= debris - dry <= 5
    assert debris - wet > 5


def test_the_angular_law_in_closed_form():
    assert level("forest", incidence=60) - level("forest", incidence=20) == pytest.approx(
        10 * np.log10(np.cos(np.pi / 3) / np.cos(np.pi / 9)), abs=1e-4
    )
    assert level("dry_snow", incidence=60) - level("dry_snow", incidence=20) == pytest.approx(
        20 * np.log10(np.cos(np.pi / 3) / np.cos(np.pi / 9)), abs=1e-4
    )
    assert level("dry_snow", "C", "VH", 60) - level("dry_snow", "C", "VH", 20) == pytest.approx(
        15 * np.log10(np.cos(np.pi / 3) / np.cos(np.pi / 9)), abs=1e-4
    )
    assert level("water", incidence=20) - level("water", incidence=45) > 8
    assert level("rock", incidence=89) == level("rock", incidence=75)


def at_35_degrees(power, angle, cover, polarisation):
    """Sigma0 in dB at an angle, brought to 35 degrees by the angular law."""
    return 10 * np.log10(power) - angular_exponent(cover, polarisation) * float(falloff_db(angle))


def speckle_median_db(looks):
    """Median of gamma speckle of mean 1, in dB."""
    return 10 * np.log10(gammaincinv(looks, 0.5) / looks)


def test_the_forest_of_l_band_is_the_middle_of_its_published_range_and_near_the_other_source():
    middle = np.mean([-6, -7, -7.5, -8.5])
    converted = at_35_degrees(10 ** (middle / 10), 39.0, "forest", "HH")
    assert level("forest", "L", "HH") == pytest.approx(converted, abs=0.06)
    assert level("forest", "L", "HH", 39.0) == pytest.approx(-6.92, abs=0.5)


@pytest.mark.mirror
@pytest.mark.parametrize("polarisation", ["HH", "HV"])
def test_the_l_band_rows_follow_from_the_palsar2_tile_as_they_say(mirror, polarisation):
    archive = mirror / "palsar2-mosaic-n23w161/N23W161_20_MOS_F02DAR.tar.gz"
    tile = read_mosaic(archive, Window(1155, 3950, 3115, 550))
    looks = {"HH": 6.4, "HV": 7.1}[polarisation]
    for value, cover, statistic, median_db in (
        (50, "water", np.mean, 0.0),
        (255, "background", np.median, speckle_median_db(looks)),
    ):
        where = tile.valid & (tile.band("mask") == value)
        angle = float(np.median(tile.band("linci")[where]))
        gamma0 = statistic(tile.band(polarisation)[where].astype(np.float64))
        sigma0 = gamma0 * np.cos(np.radians(angle)) - 10**-3.6
        converted = at_35_degrees(sigma0, angle, cover, polarisation) - median_db
        assert level(cover, "L", polarisation) == pytest.approx(converted, abs=0.06)


@pytest.mark.mirror
def test_the_c_band_water_follows_from_the_spanish_chip_as_it_says(mirror):
    folder = mirror / "sen1floods11-spain"
    with rasterio.open(folder / "Spain_7370579_S1Hand.tif") as file:
        real = file.read(1)
    with rasterio.open(folder / "Spain_7370579_LabelHand.tif") as file:
        water = np.where(np.isfinite(real), file.read(1), -1) == 1
    median = float(np.median(real[ndimage.binary_erosion(water, iterations=3)]))
    mean = median - speckle_median_db(4.4)
    assert level("water", "C", "VV") == pytest.approx(
        at_35_degrees(10 ** (mean / 10), 38.0, "water", "VV"), abs=0.06
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("lava", "C", "VV"), "cover 'lava'"),
        (("water", "Ku", "VV"), "radar band 'Ku'; choose from L, C, X"),
        (("water", "C", "RH"), "polarisation 'RH'"),
    ],
)
def test_what_is_not_tabled_is_refused(arguments, words):
    for function in (mean_db, spread_db):
        with pytest.raises(DataError, match=words):
            function(*arguments)
