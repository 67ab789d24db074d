"""Folders of your own data as domains: their scale, descriptors and classes, and which go together."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from affine import Affine

from sartutor.errors import DataError
from sartutor.learn.domains import DomainChips, scene_descriptors
from sartutor.learn.own_domains import (
    OwnDomain,
    check_taxonomy,
    judging_split,
    missing_classes,
    refuse_missing,
    refuse_shared,
    shown,
)
from sartutor.sar.folder import (
    SAME_PLACE,
    BandRule,
    DatasetWriter,
    Description,
    Entry,
    open_dataset,
    write_labels,
)
from sartutor.sar.scene import Band
from sartutor.sim.gaps import POLARISATIONS
from sartutor.sim.landcover import Domain, landcover_scene

CLASSES = tuple("abcdefg")


def own_folder(
    path, bands=("VV",), splits=("train", "val", "coast"), units="power", classes=CLASSES, first=0, side=64
):
    """A folder of simulated images, one a split, seven classes; every scene lies at a place of its own."""
    rules = tuple(BandRule(name=name, units=units) for name in bands)
    labels = {name: (code,) for code, name in enumerate(classes)}
    writer = DatasetWriter(path, Description(bands=rules, labels=labels))
    for place, name in enumerate(splits):
        polarisation = "full" if len(bands) == 3 else "+".join(bands)
        scene, mask = landcover_scene(
            first + place, Domain("plains", polarisation, None, "gaofen3", "C"), side
        )
        away = scene.grid.transform @ Affine.translation(1000 * (first + place), 0)
        writer.write(name, replace(scene, grid=replace(scene.grid, transform=away)), mask)
    writer.finish([Entry(name, name, name) for name in splits])
    return open_dataset(path)


@pytest.fixture(scope="module")
def scales():
    return DomainChips([POLARISATIONS["VV"]], 1, 4, 64).scales


def test_channels_that_are_the_same_everywhere_are_not_described(scales):
    db = torch.from_numpy(np.random.default_rng(0).normal(-12, 3, (3, 64, 64))).float()
    valid = torch.ones(1, 64, 64, dtype=torch.bool)
    even = torch.full_like(db, -12)
    assert shown(even, valid, scales)[1].tolist() == [0, 0, 0]
    half = torch.cat([db[:1], even[1:]])
    assert torch.equal(shown(half, valid, scales)[1], shown(db[:1].expand(3, -1, -1), valid, scales)[1])


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


def test_primary_bands_alone_are_shown_and_checked(tmp_path, scales):
    rules = (BandRule(name="VV", units="power"), BandRule(name="slope", units="degree"))
    labels = {name: (code,) for code, name in enumerate(CLASSES)}
    writer = DatasetWriter(tmp_path, Description(bands=rules, labels=labels, primary=("VV",)))
    scene, mask = landcover_scene(0, POLARISATIONS["VV"], 64)
    slope = Band("slope", "degree")
    both = replace(scene, pixels=np.concatenate([scene.pixels] * 2), bands=(*scene.bands, slope))
    writer.write("train", both, mask)
    writer.finish([Entry("train", "train", "train")])
    alone = OwnDomain(own_folder(tmp_path / "alone", splits=("train",)), "train", 64, scales)[0]["image"]
    assert torch.equal(OwnDomain(open_dataset(tmp_path), "train", 64, scales)[0]["image"], alone)


def test_missing_classes_are_those_without_a_label(tmp_path):
    folder = own_folder(tmp_path)
    there = set(np.unique(folder.mask("coast")))
    assert missing_classes(folder, "coast") == tuple(c for i, c in enumerate(CLASSES) if i not in there)


def test_a_split_without_any_label_and_a_training_without_a_class_are_refused(tmp_path):
    folder = own_folder(tmp_path, splits=("train", "val"))
    write_labels(np.zeros((64, 64), np.uint8), folder.scene("val").grid, tmp_path / "masks" / "val.tif")
    refuse_missing(folder, "val")
    with pytest.raises(DataError, match=r"No label of split 'val' of .* is b, so that it cannot be learned"):
        refuse_missing(folder, "val", every=True)
    (tmp_path / "dataset.yaml").write_text(
        (tmp_path / "dataset.yaml").read_text().replace("- 0\n", "- 99\n") + "ignore: 0\n"
    )
    with pytest.raises(DataError, match=r"No pixel of split 'val' of .* has a label; add masks"):
        refuse_missing(open_dataset(tmp_path), "val")


def test_a_target_that_shows_ground_of_the_training_is_refused(tmp_path):
    source = own_folder(tmp_path / "a")
    refuse_shared(source, own_folder(tmp_path / "b", ("HV",), ("test",), first=9))
    with pytest.raises(
        DataError, match=r"test.tif shows ground of .*val.tif, which is learned from; leave one"
    ):
        refuse_shared(source, own_folder(tmp_path / "c", ("HV",), ("test",), first=1))
    # where the source itself is asked, the target may be too
    refuse_shared(source, own_folder(tmp_path / "d", ("HV",), ("test",), first=2))
    with pytest.raises(DataError, match="is the source itself"):
        refuse_shared(source, source)


def test_the_split_that_judges_is_no_part_of_training(tmp_path):
    assert judging_split(own_folder(tmp_path / "a")) == "coast"
    assert judging_split(own_folder(tmp_path / "b", splits=("train", "val"))) == "val"
    assert judging_split(own_folder(tmp_path / "d", splits=(SAME_PLACE, "val", "test"))) == "test"
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
