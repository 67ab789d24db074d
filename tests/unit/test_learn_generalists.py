"""Embedded generalists: their recipe from nothing to a card, what comes with the package, and files that are none."""

from importlib.resources import files
from pathlib import Path

import pytest
import torch

from sartutor.errors import CheckpointError
from sartutor.learn.checkpoints import load_tensors, save_tensors
from sartutor.learn.generalist_recipe import TEST_SEEDS, make, score
from sartutor.learn.generalists import EMBEDDED, load_generalist
from sartutor.learn.moe import mixtures
from sartutor.learn.records import read_records
from sartutor.presets import GENERALIST_RECIPES

SMOKE = GENERALIST_RECIPES["smoke"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Both generalists at the size of smoke."""
    folder = tmp_path_factory.mktemp("generalists")
    for name in EMBEDDED:
        make(name, "smoke", folder / "work", folder / "weights", folder / "records", "cpu")
    return folder


def test_the_recipe_ends_with_half_precision_weights_records_and_a_card(made):
    for name in EMBEDDED:
        tensors, about = load_tensors(made / "weights" / f"{name}.safetensors")
        assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
        assert about["step"] == SMOKE.continued.steps
        assert len(read_records(made / "records", name)) == len(TEST_SEEDS)
        assert "75.88%" in (made / "weights" / f"{name}.md").read_text()


def test_both_generalists_share_one_masked_start(made):
    assert len(list((made / "work").glob("generalist_masked.safetensors"))) == 1
    dense, moe = (load_generalist(made / "weights" / f"{name}.safetensors") for name in EMBEDDED)
    assert dense.scales == moe.scales
    assert (len(mixtures(dense.model)), len(mixtures(moe.model))) == (0, 2)


def test_scores_are_those_of_the_file(made):
    path = made / "weights" / f"{EMBEDDED[1]}.safetensors"
    known = read_records(made / "records", EMBEDDED[1])[0]
    assert score(path, known["seed"], SMOKE) == pytest.approx(known["values"])


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_generalists_answer_and_are_small(name):
    known = load_generalist(name)
    side = known.model.encoder.size.image_size
    logits, found = known.model(torch.zeros(2, 3, side, side), torch.zeros(2, 3))
    assert logits.shape == (2, len(known.classes), side, side)
    assert len(found.routings) == len(mixtures(known.model))


def test_embedded_generalists_keep_to_their_budget():
    sizes = [Path(str(files("sartutor.weights") / f"{name}.safetensors")).stat().st_size for name in EMBEDDED]
    assert sum(sizes) <= 8e6


def test_files_that_are_no_generalist_are_refused(tmp_path, made):
    with pytest.raises(CheckpointError, match="no checkpoint"):
        load_generalist(tmp_path / "none.safetensors")
    with pytest.raises(CheckpointError, match="kind 'simmim' and no generalist"):
        load_generalist(Path(str(files("sartutor.weights") / "simmim_hh.safetensors")))
    tensors, about = load_tensors(made / "weights" / f"{EMBEDDED[0]}.safetensors")
    kept = {key: value for key, value in about.items() if key not in ("format", "version")}
    broken = tmp_path / "broken.safetensors"
    save_tensors(broken, tensors, {**kept, "architecture": "laptop"})
    with pytest.raises(CheckpointError, match="does not hold what its header says"):
        load_generalist(broken)
    save_tensors(broken, {name: tensor * float("nan") for name, tensor in tensors.items()}, kept)
    with pytest.raises(CheckpointError, match="not numbers"):
        load_generalist(broken)
