"""How long an image takes to be embedded by SAM ViT-B at 1024 px, beside `SamPredictor.set_image` of segment-anything.

    python -m bench.encoder [ROUNDS]

prints one JSON object per number format: seconds, medians over ROUNDS (3 unless told otherwise) in which both take
turns, how many times as long set_image takes, which runs in float32 as it comes, and how far the embeddings lie apart:
the largest difference, and the relative L2 error. Weights are random, SAM's zeros among them too, and the same in both.
`ok` says whether `BARS` hold here.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from segment_anything import SamPredictor, sam_model_registry
from torch import Tensor, nn

from sartutor.learn.device import bf16_pays
from sartutor.learn.sam.model import RadarSam
from sartutor.presets import SAM_SIZES

ROUNDS = 3
SIDE = SAM_SIZES["vit_b"].image_size

BARS = {
    "fp32": {"speedup": 1.3, "largest_difference": 1e-4},
    "bf16": {"speedup": 4.0, "relative_l2": 2e-2},
}
"""What each number format is held to: at least this speedup, at most this error."""


def models() -> tuple[nn.Module, RadarSam]:
    """segment-anything's model and ours with the same random weights."""
    torch.manual_seed(0)
    theirs, ours = sam_model_registry["vit_b"]().eval(), RadarSam(SAM_SIZES["vit_b"]).eval()
    for parameter in theirs.image_encoder.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def timed(embed: Callable[[], Tensor]) -> tuple[float, Tensor]:
    """Seconds, and the embedding."""
    start = time.perf_counter()
    found = embed()
    return time.perf_counter() - start, found


@torch.inference_mode()
def main(rounds: int = ROUNDS) -> None:
    """Measure and print."""
    theirs, ours = models()
    predictor = SamPredictor(theirs)
    picture = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    image = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255

    def set_image() -> Tensor:
        predictor.set_image(picture)
        return predictor.get_image_embedding()

    for precision in ("fp32", "bf16"):
        if precision == "bf16" and not bf16_pays(torch.device("cpu")):
            continue
        pairs = []
        for _ in range(rounds + 1):
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                mine = timed(lambda: ours.encode(image)[0])
            pairs.append((mine, timed(set_image)))
        seconds = np.array([[a[0], b[0]] for a, b in pairs[1:]])
        print(json.dumps(compared(precision, seconds, pairs[-1][0][1], pairs[-1][1][1])))


def compared(precision: str, seconds: np.ndarray, mine: Tensor, reference: Tensor) -> dict[str, object]:
    """Medians, their ratio, and the distance of two embeddings."""
    ours, theirs = np.median(seconds, axis=0).round(2)
    away = mine.float() - reference.float()
    found = {
        "speedup": round(float(np.median(seconds[:, 1] / seconds[:, 0])), 2),
        "largest_difference": float(away.abs().max()),
        "relative_l2": float(away.norm() / reference.float().norm()),
    }
    held = [
        found[name] >= bar if name == "speedup" else found[name] <= bar
        for name, bar in BARS[precision].items()
    ]
    return {"encoder": precision, "ours_s": ours, "set_image_s": theirs, **found, "ok": all(held)}


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
