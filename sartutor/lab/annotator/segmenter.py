"""From a drawn shape to a mask: a thin caller of the predictor and the one embedding cache."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rasterio.crs import CRS
from rasterio.windows import Window
from shapely.geometry import Polygon

from sartutor import catalog
from sartutor.errors import SarTutorError
from sartutor.lab.annotator.proposals import changed_shapes
from sartutor.sar.footprint import ground
from sartutor.sar.scene import Readable, Scene

if TYPE_CHECKING:
    from sartutor.learn.embeddings import EmbeddingCache
    from sartutor.learn.models import SamModel
    from sartutor.learn.sam.inputs import Scale
    from sartutor.learn.sam.predictor import Predictor, PromptPoint, Segment


class Segmenter:
    """One model asked about one scene; the model is loaded when it is first needed.

    Embeddings are kept in memory, and in `folder` for the next time: both hold half a gigabyte at most.

    Args:
        scene: what to segment in.
        model: name of an embedded or fetched model, or path of a checkpoint.
        folder: where embeddings are kept; by default `embeddings` in the folder for all that is fetched.
    """

    def __init__(
        self, scene: Readable, model: str | Path = "sam_tiny_base", folder: Path | None = None
    ) -> None:
        self.scene = scene
        self.model = str(model)
        self.scale: Scale | None = None
        self.folder = catalog.cache_dir() / "embeddings" if folder is None else folder
        self._background = ThreadPoolExecutor(1, "embedding", initializer=yielding)
        self._ahead: list[Future[None]] = []

    @cached_property
    def cache(self) -> EmbeddingCache:
        """All embeddings of this scene, by whichever model."""
        from sartutor.learn.embeddings import EmbeddingCache

        return EmbeddingCache(self.folder)

    @cached_property
    def trained(self) -> SamModel:
        """The loaded model, as it was trained. Raises CheckpointError when there is no such model."""
        from sartutor.learn.models import load_model

        return load_model(self.model)

    @cached_property
    def predictor(self) -> Predictor:
        """The model, at the scale that was chosen, bound to the scene; errors as of `trained`."""
        from sartutor.learn.models import at_scale
        from sartutor.learn.sam.predictor import Predictor

        model = self.trained if self.scale is None else at_scale(self.trained, self.scale)
        return Predictor(model, self.scene, self.cache)

    @property
    def ready(self) -> bool:
        """Whether the model is loaded."""
        return "trained" in self.__dict__

    @property
    def digest(self) -> str:
        """Hash of the model's weights, and the scale that was chosen."""
        digest = self.trained.digest
        return digest if self.scale is None else f"{digest}-{self.scale}"

    def use(self, model: str | Path) -> None:
        """Ask another model from now on; CheckpointError when there is no such model, and the old one stays."""
        from sartutor.learn.models import load_model

        loaded = load_model(model)
        self._forget()
        self.model, self.scale = str(model), None
        self.__dict__["trained"] = loaded
        self.__dict__.pop("predictor", None)

    def look(self, scale: Scale | None) -> None:
        """Encode at one of the scales that the model was trained at from now on; None: at all of them.

        SarTutorError where it was not trained at that one.
        """
        from sartutor.learn.models import at_scale

        if scale is not None:
            at_scale(self.trained, scale)
        self._forget()
        self.scale = None if self.trained.scales == (scale,) else scale
        self.__dict__.pop("predictor", None)

    def warm_up(self) -> None:
        """Compute a first embedding, so that the first box is as fast as all others.

        A scene whose middle cannot be segmented (no data there, say) is told so when a box is drawn.
        """
        height, width = self.scene.grid.shape
        middle = np.array([(3, 3), (5, 3), (5, 5), (3, 5)]) / 8 * (width, height)
        with suppress(SarTutorError):
            self.segment(ground(middle, self.scene.grid, None), None)

    def segment(self, polygon: Polygon, crs: CRS | None, points: Sequence[PromptPoint] = ()) -> Segment:
        """The mask inside a polygon given in `crs` (None: coordinates of the scene), corrected by points in the same.

        An object larger than the model's input is looked at in one larger window, shrunk, and not in tiles: in a tile
        that holds nothing of it, or nothing else, no border tells what is meant, and something is marked there. Of
        objects two to three inputs long the mean IoU is .86 that way and .62 of tiles (`bench/large_objects.py`).
        Where an adapted model gained by it on validation, the mean with its parts is taken.

        Errors are SarTutorErrors.
        """
        self._forget()
        return self.predictor.segment(polygon, crs, points)

    def segment_points(self, points: Sequence[PromptPoint], crs: CRS | None) -> Segment:
        """The object that points lie on, without a shape around it; errors are SarTutorErrors."""
        self._forget()
        return self.predictor.segment_points(points, crs)

    @property
    def has_gate(self) -> bool:
        """Whether the model weights two encoders."""
        return self.predictor.model.has_gate

    def gate_weights(self, polygon: Polygon, crs: CRS | None) -> Scene:
        """How much the second encoder counts around a shape, as a scene of one pixel a token."""
        self._forget()
        window = self.predictor.windows(polygon, crs)[-1]
        return self.predictor.model.gate_weights(self.scene.read(window))

    def proposals(self) -> list[Segment]:
        """What the model sees where most changed between the two dates, strongest change first.

        A place that the model cannot be asked about (of one value, say) is left out. Raises DataError where the scene
        has no pair of dates or nothing has changed.
        """
        self._forget()
        found = []
        for polygon in changed_shapes(self.scene):
            with suppress(SarTutorError):
                found.append(self.predictor.segment(polygon, None))
        return found

    def prefetch(self, polygons: Iterable[Polygon], crs: CRS | None) -> None:
        """Embed in the background, in this order, what shapes that will probably be asked about need.

        What an earlier call still had to do is dropped, and so is this at the next prompt, which waits for no more than
        one embedding. What cannot be asked about is left out.
        """
        self._forget()
        windows: dict[Window, None] = {}  # boxes may share one
        for polygon in polygons:
            with suppress(SarTutorError):
                windows |= dict.fromkeys(self.predictor.windows(polygon, crs))
        self._ahead = [self._background.submit(self._embed, self.predictor, each) for each in windows]

    def close(self) -> None:
        """Stop what goes on in the background; prompts go on working."""
        self._forget()
        self._background.shutdown(wait=True)

    @staticmethod
    def _embed(predictor: Predictor, window: Window) -> None:
        with suppress(SarTutorError):
            predictor.embed(window)

    def _forget(self) -> None:
        """Drop what the background has not begun."""
        for waiting in self._ahead:
            waiting.cancel()
        self._ahead.clear()


def yielding() -> None:
    """Let the calling thread, and threads that it starts, have what others leave of the processor (Linux)."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
