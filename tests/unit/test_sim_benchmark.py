"""The benchmark as a folder: which scenes lie in which split, where, and that writing it can be continued."""

import numpy as np
import pytest

from sartutor.presets import BenchmarkSizes
from sartutor.sar.folder import open_dataset
from sartutor.sar.footprint import apply_affine
from sartutor.sar.published.common import kept_apart
from sartutor.sim import avalanche, benchmark
from sartutor.sim.benchmark import ROLES, role_seed, write_benchmark

SIZES = BenchmarkSizes(side=96, train=4, val=2, test=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small benchmark; scenes this small are often empty."""
    return write_benchmark(tmp_path_factory.mktemp("benchmark"), 3, SIZES, progress=False)


def test_every_split_has_as_many_scenes_as_asked_for_and_each_is_a_block(folder):
    assert [len(folder.ids(role)) for role in ROLES] == [SIZES.train, SIZES.val, SIZES.test]
    assert len({entry.block for entry in folder.entries}) == len(folder.entries)
    assert folder.check(progress=False) == []


def test_nothing_is_learned_from_scenes_without_debris_and_the_test_has_them(folder):
    debris = {role: [bool((folder.mask(id) == 1).any()) for id in folder.ids(role)] for role in ROLES}
    assert all(debris["train"] + debris["val"])
    assert 0 < sum(debris["test"]) < SIZES.test


def test_nothing_is_written_that_no_split_lists(folder):
    ids = {entry.id for entry in folder.entries}
    assert {path.stem for path in (folder.folder / "images").iterdir()} == ids


def test_a_written_scene_is_the_simulated_one(folder):
    id = folder.ids("test")[2]
    scene, labels = avalanche.avalanche_scene((role_seed(3, "test"), 2), SIZES.side)
    kept = folder.scene(id)
    assert kept.band_names == ("VV0", "VV1", "VH0", "VH1", "DEM", "slope")
    np.testing.assert_allclose(kept.pixels, scene.pixels)
    assert np.array_equal(folder.mask(id), labels > 0)


def test_both_encoders_have_bands_and_their_ranges_are_the_published_ones(folder):
    assert folder.primary == ("VV0", "VV1", "DEM")
    assert folder.secondary == ("VH0", "VH1", "slope")
    assert folder.ranges["VV1"] == (-23, -3)
    assert folder.ranges["VH0"] == (-27, -7)
    assert folder.ranges["DEM"] == (0, 4000)


def test_no_two_splits_and_no_two_seeds_share_scenes():
    seeds = [role_seed(seed, role) for seed in range(40) for role in ROLES]
    assert len(set(seeds)) == len(seeds)
    assert min(seeds) >= benchmark.FIRST_SCENES


def test_no_two_scenes_lie_on_the_same_ground(folder):
    grids = [folder.scene(entry.id).grid for entry in folder.entries]
    corners = {tuple(apply_affine(grid.transform, np.array([[0.0, 0.0]]))[0]) for grid in grids}
    assert len(corners) == len(grids)
    assert kept_apart(folder.entries, grids) == list(folder.entries)


def test_an_interrupted_run_goes_on_and_ends_with_the_same_folder(folder, tmp_path, monkeypatch):
    simulate, left = benchmark.avalanche_scene, [6]

    def interrupted(*arguments):
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        return simulate(*arguments)

    monkeypatch.setattr(benchmark, "avalanche_scene", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_benchmark(tmp_path, 3, SIZES, progress=False)
    begun = {path: path.stat().st_mtime_ns for path in (tmp_path / "images").glob("*.tif")}
    assert begun
    assert not (tmp_path / "splits.csv").exists()
    again = write_benchmark(tmp_path, 3, SIZES, progress=False)
    assert again.entries == folder.entries
    assert all(path.stat().st_mtime_ns == when for path, when in begun.items())
    assert np.array_equal(again.scene(again.ids("val")[1]).pixels, folder.scene(folder.ids("val")[1]).pixels)
    assert open_dataset(tmp_path).entries == folder.entries
