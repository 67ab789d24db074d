"""Swin: the numbers of timm's own, four maps, a learned position, hidden patches that cannot be seen."""

import pytest
import torch
from timm.models.swin_transformer import SwinTransformer
from torch import nn

from sartutor.errors import DataError
from sartutor.learn.swin import build_swin, features
from sartutor.presets import SWIN_SIZES, SwinSize

SMOKE = SWIN_SIZES["smoke"]
WINDOW_PER_STAGE = SwinSize("windows", 64, 4, 16, (2, 2, 2, 1), (1, 2, 4, 8), 8)


def swin(size: SwinSize = SMOKE, channels: int = 2, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build_swin(size, channels)


def timm_swin(size: SwinSize, channels: int) -> SwinTransformer:
    return SwinTransformer(
        img_size=size.image_size,
        patch_size=size.patch,
        in_chans=channels,
        num_classes=0,
        embed_dim=size.width,
        depths=size.depths,
        num_heads=size.heads,
        window_size=size.window,
    ).eval()


@pytest.mark.parametrize("size", [SMOKE, SWIN_SIZES["laptop"], WINDOW_PER_STAGE], ids=lambda size: size.name)
def test_maps_are_those_of_timm_with_the_same_weights(size):
    ours, theirs = swin(size), timm_swin(size, 2)
    nn.init.zeros_(ours.pos_embed)
    theirs.load_state_dict({k: v for k, v in ours.state_dict().items() if k != "pos_embed"}, strict=True)
    image = torch.randn(2, 2, size.image_size, size.image_size)
    expected = theirs.forward_intermediates(image, norm=True, intermediates_only=True)
    for mine, other in zip(features(ours, image), expected, strict=True):
        torch.testing.assert_close(mine, other, atol=2e-5, rtol=1e-4)


def test_gradients_are_those_of_timm_with_the_same_weights():
    ours, theirs = swin(), timm_swin(SMOKE, 2)
    nn.init.zeros_(ours.pos_embed)
    theirs.load_state_dict({k: v for k, v in ours.state_dict().items() if k != "pos_embed"})
    image = torch.randn(2, 2, 64, 64)
    features(ours, image)[-1].square().mean().backward()
    theirs.forward_features(image).square().mean().backward()
    mine = dict(ours.named_parameters())
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(mine[name].grad, parameter.grad, atol=1e-6, rtol=1e-3, msg=name)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_four_maps_at_strides_4_to_32_have_the_widths_that_the_model_names(channels):
    model = swin(SMOKE, channels)
    maps = features(model, torch.randn(1, channels, 64, 64))
    assert [tuple(each.shape[1:]) for each in maps] == [(16, 16, 16), (32, 8, 8), (64, 4, 4), (128, 2, 2)]
    assert tuple(each.shape[1] for each in maps) == model.widths


@pytest.mark.parametrize("name", SWIN_SIZES)
def test_every_size_has_windows_that_tile_its_grids(name):
    with torch.device("meta"):
        model = build_swin(SWIN_SIZES[name], 2)
        side = model.size.image_size
        maps = features(model, torch.empty(1, 2, side, side))
    assert [each.shape[-1] for each in maps] == [side // stride for stride in (4, 8, 16, 32)]


def test_the_laptop_encoder_fits_in_4_mb_of_half_precision():
    assert sum(p.numel() for p in swin(SWIN_SIZES["laptop"]).parameters()) * 2 <= 4e6


def test_hidden_patches_cannot_be_seen_but_their_place_can():
    model, token = swin(), torch.zeros(16)
    image, mask = torch.randn(1, 2, 64, 64), torch.zeros(1, 16, 16, dtype=torch.bool)
    mask[:, 4:8, 4:8] = True
    repainted = image.clone()
    repainted[:, :, 16:32, 16:32] = 9
    same = zip(features(model, image, mask, token), features(model, repainted, mask, token), strict=True)
    assert all(torch.equal(a, b) for a, b in same)
    repainted[:, :, :4, :4] = 9
    assert not torch.equal(features(model, image, mask, token)[0], features(model, repainted, mask, token)[0])


def test_the_mask_token_is_learned():
    token = torch.zeros(16, requires_grad=True)
    mask = torch.rand(1, 16, 16) < 0.5
    features(swin(), torch.randn(1, 2, 64, 64), mask, token)[-1][:, 0].sum().backward()
    assert token.grad.abs().min() > 0


def test_positions_tell_equal_patches_apart():
    spread = features(swin(), torch.zeros(1, 2, 64, 64))[0].std((2, 3))
    assert spread.min() > 1e-3


@pytest.mark.parametrize("shape", [(2, 32, 32), (2, 64, 96), (3, 64, 64)])
def test_images_of_another_size_are_refused_with_the_cure(shape):
    with pytest.raises(DataError, match="takes 2 bands of 64 x 64 pixels"):
        features(swin(), torch.zeros(1, *shape))
