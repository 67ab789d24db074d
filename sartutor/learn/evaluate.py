"""How good a prompted model is on a folder of your own data: `sartutor evaluate`, and the same for any other method.

Whatever answers boxes with a mask is asked with the same boxes and scored by the same counts. Pixels that are not
labelled or hold no data are in no object and count nowhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from scipy import ndimage
from tqdm import tqdm

from sartutor.errors import DataError, SarTutorError
from sartutor.learn.checkpoints import RIVAL, load_header
from sartutor.learn.device import pick_device
from sartutor.learn.models import SamModel, at_phase, load_model
from sartutor.learn.sam.baselines import fill_boxes, otsu_boxes
from sartutor.learn.sam.inputs import refuse_other_kinds
from sartutor.learn.sam.predictor import Predictor
from sartutor.learn.sam.samples import refuse_missing_bands, refuse_no_objects
from sartutor.learn.scores import ImageScore, ObjectScore, box_counts, count, summary
from sartutor.sar.boxes import Box, Mask, evaluation_boxes, full_box, refuse_unknown_prompt
from sartutor.sar.files import check_report, write_report
from sartutor.sar.folder import IGNORE, Dataset, open_dataset
from sartutor.sar.resize import refuse_complex
from sartutor.sar.scene import Grid, Scene

Answer = Callable[[Scene, Sequence[Box]], Mask]
"""Marks (rows, columns) of a scene as objects, given boxes in its pixels; outside of them too, if it likes."""

LEAST_PIXELS = 50
"""Smaller parts of a label are no objects: they are prompted for, and count in images, but not on their own."""

COLUMNS = (14, 11, 8, 8, 13, 13)
"""Widths of the columns of `as_table`."""

_EIGHT = np.ones((3, 3), np.uint8)


@dataclass(frozen=True)
class Part:
    """An object of a label: its tight box, size in pixels, and mean slope in degrees where that is known."""

    box: Box
    pixels: int
    slope: float | None


@dataclass(frozen=True, eq=False)
class Question:
    """An image with its boxes, and what is known of it: `truth` and `known` (rows, columns), and its objects."""

    id: str
    scene: Scene
    boxes: tuple[Box, ...]
    truth: Mask
    known: Mask
    parts: tuple[Part, ...]


def evaluate(
    folder: str | Path,
    model: str | Path = "sam_tiny_base",
    split: str = "test",
    prompt: str = "box",
    report: Path | None = None,
    seed: int = 0,
    least_pixels: int = LEAST_PIXELS,
    device: str = "auto",
    phase: int | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Score a model and two baselines on a split of a folder; returns the report, written where `report` says.

    Args:
        folder: of your own data, with masks of objects.
        model: name or checkpoint, as of `load_model`; a model that is not adapted sees the primary bands. Or the
            checkpoint of a rival (`sartutor.learn.rivals`), whose mask is cut to the boxes.
        split: a split of the folder.
        prompt: one of `PROMPTS`; images without an object are asked about as a whole.
        report: JSON file to write.
        seed: of the boxes of prompt "jitter".
        least_pixels: of an object.
        device: auto, cpu or cuda.
        phase: of adaptation that an adapted model is asked as; None takes 3 where it has learned that and did not
            do better on validation without it, else 1.
        progress: show a bar.

    Returns:
        `model`, `split`, `prompt` and what else was asked for, the `phase` of an adapted model; the `summary` of the
        model, and that of each of the `baselines`; `seconds`.

    Raises DataError for a folder without objects, a split or prompt that does not exist and bands that the model
    needs and the folder lacks, SarTutorError for a phase that the model has not learned, CheckpointError for the model,
    OutputError where the report cannot be written.
    """
    start = time.perf_counter()
    if report is not None:
        check_report(report)
    refuse_unknown_prompt(prompt)
    data = open_dataset(folder)
    refuse_no_objects(data)
    ids = data.ids(split)
    asked_as, answer = model_answer(model, data, device, phase)
    answers: dict[str, Answer] = {
        "model": answer,
        "fill_box": fill_boxes,
        "otsu_box": partial(otsu_boxes, bands=data.primary),
    }
    asked = questions(data, split, prompt, seed, least_pixels)
    bar = tqdm(asked, "evaluating", len(ids), unit="image", disable=not progress)
    rows = [[score(question, answer) for answer in answers.values()] for question in bar]
    sums = dict(zip(answers, map(summary, zip(*rows, strict=True)), strict=True))
    about = {"model": str(model), "folder": str(folder), "split": split, "prompt": prompt, "seed": seed}
    found = {**about, "phase": asked_as, "least_pixels": least_pixels, **sums.pop("model"), "baselines": sums}
    found["seconds"] = round(time.perf_counter() - start, 3)
    if report is not None:
        write_report(report, found)
    return found


def as_table(report: dict[str, Any]) -> str:
    """A report as lines of text: the model and its baselines, and what was found on images without an object."""
    rows = {report["model"]: report, **report["baselines"]}
    width = max(map(len, rows))
    lines = [f"{'':{width}}  objects: IoU  precision  recall   F1    images: IoU  pooled: IoU"]
    for name, row in rows.items():
        of = row["objects"]
        values = (
            of["iou"],
            of["precision"],
            of["recall"],
            of["f1"],
            row["images"]["iou"],
            row["pooled"]["iou"],
        )
        cells = (
            f"{'-' if value is None else f'{value:.3f}':>{at}}"
            for value, at in zip(values, COLUMNS, strict=True)
        )
        lines.append(f"{name:{width}}{''.join(cells)}")
    counted = f"{report['objects']['n']} objects in {report['images']['n']} images"
    empty = report["empty"]
    if empty["n"]:
        counted += f"; {empty['false_positive_pixels']} px marked in {empty['n']} images without an object"
    return "\n".join([*lines, f"{counted}; {report['seconds']:.1f} s"])


def score_images(answer: Answer, asked: Iterable[Question]) -> list[ImageScore]:
    """Ask any method about images and score its answers, with a row for every object."""
    return [score(question, answer) for question in asked]


def questions(
    folder: Dataset,
    split: str,
    prompt: str,
    seed: int = 0,
    least_pixels: int = LEAST_PIXELS,
    terrain: Dataset | None = None,
) -> Iterator[Question]:
    """The images of a split with their boxes: `evaluation_boxes`, or the whole image where nothing is labelled.

    `terrain` has the slope of the same images where `folder` has none. Raises DataError for a folder without objects,
    and a split or prompt that does not exist.
    """
    refuse_no_objects(folder)
    for id in folder.ids(split):
        yield question(folder, id, prompt, seed, least_pixels, terrain)


def question(
    folder: Dataset,
    id: str,
    prompt: str = "box",
    seed: int = 0,
    least_pixels: int = LEAST_PIXELS,
    terrain: Dataset | None = None,
) -> Question:
    """One image with its boxes, as of `questions`; DataError where it cannot be read."""
    slope = _slope_band(terrain or folder)
    scene, labels = folder.scene(id), folder.mask(id)
    known = (labels != IGNORE) & scene.valid
    truth = (labels == 1) & known
    boxes = evaluation_boxes(truth, prompt, seed) or [full_box(scene.grid.shape)]
    ground = scene if terrain is None else terrain.scene(id)
    steepness = None if slope is None else np.asarray(ground.band(slope), np.float64)
    parts = object_parts(truth, least_pixels, steepness)
    return Question(id, scene, tuple(boxes), truth, known, tuple(parts))


def score(question: Question, answer: Answer) -> ImageScore:
    """Compare the answer to a question with what is known."""
    marked = answer(question.scene, question.boxes)
    objects = tuple(
        ObjectScore(
            question.id,
            part.box,
            part.pixels,
            part.slope,
            box_counts(marked, question.truth, question.known, part.box),
        )
        for part in question.parts
    )
    known = int(np.count_nonzero(question.known))
    return ImageScore(question.id, known, count(marked, question.truth, question.known), objects)


def object_parts(truth: Mask, least_pixels: int, slope: NDArray[np.float64] | None = None) -> list[Part]:
    """The parts (8 neighbours) of a label of at least so many pixels, with the mean of `slope` (rows, columns)."""
    labels, _ = ndimage.label(truth, _EIGHT)
    pixels = np.bincount(labels.ravel())
    total = None if slope is None else np.bincount(labels.ravel(), slope.ravel())
    return [
        Part(
            (float(cols.start), float(rows.start), float(cols.stop), float(rows.stop)),
            int(pixels[number]),
            None if total is None else float(total[number] / pixels[number]),
        )
        for number, (rows, cols) in enumerate(ndimage.find_objects(labels), 1)
        if pixels[number] >= least_pixels
    ]


def model_answer(
    model: str | Path, folder: Dataset, device: str, phase: int | None
) -> tuple[int | None, Answer]:
    """A prompted model or a rival, by name or checkpoint, as a method, and its phase; raises what `evaluate` does."""
    path = Path(model)
    if path.suffix == ".safetensors" and load_header(path).get("kind") == RIVAL:
        if phase is not None:
            raise SarTutorError(f"{model} is a rival and has no phases; ask without one.")
        from sartutor.learn.rivals import load_rival, rival_answer  # imports networks that others do not need

        rival = load_rival(path)
        return None, rival_answer(rival.to(pick_device(device)), folder)
    chosen = load_model(model)
    if phase is not None:
        chosen = at_phase(chosen, phase)
    chosen.sam.to(pick_device(device))
    return chosen.phase, sam_answer(chosen, folder)


def sam_answer(model: SamModel, folder: Dataset) -> Answer:
    """A prompted model as a method: the union of its masks over all boxes.

    An adapted model sees its own bands, any other one the primary bands of the folder. Where all pixels that are
    seen with a box have one value there is nothing to be told apart, and it marks nothing. Boxes may be as large as in
    training.

    Raises DataError where the folder lacks a band that the model needs, or has another kind under its name.
    """
    bands = tuple(dict.fromkeys(name for ranges in model.branches for name in ranges)) or folder.primary
    refuse_missing_bands(folder, bands, model.name)
    refuse_other_kinds(folder.description.units, model.kinds, model.name, folder.folder / "dataset.yaml")

    def answer(scene: Scene, boxes: Sequence[Box]) -> Mask:
        refuse_complex(scene.bands, scene.name)
        marked = np.zeros(scene.grid.shape, bool)
        predictor = Predictor(model, _in_pixels(scene.select(bands)), most_pixels=marked.size)
        for box in boxes:
            with suppress(DataError):
                found = predictor.segment(shapely.box(*box))
                marked[found.window.toslices()] |= found.mask
        return marked

    return answer


def _in_pixels(scene: Scene) -> Scene:
    """A scene whose coordinates are its pixels, so that boxes are taken as they are."""
    return replace(scene, grid=Grid(Affine.identity(), None, *scene.grid.shape))


def _slope_band(folder: Dataset) -> str | None:
    """The band that holds the slope: in degrees, and named so (angles of incidence are in degrees too)."""
    bands = folder.description.bands
    return next(
        (band.name for band in bands if band.units == "degree" and "slope" in band.name.lower()), None
    )
