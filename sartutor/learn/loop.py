"""The one training loop: read `fit` from top to bottom, things happen in this order.

Item i of the data is always the same, step k takes the items from k times the batch on, and the random generator is
seeded anew at every step. So the weights, the optimizer and the number of the step are all that a run is: it goes on
from them exactly where it stopped, and several processes (torchrun) do together what one does alone.
"""

from __future__ import annotations

import math
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import psutil
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from sartutor.errors import CheckpointError, SarTutorError
from sartutor.learn.checkpoints import load_state, load_tensors, save_state, save_tensors, state_path
from sartutor.learn.curves import Curve, curve_path, read_curve, write_curve
from sartutor.learn.device import bf16_pays, denormals_flushed, keep_freed_memory, pick_device

Batch = dict[str, Tensor]
LossOf = Callable[[nn.Module, Batch, int], Tensor]
"""Mean loss of a model on a batch at a step; `batch["index"]` (B,) holds the items' numbers in the whole run."""

BETAS = (0.9, 0.98)
"""Decay of the moments where a recipe asks for no other."""

FALL = 0.1
"""What the learning rate is multiplied by at each milestone."""


class Optimised(Protocol):
    """What every recipe says of how AdamW goes."""

    @property
    def steps(self) -> int: ...
    @property
    def warmup(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def clip(self) -> float: ...


@dataclass(frozen=True)
class Schedule:
    """How AdamW goes: warm-up, then half a cosine, or a fall to a tenth at each of the `milestones` if there are any.

    `warmup`, `milestones` and `save_every` are in steps; `learning_rate` is the peak; `clip` bounds the global norm of
    the gradient; with `layer_decay` < 1 every layer learns by that factor slower than the one after it.
    """

    steps: int
    warmup: int
    learning_rate: float
    weight_decay: float
    clip: float
    save_every: int
    betas: tuple[float, float] = BETAS
    milestones: tuple[int, ...] = ()
    layer_decay: float = 1.0

    @classmethod
    def of(cls, recipe: Optimised, save_every: int, betas: tuple[float, float] = BETAS) -> Schedule:
        """The schedule that a recipe asks for, without what only some recipes have."""
        common = (recipe.steps, recipe.warmup, recipe.learning_rate, recipe.weight_decay, recipe.clip)
        return cls(*common, save_every, betas)

    def rate(self, step: int) -> float:
        """Learning rate of a step (from 0)."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        if self.milestones:
            return self.learning_rate * FALL ** sum(step >= milestone for milestone in self.milestones)
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(frozen=True)
class Watch:
    """Look at the model every so many steps, for a picture in a notebook: `look(model, steps done)`."""

    every: int
    look: Callable[[nn.Module, int], None]


@dataclass(frozen=True)
class Validation:
    """Early stop: every so many steps `loss(model)`, smaller is better; `patience` times no better ends the run."""

    every: int
    patience: int
    loss: Callable[[nn.Module], float]


def fit(
    model: nn.Module,
    loss_of: LossOf,
    data: Dataset[Batch],
    batch: int,
    schedule: Schedule,
    out: Path,
    header: dict[str, Any],
    device: str = "auto",
    *,
    seed: int = 0,
    depth_of: Callable[[str], int] | None = None,
    validation: Validation | None = None,
    watch: Watch | None = None,
    progress: bool = True,
) -> Curve:
    """Train `model` on items 0, 1, 2, ... of `data`, `batch` items a step, and save to `out`; resumes by itself.

    `batch` counts the items of all processes together. `seed` is that of what layers draw, such as dropout; `depth_of`
    gives the depth of the layer that a parameter of some name belongs to, for layer decay. Checkpoint `out` holds the
    last weights, or those that did best in the validation, and so does `model` in the end; the curve lies beside it,
    and until the run is complete the training state. Ctrl-C ends the run after the step under way and saves.

    Raises CheckpointError when `out` holds the state of another run, OutputError where it cannot be written, and
    SarTutorError when the loss is no finite number; what was saved last is kept.
    """
    fabric = _fabric(device)
    model.to(memory_format=torch.channels_last)
    groups = parameter_groups(model, schedule.weight_decay, schedule.layer_decay, depth_of)
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=schedule.betas)
    objective, optimizer = fabric.setup(_Objective(model, loss_of, fabric.device), optimizer)
    run = _Run(fabric, model, optimizer, schedule, out, header)
    bar = run.bar(_loader(fabric, data, batch, range(run.step, schedule.steps)), progress)
    with denormals_flushed(), _interrupts() as interrupt:
        for step, sample in enumerate(bar, run.step):
            rate = run.set_rate()
            torch.manual_seed(_step_seed(seed, step, fabric.global_rank))
            loss = objective(sample, step)
            fabric.backward(loss)
            norm = fabric.clip_gradients(
                objective, optimizer, max_norm=schedule.clip, error_if_nonfinite=False
            )
            value, interrupted = run.agree(loss, norm, interrupt.is_set())
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            run.note(value, rate)
            if step % 10 == 0:
                bar.set_postfix(loss=f"{run.curve.recent_loss():.4f}", memory=_memory_used(fabric.device))
            if watch is not None and run.step % watch.every == 0 and fabric.is_global_zero:
                watch.look(model, run.step)
            if validation is not None and run.is_due(validation.every):
                run.validate(validation)
            if interrupted or run.is_due(schedule.save_every):
                run.save()
            if interrupted:
                raise KeyboardInterrupt
            if validation is not None and run.curve.stale >= validation.patience:
                break
    run.finish()
    return run.curve


class _Objective(nn.Module):
    """The loss as a module, so that several processes see all of it, in mixed bfloat16 where that pays.

    Products are rounded to bfloat16, weights and data stay as they are.
    """

    def __init__(self, model: nn.Module, loss_of: LossOf, device: torch.device) -> None:
        super().__init__()
        self.model, self.loss_of = model, loss_of
        self.mixed = torch.autocast(device.type, torch.bfloat16, enabled=bf16_pays(device))

    def forward(self, batch: Batch, step: int) -> Tensor:
        with self.mixed:
            return self.loss_of(self.model, batch, step)


class _Run:
    """Weights, optimizer and step of a run, and what it keeps on disk."""

    def __init__(
        self,
        fabric: Fabric,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        out: Path,
        header: dict[str, Any],
    ) -> None:
        """Start, or go on from the state beside `out`."""
        self.fabric, self.model, self.optimizer, self.schedule = fabric, model, optimizer, schedule
        self.out, self.header, self.curve, self.saved = out, header, Curve(), 0
        if state_path(out).exists():
            self.saved = int(load_state(state_path(out), model, optimizer, header)["step"])
            self.curve = read_curve(out).until(self.saved)
            if self.step < self.saved:
                raise CheckpointError(
                    f"{curve_path(out)} ends before step {self.saved} of {state_path(out).name}; delete both, and "
                    f"{out.name}, to train anew."
                )

    @property
    def step(self) -> int:
        """Steps done."""
        return len(self.curve.loss)

    def bar(self, batches: DataLoader[Batch], progress: bool) -> tqdm[Batch]:
        """The batches to come, with a bar that shows the time left."""
        return tqdm(
            _in_one_sentence(batches),
            self.out.stem,
            self.schedule.steps,
            initial=self.step,
            unit="step",
            disable=not (progress and self.fabric.is_global_zero),
        )

    def set_rate(self) -> float:
        """Set and return the learning rate of the step to come."""
        rate = self.schedule.rate(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        return rate

    def agree(self, loss: Tensor, norm: Tensor | None, interrupted: bool) -> tuple[float, bool]:
        """The loss over all processes, and whether any was interrupted; SarTutorError where it is not finite."""
        mine = torch.tensor([loss.item(), interrupted], device=self.fabric.device)
        value, stop = self.fabric.all_reduce(mine, reduce_op="mean").tolist()  # type: ignore[union-attr]
        if not (math.isfinite(value) and norm is not None and bool(norm.isfinite())):
            kept = f"; {self.out} keeps step {self.saved}" if self.saved else ""
            raise SarTutorError(
                f"The loss or its gradient is not a finite number at step {self.step + 1} of {self.out.stem}; "
                f"lower the learning rate or look for wrong values in the data{kept}."
            )
        return value, stop > 0

    def note(self, loss: float, rate: float) -> None:
        """A step is done."""
        self.curve.loss.append(loss)
        self.curve.learning_rate.append(rate)

    def is_due(self, every: int) -> bool:
        """Whether what happens every so many steps, and after the last one, happens now."""
        return self.step % every == 0 or self.step == self.schedule.steps

    def validate(self, validation: Validation) -> None:
        """Validate on the first process; where the weights are the best so far, they become the checkpoint."""
        was_training = self.model.training
        self.model.eval()
        with torch.no_grad():
            loss = validation.loss(self.model) if self.fabric.is_global_zero else math.nan
        self.model.train(was_training)
        if not self.saved:
            self.save()  # a checkpoint without a state beside it is one that is complete
        self.curve.validation.append((self.step, self.fabric.broadcast(loss)))
        if self.curve.stale == 0:
            self._write_weights()

    def save(self) -> None:
        """Write state, curve and, unless a validation chooses it, the checkpoint."""
        if self.fabric.is_global_zero:
            write_curve(self.out, self.curve)
            save_state(state_path(self.out), self.model, self.optimizer, self._about())
        if not self.curve.validation:
            self._write_weights()
        self.saved = self.step

    def finish(self) -> None:
        """Leave the checkpoint, which says now that it is complete, and the curve; and in the model what it holds."""
        if self.fabric.is_global_zero:
            write_curve(self.out, self.curve)
            tensors, about = load_tensors(self.out)
            save_tensors(self.out, tensors, {**about, "complete": True})
        self.fabric.barrier()
        if self.curve.validation:
            self.model.load_state_dict(load_tensors(self.out)[0])
        self.fabric.barrier()
        if self.fabric.is_global_zero:
            state_path(self.out).unlink(missing_ok=True)

    def _write_weights(self) -> None:
        if self.fabric.is_global_zero:
            save_tensors(self.out, self.model.state_dict(), self._about())

    def _about(self) -> dict[str, Any]:
        return {**self.header, "step": self.step}


def parameter_groups(
    model: nn.Module,
    weight_decay: float,
    layer_decay: float = 1.0,
    depth_of: Callable[[str], int] | None = None,
) -> list[dict[str, Any]]:
    """Groups for AdamW: weight decay for matrices and kernels, none for biases, norms and single embeddings.

    `scale` is the factor of a group's learning rate, layer_decay^(deepest - depth), where `depth_of` gives the depth
    of a parameter's name (arXiv 2106.08254, appendix); without it all layers learn alike.
    """
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    depths = {name: depth_of(name) if depth_of else 0 for name, _ in trained}
    deepest = max(depths.values())
    groups = []
    for depth in sorted(set(depths.values()), reverse=True):
        here = [p for name, p in trained if depths[name] == depth]
        scale = layer_decay ** (deepest - depth)
        groups += [
            {"params": [p for p in here if p.ndim > 1], "weight_decay": weight_decay, "scale": scale},
            {"params": [p for p in here if p.ndim <= 1], "weight_decay": 0.0, "scale": scale},
        ]
    return groups


def share(batch: int, rank: int, processes: int) -> range:
    """Which items of every global batch a process takes: neighbours, so that pairs (2i, 2i + 1) stay together.

    Raises SarTutorError where the batch cannot be shared evenly.
    """
    if batch % processes:
        raise SarTutorError(
            f"{batch} items a step cannot be shared by {processes} processes; use a number that divides it."
        )
    size = batch // processes
    return range(rank * size, (rank + 1) * size)


class _Numbered(Dataset[Batch]):
    """Items that know their number in the run."""

    def __init__(self, data: Dataset[Batch]) -> None:
        self.data = data

    def __getitem__(self, index: int) -> Batch:
        return {**self.data[index], "index": torch.tensor(index)}


def _loader(fabric: Fabric, data: Dataset[Batch], batch: int, steps: range) -> DataLoader[Batch]:
    """The batches of this process, one a step, read ahead by other processes that leave Ctrl-C to this one."""
    mine = share(batch, fabric.global_rank, fabric.world_size)
    items = [[step * batch + place for place in mine] for step in steps]
    loader = DataLoader(
        _Numbered(data),
        batch_sampler=items,
        num_workers=_reader_count(fabric.world_size),
        prefetch_factor=4,
        worker_init_fn=_ignore_interrupts,
    )
    return fabric.setup_dataloaders(loader, use_distributed_sampler=False)  # type: ignore[return-value]


def _in_one_sentence(batches: Iterable[Batch]) -> Iterator[Batch]:
    """The batches; what a reader complains of is said without the report of where in its program that was."""
    try:
        yield from batches
    except SarTutorError as error:
        sentence = str(error).strip().splitlines()[-1].removeprefix(f"{_full_name(type(error))}: ")
        raise type(error)(sentence) from error


def _full_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _reader_count(processes: int) -> int:
    """Processes that read data: half of the cores are for reading, 8 at most, and one for each process at least."""
    return max(1, min(8, (os.cpu_count() or 1) // (2 * processes)))


def _ignore_interrupts(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets, so that no half-made step is saved; the second one ends at once."""
    asked = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield asked
        return

    def ask(number: int, frame: object) -> None:
        asked.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def _fabric(device: str) -> Fabric:
    """One process on one device, or this one of several that torchrun started."""
    keep_freed_memory()
    chosen = pick_device(device)
    here, all_processes = (int(os.environ.get(name, "1")) for name in ("LOCAL_WORLD_SIZE", "WORLD_SIZE"))
    devices = here if all_processes > 1 or chosen.index is None else [chosen.index]
    fabric = Fabric(
        accelerator=chosen.type,
        devices=devices,
        num_nodes=all_processes // here,
        strategy="ddp" if all_processes > 1 else "auto",
    )
    if all_processes > 1:
        fabric.launch()
    return fabric


def _step_seed(seed: int, step: int, rank: int) -> int:
    """The seed of what layers draw in a step: another one for every step and process."""
    return int(np.random.SeedSequence((seed, step, rank)).generate_state(1)[0])


def _memory_used(device: torch.device) -> str:
    """Memory that this process holds: on the GPU the most so far, else all of it."""
    on_gpu = device.type == "cuda"
    used = torch.cuda.max_memory_allocated(device) if on_gpu else psutil.Process().memory_info().rss
    return f"{used / 2**30:.1f} GiB"
