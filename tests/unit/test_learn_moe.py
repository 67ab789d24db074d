"""Mixtures of experts: gates, balance, grouping, capacity, and who learns from what."""

import math
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import ModelParallelStrategy
from processes import in_two_processes
from timm.layers import Mlp
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.utils.data import Dataset

from sartutor.errors import DataError, SarTutorError
from sartutor.learn import loop
from sartutor.learn.checkpoints import load_tensors, save_tensors
from sartutor.learn.moe import (
    Mixture,
    MixtureOfExperts,
    Permuted,
    Routing,
    balance_loss,
    gates,
    grouped,
    mixtures,
    parameter_counts,
    spread,
)

WIDTH = 8


def moe(seed=0, equal=False, **choices):
    torch.manual_seed(seed)
    layer = MixtureOfExperts(Mlp(WIDTH, 2 * WIDTH), WIDTH, Mixture(**choices))
    if not equal:
        for parameter in layer.experts.parameters():
            nn.init.normal_(parameter, std=0.3)
    nn.init.normal_(layer.router.weight)
    return layer


def tokens(batch=2, count=12, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, count, WIDTH, generator=generator), torch.randn(batch, 3, generator=generator)


def naive(layer, z, s):
    """Token by token, expert by expert, as the formula stands."""
    k, told = layer.mixture.chosen, s[:, layer._told]
    out = torch.zeros_like(z)
    for b in range(z.shape[0]):
        for i in range(z.shape[1]):
            pi = (layer.router.weight @ torch.cat([z[b, i], told[b]]) + layer.router.bias).softmax(0)
            best = pi.argsort(descending=True)[:k].tolist()
            for e in best:
                out[b, i] += pi[e] / sum(pi[j] for j in best) * layer.experts[e](z[b, i])
    return out


@pytest.mark.parametrize("chosen", [1, 2, 3, 6])
def test_grouped_computing_gives_what_the_formula_says(chosen):
    layer = moe(chosen=chosen).double()
    z, s = (each.double() for each in tokens())
    assert (layer(z, s)[0] - naive(layer, z, s)).abs().max() < 1e-12


@pytest.mark.parametrize("gate", ["kept", "normalised"])
@pytest.mark.parametrize("chosen", [1, 2, 6])
def test_copies_of_a_layer_do_what_the_layer_does(gate, chosen):
    layer = moe(equal=True, gate=gate, chosen=chosen)
    z, s = tokens()
    assert torch.allclose(layer(z, s)[0], layer.experts[0](z), atol=1e-6)


def test_the_unnormalised_gate_keeps_the_size_of_the_output_where_all_experts_are_liked_alike():
    layer = moe(equal=True, gate="unnormalised", chosen=2)
    nn.init.zeros_(layer.router.weight)
    z, s = tokens()
    assert torch.allclose(layer(z, s)[0], layer.experts[0](z), atol=1e-6)


def gradient(gate, chosen):
    """The router's gradient of a loss of the output alone."""
    layer = moe(gate=gate, chosen=chosen).double()
    layer(*(each.double() for each in tokens()))[0].square().sum().backward()
    return layer.router.weight.grad.abs().max()


def test_with_one_expert_chosen_only_the_normalised_gate_stops_the_router_s_learning():
    assert gradient("kept", 1) > 1e-3
    assert gradient("unnormalised", 1) > 1e-3
    assert gradient("normalised", 1) < 1e-12
    assert gradient("normalised", 2) > 1e-3


def test_kept_and_normalised_gates_have_the_same_values():
    chosen = torch.tensor([[0.5, 0.25], [0.3, 0.1]])
    assert torch.equal(gates(chosen, 6, "kept"), gates(chosen, 6, "normalised"))
    assert gates(chosen, 6, "kept")[0].tolist() == pytest.approx([2 / 3, 1 / 3])
    assert gates(chosen, 6, "unnormalised")[0].tolist() == pytest.approx([1.5, 0.75])


@pytest.mark.parametrize("experts", [2, 6])
def test_the_balance_loss_is_1_for_even_experts_and_n_for_one_that_has_all(experts):
    even = torch.full((experts * 4, experts), 1 / experts)
    turns = (torch.arange(experts * 4) % experts)[:, None]
    assert balance_loss(Routing(even, turns, turns < 0)).item() == pytest.approx(1)
    one = nn.functional.one_hot(torch.zeros(24, dtype=torch.long), experts).float()
    nobody = torch.zeros(24, 1, dtype=torch.long)
    assert balance_loss(Routing(one, nobody, nobody > 0)).item() == pytest.approx(experts)


def test_the_balance_loss_pushes_the_busiest_expert_down():
    probability = torch.tensor([[0.6, 0.4]] * 8, requires_grad=True)
    expert = torch.zeros(8, 1, dtype=torch.long)
    balance_loss(Routing(probability, expert, expert > 0)).backward()
    assert (probability.grad[:, 0] > probability.grad[:, 1]).all()


def test_choices_are_grouped_by_expert_and_full_experts_take_the_most_probable():
    probability = torch.tensor([0.9, 0.5, 0.7, 0.8, 0.6, 0.4])
    expert = torch.tensor([1, 1, 0, 1, 1, 2])
    found = grouped(probability, expert, 3, capacity=1.0)
    assert (found.size, found.taken) == ([1, 4, 1], [1, 2, 1])
    assert found.order.tolist() == [2, 0, 3, 4, 1, 5]
    assert found.order[found.place].tolist() == list(range(6))
    assert found.dropped.tolist() == [False, True, False, False, True, False]
    everything = grouped(probability, expert, 3, None)
    assert everything.order.tolist() == [2, 0, 1, 3, 4, 5]
    assert not everything.dropped.any()


def test_a_row_s_gradient_goes_back_where_the_row_came_from():
    rows = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    order = torch.tensor([3, 0, 4, 1, 2])
    assert torch.equal(Permuted.apply(rows, order, order.argsort()), rows[order])
    assert torch.autograd.gradcheck(Permuted.apply, (rows, order, order.argsort()))


@pytest.mark.parametrize("chosen", [1, 2, 6])
def test_gradients_are_those_of_the_formula(chosen):
    layer = moe(chosen=chosen, gate="normalised").double()
    found = []
    for compute in (lambda z, s: layer(z, s)[0], lambda z, s: naive(layer, z, s)):
        layer.zero_grad()
        z, s = (each.double() for each in tokens())
        z.requires_grad_()
        (compute(z, s) ** 2).sum().backward()
        found.append([z.grad, *(parameter.grad for parameter in layer.parameters())])
    for mine, plain in zip(*found, strict=True):
        assert (mine - (0 if plain is None else plain)).abs().max() < 1e-10


def test_dropped_tokens_are_told_and_come_out_as_nothing():
    layer = moe(capacity=0.5)
    out, routing = layer(*tokens())
    dropped = routing.dropped[:, 0]
    limit = math.ceil(0.5 * 24 / 6)
    kept = torch.bincount(routing.expert[~dropped, 0], minlength=6)
    assert dropped.any()
    assert kept.max() == limit
    assert (out.flatten(0, 1)[dropped] == 0).all()
    assert (out.flatten(0, 1)[~dropped] != 0).any(1).all()


def test_in_evaluation_nothing_is_dropped_and_no_image_depends_on_its_neighbours():
    layer = MixtureOfExperts(Mlp(WIDTH, 2 * WIDTH), WIDTH, Mixture(capacity=1.0)).eval()
    tokens, told = torch.randn(3, 40, WIDTH), torch.randn(3, 3)
    together, routing = layer(tokens, told)
    assert not routing.dropped.any()
    assert torch.allclose(together[:1], layer(tokens[:1], told[:1])[0], atol=1e-6)


def test_without_capacity_nothing_is_dropped_and_shares_add_up():
    _, routing = moe(chosen=2)(*tokens())
    assert not routing.dropped.any()
    assert routing.share.sum().item() == pytest.approx(1)


def test_the_router_hears_the_descriptors_it_was_promised_and_no_others():
    z, s = tokens()
    other = s.clone()
    other[:, 1] += 5
    for names, heard in ((("enl",), True), (("directional_entropy", "local_roughness"), False)):
        layer = moe(descriptors=names)
        same = torch.equal(layer.route(z, s), layer.route(z, other))
        assert same != heard
    assert moe(descriptors=()).router.in_features == WIDTH


def test_experts_without_tokens_have_a_gradient_of_zero_so_that_processes_agree():
    layer = moe()
    with torch.no_grad():
        layer.router.weight.zero_()
        layer.router.bias.copy_(torch.tensor([9.0, 0, 0, 0, 0, 0]))
    layer(*tokens())[0].sum().backward()
    assert all(float(p.grad.abs().sum()) == 0 for p in layer.experts[3].parameters())


def test_active_parameters_are_those_of_the_chosen_experts():
    layer = moe(chosen=2)
    each = sum(p.numel() for p in layer.experts[0].parameters())
    size = parameter_counts(layer)
    assert size.total - size.active == 4 * each
    assert mixtures(nn.Sequential(layer, nn.ReLU())) == [layer]


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"chosen": 7}, "7 of 6 experts cannot be chosen"),
        ({"chosen": 0}, "choose 1 to 6"),
        ({"descriptors": ("colour",)}, "no descriptor 'colour'"),
        ({"gate": "open"}, "no gate 'open'"),
        ({"capacity": 0.0}, "leaves no token"),
    ],
)
def test_what_makes_no_mixture_is_said_in_one_sentence(choices, words):
    with pytest.raises(SarTutorError, match=words):
        Mixture(**choices)


def test_more_experts_than_tokens_and_descriptors_that_are_no_numbers_are_refused():
    with pytest.raises(SarTutorError, match="6 experts share only 5 tokens"):
        moe()(*tokens(1, 5))
    z, s = tokens()
    s[0, 1] = math.nan
    with pytest.raises(DataError, match="no finite number"):
        moe()(z, s)


class Images(Dataset[dict[str, Tensor]]):
    """Tokens and descriptors of images, all different."""

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        z, s = tokens(1, seed=index)
        return {"tokens": z[0], "descriptors": s[0]}


def train_together(out: Path) -> None:
    """Ten steps towards outputs of one with a strong balance loss, of which each process sees its share of images."""

    def loss_of(layer: nn.Module, batch: dict[str, Tensor], step: int) -> Tensor:
        said, routing = layer(batch["tokens"], batch["descriptors"])
        return ((said - 1) ** 2).mean() + balance_loss(routing)

    schedule = loop.Schedule(10, 1, 1e-2, 0.0, 1.0, 10)
    loop.fit(moe(chosen=2), loss_of, Images(), 4, schedule, out, {}, "cpu", progress=False)


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without distributed")
def test_experts_learn_in_two_processes_what_they_learn_in_one(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "bf16_pays", lambda device: False)
    alone, together = tmp_path / "alone.safetensors", tmp_path / "together.safetensors"
    train_together(alone)
    in_two_processes("test_learn_moe", "train_together", together)
    for name, tensor in load_tensors(alone)[0].items():
        torch.testing.assert_close(load_tensors(together)[0][name], tensor, rtol=1e-4, atol=1e-5)


class Stack(nn.Module):
    """Two mixtures, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = moe(0), moe(1)

    def forward(self, z: Tensor, s: Tensor) -> Tensor:
        return self.second(self.first(z, s)[0], s)[0]


def five_steps(fabric: Fabric) -> nn.Module:
    """Steps towards outputs of one; each process sees its share of four images."""
    model = fabric.setup_module(Stack())
    optimizer = fabric.setup_optimizers(torch.optim.AdamW(model.parameters(), 1e-2))
    for step in range(5):
        z, s = (part.chunk(fabric.world_size)[fabric.global_rank] for part in tokens(4, seed=step))
        fabric.backward(((model(z, s) - 1) ** 2).mean())
        optimizer.step()
        optimizer.zero_grad()
    return model


def train_spread(out: Path) -> None:
    """Half of every expert in each of two processes; the whole model is saved with what a process kept of it."""
    strategy = ModelParallelStrategy(spread, data_parallel_size=2, tensor_parallel_size=1)
    fabric = Fabric(accelerator="cpu", strategy=strategy, devices=2)
    fabric.launch()
    model = five_steps(fabric)
    experts = [p for layer in mixtures(model) for p in layer.experts.parameters()]
    kept = sum(p.to_local().numel() for p in experts) / sum(p.numel() for p in experts)
    whole = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    if fabric.is_global_zero:
        save_tensors(out, whole, {"kept": kept})


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without distributed")
def test_experts_spread_over_two_processes_learn_what_whole_ones_learn(tmp_path):
    together = tmp_path / "together.safetensors"
    in_two_processes("test_learn_moe", "train_spread", together)
    found, about = load_tensors(together)
    assert about["kept"] == 0.5
    alone = five_steps(Fabric(accelerator="cpu", devices=1)).state_dict()
    assert found.keys() == alone.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, alone[name], rtol=1e-4, atol=1e-5)
