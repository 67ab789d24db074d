"""Maps of whole scenes: the same in any blocks, no data where there is none, little memory, on the scene's own grid."""

import distributed
import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from rasters import UTM, write
from scipy import ndimage

from sartutor.errors import CheckpointError, DataError, GeometryError, OutputError
from sartutor.learn.generalists import load_generalist
from sartutor.learn.own_domains import shown
from sartutor.learn.whole_scene import class_map, generalist_answer, map_files, write_classes
from sartutor.sar.geotiff import open_scene, write_scene
from sartutor.sar.scene import Band, Grid, Scene

CPU = torch.device("cpu")


def scene_of(db, units="db", valid=None) -> Scene:
    """A scene of one band, or of as many as the first axis has."""
    db = np.asarray(db, np.float32)
    db = db[None] if db.ndim == 2 else db
    bands = tuple(Band(f"B{i}", units, "sigma0") for i in range(len(db)))
    grid = Grid(Affine(10, 0, 600_000, 0, -10, 5_200_000), UTM, *db.shape[1:])
    return Scene(db, bands, grid, np.ones(grid.shape, bool) if valid is None else valid)


def hills(rows=150, cols=130):
    return 6 * ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(rows, cols)), 2) - 10


def bright(db, valid):
    """Class 1 where the first channel is above -10 dB."""
    return torch.stack([-(db[:, 0] + 10), db[:, 0] + 10], 1)


def inner(db, valid):
    """Right in the middle of a window, wrong within 4 pixels of its border."""
    scores = bright(db, valid)
    wrong = torch.ones(db.shape[-2:], dtype=torch.bool)
    wrong[4:-4, 4:-4] = False
    return torch.where(wrong, -scores, 2 * scores)


class Watched:
    """A scene that remembers how large the pieces were that were read of it."""

    def __init__(self, scene: Scene) -> None:
        self.scene, self.grid, self.bands, self.name = scene, scene.grid, scene.bands, scene.name
        self.pieces: list[int] = []

    def read(self, window=None) -> Scene:
        piece = self.scene.read(window)
        self.pieces.append(piece.valid.size)
        return piece

    def digest(self) -> str:
        return self.scene.digest()


def test_every_pixel_has_the_class_of_its_place():
    db = hills()
    found = class_map(scene_of(db), bright, 32, 8, 64).compute()
    assert np.array_equal(found, db > -10)


@pytest.mark.parametrize("units", ["power", "amplitude"])
def test_units_make_no_difference(units):
    db = hills()
    values = 10 ** (db / (10 if units == "power" else 20))
    found = class_map(scene_of(values, units), bright, 32, 8, 64).compute()
    assert np.mean(found == (db > -10)) > 0.999


@pytest.mark.parametrize("block", [32, 57, 100])
def test_blocks_leave_no_seam(block):
    """The generalist's answer at a pixel depends on the whole window, which no block may change."""
    scene, answer = scene_of(hills(200, 170)), generalist_answer(load_generalist("generalist_moe"), CPU)
    whole = class_map(scene, answer, 64, 16, 1000).compute()
    assert np.array_equal(class_map(scene, answer, 64, 16, block).compute(), whole)
    assert len(np.unique(whole)) > 2


def test_an_overlap_mends_what_is_wrong_at_the_border_of_windows():
    db = hills()
    inside = np.s_[16:-16, 16:-16]
    shares = [
        np.mean(class_map(scene_of(db), inner, 32, overlap, 64).compute()[inside] == (db > -10)[inside])
        for overlap in (0, 16)
    ]
    assert shares[0] < 0.7
    assert shares[1] == 1


def test_no_data_stays_no_data_and_is_not_shown_to_the_model():
    db, valid = hills(), np.ones((150, 130), bool)
    valid[:70], valid[100:, 90:] = False, False
    db[~valid] = np.nan
    seen = []

    def watching(views, where):
        seen.append((views, where))
        return bright(views, where)

    found = class_map(scene_of(db, valid=valid), watching, 32, 8, 32).compute()
    assert np.array_equal(found == 255, ~valid)
    assert np.array_equal(found[valid], db[valid] > -10)
    assert all(bool(views.isfinite().all()) for views, _ in seen)
    assert any(bool((~where).any()) for _, where in seen)


def test_windows_are_standardised_as_chips_were_in_training():
    known = load_generalist("generalist_moe")
    db = torch.from_numpy(hills(128, 128)).float().expand(3, -1, -1).contiguous()
    valid = torch.ones(1, 128, 128, dtype=torch.bool)
    image, told = shown(db, valid, known.scales)
    with torch.no_grad():
        expected = known.model(image[None], told[None])[0]
        assert torch.allclose(generalist_answer(known, CPU)(db[None], valid[None]), expected, atol=1e-5)


def test_a_block_reads_its_own_surroundings_alone():
    watched = Watched(scene_of(hills(512, 384)))
    class_map(watched, bright, 32, 8, 64).compute()
    assert len(watched.pieces) == 8 * 6
    assert max(watched.pieces) <= (64 + 2 * 32) ** 2


@pytest.mark.parametrize(
    ("scene", "side", "overlap", "kind", "words"),
    [
        (scene_of(hills(40, 90)), 64, 8, GeometryError, "40 x 90"),
        (scene_of(hills()), 32, 32, GeometryError, "overlap"),
        (scene_of(hills(), "dn"), 32, 8, DataError, "calibrated"),
        (scene_of(np.stack([hills()] * 4)), 32, 8, DataError, "4 bands"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_read(scene, side, overlap, kind, words):
    with pytest.raises(kind, match=words):
        class_map(scene, bright, side, overlap)


def test_a_file_becomes_a_map_on_its_own_grid(tmp_path):
    valid = np.ones((300, 270), bool)
    valid[:90, :40] = False
    scene = scene_of(hills(300, 270), valid=valid)
    write_scene(scene, tmp_path / "scene.tif")
    report = map_files([tmp_path / "scene.tif"], "generalist_dense", tmp_path / "map.tif", progress=False)
    with rasterio.open(tmp_path / "map.tif") as file:
        found = file.read(1)
        assert (file.crs, file.transform, file.nodata) == (UTM, scene.grid.transform, 255)
        names = list(load_generalist("generalist_dense").classes)
        assert [file.tags(1)[str(code)] for code in range(len(names))] == names
    assert np.array_equal(found == 255, ~valid)
    assert report["pixels"] == {name: int(np.sum(found == code)) for code, name in enumerate(names)}


def test_a_map_that_cannot_be_finished_leaves_the_older_one(tmp_path):
    out = write(tmp_path / "map.tif", np.ones((8, 8), np.uint8))
    before = out.read_bytes()

    def broken(db, valid):
        raise DataError("no more")

    scene = scene_of(hills())
    with pytest.raises(DataError, match="no more"):
        write_classes(class_map(scene, broken, 32, 8), scene.grid, ("a", "b"), out, False)
    assert out.read_bytes() == before
    assert list(tmp_path.iterdir()) == [out]


def test_a_map_does_not_overwrite_what_it_is_made_from(tmp_path):
    path = tmp_path / "scene.tif"
    write_scene(scene_of(hills()), path)
    with pytest.raises(OutputError, match="read or written already"):
        map_files([path], "generalist_dense", path)
    with pytest.raises(OutputError, match=r"\.tif"):
        map_files([path], "generalist_dense", tmp_path / "map.png")
    with pytest.raises(CheckpointError):
        map_files([path], str(tmp_path / "none.safetensors"), tmp_path / "map.tif")
    assert open_scene(path).bands[0].name == "B0"


def test_workers_of_dask_distributed_compute_the_same(tmp_path):
    write_scene(scene_of(hills(300, 270)), tmp_path / "scene.tif")
    scene, answer = (
        open_scene(tmp_path / "scene.tif"),
        generalist_answer(load_generalist("generalist_dense"), CPU),
    )
    here = class_map(scene, answer, 128, 32, 128).compute()
    with distributed.Client(processes=False, dashboard_address=None, n_workers=1, threads_per_worker=2):
        there = class_map(scene, answer, 128, 32, 128).compute()
    assert np.array_equal(there, here)
