"""What this machine can do fast: device, number formats, denormals."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from sartutor.errors import SarTutorError


def pick_device(name: str = "auto") -> torch.device:
    """`auto` is the first GPU, else the CPU. Raises SarTutorError for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SarTutorError(
            f"There is no device {name!r} on this machine; use --device auto or cpu."
        ) from error
    return device


def bf16_pays(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32: on GPUs that have it and on CPUs with AMX or AVX512-BF16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    flags = Path("/proc/cpuinfo")
    return flags.exists() and any(name in flags.read_text() for name in ("amx_bf16", "avx512_bf16"))


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """Treat numbers too small for full precision as zero, as CPU training needs for speed; put back afterwards."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
