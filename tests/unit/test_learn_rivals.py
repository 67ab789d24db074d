"""Rivals of prompted models: what they see, what their loss looks at, and how whole scenes are asked."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from affine import Affine

from sartutor.errors import CheckpointError, DataError, SarTutorError
from sartutor.learn import rivals
from sartutor.learn.checkpoints import load_tensors, save_tensors, state_path
from sartutor.learn.curves import read_curve
from sartutor.learn.rivals import (
    NETWORKS,
    PROMPTED,
    Rival,
    load_rival,
    pretrain_rival,
    rival_answer,
    rival_probability,
    train_rival,
)
from sartutor.presets import RIVAL_RECIPES, SHAPES_RECIPES, BenchmarkSizes
from sartutor.sar.folder import (
    BandRule,
    Dataset,
    DatasetWriter,
    Description,
    Entry,
    open_dataset,
    write_labels,
)
from sartutor.sar.scene import Band, Grid, Scene
from sartutor.sim.benchmark import write_benchmark

SMOKE = RIVAL_RECIPES["smoke"]
SIDE = SMOKE.side
ONE_BRANCH = ({"a": (0.0, 1.0), "b": (0.0, 1.0)},)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six bands for two encoders."""
    sizes = BenchmarkSizes(side=96, train=3, val=2, test=2)
    return write_benchmark(tmp_path_factory.mktemp("benchmark"), 1, sizes, progress=False)


@pytest.fixture
def small(monkeypatch):
    """U-Nets that are as quick to write as to train."""
    shallow = partial(smp.Unet, "resnet18", encoder_depth=3, decoder_channels=(32, 16, 16))
    monkeypatch.setattr(rivals, "NETWORKS", {**NETWORKS, "unet": shallow, "box_unet": shallow})


def squares(rng, shape, bands):
    """A scene with a bright square, and the square."""
    mask = np.zeros(shape, bool)
    row, col = (int(rng.integers(4, size - 20)) for size in shape)
    mask[row : row + 14, col : col + 14] = True
    pixels = (0.3 + 0.4 * mask + rng.normal(0, 0.05, (len(bands), *shape))).astype(np.float32)
    grid = Grid(Affine.identity(), None, *shape)
    return Scene(pixels, tuple(Band(name, "1") for name in bands), grid, np.ones(shape, bool)), mask


def squares_folder(path, bands, count=4, shape=(50, 70)):
    """Own data with sides that no network likes."""
    rng = np.random.default_rng(0)
    rules = tuple(BandRule(name=name, units="1", range=(0, 1)) for name in bands)
    writer = DatasetWriter(path, Description(bands=rules, labels={"background": (0,), "object": (1,)}))
    entries = [Entry(f"{split}{i}", split, f"{split}{i}") for split in ("train", "val") for i in range(count)]
    for entry in entries:
        writer.write(entry.id, *squares(rng, shape, bands))
    return writer.finish(entries)


def rival_of(name, branches=ONE_BRANCH, side=SIDE):
    torch.manual_seed(0)
    return Rival(name, branches, side).eval()


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", NETWORKS)
def test_a_rival_learns_from_a_folder_of_two_encoders_and_its_checkpoint_is_it(name, folder, tmp_path):
    out = tmp_path / "rival.safetensors"
    rival = train_rival(name, folder, SMOKE, out, seed=1, device="cpu")
    assert not state_path(out).exists()
    assert len(read_curve(out).loss) == SMOKE.steps
    again = load_rival(out)
    assert [list(ranges) for ranges in again.branches] == [["VV0", "VV1", "DEM"], ["VH0", "VH1", "slope"]]
    scene = folder.scene(folder.ids("test")[0])
    found = rival_probability(rival, scene)
    assert found.shape == scene.grid.shape
    assert found.dtype == np.float32
    assert 0 < found.min() < found.max() < 1
    np.testing.assert_allclose(rival_probability(again, scene), found, atol=1e-5)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("bands", [("a",), ("a", "b"), ("a", "b", "c", "d")])
def test_folders_of_few_bands_and_odd_sides_are_learned(bands, tmp_path):
    folder = squares_folder(tmp_path / "own", bands)
    recipe = replace(SMOKE, steps=12, warmup=2, check_every=6)
    rival = train_rival("box_unet", folder, recipe, tmp_path / "rival.safetensors", seed=0, device="cpu")
    losses = read_curve(tmp_path / "rival.safetensors").loss
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    assert rival_probability(rival, folder.scene("val0")).shape == (50, 70)


@pytest.mark.usefixtures("small")
def test_an_interrupted_training_goes_on_to_the_same_weights(folder, tmp_path, monkeypatch):
    whole, broken = tmp_path / "whole.safetensors", tmp_path / "broken.safetensors"
    train_rival("unet", folder, SMOKE, whole, seed=2, device="cpu")
    loss, calls = rivals._loss, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return loss(*arguments)

    monkeypatch.setattr(rivals, "_loss", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_rival("unet", folder, SMOKE, broken, seed=2, device="cpu")
    assert state_path(broken).exists()
    train_rival("unet", folder, SMOKE, broken, seed=2, device="cpu")
    one, other = load_tensors(whole)[0], load_tensors(broken)[0]
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.usefixtures("small")
def test_the_state_of_a_training_is_no_rival(folder, tmp_path, monkeypatch):
    out, loss = tmp_path / "rival.safetensors", rivals._loss
    monkeypatch.setattr(
        rivals, "_loss", lambda *arguments: loss(*arguments) * (np.nan if arguments[2] else 1)
    )
    with pytest.raises(SarTutorError, match="not a finite number"):
        train_rival("unet", folder, replace(SMOKE, check_every=1), out, seed=2, device="cpu")
    with pytest.raises(CheckpointError, match="does not hold the weights of a unet"):
        load_rival(state_path(out))


@pytest.mark.usefixtures("small")
def test_larger_scenes_are_asked_in_chips_of_the_size_of_training(tmp_path, monkeypatch):
    folder = squares_folder(tmp_path / "own", ("a",), shape=(40, 44))
    out = tmp_path / "rival.safetensors"
    train_rival("unet", folder, SMOKE, out, seed=0, device="cpu")
    sides, tiles = [], rivals.tile_grid
    monkeypatch.setattr(
        rivals, "tile_grid", lambda shape, side, overlap: sides.append(side) or tiles(shape, side, overlap)
    )
    rival_probability(load_rival(out), squares(np.random.default_rng(1), (100, 120), ("a",))[0])
    assert sides == [44]


@pytest.mark.usefixtures("small")
def test_large_objects_are_learned_at_the_resolution_at_which_they_are_asked(tmp_path, monkeypatch):
    """Bars of 14 x 100 px: a chip that holds one with its surroundings would shrink it to 5 rows of the input."""
    folder = squares_folder(tmp_path / "long", ("a",), shape=(300, 300))
    mask = np.zeros((300, 300), np.uint8)
    mask[100:114, 90:190] = 1
    for id in folder.ids("train"):
        write_labels(mask, folder.scene(id).grid, folder.folder / "masks" / f"{id}.tif")
    rows, loss = [], rivals._loss

    def heard(model, batch, step):
        rows.extend(batch["target"].any(2).sum(1).tolist())
        return loss(model, batch, step)

    monkeypatch.setattr(rivals, "_loss", heard)
    train_rival("unet", open_dataset(folder.folder), SMOKE, tmp_path / "a.safetensors", 1, progress=False)
    assert sorted(rows)[-3] >= 11


@pytest.mark.usefixtures("small")
def test_a_rival_is_not_asked_about_another_kind_of_band(tmp_path):
    folder = squares_folder(tmp_path / "own", ("a",))
    out = tmp_path / "rival.safetensors"
    train_rival("unet", folder, SMOKE, out, seed=0, device="cpu")
    rule = folder.description.bands[0].model_copy(update={"units": "db"})
    radar = Dataset(
        folder.folder, folder.description.model_copy(update={"bands": (rule,)}), folder.entries, {}
    )
    with pytest.raises(DataError, match="band a is in units 'db' and the rival learned it as values"):
        rival_answer(load_rival(out), radar)


def batch_of(rng, boxes):
    """Two images of noise, and the boxes of both."""
    placed = torch.full((2, 8, 4), -1.0)
    placed[:, : len(boxes)] = torch.tensor(boxes)
    return {
        "image": torch.rand(2, 1, 3, SIDE, SIDE, generator=rng),
        "target": torch.rand(2, SIDE, SIDE, generator=rng) > 0.7,
        "known": torch.ones(2, SIDE, SIDE, dtype=torch.bool),
        "box": placed,
    }


@pytest.mark.parametrize("name", NETWORKS)
def test_only_the_prompted_rival_looks_at_boxes_and_it_answers_for_them_alone(name):
    rng = torch.Generator().manual_seed(0)
    batch = batch_of(rng, [[8.0, 8, 24, 24], [32, 32, 60, 60]])
    fewer = {**batch, "box": torch.where(torch.arange(8)[:, None] == 1, -1.0, batch["box"])}
    flipped = {**batch, "target": batch["target"].clone()}
    flipped["target"][:, 26:30] ^= True
    rival = rival_of(name)
    with torch.no_grad():
        loss, with_one, other_target = (
            float(rivals._loss(rival, each, 0)) for each in (batch, fewer, flipped)
        )
    assert (with_one != loss) == (name in PROMPTED)
    assert (other_target == loss) == (name in PROMPTED)


@pytest.mark.parametrize("name", NETWORKS)
def test_pixels_that_are_not_known_do_not_count(name):
    batch = batch_of(torch.Generator().manual_seed(0), [[0.0, 0, SIDE, SIDE]])
    batch["known"][:, 10:20] = False
    flipped = {**batch, "target": batch["target"] ^ ~batch["known"]}
    rival = rival_of(name)
    with torch.no_grad():
        assert torch.equal(rivals._loss(rival, batch, 0), rivals._loss(rival, flipped, 0))


def test_an_image_without_object_has_a_gradient():
    batch = batch_of(torch.Generator().manual_seed(0), [[0.0, 0, SIDE, SIDE]])
    rival = rival_of("unet").train()
    rivals._loss(rival, {**batch, "target": torch.zeros_like(batch["target"])}, 0).backward()
    assert max(float(p.grad.abs().max()) for p in rival.parameters()) > 1e-4


@pytest.mark.parametrize("name", NETWORKS)
def test_boxes_cut_the_answer_and_no_data_has_none(name):
    scene, _ = squares(np.random.default_rng(0), (50, 70), ("a", "b"))
    scene.valid[30:, :20] = False
    rival, boxes = rival_of(name), [(5.0, 5.0, 30.0, 40.0), (40.0, 10.0, 60.0, 30.0)]
    found = rival_probability(rival, scene, boxes)
    inside = np.zeros((50, 70), bool)
    inside[5:40, 5:30] = inside[10:30, 40:60] = True
    assert np.array_equal(found > 0, inside & scene.valid)
    whole = rival_probability(rival, scene)
    assert np.array_equal(whole > 0, scene.valid)
    assert np.allclose(found[found > 0], whole[found > 0]) == (name not in PROMPTED)
    assert not rival_probability(rival, scene, []).any()


def test_a_scene_larger_than_a_chip_is_asked_chip_by_chip():
    scene, _ = squares(np.random.default_rng(0), (SIDE + 40, 2 * SIDE + 7), ("a", "b"))
    scene.valid[:, -40:] = False
    rival = rival_of("unet")
    found = rival_probability(rival, scene)
    assert np.array_equal(found > 0, scene.valid)
    alone = rival_probability(rival, scene.read(rivals.tile_grid(scene.grid.shape, SIDE, 16)[0].window))
    np.testing.assert_allclose(found[:24, :24], alone[:24, :24], atol=1e-6)


@pytest.mark.usefixtures("small")
def test_shapes_are_a_start_for_as_many_encoders(folder, tmp_path):
    start, out = tmp_path / "start.safetensors", tmp_path / "rival.safetensors"
    pretrain_rival("unet", SHAPES_RECIPES["smoke"], start, seed=0, device="cpu")
    still = replace(SMOKE, learning_rate=0.0)
    train_rival("unet", folder, still, out, seed=5, device="cpu", init=start)
    begun, trained = load_tensors(start)[0], load_tensors(out)[0]
    weights = [name for name, _ in rival_of("unet").named_parameters()]
    assert all(torch.equal(begun[name], trained[name]) for name in weights)
    assert load_tensors(out)[1]["parent"]


def test_a_start_of_another_network_or_of_other_encoders_is_refused(folder, tmp_path):
    start, out = tmp_path / "start.safetensors", tmp_path / "rival.safetensors"
    save_tensors(start, {}, {"kind": "rival", "architecture": "unet", "bands": [[]]})
    for name in ("unet", "box_unet"):
        with pytest.raises(CheckpointError, match="of 2 encoders; pretrain one"):
            train_rival(name, folder, SMOKE, out, seed=0, init=start)
    with pytest.raises(SarTutorError, match="no rival 'fcn'"):
        train_rival("fcn", folder, SMOKE, out, seed=0)


def test_a_file_without_a_rival_and_a_scene_without_its_bands_are_refused(folder, tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint"):
        load_rival(tmp_path / "nothing.safetensors")
    with pytest.raises(DataError, match="no band 'a'"):
        rival_probability(rival_of("unet"), folder.scene(folder.ids("test")[0]))
