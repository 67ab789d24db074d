"""What training costs: counted operations and memory, and the estimates that are made of them."""

import pytest
import torch
from torch import nn

from sartutor.learn.costs import (
    META,
    adaptation_cost,
    counted,
    hours,
    kept_bytes,
    memory_bytes,
    mixture_cost,
    pretraining_cost,
)
from sartutor.learn.pretrain import build_model
from sartutor.learn.sam.encoder import ImageEncoder
from sartutor.learn.weighting import BandStatistics, WeightRule
from sartutor.presets import SAM_SIZES


def layers(width=8):
    return nn.Sequential(nn.Linear(width, 16), nn.GELU(), nn.Linear(16, 4))


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_matrix_products_are_counted_both_ways(device):
    model, x = layers().to(device), torch.zeros(10, 8, device=device)
    found = counted(model, lambda: model(x), items=10)
    products = 2 * (8 * 16 + 16 * 4)
    assert found.forward == products
    # gradients of both weights, and of the first layer's output; the input needs none
    assert found.step == products + products + 2 * 16 * 4
    assert found.parameters == found.trained == 8 * 16 + 16 + 16 * 4 + 4
    assert found.kept == 4 * (8 + 16 + 16)


def test_what_is_frozen_needs_no_gradient_and_little_memory():
    model, x = layers(), torch.zeros(10, 8)
    everything = counted(model, lambda: model(x), items=10)
    model[0].requires_grad_(False)
    frozen = counted(model, lambda: model(x), items=10)
    assert frozen.trained == 16 * 4 + 4 < frozen.parameters
    assert frozen.step < everything.step
    assert frozen.kept == 4 * 16


def test_checkpointing_keeps_less_and_computes_more():
    encoder = ImageEncoder(SAM_SIZES["tiny"]).to(META)
    image = torch.empty(1, 3, 256, 256, device=META)
    plain = counted(encoder, lambda: encoder(image))
    encoder.checkpointing = True
    saving = counted(encoder, lambda: encoder(image))
    assert saving.kept < plain.kept / 5
    assert plain.step < saving.step < 1.4 * plain.step


def test_bfloat16_keeps_about_half():
    model, x = nn.Sequential(*(nn.Linear(64, 64) for _ in range(4))), torch.zeros(256, 64)
    _, full = kept_bytes(lambda: model(x))
    with torch.autocast("cpu", torch.bfloat16):
        _, half = kept_bytes(lambda: model(x))
    assert 0.4 * full < half < 0.7 * full


@pytest.mark.parametrize(("method", "backbone"), [("simmim", "swin"), ("simmim", "vit"), ("mixmae", "swin")])
def test_the_shape_alone_costs_what_the_training_does(method, backbone):
    """The loss of real chips, on the CPU, has the products that were counted without numbers."""
    statistics = BandStatistics(("a", "b"), (0.0,) * 2, (1.0,) * 2, (True,) * 2)
    model = build_model(method, backbone, "smoke", statistics, WeightRule(), 0)
    side, bands = model.size.image_size, len(model.statistics.names)
    batch = {
        "image": torch.randn(2, bands, side, side),
        "valid": torch.ones(2, 1, side, side, dtype=torch.bool),
    }
    real = counted(model, lambda: model.loss(batch, 0), 2)
    found = pretraining_cost(method, backbone, "smoke", 2)
    assert found.parameters == real.parameters
    assert found.forward == pytest.approx(real.forward, rel=0.01)
    assert found.step == pytest.approx(real.step, rel=0.05)


def test_adapters_train_a_small_part():
    found = adaptation_cost("tiny")
    assert 0 < found.trained < found.parameters / 2
    assert found.step < 3 * found.forward


def test_experts_cost_memory_and_no_operations():
    one, six = mixture_cost("smoke", 1), mixture_cost("smoke", 6)
    assert six.step == one.step
    assert six.parameters > 2 * one.parameters


def test_estimates():
    assert hours(3600e12, 1e12, 1.0) == 1
    assert hours(3600e12, 1e12, 0.25, 8) == 0.5
    cost = counted(layers(), lambda: layers()(torch.zeros(1, 8)))
    assert memory_bytes(cost, 0) == 16 * cost.parameters
    assert memory_bytes(cost, 10, 0.5) - memory_bytes(cost, 0) == 5 * cost.kept
    assert memory_bytes(cost._replace(trained=0), 0) == 4 * cost.parameters
