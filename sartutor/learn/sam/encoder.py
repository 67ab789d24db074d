"""Segment Anything's image encoder (arXiv 2304.02643) with its weights and their names, in fused attention.

Its attention adds to each logit a bias from the query and the key's row, and one from the query and the key's column
(decomposed relative positions). Both are dot products with the query. So they are appended to the query, and one-hot
rows and columns to the key: one dot product is then logit and bias together, and attention can run in a fused kernel
which never holds the whole N x N matrix. On a CPU, where no gradient is needed, it is faster still to work through the
matrix in chunks that stay in the processor's cache. The results are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from segment_anything.modeling import ImageEncoderViT
from segment_anything.modeling.common import MLPBlock
from segment_anything.modeling.image_encoder import Attention, get_rel_pos
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from sartutor.learn.sam.adapters import Adapters, BlockAdapter
from sartutor.presets import SamSize

layer_norm = partial(nn.LayerNorm, eps=1e-6)

CHUNK = 2**20
"""Logits that are held at once where no gradient is needed, so that they stay in a CPU's cache."""


def attention(q: Tensor, k: Tensor, v: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
    """softmax(q k' / sqrt(d) + relative rows + relative columns) v, all (B, heads, h, w, d), the fastest way.

    `rows` (h, h, d) and `cols` (w, w, d) hold the relative position of query row or column i and key row or column j.
    """
    chunked = q.device.type == "cpu" and not torch.is_grad_enabled()
    return (chunked_attention if chunked else fused_attention)(q, k, v, rows, cols)


def fused_attention(q: Tensor, k: Tensor, v: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
    """`attention` in one fused kernel, for queries and keys that hold the biases."""
    height, width, dim = q.shape[2:]
    by_row = torch.einsum("bnhwc,hkc->bnhwk", q, rows)
    by_col = torch.einsum("bnhwc,wkc->bnhwk", q, cols)
    query = torch.cat([q * dim**-0.5, by_row, by_col], -1).flatten(2, 3)
    at_row, at_col = (torch.eye(n, dtype=k.dtype, device=k.device) for n in (height, width))
    places = torch.cat([at_row.repeat_interleave(width, 0), at_col.repeat(height, 1)], 1)
    key = torch.cat([k.flatten(2, 3), places.expand(*k.shape[:2], -1, -1)], -1)
    value = functional.pad(
        v.flatten(2, 3), (0, height + width)
    )  # the CPU's kernel wants it as wide as the key
    attended = functional.scaled_dot_product_attention(query, key, value, scale=1.0)
    return attended[..., :dim].unflatten(2, (height, width))


def chunked_attention(q: Tensor, k: Tensor, v: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
    """`attention` in plain matrix products, for at most about `CHUNK` logits at a time; without gradient."""
    images, (height, width, dim) = q.shape[:2], q.shape[2:]
    q, k, v = (each.flatten(0, 1).contiguous() for each in (q, k, v))
    by_row = torch.einsum("nhwc,hkc->nhwk", q, rows)[..., None]
    by_col = torch.einsum("nhwc,wkc->nhwk", q, cols)[..., None, :]
    q, key, value = q * dim**-0.5, k.flatten(1, 2).mT, v.flatten(1, 2)
    row_logits = width * height * width
    for head in slices(len(q), CHUNK // (height * row_logits)):
        for row in slices(height, CHUNK // row_logits):
            logits = (by_row[head, row] + by_col[head, row]).flatten(3).flatten(1, 2)
            logits.baddbmm_(q[head, row].flatten(1, 2), key[head])
            q[head, row] = torch.bmm(logits.softmax(-1), value[head]).unflatten(1, (-1, width))
    return q.unflatten(0, images)


def slices(count: int, step: int) -> Iterator[slice]:
    """All of `count`, `step` at a time and at least one."""
    return (slice(start, start + max(step, 1)) for start in range(0, count, max(step, 1)))


class FusedAttention(Attention):
    """SAM's attention of tokens (B, H, W, C), within windows of `window` tokens, or among all of them where it is 0.

    As in SAM, windows that reach beyond the tokens are filled up with zeros, which are attended to like any token.
    Queries, keys and values of a zero are the layer's bias and need no computing.
    """

    def __init__(self, dim: int, heads: int, window: int, grid: int) -> None:
        side = window or grid
        super().__init__(dim, heads, use_rel_pos=True, input_size=(side, side))
        self.window = window

    def forward(self, tokens: Tensor) -> Tensor:
        batch, height, width, _ = tokens.shape
        qkv = self.qkv(tokens)
        if self.window:
            qkv = self._into_windows(qkv)
        q, k, v = qkv.unflatten(-1, (3, self.num_heads, -1)).permute(3, 0, 4, 1, 2, 5).unbind()
        positions = zip(q.shape[2:4], (self.rel_pos_h, self.rel_pos_w), strict=True)
        rows, cols = (get_rel_pos(count, count, table).to(q.dtype) for count, table in positions)
        out = attention(q, k, v, rows, cols).permute(0, 2, 3, 1, 4).flatten(3)
        if self.window:
            out = self._out_of_windows(out, batch, height, width)
        return self.proj(out.contiguous())  # the product is slow for tokens that are not

    def _into_windows(self, qkv: Tensor) -> Tensor:
        """Queries, keys and values (B, H, W, 3C) as windows (B x windows, side, side, 3C)."""
        batch, height, width, channels = qkv.shape
        down, across = self._windows(height, width)
        filled = (down * self.window, across * self.window)
        if filled != (height, width):
            whole = self.qkv.bias.to(qkv.dtype).expand(batch, *filled, channels).clone()
            whole[:, :height, :width] = qkv
            qkv = whole
        windows = qkv.view(batch, down, self.window, across, self.window, channels)
        return windows.transpose(2, 3).flatten(0, 2)

    def _out_of_windows(self, windows: Tensor, batch: int, height: int, width: int) -> Tensor:
        """The inverse: (B x windows, side, side, C) as tokens (B, H, W, C)."""
        grid = windows.unflatten(0, (batch, *self._windows(height, width))).transpose(2, 3)
        return grid.flatten(3, 4).flatten(1, 2)[:, :height, :width]

    def _windows(self, height: int, width: int) -> tuple[int, int]:
        """How many windows lie below and beside each other."""
        return -(-height // self.window), -(-width // self.window)


class TrunkBlock(nn.Module):
    """A block of the encoder, tokens (B, H, W, C); its parts are called as in segment-anything."""

    def __init__(self, size: SamSize, window: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = layer_norm(size.width), layer_norm(size.width)
        self.attn = FusedAttention(size.width, size.heads, window, size.image_size // size.patch)
        self.mlp = MLPBlock(size.width, 4 * size.width)

    def forward(self, tokens: Tensor, adapter: BlockAdapter | None = None) -> Tensor:
        attended = self.attn(self.norm1(tokens))
        tokens = tokens + (attended if adapter is None else adapter.after_attention(attended))
        normed = self.norm2(tokens)
        tokens = tokens + self.mlp(normed)
        return tokens if adapter is None else tokens + adapter.beside_mlp(normed)


class ImageEncoder(ImageEncoderViT):
    """SAM's image encoder for images (B, 3, H, W) whose sides are multiples of the patch; embeddings (B, E, h, w).

    Positions of other grids than the size's own are interpolated. With `checkpointing`, blocks keep no activations for
    the backward pass and compute them again: less memory, a third more time.
    """

    pos_embed: nn.Parameter

    def __init__(self, size: SamSize) -> None:
        super().__init__(
            img_size=size.image_size,
            patch_size=size.patch,
            embed_dim=size.width,
            depth=0,
            out_chans=size.embedding,
        )
        windows = [0 if i in size.global_blocks else size.window for i in range(size.depth)]
        self.blocks = nn.ModuleList(TrunkBlock(size, window) for window in windows)
        self.checkpointing = False

    def forward(self, image: Tensor, adapters: Adapters | None = None) -> Tensor:
        tokens = self.patch_embed(image)
        return self.embed(tokens + self.positions(tokens), adapters)

    def positions(self, tokens: Tensor) -> Tensor:
        """Position embeddings (1, h, w, C) of the grid of tokens (B, h, w, C)."""
        grid = tokens.shape[1:3]
        if grid == self.pos_embed.shape[1:3]:
            return self.pos_embed
        table = self.pos_embed.permute(0, 3, 1, 2)
        return functional.interpolate(table, grid, mode="bicubic", align_corners=False).permute(0, 2, 3, 1)

    def embed(self, tokens: Tensor, adapters: Adapters | None = None) -> Tensor:
        """Embeddings (B, E, h, w) of tokens (B, h, w, C) that have their positions."""
        for block, adapter in self._blocks(adapters):
            if self.checkpointing and torch.is_grad_enabled():
                tokens = checkpoint(block, tokens, adapter, use_reentrant=False)
            else:
                tokens = block(tokens, adapter)
        return self.neck(tokens.permute(0, 3, 1, 2))

    def _blocks(self, adapters: Adapters | None) -> Iterator[tuple[nn.Module, nn.Module | None]]:
        return zip(self.blocks, adapters or [None] * len(self.blocks), strict=True)
