"""Adaptation of Segment Anything: what each phase trains, what stays as it was, and where gradients flow."""

from dataclasses import replace

import pytest
import torch

from sartutor.errors import SarTutorError
from sartutor.learn.sam.adapted import PHASES, AdaptedSam
from sartutor.learn.sam.model import RadarSam
from sartutor.presets import SAM_SIZES

SMALL = replace(
    SAM_SIZES["tiny"], image_size=64, width=48, depth=2, heads=2, window=3, global_blocks=(1,), embedding=32
)
BOXES = torch.tensor([[8.0, 8, 40, 40], [20, 4, 60, 30]])


@pytest.fixture
def base():
    torch.manual_seed(0)
    return RadarSam(SMALL).eval()


def images(count=2, branches=2):
    return torch.rand(count, branches, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def masks(model, phase, given):
    model.train_phase(phase)
    return model.decode(model.encode(given), BOXES)[0]


def test_a_new_model_is_the_base(base):
    model, given = AdaptedSam(base), images()
    for phase in (1, 2):
        expected = base.decode(base.encode(given[:, phase - 1]), BOXES)[0]
        torch.testing.assert_close(masks(model, phase, given), expected)


def test_equal_images_fuse_to_one_of_them(base):
    model, one = AdaptedSam(base), images(branches=1)
    both = one.expand(-1, 2, -1, -1, -1)
    torch.testing.assert_close(masks(model, 3, both), masks(model, 1, both), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("phase", PHASES)
def test_every_phase_trains_its_parts_and_nothing_else(base, phase):
    model = AdaptedSam(base)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    frozen = {name: value.clone() for name, value in model.base.image_encoder.state_dict().items()}
    named = model.train_phase(phase)
    parts = {name.split(".")[0] + ("." + name.split(".")[1] if "branches" in name else "") for name in named}
    assert parts == {1: {"branches.0", "mask_decoder"}, 2: {"branches.1"}, 3: {"gate", "fusion_decoder"}}[phase]
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    for _ in range(2):  # adapters end in zeros, so that what lies before them learns from the second step on
        loss = model.decode(model.encode(images()), BOXES)[0].square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved <= set(named)
    assert {name.split(".")[0] for name in moved} == {name.split(".")[0] for name in named}
    assert all(
        torch.equal(value, frozen[name]) for name, value in model.base.image_encoder.state_dict().items()
    )


@pytest.mark.parametrize("phase", [1, 2])
def test_adapters_of_all_blocks_get_gradients_through_the_frozen_trunk(base, phase):
    model = AdaptedSam(base)
    model.train_phase(phase)
    model.decode(model.encode(images()), BOXES)[0].square().mean().backward()
    for adapter in model.branches[phase - 1].adapters:
        assert adapter.space.up.weight.grad.abs().max() > 0
        assert adapter.mlp.up.weight.grad.abs().max() > 0
    assert all(p.grad is None for p in model.branches[2 - phase].parameters())


def test_the_state_is_what_adaptation_adds(base):
    names = {name.split(".")[0] for name in AdaptedSam(base).state_dict()}
    assert names == {"branches", "gate", "mask_decoder", "fusion_decoder"}
    assert {name.split(".")[0] for name in AdaptedSam(base, 1).state_dict()} == {"branches", "mask_decoder"}


def test_the_base_given_is_not_touched(base):
    before = {name: value.clone() for name, value in base.state_dict().items()}
    model = AdaptedSam(base)
    model.train_phase(1)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    model.decode(model.encode(images()), BOXES)[0].square().mean().backward()
    optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in base.state_dict().items())


def test_one_encoder_has_one_phase(base):
    model = AdaptedSam(base, 1)
    assert model.gate is None
    with pytest.raises(SarTutorError, match="Phase 2 needs a secondary encoder"):
        model.train_phase(2)
    with pytest.raises(SarTutorError, match="no phase 4"):
        model.train_phase(4)
    with pytest.raises(SarTutorError, match="3 encoders"):
        AdaptedSam(base, 3)


def test_moving_the_model_moves_its_base(base):
    model = AdaptedSam(base).double()
    assert all(p.dtype == torch.float64 for p in model.base.image_encoder.parameters())
    assert all(p.dtype == torch.float64 for p in model.parameters())
