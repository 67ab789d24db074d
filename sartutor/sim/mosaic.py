"""A small synthetic tile in the form of a PALSAR-2 mosaic: islands in the sea, with angle, date and mask.

The folder can be read like a delivered tile. Levels are those of L-band over open sea and shrubland; slopes
in radar shadow are dark, as the mask's legend says.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.transform import from_origin
from scipy import ndimage

from sartutor.sar.radiometry import ALOS2_CALIBRATION_FACTOR_DB, db_to_power
from sartutor.sim.shapes import fractal_field, speckle

NAME = "N00E000_20"
PIXEL = 0.8 / 3600  # degree, the spacing of the mosaics
LOOKS = 8
BEAM_DEGREE = 36
NO_DATA, OCEAN, SHADOW, LAND = 0, 50, 150, 255
LEVELS_DB = {
    "HH": {OCEAN: -18.0, LAND: -9.0, SHADOW: -24.0},
    "HV": {OCEAN: -31.0, LAND: -17.0, SHADOW: -32.0},
}
"""Gamma0 at L-band by class in dB (assumed, near the means of the real tile among the samples)."""

LEGEND = """<?xml version="1.0" encoding="utf-8"?>
<Metadata><PerPixelMetadata><DataMask><BitValues>
<ValidData>255</ValidData><NoData>0</NoData><Layover>100</Layover><Shadow>150</Shadow><OceanWater>50</OceanWater>
</BitValues></DataMask><AcquisitionDate><ZeroReferenceDate>2014-05-24</ZeroReferenceDate></AcquisitionDate>
</PerPixelMetadata><RadiometricTerrainCorrectedMeasurements>
<BackscatterConversionEq>10 * log10(DN^2) - 83.0</BackscatterConversionEq>
</RadiometricTerrainCorrectedMeasurements></Metadata>
"""


def write_tile(folder: Path, seed: int, side: int) -> None:
    """Write a tile of `side` x `side` pixels: HH and HV digital numbers, angle, date, mask and XML."""
    rng = np.random.default_rng(seed)
    height = fractal_field(rng, side, 3.5)
    mask = _classes(height)
    layers: dict[str, NDArray[np.generic]] = {
        f"sl_{band}": _numbers(rng, mask, LEVELS_DB[band]) for band in LEVELS_DB
    }
    layers["linci"] = np.where(mask, _incidence(height, mask), 0).astype(np.uint8)
    layers["date"] = np.where(mask, 2300, 0).astype(np.uint16)
    layers["mask"] = mask
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in layers.items():
        _write(folder / f"{NAME}_{name}_F02DAR.tif", values)
    (folder / f"{NAME}_F02DAR.xml").write_text(LEGEND, encoding="utf-8")


def _classes(height: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Mask values of a height field: land above its upper third, steep slopes away from the radar in shadow."""
    land = height > np.quantile(height, 0.65)
    slope = _slope(height)
    shadow = land & (slope < np.quantile(slope[land], 0.04))
    mask = np.select([shadow, land], [SHADOW, LAND], OCEAN).astype(np.uint8)
    mask[:, : len(mask) // 10] = NO_DATA
    return mask


def _incidence(height: NDArray[np.float32], mask: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Local incidence angle in degrees: the beam's over the sea, less on slopes that face the radar."""
    slope = np.where(mask == OCEAN, 0, _slope(height))
    return np.clip(BEAM_DEGREE - 12 * slope / slope.std(), 1, 85)


def _slope(height: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rise to the right, the direction in which the radar looks, smoothed; height units per pixel."""
    return ndimage.gaussian_filter(np.gradient(height, axis=1), 1.5)


def _numbers(
    rng: np.random.Generator, mask: NDArray[np.uint8], levels: dict[int, float]
) -> NDArray[np.uint16]:
    """Digital numbers (amplitude) under speckle; 1 where there is no data."""
    level = np.zeros(mask.shape)
    for value, db in levels.items():
        level[mask == value] = db
    level += np.where(mask == LAND, fractal_field(rng, len(mask), 2.0), 0)
    power = db_to_power(level) * speckle(rng, mask.shape, LOOKS)
    numbers = np.sqrt(power / db_to_power(ALOS2_CALIBRATION_FACTOR_DB))
    return np.where(mask == NO_DATA, 1, np.clip(np.round(numbers), 2, 65535)).astype(np.uint16)


def _write(path: Path, values: NDArray[np.generic]) -> None:
    place = from_origin(0, 1, PIXEL, PIXEL)
    height, width = values.shape
    profile = {"driver": "GTiff", "height": height, "width": width, "count": 1, "dtype": values.dtype.name}
    with rasterio.open(path, "w", crs="EPSG:4326", transform=place, compress="deflate", **profile) as file:
        file.write(values, 1)
