"""The benchmark of gaps: what differs between source and target, what pretraining sees, and weak labels."""

from collections import Counter
from dataclasses import asdict

import numpy as np
import pytest

from sartutor.errors import DataError
from sartutor.sim.backscatter import LAND_COVERS
from sartutor.sim.gaps import DOMAINS, FIRST, GAPS, OWN_NAMES, WORLD, weak_labels
from sartutor.sim.landcover import domain_sensor
from sartutor.sim.layout import REGIONS


def test_twelve_gaps_of_one_difference_and_ten_of_several_in_eight_kinds():
    several = [gap for gap in GAPS.values() if "+" in gap.kind]
    assert (len(GAPS) - len(several), len(several), len(FIRST)) == (12, 10, 8)
    assert set(OWN_NAMES) < set(GAPS)


@pytest.mark.parametrize("name", GAPS)
def test_source_and_target_differ_in_what_the_kind_names(name):
    kind, source, target = GAPS[name]
    before, after = asdict(source), asdict(target)
    changed = {field for field in before if before[field] != after[field]}
    assert changed == {"complex_part" if word == "complex" else word for word in kind.split("+")}


def test_every_own_name_is_the_way_back_of_another():
    for name in OWN_NAMES:
        source, target = name.split("2")
        back = GAPS[f"{target}2{source}"]
        assert (back.source, back.target) == (GAPS[name].target, GAPS[name].source)
    assert list(FIRST.values()) == [next(n for n, gap in GAPS.items() if gap.kind == kind) for kind in FIRST]
    assert not set(FIRST.values()) & set(OWN_NAMES)


def test_pretraining_sees_all_regions_and_radars_but_no_domain_of_the_benchmark():
    assert not set(WORLD) & set(DOMAINS.values())
    assert len(set(WORLD)) == len(WORLD) == 167
    assert {domain.region for domain in WORLD} == set(REGIONS)
    assert {domain.band for domain in WORLD} == {"L", "C", "X"}
    assert all(domain_sensor(domain).polarisations for domain in WORLD)


@pytest.mark.parametrize("agreement", [1.0, 0.7588, 0.632, 0.0])
def test_weak_labels_agree_as_told(agreement):
    labels = np.random.default_rng(2).integers(0, 7, (128, 128)).astype(np.uint8)
    weak = weak_labels(np.random.default_rng(0), labels, agreement)
    assert np.mean(weak == labels) == pytest.approx(agreement, abs=1 / labels.size)
    assert weak.max() < len(LAND_COVERS)
    assert weak.dtype == labels.dtype


def test_weak_labels_are_wrong_in_patches_and_take_one_class_for_one_other():
    labels = np.random.default_rng(2).integers(0, 7, (128, 128)).astype(np.uint8)
    weak = weak_labels(np.random.default_rng(0), labels, 0.75)
    wrong = weak != labels
    assert len(Counter(zip(labels[wrong], weak[wrong], strict=True))) == len(LAND_COVERS)
    assert np.mean(wrong[:, 1:] == wrong[:, :-1]) > 0.9


def test_a_share_outside_0_to_1_is_refused():
    with pytest.raises(DataError, match=r"1\.2 is no share"):
        weak_labels(np.random.default_rng(0), np.zeros((8, 8), np.uint8), 1.2)
