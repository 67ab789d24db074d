"""The backscatter table: complete, plausible, and in the orders that radar engineers expect."""

import itertools

import numpy as np
import pytest

from sartutor.errors import DataError
from sartutor.sim.backscatter import (
    ANGULAR_EXPONENT,
    COVERS,
    LAND_COVERS,
    MOUNTAIN_COVERS,
    TABLE,
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
    assert all("assumed" in row.source or "own statistics" in row.source for row in TABLE)
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
