"""The ALOS-2 land-cover data set of arXiv 2603.15119, made from your own scenes: chips with JAXA's HRLULC labels.

Scenes are PALSAR-2 level 2.1 GeoTIFFs of digital numbers, named as JAXA names them
(IMG-HH-ALOS2458503210-221119-UBSR2.1GUD.tif); labels are the tiles of the high-resolution land-use and land-cover
map of Japan, version 21.11, one value a pixel on a longitude-latitude grid. Chips are tiles of a regular grid over
the scene (the published chip names carry offsets that are multiples of 256: inferred), so that no pixel lies in two.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.warp import Resampling, reproject
from rasterio.windows import Window
from tqdm import tqdm

from sartutor.errors import DataError, GeometryError
from sartutor.sar.alos2_products import Alos2Scene, open_alos2
from sartutor.sar.coordinates import DEGREES, apply_affine, bounds, transform_points
from sartutor.sar.folder import IGNORE, Dataset, DatasetWriter, Description, Entry, write_csv
from sartutor.sar.layers import layers_of, read_layers
from sartutor.sar.radiometry import to_units
from sartutor.sar.scene import Grid

SOURCE_CLASSES = {
    1: "water",
    2: "built-up",
    3: "paddy",
    4: "cropland",
    5: "grassland",
    6: "deciduous broad-leaf forest",
    7: "deciduous needle-leaf forest",
    8: "evergreen broad-leaf forest",
    9: "evergreen needle-leaf forest",
    10: "bare",
    11: "bamboo",
    12: "solar panel",
}
"""Classes of JAXA's map, version 21.11 (its documentation); other values are no data."""

FOREST = (6, 7, 8, 9)
"""The four classes that become one."""

CLASSES = (
    "water", "built-up", "paddy", "cropland", "grassland", "forest", "bare", "bamboo", "solar panel",
)  # fmt: skip
"""The nine classes after merging, in the order of the source: inferred, as the paper's order is not known.

The published class weights must not be used by position: they give 46 % to the fifth class, which in Japan can hardly
be grassland.
"""

CHIP_SIDE = 256
"""Rows and columns of a chip (arXiv 2603.15119)."""

STRATEGIES = ("no_forest", "balanced")
"""Which chips are drawn: any whose centre is not forest, or as many of every class at the centre."""

INDEX_COLUMNS = (
    "Year", "Month", "Day", "FolderPath", "FileName", "MinLon", "MaxLon", "MinLat", "MaxLat", "Latitude", "Longitude",
    "Category",
)  # fmt: skip
"""Columns of the index, as in the published lists of chips."""

IGNORED = 255
"""Value in mask files of pixels without a class."""


@dataclass(frozen=True)
class Chip:
    """One tile of a scene: its first row and column, and the class at its centre (index into `CLASSES`)."""

    row: int
    col: int
    category: int

    def window(self, side: int) -> Window:
        """Its pixels in the scene."""
        return Window(self.col, self.row, side, side)


def merge_classes(values: NDArray[Any]) -> NDArray[np.int16]:
    """Index into `CLASSES` of values of the source map: 6 to 9 become forest, what is no class becomes -1."""
    merged = np.full(256, IGNORE, np.int16)
    for value, name in SOURCE_CLASSES.items():
        merged[value] = CLASSES.index("forest" if value in FOREST else name)
    known = np.isfinite(values) & (values >= 0) & (values < 256)
    return merged[np.where(known, values, 0).astype(np.uint8)]


def labels_on_grid(maps: Sequence[Path], grid: Grid) -> NDArray[np.int16]:
    """Classes (rows, columns) of a radar grid from tiles of the source map; -1 where no tile knows.

    Classes are merged first and never averaged. Where a radar pixel covers more ground than one of the map, it gets
    the class that most of its area has, no data having no vote; otherwise the class at its centre.
    """
    if grid.crs is None:
        raise GeometryError(
            "the radar scene has no coordinate reference system; labels cannot be laid over it."
        )
    labels: NDArray[np.int16] = np.full(grid.shape, IGNORE, np.int16)
    for path in maps:
        here = _one_map(path, grid)
        labels = np.where(labels == IGNORE, here, labels)
    return labels


def pixel_ratio(grid: Grid, other: Grid) -> float:
    """Area of the middle pixel of `grid` in pixels of `other`."""
    corner = np.array([grid.width // 2, grid.height // 2]) + np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    ground = transform_points(apply_affine(grid.transform, corner), grid.crs, other.crs)
    points = apply_affine(~other.transform, ground)
    (a, c), (b, d) = points[1] - points[0], points[2] - points[0]
    return float(abs(a * d - b * c))


def candidates(scene: Alos2Scene, maps: Sequence[Path], side: int = CHIP_SIDE) -> Iterator[Chip]:
    """All tiles of the regular grid that are data everywhere and have a class at their centre, row by row."""
    for row in range(0, scene.grid.height - side + 1, side):
        for col in range(0, scene.grid.width - side + 1, side):
            window = Window(col, row, side, side)
            if not scene.read(window).valid.all():
                continue
            middle = scene.grid.crop(Window(col + side // 2, row + side // 2, 1, 1))
            category = int(labels_on_grid(maps, middle)[0, 0])
            if category != IGNORE:
                yield Chip(row, col, category)


def choose(rng: np.random.Generator, chips: Sequence[Chip], count: int, strategy: str) -> list[Chip]:
    """At most `count` chips, drawn without replacement by one of `STRATEGIES`, in their own order.

    "no_forest" draws evenly from those whose centre is not forest; "balanced" draws the same number of every class
    that occurs, forest included, and all of a class that has fewer.
    """
    if strategy not in STRATEGIES:
        raise DataError(f"there is no sampling strategy {strategy!r}; use one of {', '.join(STRATEGIES)}.")
    categories = np.array([chip.category for chip in chips], int)
    if strategy == "no_forest":
        allowed = np.flatnonzero(categories != CLASSES.index("forest"))
        drawn = rng.permutation(allowed)[:count]
    else:
        present = np.unique(categories)
        each = count // max(len(present), 1)
        parts = [rng.permutation(np.flatnonzero(categories == category))[:each] for category in present]
        drawn = np.concatenate([np.empty(0, int), *parts])
    return [chips[index] for index in np.sort(drawn)]


def index_row(chip: Chip, side: int, grid: Grid, day: date, folder: str, name: str) -> tuple[Any, ...]:
    """One line of the index: date, file, bounds and centre in degrees (WGS 84), class at the centre."""
    west, south, east, north = bounds(grid.crop(chip.window(side)), DEGREES)
    centre = np.array([[chip.col + side / 2, chip.row + side / 2]])
    lon, lat = transform_points(apply_affine(grid.transform, centre), grid.crs, DEGREES)[0]
    degrees = [round(float(value), 7) for value in (west, east, south, north, lat, lon)]
    return day.year, day.month, day.day, folder, name, *degrees, chip.category


def make_dataset(
    scenes: Mapping[Path, str],
    maps: Sequence[Path],
    out: str | Path,
    *,
    per_scene: int,
    strategy: str = "no_forest",
    seed: int = 0,
    side: int = CHIP_SIDE,
    progress: bool = True,
) -> Dataset:
    """Draw chips from scenes and write them with their labels as a folder of your own data, and `index.csv` beside.

    Args:
        scenes: level 2.1 products or images, as for `open_alos2`, each with the split that all of its chips go to.
        maps: tiles of the source map.
        out: folder to write; one that was left unfinished is continued.
        per_scene: most chips a scene.
        strategy: one of `STRATEGIES`.
        seed: of the draw.
        side: rows and columns of a chip.
        progress: whether a bar is shown.

    Raises:
        DataError: a scene is not of level 2.1.
        GeometryError: scenes of different splits show the same ground.
    """
    opened = {path: _orthorectified(path) for path in scenes}
    _refuse_shared_ground(opened, scenes)
    first = next(iter(opened.values()))
    writer = DatasetWriter(out, _description([band.name for band in first.bands]))
    entries, rows = [], []
    for number, (path, scene) in enumerate(opened.items()):
        rng = np.random.default_rng([seed, number])
        chosen = choose(rng, list(candidates(scene, maps, side)), per_scene, strategy)
        for chip in tqdm(chosen, desc=path.stem, unit="chip", disable=not progress):
            name = f"{path.stem}_{chip.col}_{chip.row}"
            entries.append(Entry(name, scenes[path], path.stem))
            rows.append(index_row(chip, side, scene.grid, scene.said.date, "images", f"{name}.tif"))
            if not writer.has(name):
                part = to_units(scene.read(chip.window(side)), "db")
                labels = labels_on_grid(maps, part.grid)
                writer.write(name, part, np.where(labels == IGNORE, IGNORED, labels))
    write_csv(Path(out) / "index.csv", INDEX_COLUMNS, rows)
    return writer.finish(entries)


def _orthorectified(path: Path) -> Alos2Scene:
    scene = open_alos2(path)
    if scene.said.level != "2.1":
        raise DataError(
            f"{path} is level {scene.said.level}, whose places are not corrected for heights, so labels would lie "
            "beside what they name; take level 2.1."
        )
    return scene


def _description(band_names: Sequence[str]) -> Description:
    labels = {name: (number,) for number, name in enumerate(CLASSES)}
    bands = [{"name": name, "units": "db"} for name in band_names]
    return Description.model_validate({"bands": bands, "labels": labels, "ignore": IGNORED})


def _one_map(path: Path, grid: Grid) -> NDArray[np.int16]:
    layers, whole = layers_of(path)
    result = np.full(grid.shape, IGNORE, np.int16)
    if whole.crs is None:
        raise GeometryError(f"{path} has no coordinate reference system; assign the one that it is in.")
    window = _window_around(whole, grid)
    if window is None:
        return result
    values, valid = read_layers(layers[:1], window)
    part = whole.crop(window)
    majority = pixel_ratio(grid, part) > 1
    reproject(
        np.where(valid, merge_classes(values[0]), IGNORE).astype(np.int16),
        result,
        src_transform=part.transform,
        src_crs=part.crs,
        src_nodata=IGNORE,
        dst_transform=grid.transform,
        dst_crs=grid.crs,
        dst_nodata=IGNORE,
        resampling=Resampling.mode if majority else Resampling.nearest,
        tolerance=0,
    )
    return result


def _window_around(whole: Grid, grid: Grid) -> Window | None:
    """The pixels of `whole` that `grid` lies in, with a margin of 2 px; None where they do not meet."""
    west, south, east, north = bounds(grid, whole.crs)
    corners = np.array([[west, south], [west, north], [east, south], [east, north]])
    points = apply_affine(~whole.transform, corners)
    first = np.maximum(np.floor(points.min(0)) - 2, 0).astype(int)
    last = np.minimum(np.ceil(points.max(0)) + 2, (whole.width, whole.height)).astype(int)
    if (last <= first).any():
        return None
    return Window(*first.tolist(), *(last - first).tolist())


def _refuse_shared_ground(opened: Mapping[Path, Alos2Scene], splits: Mapping[Path, str]) -> None:
    boxes = {path: bounds(scene.grid, DEGREES) for path, scene in opened.items()}
    for one, other in combinations(boxes, 2):
        a, b = boxes[one], boxes[other]
        apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
        if splits[one] != splits[other] and not apart:
            raise GeometryError(
                f"{one.name} ({splits[one]}) and {other.name} ({splits[other]}) show the same ground; give both one "
                "split."
            )
