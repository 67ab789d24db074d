"""Promptable models by name: the embedded ones, the official ViT-B, or a checkpoint of the reader's own.

A checkpoint of `sartutor adapt` holds what adaptation added, and the name and hash of the base that it was added to; or
that base too, where it does not come with the package.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from affine import Affine
from rasterio.windows import Window
from torch import Tensor

from sartutor import catalog
from sartutor.errors import CheckpointError, DataError, SarTutorError
from sartutor.learn.checkpoints import file_digest, load_pickle, load_tensors, save_tensors
from sartutor.learn.device import bf16_pays
from sartutor.learn.sam.adapted import AdaptedSam
from sartutor.learn.sam.inputs import (
    Frame,
    Kind,
    Ranges,
    Scale,
    box_parts,
    branch_image,
    kinds_of,
    model_image,
    on_lattice,
    prompt_window,
    refuse_other_kinds,
)
from sartutor.learn.sam.model import Embedding, RadarSam
from sartutor.presets import SAM_SIZES, SamSize
from sartutor.sar.boxes import Box
from sartutor.sar.scene import Band, Grid, Scene, Units

EMBEDDED = ("sam_tiny_base", "sam_tiny_avalanche")
"""Models that come with the package."""
MODEL_NAMES = (*EMBEDDED, "vit_b")
"""Names that `load_model` takes beside a path."""


ADAPTED = "adapted_sam"
"""Kind of the checkpoints of `sartutor adapt`."""

BASE_PREFIX = "base."
"""Of the names of a base's own tensors in an adapted checkpoint, but for its decoder, which has been trained."""

DECODER_PREFIX = "mask_decoder."


@dataclass(frozen=True, eq=False)
class SamModel:
    """A model ready to predict.

    `digest` names its weights (SHA-256 of the file, and the phase where one was asked for) and `about` is its
    header. An adapted model has the `branches` of bands, with their ranges, that its encoders see, the `scales`
    that it was trained at, all its bands in the order of its data with their units, and the side of its chips in pixels
    of a scene: 0 stands for the side of the model's input, training on smaller images leaves a smaller one. `by_parts`:
    it looks at the parts of large boxes too, as was found better for the phase that it answers as.
    """

    name: str
    sam: RadarSam | AdaptedSam
    digest: str
    about: dict[str, Any]
    bands: tuple[str, ...] = ()
    branches: tuple[Ranges, ...] = ()
    scales: tuple[Scale, ...] = ("near",)
    chip_side: int = 0
    units: Mapping[str, Units] = field(default_factory=dict)
    by_parts: bool = False

    @property
    def kinds(self) -> dict[str, Kind]:
        """What the bands of its encoders measure, by name."""
        return kinds_of(self.units)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.sam.parameters()).device

    @property
    def answers(self) -> int:
        """How many of the decoder's masks mean something: all of a base, the single one of what is adapted alone."""
        return 1 if isinstance(self.sam, AdaptedSam) else self.sam.mask_decoder.num_mask_tokens

    def windows(self, box: Box, shape: tuple[int, int]) -> list[Window]:
        """The parts of a scene of `shape` (rows, columns) that are encoded for a box, from the smallest.

        A model that only sees chips shares them between boxes.
        """
        found = [prompt_window(box, shape, self._side, scale=scale) for scale in self.scales]
        if self.scales == ("chip",):
            return [on_lattice(found[0], shape)]
        return sorted(found, key=lambda window: window.width * window.height)

    def parts(self, box: Box, shape: tuple[int, int]) -> dict[Box, Window]:
        """Parts of a box that are looked at beside the whole, and what is encoded for each; none of a box that is seen
        at full resolution, nor where the model does not look `by_parts`."""
        found = box_parts(box, shape, self._side) if self.by_parts else [box]
        seen = {part: prompt_window(part, shape, self._side, scale="chip") for part in found}
        return {part: on_lattice(window, shape) for part, window in seen.items()} if len(found) > 1 else {}

    def window_at(self, extent: Box, shape: tuple[int, int]) -> Window:
        """The part of a scene of `shape` (rows, columns) that is encoded for clicks; `extent` may be a single point."""
        return prompt_window(extent, shape, self._side, scale="chip")

    @property
    def _side(self) -> int:
        return self.chip_side or self.sam.size.image_size

    @property
    def encoder(self) -> str:
        """What an embedding depends on besides its window: weights, phase, and whether products are rounded."""
        rounded = "bf16" if bf16_pays(self.device) else "fp32"
        return f"{self.digest} {self.phase} {rounded}"

    def embed(self, piece: Scene) -> Embedding:
        """The embedding of a window: of its 1-3 bands, or of those that the model was adapted to.

        Products are rounded to bfloat16 where that pays. DataError where the window has not got the bands.
        """
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16_pays(self.device)):
            return self.sam.encode(self.images(piece)[None].to(self.device))

    def decode(self, embedding: Embedding, boxes: Tensor, points: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mask logits and predicted IoU (N, K) of prompts, of the K masks that mean something; as `RadarSam.decode`.

        Products are rounded to bfloat16 where that pays: in a decoder without details, whose layers are wide.
        """
        mixed = bf16_pays(self.device) and not self.sam.size.detail
        with torch.autocast(self.device.type, torch.bfloat16, enabled=mixed):
            logits, quality = self.sam.decode(embedding, boxes, points, around=False)
        return logits[:, : self.answers].float(), quality[:, : self.answers].float()

    @property
    def phase(self) -> int | None:
        """The phase that an adapted model answers as."""
        return self.sam.phase if isinstance(self.sam, AdaptedSam) else None

    @property
    def has_gate(self) -> bool:
        """Whether two encoders are weighted by a gate that was learned."""
        return isinstance(self.sam, AdaptedSam) and self.sam.phase == 3 and self.sam.gate is not None

    @torch.no_grad()
    def gate_weights(self, piece: Scene) -> Scene:
        """How much the second encoder counts, 0 to 1, in a window: one pixel a token. Only where it `has_gate`."""
        sam = cast(AdaptedSam, self.sam)
        images = self.images(piece)[None].to(self.device)
        tokens = [sam.encode_branch(images, index)[0] for index in range(len(sam.branches))]
        frame = Frame(piece.grid.shape, sam.size.image_size)
        rows, cols = (side // sam.size.patch for side in frame.inner)
        weights = sam.fusion_weights(tokens)[:, 1, :rows, :cols].cpu().numpy()
        transform = piece.grid.transform @ Affine.scale(sam.size.patch / frame.scale)
        grid = Grid(transform, piece.grid.crs, rows, cols)
        return Scene(weights, (Band("weight", "1"),), grid, np.ones((rows, cols), bool), piece.name)

    def images(self, piece: Scene) -> Tensor:
        """What the encoders see of a window: (3, S, S), or (branches, 3, S, S) of an adapted model.

        DataError where the window has not got the bands, or has others under their names.
        """
        side = self.sam.size.image_size
        if isinstance(self.sam, RadarSam):
            return model_image(piece, side)[0]
        known = self._as_learned(self._named(piece))
        return torch.stack([branch_image(known, side, ranges) for ranges in self.branches])

    def _as_learned(self, piece: Scene) -> Scene:
        """A scene whose bands are of the kinds that were learned; numbers where values were are taken as they are."""
        refuse_other_kinds({band.name: band.units for band in piece.bands}, self.kinds, self.name, piece.name)
        bands = (
            replace(band, units="1") if (band.units, self.kinds.get(band.name)) == ("dn", "values") else band
            for band in piece.bands
        )
        return replace(piece, bands=tuple(bands))

    def _named(self, piece: Scene) -> Scene:
        """A scene whose bands have the names that the model knows them by."""
        named = zip(piece.bands, self.called(piece.band_names, piece.name), strict=True)
        return replace(piece, bands=tuple(replace(band, name=name) for band, name in named))

    def likely_units(self, names: Sequence[str], where: str) -> list[Units | None]:
        """The units in which it learned bands of these names, None where it did not; DataError as of `called`."""
        own = self.called(names, where) if self.units else names
        return [self.units.get(name) for name in own]

    def called(self, names: Sequence[str], where: str) -> tuple[str, ...]:
        """What the model calls bands of these names; DataError, about the scene `where`, if they are others.

        They have the model's names, in any case, or are as many and in the same order.
        """
        own = {name.lower(): name for name in self.bands}
        found = tuple(own.get(name.lower(), name) for name in names)
        if {name for ranges in self.branches for name in ranges} <= set(found):
            return found
        if len(names) != len(self.bands):
            raise DataError(
                f"{where} has bands {', '.join(names)} and {self.name} needs {', '.join(self.bands)}; give these, in "
                "this order."
            )
        return self.bands


def saved_tensors(sam: AdaptedSam, with_base: bool) -> dict[str, Tensor]:
    """What a checkpoint of an adapted model holds: all that learns, and the base where that comes from elsewhere."""
    tensors = dict(sam.state_dict())
    if with_base:
        base = sam.base.state_dict()
        tensors |= {BASE_PREFIX + name: base[name] for name in base if not name.startswith(DECODER_PREFIX)}
    return tensors


def at_phase(model: SamModel, phase: int) -> SamModel:
    """An adapted model that encodes and decodes as a phase does; SarTutorError where it has not learned it."""
    learned = model.about["phases"] if isinstance(model.sam, AdaptedSam) else []
    if phase not in learned:
        has = ", ".join(map(str, learned)) or "none"
        raise SarTutorError(
            f"{model.name} has not learned phase {phase} (it has {has}); ask for one that it has."
        )
    sam = copy.deepcopy(cast(AdaptedSam, model.sam)).use_phase(phase).eval()
    return replace(model, sam=sam, digest=f"{model.digest}-{phase}")


def at_scale(model: SamModel, scale: Scale) -> SamModel:
    """A model of several scales that looks at one alone; SarTutorError where it was not trained at it."""
    if scale not in model.scales:
        raise SarTutorError(
            f"{model.name} was not trained at scale {scale}; ask for {' or '.join(model.scales)}."
        )
    return replace(model, scales=(scale,))


def load_model(name_or_path: str | Path = "sam_tiny_base") -> SamModel:
    """Load an embedded model by name, the official `vit_b` (fetched), or a checkpoint by path; float32, on the CPU.

    Raises CheckpointError for a name that does not exist and a file that is unsafe, damaged or of another model.
    """
    name = str(name_or_path)
    if name in EMBEDDED:
        return _load(name, Path(str(files("sartutor.weights") / f"{name}.safetensors")))
    if name == "vit_b":
        return _load(name, _converted(catalog.fetch("sam-vit-b")["sam_vit_b_01ec64.pth"]))
    path = Path(name)
    if not path.suffix:
        raise CheckpointError(
            f"There is no model {name!r}; use one of {', '.join(MODEL_NAMES)} or the path of a checkpoint."
        )
    return _load(path.stem, _converted(path) if path.suffix == ".pth" else path)


def _load(name: str, path: Path) -> SamModel:
    tensors, about = load_tensors(path)
    if about.get("kind") not in ("sam", ADAPTED):
        raise CheckpointError(
            f"{path} is a checkpoint of kind {about.get('kind')!r}, not a promptable model; choose another."
        )
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        raise CheckpointError(f"{path} holds weights that are not numbers; copy or train it again.")
    if about["kind"] == ADAPTED:
        return _adapted(name, path, tensors, about)
    sam = _with_weights(_size(about, path), tensors, path)
    return SamModel(name, sam.eval(), file_digest(path), about, scales=(sam.size.scale,))


def _with_weights(size: SamSize, tensors: Mapping[str, Tensor], path: Path) -> RadarSam:
    """A model of a size whose weights, where they have 32 bits, stay in the file.

    It is mapped into memory, and processes on one machine share what they do not change.
    """
    with torch.device("meta"):
        sam = RadarSam(size)
    _load_strictly(sam, tensors, path, assign=True)
    return sam.to(memory_format=torch.channels_last)


def _adapted(name: str, path: Path, tensors: Mapping[str, Tensor], found: Mapping[str, Any]) -> SamModel:
    """An adapted model, in the phase that its header names, or in phase 3 where it has learned that."""
    # of files that do not say
    older: dict[str, Any] = {
        "tuning": "adapters",
        "encoders": "pair",
        "chip_side": 0,
        "units": {},
        "parts_trial": None,
    }
    about = {**older, **found}
    _refuse_unfinished(path, tensors, about)
    try:
        branches = tuple(
            {band: (float(low), float(high)) for band, low, high in ranges} for ranges in about["branches"]
        )
        sam = AdaptedSam(
            _base(tensors, about, path),
            len(branches),
            about["activation"],
            about["fusion"],
            about["tuning"],
            about["encoders"],
        )
        last = 3 if 3 in about["phases"] else 1
        sam.use_phase(about["phase"] if about.get("phase") in about["phases"] else last)
        bands, scales = tuple(about["bands"]), tuple(about["scales"])
        chip_side, units = max(0, int(about["chip_side"])), dict(about["units"])
        by_parts = about["parts_trial"] is not None and bool(about["parts_trial"]["better"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} does not say what it is; train it again.") from error
    own = {key: value for key, value in tensors.items() if not key.startswith(BASE_PREFIX)}
    _load_strictly(sam, own, path)
    return SamModel(
        name, sam.eval(), file_digest(path), about, bands, branches, scales, chip_side, units, by_parts
    )


def _refuse_unfinished(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Raise CheckpointError for a phase of a run where it has not ended, or where its base comes with the end alone."""
    has_base = about.get("base") or any(key.startswith(BASE_PREFIX) for key in tensors)
    if "part" in about and not (about.get("complete") and has_base):
        raise CheckpointError(
            f"{path} is of a run that has not ended; run `sartutor adapt` again as before, and it goes on."
        )


def _base(tensors: Mapping[str, Tensor], about: Mapping[str, Any], path: Path) -> RadarSam:
    """The model that was adapted: the one in the file, or else the embedded or official one that its header names."""
    inside = {
        key.removeprefix(BASE_PREFIX): value for key, value in tensors.items() if key.startswith(BASE_PREFIX)
    }
    if inside:
        decoder = {key: value for key, value in tensors.items() if key.startswith(DECODER_PREFIX)}
        return _with_weights(_size(about, path), inside | decoder, path).eval()
    base = load_model(about["base"])
    if base.digest != about["base_digest"]:
        raise CheckpointError(
            f"{path} was adapted from another version of {base.name}; adapt it again, or use that version."
        )
    assert isinstance(base.sam, RadarSam)
    return base.sam


def _size(about: Mapping[str, Any], path: Path) -> SamSize:
    """The size that a header names."""
    size = SAM_SIZES.get(str(about.get("architecture")))
    if size is None:
        raise CheckpointError(
            f"{path} is of an unknown size, {about.get('architecture')!r}; choose one of {', '.join(SAM_SIZES)}."
        )
    return size


def _load_strictly(
    sam: RadarSam | AdaptedSam, tensors: Mapping[str, Tensor], path: Path, assign: bool = False
) -> None:
    """Take over weights, as copies or as they are (`assign`)."""
    try:
        sam.load_state_dict({key: value.float() for key, value in tensors.items()}, assign=assign)
    except RuntimeError as error:
        raise CheckpointError(
            f"{path} does not hold the weights of a {sam.size.name} model; choose a checkpoint of that size."
        ) from error


def _converted(path: Path) -> Path:
    """The safetensors copy, made once in the cache, of an official `.pth`."""
    if not path.is_file():
        raise CheckpointError(
            f"There is no checkpoint {path}; check the path or use an embedded model by name."
        )
    digest = file_digest(path)
    copy = catalog.cache_dir() / "converted" / f"{digest}.safetensors"
    if not copy.exists():
        tensors = load_pickle(path)
        with torch.device("meta"):
            sam = RadarSam(SAM_SIZES["vit_b"])
        expected = {key: value.shape for key, value in sam.state_dict().items()}
        if {key: value.shape for key, value in tensors.items()} != expected:
            raise CheckpointError(
                f"{path} does not hold the weights of SAM ViT-B; fetch it with `sartutor fetch sam-vit-b`."
            )
        about = {"kind": "sam", "architecture": "vit_b", "phases": [], "parent": digest}
        save_tensors(copy, tensors, about)
    return copy
