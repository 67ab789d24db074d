"""Memory that tensors no longer need stays at hand."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import torch
from sartutor.learn.device import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tensors = [torch.ones(2**20) for _ in range(40)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
print(sum(faults() for _ in range(4)))
"""


def page_faults(how: str) -> int:
    """Of filling 160 MiB of tensors four times, after once that does not count."""
    run = subprocess.run([sys.executable, "-c", FAULTS, how], check=True, capture_output=True, text=True)
    return int(run.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc needs it")
def test_freed_memory_is_filled_again_without_asking_for_it():
    assert page_faults("kept") < 0.4 * page_faults("given back")
