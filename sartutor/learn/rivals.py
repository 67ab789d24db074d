"""Rivals of prompted models: U-Net and SegFormer, as in arXiv 2601.01213, and a U-Net that is told the boxes.

They come from segmentation_models_pytorch, with random weights. All see the bands of both encoders at once, three
channels each as Segment Anything sees them, and learn from the same samples by the same loss: U-Net and SegFormer from
all pixels of an image, the prompted U-Net from those in its boxes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import segmentation_models_pytorch as smp
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from sartutor.errors import CheckpointError, DataError, SarTutorError
from sartutor.learn.checkpoints import RIVAL, file_digest, load_tensors
from sartutor.learn.data import ShapeWindows
from sartutor.learn.loop import Batch, Schedule, Validation, fit
from sartutor.learn.losses import mask_iou, mask_loss
from sartutor.learn.sam.contrast import box_mask
from sartutor.learn.sam.inputs import Frame, Ranges, branch_image, kinds_of, refuse_other_kinds
from sartutor.learn.sam.samples import PromptedImages, branch_ranges, chip_side, refuse_missing_bands
from sartutor.presets import RIVAL_RECIPES, SAM_SIZES, RivalRecipe, ShapesRecipe, preset
from sartutor.sar.boxes import Box, Mask, fill_box
from sartutor.sar.folder import Dataset
from sartutor.sar.scene import Scene, Units
from sartutor.sar.tiles import Stitcher, tile_grid

_unet = partial(smp.Unet, "resnet18", decoder_channels=(128, 64, 32, 16, 16))

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "unet": _unet,
    "segformer": partial(smp.Segformer, "mit_b0"),
    "box_unet": _unet,
}
"""The rivals by name. The U-Net's decoder is half as wide as usual, which makes it a third faster."""

PROMPTED = ("box_unet",)
"""Rivals that are told where the boxes are, by a channel that is 1 in them."""

OVERLAP = 0.25
"""Share of a chip that neighbours have in common where a scene is larger than one."""


class Rival(nn.Module):
    """A network that sees `branches`, the bands of each encoder and their ranges, at `side` pixels.

    `chip_side` is how many pixels of a scene that is, None as many, and `units` are those that bands were learned in.
    Raises SarTutorError for a name that is not in `NETWORKS`.
    """

    def __init__(
        self,
        name: str,
        branches: Sequence[Ranges],
        side: int,
        chip_side: int | None = None,
        units: Mapping[str, Units] | None = None,
    ) -> None:
        super().__init__()
        _refuse_unknown(name)
        self.name, self.branches, self.side = name, branches, side
        self.chip_side, self.units = chip_side or side, units or {}
        self.prompted = name in PROMPTED
        channels = 3 * len(branches) + self.prompted
        self.network = NETWORKS[name](encoder_weights=None, in_channels=channels, classes=1)

    def forward(self, image: Tensor, inside: Tensor) -> Tensor:
        """Logits (B, 1, S, S) of images (B, branches, 3, S, S) in [0, 1]; `inside` (B, S, S) is true in the boxes."""
        layers = (image.flatten(1, 2).float() - 0.5) / 0.25
        if self.prompted:
            layers = torch.cat([layers, inside[:, None].to(layers)], 1)
        return self.network(layers.contiguous(memory_format=torch.channels_last)).float()


def _refuse_unknown(name: str) -> None:
    if name not in NETWORKS:
        raise SarTutorError(f"There is no rival {name!r}; use one of {', '.join(NETWORKS)}.")


def train_rival(
    name: str,
    folder: Dataset,
    recipe: RivalRecipe,
    out: Path,
    seed: int,
    device: str = "auto",
    init: Path | None = None,
    progress: bool = True,
) -> Rival:
    """Train on the split train of a folder, keep the weights of best IoU on val, also in `out`; goes on if interrupted.

    Args:
        name: one of `NETWORKS`.
        folder: an opened folder with masks of objects.
        recipe: sizes.
        out: the checkpoint to write.
        seed: of weights and samples.
        device: as of `fit`.
        init: a checkpoint of `pretrain_rival` to start from, of this name and as many encoders.
        progress: show a bar.

    Raises SarTutorError for an unknown name, DataError for a folder without objects in train or val, CheckpointError
    for an `init` that does not fit, and what `fit` raises.
    """
    _refuse_unknown(name)
    branches = branch_ranges(folder)
    rival = _seeded(name, branches, recipe.side, seed)
    rival.chip_side = chip_side(folder, recipe.side)
    rival.units = {band: folder.description.units[band] for ranges in branches for band in ranges}
    if init is not None:
        _start_from(rival, init)
    train, val = (  # large boxes part by part, nearer to what `rival_probability` sees of them
        PromptedImages(folder, split, branches, recipe.side, draws, seed, ("chip",), by_parts=True)
        for split, draws in (("train", recipe.steps * recipe.batch), ("val", recipe.judged))
    )
    schedule = Schedule.of(recipe, recipe.check_every)
    header = _header(rival, recipe, seed, None if init is None else file_digest(init))
    header |= {"data": folder.fingerprint(), "by_parts": True}
    worse = Validation(recipe.check_every, recipe.steps, lambda _: _error(rival, val, recipe.batch))
    common = (rival, _loss, train, recipe.batch, schedule, out, header, device)
    fit(*common, seed=seed, validation=worse, progress=progress)
    return rival.eval()


def preset_recipe(size: str) -> RivalRecipe:
    """The sizes of a preset; SarTutorError where there is none of that name."""
    return RIVAL_RECIPES[preset(size).name]


def pretrain_rival(
    name: str, recipe: ShapesRecipe, out: Path, seed: int, device: str = "auto", branches: int = 2
) -> Rival:
    """Train on the drawn shapes that `sam_tiny_base` has seen, and write a start for `train_rival` to `out`.

    A drawn scene has 1-3 bands, which fill three channels; every encoder's three channels are these. Loss is counted
    in the box alone, as for the base: what lies outside may be an object or something that only looks like one.
    """
    rival = _seeded(name, [{}] * branches, SAM_SIZES["tiny"].image_size, seed)
    data = ShapeWindows(seed, recipe.steps * recipe.scenes_per_step, recipe.windows_per_scene, rival.side)
    schedule = Schedule.of(recipe, recipe.save_every)
    header = _header(rival, recipe, seed, None)
    fit(rival, _shapes_loss, data, recipe.scenes_per_step, schedule, out, header, device, seed=seed)
    return rival.eval()


def load_rival(path: Path) -> Rival:
    """A trained rival, on the CPU; CheckpointError for a file that holds none."""
    tensors, about = load_tensors(path)
    if about.get("kind") != RIVAL or about.get("architecture") not in NETWORKS:
        raise CheckpointError(
            f"{path} is a checkpoint of kind {about.get('kind')!r}, not a rival; choose another."
        )
    branches = [{name: (low, high) for name, low, high in ranges} for ranges in about["bands"]]
    rival = Rival(about["architecture"], branches, about["side"], about.get("chip_side"), about.get("units"))
    _load(rival, tensors, path)
    return rival.eval()


@torch.no_grad()
def rival_probability(rival: Rival, scene: Scene, boxes: Sequence[Box] | None = None) -> NDArray[np.float32]:
    """Probability of objects (rows, columns) in a whole scene that has the rival's bands; 0 where there is no data.

    With `boxes`, in pixels of the scene, it is 0 outside them; without, all of the scene is one. A scene that is larger
    than the chips of the training is cut into such, and their probabilities are averaged where they overlap.
    """
    rival.eval()
    shape, overlap = scene.grid.shape, round(OVERLAP * rival.chip_side)
    inside = np.ones(shape, bool)
    if boxes is not None:
        inside = np.any([np.zeros(shape, bool), *(fill_box(shape, box) for box in boxes)], axis=0)
    stitcher = Stitcher(1, shape, overlap)
    for tile in tile_grid(shape, rival.chip_side, overlap):
        piece = scene.read(tile.window)
        stitcher.add(tile, _chip_probability(rival, piece, inside[tile.window.toslices()]), piece.valid)
    return np.nan_to_num(stitcher.result()[0]) * inside


def rival_answer(rival: Rival, folder: Dataset) -> Callable[[Scene, Sequence[Box]], Mask]:
    """A rival as a method of `sartutor.learn.evaluate`.

    DataError where the folder lacks a band that it needs, or has another kind under its name.
    """
    refuse_missing_bands(folder, [name for ranges in rival.branches for name in ranges], "the rival")
    where = folder.folder / "dataset.yaml"
    refuse_other_kinds(folder.description.units, kinds_of(rival.units), "the rival", where)

    def answer(scene: Scene, boxes: Sequence[Box]) -> Mask:
        return rival_probability(rival, scene, boxes) > 0.5

    return answer


def _chip_probability(rival: Rival, chip: Scene, inside: Mask) -> NDArray[np.float32]:
    """Probability (1, rows, columns) in a scene no larger than a chip; 0 where nothing is asked or known."""
    if not (inside & chip.valid).any():
        return np.zeros((1, *inside.shape), np.float32)
    frame, device = Frame(chip.grid.shape, rival.side), next(rival.parameters()).device
    image = torch.stack([branch_image(chip, rival.side, ranges) for ranges in rival.branches])
    asked = frame.covered(inside)[None] > 0.5
    logits = rival(image[None].to(device), asked.to(device))
    return frame.back(logits[0].sigmoid().cpu()).numpy()


def _seeded(name: str, branches: Sequence[Ranges], side: int, seed: int) -> Rival:
    torch.manual_seed(seed)
    return Rival(name, branches, side)


def _header(
    rival: Rival, recipe: RivalRecipe | ShapesRecipe, seed: int, parent: str | None
) -> dict[str, Any]:
    """What a checkpoint says of itself."""
    return {
        "kind": RIVAL,
        "architecture": rival.name,
        "bands": [[(name, *levels) for name, levels in ranges.items()] for ranges in rival.branches],
        "side": rival.side,
        "chip_side": rival.chip_side,
        "units": rival.units,
        "recipe": asdict(recipe),
        "seed": seed,
        "parent": parent,
    }


def _start_from(rival: Rival, path: Path) -> None:
    """Take over the weights of a checkpoint; CheckpointError where it is another network."""
    tensors, about = load_tensors(path)
    same = about.get("kind") == RIVAL and about.get("architecture") == rival.name
    if not same or len(about["bands"]) != len(rival.branches):
        raise CheckpointError(
            f"{path} is no {rival.name} of {len(rival.branches)} encoders; pretrain one with `pretrain_rival`."
        )
    _load(rival, tensors, path)


def _load(rival: Rival, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Put weights into a rival; CheckpointError where they are not all that it has, as in the state of a training."""
    try:
        rival.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(
            f"{path} does not hold the weights of a {rival.name}; give the checkpoint of a training that has ended."
        ) from error


def _answered(rival: Rival, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, targets and weights (B, 1, S, S) of a batch of prompted images."""
    boxes, side = batch["box"], rival.side
    inside = box_mask(boxes.flatten(0, 1), side).unflatten(0, boxes.shape[:2]).any(1)
    weight = batch["known"] & inside if rival.prompted else batch["known"]
    target = batch["target"] & weight
    return rival(batch["image"], inside), target[:, None].float(), weight[:, None].float()


def _loss(model: nn.Module, batch: Batch, step: int) -> Tensor:
    return mask_loss(*_answered(cast(Rival, model), batch)).mean()


def _shapes_loss(model: nn.Module, batch: Batch, step: int) -> Tensor:
    """Loss in the boxes of drawn windows, whose channels are those of every encoder."""
    rival = cast(Rival, model)
    image, boxes, target = (batch[key].flatten(0, 1) for key in ("image", "box", "target"))
    inside = box_mask(boxes, rival.side)
    logits = rival(image[:, None].expand(-1, len(rival.branches), -1, -1, -1), inside)
    return mask_loss(logits, target[:, None].float(), inside[:, None].float()).mean()


def _error(rival: Rival, data: PromptedImages, batch: int) -> float:
    """1 - mean IoU over samples of validation in which there is an object; DataError where there are none."""
    device, scores = next(rival.parameters()).device, []
    for sample in DataLoader(data, batch):
        moved = {key: value.to(device) for key, value in sample.items()}
        logits, target, weight = _answered(rival, moved)
        scores.append(mask_iou(logits, target, weight)[(target * weight).sum((-2, -1)) > 0])
    if not len(found := torch.cat(scores)):
        raise DataError(
            "No sample of the validation holds an object on valid pixels; add images to the split val."
        )
    return 1 - float(found.mean())
