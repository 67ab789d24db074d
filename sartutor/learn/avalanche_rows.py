"""What the benchmark `avalanche-small` compares, and what each comparison asks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from sartutor.learn.adapt import Method
from sartutor.learn.record_tables import Question

Input = Literal["pairs", "composite", "difference"]
"""Bands of the encoders: VV, heights and VH, slope for two; or three for one, the two of arXiv 2601.01213's code."""


NEAR = Method(scales=("near",))
"""What rows adapt by that do not say otherwise."""


@dataclass(frozen=True)
class Entrant:
    """What answers boxes: a rule, Segment Anything as it is or adapted up to `phase`, or another network."""

    kind: Literal["rule", "base", "sam", "rival"]
    phase: int = 0
    method: Method = NEAR
    input: Input = "pairs"
    network: str = ""


def _sam(phase: int, input: Input = "pairs", **choices: object) -> Entrant:
    return Entrant("sam", phase, replace(NEAR, **choices), input)  # type: ignore[arg-type]


ENTRANTS = {
    "fill_box": Entrant("rule"),
    "otsu_box": Entrant("rule"),
    "base": Entrant("base"),
    "phase1": _sam(1),
    "phase2": _sam(2),
    "phase3": _sam(3),
    "average": _sam(3, fusion="average"),
    "first": _sam(3, fusion="first"),
    "aligned_free": _sam(2, alignment="embedding"),
    "aligned_free_gate": _sam(3, alignment="embedding"),
    "composite": _sam(1, "composite"),
    "difference": _sam(1, "difference"),
    "stacked": _sam(1, encoders="stacked"),
    "lora": _sam(1, tuning="lora"),
    "tight": _sam(1, prompts="tight"),
    "chip": _sam(1, scales=("chip",)),
    "two_scales": _sam(1, scales=("near", "chip")),
    "chip_empty": _sam(1, scales=("chip",), empty_share=0.1),
    "chip_outside": _sam(1, scales=("chip",), outside="background"),
    "phase2_chip": _sam(2, scales=("chip",)),
    "phase3_chip": _sam(3, scales=("chip",)),
    "first_chip": _sam(3, fusion="first", scales=("chip",)),
    "stacked_chip": _sam(1, encoders="stacked", scales=("chip",)),
    "stacked_long": _sam(1, encoders="stacked", scales=("chip",)),
    "unet": Entrant("rival", network="unet"),
    "segformer": Entrant("rival", network="segformer"),
    "box_unet": Entrant("rival", network="box_unet"),
    "unet_shapes": Entrant("rival", network="unet"),
    "segformer_shapes": Entrant("rival", network="segformer"),
    "box_unet_shapes": Entrant("rival", network="box_unet"),
}
"""Rows of the table by name."""

LONG = ("stacked_long",)
"""Rows whose one phase takes as many steps as all three."""

PRETRAINED = ("unet_shapes", "segformer_shapes", "box_unet_shapes")
"""Rivals that begin with drawn shapes, as the base of the others did."""

MEANINGS = {
    "fill_box": "everything in the box",
    "otsu_box": "Otsu's threshold of VV after less VV before in the box",
    "base": "`sam_tiny_base` on VV0, VV1 and heights, each stretched to the window of its box, as it is",
    "phase1": "phase 1: adapters and decoder, VV0, VV1 and heights, around the box",
    "phase2": "phase 2 alone: VH0, VH1 and slope through the decoder of phase 1",
    "phase3": "phase 3: both encoders through the gate",
    "average": "phase 3 with half of each encoder instead of the gate",
    "first": "phase 1, its decoder trained for the steps of phase 3 too",
    "aligned_free": "as phase 2, aligned with the first encoder's embeddings without labels",
    "aligned_free_gate": "phase 3 on top of that",
    "composite": "one encoder, phase 1, on the composite of VV, VH and heights",
    "difference": "one encoder, phase 1, on differences of VV and of VH, and heights",
    "stacked": "one encoder, phase 1, on all six bands through a patch embedding of its own",
    "lora": "as phase 1, low-rank updates of attention (LoRA) in place of adapters",
    "tight": "as phase 1, trained on tight boxes",
    "chip": "as phase 1, on whole chips whatever the size of the box",
    "chip_empty": "as `chip`, one training scene in ten without debris, and one sample in ten from these",
    "two_scales": "as phase 1, around the box and on whole chips, averaged",
    "chip_outside": "as `chip`, what lies outside of a box learned as background",
    "phase2_chip": "as phase 2, on whole chips",
    "phase3_chip": "as phase 3, on whole chips",
    "first_chip": "as `chip`, its decoder trained for the steps of phase 3 too",
    "stacked_chip": "as `stacked`, on whole chips",
    "stacked_long": "as `stacked_chip`, trained for as many steps as all three phases",
    "unet": "U-Net on all six bands, its mask cut to the boxes",
    "segformer": "SegFormer on all six bands, its mask cut to the boxes",
    "box_unet": "U-Net on all six bands and the boxes as a seventh",
    "unet_shapes": "as `unet`, pretrained on the drawn shapes of `sam_tiny_base`",
    "segformer_shapes": "as `segformer`, pretrained on them",
    "box_unet_shapes": "as `box_unet`, pretrained on them",
}
"""What each row is, in words."""


def _asked(text: str, a: str, b: str, metric: str = "iou_box") -> Question:
    return Question(text, a, b, metric)


HARD = {
    "IoU of small less large objects": ("iou_small", "iou_large"),
    "IoU on flat less steep ground": ("iou_flat", "iou_steep"),
}
"""What arXiv 2601.01213 found hard: small debris and flat terrain, beside what it is held against."""

QUESTIONS = (
    _asked("Does adaptation help?", "phase1", "base"),
    _asked("Does it beat Otsu's threshold of the change?", "phase1", "otsu_box"),
    _asked("Does fusion beat the first encoder alone?", "phase3", "phase1"),
    _asked("Does it beat the second encoder alone?", "phase3", "phase2"),
    _asked("And when the decoder is trained as long?", "phase3", "first"),
    _asked("Does the gate beat half and half?", "phase3", "average"),
    _asked("Does fusion beat one encoder on the composite?", "phase3", "composite"),
    _asked("Does fusion beat one encoder on differences?", "phase3", "difference"),
    _asked("Does fusion beat one encoder on all six bands?", "phase3", "stacked"),
    _asked("Are adapters better than LoRA?", "phase1", "lora"),
    _asked("Does fusion help on flat ground?", "phase3", "first", "iou_flat"),
    _asked("Does alignment need labels?", "phase2", "aligned_free"),
    _asked("Does fusion need labels in phase 2?", "phase3", "aligned_free_gate"),
    _asked("Is VV with heights better than VH with slope?", "phase1", "phase2"),
    _asked("Does training on loose boxes help with loose boxes?", "phase1", "tight", "iou_jitter"),
    _asked("Does it help in whole images, where nothing is cut?", "phase1", "tight", "images_iou_jitter"),
    _asked("Does it cost where boxes say nothing?", "phase1", "tight", "iou_full"),
    _asked("Does looking closer help?", "phase1", "chip"),
    _asked("Does it help small objects?", "phase1", "chip", "iou_small"),
    _asked("Does fusion around the box beat one encoder on whole chips?", "phase3", "chip"),
    _asked("Does fusion beat it where both see whole chips?", "phase3_chip", "chip"),
    _asked("And there, when the decoder is trained as long?", "phase3_chip", "first_chip"),
    _asked("Does it beat the second encoder alone there?", "phase3_chip", "phase2_chip"),
    _asked("Do all six bands help one encoder on whole chips?", "stacked_chip", "chip"),
    _asked(
        "Does fusion of all three phases beat one encoder on all bands of one phase?",
        "phase3_chip",
        "stacked_chip",
    ),
    _asked("And when that encoder is trained as long?", "phase3_chip", "stacked_long"),
    _asked("Does looking closer help fusion?", "phase3", "phase3_chip"),
    _asked("Do empty images in training cost anything on objects?", "chip_empty", "chip"),
    _asked("Does it mark more of empty images without them?", "chip", "chip_empty", "empty_share_full"),
    _asked("Does it help to learn what lies outside of a box as background?", "chip_outside", "chip"),
    _asked("Do two scales help?", "two_scales", "phase1"),
    _asked("Does fusion beat U-Net?", "phase3", "unet"),
    _asked("Does fusion on whole chips beat U-Net?", "phase3_chip", "unet"),
    _asked("Does fusion beat SegFormer?", "phase3", "segformer"),
    _asked("Does fusion beat a U-Net that is told the boxes?", "phase3", "box_unet"),
    _asked("Does fusion on whole chips beat it?", "phase3_chip", "box_unet"),
    _asked("Does one encoder on all bands beat a U-Net that is told the boxes?", "stacked_long", "box_unet"),
    _asked("Is U-Net better when told the boxes?", "box_unet", "unet"),
    _asked("Do drawn shapes help U-Net?", "unet_shapes", "unet"),
    _asked("Do they help SegFormer?", "segformer_shapes", "segformer"),
    _asked("Do they help a U-Net that is told the boxes?", "box_unet_shapes", "box_unet"),
    _asked("Does fusion beat U-Net that saw drawn shapes too?", "phase3", "unet_shapes"),
    _asked("Does it beat such a SegFormer?", "phase3", "segformer_shapes"),
    _asked("Does it beat such a U-Net that is told the boxes?", "phase3", "box_unet_shapes"),
)
"""Comparisons of the table; more is better in every metric."""

LOOSE = ("fill_box", "phase1", "tight")
"""Rows that are asked with boxes of every looseness."""

PUSHES = (0, 10, 20, 40, 60)
"""How far every side of those boxes is pushed outward, in px of a 512-px chip.

In training it is up to 19, in one of ten samples up to 99, and one in ten has the whole image.
"""

LOOSE_QUESTIONS = tuple(
    _asked(
        f"Does training on loose boxes help when boxes are {push} px too large?",
        *LOOSE[1:],
        f"images_iou_{push}",
    )
    for push in PUSHES
)
"""Comparisons of whole images, where nothing that is marked is cut off."""

TRAINERS = ("phase1", "phase2", "phase3", "lora", "aligned_free", "unet", "segformer", "box_unet")
"""Entrants whose learning rate is searched; other rows take it over from one of them."""


def searched_as(entrant: Entrant, phase: int) -> str:
    """Which of `TRAINERS` has the learning rate of a phase: that of the same phase, updates and alignment."""
    if phase == 1 and entrant.method.tuning == "lora":
        return "lora"
    if phase == 2 and entrant.method.alignment == "embedding":
        return "aligned_free"
    return f"phase{phase}"
