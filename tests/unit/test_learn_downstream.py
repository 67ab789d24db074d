"""Downstream tasks: heads, labels, nested subsets, layer depths, and fine-tuning from end to end."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from sartutor.errors import DataError
from sartutor.learn.checkpoints import load_tensors
from sartutor.learn.chips import SimulatedChips
from sartutor.learn.downstream import evidence, finetune, freeze_unused, layer_depths, train_model
from sartutor.learn.labelled import FloodPairs, MultiLabel, Part, covering, label_subset, training_weights
from sartutor.learn.tasks import (
    PairClassifier,
    PooledClassifier,
    cut,
    flood_task,
    land_cover_task,
    multilabel_task,
    pooled,
)
from sartutor.presets import DOWNSTREAM_RECIPES
from sartutor.sar.class_statistics import class_weights
from sartutor.sim.landcover import Domain

PLAINS = Domain("plains", "VV", None, "sentinel1", "C")
SMOKE = DOWNSTREAM_RECIPES["smoke"]


class Blocks(nn.Module):
    """An encoder of four stages named as timm names them, with a decoder that only pretraining needs."""

    def __init__(self, bands=1, widths=(8, 16, 24, 32)):
        super().__init__()
        torch.manual_seed(4)
        self.widths = widths
        self.patch_embed = nn.Conv2d(bands, widths[0], 4, 4)
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                {
                    "downsample": nn.Conv2d(before, width, 2, 2) if stage else nn.Identity(),
                    "blocks": nn.ModuleList([nn.Conv2d(width, width, 3, padding=1)]),
                }
            )
            for stage, (before, width) in enumerate(zip((widths[0], *widths), widths, strict=False))
        )
        self.decoder = nn.ModuleDict({"blocks": nn.ModuleList([nn.Linear(3, 3)])})

    def features(self, image):
        maps = [self.patch_embed(image)]
        for layer in self.layers:
            maps.append(layer["blocks"][0](layer["downsample"](maps[-1])).relu())
        return maps[1:]


@pytest.fixture(scope="module")
def chips():
    return SimulatedChips(PLAINS, 1, 12, 64)


@pytest.fixture(scope="module")
def pairs(chips):
    return FloodPairs(PLAINS, 1, 8, 128, chips.statistics)


# Labels ---------------------------------------------------------------------------------------------------------


def test_smaller_shares_of_labels_lie_within_larger_ones():
    subsets = [set(label_subset(64, fraction, seed=3)) for fraction in (0.125, 0.25, 0.5, 1.0)]
    assert [len(subset) for subset in subsets] == [8, 16, 32, 64]
    assert all(small < large for small, large in pairwise(subsets))
    assert label_subset(64, 0.25, seed=3) == sorted(subsets[1])
    assert set(label_subset(64, 0.25, seed=4)) != subsets[1]


def test_subsets_by_block_take_few_places_whole():
    blocks = [f"b{i % 8}" for i in range(64)]
    few, more = (label_subset(64, fraction, 3, blocks) for fraction in (0.25, 0.45))
    assert len({blocks[i] for i in few}) == 2
    assert len(more) == 29
    assert len({blocks[i] for i in more}) == 4
    assert set(few) < set(more)


def test_a_share_of_few_chips_keeps_one_and_no_share_is_refused():
    assert len(label_subset(3, 0.01, 0)) == 1
    for fraction in (0, 1.5, float("nan")):
        with pytest.raises(DataError, match="above 0 and up to 1"):
            label_subset(3, fraction, 0)


def test_a_class_is_a_label_where_it_covers_more_than_its_share_of_labelled_pixels():
    label = torch.full((10, 10), 2)
    label[0, :5], label[1, :6], label[2] = 0, 1, -1
    assert covering(label, 4, 0.05).tolist() == [1, 1, 1, 0]
    label[0, 0] = 2
    assert covering(label, 4, 0.05).tolist() == [0, 1, 1, 0]


def test_wrapped_chips_keep_images_and_change_labels_only(chips):
    many, part = MultiLabel(chips), Part(chips, [5, 2])
    assert len(many) == 12
    assert many[3]["label"].shape == (7,)
    assert torch.equal(many[3]["image"], chips[3]["image"])
    assert len(part) == 2
    assert torch.equal(part[0]["label"], chips[5]["label"])
    assert many.classes == part.classes == chips.classes


def test_every_other_pair_is_a_flood_and_shows_the_place_of_its_scene(pairs, chips):
    assert [int(pairs[i]["label"]) for i in range(4)] == [0, 1, 0, 1]
    assert pairs[0]["image"].shape == (2, 1, 128, 128)
    changes = [(pairs[i]["image"][1] - pairs[i]["image"][0]).abs().mean().item() for i in range(8)]
    assert np.mean(changes[1::2]) > np.mean(changes[::2])


def test_class_weights_come_from_all_labels(chips):
    counts = np.bincount(torch.stack([chips[i]["label"] for i in range(12)]).flatten(), minlength=7)
    assert training_weights(chips).tolist() == pytest.approx(class_weights(counts).tolist())


# Heads ----------------------------------------------------------------------------------------------------------


def test_tiles_of_an_image_follow_each_other_row_by_row():
    image = torch.arange(2 * 4 * 6.0).reshape(2, 1, 4, 6)
    tiles = cut(image, 2)
    assert tiles.shape == (12, 1, 2, 2)
    assert torch.equal(tiles[1, 0], image[0, 0, :2, 2:4])
    assert torch.equal(tiles[9, 0], image[1, 0, 2:, :2])
    with pytest.raises(DataError, match="tiles of 4 px do not fill images of 4 x 6 px"):
        cut(image, 4)


def test_pairs_are_told_apart_by_the_mean_absolute_difference_of_their_tiles():
    encoder = Blocks()
    model = PairClassifier(encoder, 32)
    image = torch.randn(3, 2, 1, 64, 64)
    tiles = [[pooled(encoder, cut(image[b, [date]], 32)) for date in (0, 1)] for b in range(3)]
    expected = torch.stack([(one - other).abs().mean(0) for one, other in tiles])
    assert torch.allclose(model(image), model.scores(expected), atol=1e-5)
    assert torch.allclose(model(image), model(image.flip(1)), atol=1e-5)
    same = image[:, :1].expand(-1, 2, -1, -1, -1)
    assert torch.allclose(model(same), model.scores.bias.expand(3, 2), atol=1e-6)


def test_a_pooled_classifier_sees_the_mean_of_the_last_map():
    model = PooledClassifier(Blocks(), 7)
    image = torch.randn(2, 1, 64, 64)
    assert torch.allclose(model(image), model.scores(model.encoder.features(image)[-1].mean((2, 3))))


def test_evidence_of_parts_makes_the_scores_of_the_whole():
    task = land_cover_task(3, torch.ones(3) / 3)
    logits, label = torch.randn(4, 3, 8, 8), torch.randint(-1, 3, (4, 8, 8))
    seen = torch.cat([task.evidence(logits[:1], label[:1]), task.evidence(logits[1:], label[1:])])
    assert seen.shape == (4, 3, 3)
    assert task.scores(seen)["accuracy"] == pytest.approx(
        float((logits.argmax(1) == label)[label >= 0].float().mean())
    )


# Fine-tuning ----------------------------------------------------------------------------------------------------


def test_parameters_without_a_part_in_the_answer_are_not_trained():
    model = PooledClassifier(Blocks(), 7)
    freeze_unused(model, torch.randn(1, 1, 64, 64))
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {"encoder.decoder.blocks.0.weight", "encoder.decoder.blocks.0.bias"}
    assert all(p.grad is None for p in model.parameters())


def test_depth_grows_from_the_embedding_to_the_head():
    model = PooledClassifier(Blocks(), 7)
    freeze_unused(model, torch.randn(1, 1, 64, 64))
    depths = layer_depths(model)
    assert depths["encoder.patch_embed.weight"] == 0
    assert [depths[f"encoder.layers.{stage}.blocks.0.weight"] for stage in range(4)] == [1, 2, 3, 4]
    assert depths["encoder.layers.2.downsample.weight"] == 2
    assert depths["scores.weight"] == depths["scores.bias"] == 5
    assert not any("decoder" in name for name in depths)


@pytest.mark.parametrize("name", ["land_cover", "multilabel", "flood"])
def test_each_task_is_fine_tuned_and_scored_on_test_chips(name, chips, pairs, tmp_path):
    task = {
        "land_cover": land_cover_task(7, training_weights(chips)),
        "multilabel": multilabel_task(7),
        "flood": flood_task(),
    }[name]
    data = {"land_cover": chips, "multilabel": MultiLabel(chips), "flood": pairs}[name]
    train, val, test = Part(data, range(4)), Part(data, range(4, 6)), Part(data, range(6, len(data)))
    assert task.name == name
    scores = finetune(task, Blocks(), train, val, test, SMOKE[name], 1, tmp_path / "a.safetensors", "cpu")
    assert scores[f"{task.best}_low"] <= scores[f"{task.best}_high"]
    assert scores["chips"] == 4
    assert all(np.isfinite(value) for value in scores.values())


def test_the_weights_that_did_best_on_validation_are_kept(chips, tmp_path):
    task = land_cover_task(7, training_weights(chips))
    out, recipe = tmp_path / "a.safetensors", dataclasses.replace(SMOKE["land_cover"], steps=6)
    train, val = Part(chips, range(8)), Part(chips, range(8, 12))
    model = train_model(task, Blocks(), train, val, recipe, 1, out, "cpu")
    kept, about = load_tensors(out)
    assert all(torch.equal(kept[key], value) for key, value in model.state_dict().items())
    assert about["task"] == "land_cover"
    again = train_model(task, Blocks(), train, val, recipe, 1, tmp_path / "b.safetensors", "cpu")
    assert torch.equal(evidence(task, model, val, 4), evidence(task, again, val, 2))


def test_flood_is_learned_from_a_few_pairs(pairs, tmp_path):
    recipe = dataclasses.replace(
        SMOKE["flood"], steps=100, batch=8, check_every=50, learning_rate=5e-3, layer_decay=1.0
    )
    model = train_model(flood_task(), Blocks(), pairs, pairs, recipe, 1, tmp_path / "a.safetensors", "cpu")
    scores = flood_task().scores(evidence(flood_task(), model, pairs, 8))
    assert scores["accuracy"] >= 7 / 8
