"""Low-rank updates of a plain transformer that learn with a head: where they start, what they change, how they end."""

import copy

import pytest
import torch
from torch.utils.data import DataLoader

from sartutor.learn.domains import DomainChips
from sartutor.learn.generalisation import Run, Segmenter, confusions, fit_updates, mixture_loss
from sartutor.learn.metrics import mean_iou
from sartutor.learn.moe import Mixture, mixtures
from sartutor.learn.sam.lora import merged, with_updates
from sartutor.learn.vit import build_vit
from sartutor.presets import MASK2FORMER_SIZES, VIT_SIZES, HeadTraining
from sartutor.sim.gaps import POLARISATIONS

pytest.importorskip("peft", reason="no peft: pip install -e '.[dev]'")

RECIPE = HeadTraining(32, 30, 3, 4, 1e-2, 0.05, 5.0, 10)


@pytest.fixture(scope="module")
def chips():
    return DomainChips([POLARISATIONS["F"]], 3, 8, 64)


@pytest.fixture
def vit():
    vit = build_vit(VIT_SIZES["smoke"], 0)
    vit.mix(Mixture(experts=3))
    return vit.eval()


@torch.no_grad()
def maps(encoder, chips):
    sample = next(iter(DataLoader(chips, 4)))
    return torch.cat(encoder.encode(sample["image"], sample["descriptors"]).maps, 1)


@pytest.fixture
def tuned(vit, chips, tmp_path):
    torch.manual_seed(0)
    model = Segmenter(with_updates(vit), 7, RECIPE.channels)
    score = fit_updates(model, chips, chips, Run(RECIPE, 0, tmp_path / "x.safetensors", {}, "cpu", False))
    return model, score


def test_updates_start_from_the_encoder_as_it_is(vit, chips):
    expected = maps(vit, chips)
    assert torch.equal(maps(with_updates(vit), chips), expected)


def test_updates_and_head_learn_and_the_encoder_stays(vit, chips, tmp_path):
    before, untouched = copy.deepcopy(vit.state_dict()), maps(vit, chips)
    torch.manual_seed(0)
    model = Segmenter(with_updates(vit), 7, RECIPE.channels)
    learning = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {name.split(".")[0] for name in learning} == {"encoder", "head"}
    assert all("lora_" in name for name in learning if name.startswith("encoder"))
    untrained = mean_iou(confusions(model.head, chips, model.encoder).sum(0))
    score = fit_updates(model, chips, chips, Run(RECIPE, 0, tmp_path / "x.safetensors", {}, "cpu", False))
    assert score > untrained + 0.05
    assert score == pytest.approx(mean_iou(confusions(model.head, chips, model.encoder).sum(0)), abs=1e-6)
    assert all(torch.equal(value, before[name]) for name, value in vit.state_dict().items())
    assert torch.allclose(maps(vit, chips), untouched, atol=1e-5)
    assert not torch.allclose(maps(model.encoder, chips), untouched, atol=1e-3)


def test_merged_updates_say_the_same_without_peft(vit, chips, tuned):
    plain = merged(tuned[0].encoder)
    assert torch.allclose(maps(plain, chips), maps(tuned[0].encoder, chips), atol=1e-4)
    assert plain.state_dict().keys() == vit.state_dict().keys()
    assert maps(vit, chips).isfinite().all()
    assert not torch.equal(plain.blocks[0].attn.qkv.weight, vit.blocks[0].attn.qkv.weight)


def test_an_encoder_without_updates_is_merged_as_it_is(vit, chips):
    assert torch.equal(maps(merged(vit), chips), maps(vit, chips))


def test_continued_pretraining_takes_mask2former_and_its_routers_learn(vit, chips):
    pytest.importorskip("transformers")
    model = Segmenter(vit, 7, 32, MASK2FORMER_SIZES["smoke"])
    mixture_loss(model, next(iter(DataLoader(chips, 4)))).backward()
    assert all(layer.router.weight.grad.abs().max() > 0 for layer in mixtures(vit))
