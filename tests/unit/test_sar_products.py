"""Mosaic tiles and Sentinel-1 files: made-up ones everywhere, the real samples where the mirror is present."""

import tarfile
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.windows import Window
from rasters import write

from sartutor.errors import DataError
from sartutor.sar.alos2 import DOCUMENTED_LEGEND, Legend, open_mosaic, read_legend, read_mosaic
from sartutor.sar.flattening import flatten_terrain
from sartutor.sar.footprint import bounds
from sartutor.sar.geotiff import read_scene, write_scene
from sartutor.sar.radiometry import power_to_db, to_units
from sartutor.sar.scene import Band
from sartutor.sar.sentinel1 import open_sentinel1, parse_s1_name, relative_orbit
from sartutor.sar.terrain import View

DEGREES = CRS.from_epsg(4326)
TRANSFORM = Affine(0.8 / 3600, 0, 9, 0, -0.8 / 3600, 47)

XML = """<Metadata><PerPixelMetadata><DataMask><BitValues><ValidData>255</ValidData><InvalidData>N/A</InvalidData>
<NoData>7</NoData><Layover>100</Layover></BitValues></DataMask><AcquisitionDate>
<ZeroReferenceDate>2014-05-25</ZeroReferenceDate></AcquisitionDate></PerPixelMetadata><Radiometric>
<BackscatterConversionEq Units="dB">10 * log10(DN^2) - 80.0</BackscatterConversionEq></Radiometric></Metadata>"""


def write_layer(folder, name, values, nodata):
    height, width = values.shape
    profile = {"height": height, "width": width, "count": 1, "dtype": values.dtype, "nodata": nodata}
    path = folder / f"N47E009_19_{name}_F02DAR.tif"
    with rasterio.open(path, "w", driver="GTiff", crs=DEGREES, transform=TRANSFORM, **profile) as file:
        file.write(values, 1)


@pytest.fixture(params=[0, 1])
def tile(tmp_path, request):
    """A folder with a tile of 30 x 40 px whose left quarter is no data, 0 or 1, tagged in one of both ways."""
    folder = tmp_path / "tile"
    folder.mkdir()
    hole = np.zeros((30, 40), bool)
    hole[:, :10] = True
    for name, number in (("sl_HH", 2000), ("sl_HV", 500), ("date", 2300)):
        values = np.where(hole, request.param, number).astype(np.uint16)
        write_layer(folder, name, values, None if name == "sl_HV" else request.param)
    write_layer(folder, "linci", np.where(hole, 1, 38).astype(np.uint8), None)
    mask = np.where(hole, 0, 255).astype(np.uint8)
    mask[:, 20:] = 50
    write_layer(folder, "mask", mask, None)
    return folder


def test_digital_numbers_become_gamma0(tile):
    scene = read_mosaic(tile)
    taken = date(2020, 9, 9)
    assert scene.bands == (
        Band("HH", "power", "gamma0", taken),
        Band("HV", "power", "gamma0", taken),
        Band("linci", "degree"),
        Band("date", "class"),
        Band("mask", "class"),
    )
    assert scene.valid.sum() == 30 * 30
    assert not scene.valid[:, :10].any()
    for name, number in (("HH", 2000), ("HV", 500)):
        decibels = power_to_db(scene.band(name)[scene.valid])
        assert decibels == pytest.approx(20 * np.log10(number) - 83, abs=1e-4)
    assert set(scene.band("mask")[scene.valid]) == {50, 255}
    assert scene.product == "palsar2-mosaic"
    assert scene.name == "N47E009_19"
    assert "(c) JAXA" in scene.notes[0]


def test_the_archive_and_its_windows_read_as_the_folder(tile):
    archive = tile.parent / "tile.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tile, "deep/inside")
    whole, window = read_mosaic(tile), Window(5, 3, 20, 11)
    from_archive = open_mosaic(archive)
    part = from_archive.read(window)
    assert part.digest() == whole.read(window).digest()
    assert part.grid == whole.grid.crop(window)
    assert from_archive.digest() == open_mosaic(tile).digest()
    assert from_archive.overview(20).pixels[0][:, -1] == pytest.approx(whole.pixels[0][0, -1])
    unpacked = from_archive._raw._layers[0].path.parent
    assert unpacked.exists()
    del from_archive
    assert not unpacked.exists()


def test_the_tile_s_own_xml_decides(tile):
    (tile / "N47E009_19_F02DAR.xml").write_text(XML)
    with rasterio.open(tile / "N47E009_19_mask_F02DAR.tif", "r+") as file:
        mask = file.read(1)
        mask[:5] = 7
        file.write(mask, 1)
    mosaic = open_mosaic(tile)
    assert mosaic.legend.mask == {7: "NoData", 100: "Layover", 255: "ValidData"}
    scene = mosaic.read()
    assert not scene.valid[:5].any()
    assert scene.bands[0].date == date(2020, 9, 10)
    assert power_to_db(scene.band("HH")[29, 39]) == pytest.approx(20 * np.log10(2000) - 80, abs=1e-4)
    assert "7 NoData" in scene.notes[1]


def test_a_tile_without_xml_is_read_by_the_documents():
    assert dict(Legend().mask) == DOCUMENTED_LEGEND
    assert read_legend("<Metadata/>").mask == DOCUMENTED_LEGEND
    assert "no XML" in Legend().note()


def test_several_days_give_no_single_date(tile):
    with rasterio.open(tile / "N47E009_19_date_F02DAR.tif", "r+") as file:
        days = file.read(1)
        days[:, 30:] = 2314
        file.write(days, 1)
    mosaic = open_mosaic(tile)
    assert mosaic.read().bands[0].date is None
    assert mosaic.read(Window(32, 0, 8, 30)).bands[0].date == date(2020, 9, 23)


def test_days_are_never_averaged(tile):
    with rasterio.open(tile / "N47E009_19_date_F02DAR.tif", "r+") as file:
        days = file.read(1)
        days[:, 23:] = 2314
        file.write(days, 1)
    seen = open_mosaic(tile).overview(10)
    assert set(seen.band("date")[seen.valid]) == {2300, 2314}


def test_days_of_the_older_palsar_tiles_count_from_the_launch_of_alos(tile):
    for path in list(tile.glob("*.tif")):
        path.rename(tile / path.name.replace("_19_", "_07_").replace("_F02DAR", ""))
    mosaic = open_mosaic(tile)
    assert mosaic.name == "N47E009_07"
    assert mosaic.read().bands[0].date == date(2012, 5, 12)


def test_a_tile_is_written_and_read_back(tile, tmp_path):
    scene = to_units(read_mosaic(tile), "db")
    write_scene(scene, tmp_path / "gamma0.tif")
    back = read_scene(tmp_path / "gamma0.tif")
    assert back.digest() == scene.digest()
    assert "(c) JAXA" in back.notes[0]


def test_sentinel1_from_two_files_in_power(tmp_path):
    speckle = np.random.default_rng(0).gamma(4, 0.25, (2, 30, 40)).astype(np.float32)
    for name, values, level in (("VV", speckle[0], 0.1), ("VH", speckle[1], 0.02)):
        profile = {"height": 30, "width": 40, "count": 1, "dtype": "float32", "crs": DEGREES}
        with rasterio.open(tmp_path / f"rtc_{name}.tif", "w", transform=TRANSFORM, **profile) as file:
            file.write(values * level, 1)
    scene = open_sentinel1([tmp_path / "rtc_VV.tif", tmp_path / "rtc_VH.tif"], quantity="gamma0")
    assert scene.bands == (Band("VV", "power", "gamma0"), Band("VH", "power", "gamma0"))
    assert scene.product == "sentinel-1"
    assert "Copernicus" in scene.notes[-1]
    assert to_units(scene.read(), "db").band("VV").mean() == pytest.approx(-10.5, abs=0.2)


LEVEL1 = "S1A_IW_GRDH_1SDV_20201005T170824_20201005T170849_034664_04098A"


def rtc_pair(folder, names, level, **kind):
    """Two files of one band each, all of one value."""
    folder.mkdir(parents=True)
    values = [np.full((30, 40), value, np.float32) for value in level]
    return [write(folder / name, v, **kind) for name, v in zip(names, values, strict=True)]


def test_rtc_files_of_the_planetary_computer(tmp_path):
    folder = tmp_path / f"{LEVEL1}_2F79" / "measurement"
    paths = rtc_pair(folder, ("iw-vv.rtc.tiff", "iw-vh.rtc.tiff"), (0.1, 0.02), nodata=-32768)
    scene = open_sentinel1(paths)
    taken = date(2020, 10, 5)
    assert scene.bands == (Band("VV", "power", "gamma0", taken), Band("VH", "power", "gamma0", taken))
    assert scene.name == f"{LEVEL1}_2F79"
    assert "gamma0 in power, as the product's name states." in scene.notes


@pytest.mark.parametrize("stated", [{}, {"quantity": "gamma0"}, {"units": "power", "quantity": "gamma0"}])
def test_rtc_files_stay_flattened_under_the_name_of_their_product(tmp_path, stated):
    folder = tmp_path / f"{LEVEL1}_2F79" / "measurement"
    scene = open_sentinel1(rtc_pair(folder, ("iw-vv.rtc.tiff",), (0.1,)), **stated).read()
    dem = replace(scene, pixels=np.zeros_like(scene.pixels), bands=(Band("height", "m"),))
    with pytest.raises(DataError, match="flattened again"):
        flatten_terrain(scene, dem, View(35, 90))


@pytest.mark.parametrize(
    ("letters", "units", "quantity", "level"),
    [
        ("gpuned", "power", "gamma0", (0.1, 0.01)),
        ("saunem", "amplitude", "sigma0", (0.3162278, 0.1)),
        ("gdwfcd", "db", "gamma0", (-10, -20)),
    ],
)
def test_rtc_files_of_hyp3_by_the_letters_of_their_names(tmp_path, letters, units, quantity, level):
    name = f"S1B_IW_20180128T161201_DVP_RTC30_G_{letters}_FD6A"
    paths = rtc_pair(tmp_path / name, (f"{name}_VV.tif", f"{name}_VH.tif"), level, nodata=0)
    scene = open_sentinel1(paths)
    taken = date(2018, 1, 28)
    assert scene.bands == (Band("VV", units, quantity, taken), Band("VH", units, quantity, taken))
    assert scene.name == name
    assert not any("taken as" in note for note in scene.notes)
    values = scene.read() if units == "db" else to_units(scene.read(), "db")
    assert values.pixels[:, 3, 3] == pytest.approx([-10, -20], abs=1e-3)


def test_what_a_file_or_the_caller_states_counts_more_than_its_name(tmp_path):
    paths = rtc_pair(tmp_path / "x", ("iw-vv.rtc.tiff", "iw-vh.rtc.tiff"), (0.1, 0.02))
    assert open_sentinel1(paths, units="amplitude", quantity="sigma0").bands[0] == Band(
        "VV", "amplitude", "sigma0"
    )
    in_db = to_units(open_sentinel1(paths).read(), "db")
    write_scene(in_db, tmp_path / "db.rtc.tif")
    assert open_sentinel1(tmp_path / "db.rtc.tif").bands == in_db.bands


def test_files_of_two_products_are_no_scene(tmp_path):
    one, other = (f"S1A_IW_2018012{day}T161201_DVP_RTC30_G_gpuned_FD6A" for day in (1, 2))
    paths = rtc_pair(tmp_path / "mixed", (f"{one}_VV.tif", f"{other}_VH.tif"), (0.1, 0.02))
    with pytest.raises(DataError, match="another product, date or scale"):
        open_sentinel1(paths)


@pytest.mark.parametrize(
    ("name", "mission", "product", "polarisations", "orbit", "track"),
    [
        (f"{LEVEL1}_2F79.SAFE", "S1A", "GRD", ("VV", "VH"), 34664, 117),
        (f"/data/{LEVEL1}_rtc", "S1A", "GRD", ("VV", "VH"), 34664, 117),
        (
            "S1B_IW_SLC__1SDV_20200714T152128_20200714T152150_022469_02AA50_9A64",
            "S1B",
            "SLC",
            ("VV", "VH"),
            22469,
            43,
        ),
        (
            "S1A_EW_GRDM_1SDH_20151118T190420_20151118T190529_008663_00C507_0A5F",
            "S1A",
            "GRD",
            ("HH", "HV"),
            8663,
            16,
        ),
    ],
)
def test_level_1_names(name, mission, product, polarisations, orbit, track):
    found = parse_s1_name(name)
    assert (found.mission, found.product, found.polarisations) == (mission, product, polarisations)
    assert (found.absolute_orbit, found.relative_orbit) == (orbit, track)
    assert found.mode == name.split("S1")[1].split("_")[1]


def test_names_without_an_orbit_say_nothing():
    assert parse_s1_name("S1A_IW_20180128T161201_DVP_RTC30_G_gpuned_FD6A") is None
    assert parse_s1_name("chip") is None


@pytest.mark.parametrize(
    ("mission", "absolute", "relative"),
    [
        ("S1A", 73, 1),
        ("S1A", 72, 175),
        ("S1A", 73 + 175, 1),
        ("S1B", 11036, 160),
        ("S1C", 1681, 110),
        ("S1C", 8018, 147),
        ("S1C", 8019, 46),
        ("S1D", 2389, 73),
    ],
)
def test_tracks_of_absolute_orbits(mission, absolute, relative):
    assert relative_orbit(mission, absolute) == relative


PALSAR2 = "palsar2-mosaic-n23w161/N23W161_20_MOS_F02DAR.tar.gz"
COVERED = Window(1155, 3950, 3115, 550)


@pytest.fixture(scope="module")
def hawaii(mirror):
    return read_mosaic(mirror / PALSAR2, COVERED)


@pytest.mark.mirror
@pytest.mark.parametrize(
    ("value", "band", "mean", "median", "mean_of_db"),
    [
        (50, "HH", -17.61, -18.07, -18.14),
        (50, "HV", -31.14, -31.59, None),
        (255, "HH", -7.90, -11.62, -11.46),
        (255, "HV", -17.05, -19.44, None),
        (150, "HH", -7.57, -8.01, None),
    ],
)
def test_the_real_tile_has_its_published_levels(hawaii, value, band, mean, median, mean_of_db):
    power = hawaii.band(band)[hawaii.valid & (hawaii.band("mask") == value)].astype(np.float64)
    assert power_to_db(power.mean()) == pytest.approx(mean, abs=0.01)
    assert power_to_db(np.median(power)) == pytest.approx(median, abs=0.01)
    if mean_of_db is not None:
        assert power_to_db(power).mean() == pytest.approx(mean_of_db, abs=0.01)


@pytest.mark.mirror
def test_the_real_tile_s_layers(mirror, hawaii):
    tile = open_mosaic(mirror / PALSAR2)
    assert tile.grid.shape == (4500, 4500)
    assert bounds(tile.grid) == pytest.approx((-161, 22, -160, 23))
    assert tile.legend.mask[100] == "Layover"
    assert tile.legend.mask[150] == "Shadow"
    assert tile.legend.factor_db == -83.0
    assert hawaii.valid.sum() == 899984
    assert {value: int((hawaii.band("mask") == value).sum()) for value in (50, 150, 255)} == {
        50: 897321,
        150: 202,
        255: 2461,
    }
    assert {band.date for band in hawaii.bands[:2]} == {date(2020, 9, 9)}
    assert hawaii.band("linci")[hawaii.valid].min() >= 2
    assert hawaii.band("linci")[hawaii.valid].max() <= 90


@pytest.mark.mirror
@pytest.mark.parametrize(("band", "mean", "median"), [("VV", -11.363, -10.481), ("VH", -19.109, -17.734)])
def test_the_real_sentinel1_chip(mirror, band, mean, median):
    file = open_sentinel1(mirror / "sen1floods11-spain/Spain_7370579_S1Hand.tif")
    assert file.bands == (Band("VV", "db"), Band("VH", "db"))
    assert file.grid.shape == (512, 512)
    assert any(note.startswith(f"{band}: units taken as db") for note in file.notes)
    scene = file.read()
    values = scene.band(band)[scene.valid].astype(np.float64)
    assert values.mean() == pytest.approx(mean, abs=1e-3)
    assert np.median(values) == pytest.approx(median, abs=1e-3)


@pytest.mark.mirror
def test_the_real_label_and_terrain(mirror):
    label = read_scene(mirror / "sen1floods11-spain/Spain_7370579_LabelHand.tif")
    assert label.bands[0].units == "class"
    assert (label.pixels == 1).sum() == 70035
    terrain = read_scene(mirror / "avaframe-alr/avaAlr.tif", units="m", names=("height",))
    heights = terrain.pixels[0][terrain.valid]
    assert terrain.grid.shape == (915, 417)
    assert 0.6 <= terrain.valid.mean() <= 0.7
    assert (heights.min(), heights.max()) == pytest.approx((566, 2452), abs=1)
