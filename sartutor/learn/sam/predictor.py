"""One inference for all scenes: window around the prompt, encode, decode, paste back, cut to the drawn polygon."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.windows import Window
from shapely.geometry import Polygon
from torch import Tensor

from sartutor.errors import DataError, GeometryError
from sartutor.learn.device import keep_freed_memory, one_thread
from sartutor.learn.embeddings import Digests, EmbeddingCache, embedding_key
from sartutor.learn.models import SamModel
from sartutor.learn.sam.clicks import corrected
from sartutor.learn.sam.inputs import Frame, pixels_of
from sartutor.learn.sam.model import Embedding
from sartutor.sar import footprint
from sartutor.sar.boxes import Box, parts_at
from sartutor.sar.coordinates import Points
from sartutor.sar.resize import refuse_complex
from sartutor.sar.scene import Readable, Scene

SMALLEST_BOX = 1.0
"""Least width and height of a box, in pixels of the scene."""


MOST_PIXELS = 36_000_000
"""Most pixels of a window, as 6,000 x 6,000: they are read, and probabilities made of them, at once."""

FEW_TOKENS = 1024
"""Up to so many tokens a model computes in one thread (`one_thread`)."""

PromptPoint = tuple[float, float, bool]
"""x and y of a click, and whether it lies inside the object."""


@dataclass(frozen=True, eq=False)
class Segment:
    """One prompted object.

    `polygon` is as drawn, in `crs`, as are `points`; `box` its extent in pixels of the scene. `probabilities` (K, h, w)
    and `mask` (h, w) cover `window`, which is wider than the box; far from the box a model with details draws nothing.
    Of the K = 4 masks that the decoder answers, 0 is the single one and 1 to 3 are alternatives; `scores` (K,) are the
    model's own guesses of their IoU. `mask` is the single one cut to `inside`: the polygon and valid pixels. `note`
    says what was done to the prompt ("" = nothing).
    """

    polygon: Polygon
    crs: CRS | None
    points: tuple[PromptPoint, ...]
    box: Box
    window: Window
    probabilities: NDArray[np.float32]
    inside: NDArray[np.bool_]
    mask: NDArray[np.bool_]
    scores: tuple[float, ...]
    seconds: float
    note: str

    @property
    def probability(self) -> NDArray[np.float32]:
        """Of the single mask, (h, w)."""
        return self.probabilities[0]

    @property
    def score(self) -> float:
        """Predicted IoU of the single mask."""
        return self.scores[0]

    @property
    def pixels(self) -> int:
        """Number of pixels in the mask."""
        return int(self.mask.sum())


@dataclass(frozen=True, eq=False)
class _Prompt:
    """What is asked: as drawn, and in pixels of the scene as outline (n, 2) with its box, and clicks (P, 3).

    A click is column, row and label: 1 inside the object, 0 outside.
    """

    polygon: Polygon
    crs: CRS | None
    points: tuple[PromptPoint, ...]
    outline: Points
    clicks: NDArray[np.float64]
    clipped: bool = False

    @property
    def box(self) -> Box:
        """Extent of the outline."""
        return footprint.pixel_box(self.outline)


class Predictor:
    """A model on a scene. Embeddings of windows are kept in `cache`, so a second box near the first costs a decode.

    Boxes are refused that have more than `most_pixels` with their surroundings; None: `MOST_PIXELS`.
    """

    def __init__(
        self,
        model: SamModel,
        source: Readable,
        cache: EmbeddingCache | None = None,
        most_pixels: int | None = None,
    ) -> None:
        self.model, self.source, self.most_pixels = model, source, most_pixels or MOST_PIXELS
        self.cache = cache if cache is not None else EmbeddingCache()
        self._digests = Digests()
        keep_freed_memory()

    def segment(
        self,
        polygon: Polygon,
        crs: CRS | None = None,
        points: Sequence[PromptPoint] = (),
        threshold: float = 0.5,
    ) -> Segment:
        """The mask inside `polygon`, drawn in `crs` (None: the scene's own coordinates) and corrected by `points`.

        Points have the polygon's coordinates. One outside the polygon is heeded, but no mask goes beyond the polygon.

        Raises GeometryError for a polygon outside the scene, thinner than a pixel or far larger than the model's input,
        and for a point far from it; DataError for complex bands and where the polygon covers no data or all that is
        seen with it is one value.
        """
        prompt, shape = self._prompt(polygon, crs, points), self.source.grid.shape
        windows, parts = self.model.windows(prompt.box, shape), self.model.parts(prompt.box, shape)
        return self._answer(prompt, windows, parts, threshold)

    def windows(self, polygon: Polygon, crs: CRS | None = None) -> list[Window]:
        """What is embedded for a shape, the widest last; errors as of `segment`."""
        box, shape = self._prompt(polygon, crs).box, self.source.grid.shape
        return [*self.model.parts(box, shape).values(), *self.model.windows(box, shape)]

    @torch.inference_mode()
    def embed(self, window: Window) -> None:
        """Make the embedding of a window beforehand, where it is not known yet."""
        with self._threads():
            self._embed(self.source.read(window))

    def segment_points(
        self, points: Sequence[PromptPoint], crs: CRS | None = None, threshold: float = 0.5
    ) -> Segment:
        """The object that clicks in `crs` (None: the scene's own coordinates) lie on, without a drawn shape.

        The box is all that the model sees around the points: a window of its input's size at full resolution, or twice
        their extent where that is more. Of the mask those connected parts stay that hold a point inside the object.

        Raises GeometryError without a point inside the object and for points outside the scene, DataError as `segment`.
        """
        clicks = self._clicks(points, crs)
        on_object = clicks[clicks[:, 2] == 1, :2]
        if not len(on_object):
            raise GeometryError(
                f"{self.source.name}: no point is inside an object; click on the object first."
            )
        window = self.model.window_at(footprint.pixel_box(clicks[:, :2]), self.source.grid.shape)
        outline = footprint.window_outline(window)
        polygon = footprint.ground(outline, self.source.grid, crs)
        found = self._answer(_Prompt(polygon, crs, tuple(points), outline, clicks), [window], {}, threshold)
        return replace(found, mask=parts_at(found.mask, _within(on_object, window)))

    def _prompt(self, polygon: Polygon, crs: CRS | None, points: Sequence[PromptPoint] = ()) -> _Prompt:
        drawn = footprint.outline(polygon, crs, self.source.grid)
        outline, clipped = footprint.clip_outline(drawn, self.source.grid, name=self.source.name, crs=crs)
        prompt = _Prompt(polygon, crs, tuple(points), outline, self._clicks(points, crs), clipped)
        x0, y0, x1, y1 = prompt.box
        if min(x1 - x0, y1 - y0) < SMALLEST_BOX:
            raise GeometryError(
                f"{self.source.name}: the box is thinner than one pixel; zoom in and draw a larger one."
            )
        return prompt

    def _clicks(self, points: Sequence[PromptPoint], crs: CRS | None) -> NDArray[np.float64]:
        """Column, row and label (1 inside, 0 outside) of points (P, 3); GeometryError for one outside the scene."""
        given = np.array(points, np.float64).reshape(-1, 3)
        placed = footprint.to_pixels(given[:, :2], crs, self.source.grid)
        height, width = self.source.grid.shape
        if not ((placed >= 0) & (placed < (width, height))).all():
            raise GeometryError(f"a point lies outside {self.source.name}; click on the scene.")
        return np.column_stack((placed, given[:, 2]))

    def _answer(
        self, prompt: _Prompt, windows: Sequence[Window], parts: Mapping[Box, Window], threshold: float
    ) -> Segment:
        """The mean answer over windows around a prompt, on the first of them, which lies in all others, and then the
        mean with what is found when parts of the box are looked at one by one."""
        start = time.perf_counter()
        refuse_complex(self.source.bands, self.source.name)
        window = windows[0]
        self._check_size(windows[-1])
        self._check_near(prompt.clicks, window)
        piece = self.source.read(window)
        covered = footprint.rasterize(prompt.outline, window)
        inside = covered & piece.valid
        self._check_content(piece, inside)
        probabilities, scores = self._predict(piece, window, prompt.box, prompt.clicks)
        for count, wider in enumerate(windows[1:], 1):
            seen, quality = self._predict(self.source.read(wider), wider, prompt.box, prompt.clicks)
            probabilities += (seen[:, *_place(window, wider)] - probabilities) / (count + 1)
            scores += (quality - scores) / (count + 1)
        for part, around in parts.items():
            pixels = pixels_of(part, window)
            if inside[pixels].any():
                seen, _ = self._predict(
                    self.source.read(around), around, part, _clicks_in(prompt.clicks, part)
                )
                probabilities[:, *pixels] += seen[:, *pixels_of(part, around)]
                probabilities[:, *pixels] /= 2
        if len(prompt.clicks):
            probabilities = corrected(probabilities, self._image(piece), _within(prompt.clicks, window))
        return Segment(
            prompt.polygon,
            prompt.crs,
            prompt.points,
            prompt.box,
            window,
            probabilities,
            inside,
            inside & (probabilities[0] > threshold),
            tuple(scores.tolist()),
            time.perf_counter() - start,
            _note(prompt.clipped, covered, inside),
        )

    def _check_size(self, window: Window) -> None:
        if window.width * window.height > self.most_pixels:
            raise GeometryError(
                f"{self.source.name}: with its surroundings the box has {window.width} x {window.height} px, far more "
                "than the model sees; zoom in and draw a smaller one."
            )

    def _check_near(self, clicks: NDArray[np.float64], window: Window) -> None:
        place = _within(clicks, window)[:, :2]
        if not ((place >= 0) & (place < (window.width, window.height))).all():
            raise GeometryError(
                f"{self.source.name}: a point lies too far from the box to be seen with it; click in the box or close "
                "to it, or draw a larger box."
            )

    def _check_content(self, piece: Scene, inside: NDArray[np.bool_]) -> None:
        if not inside.any():
            raise DataError(
                f"{self.source.name}: the box covers no valid pixel; draw it where the scene has data."
            )
        if not any(np.ptp(band[piece.valid]) for band in piece.pixels):
            raise DataError(
                f"{self.source.name}: all pixels seen with the box have one value; draw it where there is contrast."
            )

    def _predict(
        self, piece: Scene, window: Window, box: Box, clicks: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Probabilities (K, rows, columns of the window) and predicted IoU (K,) of all masks."""
        frame = Frame(piece.grid.shape, self.model.sam.size.image_size)
        with torch.inference_mode(), self._threads():
            boxes, points = prompt_tensors(frame, window, box, clicks, self.model.device)
            logits, quality = self.model.decode(self._embed(piece), boxes, points)
            full = torch.nn.functional.interpolate(logits, (frame.side, frame.side), mode="bilinear")
            probabilities = frame.back(full[0].sigmoid())
        return probabilities.cpu().numpy(), quality[0].clamp(0, 1).double().cpu().numpy()

    def _image(self, piece: Scene) -> NDArray[np.float32]:
        """What the model sees of a piece, on its own pixels: (3, h, w) in [0, 1], the mean over encoders."""
        frame = Frame(piece.grid.shape, self.model.sam.size.image_size)
        seen = self.model.images(piece)
        return frame.back(seen.reshape(-1, 3, frame.side, frame.side).mean(0)).numpy()

    def _threads(self) -> AbstractContextManager[None]:
        size = self.model.sam.size
        return one_thread() if (size.image_size // size.patch) ** 2 <= FEW_TOKENS else nullcontext()

    def _embed(self, piece: Scene) -> Embedding:
        key = embedding_key(self._digests.of(piece), self.model.encoder)
        embedding = self.cache.get(key, lambda: self.model.embed(piece))
        return tuple(level.to(self.model.device) for level in embedding)


def prompt_tensors(
    frame: Frame, window: Window, box: Box, clicks: NDArray[np.float64], device: torch.device
) -> tuple[Tensor, Tensor | None]:
    """A box (1, 4) and clicks (1, P, 3), None without any, in pixels of the model input."""
    boxes = torch.tensor([frame.box(box, window)], device=device)
    if not len(clicks):
        return boxes, None
    placed = np.column_stack((frame.points(clicks[:, :2], window), clicks[:, 2]))
    return boxes, torch.tensor(placed[None], dtype=torch.float32, device=device)


def _within(points: NDArray[np.float64], window: Window) -> NDArray[np.float64]:
    """Points, or clicks, (n, 2 or more) of the scene with columns and rows of a window."""
    return np.column_stack((points[:, :2] - (window.col_off, window.row_off), points[:, 2:]))


def _place(window: Window, wider: Window) -> tuple[slice, slice]:
    """Where in the wider of two windows the other one lies: rows and columns."""
    row, col = int(window.row_off - wider.row_off), int(window.col_off - wider.col_off)
    return slice(row, row + int(window.height)), slice(col, col + int(window.width))


def _clicks_in(clicks: NDArray[np.float64], box: Box) -> NDArray[np.float64]:
    """Those of the clicks (P, 3) that lie in a box."""
    return clicks[((clicks[:, :2] >= box[:2]) & (clicks[:, :2] < box[2:])).all(1)]


def _note(clipped: bool, covered: NDArray[np.bool_], inside: NDArray[np.bool_]) -> str:
    """What a user should know about how the prompt was read."""
    notes = ["clipped to the scene"] if clipped else []
    missing = 1 - inside.sum() / covered.sum()
    if missing > 0.001:
        notes.append(f"{missing:.0%} of the box has no data")
    return "; ".join(notes)
