"""Which images show the same ground: learned from and judged by, they would tell what was learned by heart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import shapely

from sartutor.errors import GeometryError
from sartutor.sar.coordinates import DEGREES, apply_affine, transform_points
from sartutor.sar.scene import Grid

SHARED_SHARE = 0.01
"""Share of the smaller image's ground from which on two images show the same place; rounding stays below it."""


def shared_ground(ones: Sequence[Grid], others: Sequence[Grid]) -> Iterator[tuple[int, int]]:
    """Numbers of the images, one of each list, that show the same ground.

    Ground is compared by outlines in degrees; images without one (`outline_deg`) are taken to lie apart.
    """
    (here, outlines), (there, rivals) = _outlines(ones), _outlines(others)
    for one, other in shapely.STRtree(rivals).query(outlines, predicate="intersects").T.tolist():
        if _share(outlines[one], rivals[other]):
            yield here[one], there[other]


def _outlines(grids: Sequence[Grid]) -> tuple[list[int], np.ndarray]:
    """The images that have a place, and their outlines."""
    found = {index: outline for index, grid in enumerate(grids) if (outline := outline_deg(grid)) is not None}
    return list(found), np.array(list(found.values()), dtype=object)


def outline_deg(grid: Grid) -> shapely.Polygon | None:
    """The outline of a grid in degrees of longitude and latitude; None where no coordinate system places it."""
    if grid.crs is None:
        return None
    corners = np.array([(0, 0), (grid.width, 0), (grid.width, grid.height), (0, grid.height)], float)
    try:
        placed = transform_points(apply_affine(grid.transform, corners), grid.crs, DEGREES)
    except GeometryError:  # a local system, say
        return None
    return shapely.Polygon(placed) if np.isfinite(placed).all() else None


def _share(one: shapely.Polygon, other: shapely.Polygon) -> bool:
    return float(one.intersection(other).area) > SHARED_SHARE * min(one.area, other.area)
