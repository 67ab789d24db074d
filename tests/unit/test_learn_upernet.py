"""UPerNet on encoders of different strides: shapes, maximum pools, gradients, and one scene learned."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from sartutor.learn.upernet import PyramidPooling, UPerNet, block, resized


class Patches(nn.Module):
    """Four maps by convolutions that do not overlap, at the given strides."""

    def __init__(self, strides=(4, 8, 16, 32), widths=(8, 16, 24, 32)):
        super().__init__()
        self.widths = widths
        self.taps = nn.ModuleList(nn.Conv2d(2, width, s, s) for s, width in zip(strides, widths, strict=True))

    def features(self, image):
        return [tap(image) for tap in self.taps]


def network(**options):
    torch.manual_seed(1)
    return UPerNet(Patches(**options), classes=5, channels=16, dropout=0.5)


@pytest.mark.parametrize("strides", [(4, 8, 16, 32), (8, 16, 32, 32)])
@pytest.mark.parametrize("side", [64, 96])
def test_logits_have_the_size_of_the_image(strides, side):
    assert network(strides=strides)(torch.randn(2, 2, side, side)).shape == (2, 5, side, side)


def test_every_parameter_and_every_level_learns():
    model = network().train()
    model(torch.randn(2, 2, 64, 64)).square().mean().backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []


def test_dropout_acts_in_training_alone():
    model, image = network(), torch.randn(1, 2, 64, 64)
    assert not torch.equal(model.train()(image), model(image))
    assert torch.equal(model.eval()(image), model(image))


def test_the_pyramid_pools_maxima_of_the_parts():
    """A peak in one corner is the maximum of the whole map, and of its own quarter."""
    pyramid = PyramidPooling(4, 16)
    peak = torch.zeros(1, 4, 12, 12)
    peak[..., 0, 0] = 9.0
    whole, quarters = (level[0](peak)[0, 0] for level in pyramid.levels[:2])
    assert whole.tolist() == [[9]]
    assert quarters.tolist() == [[9, 0], [0, 0]]


def test_norms_have_16_groups_at_256_channels_and_the_global_level_still_tells_images_apart():
    assert block(8, 256, 1)[1].num_groups == 16
    level = PyramidPooling(4, 16).levels[0]
    one, other = level(torch.rand(2, 4, 6, 6) + torch.tensor([[[[1.0]]], [[[-3.0]]]]))
    assert (one - other).abs().max() > 0.1


def test_maps_smaller_than_the_finest_pool_are_fine():
    assert PyramidPooling(4, 16)(torch.randn(2, 4, 2, 2)).shape == (2, 16, 2, 2)


def test_resizing_is_bilinear():
    ramp = torch.arange(4.0).expand(1, 1, 4, 4)
    assert torch.allclose(resized(ramp, (4, 8))[0, 0, 0, 1:7], torch.arange(1.0, 7.0) / 2 - 0.25)


def test_one_scene_is_learned():
    model = network().eval()
    generator = torch.Generator().manual_seed(2)
    image = torch.randn(1, 2, 64, 64, generator=generator)
    target = functional.interpolate(image[:, :1], scale_factor=0.125).repeat_interleave(8, 2)
    target = (target.repeat_interleave(8, 3)[:, 0] > 0).long()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(60):
        loss = functional.cross_entropy(model(image), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.35
