"""How the embedded generalists are made: masked pretraining, then segmentation of many domains on weak labels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch

from sartutor.errors import CheckpointError
from sartutor.learn.checkpoints import export_half, file_digest, is_complete, load_header
from sartutor.learn.domains import DomainChips
from sartutor.learn.gap_rows import AGREEMENT
from sartutor.learn.generalisation import KeptMaps, confusions, continue_pretraining
from sartutor.learn.generalists import EMBEDDED, generalist_header, load_generalist
from sartutor.learn.metrics import mean_iou, pixel_accuracy
from sartutor.learn.moe import Mixture, parameter_counts
from sartutor.learn.pretrain import load_pretrained, pretrain
from sartutor.learn.records import mean_interval, read_records, write_record
from sartutor.learn.simmim import VitSimMIM
from sartutor.presets import GENERALIST_RECIPES, VIT_SIZES, GeneralistRecipe
from sartutor.sim.gaps import DOMAINS, WORLD

SEED = 1
"""Of the weights, the masks, the errors of labels and, with `FIRST_SCENES`, of the training chips."""

FIRST_SCENES = 9_500
"""Scenes of other seeds belong to other recipes and experiments."""

TEST_SEEDS = range(9501, 9506)

MIXTURES: dict[str, Mixture | None] = dict(zip(EMBEDDED, (None, Mixture()), strict=True))
"""What stands in the blocks of each generalist."""

LEAST_AGREEMENT = 0.995
"""Share of pixels that float16 may not change."""


def make(name: str, preset: str, work: Path, weights: Path, records: Path, device: str) -> None:
    """Train, or go on training; export as float16, score on unseen seeds, write the card."""
    recipe = GENERALIST_RECIPES[preset]
    trained, exported = work / f"{name}.safetensors", weights / f"{name}.safetensors"
    if not is_complete(trained, recipe.continued.steps):
        _train(recipe, MIXTURES[name], trained, work, device)
    export_half(trained, exported)
    _check_half(trained, exported, recipe)
    for seed in TEST_SEEDS:
        scores = score(exported, seed, recipe)
        write_record(records, name, preset, "domains", seed, scores)
        print(f"seed {seed}: " + ", ".join(f"{key} {value:.3f}" for key, value in scores.items()))
    (weights / f"{name}.md").write_text(_card(name, exported, recipe, records), encoding="utf-8")


RECIPES: dict[str, Callable[[str, Path, Path, Path, str], None]] = {
    name: partial(make, name) for name in EMBEDDED
}


def score(checkpoint: Path, seed: int, recipe: GeneralistRecipe) -> dict[str, float]:
    """mIoU and accuracy against true labels on chips of a seed: of domains of its training, and of the benchmark's."""
    known = load_generalist(checkpoint)
    values: dict[str, float] = {}
    for name, domains in (("world", WORLD), ("gaps", tuple(DOMAINS.values()))):
        chips = DomainChips(domains, seed, recipe.test, _side(recipe), known.scales)
        table = confusions(known.model.head, KeptMaps(known.model.encoder, chips)).sum(0)
        values |= {f"miou_{name}": mean_iou(table), f"accuracy_{name}": pixel_accuracy(table)}
    return values


def _train(recipe: GeneralistRecipe, mixture: Mixture | None, out: Path, work: Path, device: str) -> None:
    """Masked pretraining, which both generalists share, and what comes after it."""
    continued, start = recipe.continued, work / "generalist_masked.safetensors"
    plain = DomainChips(WORLD, FIRST_SCENES, continued.chips, _side(recipe), cache=work / "chips")
    if not is_complete(start, continued.masked.steps):
        pretrain(plain, "simmim", start, backbone="vit", recipe=continued.masked, seed=SEED, device=device)
    vit = cast(VitSimMIM, load_pretrained(start)).encoder
    torch.manual_seed(SEED)
    if mixture is not None:
        vit.mix(mixture)
    weak = DomainChips(
        WORLD, FIRST_SCENES, continued.chips, _side(recipe), plain.scales, AGREEMENT, work / "chips"
    )
    header = generalist_header(continued.masked.size, mixture, plain.scales, plain.classes, recipe.channels)
    continue_pretraining(vit, weak, continued, recipe.channels, out, header, SEED, device)


def _check_half(trained: Path, exported: Path, recipe: GeneralistRecipe) -> None:
    """Raise CheckpointError unless the float16 file gives the classes of the float32 one."""
    whole, half = load_generalist(trained), load_generalist(exported)
    chips = DomainChips(WORLD, TEST_SEEDS.start, 16, _side(recipe), whole.scales)
    answers = []
    for known in (whole, half):
        kept = KeptMaps(known.model.encoder, chips)
        with torch.no_grad():
            answers.append(
                known.model.head(kept.maps.float(), (kept.label.shape[1], kept.label.shape[2])).argmax(1)
            )
    same = float((answers[0] == answers[1]).double().mean())
    if same < LEAST_AGREEMENT:
        raise CheckpointError(
            f"{exported} gives {same:.1%} of the float32 model's classes; float16 is too coarse for these weights."
        )


def _side(recipe: GeneralistRecipe) -> int:
    """Rows and columns of the chips in pixels."""
    return VIT_SIZES[recipe.continued.masked.size].image_size


def _card(name: str, checkpoint: Path, recipe: GeneralistRecipe, records: Path) -> str:
    """The model card: everything in it is read from the checkpoint and from the records."""
    about, known = load_header(checkpoint), read_records(records, name)
    size = parameter_counts(load_generalist(checkpoint).model)
    scores = {key: _interval(known, key) for key in known[0]["values"]}
    return CARD.format(
        name=name,
        kind=KINDS[name],
        told=TOLD[name],
        total=size.total / 1e6,
        active=size.active / 1e6,
        side=_side(recipe),
        patch=VIT_SIZES[recipe.continued.masked.size].patch,
        level=about["scales"]["statistics"]["mean"][0],
        spread=about["scales"]["statistics"]["std"][0],
        domains=len(WORLD),
        recipe=recipe.continued,
        agreement=AGREEMENT,
        seed=about["seed"],
        megabytes=checkpoint.stat().st_size / 1e6,
        digest=file_digest(checkpoint),
        test=recipe.test,
        seeds=", ".join(str(record["seed"]) for record in known),
        **scores,
    )


def _interval(known: list[dict[str, Any]], key: str) -> str:
    middle, half = mean_interval([record["values"][key] for record in known])
    return f"{middle:.3f} ± {half:.3f}"


KINDS = {
    "generalist_dense": "without experts, the rival of `generalist_moe`",
    "generalist_moe": "with six experts in place of each feed-forward layer, one of which computes for a token",
}
"""What each of them is."""

TOLD = {
    "generalist_dense": "Three descriptors of the image are accepted, and ignored.",
    "generalist_moe": "A router is told three descriptors of the image, standardised too.",
}
"""What each makes of descriptors."""

CARD = """# {name}

Land cover of radar images of many kinds: a plain vision transformer {kind},
pretrained in the manner of CrossEarth-SAR (arXiv 2603.12008), at a size for laptops. {total:.2f} M parameters,
{active:.2f} M of them active for a token. `load_generalist("{name}")` gives encoder, head and scales; the
encoder is meant to be frozen under a new head.

- **Input**: {side} x {side} px, three channels of decibels (one polarisation three times, or HH, HV, VV), all
  standardised by {level:.2f} ± {spread:.2f} dB. {told}
- **Data**: simulated chips of {domains} domains (`sartutor/sim/gaps.py`), none of which is in the benchmark `gaps`;
  {agreement:.2%} of the labels are right. No real scene.
- **Recipe**: `make weights NAME={name}`; {recipe}; seed {seed}.
- **File**: float16 safetensors, {megabytes:.1f} MB, SHA-256 `{digest}`.

## Scores on unseen seeds

{test} chips of each of the seeds {seeds}, against true labels; ± is the half width of the 95 % t interval over seeds.
mIoU over the classes building, road, water, bare, forest, cropland and background; all pixels pooled.

| chips | mIoU | pixel accuracy |
|---|---|---|
| domains of its training | {miou_world} | {accuracy_world} |
| domains of the benchmark | {miou_gaps} | {accuracy_gaps} |

## Known limits

- It has seen simulated land cover only; levels of its classes are those of `sartutor/sim/backscatter.py`, most of them
  assumed. It knows nothing of layover, seasons or snow.
- Fields of bare ground, crops and grass overlap in backscatter; with one look no model of this size tells them apart.
- Tokens are {patch} px wide: streets are told by their surroundings more than by themselves.
- What experts and descriptors are worth is told in `docs/RESULTS.md`, with seeds; not by comparing two cards.
"""
