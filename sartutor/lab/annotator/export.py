"""What leaves a session: one mask on the scene's grid, outlines with their attributes, and forms to train with.

Rejected objects leave it with none of them. Open ones do, with their status beside them, but for the training folder,
where only what a person has accepted is taught.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import geopandas
import numpy as np
import pyogrio
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError
from rasterio.crs import CRS
from shapely.geometry import Polygon, mapping

from sartutor.errors import GeometryError, OutputError
from sartutor.lab.annotator.annotation import Annotation
from sartutor.lab.annotator.coco import write_coco
from sartutor.lab.annotator.degrees import in_degrees
from sartutor.lab.annotator.provenance import as_tags, kept, provenance
from sartutor.lab.annotator.training import write_training
from sartutor.sar.coordinates import DEGREES, bounds
from sartutor.sar.files import check_writable, replacing
from sartutor.sar.geotiff import write_mask as write_mask_file
from sartutor.sar.resize import strips
from sartutor.sar.scene import Grid, Readable

ATTRIBUTES = (
    "id",
    "label",
    "status",
    "kind",
    "score",
    "pixels",
    "area_m2",
    "threshold",
    "seconds",
    "annotator",
    "model",
    "model_digest",
    "note",
)
"""Of outlines in vector files."""


def export(
    scene: Readable,
    objects: Sequence[Annotation],
    stem: Path | str,
    endings: Sequence[str] = (".tif", ".gpkg", ".geojson"),
) -> list[Path]:
    """Write `stem` with endings of `WRITERS`; `.geojson` only where the scene can be placed on the globe."""
    stem = Path(stem)
    possible = [ending for ending in endings if ending != ".geojson" or ending in vector_endings(scene.grid)]
    return [WRITERS[ending](scene, objects, stem.with_name(stem.name + ending)) for ending in possible]


def union(objects: Sequence[Annotation], grid: Grid) -> NDArray[np.bool_]:
    """All masks together, (rows, columns) of `grid`."""
    together = np.zeros(grid.shape, bool)
    for annotation in objects:
        together[annotation.window.toslices()] |= annotation.mask
    return together


def write_mask(scene: Readable, objects: Sequence[Annotation], path: Path | str) -> Path:
    """All masks together as a GeoTIFF on the scene's grid: 1 object, 0 none, 255 no data."""
    path, found = Path(path), kept(objects)
    check_writable(path)
    tags = as_tags(provenance(scene, found))
    write_mask_file(union(found, scene.grid), valid_pixels(scene), scene.grid, path, tags)
    return path


def valid_pixels(scene: Readable) -> NDArray[np.bool_]:
    """Where the scene has data, (rows, columns), read strip by strip."""
    valid = np.zeros(scene.grid.shape, bool)
    for window in strips(scene.grid):
        valid[window.toslices()] = scene.read(window).valid
    return valid


def write_vector(scene: Readable, objects: Sequence[Annotation], path: Path | str) -> Path:
    """The masks' outlines along pixel edges with their attributes, one feature an object.

    A `.geojson` is in EPSG:4326; a `.gpkg` is in the scene's own coordinate reference system, and has the drawn
    shapes as a second layer.
    """
    path, found = Path(path), kept(objects)
    check_vector(scene.grid, path)
    check_writable(path)
    write = _write_geopackage if path.suffix.lower() == ".gpkg" else _write_geojson
    write(scene.grid, found, provenance(scene, found), path)
    return path


WRITERS: Mapping[str, Callable[[Readable, Sequence[Annotation], Path], Path]] = {
    ".tif": write_mask,
    ".gpkg": write_vector,
    ".geojson": write_vector,
    ".coco.json": write_coco,
    "-training": write_training,
}
"""What can be exported, by the ending that is added to a name; the last is a folder."""


def check_vector(grid: Grid, path: Path) -> None:
    """Raise OutputError where `path` has no ending that outlines on `grid` can be written with."""
    if path.suffix.lower() not in vector_endings(grid):
        raise OutputError(
            f"{path}: outlines are written as .gpkg or .geojson (this one only where the scene's coordinates "
            "lead to longitude and latitude); choose such an ending."
        )


def vector_layers(path: Path) -> set[str]:
    """Names of the layers of a vector file; none where it cannot be read."""
    try:
        return set(pyogrio.list_layers(path)[:, 0])
    except DataSourceError:
        return set()


def vector_endings(grid: Grid) -> list[str]:
    """Endings of the vector files that can hold outlines on `grid`."""
    try:
        bounds(grid, DEGREES)
    except GeometryError:
        return [".gpkg"]
    return [".gpkg", ".geojson"]


def _write_geopackage(
    grid: Grid, objects: Sequence[Annotation], about: Mapping[str, Any], path: Path
) -> None:
    """Made in a temporary folder: GDAL reads some characters of a path as parts of an address."""
    layers = {"masks": _masks(grid, objects), "drawn": _drawn(grid, objects)}
    with replacing(path) as part, TemporaryDirectory() as folder:
        made = Path(folder) / "made.gpkg"
        try:
            for layer, frame in layers.items():
                _append(frame, made, layer, as_tags(about))
            whole = all(len(pyogrio.read_dataframe(made, layer)) == len(objects) for layer in layers)
        except (DataSourceError, DataLayerError):  # their messages are pages of SQL
            whole = False
        if not whole:
            raise OutputError(
                f"{path} cannot be made; free some space in {made.parents[1]} or set TMPDIR to another folder."
            )
        shutil.copyfile(made, part)


def _append(frame: geopandas.GeoDataFrame, path: Path, layer: str, tags: dict[str, str]) -> None:
    kind = "MultiPolygon" if layer == "masks" else "Polygon"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'crs' was not provided")
        pyogrio.write_dataframe(
            frame,
            path,
            driver="GPKG",
            layer=layer,
            geometry_type=kind,
            append=path.exists(),
            layer_metadata=tags,
            SPATIAL_INDEX="NO",
        )


def _write_geojson(grid: Grid, objects: Sequence[Annotation], about: Mapping[str, Any], path: Path) -> None:
    """One feature a line; where the file comes from stands in the member `sartutor`."""
    features = ",\n".join(json.dumps(_feature(one, grid), ensure_ascii=False) for one in objects)
    head = json.dumps(about, ensure_ascii=False)
    text = f'{{"type": "FeatureCollection", "sartutor": {head}, "features": [\n{features}\n]}}\n'
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def _feature(annotation: Annotation, grid: Grid) -> dict[str, Any]:
    assert grid.crs is not None
    geometry = mapping(in_degrees(annotation.outline, grid.crs)) if annotation.pixels else None
    properties = {name: getattr(annotation, name) for name in ATTRIBUTES}
    return {"type": "Feature", "properties": properties, "geometry": geometry}


def _masks(grid: Grid, objects: Sequence[Annotation]) -> geopandas.GeoDataFrame:
    rows = {name: [getattr(o, name) for o in objects] for name in ATTRIBUTES}
    return geopandas.GeoDataFrame(
        rows, geometry=[o.outline if o.pixels else None for o in objects], crs=_known(grid.crs)
    )


def _drawn(grid: Grid, objects: Sequence[Annotation]) -> geopandas.GeoDataFrame:
    shapes = [_in_crs(o.polygon, o.crs, grid.crs) for o in objects]
    return geopandas.GeoDataFrame({"id": [o.id for o in objects]}, geometry=shapes, crs=_known(grid.crs))


def _in_crs(polygon: Polygon, crs: CRS | None, target: CRS | None) -> Polygon:
    """The polygon with its corners in `target`; a shape without a CRS is in the scene's coordinates already."""
    if crs is None or target is None or crs == target:
        return polygon
    return geopandas.GeoSeries([polygon], crs=_known(crs)).to_crs(_known(target)).iloc[0]


def _known(crs: CRS | None) -> str | None:
    return crs.to_wkt() if crs else None
