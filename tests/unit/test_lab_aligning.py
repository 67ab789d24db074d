"""The notebook on the second encoder: measures of likeness do what they say, pictures follow the models they show."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from adapting import recipe, write_folder

from sartutor.errors import DataError
from sartutor.lab import aligning, plots
from sartutor.learn.adapt import adapt
from sartutor.learn.evaluate import Part, sam_answer
from sartutor.learn.loop import Watch
from sartutor.learn.models import load_model
from sartutor.learn.sam.baselines import fill_boxes
from sartutor.learn.sam.samples import PromptedImages, box_targets
from sartutor.learn.scores import class_of
from sartutor.presets import ALIGNING_SIZES

SMALL = ALIGNING_SIZES["smoke"]


@pytest.fixture
def known(six_bands, two_phases):
    return aligning.lesson(str(six_bands), "smoke", 0, SMALL, two_phases)


@pytest.fixture
def asked(known):
    return aligning.ask(known)


def tokens(seed, count=60, channels=8):
    return torch.randn(count, channels, generator=torch.Generator().manual_seed(seed))


def rotation(channels=8):
    return torch.linalg.qr(tokens(7, channels, channels))[0]


def test_cka_is_one_for_a_turned_and_scaled_copy_and_symmetric():
    x, y = tokens(0), tokens(1)
    assert aligning.linear_cka(x, 3 * x @ rotation() + 5) == pytest.approx(1)
    assert aligning.linear_cka(x, y) == pytest.approx(aligning.linear_cka(y, x))


def test_cka_of_unrelated_tokens_is_small_and_of_orthogonal_ones_zero():
    assert aligning.linear_cka(tokens(0, 5000), tokens(1, 5000)) < 0.01
    x, y = torch.tensor([[1.0], [1], [-1], [-1]]), torch.tensor([[1.0], [-1], [1], [-1]])
    assert aligning.linear_cka(x, y) == pytest.approx(0)


def test_the_cosine_sees_a_turn_but_no_scale_and_can_leave_out_what_all_have_in_common():
    x = tokens(0)
    assert torch.allclose(aligning.cosine_similarity(x, 2 * x), torch.ones(60))
    assert float(aligning.cosine_similarity(x, x @ rotation()).mean()) < 0.9
    common = 100 * torch.ones(8)
    one, other = tokens(0, 2000) + common, tokens(1, 2000) + common
    assert float(aligning.cosine_similarity(one, other).mean()) > 0.99
    assert abs(float(aligning.cosine_similarity(one, other, common).mean())) < 0.05


def test_principal_axes_are_the_directions_of_most_difference():
    spread = torch.tensor([0.1, 5.0, 0.1, 1.0])
    mean, axes = aligning.principal_axes(tokens(0, 500, 4) * spread + 3, 2)
    assert axes.shape == (4, 2)
    assert abs(float(axes[1, 0])) > 0.99
    assert abs(float(axes[3, 1])) > 0.9
    assert torch.allclose(mean, torch.full((4,), 3.0), atol=0.6)


def test_an_object_stands_out_in_standard_deviations_of_its_ring_and_not_of_what_is_far_or_unknown():
    rng = np.random.default_rng(0)
    mask = np.zeros((60, 60), bool)
    mask[25:35, 25:35] = True
    values = rng.normal(0, 2, mask.shape) + 6 * mask
    assert aligning.stands_out(values, mask, ~mask) == pytest.approx(3, abs=0.3)
    far, unknown = values.copy(), ~mask
    far[:8] = 1e6
    far[25:35, 38] = 1e6
    unknown[25:35, 38] = False
    assert aligning.stands_out(far, mask, unknown) == pytest.approx(3, abs=0.4)
    assert aligning.stands_out(-values, mask, ~mask) < -2.5


def test_calm_change_averages_power_and_leaves_out_what_is_no_data(asked):
    scene = asked[0].scene
    pixels = np.full_like(scene.pixels, -10.0)
    pixels[scene.band_names.index("VV1")] = -7.0
    pixels[scene.band_names.index("VV1"), :, 50:] = np.nan
    valid = np.isfinite(pixels).all(0)
    change = aligning.calm_change(replace(scene, pixels=pixels, valid=valid), ("VV0", "VV1", "DEM"))
    assert np.allclose(change[:, :50], 3, atol=1e-3)
    one_date = aligning.calm_change(replace(scene, pixels=pixels, valid=valid), ("VV0", "DEM"))
    assert np.allclose(one_date[:, :50], -10, atol=1e-3)


def test_objects_come_in_the_order_of_their_scores(known, asked):
    objects = aligning.seen_objects(asked)
    scores = aligning.object_scores(asked, fill_boxes)
    assert len(objects) == len(scores) > 0
    assert [each.part.box for each in objects] == [score.box for score in scores]
    assert all(each.mask.sum() == each.part.pixels for each in objects)
    assert aligning.contrasts(objects, known.model).shape == (len(objects), 2)


def test_windows_come_from_every_image_in_turn_and_boxes_share_them(two_phases, tmp_path):
    folder = write_folder(tmp_path / "two", splits="train train val test test").folder
    known = aligning.lesson(str(folder), "smoke", 0, SMALL, two_phases)
    assert known.model.scales == ("chip",)
    asked = aligning.ask(known)
    objects = aligning.seen_objects(asked)
    assert len(asked) == 2
    assert objects[0].question is objects[1].question  # so that the first two would be of one image
    few = aligning.windows_of(known, objects, 2)
    assert len(few["image"]) == len(box_targets(few)[1]) == 2
    everything = aligning.windows_of(known, objects, len(objects))
    place, boxes, target, _ = box_targets(everything)
    assert len(everything["image"]) == len(place.unique()) == 2
    assert len(boxes) == sum(len(question.boxes) for question in asked)
    assert (target.sum((-2, -1)) > 0).all()


def test_turns_end_with_the_longest_row():
    assert aligning.in_turns(["ad", "b", "cef"]) == list("abcdef")


def test_alignment_starts_from_the_base_behind_the_decoder_of_phase_1(known):
    start = aligning.start_of_alignment(known.model)
    images = torch.rand(1, 2, 3, 256, 256)
    with torch.no_grad():
        new, base = start.sam.encode_branch(images, 1), known.sam.base.encode(images[:, 1])
        first, same = start.sam.encode_branch(images, 0), known.sam.encode_branch(images, 0)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(new, base, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(first, same, strict=True))
    states = start.sam.mask_decoder.state_dict(), known.sam.mask_decoder.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert start.sam.phase == 2


def test_the_start_can_be_aligned_and_watched(known, tmp_path):
    begin = aligning.save_model(aligning.start_of_alignment(known.model), tmp_path / "begin.safetensors")
    assert load_model(begin).about["phases"] == [1]
    live = aligning.LiveAlignment("by masks", aligning.watched_batch(known, 2, 0), {"the first": 0.5})
    done = adapt(
        known.folder.folder, tmp_path / "out.safetensors", init=begin, phases=[2], recipe=recipe(),
        device="cpu", watch=Watch(1, live.look), progress=False,
    )  # fmt: skip
    assert live.steps == [1, 2]
    assert f"after 2 steps IoU {live.ious[-1]:.2f}" in live.widget.value
    assert load_model(done.out).about["phases"] == [1, 2]


def test_a_free_decoder_learns_along_and_a_model_is_never_changed_by_its_copy(known):
    start = aligning.start_of_alignment(known.model)
    before = {name: value.clone() for name, value in start.sam.state_dict().items()}
    samples = PromptedImages(known.folder, "train", known.model.branches, 256, 2, 0, known.model.scales)
    free = aligning.train_with_decoder(start, samples, 1, 2, 1e-3)
    assert all(torch.equal(value, before[name]) for name, value in start.sam.state_dict().items())
    changed = {name for name, value in free.sam.state_dict().items() if not torch.equal(value, before[name])}
    assert any(name.startswith("mask_decoder.") for name in changed)
    assert all(name.startswith(("mask_decoder.", "branches.1.")) for name in changed)


def test_the_mirrored_answer_is_mirrored_back(known, asked, monkeypatch):
    def left_part(model, folder):
        def answer(scene, boxes):
            marked = np.zeros(scene.grid.shape, bool)
            for x0, y0, x1, y1 in boxes:
                marked[int(y0) : int(y1), int(x0) : int((x0 + x1) / 2)] = True
            return marked

        return answer

    monkeypatch.setattr(aligning, "sam_answer", left_part)
    scene = asked[0].scene
    found = aligning.mirrored_answer(known)(scene, [(10.0, 20.0, 30.0, 40.0)])
    wanted = np.zeros(scene.grid.shape, bool)
    wanted[20:40, 20:30] = True
    assert np.array_equal(found, wanted)


def test_likeness_of_an_encoder_with_itself_is_one(known, asked):
    batch = aligning.windows_of(known, aligning.seen_objects(asked), 1)
    image = batch["image"][:, :1].expand(-1, 2, -1, -1, -1)
    twin = aligning.with_second(known.model, known.sam.branches[0])
    twins, others = aligning.likeness(twin.sam, image), aligning.likeness(known.sam, image)
    assert twins["tokens"] == pytest.approx(1, abs=1e-4)
    assert 1 - others["tokens"] > 10 * abs(1 - twins["tokens"])
    assert list(twins) == ["tokens", "details"]


def test_pictures_say_what_they_show(known, asked):
    objects = aligning.seen_objects(asked)
    box = aligning.band_explorer(known, objects)
    (_, size), picture = box.children[0].children, box.children[1]
    assert f"An object of {objects[0].part.pixels} px" in picture.value
    before = picture.value
    size.value = 1
    assert picture.value != before
    panels = plots.panels(2)
    aligning.show_answers(
        panels, known, objects[0], {"box": fill_boxes, "model": sam_answer(known.model, known.folder)}
    )
    assert panels[0].get_title().startswith("box: IoU 0.")
    batch = aligning.windows_of(known, objects, 1)
    with torch.no_grad():
        tokens = known.sam.encode_branch(batch["image"].float(), 0)[0]
    space = aligning.principal_axes(aligning.as_rows(tokens))
    explored = aligning.space_explorer(
        {"a": known.sam.branches[0], "b": known.sam.branches[1]}, known, batch, space
    )
    assert "mean cosine" in explored.children[1].value


def test_classes_take_each_object_once_and_none_without_a_value():
    parts = [Part((0, 0, 1, 1), pixels, slope) for pixels, slope in ((60, 5.0), (200, 20.0), (9000, None))]
    sizes, slopes = {"less": (0, 100), "more": (100, np.inf)}, {"flat": (0, 15), "sloping": (15, 30)}
    by_size = aligning.by_class(parts, np.arange(3.0), sizes, "pixels")
    assert {name: list(values) for name, values in by_size.items()} == {"less": [0], "more": [1, 2]}
    by_slope = aligning.by_class(parts, np.arange(3.0), slopes, "slope")
    assert {name: list(values) for name, values in by_slope.items()} == {"flat": [0], "sloping": [1]}
    assert [class_of(part.slope, slopes) for part in parts] == ["flat", "sloping", None]


def test_rank_correlation_needs_something_that_varies():
    assert aligning.rank_correlation(np.array([1.0, 2, 9]), np.array([0.0, 5, 6])) == pytest.approx(1)
    assert aligning.rank_correlation(np.array([1.0, 1, 1]), np.array([0.0, 5, 6])) is None
    assert aligning.rank_correlation(np.array([1.0, 2]), np.array([0.0, 5])) is None


def test_a_folder_without_the_bands_or_a_test_split_is_refused(two_phases, tmp_path):
    other = write_folder(tmp_path / "other", ("HH0", "HH1", "DEM"))
    with pytest.raises(DataError, match=r"has no band VV0.*adapt a model to your bands"):
        aligning.lesson(str(other.folder), "smoke", 0, SMALL, two_phases)
    untested = write_folder(tmp_path / "untested", splits="train val")
    with pytest.raises(DataError, match="has no test images"):
        aligning.lesson(str(untested.folder), "smoke", 0, SMALL, two_phases)


def test_a_model_of_one_encoder_is_refused():
    with pytest.raises(DataError, match="has one encoder"):
        aligning.lesson("synthetic", "smoke", 0, SMALL, "sam_tiny_base")


def test_recorded_rows_are_named_and_left_out_where_there_are_none():
    records = [
        {"configuration": "phase1", "values": {"iou_box": 0.5}},
        {"configuration": "phase1", "values": {"iou_box": 0.7}},
        {"configuration": "phase2", "values": {"iou_flat": 0.1}},
    ]
    rows = aligning.recorded_rows(records, {"phase1": "VV", "phase2": "VH"}, "iou_box")
    assert {title: list(values) for title, values in rows.items()} == {"VV": [0.5, 0.7]}
