"""Pictures of masked pretraining follow the models and weights that they show; chips of a notebook share no place."""

import numpy as np
import pytest
import torch
from affine import Affine
from pretraining import SpeckledChips, recipe
from rasterio.crs import CRS

from sartutor.errors import DataError
from sartutor.lab import data, masking, plots
from sartutor.learn.chips import ALOS2_HH, SENTINEL1_DUAL
from sartutor.learn.loop import Watch
from sartutor.learn.masks import patch_mask, upsample_mask
from sartutor.learn.pretrain import build_model, mean_loss, mean_predictor, pretrain
from sartutor.learn.weighting import WeightRule
from sartutor.sar.geotiff import write_scene
from sartutor.sar.scene import Band, Grid, Scene


@pytest.fixture(scope="module")
def chips() -> SpeckledChips:
    return SpeckledChips(bands=1, count=8)


@pytest.fixture(scope="module")
def model(chips):
    return build_model("simmim", "swin", "smoke", chips.statistics, WeightRule(), 0).eval()


def test_painting_is_what_the_model_restores(chips, model):
    sample = masking.batch_of(chips, 2)
    mask = model.mask(sample, 3)
    with torch.no_grad():
        expected = model.reconstruct(sample["image"], mask)
    painted = masking.paint(model, sample["image"], upsample_mask(mask, model.mask_patch))
    assert torch.equal(painted, expected)


def test_larger_chips_are_painted_piece_by_piece(model):
    wide = masking.batch_of(SpeckledChips(bands=1, side=128, count=2))["image"]
    hidden = upsample_mask(patch_mask(128, 8, 0.6, [0, 1], 0, 0), 8)
    painted = masking.paint(model, wide, hidden)
    corner = masking.paint(model, wide[:, :, 64:, :64].contiguous(), hidden[:, 64:, :64])
    assert painted.shape == wide.shape
    assert torch.allclose(painted[:, :, 64:, :64], corner, atol=1e-6)


def test_neighbours_tell_a_plane_but_nothing_hidden_counts():
    image = torch.full((1, 1, 64, 64), 0.7)
    hidden = upsample_mask(patch_mask(64, 16, 0.6, [0], 0, 0), 16)
    spoiled = torch.where(hidden[:, None], 99.0, image)
    assert torch.allclose(masking.from_neighbours(spoiled, hidden), image, atol=1e-5)


def test_the_weight_explorer_follows_strength_and_mode():
    box = masking.weight_explorer(SpeckledChips(bands=2, count=2))
    (_, strength, domain, mode), picture = box.children[0].children, box.children[1]
    assert "physical, per_channel, s = 1" in picture.value
    strength.value = 0.0
    assert "B0 mean 1.00, standard deviation 0.000" in picture.value
    domain.value, mode.value = "clipped", "shared_avg"
    assert "clipped, shared_avg" in picture.value


def test_one_band_has_no_channel_to_share(chips):
    mode = masking.weight_explorer(chips).children[0].children[3]
    assert mode.options == ("per_channel",)


def test_the_mask_explorer_tells_the_error_of_the_models_choice(chips, model):
    still = mean_predictor(model)
    box = masking.mask_explorer({"mean": still, "model": model}, chips)
    (name, _, ratio, patch, _), picture = box.children[0].children, box.children[1]
    words = picture.value.split('"')[1]
    error, plain = (
        float(part.split(" dB")[0].split()[-1]) for part in words.split("mean error")[1].split(", by")
    )
    assert error == plain
    name.value, ratio.value, patch.value = "model", 0.3, 8
    assert "30% of it hidden in patches of 8 px" in picture.value


def test_a_training_can_be_watched(chips, tmp_path):
    sample = masking.batch_of(chips, 4)
    fresh = build_model("simmim", "swin", "smoke", chips.statistics, WeightRule(), 0)
    baseline = mean_loss(mean_predictor(fresh), [(0, sample)])
    live = masking.LiveTraining(sample, {"the mean": baseline})
    out = tmp_path / "own.safetensors"
    pretrain(
        chips, "simmim", out, backbone="swin", recipe=recipe(4), watch=Watch(2, live.look), progress=False
    )
    assert live.steps == [2, 4]
    assert all(np.isfinite(live.losses))
    assert (
        f"After 4 steps the loss on unseen chips is {live.losses[-1]:.3f}; the mean {baseline:.3f}"
        in live.widget.value
    )


def test_mixmae_can_be_watched_too(tmp_path):
    pairs = SpeckledChips(bands=2, count=8)
    model = build_model("mixmae", "swin", "smoke", pairs.statistics, WeightRule(), 0)
    live = masking.LiveTraining(masking.batch_of(pairs, 4), {})
    live.look(model, 1)
    assert live.widget.value.startswith("<img")


def test_synthetic_chips_of_a_notebook_are_those_of_no_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = data.chips("synthetic", "smoke", 3, ALOS2_HH, 64, 4, 128, 2)
    assert [len(found.train), len(found.unseen)] == [4, 2]
    assert found.unseen[0]["image"].shape == (1, 128, 128)
    assert found.unseen.statistics == found.train.statistics
    assert found.train.seed == 20_006
    assert found.unseen.seed == 20_007


def raster(path, rows):
    rng = np.random.default_rng(0)
    levels = np.linspace(-20, -5, rows)[None, :, None]
    pixels = (levels + rng.normal(0, 1, (2, rows, 96))).astype(np.float32)
    grid = Grid(Affine(10, 0, 0, 0, -10, 0), CRS.from_epsg(32632), rows, 96)
    bands = (Band("VV", "db", "sigma0"), Band("VH", "db", "sigma0"))
    write_scene(Scene(pixels, bands, grid, np.ones(grid.shape, bool), "own"), path)
    return str(path)


@pytest.mark.parametrize(("domain", "names"), [(ALOS2_HH, ("VV",)), (SENTINEL1_DUAL, ("VV", "VH"))])
def test_an_image_is_cut_into_what_is_learned_from_and_what_is_not(tmp_path, monkeypatch, domain, names):
    monkeypatch.chdir(tmp_path)
    found = data.chips(raster(tmp_path / "own.tif", 200), "smoke", 0, domain, 32, 40, 64, 0)
    assert found.train.statistics.names == found.unseen.statistics.names == names
    assert len(found.train) == 40
    assert len(found.unseen) == 2
    decibels = found.train.statistics.decibels
    brightest = max(float(decibels(found.train[i]["image"])[0].mean(1).max()) for i in range(40))
    darkest = min(float(decibels(found.unseen[i]["image"])[0].mean(1).min()) for i in range(2))
    assert brightest < darkest  # rows grow brighter downwards


def test_an_image_too_small_to_be_cut_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="has 100 rows; 144 are needed"):
        data.chips(raster(tmp_path / "own.tif", 100), "smoke", 0, ALOS2_HH, 32, 4, 64, 0)


def test_cutting_keeps_every_pixel_in_its_row():
    sample = masking.batch_of(SpeckledChips(bands=2, side=128, count=2))
    pieces = masking.cut(sample, 64)
    assert torch.equal(pieces["image"][5], sample["image"][1, :, :64, 64:])
    assert pieces["valid"].shape == (8, 1, 64, 64)


def test_recorded_differences_are_of_pairs_and_none_where_there_are_none():
    def record(start, seed, bias):
        values = {f"pretraining_bias_db_{stratum}": bias for stratum in ("dark", "middle", "bright")}
        return {"configuration": f"simmim-{start}-100", "seed": seed, "values": values}

    known = [
        record("unweighted", 1, 1.0),
        record("unweighted", 2, 2.0),
        record("physical", 1, 0.5),
        record("physical", 2, 1.7),
    ]
    found = masking.recorded_differences(known, "physical")
    assert found["dark"].mean == pytest.approx(-0.4)
    assert found["dark"].seeds == 2
    assert masking.recorded_differences(known, "clipped") == {}


def test_shifts_are_drawn_by_looks_and_kind_of_error():
    axes = plots.panels(2)
    masking.show_shifts(axes, (1, 4.4), {"a": np.array([[-0.4, -0.3], [-0.2, -0.1]]), "b": np.zeros((2, 2))})
    assert [list(line.get_ydata()) for line in axes[1].lines] == [[-0.3, -0.1], [0, 0]]
    assert [label.get_text() for label in axes[0].get_xticklabels()] == ["1", "4.4"]
