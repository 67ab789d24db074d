"""Whether a scene's backscatter has been divided by the illuminated area of its terrain already.

Terrain-flattened gamma0 and that of the ellipsoid bear one name, yet differ by decibels on slopes; products say which
of the two they are in their names and notes alone.
"""

from __future__ import annotations

import re

from sartutor.sar.scene import Scene

_STATED = re.compile(
    r"(?<!not )(?:terrain|gamma0)[- ]flatten|(?<!not )slope[- ]correct|radiometric(?:ally)? terrain"
    r"|(?<![a-z])rtc(?![a-z])|palsar2-mosaic|_sl_h[hv](?![a-z])",
    re.IGNORECASE,
)
"""What names, products and notes of flattened scenes say: HyP3's `..._RTC30_...`, `iw-vv.rtc.tiff`, JAXA's mosaic and
its layers (`..._sl_HH_...`), our own notes. Terrain correction without more is about places alone."""


def states_flattening(scene: Scene) -> bool:
    """Whether name, product or notes say that the backscatter is terrain-flattened (slope-corrected)."""
    return any(_STATED.search(text) for text in (scene.name, scene.product, *scene.notes))
