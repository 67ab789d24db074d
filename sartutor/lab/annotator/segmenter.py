"""From a drawn shape to a mask: a thin caller of the predictor and the one embedding cache."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rasterio.crs import CRS
from shapely.geometry import Polygon

from sartutor.errors import SarTutorError
from sartutor.lab.annotator.annotation import PromptPoint
from sartutor.sar.footprint import ground
from sartutor.sar.scene import Readable

if TYPE_CHECKING:
    from sartutor.learn.sam.predictor import Predictor, Segment


class Segmenter:
    """One model asked about one scene; the model is loaded when it is first needed.

    Args:
        scene: what to segment in.
        model: name of an embedded or fetched model, or path of a checkpoint.
    """

    def __init__(self, scene: Readable, model: str | Path = "sam_tiny_base") -> None:
        self.scene = scene
        self.model = str(model)

    @cached_property
    def predictor(self) -> Predictor:
        """The loaded model, bound to the scene. Raises CheckpointError when there is no such model."""
        from sartutor.learn.models import load_model
        from sartutor.learn.sam.predictor import Predictor

        return Predictor(load_model(self.model), self.scene)

    def warm_up(self) -> None:
        """Compute a first embedding, so that the first box is as fast as all others.

        A scene whose middle cannot be segmented (no data there, say) is told so when a box is drawn.
        """
        height, width = self.scene.grid.shape
        middle = np.array([(3, 3), (5, 3), (5, 5), (3, 5)]) / 8 * (width, height)
        with suppress(SarTutorError):
            self.segment(ground(middle, self.scene.grid, None), None)

    @property
    def digest(self) -> str:
        """Hash of the model's weights."""
        return self.predictor.model.digest

    def use(self, model: str | Path) -> None:
        """Ask another model from now on; CheckpointError when there is no such model, and the old one stays."""
        other = type(self)(self.scene, model)
        other.predictor  # noqa: B018
        self.model = other.model
        self.__dict__["predictor"] = other.predictor

    def segment(self, polygon: Polygon, crs: CRS | None, points: Sequence[PromptPoint] = ()) -> Segment:
        """The mask inside a polygon given in `crs` (None: coordinates of the scene), corrected by points in the same.

        Errors are SarTutorErrors.
        """
        return self.predictor.segment(polygon, crs, points)

    def segment_points(self, points: Sequence[PromptPoint], crs: CRS | None) -> Segment:
        """The object that points lie on, without a shape around it; errors are SarTutorErrors."""
        return self.predictor.segment_points(points, crs)
