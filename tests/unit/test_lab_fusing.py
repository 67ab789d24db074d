"""The notebook on fusion: mixtures and gates do what they say, pictures and tables follow what they show."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sartutor.errors import DataError
from sartutor.lab import aligning, fusing, plots
from sartutor.learn.evaluate import Part
from sartutor.learn.models import at_phase, load_model
from sartutor.learn.sam.baselines import fill_boxes
from sartutor.learn.sam.fusion import fused
from sartutor.presets import FUSING_SIZES, BenchmarkSizes
from sartutor.sar.boxes import full_box
from sartutor.sim.benchmark import write_benchmark

SMALL = FUSING_SIZES["smoke"]


@pytest.fixture(scope="module")
def known(six_bands, three_phases):
    return aligning.lesson(str(six_bands), "smoke", 0, SMALL, three_phases)


@pytest.fixture(scope="module")
def asked(known):
    return fusing.asked_about(known)


@pytest.fixture(scope="module")
def batch(known, asked):
    return aligning.windows_of(known, aligning.seen_objects(asked), 1)


@pytest.fixture(scope="module")
def embeddings(known, batch):
    return fusing.both_embeddings(known.sam, batch["image"])


def test_a_share_of_nothing_is_the_first_encoder_and_of_all_the_second(embeddings):
    for share, wanted in ((0.0, embeddings[0]), (1.0, embeddings[1])):
        found = fused(embeddings, fusing.shares(embeddings[0][0], share))
        assert all(torch.allclose(a, b) for a, b in zip(found, wanted, strict=True))


def test_the_ends_of_the_mixing_curve_are_the_encoders_alone(known, batch, embeddings):
    sam = at_phase(known.model, 1).sam
    curve = fusing.mixing_curve(sam, embeddings, batch, (0, 1))
    assert curve[0] == pytest.approx(aligning.mean_iou(sam, batch), abs=1e-5)
    assert curve[1] == pytest.approx(fusing.batch_iou(sam, embeddings[1], batch), abs=1e-6)


def test_a_copy_at_another_phase_leaves_the_model_as_it_was(known):
    before = known.sam.phase
    assert at_phase(known.model, 1).sam.phase == 1
    assert known.sam.phase == before == 3


def test_fusion_starts_from_both_encoders_the_first_decoder_and_a_new_gate(known, tmp_path):
    start = fusing.start_of_fusion(known.model)
    states = start.sam.state_dict(), known.sam.state_dict()
    same = {name for name in states[0] if torch.equal(states[0][name], states[1][name])}
    assert all(name in same for name in states[0] if name.startswith(("branches.", "mask_decoder.")))
    assert "gate.layers.0.weight" not in same
    decoder = start.sam.mask_decoder.state_dict()
    assert all(
        torch.equal(value, decoder[name]) for name, value in start.sam.fusion_decoder.state_dict().items()
    )
    again = load_model(aligning.save_model(start, tmp_path / "start.safetensors"))
    assert again.about["phases"] == [1, 2]


def test_weights_cover_the_tokens_of_a_scene_without_its_padding(known, asked):
    scene = asked[0].scene
    weights = fusing.gate_weights(known.model, scene)
    assert weights.shape == (16, 16)
    assert 0 < weights.min() <= weights.max() < 1


def test_token_means_are_of_what_each_token_sees():
    values = np.zeros((32, 32))
    values[:16, 16:] = 1
    assert fusing.token_means(values, 32, 16).tolist() == [[0, 1], [0, 0]]


def test_local_contrast_is_at_edges_and_nowhere_on_even_ground():
    values = np.zeros((20, 40))
    values[:, 20:] = 2
    found = fusing.local_contrast(values, 4)
    assert found[10, 20] == pytest.approx(1)
    assert found[10, 5] == found[10, 35] == 0


def test_trust_finds_a_weight_that_follows_a_band(known, asked):
    sam = known.sam
    change = aligning.calm_change(asked[0].scene, known.model.branches[0])
    follows = fusing.token_means(change, sam.size.image_size, sam.size.patch)
    found = fusing.trust(known, asked[:1], {asked[0].id: follows}, {asked[0].id: None})
    assert found["change in VV"] == [pytest.approx(1)]
    assert "shadow" not in found


def test_live_pictures_say_the_numbers_they_show(known, batch, embeddings):
    earlier = fusing.LiveFusion("first", batch, embeddings, {"phase 1": 0.5})
    earlier.look(known.sam, 0)
    live = fusing.LiveFusion("gate", batch, embeddings, {"phase 1": 0.5}, [earlier])
    live.look(known.sam, 7)
    assert live.ious == earlier.ious
    assert 0 < live.weights[0] < 1
    assert f"gate: after 7 steps IoU {live.ious[0]:.3f}" in live.widget.value


def test_the_mixture_by_hand_moves_with_its_slider(known, batch, embeddings):
    box = fusing.mix_explorer(known.sam, batch, embeddings)
    controls, picture = box.children
    before = picture.value
    controls.children[0].value = 1.0
    assert "by hand, 1.0: IoU" in picture.value != before


def test_scenes_and_failures_are_shown(known, asked):
    question = asked[0]
    weights = {question.id: fusing.gate_weights(known.model, question.scene)}
    box = fusing.scene_explorer(known, [question], weights, {question.id: None})
    assert f"VH counts {weights[question.id].mean():.2f}" in box.children[1].value
    objects = aligning.seen_objects(asked)
    ious = np.array([fusing.object_counts(each, fill_boxes).iou for each in objects])
    failures = fusing.failure_explorer(known, objects, ious, fill_boxes)
    assert f"IoU {ious.min():.2f};" in failures.children[1].value
    failures.children[0].children[2].value = 7
    assert "There are" in failures.children[1].value


def test_an_answer_is_remembered_for_an_image_and_its_boxes(asked):
    calls = []

    def answer(scene, boxes):
        calls.append(scene.name)
        return fill_boxes(scene, boxes)

    again, question = fusing.remembered(answer), asked[0]
    one, two = (again(question.scene, question.boxes) for _ in range(2))
    again(question.scene, [full_box(question.scene.grid.shape)])
    assert one is two
    assert len(calls) == 2


def test_the_worst_of_a_class_come_first():
    objects = [
        SimpleNamespace(part=Part((0, 0, 1, 1), pixels, slope))
        for pixels, slope in ((60, 5.0), (60, 20.0), (500, 5.0))
    ]
    ious = np.array([0.5, 0.2, 0.1])
    assert fusing.worst_of(objects, ious) == [2, 1, 0]
    assert fusing.worst_of(objects, ious, "small") == [1, 0]
    assert fusing.worst_of(objects, ious, "small", "flat") == [0]


def test_a_grid_costs_nothing_where_the_mask_is_made_of_its_cells():
    mask = np.zeros((10, 12), bool)
    mask[4:8, 4:12] = True
    assert fusing.grid_ceiling(mask, 4) == 1
    mask[0:3, 0:4] = True  # three quarters of a cell, which is filled
    assert fusing.grid_ceiling(mask, 4) == pytest.approx(44 / 48)
    assert fusing.grid_ceiling(mask, 1) == 1


def test_difficult_scenes_hold_no_debris_and_what_their_name_says():
    empty = fusing.difficulties(0, 1, 64)
    assert [each.name for each in empty] == [
        "none",
        "field work",
        "wet snow line",
        "old debris",
        "layover edges",
        "ice",
    ]
    assert [bool(each.confused.any()) for each in empty] == [False] + [True] * 5

    def on_it(scene, boxes):
        return next(each.confused for each in empty if each.scene is scene)

    assert fusing.false_shares(on_it, empty) == {
        each.name: (0.0 if each.name == "none" else 1.0, 0.0) for each in empty
    }


def test_the_world_behind_an_image_is_the_one_that_it_was_made_of(known, tmp_path):
    assert fusing.world_of(known, known.folder.ids("test")[0]) is None
    made = write_benchmark(
        tmp_path, aligning.NOTEBOOK_BENCHMARKS, BenchmarkSizes(64, 1, 1, 2), progress=False
    )
    simulated = aligning.Lesson(known.model, made, "test", "synthetic", "")
    for id in made.ids("test"):
        world = fusing.world_of(simulated, id)
        assert np.array_equal(world.labels > 0, made.mask(id) == 1)
        assert np.allclose(world.height, made.scene(id).band("DEM"))


def test_records_become_means_with_intervals_and_a_picture():
    records = [
        {"configuration": name, "seed": seed, "data": "d", "values": {"iou_box": value}}
        for name, values in (("phase3", (0.5, 0.7)), ("unet", (0.4,)))
        for seed, value in enumerate(values)
    ]
    means = fusing.recorded_means(records, "iou_box")
    assert list(means) == ["phase3", "unet"]
    assert means["phase3"] == (pytest.approx(0.6), pytest.approx(12.706 * 0.1, rel=1e-3), 2)
    assert means["unet"][1:] == (0, 1)
    axes = plots.panels(1)[0]
    fusing.show_records(axes, means, "iou_box")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["unet", "phase3"]


def test_a_model_without_a_gate_is_refused(known):
    start = fusing.start_of_fusion(known.model)
    with pytest.raises(DataError, match="has no trained gate"):
        fusing.refuse_without_gate(aligning.Lesson(start, known.folder, "test", "k", "c"))
    fusing.refuse_without_gate(known)
