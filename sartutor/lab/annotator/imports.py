"""Polygons that exist already, to be corrected: from GeoPackage, GeoJSON, Shapefile, in any reference system."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

import geopandas
import numpy as np
import pyogrio
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError
from rasterio import features
from rasterio.crs import CRS
from rasterio.windows import Window
from shapely.geometry import Polygon

from sartutor.errors import DataError, GeometryError
from sartutor.lab.annotator.annotation import Annotation, Fields, Kind
from sartutor.lab.annotator.degrees import unwrapped
from sartutor.sar.footprint import clip_outline, mask_polygons, outline, pixel_window
from sartutor.sar.scene import Grid, Readable

MASKS_LAYER = "masks"
"""Layer of exported GeoPackages that holds the objects."""


@dataclass(frozen=True)
class Imported:
    """What a file held: new objects, features without a pixel of data on the scene, and features that are no areas."""

    objects: tuple[Annotation, ...]
    outside: int = 0
    no_areas: int = 0


def import_polygons(
    path: Path | str, scene: Readable, layer: str | None = None, parts: bool = False
) -> Imported:
    """The polygons of a vector file as objects of kind "imported", open to be corrected.

    A polygon that crosses itself is made valid, which its note says. Pixels belong to it whose centre it holds; one
    that holds none becomes the pixel in its middle. A column `label` gives the classes.

    Args:
        path: any format that GDAL reads.
        scene: where the objects are to lie.
        layer: of the file; None: its only one, or the masks of an exported GeoPackage.
        parts: whether every part of a multipolygon is an object; by default they are one together.

    Raises DataError for a file that cannot be read, has no polygon, or no reference system where the scene has one.
    """
    frame = _frame(Path(path), layer)
    crs = _crs(Path(path), frame, scene)
    if parts:
        frame = frame.explode(ignore_index=True)
    labels = frame["label"].tolist() if "label" in frame else [None] * len(frame)
    found: list[Annotation] = []
    counted = {"outside": 0, "no_areas": 0}
    for shape, label in zip(frame.geometry, labels, strict=True):
        areas, note = _areas(shape, crs)
        if not areas:
            counted["no_areas"] += 1
        elif one := outlined(areas, crs, scene, "imported", note=note):
            found.append(replace(one, label=label) if isinstance(label, str) and label else one)
        else:
            counted["outside"] += 1
    if counted["no_areas"] == len(frame):
        raise DataError(f"{path} holds no polygon; choose a file, or a layer of it, with areas.")
    return Imported(tuple(found), **counted)


def _frame(path: Path, layer: str | None) -> geopandas.GeoDataFrame:
    if not path.is_file():
        raise DataError(f"{path} is not there; give the path of a GeoPackage, GeoJSON or Shapefile.")
    try:
        layers = [str(name) for name, _ in pyogrio.list_layers(path)]
        if layer is None and len(layers) > 1:
            layer = MASKS_LAYER
        if layer is not None and layer not in layers:
            raise DataError(f"{path} has the layers {', '.join(layers)}; name one of them.")
        frame = pyogrio.read_dataframe(path, layer=layer)
    except (DataSourceError, DataLayerError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read as vector data; give a GeoPackage, GeoJSON, or a Shapefile with its .shx and .dbf "
            "beside it."
        ) from error
    if not isinstance(frame, geopandas.GeoDataFrame):
        raise DataError(f"{path} holds no polygon; choose a file, or a layer of it, with areas.")
    return frame


def _crs(path: Path, frame: geopandas.GeoDataFrame, scene: Readable) -> CRS | None:
    """The reference system of a file; None where the scene has none, so that numbers are taken as they are."""
    known = None if frame.crs is None else CRS.from_wkt(frame.crs.to_wkt())
    if scene.grid.crs is not None and known is None:
        raise DataError(
            f"{path} does not say its coordinate reference system (a Shapefile has it in its .prj); assign it, and "
            "import the file again."
        )
    return None if scene.grid.crs is None else known


def _areas(shape: shapely.Geometry | None, crs: CRS | None) -> tuple[list[Polygon], str]:
    """The polygons of a feature, in one piece each across the antimeridian, and what was done to them."""
    whole = _polygons(shape)
    if crs is not None:
        whole = [unwrapped(part, crs, crs) for part in whole]
    mended = [piece for part in whole for piece in _polygons(shapely.make_valid(part)) if piece.area > 0]
    valid = all(part.is_valid for part in whole)
    return mended, "" if valid else "crossed itself and was made valid"


def _polygons(shape: shapely.Geometry | None) -> list[Polygon]:
    """The polygons in a geometry of any type."""
    flat = [] if shape is None else shapely.get_parts(shapely.get_parts(shape))
    return [part for part in flat if isinstance(part, Polygon) and not part.is_empty]


def outlined(
    areas: Sequence[Polygon], crs: CRS | None, scene: Readable, kind: Kind, **rest: Unpack[Fields]
) -> Annotation | None:
    """What lies in outlines as one object, whatever a model would say; None where that is no pixel with data."""
    found = [part for area in areas if (part := _on_scene(area, crs, scene.grid)) is not None]
    if not found:
        return None
    places = [place for place, _ in found]
    box = shapely.total_bounds(places).tolist()
    window = pixel_window((box[0], box[1], box[2], box[3]), scene.grid)
    inside = _burnt(places, window) & scene.read(window).valid
    if not inside.any():
        return None
    clipped = "clipped to the scene" if any(cut for _, cut in found) or len(found) < len(areas) else ""
    rest["note"] = "; ".join(filter(None, (rest.get("note"), clipped)))
    one = replace(from_mask(inside, window, scene.grid, kind), **rest)
    return replace(one, polygon=areas[0], crs=crs) if len(areas) == 1 else one


def from_mask(
    mask: NDArray[np.bool_], window: Window, grid: Grid, kind: Kind, note: str = "", score: float = 1.0
) -> Annotation:
    """A mask (h, w) on a window of the grid as an annotation whose shape is the convex hull of its outline."""
    hull = mask_polygons(mask, grid, window).convex_hull
    soft = mask[None].astype(np.uint8) * 255
    return Annotation(0, kind, hull, grid.crs, (), window, soft, mask, (score,), grid, note=note)


def _on_scene(area: Polygon, crs: CRS | None, grid: Grid) -> tuple[Polygon, bool] | None:
    """A polygon in pixels, cut to the grid, and whether anything was cut off; None where it lies outside."""
    try:
        ring, clipped = clip_outline(outline(area, crs, grid), grid)
    except GeometryError:
        return None
    return Polygon(ring, [outline(Polygon(hole), crs, grid) for hole in area.interiors]), clipped


def _burnt(places: Sequence[Polygon], window: Window) -> NDArray[np.bool_]:
    """Pixels of a window (h, w) in polygons; one that holds no centre of a pixel marks the pixel in its middle."""
    shape, transform = (
        (int(window.height), int(window.width)),
        Affine.translation(window.col_off, window.row_off),
    )
    inside = np.zeros(shape, bool)
    for place in places:
        part = features.rasterize([place], shape, transform=transform, dtype="uint8").astype(bool)
        if not part.any():
            col, row = (int(value) for value in ~transform @ place.exterior.centroid.coords[0])
            part[min(row, shape[0] - 1), min(col, shape[1] - 1)] = True
        inside |= part
    return inside
