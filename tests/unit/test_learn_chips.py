"""Chips of simulated land cover and of a folder: what a sample holds, which pixels count, what is refused."""

import numpy as np
import pytest
import torch
import yaml
from rasters import write

from sartutor.errors import CheckpointError, DataError
from sartutor.learn import chips as module
from sartutor.learn.chips import (
    ALOS2_HH,
    SENTINEL1_DUAL,
    SHARD,
    FolderChips,
    Shuffled,
    SimulatedChips,
    check_bands,
    folder_statistics,
    named_statistics,
)
from sartutor.learn.weighting import BandStatistics
from sartutor.sar.folder import open_dataset
from sartutor.sar.radiometry import power_to_db
from sartutor.sim.landcover import Domain, landcover_scene

SIDE = 16
SPLITS = "id,split,block\na,train,alps\nb,train,alps\nc,val,andes\n"


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def simulated(count=3, seed=5, **rest):
    return SimulatedChips(SENTINEL1_DUAL, seed, count, 32, **rest)


def image(seed, shape=(2, 40, 56)):
    return np.random.default_rng(seed).normal(-12, 3, shape).astype(np.float32)


def make(folder, bands, layers, labels=None, image_labels=None, size=(40, 56)):
    """A folder of the images a, b (train) and c (val); layers(seed) gives the pixels of one."""
    (folder / "images").mkdir(parents=True)
    about = {"bands": [{"name": name, "units": units} for name, units in bands.items()]}
    if labels is not None:
        (folder / "masks").mkdir()
        about |= {"labels": {"land": [0], "water": [1], "town": [2]}, "ignore": 255}
    if image_labels is not None:
        about["image_labels"] = ["water", "town"]
        (folder / "labels.csv").write_text("id,labels\n" + image_labels)
    for seed, name in enumerate("abc"):
        write(folder / "images" / f"{name}.tif", layers(seed))
        if labels is not None:
            write(folder / "masks" / f"{name}.tif", labels(seed))
    (folder / "dataset.yaml").write_text(yaml.safe_dump(about, sort_keys=False))
    (folder / "splits.csv").write_text(SPLITS)
    return open_dataset(folder)


def mask(seed):
    return np.random.default_rng((seed, 7)).choice([0, 1, 2, 255], (40, 56)).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Two bands in dB; the left 20 columns have no data."""

    def layers(seed):
        values = image(seed)
        values[:, :, :20] = np.nan
        return values

    return make(tmp_path / "own", {"VV": "db", "VH": "db"}, layers, mask)


def test_a_simulated_chip_is_the_scene_of_its_number_in_standardised_decibels():
    chips = simulated()
    sample = chips[2]
    assert {key: (value.dtype, tuple(value.shape)) for key, value in sample.items()} == {
        "image": (torch.float32, (2, 32, 32)),
        "valid": (torch.bool, (1, 32, 32)),
        "label": (torch.int64, (32, 32)),
    }
    scene, labels = landcover_scene(5 * module.SCENES_PER_SEED + 2, SENTINEL1_DUAL, 32)
    assert chips.statistics.decibels(sample["image"]).numpy() == pytest.approx(
        power_to_db(scene.pixels), abs=0.02
    )
    assert np.array_equal(sample["label"].numpy(), labels)
    assert sample["valid"].all()
    assert len(chips.classes) == 7


def test_simulated_chips_have_mean_0_and_deviation_1_and_their_own_names():
    chips = simulated(20)
    images = torch.stack([chips[i]["image"] for i in range(20)])
    assert images.mean((0, 2, 3)).tolist() == pytest.approx([0, 0], abs=1e-3)
    assert images.std((0, 2, 3)).tolist() == pytest.approx([1, 1], abs=1e-3)
    assert chips.statistics.names == ("VV", "VH")
    assert chips.statistics.mean[0] > chips.statistics.mean[1]
    assert SimulatedChips(ALOS2_HH, 0, 1, 32).statistics.names == ("HH",)


def test_the_first_chips_of_a_seed_are_the_same_for_every_count_and_no_other_seed_has_them():
    statistics = simulated().statistics
    few, many = simulated(2, statistics=statistics), simulated(SHARD + 2, statistics=statistics)
    assert (len(few), len(many)) == (2, SHARD + 2)
    assert same(few[1], many[1])
    other = simulated(SHARD, seed=6, statistics=statistics)
    assert not any(torch.equal(many[0]["image"], other[i]["image"]) for i in range(SHARD))
    with pytest.raises(IndexError):
        few[2]


def test_bands_follow_the_order_of_the_statistics():
    measured = simulated()
    turned = BandStatistics(*(tuple(reversed(part)) for part in vars(measured.statistics).values()))
    assert torch.equal(simulated(statistics=turned)[0]["image"], measured[0]["image"].flip(0))


def test_the_cache_gives_the_same_chips_without_simulating(tmp_path, monkeypatch):
    fresh = simulated(SHARD + 1, cache=tmp_path)
    assert len(list(tmp_path.rglob("*.safetensors"))) == 2

    def never(*_):
        raise AssertionError("simulated again")

    monkeypatch.setattr(module, "landcover_scene", never)
    again = simulated(SHARD + 1, cache=tmp_path)
    assert all(same(fresh[i], again[i]) for i in (0, SHARD))
    assert again.statistics == fresh.statistics


def test_an_interrupted_or_damaged_cache_is_filled_up(tmp_path):
    fresh = simulated(SHARD + 1, cache=tmp_path)
    first, second = sorted(tmp_path.rglob("*.safetensors"))
    first.write_bytes(first.read_bytes()[:500])
    second.unlink()
    again = simulated(SHARD + 1, cache=tmp_path)
    assert all(same(fresh[i], again[i]) for i in (0, SHARD))
    assert second.exists()


def test_chips_of_an_older_simulator_are_not_taken(tmp_path, monkeypatch):
    simulated(1, cache=tmp_path)
    monkeypatch.setattr(module, "simulator", lambda: "other")
    simulated(1, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("domain", "count"), [(ALOS2_HH, 0), (Domain("plains", "HH", "real", "gaofen3", "C"), 1)]
)
def test_chips_that_cannot_be_made_are_refused(domain, count):
    with pytest.raises(DataError, match="take detected power and 1 to"):
        SimulatedChips(domain, 0, count, 32)


def test_statistics_of_a_product_come_by_name():
    statistics = named_statistics("bigearthnet-v2", ("VV", "VH"))
    assert statistics == BandStatistics(("VV", "VH"), (-12.5144, -19.1966), (5.0019, 5.4501), (True, True))
    for name, bands in (("bigearthnet-v2", ("HH",)), ("avalanche-ranges", ("VV",)), ("moon", ("VV",))):
        with pytest.raises(DataError, match="no mean and standard deviation in dB of"):
            named_statistics(name, bands)


def test_statistics_of_a_folder_are_those_of_valid_training_pixels(folder):
    statistics = folder_statistics(folder)
    training = np.concatenate([image(seed)[:, :, 20:].reshape(2, -1) for seed in (0, 1)], axis=1)
    assert statistics.mean == pytest.approx(training.mean(1).tolist(), abs=1e-5)
    assert statistics.std == pytest.approx(training.std(1).tolist(), abs=1e-5)
    assert statistics.radar == (True, True)


def test_grid_chips_show_the_image_and_no_data_is_the_mean(folder):
    chips = FolderChips(folder, "val", SIDE)
    assert len(chips) == 3 * 4
    sample = chips[1]
    assert not sample["valid"][0, :, :4].any()
    assert sample["valid"][0, :, 4:].all()
    assert (sample["image"][:, :, :4] == 0).all()
    shown = chips.statistics.decibels(sample["image"])[:, :, 4:].numpy()
    assert shown == pytest.approx(image(2)[:, :SIDE, 20:32], abs=1e-4)


def test_every_label_of_the_grid_counts_once(folder):
    chips = FolderChips(folder, "val", SIDE)
    seen = torch.cat([chips[i]["label"].flatten() for i in range(len(chips))])
    counts = [int((seen == value).sum()) for value in range(3)]
    assert counts == np.bincount(mask(2).ravel())[:3].tolist()
    assert chips.classes == ("land", "water", "town")


def test_chips_without_any_data_are_kept_and_weigh_nothing(folder):
    chips = FolderChips(folder, "val", SIDE)
    empty = [i for i in range(len(chips)) if not chips[i]["valid"].any()]
    assert empty == [0, 4, 8]
    assert not chips[0]["image"].any()


def test_random_crops_depend_on_seed_and_index_alone(folder):
    chips = FolderChips(folder, "train", SIDE, draws=50, seed=3)
    assert len(chips) == 50
    assert same(chips[49], FolderChips(folder, "train", SIDE, draws=60, seed=3)[49])
    assert not same(chips[0], chips[1])
    assert not same(chips[0], FolderChips(folder, "train", SIDE, draws=50, seed=4)[0])
    with pytest.raises(IndexError):
        chips[50]


def test_random_crops_show_pixels_of_their_split_alone_with_their_labels(tmp_path):
    """Every pixel holds a number of its own, from 4480 on those of validation."""

    def numbers(seed):
        return (seed * 2240 + np.arange(2240).reshape(40, 56)).astype(np.float32)

    own = make(tmp_path / "own", {"B": "1"}, numbers, lambda seed: (numbers(seed) % 3).astype(np.uint8))
    chips, images = FolderChips(own, "train", SIDE, draws=40), set()
    for i in range(40):
        sample = chips[i]
        shown = chips.statistics.decibels(sample["image"])[0].round().long()
        assert torch.equal(sample["label"], shown % 3)
        assert sorted(
            {*shown.diff(dim=0).abs().flatten().tolist(), *shown.diff(dim=1).abs().flatten().tolist()}
        ) == [1, 56]
        images |= set((shown // 2240).flatten().tolist())
    assert images == {0, 1}


@pytest.mark.parametrize(
    ("units", "layer", "expected"),
    [
        ("power", 0.01, -20.0),
        ("amplitude", 0.1, -20.0),
        ("dn", 100.0, 40.0),
        ("complex", 0.06 + 0.08j, -20.0),
        ("power", -0.5, -80.0),
        ("m", 800.0, 800.0),
        ("1", 0.3, 0.3),
    ],
)
def test_radar_bands_of_any_unit_become_decibels(tmp_path, units, layer, expected):
    dtype = np.complex64 if units == "complex" else np.float32

    def layers(seed):
        values = np.full((1, 40, 56), layer, dtype)
        values[:, :20] = 3 * abs(layer)
        return values

    chips = FolderChips(make(tmp_path / "own", {"B": units}, layers), "val", SIDE)
    db = chips.statistics.decibels(chips[8]["image"])
    assert float(db[0, 8, 8]) == pytest.approx(expected, abs=1e-3)
    assert chips.statistics.radar == (units not in ("m", "1"),)
    assert "label" not in chips[0]


def test_labels_of_whole_images_are_one_number_a_label(tmp_path):
    own = make(tmp_path / "own", {"VV": "db"}, lambda s: image(s, (40, 56)), image_labels="a,\nb,\nc,town\n")
    assert FolderChips(own, "val", SIDE)[0]["label"].tolist() == [0, 1]
    assert FolderChips(own, "train", SIDE, draws=1)[0]["label"].tolist() == [0, 0]


def test_images_smaller_than_a_chip_are_refused(folder):
    with pytest.raises(DataError, match=r"c\.tif has 40 x 56 px, less than a chip of 48 x 48"):
        FolderChips(folder, "val", 48)


def test_a_constant_band_is_refused(tmp_path):
    own = make(tmp_path / "own", {"VV": "db"}, lambda s: np.full((40, 56), -8.3, np.float32))
    with pytest.raises(DataError, match=r"band VV has mean -8\.3 and standard deviation 0"):
        FolderChips(own, "train", SIDE)


def test_the_bands_of_a_checkpoint_are_chosen_or_refused(folder, tmp_path):
    one = BandStatistics(("VH",), (-12.0,), (3.0,), (True,))
    chips = FolderChips(folder, "val", SIDE, statistics=one)
    assert chips[1]["image"].shape == (1, SIDE, SIDE)
    assert chips[1]["image"][0, 0, 4].item() == pytest.approx((image(2)[1, 0, 20] + 12) / 3, abs=1e-4)
    other = BandStatistics(("HH",), (-12.0,), (3.0,), (True,))
    with pytest.raises(CheckpointError, match="takes the bands HH and the data has VV, VH"):
        FolderChips(folder, "val", SIDE, statistics=other)
    terrain = BandStatistics(("VV",), (-12.0,), (3.0,), (False,))
    with pytest.raises(CheckpointError, match="was no backscatter in training"):
        FolderChips(folder, "val", SIDE, statistics=terrain)
    check_bands(one, ("VV", "VH"))


def test_few_images_are_kept_in_memory(folder, monkeypatch):
    monkeypatch.setattr(module, "IMAGE_MEMORY", 1)
    chips = FolderChips(folder, "train", SIDE)
    first = chips[0]
    chips[len(chips) - 1]
    assert list(chips._images) == ["b"]
    assert same(chips[0], first)


def test_shuffled_chips_give_each_chip_once_a_pass_in_another_order():
    chips = simulated(5)
    shuffled = Shuffled(chips, 15, seed=1)
    assert len(shuffled) == 15

    def which(sample):
        levels = [chips[i]["image"].mean() for i in range(5)]
        return int(torch.stack(levels).sub(sample["image"].mean()).abs().argmin())

    passes = [[which(shuffled[5 * turn + i]) for i in range(5)] for turn in range(3)]
    assert all(sorted(order) == list(range(5)) for order in passes)
    assert len({tuple(order) for order in passes}) > 1
    assert same(shuffled[7], Shuffled(chips, 8, seed=1)[7])
    with pytest.raises(IndexError):
        shuffled[15]


def test_flips_turn_image_and_labels_together():
    chips = simulated(1)
    plain, seen = chips[0], set()
    for i in range(16):
        sample = Shuffled(chips, 16, seed=2)[i]
        axes = next(
            axes
            for axes in ((), (-2,), (-1,), (-2, -1))
            if torch.equal(sample["image"], plain["image"].flip(axes))
        )
        assert torch.equal(sample["label"], plain["label"].flip(axes))
        seen.add(axes)
    assert len(seen) == 4
