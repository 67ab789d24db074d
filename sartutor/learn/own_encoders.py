"""Encoders that folders of your own start from: a generalist's, one of masked pretraining, or DINOv2's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm.auto import tqdm

from sartutor.errors import CheckpointError, DataError
from sartutor.learn.checkpoints import file_digest, load_header, load_pickle
from sartutor.learn.chips import band_values, pooled_statistics
from sartutor.learn.domains import CHANNELS, Scales
from sartutor.learn.generalists import load_generalist
from sartutor.learn.own_domains import OwnDomain
from sartutor.learn.pretrain import load_pretrained
from sartutor.learn.simmim import VitSimMIM
from sartutor.learn.vit import Vit, build_vit, load_dinov2
from sartutor.learn.weighting import BandStatistics
from sartutor.presets import VIT_SIZES
from sartutor.sar.descriptors import NAMES, Standardisation
from sartutor.sar.folder import Dataset

UNTOLD = Standardisation((0.0,) * len(NAMES), (1.0,) * len(NAMES))
"""Descriptors as they are, for encoders without experts, which need none."""

DESCRIBED = 2000
"""Most chips of a folder that descriptors are measured on, evenly chosen."""


@dataclass(frozen=True)
class Start:
    """The encoder to begin with: its weights, how chips are shown to it, and what its checkpoint says of it."""

    encoder: Vit
    scales: Scales
    about: Mapping[str, Any]
    digest: str

    def chips(self, folder: Dataset, split: str) -> OwnDomain:
        """A split of a folder as this encoder sees it."""
        return OwnDomain(folder, split, self.encoder.size.image_size, self.scales)


def load_start(name_or_path: str | Path, folders: Sequence[Dataset]) -> Start:
    """The encoder of a generalist, of masked pretraining of a plain transformer on backscatter, or official DINOv2.

    DINOv2 (`.pth`) has seen no decibels: its channels are standardised by the training images of `folders`.

    Raises CheckpointError for any other file.
    """
    path = Path(name_or_path)
    if path.suffix == ".pth":
        return _dinov2_start(path, folders)
    if path.suffix == ".safetensors" and load_header(path).get("kind") == "simmim":
        return _masked_start(path)
    known = load_generalist(name_or_path)
    return Start(known.model.encoder, known.scales, known.about, known.digest)


def _masked_start(path: Path) -> Start:
    """Channels as in its pretraining."""
    model = load_pretrained(path)
    if not isinstance(model, VitSimMIM) or not all(model.statistics.radar):
        raise CheckpointError(
            f"{path} is no plain transformer pretrained on backscatter alone; make one with `sartutor pretrain "
            "--method simmim --backbone vit`."
        )
    return Start(model.encoder, Scales(model.statistics, UNTOLD), load_header(path), file_digest(path))


def _dinov2_start(path: Path, folders: Sequence[Dataset]) -> Start:
    """The transformer that the file is of, told by its width."""
    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint {path}; `sartutor fetch dinov2` says how to get it.")
    token = load_pickle(path).get("cls_token", torch.empty(0))
    sizes = {size.width: size for size in VIT_SIZES.values() if size.class_token}
    if token.shape[-1] not in sizes:
        raise CheckpointError(f"{path} does not hold the weights of DINOv2; take dinov2_vits14_pretrain.pth.")
    vit = build_vit(sizes[token.shape[-1]], 0)
    load_dinov2(vit, path)
    about = {"architecture": vit.size.name, "mixture": None}
    return Start(vit, Scales(_levels(folders), UNTOLD), about, file_digest(path))


def _levels(folders: Sequence[Dataset]) -> BandStatistics:
    """One mean and standard deviation in dB for all channels, of the valid pixels of all training images."""
    images = [(folder, id) for folder in folders for id in folder.ids("train")]
    bar = tqdm(images, desc="levels", unit="image", leave=False, disable=None)
    scenes = (folder.scene(id).select(folder.primary) for folder, id in bar)
    parts = (band_values(scene)[:, scene.valid].reshape(1, -1) for scene in scenes)
    pooled = pooled_statistics(("level",), (True,), parts)
    return BandStatistics(CHANNELS, pooled.mean * 3, pooled.std * 3, (True,) * 3)


def measured_descriptors(start: Start, folders: Sequence[Dataset]) -> Standardisation:
    """Means and standard deviations of the descriptors of the training chips of all folders.

    DataError where no chip has anything to describe.
    """
    raw: list[NDArray[np.float64]] = []
    for folder in tqdm(folders, desc="descriptors", unit="folder", leave=False, disable=None):
        chips = start.chips(folder, "train")
        places = np.unique(np.linspace(0, len(chips) - 1, min(DESCRIBED, len(chips))).round().astype(int))
        raw += [found for place in places if (found := chips.descriptors(int(place))) is not None]
    if not raw:
        raise DataError("No training chip varies, so that there is nothing to describe; look at the images.")
    return Standardisation.fit(np.stack(raw))
