"""Folders of your own data as domains: their scale, descriptors and classes, and a head carried from one to another."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_learn_generalisation import HEAD

from sartutor.errors import DataError
from sartutor.learn.domains import DomainChips, scene_descriptors
from sartutor.learn.generalisation import KeptMaps
from sartutor.learn.own_domains import OwnDomain, check_taxonomy, judging_split, missing_classes, transfer
from sartutor.learn.vit import build_vit
from sartutor.presets import VIT_SIZES
from sartutor.sar.folder import BandRule, DatasetWriter, Description, Entry, open_dataset
from sartutor.sim.gaps import POLARISATIONS
from sartutor.sim.landcover import Domain, landcover_scene

CLASSES = tuple("abcdefg")


def own_folder(
    path, bands=("VV",), splits=("train", "val", "coast"), units="power", classes=CLASSES, first=0
):
    """A folder of simulated images of 64 px, one a split, seven classes."""
    rules = tuple(BandRule(name=name, units=units) for name in bands)
    labels = {name: (code,) for code, name in enumerate(classes)}
    writer = DatasetWriter(path, Description(bands=rules, labels=labels))
    for place, name in enumerate(splits):
        polarisation = "full" if len(bands) == 3 else "+".join(bands)
        scene, mask = landcover_scene(first + place, Domain("plains", polarisation, None, "gaofen3", "C"), 64)
        writer.write(name, scene, mask)
    writer.finish([Entry(name, name, name) for name in splits])
    return open_dataset(path)


@pytest.fixture(scope="module")
def scales():
    return DomainChips([POLARISATIONS["VV"]], 1, 4, 64).scales


def test_a_folder_is_shown_in_the_scales_of_the_encoder(tmp_path, scales):
    chips = OwnDomain(own_folder(tmp_path), "coast", 64, scales)
    scene, mask = landcover_scene(2, POLARISATIONS["VV"], 64)
    db = 10 * np.log10(scene.pixels)
    sample = chips[0]
    expected = (db[0] - scales.statistics.mean[0]) / scales.statistics.std[0]
    assert np.allclose(sample["image"][2].numpy(), expected, atol=1e-3)
    told = scales.descriptors.apply(scene_descriptors(db)[None])[0]
    assert sample["descriptors"].numpy() == pytest.approx(told, rel=1e-3, abs=1e-3)
    assert np.array_equal(sample["label"].numpy(), mask)
    assert chips.classes == CLASSES


def test_two_bands_become_three_channels_and_three_stay(tmp_path, scales):
    two = OwnDomain(own_folder(tmp_path / "two", ("HH", "HV")), "val", 64, scales)[0]["image"]
    assert torch.allclose(two[2], (two[0] + two[1]) / 2, atol=1e-5)
    three = OwnDomain(own_folder(tmp_path / "three", ("HH", "HV", "VV")), "val", 64, scales)[0]["image"]
    assert not torch.allclose(three[2], (three[0] + three[1]) / 2, atol=1e-2)


def test_a_head_learns_on_one_folder_and_is_asked_on_another(tmp_path, scales):
    source, target = own_folder(tmp_path / "a"), own_folder(tmp_path / "b", ("HV",), ("test",), first=9)
    vit = build_vit(VIT_SIZES["smoke"], 0).eval()
    found = transfer(vit, source, target, 64, scales, HEAD, 0, tmp_path / "head.safetensors", "cpu")
    assert 0 < found.target < 1
    assert 0 < found.own < 1
    kept = KeptMaps(vit, OwnDomain(target, "test", 64, scales))
    there = set(np.unique(kept.label))
    assert found.missing == missing_classes(kept) == tuple(c for i, c in enumerate(CLASSES) if i not in there)


def test_the_split_that_judges_is_no_part_of_training(tmp_path):
    assert judging_split(own_folder(tmp_path / "a")) == "coast"
    assert judging_split(own_folder(tmp_path / "b", splits=("train", "val"))) == "val"
    with pytest.raises(DataError, match="no split to judge by"):
        judging_split(own_folder(tmp_path / "c", splits=("train",)))


def test_label_maps_of_another_taxonomy_are_refused(tmp_path):
    source = own_folder(tmp_path / "a")
    target = own_folder(tmp_path / "b", classes=tuple("gfedcba"))
    with pytest.raises(
        DataError, match=r"has the classes g, f, e, d, c, b, a and .* a, b, c, d, e, f, g; map both"
    ):
        check_taxonomy(source, target)


def test_bands_without_calibration_are_refused(tmp_path, scales):
    rules = (BandRule(name="VV", units="dn"),)
    writer = DatasetWriter(tmp_path, Description(bands=rules, labels={"a": (0,), "b": (1,)}))
    scene, mask = landcover_scene(0, POLARISATIONS["VV"], 64)
    digital = replace(scene, bands=(replace(scene.bands[0], units="dn", quantity="none"),))
    writer.write("train", digital, (mask > 3).astype(np.uint8))
    writer.finish([Entry("train", "train", "train")])
    with pytest.raises(DataError, match="band VV is in 'dn' and an encoder of many domains takes calibrated"):
        OwnDomain(open_dataset(tmp_path), "train", 64, scales)
