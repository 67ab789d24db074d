"""Pictures of downstream tasks: their numbers are right, their data is split as said, and they say what they show."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from sartutor.errors import DataError
from sartutor.lab import data, downstream
from sartutor.lab.plots import alternative_text
from sartutor.learn.chips import SimulatedChips
from sartutor.learn.upernet import UPerNet
from sartutor.learn.weighting import BandStatistics
from sartutor.presets import LESSON_RECIPES
from sartutor.sar.folder import BandRule, DatasetWriter, Description, Entry
from sartutor.sim.landcover import Domain, landcover_scene

RADAR = Domain("plains", "VV+VH", None, "sentinel1", "C")
STATISTICS = BandStatistics(("VV", "VH"), (-11.0, -18.0), (5.0, 5.0), (True, True))
RECIPE = LESSON_RECIPES["smoke"].finetuning


class Maps(nn.Module):
    """An encoder whose four maps are means of the image over ever larger squares, four channels each."""

    widths = (4, 4, 4, 4)

    def features(self, image):
        return [nn.functional.avg_pool2d(image.repeat(1, 2, 1, 1), 4 * 2**i) for i in range(4)]


@pytest.fixture(scope="module")
def chips():
    return SimulatedChips(RADAR, 5, 6, 64, STATISTICS)


@pytest.fixture
def encoders(monkeypatch):
    """Statistics of the embedded encoders, which these tests do not need themselves."""
    monkeypatch.setattr(downstream, "statistics", lambda name: STATISTICS)


def own_folder(path, splits=("train", "val", "coast"), bands=("VV", "VH"), labelled=True):
    """A folder of one's own data: an image of 128 x 256 px a split, seven classes."""
    rules = tuple(BandRule(name=name, units="power") for name in bands)
    labels = {name: (code,) for code, name in enumerate("abcdefg")} if labelled else None
    writer = DatasetWriter(path, Description(bands=rules, labels=labels))
    domain = Domain("plains", "+".join(bands), None, "sentinel1", "C")
    for place, name in enumerate(splits):
        scene, mask = landcover_scene(place, domain, 128)
        writer.write(name, scene, mask if labelled else None)
    writer.finish([Entry(name, name, name) for name in splits])
    return path


# Data -----------------------------------------------------------------------------------------------------------


def test_a_folder_gives_its_splits_standardised_as_the_encoder_was(tmp_path, encoders):
    found = downstream.land_cover(str(own_folder(tmp_path / "mine")), "smoke", 0, RECIPE)
    assert found.encoder == "mixmae_s1"
    assert found.key == "mine"
    assert len(found.train) == len(found.val) == len(found.test) == 1
    assert found.test[0]["label"].shape == (128, 128)
    assert found.train.statistics == STATISTICS
    assert found.train.classes == tuple("abcdefg")


def test_an_encoder_of_ones_own_takes_the_place_of_an_embedded_one(tmp_path, monkeypatch):
    one_band = BandStatistics(("VV",), (-11.0,), (5.0,), (True,))
    monkeypatch.setattr(downstream, "statistics", {"mine.safetensors": one_band}.__getitem__)
    folder = own_folder(tmp_path / "mine", bands=("VV",))
    found = downstream.land_cover(str(folder), "smoke", 0, RECIPE, "mine.safetensors")
    assert found.encoder == "mine.safetensors"
    assert found.train[0]["image"].shape == (1, 128, 128)


def test_folders_that_do_not_fit_are_refused_with_a_cure(tmp_path, encoders):
    with pytest.raises(DataError, match="take HH, or VV and VH; name the bands so, or pretrain"):
        downstream.land_cover(str(own_folder(tmp_path / "one", bands=("VV",))), "smoke", 0, RECIPE)
    with pytest.raises(DataError, match="no labels of pixels; add masks"):
        downstream.land_cover(str(own_folder(tmp_path / "two", labelled=False)), "smoke", 0, RECIPE)


@pytest.mark.mirror
def test_the_sample_is_cut_in_three_parts_that_share_no_row(tmp_path, encoders, mirror, monkeypatch):
    monkeypatch.setenv("SARTUTOR_MIRROR", str(mirror))
    monkeypatch.chdir(tmp_path)
    found = downstream.land_cover("sample", "smoke", 0, RECIPE)
    assert found.train.classes == ("land", "water")
    example = data.sentinel1("sample", "smoke", 0)
    whole = np.where(example.label == -1, -1, example.label)
    counts = [downstream.counts_of(part).sum(0) for part in (found.train, found.val, found.test)]
    assert all(0 < int(c[1]) < int(c[0]) for c in counts)
    assert sum(int(c.sum()) for c in counts) < (whole >= 0).sum()


# Metrics and pictures -------------------------------------------------------------------------------------------


def test_labelled_pixels_are_counted_by_chip_and_class(chips):
    counts = downstream.counts_of(chips)
    assert counts.shape == (6, 7)
    assert counts.sum(1).tolist() == [64 * 64] * 6
    assert int(counts[2, 4]) == int((chips[2]["label"] == 4).sum())


def test_the_largest_confusions_are_named():
    table = torch.tensor([[8, 2, 0], [5, 5, 0], [0, 0, 0]])
    assert downstream.confusions(table, "abc") == [("b", "a", 0.5), ("a", "b", 0.2)]


def test_pixels_at_borders_are_told_from_those_inside():
    label = torch.zeros(16, 16, dtype=torch.long)
    label[:, 8:] = 1
    at_border = (torch.arange(16) - 7.5).abs() < 1

    class Wrong(nn.Module):
        """Mistakes the two columns at the border for each other."""

        def forward(self, image):
            truth = label.clamp_min(0)
            said = torch.where(at_border, 1 - truth, truth)
            return nn.functional.one_hot(said, 2).permute(2, 0, 1)[None].float()

    found = downstream.border_accuracy(Wrong(), [{"image": torch.zeros(1, 16, 16), "label": label}], (1, 4))
    assert found == {"up to 1 px": 0.0, "up to 4 px": pytest.approx(1, abs=0.05), "beyond 4 px": 1.0}


def test_every_map_of_upernet_is_shown_with_its_size(chips):
    model = UPerNet(Maps(), 7, 16, 0.1)
    maps = downstream.head_maps(model, chips[0]["image"][None])
    assert list(maps) == [
        *(f"stride {step}" for step in (4, 8, 16, 32)),
        "pyramid pooling",
        *(f"level {step}" for step in (16, 8, 4)),
        "joined",
        "scores",
    ]
    assert torch.allclose(maps["scores"], model(chips[0]["image"][None]), atol=1e-5)
    assert maps["level 8"].shape == (1, 16, 8, 8)
    assert not model.fuse._forward_hooks
    assert "joined 16 x 16 x 16" in alternative_text(downstream.draw_upernet(model, chips, 0))


def test_a_control_of_the_map_explorer_redraws(chips):
    models = {name: UPerNet(Maps(), 7, 16, 0.1).eval() for name in ("random start", "pretrained")}
    box = downstream.map_explorer(models, chips)
    controls, picture = box.children[0].children, box.children[1]
    assert "the model with pretrained says" in picture.value
    controls[1].value = 3
    assert "Chip 3" in picture.value


# Linear layers --------------------------------------------------------------------------------------------------


def test_classes_that_all_or_no_chips_have_are_left_out_of_the_probe():
    label = torch.tensor([[1.0, 0, 1], [1, 0, 0], [1, 0, 1], [1, 0, 0]])
    features = {"exact": (label[:, [2]], label[:, [2]]), "none": (torch.zeros(4, 1), torch.zeros(4, 1))}
    probed = downstream.Probed(features, label, label, "abc")
    scores = downstream.probe_scores(probed, 1.0, 0)
    assert scores["exact"] == [1.0]
    assert scores["blind guess"] == [0.5]
    box = downstream.probe_explorer(probed)
    box.children[0].children[0].value = 50.0
    assert "50 % of the labels, 2 chips" in box.children[1].value


def test_features_of_tiles_and_levels_are_means(chips):
    pooled = downstream.chip_features(Maps(), chips)
    levels = downstream.level_features(chips)
    assert torch.allclose(pooled[:, :2], levels[:, :2], atol=1e-4)
    pair = torch.stack([chips[0]["image"], chips[1]["image"]])
    found = downstream.pair_features(Maps(), [{"image": pair}], 32)
    assert found.shape == (1, 4, 4)
    assert torch.allclose(found[0, 0, :2], (pair[0] - pair[1])[:, :32, :32].mean((1, 2)).abs(), atol=1e-5)


def test_a_pair_is_drawn_with_its_tiles():
    flooded = np.zeros((64, 64), bool)
    flooded[:32] = True
    figure = downstream.draw_pair(np.zeros((64, 64)), np.ones((64, 64)), flooded, torch.rand(2, 2), 32)
    assert isinstance(figure, Figure)
    assert "4 tiles" in alternative_text(figure)
