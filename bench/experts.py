"""A mixture of experts beside the dense layer it was copied from: seconds per token, forward and with gradients.

`python -m bench.experts [CORES] [--device cuda]`. One of six experts computes for a token, as many multiplications as
in the dense layer; what is beyond a ratio of 1 is routing, sorting and smaller matrices. The bar is 1.25.
"""

from __future__ import annotations

import argparse
import statistics
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


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cores", type=int, nargs="?", default=2)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    torch.set_num_threads(given.cores)
    keep_freed_memory()
    print(
        f"{IMAGES} x {TOKENS} tokens, six experts, one chosen, {given.cores} threads, {given.device}, float32"
    )
    with denormals_flushed():
        for width in WIDTHS:
            for name, (dense, ratio) in compared(width, given.device).items():
                nanoseconds = 1e9 * dense / (IMAGES * TOKENS)
                print(
                    f"width {width:4}, {name:14}: dense {nanoseconds:7.0f} ns a token, mixture {ratio:.2f} x"
                )


if __name__ == "__main__":
    main()
