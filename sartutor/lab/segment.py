"""From boxes on a scene file to a mask file: what `sartutor segment` does, for scripts too."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rasterio.crs import CRS
from rasterio.errors import CRSError
from tqdm.auto import tqdm

from sartutor.errors import GeometryError, OutputError
from sartutor.lab.annotator.export import write_mask, write_vector
from sartutor.lab.annotator.session import Annotation
from sartutor.learn.models import load_model
from sartutor.learn.sam.predictor import Predictor
from sartutor.sar.footprint import box_polygon
from sartutor.sar.geotiff import SceneFile, open_scene

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
    for path in filter(None, (job.out, job.vector)):
        _check_folder(path)
    source = open_scene(job.scenes)
    crs = _parse_crs(job.box_crs, source)
    polygons = [box_polygon(*bounds) for bounds in job.boxes]
    predictor = Predictor(load_model(job.model), source)
    objects = []
    for number, polygon in enumerate(tqdm(polygons, "boxes", disable=not progress or len(polygons) < 2), 1):
        found = predictor.segment(polygon, crs)
        objects.append(
            Annotation(
                number,
                polygon,
                crs,
                found.window,
                found.mask,
                found.score,
                found.note,
                job.model,
                source.grid,
            )
        )
    if job.vector is not None:
        write_vector(source, objects, job.vector)
    write_mask(source, objects, job.out)
    return _report(job, source, objects, time.perf_counter() - start)


def _check_folder(path: Path) -> None:
    """Find out before the work, not after it, that there is no place for the result."""
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise OutputError(f"cannot write {path}; choose a folder that exists and that you may write to.")


def _parse_crs(text: str | None, source: SceneFile) -> CRS | None:
    """The coordinate reference system named by a user; None means that of the scene."""
    if text is None:
        return None
    if source.grid.crs is None:
        raise GeometryError(
            f"{source.name} has no coordinate reference system; leave --box-crs out and give the box in pixels."
        )
    try:
        return CRS.from_user_input(text)
    except (CRSError, ValueError) as error:
        raise GeometryError(
            f"--box-crs {text!r} is no coordinate reference system; write EPSG:4326, say."
        ) from error


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
