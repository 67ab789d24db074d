"""Adapting to a folder that is not as it should be: one sentence that names file and cure, nothing half-written."""

import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from adapting import recipe, write_folder

from sartutor.errors import DataError
from sartutor.learn.adapt import adapt


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "data", ("VV", "VH"), splits="train val").folder


def refused(folder, *words):
    out = folder.parent / "a.safetensors"
    with pytest.raises(DataError) as caught:
        adapt(folder, out, recipe=recipe(), device="cpu", progress=False)
    said = str(caught.value)
    assert "\n" not in said
    assert said.endswith(".")
    for word in words:
        assert word in said
    assert not out.exists()


def rewrite(path, change):
    with rasterio.open(path) as file:
        pixels, profile = file.read(), file.profile
    pixels, more = change(pixels)
    profile.update(height=pixels.shape[1], width=pixels.shape[2], **more)
    path.unlink()
    with rasterio.open(path, "w", **profile) as file:
        file.write(pixels)


def test_a_mask_is_missing(folder):
    (folder / "masks" / "0.tif").unlink()
    refused(folder, "0.tif is missing", "remove its line")


def test_a_mask_of_another_size(folder):
    rewrite(folder / "masks" / "0.tif", lambda pixels: (pixels[:, :50], {}))
    refused(folder, "0.tif", "50 x 96 px", "same size")


def test_a_value_that_means_nothing(folder):
    def spoil(pixels):
        pixels[0, :5, :5] = 7
        return pixels, {}

    rewrite(folder / "masks" / "0.tif", spoil)
    refused(folder, "0.tif holds the values 7", "labels nor ignore")


def test_an_image_without_data(folder):
    rewrite(folder / "images" / "0.tif", lambda pixels: (np.full_like(pixels, np.nan), {}))
    refused(folder, "0.tif holds no data", "remove it from splits.csv")


def test_a_band_of_one_value(folder):
    def spoil(pixels):
        pixels[1] = -12
        return pixels, {}

    rewrite(folder / "images" / "0.tif", spoil)
    refused(folder, "band VH is -12 nearly everywhere", "give it a range")


def test_a_place_that_is_learned_and_judged(folder):
    (folder / "splits.csv").write_text("id,split,block\n0,train,alps\n1,val,alps\n")
    refused(folder, "block 'alps'", "one of them")


def test_masks_that_are_all_empty(folder):
    for name in "01":
        rewrite(folder / "masks" / f"{name}.tif", lambda pixels: (np.zeros_like(pixels), {}))
    refused(folder, "No mask of split 'train'", "marks an object")


def test_land_cover_instead_of_objects(folder):
    text = (folder / "dataset.yaml").read_text()
    (folder / "dataset.yaml").write_text(text.replace("background", "water").replace("object", "land"))
    refused(folder, "names no object to prompt for", "labels: {background")
