"""One inference for all scenes: georeference, cutting, no-data, cache."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from affine import Affine
from rasterio.crs import CRS
from rasterio.warp import transform_geom
from rasterio.windows import Window
from scipy.ndimage import distance_transform_edt
from shapely.geometry import Polygon, box, shape

from sartutor.errors import DataError, GeometryError
from sartutor.learn.embeddings import Digests, EmbeddingCache, embedding_key
from sartutor.learn.models import SamModel, load_model
from sartutor.learn.sam.evaluate import pixel_polygon
from sartutor.learn.sam.inputs import box_parts
from sartutor.learn.sam.predictor import Predictor
from sartutor.sar.boxes import connected_objects, fill_box, loose_box, tight_box
from sartutor.sar.coordinates import apply_affine, transform_points, unwrap
from sartutor.sar.scene import Grid, Scene
from sartutor.sim import shapes


@pytest.fixture(scope="module")
def model():
    return load_model("sam_tiny_base")


@pytest.fixture(scope="module")
def scene():
    return shapes.scene(11, size=256)[0]


def test_the_mask_lies_in_the_drawn_polygon_and_the_window(model, scene):
    polygon = pixel_polygon((60.3, 80.6, 120.2, 130.9), scene.grid)
    segment = Predictor(model, scene).segment(polygon)
    np.testing.assert_allclose(segment.box, (60.3, 80.6, 120.2, 130.9), atol=1e-6)
    assert segment.mask.shape == (segment.window.height, segment.window.width)
    rows, cols = np.nonzero(segment.mask)
    assert segment.pixels == len(rows) > 0
    assert (cols + segment.window.col_off).min() >= 60
    assert (cols + segment.window.col_off).max() <= 120
    assert (rows + segment.window.row_off).min() >= 80
    assert (rows + segment.window.row_off).max() <= 130
    assert 0 <= segment.score <= 1
    assert segment.note == ""


def test_a_slanted_polygon_cuts_the_mask_to_itself(model, scene):
    pixels = np.array([(100, 60), (140, 100), (100, 140), (60, 100)], float)
    polygon = Polygon([scene.grid.transform * tuple(point) for point in pixels])
    segment = Predictor(model, scene).segment(polygon)
    rows, cols = np.nonzero(segment.mask)
    distance = abs(cols + segment.window.col_off + 0.5 - 100) + abs(rows + segment.window.row_off + 0.5 - 100)
    assert distance.max() <= 40
    assert segment.inside.sum() == pytest.approx(0.5 * 80 * 80, rel=0.05)


def test_the_same_ground_polygon_in_another_crs_gives_the_same_mask(model, scene):
    polygon = pixel_polygon((60, 80, 120, 130), scene.grid)
    lonlat = shape(transform_geom(scene.grid.crs, "EPSG:4326", polygon.__geo_interface__, precision=-1))
    predictor = Predictor(model, scene)
    own, foreign = predictor.segment(polygon), predictor.segment(lonlat, CRS.from_epsg(4326))
    np.testing.assert_allclose(own.box, foreign.box, atol=0.01)
    assert (own.mask != foreign.mask).mean() < 0.001


def test_half_outside_is_clipped_and_said_outside_is_refused(model, scene):
    predictor = Predictor(model, scene)
    segment = predictor.segment(pixel_polygon((-30, 100, 40, 150), scene.grid))
    assert segment.box[0] == 0
    assert "clipped" in segment.note
    with pytest.raises(GeometryError, match=scene.name):
        predictor.segment(pixel_polygon((-80, 100, -20, 150), scene.grid))


def test_boxes_thinner_than_a_pixel_are_refused(model, scene):
    with pytest.raises(GeometryError, match="thinner than one pixel"):
        Predictor(model, scene).segment(pixel_polygon((30, 30, 30.4, 60), scene.grid))


def test_boxes_that_memory_may_not_hold_are_refused_before_anything_is_read(model, scene):
    class Huge:
        grid, bands, name = replace(scene.grid, height=10_000, width=10_000), scene.bands, "huge"

    predictor = Predictor(model, Huge())
    with pytest.raises(GeometryError, match=r"huge: .* 10000 x 10000 px.* smaller"):
        predictor.segment(pixel_polygon((0, 0, 10_000, 10_000), Huge.grid))


def test_no_data_is_never_in_a_mask(model, scene):
    scene.valid[:, :100] = False
    try:
        predictor = Predictor(model, scene)
        segment = predictor.segment(pixel_polygon((60, 80, 140, 130), scene.grid))
        cols = np.nonzero(segment.mask)[1] + segment.window.col_off
        assert cols.size == 0 or cols.min() >= 100
        assert "50% of the box has no data" in segment.note
        with pytest.raises(DataError, match="no valid pixel"):
            predictor.segment(pixel_polygon((20, 80, 80, 130), scene.grid))
    finally:
        scene.valid[:] = True


def test_a_scene_without_crs_takes_pixels(model):
    scene, _ = shapes.scene(11, crs=None, size=128)
    segment = Predictor(model, scene).segment(box(20, 30, 70, 90))
    assert segment.box == (20, 30, 70, 90)


def test_a_higher_threshold_never_adds_pixels(model, scene):
    polygon = pixel_polygon((60, 80, 120, 130), scene.grid)
    predictor = Predictor(model, scene)
    loose, strict = predictor.segment(polygon, threshold=0.3), predictor.segment(polygon, threshold=0.7)
    assert not (strict.mask & ~loose.mask).any()
    assert loose.pixels > strict.pixels


def decoded(model, monkeypatch):
    """Every prompt that the decoder is given, as (boxes, points)."""
    prompts = []
    decode = model.sam.decode

    def listen(embedding, boxes, points=None, **rest):
        prompts.append((boxes, points))
        return decode(embedding, boxes, points, **rest)

    monkeypatch.setattr(model.sam, "decode", listen)
    return prompts


ROTATED = Affine.translation(500_000, 5_100_000) @ Affine.rotation(30) @ Affine.scale(10, -10)
DEGREES = Affine(1e-4, 0, 179.99, 0, -8e-5, 47)
GRIDS = {
    "rotated": (ROTATED, CRS.from_epsg(32632), CRS.from_epsg(4326)),
    "across the antimeridian": (DEGREES, CRS.from_epsg(4326), CRS.from_epsg(3857)),
}


@pytest.mark.parametrize("name", GRIDS)
def test_points_land_on_their_pixel_in_any_crs(model, scene, monkeypatch, name):
    transform, own, other = GRIDS[name]
    placed = replace(scene, grid=Grid(transform, own, *scene.grid.shape))
    pixels = np.array([(150.5, 80.5), (90.25, 120.75)])
    polygon = pixel_polygon((60, 40, 180, 160), placed.grid)
    prompts = decoded(model, monkeypatch)
    for crs in (None, own, other):
        x, y = transform_points(apply_affine(transform, pixels), own, crs or own).T
        drawn = transform_points(np.array(polygon.exterior.coords), own, crs or own)
        points = [(x[0], y[0], True), (x[1], y[1], False)]
        segment = Predictor(model, placed).segment(Polygon(unwrap(drawn, crs or own)), crs, points)
        window = segment.window
        expected = (pixels - (window.col_off, window.row_off)) * 256 / max(window.height, window.width)
        np.testing.assert_allclose(prompts[-1][1][0, :, :2], expected, atol=0.02)
        np.testing.assert_array_equal(prompts[-1][1][0, :, 2], [1, 0])
        np.testing.assert_allclose(segment.box, (60, 40, 180, 160), atol=0.5)


def test_a_click_at_the_largest_error_mends_the_mask(model):
    better = []
    for seed in range(20, 26):
        scene, labels = shapes.scene(seed, size=256)
        predictor = Predictor(model, scene)
        for part in connected_objects(labels > 0, 300)[:2]:
            box = loose_box(tight_box(part), part.shape)
            polygon, goal = pixel_polygon(box, scene.grid), fill_box(part.shape, box) & (labels > 0)
            before = predictor.segment(polygon)
            goal = goal[before.window.toslices()]
            wrong = connected_objects(before.mask ^ goal, 1)[0]
            row, col = np.unravel_index(
                distance_transform_edt(np.pad(wrong, 1))[1:-1, 1:-1].argmax(), wrong.shape
            )
            place = (before.window.col_off + col + 0.5, before.window.row_off + row + 0.5)
            after = predictor.segment(
                polygon, None, [(*(scene.grid.transform @ place), bool(goal[row, col]))]
            )
            assert after.mask[row, col] == goal[row, col]
            better.append(iou(after.mask, goal) - iou(before.mask, goal))
    assert np.mean(better) > 0
    assert np.mean(np.array(better) >= 0) > 0.8


def iou(one, other):
    return (one & other).sum() / (one | other).sum()


def test_points_out_of_sight_are_refused(model, scene):
    predictor, polygon = Predictor(model, scene), pixel_polygon((100, 100, 120, 120), scene.grid)
    with pytest.raises(GeometryError, match="click on the scene"):
        predictor.segment(polygon, None, [(*(scene.grid.transform @ (-1, 110)), True)])
    with pytest.raises(GeometryError, match="too far from the box"):
        predictor.segment(polygon, None, [(*(scene.grid.transform @ (10, 10)), False)])


def test_all_alternatives_are_given_and_two_scales_average_each(model, scene):
    polygon = pixel_polygon((60, 80, 100, 120), scene.grid)
    predictors = [
        Predictor(replace(model, scales=scales), scene) for scales in (("near",), ("chip",), ("near", "chip"))
    ]
    near, chip, both = (predictor.segment(polygon) for predictor in predictors)
    assert near.probabilities.shape == (4, *near.mask.shape)
    assert len(near.scores) == 4
    assert near.score == near.scores[0]
    np.testing.assert_array_equal(near.probability, near.probabilities[0])
    assert len({layer.tobytes() for layer in near.probabilities}) == 4
    rows, cols = near.window.toslices()
    np.testing.assert_allclose(
        both.probabilities, (near.probabilities + chip.probabilities[:, rows, cols]) / 2, atol=1e-6
    )
    np.testing.assert_allclose(both.scores, np.add(near.scores, chip.scores) / 2)


def test_a_click_alone_finds_the_part_that_it_lies_on(model):
    scene, labels = shapes.scene(19, size=256)
    part = connected_objects(labels > 0, 200)[0]
    row, col = np.argwhere(part)[part.sum() // 2]
    point = (*(scene.grid.transform @ (col + 0.5, row + 0.5)), True)
    segment = Predictor(model, scene).segment_points([point])
    assert segment.points == (point,)
    assert segment.box == (0, 0, 256, 256)
    assert len(connected_objects(segment.mask, 1)) == 1
    assert (segment.mask & part).sum() > 0.5 * (segment.mask | part).sum()


def test_clicks_alone_look_at_one_window_of_the_model_around_them(model):
    large = shapes.scene(12, size=600)[0]
    point = large.grid.transform @ (300.5, 20.5)
    segment = Predictor(model, large).segment_points([(*point, True)])
    assert segment.box == (172, 0, 428, 256)
    assert segment.window == Window(172, 0, 256, 256)
    with pytest.raises(GeometryError, match="click on the object first"):
        Predictor(model, large).segment_points([(*point, False)])


def counting(model, monkeypatch):
    calls = []
    encode = model.sam.encode
    monkeypatch.setattr(model.sam, "encode", lambda image: calls.append(1) or encode(image))
    return calls


def test_an_embedding_is_made_once_a_window_and_anew_when_content_changes(model, scene, monkeypatch):
    calls = counting(model, monkeypatch)
    predictor = Predictor(model, scene)
    polygon = pixel_polygon((60, 80, 120, 130), scene.grid)
    first, again = predictor.segment(polygon), predictor.segment(polygon)
    assert len(calls) == 1
    assert np.array_equal(first.mask, again.mask)
    scene.pixels[0, 100, 90] += 3
    predictor.segment(polygon)
    scene.pixels[0, 100, 90] -= 3
    assert len(calls) == 2


def test_a_window_is_hashed_once_and_anew_when_content_changes(scene, monkeypatch):
    hashed, digest = [], Scene.digest
    monkeypatch.setattr(Scene, "digest", lambda self: hashed.append(1) or digest(self))
    digests, hidden = Digests(), np.arange(scene.valid.size).reshape(scene.valid.shape) > 0
    piece = replace(scene, pixels=scene.pixels.copy(), valid=hidden)
    first = digests.of(piece)
    piece.pixels[:, 0, 0] = np.nan  # of no meaning: it is not valid
    assert digests.of(piece) == first
    assert len(hashed) == 1
    piece.pixels[0, 5, 5] += 1
    others = (
        piece,
        replace(piece, valid=scene.valid),
        replace(piece, bands=piece.bands[::-1]),
        replace(piece, grid=replace(piece.grid, crs=None)),
    )
    assert [digests.of(other) for other in others] == [digest(other) for other in others]
    assert len({first, *map(digest, others)}) == 5


def test_embeddings_survive_in_a_folder_and_a_damaged_file_is_made_anew(model, scene, monkeypatch, tmp_path):
    calls = counting(model, monkeypatch)
    polygon = pixel_polygon((60, 80, 120, 130), scene.grid)
    for _ in range(2):
        cache = EmbeddingCache(tmp_path)
        Predictor(model, scene, cache).segment(polygon)
        cache.wait()
    assert len(calls) == 1
    (stored,) = tmp_path.iterdir()
    stored.write_bytes(stored.read_bytes()[:100])
    Predictor(model, scene, EmbeddingCache(tmp_path)).segment(polygon)
    assert len(calls) == 2


def test_an_embedding_under_another_ones_name_is_made_anew(model, scene, monkeypatch, tmp_path):
    calls = counting(model, monkeypatch)
    for x in (60, 110):
        cache = EmbeddingCache(tmp_path)
        Predictor(model, scene, cache).segment(pixel_polygon((x, 80, x + 30, 110), scene.grid))
        cache.wait()
    one, other = sorted(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    one.write_bytes(other.read_bytes())
    Predictor(model, scene, EmbeddingCache(tmp_path)).segment(pixel_polygon((60, 80, 90, 110), scene.grid))
    assert len(calls) == 3


def test_a_folder_that_cannot_be_written_to_is_done_without(model, scene, monkeypatch, tmp_path):
    polygon = pixel_polygon((60, 80, 90, 110), scene.grid)
    cache = EmbeddingCache(tmp_path)
    Predictor(model, scene, cache).segment(polygon)
    cache.wait()
    (stored,) = tmp_path.iterdir()
    stored.write_bytes(b"not an embedding")

    def refuse(*_arguments, **_named):
        raise PermissionError("read-only")

    monkeypatch.setattr(Path, "unlink", refuse)
    assert Predictor(model, scene, EmbeddingCache(tmp_path)).segment(polygon).mask.any()


def test_the_cache_forgets_the_oldest_when_it_is_full(model, scene, tmp_path):
    cache = EmbeddingCache(tmp_path, max_bytes=8_000_000)
    predictor = Predictor(model, scene, cache)
    for x in (0, 60, 120, 180):
        predictor.segment(pixel_polygon((x, 80, x + 20, 100), scene.grid))
    cache.wait()
    assert 1 <= len(cache) <= 2
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 8_000_000
    newest = scene.read(Window(150, 50, 80, 80)).digest()
    assert embedding_key(newest, model.encoder) in cache


def test_a_small_model_computes_in_one_thread_and_leaves_the_others_as_they_were(model, scene, monkeypatch):
    encode, threads = model.sam.encode, []
    monkeypatch.setattr(
        model.sam, "encode", lambda image: threads.append(torch.get_num_threads()) or encode(image)
    )
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        Predictor(model, scene).segment(pixel_polygon((60, 80, 120, 130), scene.grid))
        assert threads == [1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_keys_differ_by_content_and_by_model():
    assert len({embedding_key(*pair) for pair in [("a", "m"), ("b", "m"), ("a", "n")]}) == 3


def test_parts_of_a_large_box_are_looked_at_beside_the_whole(model):
    """A large box is answered by the mean of the whole and its parts, each asked for itself; a small one as before."""
    scene, _ = shapes.scene(3, size=700)
    whole = Predictor(replace(model, scales=("chip",)), scene)
    learned = Predictor(replace(model, scales=("chip",), by_parts=True), scene)
    small = pixel_polygon((300, 300, 380, 360), scene.grid)
    np.testing.assert_array_equal(learned.segment(small).probabilities, whole.segment(small).probabilities)
    box = (100.0, 150.0, 400.0, 350.0)
    found, alone = (each.segment(pixel_polygon(box, scene.grid)) for each in (learned, whole))
    rows, cols = found.window.toslices()
    expected = np.zeros(scene.grid.shape)
    expected[rows, cols] = alone.probability
    parts = box_parts(box, scene.grid.shape, 256)
    assert len(parts) == 6
    for part in parts:
        near = whole.segment(pixel_polygon(part, scene.grid))
        seen = np.zeros(scene.grid.shape)
        seen[near.window.toslices()] = near.probability
        inside = np.s_[int(part[1]) : int(part[3]), int(part[0]) : int(part[2])]
        expected[inside] = (expected[inside] + seen[inside]) / 2
    np.testing.assert_allclose(found.probability, expected[rows, cols], atol=1e-5)
    assert found.scores == alone.scores
    assert not np.array_equal(found.mask, alone.mask)


def test_what_is_embedded_ahead_holds_the_parts_and_ends_with_the_whole(model):
    scene, _ = shapes.scene(3, size=700)
    predictor = Predictor(replace(model, scales=("chip",), by_parts=True), scene)
    polygon = pixel_polygon((100, 150, 400, 350), scene.grid)
    windows = predictor.windows(polygon)
    assert [window.width for window in windows] == [256] * 6 + [600]
    for window in windows:
        predictor.embed(window)
    known = len(predictor.cache)
    predictor.segment(polygon)
    assert len(predictor.cache) == known


def test_clicks_count_in_the_part_that_they_lie_in(model, monkeypatch):
    """And in no other, for there they lie outside the box that is asked about."""
    scene, _ = shapes.scene(3, size=700)
    told, decode = [], SamModel.decode

    def heard(self, embedding, boxes, points):
        told.append((boxes[0].tolist(), None if points is None else points[0, 0].tolist()))
        return decode(self, embedding, boxes, points)

    monkeypatch.setattr(SamModel, "decode", heard)
    click = (*(scene.grid.transform @ (130, 270)), True)
    learned = Predictor(replace(model, scales=("chip",), by_parts=True), scene)
    learned.segment(pixel_polygon((100, 150, 400, 350), scene.grid), None, [click])
    (_, whole), *parts = told
    assert whole is not None
    asked = [(box, point) for box, point in parts if point is not None]
    assert len(parts) == 6
    assert len(asked) == 1
    (left, top, right, bottom), (x, y, label) = asked[0]
    assert (x - left, y - top, label) == (30, 20, 1)
    assert left < x < right
    assert top < y < bottom
