"""The one container that all radar data travels in: bands that know their units, on a grid, with a mask."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Literal, Protocol, get_args

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.windows import Window

from sartutor.errors import DataError, GeometryError

Units = Literal["dn", "amplitude", "power", "db", "complex", "m", "degree", "class", "1"]
Quantity = Literal["sigma0", "beta0", "gamma0", "none"]


@dataclass(frozen=True)
class Band:
    """What one layer of a scene measures.

    `units` is one of dn, amplitude, power, db, complex, m, degree, class, 1; `quantity` is the
    backscatter convention, "none" for anything that is not calibrated backscatter.
    """

    name: str
    units: Units
    quantity: Quantity = "none"
    date: date | None = None

    def __post_init__(self) -> None:
        for what, value, known in (("units", self.units, Units), ("quantity", self.quantity, Quantity)):
            if value not in get_args(known):
                choices = ", ".join(get_args(known))
                raise DataError(f"band {self.name}: unknown {what} {value!r}; use one of {choices}.")


@dataclass(frozen=True)
class Grid:
    """Where pixels lie: `transform` maps (column, row) of pixel corners into `crs` (None: unknown)."""

    transform: Affine
    crs: CRS | None
    height: int
    width: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.height, self.width

    def key(self) -> str:
        """The grid as text: equal grids, equal text."""
        return f"{tuple(self.transform)} {self.crs.to_string() if self.crs else None} {self.shape}"

    def crop(self, window: Window) -> Grid:
        """The grid of a window of this grid; GeometryError where it is not whole pixels inside."""
        rows, cols = window.toranges()
        if not (0 <= rows[0] < rows[1] <= self.height and 0 <= cols[0] < cols[1] <= self.width):
            raise GeometryError(
                f"window of rows {rows[0]}-{rows[1]} and columns {cols[0]}-{cols[1]} does not lie inside "
                f"{self.height} x {self.width} pixels; clip it first."
            )
        transform = self.transform @ Affine.translation(window.col_off, window.row_off)
        return Grid(transform, self.crs, int(window.height), int(window.width))


@dataclass(frozen=True, eq=False)
class Scene:
    """Radar bands in memory.

    `pixels` is (bands, rows, columns) float32 (complex64 for complex bands); `valid` is (rows, columns)
    bool, False where any band has no data; values outside `valid` mean nothing. `product` names the source,
    such as "palsar2-mosaic"; `notes` are sentences about what was concluded on the way, and credit lines.
    """

    pixels: NDArray[np.generic]
    bands: tuple[Band, ...]
    grid: Grid
    valid: NDArray[np.bool_]
    name: str = "scene"
    product: str = ""
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        expected = (len(self.bands), *self.grid.shape)
        if self.pixels.shape != expected or self.valid.shape != self.grid.shape:
            raise DataError(
                f"{self.name}: pixels {self.pixels.shape} and valid mask {self.valid.shape} do not fit "
                f"{expected} (bands, rows, columns)."
            )

    @property
    def band_names(self) -> tuple[str, ...]:
        """Names in storage order."""
        return tuple(band.name for band in self.bands)

    def band(self, name: str) -> NDArray[np.generic]:
        """One band, (rows, columns)."""
        if name not in self.band_names:
            raise DataError(f"{self.name} has no band {name!r}; it has {', '.join(self.band_names)}.")
        return self.pixels[self.band_names.index(name)]

    def select(self, names: tuple[str, ...] | list[str]) -> Scene:
        """The named bands, in the order asked for."""
        layers = np.stack([self.band(name) for name in names])
        return replace(self, pixels=layers, bands=tuple(self.bands[self.band_names.index(n)] for n in names))

    def read(self, window: Window | None = None) -> Scene:
        """The part inside `window` (whole pixels, inside the grid); everything when None."""
        if window is None:
            return self
        grid = self.grid.crop(window)
        rows, cols = window.toslices()
        return replace(self, pixels=self.pixels[:, rows, cols], valid=self.valid[rows, cols], grid=grid)

    def digest(self) -> str:
        """SHA-256 of content: pixels, validity, bands and grid; equal content, equal digest."""
        sha = hashlib.sha256(f"{self.bands}{self.grid.key()}".encode())
        sha.update(np.ascontiguousarray(np.where(self.valid, self.pixels, 0)).tobytes())
        sha.update(np.packbits(self.valid).tobytes())
        return sha.hexdigest()

    def equals(self, other: Scene) -> bool:
        """Whether content is equal, ten times faster than by digests; False where a valid value is not a number."""
        return (
            self.bands == other.bands
            and self.grid == other.grid
            and np.array_equal(self.valid, other.valid)
            and bool(((self.pixels == other.pixels) | ~self.valid).all())
        )


class Readable(Protocol):
    """What a predictor reads from: a `Scene` in memory or a file that is read window by window."""

    @property
    def grid(self) -> Grid: ...

    @property
    def bands(self) -> tuple[Band, ...]: ...

    @property
    def name(self) -> str: ...

    def read(self, window: Window | None = None) -> Scene: ...

    def digest(self) -> str: ...
