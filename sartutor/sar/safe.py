"""Sentinel-1 GRD products as delivered: SAFE folders, calibrated window by window, and corrected for terrain.

The annotation is read by xarray-sentinel, terrain correction is done by sarsen (both in the extra `online`);
calibration and noise are those of `sartutor.sar.grd`. A GRD image lies in radar geometry, its rows along the
track: it has tie points and no map grid until it is corrected for terrain.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any, Literal
from xml.etree import ElementTree

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window
from scipy import ndimage

from sartutor.errors import DataError, GeometryError
from sartutor.sar.geotiff import read_scene, write_scene
from sartutor.sar.grd import AzimuthNoise, LookUpTable, calibrate, denoise, thermal_noise
from sartutor.sar.layers import opened
from sartutor.sar.pairs import Acquisition
from sartutor.sar.resize import overview, resize, strips
from sartutor.sar.scene import Band, Grid, Scene
from sartutor.sar.sentinel1 import CREDIT, PRODUCT
from sartutor.sar.terrain import heights, spacing_m

Convention = Literal["sigma0", "beta0", "gamma0"]
Radiometry = Literal["gamma_bilinear", "gamma_nearest"]

_TABLES: dict[Convention, str] = {"sigma0": "sigmaNought", "beta0": "betaNought", "gamma0": "gamma"}
_ROLES = {
    "s1Level1ProductSchema": "annotation",
    "s1Level1CalibrationSchema": "calibration",
    "s1Level1NoiseSchema": "noise",
    "s1Level1MeasurementSchema": "measurement",
}
_RADAR_GEOMETRY = (
    "radar geometry (rows along the track, columns in ground range); correct it for terrain for maps."
)
_LOW_MARGINS = (
    "processed before version 2.9 (March 2018): margins of the image are dark but not zero and count as data; leave "
    "them out."
)
_AGAIN = "download the whole product again"
_CHUNK, _OVERLAP = 2048, 128
"""Rows and columns of a block, and of its neighbours' part, in terrain correction."""

_FINE_M = 5.0
"""Largest pixels of the height model that is worked on, metres. sarsen counts its pixels in cells of 3 x 3 image
pixels: with fewer than about six along a side the counts jump, which shows as stripes (found on even ground)."""

_BORDER_M = 75.0
"""Width of the height model's border that is left out: cells of 30 m in slant range, cut in two by the border, hold
too little illuminated area and look too bright (30 m / sin 29 deg is 62 m on even ground)."""


@dataclass(frozen=True, eq=False)
class Channel:
    """One polarisation of a GRD product: its files, its calibration table and its noise.

    `range_noise` is None where thermal noise is kept; `early` products are of processors before version 2.9.
    """

    polarisation: str
    files: dict[str, Path]
    calibration: LookUpTable
    range_noise: LookUpTable | None
    azimuth_noise: tuple[AzimuthNoise, ...]
    early: bool

    def power(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Backscatter of a window, signed where noise is subtracted, and where the image has data (DN above 0)."""
        with opened(self.files["measurement"]) as dataset:
            dn = dataset.read(1, window=window)
        table = self.calibration.over(window)
        if self.range_noise is None:
            return calibrate(dn, table), dn > 0
        return denoise(dn, thermal_noise(self.range_noise, self.azimuth_noise, window), table), dn > 0

    def noise(self, window: Window) -> NDArray[np.float32]:
        """Power of the thermal noise that `power` subtracts, eta / A^2; 0 where it is kept."""
        table = self.calibration.over(window)
        if self.range_noise is None:
            return np.zeros_like(table)
        return denoise(0, -thermal_noise(self.range_noise, self.azimuth_noise, window), table)


class SafeScene:
    """A GRD product in radar geometry, read window by window as calibrated power.

    Where thermal noise is subtracted the power is signed; `read` counts what is not above zero in its notes, and
    only a conversion to dB raises it to the floor. A digital number of 0 marks the product's margins: no data.
    """

    def __init__(
        self, folder: Path, channels: Sequence[Channel], acquisition: Acquisition, quantity: Convention
    ) -> None:
        self.folder = folder
        self.name = folder.name.removesuffix(".SAFE")
        self.product = PRODUCT
        self.acquisition = acquisition
        self.channels = tuple(channels)
        self.grid = _grid(self.channels)
        self.bands = tuple(Band(c.polarisation, "power", quantity, acquisition.date) for c in channels)
        noise = "subtracted" if channels[0].range_noise else "kept"
        self.notes = (
            f"{self.name}: {_RADAR_GEOMETRY}",
            f"{quantity} by the product's tables, thermal noise {noise}.",
            f"Sentinel-1: {CREDIT}.",
            *((_LOW_MARGINS,) if any(channel.early for channel in channels) else ()),
        )

    @property
    def band_names(self) -> tuple[str, ...]:
        """Polarisations in storage order."""
        return tuple(band.name for band in self.bands)

    def read(self, window: Window | None = None) -> Scene:
        """The pixels inside `window` (whole pixels, inside the image); everything when None."""
        window = window or Window(0, 0, self.grid.width, self.grid.height)
        grid = self.grid.crop(window)
        parts = [channel.power(window) for channel in self.channels]
        pixels = np.stack([power for power, _ in parts])
        valid: NDArray[np.bool_] = np.all([mask for _, mask in parts], axis=0)
        counts = [int(np.count_nonzero((layer <= 0) & valid)) for layer in pixels]
        notes = [
            f"{band.name}: {count} px not above the thermal noise, kept signed."
            for band, count in zip(self.bands, counts, strict=True)
            if count
        ]
        return Scene(pixels, self.bands, grid, valid, self.name, self.product, (*self.notes, *notes))

    def noise(self, window: Window | None = None) -> NDArray[np.float32]:
        """Power of the thermal noise that `read` subtracts, (bands, rows, columns), as `filter_scene` takes it."""
        window = window or Window(0, 0, self.grid.width, self.grid.height)
        return np.stack([channel.noise(window) for channel in self.channels])

    def overview(self, max_side: int) -> Scene:
        """The whole image with at most `max_side` rows and columns, averaged in power strip by strip."""
        return overview(self, max_side)

    def digest(self) -> str:
        """SHA-256 of content: the bytes of the files and how they are read."""
        denoised = [channel.range_noise is not None for channel in self.channels]
        sha = hashlib.sha256(f"{self.bands}{denoised}".encode())
        for channel in self.channels:
            for path in channel.files.values():
                with path.open("rb") as file:
                    sha.update(hashlib.file_digest(file, "sha256").digest())
        return sha.hexdigest()


def open_safe(
    path: str | Path,
    polarisations: Sequence[str] | None = None,
    quantity: Convention = "sigma0",
    denoise: bool = True,
) -> SafeScene:
    """Open a Sentinel-1 GRD product, its SAFE folder as unpacked, without reading all pixels.

    Args:
        path: the folder, or the manifest.safe in it.
        polarisations: such as ("VV", "VH"), in the order of the bands; all in the product when None.
        quantity: sigma0, beta0 or gamma0, by the product's own tables: on the ellipsoid, no terrain taken into account.
        denoise: subtract thermal noise.

    Raises:
        DataError: no GRD product, a file of it missing, damaged or all zeros, a polarisation it has not, or
            xarray-sentinel missing.
    """
    if quantity not in _TABLES:
        raise DataError(f"{path}: unknown quantity {quantity!r}; use one of {', '.join(_TABLES)}.")
    folder = _folder(Path(path))
    reader = _online("xarray_sentinel.esa_safe", "xarray-sentinel", folder)
    facts, files = _manifest(reader, folder)
    names = _wanted(polarisations, facts["transmitter_receiver_polarisations"], folder)
    channels = [_channel(reader, folder, files, name, quantity, denoise) for name in names]
    for channel in channels:
        _refuse_zeros(channel.files["measurement"])
    acquisition = Acquisition(
        relative_orbit=facts["relative_orbit_number"],
        mode=facts["mode"],
        look="right",
        orbit_pass=facts["pass"].lower(),
        date=datetime.fromisoformat(facts["start_time"]).date(),
    )
    return SafeScene(folder, channels, acquisition, quantity)


def _folder(path: Path) -> Path:
    folder = path.parent if path.name == "manifest.safe" else path
    if not folder.exists():
        raise DataError(f"{folder} does not exist; check the name and the folder.")
    if folder.is_file():
        raise DataError(f"{folder} is a file; unpack the product and give its .SAFE folder.")
    if not (folder / "manifest.safe").is_file():
        raise DataError(f"{folder} has no manifest.safe; give a .SAFE folder, or {_AGAIN}.")
    return folder


def _online(module: str, package: str, folder: Path) -> ModuleType:
    """A module of the extra `online`, imported where it is used: it is slow to load and may be missing."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DataError(
            f'{folder}: SAFE folders need {package} ({error}); run pip install "sartutor[online]".'
        ) from error


def _manifest(reader: ModuleType, folder: Path) -> tuple[dict[str, Any], dict[tuple[str, str], Path]]:
    """What the manifest says, and the files by role and polarisation."""
    path = folder / "manifest.safe"
    try:
        with path.open("rb") as file:
            facts, listed = reader.parse_manifest_sentinel1(file)
    except (SyntaxError, ValueError) as error:
        raise DataError(f"{path} is damaged or of another mission ({error}); {_AGAIN}.") from error
    if facts["product_type"] != "GRD":
        raise DataError(f"{folder} is an {facts['product_type']} product; give a GRD product.")
    found = {
        (_ROLES[kind], polarisation.upper()): folder / Path(href)
        for href, (kind, _, _, polarisation, _) in listed.items()
        if kind in _ROLES
    }
    return facts, found


def _wanted(asked: Sequence[str] | None, there: Sequence[str], folder: Path) -> list[str]:
    names = [name.upper() for name in (there if asked is None else asked)]
    for name in names:
        if name not in there:
            raise DataError(f"{folder} has no polarisation {name}; it has {', '.join(there)}.")
    if not names:
        raise DataError(
            f"{folder}: no polarisation was named; leave it out, or name some of {', '.join(there)}."
        )
    return names


def _channel(
    reader: ModuleType,
    folder: Path,
    found: dict[tuple[str, str], Path],
    name: str,
    quantity: Convention,
    subtract: bool,
) -> Channel:
    """One polarisation; DataError naming the first of its files that is missing or damaged."""
    files = {}
    for role in _ROLES.values():
        if (role, name) not in found:
            raise DataError(f"{folder}: manifest.safe lists no {role} file of {name}; {_AGAIN}.")
        files[role] = found[role, name]
        if not files[role].is_file():
            raise DataError(f"{files[role]} ({role} of {name}) is missing; {_AGAIN}.")
    vectors = _vectors(reader, files["calibration"], "calibrationVector", "calibration")
    table = _table(vectors, _TABLES[quantity], files["calibration"])
    along_range, along_azimuth = _noise(reader, files["noise"]) if subtract else (None, ())
    early = b"<noiseVector>" in files["noise"].read_bytes()
    return Channel(name, files, table, along_range, along_azimuth, early)


def _vectors(reader: ModuleType, path: Path, tag: str, kind: str) -> list[dict[str, Any]]:
    """All elements of that name in an annotation file; DataError where it is no XML."""
    try:
        return list(reader.parse_tag_as_list(str(path), f"//{tag}", kind))
    except SyntaxError as error:
        raise DataError(f"{path} is damaged ({error}); {_AGAIN}.") from error


def _table(vectors: Sequence[dict[str, Any]], values: str, path: Path) -> LookUpTable:
    try:
        ordered = sorted(vectors, key=lambda vector: int(vector["line"]))
        return LookUpTable(
            np.array([int(vector["line"]) for vector in ordered]),
            tuple(_integers(vector["pixel"]) for vector in ordered),
            tuple(_numbers(vector[values]) for vector in ordered),
        )
    except DataError as error:
        raise DataError(f"{path}, {values}: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} holds no complete table of {values} ({error}); {_AGAIN}.") from error


def _noise(reader: ModuleType, path: Path) -> tuple[LookUpTable, tuple[AzimuthNoise, ...]]:
    along_range = _vectors(reader, path, "noiseRangeVector", "noise")
    if not along_range:
        return _early_noise(path), ()
    along_azimuth = _vectors(reader, path, "noiseAzimuthVector", "noise")
    try:
        blocks = tuple(_azimuth_block(vector) for vector in along_azimuth)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} holds no complete noise along azimuth ({error}); {_AGAIN}.") from error
    return _table(along_range, "noiseRangeLut", path), blocks


def _early_noise(path: Path) -> LookUpTable:
    """Noise along range as processors before version 2.9 stated it, without any change along azimuth.

    Until July 2015 its units were others, with values below 1 throughout.
    """
    vectors = [
        {part.tag: {"$": part.text} if part.get("count") else part.text for part in vector}
        for vector in ElementTree.parse(path).iter("noiseVector")
    ]
    table = _table(vectors, "noiseLut", path)
    if max(values.max() for values in table.values) < 1:
        raise DataError(
            f"{path} states noise in units other than those of its image, as products did until July 2015; pass "
            "denoise=False to keep the noise."
        )
    return table


def _azimuth_block(vector: dict[str, Any]) -> AzimuthNoise:
    lines, values = _integers(vector["line"]), _numbers(vector["noiseAzimuthLut"])
    if len(lines) != len(values) or not len(lines):
        raise ValueError(f"{len(values)} values for {len(lines)} lines")
    return AzimuthNoise(
        first=(int(vector["firstAzimuthLine"]), int(vector["firstRangeSample"])),
        last=(int(vector["lastAzimuthLine"]), int(vector["lastRangeSample"])),
        lines=lines,
        values=values,
    )


def _integers(element: dict[str, Any]) -> NDArray[np.int64]:
    return np.array(str(element["$"]).split(), dtype=np.int64)


def _numbers(element: dict[str, Any]) -> NDArray[np.float32]:
    return np.array(str(element["$"]).split(), dtype=np.float32)


def _grid(channels: Sequence[Channel]) -> Grid:
    """Rows and columns of the image, in pixels; DataError where the polarisations differ in size."""
    sizes = {}
    for channel in channels:
        with opened(channel.files["measurement"]) as dataset:
            sizes[channel.files["measurement"]] = dataset.shape
    (first, shape), *others = sizes.items()
    for path, size in others:
        if size != shape:
            raise DataError(f"{path} {size} is not of the size of {first} {shape}; {_AGAIN}.")
    return Grid(Affine.identity(), None, *shape)


def _refuse_zeros(path: Path) -> None:
    """Raise DataError for an image without any digital number above 0."""
    with opened(path) as dataset:
        whole = Grid(Affine.identity(), None, dataset.height, dataset.width)
        if not any(dataset.read(1, window=window).any() for window in strips(whole)):
            raise DataError(f"{path} is all zeros, so it holds no image; {_AGAIN}.")


def terrain_correct(
    path: str | Path,
    dem_path: str | Path,
    polarisations: Sequence[str] | None = None,
    *,
    radiometry: Radiometry = "gamma_bilinear",
    geoid_m: float = 0.0,
    denoise: bool = True,
) -> Scene:
    """Terrain-flattened gamma0 of a GRD product on the grid of a height model, through sarsen.

    The model is refined to 5 m. Every pixel of it is looked up in the image (range and Doppler, by the product's
    orbit), bilinearly in power, and divided by the illuminated area that the model puts there (Small 2011); then all
    is averaged in power to the model's own pixels. It takes a few hundred bytes a refined pixel: cut the model to the
    area wanted.

    Args:
        path: SAFE folder of a GRD product.
        dem_path: GeoTIFF of heights in metres with a coordinate reference system, larger than the area wanted: 75 m
            along its border are left out, where illuminated areas are cut.
        polarisations: as in `open_safe`.
        radiometry: how illuminated areas are spread over the image; "gamma_nearest" is faster and coarser.
        geoid_m: height of the geoid above the ellipsoid there, added to the model's heights. Copernicus and SRTM
            models stand on the geoid: 50 m left out shift an image by 50 m / tan(incidence).
        denoise: subtract thermal noise; power stays signed.

    Returns:
        Bands in power, valid where the model has heights and the image data, and where ground is illuminated.

    Raises:
        DataError: as `open_safe`, or the heights cannot be such.
        GeometryError: the model has no coordinate reference system, or does not overlap the image.
    """
    safe = open_safe(path, polarisations, "beta0", denoise)
    dem = read_scene(dem_path, units="m", names=("height",))
    height = heights(dem)
    if dem.grid.crs is None:
        raise GeometryError(
            f"{dem_path} has no coordinate reference system; assign one (gdal_edit.py -a_srs)."
        )
    model = _fine(
        replace(dem, pixels=(_filled(height) + np.float32(geoid_m))[None], valid=np.isfinite(height))
    )
    with TemporaryDirectory(prefix="sartutor-terrain-") as scratch:
        write_scene(replace(model, valid=np.ones_like(model.valid)), Path(scratch) / "dem.tif")
        pixels = np.stack([_corrected(safe, i, Path(scratch), radiometry) for i in range(len(safe.bands))])
    valid = np.isfinite(pixels).all(axis=0) & model.valid & _inside(model.grid)
    if not valid.any():
        raise GeometryError(f"{dem_path} does not overlap {safe.name}; give a height model of its place.")
    note = f"gamma0 flattened by {dem.name} (sarsen, {radiometry}), geoid {geoid_m:g} m; {safe.notes[1]}"
    bands = tuple(replace(band, quantity="gamma0") for band in safe.bands)
    fine = Scene(pixels, bands, model.grid, valid, safe.name, PRODUCT, (note, *safe.notes[2:]))
    return replace(resize(fine, dem.grid.shape), grid=dem.grid)


def _filled(height: NDArray[np.floating]) -> NDArray[np.float32]:
    """Heights with the nearest known one where there is none: a fill value would tear the ground apart."""
    unknown = ~np.isfinite(height)
    nearest = ndimage.distance_transform_edt(unknown, return_distances=False, return_indices=True)
    return height[tuple(nearest)].astype(np.float32)


def _fine(model: Scene) -> Scene:
    """The height model with pixels of at most `_FINE_M`, interpolated bilinearly over the same ground."""
    metres = [float(np.max(side)) for side in spacing_m(model.grid)]
    rows, columns = (
        n * int(np.ceil(side / _FINE_M - 1e-6)) for n, side in zip(model.grid.shape, metres, strict=True)
    )
    whole = resize(replace(model, valid=np.ones_like(model.valid)), (rows, columns))
    return replace(whole, valid=resize(model, (rows, columns)).valid)


def _inside(grid: Grid) -> NDArray[np.bool_]:
    """Where a pixel of the refined model lies at least `_BORDER_M` from its border."""
    inside = np.zeros(grid.shape, bool)
    rows, columns = (int(np.ceil(_BORDER_M / np.min(side))) for side in spacing_m(grid))
    inside[rows : grid.height - rows, columns : grid.width - columns] = True
    return inside


def _corrected(safe: SafeScene, index: int, scratch: Path, radiometry: Radiometry) -> NDArray[np.float32]:
    """One polarisation on the grid of scratch/dem.tif, gamma0 in power, not finite where there is none."""
    sarsen = _online("sarsen", "sarsen", safe.folder)
    result = scratch / f"{safe.bands[index].name}.tif"
    product = _sarsen_product(sarsen, safe, index)
    with opened(scratch / "dem.tif") as model:
        overlap = min(_OVERLAP, *model.shape)
        chunks = _chunks(model.shape, overlap)
    sarsen.terrain_correction(
        product,
        str(scratch / "dem.tif"),
        output_urlpath=str(result),
        correct_radiometry=radiometry,
        interp_method="linear",
        chunks=chunks,
        radiometry_bound=overlap,
    )
    with opened(scratch / "dem.tif") as model, opened(result) as dataset:
        upside_down = dataset.transform.e * model.transform.e < 0  # sarsen sorts rows from south to north
        values: NDArray[np.float32] = dataset.read(1)
    return values[::-1] if upside_down else values


def _chunks(shape: tuple[int, int], overlap: int) -> int:
    """Side of the blocks that sarsen works on: the last of a row or column is no smaller than the overlap, too."""
    sides = range(_CHUNK // 2, _CHUNK, 16)
    return next((side for side in sides if all(n % side == 0 or n % side >= overlap for n in shape)), _CHUNK)


def _sarsen_product(sarsen: ModuleType, safe: SafeScene, index: int) -> Any:  # noqa: ANN401 (a sarsen product)
    """The product as sarsen sees it, with beta0 as this module makes it: sarsen leaves thermal noise in."""
    import dask.array
    import xarray

    class Product(sarsen.Sentinel1SarProduct):  # type: ignore[name-defined]
        def beta_nought(self, persist: bool = False) -> xarray.DataArray:
            image = self.measurement["measurement"].drop_vars(["pixel", "line"])
            lazy = dask.array.from_array(_BetaNought(safe, index), chunks=_CHUNK, asarray=False)
            return xarray.DataArray(lazy, image.coords, image.dims, attrs=image.attrs)

    groups = sarsen.Sentinel1SarProduct(str(safe.folder)).all_measurement_groups()
    (group,) = (name for name in groups if name.endswith(f"/{safe.bands[index].name}"))
    return Product(str(safe.folder), group)


class _BetaNought:
    """One band of a product as an array that is read where it is sliced; not-a-number at the margins."""

    ndim = 2
    dtype = np.dtype(np.float32)

    def __init__(self, safe: SafeScene, index: int) -> None:
        self.shape = safe.grid.shape
        self._channel = safe.channels[index]

    def __getitem__(self, place: tuple[slice, slice]) -> NDArray[np.float32]:
        power, valid = self._channel.power(Window.from_slices(*place, *self.shape))
        return np.where(valid, power, np.float32(np.nan))
