"""Continued pretraining with experts on folders of your own, as CrossEarth-SAR does it (arXiv 2603.12008).

The feed-forward layers of a trained encoder become mixtures of experts; all of it learns by segmentation of many
folders at once, each a domain, whose labels may be partly wrong. What comes out is a generalist to freeze.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch.utils.data import ConcatDataset

from sartutor.errors import CheckpointError
from sartutor.learn.checkpoints import check_place
from sartutor.learn.chips import Sample
from sartutor.learn.curves import read_curve
from sartutor.learn.domains import Scales
from sartutor.learn.generalisation import confusions, continue_pretraining
from sartutor.learn.generalists import generalist_header
from sartutor.learn.metrics import mean_iou
from sartutor.learn.moe import Mixture, parameter_counts
from sartutor.learn.own_domains import OwnDomain, check_taxonomy, refuse_learned_ground, refuse_missing
from sartutor.learn.own_encoders import Start, load_start, measured_descriptors
from sartutor.presets import MIXTURE_RUNS, preset
from sartutor.sar import folder as own


@dataclass(frozen=True)
class Mixed:
    """What came out.

    `loss` is that of the last step, `validation` the mIoU on the split val of each folder that has one.
    """

    out: Path
    steps: int
    loss: float
    validation: dict[str, float]
    parameters: int
    active_parameters: int
    seconds: float


class Together(ConcatDataset[Sample]):
    """The chips of several folders, one after the other."""

    def __init__(self, parts: Sequence[OwnDomain]) -> None:
        super().__init__(parts)
        self.statistics, self.classes = parts[0].statistics, parts[0].classes


def pretrain_mixture(
    folders: Sequence[str | Path],
    out: Path,
    *,
    encoder: str | Path = "generalist_dense",
    mixture: Mixture | None = None,
    size: str = "laptop",
    seed: int = 0,
    device: str = "auto",
    progress: bool = True,
) -> Mixed:
    """Train an encoder with experts on the training splits of folders and write a generalist; it goes on.

    Args:
        folders: folders of your own data with the same classes; every chip of them is drawn as often.
        out: checkpoint, a generalist.
        encoder: what the experts are copies of, as of `load_start`; one without experts.
        mixture: how they are made; None takes that of arXiv 2603.12008.
        size: name of a preset, for steps and rates; the architecture is that of the encoder.
        seed: of the router's weights and the order of chips.
        device: auto, cpu, cuda, ...
        progress: show a bar.

    Raises DataError for folders that do not go together, CheckpointError for an encoder or a state beside `out` that
    does not fit, OutputError where `out` cannot be written.
    """
    began = time.perf_counter()
    check_place(out)
    recipe, mixture = MIXTURE_RUNS[preset(size).name], mixture or Mixture()
    data = [own.open_dataset(folder) for folder in folders]
    start = dense_start(encoder, data)
    check_classes(data)
    start = replace(start, scales=Scales(start.scales.statistics, measured_descriptors(start, data)))
    torch.manual_seed(seed)
    start.encoder.mix(mixture)
    chips = Together([start.chips(folder, "train") for folder in data])
    judged = {str(each.folder): start.chips(each, "val") for each in data if "val" in each.splits}
    header = generalist_header(
        str(start.about["architecture"]), mixture, start.scales, chips.classes, recipe.channels
    )
    header |= {"parent": start.digest, "folders": [str(folder.folder) for folder in data], "preset": size}
    model = continue_pretraining(
        start.encoder, chips, recipe, recipe.channels, out, header, seed, device, progress=progress
    )
    counts = parameter_counts(model)
    scores = {
        name: mean_iou(confusions(model.head, some, model.encoder).sum(0)) for name, some in judged.items()
    }
    loss, seconds = read_curve(out).loss[-1], time.perf_counter() - began
    return Mixed(out, recipe.steps, loss, scores, counts.total, counts.active, round(seconds, 3))


def check_classes(folders: Sequence[own.Dataset]) -> None:
    """Raise DataError unless all folders name the same classes and have labels to learn from."""
    for folder in folders:
        check_taxonomy(folders[0], folder)
        refuse_missing(folder, "train")
        if "val" in folder.splits:
            refuse_missing(folder, "val")
            for other in folders:
                refuse_learned_ground(other, ("train",), folder, "val")


def dense_start(encoder: str | Path, folders: Sequence[own.Dataset]) -> Start:
    """An encoder without experts; CheckpointError for one that has some."""
    start = load_start(encoder, folders)
    if start.about.get("mixture") is not None:
        raise CheckpointError(f"{encoder} has experts already; start from one without, generalist_dense say.")
    return start
