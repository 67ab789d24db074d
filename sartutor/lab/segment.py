"""From boxes on a scene file to a mask file: what `sartutor segment` does, for scripts too."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import CRSError
from shapely.geometry import MultiPolygon
from tqdm.auto import tqdm

from sartutor.errors import GeometryError
from sartutor.learn.models import load_model
from sartutor.learn.sam.predictor import Predictor, Segment
from sartutor.sar import footprint
from sartutor.sar.files import replacing
from sartutor.sar.geotiff import SceneFile, open_scene, write_mask
from sartutor.sar.warp import strips

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
    """Segment every box, write the union mask and, where asked for, one outline a box; returns the report of DESIGN.

    All boxes are predicted before anything is written. Raises SarTutorError for bad scenes, boxes, models and outputs.
    """
    start = time.perf_counter()
    source = open_scene(job.scenes)
    crs = parse_crs(job.box_crs, source)
    polygons = [footprint.box_polygon(*bounds) for bounds in job.boxes]
    predictor = Predictor(load_model(job.model), source)
    segments = [
        predictor.segment(polygon, crs)
        for polygon in tqdm(polygons, "boxes", disable=not progress or len(polygons) < 2)
    ]
    outlines = [footprint.mask_polygons(part.mask, source.grid, part.window) for part in segments]
    write_mask(union(segments, source.grid.shape), _valid(source, progress), source.grid, job.out)
    if job.vector is not None:
        _write_vector(segments, outlines, source, job)
    return {
        "mask": str(job.out),
        "vector": str(job.vector) if job.vector else None,
        "model": predictor.model.name,
        "seconds": round(time.perf_counter() - start, 3),
        "objects": [
            _report(bounds, segment, footprint.area_m2(outline, source.grid))
            for bounds, segment, outline in zip(job.boxes, segments, outlines, strict=True)
        ],
        "notes": [
            *source.notes,
            *(f"box {i + 1}: {part.note}" for i, part in enumerate(segments) if part.note),
        ],
    }


def parse_crs(text: str | None, source: SceneFile) -> CRS | None:
    """The coordinate reference system named by a user; None means that of the scene. Raises GeometryError."""
    if text is None:
        return None
    if source.grid.crs is None:
        raise GeometryError(
            f"{source.name} has no coordinate reference system; leave --box-crs out and give the box in pixels."
        )
    try:
        return CRS.from_user_input(text)
    except CRSError as error:
        raise GeometryError(
            f"--box-crs {text!r} is no coordinate reference system; write EPSG:4326, say."
        ) from error


def union(segments: Sequence[Segment], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The masks of all segments together, (rows, columns) of the scene."""
    mask = np.zeros(shape, bool)
    for segment in segments:
        mask[segment.window.toslices()] |= segment.mask
    return mask


def _valid(source: SceneFile, progress: bool) -> NDArray[np.bool_]:
    """Where the scene has data, read strip by strip."""
    valid = np.zeros(source.grid.shape, bool)
    for window in tqdm(list(strips(source.grid)), "no-data mask", disable=not progress, delay=2):
        valid[window.toslices()] = source.read(window).valid
    return valid


def _report(bounds: Bounds, segment: Segment, area: float | None) -> dict[str, Any]:
    return {
        "box": list(bounds),
        "score": round(segment.score, 4),
        "pixels": segment.pixels,
        "area_m2": None if area is None else round(area, 1),
    }


def _write_vector(
    segments: Sequence[Segment], outlines: Sequence[MultiPolygon], source: SceneFile, job: SegmentJob
) -> None:
    """One multipolygon a box, in the scene's coordinates, as GeoPackage."""
    assert job.vector is not None
    rows = {
        "object": range(1, len(segments) + 1),
        "score": [segment.score for segment in segments],
        "pixels": [segment.pixels for segment in segments],
        "area_m2": [footprint.area_m2(outline, source.grid) for outline in outlines],
        "model": job.model,
    }
    crs = source.grid.crs.to_wkt() if source.grid.crs else None
    with replacing(job.vector) as part:
        geopandas.GeoDataFrame(rows, geometry=list(outlines), crs=crs).to_file(
            part, driver="GPKG", layer="objects"
        )
