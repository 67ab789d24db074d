"""How `sam_tiny_avalanche` is made: the base adapted in three phases to simulated debris, scored on unseen seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sartutor.errors import CheckpointError
from sartutor.learn.adapt import Method, adapt
from sartutor.learn.avalanche_cells import RULES, short_summary
from sartutor.learn.checkpoints import export_half, file_digest, load_tensors
from sartutor.learn.evaluate import Answer, questions, sam_answer, score_images
from sartutor.learn.models import load_model
from sartutor.learn.record_tables import interval, table
from sartutor.learn.records import mean_interval, read_records, write_record
from sartutor.learn.runner import Records
from sartutor.learn.sam.adapted import PHASES, AdaptedSam
from sartutor.learn.sam.baselines import iou
from sartutor.presets import AVALANCHE_RECIPES, BenchmarkSizes
from sartutor.sar.boxes import PROMPTS, evaluation_boxes
from sartutor.sar.folder import Dataset
from sartutor.sim.benchmark import write_benchmark

NAME = "sam_tiny_avalanche"

SEED = 900
"""Of the training scenes and the weights; the experiments have smaller ones."""

TEST_SEEDS = range(901, 906)

COLUMNS = {"fill_box": "fill the box", "otsu_box": "Otsu of the change", "base": "`sam_tiny_base`"} | {
    f"phase{phase}": f"phase {phase}" for phase in PHASES
}
"""What the card compares, by name in the records."""


def make(preset: str, work: Path, weights: Path, records: Path, device: str) -> None:
    """Adapt, or go on adapting; export as float16, score on unseen seeds, write the card."""
    recipe = AVALANCHE_RECIPES[preset]
    trained, exported = work / f"{NAME}.safetensors", weights / f"{NAME}.safetensors"
    if not trained.exists():
        data = write_benchmark(work / f"{NAME}-data", SEED, recipe.data)
        adapt(
            data.folder,
            trained,
            size=preset,
            recipe=recipe.adaptation,
            method=Method(scales=("chip",)),
            seed=SEED,
            device=device,
        )
    export_half(trained, exported)
    for seed in TEST_SEEDS:
        sizes = BenchmarkSizes(recipe.data.side, 0, 0, recipe.test)
        unseen = write_benchmark(work / f"{NAME}-test-{seed}", seed, sizes)
        check_half(trained, exported, unseen)
        write_record(records, NAME, preset, "avalanche-small", seed, scores(exported, unseen))
    exported.with_suffix(".md").write_text(_card(exported, records), encoding="utf-8")


def check_half(trained: Path, exported: Path, data: Dataset, least: float = 0.995) -> None:
    """Raise CheckpointError unless the float16 file gives the float32 one's masks: IoU over all boxes >= `least`."""
    masks = []
    for path in (trained, exported):
        answer = sam_answer(load_model(path), data)
        ids = [id for id in data.ids("test") if (data.mask(id) == 1).any()]
        marked = [answer(data.scene(id), evaluation_boxes(data.mask(id) == 1)) for id in ids]
        masks.append(np.concatenate([each.ravel() for each in marked]))
    if (agreement := iou(masks[0], masks[1])) < least:
        raise CheckpointError(
            f"{exported} marks other pixels than {trained} (IoU {agreement:.4f}); train it again."
        )


def scores(checkpoint: Path, data: Dataset) -> dict[str, dict[str, Any]]:
    """What every phase, the base and two rules score on the test scenes of a benchmark, for every kind of prompt."""
    found: dict[str, dict[str, Any]] = {}
    for name, answer in {**RULES, **_models(checkpoint, data)}.items():
        found[name] = {}
        for prompt in PROMPTS:
            asked = questions(data, "test", prompt)
            found[name] |= short_summary(score_images(answer, asked), prompt)
    return found


def _models(checkpoint: Path, data: Dataset) -> dict[str, Answer]:
    answers = {"base": sam_answer(load_model("sam_tiny_base"), data)}
    for phase in PHASES:
        model = load_model(checkpoint)
        assert isinstance(model.sam, AdaptedSam)
        model.sam.use_phase(phase)
        answers[f"phase{phase}"] = sam_answer(model, data)
    return answers


def _card(checkpoint: Path, records: Path) -> str:
    """The model card: everything in it is read from the checkpoint's header and from the records."""
    tensors, about = load_tensors(checkpoint)
    known = read_records(records, NAME)
    recipe = about["recipe"]
    return CARD.format(
        base=about["base"],
        branches=" and ".join(", ".join(name for name, *_ in branch) for branch in about["branches"]),
        batch=recipe["batch"],
        steps=", ".join(str(steps) for steps in about["steps"]),
        rates=", ".join(f"{phase['learning_rate']:g}" for phase in recipe["phases"]),
        seed=about["seed"],
        side=about["chip_side"],
        parameters=sum(tensor.numel() for tensor in tensors.values()) / 1e6,
        megabytes=checkpoint.stat().st_size / 1e6,
        digest=file_digest(checkpoint),
        scores=score_table(known),
        over_first=differences(known, "phase3", "phase1"),
        over_second=differences(known, "phase3", "phase2"),
        seeds=", ".join(str(record["seed"]) for record in known),
        objects=sum(record["values"]["fill_box"]["objects"] for record in known),
    )


METRICS = {
    "iou_box": "objects, boxes 5 px loose (10 of 512)",
    "precision_box": "their precision",
    "recall_box": "their recall",
    "iou_jitter": "objects, boxes as loose as in training",
    "iou_full": "objects, the whole image as box",
    "iou_small": "small objects (50 to 150 px)",
    "iou_medium": "medium (150 to 400 px)",
    "iou_large": "large (400 px and more)",
    "iou_flat": "on flat ground (under 16.5 degrees)",
    "iou_steep": "on steep ground (over 19 degrees)",
    "images_iou_box": "images, boxes 5 px loose (10 of 512)",
}
"""Rows of the card."""


def score_table(known: Records) -> str:
    """The scores of the embedded model's records, beside rules and the base, as a Markdown table."""
    rows = []
    for metric, title in METRICS.items():
        each = [[{"values": record["values"][name]} for record in known] for name in COLUMNS]
        rows.append([title, *(interval(of, metric) for of in each)])
    return table(("", *COLUMNS.values()), rows)


PAIRED = {"iou_box": "objects", "iou_small": "small ones", "images_iou_box": "images"}
"""Rows of the card whose differences are taken seed by seed."""


def differences(known: Records, one: str, other: str) -> str:
    """What one model scores more than another, in words: mean over seeds ± half of the 95 % t interval."""
    found = []
    for metric, name in PAIRED.items():
        each = [record["values"][one][metric] - record["values"][other][metric] for record in known]
        middle, half = mean_interval(each)
        found.append(f"{name} {middle:+.3f} ± {half:.3f}")
    return ", ".join(found)


CARD = """# sam_tiny_avalanche

`{base}` adapted to debris of snow avalanches in pairs of Sentinel-1 images, in the three phases of arXiv 2601.01213:
adapters and decoder on {branches} for two encoders on one frozen trunk, the second one aligned
through the first one's decoder, and a gate that weights both at every place. Draw a box around what has changed.

- **Input**: bands of those names (or in the order VV0, VV1, VH0, VH1, DEM, slope): sigma0 in any radar units before (0)
  and after (1), heights in m, slope in degrees; ranges are in the header. Pixels of 10 m. A chip of {side} px that
  holds the box is encoded, shared by boxes near each other; twice the box, shrunk, where that is more.
- **Data**: simulated pairs (`sartutor/sim/avalanche.py`); no real scene.
- **Recipe**: `make weights NAME=sam_tiny_avalanche`; {steps} steps of {batch} images at learning rates {rates}, seed
  {seed}; the best on validation scenes is kept.
- **File**: what adaptation added to `{base}`, {parameters:.2f} million numbers: two sets of adapters and stems, a gate,
  the decoders of phases 1 and 3; float16 safetensors, {megabytes:.1f} MB, SHA-256 `{digest}`.

## Scores on unseen seeds

Mean IoU (unless it says otherwise) over {objects} objects of 50 px and more, each in its tight box, of seeds {seeds};
± is the half width of the 95 % t interval over seeds. Phase 2 is the second encoder alone.

{scores}

In pairs over these seeds, phase 3 less phase 1: {over_first}; less phase 2: {over_second}. The decoder of phase
3 was trained for longer than theirs; how much of this is fusion these scores do not say.

## Known limits

- It has seen simulated debris only; how it does on real avalanches is not known. Adapt it to your own data with
  `sartutor adapt FOLDER --init sam_tiny_avalanche` where your bands have these names.
- It was trained and scored on scenes as large as its chip. How well it does in larger ones, where a chip is moved by up
  to an eighth so that boxes share it, and with boxes over 128 px there, which are seen shrunk, was not measured.
- It marks what is new after the second date: debris that was there before is background.
- Where a box holds no debris it may still mark something: it was never shown an empty scene.
- The base saw drawn shapes, not photographs: what the publication says of Segment Anything's own pretraining is not
  shown by this model.
"""
