"""One cell of the benchmark `gaps`: an encoder is pretrained and frozen, and asked across every gap.

Weights, masks, scenes and errors of labels are drawn anew with the cell's seed. Rows of one seed see the same scenes,
so that they can be compared in pairs. What several rows build on is trained once and kept.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from sartutor.learn.checkpoints import load_tensors
from sartutor.learn.chips import simulator
from sartutor.learn.domains import DomainChips, Scales
from sartutor.learn.gap_rows import Encoder
from sartutor.learn.generalisation import (
    FrozenEncoder,
    KeptMaps,
    LightHead,
    Segmenter,
    confusions,
    continue_pretraining,
    train_head,
)
from sartutor.learn.metrics import mean_iou
from sartutor.learn.moe import balance_loss, parameter_counts
from sartutor.learn.pretrain import load_pretrained, pretrain
from sartutor.learn.runner import cpu_seconds, scene_interval
from sartutor.learn.simmim import VitSimMIM
from sartutor.learn.upernet import Encoder as MapEncoder
from sartutor.learn.vit import Encoded, Vit, build_vit
from sartutor.presets import VIT_SIZES, GapSizes
from sartutor.sim.gaps import GAPS, WORLD
from sartutor.sim.landcover import Domain

FIRST_SCENES = 10_000
"""Scenes of smaller seeds belong to other experiments."""

ROLES = ("pretraining", "judged", "train", "val", "test")
"""What a cell needs scenes for; each has a seed of its own."""

JUDGED = 4
"""Batches of chips of many domains by which the balance of experts is judged."""

DRAWS = 400
"""How often test chips are drawn again for the interval of a score."""


@dataclass(frozen=True)
class Row:
    """All that a cell is made from, beside its seed: an encoder, sizes, and the names of the gaps that are asked."""

    encoder: Encoder
    sizes: GapSizes
    gaps: tuple[str, ...]


def run_cell(row: Row, seed: int, work: Path, device: str = "auto") -> dict[str, Any]:
    """Scores of a row at a seed: `miou_<gap>`, `val_<gap>` on its source, their means `miou` and `val_score`.

    With experts, `largest_share` is the share of tokens that goes to the busiest expert of a block (mean over blocks)
    and `balance_loss` that of `sartutor.learn.moe`. Data and trained models are kept in `work`; it may be deleted.
    """
    began = cpu_seconds()
    encoder, about = frozen_encoder(row, seed, work, device)
    spent = cpu_seconds() - began
    seen, val = [], []
    for name in row.gaps:
        found, score = across(row, encoder, name, seed, work, device)
        seen.append(found)
        val.append(score)
    scores = {f"miou_{name}": mean_iou(each.sum(0)) for name, each in zip(row.gaps, seen, strict=True)}
    scores |= {f"val_{name}": score for name, score in zip(row.gaps, val, strict=True)}
    low, high = scene_interval(
        torch.stack(seen, 1).numpy(), lambda drawn: _mean_over_gaps(drawn), draws=DRAWS
    )
    means = {"miou": _mean_over_gaps(torch.stack(seen, 1).numpy()), "val_score": sum(val) / len(val)}
    ends = {"miou_low": low, "miou_high": high, "encoder_cpu_seconds": spent, "simulator": simulator()}
    return {**scores, **means, **ends, **about}


def validation_score(row: Row, seed: int, work: Path, device: str = "auto") -> dict[str, float]:
    """Only how well heads do on validation chips of their own sources, for a search: no target is looked at."""
    encoder = continued(row, seed, work, device).encoder
    scores = [trained_head(row, encoder, GAPS[name].source, seed, work, device)[1] for name in row.gaps]
    return {"val_score": sum(scores) / len(scores)}


def across(
    row: Row, encoder: FrozenEncoder | None, gap: str, seed: int, work: Path, device: str
) -> tuple[Tensor, float]:
    """Confusion matrices of the target's test chips (chips, classes, classes), and the mIoU on the source's validation.

    Without an encoder, one is trained whole on the source.
    """
    source, target = GAPS[gap].source, GAPS[gap].target
    test = domain_chips(row, (target,), "test", seed, work)
    if encoder is None:
        model = _plain(row, source, seed, work, device)
        val = KeptMaps(model.encoder, domain_chips(row, (source,), "val", seed, work))
        found = confusions(model.head, KeptMaps(model.encoder, test))
        return found, mean_iou(confusions(model.head, val).sum(0))
    head, score = trained_head(row, encoder, source, seed, work, device)
    return confusions(head, KeptMaps(encoder, test)), score


def trained_head(
    row: Row, encoder: FrozenEncoder, source: Domain, seed: int, work: Path, device: str
) -> tuple[LightHead, float]:
    """A head that learned on a source, and its mIoU on validation."""
    train, val = (
        KeptMaps(encoder, domain_chips(row, (source,), role, seed, work)) for role in ("train", "val")
    )
    with tempfile.TemporaryDirectory(dir=work) as folder:
        return train_head(
            encoder, train, val, row.sizes.head, seed, Path(folder) / "head.safetensors", device
        )


def frozen_encoder(
    row: Row, seed: int, work: Path, device: str
) -> tuple[FrozenEncoder | None, dict[str, float]]:
    """The encoder of a row, its parameters, and how its experts share their work; None for one that is never frozen."""
    match row.encoder.kind:
        case "plain":
            return None, _counts(build_vit(VIT_SIZES[row.sizes.continued.masked.size], seed))
        case "embedded":
            embedded = Embedded(row.encoder.name, scales(row, seed, work))
            return embedded, _counts(embedded)
        case "masked":
            vit = masked(row, seed, work, device)
            return vit, _counts(vit)
        case _:
            vit = continued(row, seed, work, device).encoder
            return vit, {**_counts(vit), **(shares(row, vit, seed, work) if row.encoder.mixture else {})}


def masked(row: Row, seed: int, work: Path, device: str) -> Vit:
    """A transformer after masked pretraining on chips of many domains."""
    recipe = row.sizes.continued.masked
    out = work / f"masked-{_digest(asdict(recipe), row.sizes.continued.chips)}-{seed}.safetensors"
    if not out.exists() or out.with_suffix(".state.safetensors").exists():
        chips = domain_chips(row, WORLD, "pretraining", seed, work)
        pretrain(
            chips, "simmim", out, backbone="vit", recipe=recipe, seed=seed, device=device, progress=False
        )
    return cast(VitSimMIM, load_pretrained(out)).encoder


def continued(row: Row, seed: int, work: Path, device: str) -> Segmenter:
    """A transformer and its head after continued pretraining."""
    recipe, encoder = row.sizes.continued, row.encoder
    about = (asdict(encoder), asdict(recipe), row.sizes.head.channels)
    out = work / f"continued-{_digest(*about)}-{seed}.safetensors"
    vit = masked(row, seed, work, device)
    torch.manual_seed(seed)
    if encoder.mixture:
        vit.mix(encoder.mixture)
    chips = weak_chips(row, seed, work)
    if out.exists() and not out.with_suffix(".state.safetensors").exists():
        model = Segmenter(vit, len(chips.classes), row.sizes.head.channels)
        model.load_state_dict(load_tensors(out)[0])
        return model.eval()
    header = {"kind": "generalist", "encoder": asdict(encoder)}
    return continue_pretraining(
        vit, chips, recipe, row.sizes.head.channels, out, header, seed, device, progress=False
    )


def _plain(row: Row, source: Domain, seed: int, work: Path, device: str) -> Segmenter:
    """A transformer from random weights, trained whole on a source for as long as other rows train their heads."""
    head, continued = row.sizes.head, row.sizes.continued
    recipe = replace(
        continued,
        steps=head.steps,
        warmup=head.warmup,
        batch=head.batch,
        save_every=head.steps,
    )
    chips = domain_chips(row, (source,), "train", seed, work)
    vit = build_vit(VIT_SIZES[continued.masked.size], seed)
    with tempfile.TemporaryDirectory(dir=work) as folder:
        out = Path(folder) / "plain.safetensors"
        return continue_pretraining(
            vit, chips, recipe, head.channels, out, {"kind": "plain"}, seed, device, progress=False
        )


@torch.no_grad()
def shares(row: Row, vit: Vit, seed: int, work: Path) -> dict[str, float]:
    """How the experts of an encoder share chips of many domains."""
    chips = domain_chips(row, WORLD, "judged", seed, work)
    image, told = (
        torch.stack([chips[i][key] for i in range(len(chips))]) for key in ("image", "descriptors")
    )
    routings = vit.encode(image, told).routings
    largest = [float(routing.share.max()) for routing in routings]
    balance = [float(balance_loss(routing)) for routing in routings]
    return {"largest_share": sum(largest) / len(largest), "balance_loss": sum(balance) / len(balance)}


def weak_chips(row: Row, seed: int, work: Path) -> DomainChips:
    """The chips of continued pretraining, with as many wrong labels as the row says."""
    count, side = row.sizes.continued.chips, VIT_SIZES[row.sizes.continued.masked.size].image_size
    measured = scales(row, seed, work)
    return DomainChips(
        WORLD, _scenes(seed, "pretraining"), count, side, measured, row.encoder.agreement, work / "chips"
    )


def scales(row: Row, seed: int, work: Path) -> Scales:
    """What all chips of a seed are standardised by: measured on those of pretraining."""
    return domain_chips(row, WORLD, "pretraining", seed, work).scales


def domain_chips(row: Row, domains: Sequence[Domain], role: str, seed: int, work: Path) -> DomainChips:
    """Chips of a role with true labels."""
    head, continued = row.sizes.head, row.sizes.continued
    counts = {"pretraining": continued.chips, "judged": JUDGED * continued.batch}
    count = (counts | {"train": head.train, "val": head.val, "test": head.test})[role]
    return _chips(
        tuple(domains), role, seed, count, VIT_SIZES[continued.masked.size].image_size, row.sizes, work
    )


@cache
def _chips(
    domains: tuple[Domain, ...], role: str, seed: int, count: int, side: int, sizes: GapSizes, work: Path
) -> DomainChips:
    measured = None if role == "pretraining" else scales(Row(Encoder(), sizes, ()), seed, work)
    return DomainChips(domains, _scenes(seed, role), count, side, measured, cache=work / "chips")


class Embedded(nn.Module):
    """An encoder that comes with the package, as a `FrozenEncoder`: its bands are the first of the three channels.

    Its maps are resized to one in the middle, eighths of the image's side.
    """

    def __init__(self, name: str, scales: Scales) -> None:
        super().__init__()
        self.model, self.scales = load_pretrained(name), scales

    @property
    def widths(self) -> tuple[int, ...]:
        return cast(MapEncoder, self.model).widths

    def encode(self, image: Tensor, descriptors: Tensor | None = None) -> Encoded:
        """Maps of images (B, 3, S, S) that `scales` standardised."""
        own = self.model.statistics
        db = self.scales.statistics.decibels(image)[:, : len(own.names)]
        valid = torch.ones_like(db[:, :1], dtype=torch.bool)
        maps = cast(MapEncoder, self.model).features(own.standardise(db, valid))
        size = (image.shape[2] // 8, image.shape[3] // 8)
        return Encoded(
            [functional.interpolate(each, size, mode="bilinear", antialias=True) for each in maps], []
        )


def _mean_over_gaps(matrices: NDArray[np.int64]) -> float:
    """Mean over gaps of the pooled mIoU, of matrices (chips, gaps, classes, classes)."""
    pooled = torch.from_numpy(matrices).sum(0)
    return sum(mean_iou(each) for each in pooled) / len(pooled)


def _counts(model: nn.Module) -> dict[str, float]:
    """Parameters in all, and those that compute for a token."""
    total, active = parameter_counts(model)
    return {"parameters": total, "active_parameters": active}


def _scenes(seed: int, role: str) -> int:
    """The seed of the scenes of a role: no two roles and no two seeds have one in common."""
    return FIRST_SCENES + len(ROLES) * seed + ROLES.index(role)


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
