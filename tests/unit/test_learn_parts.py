"""Whether parts of large boxes help: which boxes and objects are asked about, and the verdict."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine

import sartutor.learn.parts as parts_module
from sartutor.learn.models import load_model
from sartutor.learn.parts import try_parts
from sartutor.sar.folder import BandRule, DatasetWriter, Description, Entry
from sartutor.sar.scene import Band, Grid, Scene

HALF = np.s_[20:340, 30:350]
SMALL = np.s_[360:390, 200:240]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images of 400 px with a large object and a small one. The third of validation has the small one alone, the fourth
    none, in which the whole image would be asked about; the fifth has no data."""
    description = Description(
        bands=(BandRule(name="a", units="1", range=(0, 1)),), labels={"background": (0,), "object": (1,)}
    )
    writer = DatasetWriter(tmp_path_factory.mktemp("parts") / "data", description)
    rng = np.random.default_rng(0)
    for number in range(6):
        objects = np.zeros((400, 400), bool)
        objects[SMALL] = number != 4
        objects[HALF] = number in (0, 1, 2, 5)
        pixels = (0.2 + 0.5 * objects + 0.1 * rng.random(objects.shape)).astype(np.float32)[None]
        grid = Grid(Affine.identity(), None, 400, 400)
        writer.write(
            str(number), Scene(pixels, (Band("a", "1"),), grid, np.full((400, 400), number < 5)), objects
        )
    return writer.finish([Entry(str(n), "train" if n == 0 else "val", str(n)) for n in range(6)])


def answers(marks):
    """A stand-in for `sam_answer` that marks `marks(scene, by_parts)` and keeps the boxes it was asked about."""
    asked = []

    def made(model, data):
        def answer(scene, boxes):
            asked.append((scene.name, len(boxes)))
            return marks(scene, model.by_parts)

        return answer

    return made, asked


def part_of(share):
    marked = np.zeros((400, 400), bool)
    marked[20 : 20 + round(320 * share), 30:350] = True
    return marked


def test_large_boxes_alone_are_asked_about_both_ways(folder, monkeypatch):
    made, asked = answers(lambda scene, by_parts: part_of(0.75 if by_parts else 0.5))
    monkeypatch.setattr(parts_module, "sam_answer", made)
    trial = try_parts(load_model(), folder, 10)
    assert len(asked) == 4
    assert {boxes for _, boxes in asked} == {1}
    assert (trial.images, trial.iou_whole, trial.iou_in_parts) == (2, pytest.approx(0.5), pytest.approx(0.75))
    assert trial.better


def test_as_many_images_as_told_are_asked_about(folder, monkeypatch):
    made, asked = answers(lambda scene, by_parts: part_of(0.75 if by_parts else 0.5))
    monkeypatch.setattr(parts_module, "sam_answer", made)
    trial = try_parts(load_model(), folder, 1)
    assert (trial.images, len(asked)) == (1, 2)
    assert not trial.better  # of a single image


@pytest.mark.parametrize(
    ("gain", "better"),
    [
        ([0.1, 0.2], True),
        ([0.1, -0.1], False),
        ([0.3, -0.05, -0.05], False),
        ([0.3, 0.1, 0.0], True),
        ([0.0, 0.0], False),
    ],
)
def test_better_is_more_than_the_standard_error(gain, better):
    assert parts_module._above_standard_error(np.array(gain)) == better


def test_the_model_itself_is_asked(folder):
    trial = try_parts(load_model(), folder, 10)
    assert trial.images == 2
    assert 0 < trial.iou_whole <= 1
    assert trial.iou_whole != trial.iou_in_parts
