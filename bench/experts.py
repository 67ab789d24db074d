"""A mixture of experts beside the dense layer it was copied from: seconds per token, forward and with gradients.

    python -m bench.experts [CORES [DEVICE]]

prints one JSON object per width and pass, for 2 cores of the CPU unless told otherwise. One of six experts computes for
a token, as many multiplications as in the dense layer; what is beyond a ratio of 1 is routing, sorting and smaller
matrices. The bar is 1.25.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable

import torch
from timm.layers import Mlp
from torch import Tensor, nn

from sartutor.learn.device import denormals_flushed, keep_freed_memory
from sartutor.learn.moe import Mixture, MixtureOfExperts

WIDTHS = (96, 384, 768)
"""Widths of the embedded encoder, of ViT-S and of ViT-B."""

IMAGES, TOKENS = 8, 1024
"""Images a batch, and tokens of one of 512 px in patches of 16."""

ROUNDS = 9


def seconds(run: Callable[[], object], device: str) -> float:
    """Time of one run."""
    began = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def compared(width: int, device: str) -> dict[str, tuple[float, float]]:
    """Median seconds of the dense layer, and median ratio of the mixture to it in pairs, forward and with gradients."""
    dense = Mlp(width, 4 * width).to(device)
    mixture = MixtureOfExperts(dense, width, Mixture()).to(device)
    tokens = torch.randn(IMAGES, TOKENS, width, device=device)
    told = torch.randn(IMAGES, 3, device=device)

    def forward(layer: nn.Module, *inputs: Tensor) -> None:
        with torch.no_grad():
            layer(*inputs)

    def backward(layer: nn.Module, *inputs: Tensor) -> None:
        out = layer(inputs[0].clone().requires_grad_(), *inputs[1:])
        (out[0] if isinstance(out, tuple) else out).sum().backward()

    found = {}
    for name, act in (("forward", forward), ("with gradients", backward)):
        pairs = []
        for _ in range(ROUNDS + 2):
            one = seconds(lambda act=act: act(dense, tokens), device)
            pairs.append((one, seconds(lambda act=act: act(mixture, tokens, told), device) / one))
        times, ratios = zip(*pairs[2:], strict=True)
        found[name] = (statistics.median(times), statistics.median(ratios))
    return found


def main(cores: int = 2, device: str = "cpu") -> None:
    """Measure and print."""
    torch.set_num_threads(cores)
    keep_freed_memory()
    with denormals_flushed():
        for width in WIDTHS:
            for name, (dense, ratio) in compared(width, device).items():
                nanoseconds = 1e9 * dense / (IMAGES * TOKENS)
                row = {"width": width, "pass": name, "dense_ns_a_token": round(nanoseconds)}
                print(json.dumps({**row, "mixture_over_dense": round(ratio, 2)}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]), *sys.argv[2:3])
