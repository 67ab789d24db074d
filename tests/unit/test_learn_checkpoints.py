"""Checkpoints: what is written is read back; what is unsafe, damaged or foreign is refused in one sentence."""

import errno
import pickle

import pytest
import torch
from safetensors.torch import save_file

from sartutor.errors import CheckpointError, OutputError
from sartutor.learn import checkpoints, models
from sartutor.learn.sam.model import RadarSam
from sartutor.presets import SAM_SIZES


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SARTUTOR_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def tiny_weights():
    torch.manual_seed(0)
    return RadarSam(SAM_SIZES["tiny"]).state_dict()


HEADER = {"kind": "sam", "architecture": "tiny", "phases": []}


def test_what_is_saved_is_loaded(tmp_path):
    path = tmp_path / "a.safetensors"
    checkpoints.save_tensors(path, {"w": torch.arange(6.0).reshape(2, 3).T}, {"kind": "x", "seed": 3})
    tensors, about = checkpoints.load_tensors(path)
    assert torch.equal(tensors["w"], torch.arange(6.0).reshape(2, 3).T)
    assert about["kind"] == "x"
    assert about["seed"] == 3
    assert about["format"] == checkpoints.FORMAT
    assert checkpoints.load_header(path) == about


def test_a_float16_file_gives_a_float32_model_with_its_digest(tmp_path, tiny_weights):
    path = tmp_path / "mine.safetensors"
    checkpoints.save_tensors(path, {k: v.half() for k, v in tiny_weights.items()}, HEADER)
    model = models.load_model(path)
    assert model.name == "mine"
    assert model.digest == checkpoints.file_digest(path)
    assert {p.dtype for p in model.sam.parameters()} == {torch.float32}


def test_the_embedded_model_loads_by_name():
    model = models.load_model("sam_tiny_base")
    assert model.about["architecture"] == "tiny"


def test_a_full_disk_leaves_the_old_checkpoint_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    checkpoints.save_tensors(path, {"w": torch.zeros(2)}, {})

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints.os, "fsync", full)
    with pytest.raises(OutputError, match=r"cannot write .*a\.safetensors \(No space left"):
        checkpoints.save_tensors(path, {"w": torch.ones(2)}, {})
    assert [entry.name for entry in tmp_path.iterdir() if entry.name != "cache"] == ["a.safetensors"]
    assert torch.equal(checkpoints.load_tensors(path)[0]["w"], torch.zeros(2))


class Bomb:
    """Pickled code: opening it would create a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_pickled_code_never_runs(tmp_path):
    trap = tmp_path / "ran"
    for name, save in (
        ("a.pth", torch.save),
        ("b.pth", lambda content, path: path.write_bytes(pickle.dumps(content))),
    ):
        save({"weight": Bomb(str(trap))}, tmp_path / name)
        with pytest.raises(CheckpointError, match=name):
            models.load_model(tmp_path / name)
    assert not trap.exists()


def test_tensors_under_other_names_are_refused(tmp_path):
    torch.save({"some.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"other\.pth does not hold the weights of SAM ViT-B"):
        models.load_model(tmp_path / "other.pth")


def test_a_nested_pickle_of_tensors_is_refused(tmp_path):
    torch.save({"model": {"weight": torch.zeros(3)}}, tmp_path / "nested.pth")
    with pytest.raises(CheckpointError, match=r"nested\.pth"):
        models.load_model(tmp_path / "nested.pth")


def test_an_official_file_is_converted_once_and_loads(tmp_path, monkeypatch, tiny_weights):
    """The path of `vit_b`, at the size of `tiny`, so that the test stays small."""
    monkeypatch.setitem(models.SAM_SIZES, "vit_b", SAM_SIZES["tiny"])
    torch.save(dict(tiny_weights), tmp_path / "sam.pth")
    model = models.load_model(tmp_path / "sam.pth")
    assert all(torch.equal(v, tiny_weights[k]) for k, v in model.sam.state_dict().items())
    copies = list((tmp_path / "cache" / "converted").iterdir())
    assert [path.suffix for path in copies] == [".safetensors"]
    monkeypatch.setattr(models, "load_pickle", lambda path: pytest.fail("converted twice"))
    assert models.load_model(tmp_path / "sam.pth").digest == model.digest


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, "There is no checkpoint"),
        (lambda path: path.write_bytes(b""), "not a whole safetensors file"),
        (lambda path: path.write_bytes(b"\x00" * 1000), "not a whole safetensors file"),
        (lambda path: save_file({"w": torch.zeros(2)}, path), "not written by sartutor"),
        (
            lambda path: checkpoints.save_tensors(path, {"w": torch.zeros(2)}, {"kind": "mixmae"}),
            "kind 'mixmae'",
        ),
        (
            lambda path: checkpoints.save_tensors(path, {"w": torch.zeros(2)}, HEADER),
            "weights of a tiny model",
        ),
    ],
)
def test_bad_checkpoints_are_refused_in_one_sentence(tmp_path, make, says):
    path = tmp_path / "bad.safetensors"
    make(path)
    with pytest.raises(CheckpointError, match=says) as caught:
        models.load_model(path)
    assert "bad.safetensors" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_truncated_checkpoint_is_refused(tmp_path, tiny_weights):
    path = tmp_path / "cut.safetensors"
    checkpoints.save_tensors(path, tiny_weights, HEADER)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"cut\.safetensors is not a whole safetensors file"):
        models.load_model(path)
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        checkpoints.load_header(path)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(CheckpointError, match="sam_tiny_base, sam_tiny_avalanche, vit_b"):
        models.load_model("sam_huge")
