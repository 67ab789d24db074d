"""The loop: learns, resumes exactly where a kill left it, stops when it should, and runs in several processes."""

import dataclasses
import math
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from processes import in_two_processes
from torch import Tensor, nn
from torch.utils.data import Dataset

from sartutor.errors import CheckpointError, DataError, SarTutorError
from sartutor.learn import loop
from sartutor.learn.checkpoints import load_tensors
from sartutor.learn.curves import Curve, read_curve
from sartutor.learn.distributed import global_mean
from sartutor.learn.loop import Schedule, Validation, Watch, fit, parameter_groups, share

SCHEDULE = Schedule(steps=12, warmup=2, learning_rate=0.1, weight_decay=0.01, clip=1.0, save_every=5)


class Line(Dataset[dict[str, Tensor]]):
    """y = 2 x, and how many of the three numbers count; item i is always the same."""

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        x = torch.rand(3, generator=torch.Generator().manual_seed(index))
        return {"x": x, "y": 2 * x, "seen": torch.arange(3) <= index % 3}


class Killed(Exception):
    """Stands for a kill in the middle of a step."""


class Squared:
    """Squared error over the numbers that count, with dropout; killed at its call number `stop`."""

    def __init__(self, stop: int = 10**9, dropout: float = 0.2) -> None:
        self.left, self.dropout = stop, dropout

    def __call__(self, model: nn.Module, batch: dict[str, Tensor], step: int) -> Tensor:
        if self.left == 0:
            raise Killed
        self.left -= 1
        inputs = nn.functional.dropout(batch["x"], self.dropout)
        errors = torch.where(batch["seen"], (model(inputs) - batch["y"]).square(), 0)
        return global_mean(errors.sum(), batch["seen"].sum())


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 3)


def train(out: Path, schedule: Schedule = SCHEDULE, stop: int = 10**9, **more) -> dict[str, Tensor]:
    more = {"data": Line(), "header": {"kind": "line", "betas": (0.9, 0.98)}} | more
    fit(
        linear(),
        Squared(stop),
        more.pop("data"),
        2,
        schedule,
        out,
        more.pop("header"),
        "cpu",
        progress=False,
        **more,
    )
    return load_tensors(out)[0]


def test_a_run_ends_with_a_checkpoint_and_its_curve_and_without_training_state(tmp_path):
    weights = train(tmp_path / "a.safetensors")
    assert set(weights) == {"weight", "bias"}
    assert load_tensors(tmp_path / "a.safetensors")[1]["step"] == 12
    assert {path.name for path in tmp_path.iterdir()} == {"a.safetensors", "a.curve.json"}
    curve = read_curve(tmp_path / "a.safetensors")
    assert len(curve.loss) == 12
    assert curve.learning_rate == [SCHEDULE.rate(step) for step in range(12)]


def test_items_come_in_order_and_know_their_number_in_the_run(tmp_path):
    seen = []

    def loss_of(model: nn.Module, batch: dict[str, Tensor], step: int) -> Tensor:
        seen.append((step, batch["index"].tolist()))
        assert torch.equal(batch["x"], torch.stack([Line()[i]["x"] for i in batch["index"].tolist()]))
        return model(batch["x"]).sum()

    fit(linear(), loss_of, Line(), 3, SCHEDULE, tmp_path / "a.safetensors", {}, "cpu", progress=False)
    assert seen == [(step, [3 * step, 3 * step + 1, 3 * step + 2]) for step in range(12)]


def test_longer_training_learns_the_line(tmp_path):
    model = linear()
    schedule = dataclasses.replace(SCHEDULE, steps=400)
    fit(model, Squared(dropout=0), Line(), 2, schedule, tmp_path / "a.safetensors", {}, "cpu", progress=False)
    assert (model.weight - 2 * torch.eye(3)).abs().max() < 0.3


def test_a_killed_run_goes_on_to_bit_identical_weights_and_the_same_curve(tmp_path):
    whole = train(tmp_path / "whole.safetensors")
    with pytest.raises(Killed):
        train(tmp_path / "part.safetensors", stop=8)
    assert load_tensors(tmp_path / "part.state.safetensors")[1]["step"] == 5
    resumed = train(tmp_path / "part.safetensors")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert read_curve(tmp_path / "whole.safetensors") == read_curve(tmp_path / "part.safetensors")


def test_the_state_of_another_run_is_refused_by_name(tmp_path):
    with pytest.raises(Killed):
        train(tmp_path / "a.safetensors", stop=8)
    with pytest.raises(CheckpointError, match=r"a\.state\.safetensors belongs to a run with other settings"):
        train(tmp_path / "a.safetensors", header={"kind": "other"})


def test_ctrl_c_ends_after_the_step_and_saves_it(tmp_path):
    whole = train(tmp_path / "whole.safetensors")
    press = Watch(7, lambda model, step: os.kill(os.getpid(), signal.SIGINT))
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "part.safetensors", watch=press)
    assert load_tensors(tmp_path / "part.state.safetensors")[1]["step"] == 8
    assert signal.getsignal(signal.SIGINT) is before
    resumed = train(tmp_path / "part.safetensors")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_watcher_sees_the_model_every_so_many_steps_and_changes_nothing(tmp_path):
    seen = []
    plain = train(tmp_path / "plain.safetensors")
    watched = train(
        tmp_path / "a.safetensors", watch=Watch(5, lambda _, step: seen.append((step, torch.rand(1))))
    )
    assert [step for step, _ in seen] == [5, 10]
    assert all(torch.equal(plain[name], watched[name]) for name in plain)


def test_early_stop_keeps_the_best(tmp_path):
    kept = {}

    def loss(model: nn.Module) -> float:
        assert not model.training
        values = {2: 3.0, 4: 1.0, 6: 2.0, 8: 1.5, 10: 0.5, 12: 0.1}
        step = 2 * (len(kept) + 1)
        kept[step] = {name: value.clone() for name, value in model.state_dict().items()}
        return values[step]

    out = tmp_path / "a.safetensors"
    best = train(out, validation=Validation(every=2, patience=2, loss=loss))
    assert list(kept) == [2, 4, 6, 8]
    assert all(torch.equal(best[name], kept[4][name]) for name in best)
    assert load_tensors(out)[1]["step"] == 4
    assert read_curve(out).validation == [(2, 3.0), (4, 1.0), (6, 2.0), (8, 1.5)]


def test_early_stop_goes_on_after_a_kill_as_if_there_had_been_none(tmp_path):
    def loss(model: nn.Module) -> float:
        return abs(float(model.weight.detach()[0, 0]) - 0.3)

    validation = Validation(every=2, patience=3, loss=loss)
    whole = train(tmp_path / "whole.safetensors", validation=validation)
    with pytest.raises(Killed):
        train(tmp_path / "part.safetensors", stop=8, validation=validation)
    resumed = train(tmp_path / "part.safetensors", validation=validation)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert read_curve(tmp_path / "whole.safetensors") == read_curve(tmp_path / "part.safetensors")


def test_learning_rate_warms_up_and_follows_half_a_cosine():
    rates = [SCHEDULE.rate(step) for step in range(SCHEDULE.steps)]
    assert rates[:3] == pytest.approx([0.05, 0.1, 0.1])
    assert rates[7] == pytest.approx(0.05)
    assert rates == pytest.approx([0.05, 0.1] + [0.05 * (1 + math.cos(math.pi * k / 10)) for k in range(10)])


def test_learning_rate_falls_to_a_tenth_at_milestones():
    schedule = dataclasses.replace(SCHEDULE, milestones=(6, 10))
    rates = [schedule.rate(step) for step in range(12)]
    assert rates == pytest.approx([0.05, 0.1] + 4 * [0.1] + 4 * [0.01] + 2 * [0.001])


def test_every_parameter_is_in_one_group_and_deeper_layers_learn_faster():
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.Linear(2, 1))
    model[1].bias.requires_grad_(False)
    groups = parameter_groups(model, 0.05, 0.5, lambda name: int(name.split(".")[0]))
    found = {id(p): (group["scale"], group["weight_decay"]) for group in groups for p in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(found) == 5
    assert found[id(model[0].weight)] == (0.25, 0.05)
    assert found[id(model[0].bias)] == (0.25, 0.0)
    assert found[id(model[1].weight)] == (0.5, 0.0)
    assert found[id(model[2].weight)] == (1.0, 0.05)
    assert {group["scale"] for group in parameter_groups(model, 0.05)} == {1.0}


def test_layer_decay_scales_the_first_step_of_adam(tmp_path):
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    before = [layer.bias.detach().clone() for layer in model]
    schedule = dataclasses.replace(SCHEDULE, steps=1, layer_decay=0.5)
    depth = {"depth_of": lambda name: int(name[0])}
    fit(
        model,
        Squared(dropout=0),
        Line(),
        4,
        schedule,
        tmp_path / "a.safetensors",
        {},
        "cpu",
        progress=False,
        **depth,
    )
    moved = [(layer.bias - old).abs().max().item() for layer, old in zip(model, before, strict=True)]
    assert moved == pytest.approx([0.025, 0.05], rel=1e-3)


def test_shares_of_a_batch_are_neighbours_that_cover_it():
    assert [list(share(8, rank, 2)) for rank in range(2)] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    with pytest.raises(SarTutorError, match="9 items a step cannot be shared by 2 processes"):
        share(9, 0, 2)


def test_a_global_mean_is_a_plain_mean_in_one_process():
    total = torch.tensor(6.0, requires_grad=True)
    mean = global_mean(total, torch.tensor(4))
    mean.backward()
    assert (mean.item(), total.grad.item()) == (1.5, 0.25)
    assert global_mean(torch.tensor(0.0), torch.tensor(0)).item() == 0


class Bad(Line):
    """Not-a-number from item 14 on, which is in step 7."""

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        item = super().__getitem__(index)
        return item if index < 14 else {**item, "y": item["y"] * math.nan}


def test_a_loss_that_is_no_number_stops_and_keeps_what_was_saved(tmp_path):
    out = tmp_path / "a.safetensors"
    with pytest.raises(
        SarTutorError, match=r"step 8 of a; lower the learning rate .* keeps step 5\."
    ) as caught:
        train(out, data=Bad())
    assert "\n" not in str(caught.value)
    tensors, about = load_tensors(out)
    assert about["step"] == 5
    assert all(tensor.isfinite().all() for tensor in tensors.values())


class Refusing(Line):
    """Says what is wrong with item 7."""

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if index == 7:
            raise DataError("b.tif: it is torn; glue it.")
        return super().__getitem__(index)


def test_what_is_wrong_with_an_item_stays_one_sentence_across_processes(tmp_path):
    with pytest.raises(DataError) as caught:
        train(tmp_path / "a.safetensors", data=Refusing())
    assert str(caught.value) == "b.tif: it is torn; glue it."


def test_a_curve_that_is_cut_keeps_the_validations_so_far():
    curve = Curve([3.0, 2.0, 1.0], [0.1, 0.2, 0.3], [(1, 5.0), (3, 4.0)])
    assert curve.until(2) == Curve([3.0, 2.0], [0.1, 0.2], [(1, 5.0)])
    assert curve.stale == 0
    assert curve.recent_loss(2) == 1.5


def train_shared(out: Path) -> None:
    fit(linear(), Squared(dropout=0), Line(), 4, SCHEDULE, out, {}, "cpu", progress=False)


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without distributed")
def test_two_processes_do_what_one_does(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "bf16_pays", lambda device: False)
    alone, together = tmp_path / "alone.safetensors", tmp_path / "together.safetensors"
    train_shared(alone)
    in_two_processes("test_learn_loop", "train_shared", together)
    assert len(read_curve(together).loss) == 12
    np.testing.assert_allclose(read_curve(together).loss, read_curve(alone).loss, rtol=1e-5)
    for name, tensor in load_tensors(alone)[0].items():
        torch.testing.assert_close(load_tensors(together)[0][name], tensor)
