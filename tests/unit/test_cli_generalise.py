"""`sartutor generalise`: a folder becomes a model that other folders are asked with; bad input is one line."""

import json

import numpy as np
import pytest
import torch
from test_cli_adapt import one_line, run
from test_learn_own_domains import CLASSES, own_folder

from sartutor.errors import SarTutorError
from sartutor.learn import generalise as generalising
from sartutor.learn.checkpoints import load_tensors, save_tensors, state_path
from sartutor.learn.domains import DomainChips
from sartutor.learn.generalisation import KeptMaps, Segmenter, confusions
from sartutor.learn.generalise import Choices, generalise
from sartutor.learn.generalists import generalist_header, load_generalist
from sartutor.learn.metrics import mean_iou
from sartutor.learn.moe import Mixture
from sartutor.learn.own_domains import OwnDomain
from sartutor.learn.own_encoders import load_start
from sartutor.learn.pretrain import pretrain
from sartutor.learn.vit import build_vit
from sartutor.presets import PRETRAIN_RECIPES, VIT_SIZES
from sartutor.sar.folder import write_labels
from sartutor.sim.gaps import POLARISATIONS


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A generalist with random weights, of the size of smoke."""
    scales = DomainChips([POLARISATIONS["VV"]], 1, 4, 64).scales
    vit = build_vit(VIT_SIZES["smoke"], 0)
    vit.mix(Mixture(experts=3))
    path = tmp_path_factory.mktemp("start") / "start.safetensors"
    header = generalist_header("smoke", Mixture(experts=3), scales, CLASSES, 16)
    save_tensors(path, Segmenter(vit, 7, 16).state_dict(), header)
    return path


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A source whose training shows all classes, and two targets."""
    at = tmp_path_factory.mktemp("folders")
    return [
        own_folder(at / "here", side=192).folder,
        own_folder(at / "there", ("HV",), ("test",), first=9).folder,
        own_folder(at / "beyond", ("HH", "HV"), ("train", "val"), first=20).folder,
    ]


def made(folders, encoder, out, *options):
    usual = ("--encoder", encoder, "--preset", "smoke", "--out", out, "--device", "cpu")
    return run("generalise", *folders, *usual, *options)


def test_the_report_is_what_the_written_model_scores(folders, encoder, tmp_path, capsys):
    out, report = tmp_path / "mine.safetensors", tmp_path / "report.json"
    assert made(folders, encoder, out, "--report", report, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads(report.read_text())
    assert [(row["folder"], row["split"]) for row in found["asked"]] == list(
        zip(map(str, folders), ("coast", "test", "val"), strict=True)
    )
    known = load_generalist(out)
    assert known.classes == CLASSES
    for row in found["asked"]:
        chips = OwnDomain(generalising.open_dataset(row["folder"]), row["split"], 64, known.scales)
        table = confusions(known.model.head, KeptMaps(known.model.encoder, chips)).sum(0)
        assert row["miou"] == pytest.approx(mean_iou(table), abs=0.01)
        assert set(row["iou"]) == set(CLASSES)
        assert all(row["iou"][name] in (None, 0) for name in row["missing"])
    assert not list(tmp_path.glob("*.head.*"))


def test_a_frozen_encoder_is_written_as_it_was(folders, encoder, tmp_path):
    out = tmp_path / "mine.safetensors"
    assert made(folders[:2], encoder, out) == 0
    before, after = load_tensors(encoder)[0], load_tensors(out)[0]
    ours = {name for name in before if name.startswith("encoder.")}
    assert all(torch.equal(before[name], after[name]) for name in ours)
    assert not torch.equal(before["head.scores.weight"], after["head.scores.weight"])


def test_low_rank_updates_change_queries_keys_and_values_alone(folders, encoder, tmp_path):
    pytest.importorskip("peft", reason="no peft: pip install -e '.[dev]'")
    out = tmp_path / "mine.safetensors"
    assert made(folders[:2], encoder, out, "--tuning", "lora") == 0
    before, (after, about) = load_tensors(encoder)[0], load_tensors(out)
    changed = {
        name for name in before if name.startswith("encoder.") and not torch.equal(before[name], after[name])
    }
    assert changed == {f"encoder.blocks.{i}.attn.qkv.weight" for i in range(VIT_SIZES["smoke"].depth)}
    assert about["tuning"] == "lora"


def test_mask2former_is_read_back(folders, encoder, tmp_path):
    pytest.importorskip("transformers", reason="no transformers: pip install -e '.[paper]'")
    out = tmp_path / "mine.safetensors"
    assert made(folders[:2], encoder, out, "--head", "mask2former") == 0
    model = load_generalist(out).model
    logits = model(torch.zeros(1, 3, 64, 64), torch.zeros(1, 3))[0]
    assert logits.shape == (1, 7, 64, 64)
    assert type(model.head).__name__ == "Mask2FormerHead"


def test_a_pretrained_transformer_is_an_encoder_too(folders, tmp_path):
    path = tmp_path / "masked.safetensors"
    recipe = PRETRAIN_RECIPES["simmim-vit"]["smoke"]
    pretrain(folders[0], "simmim", path, backbone="vit", recipe=recipe, device="cpu", progress=False)
    out = tmp_path / "mine.safetensors"
    assert made(folders[:2], path, out) == 0
    assert load_generalist(out).scales == load_start(path, ()).scales


def test_an_interrupted_run_goes_on_and_ends_as_if_it_had_not_been(folders, encoder, tmp_path, monkeypatch):
    whole, cut = tmp_path / "whole.safetensors", tmp_path / "cut.safetensors"
    settings = {"choices": Choices(encoder, size="smoke", device="cpu"), "progress": False}
    expected = generalise(folders[0], folders[1:], whole, **settings)
    monkeypatch.setattr(generalising, "asked", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        generalise(folders[0], folders[1:], cut, **settings)
    part = tmp_path / "cut.head.safetensors"
    assert part.exists()
    assert not cut.exists()
    monkeypatch.undo()
    learned = part.read_bytes()
    monkeypatch.setattr(generalising.Path, "unlink", lambda *_, **__: None)
    found = generalise(folders[0], folders[1:], cut, **settings)
    assert part.read_bytes() == learned
    assert not state_path(part).exists()
    assert [row["miou"] for row in found["asked"]] == [row["miou"] for row in expected["asked"]]


def test_a_finished_model_is_not_written_over(folders, encoder, capsys):
    before = encoder.read_bytes()
    assert made(folders[:2], encoder, encoder) == 2
    one_line(capsys, "start.safetensors is there and complete")
    assert encoder.read_bytes() == before


def test_the_table_names_folders_classes_and_what_is_missing(folders, encoder, tmp_path, capsys):
    report = tmp_path / "report.json"
    assert made(folders[:2], encoder, tmp_path / "mine.safetensors", "--report", report) == 0
    said = capsys.readouterr().out
    for word in ("validation", "here (coast)", "there (test)", *CLASSES, "mine.safetensors written in"):
        assert word in said
    missing = {tuple(row["missing"]) for row in json.loads(report.read_text())["asked"] if row["missing"]}
    assert missing
    for names in missing:
        assert f"not labelled here, IoU 0 where it is called: {', '.join(names)}\n" in said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--head", "unet"), ("no head 'unet'", "light, mask2former")),
        (("--tuning", "full"), ("no tuning 'full'", "frozen, lora")),
        (("--preset", "huge"), ("no preset 'huge'",)),
        (("--encoder", "nowhere.safetensors"), ("no checkpoint nowhere.safetensors",)),
        (("--device", "abacus"), ("no device 'abacus'",)),
        (("--report", "report.txt"), ("report.txt: the report is JSON",)),
    ],
)
def test_what_does_not_fit(folders, encoder, tmp_path, capsys, options, words):
    out = tmp_path / "a.safetensors"
    assert made(folders[:2], encoder, out, *options) == 2
    one_line(capsys, *words)
    assert not out.exists()


def test_folders_that_do_not_go_together(folders, encoder, tmp_path, capsys):
    out = tmp_path / "a.safetensors"
    other = own_folder(tmp_path / "other", classes=tuple("gfedcba"), splits=("test",), first=40).folder
    assert made([folders[0], other], encoder, out) == 2
    one_line(capsys, "has the classes g, f, e", "map both")
    poor = own_folder(tmp_path / "poor", first=50)
    write_labels(np.zeros((64, 64), np.uint8), poor.scene("train").grid, poor.folder / "masks" / "train.tif")
    assert made([poor.folder, folders[1]], encoder, out) == 2
    one_line(capsys, "No label of split 'train'", "cannot be learned")
    assert made([folders[0], folders[0]], encoder, out) == 2
    one_line(capsys, "is the source itself")


def test_without_the_library_of_a_head(folders, encoder, tmp_path, monkeypatch):
    import sys

    monkeypatch.delitem(sys.modules, "sartutor.learn.mask2former", raising=False)
    monkeypatch.setitem(sys.modules, "transformers", None)
    choices = Choices(encoder, "mask2former", size="smoke", device="cpu")
    with pytest.raises(SarTutorError, match="needs transformers"):
        generalise(folders[0], folders[1:], tmp_path / "a.safetensors", choices, progress=False)
