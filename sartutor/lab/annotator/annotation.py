"""One annotated object: what was asked, what was answered, what a person decided about it.

The answer is kept soft, as the probability of every alternative, so that another threshold, smoothing or alternative
needs no model. Annotations never change; a change makes a new one.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, Protocol, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.windows import Window
from scipy.ndimage import gaussian_filter
from shapely.geometry import MultiPolygon, Polygon
from shapely.wkb import loads

from sartutor.sar.boxes import parts_at
from sartutor.sar.footprint import (
    area_m2,
    mask_polygons,
    pixel_window,
    to_pixels,
)
from sartutor.sar.scene import Grid

if TYPE_CHECKING:
    from sartutor.learn.sam.predictor import PromptPoint

Kind = Literal["box", "polygon", "point", "full", "change", "propagated", "manual", "imported"]
"""Where an object comes from: a drawn box or lasso, points alone, the full view, a proposal from the change between
two dates, the same box on another date, an outline that a person drew without a model, a file."""

Status = Literal["open", "accepted", "rejected"]
"""What a person has decided."""

MOST_SOFT_PIXELS = 1_000_000
"""Pixels of a shape up to which alternatives are kept; beyond, only the first is."""


class Segmented(Protocol):
    """What an annotation takes over from a segmentation (`sartutor.learn.sam.predictor.Segment` has it)."""

    @property
    def polygon(self) -> Polygon: ...
    @property
    def crs(self) -> CRS | None: ...
    @property
    def points(self) -> Sequence[PromptPoint]: ...
    @property
    def box(self) -> tuple[float, float, float, float]: ...
    @property
    def window(self) -> Window: ...
    @property
    def probabilities(self) -> NDArray[np.float32]: ...
    @property
    def inside(self) -> NDArray[np.bool_]: ...
    @property
    def scores(self) -> Sequence[float]: ...
    @property
    def note(self) -> str: ...


@dataclass(frozen=True, eq=False)
class Annotation:
    """One annotated object.

    `polygon` is the shape as drawn, in `crs` (None: coordinates of the scene's own transform), `points` are corrections
    in the same. `soft` (K, h, w) is the probability of each alternative times 255 on `window` of the scene's grid,
    `inside` (h, w) what lies in the shape and is valid; `scores` (K) are the model's own estimates of the masks' IoU.
    `smoothing` is the sigma, in pixels, of the Gaussian that the probability is smoothed with before the threshold.
    `seconds` is how long a person has worked on the object.
    """

    id: int
    kind: Kind
    polygon: Polygon
    crs: CRS | None
    points: tuple[PromptPoint, ...]
    window: Window
    soft: NDArray[np.uint8]
    inside: NDArray[np.bool_]
    scores: tuple[float, ...]
    grid: Grid
    choice: int = 0
    threshold: float = 0.5
    smoothing: float = 0.0
    status: Status = "open"
    label: str = "object"
    annotator: str = ""
    seconds: float = 0.0
    model: str = ""
    model_digest: str = ""
    note: str = ""

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """The object, (h, w): smoothed probability above the threshold, inside the shape.

        Where points alone were given, only the connected parts that one of them says to be inside.
        """
        mask = mask_of(self.soft[self.choice], self.inside, self.threshold, self.smoothing)
        if self.kind != "point":
            return mask
        points = np.array([(x, y) for x, y, inner in self.points if inner], np.float64).reshape(-1, 2)
        place = to_pixels(points, self.crs, self.grid) - (self.window.col_off, self.window.row_off)
        return parts_at(mask, place)

    @property
    def score(self) -> float:
        """The model's own estimate of the mask's IoU."""
        return self.scores[self.choice]

    @cached_property
    def pixels(self) -> int:
        """Number of mask pixels."""
        return int(np.count_nonzero(self.mask))

    @cached_property
    def area_m2(self) -> float | None:
        """Area of the mask in square metres; None where the scene has no coordinate reference system."""
        return area_m2(self.mask, self.grid.crop(self.window))

    @cached_property
    def outline(self) -> MultiPolygon:
        """The mask's outline along pixel edges, in coordinates of the scene."""
        return mask_polygons(self.mask, self.grid, self.window)


class Fields(TypedDict, total=False):
    """What can be said of an annotation beside its shape and pixels, and changed without a new answer."""

    choice: int
    threshold: float
    smoothing: float
    status: Status
    label: str
    annotator: str
    seconds: float
    model: str
    model_digest: str
    note: str


def mask_of(
    soft: NDArray[np.uint8], inside: NDArray[np.bool_], threshold: float, smoothing: float
) -> NDArray[np.bool_]:
    """Where a probability (h, w) times 255, smoothed with a Gaussian of sigma `smoothing` px, exceeds a threshold."""
    if not smoothing:
        return inside & (soft > 255 * threshold)
    return inside & (gaussian_filter(soft.astype(np.float32), smoothing, mode="nearest") > 255 * threshold)


def annotate(
    segment: Segmented, grid: Grid, id: int = 0, kind: Kind = "box", **rest: Unpack[Fields]
) -> Annotation:
    """A segmentation as an annotation, cropped to the drawn shape's box; `rest` are other fields of it."""
    window, around = pixel_window(segment.box, grid), segment.window
    row, col = window.row_off - around.row_off, window.col_off - around.col_off
    part = (slice(row, row + window.height), slice(col, col + window.width))
    count = 1 if window.height * window.width > MOST_SOFT_PIXELS else None
    soft = np.rint(segment.probabilities[:count, *part] * 255).astype(np.uint8)
    scores = tuple(round(float(score), 4) for score in segment.scores[:count])
    inside = np.ascontiguousarray(segment.inside[part], dtype=bool)
    rest.setdefault("note", segment.note)
    drawn = (segment.polygon, segment.crs, tuple(segment.points))
    return Annotation(id, kind, *drawn, window, soft, inside, scores, grid, **rest)


def packed(annotation: Annotation) -> tuple[str, bytes]:
    """An annotation as JSON and compressed pixels, `unpacked` by the grid of its scene."""
    head = {name: getattr(annotation, name) for name in Fields.__annotations__}
    head |= {
        "id": annotation.id,
        "kind": annotation.kind,
        "polygon": annotation.polygon.wkb_hex,
        "crs": annotation.crs.to_string() if annotation.crs else None,
        "points": annotation.points,
        "window": [int(value) for value in annotation.window.flatten()],
        "scores": annotation.scores,
    }
    body = annotation.soft.tobytes() + np.packbits(annotation.inside).tobytes()
    return json.dumps(head), zlib.compress(body, 1)


def unpacked(head: str, body: bytes, grid: Grid) -> Annotation:
    """What was `packed`; ValueError, KeyError, TypeError, zlib.error or ShapelyError where it was something else."""
    kept = json.loads(head)
    window, scores = Window(*kept["window"]), tuple(kept["scores"])
    shape = (len(scores), int(window.height), int(window.width))
    grid.crop(window)
    size = int(np.prod(shape))
    expected = size + -(-size // shape[0] // 8)
    pixels = np.frombuffer(zlib.decompressobj().decompress(body, expected + 1), np.uint8)
    if len(pixels) != expected:
        raise ValueError(f"{len(pixels)} bytes of pixels, not {expected}")
    soft, bits = pixels[:size].reshape(shape), pixels[size:]
    inside = np.unpackbits(bits, count=size // shape[0]).astype(bool).reshape(shape[1:])
    return Annotation(
        kept["id"],
        kept["kind"],
        loads(bytes.fromhex(kept["polygon"])),
        CRS.from_string(kept["crs"]) if kept["crs"] else None,
        tuple((x, y, bool(inner)) for x, y, inner in kept["points"]),
        window,
        soft,
        inside,
        scores,
        grid,
        **{name: kept[name] for name in Fields.__annotations__},
    )
