"""Adaptation of Segment Anything: what each phase trains, what stays as it was, and where gradients flow."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from adapting import SIX, drawn, recipe, write_folder

from sartutor.errors import CheckpointError, DataError, SarTutorError
from sartutor.learn.adapt import Method, adapt
from sartutor.learn.checkpoints import save_tensors
from sartutor.learn.models import load_model
from sartutor.learn.sam.adapted import PHASES, AdaptedSam
from sartutor.learn.sam.evaluate import pixel_polygon
from sartutor.learn.sam.model import RadarSam
from sartutor.learn.sam.predictor import Predictor
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
    assert (
        parts == {1: {"branches.0", "mask_decoder"}, 2: {"branches.1"}, 3: {"gate", "fusion_decoder"}}[phase]
    )
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


def test_one_encoder_of_all_bands_begins_as_the_base(base):
    model, one = AdaptedSam(base, encoders="stacked"), images(branches=1)
    expected = base.decode(base.encode(one[:, 0]), BOXES)[0]
    found = masks(model, 1, one.expand(-1, 2, -1, -1, -1))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_one_encoder_of_all_bands_sees_them_all(base):
    model, given = AdaptedSam(base, encoders="stacked"), images()
    tokens, image, *details = model.encode(given)
    torch.testing.assert_close(image, given.mean(1))
    for place in (0, 1):
        other = given.clone()
        other[:, place, 2] = 0
        levels = zip(model.encode(other), (tokens, image, *details), strict=True)
        assert not any(torch.allclose(one, two, atol=1e-4) for one, two in levels)


def test_one_encoder_of_all_bands_learns_how_to_read_them(base):
    model = AdaptedSam(base, encoders="stacked")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trunk = {name: value.clone() for name, value in model.base.image_encoder.state_dict().items()}
    named = model.train_phase(1)
    assert set(named) == {name for name, _ in model.named_parameters()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    model.decode(model.encode(images()), BOXES)[0].square().mean().backward()
    optimizer.step()
    state = model.state_dict()
    for name in ("patch_embed.proj", "detail_stem.stride1.0.0", "adapters.0.space.up"):
        assert not torch.equal(state[f"branches.0.{name}.weight"], before[f"branches.0.{name}.weight"])
    assert state["branches.0.patch_embed.proj.weight"].shape[1] == 6
    assert all(
        torch.equal(value, trunk[name]) for name, value in model.base.image_encoder.state_dict().items()
    )
    again = AdaptedSam(base, encoders="stacked")
    again.load_state_dict(state)
    assert torch.equal(again.encode(images())[0], model.encode(images())[0])


def test_one_encoder_of_all_bands_has_one_phase(base):
    model = AdaptedSam(base, encoders="stacked")
    assert model.gate is None
    with pytest.raises(SarTutorError, match="do not stack them"):
        model.train_phase(2)
    three = AdaptedSam(base, 1, encoders="stacked")  # nothing to stack
    assert three.state_dict().keys() == AdaptedSam(base, 1).state_dict().keys()


def test_a_folder_for_one_encoder_of_all_bands(tmp_path):
    folder, out = write_folder(tmp_path / "data").folder, tmp_path / "a.safetensors"
    choices = {"recipe": recipe(1, 1), "device": "cpu", "progress": False}
    stacked = Method(encoders="stacked")
    assert adapt(folder, out, method=stacked, **choices).phases == (1,)
    model, scene = load_model(out), drawn(3, SIX)[0]
    assert model.about["encoders"] == "stacked"
    found = Predictor(model, scene).segment(pixel_polygon((10, 10, 60, 60), scene.grid))
    assert np.isfinite(found.probability).all()
    with pytest.raises(DataError, match="second encoder"):
        adapt(folder, tmp_path / "b.safetensors", method=stacked, phases=[1, 2], **choices)
    with pytest.raises(CheckpointError, match="was adapted with encoders stacked; go on with the same"):
        adapt(folder, tmp_path / "b.safetensors", init=out, **choices)


def test_a_file_that_does_not_name_newer_choices_has_the_first(tmp_path):
    base, path = load_model("sam_tiny_base"), tmp_path / "old.safetensors"
    about = {"base": base.name, "base_digest": base.digest, "activation": "gelu", "fusion": "gate"}
    about |= {"kind": "adapted_sam", "phases": [1], "bands": ["VV"], "scales": ["near"]}
    save_tensors(path, AdaptedSam(base.sam, 1).state_dict(), {**about, "branches": [[["VV", -25.0, 0.0]]]})
    found = load_model(path).about
    assert (found["tuning"], found["encoders"]) == ("adapters", "pair")
