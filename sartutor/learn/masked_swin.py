"""The encoder of MixMAE: a hierarchy of windows in which each token sees only tokens of its own image.

MixMAE (arXiv 2205.13137, section 3.2) mixes the tokens of two images and encodes them together. Swin's window
attention (arXiv 2103.14030, without the shift) is therefore restricted to tokens of one image: a boolean matrix per
window, window x window tokens small and the same for the whole batch, joined with the relative position bias and
given to PyTorch's fused attention. Windows that lie within one cell of the mask need no matrix at all.

Tensors are channels-last, (B, rows, columns, C), inside the encoder. Masks are boolean on the grid of 32 px cells.
"""

from __future__ import annotations

import torch
from timm.layers import Mlp, PatchEmbed
from timm.layers.pos_embed_sincos import build_sincos2d_pos_embed
from timm.models.swin_transformer import (
    PatchMerging,
    get_relative_position_index,
    window_partition,
    window_reverse,
)
from torch import Tensor, nn
from torch.nn import functional

from sartutor.learn.masks import upsample_mask
from sartutor.presets import MixMaeSize

CELL = 32
"""Side of a mask cell in pixels: the stride of the last stage."""

PATCH = 4
"""Side of a token of the first stage in pixels."""


def fixed_positions(side: int, width: int, device: torch.device) -> Tensor:
    """Sine and cosine positions (side, side, width): first half by column, second by row (arXiv 2111.06377)."""
    rows_first = build_sincos2d_pos_embed([side, side], width, interleave_sin_cos=True, device=device)
    return rows_first.roll(width // 2, 1).view(side, side, width)


def fitting_window(side: int, most: int) -> int:
    """The largest window, at most `most` tokens wide, that divides a map `side` tokens wide."""
    return max(window for window in range(1, most + 1) if side % window == 0)


def may_attend(mask: Tensor | None, side: int, window: int) -> Tensor | None:
    """Which tokens of a window are of one image: boolean (windows, N, N), N = window^2, or None for all of them."""
    if mask is None or side // len(mask) % window == 0:
        return None
    tokens = window_partition(
        upsample_mask(mask, side // len(mask))[None, ..., None], (window, window)
    ).flatten(1)
    return tokens[:, :, None] == tokens[:, None, :]


class WindowAttention(nn.Module):
    """Attention within windows with Swin's relative position bias (arXiv 2103.14030, equation 4)."""

    relative_position_index: Tensor

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        index = get_relative_position_index(window, window).view(window, window, window, window)
        self.register_buffer("relative_position_index", index, persistent=False)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def bias(self, window: int) -> Tensor:
        """Bias (heads, N, N) of a window; one smaller than the table's takes the offsets it has from it."""
        index = self.relative_position_index[:window, :window, :window, :window]
        return self.relative_position_bias_table[index.reshape(window**2, window**2)].permute(2, 0, 1)

    def forward(self, windows: Tensor, window: int, allowed: Tensor | None) -> Tensor:
        """Windows (B x windows, N, C) to the same; `allowed` is boolean (windows, N, N), None for everything."""
        kinds, tokens = (1 if allowed is None else len(allowed)), windows.shape[1]
        parts = self.qkv(windows).view(-1, kinds, tokens, 3, self.heads, windows.shape[2] // self.heads)
        query, key, value = parts.permute(3, 0, 1, 4, 2, 5).flatten(2, 3)
        bias = self.bias(window).to(query.dtype)[None]
        if allowed is not None:
            bias = bias.masked_fill(~allowed[:, None], float("-inf")).flatten(0, 1)[None]
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.proj(attended.unflatten(1, (kinds, self.heads)).transpose(2, 3).reshape(windows.shape))


class WindowBlock(nn.Module):
    """Pre-norm transformer block over windows; maps (B, side, side, C) to the same."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, heads, window)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, 4 * width)

    def forward(self, tokens: Tensor, window: int, allowed: Tensor | None) -> Tensor:
        side = tokens.shape[1]
        windows = window_partition(self.norm1(tokens), (window, window)).flatten(1, 2)
        attended = self.attn(windows, window, allowed).unflatten(1, (window, window))
        tokens = tokens + window_reverse(attended, (window, window), side, side)
        return tokens + self.mlp(self.norm2(tokens))


class Stage(nn.Module):
    """Blocks at one resolution; every stage but the first begins by merging 2 x 2 tokens into one."""

    def __init__(self, width: int, depth: int, heads: int, window: int, merge: bool) -> None:
        super().__init__()
        self.window = window
        self.downsample = PatchMerging(width // 2, norm_layer=nn.LayerNorm) if merge else nn.Identity()
        self.blocks = nn.ModuleList(WindowBlock(width, heads, window) for _ in range(depth))

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        tokens = self.downsample(tokens)
        window = fitting_window(tokens.shape[1], self.window)
        allowed = may_attend(mask, tokens.shape[1], window)
        for block in self.blocks:
            tokens = block(tokens, window, allowed)
        return tokens


class MaskedSwin(nn.Module):
    """Four stages at strides 4, 8, 16 and 32 px. Submodules carry timm's names of a Swin transformer."""

    def __init__(self, size: MixMaeSize, channels: int) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(
            None, PATCH, channels, size.width, norm_layer=nn.LayerNorm, output_fmt="NHWC"
        )
        self.layers = nn.ModuleList(
            Stage(width, depth, heads, window, merge=stage > 0)
            for stage, (width, depth, heads, window) in enumerate(
                zip(size.widths, size.depths, size.heads, size.windows, strict=True)
            )
        )
        self.norm = nn.LayerNorm(size.widths[-1])

    def embed(self, image: Tensor) -> Tensor:
        """Tokens (B, H/4, W/4, C) of images (B, channels, H, W), without positions: what is mixed."""
        return self.patch_embed(image)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> list[Tensor]:
        """Maps of all four stages, the last one normalised, of embedded tokens and their mask (cells, cells)."""
        tokens = tokens + fixed_positions(tokens.shape[1], tokens.shape[-1], tokens.device)
        maps = []
        for stage in self.layers:
            tokens = stage(tokens, mask)
            maps.append(tokens)
        return [*maps[:-1], self.norm(tokens)]
