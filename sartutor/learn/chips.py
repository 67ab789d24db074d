"""Chips to pretrain on and to learn land cover from: simulated scenes, or a folder of your own data.

A sample holds `image` float32 (C, H, W), every band standardised, radar bands in dB, 0 (the mean) without data; `valid`
bool (1, H, W); and where there are labels `label`, int64 (H, W) with -1 for what does not count, or float32 (K,), 1 for
each label of the whole image. A chip without a single valid pixel is not passed over: it stays in its batch, where its
pixels weigh 0 and count in no loss. Item i of a seed is always the same, so that a run resumes without sampler state.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from rasterio.windows import Window
from torch import Tensor
from torch.utils.data import Dataset
from tqdm.auto import tqdm

from sartutor import sim
from sartutor.errors import CheckpointError, DataError
from sartutor.learn.checkpoints import kept_tensors
from sartutor.learn.recent import Recent
from sartutor.learn.weighting import BandStatistics
from sartutor.sar import folder as own
from sartutor.sar.layers import opened
from sartutor.sar.normalisation import NORMALISATIONS, Channel
from sartutor.sar.radiometry import RADAR_UNITS, in_decibels, power_to_db
from sartutor.sar.scene import Scene, Units
from sartutor.sar.tiles import tile_grid
from sartutor.sim.backscatter import LAND_COVERS
from sartutor.sim.landcover import Domain, domain_sensor, landcover_scene

Array = NDArray[np.float32]
Sample = dict[str, Tensor]

ALOS2_HH = Domain("plains", "HH", None, "alos2", "L")
"""One channel as in arXiv 2603.15119: ALOS-2, L-band, HH."""

SENTINEL1_DUAL = Domain("plains", "VV+VH", None, "sentinel1", "C")
"""Two channels as in arXiv 2503.01181: Sentinel-1, C-band, VV and VH."""

SHARD = 16
"""Simulated chips that are made and kept together: so many are lost when a run is interrupted."""

SCENES_PER_SEED = 1_000_000
"""Simulated scenes that one seed has for itself."""

IMAGE_MEMORY = 512 * 2**20
"""Bytes of images of a folder that are kept in memory; where more are drawn from, each is read from its file anew."""


class Chips(Protocol):
    """A data set of chips; `classes` are the meanings of labels 0, 1, ..., empty where there are no labels."""

    statistics: BandStatistics
    classes: tuple[str, ...]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


class SimulatedChips(Dataset[Sample]):
    """Simulated land cover: chip i is scene i of the seed, with the seven classes of arXiv 2603.12008.

    All chips are made at the start, since a chip costs about as much as a step of training on it, and are kept as half
    precision decibels (steps of 1/64 dB at -20 dB): 2 bytes a pixel and band, 1 for its label. The first chips of a
    seed are the same for every `count`.

    Args:
        domain: what is seen, and by which radar; detected power, no part of a complex image.
        seed: chips of different seeds share no scene; take one for training and others for testing.
        count: number of chips, 1 to `SCENES_PER_SEED`.
        side: rows and columns in pixels.
        statistics: those of the training chips, of a checkpoint or of a product (`named_statistics`), whose order of
            bands is taken over; None measures these chips.
        cache: folder in which chips are kept for later runs; it may be deleted at any time. None keeps none.

    Raises DataError for a domain that cannot be simulated as chips, CheckpointError for statistics of other bands,
    OutputError where the cache cannot be written.
    """

    def __init__(
        self,
        domain: Domain,
        seed: int,
        count: int,
        side: int,
        statistics: BandStatistics | None = None,
        cache: Path | None = None,
    ) -> None:
        if domain.complex_part or not 1 <= count <= SCENES_PER_SEED:
            raise DataError(
                f"{count} chips of {domain.name} cannot be made; take detected power and 1 to {SCENES_PER_SEED} chips."
            )
        names = domain_sensor(domain).polarisations
        if statistics is not None:
            check_bands(statistics, names)
        self.domain, self.seed, self.side = domain, seed, side
        self._folder = None if cache is None else cache / f"{domain.name}-{side}px-{seed}-{simulator()}"
        numbers = tqdm(range(math.ceil(count / SHARD)), desc="simulated chips", unit="shard", leave=False)
        shards = [self._shard(number) for number in numbers]
        self._db, self._labels = (
            torch.cat([shard[key] for shard in shards])[:count] for key in ("db", "label")
        )
        if statistics is None:
            statistics = pooled_statistics(
                names, [True] * len(names), (chip.flatten(1).numpy() for chip in self._db)
            )
        self.statistics = statistics
        self.classes: tuple[str, ...] = LAND_COVERS
        self._order = [names.index(name) for name in statistics.names]

    def __len__(self) -> int:
        return len(self._db)

    def __getitem__(self, index: int) -> Sample:
        db = self._db[index][self._order].float()
        valid = torch.ones(1, self.side, self.side, dtype=torch.bool)
        return {
            "image": self.statistics.standardise(db, valid),
            "valid": valid,
            "label": self._labels[index].long(),
        }

    def _shard(self, number: int) -> dict[str, Tensor]:
        """Chips `number` * SHARD and following, from the cache or made anew where it has no whole file of them."""
        path = None if self._folder is None else self._folder / f"{number:06}.safetensors"
        first = self.seed * SCENES_PER_SEED + number * SHARD
        scenes = range(first, first + SHARD)
        header = {"kind": "chips", "domain": self.domain.name}
        return kept_tensors(path, header, lambda: _simulated(self.domain, scenes, self.side))


class FolderChips(Dataset[Sample]):
    """Chips of one split of a folder of your own data.

    Radar bands in any unit become decibels; digital numbers need no calibration, since its constant drops out when
    bands are standardised. Power of zero and below counts as -80 dB. Where whole images are labelled, every chip of an
    image has all of its labels.

    Args:
        folder: an opened folder.
        split: a split of it; no other is read, but for the statistics, which are those of "train".
        side: rows and columns of a chip in pixels.
        draws: None cuts every image into a grid, in which each pixel's label counts once (where chips overlap at the
            far edges, it is -1 in one of them); a number makes so many random crops with random flips, for training.
        seed: of the random crops.
        statistics: those of a checkpoint or product, whose bands are then chosen; None measures all bands of "train".

    Raises DataError for a split without images, an image smaller than a chip, and a band that is the same everywhere;
    CheckpointError for statistics of other bands.
    """

    def __init__(
        self,
        folder: own.Dataset,
        split: str,
        side: int,
        draws: int | None = None,
        seed: int = 0,
        statistics: BandStatistics | None = None,
    ) -> None:
        self.folder, self.side, self.draws, self.seed = folder, side, draws, seed
        self.statistics = folder_statistics(folder) if statistics is None else statistics
        _check_kinds(self.statistics, folder)
        self.classes = folder.description.image_labels or folder.description.classes
        self._ids = folder.ids(split)
        self._shapes = [_shape(folder, id, side) for id in self._ids]
        self._areas = np.cumsum([height * width for height, width in self._shapes])
        self._grid = [
            (id, tile.window, tile.core)
            for id, shape in zip(self._ids, self._shapes, strict=True)
            for tile in tile_grid(shape, side)
        ]
        self._images: Recent[_Image] = Recent(IMAGE_MEMORY)

    def __len__(self) -> int:
        return len(self._grid) if self.draws is None else self.draws

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        if self.draws is None:
            return self._cut(*self._grid[index])
        rng = np.random.default_rng((self.seed, index))
        place = np.searchsorted(self._areas, rng.integers(self._areas[-1]), side="right")
        top, left = (int(rng.integers(n - self.side + 1)) for n in self._shapes[place])
        window = Window(left, top, self.side, self.side)
        return flipped(self._cut(self._ids[place], window, window), rng)

    def _cut(self, id: str, window: Window, core: Window) -> Sample:
        """The chip of a window; labels of its pixels outside `core` do not count."""
        image = self._images.get(id, self._read)
        rows, cols = window.toslices()
        valid = torch.from_numpy(image.valid[None, rows, cols].copy())
        values = torch.from_numpy(image.values[:, rows, cols].copy())
        sample = {"image": self.statistics.standardise(values, valid), "valid": valid}
        if self.folder.description.image_labels is not None:
            present = self.folder.image_labels[id]
            sample["label"] = torch.tensor([float(name in present) for name in self.classes])
        elif image.labels is not None:
            label = np.full(image.labels.shape, own.IGNORE, np.int64)
            label[core.toslices()] = image.labels[core.toslices()]
            sample["label"] = torch.from_numpy(label[rows, cols].copy())
        return sample

    def _read(self, id: str) -> _Image:
        scene = self.folder.scene(id).select(self.statistics.names)
        labels = None if self.folder.description.labels is None else self.folder.mask(id)
        return _Image(band_values(scene), scene.valid, labels)


class _Image(NamedTuple):
    """An image in memory: values (bands, rows, columns), where they are valid, and labels (rows, columns)."""

    values: Array
    valid: NDArray[np.bool_]
    labels: NDArray[np.int16] | None

    @property
    def bytes(self) -> int:
        return self.values.nbytes + self.valid.nbytes + (0 if self.labels is None else self.labels.nbytes)


class Shuffled(Dataset[Sample]):
    """Chips in a new order every pass and randomly flipped, `draws` in all, for training."""

    def __init__(self, chips: Chips, draws: int, seed: int) -> None:
        self.statistics, self.classes = chips.statistics, chips.classes
        self.chips, self.draws, self.seed = chips, draws, seed

    def __len__(self) -> int:
        return self.draws

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.draws:
            raise IndexError(index)
        turn, place = divmod(index, len(self.chips))
        order = np.random.default_rng((self.seed, 0, turn)).permutation(len(self.chips))
        return flipped(self.chips[int(order[place])], np.random.default_rng((self.seed, 1, index)))


def flipped(sample: Sample, rng: np.random.Generator) -> Sample:
    """The sample with rows, columns, both or neither reversed, each with the same chance."""
    axes = [axis for axis in (-2, -1) if rng.random() < 0.5]
    return {key: value.flip(axes) if value.ndim > 1 else value for key, value in sample.items()}


def check_bands(statistics: BandStatistics, names: Sequence[str]) -> None:
    """Raise CheckpointError unless every band that the statistics (of a checkpoint) are of is among `names`."""
    if missing := [name for name in statistics.names if name not in names]:
        raise CheckpointError(
            f"the model takes the bands {', '.join(statistics.names)} and the data has {', '.join(names)} "
            f"({missing[0]} is missing); choose a checkpoint of these bands or name them alike."
        )


def named_statistics(name: str, bands: Sequence[str]) -> BandStatistics:
    """The means and standard deviations of a product in dB, by its name in `NORMALISATIONS`; all bands are radar.

    Raises DataError for an unknown name, a band without constants there, and constants of another form.
    """
    channels = NORMALISATIONS[name].channels if name in NORMALISATIONS else {}
    plain = {band: c for band, c in channels.items() if c == Channel("db", mean=c.mean, std=c.std)}
    if unknown := [band for band in bands if band not in plain]:
        raise DataError(
            f"the normalisation {name!r} has no mean and standard deviation in dB of {unknown[0]}; name another or "
            "measure the training chips."
        )
    chosen = [plain[band] for band in bands]
    mean, std = tuple(c.mean for c in chosen), tuple(c.std for c in chosen)
    return BandStatistics(tuple(bands), mean, std, (True,) * len(chosen))


def folder_statistics(folder: own.Dataset) -> BandStatistics:
    """Mean and standard deviation of every band over the valid pixels of the split "train"."""
    ids = tqdm(folder.ids("train"), desc="band statistics", unit="image", leave=False)
    radar = [_is_radar(band.units) for band in folder.description.bands]
    scenes = (folder.scene(id) for id in ids)
    return pooled_statistics(
        folder.description.band_names, radar, (band_values(scene)[:, scene.valid] for scene in scenes)
    )


def pooled_statistics(
    names: Sequence[str], radar: Sequence[bool], parts: Iterable[NDArray[Any]]
) -> BandStatistics:
    """Statistics of all pixels of the parts (bands, pixels), summed in double precision."""
    count, total, squares = 0, np.zeros(len(names)), np.zeros(len(names))
    near: NDArray[Any] | None = None  # a pixel near the mean: differences from it keep their digits
    for part in parts:
        values = part.astype(np.float64)
        near = values[:, :1] if near is None else near
        count += values.shape[1]
        total += (values - near).sum(axis=1)
        squares += np.square(values - near).sum(axis=1)
    assert near is not None
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - np.square(mean), 0))
    mean += near[:, 0]
    return BandStatistics(tuple(names), tuple(mean.tolist()), tuple(std.tolist()), tuple(radar))


def _check_kinds(statistics: BandStatistics, folder: own.Dataset) -> None:
    """Raise CheckpointError unless the folder has these bands, and backscatter where these were backscatter."""
    check_bands(statistics, folder.description.band_names)
    units = folder.description.units
    for name, radar in zip(statistics.names, statistics.radar, strict=True):
        if radar != _is_radar(units[name]):
            kind = "backscatter" if radar else "no backscatter"
            raise CheckpointError(
                f"{folder.folder}: band {name} was {kind} in training and is in {units[name]!r} here; correct its name "
                "or its units in dataset.yaml."
            )


def _is_radar(units: Units) -> bool:
    return units in (*RADAR_UNITS, "dn", "complex")


def band_values(scene: Scene) -> Array:
    """Bands (bands, rows, columns): radar bands in dB, others as they are."""
    layers = [in_decibels(layer, band.units) for layer, band in zip(scene.pixels, scene.bands, strict=True)]
    return np.stack(layers).astype(np.float32)


def _shape(folder: own.Dataset, id: str, side: int) -> tuple[int, int]:
    """Rows and columns of an image; DataError where a chip does not fit in."""
    path = folder.image_path(id)
    with opened(path) as file:
        height, width = file.shape
    if min(height, width) < side:
        raise DataError(
            f"{path} has {height} x {width} px, less than a chip of {side} x {side}; remove it from splits.csv, or "
            "take a backbone or preset whose chips are smaller."
        )
    return height, width


def _simulated(domain: Domain, seeds: Iterable[int], side: int) -> dict[str, Tensor]:
    """Scenes of the seeds: `db` float16 (n, C, side, side) and `label` uint8 (n, side, side)."""
    scenes = [landcover_scene(seed, domain, side) for seed in seeds]
    db = np.stack([power_to_db(cast(Array, scene.pixels)) for scene, _ in scenes])
    labels = np.stack([labels for _, labels in scenes])
    return {"db": torch.from_numpy(db).half(), "label": torch.from_numpy(labels.astype(np.uint8))}


def simulator() -> str:
    """A name of the simulator's source code, so that chips of an older one are not taken for its own."""
    sha = hashlib.sha256()
    for path in sorted(Path(sim.__file__).parent.glob("*.py")):
        sha.update(path.read_bytes())
    return sha.hexdigest()[:12]
