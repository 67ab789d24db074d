"""Adaptation: phases build on each other, go on where they stopped, and leave a model that loads by its path."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from adapting import SIX, drawn, recipe, write_folder

from sartutor.errors import CheckpointError, DataError, OutputError, SarTutorError
from sartutor.learn import adapt as adapting
from sartutor.learn.adapt import Method, adapt, planned_phases
from sartutor.learn.checkpoints import file_digest, load_tensors, save_tensors
from sartutor.learn.curves import read_curve
from sartutor.learn.evaluate import sam_answer
from sartutor.learn.loop import Watch
from sartutor.learn.models import load_model
from sartutor.learn.sam import encoder as encoder_module
from sartutor.learn.sam.adapted import AdaptedSam
from sartutor.learn.sam.evaluate import pixel_polygon
from sartutor.learn.sam.model import RadarSam
from sartutor.learn.sam.predictor import Predictor
from sartutor.presets import ADAPT_RECIPES, SAM_SIZES
from sartutor.sar.folder import open_dataset, write_labels
from sartutor.sar.geotiff import write_scene


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("six")).folder


@pytest.fixture(scope="module")
def adapted(folder, tmp_path_factory):
    """All three phases, two steps each."""
    out = tmp_path_factory.mktemp("runs") / "a.safetensors"
    return adapt(folder, out, recipe=recipe(), device="cpu", progress=False)


def run(folder, out, **more):
    return adapt(folder, out, recipe=more.pop("recipe", recipe()), device="cpu", progress=False, **more)


def test_three_phases_become_one_checkpoint(adapted):
    assert adapted.phases == adapted.ran == (1, 2, 3)
    assert adapted.steps == (2, 2, 2)
    assert all(0 <= value <= 1 for value in adapted.val_iou)
    about = load_tensors(adapted.out)[1]
    assert (about["base"], about["phases"]) == ("sam_tiny_base", [1, 2, 3])
    assert [name for name, low, high in about["branches"][0]] == ["VV0", "VV1", "DEM"]
    left = {path.name for path in adapted.out.parent.iterdir() if path.suffix == ".safetensors"}
    assert left == {"a.safetensors"}


def test_it_loads_and_segments_a_scene(adapted):
    model = load_model(adapted.out)
    assert isinstance(model.sam, AdaptedSam)
    scene, mask = drawn(9, SIX)
    rows, cols = np.nonzero(mask)
    box = (cols.min() - 4.0, rows.min() - 4.0, cols.max() + 4.0, rows.max() + 4.0)
    found = Predictor(model, scene).segment(pixel_polygon(box, scene.grid))
    truth = mask[found.window.toslices()] > 0
    assert (found.mask & truth).sum() / (found.mask | truth).sum() > 0.5


def test_bands_are_found_by_name_or_else_by_order(adapted):
    model = load_model(adapted.out)
    scene = drawn(3, SIX)[0]
    shuffled = scene.select(SIX[::-1])
    named = tuple(replace(band, name=f"B{i}") for i, band in enumerate(scene.bands))
    expected = model.images(scene)
    assert torch.equal(model.images(shuffled), expected)
    assert torch.equal(model.images(replace(scene, bands=named)), expected)
    with pytest.raises(DataError, match="needs VV0, VV1, VH0, VH1, DEM, slope"):
        model.images(scene.select(("VV0", "VV1")))


def test_the_second_phase_leaves_the_first_as_it_was(folder, tmp_path):
    one = run(folder, tmp_path / "one.safetensors", phases=[1])
    two = run(folder, tmp_path / "two.safetensors", phases=[2], init=one.out)
    before, after = (load_tensors(made.out)[0] for made in (one, two))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith("branches.1.") for name in changed)
    assert two.phases == (1, 2)
    assert two.ran == (2,)


def test_phases_one_by_one_are_the_phases_at_once(folder, adapted, tmp_path):
    made = run(folder, tmp_path / "1.safetensors", phases=[1])
    for phase in (2, 3):
        made = run(folder, tmp_path / f"{phase}.safetensors", phases=[phase], init=made.out)
    (whole, about), (parts, said) = (load_tensors(path) for path in (adapted.out, made.out))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert said["phase"] == about["phase"]
    job = adapting._Job(
        open_dataset(folder),
        load_model(adapted.out).branches,
        recipe(),
        Method(scales=("chip",)),
        0,
        "cpu",
        None,
        False,
    )
    assert job.judge(load_model(made.out).sam, 1) == pytest.approx(adapted.val_iou[0], abs=1e-6)


@pytest.mark.parametrize(("earlier", "answers"), [(0.0, 3), (1.0, 1)])
def test_fusion_that_is_learned_later_is_compared_with_the_first_encoder_too(
    folder, adapted, tmp_path, monkeypatch, earlier, answers
):
    judged = []
    monkeypatch.setattr(adapting._Job, "judge", lambda job, model, phase: judged.append(phase) or earlier)
    again = run(folder, tmp_path / "3.safetensors", phases=[3], init=adapted.out)
    assert (again.phase, judged) == (answers, [1])


def test_an_interrupted_run_ends_as_if_it_had_not_been(folder, adapted, tmp_path):
    out = tmp_path / "a.safetensors"
    for stop in (1, 2):  # in the first phase, then in the second
        seen = []

        def look(model, step, seen=seen, stop=stop):
            seen.append(step)
            if len(seen) == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(folder, out, watch=Watch(1, look))
    run(folder, out)
    whole, resumed = (load_tensors(path)[0] for path in (adapted.out, out))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_what_was_only_validated_is_not_done(folder, tmp_path):
    out = tmp_path / "a.safetensors"
    sizes = recipe(4, save_every=100)
    sizes = replace(sizes, phases=(replace(sizes.phases[0], check_every=1),) * 3)

    def stop(model, step):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(folder, out, recipe=sizes, phases=[1], watch=Watch(3, stop))
    with pytest.raises(CheckpointError, match=r"a\.phase1\.safetensors is of a run that has not ended; run"):
        load_model(tmp_path / "a.phase1.safetensors")
    assert run(folder, out, recipe=sizes, phases=[1]).steps == (4,)


def stopped(folder, out, **more):
    """A run of phase 1 that is interrupted after the second of four steps."""

    def stop(model, step):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(folder, out, recipe=recipe(4), phases=[1], watch=Watch(2, stop), **more)


def test_a_phase_whose_state_is_gone_before_it_ended_is_not_done(folder, tmp_path):
    out = tmp_path / "a.safetensors"
    stopped(folder, out)
    (tmp_path / "a.phase1.state.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"a\.phase1\.safetensors is of a run that did not end"):
        run(folder, out, recipe=recipe(4), phases=[1])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (Path.unlink, r"a\.phase1\.curve\.json ends before step 1"),
        (lambda path: path.write_text('{"loss": [0.1'), r"a\.phase1\.curve\.json is damaged"),
    ],
)
def test_a_curve_that_is_gone_or_damaged_is_said(folder, tmp_path, change, said):
    out = tmp_path / "a.safetensors"
    stopped(folder, out)
    change(tmp_path / "a.phase1.curve.json")
    with pytest.raises(CheckpointError, match=said):
        run(folder, out, recipe=recipe(4), phases=[1])


def test_a_stopped_run_does_not_go_on_with_another_folder(folder, tmp_path):
    stopped(folder, tmp_path / "a.safetensors")
    other = write_folder(tmp_path / "other", splits="train val test train").folder
    with pytest.raises(CheckpointError, match=r"a\.phase1\.state\.safetensors belongs to a run with other"):
        run(other, tmp_path / "a.safetensors", recipe=recipe(4), phases=[1])


def test_what_is_called_like_a_phase_of_a_run_is_left_alone(folder, tmp_path):
    own = run(folder, tmp_path / "a.phase1.safetensors", phases=[1]).out
    before = file_digest(own)
    with pytest.raises(CheckpointError, match=r"a\.phase1\.safetensors belongs to a run with other settings"):
        run(folder, tmp_path / "a.safetensors", phases=[1])
    assert file_digest(own) == before


def test_a_stopped_run_does_not_go_on_from_another_start(folder, tmp_path):
    starts = []
    for name, shift in (("one", 0.001), ("two", 0.002)):
        tensors = {key: value + shift for key, value in load_model("sam_tiny_base").sam.state_dict().items()}
        starts.append(tmp_path / f"{name}.safetensors")
        save_tensors(starts[-1], tensors, {"kind": "sam", "architecture": "tiny"})

    def stop(model, step):
        raise KeyboardInterrupt

    out = tmp_path / "a.safetensors"
    with pytest.raises(KeyboardInterrupt):
        run(folder, out, init=starts[0], watch=Watch(2, stop))
    with pytest.raises(CheckpointError, match="belongs to a run with other settings"):
        run(folder, out, init=starts[1])


def test_the_checkpoint_names_its_parent(folder, adapted, tmp_path):
    on = run(folder, tmp_path / "b.safetensors", init=adapted.out, phases=[3])
    about = load_tensors(on.out)[1]
    assert about["parent"] == file_digest(adapted.out)
    assert (
        about["base_digest"] == load_tensors(adapted.out)[1]["parent"] == load_model("sam_tiny_base").digest
    )


def test_a_base_of_ones_own_may_be_called_like_an_embedded_one(folder, tmp_path):
    own = tmp_path / "sam_tiny_base.safetensors"
    tensors = {name: value + 0.001 for name, value in load_model("sam_tiny_base").sam.state_dict().items()}
    save_tensors(own, tensors, {"kind": "sam", "architecture": "tiny"})
    made = run(folder, tmp_path / "a.safetensors", phases=[1], init=own)
    own.unlink()
    trunk = load_model(made.out).sam.base.image_encoder.state_dict()
    assert all(torch.equal(value, tensors[f"image_encoder.{name}"]) for name, value in trunk.items())


def test_it_answers_as_fusion_unless_the_first_encoder_alone_did_better():
    assert adapting.answering_phase({1: 0.5}) == 1
    assert adapting.answering_phase({1: 0.5, 2: 0.6}) == 1
    assert adapting.answering_phase({1: 0.5, 2: 0.4, 3: 0.5}) == 3
    assert adapting.answering_phase({1: 0.5, 2: 0.4, 3: 0.49}) == 1


def test_a_predictor_follows_the_phase_of_its_model(folder, adapted):
    model, scene = load_model(adapted.out), open_dataset(folder).scene("3")
    predictor, polygon = Predictor(model, scene), pixel_polygon((20, 20, 70, 70), scene.grid)
    for phase in (3, 1, 2):
        model.sam.use_phase(phase)
        fresh = Predictor(model, scene).segment(polygon)
        assert np.array_equal(predictor.segment(polygon).probabilities, fresh.probabilities)


def test_the_header_names_the_phase_to_answer_as(adapted, tmp_path):
    tensors, about = load_tensors(adapted.out)
    assert load_model(adapted.out).sam.phase == about["phase"] == adapted.phase
    for phase in (1, 3):
        save_tensors(tmp_path / "b.safetensors", tensors, {**about, "phase": phase})
        assert load_model(tmp_path / "b.safetensors").sam.phase == phase


def test_bands_of_another_kind_are_refused(folder, adapted, tmp_path):
    model, scene = load_model(adapted.out), drawn(3, SIX)[0]
    assert model.kinds == dict.fromkeys(SIX[:4], "backscatter") | dict.fromkeys(SIX[4:], "values")
    power = replace(
        scene, bands=tuple(replace(b, units="power") if b.units == "db" else b for b in scene.bands)
    )
    assert torch.isfinite(model.images(power)).all()
    for units in ("1", "dn"):
        other = tuple(replace(b, units=units) if b.name == "VH0" else b for b in scene.bands)
        with pytest.raises(
            DataError, match=f"band VH0 is in units '{units}' and a learned it as backscatter"
        ):
            model.images(replace(scene, bands=other))
    numbers = tuple(replace(b, units="dn") if b.name == "DEM" else b for b in scene.bands)
    assert torch.equal(model.images(replace(scene, bands=numbers)), model.images(scene))
    data = write_folder(tmp_path / "8bit", SIX, "1")
    with pytest.raises(DataError, match=r"dataset\.yaml: band V.0 is in units '1'"):
        sam_answer(model, data)
    with pytest.raises(DataError, match=r"dataset\.yaml: band V.0 is in units '1'"):
        run(data.folder, tmp_path / "b.safetensors", init=adapted.out)


@pytest.mark.parametrize(
    "method",
    [
        Method(fusion="average"),
        Method(alignment="embedding"),
        Method(loss="bce", activation="relu"),
        Method(loss="focal", scales=("near", "chip")),
    ],
)
def test_other_choices(folder, tmp_path, method):
    made = run(folder, tmp_path / "a.safetensors", method=method)
    model = load_model(made.out)
    assert model.scales == (method.scales or ("chip",))
    assert model.sam.branches[0].adapters[0].space.act.__class__.__name__.lower() == method.activation
    assert (model.sam.gate is None) == (method.fusion == "average")
    scene = drawn(3, SIX)[0]
    found = Predictor(model, scene).segment(pixel_polygon((10, 10, 60, 60), scene.grid))
    assert np.isfinite(found.probability).all()


def test_empty_images_are_learned_too(tmp_path):
    data = write_folder(tmp_path / "data", splits="train train val test")
    write_labels(np.zeros_like(data.mask("1"), np.uint8), data.scene("1").grid, data.folder / "masks/1.tif")
    curves = {}
    for share in (0.0, 0.9):
        run(data.folder, tmp_path / f"{share}.safetensors", phases=[1], method=Method(empty_share=share))
        curves[share] = read_curve(tmp_path / f"{share}.phase1.safetensors").loss
    assert curves[0.0] != curves[0.9]
    assert np.isfinite(curves[0.9]).all()


@pytest.mark.parametrize(
    ("bands", "units"),
    [(("HH",), "1"), (("HH", "HV"), "power"), (("a", "b", "c"), "1"), (("a", "b", "c", "d"), "db")],
)
def test_folders_of_one_to_six_bands_in_any_units(tmp_path, bands, units):
    data = write_folder(tmp_path / "data", bands, units)
    made = run(data.folder, tmp_path / "a.safetensors")
    assert made.phases == ((1, 2, 3) if len(bands) > 3 else (1,))


def test_a_base_of_ones_own_goes_into_the_checkpoint(folder, tmp_path):
    base = load_model("sam_tiny_base")
    tensors = {name: value + 0.001 for name, value in base.sam.state_dict().items()}
    save_tensors(tmp_path / "own.safetensors", tensors, {"kind": "sam", "architecture": "tiny"})
    made = run(folder, tmp_path / "a.safetensors", phases=[1], init=tmp_path / "own.safetensors")
    (tmp_path / "own.safetensors").unlink()
    trunk = load_model(made.out).sam.base.image_encoder.state_dict()
    assert all(torch.equal(value, tensors[f"image_encoder.{name}"]) for name, value in trunk.items())


def test_an_encoder_of_masked_pretraining_takes_the_place_of_the_base(folder, tmp_path):
    from pretraining import SpeckledChips
    from pretraining import recipe as pretraining_recipe

    from sartutor.learn.pretrain import load_pretrained, pretrain

    chips, sizes = SpeckledChips(3, 256), pretraining_recipe(2, 2, "tiny")
    pretrain(
        chips,
        "simmim",
        tmp_path / "p.safetensors",
        backbone="sam",
        recipe=sizes,
        device="cpu",
        progress=False,
    )
    made = run(folder, tmp_path / "a.safetensors", phases=[1], init=tmp_path / "p.safetensors")
    expected = load_pretrained(tmp_path / "p.safetensors").image_encoder.state_dict()
    found = load_model(made.out).sam.base.image_encoder.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


def test_an_encoder_of_another_kind_is_refused(folder, tmp_path):
    with pytest.raises(CheckpointError, match="pretrain --method simmim --backbone sam"):
        run(folder, tmp_path / "a.safetensors", init=_embedded("simmim_hh"))


def _embedded(name):
    from sartutor.learn.pretrain import pretrained_path

    return pretrained_path(name)


def test_plans():
    assert planned_phases(None, 2, ()) == (1, 2, 3)
    assert planned_phases(None, 1, ()) == (1,)
    assert planned_phases([3], 2, (1, 2)) == (3,)
    for asked, encoders, words in (
        ([3], 2, "builds on phase 1"),
        ([2], 1, "second encoder"),
        ([4], 2, "no phase 4"),
    ):
        with pytest.raises(SarTutorError, match=words):
            planned_phases(asked, encoders, ())


def test_choices_that_do_not_exist():
    for name in ("activation", "fusion", "alignment", "loss"):
        with pytest.raises(SarTutorError, match=f"There is no {name} 'x'; use one of"):
            Method(**{name: "x"})
    with pytest.raises(SarTutorError, match="There is no scale 'far'; use one of near, chip"):
        Method(scales=("near", "far"))
    for share in (-0.1, 1.0, float("nan")):
        with pytest.raises(SarTutorError, match=r"share of empty images is .*; use one from 0 to below 1"):
            Method(empty_share=share)


def test_masks_that_mark_nothing(tmp_path):
    data = write_folder(tmp_path / "data", ("VV",))
    for mask in (data.folder / "masks").iterdir():
        mask.write_bytes(mask.read_bytes())
    text = (data.folder / "dataset.yaml").read_text()
    (data.folder / "dataset.yaml").write_text(text.replace("- 255", "- 7").replace("- 0", "- 0\n  - 255"))
    with pytest.raises(DataError, match=r"No mask of split 'train' .* marks an object"):
        run(data.folder, tmp_path / "a.safetensors")


@pytest.mark.parametrize("split", ["train", "val"])
def test_objects_that_lie_on_no_data_alone(tmp_path, split):
    data = write_folder(tmp_path / "data", ("VV",))
    for id in data.ids(split):
        scene, mask = data.scene(id), data.mask(id) == 1
        hidden = np.where(mask, np.nan, scene.pixels).astype(np.float32)
        write_scene(replace(scene, pixels=hidden, valid=~mask), data.folder / "images" / f"{id}.tif")
    with pytest.raises(DataError, match=f"All objects of split '{split}' .* no data"):
        run(data.folder, tmp_path / "a.safetensors")


def test_8_bit_pictures_are_adapted_to(tmp_path):
    data = write_folder(tmp_path / "data", ("grey",), "1")
    for path in (data.folder / "images").iterdir():
        with rasterio.open(path) as file:
            values, profile = file.read(), file.profile
        with rasterio.open(path, "w", **{**profile, "dtype": "uint8", "nodata": None}) as file:
            file.write(values.astype(np.uint8))
    made = run(data.folder, tmp_path / "a.safetensors")
    scene = open_dataset(data.folder).scene("3")
    found = Predictor(load_model(made.out), scene).segment(pixel_polygon((10, 10, 60, 60), scene.grid))
    assert np.isfinite(found.probability).all()


def test_checkpointing_learns_the_same_from_blocks_that_are_computed_twice(folder, tmp_path, monkeypatch):
    calls, real = [], encoder_module.checkpoint
    monkeypatch.setattr(
        encoder_module, "checkpoint", lambda *given, **named: calls.append(1) or real(*given, **named)
    )
    plain = run(folder, tmp_path / "a.safetensors", phases=[1])
    assert not calls
    saved = run(folder, tmp_path / "b.safetensors", phases=[1], checkpointing=True)
    assert len(calls) == 2 * SAM_SIZES["tiny"].depth
    one, other = (load_tensors(made.out)[0] for made in (plain, saved))
    assert all(torch.allclose(one[name], other[name], atol=1e-6) for name in one)


@pytest.mark.parametrize("size", ADAPT_RECIPES)
def test_all_embeddings_that_a_preset_keeps_fit_the_cache(size):
    recipe = ADAPT_RECIPES[size]
    sam = AdaptedSam(RadarSam(SAM_SIZES[recipe.size])).to("meta")
    images = torch.zeros(1, 2, 3, *(sam.size.image_size,) * 2, device="meta")
    each = sum(2 * level.numel() for level in sam.encode_branch(images, 0))
    assert 2 * (recipe.kept + recipe.validation) * each <= adapting.MOST_KEPT_BYTES


def test_a_chip_is_seen_unless_told_or_a_model_goes_on(folder, adapted, tmp_path):
    assert load_model(adapted.out).scales == ("chip",)
    method = Method(scales=("near",))
    near = run(folder, tmp_path / "a.safetensors", phases=[1], method=method).out
    assert load_model(near).scales == ("near",)
    on = {"phases": [2], "init": near}
    assert load_model(run(folder, tmp_path / "b.safetensors", **on).out).scales == ("near",)
    method = Method(scales=("chip",))
    assert load_model(run(folder, tmp_path / "c.safetensors", method=method, **on).out).scales == ("chip",)


@pytest.mark.parametrize("better", [True, False])
def test_parts_of_large_boxes_are_answered_where_validation_says_so(tmp_path, monkeypatch, better):
    monkeypatch.setattr("adapting.SIDE", 330)
    monkeypatch.setattr("adapting.SIDES", (200, 300))
    monkeypatch.setattr("sartutor.learn.parts._above_standard_error", lambda gain: better)
    folder = write_folder(tmp_path / "large", SIX[:3]).folder
    made = run(folder, tmp_path / "a.safetensors")
    model, scene = load_model(made.out), open_dataset(folder).scene("3")
    assert (made.parts_trial.better, model.by_parts, model.scales) == (better, better, ("chip",))
    assert made.parts_trial.iou_whole != made.parts_trial.iou_in_parts
    polygon = pixel_polygon((5, 5, 320, 320), scene.grid)
    ways = {each: Predictor(replace(model, by_parts=each), scene).segment(polygon) for each in (True, False)}
    assert not np.array_equal(ways[True].probability, ways[False].probability)
    found = Predictor(model, scene).segment(polygon).probability
    np.testing.assert_array_equal(found, ways[better].probability)


def test_parts_are_tried_as_the_phase_that_answers(tmp_path, monkeypatch):
    tried = []
    monkeypatch.setattr(adapting, "answering_phase", lambda val_iou: 1)
    monkeypatch.setattr(adapting, "try_parts", lambda model, *_: tried.append(model.phase))
    made = run(write_folder(tmp_path / "data").folder, tmp_path / "a.safetensors")
    assert (tried, made.phase) == ([1], 1)


def test_where_no_box_has_parts_none_are_tried(adapted):
    assert adapted.parts_trial is None
    assert not load_model(adapted.out).by_parts


def test_a_chip_is_as_large_in_use_as_in_training(folder, adapted):
    side = SAM_SIZES["tiny"].image_size
    pixels = open_dataset(folder).mask("0").shape[0]
    assert pixels < side
    model = load_model(adapted.out)
    (window,) = model.windows((300, 300, 320, 320), (2000, 2000))
    assert (window.width, window.height) == (pixels, pixels)
    assert model.window_at((300, 300, 300, 300), (2000, 2000)).width == pixels


def test_no_validation_split(tmp_path):
    data = write_folder(tmp_path / "data", ("VV",), splits="train train test")
    with pytest.raises(DataError, match="no image in split 'val'"):
        run(data.folder, tmp_path / "a.safetensors")
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_model_of_other_bands_does_not_go_on(adapted, tmp_path):
    data = write_folder(tmp_path / "data", ("a", "b", "c", "d"))
    with pytest.raises(CheckpointError, match="was adapted to the bands VV0, VV1, DEM and VH0, VH1, slope"):
        run(data.folder, tmp_path / "b.safetensors", init=adapted.out)


def test_what_was_built_on_a_phase_that_is_learned_anew_no_longer_counts(folder, adapted, tmp_path):
    anew = run(folder, tmp_path / "b.safetensors", init=adapted.out, phases=[1])
    assert (anew.phases, load_model(anew.out).phase) == ((1,), 1)
    with pytest.raises(SarTutorError, match="Phase 3 builds on phase 2"):
        run(folder, tmp_path / "c.safetensors", init=adapted.out, phases=[1, 3])
    assert run(folder, tmp_path / "d.safetensors", init=adapted.out, phases=[3]).phases == (1, 2, 3)


def test_a_model_of_another_size(folder, tmp_path):
    with pytest.raises(CheckpointError, match="model of size tiny and the preset asks for vit_b"):
        run(folder, tmp_path / "a.safetensors", recipe=recipe(size="vit_b"), init="sam_tiny_base")


def test_parts_of_another_run(folder, tmp_path):
    out = tmp_path / "a.safetensors"

    def stop(model, step):
        raise KeyboardInterrupt

    run(folder, out, phases=[1])
    out.rename(tmp_path / "a.phase1.safetensors")
    with pytest.raises(CheckpointError, match="belongs to a run with other settings"):
        run(folder, out, seed=5)


def test_a_changed_base_is_refused(adapted, tmp_path):
    tensors, about = load_tensors(adapted.out)
    save_tensors(tmp_path / "b.safetensors", tensors, {**about, "base_digest": "0" * 64})
    with pytest.raises(CheckpointError, match="another version of sam_tiny_base"):
        load_model(tmp_path / "b.safetensors")


def test_a_place_that_cannot_be_written(folder, tmp_path):
    with pytest.raises(OutputError, match=r"ends in \.safetensors"):
        run(folder, tmp_path / "a.pth")


def test_curves_stay_beside_the_checkpoint(adapted):
    curves = sorted(adapted.out.parent.glob("*.curve.json"))
    assert [path.name for path in curves] == [f"a.phase{phase}.curve.json" for phase in (1, 2, 3)]
    assert len(json.loads(curves[0].read_text())["loss"]) == 2


def test_bases_have_the_sizes_they_are_listed_under():
    assert load_model(adapting.BASES["tiny"]).sam.size.name == "tiny"
