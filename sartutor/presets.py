"""The only place where sizes live: how large a run is, from a quick proof to the papers' own sizes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from sartutor.errors import SarTutorError


@dataclass(frozen=True)
class Preset:
    """Sizes of one kind of run, in pixels.

    `scene_side` is the side of a synthetic scene, `picture_side` the longest side of an overview picture.
    """

    name: str
    scene_side: int
    picture_side: int


PRESETS = {
    preset.name: preset
    for preset in (
        Preset("smoke", scene_side=256, picture_side=512),
        Preset("laptop", scene_side=512, picture_side=1024),
        Preset("paper", scene_side=1024, picture_side=2048),
    )
}


def preset(name: str) -> Preset:
    """The preset of that name."""
    if name not in PRESETS:
        raise SarTutorError(f"There is no preset {name!r}; use one of {', '.join(PRESETS)}.")
    return PRESETS[name]


@dataclass(frozen=True)
class SamSize:
    """Architecture of one Segment Anything model; pixel statistics are of images in [0, 1].

    `scale` is how much of a scene it saw around an object in training: its surroundings, or a chip of the input's size.
    """

    name: str
    image_size: int
    patch: int
    width: int
    depth: int
    heads: int
    window: int
    global_blocks: tuple[int, ...]
    embedding: int
    decoder_mlp: int
    detail: bool
    pixel_mean: tuple[float, float, float]
    pixel_std: tuple[float, float, float]
    scale: Literal["near", "chip"] = "near"


SAM_SIZES = {
    "tiny": SamSize(
        "tiny", 256, 16, 192, 8, 6, 8, (1, 3, 5, 7), 128, 512, True, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    ),
    # ViT-B of Segment Anything (arXiv 2304.02643): its pixel statistics divided by 255
    "vit_b": SamSize(
        "vit_b",
        1024,
        16,
        768,
        12,
        12,
        14,
        (2, 5, 8, 11),
        256,
        2048,
        False,
        (123.675 / 255, 116.28 / 255, 103.53 / 255),
        (58.395 / 255, 57.12 / 255, 57.375 / 255),
        "chip",
    ),
}


@dataclass(frozen=True)
class ShapesRecipe:
    """How `sam_tiny_base` is trained on drawn shapes."""

    steps: int
    scenes_per_step: int
    windows_per_scene: int
    learning_rate: float
    weight_decay: float
    warmup: int
    clip: float
    save_every: int


SHAPES_RECIPES = {
    "smoke": ShapesRecipe(4, 1, 2, 1e-3, 0.05, 1, 1.0, 2),
    "laptop": ShapesRecipe(4500, 2, 4, 8e-4, 0.05, 200, 1.0, 250),
}


@dataclass(frozen=True)
class SwinSize:
    """Architecture of one Swin Transformer of four stages; `image_size`, `patch` in pixels, `window` in tokens."""

    name: str
    image_size: int
    patch: int
    width: int
    depths: tuple[int, int, int, int]
    heads: tuple[int, int, int, int]
    window: int

    @property
    def widths(self) -> tuple[int, int, int, int]:
        """Channels of the four stages."""
        return self.width, 2 * self.width, 4 * self.width, 8 * self.width


SWIN_SIZES = {
    size.name: size
    for size in (
        SwinSize("smoke", 64, 4, 16, (1, 2, 1, 1), (1, 2, 4, 8), 4),
        SwinSize("laptop", 128, 4, 28, (2, 2, 4, 1), (1, 2, 4, 8), 4),
        # Swin-B (arXiv 2103.14030) at the input and window of SAR-W-SimMIM (arXiv 2603.15119)
        SwinSize("paper", 256, 4, 128, (2, 2, 18, 2), (4, 8, 16, 32), 8),
    )
}


@dataclass(frozen=True)
class VitSize:
    """Architecture of one plain vision transformer; `image_size` and `patch` in pixels.

    `layer_scale` is where the factors start that blocks' outputs are multiplied by; None has none.
    """

    name: str
    image_size: int
    patch: int
    width: int
    depth: int
    heads: int
    class_token: bool = False
    layer_scale: float | None = None


VIT_SIZES = {
    size.name: size
    for size in (
        VitSize("smoke", 64, 8, 32, 2, 2),
        VitSize("laptop", 128, 8, 96, 4, 3),
        # DeiT's tiny and small at the patch of this project's other encoders
        VitSize("tiny", 256, 16, 192, 12, 3),
        VitSize("small", 256, 16, 384, 12, 6),
        # DINOv2 (arXiv 2304.07193) at the input of arXiv 2603.12008; its patches of 14 px are resampled
        VitSize("dinov2_s", 512, 16, 384, 12, 6, True, 1e-5),
        VitSize("dinov2_b", 512, 16, 768, 12, 12, True, 1e-5),
        VitSize("dinov2_l", 512, 16, 1024, 24, 16, True, 1e-5),
    )
}


@dataclass(frozen=True)
class MixMaeSize:
    """Architecture of one MixMAE: an encoder of four stages, and a plain transformer that decodes both streams.

    `image_size` is the side of a chip in pixels; `width` that of the first stage, which doubles with every stage;
    `windows` are sides in tokens.
    """

    name: str
    image_size: int
    width: int
    depths: tuple[int, int, int, int]
    heads: tuple[int, int, int, int]
    windows: tuple[int, int, int, int]
    decoder_width: int
    decoder_depth: int
    decoder_heads: int

    @property
    def widths(self) -> tuple[int, int, int, int]:
        """Channels of the four stages."""
        return self.width, 2 * self.width, 4 * self.width, 8 * self.width


MIXMAE_SIZES = {
    size.name: size
    for size in (
        MixMaeSize("smoke", 64, 16, (1, 2, 1, 1), (1, 2, 4, 8), (8, 8, 4, 2), 32, 1, 2),
        MixMaeSize("laptop", 128, 28, (2, 2, 4, 1), (1, 2, 4, 8), (8, 8, 8, 4), 96, 2, 4),
        # Swin-B as SAR-W-MixMAE trains it (arXiv 2503.01181)
        MixMaeSize("paper", 128, 128, (2, 2, 18, 2), (4, 8, 16, 32), (8, 8, 8, 4), 512, 8, 16),
    )
}


@dataclass(frozen=True)
class PretrainRecipe:
    """How an encoder is pretrained: `size` names its architecture, and `batch` counts the chips of all processes.

    `warmup`, `milestones` (falls of the rate to a tenth; none: half a cosine) and `save_every` are in steps.
    """

    size: str
    steps: int
    batch: int
    learning_rate: float
    betas: tuple[float, float]
    weight_decay: float
    warmup: int
    milestones: tuple[int, ...]
    clip: float
    save_every: int


PRETRAIN_RECIPES = {
    "simmim-swin": {
        "smoke": PretrainRecipe("smoke", 8, 4, 1e-3, (0.9, 0.999), 0.05, 2, (), 5.0, 4),
        "laptop": PretrainRecipe("laptop", 600, 16, 1e-3, (0.9, 0.999), 0.05, 60, (), 5.0, 100),
        # arXiv 2603.15119: 800 epochs of 25 steps (51,200 chips, assumed), 40 of warm-up, a fall after 700;
        # batch 256 on each of 8 GPUs, rate 1e-4 per 512 chips
        "paper": PretrainRecipe("paper", 20000, 2048, 4e-4, (0.9, 0.999), 0.05, 1000, (17500,), 5.0, 250),
    },
    "simmim-sam": {
        "smoke": PretrainRecipe("tiny", 4, 2, 8e-4, (0.9, 0.999), 0.05, 1, (), 5.0, 2),
        "laptop": PretrainRecipe("tiny", 200, 8, 8e-4, (0.9, 0.999), 0.05, 20, (), 5.0, 50),
        # no paper trains this: the rate is that of arXiv 2603.15119 for 256 chips a step
        "paper": PretrainRecipe("vit_b", 20000, 256, 5e-5, (0.9, 0.999), 0.05, 1000, (17500,), 5.0, 250),
    },
    "simmim-vit": {
        "smoke": PretrainRecipe("smoke", 4, 4, 1e-3, (0.9, 0.999), 0.05, 1, (), 5.0, 2),
        "laptop": PretrainRecipe("laptop", 600, 16, 1e-3, (0.9, 0.999), 0.05, 60, (), 5.0, 100),
        # no paper trains this: as simmim-sam
        "paper": PretrainRecipe("small", 20000, 256, 5e-5, (0.9, 0.999), 0.05, 1000, (17500,), 5.0, 250),
    },
    "mixmae-swin": {
        "smoke": PretrainRecipe("smoke", 8, 4, 1e-3, (0.9, 0.95), 0.05, 2, (), 5.0, 4),
        "laptop": PretrainRecipe("laptop", 600, 16, 1e-3, (0.9, 0.95), 0.05, 60, (), 5.0, 100),
        # arXiv 2503.01181: a cosine over 1024 epochs left after 64, when it has not fallen yet; 140 steps an epoch
        # (assumed), 40 epochs of warm-up; batch 256 on each of 8 GPUs, rate 1.5e-4 per 256 chips; no clipping
        "paper": PretrainRecipe("paper", 8960, 2048, 1.2e-3, (0.9, 0.95), 0.05, 5600, (8960,), 1e9, 140),
    },
}
"""Sizes of masked pretraining by method and backbone, and by preset."""


@dataclass(frozen=True)
class EncoderRecipe:
    """How the embedded encoders are pretrained, by method: on `chips` simulated scenes, scored on `test` a seed.

    `side` is that of a chip in pixels.
    """

    pretraining: dict[str, PretrainRecipe]
    side: int
    chips: int
    test: int


ENCODER_RECIPES = {
    "smoke": EncoderRecipe(
        {method: PRETRAIN_RECIPES[f"{method}-swin"]["smoke"] for method in ("simmim", "mixmae")}, 64, 16, 4
    ),
    "laptop": EncoderRecipe(
        {
            "simmim": PretrainRecipe("laptop", 3000, 16, 1e-3, (0.9, 0.999), 0.05, 150, (), 5.0, 100),
            "mixmae": PretrainRecipe("laptop", 3000, 16, 1e-3, (0.9, 0.95), 0.05, 150, (), 5.0, 100),
        },
        128,
        4096,
        64,
    ),
}


@dataclass(frozen=True)
class DownstreamRecipe:
    """How an encoder is fine-tuned for one task, and on how many simulated chips.

    Steps are the same for every share of labels. `tile` is the side in pixels of what the encoder sees at once,
    `side` that of a chip: they differ for pairs, which are cut into tiles. `channels` and `dropout` belong to the
    decoder of maps. Every `check_every` steps the model is scored on validation.
    """

    steps: int
    warmup: int
    batch: int
    learning_rate: float
    weight_decay: float
    layer_decay: float
    clip: float
    check_every: int
    channels: int
    dropout: float
    side: int
    tile: int
    train: int
    val: int
    test: int


DOWNSTREAM_RECIPES = {
    "smoke": {
        "land_cover": DownstreamRecipe(4, 1, 2, 1e-3, 0.05, 0.8, 5.0, 2, 16, 0.1, 64, 64, 8, 4, 4),
        "multilabel": DownstreamRecipe(4, 1, 4, 1e-3, 0.05, 0.7, 5.0, 2, 16, 0.0, 64, 64, 8, 4, 4),
        "flood": DownstreamRecipe(4, 1, 2, 1e-3, 0.05, 0.7, 5.0, 2, 16, 0.0, 128, 64, 8, 4, 4),
    },
    "laptop": {
        "land_cover": DownstreamRecipe(200, 20, 8, 1e-3, 0.05, 0.8, 5.0, 50, 64, 0.1, 128, 128, 256, 48, 96),
        "multilabel": DownstreamRecipe(
            200, 20, 16, 1e-3, 0.05, 0.7, 5.0, 50, 64, 0.0, 128, 128, 512, 96, 192
        ),
        "flood": DownstreamRecipe(150, 15, 8, 1e-3, 0.05, 0.7, 5.0, 50, 64, 0.0, 256, 128, 128, 48, 96),
    },
    # arXiv 2603.15119 (land cover: 100 epochs, 20 of warm-up, batch 1024, 1.25e-4 per 512) and arXiv 2503.01181 (many
    # labels: 50 epochs, 5 of warm-up, batch 1024, 5e-4 per 256; flood: its rates are not published, those of many
    # labels are taken); numbers of chips are assumed
    "paper": {
        "land_cover": DownstreamRecipe(
            5000, 1000, 1024, 2.5e-4, 0.05, 0.8, 5.0, 50, 256, 0.5, 256, 256, 51200, 5120, 5120
        ),
        "multilabel": DownstreamRecipe(
            13000, 1300, 1024, 2e-3, 0.05, 0.7, 5.0, 260, 256, 0.0, 128, 128, 266240, 20480, 20480
        ),
        "flood": DownstreamRecipe(
            4300, 430, 128, 2.5e-4, 0.05, 0.7, 5.0, 86, 256, 0.0, 512, 128, 11078, 1331, 2662
        ),
    },
}
"""Sizes of fine-tuning by preset and task."""


@dataclass(frozen=True)
class ExperimentSizes:
    """Sizes of the experiments on weighting: every row is pretrained for one recipe, fine-tuned for another.

    `chips` are the simulated scenes of pretraining; `rates` the learning rates of fine-tuning that are searched.
    """

    pretraining: dict[str, PretrainRecipe]
    chips: int
    downstream: dict[str, DownstreamRecipe]
    rates: tuple[float, ...]


EXPERIMENT_SIZES = {
    "smoke": ExperimentSizes(
        {method: PRETRAIN_RECIPES[f"{method}-swin"]["smoke"] for method in ("simmim", "mixmae")},
        16,
        DOWNSTREAM_RECIPES["smoke"],
        (5e-4, 1e-3),
    ),
    # a cell of about a minute on one core
    "laptop": ExperimentSizes(
        {
            "simmim": PretrainRecipe("smoke", 800, 16, 2e-3, (0.9, 0.999), 0.05, 80, (), 5.0, 800),
            "mixmae": PretrainRecipe("smoke", 800, 16, 4e-3, (0.9, 0.95), 0.05, 80, (), 5.0, 800),
        },
        1024,
        {
            "land_cover": DownstreamRecipe(
                200, 20, 8, 1e-3, 0.05, 0.8, 5.0, 50, 16, 0.1, 64, 64, 256, 64, 128
            ),
            "multilabel": DownstreamRecipe(
                200, 20, 16, 1e-3, 0.05, 0.7, 5.0, 50, 16, 0.0, 64, 64, 512, 96, 192
            ),
            "flood": DownstreamRecipe(150, 15, 8, 1e-3, 0.05, 0.7, 5.0, 50, 16, 0.0, 128, 64, 128, 48, 96),
        },
        (2e-3, 6e-3, 2e-2, 6e-2),
    ),
}
"""Sizes of the experiments by preset."""


@dataclass(frozen=True)
class LessonRecipe:
    """What the notebook on downstream tasks makes of an embedded encoder, whose chips are 128 px.

    `finetuning` is done live, twice. `chips` and `pairs` are the numbers to fit and to test a linear layer on,
    `pair_side` is that of a pair in pixels.
    """

    finetuning: DownstreamRecipe
    chips: tuple[int, int]
    pairs: tuple[int, int]
    pair_side: int


LESSON_RECIPES = {
    "smoke": LessonRecipe(
        DownstreamRecipe(4, 1, 2, 2e-3, 0.05, 0.8, 5.0, 2, 16, 0.1, 128, 128, 8, 4, 8), (24, 16), (8, 8), 128
    ),
    # both runs together take about a minute on two cores
    "laptop": LessonRecipe(
        DownstreamRecipe(100, 10, 8, 2e-3, 0.05, 0.8, 5.0, 25, 32, 0.1, 128, 128, 192, 24, 64),
        (192, 128),
        (64, 64),
        256,
    ),
    "paper": LessonRecipe(DOWNSTREAM_RECIPES["laptop"]["land_cover"], (512, 192), (128, 96), 256),
}
"""Sizes of the notebook on downstream tasks by preset."""


@dataclass(frozen=True)
class BenchmarkSizes:
    """Size of the benchmark `avalanche-small`: scenes of each split, and their side in pixels."""

    side: int
    train: int
    val: int
    test: int


BENCHMARK_SIZES = {
    "smoke": BenchmarkSizes(256, 6, 2, 4),
    "laptop": BenchmarkSizes(256, 160, 32, 64),
}
"""Sizes of the benchmark by preset."""


@dataclass(frozen=True)
class RivalRecipe:
    """How a network is trained that prompted models are compared with, at `batch` chips of `side` pixels a step.

    Every `check_every` steps it is scored on `judged` draws of validation.
    """

    side: int
    steps: int
    warmup: int
    batch: int
    learning_rate: float
    weight_decay: float
    clip: float
    check_every: int
    judged: int


RIVAL_RECIPES = {
    "smoke": RivalRecipe(64, 4, 1, 2, 1e-3, 0.05, 1.0, 2, 2),
    # as many images as the three phases of adaptation see together
    "laptop": RivalRecipe(256, 900, 40, 4, 1e-3, 0.01, 1.0, 50, 64),
    # chips and batch of arXiv 2601.01213; the rest is assumed
    "paper": RivalRecipe(512, 43_000, 430, 5, 1e-4, 0.01, 1.0, 430, 240),
}
"""Sizes of the training of rivals by preset."""

RIVAL_SHAPES = {
    "smoke": dict.fromkeys(("unet", "segformer", "box_unet"), SHAPES_RECIPES["smoke"]),
    # a step takes 1.4, 1.2 and 1.4 CPU-seconds of one core, one of the base's 4500 takes 1.55
    "laptop": {
        name: replace(SHAPES_RECIPES["laptop"], steps=steps)
        for name, steps in {"unet": 5000, "segformer": 5600, "box_unet": 4900}.items()
    },
}
"""Sizes of the pretraining of rivals on drawn shapes by preset and network: as much CPU time as `sam_tiny_base`."""


@dataclass(frozen=True)
class AdaptPhase:
    """One phase of adapting Segment Anything; it ends early after `patience` checks without a better one."""

    steps: int
    learning_rate: float
    check_every: int
    patience: int


@dataclass(frozen=True)
class AdaptRecipe:
    """How a base of `size` is adapted in three `phases`, on `batch` images a step, each with all of its boxes.

    A single encoder has one phase, with the steps and the patience of all three. `validation` counts the samples that a
    phase is checked on, and the images on which parts of large boxes are tried at most; `kept` the different samples
    whose embeddings are kept where encoders no longer change. `warmup` and `save_every` are in steps.
    """

    size: str
    phases: tuple[AdaptPhase, AdaptPhase, AdaptPhase]
    batch: int
    weight_decay: float
    warmup: int
    clip: float
    save_every: int
    validation: int
    kept: int


ADAPT_RECIPES = {
    "smoke": AdaptRecipe(
        "tiny",
        (AdaptPhase(2, 5e-4, 2, 2), AdaptPhase(2, 5e-4, 2, 2), AdaptPhase(2, 5e-4, 2, 2)),
        2, 0.01, 1, 1.0, 1, 2, 2,
    ),
    "laptop": AdaptRecipe(
        "tiny",
        (AdaptPhase(400, 1e-3, 50, 4), AdaptPhase(300, 1e-3, 50, 4), AdaptPhase(200, 5e-4, 50, 4)),
        4, 0.01, 20, 1.0, 50, 48, 160,
    ),
    # arXiv 2601.01213, released code: at most 1000 epochs of some 430 steps, patience 30 epochs in phases 1 and 2 and
    # 20 in phase 3, batch 5; decay is AdamW's own, warm-up and clipping are assumed
    "paper": AdaptRecipe(
        "vit_b",
        (
            AdaptPhase(430_000, 1e-5, 430, 30),
            AdaptPhase(430_000, 1e-4, 430, 30),
            AdaptPhase(430_000, 1e-5, 430, 20),
        ),
        5, 0.01, 100, 1.0, 430, 240, 2400,
    ),
}  # fmt: skip
"""Sizes of adaptation by preset."""

LORA_RATE = 3.0
"""Learning rate of low-rank updates, as a multiple of that of adapters."""


@dataclass(frozen=True)
class AvalancheRecipe:
    """How `sam_tiny_avalanche` is made: adaptation on a benchmark of its own, larger than that of the experiments.

    It is scored on `test` scenes a seed.
    """

    adaptation: AdaptRecipe
    data: BenchmarkSizes
    test: int


AVALANCHE_RECIPES = {
    "smoke": AvalancheRecipe(ADAPT_RECIPES["smoke"], BENCHMARK_SIZES["smoke"], 2),
    # two hours of CPU time: 80 minutes of two shared cores
    "laptop": AvalancheRecipe(
        AdaptRecipe(
            "tiny",
            (AdaptPhase(1300, 1e-3, 130, 10), AdaptPhase(800, 1e-3, 100, 8), AdaptPhase(600, 5e-4, 100, 6)),
            4, 0.01, 50, 1.0, 50, 64, 300,
        ),
        BenchmarkSizes(256, 640, 48, 4),
        32,
    ),
}  # fmt: skip
"""Sizes of the recipe of `sam_tiny_avalanche` by preset."""


@dataclass(frozen=True)
class AligningSizes:
    """Sizes of the notebook on the second encoder: its scenes, and how that encoder is aligned live.

    `watched` counts the samples that the live picture judges by, `objects` the objects whose windows are compared.
    """

    data: BenchmarkSizes
    recipe: AdaptRecipe
    watched: int
    objects: int


ALIGNING_SIZES = {
    "smoke": AligningSizes(
        BenchmarkSizes(256, 2, 1, 2),
        replace(
            ADAPT_RECIPES["smoke"],
            phases=(AdaptPhase(1, 5e-4, 1, 1),) * 3,
            batch=1,
            validation=1,
            kept=1,
        ),
        1,
        2,
    ),
    # each of the live runs takes about a minute of two cores
    "laptop": AligningSizes(
        BenchmarkSizes(256, 64, 8, 32),
        replace(
            ADAPT_RECIPES["laptop"],
            phases=(AdaptPhase(40, 1e-3, 40, 1),) * 3,
            warmup=4,
            validation=16,
            kept=64,
        ),
        8,
        12,
    ),
    "paper": AligningSizes(BENCHMARK_SIZES["laptop"], ADAPT_RECIPES["laptop"], 16, 24),
}
"""Sizes of the notebook on the second encoder by preset."""


FUSING_SIZES = {
    "smoke": ALIGNING_SIZES["smoke"],
    # three live runs of so many steps, from a decoder that is trained already
    "laptop": replace(
        ALIGNING_SIZES["laptop"],
        recipe=replace(ALIGNING_SIZES["laptop"].recipe, phases=(AdaptPhase(30, 2e-4, 30, 1),) * 3),
    ),
    "paper": ALIGNING_SIZES["paper"],
}
"""Sizes of the notebook on fusion by preset; scenes are those of the notebook before it."""


@dataclass(frozen=True)
class AdaptLesson:
    """What a notebook on adaptation works with: simulated scenes, a `recipe` to train live, and what it looks at.

    `objects` counts those whose boxes are loosened step by step.
    """

    scenes: BenchmarkSizes
    recipe: AdaptRecipe
    objects: int


ADAPT_LESSONS = {
    "smoke": AdaptLesson(
        BenchmarkSizes(256, 2, 1, 2),
        AdaptRecipe("tiny", (AdaptPhase(1, 5e-4, 1, 9),) * 3, 1, 0.01, 1, 1.0, 9, 1, 1),
        objects=2,
    ),
    # phase 1 takes two to five minutes on two cores
    "laptop": AdaptLesson(
        BenchmarkSizes(256, 48, 12, 24),
        AdaptRecipe("tiny", (AdaptPhase(80, 1e-3, 20, 9),) * 3, 4, 0.01, 10, 1.0, 80, 12, 32),
        objects=16,
    ),
    "paper": AdaptLesson(BENCHMARK_SIZES["laptop"], ADAPT_RECIPES["laptop"], objects=48),
}
"""Sizes of the notebooks on adaptation by preset."""


@dataclass(frozen=True)
class AvalancheSizes:
    """Sizes of the experiment on `avalanche-small`; `rates` are the learning rates that are searched.

    The search has a `search_share` of the steps.
    """

    data: BenchmarkSizes
    adaptation: AdaptRecipe
    rival: RivalRecipe
    rates: tuple[float, ...]
    search_share: float


AVALANCHE_SIZES = {
    "smoke": AvalancheSizes(
        BENCHMARK_SIZES["smoke"], ADAPT_RECIPES["smoke"], RIVAL_RECIPES["smoke"], (5e-4, 1e-3), 1.0
    ),
    # phases of 300, 200 and 150 steps of 4 images, as many for a rival as for all phases together
    "laptop": AvalancheSizes(
        BENCHMARK_SIZES["laptop"],
        AdaptRecipe(
            "tiny",
            (AdaptPhase(300, 1e-3, 75, 9), AdaptPhase(200, 1e-3, 50, 9), AdaptPhase(150, 1e-3, 50, 9)),
            4, 0.01, 20, 1.0, 50, 48, 160,
        ),
        RivalRecipe(256, 650, 40, 4, 1e-3, 0.01, 1.0, 65, 48),
        (1e-3, 3e-3, 1e-2),
        0.34,
    ),
}  # fmt: skip
"""Sizes of the experiment on `avalanche-small` by preset."""


@dataclass(frozen=True)
class ContinuedRecipe:
    """Continued pretraining by segmentation (arXiv 2603.12008) of a transformer whose first weights are masked ones.

    `masked` is the pretraining before it, `chips` counts the simulated chips of all domains that both see.
    """

    masked: PretrainRecipe
    chips: int
    steps: int
    warmup: int
    batch: int
    learning_rate: float
    weight_decay: float
    clip: float
    save_every: int


@dataclass(frozen=True)
class HeadTraining:
    """Training of a head of `channels` on maps of an encoder; every `check_every` steps it is scored on validation."""

    channels: int
    steps: int
    warmup: int
    batch: int
    learning_rate: float
    weight_decay: float
    clip: float
    check_every: int


@dataclass(frozen=True)
class HeadRecipe(HeadTraining):
    """The same with `train` labelled chips of one domain and `val` others of it; `test` chips of others judge it."""

    train: int
    val: int
    test: int


@dataclass(frozen=True)
class GapSizes:
    """Sizes of the experiment on `gaps`; `rates` are the learning rates of continued pretraining that are searched."""

    continued: ContinuedRecipe
    head: HeadRecipe
    rates: tuple[float, ...]


GAP_SIZES = {
    "smoke": GapSizes(
        ContinuedRecipe(PRETRAIN_RECIPES["simmim-vit"]["smoke"], 16, 4, 1, 4, 1e-3, 0.05, 5.0, 2),
        HeadRecipe(16, 4, 1, 4, 1e-3, 0.05, 5.0, 2, 8, 4, 4),
        (5e-4, 1e-3),
    ),
    # a cell of two to three minutes on one core
    "laptop": GapSizes(
        ContinuedRecipe(
            PretrainRecipe("laptop", 300, 16, 1e-3, (0.9, 0.999), 0.05, 30, (), 5.0, 100),
            1336, 600, 60, 8, 3e-3, 0.05, 5.0, 200,
        ),
        HeadRecipe(64, 100, 10, 8, 3e-3, 0.05, 5.0, 25, 48, 16, 32),
        (1e-3, 3e-3, 1e-2),
    ),
}  # fmt: skip
"""Sizes of the experiment on `gaps` by preset."""


@dataclass(frozen=True)
class GeneralistRecipe:
    """How the embedded generalists are made, their head being of `channels`, and on how many chips they are scored."""

    continued: ContinuedRecipe
    channels: int
    test: int


GENERALIST_RECIPES = {
    "smoke": GeneralistRecipe(GAP_SIZES["smoke"].continued, 16, 8),
    # about twelve minutes of one core
    "laptop": GeneralistRecipe(
        ContinuedRecipe(
            PretrainRecipe("laptop", 600, 16, 1e-3, (0.9, 0.999), 0.05, 60, (), 5.0, 100),
            4008, 1200, 100, 8, 3e-3, 0.05, 5.0, 100,
        ),
        64,
        334,
    ),
}  # fmt: skip
"""Sizes of the recipes of the embedded generalists by preset."""


@dataclass(frozen=True)
class GapLesson:
    """What the notebook on domain generalisation works with: a head that is trained live, and `steps` of a mixture.

    `shown` counts the chips of each domain whose descriptors and experts are looked at.
    """

    head: HeadRecipe
    steps: int
    shown: int


GAP_LESSONS = {
    "smoke": GapLesson(HeadRecipe(16, 4, 1, 4, 1e-3, 0.05, 5.0, 2, 4, 4, 4), 2, 2),
    # the live runs take about a minute of two cores
    "laptop": GapLesson(HeadRecipe(64, 100, 10, 8, 3e-3, 0.05, 5.0, 25, 48, 16, 32), 60, 8),
    "paper": GapLesson(HeadRecipe(64, 400, 40, 16, 3e-3, 0.05, 5.0, 50, 256, 64, 128), 400, 32),
}
"""Sizes of the notebook on domain generalisation by preset."""


@dataclass(frozen=True)
class Mask2FormerSize:
    """Mask2Former (arXiv 2112.01527) on the maps of an encoder: layers, queries, and points at which masks are judged.

    `decoder_layers` counts the answer before the first layer too, as transformers does.
    """

    heads: int
    encoder_layers: int
    decoder_layers: int
    queries: int
    points: int


MASK2FORMER_SIZES = {
    "smoke": Mask2FormerSize(4, 1, 2, 10, 128),
    "laptop": Mask2FormerSize(4, 2, 4, 20, 1024),
    "paper": Mask2FormerSize(8, 6, 10, 100, 12544),
}
"""Sizes of Mask2Former by preset; those of the paper are the defaults of the publication."""


TRANSFER_RECIPES = {
    "light": {
        "smoke": HeadTraining(16, 4, 1, 4, 1e-3, 0.05, 5.0, 2),
        "laptop": HeadTraining(64, 400, 40, 8, 3e-3, 0.05, 5.0, 50),
        "paper": HeadTraining(256, 40_000, 0, 2, 1e-4, 0.05, 5.0, 2_000),
    },
    # gradients are clipped as in the released code of arXiv 2112.01527
    "mask2former": {
        "smoke": HeadTraining(32, 4, 1, 4, 1e-3, 0.05, 0.01, 2),
        # some three minutes of one core
        "laptop": HeadTraining(64, 300, 30, 4, 3e-3, 0.05, 0.01, 50),
        # arXiv 2603.12008, but for the course of the learning rate
        "paper": HeadTraining(256, 40_000, 0, 2, 1e-4, 0.05, 0.01, 2_000),
    },
}
"""Training of each head on a folder of your own data, by preset."""


@dataclass(frozen=True)
class MixtureRun:
    """Continued pretraining of a mixture of experts on folders of your own, with a light head of `channels`.

    `size` is that of the transformer that costs are counted for; one that is given keeps its own.
    """

    size: str
    channels: int
    steps: int
    warmup: int
    batch: int
    learning_rate: float
    weight_decay: float
    clip: float
    save_every: int


MIXTURE_RUNS = {
    "smoke": MixtureRun("smoke", 16, 4, 1, 4, 1e-3, 0.05, 5.0, 2),
    # the rate at which `all` did best in the search of the experiment on `gaps`
    "laptop": MixtureRun("laptop", 64, 1200, 100, 8, 1e-3, 0.05, 5.0, 100),
    # arXiv 2603.12008: AdamW at 3e-5, 18 epochs of 200,000 images, batch 4 on each of 16 GPUs; taken for ViT-S too, and
    # all else as for the head there (assumed)
    "paper": MixtureRun("dinov2_s", 256, 56_250, 0, 64, 3e-5, 0.05, 5.0, 1_000),
}
"""Sizes of continued pretraining with experts by preset."""


@dataclass(frozen=True)
class ScalingLesson:
    """What the notebook on scaling up works with.

    `shared` is pretrained by one process and by two, and cut off after `cut` steps. `data` is the folder whose commands
    run at the preset `commands`. `head` learns land cover on `train` and `val` scenes of `side` pixels, and maps one of
    `whole` pixels. `repeats` are the steps that are timed.
    """

    shared: PretrainRecipe
    cut: int
    data: BenchmarkSizes
    commands: str
    head: HeadRecipe
    side: int
    whole: int
    repeats: int


SCALING_LESSONS = {
    "smoke": ScalingLesson(
        PretrainRecipe("smoke", 6, 4, 1e-3, (0.9, 0.999), 0.05, 2, (), 5.0, 2), 5,
        BenchmarkSizes(256, 2, 1, 2), "smoke",
        HeadRecipe(64, 4, 1, 4, 1e-3, 0.05, 5.0, 2, 1, 1, 1), 256, 320, 1,
    ),
    # the live runs take some two minutes of two cores
    "laptop": ScalingLesson(
        PretrainRecipe("smoke", 60, 8, 1e-3, (0.9, 0.999), 0.05, 6, (), 5.0, 20), 47,
        BenchmarkSizes(256, 8, 4, 8), "smoke",
        HeadRecipe(64, 150, 15, 8, 3e-3, 0.05, 5.0, 25, 6, 2, 1), 512, 1536, 5,
    ),
    "paper": ScalingLesson(
        PretrainRecipe("smoke", 400, 32, 1e-3, (0.9, 0.999), 0.05, 40, (), 5.0, 100), 250,
        BENCHMARK_SIZES["laptop"], "laptop",
        HeadRecipe(64, 600, 60, 16, 3e-3, 0.05, 5.0, 50, 24, 8, 1), 512, 8192, 20,
    ),
}  # fmt: skip
"""Sizes of the notebook on scaling up by preset."""


LOOP_RECIPES = {
    "smoke": ADAPT_RECIPES["smoke"],
    # one to two minutes of two cores
    "laptop": replace(
        ADAPT_RECIPES["laptop"], phases=(AdaptPhase(60, 1e-3, 30, 9),) * 3, warmup=6, validation=8
    ),
    "paper": ADAPT_RECIPES["laptop"],
}
"""Adaptation to the objects of one scene that was just annotated, by preset."""


@dataclass(frozen=True)
class EffortSizes:
    """What a simulated annotator works on: scenes of each seed, their side, and the smallest object, in pixels."""

    side: int
    scenes: int
    least_pixels: int


EFFORT_SIZES = {
    "smoke": EffortSizes(256, 2, 50),
    # a minute or two of one core for five seeds
    "laptop": EffortSizes(256, 24, 50),
}
"""Sizes of the study of effort by preset."""


@dataclass(frozen=True)
class TrainingChips:
    """How an annotated scene is cut into chips to train with, in pixels.

    `sides` are tried from the largest until the objects lie in enough chips; `guard` is left out between two chips.
    """

    sides: tuple[int, ...]
    guard: int


# the guard is wider than what a filter of 33 x 33 pixels reaches
TRAINING_CHIPS = TrainingChips((256, 128, 64), guard=16)
"""Chips of the training folder that an annotation session exports."""
