"""Calibration of Sentinel-1 GRD numbers: hand numbers, exact interpolation, noise that stays signed."""

import numpy as np
import pytest
from rasterio.windows import Window

from sartutor.errors import DataError
from sartutor.sar.grd import (
    AzimuthNoise,
    LookUpTable,
    azimuth_noise,
    calibrate,
    denoise,
    interpolate_lut,
    thermal_noise,
)

WHOLE = Window(0, 0, 300, 200)


def table(lines, pixels, values):
    return LookUpTable(
        np.array(lines), tuple(map(np.array, pixels)), tuple(np.array(v, np.float32) for v in values)
    )


def test_calibration_by_hand():
    assert calibrate([0, 100, 300], [500, 500, 600]) == pytest.approx([0, 0.04, 0.25])
    assert calibrate(3 + 4j, 10) == pytest.approx(0.25)


def test_denoising_by_hand_keeps_the_sign():
    assert denoise([10, 30], [500, 500], [100, 100]) == pytest.approx([-0.04, 0.04])


def test_the_conventions_of_one_pixel_differ_by_the_incidence():
    theta = np.radians(38)
    beta = 500.0
    sigma = beta / np.sqrt(np.sin(theta))
    gamma = beta / np.sqrt(np.tan(theta))
    assert calibrate(80, sigma) == pytest.approx(calibrate(80, beta) * np.sin(theta), rel=1e-6)
    assert calibrate(80, gamma) == pytest.approx(calibrate(80, sigma) / np.cos(theta), rel=1e-6)


def test_signed_noise_has_mean_zero_and_clipped_noise_has_not():
    eta, lut, count = 900.0, 450.0, 400_000
    dn = np.sqrt(np.random.default_rng(3).exponential(eta, count))
    power = denoise(dn, eta, lut).astype(np.float64)
    spread = eta / lut**2 / np.sqrt(count)
    assert abs(power.mean()) < 4 * spread
    clipped = np.maximum(power, 0).mean()
    assert clipped == pytest.approx(eta / lut**2 / np.e, abs=4 * spread)
    assert clipped > 100 * spread


def test_a_bilinear_table_is_interpolated_exactly():
    def truth(line, pixel):
        return 400 + 0.3 * line - 0.2 * pixel + 0.001 * line * pixel

    lines, pixels = [-30, 40, 110, 260], [[0, 90, 299], [0, 120, 310], [-5, 60, 200, 299], [0, 299]]
    values = [[truth(line, p) for p in row] for line, row in zip(lines, pixels, strict=True)]
    window = Window(37, 11, 201, 150)
    rows, columns = np.mgrid[11:161, 37:238]
    found = interpolate_lut(lines, pixels, values, window)
    assert found.shape == (150, 201)
    assert found == pytest.approx(truth(rows, columns), rel=1e-6)


def test_known_points_keep_their_values_and_the_border_holds_on():
    lut = table([10, 20], [[5, 15], [5, 15]], [[1, 2], [3, 5]])
    found = lut.over(WHOLE)
    assert found[10, 5] == 1
    assert found[20, 15] == 5
    assert found[15, 10] == pytest.approx(2.75)
    assert found[0, 0] == 1
    assert found[-1, -1] == 5


def test_windows_are_parts_of_the_whole():
    lut = table([0, 77, 199], [[0, 150, 299]] * 3, [[1, 2, 4], [3, 7, 5], [2, 2, 9]])
    window = Window(100, 60, 90, 80)
    assert np.array_equal(lut.over(window), lut.over(WHOLE)[window.toslices()])


def test_a_single_line_serves_the_whole_image():
    found = table([50], [[0, 200]], [[1, 3]]).over(WHOLE)
    assert np.all(found == found[0])
    assert found[0, 100] == 2


BLOCKS = (
    AzimuthNoise((0, 0), (99, 149), np.array([0, 99]), np.array([1.0, 1.99], np.float32)),
    AzimuthNoise((100, 0), (199, 149), np.array([100]), np.array([3.0], np.float32)),
    AzimuthNoise((0, 150), (199, 250), np.array([0, 100, 199]), np.array([2.0, 4.0, 4.0], np.float32)),
)


def test_azimuth_noise_changes_from_block_to_block():
    factor = azimuth_noise(BLOCKS, WHOLE)
    assert factor[50, 149] == pytest.approx(1.5)
    assert factor[50, 150] == pytest.approx(3.0)
    assert np.all(factor[100:, :150] == 3)
    assert np.all(factor[:, 251:] == 1)
    window = Window(140, 90, 120, 30)
    assert np.array_equal(azimuth_noise(BLOCKS, window), factor[window.toslices()])


def test_noise_is_range_times_azimuth():
    lut = table([0, 199], [[0, 299]] * 2, [[100, 399], [100, 399]])
    noise = thermal_noise(lut, BLOCKS, WHOLE)
    assert noise[50, 200] == pytest.approx(300 * 3)
    assert noise[150, 299] == pytest.approx(399)
    assert np.array_equal(thermal_noise(lut, (), WHOLE), lut.over(WHOLE))


@pytest.mark.parametrize(
    ("lines", "pixels", "values"),
    [
        ([], [], []),
        ([0, 9], [[0, 5], [0, 5]], [[1, 2], [1]]),
        ([9, 0], [[0, 5], [0, 5]], [[1, 2], [1, 2]]),
        ([0], [[5, 0]], [[1, 2]]),
    ],
)
def test_a_table_that_cannot_be_is_refused(lines, pixels, values):
    with pytest.raises(DataError, match="get the product again"):
        table(lines, pixels, values)
