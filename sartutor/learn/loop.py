"""The one training loop: read it from top to bottom, things happen in this order.

Data sets are indexed by step and seeded by index, and nothing else draws random numbers, so the weights, the
optimizer and the step number are all that a run needs to go on exactly where it stopped.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm.auto import tqdm

from sartutor.errors import CheckpointError
from sartutor.learn.checkpoints import load_tensors, save_tensors
from sartutor.learn.device import best_precision, denormals_flushed, pick_device


@dataclass(frozen=True)
class Schedule:
    """Steps, warm-up steps, peak learning rate, weight decay, gradient clip (global norm), steps between saves."""

    steps: int
    warmup: int
    learning_rate: float
    weight_decay: float
    clip: float
    save_every: int

    def rate(self, step: int) -> float:
        """Learning rate of a step (from 0): linear warm-up, then half a cosine to 0."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def fit(
    model: nn.Module,
    loss_of: Callable[[nn.Module, dict[str, Tensor]], Tensor],
    data: Dataset[dict[str, Tensor]],
    batch: int,
    schedule: Schedule,
    out: Path,
    header: dict[str, Any],
    device: str = "auto",
) -> None:
    """Train `model` on items 0, 1, 2, ... of `data`, `batch` items a step, and save to `out`; resumes by itself.

    `loss_of(model, batch)` gives the mean loss. Progress shows the loss and the time left. After the last step the
    training state is removed. Raises CheckpointError when `out` holds the state of another run.
    """
    chosen = pick_device(device)
    fabric = Fabric(accelerator=chosen.type, devices=1, precision=best_precision(chosen))
    model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(_decay_groups(model, schedule.weight_decay), lr=0.0, betas=(0.9, 0.98))
    model, optimizer = fabric.setup(model, optimizer)
    start = _resume(model, optimizer, out, header)
    loader = fabric.setup_dataloaders(_ordered(data, batch, start, schedule.steps))
    bar = tqdm(loader, initial=start, total=schedule.steps, desc=out.stem, unit="step")
    mean = 0.0
    with denormals_flushed():
        for step, sample in enumerate(bar, start):
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate(step)
            loss = loss_of(model, sample)
            fabric.backward(loss)
            fabric.clip_gradients(model, optimizer, max_norm=schedule.clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            mean = loss.item() if step == start else 0.98 * mean + 0.02 * loss.item()
            if step % 10 == 0:
                bar.set_postfix(loss=f"{mean:.4f}")
            if (step + 1) % schedule.save_every == 0 or step + 1 == schedule.steps:
                _save(model, optimizer, step + 1, out, header)
    _state_path(out).unlink(missing_ok=True)


def _ordered(
    data: Dataset[dict[str, Tensor]], batch: int, start: int, steps: int
) -> DataLoader[dict[str, Tensor]]:
    items = Subset(data, range(start * batch, steps * batch))
    return DataLoader(items, batch, num_workers=1, prefetch_factor=4, persistent_workers=False)


def _decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices and kernels, none for biases, norms and single embeddings."""
    trained = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _state_path(out: Path) -> Path:
    return out.with_name(f"{out.stem}.state.safetensors")


def _save(
    model: nn.Module, optimizer: torch.optim.Optimizer, step: int, out: Path, header: dict[str, Any]
) -> None:
    state = {f"weights.{k}": v for k, v in model.state_dict().items()}
    for index, values in optimizer.state_dict()["state"].items():
        state |= {f"optimizer.{index}.{name}": value for name, value in values.items()}
    save_tensors(_state_path(out), state, {**header, "step": step})
    save_tensors(out, model.state_dict(), {**header, "step": step})


def _resume(model: nn.Module, optimizer: torch.optim.Optimizer, out: Path, header: dict[str, Any]) -> int:
    """Load weights and optimizer moments of an interrupted run; the number of steps already done."""
    path = _state_path(out)
    if not path.exists():
        return 0
    tensors, about = load_tensors(path)
    if any(about.get(key) != value for key, value in header.items()):
        raise CheckpointError(
            f"{path} belongs to a run with other settings; delete it or choose another output."
        )
    model.load_state_dict(
        {k.removeprefix("weights."): v for k, v in tensors.items() if k.startswith("weights.")}
    )
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".")
            state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return int(about["step"])
