"""Evaluation of what cannot be evaluated: one sentence that names the file and the cure, before the work."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from evaluating import disc, pair, write_folder

from sartutor.errors import CheckpointError, DataError, OutputError
from sartutor.learn import evaluate as module
from sartutor.learn.adapt import adapt
from sartutor.learn.checkpoints import save_tensors
from sartutor.learn.evaluate import evaluate

SHAPE = (48, 64)
MASK = disc(SHAPE, 24, 30, 9)


@pytest.fixture
def folder(tmp_path):
    write_folder(tmp_path / "data", {id: (pair(MASK), MASK) for id in ("test-a", "train-b")})
    return tmp_path / "data"


def changed(folder, **rules):
    """The folder with other rules in its dataset.yaml; None takes one out."""
    path = folder / "dataset.yaml"
    content = {**yaml.safe_load(path.read_text()), **rules}
    path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
    return folder


def refused(kind, folder, *words, **options):
    """Evaluation ends with one sentence of that kind that holds all words."""
    with pytest.raises(kind) as caught:
        evaluate(folder, progress=False, device="cpu", **options)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    assert len(message) < 400
    for word in words:
        assert word in message


@pytest.fixture
def unasked(monkeypatch):
    """No model may be loaded: the mistake has to be found before."""
    monkeypatch.setattr(module, "load_model", lambda name: pytest.fail("a model was loaded"))


@pytest.mark.usefixtures("unasked")
class TestBeforeTheWork:
    def test_a_folder_that_is_not_there(self, tmp_path):
        refused(DataError, tmp_path / "nowhere", "nowhere", "no folder")

    def test_a_split_that_does_not_exist(self, folder):
        refused(DataError, folder, "splits.csv", "'exam'", "test, train", split="exam")

    def test_a_prompt_that_does_not_exist(self, folder):
        refused(DataError, folder, "'click'", "box, jitter, full", prompt="click")

    def test_land_cover_has_no_objects(self, folder):
        refused(DataError, changed(folder, labels={"water": [0], "land": [1]}), "dataset.yaml", "no object")

    def test_labels_of_whole_images_are_no_objects(self, folder):
        (folder / "labels.csv").write_text("id,labels\ntest-a,snow\ntrain-b,\n")
        refused(DataError, changed(folder, labels=None, image_labels=["snow"]), "dataset.yaml", "no object")

    @pytest.mark.parametrize("name", ["report.txt", "data", "data/splits.csv", "data/splits.csv/a.json"])
    def test_a_report_without_a_place(self, folder, tmp_path, name):
        before = (folder / "splits.csv").read_text()
        refused(OutputError, folder, name, "choose", report=tmp_path / name)
        assert (folder / "splits.csv").read_text() == before

    def test_a_folder_in_the_place_of_the_report(self, folder, tmp_path):
        (tmp_path / "a.json").mkdir()
        refused(OutputError, folder, "a.json", "no file", report=tmp_path / "a.json")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
    def test_a_place_that_may_not_be_written_to(self, folder, tmp_path):
        (tmp_path / "closed").mkdir(mode=0o500)
        refused(OutputError, folder, "a.json", "permission", report=tmp_path / "closed" / "a.json")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A model adapted, hardly, to three bands."""
    place = tmp_path_factory.mktemp("adapted")
    images = {id: (three_bands(), MASK) for id in ("train-a", "val-b")}
    write_folder(place / "data", images, ("VV1", "VV0", "VH1"))
    adapt(place / "data", place / "three.safetensors", size="smoke", device="cpu", progress=False)
    return place / "three.safetensors"


def three_bands():
    return np.concatenate([pair(MASK), pair(MASK, 1)[:1]])


def test_a_checkpoint_that_needs_a_band_more(folder, checkpoint):
    refused(DataError, folder, "dataset.yaml", "'VH1'", "three", "VV1, VV0, VH1", model=checkpoint)


def test_bands_of_other_names_are_not_taken_for_those_of_the_checkpoint(folder, checkpoint):
    write_folder(folder, {"test-a": (three_bands(), MASK)}, ("HH0", "HH1", "HV1"))
    refused(DataError, folder, "'VV1'", model=checkpoint)


def test_a_checkpoint_is_evaluated_where_its_bands_are(folder, checkpoint):
    write_folder(folder, {"test-a": (three_bands()[[2, 0, 1, 1]], MASK)}, ("VH1", "VV1", "VV0", "more"))
    found = evaluate(folder, checkpoint, device="cpu", progress=False)
    assert found["model"] == str(checkpoint)
    assert found["objects"]["n"] == 1
    assert found["objects"]["recall"] > 0


def test_a_checkpoint_of_another_kind(folder, tmp_path):
    path = tmp_path / "unet.safetensors"
    save_tensors(path, {"a": torch.zeros(1)}, {"kind": "unet"})
    refused(CheckpointError, folder, "unet", "choose another", model=path)


def test_an_image_without_data(folder):
    write_folder(folder, {"test-a": (pair(MASK) * np.nan, MASK)})
    refused(DataError, folder, "test-a", "no data", "splits.csv")


def test_a_mask_of_another_size(folder):
    write_folder(folder, {"test-a": (pair(MASK), MASK[:-1])})
    refused(DataError, folder, "test-a", "47 x 64", "48 x 64")


def test_a_mask_of_unknown_values(folder):
    write_folder(folder, {"test-a": (pair(MASK), 3 * MASK)})
    refused(DataError, folder, "test-a", "values 3")


def test_complex_bands(folder):
    write_folder(folder, {"test-a": (pair(MASK).astype(np.complex64), MASK)}, units="complex")
    refused(DataError, folder, "complex")


def test_masks_all_empty_make_a_report_of_nulls(folder, tmp_path):
    write_folder(folder, {"test-a": (pair(MASK), 0 * MASK)})
    evaluate(folder, prompt="box", report=tmp_path / "a.json", device="cpu", progress=False)
    found = json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail)
    assert (found["objects"]["n"], found["objects"]["iou"], found["pooled"]["iou"]) == (0, None, None)
    assert found["empty"]["n"] == 1
    assert found["baselines"]["fill_box"]["empty"]["false_positive_pixels"] == MASK.size


def test_an_interrupted_run_leaves_no_report(folder, tmp_path, monkeypatch):
    (tmp_path / "a.json").write_text("older")

    def stopped(question, answer):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "score", stopped)
    with pytest.raises(KeyboardInterrupt):
        evaluate(folder, report=tmp_path / "a.json", device="cpu", progress=False)
    assert [path.name for path in tmp_path.glob("*.json*")] == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "older"
