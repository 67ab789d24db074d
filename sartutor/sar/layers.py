"""Single raster bands in files: opening, what they state about themselves, pixels and no-data of a window."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Any, get_args

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from sartutor.errors import DataError, GeometryError
from sartutor.sar.scene import Grid, Quantity, Units

TAGS = "SARTUTOR"
"""Namespace of the tags in which `sartutor.sar.geotiff` states scenes and bands."""

MAX_DEGREES = (361.0, 91.0)
"""Largest longitude and latitude of a raster in degrees, with room for pixels that reach beyond."""

MIN_PIXEL_M = 0.1
"""Smallest pixel in metres near the origin of a projected system; smaller ones are degrees."""

_UNIT_WORDS: dict[str, Units] = {
    **{unit: unit for unit in get_args(Units)},
    "decibel": "db",
    "decibels": "db",
    "metre": "m",
    "meter": "m",
    "metres": "m",
    "meters": "m",
    "deg": "degree",
    "degrees": "degree",
    "intensity": "power",
    "linear": "power",
}
_POLARISATION = re.compile(r"(?<![A-Z])(VV|VH|HH|HV)(?![A-Z])")
_MASK_NAME = re.compile(r"alpha|mask|valid|opacity|^a$|^(band|layer|channel|b)?[ _]*\d+$")
_QUANTITY = re.compile(r"sigma0|beta0|gamma0")


@dataclass(frozen=True)
class Layer:
    """One band of one raster file, with what the file states about it (None: not stated).

    `dtype` is the number type of its values as read, float32 where the file scales them. `nodata` is the stated
    no-data value and `declares` whether the file declares no-data at all, by a value, mask or alpha band; `fills`
    are stored values that count as no data although the file does not say so; `alpha` are the alpha bands of the file.
    """

    path: Path
    index: int
    name: str | None
    units: Units | None
    quantity: Quantity | None
    date: date | None
    dtype: str
    nodata: float | None = None
    declares: bool = False
    fills: tuple[float, ...] = ()
    alpha: tuple[int, ...] = ()


def scene_tags(path: Path) -> dict[str, str]:
    """What a raster states about the scene as a whole."""
    with opened(path) as dataset:
        return dict(dataset.tags(ns=TAGS))


def files_of(paths: Iterable[Path]) -> set[Path]:
    """Resolved paths of all files that rasters are read from: themselves, side files, the sources of virtual ones."""
    found: set[Path] = set()
    for path in paths:
        with opened(path) as dataset:
            found |= {Path(name).resolve() for name in dataset.files}
    return found


@contextmanager
def opened(path: Path) -> Iterator[DatasetReader]:
    """The raster at `path`; what cannot be opened or read becomes a DataError that names the file."""
    if not path.exists():
        raise DataError(f"{path} does not exist; check the name and the folder.")
    if path.is_dir():
        raise DataError(f"{path} is a folder; name the raster file inside it.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as dataset:
                yield dataset
    except RasterioError as error:
        raise DataError(_unreadable(path)) from error


def layers_of(path: Path, expected: int | None = None) -> tuple[list[Layer], Grid]:
    """The bands of a raster file without its alpha band, and the grid they lie on.

    A file that has just the `expected` number of bands has no alpha band, whatever it says: four bands of bytes are
    called red, green, blue and alpha by what writes them unless it is told otherwise.
    """
    with opened(path) as dataset:
        alpha = () if dataset.count == expected else _alpha(dataset)
        found = [index for index in dataset.indexes if index not in alpha]
        if not found:
            raise DataError(f"{path} has no bands of its own; save what it contains as a GeoTIFF.")
        alone = len(found) == 1
        return [_layer(path, dataset, index, alone, alpha) for index in found], _grid(path, dataset)


def read_layers(
    layers: Sequence[Layer], window: Window | None = None
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Pixels (bands, rows, columns) of a window and where all bands are valid.

    Args:
        layers: bands of files that share a grid.
        window: whole pixels inside the grid; everything when None.

    Returns:
        float32 (complex64 when a band is complex), and the valid mask: no-data and fill values, mask and alpha
        bands and not-a-number are not valid.
    """
    parts, masks = [], []
    for path, group in groupby(layers, key=lambda layer: layer.path):
        own = list(group)
        indexes = [layer.index for layer in own]
        with opened(path) as dataset:
            stored = dataset.read(indexes, window=window)
            masks += [~is_fill(v, fill) for v, layer in zip(stored, own, strict=True) for fill in layer.fills]
            parts.append(_scaled(dataset, indexes, stored))
            masks += [
                dataset.read_masks(layer.index, window=window) for layer in own if _has_mask(dataset, layer)
            ]
            masks += [dataset.read(i, window=window) for i in own[0].alpha]
    pixels = np.concatenate(parts) if len(parts) > 1 else parts[0]
    valid = np.isfinite(pixels).all(axis=0)
    for mask in masks:
        valid &= mask != 0
    return pixels, valid


def read_stored(layers: Sequence[Layer], window: Window | None = None) -> list[NDArray[Any]]:
    """The numbers (rows, columns) of each band as the file stores them, before its scale and offset."""
    bands: list[NDArray[Any]] = []
    for path, group in groupby(layers, key=lambda layer: layer.path):
        with opened(path) as dataset:
            bands += list(dataset.read([layer.index for layer in group], window=window))
    return bands


def is_fill(values: NDArray[Any], fill: float) -> NDArray[np.bool_]:
    """Where stored values are a fill value; -3.4e38 stands for everything from there to float's least."""
    if np.iscomplexobj(values):
        return np.asarray(values == fill)
    return np.asarray(values <= fill if fill <= -3.4e38 else values == fill)


def check_same_grid(paths: Sequence[Path], grids: Sequence[Grid]) -> None:
    """Raise GeometryError, naming both files, when a file does not lie on the grid of the first."""
    first = grids[0]
    for path, grid in zip(paths[1:], grids[1:], strict=True):
        if grid.shape != first.shape or grid.crs != first.crs or offset_pixels(first, grid) > 0.01:
            raise GeometryError(
                f"{path} ({grid.height} x {grid.width}) does not lie on the grid of {paths[0]} "
                f"({first.height} x {first.width}); warp one to the other before using them as one scene."
            )


def offset_pixels(first: Grid, other: Grid) -> float:
    """How far, in pixels of the first of two grids of one shape, a corner of the other lies from its own at most."""
    corners = [(0, 0), (first.width, 0), (0, first.height)]
    return float(np.abs([np.subtract(~first.transform @ (other.transform @ c), c) for c in corners]).max())


def _layer(path: Path, dataset: DatasetReader, index: int, alone: bool, alpha: tuple[int, ...]) -> Layer:
    tags = dataset.tags(index, ns=TAGS)
    description = dataset.descriptions[index - 1]
    units = _UNIT_WORDS.get((tags.get("UNITS") or dataset.units[index - 1] or "").lower())
    stated = tags.get("QUANTITY") or next(iter(_QUANTITY.findall((description or "").lower())), None)
    return Layer(
        path=path,
        index=index,
        name=tags.get("NAME") or description or (_name_from_file(path) if alone else None),
        units=units,
        quantity=next((quantity for quantity in get_args(Quantity) if quantity == stated), None),
        date=date.fromisoformat(tags["DATE"]) if "DATE" in tags else None,
        dtype=_dtype(dataset, index),
        nodata=dataset.nodatavals[index - 1],
        declares=bool(alpha)
        or not {MaskFlags.all_valid, MaskFlags.alpha} & set(dataset.mask_flag_enums[index - 1]),
        alpha=alpha,
    )


def _alpha(dataset: DatasetReader) -> tuple[int, ...]:
    """Alpha bands; one with a name of its own, not that of a mask, is a band like others, whatever it is said to be."""
    return tuple(
        i
        for i, kind, name in zip(dataset.indexes, dataset.colorinterp, dataset.descriptions, strict=True)
        if kind == ColorInterp.alpha and (not name or _MASK_NAME.search(name.lower()))
    )


def _has_mask(dataset: DatasetReader, layer: Layer) -> bool:
    """Whether the file's mask of a band, which takes as long to read, says more than where it is finite.

    That of an alpha band is read as such; where the band is none after all there is nothing to read.
    """
    flags, nodata = dataset.mask_flag_enums[layer.index - 1], dataset.nodatavals[layer.index - 1]
    if MaskFlags.all_valid in flags or MaskFlags.alpha in flags:
        return False
    return flags != [MaskFlags.nodata] or nodata is None or not np.isnan(nodata)


def _dtype(dataset: DatasetReader, index: int) -> str:
    own = str(dataset.dtypes[index - 1])
    if own.startswith("complex"):
        return "complex64"
    return own if _plain(dataset, index) else "float32"


def _plain(dataset: DatasetReader, index: int) -> bool:
    return bool(dataset.scales[index - 1] == 1 and dataset.offsets[index - 1] == 0)


def _name_from_file(path: Path) -> str | None:
    found = set(_POLARISATION.findall(path.stem.upper()))
    return found.pop() if len(found) == 1 else None


def _grid(path: Path, dataset: DatasetReader) -> Grid:
    if dataset.gcps[0] and dataset.transform.is_identity:
        raise GeometryError(
            f"{path} has ground control points but no map grid; warp it with 'gdalwarp {path.name} map.tif'."
        )
    if not np.isfinite(dataset.transform).all() or dataset.transform.determinant == 0:
        raise GeometryError(
            f"{path} has a transform that is not finite or maps all pixels onto a line; correct its geotransform."
        )
    grid = Grid(dataset.transform, dataset.crs, dataset.height, dataset.width)
    _check_system(path, grid)
    return grid


def _check_system(path: Path, grid: Grid) -> None:
    """Raise GeometryError when the coordinates cannot be of the system that the file names."""
    if grid.crs is None:
        return
    corners = np.array([grid.transform @ (c, r) for c in (0, grid.width) for r in (0, grid.height)])
    x, y = np.abs(corners).max(axis=0)
    if grid.crs.is_geographic and (x > MAX_DEGREES[0] or y > MAX_DEGREES[1]):
        raise GeometryError(
            f"{path} names a system in degrees ({grid.crs.to_string()}) but reaches {x:.0f}, {y:.0f}, which are no "
            f"degrees; name the true system with 'gdal_edit.py -a_srs EPSG:CODE {path.name}'."
        )
    pixel = abs(grid.transform.determinant) ** 0.5
    if grid.crs.is_projected and x <= MAX_DEGREES[0] and y <= MAX_DEGREES[1] and pixel < MIN_PIXEL_M:
        raise GeometryError(
            f"{path} names a system in metres ({grid.crs.to_string()}) but its pixels of {pixel:.2g} look like "
            f"degrees; name the true system with 'gdal_edit.py -a_srs EPSG:4326 {path.name}'."
        )


def _scaled(dataset: DatasetReader, indexes: list[int], values: NDArray[Any]) -> NDArray[Any]:
    kind = np.complex64 if np.iscomplexobj(values) else np.float32
    with np.errstate(over="ignore"):  # what is too large becomes infinite, which is not valid
        if all(_plain(dataset, index) for index in indexes):
            return values.astype(kind, copy=False)
        scales = np.array([dataset.scales[i - 1] for i in indexes]).reshape(-1, 1, 1)
        offsets = np.array([dataset.offsets[i - 1] for i in indexes]).reshape(-1, 1, 1)
        return (values * scales + offsets).astype(kind)


def _unreadable(path: Path) -> str:
    try:
        with path.open("rb") as file:
            start = file.read(2)
    except OSError as error:
        return f"{path} cannot be opened ({error.strerror}); allow reading it."
    if start in (b"II", b"MM"):
        return f"{path} is damaged or cut short (some of its pixels cannot be read); copy or fetch it again."
    return f"{path} is not a raster that can be read; give a GeoTIFF."
