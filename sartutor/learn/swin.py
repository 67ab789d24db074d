"""Swin Transformer (arXiv 2103.14030) from timm's parts, with a learned position embedding and leaner attention.

timm cuts its tokens into windows, projects them to queries, keys and values and reorders those by head. Here the
projection comes first, so that one copy does both the cutting and the reordering, and one more undoes both. The
numbers and the names of the weights stay timm's.
"""

from __future__ import annotations

import torch
from timm.layers import PatchEmbed, trunc_normal_
from timm.models.swin_transformer import SwinTransformer, SwinTransformerBlock
from torch import Tensor, nn

from sartutor.errors import DataError
from sartutor.presets import SwinSize


class WindowBlock(SwinTransformerBlock):
    """timm's block for grids (B, H, W, C) that windows tile, without copies between projection and attention."""

    attn_mask: Tensor | None

    def _attn(self, x: Tensor) -> Tensor:
        """Attention within (shifted) windows, (B, H, W, C) to (B, H, W, C) (arXiv 2103.14030, equation 4)."""
        rows, columns = self.shift_size
        if rows or columns:
            x = x.roll((-rows, -columns), (1, 2))
        x = self.attn.proj(self._attend(self.attn.qkv(x)))
        return x.roll((rows, columns), (1, 2)) if rows or columns else x

    def _attend(self, qkv: Tensor) -> Tensor:
        """Softmax attention in each window and head: (B, H, W, 3C) to (B, H, W, C)."""
        batch, height, width, channels = qkv.shape
        (h, w), heads = self.window_size, self.attn.num_heads
        across, down, dim = width // w, height // h, channels // 3 // heads
        cells = qkv.view(batch, down, h, across, w, 3, heads, dim).permute(5, 0, 1, 3, 6, 2, 4, 7)
        q, k, v = cells.reshape(3, batch, down * across, heads, h * w, dim).unbind()
        logits = torch.add(self._bias(), q @ k.transpose(-2, -1), alpha=self.attn.scale)
        out = (logits.softmax(-1) @ v).view(batch, down, across, heads, h, w, dim)
        return out.permute(0, 1, 4, 2, 5, 3, 6).reshape(batch, height, width, channels // 3)

    def _bias(self) -> Tensor:
        """What logits (windows or 1, heads, N, N) are raised by: relative position; -100 across the seam of a shift."""
        bias = self.attn._get_rel_pos_bias()
        return bias if self.attn_mask is None else bias + self.attn_mask[:, None]


def _window_blocks(size: SwinSize, stage: int, side: int) -> nn.Sequential:
    """The blocks of a stage (0 to 3) on a grid of `side` tokens: every second one shifts its windows by half."""
    shifts = [size.window // 2 * (i % 2) for i in range(size.depths[stage])]
    width, heads, grid = size.widths[stage], size.heads[stage], (side, side)
    return nn.Sequential(
        *(WindowBlock(width, grid, heads, window_size=size.window, shift_size=shift) for shift in shifts)
    )


class Swin(SwinTransformer):
    """A Swin Transformer of four stages for images (B, channels, S, S); `widths` are the stages' channels."""

    patch_embed: PatchEmbed

    def __init__(self, size: SwinSize, channels: int) -> None:
        super().__init__(
            img_size=size.image_size,
            patch_size=size.patch,
            in_chans=channels,
            num_classes=0,
            global_pool="",
            embed_dim=size.width,
            depths=size.depths,
            num_heads=size.heads,
            window_size=size.window,
            drop_path_rate=0.0,
        )
        grid = size.image_size // size.patch
        for i, stage in enumerate(self.layers):
            stage.blocks = _window_blocks(size, i, grid // 2**i)
        self.init_weights()
        self.size, self.widths = size, size.widths
        self.pos_embed = nn.Parameter(torch.zeros(grid, grid, size.width))
        trunc_normal_(self.pos_embed, std=0.02)

    def embed(self, image: Tensor) -> Tensor:
        """Normalised patch embeddings (B, S/patch, S/patch, C), as one product over the pixels of each patch.

        Raises DataError for images of another size or another number of channels than the network's.
        """
        batch, channels, height, width = image.shape
        side, patch = self.size.image_size, self.size.patch
        if (channels, height, width) != (self.in_chans, side, side):
            raise DataError(
                f"This network takes {self.in_chans} bands of {side} x {side} pixels and was given {channels} of "
                f"{height} x {width}; cut chips of that size, or choose the size and bands that fit."
            )
        cells = image.view(batch, channels, side // patch, patch, side // patch, patch)
        pixels = cells.permute(0, 2, 4, 1, 3, 5).flatten(3)
        kernel = self.patch_embed.proj
        return self.patch_embed.norm(nn.functional.linear(pixels, kernel.weight.flatten(1), kernel.bias))


def build_swin(size: SwinSize, channels: int) -> Swin:
    """A Swin Transformer of that size with fresh weights for images of `channels` bands."""
    return Swin(size, channels)


def features(
    model: Swin, image: Tensor, mask: Tensor | None = None, mask_token: Tensor | None = None
) -> list[Tensor]:
    """Maps (B, C, H, W) at strides 4, 8, 16 and 32 of images (B, channels, S, S).

    Each is tapped after the last block of its stage, before the patch merging that leads to the next; the last one is
    normalised. Their channels are `model.widths`. Where `mask` (B, S/patch, S/patch) is true, `mask_token` (C,) stands
    in place of the patch embedding, before positions are added (SimMIM, arXiv 2111.09886, section 3.1).
    """
    tokens = model.embed(image)
    if mask is not None and mask_token is not None:
        tokens = torch.where(mask[..., None], mask_token.to(tokens.dtype), tokens)
    tokens = tokens + model.pos_embed.to(tokens.dtype)
    maps = []
    for stage in model.layers:
        tokens = stage(tokens)
        maps.append(tokens)
    maps[-1] = model.norm(tokens)
    return [each.permute(0, 3, 1, 2) for each in maps]
