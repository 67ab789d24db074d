"""Several processes as if they were one: what a loss needs to know of them."""

from __future__ import annotations

import os

import torch
from torch import Tensor, distributed


def process_count() -> int:
    """How many processes train together; 1 outside torchrun."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def is_first() -> bool:
    """Whether this is the process that writes and prints: the only one, or torchrun's number 0."""
    return os.environ.get("RANK", "0") == "0"


def global_mean(total: Tensor, count: Tensor) -> Tensor:
    """Sum over count where both are of this process's share of a batch and the mean is of the whole batch.

    Args:
        total: scalar sum, such as that of weighted errors over masked pixels.
        count: scalar to divide by, such as the number of those pixels; no gradient flows through it.

    Processes average their gradients, so each divides its sum by the mean count, and the average over processes is
    the sum of all sums over the sum of all counts. In one process this is `total / count`. Nothing to count gives 0.
    """
    return total / mean_over_processes(count.to(total.dtype)).clamp_min(torch.finfo(total.dtype).tiny)


def mean_over_processes(value: Tensor) -> Tensor:
    """The mean of what each process has, without gradient; in one process the value itself."""
    value = value.detach().clone()
    if (processes := process_count()) > 1:
        distributed.all_reduce(value)
        value /= processes
    return value
