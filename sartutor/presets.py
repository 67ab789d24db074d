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
        Preset("smoke", scene_side=256, picture_side=256),
        Preset("laptop", scene_side=512, picture_side=512),
        Preset("paper", scene_side=1024, picture_side=1024),
    )
}


def preset(name: str) -> Preset:
    """The preset of that name."""
    if name not in PRESETS:
        raise SarTutorError(f"There is no preset {name!r}; use one of {', '.join(PRESETS)}.")
    return PRESETS[name]
