"""What adaptation costs, and how long a mask takes once the image is embedded.

    python -m bench.adaptation [ROUNDS]

prints one JSON object a line. For both sizes: milliseconds from box to mask at the size of the input, by the decoder
alone, in both number formats, and through `Predictor.segment`, whose embeddings are there already. For SAM ViT-B at
1024 px, with random weights and one image: the most memory that a process takes for steps of phase 1 (adapters and mask
decoder), which keeps no activations of the encoder's blocks; and seconds of a step of phase 3 (gate and mask decoder)
on kept embeddings and with both encoders run anew, medians over ROUNDS (3 unless told otherwise). `bar` is what each is
held to, `ok` whether it holds here; that of masks by the decoder, in the faster number format.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from sartutor.learn.device import bf16_pays
from sartutor.learn.embeddings import EmbeddingCache
from sartutor.learn.loop import parameter_groups
from sartutor.learn.models import SamModel, load_model
from sartutor.learn.sam.adapted import AdaptedSam
from sartutor.learn.sam.evaluate import pixel_polygon
from sartutor.learn.sam.kept import KeptEmbeddings
from sartutor.learn.sam.model import RadarSam
from sartutor.learn.sam.objectives import PromptLoss
from sartutor.learn.sam.predictor import Predictor
from sartutor.learn.sam.prompts import MAX_POINTS
from sartutor.learn.sam.samples import MOST_BOXES, Batch
from sartutor.presets import SAM_SIZES
from sartutor.sim import shapes

ROUNDS = 3
BOXES = (1, 3)
MASKS = 20
VIT_B = SAM_SIZES["vit_b"]
BF16 = bf16_pays(torch.device("cpu"))

MASK_MS = {"tiny": 15.0, "vit_b": 60.0}
"""From a box to a mask, by the decoder alone."""
STEP_GB = 6.0
"""Memory of a step of phase 1."""
STEP_RATIO = 20.0
"""How many times as long a step of phase 3 takes without kept embeddings."""


def random_model() -> AdaptedSam:
    """Two branches on a ViT-B with random weights."""
    torch.manual_seed(0)
    return AdaptedSam(RadarSam(VIT_B).eval())


def sample(side: int, count: int) -> Batch:
    """One random image with as many boxes, at most 3, and an object in each."""
    target = torch.zeros(1, side, side, dtype=torch.bool)
    boxes = torch.full((1, MOST_BOXES, 4), -1.0)
    for i in range(count):
        low, high = side * (2 + 4 * i) // 16, side * (5 + 4 * i) // 16
        target[:, low + 9 : high - 9, low + 9 : high - 9] = True
        boxes[0, i] = torch.tensor([low, low, high, high])
    image = torch.rand(1, 2, 3, side, side).half()
    known, points = torch.ones_like(target), torch.full((1, MAX_POINTS, 3), -1.0)
    return {"image": image, "target": target, "known": known, "box": boxes, "points": points}


def stepper(model: AdaptedSam, loss_of: PromptLoss, batch: Batch) -> Callable[[], None]:
    """A step of the training loop, over and over on the same batch."""
    optimizer, device = torch.optim.AdamW(parameter_groups(model, 0.1), lr=1e-4), batch["image"].device

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16_pays(device)):
            loss = loss_of(model, batch, 0)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def seconds(run: Callable[[], object], rounds: int) -> float:
    """Median time of a call, after one that does not count."""
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def fusion_step(count: int, rounds: int) -> dict[str, object]:
    """A step of phase 3 with and without kept embeddings, on an image of so many boxes."""
    model, batch = random_model(), sample(VIT_B.image_size, count)
    model.train_phase(3)
    kept = PromptLoss(kept=KeptEmbeddings(model, EmbeddingCache()))
    anew = seconds(stepper(model, PromptLoss(), batch), rounds)
    cached = seconds(stepper(model, kept, batch), 3 * rounds)
    found = {"cached_s": round(cached, 3), "recomputed_s": round(anew, 2), "ratio": round(anew / cached, 1)}
    return {
        "phase_3_step": "vit_b",
        "boxes": count,
        **found,
        "bar": STEP_RATIO,
        "ok": anew / cached >= STEP_RATIO,
    }


def adapter_steps() -> dict[str, object]:
    """Two steps of phase 1 in this process, and the most memory that it has ever taken."""
    model = random_model()
    model.train_phase(1)
    model.base.image_encoder.checkpointing = True
    took = seconds(stepper(model, PromptLoss(), sample(VIT_B.image_size, BOXES[-1])), 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    found = {"boxes": BOXES[-1], "seconds": round(took, 1), "peak_gb": round(peak, 2)}
    return {"phase_1_step": "vit_b", **found, "bar": STEP_GB, "ok": peak < STEP_GB}


def in_own_process(function: str) -> dict[str, object]:
    """What a function of this module returns when a new process runs it."""
    code = f"import json; from bench import adaptation; print(json.dumps(adaptation.{function}()))"
    return json.loads(subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE).stdout)


def promptable(size: str) -> SamModel:
    """The tiny model as it comes, or a ViT-B with random weights."""
    if size == "tiny":
        return load_model("sam_tiny_base")
    torch.manual_seed(0)
    return SamModel("random", RadarSam(SAM_SIZES[size]).eval(), "random", {})


@torch.inference_mode()
def decoding(model: SamModel, bf16: bool) -> float:
    """Milliseconds of the decoder from a box to a mask (side, side)."""
    sam, side = model.sam, model.sam.size.image_size
    embedding = sam.encode(torch.rand(1, 3, side, side))
    box = torch.tensor([[0.35, 0.4, 0.6, 0.6]]) * side

    def decode() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits, _ = sam.decode(embedding, box, around=False)
            return functional.interpolate(logits[:, :1].float(), (side, side), mode="bilinear") > 0

    return 1000 * seconds(decode, MASKS)


def segmenting(model: SamModel) -> float:
    """Milliseconds of `Predictor.segment` for a box in a scene as large as the input, embedded already."""
    side = model.sam.size.image_size
    scene = shapes.scene(0, size=side)[0]
    predictor = Predictor(model, scene)
    polygon = pixel_polygon((0.35 * side, 0.4 * side, 0.6 * side, 0.6 * side), scene.grid)
    return 1000 * seconds(lambda: predictor.segment(polygon), MASKS)


def box_to_mask(size: str) -> dict[str, object]:
    """Milliseconds of all the ways."""
    model = promptable(size)
    found = {"decode_ms": decoding(model, False), "segment_ms": segmenting(model)}
    if BF16:
        found["decode_bf16_ms"] = decoding(model, True)
    fastest = min(value for name, value in found.items() if name.startswith("decode"))
    shown = {name: round(value, 1) for name, value in found.items()}
    return {"box_to_mask": size, **shown, "bar": MASK_MS[size], "ok": fastest < MASK_MS[size]}


def main(rounds: int = ROUNDS) -> None:
    """Measure and print."""
    for size in ("tiny", "vit_b"):
        print(json.dumps(box_to_mask(size)))
    print(json.dumps(in_own_process("adapter_steps")))
    for count in BOXES:
        print(json.dumps(fusion_step(count, rounds)))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
