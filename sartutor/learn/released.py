"""Released encoders of radar pretraining in this package's models: SAR-W-MixMAE (arXiv 2503.01181) and ALOS-2_FM
(arXiv 2603.15119).

Both programs write pickles of {"model": weights, "optimizer": ..., settings}. Only tensors and plain containers are
read from them (PyTorch's `weights_only`); no pickled code runs. Their settings are of two classes that this refuses by
default and that are harmless as used here: `argparse.Namespace`, an object of the standard library that only holds
attributes, and `yacs.config.CfgNode`, in whose place an ordered dictionary is made, without yacs.

Weights are then found name by name. The original Swin code ends a stage by merging patches, timm begins the next one
with it; masks and position tables that follow from the architecture are not read.
"""

from __future__ import annotations

import argparse
import math
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from sartutor.errors import CheckpointError
from sartutor.learn.masked_swin import fixed_positions
from sartutor.learn.mixmae import MixMAE
from sartutor.learn.simmim import SimMIM
from sartutor.learn.weighting import BandStatistics, WeightRule
from sartutor.presets import MIXMAE_SIZES, SWIN_SIZES, MixMaeSize, SwinSize

DERIVED = re.compile(r"relative_position_index$|attn_mask$|^absolute_pos_embed$|^decoder_pos_embed$")
"""Entries of the released files that follow from the architecture."""

MIXMAE_DECODER = {
    "embed": "decoder_embed",
    "mask_token": "mask_token",
    "blocks": "decoder_blocks",
    "norm": "decoder_norm",
    "predict": "decoder_pred",
}
"""Parts of `TwoStreamDecoder` and what the released program calls them."""


def load_sar_w_mixmae(
    path: Path, statistics: BandStatistics, size: MixMaeSize = MIXMAE_SIZES["paper"]
) -> MixMAE:
    """The model of a SAR-W-MixMAE pretraining checkpoint, with decoder, weighted as it was trained.

    Args:
        path: the released `.pth`.
        statistics: of the bands VH, VV in this order, those of the BigEarthNet version it was trained on.
        size: architecture; the released one is "paper".

    Raises CheckpointError where the file is missing, damaged, unsafe, or of another architecture.
    """
    released = released_tensors(path)
    _check_positions(released, path)
    model = MixMAE(size, statistics, WeightRule(domain="zscore"))
    adopt(model, released, sar_w_mixmae_name, path)
    return model


def load_alos2_fm(path: Path, statistics: BandStatistics, size: SwinSize = SWIN_SIZES["paper"]) -> SimMIM:
    """The model of an ALOS-2_FM pretraining checkpoint, weighted as it was trained.

    Where the file holds the encoder alone, with or without "encoder." before its names, the decoder stays fresh.

    Args:
        path: the released `.pth`.
        statistics: of the one band HH.
        size: architecture; the released one is "paper".

    Raises CheckpointError where the file is missing, damaged, unsafe, or of another architecture.
    """
    released = _with_prefix(released_tensors(path))
    model = SimMIM(size, statistics, WeightRule())
    if not any(name.startswith("decoder.") for name in released):
        fresh = {
            name: weight for name, weight in model.state_dict().items() if not name.startswith("encoder.")
        }
        released = {alos2_fm_name(name): weight for name, weight in fresh.items()} | released
    adopt(model, released, alos2_fm_name, path)
    return model


def alos2_fm_name(own: str) -> str:
    """What the program of arXiv 2603.15119 calls a weight of `SimMIM`."""
    if own == "mask_token":
        return "encoder.mask_token"
    part, name = own.split(".", 1)
    if part == "decoder":
        return name.replace("linear", "decoder.0")
    return f"encoder.{'absolute_pos_embed' if name == 'pos_embed' else original_swin_name(name)}"


def sar_w_mixmae_name(own: str) -> str:
    """What the program of arXiv 2503.01181 calls a weight of `MixMAE`."""
    part, name = own.split(".", 1)
    if part == "encoder":
        return original_swin_name(name)
    first, *rest = name.split(".")
    return ".".join([MIXMAE_DECODER[first], *rest])


def original_swin_name(own: str) -> str:
    """What the original Swin code (arXiv 2103.14030) calls a weight of timm's: merging closes the stage before."""
    return re.sub(r"^layers\.(\d+)\.downsample", lambda stage: f"layers.{int(stage[1]) - 1}.downsample", own)


def released_tensors(path: Path) -> dict[str, Tensor]:
    """The weights of a released pickle, under "model" or alone, without running pickled code.

    Raises CheckpointError for a file that is missing, damaged, or holds anything but tensors and settings.
    """
    try:
        with torch.serialization.safe_globals([argparse.Namespace, (OrderedDict, "yacs.config.CfgNode")]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"There is no checkpoint {path}; download the released file.") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path} holds more than tensors and settings or is damaged, and is not opened; get the official file."
        ) from error
    weights = content.get("model", content) if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise CheckpointError(f"{path} is no plain dictionary of tensors; get the official file.")
    return weights


def adopt(
    model: nn.Module, released: Mapping[str, Tensor], name_of: Callable[[str], str], path: Path
) -> None:
    """Fill all weights of the model with the released ones that `name_of` finds; axes of length 1 do not count.

    Raises CheckpointError that names the first weight that is missing, unknown or of another shape.
    """
    own = model.state_dict()
    names = {name_of(name): name for name in own}
    if missing := [name for name in names if name not in released]:
        raise CheckpointError(
            f"{path} lacks {_first(missing)}; use a pretraining checkpoint of this architecture."
        )
    if unknown := [name for name in released if name not in names and not DERIVED.search(name)]:
        raise CheckpointError(
            f"{path} has {_first(unknown)}, unknown here; use a pretraining checkpoint of this architecture."
        )
    for name, ours in names.items():
        if _lengths(released[name]) != _lengths(own[ours]):
            raise CheckpointError(
                f"{path} has {name} of shape {tuple(released[name].shape)} where {tuple(own[ours].shape)} is needed; "
                "choose the size and bands of that checkpoint."
            )
    model.load_state_dict({ours: released[name].reshape(own[ours].shape) for name, ours in names.items()})


def _first(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _lengths(tensor: Tensor) -> list[int]:
    return [length for length in tensor.shape if length != 1]


def _with_prefix(released: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names as SimMIM's own, "encoder." before those of the encoder, and positions (1, N, C) as (1, side, side, C)."""
    if not any(name.startswith("encoder.") for name in released):
        released = {f"encoder.{name}": weight for name, weight in released.items()}
    if (positions := released.get("encoder.absolute_pos_embed")) is not None:
        side = math.isqrt(positions.shape[-2])
        if side**2 == positions.shape[-2]:
            released["encoder.absolute_pos_embed"] = positions.unflatten(-2, (side, side))
    return released


def _check_positions(released: Mapping[str, Tensor], path: Path) -> None:
    """Raise CheckpointError where stored positions are not those that MixMAE computes."""
    for name in ("absolute_pos_embed", "decoder_pos_embed"):
        if name not in released:
            continue
        stored = released[name].float().flatten(0, -2)
        side, width = math.isqrt(len(stored)), stored.shape[-1]
        expected = fixed_positions(side, width, torch.device("cpu")).flatten(0, 1)
        if stored.shape != expected.shape or not torch.allclose(stored, expected, atol=1e-3):
            raise CheckpointError(
                f"{path} has other positions in {name} than sines and cosines; get the official file."
            )
