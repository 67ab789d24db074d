"""The recipe of the embedded model, at its smallest: trains, exports, scores and writes a card from records alone."""

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch

from sartutor.errors import CheckpointError
from sartutor.learn import recipes, records
from sartutor.learn.checkpoints import load_tensors, save_tensors


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(recipes, "TEST_SEEDS", range(9001, 9003))
    monkeypatch.setattr(recipes, "SCENES_PER_FAMILY", 1)
    monkeypatch.setattr(recipes.shapes, "FAMILIES", ("blob", "ring"))


def run(folder) -> int:
    places = ("--work", folder / "work", "--weights", folder / "weights", "--records", folder / "records")
    return recipes.main(["sam_tiny_base", "--preset", "smoke", "--device", "cpu", *map(str, places)])


def test_the_recipe_ends_with_half_precision_weights_records_and_a_card(tmp_path, small, monkeypatch):
    assert run(tmp_path) == 0
    tensors, about = load_tensors(tmp_path / "weights" / "sam_tiny_base.safetensors")
    assert {value.dtype for value in tensors.values()} == {torch.float16}
    assert about["seed"] == recipes.SEED
    assert (tmp_path / "weights" / "sam_tiny_base.safetensors").stat().st_size <= 15e6
    found = records.read_records(tmp_path / "records", "sam_tiny_base")
    assert [record["seed"] for record in found] == [9001, 9002]
    card = (tmp_path / "weights" / "sam_tiny_base.md").read_text()
    mean, half = records.mean_interval([record["values"]["blob"]["model"] for record in found])
    assert f"{mean:.3f} ± {half:.3f}" in card
    monkeypatch.setattr(recipes.base, "train", lambda *_: pytest.fail("a finished run is trained again"))
    assert run(tmp_path) == 0


def test_half_precision_that_changes_masks_is_refused(tmp_path):
    exported = tmp_path / "half.safetensors"
    tensors, about = load_tensors(Path(str(files("sartutor.weights") / "sam_tiny_base.safetensors")))
    save_tensors(tmp_path / "full.safetensors", {k: v.float() for k, v in tensors.items()}, about)
    recipes.export_half(tmp_path / "full.safetensors", exported)
    recipes.check_half(tmp_path / "full.safetensors", exported)
    spoiled = {
        k: torch.randn_like(v.float()) * v.float().std() if "upscaling" in k else v
        for k, v in tensors.items()
    }
    save_tensors(exported, spoiled, about)
    with pytest.raises(CheckpointError, match="marks other pixels"):
        recipes.check_half(tmp_path / "full.safetensors", exported)


def test_weights_beyond_float16_are_refused(tmp_path):
    save_tensors(tmp_path / "big.safetensors", {"w": torch.tensor([1e6])}, {"kind": "sam"})
    with pytest.raises(CheckpointError, match=r"big\.safetensors holds weights beyond the range"):
        recipes.export_half(tmp_path / "big.safetensors", tmp_path / "half.safetensors")


def test_records_carry_what_made_them_and_intervals_are_student_t(tmp_path):
    path = records.write_record(tmp_path, "e", "c", "d", 3, {"iou": 0.5})
    content = json.loads(path.read_text())
    assert (content["experiment"], content["configuration"], content["data"], content["seed"]) == (
        "e",
        "c",
        "d",
        3,
    )
    mean, half = records.mean_interval([1.0, 2.0, 3.0])
    assert mean == 2
    assert half == pytest.approx(4.3027 / 3**0.5, rel=1e-4)
    assert records.mean_interval([4.0]) == (4.0, 0.0)


def test_the_interval_of_a_ratio_holds_it_as_often_as_it_says():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        x = rng.gamma(8, 10, 12)
        ratio, half = records.total_ratio(0.4 * x + rng.normal(0, 6, 12), x)
        held += abs(ratio - 0.4) <= half
    assert 0.91 < held / 400 < 0.985
