"""`sartutor mixture`: folders become a mixture of experts to freeze; DINOv2 as a start; bad input is one line."""

import json
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from test_cli_adapt import one_line, run
from test_learn_own_domains import CLASSES, own_folder

from sartutor.learn import loop, own_encoders
from sartutor.learn.checkpoints import load_tensors, save_tensors, state_path
from sartutor.learn.curves import curve_path
from sartutor.learn.domains import DomainChips, scene_descriptors
from sartutor.learn.generalisation import KeptMaps, Segmenter, confusions
from sartutor.learn.generalise import Choices
from sartutor.learn.generalists import generalist_header, load_generalist
from sartutor.learn.metrics import mean_iou
from sartutor.learn.moe import mixtures
from sartutor.learn.own_domains import OwnDomain
from sartutor.learn.own_encoders import load_start
from sartutor.learn.vit import build_vit
from sartutor.presets import VIT_SIZES, VitSize
from sartutor.sar.folder import open_dataset, write_labels
from sartutor.sar.geotiff import write_scene
from sartutor.sim.gaps import POLARISATIONS


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    """A generalist without experts, with random weights, of the size of smoke."""
    scales = DomainChips([POLARISATIONS["VV"]], 1, 4, 64).scales
    path = tmp_path_factory.mktemp("start") / "dense.safetensors"
    model = Segmenter(build_vit(VIT_SIZES["smoke"], 0), 7, 16)
    save_tensors(path, model.state_dict(), generalist_header("smoke", None, scales, CLASSES, 16))
    return path


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two folders of two radars; the second has no validation."""
    at = tmp_path_factory.mktemp("folders")
    return [
        own_folder(at / "here", side=128).folder,
        own_folder(at / "there", ("HH", "HV"), ("train", "test"), first=9).folder,
    ]


@pytest.fixture
def small_dinov2(monkeypatch, tmp_path):
    """Weights in the form of DINOv2's, and a size of it for small images."""
    size = VitSize("dinov2_s", 64, 16, 384, 12, 6, True, 1e-5)
    monkeypatch.setitem(own_encoders.VIT_SIZES, "dinov2_s", size)
    path = tmp_path / "dinov2_vits14_pretrain.pth"
    official = timm.create_model("vit_small_patch14_dinov2", pretrained=False, num_classes=0)
    torch.save(official.state_dict(), path)
    return path


def made(folders, encoder, out, *options):
    usual = ("--encoder", encoder, "--preset", "smoke", "--out", out, "--device", "cpu")
    return run("mixture", *folders, *usual, *options)


def test_what_is_written_is_a_generalist_with_experts_and_scores_as_reported(
    folders, dense, tmp_path, capsys
):
    out = tmp_path / "mine.safetensors"
    assert made(folders, dense, out, "--experts", "3", "--chosen", "2", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    known = load_generalist(out)
    (mixture, *_) = [layer.mixture for layer in mixtures(known.model)]
    assert (mixture.experts, mixture.chosen, known.classes) == (3, 2, CLASSES)
    assert found["parameters"] > found["active_parameters"]
    assert list(found["validation"]) == [str(folders[0])]
    chips = OwnDomain(open_dataset(folders[0]), "val", 64, known.scales)
    table = confusions(known.model.head, KeptMaps(known.model.encoder, chips)).sum(0)
    assert found["validation"][str(folders[0])] == pytest.approx(mean_iou(table), abs=0.01)


def test_experts_are_copies_that_learned_and_the_router_is_told_standardised_descriptors(
    folders, dense, tmp_path
):
    out = tmp_path / "mine.safetensors"
    assert made(folders, dense, out) == 0
    before, (after, about) = load_tensors(dense)[0], load_tensors(out)
    name = "encoder.blocks.0.mlp.{}fc1.weight"
    old, new = before[name.format("")], after[name.format("experts.0.")]
    assert not torch.equal(old, new)
    assert torch.allclose(old, new, atol=0.02)
    scales = load_generalist(out).scales
    told = []
    for folder in folders:
        chips = OwnDomain(open_dataset(folder), "train", 64, scales)
        told += [chips[i]["descriptors"].numpy() for i in range(len(chips))]
    assert np.mean(told, 0) == pytest.approx([0, 0, 0], abs=1e-4)
    assert np.std(told, 0) == pytest.approx([1, 1, 1], abs=1e-4)
    assert scales.statistics == load_start(dense, ()).scales.statistics
    assert about["folders"] == list(map(str, folders))


def test_an_interrupted_run_goes_on_and_ends_as_if_it_had_not_been(folders, dense, tmp_path, monkeypatch):
    whole, cut = tmp_path / "whole.safetensors", tmp_path / "cut.safetensors"
    assert made(folders, dense, whole) == 0
    real, calls = loop.save_state, []

    def power_cut(*arguments, **named):
        real(*arguments, **named)
        calls.append(1)
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "save_state", power_cut)
    assert made(folders, dense, cut) == 130
    assert calls
    assert state_path(cut).exists()
    monkeypatch.undo()
    assert made(folders, dense, cut) == 0
    one, other = load_tensors(whole)[0], load_tensors(cut)[0]
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not state_path(cut).exists()
    assert curve_path(cut).exists()


def test_dinov2_is_a_start_whose_channels_are_standardised_by_the_folders(folders, small_dinov2, tmp_path):
    data = [open_dataset(folder) for folder in folders]
    start = load_start(small_dinov2, data)
    assert start.encoder.size.name == "dinov2_s"
    level = [
        10 * np.log10(scene.pixels[:, scene.valid].ravel())
        for folder in data
        for scene in [folder.scene(id) for id in folder.ids("train")]
    ]
    pooled = np.concatenate(level)
    assert start.scales.statistics.mean == pytest.approx((pooled.mean(),) * 3, abs=1e-2)
    assert start.scales.statistics.std == pytest.approx((pooled.std(),) * 3, rel=1e-3)
    out = tmp_path / "mine.safetensors"
    assert made(folders, small_dinov2, out) == 0
    assert load_generalist(out).about["architecture"] == "dinov2_s"


def test_a_head_learns_on_dinov2_too(folders, small_dinov2, tmp_path):
    out, usual = tmp_path / "cover.safetensors", ("--preset", "smoke", "--device", "cpu")
    here, there = own_folder(tmp_path / "a", side=192).folder, folders[1]
    assert run("generalise", here, there, "--encoder", small_dinov2, "--out", out, *usual) == 0
    before = load_start(small_dinov2, [open_dataset(here)]).encoder.state_dict()
    after = load_generalist(out).model.encoder.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_paper_preset_takes_the_head_of_the_paper():
    assert Choices(size="paper").decoder is not None
    assert Choices(size="laptop").decoder is None
    assert Choices(size="paper", head="light").decoder is None


def test_descriptors_are_measured_on_what_has_data(folders, dense, tmp_path):
    folder = own_folder(tmp_path / "holed", ("VV",), ("train", "val"), side=192)
    start = load_start(dense, ())
    whole = own_encoders.measured_descriptors(start, [folder])
    scene = folder.scene("train")
    margin = np.where(np.arange(192) < 64, np.nan, scene.pixels).astype(np.float32)
    write_scene(replace(scene, pixels=margin, valid=~np.isnan(margin[0])), folder.image_path("train"))
    holed = own_encoders.measured_descriptors(start, [folder])
    assert holed.mean == pytest.approx(whole.mean, rel=0.2)
    assert max(holed.deviation) < 3 * max(whole.deviation)


def test_raw_descriptors_are_those_of_the_chips(folders, dense):
    folder = open_dataset(folders[1])
    fitted = own_encoders.measured_descriptors(load_start(dense, ()), [folder])
    scene = folder.scene(folder.ids("train")[0])
    db = 10 * np.log10(scene.pixels)
    three = np.stack([db[0], db[1], (db[0] + db[1]) / 2])
    assert fitted.apply(scene_descriptors(three)[None])[0] == pytest.approx([0, 0, 0], abs=1e-3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--experts", "2", "--chosen", "3"), "3 of 2 experts cannot be chosen"),
        (("--capacity", "0"), "capacity of 0 leaves no token"),
        (("--encoder", "nowhere.pth"), "There is no checkpoint nowhere.pth"),
        (("--encoder", "generalist_moe"), "generalist_moe has experts already"),
        (("--preset", "huge"), "no preset 'huge'"),
    ],
)
def test_what_does_not_fit(folders, dense, tmp_path, capsys, options, words):
    assert made(folders, dense, tmp_path / "a.safetensors", *options) == 2
    one_line(capsys, words)


def test_weights_that_are_not_dinov2s_are_refused(folders, dense, tmp_path, capsys):
    path = tmp_path / "other.pth"
    torch.save({"weight": torch.zeros(3)}, path)
    assert made(folders, path, tmp_path / "a.safetensors") == 2
    one_line(capsys, "other.pth does not hold the weights of DINOv2")


def test_validation_without_labels_or_on_learned_ground_is_refused_before_training(
    folders, dense, tmp_path, capsys
):
    unlabelled = own_folder(tmp_path / "a", first=40, side=128)
    write_labels(
        np.full((128, 128), 255), unlabelled.scene("val").grid, unlabelled.folder / "masks" / "val.tif"
    )
    text = (unlabelled.folder / "dataset.yaml").read_text() + "ignore: 255\n"
    (unlabelled.folder / "dataset.yaml").write_text(text)
    out = tmp_path / "a.safetensors"
    assert made([unlabelled.folder], dense, out) == 2
    one_line(capsys, "No pixel of split 'val'")
    shifted = own_folder(tmp_path / "b", first=1, side=128)  # trains where the first folder validates
    assert made([folders[0], shifted.folder], dense, out) == 2
    one_line(capsys, "shows ground of")
    assert not out.exists()


def test_a_folder_that_experts_learned_from_is_no_target(folders, dense, tmp_path, capsys):
    out = tmp_path / "experts.safetensors"
    assert made(folders, dense, out) == 0
    here = own_folder(tmp_path / "here", first=60, side=192).folder
    usual = (
        "--encoder",
        out,
        "--preset",
        "smoke",
        "--device",
        "cpu",
        "--out",
        tmp_path / "cover.safetensors",
    )
    assert run("generalise", here, folders[1], *usual) == 2
    one_line(capsys, "The encoder learned from")


def test_folders_of_other_classes_are_refused(folders, dense, tmp_path, capsys):
    other = own_folder(tmp_path / "other", classes=tuple("gfedcba")).folder
    assert made([*folders, other], dense, tmp_path / "a.safetensors") == 2
    one_line(capsys, "map both to one list")
