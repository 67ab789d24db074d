"""Checkpoints: one safetensors file whose header says what it is. No pickled code ever runs.

The header key `sartutor` is JSON: format, kind, architecture, phases, bands, preset, seed, version, parent. Training
state (weights, optimizer, step) lies beside it in `<name>.state.safetensors` until the run is complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from sartutor import __version__
from sartutor.errors import CheckpointError, OutputError
from sartutor.sar.files import check_writable, replacing

FORMAT = 1

RIVAL = "rival"
"""Kind of the checkpoints of `sartutor.learn.rivals`."""


def save_tensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write a checkpoint at once or not at all. Raises OutputError where the place cannot be written."""
    about = {"format": FORMAT, "version": __version__, **header}
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    data = save(contiguous, metadata={"sartutor": json.dumps(about, sort_keys=True)})
    with replacing(path) as part:
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())


def kept_tensors(
    path: Path | None, header: Mapping[str, Any], make: Callable[[], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """What is kept at `path`, or made anew, and kept, where no whole file is there; None keeps nothing."""
    if path is None:
        return make()
    if path.is_file():
        try:
            return load_tensors(path)[0]
        except CheckpointError:
            path.unlink(missing_ok=True)
    tensors = make()
    save_tensors(path, tensors, header)
    return tensors


def check_place(out: Path) -> None:
    """Find out before the work, not after it, that a checkpoint has no place. Raises OutputError."""
    if out.suffix != ".safetensors":
        raise OutputError(
            f"{out}: a checkpoint is a safetensors file; choose a name that ends in .safetensors."
        )
    check_writable(out)


def refuse_complete(out: Path) -> None:
    """Raise OutputError where a finished checkpoint would be trained anew and written over."""
    if out.is_file() and not state_path(out).exists():
        raise OutputError(f"{out} is there and complete; choose another name, or remove it to train anew.")


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and header of a checkpoint of this project.

    Raises CheckpointError for a file that is missing, damaged, or has no header of this project.
    """
    return _read(path, tensors=True)


def load_header(path: Path) -> dict[str, Any]:
    """The header alone, however large the checkpoint is; errors as of `load_tensors`."""
    return _read(path, tensors=False)[1]


def _read(path: Path, tensors: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not path.is_file():
        raise CheckpointError(
            f"There is no checkpoint {path}; check the path or use an embedded model by name."
        )
    try:
        with safe_open(path, framework="pt") as file:
            found = {name: file.get_tensor(name) for name in (file.keys() if tensors else ())}
            about = json.loads((file.metadata() or {}).get("sartutor", "null"))
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not a whole safetensors file; copy or train it again.") from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} was not written by sartutor (no header of format {FORMAT}); use a checkpoint that was."
        )
    return found, about


def is_complete(path: Path, steps: int) -> bool:
    """Whether there is a checkpoint of a run of so many steps that has ended."""
    return path.exists() and load_header(path).get("step") == steps and not state_path(path).exists()


def is_done(out: Path, header: Mapping[str, Any]) -> bool:
    """Whether the run of `header` has come to its end.

    CheckpointError where another run has left its checkpoint, or this one's state is gone before it ended.
    """
    if not out.exists() or state_path(out).exists():
        return False
    about = load_header(out)
    refuse_other_run(out, about, header)
    if not about.get("complete"):
        raise CheckpointError(
            f"{out} is of a run that did not end, and its state is gone, or of an older version; delete it to train "
            "anew."
        )
    return True


def export_half(trained: Path, out: Path) -> None:
    """Write the float16 copy of a float32 checkpoint that the package carries.

    Raises CheckpointError for weights beyond the range of float16.
    """
    tensors, about = load_tensors(trained)
    kept = {key: value for key, value in about.items() if key not in ("format", "version")}
    halves = {name: value.half() for name, value in tensors.items()}
    if not all(torch.isfinite(value).all() for value in halves.values()):
        raise CheckpointError(f"{trained} holds weights beyond the range of float16; train it again.")
    save_tensors(out, halves, {**kept, "parent": file_digest(trained)})


def state_path(out: Path) -> Path:
    """Where the training state of a run lies until its checkpoint `out` is complete."""
    return out.with_name(f"{out.stem}.state.safetensors")


def save_state(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, header: Mapping[str, Any]
) -> None:
    """Write weights and optimizer moments at once or not at all."""
    state = {f"weights.{name}": tensor for name, tensor in model.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        state |= {f"optimizer.{index}.{name}": value for name, value in moments.items()}
    save_tensors(path, state, header)


def load_state(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, header: Mapping[str, Any]
) -> dict[str, Any]:
    """Put weights and optimizer moments of an interrupted run back; its header.

    Raises CheckpointError for the state of a run whose header differs from `header`.
    """
    tensors, about = load_tensors(path)
    refuse_other_run(path, about, header)
    weights, moments = _split(tensors, "weights."), _split(tensors, "optimizer.")
    model.load_state_dict(weights)
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in moments.items():
        index, key = name.split(".")
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return about


def refuse_other_run(path: Path, about: Mapping[str, Any], header: Mapping[str, Any]) -> None:
    """Raise CheckpointError where the header `about` of a file does not have all that the run of `header` says."""
    wanted = json.loads(json.dumps(header))
    if other := [key for key, value in wanted.items() if about.get(key) != value]:
        raise CheckpointError(
            f"{path} belongs to a run with other settings ({', '.join(other)}); delete it or choose another output."
        )


def _split(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def load_pickle(path: Path) -> dict[str, Tensor]:
    """Tensors of an official `.pth`, read with `weights_only=True`. Raises CheckpointError for anything but tensors."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"There is no checkpoint {path}; fetch it with `sartutor fetch sam-vit-b`."
        ) from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} holds more than tensors or is damaged, and is not opened; get the official file."
        ) from error
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise CheckpointError(f"{path} is no plain dictionary of tensors; get the official file.")
    return content


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
