"""Named normalisations: bands found by name, units insisted on, no-data filled, never applied twice."""

import numpy as np
import pytest
from affine import Affine

from sartutor.errors import DataError
from sartutor.sar.normalisation import NORMALISATIONS, normalise, normalised_by
from sartutor.sar.radiometry import to_units
from sartutor.sar.scene import Band, Grid, Scene

UNITS = {"DEM": "m", "slope": "degree"}


def scene(values, *bands):
    pixels = np.asarray(values, np.float32).reshape(len(bands), 1, -1)
    grid = Grid(Affine.identity(), None, 1, pixels.shape[2])
    return Scene(pixels, bands, grid, np.ones(grid.shape, bool), "test", notes=("a note",))


def example(name):
    """Two pixels in each band that a normalisation has constants for, inside every range."""
    channels = NORMALISATIONS[name].channels
    bands = [Band(band, channel.units) for band, channel in channels.items()]
    level = {"db": (-12.0, -20.5), "m": (1200, 80), "degree": (35, 4), "1": (0.6, 0.1)}
    return scene([level[band.units] for band in bands], *bands)


def test_ranges_reach_zero_and_one_and_are_clipped():
    source = scene([[-23, -3, 0, -40], [-27, -7, 0, -40]], Band("VV0", "db"), Band("VH1", "db"))
    assert normalise(source, "avalanche-ranges").pixels[:, 0] == pytest.approx(
        np.array([[0, 1, 1, 0], [0, 1, 1, 0]])
    )


def test_heights_and_slopes_are_scaled_not_clipped():
    source = scene([[1000, 4800], [45, 90]], Band("dem", "m"), Band("Slope", "degree"))
    assert normalise(source, "avalanche-ranges").pixels[:, 0] == pytest.approx(
        np.array([[0.25, 1.2], [0.5, 1]])
    )


def test_a_branch_is_its_ranges_then_its_mean_and_deviation():
    source = scene(
        [[-13, -3], [-13, -40], [2000, 662.8]], Band("VV0", "db"), Band("VV1", "db"), Band("DEM", "m")
    )
    branch = normalise(source, "avalanche-vv").pixels[:, 0]
    assert branch[0] == pytest.approx([(0.5 - 0.5431) / 0.2603, (1 - 0.5431) / 0.2603])
    assert branch[1] == pytest.approx([(0.5 - 0.5184) / 0.2646, -0.5184 / 0.2646])
    assert branch[2] == pytest.approx([(0.5 - 0.1657) / 0.0673, 0], abs=1e-4)


def test_bands_are_matched_by_polarisation_not_by_position():
    """BigEarthNet's lists hold VH first: mistaking the order would shift VV by two deviations."""
    source = scene([[-12.5951], [-19.2309]], Band("sigma0_VV", "db"), Band("VH", "db"))
    assert normalise(source, "bigearthnet-v1").pixels == pytest.approx(0, abs=1e-5)
    swapped = normalise(source.select(["VH", "sigma0_VV"]), "bigearthnet-v1")
    assert swapped.pixels == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "band", "mean", "std"),
    [
        ("bigearthnet-v1", "VV", -12.5951, 2.9644),
        ("bigearthnet-v2", "VH", -19.1966, 5.4501),
        ("bigearthnet-v2", "VV", -12.5144, 5.0019),
        ("alos2-hh", "HH", -10.4327, 5.8041),
        ("sam-pixels", "R", 123.675, 58.395),
        ("sam-pixels", "G", 116.28, 57.12),
        ("sam-pixels", "B", 103.53, 57.375),
        ("avalanche-composite", "composite1", 0.5139, 0.2572),
    ],
)
def test_published_means_and_deviations(name, band, mean, std):
    units = NORMALISATIONS[name].channels[band].units
    normalised = normalise(scene([[mean, mean + std, mean - 2 * std]], Band(band, units)), name)
    assert normalised.pixels[0, 0] == pytest.approx([0, 1, -2], abs=1e-4)
    assert normalised.bands[0].units == "1"


@pytest.mark.parametrize("name", NORMALISATIONS)
def test_inverse_gives_physical_values_back(name):
    source = example(name)
    normalised = normalise(source, name)
    assert normalised_by(normalised) == name
    assert {band.units for band in normalised.bands} == {"1"}
    back = NORMALISATIONS[name].invert(normalised)
    assert back.pixels == pytest.approx(source.pixels, rel=1e-4)
    assert back.bands == source.bands
    assert "a note" in back.notes
    assert NORMALISATIONS[name].source in normalised.notes[-1]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("fill", [np.nan, -3.4e38, -9999])
def test_no_data_holds_the_mean_and_stays_masked(fill):
    source = scene([[fill, -12], [fill, 100]], Band("VV0", "db"), Band("DEM", "m"))
    source.valid[0, 0] = False
    ranges, branch = normalise(source, "avalanche-ranges"), normalise(source, "avalanche-vv")
    assert ranges.pixels[:, 0, 0] == pytest.approx([0.5431, 0.1657])
    assert branch.pixels[:, 0, 0] == pytest.approx([0, 0])
    assert ranges.valid.tolist() == branch.valid.tolist() == [[False, True]]


def test_not_a_number_becomes_no_data():
    normalised = normalise(
        scene([[np.nan, -12], [1000, 1000]], Band("VV0", "db"), Band("DEM", "m")), "avalanche-vv"
    )
    assert normalised.valid.tolist() == [[False, True]]
    assert normalised.pixels[:, 0, 0].tolist() == [0, 0]


def test_an_undated_band_is_filled_with_the_mean_of_both_dates():
    source = scene([[np.nan]], Band("VH", "db"))
    source.valid[:] = False
    assert normalise(source, "avalanche-ranges").pixels[0, 0, 0] == pytest.approx((0.4225 + 0.3967) / 2)


@pytest.mark.parametrize(
    ("band", "words"),
    [
        (Band("VV", "power", "sigma0"), "in db, not in power.*to_units"),
        (Band("VV", "dn"), "calibrate"),
        (Band("VV", "1"), "normalised already"),
        (Band("VV", "degree"), "give the band in db"),
        (Band("HH", "db"), "no constants for band HH"),
        (Band("VV_VH", "db"), "no constants"),
    ],
)
def test_wrong_bands_are_refused_with_the_cure(band, words):
    with pytest.raises(DataError, match=words):
        normalise(scene([[0.5]], band), "bigearthnet-v2")


def test_the_named_cure_works():
    source = scene([[10**-1.25144]], Band("VV", "power", "sigma0"))
    assert normalise(to_units(source, "db"), "bigearthnet-v2").pixels == pytest.approx(0, abs=1e-4)


def test_nothing_is_normalised_twice():
    once = normalise(scene([[-12.0]], Band("VV0", "db")), "avalanche-ranges")
    for name in ("avalanche-ranges", "avalanche-vv", "sam-pixels"):
        with pytest.raises(DataError, match="normalised by avalanche-ranges before"):
            normalise(once, name)
    with pytest.raises(DataError, match="nothing to invert"):
        NORMALISATIONS["avalanche-vv"].invert(once)


def test_the_composite_follows_its_ranges():
    ranges = normalise(scene([[2000.0]], Band("DEM", "m")), "avalanche-ranges")
    composite = normalise(ranges, "avalanche-composite")
    assert composite.pixels == pytest.approx((0.5 - 0.1656) / 0.0673, rel=1e-5)
    with pytest.raises(DataError, match="avalanche-composite before"):
        normalise(composite, "avalanche-composite")
    assert normalised_by(NORMALISATIONS["avalanche-composite"].invert(composite)) == "avalanche-ranges"


def test_an_unknown_name_lists_the_known():
    with pytest.raises(DataError, match="alos2-hh"):
        normalise(scene([[1.0]], Band("VV", "db")), "imagenet")


def test_every_normalisation_names_its_source():
    for name, entry in NORMALISATIONS.items():
        assert name == entry.name
        assert "arXiv" in entry.source
        assert set(entry.units) == {channel.units for channel in entry.channels.values()}
