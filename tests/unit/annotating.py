"""What the annotator's tests share: a small scene and a segmentation without a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Unpack

import numpy as np
import scipy.special
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.windows import Window
from shapely.geometry import Polygon

from sartutor.errors import DataError
from sartutor.lab.annotator.annotation import Annotation, Fields, Kind, annotate
from sartutor.learn.sam.predictor import PromptPoint
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
    inside: NDArray[np.bool_]
    probabilities: NDArray[np.float32]
    scores: tuple[float, ...] = (0.9, 0.8, 0.7, 0.6)
    note: str = ""
    points: tuple[PromptPoint, ...] = ()


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


def segment(
    source: Readable, polygon: Polygon, crs: CRS | None, points: Sequence[PromptPoint] = ()
) -> Segment:
    """Everything brighter than -10 dB inside the polygon, in a window with some context.

    Three alternatives find what is brighter than -9, -8 and -7 dB.
    """
    ring, clipped = clip_outline(outline(polygon, crs, source.grid), source.grid, name=source.name, crs=crs)
    box = pixel_box(ring)
    window = pixel_window((box[0] - 3, box[1] - 2, box[2] + 5, box[3] + 4), source.grid)
    part = source.read(window)
    inside = rasterize(ring, window) & part.valid
    if not inside.any():
        raise DataError(f"{source.name}: the box covers no valid pixel; draw it where the scene has data.")
    levels = np.arange(-10, -6).reshape(4, 1, 1)
    probabilities = scipy.special.expit(part.pixels[0] - levels).astype(np.float32)
    note = "clipped to the scene" if clipped else ""
    return Segment(polygon, crs, box, window, inside, probabilities, note=note, points=tuple(points))


def annotation(
    source: Readable, polygon: Polygon, crs: CRS | None, kind: Kind = "box", **rest: Unpack[Fields]
) -> Annotation:
    """A segmentation as an annotation by a model named "model"."""
    rest.setdefault("model", "model")
    return annotate(segment(source, polygon, crs), source.grid, kind=kind, **rest)
