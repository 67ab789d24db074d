"""Sentinel-1 backscatter in GeoTIFFs: calibrated dB or power, VV and VH in one file or in two."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sartutor.errors import DataError
from sartutor.sar.geotiff import SceneFile, open_scene
from sartutor.sar.radiometry import RADAR_UNITS
from sartutor.sar.scene import Quantity, Units

PRODUCT = "sentinel-1"

CREDIT = "contains modified Copernicus Sentinel data"

POLARISATIONS = ("VV", "VH", "HH", "HV")


def open_sentinel1(
    paths: str | Path | Sequence[str | Path],
    *,
    units: Units | None = None,
    quantity: Quantity | None = None,
    names: Sequence[str] | None = None,
) -> SceneFile:
    """Open calibrated Sentinel-1 backscatter, its bands named by polarisation.

    Args:
        paths: one GeoTIFF with one band a polarisation, or several on one grid.
        units: db or power; what the file states, or else a judgement by the values, when None.
        quantity: sigma0 or gamma0; what the file states, else "none", when None.
        names: polarisations; what descriptions or file names say when None.

    Raises: DataError: a polarisation is not known, or the values are not calibrated (digital numbers, 8-bit
        pictures).
    """
    scene = open_scene(paths, units=units, quantity=quantity, names=names, product=PRODUCT)
    for band in scene.bands:
        _check_band(scene.name, band.name, band.units)
    scene.notes = (*scene.notes, f"Sentinel-1: {CREDIT}.")
    return scene


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
