"""Folders of your own data that are not as they should be: one sentence that names the file and the cure."""

import numpy as np
import pytest
import yaml
from rasters import HERE, write

from sartutor.errors import DataError, OutputError
from sartutor.sar.folder import DatasetWriter, Description, Entry, open_dataset
from sartutor.sar.geotiff import write_scene
from sartutor.sar.scene import Band, Grid, Scene

RULES = {"bands": [{"name": "VV", "units": "db"}], "labels": {"background": [0], "object": [1]}}
SPLITS = "id,split,block\na,train,here\nb,test,there\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    (tmp_path / "dataset.yaml").write_text(yaml.safe_dump(RULES))
    (tmp_path / "splits.csv").write_text(SPLITS)
    for name in "ab":
        values = np.random.default_rng(0).normal(-12, 3, (20, 30)).astype(np.float32)
        write(tmp_path / "images" / f"{name}.tif", values)
        write(tmp_path / "masks" / f"{name}.tif", np.eye(20, 30, dtype=np.uint8))
    return tmp_path


def refused(folder, *words):
    """Opening and checking the folder ends with one sentence that holds all `words`."""
    with pytest.raises(DataError) as caught:
        open_dataset(folder).check(progress=False)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    assert len(message) < 400
    for word in words:
        assert word in message


def test_the_folder_itself_is_good(folder):
    open_dataset(folder).check(progress=False)


def test_a_folder_that_is_not_there(tmp_path):
    refused(tmp_path / "nowhere", "nowhere", "no folder")


@pytest.mark.parametrize("name", ["dataset.yaml", "splits.csv", "images/b.tif", "masks/a.tif"])
def test_a_missing_file(folder, name):
    (folder / name).unlink()
    refused(folder, name, "missing")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"primary": ["VV", "VV"]}, ["names a band twice"]),
        ({"band": []}, ["band:", "extra"]),
        ({"bands": []}, ["bands", "at least 1"]),
        ({"bands": [{"name": "VV", "units": "decibel"}]}, ["bands.0.units", "'db'"]),
        ({"bands": [{"name": "VV", "units": "db", "range": [-3, -23]}]}, ["range", "smaller"]),
        ({"bands": [{"name": "VV", "units": "db", "range": [float("-inf"), 0]}]}, ["range", "finite"]),
        ({"bands": [{"name": "VV", "units": "db"}] * 2}, ["same name"]),
        ({"labels": {"background": [0], "object": [0, 1]}}, ["two things"]),
        ({"labels": {"object": [1]}}, ["two meanings"]),
        ({"labels": {"object": [1], "water": [2]}}, ["background and object"]),
        ({"ignore": 1}, ["two things"]),
        ({"primary": ["HH"]}, ["'HH'", "no band"]),
        ({"secondary": ["VV"]}, ["without primary"]),
        ({"bands": [{"name": f"B{i}", "units": "db"} for i in range(7)]}, ["more than 6", "primary"]),
        (
            {
                "bands": [{"name": f"B{i}", "units": "db"} for i in range(4)],
                "primary": ["B0", "B1", "B2", "B3"],
            },
            ["3 bands at most"],
        ),
        ({"image_labels": ["sea", "land"]}, ["not both"]),
    ],
)
def test_a_wrong_dataset_yaml(folder, changes, words):
    (folder / "dataset.yaml").write_text(yaml.safe_dump({**RULES, **changes}))
    refused(folder, "dataset.yaml", "correct it", *words)


@pytest.mark.parametrize("text", ["bands: [", "", "- a\n- b\n"])
def test_a_dataset_yaml_that_is_no_yaml_mapping(folder, text):
    (folder / "dataset.yaml").write_text(text)
    refused(folder, "dataset.yaml", "correct it")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["header id,split,block"]),
        ("a,train,here\n", ["header"]),
        ("id,split,block\n", ["no image"]),
        ("id,split,block\na,train\n", ["line 2", "2 cells"]),
        ("id,split,block\na,train,\n", ["image a", "block"]),
        ("id,split,block\na,train,here\na,train,here\n", ["image a twice"]),
        ("id,split,block\n../a,train,here\n", ["'../a'", "file name"]),
        ("id,split,block\nsub/a,train,here\n", ["'sub/a'"]),
        ("id,split,block\nsub\\a,train,here\n", ["file name"]),
        ("id,split,block\na,train,here\nb,test,here\n", ["block 'here'", "train", "test"]),
        ("id,split,block\na,val,here\nb,test,here\n", ["block 'here'", "val"]),
        ("id,split,block\na,train,here\nb,val,here\n", ["block 'here'"]),
    ],
)
def test_a_wrong_splits_csv(folder, text, words):
    (folder / "splits.csv").write_text(text)
    refused(folder, "splits.csv", *words)


def test_an_empty_split(folder):
    with pytest.raises(DataError, match=r"no image in split 'val'; it has train, test\."):
        open_dataset(folder).ids("val")


def test_ranges_need_a_training_split(folder):
    (folder / "splits.csv").write_text("id,split,block\nb,test,there\n")
    with pytest.raises(DataError, match="no image in split 'train'"):
        _ = open_dataset(folder).ranges


def test_a_band_that_is_constant_has_no_range(folder):
    write(folder / "images" / "a.tif", np.full((20, 30), -7, np.float32))
    with pytest.raises(DataError, match="band VV is -7 nearly everywhere"):
        _ = open_dataset(folder).ranges


def test_an_unknown_image(folder):
    with pytest.raises(DataError, match=r"splits\.csv has no image '\.\./a'"):
        open_dataset(folder).scene("../a")


def test_a_mask_of_another_size(folder):
    write(folder / "masks" / "b.tif", np.zeros((20, 29), np.uint8))
    refused(folder, "masks/b.tif", "20 x 29", "20 x 30", "same size")


def test_a_mask_of_two_bands(folder):
    write(folder / "masks" / "b.tif", np.zeros((2, 20, 30), np.uint8))
    refused(folder, "masks/b.tif", "2 bands")


@pytest.mark.parametrize(("values", "said"), [([0, 7, 9], "7, 9"), ([0.5], "0.5")])
def test_mask_values_that_mean_nothing(folder, values, said):
    mask = np.zeros((20, 30), np.float32)
    mask[0, : len(values)] = values
    write(folder / "masks" / "a.tif", mask)
    refused(folder, "masks/a.tif", said, "dataset.yaml")


def test_an_image_without_data(folder):
    write(folder / "images" / "b.tif", np.full((20, 30), np.nan, np.float32))
    refused(folder, "images/b.tif", "no data", "splits.csv")


def test_an_image_with_more_bands_than_the_yaml(folder):
    write(folder / "images" / "b.tif", np.zeros((2, 20, 30), np.float32))
    refused(folder, "images/b.tif", "2 bands", "lists 1")


def test_an_image_that_names_its_bands_in_another_order(folder):
    rules = {**RULES, "bands": [{"name": "VV", "units": "db"}, {"name": "VH", "units": "db"}]}
    (folder / "dataset.yaml").write_text(yaml.safe_dump(rules))
    values = np.random.default_rng(0).normal(-12, 3, (2, 20, 30)).astype(np.float32)
    for name in "ab":
        write(folder / "images" / f"{name}.tif", values, descriptions=("vh", "vv"))
    refused(folder, "a.tif", "names its bands vh, vv", "lists vv, vh", "in the order of the images")


def test_a_mask_whose_no_data_is_listed_as_object(folder):
    rules = {**RULES, "labels": {"background": [0], "object": [1, 255]}}
    (folder / "dataset.yaml").write_text(yaml.safe_dump(rules))
    mask = np.eye(20, 30, dtype=np.uint8)
    mask[:, 20:] = 255
    write(folder / "masks" / "b.tif", mask, nodata=255)
    refused(folder, "b.tif", "declares 255 to be no data", "lists it as object beside 1")
    write(folder / "masks" / "b.tif", np.where(mask > 0, 255, 0).astype(np.uint8), nodata=255)
    assert (open_dataset(folder).mask("b") == (mask > 0)).all()


def test_an_image_that_states_other_units(folder):
    grid = Grid(HERE, None, 20, 30)
    power = Scene(np.ones((1, 20, 30), np.float32), (Band("VV", "power"),), grid, np.ones((20, 30), bool))
    write_scene(power, folder / "images" / "b.tif")
    refused(folder, "images/b.tif", "power", "db", "correct one")


def test_an_image_that_is_cut_short(folder):
    path = folder / "images" / "b.tif"
    path.write_bytes(path.read_bytes()[:700])
    refused(folder, "images/b.tif", "damaged")


def test_labels_of_images_that_are_unknown_or_missing(folder):
    described = {"bands": RULES["bands"], "image_labels": ["sea", "land"]}
    (folder / "dataset.yaml").write_text(yaml.safe_dump(described))
    refused(folder, "labels.csv", "missing")
    (folder / "labels.csv").write_text("id,labels\na,sea\n")
    refused(folder, "labels.csv", "image b")
    (folder / "labels.csv").write_text("id,labels\na,sea\nb,moon\n")
    refused(folder, "labels.csv", "'moon'")


def test_writing_refuses_what_would_not_be_read(tmp_path):
    writer = DatasetWriter(tmp_path, Description.model_validate(RULES))
    grid = Grid(HERE, None, 4, 5)
    scene = Scene(np.ones((1, 4, 5), np.float32), (Band("VV", "db"),), grid, np.ones((4, 5), bool))
    mask = np.zeros((4, 5), int)
    for id, image, label, words in (
        ("../a", scene, mask, "file name"),
        ("a", scene, None, "mask"),
        ("a", scene, mask - 1, "0 to 255"),
        ("a", scene, mask[:2], "0 to 255"),
        ("a", Scene(scene.pixels, (Band("VV", "power"),), grid, scene.valid), mask, "dataset.yaml"),
    ):
        with pytest.raises(DataError, match=words):
            writer.write(id, image, label)
    assert not list((tmp_path / "images").iterdir())
    with pytest.raises(DataError, match=r"a\.tif is missing"):
        writer.finish([Entry("a", "train", "here")])


def test_a_place_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="choose a folder"):
        DatasetWriter(tmp_path / "file" / "new", Description.model_validate(RULES))
