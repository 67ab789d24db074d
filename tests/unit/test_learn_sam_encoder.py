"""The image encoder in fused attention: as segment-anything's own at every size, with its names, and adapters in it."""

from dataclasses import replace

import pytest
import torch
from segment_anything.modeling import ImageEncoderViT
from torch import nn

from sartutor.errors import SarTutorError
from sartutor.learn.data import ShapeWindows
from sartutor.learn.losses import mask_iou
from sartutor.learn.models import load_model
from sartutor.learn.sam import encoder as encoder_module
from sartutor.learn.sam.adapters import MLP_SCALE, Adapter, Adapters
from sartutor.learn.sam.contrast import box_mask
from sartutor.learn.sam.encoder import ImageEncoder, chunked_attention, fused_attention, layer_norm
from sartutor.presets import SAM_SIZES

SMALL = replace(SAM_SIZES["tiny"], image_size=96, width=32, depth=3, heads=2, window=4, global_blocks=(1,))
"""6 x 6 tokens in windows of 4: two windows of each row are filled up with zeros."""


def official(size):
    return ImageEncoderViT(
        img_size=size.image_size,
        patch_size=size.patch,
        embed_dim=size.width,
        depth=size.depth,
        num_heads=size.heads,
        out_chans=size.embedding,
        norm_layer=layer_norm,
        use_rel_pos=True,
        window_size=size.window,
        global_attn_indexes=size.global_blocks,
    )


def randomised(module, seed=0):
    """All weights drawn anew, the zeros of SAM's positions and of adapters too."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator)
    return module.eval()


def images(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("gradient", [True, False])
@pytest.mark.parametrize("patch_grid", [6, 8])
def test_embeddings_are_those_of_segment_anything(patch_grid, gradient):
    size = replace(SMALL, image_size=16 * patch_grid)
    theirs, ours = randomised(official(size)), ImageEncoder(size).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    image = images(2, 3, size.image_size, size.image_size)
    with torch.set_grad_enabled(gradient):
        expected, found = theirs(image), ours(image)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_without_gradient_attention_is_chunked(monkeypatch):
    monkeypatch.setattr(encoder_module, "fused_attention", lambda *_: pytest.fail("not chunked"))
    with torch.no_grad():
        randomised(ImageEncoder(SMALL))(images(1, 3, 96, 96))


def test_gradients_are_those_of_segment_anything():
    theirs, ours = randomised(official(SMALL)), ImageEncoder(SMALL).eval()
    ours.load_state_dict(theirs.state_dict())
    image = images(1, 3, 96, 96)
    for each in (theirs, ours):
        each(image).square().mean().backward()
    found = {name: parameter.grad for name, parameter in ours.named_parameters()}
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, atol=1e-5, rtol=1e-3, msg=name)


@pytest.mark.parametrize("name", sorted(SAM_SIZES))
def test_names_and_shapes_are_those_of_official_checkpoints(name):
    with torch.device("meta"):
        theirs, ours = official(SAM_SIZES[name]), ImageEncoder(SAM_SIZES[name])
    shapes = [{key: value.shape for key, value in each.state_dict().items()} for each in (theirs, ours)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("chunk", [1, 15 * 5 * 2, 15 * 15 * 3, 2**20])
def test_attention_is_softmax_of_logits_with_their_bias(monkeypatch, chunk):
    """In chunks of one row, of two where three are one too many, of three heads of four, and of everything."""
    monkeypatch.setattr(encoder_module, "CHUNK", chunk)
    q, k, v = images(3, 2, 2, 3, 5, 8).unbind()
    rows, cols = images(3, 3, 8), images(5, 5, 8)
    logits = torch.einsum("bnhwc,bnijc->bnhwij", q, k) / 8**0.5
    logits += torch.einsum("bnhwc,hic->bnhwi", q, rows)[..., None]
    logits += torch.einsum("bnhwc,wjc->bnhwj", q, cols)[..., None, :]
    weights = logits.flatten(4).softmax(-1).unflatten(4, (3, 5))
    expected = torch.einsum("bnhwij,bnijc->bnhwc", weights, v)
    for attention in (fused_attention, chunked_attention):
        found = attention(q, k, v, rows, cols)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_other_sizes_of_images_get_interpolated_positions():
    encoder = randomised(ImageEncoder(SMALL))
    assert encoder(images(1, 3, 64, 160)).shape == (1, SMALL.embedding, 4, 10)
    flat = encoder.pos_embed.data = torch.ones_like(encoder.pos_embed)
    assert encoder.positions(images(1, 4, 10, 32)).allclose(flat[:, :1, :1])


@pytest.mark.parametrize("grid", [4, 10])
def test_another_size_is_that_of_segment_anything_with_a_resized_table(grid):
    theirs, ours = randomised(official(replace(SMALL, image_size=16 * grid))), ImageEncoder(SMALL).eval()
    state = randomised(official(SMALL)).state_dict()
    for (
        name,
        value,
    ) in state.items():  # relative positions of another grid are resized by the official code itself
        if name != "pos_embed" and value.shape == theirs.state_dict()[name].shape:
            theirs.state_dict()[name].copy_(value)
    table = state["pos_embed"].permute(0, 3, 1, 2)
    resized = nn.functional.interpolate(table, (grid, grid), mode="bicubic", align_corners=False)
    theirs.pos_embed.data = resized.permute(0, 2, 3, 1)
    for block, other in zip(theirs.blocks, randomised(official(SMALL)).blocks, strict=True):
        block.attn.rel_pos_h, block.attn.rel_pos_w = other.attn.rel_pos_h, other.attn.rel_pos_w
    ours.load_state_dict(state, strict=True)
    image = images(1, 3, 16 * grid, 16 * grid)
    with torch.no_grad():
        torch.testing.assert_close(ours(image), theirs(image), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("gradient", [True, False])
def test_embeddings_in_bfloat16_are_close_to_those_in_float32(gradient):
    encoder = ImageEncoder(SMALL).eval()
    for i, (name, parameter) in enumerate(encoder.named_parameters()):
        if "pos" in name:  # zeros in the beginning
            parameter.data = 0.3 * images(*parameter.shape, seed=i)
    image = images(2, 3, 96, 96)
    with torch.set_grad_enabled(gradient):
        whole = encoder(image)
        with torch.autocast("cpu", torch.bfloat16):
            half = encoder(image)
    error = (half.float() - whole).norm() / whole.norm()
    assert 0 < error.item() < 2e-2


def test_checkpointing_changes_no_gradient():
    encoder, adapters = randomised(ImageEncoder(SMALL)), randomised(Adapters(SMALL), 2)
    found = []
    for checkpointing in (False, True):
        encoder.checkpointing = checkpointing
        adapters.zero_grad()
        encoder(images(1, 3, 96, 96), adapters).square().mean().backward()
        found.append([parameter.grad.clone() for parameter in adapters.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))
    assert all(grad.abs().max() > 0 for grad in found[0])


def test_new_adapters_change_nothing_and_trained_ones_do():
    encoder, image = randomised(ImageEncoder(SMALL)), images(1, 3, 96, 96)
    plain = encoder(image)
    assert torch.equal(encoder(image, Adapters(SMALL)), plain)
    assert not encoder(image, randomised(Adapters(SMALL), 2)).allclose(plain, atol=1e-2)


def test_one_trunk_serves_several_sets_of_adapters():
    encoder, image = randomised(ImageEncoder(SMALL)), images(1, 3, 96, 96)
    first, second = (randomised(Adapters(SMALL), seed) for seed in (2, 3))
    alone = encoder(image, first)
    assert not encoder(image, second).allclose(alone, atol=1e-2)
    assert torch.equal(encoder(image, first), alone)


def test_a_block_with_adapters_is_that_of_the_paper():
    """x <- x + h + A(h), h the attention of the normed x; then x <- x + MLP(n) + A(n) / 2, n the normed x."""
    block = randomised(ImageEncoder(SMALL)).blocks[0]
    adapter = randomised(Adapters(SMALL), 2)[0]
    x = images(1, 6, 6, 32)
    h = block.attn(block.norm1(x))
    y = x + h + adapter.space.up(nn.functional.gelu(adapter.space.down(h)))
    n = block.norm2(y)
    expected = y + block.mlp(n) + 0.5 * adapter.mlp.up(nn.functional.gelu(adapter.mlp.down(n)))
    assert MLP_SCALE == 0.5
    torch.testing.assert_close(block(x, adapter), expected)


def test_adapters_of_vit_b_have_as_many_parameters_as_published():
    with torch.device("meta"):
        adapters = Adapters(SAM_SIZES["vit_b"])
    assert sum(parameter.numel() for parameter in adapters.parameters()) == 7_100_928


def test_activations_are_selectable():
    assert isinstance(Adapter(8, "relu").act, nn.ReLU)
    with pytest.raises(SarTutorError, match="no activation 'tanh'; use one of gelu, relu"):
        Adapter(8, "tanh")


def test_masks_in_bfloat16_are_those_in_float32():
    sam, overlap = load_model("sam_tiny_base").sam, []
    for batch in (ShapeWindows(7, 10, 5, sam.size.image_size)[i] for i in range(10)):
        found = []
        for bf16 in (False, True):
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                found.append(sam.decode(sam.encode(batch["image"].float()), batch["box"])[0][:, 0].float())
        inside = box_mask(batch["box"], sam.size.image_size)
        overlap.append(mask_iou(found[1], (found[0] > 0).float() * inside, inside.float()))
    ious = torch.cat(overlap)
    assert len(ious) == 50
    assert ious.median() >= 0.99
    assert ious.min() >= 0.95
