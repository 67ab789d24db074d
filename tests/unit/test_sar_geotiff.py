"""Scenes in files: what is stated is kept, what is not is judged, windows and overviews read the same pixels."""

from datetime import date

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.windows import Window
from rasters import HERE, UTM, write

from sartutor.errors import DataError, GeometryError
from sartutor.sar import geotiff
from sartutor.sar import resize as resizing
from sartutor.sar.geotiff import kept_overview, open_scene, read_scene, write_mask, write_scene
from sartutor.sar.scene import Band, Grid, Scene
from sartutor.sar.warp import resize

GRID = Grid(HERE @ Affine.rotation(12), UTM, 60, 80)


def db_values(shape=(60, 80), seed=0):
    return np.random.default_rng(seed).normal(-12, 3, shape).astype(np.float32)


def example(grid=GRID):
    pixels = np.stack([db_values(grid.shape), np.full(grid.shape, 35, np.float32)])
    valid = np.random.default_rng(1).random(grid.shape) > 0.2
    bands = (Band("VV0", "db", "sigma0", date(2024, 2, 29)), Band("inc", "degree"))
    return Scene(pixels, bands, grid, valid, "winter", "sentinel-1", ("a note", "a 'second' note"))


@pytest.mark.parametrize(
    "grid",
    [
        GRID,
        Grid(Affine(9e-5, 0, 9.5, 0, -9e-5, 47.0), CRS.from_epsg(4326), 600, 520),
        Grid(Affine.identity(), None, 5, 7),
    ],
    ids=["rotated", "degrees", "bare"],
)
@pytest.mark.filterwarnings("error")
def test_a_written_scene_is_read_back_as_it_was(tmp_path, grid):
    source = example(grid)
    write_scene(source, tmp_path / "scene.tif")
    back = read_scene(tmp_path / "scene.tif")
    assert (back.bands, back.name, back.product, back.notes) == (
        source.bands,
        "winter",
        "sentinel-1",
        source.notes,
    )
    assert back.grid == source.grid
    assert (back.valid == source.valid).all()
    assert (back.pixels[:, back.valid] == source.pixels[:, source.valid]).all()
    assert back.digest() == source.digest()


def test_complex_scenes_are_kept(tmp_path):
    values = (db_values() + 1j * db_values(seed=2)).astype(np.complex64)[None]
    valid = np.random.default_rng(1).random(GRID.shape) > 0.2
    source = Scene(values, (Band("VV", "complex"),), GRID, valid, "slc")
    write_scene(source, tmp_path / "slc.tif")
    back = read_scene(tmp_path / "slc.tif")
    assert back.pixels.dtype == np.complex64
    assert (back.valid == valid).all()
    assert (back.pixels[0][valid] == values[0][valid]).all()


@pytest.mark.parametrize(
    ("values", "units"),
    [
        (db_values(), "db"),
        (10 ** (db_values() / 10), "power"),
        (np.uint16(2000 + 500 * np.abs(db_values())), "dn"),
        (np.uint8(200 + 5 * db_values()), "1"),
        (db_values().astype(np.complex64), "complex"),
    ],
)
def test_units_not_stated_are_judged_and_noted(tmp_path, values, units):
    path = write(tmp_path / "plain.tif", values)
    scene = open_scene(path)
    assert scene.bands == (Band("B1", units),)
    assert scene.notes[0].startswith(f"B1: units taken as {units};")
    assert scene.read().notes == scene.notes


def test_a_judgement_is_overridden_by_naming_the_units(tmp_path):
    path = write(tmp_path / "plain.tif", np.stack([np.abs(db_values()) / 50, db_values()]))
    scene = open_scene(path, units=("amplitude", "db"), quantity="gamma0", names=("HH", "HV"), product="own")
    assert scene.bands == (Band("HH", "amplitude", "gamma0"), Band("HV", "db", "gamma0"))
    assert scene.notes == ()
    assert scene.product == "own"


def test_units_and_quantity_stated_by_the_raster_are_believed(tmp_path):
    path = write(tmp_path / "dem.tif", np.abs(db_values()), descriptions=["Gamma0_VV"])
    with rasterio.open(path, "r+") as file:
        file.set_band_unit(1, "metre")
    scene = open_scene(path)
    assert scene.bands == (Band("Gamma0_VV", "m", "gamma0"),)
    assert scene.notes == ()


@pytest.mark.parametrize("units", ["power", "amplitude"])
def test_decibels_that_are_called_power_are_refused(tmp_path, units):
    path = write(tmp_path / "vv.tif", db_values())
    with pytest.raises(DataError, match=rf"vv\.tif: VV is said to be in {units}.*name the true units"):
        open_scene(path, units=units)


def test_stated_units_that_the_values_contradict_are_noted(tmp_path):
    power = 10 ** (db_values() / 10)
    path = write(tmp_path / "vv.tif", power)
    noted = open_scene(path, units="db").notes
    assert len(noted) == 1
    assert noted[0].startswith("VV is said to be in db, but looks like power")
    for units in ("power", "amplitude"):
        assert open_scene(path, units=units).notes == ()
    assert open_scene(write(tmp_path / "db.tif", db_values()), units="db").notes == ()


def test_tags_of_other_programs_are_no_trouble(tmp_path):
    path = write(tmp_path / "tagged.tif", db_values())
    with rasterio.open(path, "r+") as file:
        file.update_tags(NOTES="free text", NAME="other", PRODUCT="else")
        file.update_tags(1, UNITS="furlong", DATE="yesterday", QUANTITY="much")
    assert open_scene(path).bands == (Band("B1", "db"),)
    assert open_scene(path).name == "tagged"


def test_scale_and_offset_are_applied(tmp_path):
    path = write(tmp_path / "scaled.tif", np.int16(np.round(100 * db_values())))
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = (0.01,), (0.5,)
    scene = read_scene(path)
    assert scene.bands[0].units == "db"
    assert scene.pixels[0] == pytest.approx(db_values() + 0.5, abs=0.006)


@pytest.mark.parametrize(
    ("files", "descriptions", "names"),
    [
        (["s1_vv_2024.tif", "s1_VH_2024.tif"], [], ("VV", "VH")),
        (["ALOS2-HH.tif", "ALOS2-HV.tif"], [], ("HH", "HV")),
        (["a_VV.tif", "b_VV.tif"], [], ("VV", "VV_2")),
        (["survey.tif", "hvac.tif"], [], ("B1", "B2")),
        (["a.tif", "b.tif"], ["co"], ("co", "co_2")),
        (["VV_VH.tif"], [], ("B1",)),
    ],
)
def test_bands_of_several_files_are_named(tmp_path, files, descriptions, names):
    paths = [
        write(tmp_path / name, db_values(seed=i), descriptions=descriptions) for i, name in enumerate(files)
    ]
    scene = open_scene(paths)
    assert scene.band_names == names
    assert scene.name == paths[0].stem
    for layer, path in zip(scene.read().pixels, paths, strict=True):
        assert (layer == read_scene(path).pixels[0]).all()


@pytest.mark.parametrize("kind", ["tag", "nan", "nan tag", "inf", "mask band", "alpha"])
def test_no_data_in_every_form(tmp_path, kind):
    hole = np.zeros(GRID.shape, bool)
    hole[10:20, 30:50] = True
    values = np.stack([db_values(), db_values(seed=2)])
    fill = {"tag": -9999, "nan": np.nan, "nan tag": np.nan, "inf": -np.inf}.get(kind, 7)
    values[0][hole] = fill
    path = tmp_path / f"{kind}.tif"
    if kind == "alpha":
        values = np.concatenate([np.abs(values) * 5, np.where(hole, 0, 255)[None]]).astype(np.uint8)
        write(path, values)
        with rasterio.open(path, "r+") as file:
            file.colorinterp = (ColorInterp.gray, ColorInterp.undefined, ColorInterp.alpha)
    else:
        write(path, values, nodata={"tag": -9999, "nan tag": np.nan}.get(kind))
    if kind == "mask band":
        with rasterio.open(path, "r+") as file:
            file.write_mask(~hole)
    scene = read_scene(path)
    assert len(scene.bands) == 2
    assert (scene.valid == ~hole).all()


@pytest.mark.parametrize(
    ("last", "bands"), [(None, 3), ("Alpha", 3), ("valid mask", 3), ("Band 4", 3), ("slope", 4)]
)
def test_four_bands_of_bytes_are_four_where_the_last_has_a_name(tmp_path, last, bands):
    values = np.stack([db_values(seed=seed) for seed in range(4)])
    path = tmp_path / "bytes.tif"
    write(path, np.abs(values * 5).astype(np.uint8) + np.uint8(1))
    with rasterio.open(path, "r+") as file:
        file.descriptions = ("VV0", "VV1", "height", last)
        file.colorinterp = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
    assert len(read_scene(path).bands) == bands


def test_a_window_is_a_part_of_the_whole(tmp_path):
    write_scene(example(), tmp_path / "scene.tif")
    file, window = open_scene(tmp_path / "scene.tif"), Window(13, 7, 40, 31)
    part, same = file.read(window), file.read().read(window)
    assert part.grid == same.grid
    assert np.array_equal(part.pixels, same.pixels, equal_nan=True)
    assert (part.valid == same.valid).all()
    assert part.digest() == same.digest()
    assert part.grid.transform @ (0, 0) == pytest.approx(GRID.transform @ (13, 7))


def test_a_window_outside_is_an_error(tmp_path):
    write_scene(example(), tmp_path / "scene.tif")
    for source in (open_scene(tmp_path / "scene.tif"), example()):
        with pytest.raises(GeometryError, match="window"):
            source.read(Window(60, 0, 40, 30))


def test_an_overview_averages_power_in_strips(tmp_path, monkeypatch):
    source = example()
    write_scene(source, tmp_path / "scene.tif")
    monkeypatch.setattr(resizing, "STRIP_PIXELS", 80 * 7)
    small = open_scene(tmp_path / "scene.tif").overview(20)
    expected = resize(source, (15, 20))
    assert small.grid == expected.grid
    assert np.nan_to_num(small.pixels) == pytest.approx(np.nan_to_num(expected.pixels), abs=1e-4)
    assert small.bands == source.bands


def test_an_overview_is_kept_under_the_hash_of_the_content(tmp_path, monkeypatch):
    write_scene(example(), tmp_path / "scene.tif")
    source, folder = open_scene(tmp_path / "scene.tif"), tmp_path / "kept"
    made = kept_overview(source, 20, folder)
    expected = source.overview(20)
    (path,) = folder.iterdir()
    written = path.stat().st_mtime_ns
    kept = kept_overview(source, 20, folder)
    assert path.stat().st_mtime_ns == written
    for one in (made, kept):
        assert (one.bands, one.grid, one.name, one.notes) == (
            expected.bands,
            expected.grid,
            source.name,
            source.notes,
        )
        assert np.array_equal(one.pixels, expected.pixels, equal_nan=True)
        assert (one.valid == expected.valid).all()
    path.write_bytes(path.read_bytes()[:500])
    assert np.array_equal(kept_overview(source, 20, folder).pixels, expected.pixels, equal_nan=True)
    assert path.stat().st_size > 500
    monkeypatch.setattr(geotiff, "KEPT_OVERVIEWS", 1)
    kept_overview(source, 10, folder)
    assert [one.name for one in folder.iterdir()] == [f"{source.digest()}-10.tif"]
    assert kept_overview(source, 20, tmp_path / "scene.tif" / "no folder").grid == expected.grid


def test_content_decides_the_digest(tmp_path):
    values = db_values()
    one, other = write(tmp_path / "a.tif", values), write(tmp_path / "b.tif", values)
    assert open_scene(one).digest() == open_scene(other).digest()
    assert open_scene(one).digest() != open_scene(one, units="1").digest()
    before = open_scene(one).digest()
    values[3, 4] += 1
    write(one, values)
    assert open_scene(one).digest() != before


def test_a_sparse_scene_is_found(tmp_path):
    """One valid pixel that a thinned sample misses."""
    values = np.full((1, 1500, 1500), np.nan, np.float32)
    values[0, 700, 701] = -11
    path = write(tmp_path / "sparse.tif", values, compress="deflate")
    assert open_scene(path).bands[0].units == "db"


@pytest.mark.parametrize("grid", [GRID, Grid(Affine.identity(), None, 60, 80)], ids=["rotated", "bare"])
def test_a_mask_file(tmp_path, grid):
    mask = np.random.default_rng(0).random(grid.shape) > 0.5
    valid = np.random.default_rng(1).random(grid.shape) > 0.2
    write_mask(mask, valid, grid, tmp_path / "mask.tif")
    with rasterio.open(tmp_path / "mask.tif") as file:
        assert (file.dtypes, file.nodata, file.crs) == (("uint8",), 255, grid.crs)
        assert file.transform == grid.transform
        values = file.read(1)
    assert (values == np.where(valid, mask, 255)).all()
    scene = read_scene(tmp_path / "mask.tif")
    assert scene.bands == (Band("mask", "class"),)
    assert (scene.valid == valid).all()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mask.tif"]


def test_a_mask_of_another_size_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"mask\.tif"):
        write_mask(np.ones((3, 3)), np.ones((3, 3), bool), GRID, tmp_path / "mask.tif")
