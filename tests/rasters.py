"""Small rasters for tests."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import ArrayLike
from rasterio.crs import CRS

UTM = CRS.from_epsg(32632)
HERE = Affine(10, 0, 600000, 0, -10, 5200000)


def write(
    path: Path,
    values: ArrayLike,
    transform: Affine = HERE,
    crs: CRS | None = UTM,
    descriptions: Sequence[str] = (),
    **profile: Any,
) -> Path:
    """Write values (rows, columns) or (bands, rows, columns) as a GeoTIFF, or what `profile` says."""
    values = np.asarray(values)
    values = values[None] if values.ndim == 2 else values
    count, height, width = values.shape
    place = {"driver": "GTiff", "dtype": values.dtype, "crs": crs, "transform": transform, **profile}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path, "w", **place, height=height, width=width, count=count) as file:
            file.write(values)
            for index, text in enumerate(descriptions, start=1):
                file.set_band_description(index, text)
    return path
