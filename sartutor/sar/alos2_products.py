"""ALOS-2 scenes: level 1.1 (complex), 1.5 and 2.1 (digital numbers) in JAXA's CEOS format, 1.5 and 2.1 as GeoTIFF.

A product is a folder with one image a polarisation, such as IMG-HH-ALOS2458503210-221119-UBSR2.1GUD. Levels 1.5
and 2.1 become sigma0 power, 10 log10 <DN^2> - 83.0 dB; level 1.1 stays complex until `detect` takes its power,
10 log10 <I^2 + Q^2> - 83.0 - 32.0 dB, averaged over looks. Data (c) JAXA.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from sartutor.errors import DataError
from sartutor.sar.alos2 import CREDIT
from sartutor.sar.ceos import CeosImages, Leader, read_leader
from sartutor.sar.geotiff import SceneFile, open_scene
from sartutor.sar.radiometry import ALOS2_CALIBRATION_FACTOR_DB, alos2_dn_to_power, alos2_slc_to_power
from sartutor.sar.resize import overview, resize
from sartutor.sar.scene import Band, Grid, Scene, Units

REVOLUTIONS_PER_CYCLE = 207
"""Orbits until ALOS-2 repeats its ground track: 14 days of 15 - 3/14 revolutions each (JAXA)."""

_NAME = re.compile(
    r"""(?:(?P<kind>IMG|LED|TRL|VOL|BRS)-(?:(?P<polarisation>[HV]{2})-)?)?
    ALOS2(?P<orbit>\d{5})(?P<frame>\d{4})-(?P<date>\d{6})
    (?:-(?P<mode>[A-Z]{3})(?P<look>[LR])(?P<level>\d\.\d)(?P<option>[GR_])(?P<projection>[A-Z_])(?P<pass>[AD]))?
    (?:-(?P<scan>[BF]\d))?
    (?:_(?P<first>\d+)_(?P<second>\d+))?(?![A-Z0-9-])""",
    re.VERBOSE,
)
_UNITS: dict[str, Units] = {"1.1": "complex", "1.5": "dn", "2.1": "dn"}
"""Units of the numbers as delivered, by level."""

_POLARISATIONS = ("HH", "HV", "VV", "VH")


@dataclass(frozen=True)
class Alos2Name:
    """What the name of an ALOS-2 scene, product or file says; None or "" for what it leaves out.

    `mode` is JAXA's three letters (UBS: ultra-fine, single polarisation), `look` R or L, `orbit_direction` A
    (ascending) or D, `option` G (geocoded) or R (georeferenced), `projection` U (UTM), P, M or L, `scan` the
    scan of a ScanSAR image, `tile` two numbers that a tile cut out of a scene carries, as written.
    """

    orbit: int
    frame: int
    date: date
    polarisation: str = ""
    mode: str = ""
    look: str = ""
    level: str = ""
    option: str = ""
    projection: str = ""
    orbit_direction: str = ""
    scan: str = ""
    tile: tuple[int, int] | None = None

    @property
    def repeat_orbit(self) -> int:
        """Orbit within the 14-day cycle: equal for passes over one ground track (not JAXA's path number)."""
        return self.orbit % REVOLUTIONS_PER_CYCLE

    @property
    def scene_id(self) -> str:
        """JAXA's name of the scene, such as ALOS2458503210-221119."""
        return f"ALOS2{self.orbit:05}{self.frame:04}-{self.date:%y%m%d}"


def parse_alos2_name(name: str | Path) -> Alos2Name:
    """What a file name, product name or scene id says; folders before it and endings after it do not matter.

    IMG-HH-ALOS2458503210-221119-UBSR2.1GUD_12032_7680.tif: HH of orbit 45850, frame 3210, 19 November 2022,
    ultra-fine single polarisation, right-looking, level 2.1, geocoded, UTM, descending.

    Raises DataError when there is no such name.
    """
    said = find_alos2_name(name)
    if said is None:
        raise DataError(
            f"{Path(name).name} is no name of an ALOS-2 scene, such as IMG-HH-ALOS2458503210-221119-UBSR2.1GUD; "
            "keep the names that JAXA gave."
        )
    return said


def find_alos2_name(name: str | Path) -> Alos2Name | None:
    """As `parse_alos2_name`, but None when there is no such name."""
    found = _NAME.search(Path(name).name)
    if found is None:
        return None
    try:
        taken = datetime.strptime(found["date"], "%y%m%d").date()
    except ValueError:
        return None
    tile = (int(found["first"]), int(found["second"])) if found["first"] else None
    words = ("polarisation", "mode", "look", "level", "option", "projection", "scan")
    said = {word: (found[word] or "").strip("_") for word in words}
    return Alos2Name(
        int(found["orbit"]),
        int(found["frame"]),
        taken,
        tile=tile,
        orbit_direction=found["pass"] or "",
        **said,
    )


class Alos2Scene:
    """One ALOS-2 scene, read window by window: sigma0 power of levels 1.5 and 2.1, complex values of 1.1.

    `factor_db` is the calibration factor in use; complex values are scaled so that -83.0 dB, which `detect` takes,
    is theirs. Digital number 0 is no data.
    """

    def __init__(
        self, raw: SceneFile | CeosImages, said: Alos2Name, factor_db: float, notes: tuple[str, ...]
    ) -> None:
        self.name = raw.name
        self.said = said
        self.product = f"alos2-l{said.level}"
        self.grid: Grid = raw.grid
        self.factor_db = factor_db
        self.notes = notes
        self.bands = tuple(_calibrated(band) for band in raw.bands)
        self._raw = raw

    def read(self, window: Window | None = None) -> Scene:
        """The pixels inside `window` (whole pixels, inside the scene); everything when None."""
        raw = self._raw.read(window)
        pixels: NDArray[Any] = raw.pixels
        valid = raw.valid
        if self.said.level == "1.1":
            pixels = pixels * np.float32(10 ** ((self.factor_db - ALOS2_CALIBRATION_FACTOR_DB) / 20))
        else:
            valid = valid & np.all(pixels > 0, axis=0)
            pixels = alos2_dn_to_power(pixels, self.factor_db)
        return replace(
            raw, pixels=pixels, valid=valid, bands=self.bands, product=self.product, notes=self.notes
        )

    def overview(self, max_side: int) -> Scene:
        """The whole scene with at most `max_side` rows and columns, averaged in power strip by strip."""
        return overview(self, max_side)

    def digest(self) -> str:
        """SHA-256 of content: of the files and of how they are read."""
        return hashlib.sha256(f"{self._raw.digest()}{self.bands}{self.factor_db}".encode()).hexdigest()


def open_alos2(path: str | Path, factor_db: float | None = None) -> Alos2Scene:
    """Open an ALOS-2 product of level 1.1, 1.5 or 2.1 without reading its pixels.

    Args:
        path: the product's folder, its summary.txt, or one image of it (IMG-..., CEOS or GeoTIFF).
        factor_db: calibration factor; None: what the leader file of a CEOS product states, or else -83.0 dB.

    Raises:
        DataError: there is no such image, its name or level does not say how to calibrate it, the format needs
            an extra that is not installed, or a file is damaged.
    """
    path = Path(path)
    files = _images(path)
    names = [parse_alos2_name(file) for file in files]
    _check_product(path, names)
    if files[0].suffix.lower() in (".tif", ".tiff"):
        return _open_geotiff(files, names, factor_db)
    return _open_ceos(files, names, factor_db)


def detect(scene: Scene, looks: tuple[int, int] = (1, 1)) -> Scene:
    """Sigma0 power of a level 1.1 scene: |z|^2, calibrated, then averaged over (azimuth, range) looks.

    The calibration factor is -83.0 dB; `open_alos2` scales the complex values of a product that has another one.
    Lines are azimuth and columns are range; what does not fill a last block of looks is left out. Speckle goes
    down by sqrt(looks) only as far as neighbouring pixels are independent, which oversampled ones are not.

    Raises DataError when bands are not complex, or when the scene has fewer pixels than looks.
    """
    if any(band.units != "complex" for band in scene.bands):
        raise DataError(f"{scene.name}: only complex bands are detected; this has been detected already.")
    shape = tuple(
        size // number if number >= 1 else 0 for size, number in zip(scene.grid.shape, looks, strict=True)
    )
    if min(shape) < 1:
        raise DataError(
            f"{scene.name}: {looks[0]} x {looks[1]} looks do not fit {scene.grid.height} x {scene.grid.width} "
            "pixels; ask for at least 1 and at most as many as there are pixels."
        )
    whole = scene.read(Window(0, 0, shape[1] * looks[1], shape[0] * looks[0]))
    bands = tuple(replace(band, units="power", quantity="sigma0") for band in scene.bands)
    notes = (
        *scene.notes,
        f"detected with {looks[0]} x {looks[1]} (azimuth x range) looks.",
    )
    power = replace(whole, pixels=alos2_slc_to_power(whole.pixels), bands=bands, notes=notes)
    return power if tuple(looks) == (1, 1) else resize(power, (shape[0], shape[1]))


def _images(path: Path) -> list[Path]:
    """The image files of a product, in the order HH, HV, VV, VH."""
    if not path.exists():
        raise DataError(f"{path} does not exist; check the name and the folder.")
    if path.is_file() and path.name != "summary.txt":
        return [path]
    folder = path if path.is_dir() else path.parent
    found = [file for file in folder.iterdir() if file.is_file() and file.name.startswith("IMG-")]
    images = [f for f in found if f.suffix.lower() in (".tif", ".tiff") or _NAME.fullmatch(f.name)]
    if not images:
        raise DataError(f"{folder} holds no ALOS-2 image (IMG-HH-ALOS2...); name the product's own folder.")
    order = {name: index for index, name in enumerate(_POLARISATIONS)}
    return sorted(images, key=lambda f: (order.get(parse_alos2_name(f).polarisation, 9), f.name))


def _check_product(path: Path, names: list[Alos2Name]) -> None:
    first = names[0]
    if first.level not in _UNITS:
        level = f"level {first.level}" if first.level else "no level in its name"
        raise DataError(f"{path} has {level}; give level 1.1, 1.5 or 2.1, whose calibration is known.")
    if not all(name.polarisation for name in names):
        raise DataError(f"{path} names no polarisation; give an image such as IMG-HH-ALOS2....")
    if len({replace(name, polarisation="") for name in names}) > 1 or len(set(names)) < len(names):
        raise DataError(f"{path} holds images of several scenes, scans or tiles; name one image file.")


def _open_geotiff(files: list[Path], names: list[Alos2Name], factor_db: float | None) -> Alos2Scene:
    said = names[0]
    if said.level == "1.1":
        raise DataError(f"{files[0]} is level 1.1 as GeoTIFF, which is not read; take the CEOS format.")
    raw = open_scene(files, units="dn", names=[name.polarisation for name in names])
    raw.bands = tuple(replace(band, date=said.date) for band in raw.bands)
    factor = ALOS2_CALIBRATION_FACTOR_DB if factor_db is None else factor_db
    return Alos2Scene(raw, replace(said, polarisation=""), factor, (*_notes(said, factor), *raw.notes))


def _open_ceos(files: list[Path], names: list[Alos2Name], factor_db: float | None) -> Alos2Scene:
    said = names[0]
    leader = _leader(files[0])
    units = _UNITS[said.level]
    bands = tuple(Band(name.polarisation, units, date=said.date) for name in names)
    raw = CeosImages(files, bands, None if units == "complex" else leader.grid, files[0].name)
    stated = ALOS2_CALIBRATION_FACTOR_DB if leader.factor_db is None else leader.factor_db
    factor = stated if factor_db is None else factor_db
    return Alos2Scene(raw, replace(said, polarisation=""), factor, _notes(said, factor, raw.grid))


def _leader(image: Path) -> Leader:
    """The leader file beside an image (LED-... without polarisation), or an empty one."""
    name = re.sub(r"^IMG-[HV]{2}-", "LED-", image.name)
    path = image.with_name(re.sub(r"-[BF]\d$", "", name))
    return read_leader(path) if path.is_file() else Leader()


def _notes(said: Alos2Name, factor_db: float, grid: Grid | None = None) -> tuple[str, ...]:
    geometry = (f"{said.mode}, {_words(said)}, orbit {said.orbit}, frame {said.frame}",)
    notes = (
        f"{CREDIT}: ALOS-2 PALSAR-2 level {said.level}, {geometry[0]}.",
        f"calibration factor {factor_db:g} dB.",
    )
    if said.level == "1.1":
        return (*notes, "rows are azimuth lines and columns slant range, not a map.")
    if grid is not None and grid.crs is None:
        return (*notes, "no UTM grid in the leader file: pixels lie nowhere on a map.")
    return notes


def _words(said: Alos2Name) -> str:
    look = {"R": "right", "L": "left"}[said.look]
    return f"{look}-looking, {'ascending' if said.orbit_direction == 'A' else 'descending'}"


def _calibrated(band: Band) -> Band:
    return replace(band, units="power", quantity="sigma0") if band.units == "dn" else band
