"""Checkpoints of encoders that were pretrained by segmentation of many domains, with the head they learned with.

So are those of encoders with a head for a folder of your own (`sartutor.learn.generalise`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from torch import Tensor

from sartutor.errors import CheckpointError
from sartutor.learn.checkpoints import file_digest, load_tensors
from sartutor.learn.domains import Scales
from sartutor.learn.generalisation import Segmenter
from sartutor.learn.moe import Mixture
from sartutor.learn.vit import build_vit
from sartutor.presets import VIT_SIZES, Mask2FormerSize

KIND = "generalist"

EMBEDDED = ("generalist_dense", "generalist_moe")
"""Generalists that come with the package: one layer in every block, and six experts."""


@dataclass(frozen=True)
class Generalist:
    """A loaded generalist: `model` in evaluation mode, the `scales` and `classes` of its training, its header."""

    name: str
    model: Segmenter
    scales: Scales
    classes: tuple[str, ...]
    digest: str
    about: Mapping[str, Any]


def generalist_header(
    size: str, mixture: Mixture | None, scales: Scales, classes: tuple[str, ...], channels: int
) -> dict[str, Any]:
    """What a checkpoint says of itself, as `load_generalist` needs it."""
    return {
        "kind": KIND,
        "architecture": size,
        "mixture": None if mixture is None else asdict(mixture),
        "scales": scales.to_json(),
        "classes": list(classes),
        "channels": channels,
    }


def load_generalist(name_or_path: str | Path) -> Generalist:
    """An `EMBEDDED` generalist by its name, or the one in a file; float32, on the CPU.

    Raises CheckpointError for a file that is missing, damaged, or holds none.
    """
    path = Path(name_or_path)
    if str(name_or_path) in EMBEDDED:
        path = Path(str(files("sartutor.weights") / f"{name_or_path}.safetensors"))
    tensors, about = load_tensors(path)
    if about.get("kind") != KIND:
        raise CheckpointError(
            f"{path} is a checkpoint of kind {about.get('kind')!r} and no generalist; use one of {', '.join(EMBEDDED)}."
        )
    try:
        model = _model(about)
        model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
        scales, classes = Scales.from_json(about["scales"]), tuple(about["classes"])
    except (KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} does not hold what its header says; copy or train it again."
        ) from error
    if not all(_is_finite(tensor) for tensor in tensors.values()):
        raise CheckpointError(f"{path} holds weights that are not numbers; copy or train it again.")
    return Generalist(path.stem, model.eval(), scales, classes, file_digest(path), about)


def _model(about: Mapping[str, Any]) -> Segmenter:
    vit = build_vit(VIT_SIZES[about["architecture"]], 0)
    if about["mixture"] is not None:
        vit.mix(Mixture(**{**about["mixture"], "descriptors": tuple(about["mixture"]["descriptors"])}))
    decoder = about.get("decoder")
    size = None if decoder is None else Mask2FormerSize(**decoder)
    return Segmenter(vit, len(about["classes"]), about["channels"], size)


def _is_finite(tensor: Tensor) -> bool:
    return bool(tensor.isfinite().all())
