"""The part of a large scene that the map shows, at the map's resolution and no finer than the scene itself."""

from __future__ import annotations

from dataclasses import dataclass

from rasterio.windows import Window
from shapely.affinity import scale
from shapely.geometry import box

from sartutor.errors import GeometryError
from sartutor.lab.annotator.layers import Layer, Shown, look
from sartutor.lab.annotator.pictures import MAX_SIDE
from sartutor.lab.annotator.placement import Placement
from sartutor.sar.footprint import clip_outline, outline, pixel_box, pixel_window
from sartutor.sar.resize import overview
from sartutor.sar.scene import Band, Grid, Readable, Scene

CLOSER_SIDE = 1500
"""Longest side of the picture of a part, in pixels."""
AROUND = 1.2
"""How far a part reaches beyond what the map shows."""
WORTH = 1.25
"""Least gain in resolution over the picture of the whole scene for which a part is read; a map has fewer pixels."""


@dataclass(frozen=True)
class Part:
    """A window of a scene, to be read as a scene is."""

    source: Readable
    window: Window

    @property
    def grid(self) -> Grid:
        """Where the window lies."""
        return self.source.grid.crop(self.window)

    @property
    def bands(self) -> tuple[Band, ...]:
        """Those of the scene."""
        return self.source.bands

    @property
    def name(self) -> str:
        """That of the scene."""
        return self.source.name

    def read(self, window: Window | None = None) -> Scene:
        """Pixels of the part, or of a window within it."""
        if window is None:
            return self.source.read(self.window)
        col, row = window.col_off + self.window.col_off, window.row_off + self.window.row_off
        return self.source.read(Window(col, row, window.width, window.height))

    def digest(self) -> str:
        """Content hash of the part."""
        return self.read().digest()


def seen_window(grid: Grid, placement: Placement, bounds: tuple[float, float, float, float]) -> Window | None:
    """What lies between west, south, east and north of a map, in degrees, and a little around it.

    None where that is nothing of the scene.
    """
    drawn, crs = placement.from_map(scale(box(*bounds), AROUND, AROUND))
    try:
        ring, _ = clip_outline(outline(drawn, crs, grid), grid)
    except GeometryError:
        return None
    return pixel_window(pixel_box(ring), grid)


def is_worth(window: Window, grid: Grid) -> bool:
    """Whether a window is so much smaller than the scene, of which a picture has `MAX_SIDE` pixels, that it pays."""
    return max(grid.shape) >= WORTH * max(MAX_SIDE, window.width, window.height)


def look_at_part(layer: Layer, source: Readable, window: Window, placement: Placement) -> Shown:
    """A layer of a window of a scene; DataError as of `look`."""
    return look(layer, overview(Part(source, window), CLOSER_SIDE), placement, CLOSER_SIDE)
