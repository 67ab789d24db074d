"""Pretraining on what it should not be given: one sentence, nothing half-written, the last good checkpoint kept."""

import errno
import os
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from pretraining import SIDE, ChangedChips, SpeckledChips, recipe

from sartutor.errors import CheckpointError, DataError, OutputError, SarTutorError
from sartutor.learn.checkpoints import load_tensors, save_tensors
from sartutor.learn.chips import check_bands
from sartutor.learn.loop import Watch
from sartutor.learn.pretrain import load_pretrained, pretrain
from sartutor.learn.weighting import WeightRule

KINDS = [("simmim", "swin"), ("mixmae", "swin")]
kinds = pytest.mark.parametrize(("method", "backbone"), KINDS)


def train(out, method, backbone="swin", chips=None, sizes=None, **more):
    chips = chips or SpeckledChips()
    return pretrain(
        chips, method, out, backbone=backbone, recipe=sizes or recipe(4), device="cpu", progress=False, **more
    )


def refused(kind, out, *words, **more):
    """Training ends with one sentence of that kind that holds all words, and writes nothing."""
    with pytest.raises(kind) as caught:
        train(out, **more)
    one_sentence(caught.value, *words)
    assert list(out.parent.iterdir()) == []


def one_sentence(error, *words):
    assert "\n" not in str(error)
    assert str(error).endswith(".")
    for word in words:
        assert word in str(error)


@pytest.fixture
def out(tmp_path):
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs" / "a.safetensors"


def test_an_odd_batch_for_mixmae(out):
    refused(DataError, out, "pairs", "3", method="mixmae", sizes=recipe(4, 3))


@kinds
def test_chips_smaller_than_the_mask_patch(out, method, backbone):
    refused(DataError, out, "8", method=method, chips=SpeckledChips(side=8))


@kinds
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_chips_that_are_not_numbers(out, method, backbone, value):
    def spoil(sample):
        sample["image"][:, 3, 5] = value

    for rule in (WeightRule(), WeightRule("none")):
        refused(DataError, out, "not finite", "no data", method=method, chips=ChangedChips(spoil), rule=rule)


@kinds
def test_not_a_number_where_there_is_no_data_does_no_harm(out, method, backbone):
    def spoil(sample):
        sample["image"][:, :20] = float("nan")
        sample["valid"][:, :20] = False

    made = train(out, method, chips=ChangedChips(spoil))
    assert 0 < made.loss < 100


@kinds
@pytest.mark.parametrize("domain", ["physical", "zscore", "clipped"])
def test_constant_chips_have_finite_weights_and_losses(out, method, backbone, domain):
    made = train(
        out,
        method,
        chips=ChangedChips(lambda sample: sample["image"].fill_(0.5)),
        sizes=recipe(2),
        rule=WeightRule(domain=domain),
    )
    assert 0 <= made.loss < 100
    assert all(tensor.isfinite().all() for tensor in load_tensors(out)[0].values())


@kinds
def test_chips_without_any_data(out, method, backbone):
    def empty(sample):
        sample["valid"].fill_(False)
        sample["image"].fill_(0)

    refused(DataError, out, "valid pixel", "leave out", method=method, chips=ChangedChips(empty))


@kinds
def test_one_chip_without_data_counts_in_no_loss(out, method, backbone):
    def empty(sample):
        if sample["image"][0, 0, 0] < 0:
            sample["valid"].fill_(False)
            sample["image"].fill_(0)

    made = train(out, method, chips=ChangedChips(empty))
    assert 0 < made.loss < 100


def test_bands_that_do_not_match_the_checkpoint(out):
    train(out, "mixmae", sizes=recipe(1))
    other = out.parent / "new" / "b.safetensors"
    with pytest.raises(CheckpointError) as caught:
        train(other, "mixmae", chips=SpeckledChips(bands=1), init=out)
    one_sentence(caught.value, "standardised otherwise")
    model = load_pretrained(out)
    with pytest.raises(DataError) as caught:
        model.features(torch.zeros(1, 1, SIDE, SIDE))
    one_sentence(caught.value, "bands")
    with pytest.raises(CheckpointError, match="B1 is missing"):
        check_bands(model.statistics, ("B0",))


def test_a_checkpoint_of_another_method_or_kind(out):
    train(out, "mixmae", sizes=recipe(1))
    with pytest.raises(CheckpointError) as caught:
        load_pretrained(out, "simmim")
    one_sentence(
        caught.value, "a.safetensors", "by mixmae and not by simmim", "sartutor pretrain --method simmim"
    )
    with pytest.raises(CheckpointError, match="by mixmae and not by simmim"):
        train(out.parent / "b.safetensors", "simmim", init=out)
    save_tensors(out, {"w": torch.zeros(1)}, {"kind": "sam"})
    with pytest.raises(CheckpointError) as caught:
        load_pretrained(out)
    one_sentence(caught.value, "kind 'sam'", "sartutor pretrain")


def test_a_checkpoint_of_another_size(out):
    train(out, "mixmae", sizes=recipe(1))
    with pytest.raises(CheckpointError) as caught:
        pretrain(SpeckledChips(side=128), "mixmae", out.parent / "b.safetensors", init=out, progress=False)
    one_sentence(caught.value, "swin of size smoke", "swin of size laptop")


@pytest.mark.parametrize("change", ["drop", "nan", "header"])
def test_a_checkpoint_that_is_not_what_it_says(out, change):
    train(out, "mixmae", sizes=recipe(1))
    tensors, about = load_tensors(out)
    if change == "drop":
        tensors.popitem()
    if change == "nan":
        next(iter(tensors.values())).fill_(float("nan"))
    if change == "header":
        del about["architecture"]
    save_tensors(out, tensors, about)
    with pytest.raises(CheckpointError) as caught:
        load_pretrained(out)
    one_sentence(caught.value, "a.safetensors", "train it again")


def test_a_full_disk_keeps_the_last_good_checkpoint_and_the_run_goes_on_from_it(out, monkeypatch):
    whole = out.with_name("whole.safetensors")
    train(whole, "mixmae", sizes=recipe(6))
    sync, saved = os.fsync, []

    def full(descriptor):
        saved.append(descriptor)
        if len(saved) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OutputError) as caught:
            train(out, "mixmae", sizes=recipe(6))
    one_sentence(caught.value, "a.state.safetensors", "No space left on device")
    assert load_tensors(out)[1]["step"] == 2
    assert not [path for path in out.parent.iterdir() if path.name.startswith(".")]
    train(out, "mixmae", sizes=recipe(6))
    assert all(
        torch.equal(tensor, load_tensors(out)[0][name]) for name, tensor in load_tensors(whole)[0].items()
    )


def test_saving_that_is_interrupted_keeps_the_last_good_checkpoint(out, monkeypatch):
    sync, saved = os.fsync, []

    def interrupted(descriptor):
        saved.append(descriptor)
        if len(saved) > 3:
            raise KeyboardInterrupt
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(out, "mixmae", sizes=recipe(6))
    assert load_tensors(out)[1]["step"] == 2
    assert load_tensors(out.with_name("a.state.safetensors"))[1]["step"] == 4


def test_a_loss_that_is_no_number_names_step_and_cure(out):
    def spoil(model, step):
        model.decoder.predict.weight.data.fill_(float("nan"))

    with pytest.raises(SarTutorError) as caught:
        train(out, "mixmae", sizes=recipe(6), watch=Watch(3, spoil))
    one_sentence(caught.value, "step 4 of a", "learning rate", "keeps step 2")
    assert load_pretrained(out)


def test_the_state_of_another_run(out):
    def stop(model, step):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(out, "mixmae", watch=Watch(3, stop))
    with pytest.raises(CheckpointError) as caught:
        train(out, "mixmae", rule=WeightRule(strength=2))
    one_sentence(caught.value, "a.state.safetensors", "other settings", "delete it")
