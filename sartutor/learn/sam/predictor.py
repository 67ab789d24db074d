"""One inference for all scenes: window around the prompt, encode, decode, paste back, cut to the drawn polygon."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.windows import Window
from shapely.geometry import Polygon

from sartutor.errors import DataError, GeometryError
from sartutor.learn.device import keep_freed_memory
from sartutor.learn.embeddings import EmbeddingCache, embedding_key
from sartutor.learn.models import SamModel
from sartutor.learn.sam.inputs import Frame
from sartutor.learn.sam.model import Embedding
from sartutor.sar import footprint
from sartutor.sar.boxes import Box
from sartutor.sar.resize import refuse_complex
from sartutor.sar.scene import Readable, Scene

SMALLEST_BOX = 1.0
"""Least width and height of a box, in pixels of the scene."""


@dataclass(frozen=True, eq=False)
class Segment:
    """One prompted object.

    `polygon` is as drawn, in `crs`; `box` its extent in pixels of the scene. `probability` and `mask` cover `window`;
    the mask is cut to the polygon and to valid pixels. `score` is the model's own guess of its IoU. `note` says what
    was done to the prompt ("" = nothing).
    """

    polygon: Polygon
    crs: CRS | None
    box: Box
    window: Window
    probability: NDArray[np.float32]
    inside: NDArray[np.bool_]
    mask: NDArray[np.bool_]
    score: float
    seconds: float
    note: str

    @property
    def pixels(self) -> int:
        """Number of pixels in the mask."""
        return int(self.mask.sum())


class Predictor:
    """A model on a scene. Embeddings of windows are kept in `cache`, so a second box near the first costs a decode."""

    def __init__(self, model: SamModel, source: Readable, cache: EmbeddingCache | None = None) -> None:
        self.model, self.source = model, source
        self.cache = cache if cache is not None else EmbeddingCache()
        keep_freed_memory()

    def segment(self, polygon: Polygon, crs: CRS | None = None, threshold: float = 0.5) -> Segment:
        """The mask inside `polygon`, drawn in `crs` (None: the scene's own coordinates).

        Raises GeometryError for a polygon outside the scene or thinner than a pixel, DataError for complex bands and
        where the polygon covers no data or all around it is one value.
        """
        start = time.perf_counter()
        refuse_complex(self.source.bands, self.source.name)
        drawn = footprint.outline(polygon, crs, self.source.grid)
        outline, clipped = footprint.clip_outline(drawn, self.source.grid, name=self.source.name, crs=crs)
        box = footprint.pixel_box(outline)
        if min(box[2] - box[0], box[3] - box[1]) < SMALLEST_BOX:
            raise GeometryError(
                f"{self.source.name}: the box is thinner than one pixel; zoom in and draw a larger one."
            )
        windows = self.model.windows(box, self.source.grid.shape)
        window = windows[0]
        piece = self.source.read(window)
        covered = footprint.rasterize(outline, window)
        inside = covered & piece.valid
        if not inside.any():
            raise DataError(
                f"{self.source.name}: the box covers no valid pixel; draw it where the scene has data."
            )
        if not any(np.ptp(band[piece.valid]) for band in piece.pixels):
            raise DataError(
                f"{self.source.name}: all pixels around the box have one value; draw it where the scene has contrast."
            )
        probability, score = self._predict(piece, window, box)
        for count, wider in enumerate(windows[1:], 1):
            seen, quality = self._predict(self.source.read(wider), wider, box)
            probability += (seen[_place(window, wider)] - probability) / (count + 1)
            score += (quality - score) / (count + 1)
        mask = inside & (probability > threshold)
        seconds = time.perf_counter() - start
        return Segment(
            polygon,
            crs,
            box,
            window,
            probability,
            inside,
            mask,
            score,
            seconds,
            _note(clipped, covered, inside),
        )

    def _predict(self, piece: Scene, window: Window, box: Box) -> tuple[NDArray[np.float32], float]:
        """Probability (rows, columns of the window) and predicted IoU."""
        frame = Frame(piece.grid.shape, self.model.sam.size.image_size)
        with torch.inference_mode():
            prompt = torch.tensor([frame.box(box, window)], device=self.model.device)
            logits, quality = self.model.sam.decode(self._embed(piece), prompt)
            full = torch.nn.functional.interpolate(logits[:, :1], (frame.side, frame.side), mode="bilinear")
            probability = frame.back(full[0].sigmoid())[0]
        return probability.cpu().numpy(), float(quality[0, 0].clamp(0, 1))

    def _embed(self, piece: Scene) -> Embedding:
        key = embedding_key(piece.digest(), self.model.digest)
        embedding = self.cache.get(key, lambda: self.model.embed(piece))
        return tuple(level.to(self.model.device) for level in embedding)


def _place(window: Window, wider: Window) -> tuple[slice, slice]:
    """Where in the wider of two windows the other one lies: rows and columns."""
    row, col = int(window.row_off - wider.row_off), int(window.col_off - wider.col_off)
    return slice(row, row + int(window.height)), slice(col, col + int(window.width))


def _note(clipped: bool, covered: NDArray[np.bool_], inside: NDArray[np.bool_]) -> str:
    """What a user should know about how the prompt was read."""
    notes = ["clipped to the scene"] if clipped else []
    missing = 1 - inside.sum() / covered.sum()
    if missing > 0.001:
        notes.append(f"{missing:.0%} of the box has no data")
    return "; ".join(notes)
