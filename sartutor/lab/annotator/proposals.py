"""Boxes that nobody drew: around everything that changed between two dates, and around an object on another date.

Change is the ratio of two mean powers in decibels. Its threshold is one of constant false alarms (Rignot and van Zyl
1993 look at the ratio in decibels, whose spread does not depend on the level): the ratio of averages over many looks is
nearly normal where nothing changed, and most of a scene has not, so median and median absolute deviation tell that
normal law and change hardly moves them. Otsu's threshold would need changed and unchanged areas of similar size: where
one pixel in a hundred has changed, it cuts through the speckle.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.windows import Window
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import norm
from shapely.geometry import Polygon

from sartutor.errors import DataError, GeometryError
from sartutor.lab.annotator.annotation import Annotation
from sartutor.sar.boxes import Box, loose_box, merge_overlapping
from sartutor.sar.dates import named_pairs
from sartutor.sar.footprint import clip_outline, ground, outline, pixel_box
from sartutor.sar.radiometry import RADAR_UNITS, power_to_db, to_linear
from sartutor.sar.resize import strips
from sartutor.sar.scene import Band, Grid, Readable
from sartutor.sar.speckle import boxcar

SMOOTHING = 9
"""Rows and columns, in pixels, that power is averaged over before two dates are compared."""

FALSE_ALARMS = 1e-3
"""Share of unchanged pixels that pass the threshold."""

LEAST_PIXELS = 30
"""Fewest connected changed pixels that are proposed."""

MOST = 50
"""Most boxes that are proposed."""

SAMPLED_STRIPS = 8
"""Strips of a large scene, evenly spread, that the unchanged ground is judged by."""

MAD_TO_DEVIATION = 1.4826
"""Standard deviation over median absolute deviation of a normal law."""

_EIGHT = np.ones((3, 3), np.uint8)

Layer = NDArray[np.float32]


@dataclass(frozen=True)
class Change:
    """Connected changed pixels: bounding box in pixels of the scene, their number, and the sum of |change| in dB."""

    box: Box
    pixels: int
    strength: float


def changed_shapes(scene: Readable, least_pixels: int = LEAST_PIXELS, most: int = MOST) -> list[Polygon]:
    """Boxes, in coordinates of the scene, around what changed between its two dates, strongest first.

    Each is loosened as boxes are in training, and those that overlap become one. Raises DataError where the scene has
    no pair of dates or nothing has changed.
    """
    parts = changed_parts(scene, least_pixels)
    boxes = merge_overlapping([loose_box(part.box, scene.grid.shape) for part in parts])
    strength = [sum(part.strength for part in parts if _holds(box, part.box)) for box in boxes]
    order = np.argsort(strength)[::-1][:most]
    return [box_shape(boxes[index], scene.grid) for index in order]


def propagate(annotation: Annotation, scene: Readable) -> Polygon:
    """A box, in coordinates of `scene`, around an object of a scene of the same place, loosened as in training.

    The scenes may differ in grid and coordinate reference system. The box is that of the mask, or of the drawn shape
    where the mask is empty. Raises GeometryError where the object lies outside or one scene alone has coordinates on
    the ground.
    """
    origin, target = annotation.grid.crs, scene.grid.crs
    if (origin is None) != (target is None):
        raise GeometryError(
            f"{scene.name} and the scene of object {annotation.id} do not both have a coordinate reference system; "
            "assign the missing one."
        )
    drawn = annotation.polygon, annotation.crs or origin
    shape, crs = (annotation.outline.convex_hull, origin) if annotation.pixels else drawn
    points, _ = clip_outline(outline(shape, crs, scene.grid), scene.grid, name=scene.name, crs=crs)
    return box_shape(loose_box(pixel_box(points), scene.grid.shape), scene.grid)


def box_shape(box: Box, grid: Grid) -> Polygon:
    """A box in pixels as a polygon in coordinates of the grid."""
    return ground(shapely.get_coordinates(shapely.box(*box))[:-1], grid, None)


def dates(bands: Sequence[Band]) -> dict[str, tuple[int, int]]:
    """Places, before and after, of the first two radar bands that show one polarisation at two dates, by its name.

    Their names tell (`named_pairs`), or they carry dates and have equal letters in front.
    """
    radar = {band.name: i for i, band in enumerate(bands) if band.units in (*RADAR_UNITS, "dn")}
    found = {name: (radar[one], radar[other]) for name, (one, other) in named_pairs(list(radar)).items()}
    for i, j in combinations(radar.values(), 2):
        one, other = bands[i], bands[j]
        if one.date and other.date and one.date != other.date and one.name[:2] == other.name[:2]:
            found.setdefault(one.name[:2].upper(), (i, j) if one.date < other.date else (j, i))
    return found


def change_db(before: Layer, after: Layer, valid: NDArray[np.bool_], size: int = SMOOTHING) -> Layer:
    """10 log10 of mean power after over mean power before, (rows, columns); means over size x size valid pixels."""
    first, second = (power_to_db(boxcar(power, size, valid)) for power in (before, after))
    return np.asarray(second - first, np.float32)


def unchanged_law(changes: NDArray[np.float32]) -> tuple[float, float]:
    """Median and standard deviation, by the median absolute deviation, of the change of what has not changed, in dB."""
    centre = float(np.median(changes))
    return centre, MAD_TO_DEVIATION * float(np.median(np.abs(changes - centre)))


def changed_parts(scene: Readable, least_pixels: int = LEAST_PIXELS) -> list[Change]:
    """Connected parts (8 neighbours) that changed, by a scene read twice in strips; DataError where there are none."""
    pairs = list(dates(scene.bands).values())
    if not pairs:
        listed = ", ".join(band.name for band in scene.bands)
        raise DataError(
            f"{scene.name} has no band on two dates ({listed}); name two bands VV0 and VV1, or make a pair of two "
            "scenes first."
        )
    pair = pairs[0]
    windows = list(strips(scene.grid))
    sampled = windows[:: -(-len(windows) // SAMPLED_STRIPS)]
    known = np.concatenate([_known(_strip_change(scene, pair, window)) for window in sampled])
    if len(known) == 0:
        raise DataError(f"{scene.name} has no pixel that is valid on both dates; choose another pair.")
    centre, deviation = unchanged_law(known)
    least = deviation * float(norm.isf(FALSE_ALARMS / 2))
    layers = (np.abs(_strip_change(scene, pair, window) - centre) for window in windows)
    parts = [part for part in connected_parts(layers, least) if part.pixels >= least_pixels]
    if not parts:
        raise DataError(
            f"{scene.name}: nothing has changed by more than {least:.1f} dB over {least_pixels} px; draw boxes."
        )
    return parts


def connected_parts(strips: Iterator[Layer], least: float) -> list[Change]:
    """Connected parts (8 neighbours) above `least` of an image that comes in strips of rows, from top to bottom."""
    boxes, pixels, strengths, links = [], [], [], [np.empty((2, 0), int)]
    count, top, above = 0, 0, np.zeros(0, int)
    for values in strips:
        labels, found = ndimage.label(values > least, _EIGHT)
        numbered = np.where(labels > 0, labels + count, 0)
        links += _touching(above, numbered[0]) if len(above) else []
        boxes += [(c.start, r.start + top, c.stop, r.stop + top) for r, c in ndimage.find_objects(labels)]
        pixels.append(np.bincount(labels.ravel(), minlength=found + 1)[1:])
        weights = np.where(labels > 0, values, 0).ravel()
        strengths.append(np.bincount(labels.ravel(), weights, minlength=found + 1)[1:])
        count, top, above = count + found, top + len(values), numbered[-1]
    return _joined(
        np.array(boxes, float), np.concatenate(pixels), np.concatenate(strengths), np.hstack(links)
    )


def _joined(
    boxes: NDArray[np.float64],
    pixels: NDArray[np.int_],
    strengths: NDArray[np.float64],
    links: NDArray[np.int_],
) -> list[Change]:
    """Parts of strips, numbered from 1, put together where `links` (2, n) name two of them."""
    count = len(boxes)
    graph = coo_array((np.ones(links.shape[1], bool), tuple(links - 1)), shape=(count, count))
    groups, group = connected_components(graph, directed=False)
    around = np.tile([np.inf, np.inf, -np.inf, -np.inf], (groups, 1))
    if count:
        np.minimum.at(around[:, :2], group, boxes[:, :2])
        np.maximum.at(around[:, 2:], group, boxes[:, 2:])
    sums = np.bincount(group, pixels, groups), np.bincount(group, strengths, groups)
    return [
        Change((x0, y0, x1, y1), int(size), float(strength))
        for (x0, y0, x1, y1), size, strength in zip(around.tolist(), *sums, strict=True)
    ]


def _touching(above: NDArray[np.int_], below: NDArray[np.int_]) -> list[NDArray[np.int_]]:
    """Pairs (2, n) of numbers, 0 being none, that are neighbours of one row and the next."""
    pairs = [(above, below), (above[1:], below[:-1]), (above[:-1], below[1:])]
    return [np.unique(np.stack((a, b))[:, (a > 0) & (b > 0)], axis=1) for a, b in pairs]


def _strip_change(scene: Readable, pair: tuple[int, int], window: Window) -> Layer:
    """The change in a strip, not-a-number where it is not valid, averaged over its neighbours' rows too."""
    margin = SMOOTHING // 2
    first = max(int(window.row_off) - margin, 0)
    last = min(int(window.row_off + window.height) + margin, scene.grid.height)
    piece = scene.read(Window(0, first, scene.grid.width, last - first))
    before, after = (
        np.where(piece.valid, to_linear(piece.pixels[i], piece.bands[i].units), 0).astype(np.float32)
        for i in pair
    )
    start = int(window.row_off) - first
    return change_db(before, after, piece.valid)[start : start + int(window.height)]


def _known(change: Layer) -> Layer:
    return change[np.isfinite(change)]


def _holds(outer: Box, inner: Box) -> bool:
    """Whether the middle of a box lies in another."""
    x, y = (inner[0] + inner[2]) / 2, (inner[1] + inner[3]) / 2
    return outer[0] <= x <= outer[2] and outer[1] <= y <= outer[3]
