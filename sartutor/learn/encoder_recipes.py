"""How the embedded encoders are made: pretrained on simulated land cover, exported as float16, scored on new seeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch.utils.data import default_collate

from sartutor.errors import CheckpointError
from sartutor.learn.checkpoints import export_half, file_digest, is_complete, load_tensors
from sartutor.learn.chips import ALOS2_HH, SENTINEL1_DUAL, Chips, SimulatedChips
from sartutor.learn.pretrain import load_pretrained, pretrain
from sartutor.learn.reconstruction import PREFIX, STRATA, reconstruction_scores, restored
from sartutor.learn.records import mean_interval, read_records, write_record
from sartutor.presets import ENCODER_RECIPES, EncoderRecipe
from sartutor.sim.landcover import Domain

SEED = 1
"""Of the weights, the masks and the training chips."""

TEST_SEEDS = range(9101, 9106)
HALF_STEP_DB = 0.05
"""Root mean square difference of the restored pixels that float16 may make, in dB."""


@dataclass(frozen=True)
class Encoder:
    """An embedded encoder: its method, its data, and the paper that it follows."""

    name: str
    method: str
    domain: Domain
    title: str
    paper: str


ENCODERS = {
    encoder.name: encoder
    for encoder in (
        Encoder(
            "simmim_hh", "simmim", ALOS2_HH, "SAR-W-SimMIM on a Swin Transformer, ALOS-2 HH", "2603.15119"
        ),
        Encoder("mixmae_s1", "mixmae", SENTINEL1_DUAL, "SAR-W-MixMAE, Sentinel-1 VV and VH", "2503.01181"),
    )
}


def make(encoder: Encoder, preset: str, work: Path, weights: Path, records: Path, device: str) -> None:
    """Train, or go on training; export as float16, score on unseen seeds, write the card."""
    recipe = ENCODER_RECIPES[preset]
    trained, exported = work / f"{encoder.name}.safetensors", weights / f"{encoder.name}.safetensors"
    steps = recipe.pretraining[encoder.method]
    if not is_complete(trained, steps.steps):
        chips = SimulatedChips(encoder.domain, SEED, recipe.chips, recipe.side, cache=work / "chips")
        pretrain(
            chips,
            encoder.method,
            trained,
            backbone="swin",
            size=preset,
            recipe=steps,
            seed=SEED,
            device=device,
        )
    export_half(trained, exported)
    for seed in TEST_SEEDS:
        model = load_pretrained(exported)
        unseen = SimulatedChips(encoder.domain, seed, recipe.test, recipe.side, model.statistics)
        check_half(trained, exported, unseen)
        scores = reconstruction_scores(model, unseen, min(steps.batch, recipe.test))
        write_record(records, encoder.name, preset, "landcover", seed, scores)
    card = _card(encoder, exported, records, recipe)
    exported.with_suffix(".md").write_text(card, encoding="utf-8")


RECIPES: dict[str, Callable[[str, Path, Path, Path, str], None]] = {
    name: partial(make, encoder) for name, encoder in ENCODERS.items()
}


def check_half(trained: Path, exported: Path, chips: Chips) -> None:
    """Raise CheckpointError unless the float16 file restores chips as the float32 one does, within `HALF_STEP_DB`."""
    sample = default_collate([chips[i] for i in range(2)])
    ours, theirs = (restored(load_pretrained(path), sample, 0).error for path in (trained, exported))
    if not (step := float((ours - theirs).square().mean().sqrt())) < HALF_STEP_DB:
        raise CheckpointError(
            f"{exported} restores other pixels than {trained} ({step:.3f} dB); train it again."
        )


def _card(encoder: Encoder, checkpoint: Path, records: Path, sizes: EncoderRecipe) -> str:
    """The model card: everything in it is read from the checkpoint's header, the presets and the records."""
    tensors, about = load_tensors(checkpoint)
    seeds = read_records(records, encoder.name)
    recipe = about["recipe"]
    return CARD.format(
        encoder=encoder,
        sizes=sizes,
        seed=about["seed"],
        steps=recipe["steps"],
        batch=recipe["batch"],
        recipe=", ".join(f"{key} {value}" for key, value in recipe.items()),
        rule=", ".join(f"{key} {value}" for key, value in about["rule"].items()),
        statistics=_statistics(about),
        parameters=sum(tensor.numel() for tensor in tensors.values()) / 1e6,
        megabytes=checkpoint.stat().st_size / 1e6,
        digest=file_digest(checkpoint),
        seeds=", ".join(str(record["seed"]) for record in seeds),
        losses="\n".join(_loss_row(seeds, *row) for row in LOSSES),
        biases=" | ".join(_interval(seeds, f"{PREFIX}{name}") for name in STRATA),
        limits=LIMITS[encoder.method],
    )


def _statistics(about: dict[str, Any]) -> str:
    of = about["statistics"]
    each = zip(of["names"], of["mean"], of["std"], strict=True)
    return "; ".join(f"{name} {mean:.2f} ± {std:.2f} dB" for name, mean, std in each)


def _loss_row(seeds: list[dict[str, Any]], title: str, model: str, mean: str) -> str:
    return f"| {title} | {_interval(seeds, model)} | {_interval(seeds, mean)} |"


def _interval(seeds: list[dict[str, Any]], score: str) -> str:
    mean, half = mean_interval([record["values"][score] for record in seeds])
    return f"{mean:.3f} ± {half:.3f}"


LOSSES = (
    ("weighted, as in training", "weighted_loss", "weighted_mean_loss"),
    ("all pixels alike", "loss", "mean_loss"),
)

LIMITS = {
    "simmim": "- Hidden patches are restored as the weighted median of what they may hold, in decibels: smooth, "
    "without speckle, and blurred where the surroundings do not tell what is there; the loss cannot fall below that of "
    "speckle.",
    "mixmae": "- Cells are restored up to their own mean and standard deviation, which are taken from the chip itself: "
    "the loss of the mean is that of each cell's own mean, so that only structure within cells can be gained, most of "
    "which is speckle that nothing can predict.",
}

CARD = """# {encoder.name}

{encoder.title}: a small encoder with its decoder, pretrained by masked reconstruction
weighted by backscatter (arXiv {encoder.paper}), {parameters:.2f} M parameters. `load_pretrained("{encoder.name}")`
gives the model; its `features` are four maps for a downstream head, its `reconstruct` shows what it has learned.

- **Input**: {sizes.side} x {sizes.side} px of standardised decibels: {statistics} (mean ± standard deviation
  of the training chips).
- **Data**: {sizes.chips} simulated scenes (`{encoder.domain.name}`, `sartutor/sim/landcover.py`), seed {seed},
  shuffled and flipped; {steps} steps of {batch} chips; no real scene.
- **Recipe**: `make weights NAME={encoder.name}`; {recipe}; weights: {rule}; seed {seed}.
- **File**: float16 safetensors, {megabytes:.1f} MB, SHA-256 `{digest}`.

## Scores on unseen seeds

{sizes.test} chips of each of the seeds {seeds}; ± is the half width of the 95 % t interval over seeds.
Losses of one row are comparable, losses of different rows are not.

| loss | this model | predicting the mean |
|---|---|---|
{losses}

Restored less true backscatter in dB, by thirds of the pixels of each band by despeckled level (mean over bands):

| dark | middle | bright |
|---|---|---|
| {biases} |

## Known limits

- It has seen simulated land cover only, of one satellite, one region and one season; real scenes hold much else.
{limits}
- Positive bias on dark ground and negative bias on bright ground are what any smooth guess has; the weights push all
  levels towards dark. What the weights are worth for a task is told in `docs/RESULTS.md`, not here.
- It takes chips of {sizes.side} px at the pixel spacing of its satellite; other spacings look like other landscapes.
"""
