"""One cell of the benchmark `gaps`: an encoder is pretrained and frozen, and asked across every gap.

Weights, masks, scenes and errors of labels are drawn anew with the cell's seed. Rows of one seed see the same scenes,
so that they can be compared in pairs. What several rows build on is trained once and kept.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from sartutor.learn.checkpoints import is_complete, load_tensors
from sartutor.learn.chips import simulator
from sartutor.learn.domains import DomainChips, Scales
from sartutor.learn.gap_rows import Encoder
from sartutor.learn.generalisation import (
    FrozenEncoder,
    KeptMaps,
    Segmenter,
    confusions,
    continue_pretraining,
    train_head,
)
from sartutor.learn.heads import Head
from sartutor.learn.metrics import mean_iou
from sartutor.learn.moe import balance_loss, parameter_counts
from sartutor.learn.pretrain import load_pretrained, pretrain
from sartutor.learn.runner import cpu_seconds, scene_interval
from sartutor.learn.simmim import VitSimMIM
from sartutor.learn.upernet import Encoder as MapEncoder
from sartutor.learn.vit import Encoded, Vit, build_vit
from sartutor.presets import VIT_SIZES, ContinuedRecipe, GapSizes
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


class Setting(NamedTuple):
    """What all encoders of a seed have in common, and where what they share is kept."""

    sizes: GapSizes
    seed: int
    work: Path
    device: str = "auto"


class Mapper(NamedTuple):
    """What maps land cover after it has learned on a source, and its mIoU on validation chips there."""

    encoder: FrozenEncoder
    head: Head
    val_score: float


def run_cell(row: Row, seed: int, work: Path, device: str = "auto") -> dict[str, Any]:
    """Scores of a row at a seed: `miou_<gap>`, `val_<gap>` on its source, their means `miou` and `val_score`.

    With experts, `largest_share` is the share of choices that the busiest expert of a block gets (mean over blocks)
    and `balance_loss` that of `sartutor.learn.moe`. Data and trained models are kept in `work`; it may be deleted.
    """
    setting, began = Setting(row.sizes, seed, work, device), cpu_seconds()
    encoder, about = frozen_encoder(setting, row.encoder)
    spent = cpu_seconds() - began
    mappers = {source: mapper(setting, encoder, source) for source in _sources(row)}
    asked = {name: mappers[GAPS[name].source] for name in row.gaps}
    seen = [confusion(setting, asked[name], GAPS[name].target) for name in row.gaps]
    matrices = torch.stack(seen, 1).numpy()
    low, high = scene_interval(matrices, _mean_over_gaps, draws=DRAWS)
    scores = {f"miou_{name}": mean_iou(each.sum(0)) for name, each in zip(row.gaps, seen, strict=True)}
    scores |= {f"val_{name}": each.val_score for name, each in asked.items()}
    val = sum(each.val_score for each in asked.values()) / len(asked)
    means = {"miou": _mean_over_gaps(matrices), "val_score": val}
    ends = {"miou_low": low, "miou_high": high, "encoder_cpu_seconds": spent, "simulator": simulator()}
    return {**scores, **means, **ends, **about}


def validation_score(row: Row, seed: int, work: Path, device: str = "auto") -> dict[str, float]:
    """Only how well heads do on validation chips of their own sources, for a search: no target is looked at."""
    setting = Setting(row.sizes, seed, work, device)
    encoder = continued(setting, row.encoder).encoder
    scores = {source: trained_head(setting, encoder, source).val_score for source in _sources(row)}
    return {"val_score": sum(scores[GAPS[name].source] for name in row.gaps) / len(row.gaps)}


def mapper(setting: Setting, encoder: FrozenEncoder | None, source: Domain) -> Mapper:
    """A head that learned on a source; without an encoder, one is trained there too."""
    return plain(setting, source) if encoder is None else trained_head(setting, encoder, source)


def confusion(setting: Setting, known: Mapper, target: Domain) -> Tensor:
    """Confusion matrices of the test chips of a target (chips, classes, classes)."""
    return confusions(known.head, KeptMaps(known.encoder, domain_chips(setting, (target,), "test")))


def trained_head(setting: Setting, encoder: FrozenEncoder, source: Domain) -> Mapper:
    """A head that learned on the maps of a frozen encoder."""
    train, val = (KeptMaps(encoder, domain_chips(setting, (source,), role)) for role in ("train", "val"))
    with tempfile.TemporaryDirectory(dir=setting.work) as folder:
        out = Path(folder) / "head.safetensors"
        return Mapper(
            encoder,
            *train_head(encoder, train, val, setting.sizes.head, setting.seed, out, setting.device),
        )


def plain(setting: Setting, source: Domain) -> Mapper:
    """A transformer from random weights, trained whole on a source for as long as other rows train their heads."""
    head, continued = setting.sizes.head, setting.sizes.continued
    recipe = replace(continued, steps=head.steps, warmup=head.warmup, batch=head.batch, save_every=head.steps)
    chips = domain_chips(setting, (source,), "train")
    vit = build_vit(VIT_SIZES[continued.masked.size], setting.seed)
    with tempfile.TemporaryDirectory(dir=setting.work) as folder:
        model = _continue(setting, vit, chips, recipe, Path(folder) / "plain.safetensors", {"kind": "plain"})
    val = KeptMaps(model.encoder, domain_chips(setting, (source,), "val"))
    return Mapper(model.encoder, model.head, mean_iou(confusions(model.head, val).sum(0)))


def frozen_encoder(setting: Setting, encoder: Encoder) -> tuple[FrozenEncoder | None, dict[str, float]]:
    """The encoder of a row, its parameters, and how its experts share their work; None for one that is never frozen."""
    match encoder.kind:
        case "plain":
            vit = build_vit(VIT_SIZES[setting.sizes.continued.masked.size], setting.seed)
            return None, _counts(vit)
        case "embedded":
            embedded = Embedded(encoder.name, scales(setting))
            return embedded, _counts(embedded)
        case "masked":
            vit = masked(setting)
            return vit, _counts(vit)
        case _:
            vit = continued(setting, encoder).encoder
            return vit, {**_counts(vit), **(shares(setting, vit) if encoder.mixture else {})}


def masked(setting: Setting) -> Vit:
    """A transformer after masked pretraining on chips of many domains."""
    recipe, chips = setting.sizes.continued.masked, setting.sizes.continued.chips
    out = setting.work / f"masked-{_digest(asdict(recipe), chips)}-{setting.seed}.safetensors"
    if not is_complete(out, recipe.steps):
        pretrain(
            domain_chips(setting, WORLD, "pretraining"),
            "simmim",
            out,
            backbone="vit",
            recipe=recipe,
            seed=setting.seed,
            device=setting.device,
            progress=False,
        )
    return cast(VitSimMIM, load_pretrained(out)).encoder


def continued(setting: Setting, encoder: Encoder) -> Segmenter:
    """A transformer and its head after continued pretraining."""
    recipe, channels = setting.sizes.continued, setting.sizes.head.channels
    named = _digest(asdict(encoder), asdict(recipe), channels)
    out = setting.work / f"continued-{named}-{setting.seed}.safetensors"
    vit = masked(setting)
    torch.manual_seed(setting.seed)
    if encoder.mixture:
        vit.mix(encoder.mixture)
    chips = weak_chips(setting, encoder.agreement)
    if is_complete(out, recipe.steps):
        model = Segmenter(vit, len(chips.classes), channels)
        model.load_state_dict(load_tensors(out)[0])
        return model.eval()
    header = {"kind": "generalist", "encoder": asdict(encoder)}
    return _continue(setting, vit, chips, recipe, out, header)


def _continue(
    setting: Setting, vit: Vit, chips: DomainChips, recipe: ContinuedRecipe, out: Path, header: dict[str, Any]
) -> Segmenter:
    channels, seed = setting.sizes.head.channels, setting.seed
    return continue_pretraining(
        vit, chips, recipe, channels, out, header, seed, setting.device, progress=False
    )


@torch.no_grad()
def shares(setting: Setting, vit: Vit) -> dict[str, float]:
    """How the experts of an encoder share chips of many domains."""
    chips = domain_chips(setting, WORLD, "judged")
    image, told = (
        torch.stack([chips[i][key] for i in range(len(chips))]) for key in ("image", "descriptors")
    )
    routings = vit.encode(image, told).routings
    largest = [float(routing.share.max()) for routing in routings]
    balance = [float(balance_loss(routing)) for routing in routings]
    return {"largest_share": sum(largest) / len(largest), "balance_loss": sum(balance) / len(balance)}


def weak_chips(setting: Setting, agreement: float | None) -> DomainChips:
    """The chips of continued pretraining, of whose labels a share is right."""
    count, side = setting.sizes.continued.chips, _side(setting)
    seed, cache = _scenes(setting.seed, "pretraining"), setting.work / "chips"
    return DomainChips(WORLD, seed, count, side, scales(setting), agreement, cache)


def scales(setting: Setting) -> Scales:
    """What all chips of a seed are standardised by: measured on those of pretraining."""
    return domain_chips(setting, WORLD, "pretraining").scales


@lru_cache(maxsize=64)
def domain_chips(setting: Setting, domains: tuple[Domain, ...], role: str) -> DomainChips:
    """Chips of a role with true labels."""
    head, continued = setting.sizes.head, setting.sizes.continued
    counts = {"pretraining": continued.chips, "judged": JUDGED * continued.batch}
    count = (counts | {"train": head.train, "val": head.val, "test": head.test})[role]
    measured = None if role == "pretraining" else scales(setting)
    seed, cache = _scenes(setting.seed, role), setting.work / "chips"
    return DomainChips(domains, seed, count, _side(setting), measured, cache=cache)


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


def _sources(row: Row) -> list[Domain]:
    """Where heads learn: the sources of a row's gaps, each once."""
    return list(dict.fromkeys(GAPS[name].source for name in row.gaps))


def _side(setting: Setting) -> int:
    """Rows and columns of the chips in pixels."""
    return VIT_SIZES[setting.sizes.continued.masked.size].image_size


def _counts(model: nn.Module) -> dict[str, float]:
    """Parameters in all, and those that compute for a token."""
    total, active = parameter_counts(model)
    return {"parameters": total, "active_parameters": active}


def _scenes(seed: int, role: str) -> int:
    """The seed of the scenes of a role: no two roles and no two seeds have one in common."""
    return FIRST_SCENES + len(ROLES) * seed + ROLES.index(role)


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
