"""Released checkpoints: small files with the released names compute here what the original programs compute.

The originals are written out below as functions of a dictionary of weights, in their own order and names.
"""

import argparse
import sys
import types

import numpy as np
import pytest
import torch
from torch.nn import functional

from sartutor.errors import CheckpointError
from sartutor.learn.mixmae import MixMAE
from sartutor.learn.released import (
    alos2_fm_name,
    load_alos2_fm,
    load_sar_w_mixmae,
    released_tensors,
    sar_w_mixmae_name,
)
from sartutor.learn.simmim import SimMIM
from sartutor.learn.weighting import BandStatistics, WeightRule
from sartutor.presets import MIXMAE_SIZES, SWIN_SIZES

STATISTICS = BandStatistics(("VH", "VV"), (-19.0, -12.0), (5.0, 5.0), (True, True))
SMOKE = MIXMAE_SIZES["smoke"]
HH = BandStatistics(("HH",), (-10.4327,), (5.8041,), (True,))
SWIN = SWIN_SIZES["smoke"]


def linear(weights, name, x):
    return functional.linear(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"))


def norm(weights, name, x):
    return functional.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"])


def mlp(weights, name, x):
    return linear(weights, f"{name}.fc2", functional.gelu(linear(weights, f"{name}.fc1", x)))


def attention(weights, name, x, heads, bias):
    """Multi-head attention of tokens (B, N, C), `bias` added to the logits (B or 1, heads or 1, N, N)."""
    batch, tokens, width = x.shape
    parts = (
        linear(weights, f"{name}.qkv", x).view(batch, tokens, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    )
    query, key, value = parts
    logits = query @ key.transpose(-1, -2) * (width // heads) ** -0.5 + bias
    return linear(weights, f"{name}.proj", (logits.softmax(-1) @ value).transpose(1, 2).reshape(x.shape))


def relative_bias(table, window, heads):
    row, column = np.divmod(np.arange(window**2), window)
    down, right = np.subtract.outer(row, row) + window - 1, np.subtract.outer(column, column) + window - 1
    return table[torch.from_numpy(down * (2 * window - 1) + right)].permute(2, 0, 1)[None]


def cut(x, window):
    """(B, side, side, C) to (B windows, window^2, C)."""
    batch, side, _, width = x.shape
    split = x.view(batch, side // window, window, side // window, window, width)
    return split.permute(0, 1, 3, 2, 4, 5).reshape(-1, window**2, width)


def paste(windows, side):
    window = int(windows.shape[1] ** 0.5)
    split = windows.view(-1, side // window, side // window, window, window, windows.shape[2])
    return split.permute(0, 1, 3, 2, 4, 5).reshape(-1, side, side, windows.shape[2])


def swin_block(weights, name, x, heads, window, forbidden):
    """One block on (B, side, side, C); `forbidden` is added to the logits (B windows, 1, N, N)."""
    bias = relative_bias(weights[f"{name}.attn.relative_position_bias_table"], window, heads)
    windows = cut(norm(weights, f"{name}.norm1", x), window)
    x = x + paste(attention(weights, f"{name}.attn", windows, heads, bias + forbidden), x.shape[1])
    return x + mlp(weights, f"{name}.mlp", norm(weights, f"{name}.norm2", x))


def merge(weights, name, x):
    parts = [x[:, down::2, right::2] for right in (0, 1) for down in (0, 1)]
    return linear(weights, f"{name}.reduction", norm(weights, f"{name}.norm", torch.cat(parts, -1)))


def patch_embed(weights, prefix, image):
    kernel, offset = weights[f"{prefix}patch_embed.proj.weight"], weights[f"{prefix}patch_embed.proj.bias"]
    return norm(
        weights, f"{prefix}patch_embed.norm", functional.conv2d(image, kernel, offset, 4).movedim(1, -1)
    )


def original_mixmae(weights, image, mask, size):
    """Both decoded streams (2B, cells^2, P) of the released SAR-W-MixMAE: flipped batch, merging closes a stage."""
    x = patch_embed(weights, "", image)
    mask = mask.float()

    def scaled(side):
        return functional.interpolate(mask[None, None], size=(side, side), mode="nearest").view(
            1, side, side, 1
        )

    x = x * (1 - scaled(x.shape[1])) + x.flip(0) * scaled(x.shape[1])
    x = x + weights["absolute_pos_embed"].view(1, *x.shape[1:])
    for stage, (depth, heads, window) in enumerate(zip(size.depths, size.heads, size.windows, strict=True)):
        side = x.shape[1]
        own = cut(scaled(side).expand(len(x), side, side, 1), window)
        forbidden = -1e30 * (1 - own @ own.mT - (1 - own) @ (1 - own).mT)[:, None]
        for block in range(depth):
            x = swin_block(weights, f"layers.{stage}.blocks.{block}", x, heads, window, forbidden)
        x = merge(weights, f"layers.{stage}.downsample", x) if stage < 3 else x
    x = linear(weights, "decoder_embed", norm(weights, "norm", x).flatten(1, 2))
    cells = mask.view(1, -1, 1)
    empty = weights["mask_token"]
    x = torch.cat([x * (1 - cells) + empty * cells, x * cells + empty * (1 - cells)])
    x = x + weights["decoder_pos_embed"]
    for block in range(size.decoder_depth):
        name = f"decoder_blocks.{block}"
        x = x + attention(weights, f"{name}.attn", norm(weights, f"{name}.norm1", x), size.decoder_heads, 0)
        x = x + mlp(weights, f"{name}.mlp", norm(weights, f"{name}.norm2", x))
    return linear(weights, "decoder_pred", norm(weights, "decoder_norm", x))


def across_the_seam(side, window, shift):
    """-100 (windows, 1, N, N) between tokens of a window that are no neighbours before the shift."""
    place = torch.arange(side)
    region = (place >= side - window).int() + (place >= side - shift).int()
    region = cut((3 * region[:, None] + region)[None, ..., None].float(), window)
    return -100.0 * (region != region.mT)[:, None]


def original_simmim(weights, image, hidden, size):
    """What the released SAR-W-SimMIM restores of images whose tokens `hidden` (B, side, side) are masked."""
    encoder = {name.removeprefix("encoder."): weight for name, weight in weights.items()}
    x = patch_embed(encoder, "", image)
    hidden = hidden[..., None].float()
    x = x * (1 - hidden) + encoder["mask_token"] * hidden
    x = x + encoder["absolute_pos_embed"].view(1, *x.shape[1:])
    for stage in range(4):
        side = x.shape[1]
        window = min(side, size.window)
        for block in range(size.depths[stage]):
            shift = window // 2 if block % 2 and side > window else 0
            forbidden = across_the_seam(side, window, shift).repeat(len(x), 1, 1, 1) if shift else 0
            x = x.roll((-shift, -shift), (1, 2))
            x = swin_block(encoder, f"layers.{stage}.blocks.{block}", x, size.heads[stage], window, forbidden)
            x = x.roll((shift, shift), (1, 2))
        x = merge(encoder, f"layers.{stage}.downsample", x) if stage < 3 else x
    x = norm(encoder, "norm", x).movedim(-1, 1)
    return functional.pixel_shuffle(
        functional.conv2d(x, weights["decoder.0.weight"], weights["decoder.0.bias"]), 32
    )


def shapes_of_block(name, width, window=None, heads=None):
    shapes = {
        f"{name}.attn.qkv": (3 * width, width),
        f"{name}.attn.proj": (width, width),
        f"{name}.mlp.fc1": (4 * width, width),
        f"{name}.mlp.fc2": (width, 4 * width),
        f"{name}.norm1": (width,),
        f"{name}.norm2": (width,),
    }
    shapes = {f"{key}.weight": shape for key, shape in shapes.items()} | {
        f"{key}.bias": shape[:1] for key, shape in shapes.items()
    }
    if window:
        shapes[f"{name}.attn.relative_position_bias_table"] = ((2 * window - 1) ** 2, heads)
        shapes[f"{name}.attn.relative_position_index"] = (window**2, window**2)
    return shapes


def shapes_of_encoder(size, windows, channels):
    """Names and shapes of the original Swin code."""
    width = size.width
    shapes = {
        "patch_embed.proj.weight": (width, channels, 4, 4),
        **dict.fromkeys(
            ("patch_embed.proj.bias", "patch_embed.norm.weight", "patch_embed.norm.bias"), (width,)
        ),
        **dict.fromkeys(("norm.weight", "norm.bias"), (8 * width,)),
    }
    for stage in range(4):
        wide = width * 2**stage
        for block in range(size.depths[stage]):
            name = f"layers.{stage}.blocks.{block}"
            shapes |= shapes_of_block(name, wide, windows[stage], size.heads[stage])
        if stage < 3:
            name = f"layers.{stage}.downsample"
            shapes[f"{name}.reduction.weight"] = (2 * wide, 4 * wide)
            shapes |= dict.fromkeys((f"{name}.norm.weight", f"{name}.norm.bias"), (4 * wide,))
    return shapes


def sines(side, width):
    """Fixed positions (1, side^2, width): sine and cosine of the column, then of the row (arXiv 2111.06377)."""
    omega = 10000.0 ** (-np.arange(width // 4) / (width // 4))
    row, column = np.divmod(np.arange(side**2), side)
    angles = [np.outer(place, omega) for place in (column, row)]
    halves = [np.concatenate([np.sin(angle), np.cos(angle)], 1) for angle in angles]
    return torch.from_numpy(np.concatenate(halves, 1)).float()[None]


def random_weights(shapes):
    generator = torch.Generator().manual_seed(3)
    weights = {}
    for name, shape in shapes.items():
        weights[name] = torch.randn(shape, generator=generator) * 0.2
        if "norm" in name and name.endswith("weight"):
            weights[name] += 1
        if name.endswith("relative_position_index"):
            weights[name] = torch.zeros(shape, dtype=torch.long)
    return weights


def mixmae_weights(size=SMOKE, channels=2):
    wide = size.decoder_width
    shapes = shapes_of_encoder(size, size.windows, channels) | {
        "mask_token": (1, 1, wide),
        "decoder_embed.weight": (wide, 8 * size.width),
        "decoder_pred.weight": (32 * 32 * channels, wide),
        "decoder_pred.bias": (32 * 32 * channels,),
        **dict.fromkeys(("decoder_embed.bias", "decoder_norm.weight", "decoder_norm.bias"), (wide,)),
    }
    for block in range(size.decoder_depth):
        shapes |= shapes_of_block(f"decoder_blocks.{block}", wide)
    positions = {"absolute_pos_embed": sines(16, size.width), "decoder_pos_embed": sines(2, wide)}
    return random_weights(shapes) | positions


def simmim_weights(size=SWIN):
    sides = [size.image_size // 4 // 2**stage for stage in range(4)]
    windows = [min(side, size.window) for side in sides]
    shapes = shapes_of_encoder(size, windows, 1) | {
        "mask_token": (1, 1, size.width),
        "absolute_pos_embed": (1, sides[0] ** 2, size.width),
        "layers.1.blocks.1.attn_mask": (4, 16, 16),
    }
    shapes = {f"encoder.{name}": shape for name, shape in shapes.items()}
    return random_weights(
        shapes | {"decoder.0.weight": (1024, 8 * size.width, 1, 1), "decoder.0.bias": (1024,)}
    )


def saved(path, weights):
    """A file as the released program writes it."""
    settings = argparse.Namespace(model="mixmim_base", epochs=1024, betas=(0.9, 0.95), output_dir="out")
    state = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-3, "params": [0]}]}
    torch.save({"model": weights, "optimizer": state, "epoch": 64, "scaler": {}, "args": settings}, path)
    return path


def test_sar_w_mixmae_computes_what_the_released_program_computes(tmp_path):
    weights = mixmae_weights()
    model = load_sar_w_mixmae(saved(tmp_path / "checkpoint_64.pth", weights), STATISTICS, SMOKE).eval()
    image = torch.randn(2, 2, 64, 64, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[True, False], [False, True]])
    with torch.inference_mode():
        ours = torch.cat(model._streams(image, mask)).flatten(1, 2)
        theirs = original_mixmae(weights, image, mask, SMOKE)
    assert theirs.std() > 0.1
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def test_alos2_fm_computes_what_the_released_program_computes(tmp_path):
    weights = simmim_weights()
    model = load_alos2_fm(saved(tmp_path / "ckpt_epoch_799.pth", weights), HH, SWIN).eval()
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, 1, 64, 64, generator=generator)
    hidden = torch.rand(2, 4, 4, generator=generator) < 0.6
    with torch.inference_mode():
        ours = model.reconstruct(image, hidden)
        theirs = original_simmim(weights, image, hidden.repeat_interleave(4, 1).repeat_interleave(4, 2), SWIN)
    assert theirs.std() > 0.1
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("prefix", ["encoder.", ""])
def test_an_alos2_fm_encoder_alone_is_enough_for_features(tmp_path, prefix):
    weights = simmim_weights()
    alone = {n.replace("encoder.", prefix): w for n, w in weights.items() if n.startswith("encoder.")}
    whole = load_alos2_fm(saved(tmp_path / "whole.pth", weights), HH, SWIN).eval()
    model = load_alos2_fm(saved(tmp_path / "alone.pth", alone), HH, SWIN).eval()
    image = torch.randn(1, 1, 64, 64)
    for ours, theirs in zip(model.features(image), whole.features(image), strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(model.mask_token, whole.mask_token)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda w: w.pop("encoder.layers.0.downsample.norm.bias"),
            "lacks encoder.layers.0.downsample.norm.bias;",
        ),
        (lambda w: w.pop("decoder.0.bias"), "lacks decoder.0.bias;"),
        (lambda w: w.update({"head.0.weight": torch.zeros(9)}), "has head.0.weight, unknown here;"),
        (
            lambda w: w.update({"encoder.absolute_pos_embed": torch.zeros(1, 64, 16)}),
            r"has encoder.absolute_pos_embed of shape \(1, 8, 8, 16\) where \(16, 16, 16\) is needed",
        ),
        (
            lambda w: w.update({"encoder.patch_embed.proj.weight": torch.zeros(16, 3, 4, 4)}),
            "choose the size and bands of that checkpoint",
        ),
    ],
)
def test_another_swin_is_refused_by_its_first_odd_weight(tmp_path, change, message):
    weights = simmim_weights()
    change(weights)
    with pytest.raises(CheckpointError, match=message):
        load_alos2_fm(saved(tmp_path / "other.pth", weights), HH, SWIN)


def test_the_paper_size_of_simmim_has_the_released_names_and_shapes():
    size = SWIN_SIZES["paper"]
    with torch.device("meta"):
        own = SimMIM(size, HH, WeightRule()).state_dict()
    found = {alos2_fm_name(name): tuple(tensor.shape) for name, tensor in own.items()}
    expected = {
        f"encoder.{name}": s
        for name, s in shapes_of_encoder(size, (8,) * 4, 1).items()
        if "index" not in name
    }
    extra = {name: shape for name, shape in found.items() if name not in expected}
    assert {name: found[name] for name in expected} == expected
    assert extra == {
        "encoder.mask_token": (128,),
        "encoder.absolute_pos_embed": (64, 64, 128),
        "decoder.0.weight": (1024, 1024),
        "decoder.0.bias": (1024,),
    }


def test_a_plain_dictionary_of_weights_is_read_as_well(tmp_path):
    torch.save(mixmae_weights(), tmp_path / "plain.pth")
    assert load_sar_w_mixmae(tmp_path / "plain.pth", STATISTICS, SMOKE).widths == SMOKE.widths


def test_the_paper_size_has_the_released_names_and_shapes():
    size = MIXMAE_SIZES["paper"]
    with torch.device("meta"):
        own = MixMAE(size, STATISTICS, WeightRule()).state_dict()
    expected = shapes_of_encoder(size, (8, 8, 8, 4), 2)
    expected = {name: shape for name, shape in expected.items() if "index" not in name}
    found = {sar_w_mixmae_name(name): tuple(tensor.shape) for name, tensor in own.items()}
    encoder = {name: shape for name, shape in found.items() if "decoder" not in name and name != "mask_token"}
    assert encoder == expected
    assert found["decoder_pred.weight"] == (2048, 512)
    assert "decoder_blocks.7.mlp.fc2.bias" in found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda w: w.pop("layers.1.downsample.reduction.weight"),
            "lacks layers.1.downsample.reduction.weight;",
        ),
        (lambda w: (w.pop("norm.bias"), w.pop("decoder_norm.bias")), "lacks norm.bias and 1 more;"),
        (lambda w: w.update({"head.weight": torch.zeros(19, 128)}), "has head.weight, unknown here;"),
        (
            lambda w: w.update({"norm.bias": torch.zeros(7)}),
            r"has norm.bias of shape \(7,\) where \(128,\) is needed",
        ),
        (lambda w: w["absolute_pos_embed"].mul_(2), "other positions in absolute_pos_embed"),
        (
            lambda w: w.update({"decoder_pos_embed": torch.zeros(1, 5, 32)}),
            "other positions in decoder_pos_embed",
        ),
    ],
)
def test_another_architecture_is_refused_by_its_first_odd_weight(tmp_path, change, message):
    weights = mixmae_weights()
    change(weights)
    with pytest.raises(CheckpointError, match=message):
        load_sar_w_mixmae(saved(tmp_path / "other.pth", weights), STATISTICS, SMOKE)


class Bomb:
    """Pickled code: opening it would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("place", ["top", "in args"])
def test_pickled_code_never_runs(tmp_path, place):
    bomb = Bomb(str(tmp_path / "ran"))
    args = argparse.Namespace(inner=bomb) if place == "in args" else bomb
    torch.save({"model": {"w": torch.zeros(2)}, "args": args}, tmp_path / "bad.pth")
    with pytest.raises(CheckpointError, match="holds more than tensors and settings"):
        released_tensors(tmp_path / "bad.pth")
    assert not (tmp_path / "ran").exists()


def test_missing_damaged_and_foreign_files_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="There is no checkpoint"):
        released_tensors(tmp_path / "none.pth")
    whole = saved(tmp_path / "whole.pth", {"w": torch.zeros(1000)}).read_bytes()
    (tmp_path / "half.pth").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.pth").write_text("<html>quota exceeded</html>")
    for name in ("half.pth", "text.pth"):
        with pytest.raises(CheckpointError, match="is damaged"):
            released_tensors(tmp_path / name)
    torch.save({"model": {"w": 3}}, tmp_path / "number.pth")
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    for name in ("number.pth", "list.pth"):
        with pytest.raises(CheckpointError, match="no plain dictionary of tensors"):
            released_tensors(tmp_path / name)


def test_the_settings_of_yacs_are_read_without_yacs(tmp_path, monkeypatch):
    class CfgNode(dict):
        """As pickled by yacs: a dictionary with attributes."""

    CfgNode.__module__, CfgNode.__qualname__ = "yacs.config", "CfgNode"
    package, module = types.ModuleType("yacs"), types.ModuleType("yacs.config")
    module.CfgNode = CfgNode
    settings = CfgNode(MODEL=CfgNode(SWIN=CfgNode(DEPTHS=[2, 2, 18, 2], QK_SCALE=None)))
    settings.__dict__.update(__immutable__=True, __deprecated_keys__=set(), __renamed_keys__={})
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "yacs", package)
        patch.setitem(sys.modules, "yacs.config", module)
        torch.save({"model": {"w": torch.ones(2)}, "config": settings}, tmp_path / "a.pth")
    assert "yacs.config" not in sys.modules
    assert released_tensors(tmp_path / "a.pth")["w"].tolist() == [1, 1]
