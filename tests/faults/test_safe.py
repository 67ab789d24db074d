"""SAFE folders that are not whole or not what they should be: one sentence that names the file and the cure."""

import shutil
import sys

import numpy as np
import pytest
from rasters import UTM, write
from safe_product import Product, write_safe

from sartutor.errors import DataError, GeometryError, SarTutorError
from sartutor.sar.safe import open_safe, terrain_correct

SHAPE = (40, 60)


def product(folder, **changes):
    dn = {"VV": np.full(SHAPE, 200, np.uint16), "VH": np.full(SHAPE, 60, np.uint16)}
    return write_safe(folder, Product(dn, lines=(0, 20, 39), **changes))


def refused(path, *words, kind=DataError, **arguments):
    with pytest.raises(SarTutorError) as caught:
        open_safe(path, **arguments)
    sentence = str(caught.value)
    assert isinstance(caught.value, kind)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    for word in words:
        assert word in sentence


@pytest.mark.parametrize(
    ("pattern", "role"),
    [
        ("measurement/*-vh-*.tiff", "measurement"),
        ("annotation/s1a-*-vh-*.xml", "annotation"),
        ("annotation/calibration/calibration-*-vh-*.xml", "calibration"),
        ("annotation/calibration/noise-*-vh-*.xml", "noise"),
    ],
)
def test_a_missing_file_is_named(tmp_path, pattern, role):
    folder = product(tmp_path)
    (lost,) = folder.glob(pattern)
    lost.unlink()
    refused(folder, str(lost), f"({role} of VH) is missing", "download the whole product again")
    assert open_safe(folder, ["VV"]).band_names == ("VV",)


@pytest.mark.parametrize(
    ("pattern", "word"),
    [
        ("annotation/calibration/calibration-*-vv-*.xml", "damaged"),
        ("annotation/calibration/noise-*-vv-*.xml", "damaged"),
        ("manifest.safe", "damaged"),
        ("measurement/*-vv-*.tiff", "damaged or cut short"),
    ],
)
def test_a_file_cut_short_is_named(tmp_path, pattern, word):
    folder = product(tmp_path)
    (path,) = folder.glob(pattern)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    refused(folder, path.name, word)


def test_no_manifest_no_folder_and_an_archive(tmp_path):
    folder = product(tmp_path)
    refused(tmp_path / "nowhere.SAFE", "does not exist")
    (tmp_path / "product.zip").write_bytes(b"PK")
    refused(tmp_path / "product.zip", "unpack")
    (folder / "manifest.safe").unlink()
    refused(folder, "no manifest.safe")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"<s1sarl1:productType>GRD": "<s1sarl1:productType>SLC"}, "SLC"),
        ({"SENTINEL-1</safe:familyName>": "SENTINEL-2</safe:familyName>"}, "SENTINEL-2"),
        ({'<safe:orbitNumber type="stop">46653': '<safe:orbitNumber type="stop">46654'}, "46654"),
        ({"s1Level1CalibrationSchema": "unknown"}, "no calibration file of VV"),
    ],
)
def test_another_kind_of_product_is_refused(tmp_path, changes, word):
    refused(product(tmp_path, changes=changes), word)


def test_an_image_of_zeros_is_refused_by_name(tmp_path):
    dn = {"VV": np.full(SHAPE, 200, np.uint16), "VH": np.zeros(SHAPE, np.uint16)}
    folder = write_safe(tmp_path, Product(dn, lines=(0, 39)))
    refused(folder, "-vh-", "all zeros")
    assert open_safe(folder, ["VV"]).read().valid.all()


def test_images_of_different_size_are_refused(tmp_path):
    dn = {"VV": np.full(SHAPE, 200, np.uint16), "VH": np.full((30, 60), 60, np.uint16)}
    refused(write_safe(tmp_path, Product(dn, lines=(0, 39))), "-vh-", "(30, 60)", "(40, 60)")


def test_what_is_asked_for_must_be_there(tmp_path):
    folder = product(tmp_path)
    refused(folder, "no polarisation HH", "VV, VH", polarisations=["HH"])
    refused(folder, "no polarisation was named", polarisations=[])
    refused(folder, "'nought'", quantity="nought")


def edit(folder, pattern, old, new):
    (path,) = folder.glob(pattern)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_products_of_old_processors_say_how_to_go_on(tmp_path):
    """Noise in units of its own, as until July 2015."""
    folder = product(tmp_path, early=True, noise=0.3)
    refused(folder, "noise-", "until July 2015", "denoise=False", polarisations=["VV"])
    assert open_safe(folder, ["VV"], denoise=False).read().valid.all()


def test_no_noise_at_all_is_no_complete_table(tmp_path):
    folder = product(tmp_path, early=True, noise=900.0)
    edit(folder, "annotation/calibration/noise-*-vv-*.xml", "noiseVector>", "unknown>")
    refused(folder, "noise-", "look-up table", polarisations=["VV"])


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("<line>20</line>", "<line>0</line>", "must ascend"),
        ("sigmaNought", "sigma", "no complete table of sigmaNought"),
        ('count="3">0 ', 'count="3">', "as many values as pixels"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tmp_path, old, new, word):
    folder = product(tmp_path)
    edit(folder, "annotation/calibration/calibration-*-vv-*.xml", old, new)
    refused(folder, "calibration-s1a-iw-grd-vv", "sigmaNought", word)


def test_a_missing_extra_names_the_cure(tmp_path, monkeypatch):
    folder = product(tmp_path)
    model = write(tmp_path / "dem.tif", np.full((20, 20), 500, np.float32))
    monkeypatch.setitem(sys.modules, "sarsen", None)
    with pytest.raises(DataError, match=r'sarsen .* run pip install "sartutor\[online\]"\.$'):
        terrain_correct(folder, model)
    monkeypatch.setitem(sys.modules, "xarray_sentinel.esa_safe", None)
    refused(folder, "xarray-sentinel", 'pip install "sartutor[online]"')


def test_terrain_correction_says_what_the_height_model_lacks(tmp_path):
    folder = product(tmp_path)
    heights = np.full((20, 20), 500, np.float32)
    with pytest.raises(GeometryError, match="no coordinate reference system"):
        terrain_correct(folder, write(tmp_path / "plain.tif", heights, crs=None))
    with pytest.raises(DataError, match="does not exist"):
        terrain_correct(folder, tmp_path / "none.tif")
    with pytest.raises(GeometryError, match="does not overlap"):
        terrain_correct(folder, write(tmp_path / "far.tif", heights, crs=UTM))


def test_a_folder_read_only_needs_no_writing(tmp_path):
    folder = product(tmp_path)
    before = sorted(folder.rglob("*"))
    open_safe(folder).read()
    assert sorted(folder.rglob("*")) == before
    shutil.rmtree(folder)
