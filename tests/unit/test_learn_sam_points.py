"""Clicks as prompts of adaptation: they reach what learns, and a decoder that learned from them follows them."""

import numpy as np
import pytest
import torch
from torch import nn

from sartutor.learn.embeddings import EmbeddingCache
from sartutor.learn.models import load_model
from sartutor.learn.sam.adapted import AdaptedSam
from sartutor.learn.sam.kept import KeptEmbeddings
from sartutor.learn.sam.objectives import PromptLoss, prompted_masks
from sartutor.learn.sam.prompts import MAX_POINTS, clicks_on
from sartutor.learn.sam.samples import MOST_BOXES

SIDE = 256
MOST_STEPS = 150


@pytest.fixture
def model():
    torch.manual_seed(0)
    adapted = AdaptedSam(load_model("sam_tiny_base").sam, 1)
    adapted.train_phase(1)
    return adapted


def batch():
    """One image of two bright squares, twice: with a click on the first, and with one on the second."""
    target = torch.zeros(2, SIDE, SIDE, dtype=torch.bool)
    target[0, 40:110, 40:110] = target[1, 140:210, 140:210] = True
    image = 0.3 + 0.03 * torch.randn(1, 1, 3, SIDE, SIDE) + 0.3 * target.any(0)
    box = torch.full((2, MOST_BOXES, 4), -1.0)
    box[:, 0] = torch.tensor([0.0, 0, SIDE, SIDE])
    points = torch.full((2, MAX_POINTS, 3), -1.0)
    points[:, 0] = torch.tensor([[75.0, 75, 1], [175, 175, 1]])
    known = torch.ones_like(target)
    return {
        "image": image.repeat(2, 1, 1, 1, 1).half(),
        "target": target,
        "known": known,
        "box": box,
        "points": points,
    }


@torch.no_grad()
def ious(model, some, kept):
    """IoU (2, 2) of the mask for each click with each object."""
    masks = prompted_masks(model, some, kept)[0] > 0
    both = [[(mask & one).sum() / (mask | one).sum() for one in some["target"]] for mask in masks]
    return torch.tensor(both)


def test_clicks_lie_on_their_target():
    target = np.zeros((8, 9), bool)
    target[2:4, 5:8] = True
    for seed in range(20):
        clicks = clicks_on(np.random.default_rng(seed), target)
        assert 1 <= len(clicks) <= MAX_POINTS
        cols, rows = clicks.astype(int).T
        assert target[rows, cols].all()


def test_adapters_and_decoder_learn_from_clicks(model):
    for adapter in model.branches[0].adapters:
        nn.init.normal_(adapter.space.up.weight, std=0.02)
    PromptLoss()(model, batch(), 0).backward()
    assert all(adapter.space.down.weight.grad.abs().max() > 0 for adapter in model.branches[0].adapters)
    assert (
        model.mask_decoder.transformer.layers[0].cross_attn_token_to_image.q_proj.weight.grad.abs().max() > 0
    )


def test_a_decoder_that_learned_from_clicks_follows_them(model):
    some, kept = batch(), KeptEmbeddings(model, EmbeddingCache())
    assert (ious(model, some, kept) < 0.6).all()  # it knows figure and ground, but not which figure
    learned = list(model.mask_decoder.parameters())
    optimizer = torch.optim.AdamW(learned, 1e-3)
    for step in range(MOST_STEPS):
        PromptLoss(kept=kept)(model, some, step).backward()
        nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 10 == 9 and ious(model, some, kept).diag().min() > 0.8:
            break
    swapped = {**some, "points": some["points"].flip(0)}
    assert ious(model, some, kept).diag().min() > 0.8
    assert ious(model, swapped, kept).diag().max() < 0.2
