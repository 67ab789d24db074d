"""Which images show the same ground: learned from and judged by, they would tell what was learned by heart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import shapely

from sartutor.sar.coordinates import DEGREES, apply_affine, transform_points
from sartutor.sar.scene import Grid

SHARED_SHARE = 0.01
"""Share of the smaller image's ground from which on two images show the same place; rounding stays below it."""


def shared_ground(ones: Sequence[Grid], others: Sequence[Grid]) -> Iterator[tuple[int, int]]:
    """Numbers of the images, one of each list, that show the same ground.

    Ground is compared by outlines in degrees; images without a coordinate reference system are taken to lie apart.
    """
    (here, outlines), (there, rivals) = _outlines(ones), _outlines(others)
    for one, other in shapely.STRtree(rivals).query(outlines, predicate="intersects").T.tolist():
        if _share(outlines[one], rivals[other]):
            yield here[one], there[other]


def _outlines(grids: Sequence[Grid]) -> tuple[list[int], np.ndarray]:
    """The images that have a place, and their outlines."""
    placed = [index for index, grid in enumerate(grids) if grid.crs is not None]
    return placed, np.array([_outline(grids[index]) for index in placed], dtype=object)


def _outline(grid: Grid) -> shapely.Polygon:
    corners = np.array([(0, 0), (grid.width, 0), (grid.width, grid.height), (0, grid.height)], float)
    return shapely.Polygon(transform_points(apply_affine(grid.transform, corners), grid.crs, DEGREES))


def _share(one: shapely.Polygon, other: shapely.Polygon) -> bool:
    return float(one.intersection(other).area) > SHARED_SHARE * min(one.area, other.area)
