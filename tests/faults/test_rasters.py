"""Bad rasters and bad places to write to: one clear sentence that names the file, nothing half-written."""

import io
import os
import resource
import tarfile
import tempfile
from contextlib import contextmanager

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.windows import Window
from rasters import HERE, UTM, write
from scipy.io import netcdf_file

from sartutor.errors import DataError, GeometryError, OutputError, SarTutorError
from sartutor.sar.alos2 import open_mosaic
from sartutor.sar.geotiff import open_scene, read_scene, write_mask, write_scene
from sartutor.sar.scene import Band, Grid, Scene
from sartutor.sar.sentinel1 import open_sentinel1


def db_values(shape=(400, 300), seed=0):
    return np.random.default_rng(seed).normal(-12, 3, shape).astype(np.float32)


def cut(path, share):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


@contextmanager
def one_sentence(kind, *words):
    """The block must raise `kind` with one sentence that holds all `words`."""
    with pytest.raises(SarTutorError) as caught:
        yield
    message = str(caught.value)
    assert isinstance(caught.value, kind)
    assert "\n" not in message
    assert message.endswith(".")
    assert len(message) < 400
    for word in words:
        assert word in message


def missing(folder):
    return folder / "missing.tif"


def a_folder(folder):
    (folder / "folder.tif").mkdir()
    return folder / "folder.tif"


def empty(folder):
    (folder / "empty.tif").touch()
    return folder / "empty.tif"


def text(folder):
    (folder / "text.tif").write_text("not a raster at all")
    return folder / "text.tif"


def header_only(folder):
    path = write(folder / "header_only.tif", db_values())
    path.write_bytes(path.read_bytes()[:6])
    return path


def cut_short(folder):
    return cut(write(folder / "cut_short.tif", db_values(), compress="deflate"), 0.6)


def last_rows_lost(folder):
    return cut(write(folder / "last_rows_lost.tif", db_values((2100, 40))), 0.998)


def all_no_data(folder):
    return write(folder / "all_no_data.tif", np.full((50, 50), -9999, np.float32), nodata=-9999)


def all_not_a_number(folder):
    return write(folder / "all_not_a_number.tif", np.full((50, 50), np.nan, np.float32))


def no_common_pixel(folder):
    values = db_values((2, 50, 50))
    values[0, :25], values[1, 25:] = np.nan, np.nan
    return write(folder / "no_common_pixel.tif", values)


def no_bands(folder):
    with netcdf_file(folder / "no_bands.nc", "w") as file:
        for name in ("y", "x"):
            file.createDimension(name, 4)
        for name in ("VV", "VH"):
            file.createVariable(name, "f4", ("y", "x"))[:] = -12
    return folder / "no_bands.nc"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (missing, "does not exist"),
        (a_folder, "is a folder"),
        (empty, "not a raster"),
        (text, "not a raster"),
        (header_only, "cut short"),
        (cut_short, "cut short"),
        (last_rows_lost, "cut short"),
        (all_no_data, "no data"),
        (all_not_a_number, "no data"),
        (no_common_pixel, "no data"),
        (no_bands, "no bands"),
    ],
)
def test_bad_rasters(tmp_path, make, words):
    path = make(tmp_path)
    with one_sentence(DataError, path.name, words):
        open_scene(path)
    good = write(tmp_path / "good.tif", db_values())
    with one_sentence(SarTutorError, path.name):
        open_scene([good, path])


def power_values(shape=(400, 300), seed=0, level_db=-12.0):
    power = np.random.default_rng(seed).gamma(4, 0.25, shape) * 10 ** (level_db / 10)
    return power.astype(np.float32)


def dn_values(shape=(400, 300), seed=0):
    return np.round(np.sqrt(power_values(shape, seed) * 10**8.3)).astype(np.uint16)


def heights(shape=(400, 300)):
    return (500 + np.add.outer(np.arange(shape[0]), np.arange(shape[1]))).astype(np.float32)


def swath(shape=(400, 300)):
    """True in the triangles that a turned swath leaves empty on its map."""
    row, col = np.indices(shape)
    return (row + 4 * col < 200) | (row + 4 * col > 1300)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("values", "fill", "units"),
    [
        (db_values(), -9999, "db"),
        (db_values(), -3.4028235e38, "db"),
        (db_values(), -3.4e38, "db"),
        (db_values(), np.nan, "db"),
        (db_values(), 0, "db"),
        (db_values(), 32767, "db"),
        (power_values(), 0, "power"),
        (power_values(), -9999, "power"),
        (power_values() - 0.05, 0, "power"),
        (dn_values(), 0, "dn"),
        (dn_values(), 1, "dn"),
        (dn_values().astype(np.int16), -32768, "dn"),
        (dn_values().astype(np.int16), 32767, "dn"),
        (power_values() + 1j, 0, "complex"),
    ],
)
def test_a_collar_without_a_tag_is_no_data(tmp_path, values, fill, units):
    hole = swath()
    kind = np.complex64 if np.iscomplexobj(values) else values.dtype
    path = write(tmp_path / "collar.tif", np.where(hole, fill, values).astype(kind))
    scene = open_scene(path)
    assert scene.bands[0].units == units, scene.notes
    assert (scene.read().valid == ~hole).all()
    assert (scene.read(Window(30, 100, 50, 60)).valid == ~hole[100:160, 30:80]).all()
    if not np.isnan(fill):
        note = scene.notes[0]
        assert "taken as no data" in note
        assert f"{hole.mean():.0%}" in note


@pytest.mark.parametrize(("units", "fill"), [("m", -9999), ("m", 32767), ("m", -3.4e38), ("degree", -32768)])
def test_a_collar_around_heights_and_angles(tmp_path, units, fill):
    values = np.where(swath(), np.float32(fill), heights())
    scene = read_scene(write(tmp_path / "dem.tif", values), units=units)
    assert (scene.valid == ~swath()).all()


def scattered_zeros():
    """Power whose noise was subtracted and clipped at zero over dark water, beside a collar of zeros."""
    values = np.maximum(power_values(level_db=-25) - 0.002, 0)
    values[:20] = 0
    return values


def one_saturated_corner():
    values = dn_values().astype(np.int16)
    values[:3, :3] = 32767
    return values


def flat_coast():
    values = heights() - 600
    return np.maximum(values, 0)


@pytest.mark.parametrize(
    ("make", "stated"),
    [
        (scattered_zeros, {}),
        (scattered_zeros, {"units": "power"}),
        (one_saturated_corner, {}),
        (flat_coast, {"units": "m"}),
        (flat_coast, {"units": "degree"}),
        (flat_coast, {}),
        (lambda: np.where(swath(), 0, 1).astype(np.uint8), {}),
        (lambda: np.where(swath(), 0, 200).astype(np.uint8), {}),
        (lambda: np.where(swath(), 0, 7).astype(np.float32), {"units": "1"}),
        (lambda: np.where(swath(), 0, 3).astype(np.int16), {"units": "class"}),
    ],
)
def test_values_that_may_be_measured_are_kept(tmp_path, make, stated):
    scene = read_scene(write(tmp_path / "kept.tif", make()), **stated)
    assert scene.valid.all()
    assert not any("taken as no data" in note for note in scene.notes)


def test_zeros_at_the_border_and_elsewhere_are_kept_and_said_so(tmp_path):
    scene = open_scene(write(tmp_path / "clipped.tif", scattered_zeros()))
    assert "kept as data; tag the no-data value if it is fill" in scene.notes[0]


def test_a_declared_no_data_value_decides(tmp_path):
    """With a tag, zeros are what they are; what no radar measures is no data all the same."""
    values = np.where(swath(), 0, power_values())
    values[100:110, 100:110] = -9999
    scene = read_scene(write(tmp_path / "tagged.tif", values, nodata=np.nan))
    assert (scene.valid == (values > -9999)).all()


@pytest.mark.parametrize("fill", [-9999, -3.4028234663852886e38, 0])
def test_a_collar_with_a_tag_needs_no_sentence(tmp_path, fill):
    path = write(tmp_path / "tagged.tif", np.where(swath(), np.float32(fill), db_values()), nodata=fill)
    scene = read_scene(path, units="db")
    assert (scene.valid == ~swath()).all()
    assert scene.notes == ()


def test_each_band_has_its_own_collar(tmp_path):
    values = np.stack([db_values(), db_values(seed=1)])
    values[0, :30], values[1, :, -20:] = 0, -9999
    scene = read_scene(write(tmp_path / "two.tif", values, descriptions=["VV", "VH"]))
    assert scene.notes[0].startswith("VV: ")
    assert scene.notes[1].startswith("VH: ")
    assert (scene.valid == ((values[0] != 0) & (values[1] != -9999))).all()


def test_a_collar_that_fills_most_of_a_large_raster(tmp_path):
    """Not one of the windows that units are judged by meets the measurement."""
    values = np.zeros((1200, 1200), np.float32)
    values[560:600, 10:200] = db_values((40, 190))
    scene = open_scene(write(tmp_path / "mostly.tif", values, compress="deflate"))
    assert scene.bands[0].units == "db"
    assert (scene.read().valid == (values != 0)).all()


@pytest.mark.parametrize(
    ("values", "stated"),
    [
        (np.zeros((50, 40), np.float32), {}),
        (np.zeros((50, 40), np.uint16), {}),
        (np.zeros((50, 40), np.complex64), {}),
        (np.zeros((50, 40), np.uint8), {"units": "db"}),
        (np.zeros((1200, 1100), np.float32), {"units": "power"}),
    ],
)
def test_measurements_of_nothing_but_zeros_are_refused_by_name(tmp_path, values, stated):
    path = write(
        tmp_path / "nothing.tif", np.stack([values, values]), compress="deflate", descriptions=["VV", "VH"]
    )
    with one_sentence(DataError, "nothing.tif", "VV holds nothing but zeros"):
        open_scene(path, **stated)
    if values.dtype == np.float32:
        both = np.stack([db_values(values.shape), values])
        path = write(tmp_path / "half.tif", both, compress="deflate", descriptions=["VV", "VH"])
        with one_sentence(DataError, "half.tif", "VH holds nothing but zeros"):
            open_scene(path, **stated)


@pytest.mark.parametrize(
    ("values", "stated"),
    [
        (np.zeros((50, 40), np.uint8), {}),
        (np.zeros((50, 40), np.int16), {}),
        (np.zeros((50, 40), np.float32), {"units": "class"}),
        (np.zeros((50, 40), np.float32), {"units": "m"}),
        (np.zeros((50, 40), np.float32), {"units": "degree"}),
    ],
)
def test_labels_seas_and_plains_may_be_zero(tmp_path, values, stated):
    assert read_scene(write(tmp_path / "zero.tif", values), **stated).valid.all()


DEGREES = CRS.from_epsg(4326)


@pytest.mark.parametrize(
    ("transform", "crs", "cure"),
    [
        (HERE, DEGREES, "gdal_edit.py -a_srs EPSG:CODE tagged.tif"),
        (Affine.identity(), DEGREES, "EPSG:CODE"),
        (Affine(1, 0, 100, 0, -1, 95), CRS.from_epsg(4258), "EPSG:CODE"),
        (Affine(1e-4, 0, 9, 0, -1e-4, 47), UTM, "gdal_edit.py -a_srs EPSG:4326 tagged.tif"),
        (Affine(8e-3, 0, -161, 0, -8e-3, 23), CRS.from_epsg(31287), "EPSG:4326"),
        (Affine(1e-4, 0, 9, 0, -1e-4, 47) @ Affine.rotation(20), CRS.from_epsg(3857), "EPSG:4326"),
    ],
    ids=["metres as degrees", "pixels as degrees", "beyond the pole", "degrees as UTM", "coarse", "turned"],
)
def test_a_system_that_contradicts_the_coordinates_is_refused(tmp_path, transform, crs, cure):
    path = write(tmp_path / "tagged.tif", db_values(), transform, crs)
    with one_sentence(GeometryError, "tagged.tif", crs.to_string(), cure):
        open_scene(path)


@pytest.mark.parametrize(
    ("transform", "crs"),
    [
        (HERE, UTM),
        (Affine(1e-4, 0, 9, 0, -1e-4, 47), DEGREES),
        (Affine(1.2, 0, -0.5, 0, -0.45, 90.2), DEGREES),
        (Affine(10, 0, -500, 0, -10, 800), CRS.from_epsg(3857)),
        (Affine(0.5, 0, 10, 0, -0.5, 20), CRS.from_epsg(3857)),
        (Affine(1e-4, 0, 9, 0, -1e-4, 47), None),
        (HERE, None),
    ],
    ids=["UTM", "degrees", "whole Earth", "origin", "fine at origin", "none, degrees", "none, metres"],
)
def test_a_system_that_fits_is_taken(tmp_path, transform, crs):
    path = write(tmp_path / "fits.tif", db_values(), transform, crs)
    assert open_scene(path).grid.crs == crs


def test_a_raster_that_breaks_after_it_was_opened(tmp_path):
    path = write(tmp_path / "breaks.tif", db_values())
    scene = open_scene(path)
    cut(path, 0.5)
    with one_sentence(DataError, "breaks.tif", "cut short"):
        scene.read(Window(0, 350, 300, 50))


def test_no_file_at_all():
    with one_sentence(DataError, "at least one"):
        open_scene([])


@pytest.mark.parametrize(
    "stated", [{"names": ("VV", "VH")}, {"units": ("db", "db", "db")}, {"quantity": ("sigma0", "sigma0")}]
)
def test_wrong_band_count(tmp_path, stated):
    path = write(tmp_path / "single.tif", db_values())
    with one_sentence(DataError, "single.tif", "for 1 band"):
        open_scene(path, **stated)


def test_unknown_units(tmp_path):
    path = write(tmp_path / "single.tif", db_values())
    with one_sentence(DataError, "decibel", "db"):
        open_scene(path, units="decibel")


@pytest.mark.parametrize(
    ("values", "transform", "crs"),
    [
        (db_values((400, 299)), HERE, UTM),
        (db_values(), HERE @ Affine.translation(0.5, 0), UTM),
        (db_values(), HERE @ Affine.rotation(0.1), UTM),
        (db_values(), HERE, CRS.from_epsg(32633)),
        (db_values(), HERE, None),
    ],
    ids=["size", "shift", "rotation", "system", "no system"],
)
def test_bands_on_different_grids(tmp_path, values, transform, crs):
    paths = [write(tmp_path / "vv.tif", db_values()), write(tmp_path / "vh.tif", values, transform, crs)]
    with one_sentence(GeometryError, "vv.tif", "vh.tif", "warp"):
        open_scene(paths)


def test_ground_control_points_only(tmp_path):
    points = [
        GroundControlPoint(row, col, 9 + col / 1000, 47 - row / 1000) for row in (0, 99) for col in (0, 99)
    ]
    path = tmp_path / "swath.tif"
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=100,
        width=100,
        count=1,
        dtype="float32",
        gcps=points,
        crs="EPSG:4326",
    ) as file:
        file.write(db_values((100, 100)), 1)
    with one_sentence(GeometryError, "swath.tif", "gdalwarp"):
        open_scene(path)


def test_a_transform_onto_a_line(tmp_path):
    path = write(tmp_path / "line.tif", db_values(), Affine(10, 10, 600000, 10, 10, 5200000))
    with one_sentence(GeometryError, "line.tif", "geotransform"):
        open_scene(path)


@pytest.mark.filterwarnings("error")
def test_no_system_is_no_fault(tmp_path):
    path = tmp_path / "picture.png"
    with (
        pytest.warns(rasterio.errors.NotGeoreferencedWarning),
        rasterio.open(path, "w", driver="PNG", height=40, width=50, count=1, dtype="uint8") as file,
    ):
        file.write(np.arange(2000, dtype=np.uint8).reshape(1, 40, 50))
    scene = read_scene(path)
    assert scene.grid == Grid(Affine.identity(), None, 40, 50)
    assert scene.bands[0].units == "1"


def small_scene():
    grid = Grid(HERE, UTM, 400, 300)
    return Scene(db_values((1, 400, 300)), (Band("VV", "db"),), grid, np.ones(grid.shape, bool))


def writers():
    scene = small_scene()
    mask = np.random.default_rng(0).random(scene.grid.shape) > 0.5
    return {
        "scene": lambda path: write_scene(scene, path),
        "mask": lambda path: write_mask(mask, scene.valid, scene.grid, path),
    }


@contextmanager
def a_full_disk(size):
    """No file may grow beyond `size` bytes: writing fails as it does on a full disk."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


@pytest.mark.parametrize("kind", ["scene", "mask"])
def test_a_full_disk_keeps_the_older_file(tmp_path, kind):
    path = tmp_path / "out.tif"
    path.write_bytes(b"older")
    with a_full_disk(1000), one_sentence(OutputError, "out.tif"):
        writers()[kind](path)
    assert path.read_bytes() == b"older"
    assert os.listdir(tmp_path) == ["out.tif"]


@pytest.mark.parametrize("kind", ["scene", "mask"])
def test_places_that_cannot_be_written_to(tmp_path, kind):
    (tmp_path / "taken.tif").mkdir()
    (tmp_path / "file").touch()
    for path in (tmp_path / "none" / "out.tif", tmp_path / "taken.tif", tmp_path / "file" / "out.tif"):
        with one_sentence(OutputError, str(path)):
            writers()[kind](path)
    assert sorted(os.listdir(tmp_path)) == ["file", "taken.tif"]


def tar_of(path, members):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def layer(tmp_path):
    """A 16-bit layer of a mosaic tile, with a collar of no-data, as bytes."""
    values = np.full((40, 50), 1, np.uint16)
    values[:, 10:] = 2500
    path = write(tmp_path / "layer.tif", values, nodata=1)
    content = path.read_bytes()
    path.unlink()
    return content


def test_a_tile_with_escaping_members_is_read_without_writing_elsewhere(tmp_path, layer):
    (tmp_path / "in").mkdir()
    path = tar_of(
        tmp_path / "in" / "tile.tar.gz", {"../../X1_20_sl_HH_F02DAR.tif": layer, "../evil.tif": b"x"}
    )
    scene = open_mosaic(path).read()
    assert scene.band_names == ("HH",)
    assert scene.valid.sum() == 40 * 40
    assert sorted(os.listdir(tmp_path)) == ["in"]
    assert os.listdir(tmp_path / "in") == ["tile.tar.gz"]


def test_bad_tiles(tmp_path, layer):
    good = {"X1_20_sl_HH_F02DAR.tif": layer}
    with one_sentence(DataError, "gone.tar.gz", "does not exist"):
        open_mosaic(tmp_path / "gone.tar.gz")
    with one_sentence(DataError, "cut.tar.gz", "damaged"):
        open_mosaic(cut(tar_of(tmp_path / "cut.tar.gz", good), 0.5))
    (tmp_path / "text.tar.gz").write_text("no archive")
    with one_sentence(DataError, "text.tar.gz", "no tar archive"):
        open_mosaic(tmp_path / "text.tar.gz")
    with one_sentence(DataError, "other.tar.gz", "sl_HH"):
        open_mosaic(tar_of(tmp_path / "other.tar.gz", {"readme.txt": b"hello"}))
    with one_sentence(DataError, "xml.tar.gz", "damaged"):
        open_mosaic(tar_of(tmp_path / "xml.tar.gz", {**good, "X1_20_F02DAR.xml": b"<Metadata><open>"}))
    with one_sentence(DataError, "broken.tar.gz", "X1_20_sl_HV_F02DAR.tif"):
        open_mosaic(tar_of(tmp_path / "broken.tar.gz", {**good, "X1_20_sl_HV_F02DAR.tif": layer[:1500]}))


def test_a_bad_tile_leaves_nothing_unpacked(tmp_path, monkeypatch):
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    with pytest.raises(DataError) as error:
        open_mosaic(tar_of(tmp_path / "other.tar.gz", {"readme.txt": b"hello"}))
    assert error.traceback
    assert not list(place.iterdir())


def test_a_full_disk_while_unpacking(tmp_path, layer):
    path = tar_of(tmp_path / "tile.tar.gz", {"X1_20_sl_HH_F02DAR.tif": layer})
    with a_full_disk(100), one_sentence(OutputError, "tile.tar.gz", "space"):
        open_mosaic(path)


def test_sentinel1_that_is_not_calibrated(tmp_path):
    digital = write(tmp_path / "s1_vv.tif", np.uint16(900 + 20 * db_values()))
    with one_sentence(DataError, "s1_vv", "calibrate"):
        open_sentinel1(digital)
    nameless = write(tmp_path / "nameless.tif", db_values())
    with one_sentence(DataError, "nameless", "polarisation"):
        open_sentinel1(nameless)
    assert open_sentinel1(nameless, names=("VV",)).bands == (Band("VV", "db"),)
