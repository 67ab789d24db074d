"""How fast a device embeds and adapts SAM, how much memory that takes, and how much of the device's bf16 rate it uses.

    python -m bench.gpu [DEVICE] [SIZE] [BATCH]

prints one JSON object a line for embedding, for a step of phase 1 (adapters and mask decoder, as `adapt` takes it) and
for a step of phase 3 on kept embeddings; DEVICE is `auto` (the first GPU, else the CPU), SIZE `vit_b` and BATCH 8
times the same image unless told otherwise. Weights and image are random, the image has three boxes. Images per second
are medians of ROUNDS, in bfloat16 where the device has it. `peak_gb` is the most that tensors took on the GPU, and not
given for the CPU. `tflop` counts products of matrices, convolutions and attention, with what checkpointing does twice;
`rate_share` is the part that they reach of `product_tflops`, the rate of one product of square matrices of `PRODUCT`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.adaptation import sample, seconds, stepper
from sartutor.learn.device import bf16_pays, pick_device
from sartutor.learn.embeddings import EmbeddingCache
from sartutor.learn.sam.adapted import AdaptedSam
from sartutor.learn.sam.kept import KeptEmbeddings
from sartutor.learn.sam.model import RadarSam
from sartutor.learn.sam.objectives import PromptLoss
from sartutor.presets import SAM_SIZES

ROUNDS = 10
BOXES = 3
PRODUCT = {"cuda": 8192, "cpu": 2048}


def best_rate(device: torch.device) -> float:
    """Floating-point operations per second of one large product, in the number format of the steps."""
    side = PRODUCT[device.type]
    dtype = torch.bfloat16 if bf16_pays(device) else torch.float32
    left, right = torch.randn(2, side, side, device=device, dtype=dtype)
    return 2 * side**3 / seconds(lambda: left @ right, ROUNDS)


def measured(run: Callable[[], object], images: int, device: torch.device, rate: float) -> dict[str, object]:
    """Images per second, memory, and the share of the device's rate."""
    run()  # what is done once, such as keeping embeddings, is not counted
    with FlopCounterMode(display=False) as counter:
        run()
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    took, flop = seconds(run, ROUNDS), counter.get_total_flops()
    return {
        "images_per_s": round(images / took, 2),
        "peak_gb": round(torch.cuda.max_memory_allocated(device) / 1e9, 2) if on_gpu else None,
        "tflop": round(flop / 1e12, 3),
        "rate_share": round(flop / took / rate, 3),
    }


def main(device_name: str = "auto", size: str = "vit_b", batch: str = "8") -> None:
    """Measure and print."""
    device, count, side = pick_device(device_name), int(batch), SAM_SIZES[size].image_size
    torch.manual_seed(0)
    model = AdaptedSam(RadarSam(SAM_SIZES[size]).eval()).to(device)
    model.base.image_encoder.checkpointing = True
    given = {
        name: tensor.repeat(count, *[1] * (tensor.dim() - 1)).to(device)
        for name, tensor in sample(side, BOXES).items()
    }
    rate, half = best_rate(device), bf16_pays(device)
    on = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"

    def show(work: str, run: Callable[[], object]) -> None:
        about = {
            "on": on,
            "size": size,
            "batch": count,
            "bf16": half,
            "product_tflops": round(rate / 1e12, 2),
        }
        print(json.dumps({"work": work, **about, **measured(run, count, device, rate)}), flush=True)

    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=half):
        show("embed", lambda: model.base.encode(given["image"][:, 0].float()))
    model.train_phase(1)
    show("phase 1 step", stepper(model, PromptLoss(), given))
    model.train_phase(3)
    kept = PromptLoss(kept=KeptEmbeddings(model, EmbeddingCache()))
    show("phase 3 step, kept embeddings", stepper(model, kept, given))


if __name__ == "__main__":
    main(*sys.argv[1:])
