"""Physical descriptors: known directions, known looks, known block means; batches, holes and the domain switch."""

import numpy as np
import pytest

from sartutor.errors import DataError
from sartutor.sar.descriptors import (
    MOST_LOOKS,
    Standardisation,
    contrast_enl,
    descriptors,
    directional_entropy,
    local_roughness,
    log_scaled,
)
from sartutor.sar.radiometry import power_to_db


def speckle(looks, shape, seed=0):
    return np.random.default_rng(seed).gamma(looks, 1 / looks, shape)


def stripes(degrees, shape=(128, 128), period=40):
    rows, cols = np.indices(shape)
    angle = np.radians(degrees)
    return np.sin(2 * np.pi / period * (cols * np.cos(angle) + rows * np.sin(angle)))


def test_log_scaling_in_closed_form():
    assert log_scaled([0.0, np.e - 1, -(np.e - 1)]) == pytest.approx([0, 1, 1])
    assert log_scaled(3 + 4j) == pytest.approx(np.log(6))


@pytest.mark.parametrize("degrees", [0, 2, 43, 90, 137])
def test_stripes_have_one_direction(degrees):
    assert directional_entropy(stripes(degrees)) == pytest.approx(0, abs=0.35)


def test_stripes_along_the_axes_have_exactly_one():
    assert directional_entropy(stripes(0)) == pytest.approx(0, abs=1e-6)
    assert directional_entropy(stripes(90)) == pytest.approx(0, abs=1e-6)


def test_two_equal_directions_have_the_entropy_of_a_coin():
    crosswise = np.concatenate([stripes(5, (64, 64)), stripes(5, (64, 64)).T], axis=1)
    mask = np.ones(crosswise.shape, bool)
    mask[:, 63:65] = False
    assert directional_entropy(crosswise, mask) == pytest.approx(np.log(2), abs=1e-3)


@pytest.mark.parametrize("bins", [8, 36])
def test_noise_has_all_directions(bins):
    noise = np.random.default_rng(0).normal(size=(256, 256))
    assert directional_entropy(noise, bins=bins) == pytest.approx(np.log(bins), abs=2e-3)
    assert directional_entropy(speckle(1, (256, 256)), bins=bins) == pytest.approx(np.log(bins), abs=5e-3)


def test_strong_gradients_weigh_more():
    weak = 1e-3 * np.random.default_rng(0).normal(size=(128, 128))
    assert directional_entropy(stripes(5) + weak) < 0.3
    assert directional_entropy(stripes(5) + 1e4 * weak) > 3


@pytest.mark.parametrize("looks", [1, 4, 16])
def test_enl_of_speckle_in_power_is_its_looks(looks):
    assert contrast_enl(speckle(looks, (512, 512))) == pytest.approx(looks, rel=0.03)


def test_enl_of_images_without_contrast_is_finite():
    assert contrast_enl(np.full((9, 9), 0.2)) == pytest.approx(MOST_LOOKS)
    assert contrast_enl(np.zeros((9, 9))) == 0


@pytest.mark.parametrize(
    "turned",
    [np.rot90, np.flipud, np.fliplr, np.transpose],
    ids=["quarter turn", "rows reversed", "columns reversed", "transposed"],
)
def test_an_image_is_described_alike_from_every_side(turned):
    image = speckle(4, (96, 96)) * (2 + stripes(30, (96, 96)))
    one, other = (descriptors(each[None])[0] for each in (image, turned(image)))
    assert other == pytest.approx(one, rel=1e-9)


def test_what_a_gain_and_an_offset_change():
    image = speckle(4, (96, 96))
    plain, gained, raised = (
        (directional_entropy(each), contrast_enl(each), local_roughness(each))
        for each in (image, 3 * image, image + 5)
    )
    assert gained == pytest.approx((plain[0], plain[1], 9 * plain[2]))
    assert (raised[0], raised[2]) == pytest.approx((plain[0], plain[2]))
    assert raised[1] > 20 * plain[1]


def test_roughness_in_closed_form():
    assert local_roughness(np.full((64, 64), 0.7)) == pytest.approx(0, abs=1e-30)
    two = np.full((64, 64), 1.0)
    two[:, :16] = 5.0
    assert local_roughness(two) == pytest.approx(0.25 * 0.75 * 4**2)
    assert local_roughness(two, blocks=1) == pytest.approx(0, abs=1e-30)
    checkers = np.indices((64, 64)).sum(0) % 2
    assert local_roughness(checkers) == pytest.approx(0, abs=1e-30)


def test_roughness_of_speckle_falls_with_the_pixels_of_a_block():
    rough = local_roughness(speckle(2, (512, 512)))
    assert rough == pytest.approx(1 / 2 / 32**2, rel=4 * np.sqrt(2 / 256))


def test_sides_need_not_be_multiples_of_the_blocks():
    ramp = np.broadcast_to(np.arange(100.0), (50, 100))
    assert local_roughness(ramp, blocks=7) == pytest.approx(100**2 / 12 * (1 - 1 / 49), rel=0.01)


@pytest.mark.parametrize("domain", ["log1p", "power", "db"])
def test_a_batch_is_a_loop_over_its_images(domain):
    images = np.stack([speckle(looks, (64, 48), looks) for looks in (1, 3, 9)])
    images[1, :, 20:] *= 7
    valid = np.random.default_rng(0).random(images.shape) > 0.02
    batch = descriptors(images, domain, valid)
    assert batch.shape == (3, 3)
    for image, mask, row in zip(images, valid, batch, strict=True):
        assert descriptors(image[None], domain, mask[None])[0] == pytest.approx(row)
    assert len({tuple(row) for row in batch.round(6)}) == 3


def test_the_domain_decides_what_is_described():
    power = speckle(4, (1, 128, 128))
    for domain, values in (("log1p", np.log1p(power)), ("power", power), ("db", power_to_db(power))):
        expected = [directional_entropy(values[0]), contrast_enl(values[0]), local_roughness(values[0])]
        assert descriptors(power, domain)[0] == pytest.approx(expected)
    assert descriptors(np.sqrt(power) * np.exp(0.7j), "power") == pytest.approx(descriptors(power, "power"))


def test_log_scaling_is_nearly_power_for_calibrated_values():
    power = 0.001 * speckle(4, (1, 256, 256))
    as_written, plain = descriptors(power)[0], descriptors(power, "power")[0]
    assert as_written[:2] == pytest.approx(plain[:2], rel=0.01)
    assert contrast_enl(log_scaled(1e6 * power[0])) > 10 * plain[1]


@pytest.mark.parametrize("domain", ["log1p", "power", "db"])
@pytest.mark.parametrize("fill", [1e9, -3.4e38, np.nan, np.inf])
@pytest.mark.filterwarnings("error")
def test_what_stands_in_a_hole_changes_nothing(fill, domain):
    image = speckle(4, (1, 80, 80)).astype(np.float32)
    valid = np.ones(image.shape, bool)
    valid[0, :30, :25] = False
    filled = np.where(valid, image, np.float32(fill))
    assert (descriptors(filled, domain, valid) == descriptors(image, domain, valid)).all()


def test_a_hole_leaves_looks_directions_and_roughness_alone():
    image, valid = speckle(4, (256, 256)), np.ones((256, 256), bool)
    valid[:100, :70] = False
    assert contrast_enl(image, valid) == pytest.approx(4, rel=0.03)
    assert directional_entropy(stripes(0), valid[:128, :128]) == pytest.approx(0, abs=1e-6)
    assert local_roughness(np.where(valid, 0.5, 0), valid) == pytest.approx(0, abs=1e-30)


def test_standardised_descriptors_have_mean_zero_and_deviation_one():
    raw = np.column_stack([np.linspace(1, 3, 50), np.geomspace(1, 1000, 50), np.linspace(0, 1, 50) ** 2])
    fitted = Standardisation.fit(raw)
    standard = fitted.apply(raw)
    assert standard.mean(0) == pytest.approx([0, 0, 0], abs=1e-12)
    assert standard.std(0) == pytest.approx([1, 1, 1])
    again = Standardisation(fitted.mean, fitted.deviation)
    new = again.apply([[2.0, 30.0, 0.1]])
    expected = (np.log1p(30) - fitted.mean[1]) / fitted.deviation[1]
    assert new[0, 1] == pytest.approx(expected)
    assert np.abs(again.apply([[0.0, MOST_LOOKS, 0.0]])).max() < 10


def test_a_descriptor_that_never_varies_is_only_centred():
    raw = np.array([[3.5, 4.0, 0.1], [3.5, 5.0, 0.2]])
    assert Standardisation.fit(raw).apply(raw)[:, 0].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: descriptors(np.ones((32, 32))), "N, rows, columns"),
        (lambda: descriptors(np.ones((1, 32, 32)), "amplitude"), "use one of log1p"),
        (lambda: descriptors(np.ones((1, 8, 32))), "ask for fewer"),
        (lambda: descriptors(np.full((1, 32, 32), np.nan)), "not finite"),
        (lambda: descriptors(np.ones((1, 32, 32)), valid=np.zeros((1, 32, 32), bool)), "leave it out"),
        (lambda: Standardisation.fit(np.ones((4, 2))), "not \\(4, 2\\)"),
    ],
)
def test_what_cannot_be_described_is_refused(call, words):
    with pytest.raises(DataError, match=words):
        call()
