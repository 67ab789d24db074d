"""What the notebook on adapters shows: inner pictures of the model, loosened prompts, references, a live picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from affine import Affine
from torch import nn

from sartutor.lab import adapting
from sartutor.learn.evaluate import Part, Question
from sartutor.learn.models import load_model
from sartutor.learn.sam.adapted import AdaptedSam
from sartutor.learn.sam.model import RadarSam
from sartutor.learn.sam.samples import MOST_BOXES
from sartutor.learn.scores import Counts, ImageScore, ObjectScore
from sartutor.presets import BenchmarkSizes
from sartutor.sar.scene import Band, Grid, Scene


@pytest.fixture(scope="module")
def sam() -> RadarSam:
    found = load_model("sam_tiny_base").sam
    assert isinstance(found, RadarSam)
    return found


def a_question(side: int = 40) -> Question:
    """Two objects of 8 x 8 and 4 x 4 px, six columns apart, on an image of two dates."""
    truth = np.zeros((side, side), bool)
    truth[10:18, 10:18] = truth[10:14, 24:28] = True
    pixels = np.stack([np.full((side, side), -15.0), np.where(truth, -8.0, -15.0)]).astype(np.float32)
    grid = Grid(Affine.identity(), None, side, side)
    scene = Scene(pixels, (Band("VV0", "db"), Band("VV1", "db")), grid, np.ones((side, side), bool), "two")
    parts = (Part((10.0, 10.0, 18.0, 18.0), 64, None), Part((24.0, 10.0, 28.0, 14.0), 16, None))
    return Question(
        "two", scene, tuple(part.box for part in parts), truth, np.ones((side, side), bool), parts
    )


def fill(scene: Scene, boxes: object) -> np.ndarray:
    return np.ones(scene.grid.shape, bool)


def an_image(name: str, *ious: float) -> ImageScore:
    """An image whose objects have these IoU, in hundredths."""
    parts = [
        ObjectScore(
            name, (0.0, 0.0, 1.0, 1.0), 100, None, Counts(round(100 * each), 0, 100 - round(100 * each))
        )
        for each in ious
    ]
    return ImageScore(name, 1000, Counts(1, 0, 0), tuple(parts))


def a_batch() -> dict[str, torch.Tensor]:
    """One image that changed in three eighths of one box."""
    image = torch.full((1, 1, 3, 256, 256), 0.3)
    target = torch.zeros(1, 256, 256, dtype=torch.bool)
    target[:, 80:112, 72:120] = True
    image[:, 0, 1][target] = 0.8
    box = torch.full((1, MOST_BOXES, 4), -1.0)
    box[0, 0] = torch.tensor([64.0, 64.0, 128.0, 128.0])
    known, points = torch.ones_like(target), torch.full((1, 2, 3), -1.0)
    return {"image": image.half(), "target": target, "known": known, "box": box, "points": points}


def test_listening_hears_every_call_and_stops_afterwards():
    layer = nn.Linear(2, 3)
    with adapting.listening({"layer": layer}) as heard:
        first, second = layer(torch.ones(1, 2)), layer(torch.zeros(1, 2))
    layer(torch.ones(1, 2))
    assert [torch.equal(a, b) for a, b in zip(heard["layer"], (first, second), strict=True)] == [True, True]


def test_maps_go_from_patches_through_all_blocks_to_the_embedding(sam: RadarSam):
    image = torch.rand(3, 256, 256, generator=torch.Generator().manual_seed(0))
    maps = adapting.token_maps(sam, image)
    assert list(maps) == ["patches", *(f"block {i + 1}" for i in range(sam.size.depth)), "embedding"]
    assert {tuple(each.shape) for name, each in maps.items() if name != "embedding"} == {
        (sam.size.width, 16, 16)
    }
    with torch.no_grad():
        assert torch.equal(maps["embedding"], sam.encode(image[None])[0][0])
    figure = adapting.draw_depth(image, maps["block 2"], "block 2")
    assert "block 2" in str(figure.get_label())


def test_maps_of_an_adapted_encoder_start_alike_and_differ_once_it_has_learned(sam: RadarSam):
    adapted = AdaptedSam(sam, branches=1)
    image = torch.rand(3, 256, 256, generator=torch.Generator().manual_seed(0))
    plain = adapting.token_maps(sam, image)
    assert torch.equal(
        adapting.token_maps(adapted.base, image, adapted.branches[0])["embedding"], plain["embedding"]
    )
    nn.init.ones_(adapted.branches[0].adapters[0].mlp.up.bias)
    changed = adapting.token_maps(adapted.base, image, adapted.branches[0])
    assert torch.equal(changed["patches"], plain["patches"])
    assert not torch.equal(changed["block 1"], plain["block 1"])


def test_objects_come_from_every_image_in_turn():
    one, other = a_question(), a_question()
    assert [each.question for each in adapting.debris([one, other], 3)] == [one, other, one]
    assert len(adapting.debris([one, other])) == 4


def test_a_loosened_box_asks_for_all_debris_in_it_and_nothing_outside():
    one = adapting.debris([a_question()])[0]
    box, marked, counts = adapting.loosened(fill, one, 0)
    assert box == (10.0, 10.0, 18.0, 18.0)
    assert (counts.hits, counts.extra, counts.missed) == (64, 0, 0)
    assert marked.all()
    box, _, counts = adapting.loosened(fill, one, 7)
    assert box == (3.0, 3.0, 25.0, 25.0)
    assert (counts.hits, counts.extra) == (64 + 4, 22 * 22 - 68)  # one column of the second object
    found = adapting.robustness({"fill": fill}, [one], (0, 7))["fill"]
    assert np.allclose(found, [[1, 68 / 484]])
    label = str(adapting.draw_prompt(fill, one, 7, ("VV0", "VV1")).get_label())
    assert "68 pixels hit" in label
    assert "416 too many" in label


def test_the_explorer_redraws_when_a_box_is_loosened():
    shown = adapting.prompt_explorer({"fill": fill}, adapting.debris([a_question()]), ("VV0", "VV1"))
    controls, picture = shown.children
    before = picture.value
    controls.children[0].value = 30
    assert picture.value != before
    assert "loosened by 30 px" in picture.value


def test_a_gain_that_every_image_shows_is_sure_and_one_that_a_single_image_shows_is_not():
    worse = [an_image(str(i), 0.4, 0.5) for i in range(6)]
    better = [an_image(str(i), 0.5, 0.6) for i in range(6)]
    lucky = [an_image("0", 0.9, 0.9), *worse[1:]]
    scores = {"worse": worse, "better": better, "lucky": lucky}
    assert np.allclose(adapting.gain_interval(scores, "better", "worse"), 0.1)
    mean, low, high = adapting.gain_interval(scores, "lucky", "worse")
    assert mean == pytest.approx(0.9 / 12)
    assert low <= 0 < high
    assert np.allclose(adapting.object_ious(worse), [0.4, 0.5] * 6)


def test_dice_hardly_pulls_at_an_empty_mask_and_cross_entropy_does():
    pulls = adapting.empty_gradients([0.5, 0.9])
    assert pulls["bce"] == pytest.approx([0.5, 0.9])
    assert max(pulls["dice"]) < 1e-5 * min(pulls["bce"])


def test_references_are_those_of_the_boxes():
    found = adapting.batch_references(a_batch(), ("VV0", "VV1", "DEM"))
    assert found["fill the box"] == pytest.approx(0.375)
    assert found["Otsu in the box"] == pytest.approx(1.0)
    alone = adapting.batch_references(
        a_batch(), ("HV", "HH", "DEM")
    )  # no dates: the first band, which is even
    assert alone["Otsu in the box"] == 0


def test_the_live_picture_follows_the_model(sam: RadarSam):
    live = adapting.LiveAdapting(a_batch(), {"fill the box": 0.5})
    model = AdaptedSam(sam, branches=1)
    live.look(model, 0)
    first = live.widget.value
    nn.init.constant_(model.mask_decoder.output_upscaling.to_full.bias, 5.0)
    live.look(model, 7)
    assert live.steps == [0, 7]
    assert all(0 <= each <= 1 for each in live.ious)
    assert "After 7 steps" in live.widget.value
    assert live.widget.value != first


def test_scenes_are_made_once_and_a_folder_of_ones_own_is_taken_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    known = adapting.lesson("synthetic", "smoke", 0, BenchmarkSizes(64, 1, 1, 1))
    assert known.folder.ids("train")
    assert known.key == "synthetic"
    assert (tmp_path / "runs" / "smoke" / "synthetic" / "07-scenes-0" / "dataset.yaml").is_file()
    own = adapting.lesson(str(known.folder.folder), "smoke", 0, BenchmarkSizes(64, 1, 1, 1))
    assert (own.split, own.key) == ("test", "07-scenes-0")


def test_records_are_quoted_where_they_exist():
    records = [
        {"configuration": "phase1", "values": {"iou_box": 0.5}},
        {"configuration": "phase1", "values": {"iou_box": 0.6, "iou_small": None}},
        {"configuration": "tight", "values": {"iou_box": 0.4}},
    ]
    assert adapting.recorded_mean(records, "phase1", "iou_box") == pytest.approx(0.55)
    assert adapting.recorded_mean(records, "phase1", "iou_small") is None
    assert adapting.recorded_mean([], "phase1", "iou_box") is None
