"""How many clicks does prompting save? A simulated annotator who knows where the debris lies, and clicks imprecisely.

By hand, an object is outlined with as few corners as give the quality that is asked for: its true outline, simplified
as by Visvalingam and Whyatt (1993), each corner misplaced at random. By prompting, a loose box is drawn; a mask that is
not usable is corrected, and if nothing helps the object is outlined by hand after all. Both ways are compared at the
quality that prompting ends with, so that clicks alone differ. They are not seconds: what looking and deciding cost,
only people can measure (`sartutor.lab.study`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window
from scipy import ndimage
from shapely.geometry import Polygon
from tqdm.auto import tqdm

from sartutor.errors import DataError
from sartutor.learn.models import SamModel
from sartutor.learn.records import total_ratio
from sartutor.learn.sam.predictor import Predictor, PromptPoint, Segment
from sartutor.learn.scores import SIZES, count
from sartutor.presets import EffortSizes
from sartutor.sar.boxes import Mask, connected_objects, jittered, tight_box
from sartutor.sar.footprint import mask_polygons, rasterize
from sartutor.sar.scene import Grid, Scene
from sartutor.sim.avalanche import avalanche_scene
from sartutor.sim.benchmark import DESCRIPTION, role_seed

CLICK_NOISE_PX = 1.0
"""Standard deviation of a click's column and of its row."""

USABLE_IOU = 0.5
"""Masks that overlap less with the object are not taken: more is wrong or missing than right."""

BOX_CLICKS = 2
"""Pressing and releasing."""

Correction = Literal["threshold", "points"]
"""How a mask is corrected: by moving the threshold of its probability, or by clicks into its largest errors."""

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9)
"""Where the threshold is moved to, with one click; the best is kept."""

MOST_POINTS = 4
"""Clicks into errors before an object is outlined by hand."""

DRAWS = 5
"""Hands that outline an object; what they reach is averaged."""

TOLERANCES_PX = np.geomspace(64, 0.5, 60)
"""Square roots of the areas of triangles that are cut off the true outline, from the coarsest."""


class HandDrawn(NamedTuple):
    """An outline by hand: corners, and mean IoU over the hands."""

    corners: int
    iou: float

    @property
    def clicks(self) -> int:
        """One a corner, and one on the first to close the ring."""
        return self.corners + 1


@dataclass(frozen=True)
class Effort:
    """One object of a scene, and what it took.

    `box_iou` is what the box alone gave and `prompted_iou` the best that came of it with so many `corrections`.
    `by_hand` is the outline with the IoU that prompting ended with: its own, or `usable` where it was given up.
    """

    scene: str
    pixels: int
    box_iou: float
    prompted_iou: float
    corrections: int
    by_hand: HandDrawn
    usable: float

    @property
    def given_up(self) -> bool:
        """Whether the mask stayed unusable, so that the object was outlined by hand after all."""
        return self.prompted_iou < self.usable

    @property
    def clicks(self) -> int:
        """Clicks of prompting, with the outline where it was given up."""
        return BOX_CLICKS + self.corrections + (self.by_hand.clicks if self.given_up else 0)

    @property
    def equalled(self) -> bool:
        """Whether the hand reached the IoU; if not, its clicks are those of the best that it drew."""
        return self.by_hand.iou >= max(self.prompted_iou, self.usable)

    @property
    def size(self) -> str:
        """Its class of `SIZES`."""
        return next(name for name, (low, high) in SIZES.items() if low <= self.pixels < high)


def measure(
    model: SamModel,
    seeds: Iterable[int],
    sizes: EffortSizes,
    correct: Correction = "threshold",
    usable: float = USABLE_IOU,
    progress: bool = True,
) -> list[Effort]:
    """Annotate all objects of simulated scenes both ways.

    Args:
        model: what is prompted; one that is not adapted sees the primary bands of the scenes.
        seeds: of scenes; not those that the model was trained on.
        sizes: side and number of the scenes of a seed, and pixels of the smallest object.
        correct: how masks are corrected.
        usable: IoU below which they are, and are given up at last.
        progress: whether to show it.
    """
    found: list[Effort] = []
    bands = tuple(dict.fromkeys(name for ranges in model.branches for name in ranges)) or DESCRIPTION.primary
    assert bands is not None
    cells = [(seed, index) for seed in seeds for index in range(sizes.scenes)]
    for seed, index in tqdm(cells, "annotating", unit="scene", disable=not progress):
        scene, debris = avalanche_scene((role_seed(seed, "test"), index), sizes.side)
        predictor = Predictor(model, _in_pixels(replace(scene.select(bands), name=f"{seed}-{index}")))
        rng = np.random.default_rng([seed, index])
        found += _annotated(predictor, debris > 0, sizes.least_pixels, correct, usable, rng)
    return found


def _annotated(
    predictor: Predictor,
    truth: Mask,
    least_pixels: int,
    correct: Correction,
    usable: float,
    rng: np.random.Generator,
) -> Iterator[Effort]:
    """Every object of a scene, each with a generator of its own, so that ways to correct are compared on equal boxes.

    Pixels of other objects count neither for nor against it.
    """
    valid = predictor.source.read().valid
    objects = connected_objects(truth, least_pixels)
    for part, own in zip(objects, rng.spawn(len(objects)), strict=True):
        known, (mouse, hand) = valid & (part | ~truth), own.spawn(2)
        ious = list(prompted(predictor, part, known, correct, usable, mouse))
        by_hand = outlined(part, known, max(*ious, usable), hand)
        pixels = int(np.count_nonzero(part))
        yield Effort(predictor.source.name, pixels, ious[0], max(ious), len(ious) - 1, by_hand, usable)


def prompted(
    predictor: Predictor,
    part: Mask,
    known: Mask,
    correct: Correction,
    usable: float,
    rng: np.random.Generator,
) -> Iterator[float]:
    """IoU of the mask from a box as loose as in training (`jittered`), then after every correction while not usable."""
    box = shapely.box(*jittered(rng, tight_box(part), predictor.source.grid.shape))
    found = predictor.segment(box)
    yield (iou := count(_whole(found, found.mask, part), part, known).iou)
    if iou >= usable:
        return
    if correct == "points":
        yield from _clicked(predictor, found, part, known, usable, rng)
    else:
        moved = (found.inside & (found.probability > threshold) for threshold in THRESHOLDS)
        yield max(count(_whole(found, mask, part), part, known).iou for mask in moved)


def _clicked(
    predictor: Predictor, found: Segment, part: Mask, known: Mask, usable: float, rng: np.random.Generator
) -> Iterator[float]:
    """IoU after every click into the middle of the largest error, until the mask is usable."""
    clicks: list[PromptPoint] = []
    while len(clicks) < MOST_POINTS:
        point = correction(_whole(found, found.mask, part), part, known)
        clicks.append(_misplaced(point, part.shape, rng))
        found = predictor.segment(found.polygon, points=clicks)
        yield (iou := count(_whole(found, found.mask, part), part, known).iou)
        if iou >= usable:
            return


def _whole(found: Segment, mask: Mask, part: Mask) -> Mask:
    """A mask on the window of a segment, on the scene of `part`."""
    whole = np.zeros(part.shape, bool)
    whole[found.window.toslices()] = mask
    return whole


def correction(marked: Mask, part: Mask, known: Mask) -> PromptPoint:
    """Column and row of the point farthest inside the largest connected error, and whether it is of the object."""
    errors, _ = ndimage.label((marked != part) & known)
    largest = errors == 1 + int(np.argmax(np.bincount(errors.ravel())[1:]))
    depth = ndimage.distance_transform_edt(np.pad(largest, 1))[1:-1, 1:-1]
    row, col = np.unravel_index(int(np.argmax(depth)), part.shape)
    return float(col) + 0.5, float(row) + 0.5, bool(part[row, col])


def _misplaced(point: PromptPoint, shape: tuple[int, ...], rng: np.random.Generator) -> PromptPoint:
    """A point as it is clicked, in a scene of (rows, columns)."""
    x, y = np.clip(rng.normal(point[:2], CLICK_NOISE_PX), 0.5, np.array(shape[::-1]) - 0.5).tolist()
    return x, y, point[2]


def outlined(part: Mask, known: Mask, iou: float, rng: np.random.Generator) -> HandDrawn:
    """The outline with fewest corners that has the IoU with an object; the best one where none has."""
    best = HandDrawn(0, -1.0)
    for corners in simplified(part):
        drawn = HandDrawn(
            len(corners), float(np.mean([_drawn_iou(corners, part, known, rng) for _ in range(DRAWS)]))
        )
        if drawn.iou >= iou:
            return drawn
        best = max(best, drawn, key=lambda one: one.iou)
    return best


def simplified(part: Mask) -> list[NDArray[np.float64]]:
    """True outlines (n, 2) of an object with more and more corners: columns and rows, rings not closed."""
    ring = outer_ring(part)
    rings = (shapely.coverage_simplify([ring], tolerance)[0] for tolerance in TOLERANCES_PX)
    found = {len(one.exterior.coords): np.asarray(one.exterior.coords)[:-1] for one in rings}
    return [found[corners] for corners in sorted(found)]


def outer_ring(part: Mask) -> Polygon:
    """The outline of a connected mask (8 neighbours) along pixel edges, without holes: nobody outlines those."""
    grid = Grid(Affine.identity(), None, *part.shape)
    joined = shapely.union_all(shapely.buffer(mask_polygons(part, grid).geoms, 1e-3, join_style="mitre"))
    return Polygon(joined.exterior)


def _drawn_iou(corners: NDArray[np.float64], part: Mask, known: Mask, rng: np.random.Generator) -> float:
    """IoU of one outline, each of its corners misplaced."""
    rows, cols = part.shape
    return count(rasterize(rng.normal(corners, CLICK_NOISE_PX), Window(0, 0, cols, rows)), part, known).iou


def effort_table(objects: Sequence[Effort]) -> pd.DataFrame:
    """Effort by class of size and of all objects.

    Columns: number of `objects`; mean IoU of the `box` alone; shares that are `usable` with the box alone, and
    `corrected` when they are not at first; share `given_up`; median clicks `by_hand` and `prompted`; share of clicks
    `saved`, negative where prompting costs more, and half the width of its 95 % interval over scenes. Raises DataError
    where there is no object.
    """
    if not objects:
        raise DataError("no object was annotated; take more scenes.")
    classes = {name: [one for one in objects if one.size == name] for name in SIZES}
    rows = {name: _row(part) for name, part in (classes | {"all": list(objects)}).items() if part}
    return pd.DataFrame.from_dict(rows, orient="index")


def _row(objects: Sequence[Effort]) -> dict[str, float]:
    saved = clicks_saved(objects)
    return {
        "objects": len(objects),
        "box": float(np.mean([one.box_iou for one in objects])),
        "usable": float(np.mean([one.box_iou >= one.usable for one in objects])),
        "corrected": float(np.mean([one.corrections > 0 and not one.given_up for one in objects])),
        "given_up": float(np.mean([one.given_up for one in objects])),
        "by_hand": float(np.median([one.by_hand.clicks for one in objects])),
        "prompted": float(np.median([one.clicks for one in objects])),
        "saved": saved[0],
        "±": saved[1],
    }


def clicks_saved(objects: Sequence[Effort]) -> tuple[float, float]:
    """Share of the clicks by hand that prompting saves, and half the width of its 95 % interval over scenes."""
    table = pd.DataFrame([(one.scene, one.clicks, one.by_hand.clicks) for one in objects])
    scenes = table.groupby(0).sum()
    ratio, half = total_ratio(scenes[1], scenes[2])
    return 1 - ratio, half


def _in_pixels(scene: Scene) -> Scene:
    """A scene whose coordinates are its pixels."""
    return replace(scene, grid=Grid(Affine.identity(), None, *scene.grid.shape))
