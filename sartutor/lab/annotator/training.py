"""An annotated scene as a folder to train with, which `sartutor adapt` takes.

The scene is cut into chips with a guard band between them, so that no pixel, and nothing that a filter has seen of it,
is in two. An object belongs to the chip that holds most of it and is not looked at elsewhere; chips that no accepted
object belongs to are left out. Each chip is a block, and blocks are drawn for the splits by their objects. In a chip
everything counts as background that nobody marked: annotate all objects around those that you accept.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from rasterio.windows import Window

from sartutor.errors import DataError, OutputError
from sartutor.lab.annotator.annotation import Annotation
from sartutor.lab.annotator.provenance import provenance
from sartutor.presets import TRAINING_CHIPS, TrainingChips
from sartutor.sar.files import check_writable, replacing
from sartutor.sar.folder import BandRule, Dataset, DatasetWriter, Description, Entry
from sartutor.sar.scene import Readable
from sartutor.sar.splits import SHARES, group_split
from sartutor.sim.benchmark import DESCRIPTION as BENCHMARK

IGNORED = 255
"""Value in masks of pixels that teach nothing: no data, open or rejected objects, parts of another chip's objects."""

CONTENT = {"images", "masks", "splits.csv", "dataset.yaml", "provenance.json"}
"""What a training folder holds."""

Encoders = tuple[Sequence[str], Sequence[str]]
"""Names of the bands of the primary and of the secondary encoder."""


@dataclass(frozen=True)
class Layout:
    """Chips side by side: start and stop of each row of chips, (n, 2) rows of the scene, and of columns alike."""

    rows: NDArray[np.intp]
    cols: NDArray[np.intp]

    def window(self, chip: tuple[int, int]) -> Window:
        """The window of a chip, given as its row and column among the chips."""
        (top, bottom), (left, right) = self.rows[chip[0]].tolist(), self.cols[chip[1]].tolist()
        return Window(left, top, right - left, bottom - top)

    def home(self, annotation: Annotation) -> tuple[int, int] | None:
        """The chip that holds most pixels of an object; None where all lie between chips."""
        rows, cols = np.nonzero(annotation.mask)
        down = _which(rows + int(annotation.window.row_off), self.rows)
        across = _which(cols + int(annotation.window.col_off), self.cols)
        seen = (down >= 0) & (across >= 0)
        if not seen.any():
            return None
        chips = np.bincount(down[seen] * len(self.cols) + across[seen])
        row, col = divmod(int(np.argmax(chips)), len(self.cols))
        return row, col


def write_training(
    scene: Readable,
    objects: Sequence[Annotation],
    folder: Path | str,
    sizes: TrainingChips = TRAINING_CHIPS,
    seed: int = 0,
    encoders: Encoders | None = None,
) -> Path:
    """Write a folder of chips with masks: 1 accepted object, 0 background, 255 ignored.

    Args:
        scene: with real bands.
        objects: of any status; only accepted ones are taught, what others mark is ignored.
        folder: is made, or replaced where it is an older one and holds nothing else.
        sizes: of the chips.
        seed: of the draw of splits (70 % of the objects for training, 15 % each for validation and test).
        encoders: bands by encoder; None: those of `sam_tiny_avalanche` where the scene has them, or bands 1-3 and 4-6.

    Raises DataError where too few objects are accepted, or lie too close together, to be split, OutputError where the
    folder cannot be written or holds something else.
    """
    folder = Path(folder)
    accepted = [one for one in objects if one.status == "accepted" and one.pixels]
    layout, homes = _placed(accepted, scene, sizes)
    splits = group_split([_name(home) for home in homes.values()], SHARES, seed)
    description = _description(scene, encoders)
    with _replacing_folder(folder) as made:
        writer = DatasetWriter(made, description)
        for home in dict.fromkeys(homes.values()):
            window = layout.window(home)
            piece = scene.read(window)
            taught = [one for one in accepted if homes.get(one) == home]
            writer.write(_name(home), piece, labels(window, taught, objects, piece.valid))
        data = writer.finish(Entry(name, split, name) for name, split in splits.items())
        _write(made / "dataset.yaml", _with_ranges(data).dump())
        about = {**provenance(scene, accepted), "objects": len(homes), "seed": seed}
        _write(made / "provenance.json", json.dumps(about, indent=1, ensure_ascii=False) + "\n")
    return folder


def labels(
    window: Window, taught: Sequence[Annotation], objects: Sequence[Annotation], valid: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """Mask (h, w) of a window: 1 where `taught` objects are, 255 where others are or no data is, 0 elsewhere."""
    values = np.zeros(valid.shape, np.uint8)
    for one in objects:
        values[marked(one, window)] = IGNORED
    for one in taught:
        values[marked(one, window)] = 1
    values[~valid] = IGNORED
    return values


def marked(annotation: Annotation, window: Window) -> NDArray[np.bool_]:
    """The mask of an object, cut to a window of the scene (h, w)."""
    found = np.zeros((int(window.height), int(window.width)), bool)
    (top, bottom), (left, right) = annotation.window.toranges()
    row, col = int(window.row_off), int(window.col_off)
    rows = slice(max(top, row), min(bottom, row + found.shape[0]))
    cols = slice(max(left, col), min(right, col + found.shape[1]))
    if rows.start < rows.stop and cols.start < cols.stop:
        there = slice(rows.start - row, rows.stop - row), slice(cols.start - col, cols.stop - col)
        here = slice(rows.start - top, rows.stop - top), slice(cols.start - left, cols.stop - left)
        found[there] = annotation.mask[here]
    return found


def spans(length: int, side: int, guard: int) -> NDArray[np.intp]:
    """Starts and stops (n, 2) of the fewest parts of at most `side` pixels that fill a length with guards between."""
    count = -(-(length + guard) // (side + guard))
    edges = np.arange(count + 1) * (length + guard) // count
    return np.column_stack((edges[:-1], edges[1:] - guard))


def _which(places: NDArray[np.intp], parts: NDArray[np.intp]) -> NDArray[np.intp]:
    """The part that each place lies in, -1 between parts."""
    index = np.searchsorted(parts[:, 0], places, "right") - 1
    return np.where(places < parts[index, 1], index, -1)


def _placed(
    accepted: Sequence[Annotation], scene: Readable, sizes: TrainingChips
) -> tuple[Layout, dict[Annotation, tuple[int, int]]]:
    """The largest chips of which as many have objects as there are splits, and the chip of each object."""
    height, width = scene.grid.shape
    for side in sizes.sides:
        layout = Layout(spans(height, side, sizes.guard), spans(width, side, sizes.guard))
        found = {one: home for one in accepted if (home := layout.home(one)) is not None}
        if len(set(found.values())) >= len(SHARES):
            return layout, found
    raise DataError(
        f"{scene.name}: {len(accepted)} accepted objects lie in fewer than {len(SHARES)} places of "
        f"{sizes.sides[-1]} px; accept objects that are farther apart, so that there are some for each of "
        f"{', '.join(SHARES)}."
    )


def _description(scene: Readable, encoders: Encoders | None) -> Description:
    """dataset.yaml without ranges."""
    names = [band.name for band in scene.bands]
    primary, secondary = (tuple(part) or None for part in encoders or _encoders(names))
    try:
        return Description(
            bands=tuple(BandRule(name=band.name, units=band.units) for band in scene.bands),
            primary=primary,
            secondary=secondary,
            labels={"background": (0,), "object": (1,)},
            ignore=(IGNORED,),
        )
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise DataError(f"{scene.name}: {said}; give the scene bands that can be told apart.") from error


def _encoders(names: Sequence[str]) -> Encoders:
    """Bands of encoders where nobody names them: those of `sam_tiny_avalanche`, or the first three and the next."""
    known = BENCHMARK.primary or (), BENCHMARK.secondary or ()
    if {*known[0], *known[1]} <= {*names}:
        return known
    return (names[:3], names[3:6]) if len(names) > 6 else ((), ())


def _with_ranges(data: Dataset) -> Description:
    """The description with the range of each band in the training split."""
    ranges = data.ranges
    bands = [band.model_copy(update={"range": ranges[band.name]}) for band in data.description.bands]
    return data.description.model_copy(update={"bands": tuple(bands)})


def _name(chip: tuple[int, int]) -> str:
    return f"{chip[0]:03d}-{chip[1]:03d}"


def _write(path: Path, text: str) -> None:
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


@contextmanager
def _replacing_folder(folder: Path) -> Iterator[Path]:
    """A folder beside `folder` that takes its place when all is written."""
    check_writable(folder.parent / "any")
    if folder.exists() and not (folder.is_dir() and {path.name for path in folder.iterdir()} <= CONTENT):
        raise OutputError(f"{folder} is there and holds something else; choose another name.")
    made = folder.parent / f".{folder.name}.{secrets.token_hex(4)}"
    try:
        yield made
        if folder.exists():
            shutil.rmtree(folder)
        made.rename(folder)
    except OSError as error:
        raise OutputError(f"cannot write {folder} ({error.strerror}); choose another folder.") from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
