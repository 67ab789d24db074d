"""Speckle: looks against the gamma law, filters against loops over pixels and closed forms, holes and borders."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from affine import Affine
from scipy import ndimage

from sartutor.errors import DataError
from sartutor.sar import refined_lee as refined
from sartutor.sar import windows
from sartutor.sar.adaptive import enhanced_lee_weight, gamma_map_estimate, kuan_weight, lee_weight
from sartutor.sar.geotiff import read_scene
from sartutor.sar.radiometry import db_to_power, power_to_db
from sartutor.sar.scene import Band, Grid, Scene
from sartutor.sar.speckle import (
    FILTERS,
    boxcar,
    enl,
    enl_amplitude,
    enl_map,
    estimate_looks,
    filter_scene,
    frost,
    lee,
    multitemporal,
    refined_lee,
)

NAMES = sorted(FILTERS)
ADAPTIVE = [name for name in NAMES if name != "boxcar"]


def speckle(looks, shape, mean=1.0, seed=0):
    return (mean * np.random.default_rng(seed).gamma(looks, 1 / looks, shape)).astype(np.float32)


def mixed(shape, seed=0):
    """An edge of 8 dB, a ramp and a target under four-look speckle: every branch of every filter is taken."""
    rows, cols = np.indices(shape)
    mean = np.where(rows + cols < sum(shape) / 2, 0.05, 0.3) * (1 + cols / shape[1])
    mean[shape[0] // 4, shape[1] // 3] = 8
    return speckle(4, shape, mean, seed)


def holes(shape, seed=1):
    valid = np.random.default_rng(seed).random(shape) > 0.15
    valid[:9, -8:] = False
    return valid


# One window at a time, in float64: mean, population variance, and the pixel of a mirrored image.


def naive(power, valid, size, formula):
    margin = size // 2
    values = np.pad(power.astype(np.float64), margin, mode="symmetric")
    known = np.pad(np.ones(power.shape, bool) if valid is None else valid, margin, mode="symmetric")
    result = np.full(power.shape, np.nan)
    for row, col in np.ndindex(power.shape):
        if known[row + margin, col + margin]:
            window = np.s_[row : row + size, col : col + size]
            result[row, col] = formula(values[window], known[window])
    return result


def moments(values, known):
    return values[known].mean(), values[known].var()


def naive_lee(looks, divisor):
    def formula(values, known):
        mean, variance = moments(values, known)
        ci2 = variance / mean**2
        weight = max(0.0, (1 - 1 / looks / ci2) / divisor)
        return mean + weight * (values[3, 3] - mean)

    return formula


def naive_enhanced_lee(looks, damping=1.0):
    def formula(values, known):
        mean, variance = moments(values, known)
        cu, ci, cmax = 1 / np.sqrt(looks), np.sqrt(variance) / mean, np.sqrt(1 + 2 / looks)
        if ci <= cu:
            return mean
        if ci >= cmax:
            return values[3, 3]
        weight = np.exp(-damping * (ci - cu) / (cmax - ci))
        return mean * weight + values[3, 3] * (1 - weight)

    return formula


def naive_gamma_map(looks):
    def formula(values, known):
        mean, variance = moments(values, known)
        cu2, ci2, pixel = 1 / looks, variance / mean**2, values[3, 3]
        if ci2 <= cu2:
            return mean
        if ci2 >= 2 * cu2:
            return pixel
        a = (1 + cu2) / (ci2 - cu2)
        b = a - looks - 1
        return (b * mean + np.sqrt(mean**2 * b**2 + 4 * a * looks * mean * pixel)) / (2 * a)

    return formula


def naive_frost(damping=2.0):
    rows, cols = np.indices((7, 7)) - 3

    def formula(values, known):
        mean, variance = moments(values, known)
        weights = np.exp(-damping * variance / mean**2 * np.hypot(rows, cols)) * known
        return (weights * np.where(known, values, 0)).sum() / weights.sum()

    return formula


ROWS, COLS = np.indices((7, 7))
HALVES = {
    "left": COLS <= 3,
    "right": COLS >= 3,
    "top": ROWS <= 3,
    "bottom": ROWS >= 3,
    "upper right": COLS >= ROWS,
    "lower left": COLS <= ROWS,
    "upper left": ROWS + COLS <= 6,
    "lower right": ROWS + COLS >= 6,
}


def naive_side(values, known):
    """The half-window on the centre's side of the strongest edge between 3 x 3 means."""
    nine = np.empty((3, 3))
    for row, col in np.ndindex(3, 3):
        part = np.s_[2 * row : 2 * row + 3, 2 * col : 2 * col + 3]
        nine[row, col] = values[part][known[part]].mean() if known[part].any() else values[known].mean()
    edges = {
        ("left", "right"): ([(0, 0), (1, 0), (2, 0)], [(0, 2), (1, 2), (2, 2)], (1, 0), (1, 2)),
        ("top", "bottom"): ([(0, 0), (0, 1), (0, 2)], [(2, 0), (2, 1), (2, 2)], (0, 1), (2, 1)),
        ("upper right", "lower left"): ([(0, 1), (0, 2), (1, 2)], [(1, 0), (2, 0), (2, 1)], (0, 2), (2, 0)),
        ("upper left", "lower right"): ([(0, 0), (0, 1), (1, 0)], [(1, 2), (2, 1), (2, 2)], (0, 0), (2, 2)),
    }
    strength = {
        names: abs(sum(nine[p] for p in one) - sum(nine[p] for p in other))
        for names, (one, other, _, _) in edges.items()
    }
    names = max(strength, key=strength.get)
    first, second = edges[names][2:]
    return names[int(abs(nine[second] - nine[1, 1]) < abs(nine[first] - nine[1, 1]))]


def naive_refined_lee(looks):
    def formula(values, known):
        half = HALVES[naive_side(values, known)] & known
        mean, variance = moments(values, half)
        weight = max(0.0, 1 - mean**2 / looks / variance) if variance > 0 else 0.0
        return mean + weight * (values[3, 3] - mean)

    return formula


LOOPS = {
    "boxcar": lambda looks: lambda values, known: values[known].mean(),
    "lee": lambda looks: naive_lee(looks, 1),
    "kuan": lambda looks: naive_lee(looks, 1 + 1 / looks),
    "enhanced_lee": naive_enhanced_lee,
    "gamma_map": naive_gamma_map,
    "frost": lambda looks: naive_frost(),
    "refined_lee": naive_refined_lee,
}


@pytest.mark.parametrize("holed", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_filter_equals_a_loop_over_its_pixels(name, holed):
    power = mixed((24, 24))
    valid = holes(power.shape) if holed else None
    fast = FILTERS[name](power, 4.0, 7, valid)
    slow = naive(power, valid, 7, LOOPS[name](4.0))
    assert np.isfinite(slow).sum() == (576 if valid is None else valid.sum())
    assert fast == pytest.approx(slow, rel=2e-5, nan_ok=True)


def test_the_mixed_scene_takes_every_branch():
    power = mixed((24, 24))
    contrast = 1 / enl_map(power)
    assert (contrast < 1 / 4).any()
    assert ((contrast > 1 / 4) & (contrast < 1 / 2)).any()
    assert (contrast > 1 + 2 / 4).any()
    block = windows.Block(np.pad(power, 3, mode="symmetric"), None, 3)
    assert set(np.unique(refined.edge_side(block))) == set(range(8))


@pytest.mark.parametrize("name", NAMES)
def test_strips_leave_no_seam(name, monkeypatch):
    power, valid = mixed((150, 40)), holes((150, 40))
    whole = FILTERS[name](power, 4.0, 7, valid)
    monkeypatch.setattr(windows, "STRIP_PIXELS", 1)
    strips = list(windows._strips(power.shape, 7))
    assert len(strips) == 6
    assert FILTERS[name](power, 4.0, 7, valid).tobytes() == whole.tobytes()


def test_window_sums_are_sums_over_windows():
    values = np.random.default_rng(0).normal(size=(30, 20)).astype(np.float32)
    for size in (1, 2, 3, 5, 6, 7, 8, 13):
        shifted = np.lib.stride_tricks.sliding_window_view(values, (size, size))
        assert windows.window_sum(values, size) == pytest.approx(shifted.sum((2, 3)), abs=1e-4)


def test_beyond_the_border_lies_the_mirror_image():
    power = speckle(4, (12, 9))
    assert boxcar(power, 5) == pytest.approx(ndimage.uniform_filter(power, 5, mode="reflect"), rel=1e-5)
    wide = boxcar(power[:2, :3], 9)
    assert wide == pytest.approx(ndimage.uniform_filter(power[:2, :3], 9, mode="reflect"), rel=1e-5)


# The gamma law.


@pytest.mark.parametrize("looks", [1, 4, 16])
def test_looks_of_gamma_speckle(looks):
    power = speckle(looks, (400, 400), 0.02)
    assert enl(power) == pytest.approx(looks, rel=0.03)
    assert estimate_looks(power) == pytest.approx(looks, rel=0.12 if looks == 1 else 0.05)
    n = 49
    assert np.mean(1 / enl_map(power)) == pytest.approx((n - 1) / (n * looks + 1), rel=0.01)


def test_looks_of_one_look_amplitude():
    amplitude = np.sqrt(speckle(1, (400, 400), 0.02))
    assert enl_amplitude(amplitude) == pytest.approx(1, rel=0.01)
    assert enl_amplitude(np.sqrt(speckle(100, (400, 400)))) == pytest.approx(4 * 0.5227**2 * 100, rel=0.02)


def test_looks_of_a_scene_are_those_of_its_even_areas():
    level = np.kron(db_to_power(np.random.default_rng(3).uniform(-25, -5, (10, 10))), np.ones((40, 40)))
    power = speckle(4, (400, 400), level)
    assert enl(power) < 1.5
    assert estimate_looks(power) == pytest.approx(4, rel=0.1)
    valid = np.ones(power.shape, bool)
    valid[::20, ::20] = False
    power[~valid] = 1e9
    assert estimate_looks(power, valid) == pytest.approx(4, rel=0.1)


def test_correlated_pixels_raise_the_estimate():
    independent = speckle(1, (400, 400))
    smooth = ndimage.uniform_filter(independent, 2)
    assert estimate_looks(smooth) > 1.1 * enl(smooth)


def test_no_speckle_no_looks():
    assert enl(np.full((5, 5), 0.3)) == np.inf
    assert np.isinf(enl_map(np.full((9, 9), 0.3, np.float32))).all()
    with pytest.raises(DataError, match="no window of the image shows speckle"):
        estimate_looks(np.full((20, 20), 0.3, np.float32))
    with pytest.raises(DataError, match="no window"):
        estimate_looks(speckle(4, (20, 20)), np.indices((20, 20)).sum(0) % 5 > 0)
    with pytest.raises(DataError, match="two valid pixels"):
        enl(np.ones((2, 2)), np.array([[True, False], [False, False]]))


@pytest.mark.parametrize("looks", [1, 4])
@pytest.mark.parametrize("name", NAMES)
def test_the_mean_of_an_even_area_is_kept(name, looks):
    """Within 4 standard errors of the mean; the two that choose by the values they average fall short a little."""
    power = speckle(looks, (500, 500))
    shortfall = 1 - FILTERS[name](power, looks, 7, None).mean(dtype=np.float64)
    error = 4 / np.sqrt(looks * power.size)
    allowed = {"gamma_map": 0.06 / looks, "refined_lee": 0.02 / looks}.get(name, 0)
    assert -error < shortfall < allowed + error


@pytest.mark.parametrize("size", [3, 5, 7, 11])
def test_a_boxcar_multiplies_looks_by_its_pixels(size):
    smooth = boxcar(speckle(2, (600, 600)), size)
    inner = smooth[size::size, size::size]  # windows that share no pixel
    assert enl(inner) == pytest.approx(2 * size * size, rel=4 * np.sqrt(2 / inner.size))


@pytest.mark.parametrize("name", ADAPTIVE)
def test_adaptive_filters_smooth_even_areas(name):
    assert enl(FILTERS[name](speckle(4, (300, 300)), 4, 7, None)) > 10 * 4


@pytest.mark.parametrize("name", ADAPTIVE)
def test_edges_are_kept_better_than_by_a_boxcar(name):
    truth = np.full((200, 200), 0.02)
    truth[:, 100:] = 0.5
    power = speckle(4, truth.shape, truth)
    near = np.s_[4:-4, 97:103]
    blurred = np.abs(boxcar(power) - truth)[near].mean()
    assert np.abs(FILTERS[name](power, 4.0, 7, None) - truth)[near].mean() < 0.75 * blurred


def test_the_refined_filter_smooths_along_an_edge_where_lee_leaves_it_noisy():
    truth = np.full((200, 200), 0.02)
    truth[:, 100:] = 0.5
    power = speckle(4, truth.shape, truth)
    beside = np.s_[4:-4, 100]
    assert enl(lee(power, 4.0)[beside]) < 6
    assert enl(refined_lee(power, 4.0)[beside]) > 15


@pytest.mark.parametrize("name", ["lee", "kuan", "refined_lee", "gamma_map"])
def test_without_speckle_the_input_comes_back(name):
    power = mixed((30, 30))
    assert FILTERS[name](power, np.inf, 7, None) == pytest.approx(power, rel=1e-5)
    many = FILTERS[name](power, 1e6, 7, None)
    assert many == pytest.approx(power, rel=1e-3)


def test_frost_without_and_with_much_damping():
    power = mixed((30, 30))
    assert frost(power, damping=0) == pytest.approx(boxcar(power), rel=1e-5)
    assert frost(power, damping=1e5) == pytest.approx(power, rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("level", [0.0, 3e-4, 2e5])
def test_a_constant_image_is_unchanged(name, level):
    assert FILTERS[name](np.full((20, 20), level, np.float32), 4.0, 7, None) == pytest.approx(level, rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_power_times_a_factor_gives_the_result_times_the_factor(name):
    power = mixed((40, 40))
    scaled = FILTERS[name](power * np.float32(2.0**40), 4.0, 7, None)
    assert scaled == pytest.approx(FILTERS[name](power, 4.0, 7, None) * 2.0**40, rel=1e-6)


# The formulas at their ends.


def levels(contrast):
    """Mean 2 and the variance of a contrast Ci = `contrast`."""
    contrast = np.atleast_1d(np.asarray(contrast, np.float32))
    return np.full(contrast.shape, 2, np.float32), np.square(2 * contrast)


def test_lee_and_kuan_weights_in_closed_form():
    mean, variance = levels([0.25, 0.5, 1.0])
    assert lee_weight(mean, variance, 4) == pytest.approx([0, 0, 0.75])
    assert kuan_weight(mean, variance, 4) == pytest.approx([0, 0, 0.75 / 1.25])


@pytest.mark.parametrize("damping", [0.5, 1.0, 3.0])
def test_enhanced_lee_is_continuous_at_both_ends(damping):
    low, high = 0.5, np.sqrt(1.5)
    ends = [low * (1 - 1e-4), low, low * (1 + 1e-4), high * (1 - 1e-3), high, high * (1 + 1e-4)]
    weight = enhanced_lee_weight(*levels(ends), 4, damping)
    assert weight[:3] == pytest.approx([0, 0, 0], abs=1e-3)
    assert weight[3:] == pytest.approx([1, 1, 1], abs=1e-6)
    between = enhanced_lee_weight(*levels(np.linspace(low, high, 50)), 4, damping)
    assert np.all(np.diff(between) >= 0)
    middle = np.float32((low + high) / 2)
    assert enhanced_lee_weight(*levels(middle), 4, damping) == pytest.approx(1 - np.exp(-damping), rel=1e-5)


def test_gamma_map_has_three_regimes():
    contrasts = np.array([0.4, 0.5, 0.6, 0.5 * np.sqrt(2) + 1e-4, 0.9])
    pixel = np.full(5, 5, np.float32)
    result = gamma_map_estimate(*levels(contrasts), pixel, 4)
    assert result[:2] == pytest.approx([2, 2])
    assert result[3:] == pytest.approx([5, 5])
    a, looks = 1.25 / (0.36 - 0.25), 4
    r = np.float64(result[2])
    # The stationary point of the gamma-gamma posterior: a R^2 - (a - L - 1) M R - L M I = 0.
    assert a * r * r - (a - looks - 1) * 2 * r - looks * 2 * 5 == pytest.approx(0, abs=1e-3)
    assert 2 < r < 5


def test_gamma_map_tends_to_the_mean_at_its_lower_end():
    estimate = gamma_map_estimate(*levels(0.5 * 1.0001), np.array([5], np.float32), 4)
    assert estimate == pytest.approx(2, abs=0.01)


# Holes, negative power, bright targets.


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fill", [1e9, -1.7e308, np.nan, np.inf])
@pytest.mark.filterwarnings("error")
def test_what_stands_in_a_hole_changes_nothing(name, fill):
    power, valid = mixed((40, 40)), holes((40, 40))
    zero = np.where(valid, power, np.float32(0))
    filled = np.where(valid, power.astype(float), fill)
    expected = FILTERS[name](zero, 4.0, 7, valid)
    result = FILTERS[name](filled, 4.0, 7, valid)
    assert result.tobytes() == expected.tobytes()
    assert np.isfinite(result[valid]).all()
    assert np.isnan(result[~valid]).all()


def test_a_hole_that_says_one_billion_is_no_target_for_the_estimators():
    power, valid = speckle(4, (100, 100)), holes((100, 100))
    filled = np.where(valid, power, np.float32(1e9))
    assert enl(filled, valid) == enl(power, valid)
    assert enl_map(filled, valid)[valid] == pytest.approx(enl_map(np.where(valid, power, 0), valid)[valid])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("error")
def test_a_lonely_pixel_keeps_its_value(name):
    valid = np.zeros((21, 21), bool)
    valid[10, 10] = True
    assert FILTERS[name](speckle(1, (21, 21)), 4.0, 7, valid)[10, 10] == speckle(1, (21, 21))[10, 10]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("decibels", [40, 90])
def test_a_bright_target_reaches_no_further_than_the_window(name, decibels):
    power = speckle(4, (64, 64))
    bright = power.copy()
    bright[20, 30] = db_to_power(decibels)
    outside = np.ones(power.shape, bool)
    outside[17:24, 27:34] = False
    before, after = (FILTERS[name](image, 4.0, 7, None) for image in (power, bright))
    assert (before[outside] == after[outside]).all()
    assert (before[~outside] != after[~outside]).any()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("error")
def test_power_below_zero_stays_signed_and_finite(name):
    noise = np.random.default_rng(0).normal(0, 0.01, (80, 80)).astype(np.float32)
    noise[:40] += 0.01
    result = FILTERS[name](noise, 4.0, 7, None)
    assert np.isfinite(result).all()
    assert (result[40:] < 0).any()
    if name == "boxcar":
        assert result.mean() == pytest.approx(noise.mean(), rel=0.02)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", NAMES)
def test_an_image_of_zeros_and_one_target_is_filtered_without_a_warning(name):
    power = np.zeros((30, 30), np.float32)
    power[15, 15] = 1
    result = FILTERS[name](power, 4.0, 7, None)
    assert result[0, 0] == 0
    assert np.isfinite(result).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: lee(np.ones((9, 9)) * 1j, 4), "complex"),
        (lambda: lee(np.ones((3, 9, 9)), 4), "rows, columns"),
        (lambda: lee(np.ones((9, 9)), 0), "0 looks"),
        (lambda: refined_lee(np.ones((9, 9)), np.nan), "nan looks"),
        (lambda: boxcar(np.ones((9, 9)), 4), "odd number"),
        (lambda: boxcar(np.full((9, 9), np.nan)), "not finite"),
        (lambda: boxcar(np.ones((9, 9)), 3, np.ones((9, 8), bool)), "does not fit"),
        (lambda: FILTERS["refined_lee"](np.ones((9, 9)), 4, 5, None), "use 7"),
        (lambda: multitemporal(np.ones((9, 9))), "axis of dates"),
    ],
)
def test_what_cannot_be_filtered_is_refused(call, words):
    with pytest.raises(DataError, match=words):
        call()


# Several dates.


def test_averaging_dates_keeps_each_date_s_level():
    means = [0.02, 0.1, 0.5]
    stack = np.stack([speckle(4, (300, 300), mean, seed) for seed, mean in enumerate(means)])
    filtered = multitemporal(stack)
    for image, mean in zip(filtered, means, strict=True):
        assert image.mean() == pytest.approx(mean, rel=4 / np.sqrt(4 * image.size))
        assert enl(image[4:-4, 4:-4]) == pytest.approx(4 * 3 / (1 + 2 / 49), rel=0.05)


def test_one_date_is_its_own_average():
    power = speckle(4, (1, 30, 30))
    assert multitemporal(power) == pytest.approx(power, rel=1e-5)


def test_a_change_stays_in_its_own_date():
    stack = np.stack([speckle(4, (60, 60), 0.1, seed) for seed in range(4)])
    stack[2, 20:40, 20:40] *= 10
    filtered = multitemporal(stack)[:, 24:36, 24:36].mean((1, 2))
    assert filtered == pytest.approx([0.1, 0.1, 1, 0.1], rel=0.15)


def test_a_date_counts_only_where_it_is_valid():
    stack, valid = (
        np.stack([speckle(4, (40, 40), 0.1, seed) for seed in range(3)]),
        np.ones((3, 40, 40), bool),
    )
    valid[1, :, 20:] = False
    filled = np.where(valid, stack, np.float32(1e9))
    filtered = multitemporal(filled, valid=valid)
    assert np.isnan(filtered[~valid]).all()
    assert filtered[[0, 2]][:, :, 24:] == pytest.approx(multitemporal(stack[[0, 2]])[:, :, 24:], rel=1e-4)
    assert filtered[:, :, :16] == pytest.approx(multitemporal(stack)[:, :, :16], rel=1e-4)


@pytest.mark.filterwarnings("error")
def test_a_date_lost_in_noise_does_not_disturb_the_others():
    noise = np.random.default_rng(0).normal(-0.01, 0.001, (1, 40, 40)).astype(np.float32)
    stack = np.concatenate([speckle(4, (2, 40, 40), 0.1), noise])
    filtered = multitemporal(stack)
    assert filtered[:2] == pytest.approx(multitemporal(stack[:2]), rel=1e-5)
    assert filtered[2].mean() == pytest.approx(-0.01, rel=0.1)


# Scenes.


def scene(*bands, shape=(60, 60)):
    layers = [
        power_to_db(speckle(4, shape, 0.1)) if band.units == "db" else speckle(4, shape, 0.1)
        for band in bands
    ]
    grid = Grid(Affine.identity(), None, *shape)
    return Scene(np.stack(layers).astype(np.float32), bands, grid, holes(shape), "test")


def test_a_scene_in_decibels_is_filtered_in_power():
    taken = Band("VV", "db", "gamma0", date(2024, 1, 2))
    source = scene(taken, Band("slope", "degree"))
    filtered = filter_scene(source, "lee", looks=4.0)
    power = lee(db_to_power(np.where(source.valid, source.band("VV"), 0)), 4.0, valid=source.valid)
    assert filtered.band("VV")[source.valid] == pytest.approx(power_to_db(power[source.valid]), abs=1e-3)
    assert filtered.bands == source.bands
    assert (filtered.band("slope") == source.band("slope")).all()
    assert filtered.notes == ("VV: lee filter in power, 7 x 7 px, 4 looks (given).",)
    assert power_to_db(0.1) == pytest.approx(filtered.band("VV")[source.valid].mean(), abs=0.2)


def test_looks_of_a_scene_are_estimated_band_by_band():
    source = scene(Band("VV", "power"), Band("VH", "amplitude"), shape=(200, 200))
    source.pixels[1] = np.sqrt(speckle(16, (200, 200), 0.02))
    source = Scene(source.pixels, source.bands, source.grid, np.ones((200, 200), bool), "test")
    filtered = filter_scene(source, "gamma_map")
    looks = [float(note.split(" looks")[0].split()[-1]) for note in filtered.notes]
    assert looks == pytest.approx([4, 16], rel=0.1)
    assert np.square(filtered.band("VH")).mean() == pytest.approx(0.02, rel=0.02)


def dark(units="power", shape=(200, 200)):
    """An even area of -30 dB from which noise of -27 dB (or half of it, in the east) was subtracted."""
    noise = 10**-2.7 * np.linspace(1, 0.5, shape[1]) * np.ones((1, *shape))
    source = scene(Band("VH", units), shape=shape)
    power = speckle(4, shape, 1e-3 + noise[0]) - noise
    return replace(source, pixels=power.astype(np.float32), valid=np.ones(shape, bool)), noise


@pytest.mark.parametrize("name", [name for name in ADAPTIVE if name != "frost"])
def test_dark_ground_is_no_texture_where_its_noise_is_known(name):
    source, noise = dark()
    blind, seeing = (filter_scene(source, name, 4.0, noise=eta).band("VH") for eta in (0.0, noise))
    assert blind.std() > 0.5 * source.pixels.std()
    assert seeing.std() < 0.35 * source.pixels.std()
    assert seeing.mean() == pytest.approx(1e-3, rel=0.1)


def test_noise_is_added_before_filter_and_estimate_and_subtracted_after_them():
    source, noise = dark()
    filtered = filter_scene(source, "lee", noise=noise)
    assert filtered.notes[0].endswith("looks (estimated, with its noise).")
    power = (source.pixels + noise)[0].astype(np.float32)
    assert estimate_looks(power) == pytest.approx(4, rel=0.1)
    assert estimate_looks(source.band("VH")) < 1
    assert filtered.band("VH") + noise[0] == pytest.approx(lee(power, estimate_looks(power)), rel=1e-4)


def test_looks_are_given_for_all_bands_or_one_a_band():
    source = scene(Band("VV", "power"), Band("slope", "degree"), Band("VH", "power"))
    each = filter_scene(source, "lee", (2.0, 8.0))
    for band, looks in (("VV", 2.0), ("VH", 8.0)):
        alone = filter_scene(source.select([band]), "lee", looks)
        assert np.array_equal(each.band(band), alone.band(band), equal_nan=True)
    with pytest.raises(DataError, match="3 numbers of looks for 2 backscatter bands"):
        filter_scene(source, "lee", (2.0, 8.0, 4.0))
    with pytest.raises(DataError, match=r"noise \(2, 1, 1\) does not fit"):
        filter_scene(source, "lee", 4.0, noise=np.ones((2, 1, 1)))


@pytest.mark.parametrize(
    ("bands", "name", "words"),
    [
        ((Band("HH", "complex"),), "lee", "complex"),
        ((Band("HH", "dn"),), "lee", "calibrate"),
        ((Band("slope", "degree"),), "lee", "no band is radar"),
        ((Band("VV", "power"),), "gauss", "use one of boxcar"),
    ],
)
def test_scenes_that_cannot_be_filtered_are_refused(bands, name, words):
    with pytest.raises(DataError, match=words):
        filter_scene(scene(*bands), name)


@pytest.mark.mirror
def test_the_real_chip_keeps_its_power_and_has_sentinel_1_s_looks(mirror):
    """A GRD pixel has 4.4 looks in theory; the adaptive filters lower targets that their windows dilute."""
    source = read_scene(mirror / "sen1floods11-spain" / "Spain_7370579_S1Hand.tif", units="db")
    for name, loss in (("boxcar", 0.001), ("lee", 0.03)):
        filtered = filter_scene(source, name)
        for band in source.band_names:
            before, after = (db_to_power(s.band(band)[s.valid]).mean(dtype=float) for s in (source, filtered))
            assert after == pytest.approx(before, rel=loss)
    looks = [float(note.split(" looks")[0].split()[-1]) for note in filtered.notes[-2:]]
    assert looks == pytest.approx([4.4, 4.4], rel=0.15)
