"""The loop: learns, resumes exactly where a kill left it, and refuses another run's state."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from sartutor.errors import CheckpointError
from sartutor.learn.checkpoints import load_tensors
from sartutor.learn.loop import Schedule, fit

SCHEDULE = Schedule(steps=12, warmup=2, learning_rate=0.1, weight_decay=0.01, clip=1.0, save_every=5)


class Line(Dataset[dict[str, Tensor]]):
    """y = 2 x; item i is always the same."""

    def __len__(self) -> int:
        return 10**6

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        x = torch.rand(3, generator=torch.Generator().manual_seed(index))
        return {"x": x, "y": 2 * x}


class Killed(Exception):
    """Stands for a kill in the middle of a step."""


class Squared:
    """Mean squared error; killed at its call number `stop`."""

    def __init__(self, stop: int = 10**9) -> None:
        self.left = stop

    def __call__(self, model: nn.Module, batch: dict[str, Tensor], step: int) -> Tensor:
        if self.left == 0:
            raise Killed
        self.left -= 1
        return (model(batch["x"]) - batch["y"]).square().mean()


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 3)


def train(
    out: Path, schedule: Schedule = SCHEDULE, kind: str = "line", stop: int = 10**9
) -> dict[str, Tensor]:
    fit(linear(), Squared(stop), Line(), 2, schedule, out, {"kind": kind}, device="cpu")
    return load_tensors(out)[0]


def test_a_run_ends_with_a_checkpoint_and_without_training_state(tmp_path):
    weights = train(tmp_path / "a.safetensors")
    assert set(weights) == {"weight", "bias"}
    assert load_tensors(tmp_path / "a.safetensors")[1]["step"] == 12
    assert {path.name for path in tmp_path.iterdir()} == {"a.safetensors", "a.curve.json"}


def test_longer_training_learns_the_line(tmp_path):
    weights = train(tmp_path / "a.safetensors", dataclasses.replace(SCHEDULE, steps=200))
    assert (weights["weight"] - 2 * torch.eye(3)).abs().max() < 0.3


def test_a_killed_run_goes_on_to_bit_identical_weights(tmp_path):
    whole = train(tmp_path / "whole.safetensors")
    with pytest.raises(Killed):
        train(tmp_path / "part.safetensors", stop=8)
    assert load_tensors(tmp_path / "part.state.safetensors")[1]["step"] == 5
    resumed = train(tmp_path / "part.safetensors")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_the_state_of_another_run_is_refused_by_name(tmp_path):
    with pytest.raises(Killed):
        train(tmp_path / "a.safetensors", stop=8)
    with pytest.raises(CheckpointError, match=r"a\.state\.safetensors belongs to a run with other settings"):
        train(tmp_path / "a.safetensors", kind="other")


def test_learning_rate_warms_up_and_ends_near_zero():
    rates = [SCHEDULE.rate(step) for step in range(SCHEDULE.steps)]
    assert rates[0] == pytest.approx(0.05)
    assert max(rates) == rates[2] == pytest.approx(0.1)
    assert rates[-1] < 0.01
