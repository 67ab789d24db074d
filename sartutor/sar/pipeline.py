"""A whole scene made into tiles: calibrated, filtered and cut window by window, restarted where it was stopped.

A folder of tiles holds `images/<id>.tif`, `recipe.json` (what was done to which scene) and, once it is complete,
`tiles.csv` (one line a tile). Only a few tiles are in memory at any time, and each file appears whole or not at
all, so that a run that was killed goes on with the tiles that are missing.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from sartutor import __version__
from sartutor.errors import DataError, OutputError
from sartutor.sar.files import replacing
from sartutor.sar.geotiff import write_scene
from sartutor.sar.layers import opened
from sartutor.sar.radiometry import RADAR_UNITS, alos2_dn_to_power, to_linear, to_units
from sartutor.sar.scene import Band, Quantity, Readable, Scene
from sartutor.sar.speckle import FILTERS, estimate_looks, filter_scene
from sartutor.sar.tiles import Tile, tile_grid, with_halo

SAMPLE_WINDOWS, SAMPLE_SIDE = 9, 512
"""Windows all over a scene, and their rows and columns at most, that its looks are estimated from."""

IN_FLIGHT_BYTES = 2**30
"""Memory that the tiles worked on at a time may take together."""

COPIES = 12
"""Copies of a tile, as 32-bit numbers, that are held at the worst moment; about 8 were measured."""


@dataclass(frozen=True)
class Recipe:
    """What is done to a scene on its way to tiles.

    `calibration_db` is the factor CF of sigma0 or gamma0 = 10 log10 <DN^2> + CF that digital numbers are calibrated
    with, and `quantity` what comes out; None where the scene is calibrated. `speckle` names a filter of
    `sartutor.sar.speckle.FILTERS`, with windows of `size` pixels and `looks` (one number, or one a backscatter band;
    None: estimated once for the scene). Tiles are in `units`, `side` pixels large, and share `overlap` pixels.
    """

    calibration_db: float | None = None
    quantity: Quantity = "none"
    speckle: str | None = None
    looks: float | tuple[float, ...] | None = None
    size: int = 7
    units: Literal["db", "power"] = "db"
    side: int = 1024
    overlap: int = 0

    def __post_init__(self) -> None:
        if self.speckle is not None and self.speckle not in FILTERS:
            raise DataError(f"no speckle filter is called {self.speckle!r}; use one of {', '.join(FILTERS)}.")
        if self.size < 1 or self.size % 2 == 0:
            raise DataError(f"a window of {self.size} pixels has no centre; use an odd number such as 7.")
        if self.units not in ("db", "power"):
            raise DataError(f"tiles are written in 'db' or 'power', not in {self.units!r}.")

    @property
    def reach(self) -> int:
        """How many pixels around a tile its filter sees."""
        return self.size // 2 if self.speckle else 0


@dataclass(frozen=True)
class TileRecord:
    """One line of `tiles.csv`: `y` and `x` are the tile's first row and column, `valid` its share of valid pixels."""

    id: str
    row: int
    col: int
    y: int
    x: int
    height: int
    width: int
    valid: float


def prepare(source: Readable, recipe: Recipe, out: str | Path, progress: bool = True) -> list[TileRecord]:
    """Calibrate, filter and cut a scene into the tiles of a folder, several at a time, without loading it whole.

    Tiles that are finished already are kept; a tile without valid pixels is neither written nor listed.

    Args:
        source: a scene in memory or in files.
        recipe: what is done to it.
        out: the folder; made where it does not exist.
        progress: show a progress bar.

    Returns:
        The lines of `tiles.csv`, row by row from the upper left.

    Raises:
        DataError: the recipe does not fit the scene's units.
        OutputError: the folder cannot be written to, is being written to, or holds tiles of another scene or recipe.
    """
    out = Path(out)
    tiles = tile_grid(source.grid.shape, recipe.side, recipe.overlap)
    recipe = with_looks(recipe, source)
    with _folder(out):
        _claim(out, _stated(source, recipe))
        workers = tiles_in_flight(min(recipe.side, max(source.grid.shape)), len(source.bands))
        records = _computed(partial(_finish_tile, source, recipe, out / "images"), tiles, workers, progress)
        found = [record for record in records if record is not None]
        _write_index(found, out / "tiles.csv")
    return found


def prepare_window(source: Readable, recipe: Recipe, window: Window) -> Scene:
    """One window of a scene, calibrated, filtered and in the recipe's units, as if the whole scene had been.

    The filter sees beyond the window; looks must be named where there is a filter (see `with_looks`).
    """
    outer, inside = with_halo(window, recipe.reach, source.grid.shape)
    scene = calibrated(source.read(outer), recipe)
    if recipe.speckle is not None and scene.valid.any():
        scene = filter_scene(scene, recipe.speckle, recipe.looks, recipe.size)
    scene = scene.read(Window.from_slices(*inside))
    return to_units(scene, recipe.units) if _to_convert(scene.bands, recipe) else scene


def calibrated(scene: Scene, recipe: Recipe) -> Scene:
    """The scene with its digital numbers turned into power; 0 is no echo and becomes no data.

    Raises DataError where numbers are left without calibration, or where nothing is left to calibrate.
    """
    _check_calibration(scene.name, scene.bands, recipe)
    if recipe.calibration_db is None:
        return scene
    pixels, valid, bands = scene.pixels.copy(), scene.valid.copy(), []
    for layer, band in zip(pixels, scene.bands, strict=True):
        if band.units == "dn":
            valid &= layer > 0
            layer[...] = alos2_dn_to_power(layer, recipe.calibration_db)
            band = replace(band, units="power", quantity=recipe.quantity)
        bands.append(band)
    return replace(scene, pixels=pixels, valid=valid, bands=tuple(bands))


def with_looks(recipe: Recipe, source: Readable) -> Recipe:
    """The recipe with numbers of looks: the scene's own, one a backscatter band, where it filters and names none.

    Each is the median over windows all over the scene, so that every tile is filtered alike. A dark band whose noise
    was subtracted shows fewer looks than a bright one, and is filtered accordingly. Raises DataError where no window of
    a band shows speckle.
    """
    _check_calibration(source.name, source.bands, recipe)
    if recipe.speckle is None or recipe.looks is not None:
        return recipe
    names = [band.name for band in source.bands if band.units in (*RADAR_UNITS, "dn")]
    found = np.array([list(_looks(source, recipe, window)) for window in _sample(source)])  # (windows, bands)
    without = [name for name, looks in zip(names, found.T, strict=True) if np.isnan(looks).all()]
    if without or not names:
        where = f"{source.name}: {', '.join(without)}" if without else source.name
        raise DataError(f"{where} shows no speckle to estimate looks from; name the looks.")
    return replace(recipe, looks=tuple(np.nanmedian(found, axis=0).tolist()))


def tiles_in_flight(side: int, bands: int) -> int:
    """How many tiles are worked on at a time: one a core, as far as memory allows."""
    from dask.system import CPU_COUNT

    each = COPIES * 4 * bands * side**2  # float32
    return max(1, min(CPU_COUNT, IN_FLIGHT_BYTES // each))


def _finish_tile(source: Readable, recipe: Recipe, images: Path, tile: Tile) -> TileRecord | None:
    """The line of a tile whose file is there when this returns; None for one without data."""
    path = images / f"{_identity(source.name, tile)}.tif"
    valid = _valid_of(path)
    if valid is None:
        scene = prepare_window(source, recipe, tile.window)
        valid = scene.valid
        if not valid.any():
            return None
        write_scene(replace(scene, name=path.stem), path)
    window = tile.window
    place = (tile.row, tile.col, window.row_off, window.col_off, window.height, window.width)
    return TileRecord(path.stem, *place, round(float(valid.mean()), 4))


def _valid_of(path: Path) -> NDArray[np.bool_] | None:
    """Where a finished tile holds data; None for one that is missing or damaged."""
    if not path.exists():
        return None
    try:
        with opened(path) as dataset:
            return dataset.dataset_mask() > 0
    except DataError:
        return None


def _computed(
    job: Callable[[Tile], TileRecord | None], tiles: Sequence[Tile], workers: int, progress: bool
) -> list[TileRecord | None]:
    """What `job` returns for each tile, `workers` at a time; tiles once begun are finished even on an error."""
    import dask
    from tqdm.dask import TqdmCallback

    work = dask.delayed(job, pure=False, traverse=False)
    with ThreadPoolExecutor(workers) as pool, TqdmCallback(desc="tiles", unit="tile", disable=not progress):
        return list(dask.compute(*(work(tile) for tile in tiles), scheduler="threads", pool=pool))


@contextmanager
def _folder(out: Path) -> Iterator[None]:
    """The folder `out` with its images, for this run alone and without what a killed one left half-written."""
    from filelock import FileLock, Timeout

    try:
        (out / "images").mkdir(parents=True, exist_ok=True)
        with FileLock(out / ".lock", timeout=0):
            for part in (out / "images").glob(".*.tif"):
                part.unlink()
            yield
    except Timeout as error:
        raise OutputError(f"{out} is being written to by another run; wait until it ends.") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"cannot write tiles to {out} ({reason}); choose another folder.") from error


def _claim(out: Path, stated: dict[str, Any]) -> None:
    """Write what is done into the folder's recipe; OutputError where it holds tiles of something else."""
    path = out / "recipe.json"
    if any((out / "images").glob("*.tif")):
        earlier = _read_json(path)
        if other := [key for key, value in stated.items() if earlier.get(key) != value]:
            raise OutputError(
                f"{out} holds tiles made otherwise ({', '.join(other)} differ); choose another folder, or "
                "delete that one."
            )
        return
    with replacing(path) as part:
        part.write_text(json.dumps(stated, indent=1), encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _stated(source: Readable, recipe: Recipe) -> dict[str, Any]:
    """What decides about the pixels of tiles, as it is read back from JSON."""
    scene = {"scene": source.name, "scene digest": source.digest(), "version": __version__}
    stated: dict[str, Any] = json.loads(json.dumps({**scene, **asdict(recipe)}))
    return stated


def _write_index(records: Sequence[TileRecord], path: Path) -> None:
    with replacing(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(TileRecord)])
        writer.writeheader()
        writer.writerows(asdict(record) for record in records)
        file.flush()
        os.fsync(file.fileno())


def _identity(scene: str, tile: Tile) -> str:
    """Name of a tile: the scene's, with what file names do not bear replaced, first row and first column."""
    name = re.sub(r"[^\w.-]+", "-", scene)
    return f"{name}_{tile.window.row_off:05d}_{tile.window.col_off:05d}"


def _check_calibration(name: str, bands: Sequence[Band], recipe: Recipe) -> None:
    raw = [band.name for band in bands if band.units == "dn"]
    if raw and recipe.calibration_db is None:
        raise DataError(f"{name}: {', '.join(raw)} holds digital numbers; name the calibration factor in dB.")
    if not raw and recipe.calibration_db is not None:
        raise DataError(f"{name} holds no digital numbers to calibrate; leave the calibration factor out.")


def _to_convert(bands: Sequence[Band], recipe: Recipe) -> bool:
    return any(band.units in RADAR_UNITS and band.units != recipe.units for band in bands)


def _sample(source: Readable) -> Iterator[Window]:
    """Windows in rows and columns all over a scene, all of it where it is small."""
    tiles = tile_grid(source.grid.shape, SAMPLE_SIDE)
    steps = np.linspace(0, len(tiles) - 1, min(SAMPLE_WINDOWS, len(tiles))).round().astype(int)
    return (tiles[step].window for step in steps)


def _looks(source: Readable, recipe: Recipe, window: Window) -> Iterator[float]:
    """Looks of each backscatter band in a window, not-a-number where it shows no speckle."""
    scene = calibrated(source.read(window), recipe)
    for layer, band in zip(scene.pixels, scene.bands, strict=True):
        if band.units in RADAR_UNITS:
            power = np.where(scene.valid, to_linear(layer, band.units), 0)
            try:
                yield estimate_looks(power, scene.valid, recipe.size)
            except DataError:
                yield np.nan
