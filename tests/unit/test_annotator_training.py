"""Annotations become a folder that models are adapted to: what was accepted is taught, the rest is not."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations, pairwise

import annotating
import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.windows import Window
from shapely.geometry import box

from sartutor.errors import DataError, OutputError
from sartutor.lab.annotator.annotation import Annotation
from sartutor.lab.annotator.imports import outlined
from sartutor.lab.annotator.training import labels, marked, spans, write_training
from sartutor.learn.adapt import adapt
from sartutor.learn.models import load_model
from sartutor.presets import TrainingChips
from sartutor.sar.folder import open_dataset
from sartutor.sar.scene import Band, Grid, Scene

SIDE = 200
CHIPS = TrainingChips((64,), guard=4)


def scene(bands: int = 2) -> Scene:
    """Bright squares of 12 x 12 px on a dark ground; the last 20 columns hold no data."""
    rng = np.random.default_rng(0)
    pixels = rng.normal(-15, 1, (bands, SIDE, SIDE)).astype(np.float32)
    for row, col in corners():
        pixels[:, row : row + 12, col : col + 12] += 8
    valid = np.ones((SIDE, SIDE), bool)
    valid[:, 180:] = False
    described = tuple(Band(f"B{index}", "db", "sigma0") for index in range(bands))
    grid = Grid(Affine(10, 0, 600_000, 0, -10, 5_200_000), annotating.UTM, SIDE, SIDE)
    return Scene(pixels, described, grid, valid, "fields")


def corners() -> list[tuple[int, int]]:
    places = (10, 45, 80, 110, 150)  # in chips 0-64, 68-132, 136-200
    return [(row, col) for row in places for col in places]


def square(source: Scene, row: int, col: int, id: int = 1, width: int = 12, **more) -> Annotation:
    """An object by hand."""
    corner = source.grid.transform @ (col, row), source.grid.transform @ (col + width, row + 12)
    (west, north), (east, south) = corner
    found = outlined([box(west, south, east, north)], None, source, "manual")
    return replace(found, id=id, **{"status": "accepted", **more})


@pytest.fixture(scope="module")
def annotated() -> tuple[Scene, list[Annotation]]:
    """All squares accepted but for one that is open and one that is rejected."""
    source = scene()
    objects = [square(source, *corner, id=id) for id, corner in enumerate(corners(), 1)]
    objects[3] = replace(objects[3], status="open")
    objects[7] = replace(objects[7], status="rejected")
    return source, objects


@pytest.fixture(scope="module")
def folder(annotated, tmp_path_factory):
    return write_training(*annotated, tmp_path_factory.mktemp("out") / "training", CHIPS)


def test_the_folder_opens_with_labels_as_annotated(annotated, folder):
    source, objects = annotated
    data = open_dataset(folder)
    assert data.check(progress=False) == []
    seen = np.zeros((SIDE, SIDE), int)
    for entry in data.entries:
        piece, mask = data.scene(entry.id), data.mask(entry.id)
        col, row = (
            round(v) for v in ~source.grid.transform @ (piece.grid.transform.c, piece.grid.transform.f)
        )
        here = slice(row, row + piece.grid.height), slice(col, col + piece.grid.width)
        seen[here] += 1
        np.testing.assert_array_equal(piece.pixels[:, piece.valid], source.pixels[:, *here][:, piece.valid])
        assert np.array_equal(mask == -1, expected(source, objects, here) == -1)
        assert np.array_equal(mask == 1, expected(source, objects, here) == 1)
    assert seen.max() == 1
    taught = sum((data.mask(entry.id) == 1).sum() for entry in data.entries)
    assert taught == sum(one.pixels for one in objects if one.status == "accepted")


def expected(source: Scene, objects: list[Annotation], here: tuple[slice, slice]) -> np.ndarray:
    """Labels of a scene whose objects lie in one chip each."""
    values = np.zeros((SIDE, SIDE), int)
    for one in objects:
        values[one.window.toslices()] = np.where(one.mask, 1 if one.status == "accepted" else -1, 0)
    values[~source.valid] = -1
    return values[here]


def test_splits_share_no_ground_and_the_description_is_whole(annotated, folder):
    data = open_dataset(folder)
    assert set(data.splits) == {"train", "val", "test"}
    windows = []
    for entry in data.entries:
        grid = data.scene(entry.id).grid
        left, top = (annotated[0].grid.transform.__invert__() @ (grid.transform.c, grid.transform.f))[:2]
        windows.append((left, top, left + grid.width, top + grid.height))
    for one, other in combinations(windows, 2):
        apart = max(other[0] - one[2], one[0] - other[2], other[1] - one[3], one[1] - other[3])
        assert apart >= CHIPS.guard
    assert [(band.name, band.units) for band in data.description.bands] == [("B0", "db"), ("B1", "db")]
    for band in data.description.bands:
        assert band.range is not None
        assert -20 < band.range[0] < -14 < -9 < band.range[1] < -3
    about = json.loads((folder / "provenance.json").read_text())
    assert about["scene"] == "fields"
    assert about["objects"] == 23


def test_adapt_takes_the_folder(folder, tmp_path):
    made = adapt(
        folder, tmp_path / "mine.safetensors", size="smoke", phases=[1], device="cpu", progress=False
    )
    assert (tmp_path / "mine.safetensors").is_file()
    assert made is not None


def test_an_object_is_taught_in_the_chip_that_holds_most_of_it_and_ignored_in_others(tmp_path):
    source = scene()
    objects = [square(source, *corner, id=id) for id, corner in enumerate(corners(), 1)]
    across = square(source, 95, 52, id=99, width=30)
    folder = write_training(source, [*objects, across], tmp_path / "training", CHIPS)
    data = open_dataset(folder)
    other, home = data.mask("001-000"), data.mask("001-001")
    rows = slice(95 - 68, 107 - 68)
    assert (home[rows, : 82 - 68] == 1).all()
    assert (other[rows, 52:64] == -1).all()


def test_everything_not_accepted_or_without_data_is_ignored():
    source = scene()
    taught, opened = square(source, 10, 10), square(source, 14, 14, status="open")
    window = Window(8, 8, 24, 24)
    valid = np.ones((24, 24), bool)
    valid[:, :3] = False
    found = labels(window, [taught], [taught, opened], valid)
    assert (found[2:14, 3:14] == 1).all()
    assert found[15, 15] == 255
    assert (found[:, :3] == 255).all()
    assert found[20, 20] == 0
    assert not marked(taught, Window(100, 100, 5, 5)).any()


@given(length=st.integers(1, 700), side=st.integers(20, 300), guard=st.integers(0, 19))
def test_parts_fill_a_length_with_guards_between(length, side, guard):
    found = spans(length, side, guard)
    assert found[0, 0] == 0
    assert found[-1, 1] == length
    sizes = found[:, 1] - found[:, 0]
    assert sizes.max() <= side
    assert np.ptp(sizes) <= 1
    assert all(b[0] - a[1] == guard for a, b in pairwise(found))


def test_a_large_scene_has_large_chips_and_a_crowded_one_small_ones(annotated, tmp_path):
    source, objects = annotated
    folder = write_training(source, objects, tmp_path / "a", TrainingChips((96, 64), 4))
    assert open_dataset(folder).scene("000-000").grid.shape == (64, 64)
    folder = write_training(source, objects, tmp_path / "b", TrainingChips((99, 64), 4))
    assert open_dataset(folder).scene("000-000").grid.shape == (98, 98)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_objects_are_refused_with_the_cure(count, tmp_path):
    source = scene()
    objects = [square(source, *corner) for corner in corners()[:count]]
    with pytest.raises(DataError, match=rf"fields: {count} accepted .*farther apart.*train, val, test"):
        write_training(source, objects, tmp_path / "training", CHIPS)
    assert not list(tmp_path.iterdir())


def test_an_older_folder_is_replaced_and_another_one_left_alone(annotated, tmp_path):
    source, objects = annotated
    folder = write_training(source, objects, tmp_path / "training", CHIPS)
    before = sorted(path.name for path in (folder / "images").iterdir())
    again = write_training(source, objects[:8], folder, CHIPS)
    assert sorted(path.name for path in (again / "images").iterdir()) != before
    (folder / "my notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="training is there and holds something else"):
        write_training(source, objects, folder, CHIPS)
    assert (folder / "my notes.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["training"]


def test_encoders_are_as_asked_or_three_bands_each(annotated, tmp_path):
    source = scene(bands=7)
    objects = [square(source, *corner) for corner in corners()]
    data = open_dataset(write_training(source, objects, tmp_path / "a", CHIPS))
    assert (data.primary, data.secondary) == (("B0", "B1", "B2"), ("B3", "B4", "B5"))
    folder = write_training(source, objects, tmp_path / "b", CHIPS, encoders=(["B6"], ["B1"]))
    assert open_dataset(folder).primary == ("B6",)
    with pytest.raises(DataError, match=r"fields: .*no band"):
        write_training(source, objects, tmp_path / "c", CHIPS, encoders=(["X"], []))


def test_bands_of_the_adapted_model_go_to_its_encoders(tmp_path):
    source = scene(bands=6)
    units = ("db", "db", "db", "db", "m", "degree")
    names = ("VV0", "VV1", "VH0", "VH1", "DEM", "slope")
    source = replace(source, bands=tuple(Band(*pair) for pair in zip(names, units, strict=True)))
    objects = [square(source, *corner) for corner in corners()]
    data = open_dataset(write_training(source, objects, tmp_path / "a", CHIPS))
    branches = load_model("sam_tiny_avalanche").branches
    assert [data.primary, data.secondary] == [tuple(branch) for branch in branches]
