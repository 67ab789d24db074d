"""From boxes on a scene file to a mask file: what `sartutor segment` does, for scripts too.

The model and its libraries take seconds to load, so they are imported only when scene, boxes and places are in order.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rasterio
from rasterio.crs import CRS
from rasterio.errors import CRSError
from shapely.geometry import Polygon
from tqdm.auto import tqdm

from sartutor.errors import DataError, GeometryError, OutputError, SarTutorError
from sartutor.sar.files import refuse_no_file, refuse_taken
from sartutor.sar.footprint import box_polygon, clip_outline, outline
from sartutor.sar.geotiff import SceneFile, check_name, open_scene
from sartutor.sar.layers import files_of, scene_tags

if TYPE_CHECKING:
    from sartutor.lab.annotator.annotation import Annotation

Bounds = tuple[float, float, float, float]
"""West, south, east, north."""


@dataclass(frozen=True)
class SegmentJob:
    """Scene files (the bands of one scene), boxes in `box_crs` (None: the scene's own), model, and where to write."""

    scenes: Sequence[Path]
    boxes: Sequence[Bounds]
    box_crs: str | None
    model: str
    out: Path
    vector: Path | None = None


def segment_file(job: SegmentJob, progress: bool = True) -> dict[str, Any]:
    """Segment every box, write the union of the masks and, where asked for, their outlines; returns the report.

    All boxes are predicted before anything is written. Raises SarTutorError for bad scenes, boxes, models and outputs.
    """
    start = time.perf_counter()
    source = open_scene(job.scenes)
    source.name = str(job.scenes[0])
    _check_places(job)
    crs = _parse_crs(job.box_crs, source)
    polygons = [_polygon(job, number, source, crs) for number in range(len(job.boxes))]

    from sartutor.lab.annotator.export import check_vector, write_mask, write_vector

    if job.vector is not None:
        check_vector(source.grid, job.vector)
    objects = _segment(job, source, polygons, crs, progress)
    if job.vector is not None:
        write_vector(source, objects, job.vector)
    write_mask(source, objects, job.out)
    return _report(job, source, objects, time.perf_counter() - start)


def _check_places(job: SegmentJob) -> None:
    """Find out before the work, not after it, that a result has no place or would overwrite what it is made from."""
    taken = files_of(job.scenes) | {Path(job.model).resolve()}
    check_name(job.out, taken)
    if job.vector is not None:
        refuse_taken(job.vector, taken | {job.out.resolve()})
    for path in filter(None, (job.out, job.vector)):
        if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
            raise OutputError(f"cannot write {path}; choose a folder that exists and that you may write to.")
        refuse_no_file(path)
        if path.exists() and not _is_result(path):
            raise OutputError(
                f"{path} is there and holds what sartutor did not write; choose another name, or move it away."
            )


def _is_result(path: Path) -> bool:
    """Whether a file holds nothing but a mask or outlines that were written here before."""
    if path.stat().st_size == 0:
        return True
    if path.suffix.lower() == ".geojson":
        return '"sartutor":' in path.read_bytes()[:100].decode(errors="replace")
    if path.suffix.lower() == ".gpkg":
        from sartutor.lab.annotator.export import vector_layers

        return vector_layers(path) == {"masks", "drawn"}
    try:
        return "MODELS" in scene_tags(path)
    except DataError:
        return False


def _parse_crs(text: str | None, source: SceneFile) -> CRS | None:
    """The coordinate reference system named by a user; None means that of the scene."""
    if text is None:
        return None
    if source.grid.crs is None:
        raise GeometryError(
            f"{source.name} has no coordinate reference system; leave --box-crs out and give the box in pixels."
        )
    try:
        with rasterio.Env():  # or else PROJ writes to standard error
            crs = CRS.from_user_input(text)
    except (CRSError, ValueError) as error:
        raise GeometryError(
            f"--box-crs {text!r} is no coordinate reference system; write EPSG:4326, say."
        ) from error
    if not crs.is_geographic and not crs.is_projected:
        raise GeometryError(
            f"--box-crs {text!r} has no longitude or x to give a box in; write EPSG:4326, say."
        )
    return crs


def _polygon(job: SegmentJob, index: int, source: SceneFile, crs: CRS | None) -> Polygon:
    """One of the boxes, which must lie on the scene."""
    with _about(job, index):
        polygon = box_polygon(*job.boxes[index])
        clip_outline(outline(polygon, crs, source.grid), source.grid, name=source.name, crs=crs)
        return polygon


@contextmanager
def _about(job: SegmentJob, index: int) -> Iterator[None]:
    """Say in an error which of several boxes it is about."""
    try:
        yield
    except SarTutorError as error:
        number = f"box {index + 1}: " if len(job.boxes) > 1 else ""
        raise type(error)(f"{number}{error}") from error


def _segment(
    job: SegmentJob, source: SceneFile, polygons: Sequence[Polygon], crs: CRS | None, progress: bool
) -> list[Annotation]:
    """What the model finds in each box."""
    from sartutor.lab.annotator.annotation import annotate
    from sartutor.learn.models import load_model
    from sartutor.learn.sam.predictor import Predictor

    model = load_model(job.model)
    if model.units:
        known = open_scene(job.scenes, likely=partial(model.likely_units, where=source.name))
        source.bands, source.notes = known.bands, known.notes
    predictor = Predictor(model, source)
    objects = []
    for index, polygon in enumerate(tqdm(polygons, "boxes", disable=not progress or len(polygons) < 2)):
        with _about(job, index):
            found = predictor.segment(polygon, crs)
        objects.append(annotate(found, source.grid, index + 1, model=job.model, model_digest=model.digest))
    return objects


def _report(
    job: SegmentJob, source: SceneFile, objects: Sequence[Annotation], seconds: float
) -> dict[str, Any]:
    """The report of docs/ARCHITECTURE.md, with what was concluded about the scene and the boxes as `notes`."""
    return {
        "mask": str(job.out),
        "vector": str(job.vector) if job.vector else None,
        "model": job.model,
        "seconds": round(seconds, 3),
        "objects": [
            {
                "box": list(bounds),
                "score": round(found.score, 4),
                "pixels": found.pixels,
                "area_m2": None if found.area_m2 is None else round(found.area_m2, 1),
            }
            for bounds, found in zip(job.boxes, objects, strict=True)
        ],
        "notes": [*source.notes, *(f"box {found.id}: {found.note}" for found in objects if found.note)],
    }
