"""A folder of your own data: what is read, what numbers mean, ranges from training pixels, writing and continuing."""

import numpy as np
import pytest
import rasterio
import yaml
from affine import Affine
from rasterio.crs import CRS
from rasters import HERE, UTM, write

from sartutor.errors import DataError
from sartutor.sar import folder as folder_module
from sartutor.sar.folder import (
    IGNORE,
    DatasetWriter,
    Description,
    Entry,
    open_dataset,
)
from sartutor.sar.scene import Band, Grid, Scene

TWO_BANDS = {
    "bands": [{"name": "VV", "units": "db", "range": [-23, -3]}, {"name": "VH", "units": "db"}],
    "labels": {"background": [0], "object": [1, 255]},
    "ignore": 254,
}
SPLITS = "id,split,block\na,train,alps\nb,train,alps\nc,val,andes\nd,test,atlas\ne,far,atlas\n"


def pixels(seed, bands=2):
    return np.random.default_rng(seed).normal(-12, 3, (bands, 20, 30)).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    """A folder of five images of two bands; image a has a no-data column, mask a all known values."""
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    (tmp_path / "dataset.yaml").write_text(yaml.safe_dump(TWO_BANDS))
    (tmp_path / "splits.csv").write_text(SPLITS)
    for seed, name in enumerate("abcde"):
        image = pixels(seed)
        image[:, :, 0] = -9999
        label = np.zeros((20, 30), np.uint8)
        label[0, :4] = 1, 255, 254, 0
        away = HERE @ Affine.translation(1000 * seed, 0)
        write(tmp_path / "images" / f"{name}.tif", image, away, nodata=-9999)
        write(tmp_path / "masks" / f"{name}.tif", label, away)
    return tmp_path


def redescribe(folder, **changes):
    (folder / "dataset.yaml").write_text(yaml.safe_dump({**TWO_BANDS, **changes}))
    return open_dataset(folder)


def test_images_have_the_names_and_units_of_the_yaml(folder):
    scene = open_dataset(folder).scene("a")
    assert scene.bands == (Band("VV", "db"), Band("VH", "db"))
    assert not scene.valid[:, 0].any()
    assert scene.valid[:, 1:].all()
    assert scene.pixels[:, :, 1:] == pytest.approx(pixels(0)[:, :, 1:])
    assert scene.grid == Grid(HERE, UTM, 20, 30)
    assert scene.name == "a"


def test_masks_become_object_background_and_ignored(folder):
    mask = open_dataset(folder).mask("a")
    assert mask[0, :4].tolist() == [1, 1, IGNORE, 0]
    assert np.unique(mask[1:]).tolist() == [0]


def test_the_files_no_data_value_is_ignored_unless_it_is_a_label(folder):
    label = np.zeros((20, 30), np.uint8)
    label[0, 0], label[0, 1] = 1, 99
    write(folder / "masks" / "a.tif", label, nodata=99)
    assert open_dataset(folder).mask("a")[0, :3].tolist() == [1, IGNORE, 0]
    label[0, 1] = 0
    write(folder / "masks" / "a.tif", label, nodata=0)
    assert open_dataset(folder).mask("a")[0, :3].tolist() == [1, 0, 0]


def test_not_a_number_in_a_mask_is_ignored(folder):
    label = np.zeros((20, 30), np.float32)
    label[0, 0] = np.nan
    write(folder / "masks" / "a.tif", label)
    assert open_dataset(folder).mask("a")[0, :2].tolist() == [IGNORE, 0]


def test_land_cover_is_numbered_in_the_order_of_the_yaml(folder):
    dataset = redescribe(folder, labels={"forest": [1, 255], "water": [0]})
    assert dataset.description.classes == ("forest", "water")
    assert dataset.mask("a")[0, :4].tolist() == [0, 0, IGNORE, 1]


def test_object_is_1_and_background_0_however_they_are_listed(folder):
    dataset = redescribe(folder, labels={"object": [1, 255], "background": [0]})
    assert dataset.description.classes == ("background", "object")
    assert dataset.mask("a")[0, :2].tolist() == [1, 1]


def test_splits_keep_their_order_and_tests_may_share_a_place(folder):
    dataset = open_dataset(folder)
    assert dataset.splits == ("train", "val", "test", "far")
    assert dataset.ids("train") == ("a", "b")
    assert dataset.block("d") == dataset.block("e") == "atlas"


def test_ranges_are_given_or_percentiles_of_valid_training_pixels(folder):
    write(folder / "images" / "c.tif", pixels(9) + 100)
    training = np.concatenate([pixels(seed)[1, :, 1:].ravel() for seed in (0, 1)])
    ranges = open_dataset(folder).ranges
    assert ranges["VV"] == (-23, -3)
    assert ranges["VH"] == pytest.approx(tuple(np.percentile(training, (1, 99))), abs=1e-4)
    assert list(ranges) == ["VV", "VH"]


def test_a_large_training_split_is_sampled_evenly(folder, monkeypatch):
    monkeypatch.setattr("sartutor.sar.folder._even_sample.__defaults__", (300, 0))
    level = np.concatenate(
        [np.full((2, 20, 10), -5, np.float32), np.full((2, 20, 20), -9, np.float32)], axis=2
    )
    for name in "ab":
        write(folder / "images" / f"{name}.tif", level + np.float32(0.001) * pixels(0))
    low, high = open_dataset(folder).ranges["VH"]
    assert (low, high) == pytest.approx((-9, -5), abs=0.05)


def test_given_ranges_need_no_pixel(folder):
    for path in (folder / "images").iterdir():
        path.write_bytes(b"")
    bands = [
        {"name": "VV", "units": "db", "range": [-23, -3]},
        {"name": "VH", "units": "db", "range": [-27, -7]},
    ]
    assert redescribe(folder, bands=bands).ranges == {"VV": (-23, -3), "VH": (-27, -7)}


@pytest.mark.parametrize(
    ("count", "primary", "secondary"), [(1, "0", ""), (3, "012", ""), (4, "012", "3"), (6, "012", "345")]
)
def test_bands_1_to_3_are_primary_and_4_to_6_secondary(count, primary, secondary):
    bands = [{"name": str(index), "units": "db"} for index in range(count)]
    assert Description.model_validate({"bands": bands}).encoder_bands == (tuple(primary), tuple(secondary))


def test_named_bands_of_the_encoders_win():
    bands = [{"name": str(index), "units": "db"} for index in range(8)]
    named = Description.model_validate({"bands": bands, "primary": ["7"], "secondary": ["0", "1"]})
    assert named.encoder_bands == (("7",), ("0", "1"))


def test_units_that_the_values_contradict_are_doubted(folder):
    assert open_dataset(folder).check(progress=False) == []
    bands = [{"name": "VV", "units": "power"}, {"name": "VH", "units": "db"}]
    (doubt,) = redescribe(folder, bands=bands).check(progress=False)
    assert "band VV is said to be in power, but looks like db" in doubt


def test_a_band_that_is_the_same_everywhere_is_doubted(folder):
    image = pixels(1)
    image[1] = -15
    write(folder / "images" / "b.tif", image, HERE @ Affine.translation(1000, 0))
    (doubt,) = open_dataset(folder).check(progress=False)
    assert doubt == "b: band VH has one value everywhere, as speckle never has; look at it."


def test_images_without_a_place_are_counted(folder):
    write(folder / "images" / "a.tif", pixels(0), crs=None)
    (doubt,) = open_dataset(folder).check(progress=False)
    assert doubt.startswith("1 images have no coordinate reference system")


def test_a_local_system_places_nothing(folder):
    local = CRS.from_wkt('LOCAL_CS["arbitrary",UNIT["metre",1]]')
    write(folder / "images" / "a.tif", pixels(0), crs=local)
    write(folder / "masks" / "a.tif", np.eye(20, 30, dtype=np.uint8), crs=local)
    assert open_dataset(folder).check_headers() == []
    (doubt,) = open_dataset(folder).check(progress=False)
    assert doubt.startswith("1 images have no coordinate reference system that places them")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: _relabel(f, "train", "learn"), "splits.csv has no split 'train', which training needs."),
        (lambda f: _empty_masks(f, "c"), "no mask of split 'val' marks an object."),
        (
            lambda f: write(f / "masks" / "b.tif", np.eye(20, 30, dtype=np.uint8), HERE),
            "b: its mask says that it lies elsewhere, by more than a pixel; look whether it is that of the image.",
        ),
    ],
)
def test_what_will_stop_or_spoil_a_training_is_doubted(folder, change, said):
    change(folder)
    assert said in open_dataset(folder).check(progress=False)


def _relabel(folder, old, new):
    path = folder / "splits.csv"
    path.write_text(path.read_text().replace(f",{old},", f",{new},"))


def _empty_masks(folder, name):
    with rasterio.open(folder / "masks" / f"{name}.tif", "r+") as file:
        file.write(np.zeros((1, 20, 30), np.uint8))


def test_zeros_of_a_radar_band_are_doubted_and_a_band_without_a_range_is_named(folder):
    bands = [{"name": "VV", "units": "power"}, {"name": "h", "units": "m"}]
    for seed, name in enumerate("abcde"):
        image = 10 ** (pixels(seed) / 10)
        image[0, :, :10], image[1] = 0, 7
        write(folder / "images" / f"{name}.tif", image, HERE @ Affine.translation(1000 * seed, 0))
    doubts = redescribe(folder, bands=bands).check(progress=False)
    assert any(doubt.startswith("a (and 4 more): band VV is exactly 0 in places") for doubt in doubts)
    assert any("band h is 7 nearly everywhere in training" in doubt for doubt in doubts)


def test_what_is_never_measured_is_no_data_undeclared_too(folder):
    image = pixels(0)
    image[0, 2], image[1, 3] = -3.4e38, -9999
    write(folder / "images" / "a.tif", image)
    scene = open_dataset(folder).scene("a")
    assert not scene.valid[2:4].any()
    assert scene.valid[4:].all()


def test_another_folder_has_another_fingerprint(folder):
    first = open_dataset(folder).fingerprint()
    assert open_dataset(folder).fingerprint() == first
    write(folder / "images" / "a.tif", np.concatenate([pixels(0), pixels(1)], 1))
    second = open_dataset(folder).fingerprint()
    _relabel(folder, "far", "near")
    assert open_dataset(folder).fingerprint() == second != first
    (folder / "splits.csv").write_text(SPLITS.replace("b,train,alps\n", ""))
    assert open_dataset(folder).fingerprint() not in (first, second)


def test_splits_that_show_the_same_ground_are_doubted(folder):
    for kind, values in (("images", pixels(3)), ("masks", np.eye(20, 30, dtype=np.uint8))):
        write(folder / kind / "d.tif", values, HERE @ Affine.translation(15, 0))
    (doubt,) = open_dataset(folder).check(progress=False)
    assert doubt.startswith("d of split 'test' shows ground of a of split 'train'")


def test_headers_alone_tell_of_shared_ground_and_of_bands_that_lack(folder, monkeypatch):
    monkeypatch.setattr(folder_module, "read_layers", None)
    assert open_dataset(folder).check_headers() == []
    write(folder / "images" / "d.tif", pixels(3), HERE @ Affine.translation(15, 0))
    (doubt,) = open_dataset(folder).check_headers()
    assert doubt.startswith("d of split 'test' shows ground of a of split 'train'")
    write(folder / "images" / "e.tif", pixels(4, 3))
    with pytest.raises(DataError, match=r"e\.tif has 3 bands and dataset.yaml lists 2"):
        open_dataset(folder).check_headers()


def test_four_bands_of_bytes_are_four_bands_as_they_are_written_by_default(folder):
    values = np.random.default_rng(0).integers(0, 255, (4, 20, 30), np.uint8)
    values[3, :5] = 0
    for name in "abcde":
        write(folder / "images" / f"{name}.tif", values)
    listed = [{"name": name, "units": "1"} for name in ("B2", "B3", "B4", "B8")]
    scene = redescribe(folder, bands=listed).scene("a")
    assert scene.valid.all()
    assert np.array_equal(scene.pixels, values)
    with_alpha = redescribe(folder, bands=listed[:3]).scene("a")
    assert np.array_equal(with_alpha.valid, values[3] > 0)


@pytest.mark.parametrize("ending", [".tiff", ".TIF", ".TIFF"])
def test_files_may_end_otherwise(folder, ending):
    expected = open_dataset(folder).scene("b")
    for kind in ("images", "masks"):
        (folder / kind / "b.tif").rename(folder / kind / f"b{ending}")
    data = open_dataset(folder)
    assert data.scene("b").equals(expected)
    assert data.mask("b").shape == (20, 30)


def test_one_value_needs_no_brackets(folder):
    data = redescribe(folder, labels={"background": 0, "object": [1, 255]})
    assert data.mask("a")[0, :4].tolist() == [1, 1, IGNORE, 0]
    assert data.description.ignore == (254,)
    plain = redescribe(folder, bands=[{"name": name, "units": 1} for name in ("VV", "VH")])
    spoken = redescribe(folder, bands=[{"name": name, "units": "dB"} for name in ("VV", "VH")])
    assert set(spoken.description.units.values()) == {"db"}
    assert plain.scene("a").bands[0].units == "1"


def test_an_encoder_without_bands_is_refused(folder):
    with pytest.raises(DataError, match=r"dataset\.yaml, primary: "):
        redescribe(folder, primary=[])


@pytest.mark.parametrize(
    ("empty", "words"),
    [
        ((slice(1, 2),), "band VH holds no data"),
        ((slice(None),), "b.tif holds no data \\(all"),
        (((0, slice(10)), (1, slice(10, 20))), "holds no data in all bands at once"),
    ],
)
def test_an_image_without_data_says_which_band(folder, empty, words):
    image = pixels(1)
    for part in empty:
        image[part] = np.nan
    write(folder / "images" / "b.tif", image)
    with pytest.raises(DataError, match=words):
        open_dataset(folder).scene("b")


def test_a_folder_without_labels_serves_pretraining(folder):
    (folder / "dataset.yaml").write_text(yaml.safe_dump({"bands": TWO_BANDS["bands"]}))
    dataset = open_dataset(folder)
    assert dataset.scene("a").valid.any()
    with pytest.raises(DataError, match="no labels"):
        dataset.mask("a")


def test_whole_images_are_labelled_in_a_table(folder):
    described = {"bands": TWO_BANDS["bands"], "image_labels": ["sea", "forest", "urban"]}
    (folder / "dataset.yaml").write_text(yaml.safe_dump(described))
    (folder / "labels.csv").write_text("id,labels\na,sea|forest\nb,\nc,sea\nd,sea\ne,urban\n")
    assert open_dataset(folder).image_labels["a"] == ("sea", "forest")
    assert open_dataset(folder).image_labels["b"] == ()


def scene(seed, height=20):
    grid = Grid(Affine(10, 0, 500000, 0, -10, 5000000), UTM, height, 30)
    valid = np.ones(grid.shape, bool)
    valid[0] = False
    return Scene(
        pixels(seed)[:, :height], (Band("VV", "db", "sigma0"), Band("VH", "db", "sigma0")), grid, valid, "s"
    )


def described(**changes):
    return Description.model_validate({**TWO_BANDS, **changes})


def test_what_is_written_is_read_back(tmp_path):
    writer = DatasetWriter(tmp_path / "new", described())
    label = np.zeros((20, 30), int)
    label[2, 3], label[4, 5] = 255, 254
    for seed, name in enumerate("ab"):
        assert not writer.has(name)
        writer.write(name, scene(seed), label)
        assert writer.has(name)
    dataset = writer.finish([Entry("a", "train", "here"), Entry("b", "test", "there")])
    again = dataset.scene("b")
    assert again.pixels[:, again.valid] == pytest.approx(scene(1).pixels[:, again.valid])
    assert again.valid.tolist() == scene(1).valid.tolist()
    assert again.bands == scene(1).bands
    assert again.grid == scene(1).grid
    assert [(dataset.mask("a") == value).sum() for value in (1, IGNORE)] == [1, 1]
    assert dataset.description == described()
    dataset.check(progress=False)


def test_writing_is_continued_only_with_the_same_description(tmp_path):
    DatasetWriter(tmp_path, described()).write("a", scene(0), np.zeros((20, 30), int))
    assert DatasetWriter(tmp_path, described()).has("a")
    with pytest.raises(DataError, match="another data set"):
        DatasetWriter(tmp_path, described(ignore=253))


def test_a_folder_that_was_not_finished_is_not_opened(tmp_path):
    DatasetWriter(tmp_path, described()).write("a", scene(0), np.zeros((20, 30), int))
    with pytest.raises(DataError, match=r"splits\.csv is missing"):
        open_dataset(tmp_path)
