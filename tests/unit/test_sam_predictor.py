"""One inference for all scenes: georeference, cutting, no-data, cache."""

import numpy as np
import pytest
from rasterio.crs import CRS
from rasterio.warp import transform_geom
from rasterio.windows import Window
from shapely.geometry import Polygon, box, shape

from sartutor.errors import DataError, GeometryError
from sartutor.learn.embeddings import EmbeddingCache, embedding_key
from sartutor.learn.models import load_model
from sartutor.learn.sam.evaluate import pixel_polygon
from sartutor.learn.sam.predictor import Predictor
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


def test_embeddings_survive_in_a_folder_and_a_damaged_file_is_made_anew(model, scene, monkeypatch, tmp_path):
    calls = counting(model, monkeypatch)
    polygon = pixel_polygon((60, 80, 120, 130), scene.grid)
    Predictor(model, scene, EmbeddingCache(tmp_path)).segment(polygon)
    Predictor(model, scene, EmbeddingCache(tmp_path)).segment(polygon)
    assert len(calls) == 1
    (stored,) = tmp_path.iterdir()
    stored.write_bytes(stored.read_bytes()[:100])
    Predictor(model, scene, EmbeddingCache(tmp_path)).segment(polygon)
    assert len(calls) == 2


def test_the_cache_forgets_the_oldest_when_it_is_full(model, scene, tmp_path):
    cache = EmbeddingCache(tmp_path, max_bytes=8_000_000)
    predictor = Predictor(model, scene, cache)
    for x in (0, 60, 120, 180):
        predictor.segment(pixel_polygon((x, 80, x + 20, 100), scene.grid))
    assert 1 <= len(cache) <= 2
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 8_000_000
    newest = scene.read(Window(150, 50, 80, 80)).digest()
    assert embedding_key(newest, model.digest) in cache


def test_keys_differ_by_content_and_by_model():
    assert len({embedding_key(*pair) for pair in [("a", "m"), ("b", "m"), ("a", "n")]}) == 3
