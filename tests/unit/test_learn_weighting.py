"""Backscatter weights: bounds, order, known answers, the collapse under a bright target, controls, bad input."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sartutor.errors import CheckpointError, DataError, SarTutorError
from sartutor.learn.weighting import (
    BandStatistics,
    WeightRule,
    backscatter_weights,
    despeckle,
    upper_percentile,
    weighted_mean_shift_db,
)

DUAL = BandStatistics(("VV", "VH"), (-12.0, -19.0), (3.0, 4.0), (True, True))
MIXED = BandStatistics(("DEM", "VV", "slope"), (900.0, -12.0, 20.0), (300.0, 3.0, 9.0), (False, True, False))
SENTINEL1 = BandStatistics(("VV",), (-12.0,), (2.96,), (True,))
LOOKS = 4.4


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def power(seed=0, shape=(3, 2, 16, 16), db=-12.0, looks=LOOKS):
    """Gamma speckle of that mean."""
    values = np.random.default_rng(seed).gamma(looks, 1 / looks, shape) * 10 ** (db / 10)
    return torch.tensor(values, dtype=torch.float32)


def everywhere(image):
    return torch.ones_like(image[:, :1], dtype=torch.bool)


def holes(image, seed=0):
    """Two pixels in three are valid."""
    return torch.rand(image[:, :1].shape, generator=generator(seed)) < 2 / 3


def decibels(linear):
    return 10 * torch.log10(linear)


def chip(linear, statistics=DUAL):
    valid = everywhere(linear)
    return statistics.standardise(decibels(linear), valid), valid


def released(linear, strength=1.0):
    """The formula of the released code of arXiv 2503.01181."""
    low, high = (f(linear, (2, 3), True) for f in (torch.amin, torch.amax))
    return torch.exp(strength * (1 - (linear - low) / (high - low + 1e-6)))


@given(
    seed=st.integers(0, 10**6),
    strength=st.floats(0, 6),
    mode=st.sampled_from(["per_channel", "shared_avg"]),
    clip=st.sampled_from([None, 99.0, 50.0]),
    db=st.floats(-60, 40),
)
@settings(max_examples=40, deadline=None)
def test_weights_lie_between_1_and_e_to_the_strength(seed, strength, mode, clip, db):
    linear = power(seed, (2, 2, 8, 8), db)
    valid = holes(linear, seed)
    weights = backscatter_weights(linear, valid, mode, strength, clip)
    inside = valid.expand_as(linear)
    assert weights.shape == linear.shape
    assert weights[inside].min() >= 1
    assert weights[inside].max() <= math.exp(strength) * (1 + 1e-6)
    assert not weights[~inside].any()


@pytest.mark.parametrize("clip", [None, 99.0])
def test_darker_pixels_weigh_more(clip):
    linear = power()
    weights = backscatter_weights(linear, everywhere(linear), clip_percentile=clip).flatten(2)
    falling = weights.gather(2, linear.flatten(2).argsort(2)).diff(dim=2)
    assert (falling <= 0).all()
    assert (falling < 0).float().mean() > 0.95


def test_known_weights_of_five_pixels():
    linear = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5]).view(1, 1, 1, 5)
    for strength in (0.0, 1.0, 2.0):
        weights = backscatter_weights(linear, everywhere(linear), strength=strength).flatten()
        known = [math.exp(strength * part) for part in (1, 0.75, 0.5, 0.25, 0)]
        assert weights.tolist() == pytest.approx(known, rel=1e-5)


def test_known_weights_with_clipping_at_the_median():
    linear = torch.tensor([0.1, 0.2, 0.3, 0.4, 9.0]).view(1, 1, 1, 5)
    weights = backscatter_weights(linear, everywhere(linear), clip_percentile=50).flatten()
    assert weights.tolist() == pytest.approx([math.e, math.sqrt(math.e), 1, 1, 1], rel=1e-5)


def test_each_band_and_image_has_its_own_scale():
    linear = (
        power() * torch.tensor([1.0, 0.01])[:, None, None] * torch.tensor([1.0, 5, 9])[:, None, None, None]
    )
    weights = backscatter_weights(linear, everywhere(linear))
    assert weights.amin((2, 3)).numpy() == pytest.approx(np.ones((3, 2)), rel=1e-5)
    assert weights.amax((2, 3)).numpy() == pytest.approx(np.full((3, 2), math.e), rel=1e-5)


def test_shared_weights_are_those_of_the_mean_power_of_the_bands():
    linear = power() * torch.tensor([1.0, 0.3])[:, None, None]
    weights = backscatter_weights(linear, everywhere(linear), "shared_avg")
    alone = backscatter_weights(linear.mean(1, keepdim=True), everywhere(linear))
    assert torch.equal(weights[:, 0], weights[:, 1])
    assert torch.equal(weights[:, :1], alone)
    assert not torch.allclose(weights, backscatter_weights(linear, everywhere(linear)))


def test_weights_do_not_depend_on_the_unit_of_power():
    linear = power()
    reference = backscatter_weights(linear, everywhere(linear))
    for factor in (1e-8, 1e-3, 1e6):
        assert torch.allclose(backscatter_weights(factor * linear, everywhere(linear)), reference, atol=1e-5)


@pytest.mark.parametrize("db", [0.0, -12.0])
def test_weights_are_the_released_ones_where_these_are_well_scaled(db):
    linear = power(db=db)
    for strength in (1.0, 3.0):
        weights = backscatter_weights(linear, everywhere(linear), strength=strength)
        assert torch.allclose(weights, released(linear, strength), rtol=1e-4)


def test_a_dark_scene_keeps_its_contrast():
    """At -60 dB the released 1e-6 is as large as the power itself."""
    linear = power(db=-60.0)
    assert backscatter_weights(linear, everywhere(linear)).min() == pytest.approx(1, abs=1e-5)
    assert released(linear).min() > 1.2


@pytest.mark.parametrize("clip", [None, 99.0])
@pytest.mark.parametrize("level", [0.0, 1e-3, 0.1, 1e4])
def test_chips_of_one_power_and_chips_without_data_have_finite_weights(level, clip):
    linear = torch.full((2, 1, 8, 8), level)
    valid = everywhere(linear)
    valid[1] = False
    weights = backscatter_weights(linear, valid, strength=5.0, clip_percentile=clip)
    assert weights[0].numpy() == pytest.approx(np.full((1, 8, 8), math.exp(5)), rel=1e-5)
    assert not weights[1].any()


def test_a_single_valid_pixel_has_a_finite_weight():
    linear, valid = power(shape=(1, 1, 8, 8)), torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    valid[0, 0, 3, 3] = True
    weights = backscatter_weights(linear, valid, clip_percentile=99.0)
    assert weights[valid].item() == pytest.approx(math.e)


@pytest.mark.parametrize("clip", [None, 90.0])
def test_no_data_counts_in_no_minimum_maximum_or_percentile(clip):
    linear = power()
    valid = holes(linear)
    spoiled = torch.where(valid, linear, torch.tensor([math.nan, 1e9, -1.0, math.inf]).repeat(4))
    weights = backscatter_weights(spoiled, valid, clip_percentile=clip)
    assert torch.equal(weights, backscatter_weights(linear, valid, clip_percentile=clip))
    inside = valid[0, 0]
    alone = backscatter_weights(
        linear[:1, :, inside][..., None],
        torch.ones(1, 1, int(inside.sum()), 1, dtype=torch.bool),
        clip_percentile=clip,
    )
    assert torch.allclose(weights[0][:, inside], alone[0, ..., 0])


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf, -1e-3])
def test_valid_power_that_is_no_number_is_refused(wrong):
    linear = power()
    linear[1, 0, 2, 3] = wrong
    with pytest.raises(DataError, match="negative or not finite at pixels said to be valid"):
        backscatter_weights(linear, everywhere(linear))
    image, valid = chip(linear)
    with pytest.raises(DataError, match="mark them as no data"):
        WeightRule(domain="clipped").weights(image, valid, DUAL)


def test_input_is_left_as_it_was():
    linear = power()
    before, (image, valid) = linear.clone(), chip(linear)
    again = image.clone()
    backscatter_weights(linear, holes(linear))
    WeightRule("shared_avg").weights(image, valid, DUAL)
    assert torch.equal(linear, before)
    assert torch.equal(image, again)


@given(
    seed=st.integers(0, 10**6),
    height=st.integers(1, 13),
    width=st.integers(1, 13),
    percentile=st.floats(50, 100),
)
@settings(max_examples=60, deadline=None)
def test_the_percentile_is_numpys(seed, height, width, percentile):
    values = power(seed, (2, 2, height, width))
    valid = holes(values, seed)
    found = upper_percentile(values.masked_fill(~valid, 0), valid, percentile)
    assert found.shape == (2, 2, 1, 1)
    for image, mask, row in zip(values, valid[:, 0], found, strict=True):
        if mask.any():
            expected = np.percentile(image[:, mask].numpy().astype(float), percentile, axis=1)
            assert row.flatten().numpy() == pytest.approx(expected, rel=1e-4)


TABLE = {
    ("physical", None): (2.172, 0.243),
    ("physical", 10.0): (2.702, 0.016),
    ("zscore", None): (1.709, 0.229),
    ("zscore", 10.0): (2.433, 0.077),
    ("clipped", 10.0): (1.863, 0.345),
}
"""Mean and deviation of weights over 128 x 128 px of 4.4-look speckle at -12 dB, without and with one target in dB."""


@pytest.mark.parametrize(("domain", "target"), TABLE)
def test_one_bright_target_lifts_all_other_weights_to_e_unless_power_is_clipped(domain, target):
    """The rows move with the seed by 0.07 in the mean: the brightest of 16,384 pixels is never the same."""
    found = []
    for seed in range(6):
        linear = power(seed, (1, 1, 128, 128))
        if target is not None:
            linear[0, 0, 64, 64] = 10 ** (target / 10)
        weights = WeightRule(domain=domain).weights(*chip(linear, SENTINEL1), SENTINEL1)
        found.append((float(weights.mean()), float(weights.std())))
    mean, deviation = TABLE[domain, target]
    assert np.mean(found, axis=0) == pytest.approx([mean, deviation], abs=0.06)
    assert max(abs(row[0] - mean) for row in found) < 0.15


@pytest.mark.parametrize(
    ("looks", "domain", "shift_db"),
    [(4.4, "physical", -0.24), (4.4, "clipped", -0.39), (1.0, "physical", -0.41), (1.0, "clipped", -0.84)],
)
def test_the_optimum_of_a_weighted_loss_is_darker_than_the_mean(looks, domain, shift_db):
    """Although speckle in decibels is as wide at every level: the weights come from the speckled target."""
    found = []
    for seed in range(8):
        linear = power(seed, (1, 1, 128, 128), looks=looks)
        weights = WeightRule(domain=domain).weights(*chip(linear, SENTINEL1), SENTINEL1)
        found.append(weighted_mean_shift_db(decibels(linear), weights))
    assert np.mean(found) == pytest.approx(shift_db, abs=0.05)


def test_the_shift_is_the_minimiser_of_weighted_squared_error_less_the_mean():
    db, weights = torch.tensor([-20.0, -10.0, 5.0]), torch.tensor([3.0, 1.0, 0.0])
    candidates = torch.arange(-20, -10, 0.01)
    best = (weights * (db - candidates[:, None]) ** 2).sum(1).argmin()
    assert weighted_mean_shift_db(db, weights) == pytest.approx(float(candidates[best]) + 15, abs=0.01)
    assert weighted_mean_shift_db(db, torch.ones(3)) == 0


def test_domains_are_those_of_their_definitions():
    linear = power() * torch.tensor([1.0, 0.2])[:, None, None]
    image, valid = chip(linear)
    plain = backscatter_weights(linear, valid)
    assert torch.allclose(WeightRule().weights(image, valid, DUAL), plain, atol=1e-4)
    compressed = backscatter_weights(linear ** (1 / torch.tensor([3.0, 4.0])[:, None, None]), valid)
    assert torch.allclose(WeightRule(domain="zscore").weights(image, valid, DUAL), compressed, atol=1e-4)
    clipped = backscatter_weights(linear, valid, clip_percentile=99)
    assert torch.allclose(WeightRule(domain="clipped").weights(image, valid, DUAL), clipped, atol=1e-4)


def test_bands_that_are_no_radar_weigh_1_and_do_not_count():
    image = torch.randn(2, 3, 16, 16, generator=generator())
    valid = holes(image)
    for mode in ("per_channel", "shared_avg"):
        weights = WeightRule(mode).weights(image, valid, MIXED)
        radar = backscatter_weights(10 ** ((image[:, 1:2] * 3 - 12) / 10), valid)
        assert torch.allclose(weights[:, 1:2], radar, atol=1e-4)
        assert torch.equal(weights[:, [0, 2]], valid.float().expand(2, 2, 16, 16))


def test_without_a_mode_or_radar_bands_every_valid_pixel_weighs_1():
    image = torch.randn(2, 2, 16, 16, generator=generator())
    valid, terrain = holes(image), BandStatistics(DUAL.names, DUAL.mean, DUAL.std, (False, False))
    plain = valid.float().expand_as(image)
    assert torch.equal(WeightRule("none").weights(image, valid, DUAL), plain)
    assert torch.equal(WeightRule().weights(image, valid, terrain), plain)


def controlled(control, **rule):
    """Weights without and with a control on chips with holes, and where they are valid."""
    image, _ = chip(power())
    valid = holes(image)
    valid[2] = False
    plain = WeightRule(**rule).weights(image, valid, DUAL)
    changed = WeightRule(control=control, **rule).weights(image, valid, DUAL)
    assert not changed[~valid.expand_as(changed)].any()
    assert torch.isfinite(changed).all()
    return plain, changed, valid


def test_unit_mean_divides_by_the_mean_over_valid_pixels():
    plain, changed, valid = controlled("unit_mean", strength=2.0)
    inside = valid[0, 0]
    assert changed[0, :, inside].mean(1).tolist() == pytest.approx([1, 1], abs=1e-5)
    ratio = plain[0, :, inside] / changed[0, :, inside]
    assert ratio.std(1).max() < 1e-4


def test_shuffled_weights_are_the_same_weights_elsewhere_in_the_chip():
    plain, changed, valid = controlled("shuffled")
    for before, after, mask in zip(plain[:2], changed[:2], valid[:2, 0], strict=True):
        assert torch.equal(before[:, mask].sort(1).values, after[:, mask].sort(1).values)
        kept = (before[:, mask] == after[:, mask]).float().mean()
        assert kept < 0.1
        pairs = [set(zip(*(band[mask].tolist() for band in w), strict=True)) for w in (before, after)]
        assert pairs[0] == pairs[1]


@pytest.mark.parametrize("control", ["none", "unit_mean", "shuffled", "inverted", "despeckled"])
def test_a_chip_weighs_the_same_in_every_batch(control):
    image, _ = chip(power())
    valid, rule = holes(image), WeightRule(domain="clipped", control=control)
    together, alone = (rule.weights(image[i:], valid[i:], DUAL) for i in (0, 2))
    assert torch.equal(together[2:], alone)


def test_inverted_weights_are_heavy_where_it_is_bright():
    plain, changed, valid = controlled("inverted", strength=2.0)
    inside = valid.expand_as(plain)
    assert (plain * changed)[inside].numpy() == pytest.approx(
        np.full(int(inside.sum()), math.exp(2)), rel=1e-4
    )


def test_despeckled_weights_are_those_of_averaged_power():
    _, changed, valid = controlled("despeckled", domain="clipped")
    image, _ = chip(power())
    averaged = WeightRule(domain="clipped").weights(despeckle(image, valid, DUAL), valid, DUAL)
    assert torch.equal(changed, averaged)


def test_despeckling_averages_power_over_valid_pixels_and_leaves_terrain():
    image = torch.randn(1, 3, 16, 16, generator=generator())
    valid = holes(image)
    valid[0, 0, 5, 1] = True
    smooth = despeckle(image, valid, MIXED)
    rows, cols = slice(2, 9), slice(0, 5)  # 7 x 7 px around row 5, column 1, as far as they lie in the chip
    around = 10 ** ((3 * image[0, 1, rows, cols] - 12) / 10)
    mean_db = 10 * torch.log10(around[valid[0, 0, rows, cols]].mean())
    assert smooth[0, 1, 5, 1].item() == pytest.approx((mean_db.item() + 12) / 3, abs=1e-4)
    assert torch.equal(smooth[:, [0, 2]], image[:, [0, 2]])
    assert torch.equal(smooth[:, 1:2][~valid], image[:, 1:2][~valid])


def test_despeckling_lets_bright_speckle_no_longer_decide():
    linear = power(shape=(1, 1, 128, 128))
    image, valid = chip(linear, SENTINEL1)
    weights = WeightRule(control="despeckled").weights(image, valid, SENTINEL1)
    assert weighted_mean_shift_db(decibels(linear), weights) > -0.1


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"mode": "shared"}, "no weighting mode 'shared'; use one of none, per_channel, shared_avg"),
        ({"domain": "db"}, "no weighting domain 'db'"),
        ({"control": "noise"}, "no weighting control 'noise'"),
        ({"strength": -1.0}, "strength of -1"),
        ({"strength": math.nan}, "strength of nan"),
    ],
)
def test_unknown_rules_are_refused(wrong, words):
    with pytest.raises(SarTutorError, match=words):
        WeightRule(**wrong)


def test_statistics_survive_a_header():
    assert BandStatistics.from_json(MIXED.to_json()) == MIXED
    with pytest.raises(CheckpointError, match="lack 'radar'"):
        BandStatistics.from_json({"names": ["VV"], "mean": [0.0], "std": [1.0]})


def test_statistics_that_cannot_standardise_are_refused():
    with pytest.raises(DataError, match="band VV has mean -9 and standard deviation 0"):
        BandStatistics(("VV",), (-9.0,), (0.0,), (True,))
    with pytest.raises(DataError, match="one mean, one standard deviation"):
        BandStatistics(("VV", "VH"), (-9.0,), (1.0,), (True,))


def test_decibels_undo_standardising():
    image = torch.randn(2, 3, 4, 4, generator=generator())
    values = MIXED.decibels(image)
    assert torch.allclose(MIXED.standardise(values, everywhere(values)), image, atol=1e-4)
    assert float(values[0, 0, 0, 0]) == pytest.approx(900 + 300 * float(image[0, 0, 0, 0]), rel=1e-5)
