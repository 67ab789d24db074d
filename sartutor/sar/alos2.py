"""Yearly PALSAR-2 and PALSAR mosaic tiles of JAXA: digital numbers to gamma0 power, with angle, date and mask.

A tile is an archive (tar.gz) or folder of GeoTIFFs: `*_sl_HH_*` and `*_sl_HV_*` amplitudes as 16-bit
digital numbers, `*_linci_*` local incidence angle in degrees, `*_date_*` in days since launch, `*_mask_*`
classes, and an XML file that says what the numbers mean. No-data is 0 in some years and 1 in others. Data
(c) JAXA.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import re
import shutil
import tarfile
import weakref
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from sartutor.errors import DataError, OutputError, SarTutorError
from sartutor.sar.geotiff import SceneFile, open_scene
from sartutor.sar.radiometry import ALOS2_CALIBRATION_FACTOR_DB, alos2_dn_to_power
from sartutor.sar.resize import overview
from sartutor.sar.scene import Band, Scene, Units

PRODUCT = "palsar2-mosaic"

CREDIT = "(c) JAXA"

LAUNCH = date(2014, 5, 24)
"""Day that the date layer counts from (ALOS-2's launch), unless the tile's XML names another."""

ALOS_LAUNCH = date(2006, 1, 24)
"""Day that the date layer of the older PALSAR mosaics (2007-2010) counts from."""

NO_DATA = (0, 1)
"""Digital numbers that stand for no data: 0 in most deliveries, 1 in others; 1 is -83 dB, below any echo."""

DOCUMENTED_LEGEND = {0: "NoData", 50: "OceanWater", 100: "Layover", 150: "Shadow", 255: "ValidData"}
"""Mask values as JAXA documents them, for tiles that come without their XML."""

_UNITS: dict[str, Units] = {"HH": "dn", "HV": "dn", "linci": "degree", "date": "class", "mask": "class"}
"""Units of a tile's layers as delivered, in the order of bands; a mean of two days is no day, so days are classes."""

_LAYER = re.compile(
    r"_(?:sl_(?P<polarisation>HH|HV)|(?P<other>linci|date|mask))(?:_[^/]*)?\.tif$", re.IGNORECASE
)
_YEAR = re.compile(r"_(\d{2})$")
_FACTOR = re.compile(r"log10\(DN\^2\)\s*([+-])\s*([\d.]+)")


@dataclass(frozen=True)
class Legend:
    """What a tile's XML says about its numbers.

    `mask` names the values of the mask layer; a name is JAXA's word, not a proof: where "Shadow" is
    brighter than its surroundings it may well be layover.
    """

    mask: Mapping[int, str] = field(default_factory=lambda: dict(DOCUMENTED_LEGEND))
    day_zero: date = LAUNCH
    factor_db: float = ALOS2_CALIBRATION_FACTOR_DB
    source: str = "JAXA's documents, the tile has no XML"

    @property
    def no_data(self) -> list[int]:
        """Mask values that stand for no data."""
        return [value for value, word in self.mask.items() if word == "NoData"]

    def date(self, days: float) -> date:
        """The day that a value of the date layer stands for."""
        return self.day_zero + timedelta(days=int(days))

    def note(self) -> str:
        """The mask legend as a sentence."""
        values = ", ".join(f"{value} {word}" for value, word in sorted(self.mask.items()))
        return f"mask values by {self.source}: {values}."


def read_legend(text: str | bytes, name: str = "the tile's XML", day_zero: date = LAUNCH) -> Legend:
    """The legend in the text of a tile's XML; what the XML leaves out is as JAXA documents it.

    Args:
        text: of the XML.
        name: what a DataError about damaged XML calls it.
        day_zero: day that dates count from where the XML names none.
    """
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise DataError(f"{name} is damaged ({error}); fetch the tile again.") from error
    values = {e.tag: (e.text or "").strip() for e in root.iterfind(".//DataMask/BitValues/*")}
    words = {int(value): word for word, value in values.items() if value.isdigit()}
    day = root.findtext(".//AcquisitionDate/ZeroReferenceDate")
    found = _FACTOR.search(root.findtext(".//BackscatterConversionEq") or "")
    return Legend(
        mask=words or dict(DOCUMENTED_LEGEND),
        day_zero=date.fromisoformat(day.strip()) if day else day_zero,
        factor_db=float("".join(found.groups())) if found else ALOS2_CALIBRATION_FACTOR_DB,
        source="the tile's XML" if words else Legend.source,
    )


class Mosaic:
    """One mosaic tile, read window by window.

    Bands: HH and HV gamma0 in power, then linci (degree), date (days since `legend.day_zero`) and mask
    (both class, so never averaged), as far as the tile has them. A pixel is valid where every layer holds
    data, in the words of files and legend.
    """

    def __init__(self, raw: SceneFile, legend: Legend) -> None:
        self.name = raw.name
        self.product = PRODUCT
        self.grid = raw.grid
        self.legend = legend
        self.notes = (f"{CREDIT}: PALSAR-2/PALSAR global mosaic, tile {raw.name}.", legend.note())
        self.bands = tuple(_calibrated(band) for band in raw.bands)
        self._raw = raw

    def read(self, window: Window | None = None) -> Scene:
        """The pixels inside `window` (whole pixels, inside the tile); the whole tile when None."""
        raw = self._raw.read(window)
        pixels, valid = raw.pixels, raw.valid
        for layer, band in zip(pixels, raw.bands, strict=True):
            if band.units == "dn":
                valid = valid & ~np.isin(layer, NO_DATA)
                layer[...] = alos2_dn_to_power(layer, self.legend.factor_db)
            elif band.name == "mask":
                valid = valid & ~np.isin(layer, self.legend.no_data)
        bands = self._dated(raw, valid)
        return replace(raw, bands=bands, valid=valid, product=PRODUCT, notes=self.notes)

    def overview(self, max_side: int) -> Scene:
        """The whole tile with at most `max_side` rows and columns, averaged in power strip by strip."""
        return overview(self, max_side)

    def digest(self) -> str:
        """SHA-256 of content: of the tile's files and of how they are read."""
        return hashlib.sha256(f"{self._raw.digest()}{self.bands}{self.legend}".encode()).hexdigest()

    def _dated(self, raw: Scene, valid: NDArray[np.bool_]) -> tuple[Band, ...]:
        """The bands, with the day of the backscatter where all valid pixels were taken on one day."""
        days = np.unique(raw.band("date")[valid]).tolist() if "date" in raw.band_names else []
        day = self.legend.date(days[0]) if len(days) == 1 else None
        return tuple(replace(band, date=day) if band.quantity == "gamma0" else band for band in self.bands)


def open_mosaic(path: str | Path) -> Mosaic:
    """Open a mosaic tile, the archive as JAXA delivers it or a folder with its files.

    An archive is unpacked into a temporary folder that lives as long as the tile; only the tile's own
    layers are taken out of it, by their base names, so that no member can be written elsewhere.

    Raises DataError when the tile is missing, damaged, or without an HH or HV layer.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path} does not exist; fetch the tile or check the name.")
    if path.is_dir():
        return _open_folder(path, path)
    folder = TemporaryDirectory(prefix="sartutor-palsar2-")
    try:
        _unpack(path, Path(folder.name))
        mosaic = _open_folder(Path(folder.name), path)
    except SarTutorError:
        folder.cleanup()
        raise
    weakref.finalize(mosaic, folder.cleanup)
    return mosaic


def read_mosaic(path: str | Path, window: Window | None = None) -> Scene:
    """The pixels of a mosaic tile inside `window`, or all of it; errors are those of `open_mosaic`."""
    return open_mosaic(path).read(window)


def _calibrated(band: Band) -> Band:
    return Band(band.name, "power", "gamma0") if band.units == "dn" else band


def _open_folder(folder: Path, origin: Path) -> Mosaic:
    files = _layer_files(folder)
    if not files.keys() & {"HH", "HV"}:
        raise DataError(
            f"{origin} holds no PALSAR-2 mosaic layer (*_sl_HH_*.tif); give a tile of JAXA's mosaic."
        )
    names = [name for name in _UNITS if name in files]
    try:
        raw = open_scene([files[n] for n in names], units=[_UNITS[n] for n in names], names=names)
    except SarTutorError as error:
        raise type(error)(str(error).replace(str(folder), str(origin))) from error
    raw.name = _LAYER.split(files[names[0]].name)[0]
    return Mosaic(raw, _legend(folder, origin, raw.name))


def _legend(folder: Path, origin: Path, tile: str) -> Legend:
    """The legend in the folder's XML, or JAXA's documented one; a tile is named after its place and year."""
    year = _YEAR.search(tile)
    day_zero = ALOS_LAUNCH if year and int(year[1]) < LAUNCH.year % 100 else LAUNCH
    xml = sorted(folder.glob("*.xml"))
    if not xml:
        return Legend(day_zero=day_zero)
    return read_legend(xml[0].read_bytes(), f"{origin}/{xml[0].name}", day_zero)


def _layer_files(folder: Path) -> dict[str, Path]:
    found = ((_LAYER.search(path.name), path) for path in sorted(folder.iterdir()))
    return {_layer_name(match): path for match, path in found if match}


def _layer_name(match: re.Match[str]) -> str:
    return match["polarisation"].upper() if match["polarisation"] else match["other"].lower()


def _unpack(archive: Path, folder: Path) -> None:
    """Copy the layers and the XML of a tile out of its archive, whatever folders they claim to lie in."""
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                name = PurePosixPath(member.name).name
                wanted = _LAYER.search(name) or name.endswith(".xml")
                if wanted and (source := tar.extractfile(member)):
                    with (folder / name).open("wb") as target:
                        shutil.copyfileobj(source, target)
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError) as error:
        raise DataError(f"{archive} is damaged or no tar archive; fetch it again.") from error
    except OSError as error:
        raise OutputError(
            f"cannot unpack {archive} into {folder} ({error.strerror}); free some space."
        ) from error
