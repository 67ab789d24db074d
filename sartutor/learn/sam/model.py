"""Segment Anything at two sizes, from segment-anything's own classes.

`vit_b` is the official model: same modules, same state-dict names. `tiny` has the same three parts (image encoder,
prompt encoder, mask decoder) at 256 px, and one addition that small radar objects need: a shallow convolutional
stem whose full-resolution features join the mask upscaler, so that a mask is drawn at the resolution of its input
and not at a quarter of the patch grid.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer
from segment_anything.modeling.common import LayerNorm2d
from segment_anything.modeling.mask_decoder import MLP
from torch import Tensor, nn
from torch.nn import functional

from sartutor.learn.sam.adapters import Activation, Adapters
from sartutor.learn.sam.contrast import CONTRAST_CHANNELS, box_contrast, extent
from sartutor.learn.sam.encoder import ImageEncoder
from sartutor.learn.sam.lora import LowRankUpdates, Tuning
from sartutor.presets import SamSize

Embedding = tuple[Tensor, ...]
"""An encoded image: tokens (B, C, h, w); where the size has details, the image and features at strides 1, 2 and 4."""


Part = tuple[slice, slice]
"""Rows and columns of an image, from one multiple of 4 px to another."""

REACH = 20
"""How far, in pixels, the convolutions of details see: 18, and 20 is a multiple of 4."""

NOT_COMPUTED = -50.0
"""Logit where none was asked for."""


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.ReLU(inplace=True))


class DetailStem(nn.Module):
    """Convolutional features (B, c, H/s, W/s) of layers (B, inputs, H, W) at strides s = 1, 2, 4."""

    channels = (16, 32, 48)

    def __init__(self, inputs: int) -> None:
        super().__init__()
        full, half, quarter = self.channels
        self.stride1 = nn.Sequential(_conv(inputs, full), _conv(full, full))
        self.stride2 = nn.Sequential(_conv(full, half, 2), _conv(half, half))
        self.stride4 = nn.Sequential(_conv(half, quarter, 2), _conv(quarter, quarter))

    def forward(self, image: Tensor) -> Embedding:
        full = self.stride1(image)
        half = self.stride2(full)
        return full, half, self.stride4(half)


class DetailUpscaler(nn.Module):
    """From prompted tokens (B, C, h, w) to features (B, 16, 16h, 16w), joining the stem's details on the way up."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        full, half, quarter = DetailStem.channels
        self.tokens = nn.Sequential(
            nn.ConvTranspose2d(dim, 64, 2, 2),
            MapNorm(64),
            nn.GELU(),
            nn.ConvTranspose2d(64, quarter, 2, 2),
        )
        self.join_quarter = _conv(quarter, quarter)
        self.to_half = nn.ConvTranspose2d(quarter, half, 2, 2)
        self.join_half = _conv(half, half)
        self.to_full = nn.ConvTranspose2d(half, full, 2, 2)
        self.join_full = _conv(full, full)

    def forward(self, tokens: Tensor, details: Sequence[Embedding], part: Part) -> Tensor:
        """Every one of the `details` is added: features at strides 1, 2 and 4 of the `part` that is drawn."""
        full, half, quarter = zip(*details, strict=True)
        x = self.join_quarter(_added(_cut(self.tokens(tokens), part, 4), quarter))
        x = self.join_half(_added(self.to_half(x), half))
        return self.join_full(_added(self.to_full(x), full))


def _added(x: Tensor, others: Sequence[Tensor]) -> Tensor:
    """The sum, in place of `x`."""
    for other in others:
        x += other
    return x


def _cut(maps: Tensor, part: Part, stride: int) -> Tensor:
    """The part of an image that maps (B, C, H/s, W/s) at a stride of s pixels show."""
    rows, cols = (slice(each.start // stride, each.stop // stride) for each in part)
    return maps[..., rows, cols]


class MapNorm(LayerNorm2d):
    """The same normalisation of maps (B, C, H, W) over their channels, in one kernel."""

    def forward(self, x: Tensor) -> Tensor:
        channels_last = x.permute(0, 2, 3, 1)
        return functional.layer_norm(
            channels_last, self.weight.shape, self.weight, self.bias, self.eps
        ).permute(0, 3, 1, 2)


class SharingMaskDecoder(MaskDecoder):
    """SAM's mask decoder; what its transformer first makes of an image serves all prompts on that image."""

    def __init__(self, transformer_dim: int, transformer: nn.Module, iou_head_hidden_dim: int = 256) -> None:
        super().__init__(
            transformer_dim=transformer_dim, transformer=transformer, iou_head_hidden_dim=iou_head_hidden_dim
        )
        self.output_upscaling[1] = MapNorm(transformer_dim // 4)

    def attend(self, maps: Tensor, image_pe: Tensor, sparse: Tensor) -> tuple[Tensor, Tensor]:
        """What the transformer answers to N prompts: tokens (N, T, C), and maps (N, C, h, w)."""
        queries = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        queries = torch.cat([queries.expand(len(sparse), -1, -1), sparse], 1)
        answers, prompted = self.transformer(maps, image_pe.expand_as(maps), queries)
        return answers, prompted.mT.unflatten(2, maps.shape[2:])

    def draw(self, features: Tensor, answers: Tensor) -> tuple[Tensor, Tensor]:
        """Mask logits (N, 4, H, W) on features (N, c, H, W), and quality (N, 4)."""
        weights = torch.stack(
            [mlp(answers[:, 1 + i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)], 1
        )
        masks = features.permute(0, 2, 3, 1).flatten(1, 2) @ weights.mT
        return masks.mT.unflatten(2, features.shape[2:]), self.iou_prediction_head(answers[:, 0])


class DetailMaskDecoder(SharingMaskDecoder):
    """SAM's mask decoder whose upscaler also sees, at full resolution, the image and what stands out in the box."""

    def __init__(self, transformer_dim: int, transformer: nn.Module) -> None:
        super().__init__(
            transformer_dim=transformer_dim, transformer=transformer, iou_head_hidden_dim=transformer_dim
        )
        channels = DetailStem.channels[0]
        self.contrast_stem = DetailStem(CONTRAST_CHANNELS)
        self.output_upscaling = DetailUpscaler(transformer_dim)
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP(transformer_dim, transformer_dim, channels, 3) for _ in range(self.num_mask_tokens)
        )

    def decode(
        self,
        embedding: Embedding,
        contrast: Tensor,
        image_pe: Tensor,
        sparse: Tensor,
        dense: Tensor,
        part: Part,
    ) -> tuple[Tensor, Tensor]:
        """Mask logits (N, 4, h, w) and quality (N, 4) of N prompts, one per embedded image or all on one image.

        Masks show the `part` of the image, h x w px; what lies `REACH` within it is as it would be in the whole.
        """
        tokens, _, *details = embedding
        answers, prompted = self.attend(tokens + dense, image_pe, sparse)
        details = [_cut(maps, part, stride) for maps, stride in zip(details, (1, 2, 4), strict=True)]
        features = self.output_upscaling(
            prompted, (details, self.contrast_stem(_cut(contrast, part, 1))), part
        )
        return self.draw(features, answers)


class EncoderBranch(nn.Module):
    """What makes the frozen trunk of a base the encoder of other bands; at first one that encodes as the base does.

    Adapters, or low-rank updates in their place, and where the size has details a stem of its own. With more `triples`
    of bands than one, which are stacked to 3n channels, a patch embedding of its own too.
    """

    def __init__(
        self, base: RadarSam, tuning: Tuning = "adapters", activation: Activation = "gelu", triples: int = 1
    ) -> None:
        super().__init__()
        trunk = base.image_encoder
        self.adapters = Adapters(base.size, activation) if tuning == "adapters" else None
        self.lora = LowRankUpdates(trunk) if tuning == "lora" else None
        self.patch_embed = _widened(trunk.patch_embed, triples) if triples > 1 else None
        self.detail_stem = _widened(base.detail_stem, triples) if base.size.detail else nn.Identity()

    def encode(self, trunk: ImageEncoder, image: Tensor) -> Tensor:
        """Embeddings (B, E, h, w) of normalised images (B, 3n, S, S)."""
        encoder = trunk if self.lora is None else self.lora.within(trunk)
        tokens = (self.patch_embed or trunk.patch_embed)(image)
        return encoder.embed(tokens + trunk.positions(tokens), self.adapters)


def _widened(layers: nn.Module, triples: int) -> nn.Module:
    """A copy whose first convolution takes as many triples of channels; equal ones give what one gave."""
    wide = copy.deepcopy(layers).requires_grad_()
    first = next(layer for layer in wide.modules() if isinstance(layer, nn.Conv2d))
    first.in_channels *= triples
    first.weight = nn.Parameter(torch.cat([first.weight.detach() / triples] * triples, 1))
    return wide


class RadarSam(nn.Module):
    """Image encoder, prompt encoder and mask decoder behind two verbs: `encode` an image, `decode` a prompt.

    Images are (B, 3, S, S) in [0, 1]; boxes are (N, 4) x0, y0, x1, y1 in pixels of the S x S input. Submodules carry
    SAM's names, so that an official checkpoint of the same size loads strictly.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, size: SamSize) -> None:
        super().__init__()
        grid = size.image_size // size.patch
        self.size = size
        self.image_encoder = ImageEncoder(size)
        self.prompt_encoder = PromptEncoder(
            embed_dim=size.embedding,
            image_embedding_size=(grid, grid),
            input_image_size=(size.image_size, size.image_size),
            mask_in_chans=16,
        )
        transformer = TwoWayTransformer(
            depth=2, embedding_dim=size.embedding, mlp_dim=size.decoder_mlp, num_heads=8
        )
        self.mask_decoder: SharingMaskDecoder
        if size.detail:
            self.detail_stem = DetailStem(3)
            self.mask_decoder = DetailMaskDecoder(size.embedding, transformer)
        else:
            self.mask_decoder = SharingMaskDecoder(transformer_dim=size.embedding, transformer=transformer)
        for name, values in (("pixel_mean", size.pixel_mean), ("pixel_std", size.pixel_std)):
            constant = torch.tensor(values, device="cpu").view(-1, 1, 1)  # a model without weights has these
            self.register_buffer(name, constant, persistent=False)
        self.to(memory_format=torch.channels_last)  # faster on a CPU

    def forward(self, image: Tensor, boxes: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """One image per prompt, as in training: `encode`, then `decode` (without points where all are none)."""
        given = points if bool((points[..., 2] >= 0).any()) else None
        return self.decode(self.encode(image), boxes, given)

    def encode(self, image: Tensor, branch: EncoderBranch | None = None) -> Embedding:
        """Embed images (B, 3, S, S) in [0, 1], as they are or as a branch sees them, (B, 3n, S, S) one of n triples.

        The image in the embedding is the mean of the triples.
        """
        triples = image.unflatten(1, (-1, 3))
        normal = ((triples - self.pixel_mean) / self.pixel_std).flatten(1, 2)
        trunk = self.image_encoder
        tokens = trunk(normal) if branch is None else branch.encode(trunk, normal)
        if not self.size.detail:
            return (tokens,)
        stem = self.detail_stem if branch is None else branch.detail_stem
        return tokens, triples.mean(1), *stem(normal)

    def decode(
        self, embedding: Embedding, boxes: Tensor, points: Tensor | None = None, around: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Mask logits (N, 4, h, w) and predicted IoU (N, 4) for boxes (N, 4).

        Either N images were embedded, one per box, or one image serves all boxes. `points` (N, P, 3) holds x, y and
        label (1 inside, 0 outside, -1 none) of corrections. Output 0 is the single mask, 1-3 the alternatives. A model
        with details draws no more than the boxes, and faster, where what lies `around` them is not asked for.
        """
        if not isinstance(self.mask_decoder, DetailMaskDecoder):
            image_pe, sparse, dense = self._prompted(boxes, points)
            answers, prompted = self.mask_decoder.attend(embedding[0] + dense, image_pe, sparse)
            return self.mask_decoder.draw(self.mask_decoder.output_upscaling(prompted), answers)
        contrast = box_contrast(embedding[1].expand(len(boxes), -1, -1, -1), boxes)
        guess = functional.avg_pool2d(contrast[:, :3].mean(1, keepdim=True), self.size.patch // 4)
        side = self.size.image_size
        part = (slice(0, side),) * 2 if around else extent(boxes, side, REACH, 4)
        prompts = self._prompted(boxes, points, guess.float())
        masks, quality = self.mask_decoder.decode(embedding, contrast, *prompts, part)
        return _pasted(masks, part, side), quality

    def _prompted(
        self, boxes: Tensor, points: Tensor | None, masks: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Positions of the image, and sparse and dense embeddings of prompts; without masks they share the dense.

        Never rounded: in bfloat16 a box's corners would move, by up to 1.6 px of 1024.
        """
        clicks = None if points is None else (points[..., :2], points[..., 2])
        with torch.autocast(boxes.device.type, enabled=False):
            sparse, dense = self.prompt_encoder(points=clicks, boxes=boxes, masks=masks)
            return self.prompt_encoder.get_dense_pe(), sparse, dense[:1] if masks is None else dense


def _pasted(masks: Tensor, part: Part, side: int) -> Tensor:
    """Logits of a part (N, 4, h, w) on the whole image (N, 4, side, side)."""
    rows, cols = part
    around = (cols.start, side - cols.stop, rows.start, side - rows.stop)
    return functional.pad(masks, around, value=NOT_COMPUTED) if any(around) else masks
