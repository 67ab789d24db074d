"""The only place where sizes live: how large a run is, from a quick proof to the papers' own sizes."""

from __future__ import annotations

from dataclasses import dataclass

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
    """Architecture of one Segment Anything model; pixel statistics are of images in [0, 1]."""

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
    """Architecture of one Swin Transformer of four stages; `image_size`, `patch` in pixels, `window` in tokens.

    `mask_patch` is the side in pixels of the patches that masked pretraining hides, unless told otherwise.
    """

    name: str
    image_size: int
    patch: int
    width: int
    depths: tuple[int, int, int, int]
    heads: tuple[int, int, int, int]
    window: int
    mask_patch: int

    @property
    def widths(self) -> tuple[int, int, int, int]:
        """Channels of the four stages."""
        return self.width, 2 * self.width, 4 * self.width, 8 * self.width


SWIN_SIZES = {
    size.name: size
    for size in (
        SwinSize("smoke", 64, 4, 16, (1, 2, 1, 1), (1, 2, 4, 8), 4, 16),
        SwinSize("laptop", 128, 4, 32, (2, 2, 4, 1), (1, 2, 4, 8), 4, 16),
        # Swin-B (arXiv 2103.14030) at the input and window of SAR-W-SimMIM (arXiv 2603.15119)
        SwinSize("paper", 256, 4, 128, (2, 2, 18, 2), (4, 8, 16, 32), 8, 16),
    )
}


@dataclass(frozen=True)
class MixMaeSize:
    """Architecture of one MixMAE: an encoder of four stages, and a plain transformer that decodes both streams.

    `width` is that of the first stage and doubles with every stage; `windows` are sides in tokens.
    """

    name: str
    width: int
    depths: tuple[int, int, int, int]
    heads: tuple[int, int, int, int]
    windows: tuple[int, int, int, int]
    decoder_width: int
    decoder_depth: int
    decoder_heads: int


MIXMAE_SIZES = {
    "smoke": MixMaeSize("smoke", 16, (1, 1, 1, 1), (1, 1, 2, 4), (8, 8, 8, 4), 32, 1, 2),
    "laptop": MixMaeSize("laptop", 32, (2, 2, 4, 2), (1, 2, 4, 8), (8, 8, 8, 4), 128, 2, 4),
    # Swin-B as SAR-W-MixMAE trains it on chips of 128 px (arXiv 2503.01181)
    "paper": MixMaeSize("paper", 128, (2, 2, 18, 2), (4, 8, 16, 32), (8, 8, 8, 4), 512, 8, 16),
}
