"""Low-rank updates of the trunk: where they start, what they are, and that the trunk is shared and stays as it was."""

import copy
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from adapting import SIX, drawn, recipe, write_folder

from sartutor.errors import CheckpointError, SarTutorError
from sartutor.learn.adapt import Method, adapt
from sartutor.learn.checkpoints import load_tensors
from sartutor.learn.models import load_model
from sartutor.learn.sam.adapted import AdaptedSam
from sartutor.learn.sam.evaluate import pixel_polygon
from sartutor.learn.sam.lora import RANK
from sartutor.learn.sam.model import RadarSam
from sartutor.learn.sam.predictor import Predictor
from sartutor.presets import SAM_SIZES

pytest.importorskip("peft", reason="no peft: pip install -e '.[dev]'")

SMALL = replace(  # 16 tokens in windows of 9: zeros fill the last ones up
    SAM_SIZES["tiny"], image_size=64, width=48, depth=2, heads=2, window=3, global_blocks=(1,), embedding=32
)
BOXES = torch.tensor([[8.0, 8, 40, 40], [20, 4, 60, 30]])


@pytest.fixture
def base():
    torch.manual_seed(0)
    return RadarSam(SMALL).eval()


@pytest.fixture
def model(base):
    return AdaptedSam(base, tuning="lora")


def images(branches=2):
    return torch.rand(2, branches, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def masks(model, phase):
    model.train_phase(phase)
    return model.decode(model.encode(images()), BOXES)[0]


@torch.no_grad()
def disturb(branch):
    """Updates that update."""
    for layer in branch.lora:
        layer["up"].weight.normal_(0, 0.1, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("phase", [1, 2])
def test_a_new_model_is_the_base(base, model, phase):
    expected = base.decode(base.encode(images()[:, phase - 1]), BOXES)[0]
    torch.testing.assert_close(masks(model, phase), expected)


@pytest.mark.parametrize("phase", [1, 2])
def test_all_blocks_learn_and_the_trunk_does_not(model, phase):
    trunk = copy.deepcopy(model.base.image_encoder.state_dict())
    other = copy.deepcopy(model.branches[2 - phase].state_dict())
    masks(model, phase).square().mean().backward()
    for layer in model.branches[phase - 1].lora:
        assert layer["up"].weight.grad.abs().max() > 0
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    optimizer.step()
    optimizer.zero_grad()
    masks(model, phase).square().mean().backward()
    for layer in model.branches[phase - 1].lora:  # `up` is no longer zero, so that what lies before it learns
        assert layer["down"].weight.grad.abs().max() > 0
    optimizer.step()
    assert all(
        torch.equal(value, trunk[name]) for name, value in model.base.image_encoder.state_dict().items()
    )
    assert all(
        torch.equal(value, other[name]) for name, value in model.branches[2 - phase].state_dict().items()
    )


@pytest.mark.parametrize("learning", [True, False])
def test_an_update_is_a_change_of_the_weights(base, model, learning):
    disturb(model.branches[0])
    changed = copy.deepcopy(base)
    with torch.no_grad():
        for block, layer in zip(changed.image_encoder.blocks, model.branches[0].lora, strict=True):
            block.attn.qkv.weight += layer["up"].weight @ layer["down"].weight
    with torch.set_grad_enabled(learning):
        found, expected = model.encode(images())[0], changed.encode(images()[:, 0])[0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(expected, base.encode(images()[:, 0])[0], atol=1e-2)


def test_branches_share_the_trunk_and_nothing_else(base, model):
    for branch in model.branches:
        weights = {id(weight) for weight in model.base.image_encoder.parameters()}
        inside = {id(weight) for weight in branch.lora.encoder.parameters()}
        assert weights < inside
        assert inside - weights == {id(weight) for weight in branch.lora.parameters()}
    before = model.encode_branch(images(), 1)[0]
    disturb(model.branches[0])
    assert torch.equal(model.encode_branch(images(), 1)[0], before)
    torch.testing.assert_close(
        model.base.encode(images()[:, 0])[0], base.encode(images()[:, 0])[0], atol=0, rtol=0
    )


def test_the_state_is_what_is_added(base, model):
    disturb(model.branches[0])
    state = model.state_dict()
    names = {name.split(".")[2] for name in state if name.startswith("branches.0.")}
    assert names == {"lora", "detail_stem"}
    assert state["branches.1.lora.1.up.weight"].shape == (3 * SMALL.width, RANK)
    again = AdaptedSam(base, tuning="lora")
    again.load_state_dict(state)
    assert torch.equal(again.encode(images())[0], model.encode(images())[0])


def test_copies_and_moves_take_the_trunk_along(model):
    disturb(model.branches[0])
    copied = copy.deepcopy(model).double()
    assert copied.branches[0].lora.encoder.pos_embed is copied.base.image_encoder.pos_embed
    assert copied.base.image_encoder.pos_embed.dtype == torch.float64
    assert model.base.image_encoder.pos_embed.dtype == torch.float32
    found = copied.encode(images().double())[0]
    torch.testing.assert_close(found.float(), model.encode(images())[0], atol=1e-4, rtol=1e-4)


def test_checkpointing_of_the_base_is_that_of_its_branches(model):
    disturb(model.branches[0])
    gradients = []
    for checkpointing in (False, True):
        model.base.image_encoder.checkpointing = checkpointing
        model.zero_grad()
        masks(model, 1).square().mean().backward()
        assert model.branches[0].lora.encoder.checkpointing == checkpointing
        gradients.append([p.grad.clone() for p in model.branches[0].lora.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_parameters_at_the_size_of_the_papers():
    with torch.device("meta"):
        model = AdaptedSam(RadarSam(SAM_SIZES["vit_b"]), tuning="lora")
    for branch in model.branches:  # 12 blocks of 768 x 4 and 4 x 768, for queries and for values
        assert sum(p.numel() for p in branch.parameters()) == 12 * 2 * 2 * 768 * 4 == 147_456


def test_without_peft(base, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(SarTutorError, match=r"need peft; install it with: pip install \"sartutor\[paper\]\""):
        AdaptedSam(base, tuning="lora")


def test_three_phases(tmp_path):
    folder = write_folder(tmp_path / "data").folder
    out = tmp_path / "a.safetensors"
    made = adapt(
        folder, out, recipe=recipe(), method=Method(tuning="lora"), device="cpu", seed=1, progress=False
    )
    assert made.phases == (1, 2, 3)
    tensors, about = load_tensors(out)
    assert about["tuning"] == "lora"
    assert all(tensors[f"branches.{i}.lora.0.up.weight"].abs().max() > 0 for i in (0, 1))
    model, scene = load_model(out), drawn(3, SIX)[0]
    found = Predictor(model, scene).segment(pixel_polygon((10, 10, 60, 60), scene.grid))
    assert np.isfinite(found.probability).all()
    with pytest.raises(CheckpointError, match="was adapted with tuning lora; go on with the same"):
        adapt(folder, tmp_path / "b.safetensors", recipe=recipe(), init=out, phases=[3], progress=False)
