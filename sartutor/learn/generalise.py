"""Domain generalisation with folders of your own: a head learns on one of them and is asked on the others.

As in arXiv 2603.12008 the encoder was pretrained on many domains and stays as it is, or gets low-rank updates with the
head. What comes out is a generalist for the classes of the folders.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sartutor.errors import DataError, SarTutorError
from sartutor.learn.checkpoints import check_place, save_tensors
from sartutor.learn.curves import curve_path
from sartutor.learn.device import pick_device
from sartutor.learn.generalisation import KeptMaps, Run, Segmenter, confusions, fit_head, fit_updates
from sartutor.learn.generalists import KIND
from sartutor.learn.metrics import class_iou, mean_iou
from sartutor.learn.own_domains import (
    check_taxonomy,
    judging_split,
    missing_classes,
    refuse_missing,
    refuse_shared,
)
from sartutor.learn.own_encoders import Start, load_start
from sartutor.learn.sam.lora import merged, with_updates
from sartutor.presets import MASK2FORMER_SIZES, TRANSFER_RECIPES, HeadTraining, Mask2FormerSize, preset
from sartutor.sar.files import check_report, write_report
from sartutor.sar.folder import Dataset, open_dataset

TUNINGS = ("frozen", "lora")
"""What becomes of the encoder: nothing, or low-rank updates that learn with the head."""


@dataclass(frozen=True)
class Choices:
    """How a head is made.

    Args:
        encoder: generalist by name or path, a checkpoint of `sartutor pretrain --backbone vit`, or weights of DINOv2.
        head: light or mask2former; None takes what the preset names: Mask2Former with paper, as the publication does.
        tuning: frozen, or lora: low-rank updates learn with the head, and end as part of the weights.
        size: name of a preset.
        seed: of weights and the order of chips.
        device: auto, cpu, cuda, ...

    Raises SarTutorError for one that does not exist.
    """

    encoder: str | Path = "generalist_moe"
    head: str | None = None
    tuning: str = "frozen"
    size: str = "laptop"
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        for name, value, known in (
            ("head", self.head, (None, *TRANSFER_RECIPES)),
            ("tuning", self.tuning, TUNINGS),
        ):
            if value not in known:
                named = ", ".join(filter(None, known))
                raise SarTutorError(f"There is no {name} {value!r}; use one of {named}.")
        preset(self.size)
        pick_device(self.device)

    @property
    def chosen_head(self) -> str:
        """The head that is named, or that of the preset."""
        return self.head or ("mask2former" if self.size == "paper" else "light")

    @property
    def recipe(self) -> HeadTraining:
        return TRANSFER_RECIPES[self.chosen_head][self.size]

    @property
    def decoder(self) -> Mask2FormerSize | None:
        """Size of Mask2Former; None for a light head."""
        return None if self.chosen_head == "light" else MASK2FORMER_SIZES[self.size]


def generalise(
    source: str | Path,
    targets: Sequence[str | Path],
    out: Path,
    choices: Choices | None = None,
    report: Path | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Train a head on the splits train and val of a folder, write it with its encoder, and ask it on other folders.

    An interrupted run goes on. Where the encoder is frozen, the maps of all chips of the source are kept in memory: a
    tenth of a megabyte each with the embedded encoders, 4 MB with ViT-L.

    Args:
        source: a folder of your own data with splits train and val; a third one is asked too.
        targets: folders with the same classes, asked on their first split that is neither train nor val, or else val.
        out: checkpoint, a generalist.
        choices: None takes the defaults.
        report: JSON file to write.
        progress: show a bar.

    Returns:
        The choices; of `source` the `validation` mIoU, and in `asked` for each folder its `miou` pooled over all
        pixels, its `iou` by class, and the classes `missing` from its labels; `seconds`.

    Raises DataError for folders that do not go together, CheckpointError for an encoder or a state beside `out` that
    does not fit, OutputError where nothing can be written.
    """
    began = time.perf_counter()
    check_place(out)
    if report is not None:
        check_report(report)
    choices = choices or Choices()
    here, there = open_dataset(source), [open_dataset(target) for target in targets]
    start = load_start(choices.encoder, [here])
    refuse_known(start, there)
    check_folders(here, there)
    part = out.with_name(f"{out.stem}.head.safetensors")
    model, score = learn(choices, start, here, part, progress)
    own = [here] if judging_split(here) != "val" else []
    found = {
        **{"out": str(out), **asdict(choices), "encoder": str(choices.encoder), "head": choices.chosen_head},
        "source": {"folder": str(here.folder), "validation": score},
        "asked": [asked(model, start, folder) for folder in (*own, *there)],
        "seconds": round(time.perf_counter() - began, 3),
    }
    save_tensors(out, model.state_dict(), {**header_of(choices, start, here), "val_miou": score})
    for path in (part, curve_path(part)):
        path.unlink(missing_ok=True)
    if report is not None:
        write_report(report, found)
    return found


def header_of(choices: Choices, start: Start, source: Dataset) -> dict[str, Any]:
    """What the checkpoint says of itself, but for its score."""
    return {
        "kind": KIND,
        "architecture": start.about["architecture"],
        "mixture": start.about.get("mixture"),
        "scales": start.scales.to_json(),
        "classes": list(source.description.classes),
        "channels": choices.recipe.channels,
        "decoder": None if choices.decoder is None else asdict(choices.decoder),
        "tuning": choices.tuning,
        "source": str(source.folder),
        "preset": choices.size,
        "seed": choices.seed,
        "folders": [*start.about.get("folders", ()), str(source.folder)],
        "parent": start.digest,
    }


def check_folders(source: Dataset, targets: Sequence[Dataset]) -> None:
    """Raise DataError unless a head can learn on a folder and be asked on others, without having seen what it is asked.

    They must name the same classes; the training shows them all; and no target shows ground that was learned from.
    """
    refuse_missing(source, "train", every=True)
    refuse_missing(source, "val")
    for target in targets:
        check_taxonomy(source, target)
        refuse_missing(target, judging_split(target))
        refuse_shared(source, target)


def refuse_known(start: Start, targets: Sequence[Dataset]) -> None:
    """Raise DataError for a target that the encoder learned from."""
    learned = {Path(folder).resolve() for folder in start.about.get("folders", ())}
    for target in targets:
        if target.folder.resolve() in learned:
            raise DataError(
                f"The encoder learned from {target.folder}, which is no test of it then; ask on another folder."
            )


def learn(
    choices: Choices, start: Start, source: Dataset, part: Path, progress: bool
) -> tuple[Segmenter, float]:
    """The encoder with a head that learned on a folder, and its mIoU on validation; `part` keeps what it learned."""
    recipe, header = choices.recipe, header_of(choices, start, source)
    frozen = choices.tuning == "frozen"
    torch.manual_seed(choices.seed)
    encoder = start.encoder if frozen else with_updates(start.encoder)
    model = Segmenter(encoder, len(source.description.classes), recipe.channels, choices.decoder)
    model.to(pick_device(choices.device))
    train, val = (start.chips(source, split) for split in ("train", "val"))
    run = Run(recipe, choices.seed, part, header, choices.device, progress)
    if frozen:
        return model, fit_head(model.head, KeptMaps(encoder, train), KeptMaps(encoder, val), run)
    score = fit_updates(model, train, val, run)
    model.encoder = merged(model.encoder)
    return model, score


def asked(model: Segmenter, start: Start, folder: Dataset) -> dict[str, Any]:
    """What a model scores on the split of a folder that judges."""
    split = judging_split(folder)
    table = confusions(model.head, start.chips(folder, split), model.encoder).sum(0)
    return {
        "folder": str(folder.folder),
        "split": split,
        "miou": mean_iou(table),
        "iou": _by_class(table, folder.description.classes),
        "missing": list(missing_classes(folder, split)),
    }


def _by_class(table: Tensor, classes: Sequence[str]) -> dict[str, float | None]:
    """IoU of each class; None for one that is neither labelled nor called."""
    each = class_iou(table).tolist()
    return {name: None if score != score else score for name, score in zip(classes, each, strict=True)}


def as_table(report: Mapping[str, Any]) -> str:
    """A report as lines of text, a folder a line."""
    rows = {f"{Path(row['folder']).name} ({row['split']})": row for row in report["asked"]}
    width = max((*map(len, rows), len("validation")))
    classes = next(iter(rows.values()))["iou"]
    lines = [f"{'':{width}}   mIoU" + "".join(f"  {name:>8}" for name in classes)]
    lines.append(f"{'validation':{width}}  {report['source']['validation']:.3f}")
    for name, row in rows.items():
        each = ("" if score is None else f"{score:.3f}" for score in row["iou"].values())
        parts = (f"  {text:>{max(8, len(title))}}" for title, text in zip(classes, each, strict=True))
        lines.append(f"{name:{width}}  {row['miou']:.3f}" + "".join(parts))
        if row["missing"]:
            lines.append(
                f"{'':{width}}  not labelled here, IoU 0 where it is called: {', '.join(row['missing'])}"
            )
    return "\n".join(lines)
