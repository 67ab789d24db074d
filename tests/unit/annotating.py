"""What the annotator's tests share: a small scene and a segmentation without a model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.windows import Window
from shapely.geometry import Polygon

from sartutor.errors import DataError
from sartutor.sar.footprint import clip_outline, outline, pixel_box, pixel_window, rasterize
from sartutor.sar.scene import Band, Grid, Readable, Scene

UTM = CRS.from_epsg(32632)
DEGREES = CRS.from_epsg(4326)


@dataclass(frozen=True, eq=False)
class Segment:
    """What the predictor returns, as far as the annotator looks at it."""

    polygon: Polygon
    crs: CRS | None
    box: tuple[float, float, float, float]
    window: Window
    mask: NDArray[np.bool_]
    score: float = 0.9
    note: str = ""


def scene(crs: CRS | None = UTM, name: str = "valley", units: str = "db") -> Scene:
    """A scene of 40 x 60 pixels of 10 m: a bright square on a dark ground, no data in the right corner below."""
    rng = np.random.default_rng(0)
    pixels = rng.normal(-15, 1, (2, 40, 60)).astype(np.float32)
    pixels[:, 10:20, 10:20] = -5
    valid = np.ones((40, 60), bool)
    valid[35:, 50:] = False
    transform = Affine(10, 0, 600_000, 0, -10, 5_200_000) if crs else Affine.identity()
    bands = (Band("VV", units, "sigma0"), Band("VH", units, "sigma0"))
    return Scene(pixels, bands, Grid(transform, crs, 40, 60), valid, name)


def segment(source: Readable, polygon: Polygon, crs: CRS | None) -> Segment:
    """Everything brighter than -10 dB inside the polygon, in a window with some context."""
    points, clipped = clip_outline(outline(polygon, crs, source.grid), source.grid, name=source.name, crs=crs)
    box = pixel_box(points)
    window = pixel_window((box[0] - 3, box[1] - 2, box[2] + 5, box[3] + 4), source.grid)
    part = source.read(window)
    inside = rasterize(points, window) & part.valid
    if not inside.any():
        raise DataError(f"{source.name}: the box covers no valid pixel; draw it where the scene has data.")
    note = "clipped to the scene" if clipped else ""
    return Segment(polygon, crs, box, window, inside & (part.pixels[0] > -10), note=note)
