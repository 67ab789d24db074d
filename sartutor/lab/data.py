"""The data of a notebook, by its DATA parameter, and the file that its numbers go to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.windows import Window
from scipy import ndimage

from sartutor import catalog
from sartutor.errors import DataError
from sartutor.presets import preset
from sartutor.sar.folder import BandRule, DatasetWriter, Description, Entry, open_dataset, rasters_in
from sartutor.sar.geotiff import SceneFile, read_scene
from sartutor.sar.radiometry import RADAR_UNITS, to_units
from sartutor.sar.scene import Band, Grid, Readable, Scene
from sartutor.sar.sentinel1 import open_sentinel1
from sartutor.sim import mosaic, shapes
from sartutor.sim.landcover import Domain
from sartutor.sim.terrain import fractal_terrain

if TYPE_CHECKING:  # torch takes seconds to load, and not every notebook needs it
    from sartutor.learn.chips import Chips
    from sartutor.learn.weighting import BandStatistics

FLOOD_SAMPLE = "sen1floods11-spain"
MOSAIC_SAMPLE = "palsar2-mosaic-n23w161"
TERRAIN_SAMPLE = "avaframe-alr"
MADE_UP = "Synthetic: made on the spot, no one's data."

NOTEBOOK_SCENES = 20_000
"""Simulated scenes of smaller seeds belong to the embedded encoders, their tests and the experiments."""

GUARD_PX = 16
"""Rows between the part of an image that is learned from and the part that is not: wider than any speckle."""


@dataclass(frozen=True)
class Example:
    """A scene to work on.

    `label` (rows, columns) int8 is 1 on objects, 0 beside them and -1 where nobody looked; None without a label.
    `key` names the data in file names, `credit` says whom it comes from.
    """

    scene: Readable
    label: NDArray[np.int8] | None
    key: str
    credit: str


def sentinel1(data: str, preset_name: str, seed: int) -> Example:
    """The Sentinel-1 scene of a notebook.

    Args:
        data: "synthetic", "sample" (a labelled flood in Spain), a raster file, or a folder with `images/` and
            `masks/` of which the first image is taken.
        preset_name: size of a synthetic scene.
        seed: of a synthetic scene.
    """
    if data == "synthetic":
        scene, labels = shapes.scene(seed, size=preset(preset_name).scene_side)
        return Example(scene, _label(labels.astype(np.int32)), data, MADE_UP)
    if data == "sample":
        files = catalog.fetch(FLOOD_SAMPLE)
        image, label = (
            next(path for name, path in files.items() if part in name) for part in ("S1Hand", "Label")
        )
        return Example(open_sentinel1(image), _read_label(label), data, _credit(FLOOD_SAMPLE))
    return _own(Path(data))


@dataclass(frozen=True)
class Tile:
    """A PALSAR-2 mosaic tile, unpacked in `folder`; `key` and `credit` as in `Example`."""

    folder: Path
    key: str
    credit: str


def mosaic_tile(data: str, preset_name: str, seed: int) -> Tile:
    """The PALSAR-2 mosaic tile of a notebook: "synthetic", "sample" (Hawaii), or a folder of your own."""
    if data not in ("synthetic", "sample"):
        return Tile(Path(data), Path(data).name, f"Your own data: {data}")
    folder = runs_folder(preset_name, data) / "02-tile"
    if data == "synthetic":
        mosaic.write_tile(folder, seed, preset(preset_name).scene_side)
        return Tile(folder, data, MADE_UP)
    (archive,) = catalog.fetch(MOSAIC_SAMPLE).values()
    catalog.unpack(archive, folder)
    return Tile(folder, data, _credit(MOSAIC_SAMPLE))


def height_model(data: str, preset_name: str, seed: int) -> Example:
    """The terrain of a notebook, in metres: "sample" is a real Alpine model, all else a simulated mountain range."""
    if data == "sample":
        path = catalog.fetch(TERRAIN_SAMPLE)["avaAlr.tif"]
        return Example(read_scene(path, units="m", names=("DEM",)), None, data, _credit(TERRAIN_SAMPLE))
    side = preset(preset_name).scene_side
    height = fractal_terrain(np.random.default_rng(seed), side, pixel_m=10.0)
    grid = Grid(Affine(10, 0, 650_000, 0, -10, 5_230_000), CRS.from_epsg(32632), side, side)
    scene = Scene(height[None], (Band("DEM", "m"),), grid, np.ones(grid.shape, bool), "simulated mountains")
    return Example(scene, None, "synthetic", MADE_UP)


@dataclass(frozen=True)
class ChipSet:
    """Chips to learn from, and `unseen` ones to judge by, standardised alike; `key` and `credit` as in `Example`."""

    train: Chips
    unseen: Chips
    key: str
    credit: str


def chips(
    data: str,
    preset_name: str,
    seed: int,
    domain: Domain,
    side: int,
    count: int,
    unseen_side: int,
    unseen_count: int,
    statistics: BandStatistics | None = None,
) -> ChipSet:
    """The chips of a notebook on pretraining; the unseen ones share no place with the others.

    Args:
        data: "synthetic" is simulated land cover, all else has as many radar bands, the first ones: "sample" or a
            raster is cut in two, a folder with a dataset.yaml has splits of its own.
        preset_name: names the folder in which chips are kept.
        seed: of synthetic scenes and of random crops.
        domain: of synthetic chips.
        side, count: of the chips to learn from: rows and columns in pixels, and how many.
        unseen_side, unseen_count: of the unseen ones; of images there are as many as fit.
        statistics: those of a checkpoint, for synthetic chips; None measures the chips to learn from.
    """
    from sartutor.learn.chips import FolderChips, SimulatedChips, folder_statistics

    if data == "synthetic":
        cache = runs_folder(preset_name, data) / "chips"
        first = NOTEBOOK_SCENES + 2 * seed
        train = SimulatedChips(domain, first, count, side, statistics, cache)
        unseen = SimulatedChips(domain, first + 1, unseen_count, unseen_side, train.statistics, cache)
        return ChipSet(train, unseen, data, MADE_UP)
    folder, key, credit = Path(data), Path(data).name, f"Your own data: {data}"
    if not (folder / "dataset.yaml").is_file():
        example = sentinel1(data, preset_name, seed)
        key, credit = example.key, example.credit
        folder = _cut_in_two(example, runs_folder(preset_name, key) / f"chips-{unseen_side}", unseen_side)
    dataset = open_dataset(folder)
    other = next((split for split in dataset.splits if split != "train"), "val")
    chosen = _first_radar(folder_statistics(dataset), len(domain.polarisation.split("+")))
    crops = FolderChips(dataset, "train", side, count, seed, chosen)
    return ChipSet(crops, FolderChips(dataset, other, unseen_side, None, seed, chosen), key, credit)


def runs_folder(preset_name: str, key: str) -> Path:
    """`runs/<preset>/<data>` beside pyproject.toml, or here where there is none above; made when missing."""
    here = Path.cwd()
    root = next((folder for folder in (here, *here.parents) if (folder / "pyproject.toml").is_file()), here)
    folder = root / "runs" / preset_name / key
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def clearest_object(scene: Scene, label: NDArray[np.int8], least_pixels: int = 200) -> NDArray[np.bool_]:
    """The labelled object (rows, columns) that differs most in the first band from the rest of its bounding box.

    Objects of fewer than `least_pixels` are considered only where there is no larger one.
    """
    parts, _ = ndimage.label(label > 0, np.ones((3, 3)))
    sizes = np.bincount(parts.ravel(), minlength=2)[1:]
    values = np.where(scene.valid, scene.pixels[0], 0)

    def contrast(index: int) -> float:
        inside = parts[boxes[index]] == index + 1
        rest = values[boxes[index]][~inside]
        return abs(float(values[boxes[index]][inside].mean() - rest.mean())) if rest.size else 0.0

    boxes = ndimage.find_objects(parts)
    large = np.flatnonzero(sizes >= min(least_pixels, sizes.max())).tolist()
    return parts == max(large, key=contrast) + 1


def write_numbers(notebook: str, preset_name: str, key: str, seed: int, numbers: Mapping[str, Any]) -> None:
    """Write a notebook's own numbers to `runs/<preset>/<data>/NN-<seed>.json` and say so."""
    path = runs_folder(preset_name, key) / f"{notebook}-{seed}.json"
    path.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    print(f"{len(numbers)} numbers written to runs/{preset_name}/{key}/{path.name}")


def _own(path: Path) -> Example:
    images = rasters_in(path / "images") if path.is_dir() else [path]
    if not images:
        raise DataError(f"{path} holds no images/*.tif; give a GeoTIFF, or a folder with images/ and masks/.")
    labels = [mask for mask in rasters_in(path / "masks") if mask.stem == images[0].stem]
    drawn = _read_label(labels[0]) if labels else None
    return Example(
        _in_decibels(open_sentinel1(images[0])), drawn, images[0].stem, f"Your own data: {images[0].name}"
    )


def _cut_in_two(example: Example, folder: Path, rows: int) -> Path:
    """A folder of one's own data made of one image: its last rows are the test, all but a guard band trains."""
    scene = example.scene.read()
    height, width = scene.grid.shape
    if height < 2 * rows + GUARD_PX:
        raise DataError(
            f"{scene.name} has {height} rows; {2 * rows + GUARD_PX} are needed to learn from one part and judge by "
            "another. Give a larger image, or a folder of your own data."
        )
    radar = scene.select([band.name for band in scene.bands if band.units in RADAR_UNITS])
    rules = tuple(BandRule(name=band.name, units=band.units) for band in radar.bands)
    writer = DatasetWriter(folder, Description(bands=rules))
    for name, top, bottom in (("train", 0, height - rows - GUARD_PX), ("test", height - rows, height)):
        writer.write(name, radar.read(Window(0, top, width, bottom - top)))
    writer.finish([Entry(name, name, name) for name in ("train", "test")])
    return folder


def _first_radar(statistics: BandStatistics, count: int) -> BandStatistics:
    """The statistics of the first radar bands."""
    places = statistics.radar_bands[:count]
    return type(statistics)(*(tuple(column[i] for i in places) for column in astuple(statistics)))


def _in_decibels(source: SceneFile) -> Readable:
    """The scene as the notebooks show it: power and amplitude become decibels."""
    if all(band.units == "db" for band in source.bands):
        return source
    return to_units(source.read(), "db")


def _credit(name: str) -> str:
    one = catalog.item(name)
    return f"{one.credit}. {one.citation}"


def _read_label(path: Path) -> NDArray[np.int8]:
    return _label(read_scene(path, units="class").pixels[0])


def _label(values: NDArray[Any]) -> NDArray[np.int8]:
    return np.sign(values).astype(np.int8)
