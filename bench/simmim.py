"""How long a training step of SimMIM takes, beside transformers.SwinForMaskedImageModeling with the same weights.

    python -m bench.simmim [ROUNDS]

prints one JSON object per number format: milliseconds of a step (mask, forward, backward, fused AdamW), medians over
ROUNDS (15 unless told otherwise) in which both take turns, how many times as long transformers takes (quartiles over
the rounds), and the part of our step that weighting by backscatter takes. Before timing, our weights are copied into
the other and the losses must agree. What differs: ours weights the error, draws its mask within the step and leaves out
pixels without data; transformers is given its mask.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from sartutor.learn.device import denormals_flushed
from sartutor.learn.masks import upsample_mask
from sartutor.learn.simmim import SimMIM
from sartutor.learn.weighting import BandStatistics, WeightRule
from sartutor.presets import PRETRAIN_RECIPES, SWIN_SIZES

ROUNDS = 15
SIZE = SWIN_SIZES["laptop"]
BATCH = PRETRAIN_RECIPES["simmim-swin"]["laptop"].batch
BANDS = BandStatistics(("VV", "VH"), (-12.0, -19.0), (3.0, 3.5), (True, True))

NAMES = (
    (r"^encoder\.pos_embed", "swin.embeddings.position_embeddings"),
    (r"^encoder\.patch_embed\.proj", "swin.embeddings.patch_embeddings.projection"),
    (r"^encoder\.patch_embed\.norm", "swin.embeddings.norm"),
    (r"^encoder\.norm", "swin.layernorm"),
    (r"^encoder\.layers", "swin.encoder.layers"),
    (r"attn\.proj", "attention.o_proj"),
    (r"attn\.(.)_proj", r"attention.\1_proj"),
    (r"attn\.relative_position_bias_table", "attention.relative_position_bias.relative_position_bias_table"),
    (r"norm1", "layernorm_before"),
    (r"norm2", "layernorm_after"),
    (r"^mask_token", "swin.embeddings.mask_token"),
    (r"^decoder\.linear", "decoder.0"),
)
"""Parts of the names of our weights, and what transformers calls them."""


def transformers_swin() -> nn.Module:
    """SwinForMaskedImageModeling of the same size, without stochastic depth, as ours."""
    from transformers import SwinConfig, SwinForMaskedImageModeling

    config = SwinConfig(
        image_size=SIZE.image_size,
        patch_size=SIZE.patch,
        num_channels=len(BANDS.names),
        embed_dim=SIZE.width,
        depths=SIZE.depths,
        num_heads=SIZE.heads,
        window_size=SIZE.window,
        drop_path_rate=0.0,
        use_absolute_embeddings=True,
        encoder_stride=8 * SIZE.patch,
    )
    return SwinForMaskedImageModeling(config).train()


def copy_weights(ours: SimMIM, theirs: nn.Module) -> None:
    """Give transformers' model our weights, all of them and no others."""
    wanted = theirs.state_dict()
    copied = {}
    for name, value in ours.state_dict().items():
        parts = dict(zip("qkv", value.chunk(3), strict=True)) if ".qkv." in name else {"": value}
        for letter, part in parts.items():
            other = renamed(name.replace(".qkv.", f".{letter}_proj."))
            copied[other] = part.reshape(wanted[other].shape)
    theirs.load_state_dict(copied, strict=True)


def renamed(name: str) -> str:
    """What transformers calls a weight; it counts patch merging to the stage before."""
    for ours, theirs in NAMES:
        name = re.sub(ours, theirs, name)
    return re.sub(r"(\d)(\.downsample)", lambda found: f"{int(found[1]) - 1}{found[2]}", name)


def stepper(model: nn.Module, loss: Callable[[int], Tensor], precision: str) -> Callable[[int], float]:
    """A function that takes training step number n and returns its seconds."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step(number: int) -> float:
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            value = loss(number)
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
        return time.perf_counter() - start

    return step


def batch_of_chips() -> dict[str, Tensor]:
    """Standardised chips of noise, all of it valid."""
    image = torch.randn(BATCH, len(BANDS.names), SIZE.image_size, SIZE.image_size)
    return {"image": image, "valid": torch.ones_like(image[:, :1], dtype=torch.bool)}


def check_equal(ours: SimMIM, theirs: nn.Module, batch: dict[str, Tensor], mask: Tensor) -> None:
    """Raise AssertionError unless both have as many weights and, unweighted, the same loss."""
    counts = [sum(p.numel() for p in model.parameters()) for model in (ours, theirs)]
    assert counts[0] == counts[1], counts
    ours.rule = WeightRule("none")
    with torch.no_grad():
        other = theirs(batch["image"], bool_masked_pos=mask).loss
        torch.testing.assert_close(ours.loss(batch, 0), other, rtol=1e-5, atol=1e-6)
    ours.rule = WeightRule()


def compare(precision: str, rounds: int) -> dict[str, object]:
    """Medians and quartiles of steps that both take in turns."""
    torch.manual_seed(0)
    batch, ours, theirs = batch_of_chips(), SimMIM(SIZE, BANDS, WeightRule()), transformers_swin()
    copy_weights(ours, theirs)
    mask = upsample_mask(ours.mask(batch, 0), ours.tokens_per_patch).flatten(1)
    check_equal(ours, theirs, batch, mask)
    steps = (
        stepper(ours, lambda number: ours.loss(batch, number), precision),
        stepper(theirs, lambda _: theirs(batch["image"], bool_masked_pos=mask).loss, precision),
    )
    times = np.array([[step(n) for step in steps] for n in range(rounds + 2)])[2:]
    low, middle, high = np.percentile(times[:, 1] / times[:, 0], (25, 50, 75)).round(2)
    ours_ms, theirs_ms = (1000 * np.median(times, axis=0)).round(1)
    return {
        "simmim": precision,
        "batch": BATCH,
        "ours_ms": ours_ms,
        "transformers_ms": theirs_ms,
        "speedup": middle,
        "quartiles": [low, high],
        "weighting_part": round(1000 * weighting_seconds(ours, batch, rounds) / ours_ms, 4),
    }


def weighting_seconds(model: SimMIM, batch: dict[str, Tensor], rounds: int) -> float:
    """Median seconds to weigh a batch, over weights that are all 1."""
    taken = []
    for _ in range(rounds + 2):
        times = [time.perf_counter()]
        for rule in (model.rule, WeightRule("none")):
            rule.weights(batch["image"], batch["valid"], BANDS)
            times.append(time.perf_counter())
        taken.append(2 * times[1] - times[0] - times[2])
    return float(np.median(taken[2:]))


def main(rounds: int = ROUNDS) -> None:
    """Measure and print."""
    if importlib.util.find_spec("transformers") is None:
        print("bench.simmim is left out: it compares with transformers (pip install transformers).")
        return
    with denormals_flushed():
        for precision in ("fp32", "bf16"):
            print(json.dumps(compare(precision, rounds)))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
