"""ALOS-2 images in JAXA's CEOS format, read window by window: pixels, calibration factor and map grid.

Record layouts are those of `xarray-ceos-alos2` (JAXA, ALOS-2/PALSAR-2 CEOS SAR Product Format Description). Its
own top-level function refuses level 2.1 and parses every line's header; a product's lines all have one length,
so here the headers of the file and of its first line suffice, and pixels are mapped into memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.windows import Window

from sartutor.errors import DataError
from sartutor.sar.scene import Band, Grid, Scene

if TYPE_CHECKING:
    from construct import Container

HEADER_BYTES = 720
"""Length of the file descriptor that an image file begins with."""

PREAMBLE_BYTES = 12
"""Length of the start of every record, which holds its type and length."""

_PIXEL_TYPES = {"C*8": ">c8", "IU2": ">u2"}
"""Number types by the format's codes: complex of two 32-bit floats, unsigned 16-bit; big-endian."""


@dataclass(frozen=True)
class Leader:
    """What a leader file (LED-...) says: calibration factor in dB and map grid, None where it does not."""

    factor_db: float | None = None
    grid: Grid | None = None


class CeosImages:
    """Images of one product, one a polarisation, as they are stored; zero stands for no data."""

    def __init__(self, files: Sequence[Path], bands: tuple[Band, ...], grid: Grid | None, name: str) -> None:
        self._files = tuple(files)
        self._images = [map_image(file) for file in files]
        shapes = {image.shape for image in self._images}
        if len(shapes) > 1 or (grid and grid.shape not in shapes):
            raise DataError(
                f"{name}: its images and leader differ in size ({shapes}); open one polarisation or fetch it again."
            )
        self.grid = grid or Grid(Affine.identity(), None, *self._images[0].shape)
        self.bands = bands
        self.name = name

    def read(self, window: Window | None = None) -> Scene:
        """The pixels inside `window` (whole pixels, inside the grid); everything when None."""
        grid = self.grid if window is None else self.grid.crop(window)
        rows, cols = (slice(None), slice(None)) if window is None else window.toslices()
        pixels = np.stack([_native(image[rows, cols]) for image in self._images])
        return Scene(pixels, self.bands, grid, np.all(pixels != 0, axis=0), self.name)

    def digest(self) -> str:
        """SHA-256 of the files and of which bands they are read as."""
        sha = hashlib.sha256(f"{self.bands}{self.grid.key()}".encode())
        for path in self._files:
            with path.open("rb") as file:
                sha.update(hashlib.file_digest(file, "sha256").digest())
        return sha.hexdigest()


def map_image(path: Path) -> NDArray[Any]:
    """The pixels (rows, columns) of an image file (IMG-...), mapped into memory and big-endian as stored.

    Raises DataError when the file is cut short, no CEOS image, or `xarray-ceos-alos2` is missing.
    """
    lines, columns, kind, start, length = _image_layout(path)
    if path.stat().st_size < HEADER_BYTES + lines * length or length < start + columns * kind.itemsize:
        raise DataError(f"{path} is damaged or cut short; copy or fetch it again.")
    records = np.memmap(path, np.uint8, "r", offset=HEADER_BYTES, shape=(lines, length))
    pixels: NDArray[Any] = records[:, start : start + columns * kind.itemsize].view(kind)
    return pixels


def _image_layout(path: Path) -> tuple[int, int, np.dtype[Any], int, int]:
    """Lines, columns, number type, first byte of the pixels of a line and bytes of a line, of an image file."""
    layouts = _layouts()
    try:
        with path.open("rb") as file:
            header = layouts.file_descriptor.parse(file.read(HEADER_BYTES))
            first = file.read(header.sar_data_record_length)
        sizes = header.sar_related_data_in_the_record
        start = layouts.records[first[5]].parse(first).data.start
        kind = np.dtype(_PIXEL_TYPES[header.prefix_suffix_data_locators.sar_data_format_type_code])
    except (layouts.error, LookupError, ValueError) as error:
        raise DataError(f"{path} is no ALOS-2 image in CEOS format or cut short; fetch it again.") from error
    lines, columns = sizes.number_of_lines_per_dataset, sizes.number_of_data_groups_per_line
    return lines, columns, kind, start, header.sar_data_record_length


def read_leader(path: Path) -> Leader:
    """Calibration factor and map grid of a leader file (LED-...); a DataError when it is damaged."""
    layouts = _layouts()
    factor, grid = None, None
    try:
        for kind, record in _records(path.read_bytes()):
            if kind == layouts.kinds["radiometric_data"]:
                factor = layouts.radiometric.parse(record).calibration_factor[0]
            elif kind == layouts.kinds["map_projection_data"]:
                grid = _map_grid(layouts.map_projection.parse(record))
    except (layouts.error, ValueError) as error:
        raise DataError(f"{path} is no ALOS-2 leader file or damaged; fetch the product again.") from error
    return Leader(None if factor is None or np.isnan(factor) else factor, grid)


def _records(content: bytes) -> Iterator[tuple[tuple[int, ...], bytes]]:
    """The records of a leader file: their type (four bytes) and content, until what has no length."""
    at = 0
    while at + PREAMBLE_BYTES <= len(content):
        length = int.from_bytes(content[at + 8 : at + 12], "big")
        if length < PREAMBLE_BYTES:
            return
        yield tuple(content[at + 4 : at + 8]), content[at : at + length]
        at += length


def _map_grid(record: Container) -> Grid | None:
    """The grid of a map projection record in UTM; None for other projections."""
    general, projected = record.map_projection_general_information, record.corner_points.projected
    zone = record.utm_projection.zone_number.strip()
    if not record.map_projection_designator.upper().startswith("UTM") or not zone.isdigit():
        return None
    height, width = general.number_of_lines, general.number_of_pixels_per_line
    names = ("top_left_corner", "top_right_corner", "bottom_left_corner")
    corners = [1000 * np.array([projected[n].easting[0], projected[n].northing[0]]) for n in names]
    spacing = general.inter_pixel_distance_in_output_scene[0]
    south = np.nan_to_num(record.utm_projection.map_origin.false_northing[0]) > 0
    crs = CRS.from_epsg((32700 if south else 32600) + int(zone))
    return Grid(_transform(corners, height, width, spacing), crs, height, width)


def _transform(corners: list[NDArray[Any]], height: int, width: int, spacing: float) -> Affine:
    """The transform of pixel corners, of the scene's corners (left top, right top, left bottom) in metres.

    They are centres or outer corners of pixels, whichever fits the stated pixel spacing better.
    """
    top_left, top_right, bottom_left = corners
    across = float(np.linalg.norm(top_right - top_left))
    centres = abs(across / (width - 1) - spacing) < abs(across / width - spacing) if width > 1 else False
    steps = (width - 1, height - 1) if centres else (width, height)
    right, down = (top_right - top_left) / steps[0], (bottom_left - top_left) / steps[1]
    origin = top_left - (right + down) / 2 if centres else top_left
    return Affine(right[0], down[0], origin[0], right[1], down[1], origin[1])


def _native(values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(np.complex64 if np.iscomplexobj(values) else np.float32)


@dataclass(frozen=True)
class _Layouts:
    file_descriptor: Any
    records: dict[int, Any]
    map_projection: Any
    radiometric: Any
    kinds: dict[str, tuple[int, ...]]
    error: type[Exception]


def _layouts() -> _Layouts:
    """The record layouts of `xarray-ceos-alos2`; one clear sentence where it is not installed."""
    try:
        from ceos_alos2.sar_image.file_descriptor import file_descriptor_record
        from ceos_alos2.sar_image.io import record_types
        from ceos_alos2.sar_leader.file_descriptor import record_types as kinds
        from ceos_alos2.sar_leader.map_projection import map_projection_record
        from ceos_alos2.sar_leader.radiometric_data import radiometric_data_record
        from construct import ConstructError
    except ImportError as error:
        raise DataError(
            'ALOS-2 products in CEOS format need xarray-ceos-alos2; install it with: pip install "sartutor[online]".'
        ) from error
    return _Layouts(
        file_descriptor_record,
        record_types,
        map_projection_record,
        radiometric_data_record,
        kinds,
        ConstructError,
    )
