"""Annotations as COCO JSON, the form in which many detection programs read masks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from sartutor.lab.annotator.annotation import Annotation
from sartutor.lab.annotator.provenance import kept, provenance
from sartutor.sar.boxes import tight_box
from sartutor.sar.files import check_writable, replacing
from sartutor.sar.scene import Readable

IMAGE = 1
"""Number of the only image."""


def write_coco(scene: Readable, objects: Sequence[Annotation], path: Path | str) -> Path:
    """Write `coco` of a scene; OutputError where it cannot be written."""
    path = Path(path)
    check_writable(path)
    with replacing(path) as part:
        part.write_text(json.dumps(coco(scene, objects), ensure_ascii=False), encoding="utf-8")
    return path


def coco(scene: Readable, objects: Sequence[Annotation]) -> dict[str, Any]:
    """A scene and its objects but for rejected and empty ones in the COCO format for detection.

    One category a class. `segmentation` is uncompressed run lengths (`run_lengths`), `area` counts pixels, `bbox` is
    left, top, width, height in pixels; `score`, `status` and `annotator` stand beside them.
    """
    found = [one for one in kept(objects) if one.pixels]
    categories = dict(zip(sorted({one.label for one in found}), count(1), strict=False))
    height, width = scene.grid.shape
    return {
        "info": {"description": f"Objects in {scene.name}", **provenance(scene, found)},
        "images": [{"id": IMAGE, "file_name": scene.name, "width": width, "height": height}],
        "annotations": [_entry(one, categories[one.label]) for one in found],
        "categories": [{"id": id, "name": name, "supercategory": ""} for name, id in categories.items()],
    }


def _entry(annotation: Annotation, category: int) -> dict[str, Any]:
    shape, window = annotation.grid.shape, annotation.window
    x0, y0, x1, y1 = map(int, tight_box(annotation.mask))
    return {
        "id": annotation.id,
        "image_id": IMAGE,
        "category_id": category,
        "segmentation": {"counts": run_lengths(annotation.mask, window, shape), "size": list(shape)},
        "area": annotation.pixels,
        "bbox": [int(window.col_off) + x0, int(window.row_off) + y0, x1 - x0, y1 - y0],
        "iscrowd": 0,
        "score": annotation.score,
        "status": annotation.status,
        "annotator": annotation.annotator,
    }


def run_lengths(mask: NDArray[np.bool_], window: Window, shape: tuple[int, int]) -> list[int]:
    """Run lengths of a mask (h, w) on a window of an image of `shape` (rows, columns), which is never made in full.

    Pixels are counted column by column: first those outside the object (0 where the first pixel is inside), then those
    inside, and so on; a run of outside pixels at the end is counted too.
    """
    cols, rows = np.nonzero(mask.T)
    places = (cols + int(window.col_off)) * shape[0] + rows + int(window.row_off)
    last = np.flatnonzero(np.diff(places) != 1)
    starts, ends = places[[0, *(last + 1)]], places[[*last, -1]] + 1
    edges = np.column_stack((starts, ends)).ravel()
    counts = np.diff([0, *edges, shape[0] * shape[1]]).tolist()
    return counts if counts[-1] else counts[:-1]
