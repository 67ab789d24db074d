"""What has been annotated in one scene: the one state object behind the map, kept on disk at every change.

Plain Python: no widget and no model. A session holds immutable annotations; every change is one step that can be
undone, and is written to a small file at once, so that a kernel that dies loses nothing.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.windows import Window
from shapely.errors import ShapelyError
from shapely.geometry import MultiPolygon, Polygon, mapping, shape

from sartutor.errors import DataError, GeometryError
from sartutor.sar.files import replacing
from sartutor.sar.footprint import area_m2, mask_polygons, pixel_window
from sartutor.sar.scene import Grid, Readable

FOLDER = Path("annotations")
"""Where sessions are kept and exports go, relative to the working directory (in JupyterLab: the notebook's folder)."""

FORMAT = "sartutor-annotations-1"


class Segmented(Protocol):
    """What a session takes over from a segmentation (`sartutor.learn.sam.predictor.Segment` has it)."""

    @property
    def polygon(self) -> Polygon: ...
    @property
    def crs(self) -> CRS | None: ...
    @property
    def box(self) -> tuple[float, float, float, float]: ...
    @property
    def window(self) -> Window: ...
    @property
    def mask(self) -> NDArray[np.bool_]: ...
    @property
    def score(self) -> float: ...
    @property
    def note(self) -> str: ...


@dataclass(frozen=True, eq=False)
class Annotation:
    """One annotated object.

    `polygon` is the shape as drawn, in `crs` (None: coordinates of the scene's own transform); `mask` is
    (height, width) bool on `window` of the scene's grid; `score` is the model's own estimate of the mask's IoU.
    """

    id: int
    polygon: Polygon
    crs: CRS | None
    window: Window
    mask: NDArray[np.bool_]
    score: float
    note: str
    model: str
    grid: Grid

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

    @cached_property
    def feature(self) -> str:
        """The annotation as one GeoJSON feature (text): the drawn shape, with the mask packed into a property."""
        window = [int(v) for v in self.window.flatten()]
        properties = {
            "id": self.id,
            "crs": self.crs.to_string() if self.crs else None,
            "score": self.score,
            "note": self.note,
            "model": self.model,
            "window": window,
            "mask": base64.b64encode(zlib.compress(np.packbits(self.mask).tobytes())).decode(),
        }
        return json.dumps({"type": "Feature", "properties": properties, "geometry": mapping(self.polygon)})


State = tuple[Annotation, ...]


@dataclass
class Session:
    """The annotations of one scene, with undo and redo, kept in `path` at every change.

    `objects` is the present state, ordered by age. When the file cannot be written, the change itself stands, an
    OutputError says so, and the next change tries again.
    """

    scene: Readable
    path: Path
    objects: State = ()
    _past: list[State] = field(default_factory=list, init=False, repr=False)
    _future: list[State] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        self._next_id = max((annotation.id for annotation in self.objects), default=0) + 1

    @classmethod
    def open(cls, scene: Readable, path: Path | str | None = None) -> Session:
        """The session kept in `path` (default: `annotations/`, one file a scene), or a new one.

        Raises DataError when the file is not a session of this scene; it is never overwritten then.
        """
        where = default_path(scene) if path is None else Path(path)
        return cls(scene, where, _load(where, scene) if where.exists() else ())

    @cached_property
    def digest(self) -> str:
        """Content hash of the scene."""
        return self.scene.digest()

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to take back."""
        return bool(self._past)

    @property
    def can_redo(self) -> bool:
        """Whether a step taken back can be repeated."""
        return bool(self._future)

    def get(self, id: int) -> Annotation:
        """The annotation of that number."""
        for annotation in self.objects:
            if annotation.id == id:
                return annotation
        raise GeometryError(f"there is no object {id}; the objects are {[o.id for o in self.objects]}.")

    def apply(
        self,
        added: Iterable[Segmented] = (),
        edited: Mapping[int, Segmented] | None = None,
        deleted: Iterable[int] = (),
        model: str = "",
    ) -> list[Annotation]:
        """Add, replace and delete as one step; returns the annotations that are new or replaced.

        Args:
            added: segmentations that become objects with new numbers.
            edited: segmentations by the number of the object that they replace.
            deleted: numbers of objects to drop.
            model: name of the model that segmented.
        """
        edited, gone = dict(edited or {}), set(deleted)
        for id in (*edited, *gone):
            self.get(id)
        changed = {id: self._annotation(id, segment, model) for id, segment in edited.items()}
        new = [self._annotation(self._next_id + i, segment, model) for i, segment in enumerate(added)]
        self._next_id += len(new)
        kept = [changed.get(o.id, o) for o in self.objects if o.id not in gone]
        self._step((*kept, *new))
        return [*changed.values(), *new]

    def add(self, segment: Segmented, model: str = "") -> Annotation:
        """A new object."""
        return self.apply(added=[segment], model=model)[0]

    def edit(self, id: int, segment: Segmented, model: str = "") -> Annotation:
        """Object `id` with another shape and mask."""
        return self.apply(edited={id: segment}, model=model)[0]

    def delete(self, id: int) -> None:
        """Drop object `id`."""
        self.apply(deleted=[id])

    def undo(self) -> bool:
        """Take the last step back; False when there is none."""
        return self._travel(self._past, self._future)

    def redo(self) -> bool:
        """Repeat the step taken back last; False when there is none."""
        return self._travel(self._future, self._past)

    def _annotation(self, id: int, segment: Segmented, model: str) -> Annotation:
        """The segment as an object, its mask cropped to the drawn shape's box."""
        grid, around = self.scene.grid, segment.window
        window = pixel_window(segment.box, grid)
        inner = Window(
            window.col_off - around.col_off, window.row_off - around.row_off, window.width, window.height
        )
        mask = np.ascontiguousarray(segment.mask[inner.toslices()], dtype=bool)
        score = round(float(segment.score), 4)
        return Annotation(id, segment.polygon, segment.crs, window, mask, score, segment.note, model, grid)

    def _step(self, objects: State) -> None:
        self._past.append(self.objects)
        self._future.clear()
        self.objects = objects
        self._save()

    def _travel(self, source: list[State], target: list[State]) -> bool:
        if not source:
            return False
        target.append(self.objects)
        self.objects = source.pop()
        self._save()
        return True

    def _save(self) -> None:
        head = json.dumps({"format": FORMAT, "scene": self.scene.name, "digest": self.digest})
        features = ",\n".join(annotation.feature for annotation in self.objects)
        text = f'{{"type": "FeatureCollection", "sartutor": {head}, "features": [\n{features}\n]}}\n'
        with replacing(self.path) as part:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(text, encoding="utf-8")


def default_path(scene: Readable) -> Path:
    """Where a scene's session is kept: `annotations/<name>-<first of its content hash>.geojson`."""
    return FOLDER / f"{plain_name(scene)}-{scene.digest()[:8]}.geojson"


def plain_name(scene: Readable) -> str:
    """The scene's name as part of a file name: letters, digits, dot, dash and underscore only."""
    return re.sub(r"[^\w.-]+", "_", Path(scene.name).stem, flags=re.ASCII).strip("._") or "scene"


def _load(path: Path, scene: Readable) -> State:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        head = content["sartutor"]
        if head["format"] != FORMAT:
            raise ValueError(head["format"])
        objects = tuple(_annotation(feature, scene.grid) for feature in content["features"])
    except (OSError, ValueError, KeyError, TypeError, ShapelyError, zlib.error) as error:
        raise DataError(
            f"{path} is not a readable annotation file of this version ({error}); move it away to start afresh."
        ) from error
    if head["digest"] != scene.digest():
        raise DataError(
            f"{path} belongs to another scene ({head['scene']}); give each scene its own session_path, or none."
        )
    return objects


def _annotation(feature: dict[str, Any], grid: Grid) -> Annotation:
    kept = feature["properties"]
    window = Window(*kept["window"])
    size = int(window.height) * int(window.width)
    bits = np.frombuffer(zlib.decompress(base64.b64decode(kept["mask"])), np.uint8)
    mask = np.unpackbits(bits, count=size).astype(bool).reshape(int(window.height), int(window.width))
    crs = CRS.from_string(kept["crs"]) if kept["crs"] else None
    polygon = shape(feature["geometry"])
    return Annotation(
        kept["id"], polygon, crs, window, mask, kept["score"], kept["note"], kept["model"], grid
    )
