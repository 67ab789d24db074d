"""COCO JSON, checked by hand against the rules of its run lengths."""

from __future__ import annotations

import json
from dataclasses import replace

import annotating
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from rasterio.windows import Window
from shapely.geometry import box

from sartutor.errors import OutputError
from sartutor.lab.annotator.coco import coco, run_lengths, write_coco


def decoded(counts: list[int], shape: tuple[int, int]) -> np.ndarray:
    """A mask from its run lengths: outside and inside in turn, column by column."""
    values = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return values.reshape(shape[::-1]).T


@pytest.mark.parametrize(
    ("rows", "counts"),
    [
        (["000", "010", "010"], [4, 2, 3]),
        (["100", "000", "000"], [0, 1, 8]),
        (["000", "000", "001"], [8, 1]),
        (["111", "111", "111"], [0, 9]),
        (["001", "001", "110"], [2, 1, 2, 3, 1]),
    ],
)
def test_run_lengths_as_counted_by_hand(rows, counts):
    mask = np.array([[sign == "1" for sign in row] for row in rows])
    assert run_lengths(mask, Window(0, 0, 3, 3), (3, 3)) == counts
    assert np.array_equal(decoded(counts, (3, 3)), mask)


@given(
    mask=arrays.arrays(bool, st.tuples(st.integers(1, 5), st.integers(1, 5))).filter(np.any),
    row=st.integers(0, 2),
    col=st.integers(0, 2),
    below=st.integers(0, 2),
)
def test_run_lengths_of_a_window_are_those_of_the_whole_image(mask, row, col, below):
    height, width = mask.shape
    shape = (row + height + below, col + width + below)
    whole = np.zeros(shape, bool)
    whole[row : row + height, col : col + width] = mask
    counts = run_lengths(mask, Window(col, row, width, height), shape)
    assert sum(counts) == whole.size
    assert all(counts[1:])
    assert np.array_equal(decoded(counts, shape), whole)


def test_a_scene_becomes_one_image_with_its_objects(tmp_path):
    scene = annotating.scene()
    shapes = [box(600_080, 5_199_780, 600_230, 5_199_930), box(600_150, 5_199_780, 600_320, 5_199_920)]
    one, two = (annotating.annotation(scene, shape, annotating.UTM) for shape in shapes)
    empty = annotating.annotation(scene, box(600_400, 5_199_700, 600_450, 5_199_750), annotating.UTM)
    objects = [
        replace(one, id=1, label="debris"),
        replace(two, id=4, label="debris", status="accepted"),
        replace(two, id=5, status="rejected"),
        replace(empty, id=6),
    ]
    found = json.loads(write_coco(scene, objects, tmp_path / "new" / "coco.json").read_text())
    assert found.keys() == {"info", "images", "annotations", "categories"}
    assert found["images"] == [{"id": 1, "file_name": "valley", "width": 60, "height": 40}]
    assert found["categories"] == [{"id": 1, "name": "debris", "supercategory": ""}]
    assert [entry["id"] for entry in found["annotations"]] == [1, 4]
    for entry, annotation in zip(found["annotations"], objects[:2], strict=True):
        whole = np.zeros(scene.grid.shape, bool)
        whole[annotation.window.toslices()] = annotation.mask
        assert entry["segmentation"]["size"] == [40, 60]
        assert np.array_equal(decoded(entry["segmentation"]["counts"], (40, 60)), whole)
        assert entry["area"] == whole.sum()
        x, y, width, height = entry["bbox"]
        assert whole[y : y + height, x : x + width].sum() == whole.sum()
        assert whole[y, x : x + width].any()
        assert whole[y : y + height, x + width - 1].any()
        assert (entry["image_id"], entry["category_id"], entry["iscrowd"]) == (1, 1, 0)
    assert coco(scene, ())["annotations"] == []


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"coco\.json"):
        write_coco(annotating.scene(), (), tmp_path / "file" / "coco.json")
