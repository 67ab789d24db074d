"""One model at a time on one scene: changing it, embeddings that stay, embeddings made ahead."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS

from sartutor import catalog
from sartutor.errors import CheckpointError, SarTutorError
from sartutor.lab.annotator.annotation import annotate
from sartutor.lab.annotator.segmenter import Segmenter
from sartutor.learn.models import SamModel
from sartutor.learn.sam.evaluate import pixel_polygon
from sartutor.sar.boxes import connected_objects, loose_box, tight_box
from sartutor.sar.scene import Band, Grid, Scene
from sartutor.sim import shapes
from sartutor.sim.avalanche import avalanche_scene

BOXES = [(20, 20, 50, 50), (100, 60, 130, 90), (40, 150, 70, 180), (150, 150, 190, 190)]


@pytest.fixture(scope="module")
def scene():
    return shapes.scene(11, size=256)[0]


@pytest.fixture
def segmenter(scene, tmp_path):
    made = Segmenter(scene, folder=tmp_path / "embeddings")
    yield made
    made.close()


@pytest.fixture
def embedded(monkeypatch):
    """Every piece that a model embeds, by the name of the thread that does."""
    calls = []
    embed = SamModel.embed
    monkeypatch.setattr(
        SamModel,
        "embed",
        lambda self, piece: calls.append(threading.current_thread().name) or embed(self, piece),
    )
    return calls


def polygons(scene):
    return [pixel_polygon(box, scene.grid) for box in BOXES]


def finish(segmenter):
    for waiting in segmenter._ahead:
        waiting.result(timeout=60)


def test_embeddings_are_kept_for_the_next_time(scene, segmenter, embedded):
    first = segmenter.segment(polygons(scene)[0], None)
    assert len(embedded) == 1
    again = Segmenter(scene, folder=segmenter.folder).segment(polygons(scene)[0], None)
    assert len(embedded) == 1
    np.testing.assert_array_equal(first.mask, again.mask)


def test_by_default_they_lie_among_what_is_fetched(scene, monkeypatch, tmp_path):
    monkeypatch.setenv("SARTUTOR_CACHE", str(tmp_path))
    assert Segmenter(scene).folder == catalog.cache_dir() / "embeddings" == tmp_path / "embeddings"


def test_a_folder_that_cannot_be_written_to_costs_no_mask(scene, tmp_path):
    (tmp_path / "file").write_text("in the way")
    found = Segmenter(scene, folder=tmp_path / "file" / "embeddings").segment(polygons(scene)[0], None)
    assert found.pixels > 0


def test_another_model_is_asked_with_its_own_embeddings(segmenter, scene, embedded, tmp_path):
    bands = ("VV0", "VV1", "DEM")
    seen = avalanche_scene((31, 0), 128)[0]
    both = Segmenter(seen.select(bands), folder=tmp_path / "both")
    polygon = pixel_polygon((30, 30, 80, 80), seen.grid)
    base, digest = both.segment(polygon, None), both.digest
    with pytest.raises(CheckpointError):
        both.use("sam_gigantic")
    assert (both.model, both.digest) == ("sam_tiny_base", digest)
    whole = Segmenter(seen, folder=tmp_path / "both")
    whole.use("sam_tiny_avalanche")
    other = whole.segment(polygon, None)
    assert (whole.model, len(embedded)) == ("sam_tiny_avalanche", 2)
    assert whole.digest != digest
    assert not np.array_equal(base.probability, other.probability)
    whole.close()
    both.close()


def test_a_model_of_two_scales_looks_at_either(tmp_path):
    seen = avalanche_scene((31, 0), 256)[0]
    polygon = pixel_polygon((30, 30, 80, 80), seen.grid)
    made = Segmenter(seen, "sam_tiny_avalanche", tmp_path)
    made.__dict__["trained"] = replace(made.trained, scales=("near", "chip"))
    both, digest = made.segment(polygon, None).probability, made.digest
    looks = {}
    for scale in ("near", "chip"):
        made.look(scale)
        assert made.digest == f"{digest}-{scale}"
        looks[scale] = (len(made.predictor.windows(polygon)), made.segment(polygon, None).probability)
    assert [count for count, _ in looks.values()] == [1, 1]
    assert not np.array_equal(looks["near"][1], looks["chip"][1][:200, :200])
    made.look(None)
    assert np.array_equal(made.segment(polygon, None).probability, both)
    made.use("sam_tiny_base")
    made.look("near")
    assert made.scale is None
    with pytest.raises(SarTutorError, match="sam_tiny_base was not trained at scale chip; ask for near"):
        made.look("chip")
    made.close()


def test_a_model_that_looks_at_parts_does_so_at_every_scale(tmp_path):
    made = Segmenter(avalanche_scene((31, 0), 256)[0], "sam_tiny_avalanche", tmp_path)
    made.__dict__["trained"] = replace(made.trained, scales=("near", "chip"), by_parts=True)
    made.look("chip")
    assert made.predictor.model.scales == ("chip",)
    assert made.predictor.model.by_parts
    made.__dict__["trained"] = replace(made.trained, scales=("chip",))
    made.look("chip")
    assert made.scale is None
    made.close()


def test_boxes_on_one_chip_share_its_embedding(tmp_path, embedded):
    seen = avalanche_scene((31, 0), 384)[0]
    made = Segmenter(seen, "sam_tiny_avalanche", tmp_path)
    boxes = [pixel_polygon(box, seen.grid) for box in ((180, 170, 210, 200), (190, 185, 220, 215))]
    made.prefetch(boxes, None)
    assert len(made._ahead) == 1
    finish(made)
    for box in boxes:
        made.segment(box, None)
    assert len(embedded) == 1
    made.close()


def test_what_was_embedded_ahead_costs_a_prompt_nothing(segmenter, scene, embedded):
    segmenter.prefetch(polygons(scene), None)
    finish(segmenter)
    assert len(embedded) == 4
    assert {name.split("_")[0] for name in embedded} == {"embedding"}
    ahead = [segmenter.segment(polygon, None) for polygon in polygons(scene)]
    assert len(embedded) == 4
    alone = Segmenter(scene, folder=segmenter.folder.parent / "alone")
    for polygon, found in zip(polygons(scene), ahead, strict=True):
        np.testing.assert_array_equal(found.mask, alone.segment(polygon, None).mask)


def test_a_prompt_waits_for_one_embedding_at_most_and_the_rest_is_dropped(segmenter, scene, monkeypatch):
    segmenter.segment(polygons(scene)[3], None)
    begun, go = threading.Event(), threading.Event()
    done = []
    embed = SamModel.embed

    def slow(self, piece):
        if threading.current_thread() is not threading.main_thread():
            begun.set()
            go.wait(60)
        done.append(threading.current_thread().name)
        return embed(self, piece)

    monkeypatch.setattr(SamModel, "embed", slow)
    segmenter.prefetch(polygons(scene)[:3], None)
    assert begun.wait(60)
    segmenter.segment(polygons(scene)[3], None)  # in memory: does not wait for what goes on
    assert done == []
    threading.Timer(0.2, go.set).start()
    segmenter.segment(polygons(scene)[2], None)
    segmenter.close()
    assert [name.split("_")[0] for name in done] == ["embedding", "MainThread"]


def test_an_object_longer_than_the_model_sees_is_looked_at_whole(tmp_path):
    """1,500 px in one window, shrunk to the 256 px of the model."""
    rng = np.random.default_rng(2)
    shape = (384, 2000)
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    middle = 190 + 60 * np.sin(cols / 250)
    tongue = (np.abs(rows - middle) < 45 + 15 * np.cos(cols / 130)) & (cols > 250) & (cols < 1750)
    power = 0.03 * np.where(tongue, 4, 1) * rng.gamma(4, 1 / 4, shape)
    grid = Grid(Affine(10, 0, 600_000, 0, -10, 5_200_000), CRS.from_epsg(32632), *shape)
    pixels = 10 * np.log10(power)[None].astype(np.float32)
    scene = Scene(pixels, (Band("VV", "db", "sigma0"),), grid, np.ones(shape, bool))
    box = loose_box(tight_box(tongue), shape)
    found = Segmenter(scene, folder=tmp_path).segment(pixel_polygon(box, grid), None)
    part = tongue[found.window.toslices()]
    assert (found.mask & part).sum() / (found.mask | part).sum() > 0.85


def test_an_object_of_clicks_alone_is_what_holds_them_at_any_threshold(segmenter):
    scene = segmenter.scene
    x, y = scene.grid.transform @ (75.5, 120.5)
    found = segmenter.segment_points([(x, y, True)], None)
    kept = annotate(found, scene.grid, kind="point")
    assert len(connected_objects(found.inside & (found.probability > 0.5), 1)) > 1
    assert len(connected_objects(found.mask, 1)) == len(connected_objects(kept.mask, 1)) == 1
    assert (kept.mask != found.mask).mean() < 0.001
    lower = replace(kept, threshold=0.2).mask
    assert len(connected_objects(lower, 1)) == 1
    assert lower[120, 75]
    assert lower.sum() > kept.pixels


def test_shapes_that_cannot_be_asked_about_are_left_out_ahead(segmenter, scene, embedded):
    outside = pixel_polygon((-90, -90, -50, -50), scene.grid)
    segmenter.prefetch([outside, polygons(scene)[0]], None)
    finish(segmenter)
    assert len(embedded) == 1


def test_what_changed_is_proposed_as_masks(tmp_path):
    hits, base = [], []
    for index in (0, 2):
        scene, debris = avalanche_scene((1093, index), 256)
        segmenter = Segmenter(scene, "sam_tiny_avalanche", tmp_path)
        marked = np.zeros(scene.grid.shape, bool)
        for one in segmenter.proposals():
            marked[one.window.toslices()] |= one.mask
        segmenter.close()
        hits.append(debris[marked] > 0)
        base.append(debris > 0)
    assert np.concatenate(hits).mean() > 3 * np.mean(base) > 0


def test_weights_of_the_gate_lie_where_the_model_looked(tmp_path):
    whole = avalanche_scene((31, 1), 384)[0]
    made = Segmenter(whole, "sam_tiny_avalanche", folder=tmp_path / "embeddings")
    assert made.has_gate
    polygon = pixel_polygon((230, 220, 260, 250), whole.grid)
    weights = made.gate_weights(polygon, None)
    assert weights.bands[0].units == "1"
    assert 0 <= weights.pixels.min() < weights.pixels.max() <= 1
    window = made.predictor.windows(polygon, None)[-1]
    assert (window.col_off, window.row_off) == (128, 128)
    corner = ~whole.grid.transform @ weights.grid.transform
    assert (corner.c, corner.f) == pytest.approx((window.col_off, window.row_off))
    assert corner.a * weights.grid.width == pytest.approx(window.width, abs=corner.a)
    made.use("sam_tiny_base")
    assert not made.has_gate
