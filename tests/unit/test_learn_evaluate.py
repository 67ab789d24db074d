"""Evaluation: one way to count for every method, objects cut to their own boxes, and what counts nowhere."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import shapely
import torch
from affine import Affine
from evaluating import disc, pair, write_folder
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS
from sklearn import metrics

from sartutor.errors import DataError, GeometryError
from sartutor.learn.evaluate import object_parts, questions, sam_answer, score_images
from sartutor.learn.models import SamModel, load_model
from sartutor.learn.sam.adapted import AdaptedSam
from sartutor.learn.sam.baselines import contrast, fill_boxes, otsu_box, otsu_boxes
from sartutor.learn.sam.evaluate import pixel_polygon
from sartutor.learn.sam.model import RadarSam
from sartutor.learn.sam.predictor import Predictor
from sartutor.learn.scores import SIZES, SLOPES, Counts, ImageScore, ObjectScore, box_counts, count, summary
from sartutor.presets import SAM_SIZES
from sartutor.sar.boxes import connected_objects, evaluation_boxes, full_box, tight_box
from sartutor.sar.dates import before_after
from sartutor.sar.scene import Band, Grid, Scene

SHAPE = (96, 128)
TRUTH = disc(SHAPE, 30, 30, 12) | disc(SHAPE, 60, 90, 18)
SPECK = disc(SHAPE, 80, 20, 2)
EMPTY = np.zeros(SHAPE, bool)


@pytest.fixture(scope="module")
def base():
    return load_model("sam_tiny_base")


@pytest.fixture
def folder(tmp_path):
    masks = {"test-a": TRUTH, "test-b": EMPTY, "test-c": SPECK, "train-d": TRUTH}
    return write_folder(tmp_path, {id: (pair(mask), 255 * mask) for id, mask in masks.items()})


def right(folder):
    """A method that knows the masks."""
    return lambda scene, boxes: folder.mask(scene.name) == 1


def nothing(scene, boxes):
    return np.zeros(scene.grid.shape, bool)


def everything(scene, boxes):
    return np.ones(scene.grid.shape, bool)


def scene_of(pixels, names, units="db", valid=None):
    shape = pixels.shape[1:]
    bands = tuple(Band(name, units) for name in names)
    return Scene(
        pixels, bands, Grid(Affine.identity(), None, *shape), np.ones(shape, bool) if valid is None else valid
    )


def parts(sizes, slopes):
    return [
        ObjectScore("a", (0, 0, 1, 1), size, slope, Counts(1, 0, 0))
        for size, slope in zip(sizes, slopes, strict=True)
    ]


def one_image(objects):
    return [ImageScore("a", 100, Counts(1, 0, 0), tuple(objects))]


def test_counts_are_those_of_scikit_learn_where_the_label_is_known():
    rng = np.random.default_rng(0)
    marked, truth, known = rng.random((3, 40, 50)) < np.array([0.3, 0.4, 0.9])[:, None, None]
    found = count(marked, truth, known)
    for name, score in {
        "iou": metrics.jaccard_score,
        "precision": metrics.precision_score,
        "recall": metrics.recall_score,
        "f1": metrics.f1_score,
    }.items():
        assert getattr(found, name) == pytest.approx(score(truth[known], marked[known]), abs=1e-6)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_scores_lie_in_0_to_1_and_in_their_order(hits, extra, missed):
    found = Counts(hits, extra, missed)
    values = [found.iou, found.f1, max(found.precision, found.recall)]
    assert values == sorted(values)
    assert 0 <= min(*values, found.precision, found.recall) <= values[-1] <= 1


def test_an_object_is_compared_in_its_own_box():
    tight = tight_box(disc(SHAPE, 30, 30, 12))
    known = np.ones(SHAPE, bool)
    assert box_counts(TRUTH | disc(SHAPE, 80, 110, 9), TRUTH, known, tight).iou == 1
    near = TRUTH | disc(
        SHAPE, 20, 40, 2
    )  # another part in a corner of that box is labelled, not marked in error
    assert box_counts(near, near, known, tight).iou == 1
    assert box_counts(TRUTH, near, known, tight).missed == disc(SHAPE, 20, 40, 2)[18:43, 18:43].sum()


def test_objects_are_the_connected_parts_with_their_mean_slope():
    slope = np.random.default_rng(0).uniform(0, 40, SHAPE)
    labels = TRUTH | SPECK
    found = object_parts(labels, 50, slope)
    assert len(object_parts(labels, 5)) == 3
    assert [part.slope for part in object_parts(labels, 50)] == [None, None]
    for part, mask in zip(
        sorted(found, key=lambda part: -part.pixels), connected_objects(labels, 50), strict=True
    ):
        assert (part.box, part.pixels) == (tight_box(mask), mask.sum())
        assert part.slope == pytest.approx(slope[mask].mean())


def test_a_right_answer_scores_1_and_none_0(folder):
    perfect = summary(score_images(right(folder), questions(folder, "test", "box")))
    for kind, number in (("objects", 2), ("images", 2)):
        assert perfect[kind]["n"] == number
        assert [perfect[kind][name] for name in ("iou", "precision", "recall", "f1")] == [1, 1, 1, 1]
    assert perfect["empty"] == {"n": 1, "false_positive_pixels": 0, "per_image": 0, "share": 0}
    bad = summary(score_images(nothing, questions(folder, "test", "box")))
    assert [bad[kind]["iou"] for kind in ("objects", "images", "pooled")] == [0, 0, 0]
    assert (bad["objects"]["precision"], bad["objects"]["hit_rate"], bad["pooled"]["precision"]) == (0, 0, 0)


def test_images_are_averaged_pixels_pooled_and_empty_images_apart(folder):
    found = summary(score_images(everything, questions(folder, "test", "box")))
    shares = TRUTH.mean(), SPECK.mean()
    assert found["images"]["iou"] == pytest.approx(np.mean(shares))
    assert found["images"]["precision"] == pytest.approx(np.mean(shares))
    labelled = TRUTH.sum() + SPECK.sum()
    assert found["pooled"]["iou"] == pytest.approx(labelled / (2 * TRUTH.size))
    assert found["pooled"]["hits"] == labelled
    assert found["pooled"]["extra"] == 2 * TRUTH.size - labelled
    assert found["empty"] == {
        "n": 1,
        "false_positive_pixels": TRUTH.size,
        "per_image": TRUTH.size,
        "share": 1,
    }


def test_small_parts_are_objects_only_when_asked(folder):
    assert (
        summary(score_images(nothing, questions(folder, "test", "box", least_pixels=10)))["objects"]["n"] == 3
    )
    assert (
        summary(score_images(nothing, questions(folder, "test", "box", least_pixels=700)))["objects"]["n"]
        == 1
    )


def test_nothing_to_score_is_none_not_a_number(tmp_path):
    empty = write_folder(tmp_path, {"test-a": (pair(EMPTY), EMPTY)})
    found = summary(score_images(everything, questions(empty, "test", "box")))
    none = {"iou": None, "precision": None, "recall": None, "f1": None}
    assert found["objects"] == {"n": 0, **none, "hit_rate": None}
    assert found["images"] == {"n": 0, **none}
    assert found["pooled"] == {**none, "hits": 0, "extra": 0, "missed": 0}


def test_what_is_ignored_or_has_no_data_counts_nowhere(tmp_path):
    pixels, mask = pair(TRUTH), TRUTH.astype(np.uint8)
    mask[:, 88:96] = 7
    pixels[0, 25:28] = np.nan
    unknown = (mask == 7) | np.isnan(pixels[0])
    holed = write_folder(tmp_path, {"test-a": (pixels, mask)}, ignore=7)
    (question,) = questions(holed, "test", "box")
    assert (question.known == ~unknown).all()
    assert (question.truth == (TRUTH & ~unknown)).all()
    assert sum(part.pixels for part in question.parts) == (TRUTH & ~unknown).sum()
    answers = [lambda scene, boxes, wrong=wrong: TRUTH ^ (wrong & unknown) for wrong in (EMPTY, ~EMPTY)]
    first, second = (score_images(answer, questions(holed, "test", "box")) for answer in answers)
    assert first == second
    assert summary(first)["pooled"]["iou"] == 1


def test_an_image_without_a_known_pixel_is_neither_right_nor_wrong(tmp_path):
    masks = {"test-a": np.full(SHAPE, 9), "test-b": TRUTH}
    some = write_folder(tmp_path, {id: (pair(TRUTH), mask) for id, mask in masks.items()}, ignore=9)
    found = summary(score_images(everything, questions(some, "test", "box")))
    assert (found["images"]["n"], found["empty"]["n"]) == (1, 0)


def test_boxes_are_those_of_evaluation_and_the_whole_image_where_nothing_is_labelled(folder):
    asked = {
        prompt: {q.id: list(q.boxes) for q in questions(folder, "test", prompt, 3)}
        for prompt in ("box", "jitter", "full")
    }
    assert asked["box"]["test-a"] == evaluation_boxes(TRUTH, "box")
    assert asked["jitter"]["test-a"] == evaluation_boxes(TRUTH, "jitter", 3)
    for prompt in asked:
        assert asked[prompt]["test-b"] == [full_box(SHAPE)]
    assert asked["full"]["test-a"] == [full_box(SHAPE)]


def test_filling_the_box_is_worth_the_share_of_the_object_in_its_box(folder):
    for prompt in ("box", "jitter", "full"):
        found = score_images(fill_boxes, questions(folder, "test", prompt))[0].objects
        for part, radius in zip(found, (12, 18), strict=True):
            assert part.iou == pytest.approx(part.pixels / (2 * radius + 1) ** 2)
            assert part.hit


def test_objects_fall_into_classes_of_size_and_slope():
    (_, small), (_, medium), _ = SIZES.values()
    (_, flat), (_, sloping), _ = SLOPES.values()
    slopes = [0.0, flat - 0.1, flat, sloping, None, 80.0]
    found = summary(one_image(parts([50, small - 1, small, medium - 1, medium, 9000], slopes)))
    assert {name: one["n"] for name, one in found["by_size"].items()} == {"small": 2, "medium": 2, "large": 2}
    assert {name: one["n"] for name, one in found["by_slope"].items()} == {
        "flat": 2,
        "sloping": 1,
        "steep": 2,
    }
    assert found["by_size"]["small"]["iou"] == 1
    for classes in (SIZES, SLOPES):
        assert all(one[1] == other[0] for one, other in pairwise(classes.values()))


def test_the_slope_comes_from_the_band_of_that_name(tmp_path):
    angle, slope = (
        np.full(SHAPE, 38, np.float32),
        np.tile(np.linspace(0, 40, SHAPE[1], dtype=np.float32), (SHAPE[0], 1)),
    )
    layers = np.concatenate([pair(TRUTH), angle[None], slope[None]])
    names, units = ("VV0", "VV1", "incidence", "Slope"), ["db", "db", "degree", "degree"]
    steep = write_folder(tmp_path / "a", {"test-a": (layers, TRUTH)}, names, units)
    left, right_ = score_images(nothing, questions(steep, "test", "box"))[0].objects
    assert (left.slope, right_.slope) == (
        pytest.approx(slope[0, 30], abs=0.1),
        pytest.approx(slope[0, 90], abs=0.1),
    )
    flat = write_folder(tmp_path / "b", {"test-a": (layers[:3], TRUTH)}, names[:3], units[:3])
    assert [part.slope for part in score_images(nothing, questions(flat, "test", "box"))[0].objects] == [
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("bands", "pair_"),
    [
        (("VV0", "VV1", "DEM"), ("VV0", "VV1")),
        (("DEM", "VH_1", "VH_0"), ("VH_0", "VH_1")),
        (("VV", "VH"), None),
        (("VV0", "VH1"), None),
        (("B10", "B11"), None),
        (("0", "1"), None),
        (("VV_post", "VV_pre", "VH_pre"), ("VV_pre", "VV_post")),
        (("preVV", "postVV", "DEM"), ("preVV", "postVV")),
        (("HH after", "HH Before"), ("HH Before", "HH after")),
        (("pressure", "VV"), None),
    ],
)
def test_two_dates_are_known_by_their_names(bands, pair_):
    assert before_after(bands) == pair_


@pytest.mark.parametrize("units", ["db", "power", "amplitude", "dn"])
def test_otsu_sees_the_change_in_decibels_in_any_units(units):
    decibels = pair(TRUTH)
    pixels = {"db": decibels, "power": 10 ** (decibels / 10)}.get(units, 1000 * 10 ** (decibels / 20))
    scene = scene_of(pixels, ("VV0", "VV1"), units)
    np.testing.assert_allclose(contrast(scene, ("VV0", "VV1")), decibels[1] - decibels[0], atol=1e-2)
    boxes = evaluation_boxes(TRUTH)
    change, after = (
        box_counts(otsu_boxes(scene, boxes, bands), TRUTH, scene.valid, (0, 0, *SHAPE[::-1])).iou
        for bands in (("VV0", "VV1"), ("VV1",))
    )
    assert change > 0.7 > 0.5 > after


def test_otsu_of_many_boxes_is_that_of_each_on_valid_pixels():
    pixels, valid = pair(TRUTH), ~disc(SHAPE, 60, 80, 6)
    pixels[:, ~valid] = np.nan
    scene = scene_of(pixels, ("VV0", "VV1"), valid=valid)
    boxes = [(15.3, 14.7, 47.5, 44.2), (70.0, 40.5, 128.0, 96.0), (0.0, 0.0, 1.0, 1.0)]
    values = np.where(valid, pixels[1] - pixels[0], 0)
    expected = np.any([otsu_box(values, valid, box) for box in boxes], axis=0)
    assert expected.any()
    np.testing.assert_array_equal(otsu_boxes(scene, boxes, ("VV0", "VV1")), expected)
    assert not (expected & ~valid).any()


def test_a_picture_is_looked_at_as_it_is():
    pixels = np.where(TRUTH, 200, 90).astype(np.float32)[None]
    scene = scene_of(pixels, ("grey",), "1")
    np.testing.assert_array_equal(contrast(scene, ("grey",)), pixels[0])
    np.testing.assert_array_equal(otsu_boxes(scene, evaluation_boxes(TRUTH), ("grey",)), TRUTH)


def test_a_model_answers_with_the_union_of_its_masks(base, folder):
    (question, *_) = questions(folder, "test", "box")
    predictor = Predictor(base, replace(question.scene, grid=Grid(Affine.identity(), None, *SHAPE)))
    expected = np.zeros(SHAPE, bool)
    for box in question.boxes:
        found = predictor.segment(shapely.box(*box))
        expected[found.window.toslices()] |= found.mask
    answer = sam_answer(base, folder)(question.scene, question.boxes)
    assert answer.any()
    np.testing.assert_array_equal(answer, expected)
    assert not (answer & ~fill_boxes(question.scene, question.boxes)).any()


def test_boxes_that_are_too_large_to_be_drawn_are_answered(base, folder, monkeypatch):
    monkeypatch.setattr("sartutor.learn.sam.predictor.MOST_PIXELS", 100)
    question = next(questions(folder, "test", "full"))
    with pytest.raises(GeometryError, match="draw a smaller one"):
        Predictor(base, question.scene).segment(pixel_polygon(question.boxes[0], question.scene.grid))
    assert sam_answer(base, folder)(question.scene, question.boxes).any()


def test_a_base_model_sees_the_primary_bands(base, tmp_path):
    noise = np.random.default_rng(0).normal(-12, 3, (4, *SHAPE)).astype(np.float32)
    layers = np.concatenate([noise, pair(TRUTH)[1:]])
    names = ("A", "B", "C", "D", "VV")
    one = write_folder(tmp_path / "a", {"test-a": (layers, TRUTH)}, names, primary=["VV"])
    other = write_folder(tmp_path / "b", {"test-a": (layers[4:], TRUTH)}, names[4:])
    marked = [
        sam_answer(base, data)(question.scene, question.boxes)
        for data in (one, other)
        for question in questions(data, "test", "box")
    ]
    np.testing.assert_array_equal(*marked)


def adapted(branches):
    """A small adapted model of untrained weights that sees the named bands."""
    torch.manual_seed(0)
    size = replace(
        SAM_SIZES["tiny"],
        image_size=64,
        width=48,
        depth=2,
        heads=2,
        window=3,
        global_blocks=(1,),
        embedding=32,
    )
    ranges = tuple(dict.fromkeys(names, (-25.0, 0.0)) for names in branches)
    sam = AdaptedSam(RadarSam(size).eval(), len(branches)).use_phase(3 if len(branches) == 2 else 1).eval()
    return SamModel("small", sam, "digest", {}, tuple(name for names in branches for name in names), ranges)


def test_an_adapted_model_finds_its_bands_by_name(tmp_path):
    model = adapted((("VV0", "VV1"), ("VH0",)))
    vv, vh = pair(TRUTH), pair(TRUTH, 1)[:1]
    one = write_folder(tmp_path / "a", {"test-a": (np.concatenate([vv, vh]), TRUTH)}, ("VV0", "VV1", "VH0"))
    shuffled = np.concatenate([vh, vv[::-1], vh + 3])
    names = ("VH0", "VV1", "VV0", "other")
    other = write_folder(tmp_path / "b", {"test-a": (shuffled, TRUTH)}, names, primary=["other"])
    marked = [
        sam_answer(model, data)(question.scene, [full_box(SHAPE)])
        for data in (one, other)
        for question in questions(data, "test", "box")
    ]
    np.testing.assert_array_equal(*marked)
    assert 0 < marked[0].sum() < marked[0].size


def test_an_adapted_model_refuses_a_folder_without_its_bands(folder):
    with pytest.raises(DataError, match="no band 'VH0', which small needs"):
        sam_answer(adapted((("VV0", "VV1"), ("VH0", "VH1"))), folder)


def test_where_all_is_one_value_a_model_marks_nothing(base, tmp_path):
    pixels = pair(TRUTH)
    pixels[:, :, 40:] = -10
    flat = write_folder(
        tmp_path, {"test-a": (pixels, disc(SHAPE, 60, 110, 6)), "test-b": (0 * pixels, EMPTY)}
    )
    answer = sam_answer(base, flat)
    for question in questions(flat, "test", "box"):
        assert not answer(question.scene, question.boxes).any()


def test_objects_one_pixel_wide_on_an_awkward_grid_are_prompted(base, tmp_path):
    line = EMPTY.copy()
    line[20:80, 41] = line[33, 90:101] = line[90, 5] = True
    place = (
        Affine(8.983152841195215e-05, 0, 11.123456789, 0, -8.983152841195215e-05, 47.7),
        CRS.from_epsg(4326),
    )
    thin = write_folder(tmp_path, {"test-a": (pair(line), line)}, place=place)
    for seed in range(3):
        found = score_images(sam_answer(base, thin), questions(thin, "test", "jitter", seed))
        assert [part.pixels for part in found[0].objects] == [60]
