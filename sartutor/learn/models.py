"""Promptable models by name: the embedded ones, the official ViT-B, or a checkpoint of the reader's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sartutor import catalog
from sartutor.errors import CheckpointError
from sartutor.learn.checkpoints import file_digest, load_pickle, load_tensors, save_tensors
from sartutor.learn.sam.model import RadarSam
from sartutor.presets import SAM_SIZES

EMBEDDED = ("sam_tiny_base",)
"""Models that come with the package."""
MODEL_NAMES = (*EMBEDDED, "vit_b")
"""Names that `load_model` takes beside a path."""


@dataclass(frozen=True, eq=False)
class SamModel:
    """A model ready to predict: `digest` names its weights (SHA-256 of the file), `about` is its header."""

    name: str
    sam: RadarSam
    digest: str
    about: dict[str, Any]


def load_model(name_or_path: str | Path = "sam_tiny_base") -> SamModel:
    """Load an embedded model by name, the official `vit_b` (fetched), or a checkpoint by path; float32, on the CPU.

    Raises CheckpointError for a name that does not exist and a file that is unsafe, damaged or of another model.
    """
    name = str(name_or_path)
    if name in EMBEDDED:
        return _load_sam(name, Path(str(files("sartutor.weights") / f"{name}.safetensors")))
    if name == "vit_b":
        return _load_sam(name, _converted(catalog.fetch("sam-vit-b")["sam_vit_b_01ec64.pth"]))
    path = Path(name)
    if not path.suffix:
        raise CheckpointError(
            f"There is no model {name!r}; use one of {', '.join(MODEL_NAMES)} or the path of a checkpoint."
        )
    return _load_sam(path.stem, _converted(path) if path.suffix == ".pth" else path)


def _load_sam(name: str, path: Path) -> SamModel:
    tensors, about = load_tensors(path)
    size = SAM_SIZES.get(str(about.get("architecture")))
    if about.get("kind") != "sam" or size is None:
        raise CheckpointError(
            f"{path} is a checkpoint of kind {about.get('kind')!r}, not a promptable model; choose another."
        )
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        raise CheckpointError(f"{path} holds weights that are not numbers; copy or train it again.")
    sam = RadarSam(size)
    _load_strictly(sam, {key: value.float() for key, value in tensors.items()}, path)
    return SamModel(name, sam.eval(), file_digest(path), about)


def _load_strictly(sam: RadarSam, tensors: Mapping[str, Tensor], path: Path) -> None:
    try:
        sam.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(
            f"{path} does not hold the weights of a {sam.size.name} model; choose a checkpoint of that size."
        ) from error


def _converted(path: Path) -> Path:
    """The safetensors copy, made once in the cache, of an official `.pth`."""
    if not path.is_file():
        raise CheckpointError(
            f"There is no checkpoint {path}; check the path or use an embedded model by name."
        )
    digest = file_digest(path)
    copy = catalog.cache_dir() / "converted" / f"{digest}.safetensors"
    if not copy.exists():
        tensors = load_pickle(path)
        with torch.device("meta"):
            sam = RadarSam(SAM_SIZES["vit_b"])
        expected = {key: value.shape for key, value in sam.state_dict().items()}
        if {key: value.shape for key, value in tensors.items()} != expected:
            raise CheckpointError(
                f"{path} does not hold the weights of SAM ViT-B; fetch it with `sartutor fetch sam-vit-b`."
            )
        about = {"kind": "sam", "architecture": "vit_b", "phases": [], "parent": digest}
        save_tensors(copy, tensors, about)
    return copy
