"""Masked pretraining from chips to a checkpoint: SimMIM on Swin, a plain ViT or SAM's encoder, and MixMAE on Swin."""

from __future__ import annotations

import copy
import time
from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import default_collate

from sartutor.errors import CheckpointError, DataError, OutputError, SarTutorError
from sartutor.learn.checkpoints import check_place, file_digest, load_header, load_tensors
from sartutor.learn.chips import Chips, FolderChips, Sample, Shuffled, folder_statistics
from sartutor.learn.loop import Batch, Schedule, Watch, fit
from sartutor.learn.mixmae import MixMAE
from sartutor.learn.sam.inputs import three_channels
from sartutor.learn.simmim import SamSimMIM, SimMIM, VitSimMIM
from sartutor.learn.weighting import BandStatistics, WeightRule
from sartutor.presets import (
    MIXMAE_SIZES,
    PRETRAIN_RECIPES,
    SAM_SIZES,
    SWIN_SIZES,
    VIT_SIZES,
    PretrainRecipe,
    preset,
)
from sartutor.sar.folder import Dataset, open_dataset

Model = SimMIM | SamSimMIM | VitSimMIM | MixMAE

BACKBONES = {"simmim": ("sam", "swin", "vit"), "mixmae": ("swin",)}
"""What each method pretrains; the first is meant where none is named."""

THREE_CHANNELS = ("sam", "vit")
"""Backbones that take exactly three channels."""

EMBEDDED = ("simmim_hh", "mixmae_s1")
"""Pretrained encoders that come with the package."""

_SIZES: dict[tuple[str, str], dict[str, Any]] = {
    ("simmim", "sam"): SAM_SIZES,
    ("simmim", "swin"): SWIN_SIZES,
    ("simmim", "vit"): VIT_SIZES,
    ("mixmae", "swin"): MIXMAE_SIZES,
}
_MODELS: dict[tuple[str, str], type[Model]] = {
    ("simmim", "sam"): SamSimMIM,
    ("simmim", "swin"): SimMIM,
    ("simmim", "vit"): VitSimMIM,
    ("mixmae", "swin"): MixMAE,
}

SCORED_STEPS = 4
"""Steps at the end of a run on whose chips the final model is compared with a prediction of the mean."""

MOST_CHIPS = 16
"""Chips of a step that are looked at outside training, at most."""


@dataclass(frozen=True)
class Pretrained:
    """What a run came to: `seconds` of training, and the final model's `loss` on chips of the last steps.

    `baseline` is the loss there, with the same weights and masks, of predicting the mean: of each band, or, where
    targets are normalised by cell, of each cell.
    """

    out: Path
    steps: int
    seconds: float
    loss: float
    baseline: float


def pretrain(
    data: Path | Chips,
    method: str,
    out: Path,
    *,
    backbone: str | None = None,
    branch: str | None = None,
    size: str = "laptop",
    recipe: PretrainRecipe | None = None,
    rule: WeightRule | None = None,
    seed: int = 0,
    device: str = "auto",
    init: Path | None = None,
    watch: Watch | None = None,
    progress: bool = True,
) -> Pretrained:
    """Pretrain on chips and write checkpoint `out`; an interrupted run goes on.

    Args:
        data: a folder of your own data, whose training split is cut at random; or chips, which are shuffled.
        method: "simmim" (arXiv 2603.15119) or "mixmae" (arXiv 2503.01181).
        out: checkpoint; its header says all that `load_pretrained` needs.
        backbone: "swin", "vit" or "sam"; None takes the first of the method's `BACKBONES`.
        branch: "primary" or "secondary" encoder of a folder, for its bands; None takes all, for `THREE_CHANNELS` the
            primary.
        size: name of a preset.
        recipe: other sizes than those of the preset.
        rule: how pixels are weighted; None weights them as the papers do.
        seed: of weights, chips and masks.
        device: auto, cpu, cuda, ...
        init: checkpoint of the same method and size to start from; its bands are chosen and standardised as there.
        watch: looks at the model now and then.
        progress: show a bar.

    Raises SarTutorError for a method, backbone or preset that does not exist, DataError for chips that do not fit,
    CheckpointError for an `init`, or a state beside `out`, of another kind, OutputError where `out` cannot be written.
    """
    backbone, rule = chosen_backbone(method, backbone), rule or WeightRule()
    check_place(out)
    if init is not None and init.resolve() == out.resolve():
        raise OutputError(f"{out} is the checkpoint to start from; choose another name for the result.")
    recipe = recipe or PRETRAIN_RECIPES[f"{method}-{backbone}"][preset(size).name]
    about = None if init is None else _start(init, method, backbone, recipe)
    chips = _chips(data, method, backbone, branch, recipe, seed, about)
    model = build_model(method, backbone, recipe.size, chips.statistics, rule, seed)
    if init is not None:
        model.load_state_dict(load_pretrained(init).state_dict())
    header = {
        "kind": method,
        "backbone": backbone,
        "architecture": recipe.size,
        "bands": list(chips.statistics.names),
        "statistics": chips.statistics.to_json(),
        "rule": asdict(rule),
        "preset": size,
        "recipe": asdict(recipe),
        "seed": seed,
        "parent": None if init is None else file_digest(init),
    }
    return _train(model, chips, recipe, out, header, device, watch, progress)


def load_pretrained(name_or_path: str | Path, method: str | None = None) -> Model:
    """The model of an `EMBEDDED` checkpoint or of one of `pretrain`, float32, on the CPU, in evaluation mode.

    Raises CheckpointError for a file that is missing, damaged, of another method than asked for, or no checkpoint of
    pretraining.
    """
    path = pretrained_path(name_or_path)
    tensors, about = load_tensors(path)
    if method is not None:
        chosen_backbone(method, None)
    if about.get("kind") not in BACKBONES:
        raise CheckpointError(
            f"{path} is a checkpoint of kind {about.get('kind')!r} and not of masked pretraining; make one with "
            "`sartutor pretrain`."
        )
    if method not in (None, about["kind"]):
        raise CheckpointError(
            f"{path} was pretrained by {about['kind']} and not by {method}; choose a checkpoint of {method} or make "
            f"one with `sartutor pretrain --method {method}`."
        )
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        raise CheckpointError(f"{path} holds weights that are not numbers; copy or train it again.")
    try:
        model = build_model(
            about["kind"],
            about["backbone"],
            about["architecture"],
            BandStatistics.from_json(about["statistics"]),
            WeightRule(**about["rule"]),
            about["seed"],
        )
        model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except (KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} does not hold what its header says; copy or train it again."
        ) from error
    return model.eval()


def pretrained_path(name_or_path: str | Path) -> Path:
    """The file of an embedded checkpoint by its name, and any other path as it is."""
    if str(name_or_path) in EMBEDDED:
        return Path(str(files("sartutor.weights") / f"{name_or_path}.safetensors"))
    return Path(name_or_path)


def chosen_backbone(method: str, backbone: str | None) -> str:
    """The backbone that is meant; SarTutorError for a method that does not exist or does not go with it."""
    if method not in BACKBONES:
        raise SarTutorError(f"There is no method {method!r}; use one of {', '.join(BACKBONES)}.")
    backbone = backbone or BACKBONES[method][0]
    if backbone in BACKBONES[method]:
        return backbone
    fitting = [other for other, known in BACKBONES.items() if backbone in known]
    if not fitting:
        raise SarTutorError(
            f"There is no backbone {backbone!r}; use one of {', '.join(BACKBONES['simmim'])}."
        )
    raise SarTutorError(
        f"{method} does not pretrain the backbone {backbone}; use `--method {fitting[0]} --backbone {backbone}` or "
        f"`--method {method} --backbone {BACKBONES[method][0]}`."
    )


class ThreeChannels(TorchDataset[Sample]):
    """Chips of 1-3 bands as three channels, as SAM takes them: one is repeated, two (a, b) become a, b, (a + b) / 2."""

    def __init__(self, chips: Chips) -> None:
        self.chips, self.statistics, self.classes = chips, chips.statistics, chips.classes

    def __len__(self) -> int:
        return len(self.chips)

    def __getitem__(self, index: int) -> Sample:
        sample = self.chips[index]
        return {**sample, "image": three_channels(sample["image"], "the chip")}


def three_statistics(statistics: BandStatistics) -> BandStatistics:
    """The statistics of three channels: standardised by them, decibels become those of `ThreeChannels`."""
    names, radar = statistics.names, statistics.radar
    mean, std = torch.tensor(statistics.mean).double(), torch.tensor(statistics.std).double()
    if len(names) == 2:
        names, radar = (*names, "+".join(names)), (*radar, all(radar))
        mean, std = (torch.cat([each, each.mean(0, keepdim=True)]) for each in (mean, std))
    if len(names) == 1:
        names, radar, mean, std = names * 3, radar * 3, mean.repeat(3), std.repeat(3)
    return BandStatistics(names, tuple(mean.tolist()), tuple(std.tolist()), radar)


def _start(init: Path, method: str, backbone: str, recipe: PretrainRecipe) -> dict[str, Any]:
    """The header of the checkpoint to start from, which must be of the same model."""
    load_pretrained(init, method)
    about = load_header(init)
    wanted, found = (backbone, recipe.size), (about["backbone"], about["architecture"])
    if found != wanted:
        raise CheckpointError(
            f"{init} is a {' of size '.join(found)} and not a {' of size '.join(wanted)}; choose a checkpoint of that "
            "model, or the preset and backbone it was made with."
        )
    return about


def _chips(
    data: Path | Chips,
    method: str,
    backbone: str,
    branch: str | None,
    recipe: PretrainRecipe,
    seed: int,
    about: dict[str, Any] | None,
) -> Chips:
    """As many chips as the recipe has steps, of the bands of the header `about` where there is one."""
    draws = recipe.steps * recipe.batch
    statistics = None if about is None else BandStatistics.from_json(about["statistics"])
    if isinstance(data, Path):
        folder = open_dataset(data)
        if statistics is None:
            branch = branch or ("primary" if backbone in THREE_CHANNELS else None)
            statistics = _only(folder_statistics(folder), _branch_bands(folder, branch))
        side = _SIZES[method, backbone][recipe.size].image_size
        chips: Chips = FolderChips(folder, "train", side, draws, seed, statistics)
    else:
        if statistics not in (None, data.statistics):
            raise CheckpointError(
                "the chips are standardised otherwise than those of the checkpoint to start from; make them with its "
                "statistics."
            )
        chips = Shuffled(data, draws, seed)
    return ThreeChannels(chips) if backbone in THREE_CHANNELS else chips


def _branch_bands(folder: Dataset, branch: str | None) -> tuple[str, ...]:
    """The bands that a folder names for an encoder, or all of them."""
    if branch is None:
        return folder.description.band_names
    known = {"primary": folder.primary, "secondary": folder.secondary}
    if branch not in known:
        raise SarTutorError(f"There is no branch {branch!r}; use one of {', '.join(known)}.")
    if not known[branch]:
        raise DataError(
            f"{folder.folder} names no bands for the {branch} encoder; list them in its dataset.yaml, as in "
            f"`{branch}: [VH0, VH1, slope]`."
        )
    return known[branch]


def _only(statistics: BandStatistics, names: tuple[str, ...]) -> BandStatistics:
    """The statistics of some of the bands."""
    places = [statistics.names.index(name) for name in names]
    columns = (statistics.names, statistics.mean, statistics.std, statistics.radar)
    return BandStatistics(*(tuple(column[place] for place in places) for column in columns))  # type: ignore[arg-type]


def build_model(
    method: str, backbone: str, size: str, statistics: BandStatistics, rule: WeightRule, seed: int
) -> Model:
    """A model with fresh weights."""
    torch.manual_seed(seed)
    shown = three_statistics(statistics) if backbone in THREE_CHANNELS else statistics
    return _MODELS[method, backbone](_SIZES[method, backbone][size], shown, rule, seed)


def _batch(chips: Chips, step: int, batch: int) -> Batch:
    """The first chips of a step, `MOST_CHIPS` at most."""
    numbers = range(step * batch, step * batch + min(batch, MOST_CHIPS))
    return cast(Batch, default_collate([{**chips[i], "index": torch.tensor(i)} for i in numbers]))


@torch.no_grad()
def _try(model: Model, chips: Chips, batch: int) -> None:
    """Find out before the first step whether chips and model go together."""
    first = _batch(chips, 0, batch)
    if not first["valid"].any():
        raise DataError(
            f"None of the first {len(first['valid'])} chips has a valid pixel; leave out images without data, or "
            "correct their no-data value."
        )
    _loss(model, first, 0)


def _train(
    model: Model,
    chips: Chips,
    recipe: PretrainRecipe,
    out: Path,
    header: dict[str, Any],
    device: str,
    watch: Watch | None,
    progress: bool,
) -> Pretrained:
    _try(model, chips, recipe.batch)
    schedule = Schedule.of(recipe, recipe.save_every, recipe.betas)
    began = time.perf_counter()
    fit(
        model,
        _loss,
        cast(TorchDataset[Batch], chips),
        recipe.batch,
        replace(schedule, milestones=recipe.milestones),
        out,
        header,
        device,
        seed=header["seed"],
        watch=watch,
        progress=progress,
    )
    seconds = time.perf_counter() - began
    last = range(max(0, recipe.steps - SCORED_STEPS), recipe.steps)
    batches = [(step, _batch(chips, step, recipe.batch)) for step in last]
    loss, baseline = (mean_loss(each, batches) for each in (model, mean_predictor(model)))
    return Pretrained(out, recipe.steps, seconds, loss, baseline)


def _loss(model: nn.Module, batch: Batch, step: int) -> Tensor:
    return cast(Model, model).loss(batch, step)


@torch.no_grad()
def mean_loss(model: Model, batches: list[tuple[int, Batch]]) -> float:
    """Mean of the model's loss over batches, each with the step that its masks are those of."""
    device = next(model.parameters()).device
    total = 0.0
    for step, batch in batches:
        torch.manual_seed(step)
        total += _loss(model, {name: value.to(device) for name, value in batch.items()}, step).item()
    return total / len(batches)


def mean_predictor(model: Model) -> Model:
    """A copy whose last layer is zero, so that it predicts the mean everywhere."""
    still = copy.deepcopy(model)
    last = [layer for layer in still.decoder.modules() if isinstance(layer, nn.Linear)][-1]
    for parameter in last.parameters():
        nn.init.zeros_(parameter)
    return still
