"""The fusion gate: its size, that weights add up to 1, and that what it trusts is what comes out."""

import pytest
import torch

from sartutor.learn.sam.fusion import SelectiveFusionGate, average_weights, first_weights, fused
from sartutor.presets import SAM_SIZES


def embeddings(count=2, seed=0):
    """Tokens at 4 x 4 and details at 8 x 8 of `count` encoders."""
    generator = torch.Generator().manual_seed(seed)
    shapes = ((2, 8, 4, 4), (2, 3, 8, 8))
    return [tuple(torch.randn(shape, generator=generator) for shape in shapes) for _ in range(count)]


def test_the_gate_of_vit_b_has_as_many_parameters_as_published():
    gate = SelectiveFusionGate(SAM_SIZES["vit_b"].embedding)
    assert sum(parameter.numel() for parameter in gate.parameters()) == 148_066


@pytest.mark.parametrize("encoders", [2, 3])
def test_weights_add_up_to_one_at_every_token(encoders):
    torch.manual_seed(0)
    parts = [each[0] for each in embeddings(encoders)]
    weights = SelectiveFusionGate(8, encoders)(parts)
    assert weights.shape == (2, encoders, 4, 4)
    assert weights.min() > 0
    torch.testing.assert_close(weights.sum(1), torch.ones(2, 4, 4))
    assert weights.std() > 1e-3


def test_the_average_is_the_mean_of_the_encoders():
    both = embeddings()
    found = fused(both, average_weights([each[0] for each in both]))
    for level, *parts in zip(found, *both, strict=True):
        torch.testing.assert_close(level, sum(parts) / 2)


def test_an_encoder_that_is_trusted_alone_comes_out_alone():
    both = embeddings()
    weights = torch.zeros(2, 2, 4, 4)
    weights[:, 1] = 1
    assert all(torch.equal(level, part) for level, part in zip(fused(both, weights), both[1], strict=True))


def test_weights_are_places_not_channels():
    ones, zeros = (tuple(torch.full_like(part, value) for part in embeddings()[0]) for value in (1.0, 0.0))
    weights = torch.rand(2, 1, 4, 4)
    tokens, details = fused([ones, zeros], torch.cat([weights, 1 - weights], 1))
    torch.testing.assert_close(tokens, weights.expand(-1, 8, -1, -1))
    assert torch.equal(details[:, 0], details[:, 2])
    assert weights.min() <= details.min() < details.max() <= weights.max()


def test_the_gate_learns_which_encoder_is_right():
    """Encoder 0 knows the left half, encoder 1 the right; both say so in their first channel."""
    torch.manual_seed(0)
    truth = torch.randn(4, 8, 4, 4)
    first, second = truth.clone(), truth.clone()
    first[..., 2:], second[..., :2] = 0, 0
    first[:, 0], second[:, 0] = 1, 1
    first[:, 0, :, 2:], second[:, 0, :, :2] = -1, -1
    gate = SelectiveFusionGate(8)
    optimizer = torch.optim.Adam(gate.parameters(), 1e-2)
    for _ in range(60):
        weights = gate([first, second])
        loss = (fused([(first,), (second,)], weights)[0] - truth)[:, 1:].square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert weights[:, 0, :, :2].min() > 0.8
    assert weights[:, 1, :, 2:].min() > 0.8


def test_the_first_encoder_alone_is_itself():
    torch.manual_seed(0)
    one, other = ((torch.rand(2, 8, 4, 4), torch.rand(2, 3, 16, 16)) for _ in range(2))
    alone = fused([one, other], first_weights([one[0], other[0]]))
    assert all(torch.equal(level, expected) for level, expected in zip(alone, one, strict=True))
