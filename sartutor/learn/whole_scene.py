"""Maps of whole scenes: a model looks window by window, and blocks of the scene are all that is in memory.

Windows lie on one lattice of the scene, whatever the blocks are, and where they overlap their probabilities are
averaged. So the map is the same however it is computed: in one block or in many, by one thread or by the workers of a
`dask.distributed.Client`.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import dask.array as da
import numpy as np
import rasterio
import torch
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window, intersection, union
from torch import Tensor
from tqdm.auto import tqdm

from sartutor.errors import DataError, GeometryError
from sartutor.learn.device import pick_device
from sartutor.learn.generalists import Generalist, load_generalist
from sartutor.learn.own_domains import shown
from sartutor.learn.sam.inputs import three_channels
from sartutor.sar.files import check_writable, replacing
from sartutor.sar.geotiff import MASK_NODATA, check_name, open_scene, profile
from sartutor.sar.layers import files_of
from sartutor.sar.radiometry import RADAR_UNITS, in_decibels
from sartutor.sar.scene import Grid, Readable, Scene
from sartutor.sar.tiles import stitch_weights, tile_grid

Classes = NDArray[np.uint8]

Pixels = TypeVar("Pixels", Tensor, NDArray[Any])

Answer = Callable[[Tensor, Tensor], Tensor]
"""Class scores (B, K, S, S) of windows: three channels in dB (B, 3, S, S), and where they are valid (B, 1, S, S)."""

OVERLAP = 32
"""Pixels that neighbouring windows share."""

BLOCK = 1024
"""Rows and columns of a block, in pixels."""

BATCH = 16
"""Windows that are answered at once."""


def class_map(
    scene: Readable, answer: Answer, side: int, overlap: int = OVERLAP, block: int = BLOCK
) -> da.Array:
    """The class of every pixel (rows, columns) uint8, 255 without data; lazy, in blocks of `block` x `block` pixels.

    Args:
        scene: 1-3 bands of calibrated backscatter in any unit, in memory or in files.
        answer: gives class scores of windows.
        side: rows and columns of a window, in pixels: those of the chips in training.
        overlap: pixels that neighbouring windows share, less than `side`.
        block: rows and columns that are mapped at once, in pixels.

    Raises DataError for other bands, GeometryError for a scene smaller than a window, or too large an overlap.
    """
    _check(scene, side)
    tiles = tile_grid(scene.grid.shape, side, overlap)
    tops = [int(tile.window.row_off) for tile in tiles if tile.col == 0]
    lefts = [int(tile.window.col_off) for tile in tiles if tile.row == 0]
    lattice = Lattice(side, tops, lefts, stitch_weights((side, side), overlap).astype(np.float32))
    return da.map_blocks(
        partial(_block, scene=scene, answer=answer, lattice=lattice),
        chunks=da.core.normalize_chunks(block, scene.grid.shape),
        dtype=np.uint8,
        meta=np.empty((0, 0), np.uint8),
    )


class Lattice(NamedTuple):
    """Where windows of `side` pixels begin, and the weights (side, side) of their pixels."""

    side: int
    tops: list[int]
    lefts: list[int]
    weights: NDArray[np.float32]

    def windows(self, block: Window) -> list[Window]:
        """The windows that reach into a block, row by row."""
        (top, bottom), (left, right) = block.toranges()
        return [
            Window(x, y, self.side, self.side)
            for y in self.tops
            if y < bottom and y + self.side > top
            for x in self.lefts
            if x < right and x + self.side > left
        ]


def generalist_answer(known: Generalist, device: torch.device) -> Answer:
    """What a generalist answers to windows that are shown to it as chips were in its training."""
    model = known.model.to(device)

    def answer(db: Tensor, valid: Tensor) -> Tensor:
        pairs = (shown(one, where, known.scales) for one, where in zip(db, valid, strict=True))
        image, told = (torch.stack(part).to(device) for part in zip(*pairs, strict=True))
        return model(image, told)[0]

    return answer


def write_classes(
    classes: da.Array, grid: Grid, names: Sequence[str], path: Path, progress: bool
) -> list[int]:
    """Write a map as GeoTIFF, one row of blocks at a time, and count the pixels of each class.

    The file holds the positions in `names`, and 255 without data; it appears whole or not at all. Raises OutputError
    where it cannot be written.
    """
    counts = np.zeros(MASK_NODATA + 1, np.int64)
    rows = tqdm(range(classes.numblocks[0]), "rows of blocks", unit="row", disable=not progress)
    with warnings.catch_warnings(), replacing(path) as part:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(part, "w", **profile(grid, 1, "uint8", MASK_NODATA)) as file:
            file.set_band_description(1, "class")
            file.update_tags(1, **{str(code): name for code, name in enumerate(names)})
            top = 0
            for row in rows:
                made: Classes = classes.blocks[row].compute()
                file.write(made, 1, window=Window(0, top, grid.width, len(made)))
                counts += np.bincount(made.ravel(), minlength=len(counts))
                top += len(made)
    return [int(count) for count in counts[: len(names)]]


def map_files(
    scenes: Sequence[Path],
    model: str,
    out: Path,
    overlap: int = OVERLAP,
    device: str = "auto",
    progress: bool = True,
) -> dict[str, Any]:
    """Map the land cover of a scene with a generalist and write it on the scene's grid; returns a report.

    Args:
        scenes: raster files, the bands of one scene: 1-3 of calibrated backscatter.
        model: name or path of a generalist.
        out: GeoTIFF to write.
        overlap: pixels that neighbouring windows share.
        device: auto, cpu, cuda, ...
        progress: show a bar.

    Raises SarTutorError for scenes, models and places that do not fit.
    """
    start = time.perf_counter()
    source = open_scene(scenes)
    source.name = str(scenes[0])
    check_name(out, files_of(scenes) | {Path(model).resolve()})
    check_writable(out)
    known = load_generalist(model)
    answer = generalist_answer(known, pick_device(device))
    classes = class_map(source, answer, known.model.encoder.size.image_size, overlap)
    counts = write_classes(classes, source.grid, known.classes, out, progress)
    return {
        "map": str(out),
        "model": model,
        "seconds": round(time.perf_counter() - start, 3),
        "pixels": dict(zip(known.classes, counts, strict=True)),
        "notes": list(source.notes),
    }


def _block(*, scene: Readable, answer: Answer, lattice: Lattice, block_info: dict[Any, Any]) -> Classes:
    """One block of the map."""
    (top, bottom), (left, right) = block_info[None]["array-location"]
    block = Window(left, top, right - left, bottom - top)
    windows = lattice.windows(block)
    around = windows[0] if len(windows) == 1 else union(*windows)
    piece = scene.read(around)
    valid = cut(piece.valid, around, block)
    if not valid.any():
        return np.full(valid.shape, MASK_NODATA, np.uint8)
    db, known = _decibels(piece), torch.from_numpy(piece.valid[None])
    total: NDArray[np.float32] | None = None
    for first in range(0, len(windows), BATCH):
        batch = windows[first : first + BATCH]
        views, where = (torch.stack([cut(of, around, window) for window in batch]) for of in (db, known))
        with torch.inference_mode():
            shares = answer(views, where).softmax(1).cpu().numpy() * lattice.weights
        for window, share in zip(batch, shares, strict=True):
            total = np.zeros((len(share), *valid.shape), np.float32) if total is None else total
            shared = intersection(window, block)
            cut(total, block, shared)[...] += cut(share, window, shared)
    assert total is not None
    return np.where(valid, total.argmax(0), MASK_NODATA).astype(np.uint8)


def cut(array: Pixels, outer: Window, inner: Window) -> Pixels:
    """The view of an array (..., rows, columns) of the window `outer` that shows the window `inner` in it."""
    row, col = int(inner.row_off - outer.row_off), int(inner.col_off - outer.col_off)
    return array[..., row : row + int(inner.height), col : col + int(inner.width)]


def _decibels(piece: Scene) -> Tensor:
    """Three channels in dB (3, rows, columns) of a piece, 0 where it is not valid."""
    bands = [in_decibels(layer, band.units) for layer, band in zip(piece.pixels, piece.bands, strict=True)]
    known = np.where(piece.valid, np.stack(bands), 0).astype(np.float32)
    return three_channels(torch.from_numpy(known), piece.name)


def _check(scene: Readable, side: int) -> None:
    three_channels(torch.empty(len(scene.bands), 1, 1), scene.name)
    for band in scene.bands:
        if band.units not in RADAR_UNITS:
            raise DataError(
                f"{scene.name}: band {band.name} is in {band.units!r} and a map is made of calibrated backscatter; "
                "give bands in db, power or amplitude."
            )
    if min(scene.grid.shape) < side:
        height, width = scene.grid.shape
        raise GeometryError(
            f"{scene.name} has {height} x {width} pixels, less than a window of {side} x {side}; give a larger scene."
        )
