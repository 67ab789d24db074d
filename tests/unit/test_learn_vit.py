"""The plain transformer: maps, experts in place of layers, DINOv2's weights, masked pretraining."""

import pytest
import timm
import torch
from test_learn_pretrain import SpeckledChips

from sartutor.errors import CheckpointError, DataError
from sartutor.learn.checkpoints import load_tensors
from sartutor.learn.moe import Mixture, parameter_counts
from sartutor.learn.pretrain import load_pretrained, pretrain
from sartutor.learn.simmim import VitSimMIM
from sartutor.learn.vit import build_vit, load_dinov2
from sartutor.presets import PRETRAIN_RECIPES, VIT_SIZES, VitSize

SMOKE = VIT_SIZES["smoke"]


def image(batch=2, side=64):
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(3))


def test_maps_are_those_of_timm_after_half_and_after_all_of_the_blocks():
    vit = build_vit(VitSize("x", 64, 8, 32, 4, 2), 0).eval()
    with torch.no_grad():
        expected = vit.get_intermediate_layers(image(), [1, 3], reshape=True, norm=True)
        found = vit.encode(image()).maps
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found, expected, strict=True))
    assert vit.widths == (32, 32)


def test_experts_start_as_the_layers_they_replace():
    vit = build_vit(SMOKE, 0).eval()
    before = vit.encode(image())
    vit.mix(Mixture())
    after = vit.encode(image(), torch.randn(2, 3))
    assert torch.allclose(before.maps[-1], after.maps[-1], atol=1e-5)
    assert (len(before.routings), len(after.routings)) == (0, SMOKE.depth)


def test_images_of_another_size_go_through_and_those_that_patches_do_not_tile_are_refused():
    assert build_vit(SMOKE, 0).features(image(side=96))[0].shape == (2, 32, 12, 12)
    with pytest.raises(DataError, match="Patches of 8 px do not tile images of 60 x 60 px"):
        build_vit(SMOKE, 0).features(image(side=60))


def test_a_mixture_of_six_copies_of_vit_s_has_the_published_size():
    with torch.device("meta"):
        vit = build_vit(VIT_SIZES["dinov2_s"], 0)
        vit.mix(Mixture())
    size = parameter_counts(vit)
    assert size.total / 1e6 == pytest.approx(90, rel=0.05)
    assert size.active / 1e6 == pytest.approx(20, rel=0.15)


def test_weights_of_dinov2_are_taken_over_with_patches_and_positions_resampled(tmp_path):
    size = VitSize("dinov2_s", 64, 16, 384, 12, 6, True, 1e-5)
    official = timm.create_model("vit_small_patch14_dinov2", pretrained=False, num_classes=0).eval()
    path = tmp_path / "dinov2_vits14_pretrain.pth"
    torch.save({**official.state_dict(), "mask_token": torch.zeros(1, 384)}, path)
    vit = build_vit(size, 0).eval()
    load_dinov2(vit, path)
    assert torch.equal(vit.blocks[3].attn.qkv.weight, official.blocks[3].attn.qkv.weight)
    assert torch.equal(vit.cls_token, official.cls_token)
    assert vit.patch_embed.proj.weight.shape[-1] == 16
    assert vit.encode(image()).maps[0].shape == (2, 384, 4, 4)


def test_weights_of_another_size_are_refused(tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"mask_token": torch.zeros(1, 384), "pos_embed": torch.zeros(1, 5, 384)}, path)
    with pytest.raises(
        CheckpointError, match=r"other\.pth does not hold the weights of DINOv2 of size smoke"
    ):
        load_dinov2(build_vit(SMOKE, 0), path)


def test_masked_pretraining_of_a_plain_transformer_ends_in_a_checkpoint_to_start_from(tmp_path):
    out = tmp_path / "vit.safetensors"
    recipe = PRETRAIN_RECIPES["simmim-vit"]["smoke"]
    pretrain(
        SpeckledChips(3, 64, 8), "simmim", out, backbone="vit", recipe=recipe, device="cpu", progress=False
    )
    model = load_pretrained(out)
    assert isinstance(model, VitSimMIM)
    assert load_tensors(out)[1]["backbone"] == "vit"
    shown = torch.zeros(1, 4, 4, dtype=torch.bool)
    shown[0, 0, 0] = True
    one = image(1)
    other = one.clone()
    other[..., :16, :16] += 9
    with torch.no_grad():
        assert torch.equal(model.reconstruct(one, shown), model.reconstruct(other, shown))
        assert not torch.equal(model.reconstruct(one, ~shown), model.reconstruct(other, ~shown))
