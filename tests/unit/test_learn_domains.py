"""Chips of many domains: one form for all, descriptors, weak labels, the cache."""

import numpy as np
import pytest
import torch

from sartutor.errors import CheckpointError
from sartutor.learn.domains import DIGITAL_DB, DomainChips, Scales, decibels, scene_descriptors
from sartutor.sar.descriptors import descriptors
from sartutor.sar.radiometry import power_to_db
from sartutor.sim.gaps import GAPS, PARTS, POLARISATIONS
from sartutor.sim.landcover import landcover_scene

VARIED = (POLARISATIONS["F"], POLARISATIONS["HV"], PARTS["C(r)"])


@pytest.fixture(scope="module")
def chips():
    return DomainChips(VARIED, 3, 6, 64)


def test_chips_take_turns_among_the_domains(chips):
    assert [chips.domain(i) for i in range(4)] == [*VARIED, VARIED[0]]
    sample = chips[1]
    shapes = {key: tuple(value.shape) for key, value in sample.items()}
    assert shapes == {"image": (3, 64, 64), "valid": (1, 64, 64), "label": (64, 64), "descriptors": (3,)}
    assert torch.equal(sample["image"][0], sample["image"][2])
    assert not torch.equal(chips[0]["image"][0], chips[0]["image"][2])


def test_all_channels_share_one_scale_and_descriptors_are_standardised(chips):
    assert len(set(chips.statistics.mean)) == len(set(chips.statistics.std)) == 1
    images = torch.stack([chips[i]["image"] for i in range(6)])
    told = torch.stack([chips[i]["descriptors"] for i in range(6)])
    assert images.mean().item() == pytest.approx(0, abs=0.01)
    assert images.std().item() == pytest.approx(1, abs=0.01)
    assert told.mean(0).abs().max().item() == pytest.approx(0, abs=1e-4)
    assert Scales.from_json(chips.scales.to_json()) == chips.scales


def test_a_part_of_a_complex_image_is_squared_and_power_taken_as_it_is():
    part, _ = landcover_scene(1, PARTS["C(r)"], 64)
    power, _ = landcover_scene(1, PARTS["R"], 64)
    assert np.array_equal(decibels(part)[0], power_to_db(part.pixels[0] ** 2))
    assert np.array_equal(decibels(power)[2], power_to_db(power.pixels[0]))


def test_descriptors_are_those_of_digital_numbers_of_amplitude():
    scene, _ = landcover_scene(1, POLARISATIONS["VV"], 64)
    digital = np.sqrt(scene.pixels * 10 ** (DIGITAL_DB / 10))
    assert scene_descriptors(decibels(scene)) == pytest.approx(descriptors(digital, "log1p")[0], rel=1e-5)


def test_a_constant_image_has_finite_descriptors(chips):
    raw = scene_descriptors(np.full((3, 64, 64), -10.0))
    assert np.isfinite(chips.scales.descriptors.apply(raw[None])).all()


def test_weak_labels_change_labels_only_and_are_the_same_again(chips):
    weak, again = (DomainChips(VARIED, 3, 6, 64, chips.scales, agreement=0.7588) for _ in range(2))
    true, found = (torch.stack([c[i]["label"] for i in range(6)]) for c in (chips, weak))
    assert (true == found).double().mean().item() == pytest.approx(0.7588, abs=1e-3)
    assert torch.equal(weak[2]["image"], chips[2]["image"])
    assert all(torch.equal(weak[i]["label"], again[i]["label"]) for i in range(6))


def test_kept_chips_are_taken_from_the_cache_and_damaged_ones_made_anew(chips, tmp_path):
    first = DomainChips(VARIED, 3, 6, 64, cache=tmp_path)
    (file,) = tmp_path.iterdir()
    stamp = file.stat().st_mtime_ns
    second = DomainChips(VARIED, 3, 6, 64, cache=tmp_path)
    assert file.stat().st_mtime_ns == stamp
    assert torch.equal(first[4]["image"], second[4]["image"])
    assert torch.equal(first[4]["image"], chips[4]["image"])
    file.write_bytes(b"half a file")
    assert torch.equal(DomainChips(VARIED, 3, 6, 64, cache=tmp_path)[4]["image"], chips[4]["image"])


def test_train_and_test_of_a_gap_show_different_places():
    source, target = GAPS["VV2F"].source, GAPS["VV2F"].target
    train, test = DomainChips([source], 1, 2, 64), DomainChips([target], 2, 2, 64)
    assert not torch.equal(train[0]["label"], test[0]["label"])
    assert torch.equal(train[0]["label"], DomainChips([target], 1, 2, 64)[0]["label"])


def test_a_header_without_scales_is_refused():
    with pytest.raises(CheckpointError, match="scales lack 'descriptors'"):
        Scales.from_json({})
