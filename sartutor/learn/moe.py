"""A mixture of experts in place of a transformer's feed-forward layer, routed by tokens and by physical descriptors.

CrossEarth-SAR (arXiv 2603.12008) copies the feed-forward layer of every block n times. A router looks at each token and
at three physical descriptors of its image (`sartutor.sar.descriptors`), and only the k experts it likes best compute:

    pi = softmax(W [z || s] + b),  K = the k largest of pi,  out = sum over i in K of g_i E_i(z)

Tokens are sorted by expert, so that each expert computes all of its tokens at once and no others.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar, cast, get_args

import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction, FunctionCtx
from torch.nn import functional

from sartutor.errors import DataError, SarTutorError
from sartutor.learn.distributed import mean_over_processes
from sartutor.sar.descriptors import NAMES

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

Model = TypeVar("Model", bound=nn.Module)

GateKind = Literal["kept", "normalised", "unnormalised"]
"""How chosen probabilities become gates; see `gates`."""


@dataclass(frozen=True)
class Mixture:
    """How a feed-forward layer becomes a mixture of experts.

    Args:
        experts: n, copies of the layer.
        chosen: k, experts that compute for a token.
        balance: lambda, weight of the balance loss; arXiv 2603.12008 takes 0.005.
        descriptors: names of what the router is told of the image, any of `sartutor.sar.descriptors.NAMES`.
        gate: kind of `gates`.
        capacity: tokens of this process's batch that an expert takes at most in training, in shares of tokens k / n;
            None takes all. In evaluation nothing is dropped, so that no image depends on its neighbours in a batch.

    Raises SarTutorError for numbers that make no mixture, and names that do not exist.
    """

    experts: int = 6
    chosen: int = 1
    balance: float = 0.005
    descriptors: tuple[str, ...] = NAMES
    gate: GateKind = "kept"
    capacity: float | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.chosen <= self.experts:
            raise SarTutorError(
                f"{self.chosen} of {self.experts} experts cannot be chosen for a token; choose 1 to {self.experts}."
            )
        if unknown := [name for name in self.descriptors if name not in NAMES]:
            raise SarTutorError(f"There is no descriptor {unknown[0]!r}; use some of {', '.join(NAMES)}.")
        if self.gate not in get_args(GateKind):
            raise SarTutorError(
                f"There is no gate {self.gate!r}; use one of {', '.join(get_args(GateKind))}."
            )
        if self.capacity is not None and not self.capacity > 0:
            raise SarTutorError(
                f"A capacity of {self.capacity:g} leaves no token; use a number above 0 or None."
            )


class Routing(NamedTuple):
    """Where the tokens of a batch went: `probability` pi (tokens, n), `expert` numbers (tokens, k) from the best on,
    and whether one was `dropped` for want of capacity, bool (tokens, k)."""

    probability: Tensor
    expert: Tensor
    dropped: Tensor

    @property
    def share(self) -> Tensor:
        """f (n,): the share of all choices that fell on each expert, dropped ones included."""
        count = torch.bincount(self.expert.flatten(), minlength=self.probability.shape[1])
        return count / self.expert.numel()

    @property
    def dropped_share(self) -> float:
        """The share of all choices that no expert had room for."""
        return float(self.dropped.float().mean())


def balance_loss(routing: Routing) -> Tensor:
    """n sum_i f_i p_i: 1 where experts are chosen and liked alike, n where one gets everything with certainty.

    f is the share of choices, which has no gradient, p the mean probability (arXiv 2101.03961, equation 4, without its
    factor; arXiv 2603.12008 multiplies by lambda). f is that of all processes, so that the mean over these of the loss
    is the loss of the whole batch.
    """
    share = mean_over_processes(routing.share)
    return routing.probability.shape[1] * (share * routing.probability.mean(0)).sum()


def gates(chosen: Tensor, experts: int, kind: GateKind) -> Tensor:
    """Factors (tokens, k) of what the chosen experts say, from their probabilities (tokens, k).

    "normalised": pi_i / sum over K of pi, as in arXiv 2603.12008. For k = 1 it is 1 whatever the router says, which
    then learns nothing from the task. "kept": the same value with the sum taken as a constant, so that the router's
    gradient is kept. "unnormalised": n pi_i / k, the gate of arXiv 2101.03961 but for the factor, which keeps the size
    of the output where all experts are liked alike.
    """
    if kind == "unnormalised":
        return chosen * (experts / chosen.shape[1])
    total = chosen.sum(1, keepdim=True)
    return chosen / (total.detach() if kind == "kept" else total)


class Groups(NamedTuple):
    """Choices sorted by expert; where capacity is limited, within an expert from the most probable on.

    `order` (choices,) are their numbers and `place` (choices,) where each has gone; each expert has `size` (n,) of
    them, and takes `taken` (n,), the first ones; the others are `dropped`, bool (choices,).
    """

    order: Tensor
    place: Tensor
    dropped: Tensor
    size: list[int]
    taken: list[int]


def grouped(probability: Tensor, expert: Tensor, experts: int, capacity: float | None) -> Groups:
    """Group choices (choices,) by expert; a full expert takes those with the largest `probability` (choices,)."""
    if capacity is None:
        order, limit = expert.argsort(stable=True), len(expert)
    else:
        order, limit = probability.argsort(descending=True), math.ceil(capacity * len(expert) / experts)
        order = order[expert[order].argsort(stable=True)]
    place = torch.empty_like(order).scatter(0, order, torch.arange(len(expert), device=expert.device))
    counts = torch.bincount(expert, minlength=experts)
    dropped = place - (counts.cumsum(0) - counts)[expert] >= limit
    size = counts.tolist()
    return Groups(order, place, dropped, size, [min(count, limit) for count in size])


class Permuted(torch.autograd.Function):
    """Rows in another order, `rows[order]`; `place` leads back, and the gradient with it.

    An index that names every row once needs no sum in its gradient, which autograd cannot know.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, rows: Tensor, order: Tensor, place: Tensor) -> Tensor:
        ctx.save_for_backward(order, place)
        return rows.index_select(0, order)

    @staticmethod
    def backward(ctx: BackwardCFunction, *gradients: Tensor) -> tuple[Tensor, None, None]:
        order, place = cast("tuple[Tensor, Tensor]", ctx.saved_tensors)
        return Permuted.apply(gradients[0], place, order), None, None


class MixtureOfExperts(nn.Module):
    """Copies of a feed-forward layer and a router between them; made from a trained layer, it starts as that layer.

    Args:
        layer: feed-forward layer, from tokens (tokens, D) to the same.
        width: D.
        mixture: how many experts, and how they are chosen.
    """

    def __init__(self, layer: nn.Module, width: int, mixture: Mixture) -> None:
        super().__init__()
        self.mixture = mixture
        self.experts = nn.ModuleList(copy.deepcopy(layer) for _ in range(mixture.experts))
        self.router = nn.Linear(width + len(mixture.descriptors), mixture.experts)
        nn.init.trunc_normal_(self.router.weight, std=0.02)
        nn.init.zeros_(self.router.bias)
        self._told = [NAMES.index(name) for name in mixture.descriptors]

    def forward(self, tokens: Tensor, descriptors: Tensor) -> tuple[Tensor, Routing]:
        """What the chosen experts make of tokens (B, N, D), and which they were.

        `descriptors` are standardised, (B, 3). Raises DataError for descriptors that are not finite, and SarTutorError
        for fewer tokens than experts.
        """
        probability = self.route(tokens, descriptors).flatten(0, 1)
        chosen, expert = probability.topk(self.mixture.chosen)
        capacity = self.mixture.capacity if self.training else None
        groups = grouped(chosen.detach().flatten(), expert.flatten(), self.mixture.experts, capacity)
        weight = gates(chosen, self.mixture.experts, self.mixture.gate)
        out = self._computed(tokens.flatten(0, 1), weight, groups)
        return out.unflatten(0, tokens.shape[:2]), Routing(
            probability, expert, groups.dropped.view_as(expert)
        )

    def route(self, tokens: Tensor, descriptors: Tensor) -> Tensor:
        """pi (B, N, n): how much the router likes each expert for each token."""
        if not bool(descriptors.isfinite().all()):
            raise DataError(
                "a descriptor is no finite number; compute them with `sartutor.sar.descriptors`, no-data masked."
            )
        if (count := tokens.shape[0] * tokens.shape[1]) < self.mixture.experts:
            raise SarTutorError(
                f"{self.mixture.experts} experts share only {count} tokens; take larger images or fewer experts."
            )
        of_token, of_image = self.router.weight.split((tokens.shape[2], len(self._told)), 1)
        told = functional.linear(descriptors[:, None, self._told].to(tokens), of_image, self.router.bias)
        liking = functional.linear(tokens, of_token) + told
        return liking.softmax(2, dtype=torch.promote_types(liking.dtype, torch.float32))

    def _computed(self, tokens: Tensor, weight: Tensor, groups: Groups) -> Tensor:
        """Sum over the choices of each token (tokens, D) of gate times expert; a dropped choice adds nothing."""
        chosen = weight.shape[1]
        rows = tokens.repeat_interleave(chosen, 0) if chosen > 1 else tokens
        parts = Permuted.apply(rows, groups.order, groups.place).split(groups.size)
        said = [_said(*each) for each in zip(self.experts, parts, groups.taken, strict=True)]
        each = Permuted.apply(torch.cat(said), groups.place, groups.order) * weight.view(-1, 1)
        return each.unflatten(0, (-1, chosen)).sum(1) if chosen > 1 else each


def _said(expert: nn.Module, tokens: Tensor, taken: int) -> Tensor:
    """What an expert makes of the first tokens (tokens, D), as many as are taken; zeros of the others."""
    if taken == len(tokens):
        return expert(tokens)
    return functional.pad(expert(tokens[:taken]), (0, 0, 0, len(tokens) - taken))


def mixtures(model: nn.Module) -> list[MixtureOfExperts]:
    """All mixtures of a model, in their order."""
    return [module for module in model.modules() if isinstance(module, MixtureOfExperts)]


def spread(model: Model, mesh: DeviceMesh) -> Model:
    """Let each process keep an equal share of every expert, for models whose experts do not fit on one device.

    What Fabric asks for: `ModelParallelStrategy(spread, data_parallel_size=processes, tensor_parallel_size=1)`. Every
    process still takes its own share of the batch; an expert is put together where it computes, and taken apart again.
    """
    from torch.distributed.fsdp import fully_shard  # a second of imports that only those need who spread

    devices = mesh["data_parallel"]
    for layer in mixtures(model):
        for expert in layer.experts:
            fully_shard(expert, mesh=devices)
    return cast(Model, fully_shard(model, mesh=devices))


class Size(NamedTuple):
    """Parameters of a model: all, and those that compute for a token."""

    total: int
    active: int


def parameter_counts(model: nn.Module) -> Size:
    """Total and active parameters; of a mixture, k of n experts are active."""
    total = sum(p.numel() for p in model.parameters())
    idle = 0
    for layer in mixtures(model):
        each = sum(p.numel() for p in layer.experts[0].parameters())
        idle += (layer.mixture.experts - layer.mixture.chosen) * each
    return Size(total, total - idle)
