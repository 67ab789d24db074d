"""Scenes in files: rasters read window by window, and GeoTIFFs written whole or not at all.

A file that says what it holds is believed: band tags written by `write_scene`, or the raster's own unit and
description. One that does not say is judged by its values; what was concluded stands in the scene's notes
and is overridden by naming the units, or by tagging the no-data value.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import DatasetWriter, MemoryFile
from rasterio.windows import Window

from sartutor.errors import DataError, OutputError
from sartutor.sar.collars import beyond_zeros, without_collars
from sartutor.sar.files import refuse_taken, replacing
from sartutor.sar.layers import TAGS, Layer, check_same_grid, layers_of, read_layers, scene_tags
from sartutor.sar.radiometry import doubt_units, guess_units, refuse_negative
from sartutor.sar.resize import overview, strips
from sartutor.sar.scene import Band, Grid, Quantity, Readable, Scene, Units

SAMPLE_WINDOWS, SAMPLE_SIDE = 16, 256
"""Windows, and their rows and columns, that the units of a raster with more pixels are judged by."""

ENDINGS = (".tif", ".tiff")

KEPT_OVERVIEWS = 64
"""Overviews that are kept in a folder, of some megabytes each."""

MASK_NODATA = 255
"""Value of pixels without data in a mask file; 0 is outside and 1 inside."""


class SceneFile:
    """A scene that stays in its files and is read window by window; readers see it as they see a `Scene`."""

    def __init__(
        self,
        layers: Sequence[Layer],
        bands: tuple[Band, ...],
        grid: Grid,
        name: str,
        product: str,
        notes: tuple[str, ...],
    ) -> None:
        self.grid = grid
        self.bands = bands
        self.name = name
        self.product = product
        self.notes = notes
        self._layers = tuple(layers)

    @property
    def band_names(self) -> tuple[str, ...]:
        """Names in storage order."""
        return tuple(band.name for band in self.bands)

    def read(self, window: Window | None = None) -> Scene:
        """The pixels inside `window` (whole pixels, inside the grid); everything when None."""
        grid = self.grid if window is None else self.grid.crop(window)
        pixels, valid = read_layers(self._layers, window)
        return Scene(pixels, self.bands, grid, valid, self.name, self.product, self.notes)

    def overview(self, max_side: int) -> Scene:
        """The whole scene with at most `max_side` rows and columns, averaged in power strip by strip."""
        return overview(self, max_side)

    def digest(self) -> str:
        """SHA-256 of content: the bytes of the files and which bands are read as what."""
        indexes = [layer.index for layer in self._layers]
        sha = hashlib.sha256(f"{self.bands}{self.grid.key()}{indexes}".encode())
        for layer in self._layers:
            state = layer.path.stat()
            sha.update(_file_digest(layer.path, state.st_mtime_ns, state.st_size))
        return sha.hexdigest()


def open_scene(
    paths: str | Path | Sequence[str | Path],
    *,
    units: Units | Sequence[Units] | None = None,
    quantity: Quantity | Sequence[Quantity] | None = None,
    names: Sequence[str] | None = None,
    product: str = "",
    likely: Callable[[Sequence[str]], Sequence[Units | None]] | None = None,
) -> SceneFile:
    """Open one raster, or several whose bands are those of one scene, without reading all pixels.

    Args:
        paths: raster files on one grid, in the order of their bands.
        units: of all bands, or one a band; None: what the files state, or else a judgement by the values.
        quantity: backscatter convention of all bands, or one a band; None: what the files state, or "none".
        names: one a band; None: the files' descriptions, polarisations in their names, or B1, B2, ...
        product: source of the data; what the file states when empty.
        likely: by the names of all bands, the units to take before any judgement where values do not speak against it.

    Raises:
        DataError: a file is missing, damaged, empty, all zeros or no raster, names or units do not fit, or most of
            what is stated as power is negative.
        GeometryError: the files do not share a grid, have ground control points only, or name a coordinate
            system that their coordinates contradict.
    """
    files = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    if not files:
        raise DataError("no raster file was named; give at least one.")
    found = [layers_of(path) for path in files]
    check_same_grid(files, [grid for _, grid in found])
    layers = [layer for part, _ in found for layer in part]
    grid, tags = found[0][1], scene_tags(files[0])
    titles = _unique(_per_band(names, len(layers), "names", files[0]) or _own_names(layers))
    stated = _per_band(units, len(layers), "units", files[0]) or [layer.units for layer in layers]
    windows = _sample_windows(grid)
    for layer, title, unit in zip(layers, titles, stated, strict=True):
        windows += beyond_zeros(layer, windows, strips(grid), title, unit)
    layers, collars = without_collars(layers, windows, grid, titles, stated)
    expected = [None] * len(layers) if likely is None else likely(titles)
    bands, concluded = _bands(layers, _sample(layers, windows, grid), titles, stated, expected, quantity)
    name = tags["NAME"] if "NAME" in tags and len(files) == 1 else files[0].stem
    notes = (*json.loads(tags.get("NOTES", "[]")), *collars, *concluded)
    return SceneFile(layers, bands, grid, name, product or tags.get("PRODUCT", ""), notes)


def read_scene(
    paths: str | Path | Sequence[str | Path],
    *,
    units: Units | Sequence[Units] | None = None,
    quantity: Quantity | Sequence[Quantity] | None = None,
    names: Sequence[str] | None = None,
    product: str = "",
) -> Scene:
    """All pixels of one scene in one or several rasters; arguments and errors are those of `open_scene`."""
    return open_scene(paths, units=units, quantity=quantity, names=names, product=product).read()


def check_name(out: Path, taken: set[Path]) -> None:
    """Raise OutputError for the name of a GeoTIFF that does not end as one, or is that of one of the files `taken`."""
    if out.suffix.lower() not in ENDINGS:
        raise OutputError(f"{out}: the result is a GeoTIFF; choose a name that ends in .tif.")
    refuse_taken(out, taken)


def write_scene(scene: Scene, path: str | Path) -> None:
    """Write a scene as GeoTIFF, so that `read_scene` gives it back with all that it states.

    Pixels that are not valid become not-a-number. Raises OutputError when the file cannot be written; an
    older file then stays as it was.
    """
    kind = "complex64" if np.iscomplexobj(scene.pixels) else "float32"
    pixels = np.where(scene.valid, scene.pixels, np.nan).astype(kind)
    with MemoryFile() as memory:
        with _created(memory, scene.grid, len(scene.bands), kind, np.nan) as dataset:
            dataset.write(pixels)
            tags = {"NAME": scene.name, "PRODUCT": scene.product, "NOTES": json.dumps(scene.notes)}
            dataset.update_tags(ns=TAGS, **tags)
            for index, band in enumerate(scene.bands, start=1):
                _state_band(dataset, index, band)
        _write_bytes(memory, path)


def write_mask(
    mask: NDArray[Any],
    valid: NDArray[np.bool_],
    grid: Grid,
    path: str | Path,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Write a mask as GeoTIFF of one byte a pixel: 0 outside, 1 inside, 255 no data where not valid.

    Args:
        mask: (rows, columns) bool, or numbers that are 0 outside.
        valid: (rows, columns) bool.
        grid: where the pixels lie; `mask` and `valid` have its shape.
        path: file to write; raises OutputError when it cannot be, and an older file then stays as it was.
        tags: where the mask comes from, kept in the file.
    """
    if mask.shape != grid.shape or valid.shape != grid.shape:
        raise DataError(
            f"{path}: mask {mask.shape} and valid {valid.shape} do not fit the grid {grid.shape}."
        )
    values = np.where(valid, mask != 0, np.uint8(MASK_NODATA))
    with MemoryFile() as memory:
        with _created(memory, grid, 1, "uint8", MASK_NODATA) as dataset:
            dataset.write(values, 1)
            dataset.set_band_description(1, "mask")
            dataset.update_tags(1, ns=TAGS, UNITS="class")
            dataset.update_tags(ns=TAGS, **(tags or {}))
        _write_bytes(memory, path)


def kept_overview(source: Readable, max_side: int, folder: Path) -> Scene:
    """The `overview` of a scene, kept in `folder` under the hash of its content where it is smaller than the scene.

    So it is made once for all sessions. Of the overviews in the folder the latest `KEPT_OVERVIEWS` stay; a folder that
    cannot be written to is done without.
    """
    if max(source.grid.shape) <= max_side:
        return overview(source, max_side)
    path = folder / f"{source.digest()}-{max_side}.tif"
    if path.exists():
        with suppress(DataError):
            return read_scene(path)
    made = overview(source, max_side)
    with suppress(OutputError, OSError):
        folder.mkdir(parents=True, exist_ok=True)
        write_scene(made, path)
        for old in sorted(folder.glob("*.tif"), key=lambda one: one.stat().st_mtime_ns)[:-KEPT_OVERVIEWS]:
            old.unlink(missing_ok=True)
    return made


def _bands(
    layers: Sequence[Layer],
    sample: NDArray[Any],
    names: Sequence[str],
    units: Sequence[Units | None],
    likely: Sequence[Units | None],
    quantity: Quantity | Sequence[Quantity] | None,
) -> tuple[tuple[Band, ...], list[str]]:
    """The bands that layers hold, and a sentence for each whose units had to be judged or look wrong."""
    file, count = layers[0].path, len(layers)
    asked = _per_band(quantity, count, "quantities", file) or [layer.quantity or "none" for layer in layers]
    bands, notes = [], []
    columns = zip(layers, sample, names, units, likely, asked, strict=True)
    for layer, values, name, unit, expected, convention in columns:
        if unit is None and expected is not None and _may_be(values.astype(layer.dtype), expected):
            unit = expected
            notes.append(f"{name}: units taken as {unit}, as the model learned it.")
        elif unit is None:
            unit, reason = guess_units(values.astype(layer.dtype))
            notes.append(f"{name}: units taken as {unit}; {reason}.")
        else:
            refuse_negative(values, unit, f"{layer.path}: {name}")
            if doubt := doubt_units(values.astype(layer.dtype), unit):
                notes.append(f"{name} {doubt}")
        bands.append(Band(name, unit, convention, layer.date))
    return tuple(bands), notes


def _may_be(values: NDArray[Any], units: Units) -> bool:
    """Whether nothing in a sample of a band speaks against its units."""
    guess = guess_units(values)[0]
    if "complex" in (guess, units):
        return guess == units
    if units == "dn":
        return guess not in ("db", "power")
    return not doubt_units(values, units)


def _per_band(given: str | Sequence[str] | None, count: int, what: str, file: Path) -> list[Any] | None:
    if given is None:
        return None
    listed = [given] * count if isinstance(given, str) else list(given)
    if len(listed) != count:
        raise DataError(f"{file}: {len(listed)} {what} for {count} bands; give one a band.")
    return listed


def _own_names(layers: Sequence[Layer]) -> list[str]:
    return [layer.name or f"B{index}" for index, layer in enumerate(layers, start=1)]


def _unique(names: Sequence[str]) -> list[str]:
    """The names, a repeated one numbered: VV, VH, VV becomes VV, VH, VV_2."""
    earlier = [names[:index].count(name) for index, name in enumerate(names)]
    return [f"{name}_{count + 1}" if count else name for name, count in zip(names, earlier, strict=True)]


def _sample(layers: Sequence[Layer], windows: Sequence[Window], grid: Grid) -> NDArray[Any]:
    """Valid pixels (bands, n), from all over the scene; DataError when it has none."""
    parts = [read_layers(layers, window) for window in windows]
    others = strips(grid)
    while not any(valid.any() for _, valid in parts):
        if (window := next(others, None)) is None:
            file = layers[0].path
            raise DataError(f"{file} holds no data (all is no-data or not a number); choose another file.")
        parts = [read_layers(layers, window)]
    return np.concatenate([pixels[:, valid] for pixels, valid in parts], axis=1)


def _sample_windows(grid: Grid) -> list[Window]:
    """The whole of a small grid; of a large one windows in every sixteenth of its rows and columns, the last too."""
    height, width = grid.shape
    if height * width <= SAMPLE_WINDOWS * SAMPLE_SIDE**2:
        return [Window(0, 0, width, height)]
    rows, cols = (min(n, SAMPLE_SIDE) for n in grid.shape)
    steps = np.arange(SAMPLE_WINDOWS)
    down = steps * (height - rows) // (SAMPLE_WINDOWS - 1)
    across = (steps * 7 + 6) % SAMPLE_WINDOWS * (width - cols) // (SAMPLE_WINDOWS - 1)
    return [Window(int(x), int(y), cols, rows) for x, y in zip(across, down, strict=True)]


@lru_cache(maxsize=256)
def _file_digest(path: Path, modified_ns: int, size: int) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def profile(grid: Grid, count: int, dtype: str, nodata: float) -> dict[str, Any]:
    """A compressed GeoTIFF on `grid`, in tiles where it is large, as rasterio's options for a new file."""
    return {
        "driver": "GTiff",
        "height": grid.height,
        "width": grid.width,
        "count": count,
        "dtype": dtype,
        "nodata": nodata,
        "crs": grid.crs,
        "transform": grid.transform,
        "compress": "deflate",
        "bigtiff": "if_safer",
        "tiled": min(grid.shape) >= 512,
    }


def _created(memory: MemoryFile, grid: Grid, count: int, dtype: str, nodata: float) -> DatasetWriter:
    """A file of that profile, open for writing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return memory.open(**profile(grid, count, dtype, nodata))


def _state_band(dataset: DatasetWriter, index: int, band: Band) -> None:
    dataset.set_band_description(index, band.name)
    dataset.set_band_unit(index, band.units)
    tags = {"NAME": band.name, "UNITS": band.units, "QUANTITY": band.quantity}
    dated = {"DATE": band.date.isoformat()} if band.date else {}
    dataset.update_tags(index, ns=TAGS, **tags, **dated)


def _write_bytes(memory: MemoryFile, path: str | Path) -> None:
    with replacing(path) as part, part.open("wb") as file:
        file.write(memory.getbuffer())
        file.flush()
        os.fsync(file.fileno())
