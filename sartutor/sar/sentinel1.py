"""Sentinel-1: what product names say, and calibrated backscatter in GeoTIFFs, VV and VH in one file or in two."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path

from sartutor.errors import DataError
from sartutor.sar.geotiff import SceneFile, open_scene
from sartutor.sar.layers import layers_of
from sartutor.sar.radiometry import RADAR_UNITS
from sartutor.sar.scene import Quantity, Units

PRODUCT = "sentinel-1"

CREDIT = "contains modified Copernicus Sentinel data"

POLARISATIONS = ("VV", "VH", "HH", "HV")

ORBITS_PER_CYCLE = 175
"""Orbits after which the ground track repeats (12 days)."""

ORBIT_OFFSETS = {"S1A": 73, "S1B": 27, "S1C": 172, "S1D": 42}
"""Absolute orbits that are relative orbit 1 (ESA, SentiWiki, S1 products); S1D as its first manifests have it."""

S1C_LAST_ORBIT_OLD_TRACK, S1C_NEW_OFFSET = 8018, 99
"""S1C changed its place along the track in June 2026: its last orbit with images before, and the offset since
(as open readers such as isce2 take it; the manifest of a product decides)."""

_LEVEL1 = re.compile(
    r"(?P<mission>S1[A-D])_(?P<mode>IW|EW|WV|S[1-6])_(?P<product>SLC|GRD)[FHM_]_1S(?P<polarisations>SH|SV|DH|DV)"
    r"_(?P<start>\d{8}T\d{6})_\d{8}T\d{6}_(?P<orbit>\d{6})_[0-9A-F]{6}(_\w{3,4}\b)?"
)
_HYP3 = re.compile(
    r"(?P<mission>S1[A-D])_(?P<mode>IW|EW|WV|S[1-6])_(?P<start>\d{8}T\d{6})_[DS][HV][PRO]_RTC\d\d_\w"
    r"_(?P<quantity>[gs])(?P<scale>[pad])[uw][nf][ec][dm]_[0-9A-F]{4}"
)
_CHANNELS = {"SH": ("HH",), "SV": ("VV",), "DH": ("HH", "HV"), "DV": ("VV", "VH")}
_SCALES: dict[str, Units] = {"p": "power", "a": "amplitude", "d": "db"}
_QUANTITIES: dict[str, Quantity] = {"g": "gamma0", "s": "sigma0"}


@dataclass(frozen=True)
class ProductName:
    """What the name of a level-1 product says; `mode` is IW, EW, WV or S1 to S6, `product` is SLC or GRD."""

    mission: str
    mode: str
    product: str
    polarisations: tuple[str, ...]
    start: datetime
    absolute_orbit: int

    @property
    def relative_orbit(self) -> int:
        """Number of the track, 1 to 175."""
        return relative_orbit(self.mission, self.absolute_orbit)


@dataclass(frozen=True)
class _Stated:
    """What the names of a terrain-corrected file and its folders state."""

    name: str
    units: Units | None = None
    quantity: Quantity | None = None
    date: date | None = None

    def notes(self, believed: bool) -> tuple[str, ...]:
        """Sentences about a terrain-corrected product; `believed` where units and quantity are those of its name."""
        if self.units is None:
            return ()
        scale = f"{self.quantity} in {self.units}, as the product's name states."
        return (*((scale,) if believed else ()), "terrain-flattened (RTC product).")


def relative_orbit(mission: str, absolute: int) -> int:
    """Track of an absolute orbit: (absolute - offset) mod 175 + 1, see `ORBIT_OFFSETS`."""
    offset = ORBIT_OFFSETS[mission]
    if mission == "S1C" and absolute > S1C_LAST_ORBIT_OLD_TRACK:
        offset = S1C_NEW_OFFSET
    return (absolute - offset) % ORBITS_PER_CYCLE + 1


def parse_s1_name(name: str) -> ProductName | None:
    """What a product's name says, or a path that holds it; None where no level-1 name is found.

    SAFE folders (`S1A_IW_GRDH_1SDV_..._ABCD.SAFE`) and what is named after them, such as items of the Planetary
    Computer (`..._rtc`), carry such a name; HyP3 products do not.
    """
    found = _LEVEL1.search(name)
    if found is None:
        return None
    return ProductName(
        mission=found["mission"],
        mode=found["mode"],
        product=found["product"],
        polarisations=_CHANNELS[found["polarisations"]],
        start=datetime.fromisoformat(found["start"]),
        absolute_orbit=int(found["orbit"]),
    )


def open_sentinel1(
    paths: str | Path | Sequence[str | Path],
    *,
    units: Units | None = None,
    quantity: Quantity | None = None,
    names: Sequence[str] | None = None,
) -> SceneFile:
    """Open calibrated Sentinel-1 backscatter, its bands named by polarisation.

    Terrain-corrected (RTC) products state quantity, units and date in their names or those of their folders:
    HyP3's `..._RTC30_G_gpuned_FD6A_VV.tif`, and `iw-vv.rtc.tiff` of the Planetary Computer.

    Args:
        paths: one GeoTIFF with one band a polarisation, or several on one grid.
        units: db, power or amplitude; when None what the file states, else its name, else a judgement by the values.
        quantity: sigma0 or gamma0; when None what the file states, else its name, else "none".
        names: polarisations; what descriptions or file names say when None.

    Raises:
        DataError: a polarisation is not known, the values are not calibrated (digital numbers, 8-bit pictures), or
            the files' names contradict each other.
    """
    files = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    stated = _stated_together(files)
    layers = [layer for path in files for layer in layers_of(path)[0]]
    silent = units is None and all(layer.units is None for layer in layers)
    unknown = quantity is None and all(layer.quantity is None for layer in layers)
    scene = open_scene(
        files,
        units=stated.units if silent else units,
        quantity=stated.quantity if unknown else quantity,
        names=names,
        product=PRODUCT,
    )
    for band in scene.bands:
        _check_band(scene.name, band.name, band.units)
    scene.bands = tuple(replace(band, date=band.date or stated.date) for band in scene.bands)
    scene.name = stated.name or scene.name
    scene.notes = (*scene.notes, *stated.notes(silent and unknown), f"Sentinel-1: {CREDIT}.")
    return scene


def _stated_together(files: Sequence[Path]) -> _Stated:
    """What all names state; DataError where two say different things."""
    stated = [_stated(path) for path in files] or [_Stated("")]
    for path, other in zip(files, stated, strict=False):
        if other != stated[0]:
            raise DataError(
                f"{path} is of another product, date or scale than {files[0]} by its name; open each product alone."
            )
    return stated[0]


def _stated(path: Path) -> _Stated:
    text = path.as_posix()
    if hyp3 := _HYP3.search(text):
        taken = datetime.fromisoformat(hyp3["start"]).date()
        return _Stated(hyp3[0], _SCALES[hyp3["scale"]], _QUANTITIES[hyp3["quantity"]], taken)
    named, level1 = _LEVEL1.search(text), parse_s1_name(text)
    name, day = (named[0] if named else ""), (level1.start.date() if level1 else None)
    if path.name.lower().endswith((".rtc.tiff", ".rtc.tif")):
        return _Stated(name, "power", "gamma0", day)
    return _Stated(name, date=day)


def _check_band(scene: str, name: str, units: Units) -> None:
    if not name.upper().startswith(POLARISATIONS):
        raise DataError(
            f"{scene}: band {name} names no polarisation; write VV or VH into the band's description or the "
            "file's name, or pass names."
        )
    if units not in RADAR_UNITS:
        raise DataError(
            f"{scene}: band {name} is {units!r}, neither dB nor power; calibrate it, or name its true units."
        )
