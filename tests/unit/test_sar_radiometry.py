"""Decibels, power and digital numbers in closed form, and the judgement of units."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from sartutor.errors import DataError
from sartutor.sar.radiometry import (
    ALOS2_CALIBRATION_FACTOR_DB,
    alos2_dn_to_power,
    alos2_slc_to_power,
    beta0_from_gamma0,
    beta0_from_sigma0,
    convert_quantity,
    db_to_power,
    from_linear,
    gamma0_from_beta0,
    gamma0_from_sigma0,
    guess_units,
    in_decibels,
    power_to_db,
    sigma0_from_beta0,
    sigma0_from_gamma0,
    to_linear,
    to_units,
)
from sartutor.sar.scene import Band, Grid, Scene


def scene(values, *bands):
    pixels = np.asarray(values, np.float32).reshape(len(bands), 1, -1)
    grid = Grid(Affine.identity(), None, 1, pixels.shape[2])
    return Scene(pixels, bands, grid, np.ones(grid.shape, bool), "test")


def test_decibels_in_closed_form():
    assert db_to_power([-30.0, 0.0, 10.0]) == pytest.approx([1e-3, 1.0, 10.0])
    assert power_to_db([1e-3, 1.0, 10.0]) == pytest.approx([-30.0, 0.0, 10.0])
    assert power_to_db(2.0) == pytest.approx(3.0103, abs=1e-4)


@settings(deadline=None)
@given(st.floats(-79, 60))
def test_decibels_and_power_are_inverse(db):
    assert power_to_db(db_to_power(db)) == pytest.approx(db, abs=1e-9)
    assert power_to_db(db_to_power(np.float32(db))) == pytest.approx(db, abs=1e-4)


def test_zero_and_negative_power_get_the_floor():
    assert power_to_db([0.0, -0.2, 1e-12]) == pytest.approx([-80.0] * 3)


def test_alos2_digital_numbers_are_averaged_as_power():
    dn = np.array([1000, 3000], np.uint16)
    assert power_to_db(alos2_dn_to_power(1000)) == pytest.approx(60 + ALOS2_CALIBRATION_FACTOR_DB, abs=1e-4)
    mean = power_to_db(alos2_dn_to_power(dn).mean())
    assert mean == pytest.approx(10 * np.log10((1e6 + 9e6) / 2) - 83.0, abs=1e-4)
    assert mean > power_to_db(alos2_dn_to_power(dn.mean()))


def test_level_1_1_lies_32_db_below_the_same_digital_number():
    z = np.array([300 + 400j, 500j, -500], np.complex64)
    power = alos2_slc_to_power(z)
    assert power.dtype == np.float32
    assert power_to_db(power) == pytest.approx(20 * np.log10(500) - 83 - 32, abs=1e-4)
    assert power_to_db(alos2_slc_to_power(z, -80)) == pytest.approx(20 * np.log10(500) - 112, abs=1e-4)


def test_quantities_in_closed_form():
    """At 30 degrees sin is 1/2; at 60 degrees cos is 1/2; at 45 degrees tan is 1."""
    assert sigma0_from_beta0(0.4, 30) == pytest.approx(0.2)
    assert beta0_from_sigma0(0.2, 30) == pytest.approx(0.4)
    assert gamma0_from_sigma0(0.1, 60) == pytest.approx(0.2)
    assert sigma0_from_gamma0(0.2, 60) == pytest.approx(0.1)
    assert gamma0_from_beta0(0.3, 45) == pytest.approx(0.3)
    assert gamma0_from_beta0(0.3, 60) == pytest.approx(0.3 * np.sqrt(3))
    assert beta0_from_gamma0(0.3, 60) == pytest.approx(0.3 / np.sqrt(3))


@pytest.mark.parametrize("first", ["sigma0", "beta0", "gamma0"])
@pytest.mark.parametrize("second", ["sigma0", "beta0", "gamma0"])
@pytest.mark.parametrize("units", ["power", "db"])
def test_quantities_convert_there_and_back(first, second, units):
    values = [[0.2, 0.01], [31, 39]] if units == "power" else [[-7.0, -20], [31, 39]]
    source = scene(values, Band("VV", units, first), Band("inc", "degree"))
    if first == second:
        with pytest.raises(DataError, match=f"VV is {first} already"):
            convert_quantity(source, second, 35)
        return
    there = convert_quantity(source, second, source.band("inc"))
    assert there.bands == (Band("VV", units, second), Band("inc", "degree"))
    assert not np.allclose(there.band("VV"), source.band("VV"))
    assert there.band("inc").tolist() == source.band("inc").tolist()
    assert convert_quantity(there, first, source.band("inc")).pixels == pytest.approx(source.pixels, rel=1e-5)


def test_decibels_and_power_convert_alike():
    source = scene([[0.2, 0.01, -0.003]], Band("VV", "power", "beta0"))
    converted = convert_quantity(source, "gamma0", 40.0)
    assert converted.pixels[0, 0, 2] == pytest.approx(-0.003 * np.tan(np.deg2rad(40)))
    in_db = convert_quantity(to_units(source, "db"), "gamma0", 40.0)
    assert in_db.pixels[0, 0, :2] == pytest.approx(power_to_db(converted.pixels[0, 0, :2]), abs=1e-4)


def test_no_angle_no_value():
    source = scene([[0.2, 0.2, 0.2]], Band("VV", "power", "beta0"))
    source.valid[0, 0] = False
    converted = convert_quantity(source, "sigma0", np.array([[0.0, np.nan, 30.0]]))
    assert converted.valid.tolist() == [[False, False, True]]
    assert converted.pixels[0, 0, 2] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("band", "target", "angle", "words"),
    [
        (Band("HH", "dn"), "sigma0", 30, "calibrate"),
        (Band("HH", "complex"), "sigma0", 30, "calibrate"),
        (Band("HH", "amplitude", "sigma0"), "beta0", 30, "power first"),
        (Band("HH", "power"), "sigma0", 30, "does not state"),
        (Band("HH", "power", "beta0"), "none", 30, "not to 'none'"),
        (Band("inc", "degree"), "sigma0", 30, "no band is radar"),
        (Band("HH", "power", "beta0"), "sigma0", 90, "between 0 and 90"),
        (Band("HH", "power", "beta0"), "sigma0", 0.0, "between 0 and 90"),
        (Band("HH", "power", "beta0"), "sigma0", np.nan, "between 0 and 90"),
        (Band("HH", "power", "beta0"), "sigma0", np.array([[-30.0]]), "between 0 and 90"),
        (Band("HH", "power", "beta0"), "sigma0", np.array([30.0, 31]), "do not fit"),
    ],
)
def test_wrong_quantities_are_refused(band, target, angle, words):
    with pytest.raises(DataError, match=words):
        convert_quantity(scene([[0.5]], band), target, angle)


@pytest.mark.parametrize(
    "stated",
    [
        {"product": "palsar2-mosaic"},
        {"name": "S1A_IW_20210101T000000_DVP_RTC30_G_gpuned_FD6A"},
        {"notes": ("terrain-flattened (RTC product).",)},
    ],
)
def test_what_is_flattened_does_not_convert_by_the_ellipsoid(stated):
    source = scene([[0.5]], Band("VV", "power", "gamma0"))
    assert convert_quantity(source, "sigma0", 35).band("VV").item() == pytest.approx(
        0.5 * np.cos(np.deg2rad(35))
    )
    with pytest.raises(DataError, match="terrain-flattened"):
        convert_quantity(replace(source, **stated), "sigma0", 35)


@pytest.mark.parametrize("units", ["db", "power", "amplitude", "dn", "1", "degree", "m"])
def test_to_linear_and_back(units):
    values = np.array([0.5, 2.0, 7.0])
    assert from_linear(to_linear(values, units), units) == pytest.approx(values)


def test_only_backscatter_bands_are_converted():
    taken = Band("HH", "power", "gamma0", date(2020, 9, 9))
    converted = to_units(scene([[0.1, 1.0], [30, 40]], taken, Band("linci", "degree")), "db")
    assert converted.band("HH")[0] == pytest.approx([-10, 0], abs=1e-5)
    assert converted.band("linci")[0].tolist() == [30, 40]
    assert converted.bands[0] == Band("HH", "db", "gamma0", date(2020, 9, 9))
    assert to_units(converted, "power").pixels == pytest.approx(
        scene([[0.1, 1.0], [30, 40]], *converted.bands).pixels
    )


def test_amplitude_becomes_power_by_its_square():
    assert to_units(scene([[2.0]], Band("VV", "amplitude")), "power").pixels == pytest.approx(4.0)


def test_floored_pixels_are_counted_where_valid():
    source = scene([[-0.1, 0.0, 0.5]], Band("VV", "power"))
    assert any("VV: 2 px" in note for note in to_units(source, "db").notes)
    assert to_units(scene([[0.5]], Band("VV", "power")), "db").notes == ()


def test_decibels_that_are_called_power_do_not_all_become_the_floor():
    values = power_to_db(speckle(-12))
    for units in ("power", "amplitude"):
        with pytest.raises(DataError, match=r"VV is said to be in .*name the true units"):
            to_units(scene(values, Band("VV", units)), "db")


def test_noise_that_was_subtracted_from_dark_water_stays_power():
    power = 0.002 * (speckle(0, looks=1) - 1)
    assert np.mean(power < 0) > 0.6
    assert any("set to -80 dB" in note for note in to_units(scene(power, Band("VH", "power")), "db").notes)


@pytest.mark.parametrize(
    ("band", "target", "words"),
    [
        (Band("VV", "db"), "db", "already in db"),
        (Band("VV", "power"), "power", "already in power"),
        (Band("HH", "dn"), "db", "calibrate"),
        (Band("slope", "degree"), "db", "no band is radar"),
        (Band("VV", "power"), "dn", "not to 'dn'"),
    ],
)
def test_wrong_conversions_are_refused(band, target, words):
    with pytest.raises(DataError, match=words):
        to_units(scene([[0.5]], band), target)


def speckle(mean_db, looks=4, size=20000):
    rng = np.random.default_rng(1)
    return rng.gamma(looks, 1 / looks, size) * db_to_power(mean_db)


def with_targets(power):
    """A few ships and buildings, up to 30 dB above 1."""
    power[::1000] = np.geomspace(10, 1000, power[::1000].size)
    return power


@pytest.mark.parametrize(
    ("values", "units"),
    [
        (power_to_db(speckle(-12)), "db"),
        (power_to_db(speckle(-22)), "db"),
        (power_to_db(speckle(-3, looks=1)), "db"),
        (speckle(-12), "power"),
        (speckle(-25), "power"),
        (speckle(-22) - 0.003, "power"),
        (np.round(np.sqrt(speckle(-12) * 10**8.3)).astype(np.uint16), "dn"),
        (np.sqrt(speckle(-12)) * 900, "dn"),
        (np.clip(np.sqrt(speckle(-20)) * 300, 0, 255).astype(np.uint16), "dn"),
        (np.clip(np.sqrt(speckle(-12)) * 300, 0, 255).astype(np.uint8), "1"),
        (np.clip(power_to_db(speckle(-12)) * 8 + 240, 0, 255), "1"),
        (np.clip(power_to_db(speckle(-12)) / 10 + 1.8, 0, 1), "1"),
        (np.array([-1, 0, 1, 1], np.int16), "class"),
        (speckle(-12) + 1j, "complex"),
        (np.array([-9000.0, -2000, 400, 30000]), "1"),
        (with_targets(speckle(-14)), "power"),
        (power_to_db(with_targets(speckle(-14))), "db"),
        (np.clip(power_to_db(speckle(-14)), -50, 1), "db"),
        (np.clip(power_to_db(speckle(-24, looks=1)), -50, 1), "db"),
        (speckle(-27) - 0.002, "power"),
        (np.round(np.sqrt(speckle(-31) * 10**8.3)).astype(np.uint16), "dn"),
        (np.round(np.sqrt(speckle(-12) * 10**8.3)).astype(np.float32), "dn"),
        ((power_to_db(speckle(-12)) + 12.5) / 2.96, "1"),
        (np.random.default_rng(0).integers(0, 256, 5000).astype(np.uint8), "1"),
    ],
)
def test_units_are_judged_by_values(values, units):
    concluded, sentence = guess_units(values)
    assert concluded == units, sentence
    assert len(sentence) > 20


@pytest.mark.parametrize("target", [190.0, 210.0, 250.0, 260.0])
@pytest.mark.parametrize("level_db", [-14, -5])
def test_one_point_target_makes_no_picture_of_power(target, level_db):
    values = speckle(level_db)
    values[777] = target
    assert guess_units(values)[0] == "power"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            np.full(50, 0.25) + np.linspace(0, 1e-3, 50),
            "median -6.0 dB (if it is amplitude, whose median would be -12",
        ),
        (speckle(-27) - 0.002, "negative, backscatter power with its noise subtracted"),
        ((power_to_db(speckle(-12)) + 12.5) / 2.96, "standardised already"),
        (np.linspace(560, 2450, 100), "name the units if it is height"),
    ],
)
def test_the_judgement_says_what_else_it_might_be(values, words):
    assert words in guess_units(values)[1]


def test_zeros_that_look_like_fill_are_mentioned():
    values = power_to_db(speckle(-12))
    assert "exactly 0" not in guess_units(values)[1]
    values[::10] = 0
    assert guess_units(values)[0] == "db"
    assert "10% are exactly 0" in guess_units(values)[1]


@pytest.mark.filterwarnings("error")
def test_fill_outside_the_valid_mask_is_no_trouble():
    source = scene([[0.5, -3.4e38]], Band("VV", "amplitude"))
    source.valid[0, 1] = False
    assert to_units(source, "db").band("VV")[0, 0] == pytest.approx(-6.02, abs=0.01)


def test_nothing_to_judge_is_an_error():
    with pytest.raises(DataError, match="name the units"):
        guess_units(np.array([np.nan, np.inf]))


@pytest.mark.parametrize(
    ("value", "units", "shown"),
    [
        (0.01, "power", -20),
        (0.1, "amplitude", -20),
        (100, "dn", 40),
        (-20, "db", -20),
        (0.06 + 0.08j, "complex", -20),
        (35, "deg", 35),
    ],
)
def test_backscatter_of_any_units_is_shown_in_decibels_and_an_angle_as_it_is(value, units, shown):
    assert in_decibels(np.array([value]), units)[0] == pytest.approx(shown)
