"""Mask2Former (arXiv 2112.01527) as a head on the maps of an encoder, as arXiv 2603.12008 has it.

Pixel decoder, transformer decoder, matching and losses are those of transformers, with random weights. Two things are
ours: the pyramid, since a plain transformer has maps of one size alone; and pixels without a label, which neither the
matching nor the losses look at, where others teach every query to leave them out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from sartutor.errors import SarTutorError
from sartutor.learn.heads import Head
from sartutor.presets import Mask2FormerSize
from sartutor.sar.folder import IGNORE

try:
    from transformers import Mask2FormerConfig
    from transformers.models.mask2former.modeling_mask2former import (
        Mask2FormerHungarianMatcher,
        Mask2FormerLoss,
        Mask2FormerPixelDecoder,
        Mask2FormerPreTrainedModel,
        Mask2FormerTransformerModule,
        dice_loss,
        sample_point,
        sigmoid_cross_entropy_loss,
    )
except ImportError as error:
    raise SarTutorError(
        'The head Mask2Former needs transformers; install it with: pip install "sartutor[paper]".'
    ) from error

WEIGHTS = {"loss_cross_entropy": 2.0, "loss_mask": 5.0, "loss_dice": 5.0}
"""Of the losses, and of the same terms in the matching (arXiv 2112.01527)."""

GROUPS = 32
"""Groups of channels that are normalised together, as in the pixel decoder."""

NOWHERE = -20.0
"""Logit of a mask that is certainly not there: neither its loss nor its gradient counts."""

LEAST = 1e-6
"""Score below which all classes are alike."""


class Said(NamedTuple):
    """What queries say: logits of classes and of none (B, Q, K + 1), and of masks (B, Q, h, w)."""

    classes: Tensor
    masks: Tensor


class Mask2FormerHead(Head):
    """Class scores from stacked maps of one size by queries, each of which finds a mask and says what it is.

    `channels` is the width of queries and maps, a multiple of 32.
    """

    def __init__(self, widths: Sequence[int], classes: int, channels: int, size: Mask2FormerSize) -> None:
        super().__init__()
        config = _config(classes, channels, size)
        self.pyramid = Pyramid(sum(widths), channels)
        self.decoder = _Decoder(config)
        self.criterion = LabelledLoss(config)

    def forward(self, maps: Tensor, size: tuple[int, int]) -> Tensor:
        """Logits (B, classes, *size) of stacked maps (B, sum of widths, g, g): of the shares in all scores."""
        scores = semantic_scores(self.decoder(self.pyramid(maps))[-1])
        return functional.interpolate(scores, size, mode="bilinear").clamp(min=LEAST).log()

    def loss(self, maps: Tensor, label: Tensor) -> Tensor:
        """Sum over the decoder's layers of their losses, of stacked maps and labels (B, H, W)."""
        said = self.decoder(self.pyramid(maps))
        masks, classes = zip(*map(targets, label), strict=True)
        with torch.autocast(maps.device.type, enabled=False):
            parts = [
                self.criterion(layer.masks.float(), layer.classes.float(), masks, classes) for layer in said
            ]
        return torch.stack([WEIGHTS[name] * value for part in parts for name, value in part.items()]).sum()


class Pyramid(nn.Module):
    """Maps with 4, 2, 1 and 1/2 times the rows and columns of the map given (B, channels, g, g), each of `width`.

    After the simple pyramid of arXiv 2203.16527: transposed convolutions and pooling. Ours: maps of several depths,
    stacked, are mixed first, and the convolutions that end each level there are left to the pixel decoder.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.mix = nn.Sequential(nn.Conv2d(channels, width, 1), nn.GroupNorm(GROUPS, width))
        finest = (_doubling(width), nn.GroupNorm(GROUPS, width), nn.GELU(), _doubling(width))
        self.levels = nn.ModuleList(
            (nn.Sequential(*finest), _doubling(width), nn.Identity(), nn.MaxPool2d(2, ceil_mode=True))
        )

    def forward(self, maps: Tensor) -> list[Tensor]:
        mixed = self.mix(maps)
        return [level(mixed) for level in self.levels]


class _Decoder(Mask2FormerPreTrainedModel):
    """Both decoders of Mask2Former on a pyramid; gives what queries say before, between and after its layers."""

    def __init__(self, config: Mask2FormerConfig) -> None:
        super().__init__(config)
        self.pixels = Mask2FormerPixelDecoder(config, [config.feature_size] * 4)
        self.queries = Mask2FormerTransformerModule(config.feature_size, config)
        self.meaning = nn.Linear(config.hidden_dim, config.num_labels + 1)
        self.post_init()

    def forward(self, pyramid: list[Tensor]) -> list[Said]:
        made = self.pixels(pyramid)
        found = self.queries(made.multi_scale_features, made.mask_features)
        layers = zip(found.intermediate_hidden_states, found.masks_queries_logits, strict=True)
        return [Said(self.meaning(queries.transpose(0, 1)), masks) for queries, masks in layers]


def semantic_scores(said: Said) -> Tensor:
    """Scores (B, K, h, w): over all queries, the sum of the class's probability times that of the mask."""
    return torch.einsum("bqk,bqhw->bkhw", said.classes.softmax(2)[..., :-1], said.masks.sigmoid())


def targets(label: Tensor) -> tuple[Tensor, Tensor]:
    """Masks (n, H, W) of the n classes that a label (H, W) has, nan where it has none, and their numbers (n,)."""
    classes = label[label != IGNORE].unique()
    masks = (label == classes[:, None, None]).float()
    return masks.masked_fill(label == IGNORE, torch.nan), classes


def hidden(masks: Tensor, unlabelled: Tensor) -> Tensor:
    """Mask logits (N, Q, h, w), `NOWHERE` where they touch a pixel of `unlabelled` (N, H, W)."""
    touched = functional.adaptive_max_pool2d(unlabelled.float()[:, None], masks.shape[2:])
    return masks.masked_fill(touched.bool(), NOWHERE)


class LabelledMatcher(Mask2FormerHungarianMatcher):
    """Matches queries to `targets` by what they say of labelled pixels."""

    def forward(
        self, masks: Tensor, classes: Tensor, true: Sequence[Tensor], numbers: Sequence[Tensor]
    ) -> list[tuple[Tensor, Tensor]]:
        """Matched queries and targets of each image."""
        unlabelled = torch.stack([each.isnan().any(0) for each in true])
        return super().forward(
            hidden(masks, unlabelled), classes, [each.nan_to_num(0) for each in true], numbers
        )


class LabelledLoss(Mask2FormerLoss):
    """The losses of matched queries; points drawn on pixels without a label count in none."""

    def __init__(self, config: Mask2FormerConfig) -> None:
        super().__init__(config, WEIGHTS)
        self.matcher = LabelledMatcher(
            config.class_weight, config.mask_weight, config.dice_weight, config.train_num_points
        )

    def loss_masks(
        self,
        masks: Tensor,
        true: Sequence[Tensor],
        matched: Sequence[tuple[Tensor, Tensor]],
        count: int,
    ) -> dict[str, Tensor]:
        """`loss_mask` and `loss_dice` of mask logits (B, Q, h, w) and the masks of `targets`."""
        said = masks[self._get_predictions_permutation_indices(matched)][:, None]
        label = torch.cat([each[places] for each, (_, places) in zip(true, matched, strict=True)])[:, None]
        with torch.no_grad():
            points = self._points(hidden(said, label[:, 0].isnan()))
            wanted = sample_point(label, points, align_corners=False).squeeze(1)
        given = sample_point(said, points, align_corners=False).squeeze(1)
        given = given.masked_fill(wanted.isnan(), NOWHERE)
        pair = (given, wanted.nan_to_num(0), count)
        return {"loss_mask": sigmoid_cross_entropy_loss(*pair), "loss_dice": dice_loss(*pair)}

    def _points(self, masks: Tensor) -> Tensor:
        """Points (n, P, 2) in 0..1, most of them where masks (n, 1, h, w) are undecided."""
        return self.sample_points_using_uncertainty(
            masks,
            self.calculate_uncertainty,
            self.num_points,
            self.oversample_ratio,
            self.importance_sample_ratio,
        )


def _doubling(width: int) -> nn.Module:
    """Twice as many rows and columns."""
    return nn.ConvTranspose2d(width, width, 2, stride=2)


def _config(classes: int, channels: int, size: Mask2FormerSize) -> Mask2FormerConfig:
    return Mask2FormerConfig(
        num_labels=classes,
        feature_size=channels,
        mask_feature_size=channels,
        hidden_dim=channels,
        encoder_feedforward_dim=4 * channels,
        dim_feedforward=8 * channels,
        num_attention_heads=size.heads,
        encoder_layers=size.encoder_layers,
        decoder_layers=size.decoder_layers,
        num_queries=size.queries,
        train_num_points=size.points,
        class_weight=WEIGHTS["loss_cross_entropy"],
        mask_weight=WEIGHTS["loss_mask"],
        dice_weight=WEIGHTS["loss_dice"],
    )
