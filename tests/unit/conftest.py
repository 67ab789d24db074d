"""What tests of several modules share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from adapting import recipe, write_folder

from sartutor.learn.adapt import adapt


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Compute in one thread, here and in programs that tests start: bits are compared, and sums of two threads differ
    in their last bits from run to run on some processors."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="session")
def six_bands(tmp_path_factory) -> Path:
    """A folder of drawn shapes in bands for two encoders."""
    return write_folder(tmp_path_factory.mktemp("six")).folder


@pytest.fixture(scope="session")
def two_phases(six_bands, tmp_path_factory) -> Path:
    """Phases 1 and 2, two steps each."""
    out = tmp_path_factory.mktemp("runs") / "two.safetensors"
    return adapt(six_bands, out, recipe=recipe(), phases=[1, 2], device="cpu", progress=False).out


@pytest.fixture(scope="session")
def three_phases(six_bands, two_phases) -> Path:
    """Phase 3 on top of them."""
    out = two_phases.with_name("three.safetensors")
    return adapt(
        six_bands, out, recipe=recipe(), init=two_phases, phases=[3], device="cpu", progress=False
    ).out
