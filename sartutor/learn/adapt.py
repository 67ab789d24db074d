"""Adapting Segment Anything to a folder of your own data, phase by phase; read `adapt` from top to bottom.

A phase is one run of the training loop, with a checkpoint of its own until the last one is done: whatever interrupts
it, the same call goes on where it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from sartutor.errors import CheckpointError, DataError, SarTutorError
from sartutor.learn.checkpoints import (
    check_place,
    file_digest,
    is_done,
    load_header,
    load_tensors,
    save_tensors,
)
from sartutor.learn.curves import curve_path, read_curve
from sartutor.learn.device import pick_device
from sartutor.learn.distributed import is_first
from sartutor.learn.embeddings import EmbeddingCache
from sartutor.learn.loop import Schedule, Validation, Watch, fit
from sartutor.learn.losses import MaskLoss
from sartutor.learn.models import ADAPTED, SamModel, load_model, saved_tensors
from sartutor.learn.parts import PartsTrial, try_parts
from sartutor.learn.pretrain import load_pretrained
from sartutor.learn.sam.adapted import PHASES, AdaptedSam, Encoders, Fusion
from sartutor.learn.sam.adapters import Activation
from sartutor.learn.sam.inputs import Kind, Ranges, Scale, refuse_other_kinds
from sartutor.learn.sam.kept import KeptEmbeddings
from sartutor.learn.sam.lora import Tuning
from sartutor.learn.sam.model import RadarSam
from sartutor.learn.sam.objectives import AlignmentLoss, PromptLoss, ValidationLoss
from sartutor.learn.sam.samples import (
    Outside,
    PromptedImages,
    Prompts,
    branch_ranges,
    chip_side,
    labelled_ids,
)
from sartutor.learn.settings import as_settings, meant_before
from sartutor.learn.simmim import SamSimMIM
from sartutor.presets import ADAPT_RECIPES, LORA_RATE, SAM_SIZES, AdaptRecipe, preset
from sartutor.sar.folder import Dataset, open_dataset

Alignment = Literal["supervised", "embedding"]
"""What the secondary encoder learns from: masks through the frozen decoder, or the primary encoder's embeddings."""


MOST_KEPT_BYTES = 12 * 2**30
"""Memory for embeddings of frozen encoders: 8 MB an image at 256 px with details, 4 MB at ViT-B.

All that a preset keeps has to fit: of a list that is gone through in turn, a cache that is too small keeps nothing.
"""


@dataclass(frozen=True)
class Method:
    """The choices of adaptation; those of arXiv 2601.01213 are the first, but for `scales` and `outside`.

    `scales` is how much is encoded around a box. None named: as much as an adapted model saw that is gone on with, else
    a whole chip. `empty_share` of the training samples are from images without an object, where there are such. What
    lies `outside` of a box is free, and does not count; in that publication it counts as background.
    """

    activation: Activation = "gelu"
    fusion: Fusion = "gate"
    alignment: Alignment = "supervised"
    loss: MaskLoss = "dice"
    scales: tuple[Scale, ...] = ()
    prompts: Prompts = "loose"
    tuning: Tuning = "adapters"
    encoders: Encoders = "pair"
    empty_share: float = field(default=0.0, metadata=meant_before(0.0))
    outside: Outside = field(default="free", metadata=meant_before("free"))

    def __post_init__(self) -> None:
        """SarTutorError for a choice that does not exist."""
        given = {
            "activation": (self.activation,),
            "fusion": (self.fusion,),
            "alignment": (self.alignment,),
            "loss": (self.loss,),
            "scale": self.scales,
            "prompts": (self.prompts,),
            "tuning": (self.tuning,),
            "encoders": (self.encoders,),
            "outside": (self.outside,),
        }
        if not 0 <= self.empty_share < 1:
            raise SarTutorError(
                f"The share of empty images is {self.empty_share:g}; use one from 0 to below 1."
            )
        kinds = (Activation, Fusion, Alignment, MaskLoss, Scale, Prompts, Tuning, Encoders, Outside)
        for name, kind in zip(given, kinds, strict=True):
            for value in given[name]:
                if value not in get_args(kind):
                    raise SarTutorError(
                        f"There is no {name} {value!r}; use one of {', '.join(get_args(kind))}."
                    )


@dataclass(frozen=True)
class Adapted:
    """What came out.

    `phases` are all that `out` has behind it, `ran` those of this call, each with its `steps` and the mean IoU over
    prompted validation boxes at its best; `phase` is the one that it answers as unless told otherwise. `parts_trial`
    says whether it looks at parts of large boxes too, None where validation has no large ones.
    """

    out: Path
    phases: tuple[int, ...]
    ran: tuple[int, ...]
    phase: int
    steps: tuple[int, ...]
    val_iou: tuple[float, ...]
    parts_trial: PartsTrial | None
    seconds: float


def adapt(
    folder: Path,
    out: Path,
    *,
    size: str = "laptop",
    recipe: AdaptRecipe | None = None,
    init: str | Path | None = None,
    phases: Sequence[int] | None = None,
    method: Method | None = None,
    seed: int = 0,
    device: str = "auto",
    checkpointing: bool = False,
    watch: Watch | None = None,
    progress: bool = True,
) -> Adapted:
    """Adapt a promptable model to the objects of a folder and write checkpoint `out`; an interrupted run goes on.

    Args:
        folder: a folder of your own data with splits train and val.
        out: checkpoint; what was added to the base, and where the base is not one of the package's, the base too.
        size: name of a preset.
        recipe: other sizes than those of the preset.
        init: base model by name or path, a SAM encoder of `sartutor pretrain`, or an adapted model to go on with; None
            takes the base of the preset's size.
        phases: of 1, 2 and 3; None takes all that the folder has bands for.
        method: the choices; None takes the defaults.
        seed: of weights and samples.
        device: auto, cpu, cuda, ...
        checkpointing: keep no activations inside the blocks of an encoder; less memory, about a third more computing.
        watch: looks at the model now and then.
        progress: show a bar.

    Raises SarTutorError for phases that cannot be, DataError for a folder without objects to learn from,
    CheckpointError for an `init`, or a state beside `out`, that does not fit, OutputError where `out` cannot be
    written.
    """
    check_place(out)
    method = method or Method()
    data = open_dataset(folder)
    labelled_ids(data, "train")
    ranges = branch_ranges(data)
    recipe = recipe or preset_recipe(preset(size).name, method, len(ranges))
    start = starting_point(init, recipe, ranges, method, seed)
    method = replace(method, scales=method.scales or start.scales)
    refuse_other_kinds(data.description.units, start.kinds, str(init), data.folder / "dataset.yaml")
    wanted = planned_phases(phases, len(start.model.branches), start.done)
    start.model.checkpoint_blocks(checkpointing)
    job = _Job(data, start.ranges, recipe, method, seed, device, watch, progress)
    header = job.header(size, start)
    began = time.perf_counter()
    done, curves = before(wanted[0], start.done), []
    for phase in wanted:
        part = out.with_name(f"{out.stem}.phase{phase}.safetensors")
        done = tuple(sorted({*done, phase}))
        curves.append(job.run(start.model, phase, part, {**header, "phases": list(done)}))
    steps, scores = tuple(curve.steps for curve in curves), tuple(curve.best for curve in curves)
    answering, trial = job.settle(start.model, dict(zip(wanted, scores, strict=True)), header)
    made = Adapted(out, done, wanted, answering, steps, scores, trial, time.perf_counter() - began)
    _finish(start, header, made)
    return made


def preset_recipe(size: str, method: Method, groups: int = 2) -> AdaptRecipe:
    """The sizes of a preset for bands in one or two `groups`.

    A single encoder learns for as many steps as all three phases together, with their patience. Low-rank updates learn
    faster than adapters in the phases that train an encoder.
    """
    recipe = ADAPT_RECIPES[size]
    first, second, last = recipe.phases
    if groups == 1 or method.encoders == "stacked":
        steps, patience = (
            sum(each) for each in zip(*((p.steps, p.patience) for p in recipe.phases), strict=True)
        )
        first = replace(first, steps=steps, patience=patience)
    if method.tuning == "lora":
        first, second = (
            replace(phase, learning_rate=LORA_RATE * phase.learning_rate) for phase in (first, second)
        )
    return replace(recipe, phases=(first, second, last))


@dataclass(frozen=True)
class Start:
    """The model to train, what its encoders see, the phases behind it, name and hash of its base (None: own), and hash
    of the checkpoint that was given; of a model that was adapted before, how much it saw around a box, and the kinds of
    its bands."""

    model: AdaptedSam
    ranges: Sequence[Ranges]
    done: tuple[int, ...]
    base: str | None
    base_digest: str | None
    parent: str
    scales: tuple[Scale, ...] = ("chip",)
    kinds: Mapping[str, Kind] = field(default_factory=dict)


def starting_point(
    init: str | Path | None, recipe: AdaptRecipe, ranges: Sequence[Ranges], method: Method, seed: int
) -> Start:
    """What to start from; CheckpointError where it does not fit recipe or bands."""
    torch.manual_seed(seed)
    if init is not None and Path(init).suffix == ".safetensors":
        about = load_header(Path(init))
        if about.get("kind") == "simmim":
            return _from_pretrained(Path(init), recipe, ranges, method)
    chosen = BASES[recipe.size] if init is None else str(init)
    known = load_model(chosen)
    _check_size(init, known.sam.size.name, recipe)
    if isinstance(known.sam, AdaptedSam):
        return _goes_on(known, known.sam, ranges, method)
    own = chosen not in BASES.values()  # a path may be called like one of them
    base, digest = (None, None) if own else (chosen, known.digest)
    return Start(_new(known.sam, ranges, method), ranges, (), base, digest, known.digest)


BASES = {"tiny": "sam_tiny_base", "vit_b": "vit_b"}
"""The model of each size that adaptation starts from."""


def planned_phases(asked: Sequence[int] | None, encoders: int, done: Sequence[int]) -> tuple[int, ...]:
    """The phases to run, in order; SarTutorError for one that needs others first or a second encoder."""
    if asked is None:
        return PHASES if encoders == 2 else (1,)
    done = before(min(asked, default=1), done)
    for phase in asked:
        if phase not in PHASES:
            raise SarTutorError(f"There is no phase {phase}; use {', '.join(map(str, PHASES))}.")
        if phase > 1 and encoders == 1:
            raise DataError(
                f"Phase {phase} needs bands for a second encoder; list them in dataset.yaml, as in "
                "`secondary: [VH0, VH1, slope]`, and do not stack them, or use `--phases 1`."
            )
        if missing := [before for before in range(1, phase) if before not in (*asked, *done)]:
            raise SarTutorError(
                f"Phase {phase} builds on phase {missing[0]}; name it too, or give a model that has it as `--init`."
            )
    return tuple(sorted(set(asked)))


def before(phase: int, done: Sequence[int]) -> tuple[int, ...]:
    """Those of the phases behind a model that hold when a phase is learned anew: later ones built on what it was."""
    return tuple(each for each in done if each < phase)


def answering_phase(val_iou: Mapping[int, float]) -> int:
    """Fusion, but the first encoder alone where that did better on the same boxes.

    `val_iou` has phase 3 only where it was run last: fusion that was learned before has other encoders now.
    """
    if 3 not in val_iou:
        return 1
    return 1 if val_iou[1] > val_iou[3] else 3


def _new(base: RadarSam, ranges: Sequence[Ranges], method: Method) -> AdaptedSam:
    return AdaptedSam(base, len(ranges), method.activation, method.fusion, method.tuning, method.encoders)


def _from_pretrained(path: Path, recipe: AdaptRecipe, ranges: Sequence[Ranges], method: Method) -> Start:
    """The base with the encoder of masked pretraining in place of its own."""
    pretrained = load_pretrained(path)
    if not isinstance(pretrained, SamSimMIM):
        raise CheckpointError(
            f"{path} holds no encoder of Segment Anything; make one with `sartutor pretrain --method simmim "
            "--backbone sam`."
        )
    _check_size(path, pretrained.size.name, recipe)
    base = load_model(BASES[recipe.size]).sam
    assert isinstance(base, RadarSam)
    base.image_encoder.load_state_dict(pretrained.image_encoder.state_dict())
    return Start(_new(base, ranges, method), ranges, (), None, None, file_digest(path))


def _check_size(init: object, size: str, recipe: AdaptRecipe) -> None:
    if size != recipe.size:
        raise CheckpointError(
            f"{init} is a model of size {size} and the preset asks for {recipe.size}; choose the preset of its size."
        )


def _goes_on(known: SamModel, sam: AdaptedSam, ranges: Sequence[Ranges], method: Method) -> Start:
    """An adapted model whose bands are those of the folder; it keeps its ranges."""
    about = known.about
    if [list(branch) for branch in known.branches] != [list(branch) for branch in ranges]:
        needs = " and ".join(", ".join(branch) for branch in known.branches)
        raise CheckpointError(f"{known.name} was adapted to the bands {needs}; the folder has others.")
    fixed = ("activation", "tuning", "encoders", *(("fusion",) if 3 in about["phases"] else ()))
    if other := [name for name in fixed if about[name] != getattr(method, name)]:
        raise CheckpointError(
            f"{known.name} was adapted with {other[0]} {about[other[0]]}; go on with the same."
        )
    model = _new(sam.base, ranges, method)
    new, learned = model.state_dict(), sam.state_dict()
    model.load_state_dict({name: learned.get(name, value) for name, value in new.items()})
    base = about["base"], about["base_digest"]
    done = tuple(about["phases"])
    return Start(model, known.branches, done, *base, known.digest, known.scales, known.kinds)


@dataclass(frozen=True)
class PhaseCurve:
    """How a phase went: steps done, and the best mean IoU over validation boxes."""

    steps: int
    best: float


@dataclass(frozen=True)
class _Job:
    """Everything that the phases share."""

    data: Dataset
    ranges: Sequence[Ranges]
    recipe: AdaptRecipe
    method: Method
    seed: int
    device: str
    watch: Watch | None
    progress: bool

    def header(self, size: str, start: Start) -> dict[str, Any]:
        """What the checkpoint says of itself, but for its phases."""
        units = self.data.description.units
        return {
            "kind": ADAPTED,
            "architecture": self.recipe.size,
            "base": start.base,
            "base_digest": start.base_digest,
            "parent": start.parent,
            **as_settings(self.method),
            "chip_side": chip_side(self.data, SAM_SIZES[self.recipe.size].image_size),
            "bands": list(self.data.description.band_names),
            "branches": [[[name, *ends] for name, ends in branch.items()] for branch in start.ranges],
            "units": {name: units[name] for branch in start.ranges for name in branch},
            "preset": size,
            "recipe": asdict(self.recipe),
            "seed": self.seed,
            "data": self.data.fingerprint(),
        }

    def run(self, model: AdaptedSam, phase: int, part: Path, header: dict[str, Any]) -> PhaseCurve:
        """Run a phase, or take it as it was run before; leaves what it learned in the model."""
        if phase == 3:
            model.begin_fusion()
        model.train_phase(phase)
        header = {**header, "part": phase}  # what a user has called like a part is none
        if not is_done(part, header):
            self._fit(model, phase, part, header)
        model.load_state_dict(load_tensors(part)[0])
        curve = read_curve(part)
        if not curve.validation:
            raise CheckpointError(f"{curve_path(part)} is missing; delete {part} to train this phase anew.")
        return PhaseCurve(len(curve.loss), 1 - min(loss for _, loss in curve.validation))

    def settle(
        self, model: AdaptedSam, val_iou: dict[int, float], header: Mapping[str, Any]
    ) -> tuple[int, PartsTrial | None]:
        """The phase to answer as, given the scores of those that were run, and whether parts of large boxes help it.

        Fusion is compared with phase 1 also where that was learned before. Leaves the model at that phase.
        """
        if 3 in val_iou and 1 not in val_iou:
            val_iou = {1: self.judge(model, 1), **val_iou}
        phase = answering_phase(val_iou)
        model.use_phase(phase).to(pick_device(self.device))
        seen = tuple(header["bands"]), tuple(self.ranges), self.method.scales, header["chip_side"]
        learned = SamModel("what was learned", model, "", dict(header), *seen, header["units"])
        most, seed = self.recipe.validation, self.seed
        return phase, try_parts(learned, self.data, most, seed, self.progress) if is_first() else None

    def judge(self, model: AdaptedSam, phase: int) -> float:
        """Mean IoU over the prompted boxes of validation of a phase that was learned before; leaves the model at it."""
        device = pick_device(self.device)
        with torch.no_grad():
            return 1 - self._validation(None)(model.use_phase(phase).to(device).eval())

    def _fit(self, model: AdaptedSam, phase: int, part: Path, header: dict[str, Any]) -> None:
        sizes, recipe = self.recipe.phases[phase - 1], self.recipe
        steady = phase == 3 or (phase == 2 and self.method.alignment == "embedding")
        kept = KeptEmbeddings(model, EmbeddingCache(max_bytes=MOST_KEPT_BYTES)) if steady else None
        masks = PromptLoss(self.method.loss, kept, self.method.outside)
        loss = AlignmentLoss(kept) if phase == 2 and kept else masks
        samples = self._samples("train", sizes.steps * recipe.batch, recipe.kept if steady else None)
        fit(
            model,
            loss,
            samples,
            recipe.batch,
            Schedule(
                sizes.steps,
                min(recipe.warmup, sizes.steps),
                sizes.learning_rate,
                recipe.weight_decay,
                recipe.clip,
                recipe.save_every,
                betas=(0.9, 0.999),
            ),
            part,
            header,
            self.device,
            seed=self.seed,
            validation=Validation(
                sizes.check_every, sizes.patience, self._validation(kept if phase == 3 else None)
            ),
            watch=self.watch,
            progress=self.progress,
        )

    def _samples(self, split: str, draws: int, different: int | None = None) -> PromptedImages:
        side = SAM_SIZES[self.recipe.size].image_size
        seed = 2 * self.seed + (split == "val")
        method, empty = self.method, self.method.empty_share if split == "train" else 0.0
        choices = (method.scales, different, method.prompts)
        return PromptedImages(self.data, split, self.ranges, side, draws, seed, *choices, empty_share=empty)

    def _validation(self, kept: KeptEmbeddings | None) -> ValidationLoss:
        samples = self._samples("val", self.recipe.validation)
        return ValidationLoss(samples, self.recipe.batch, kept, pick_device(self.device))


def _finish(start: Start, header: Mapping[str, Any], made: Adapted) -> None:
    """Write the checkpoint; then the files of its phases are no longer needed."""
    if not is_first():
        return
    learned = {"phases": list(made.phases), "phase": made.phase, "val_iou": made.val_iou, "steps": made.steps}
    learned |= {"parts_trial": None if made.parts_trial is None else asdict(made.parts_trial)}
    save_tensors(made.out, saved_tensors(start.model, start.base is None), {**header, **learned})
    for phase in made.ran:
        made.out.with_name(f"{made.out.stem}.phase{phase}.safetensors").unlink(missing_ok=True)
