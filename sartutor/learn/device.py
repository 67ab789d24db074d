"""What this machine can do fast: device, number formats, denormals, memory."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
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


@cache
def bf16_pays(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32: on GPUs that have it and on CPUs with AMX or AVX512-BF16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
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


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute in the calling thread alone; put back afterwards.

    What is small gains little by a second thread, and waits for it where another program, such as the browser that
    shows the result, has the other core.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@cache
def keep_freed_memory() -> None:
    """Keep up to 512 MiB that tensors no longer need for those to come, where the C library is glibc; process-wide.

    It gives freed memory back to the system otherwise, and gets it again page by page, which can take longer than the
    computing (mallopt of the GNU C library: M_TRIM_THRESHOLD -1, M_MMAP_THRESHOLD -3).
    """
    if platform.libc_ver()[0] == "glibc":
        allocator = ctypes.CDLL(None)
        allocator.mallopt(-1, 2**29)
        allocator.mallopt(-3, 2**26)
