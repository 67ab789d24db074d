"""Prompted samples: the same for the same seed, boxes on their objects, no label where nothing is known."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import rasterio
import torch
from adapting import SIX, drawn, write_folder
from affine import Affine
from rasterio.windows import Window
from rasters import write
from scipy import ndimage
from torch.utils.data import default_collate

from sartutor.errors import DataError
from sartutor.learn.recent import Recent
from sartutor.learn.sam import samples as samples_module
from sartutor.learn.sam.contrast import box_mask
from sartutor.learn.sam.samples import (
    MOST_BOXES,
    Labelled,
    PromptedImages,
    box_targets,
    branch_ranges,
    chip_side,
    empty_ids,
    labelled_ids,
    mirrored,
    one_object,
    prompted,
)
from sartutor.sar.folder import (
    IGNORE,
    BandRule,
    DatasetWriter,
    Description,
    Entry,
    open_dataset,
    write_labels,
)
from sartutor.sar.geotiff import write_scene
from sartutor.sar.scene import Band, Grid, Scene

SIDE = 64
RANGES = [dict.fromkeys(SIX[:3], (-25.0, -2.0)), dict.fromkeys(SIX[3:], (-25.0, -2.0))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("six"))


def samples(folder, draws=12, **more):
    return PromptedImages(folder, "train", branch_ranges(folder), SIDE, draws, 3, **more)


def test_a_sample_is_always_the_same_and_no_two_are(folder):
    one, again = samples(folder), samples(folder)
    for name in ("image", "target", "known", "box"):
        assert torch.equal(one[4][name], again[4][name])
    assert not torch.equal(one[4]["image"], one[5]["image"])


def test_shapes_and_values(folder):
    for sample in map(samples(folder).__getitem__, range(12)):
        assert sample["image"].shape == (2, 3, SIDE, SIDE)
        assert sample["image"].dtype == torch.float16
        assert sample["image"].min() >= 0
        assert sample["image"].max() <= 1
        given = sample["box"][:, 0] >= 0
        assert 1 <= given.sum() <= MOST_BOXES
        boxes = sample["box"][given]
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert boxes.min() >= 0
        assert boxes.max() <= SIDE


def test_boxes_hold_objects(folder):
    shares = []
    for sample in map(samples(folder, 40).__getitem__, range(40)):
        boxes = sample["box"][sample["box"][:, 0] >= 0]
        shares += [(sample["target"] & inside).any().item() for inside in box_mask(boxes, SIDE)]
    assert np.mean(shares) > 0.95


def test_a_short_list_comes_again(folder):
    some = samples(folder, different=3)
    assert torch.equal(some[1]["image"], some[4]["image"])
    assert not torch.equal(some[1]["image"], some[2]["image"])


def test_tight_boxes_are_tighter(folder):
    areas = {}
    for prompts in ("loose", "tight"):
        some = samples(folder, 30, prompts=prompts)
        boxes = [some[i]["box"] for i in range(30)]
        known = [box[box[:, 0] >= 0] for box in boxes]
        areas[prompts] = np.mean([((b[:, 2:] - b[:, :2]).prod(1) / SIDE**2).mean().item() for b in known])
    assert areas["tight"] < areas["loose"]


def test_a_click_lies_on_the_one_object_to_be_found(folder):
    clicked = 0
    for sample in map(samples(folder, 40, prompts="points").__getitem__, range(40)):
        given = sample["points"][sample["points"][:, 2] >= 0]
        if not len(given):
            continue
        clicked += 1
        cols, rows = given[:, :2].long().T
        assert (given[:, 2] == 1).all()
        assert ndimage.label(sample["target"], np.ones((3, 3)))[1] == 1
        assert sample["target"][rows.clamp_max(SIDE - 1), cols.clamp_max(SIDE - 1)].float().mean() > 0.4
        assert sample["box"][:, 0].tolist() == [0.0] + [-1.0] * (MOST_BOXES - 1)
    assert 10 <= clicked <= 30


def test_other_objects_are_background_for_a_click():
    labels = np.array([[1, 0, 0, 1], [0, 1, 0, 1], [IGNORE, 0, 0, 1]], np.int16)
    found = {one_object(np.random.default_rng(seed), labels).tobytes() for seed in range(20)}
    left, right = labels.copy(), labels.copy()
    left[:, 3] = right[:2, :2] = 0
    assert found == {left.tobytes(), right.tobytes()}


@pytest.mark.parametrize("prompts", ["loose", "tight"])
def test_boxes_come_without_clicks(folder, prompts):
    assert all((samples(folder, prompts=prompts)[i]["points"] == -1).all() for i in range(6))


def test_a_chip_shows_more_than_the_surroundings(folder):
    def widths(scale):
        some = samples(folder, 20, scales=(scale,), prompts="tight")
        return np.mean(
            [
                (sample["box"][0, 2] - sample["box"][0, 0]).item()
                for sample in map(some.__getitem__, range(20))
            ]
        )

    assert widths("chip") <= widths("near")


def test_what_is_not_known_weighs_nothing():
    scene, mask = drawn(1, SIX)
    labels = np.where(mask > 0, 1, 0).astype(np.int16)
    labels[:20] = IGNORE
    valid = np.ones(labels.shape, bool)
    valid[:, :10] = False
    sample = prompted(
        Labelled(replace(scene, valid=valid), labels),
        RANGES,
        96,
        Window(0, 0, 96, 96),
        [(0.0, 0.0, 96.0, 96.0)],
    )
    assert not sample["known"][:20].any()
    assert not sample["known"][:, :10].any()
    assert sample["known"][20:, 10:].all()
    _, _, target, weight = box_targets(default_collate([sample]))
    assert weight.sum() == sample["known"].sum()
    assert target.sum() == (labels[20:, 10:] == 1).sum()


def test_a_box_answers_for_what_is_in_it():
    scene, mask = drawn(1, SIX)
    labels = np.where(mask > 0, 1, 0).astype(np.int16)
    boxes = [(0.0, 0.0, 48.0, 48.0), (48.0, 48.0, 96.0, 96.0)]
    batch = default_collate([prompted(Labelled(scene, labels), RANGES, 96, Window(0, 0, 96, 96), boxes)] * 2)
    place, given, target, weight = box_targets(batch)
    assert place.tolist() == [0, 0, 1, 1]
    assert given.tolist() == [list(box) for box in boxes] * 2
    assert target[0, 0, 48:].sum() == 0
    assert target[0].sum() == (labels[:48, :48] == 1).sum()
    assert weight[1].sum() == 48 * 48
    _, _, same, everywhere = box_targets(batch, "background")
    assert torch.equal(same, target)
    assert everywhere.all()


def test_mirrors_move_image_and_labels_together():
    scene, mask = drawn(1, SIX)
    bright = scene.pixels[0] > -11
    for seed in range(4):
        turned = mirrored(
            Labelled(scene, np.where(mask > 0, 1, 0).astype(np.int16)), np.random.default_rng(seed)
        )
        agreement = ((turned.scene.pixels[0] > -11) == (turned.labels == 1)).mean()
        assert agreement == pytest.approx((bright == (mask > 0)).mean())


def test_images_without_objects_teach_nothing(tmp_path):
    data = write_folder(tmp_path / "data", ("VV",))
    assert labelled_ids(data, "train") == data.ids("train")
    with pytest.raises(DataError, match="no image in split 'far'"):
        labelled_ids(data, "far")


def emptied(data, *ids):
    """The folder, opened anew, once the masks of some images hold no object."""
    for id in ids:
        write_labels(
            np.zeros_like(data.mask(id), np.uint8), data.scene(id).grid, data.folder / f"masks/{id}.tif"
        )
    return open_dataset(data.folder)


@pytest.mark.parametrize("prompts", ["loose", "tight", "points"])
def test_images_without_objects_are_a_share_of_the_samples(tmp_path, prompts):
    data = emptied(write_folder(tmp_path, ("VV",), splits="train train train val"), "1")
    assert (labelled_ids(data, "train"), empty_ids(data, "train")) == (("0", "2"), ("1",))
    some = samples(data, 200, prompts=prompts, empty_share=0.3)
    empty = [sample for sample in map(some.__getitem__, range(200)) if not sample["target"].any()]
    assert len(empty) == pytest.approx(60, abs=20)  # three standard deviations
    for sample in empty:
        assert (sample["box"][:, 0] >= 0).sum() == 1
        assert box_mask(sample["box"][:1], SIDE).any()
        assert sample["known"].any()
    assert all(
        sample["target"].any() for sample in map(samples(data, 50, prompts=prompts).__getitem__, range(50))
    )


def test_where_all_images_have_objects_the_share_of_others_changes_nothing(folder):
    assert empty_ids(folder, "train") == ()
    usual, more = samples(folder), samples(folder, empty_share=0.5)
    assert all(torch.equal(usual[index]["image"], more[index]["image"]) for index in range(len(usual)))


def test_an_image_that_is_not_known_is_not_empty(tmp_path):
    data = emptied(write_folder(tmp_path, ("VV",), splits="train train train val"), "0", "1")
    about = data.folder / "dataset.yaml"
    about.write_text(f"{about.read_text()}ignore: [9]\n")
    unknown = np.full(data.mask("0").shape, 9, np.uint8)
    write_labels(unknown, data.scene("0").grid, data.folder / "masks/0.tif")
    assert (open_dataset(data.folder).mask("0") == IGNORE).all()
    scene = data.scene("1")
    write_scene(replace(scene, valid=np.zeros_like(scene.valid)), data.folder / "images/1.tif")
    assert empty_ids(open_dataset(data.folder), "train") == ()


@pytest.mark.parametrize("prompts", ["loose", "tight", "points"])
def test_a_label_without_data_is_no_object(tmp_path, prompts):
    data = write_folder(tmp_path, ("VV",), splits="train train val")
    hide(data, "0", slice(None))
    hide(data, "1", slice(0, 48))
    assert (data.mask("0") == 1).any()
    found = PromptedImages(data, "train", branch_ranges(data), SIDE, 40, 0, prompts=prompts)
    for sample in map(found.__getitem__, range(40)):
        assert (sample["target"] & sample["known"]).any()
        assert not (sample["target"] & ~sample["known"]).any()


def hide(data, id, rows):
    """Take the data of an image away, but for a corner, and mark an object there."""
    scene, mask = data.scene(id), data.mask(id) == 1
    valid = np.ones_like(mask)
    valid[rows] = False
    valid[-4:, -4:] = True
    mask[rows.start or 0 : 40, :40] = True
    mask[-4:, -4:] = False
    if rows == slice(None):
        mask[40:] = False
    write_scene(replace(scene, valid=valid), data.folder / "images" / f"{id}.tif")
    write_labels(mask.astype(np.uint8), scene.grid, data.folder / "masks" / f"{id}.tif")


def test_readers_that_do_not_fork_get_the_samples(folder):
    one = samples(folder)
    assert torch.equal(pickle.loads(pickle.dumps(one))[3]["image"], one[3]["image"])


def test_scenes_are_kept_while_they_fit_the_memory(folder, monkeypatch):
    monkeypatch.setattr(samples_module, "SCENE_MEMORY", 1)
    found = samples(folder)
    for index in range(12):
        found[index]
    assert len(list(found._scenes)) == 1


def test_the_least_recently_used_goes_first():
    class Piece:
        bytes = 4

    made = []
    kept = Recent(8)
    for key in "abacab":
        kept.get(key, lambda key: made.append(key) or Piece())
    assert made == ["a", "b", "c", "b"]
    assert sorted(kept) == ["a", "b"]


def test_what_shrinks_to_less_than_half_a_pixel_is_still_there():
    scene = drawn(0, ("VV",))[0]
    labels = np.zeros(scene.grid.shape, np.int16)
    labels[10:14, 11:13] = 1
    labels[50:90, 20:90] = 1
    boxes = [(20.0, 50.0, 90.0, 90.0), (7.0, 7.0, 17.0, 17.0), (60.0, 10.0, 70.0, 20.0)]
    whole = Window(0, 0, *scene.grid.shape)
    sample = prompted(Labelled(scene, labels), [{"VV": (-25.0, -2.0)}], 16, whole, boxes)
    _, _, target, _ = box_targets(default_collate([sample]))
    filled = [float(each.sum()) for each in target]
    assert filled[1] == 4
    assert filled[0] == pytest.approx(40 * 70 / 36, rel=0.15)
    assert filled[2] == 0


def test_a_chip_in_use_is_as_large_as_in_training_for_images_of_any_shape(tmp_path):
    data = write_folder(tmp_path, ("VV",), splits="train train val")
    for id, shape in (("0", (30, 90)), ("1", (40, 40))):
        scene = data.scene(id)
        write_scene(scene.read(Window(0, 0, *shape[::-1])), data.folder / "images" / f"{id}.tif")
        label = np.zeros(shape, np.uint8)
        label[10:20, 10:20] = 1
        grid = Grid(scene.grid.transform, scene.grid.crs, *shape)
        write_labels(label, grid, data.folder / "masks" / f"{id}.tif")
    assert chip_side(data, 256) == 90
    assert chip_side(data, SIDE) == SIDE


@pytest.mark.parametrize(
    ("units", "levels", "words"),
    [
        ("power", None, r"band VV, from -.* to -.*, spans no levels in units 'power'; correct its units"),
        ("db", (0.0, 9000.0), r"band VV, from 0 to 9000, spans no levels in units 'db'"),
        ("complex", None, "complex bands cannot be averaged"),
    ],
)
def test_units_that_cannot_be(tmp_path, units, levels, words):
    data = write_folder(tmp_path, ("VV",))
    described = (tmp_path / "dataset.yaml").read_text().replace("units: db", f"units: {units}")
    if levels:
        described = described.replace(f"units: {units}", f"units: {units}\n  range: {list(levels)}")
    (tmp_path / "dataset.yaml").write_text(described)
    for id in data.ids("train"):
        path = tmp_path / "images" / f"{id}.tif"
        with rasterio.open(path) as file:
            values = file.read()
        write(path, values)
    with pytest.raises(DataError, match=words):
        branch_ranges(open_dataset(tmp_path))


def test_parts_of_large_boxes_are_seen_at_a_finer_resolution(folder, monkeypatch):
    """Scenes of 96 px, a model of 32: of a part 32 px, or twice a fourth of the box, are seen, and a fifth more."""
    windows = []

    def heard(labelled, branches, side, window, some, *more):
        windows.append((window.width, max(some[0][2] - some[0][0], some[0][3] - some[0][1])))
        return prompted(labelled, branches, side, window, some, *more)

    monkeypatch.setattr(samples_module, "prompted", heard)
    for by_parts in (False, True):
        drawn_at = PromptedImages(folder, "train", RANGES, 32, 60, 3, ("chip",), None, "tight", by_parts)
        for index in range(60):
            drawn_at[index]
    chips, parts = np.array(windows[:60]), np.array(windows[60:])
    cut = (chips != parts).any(1)
    assert 5 < cut.sum() < 60
    assert (parts[cut, 0] <= 1.2 * np.maximum(32, 2 * (chips[cut, 1] / 4 + 1)) + 1).all()
    assert (parts[cut, 0] < chips[cut, 0]).all()


def test_a_part_without_data_is_not_learned_from(tmp_path):
    """Scenes whose left half has no data, with a box across: no sample is of the left alone."""
    description = Description(
        bands=(BandRule(name="a", units="1", range=(0, 1)),), labels={"background": (0,), "object": (1,)}
    )
    writer = DatasetWriter(tmp_path / "half", description)
    valid = np.zeros((300, 300), bool)
    valid[:, 150:] = True
    pixels = np.where(valid, np.random.default_rng(0).random((1, 300, 300)), 0).astype(np.float32)
    scene = Scene(pixels, (Band("a", "1"),), Grid(Affine.identity(), None, 300, 300), valid)
    objects = np.zeros((300, 300), bool)
    objects[20:280, 10:290] = True
    writer.write("0", scene, objects)
    data = writer.finish([Entry("0", "train", "0")])
    some = PromptedImages(data, "train", [{"a": (0.0, 1.0)}], 64, 60, 1, ("chip",), by_parts=True)
    assert all(some[index]["known"].any() for index in range(60))


def test_a_box_that_is_not_cut_is_seen_as_it_is(folder):
    some, labels = (
        PromptedImages(folder, "train", RANGES, 32, 1, 3, by_parts=True),
        np.ones((96, 96), np.int16),
    )
    assert some._part(np.random.default_rng(0), (4.0, 4.0, 20.0, 16.0), labels) == (4.0, 4.0, 20.0, 16.0)


def test_scenes_no_larger_than_the_model_have_no_parts(folder):
    whole, parts = (
        PromptedImages(folder, "train", RANGES, 96, 20, 3, ("chip",), by_parts=each) for each in (False, True)
    )
    for one, other in zip(map(whole.__getitem__, range(20)), map(parts.__getitem__, range(20)), strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
