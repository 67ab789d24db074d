"""ALOS-2 scenes: names, GeoTIFF and CEOS products, power averaged before the logarithm.

CEOS products are made in the layout of `xarray-ceos-alos2` (tests/ceos.py), since no public one is at hand; that
package's own reader gives the same pixels.
"""

import sys
from datetime import date

import fsspec
import numpy as np
import pytest
from affine import Affine
from ceos import write_image, write_leader
from ceos_alos2.sar_image import open_image
from rasterio.crs import CRS
from rasterio.windows import Window
from rasters import HERE, write

from sartutor.errors import DataError
from sartutor.sar.alos2 import read_mosaic
from sartutor.sar.alos2_products import Alos2Name, detect, open_alos2, parse_alos2_name
from sartutor.sar.radiometry import power_to_db
from sartutor.sar.scene import Band, Grid, Scene
from sartutor.sar.speckle_law import log_bias_db

SCENE = "ALOS2458503210-221119"


def dn_values(shape=(40, 60), seed=0, level_db=-12.0, looks=4):
    power = np.random.default_rng(seed).gamma(looks, 1 / looks, shape) * 10 ** (level_db / 10)
    return np.round(np.sqrt(power * 10**8.3)).astype(np.uint16)


def slc_values(shape=(40, 60), seed=0, level_db=-12.0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    return (z * np.sqrt(10 ** ((level_db + 115) / 10) / 2)).astype(np.complex64)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            f"IMG-HH-{SCENE}-UBSR2.1GUD.tif",
            ("HH", "UBS", "R", "2.1", "G", "U", "D", "", None),
        ),
        (
            f"a/b/IMG-HH-{SCENE}-UBSR2.1GUD_12032_7680.tif",
            ("HH", "UBS", "R", "2.1", "G", "U", "D", "", (12032, 7680)),
        ),
        (f"IMG-HV-{SCENE}-FBDL1.1__A", ("HV", "FBD", "L", "1.1", "", "", "A", "", None)),
        (f"IMG-VV-{SCENE}-HBQR1.5RUA", ("VV", "HBQ", "R", "1.5", "R", "U", "A", "", None)),
        (f"IMG-HH-{SCENE}-WBDR1.1__D-F3", ("HH", "WBD", "R", "1.1", "", "", "D", "F3", None)),
        (f"LED-{SCENE}-UBSR2.1GUD", ("", "UBS", "R", "2.1", "G", "U", "D", "", None)),
        (f"0000123456_001001_{SCENE}", ("", "", "", "", "", "", "", "", None)),
        (SCENE, ("", "", "", "", "", "", "", "", None)),
    ],
)
def test_names_in_every_form(name, said):
    assert parse_alos2_name(name) == Alos2Name(45850, 3210, date(2022, 11, 19), *said)
    assert parse_alos2_name(name).scene_id == SCENE


def test_repeat_passes_share_their_orbit_within_the_cycle():
    first, next_cycle, other = (parse_alos2_name(f"ALOS2{n:05}3210-221119") for n in (45850, 46057, 45851))
    assert first.repeat_orbit == next_cycle.repeat_orbit != other.repeat_orbit


@pytest.mark.parametrize("name", ["scene.tif", "IMG-HH-ALOS2458503210-221399-UBSR2.1GUD", "ALPSRP123", ""])
def test_other_names_are_refused(name):
    with pytest.raises(DataError, match="no name of an ALOS-2 scene"):
        parse_alos2_name(name)


def test_a_geotiff_becomes_sigma0_power(tmp_path):
    dn = dn_values()
    dn[:, :7] = 0
    path = write(tmp_path / f"IMG-HH-{SCENE}-UBSR2.1GUD_12032_7680.tif", dn)
    source = open_alos2(path)
    scene = source.read()
    assert scene.bands == (Band("HH", "power", "sigma0", date(2022, 11, 19)),)
    assert scene.product == source.product == "alos2-l2.1"
    assert scene.grid.transform == HERE
    assert (scene.valid == (dn > 0)).all()
    expected = 20 * np.log10(dn[scene.valid].astype(float)) - 83
    assert power_to_db(scene.pixels[0][scene.valid]) == pytest.approx(expected, abs=1e-3)
    assert "(c) JAXA" in scene.notes[0]
    assert "right-looking, descending, orbit 45850" in scene.notes[0]
    assert not any("units taken as" in note for note in scene.notes)


def test_windows_of_several_polarisations_read_as_the_whole(tmp_path):
    for seed, name in enumerate(("VV", "HV", "HH")):
        write(tmp_path / f"IMG-{name}-{SCENE}-HBQR2.1GUA.tif", dn_values(seed=seed))
    (tmp_path / "summary.txt").touch()
    source, window = open_alos2(tmp_path), Window(11, 5, 20, 30)
    assert [band.name for band in source.bands] == ["HH", "HV", "VV"]
    assert source.read(window).digest() == source.read().read(window).digest()
    assert source.digest() == open_alos2(tmp_path / "summary.txt").digest()
    assert source.digest() != open_alos2(tmp_path, factor_db=-80).digest()
    alone = open_alos2(tmp_path / f"IMG-HV-{SCENE}-HBQR2.1GUA.tif")
    assert (alone.read().pixels[0] == source.read().band("HV")).all()


def test_an_overview_averages_power_not_digital_numbers(tmp_path):
    dn = dn_values()
    path = write(tmp_path / f"IMG-HH-{SCENE}-UBSR2.1GUD.tif", dn)
    small = open_alos2(path).overview(30)
    blocks = (dn.astype(float) ** 2).reshape(20, 2, 30, 2).mean(axis=(1, 3))
    assert power_to_db(small.pixels[0]) == pytest.approx(10 * np.log10(blocks) - 83, abs=1e-3)


def ceos_product(folder, product_id, images, **leader):
    for name, pixels in images.items():
        write_image(folder / f"IMG-{name}-{SCENE}-{product_id}", pixels)
    if leader:
        write_leader(folder / f"LED-{SCENE}-{product_id}", **leader)
    return folder


@pytest.mark.parametrize(
    ("product_id", "pixels"), [("UBSR1.1__D", slc_values()), ("UBSR1.5GUD", dn_values())]
)
def test_made_up_ceos_images_have_the_layout_of_the_format(tmp_path, product_id, pixels):
    """The package's own reader and ours see the same pixels in them."""
    ceos_product(tmp_path, product_id, {"HH": pixels})
    name = f"IMG-HH-{SCENE}-{product_id}"
    folder = fsspec.get_mapper(str(tmp_path))
    theirs = open_image(folder, name, use_cache=False, records_per_chunk=1024)["data"].data[0:40, 0:60]
    assert (theirs == pixels).all()
    ours = open_alos2(tmp_path / name)._raw.read().pixels[0]
    assert (ours == pixels).all()


def test_level_1_1_stays_complex_until_detected(tmp_path):
    z = slc_values()
    z[:, 50:] = 0
    source = open_alos2(ceos_product(tmp_path, "FBDR1.1__A", {"HH": z, "HV": z / 4}))
    scene = source.read(Window(10, 3, 50, 30))
    assert scene.pixels.dtype == np.complex64
    assert scene.bands[0] == Band("HH", "complex", date=date(2022, 11, 19))
    assert scene.grid.crs is None
    assert scene.name == f"IMG-HH-{SCENE}-FBDR1.1__A"
    assert (scene.pixels[0] == z[3:33, 10:60]).all()
    assert not scene.valid[:, 40:].any()
    assert scene.valid[:, :40].all()
    power = detect(scene)
    assert power.bands[1] == Band("HV", "power", "sigma0", date(2022, 11, 19))
    expected = 20 * np.log10(np.abs(z[3:33, 10:50])) - 83 - 32
    assert power_to_db(power.pixels[0, :, :40]) == pytest.approx(expected, abs=1e-3)
    assert power_to_db(power.pixels[1, :, :40]) == pytest.approx(expected - 20 * np.log10(4), abs=1e-3)


def slc_scene(z):
    grid = Grid(Affine.identity(), None, *z.shape)
    return Scene(z[None], (Band("HH", "complex"),), grid, np.abs(z) > 0, "slc", "alos2-l1.1")


def test_looks_average_power_before_the_logarithm():
    """Mean of dB after 8 looks: psi(8) - ln 8; had decibels been averaged it would be that of one look."""
    scene = slc_scene(slc_values((400, 402)))
    looked = detect(scene, looks=(4, 2))
    assert looked.grid.shape == (100, 201)
    assert looked.grid.transform == Affine.scale(2, 4)
    z = scene.pixels[0]
    blocks = (np.abs(z).astype(float) ** 2).reshape(100, 4, 201, 2).mean(axis=(1, 3))
    assert power_to_db(looked.pixels[0]) == pytest.approx(10 * np.log10(blocks) - 115, abs=1e-3)
    in_db = power_to_db(looked.pixels[0].astype(float))
    assert power_to_db(looked.pixels.mean()) == pytest.approx(-12, abs=0.05)
    assert in_db.mean() == pytest.approx(-12 + log_bias_db(8), abs=0.05)
    assert power_to_db(detect(scene).pixels).mean() == pytest.approx(-12 + log_bias_db(1), abs=0.05)


def test_lines_left_over_are_left_out_and_fill_takes_no_part():
    z = np.full((7, 9), 100 + 0j, np.complex64)
    z[:2, :3] = 0
    z[3, 6] = 0
    looked = detect(slc_scene(z), looks=(2, 3))
    assert looked.grid.shape == (3, 3)
    assert looked.valid.tolist() == [[False, True, True], [True, True, True], [True, True, True]]
    assert power_to_db(looked.pixels[0][looked.valid]) == pytest.approx(40 - 115, abs=1e-3)
    assert "2 x 3 (azimuth x range) looks" in looked.notes[-1]


@pytest.mark.parametrize("looks", [(0, 1), (1, -2), (8, 1)])
def test_impossible_looks_are_refused(looks):
    with pytest.raises(DataError, match="looks do not fit 7 x 9"):
        detect(slc_scene(np.ones((7, 9), np.complex64)), looks)


def test_what_is_detected_is_not_detected_again():
    with pytest.raises(DataError, match="detected already"):
        detect(detect(slc_scene(slc_values())))


UTM_54 = {"zone": 54, "south": False, "shape": (40, 60), "spacing": 2.5}


@pytest.mark.parametrize(
    "corners",
    [
        [(400000, 4000000), (400150, 4000000), (400000, 3999900)],
        [(400001.25, 3999998.75), (400148.75, 3999998.75), (400001.25, 3999901.25)],
    ],
    ids=["outer corners", "centres"],
)
@pytest.mark.parametrize("product_id", ["UBSR1.5GUD", "UBSR2.1GUD"])
def test_a_ceos_image_lies_where_its_leader_says(tmp_path, product_id, corners):
    dn = dn_values()
    dn[0] = 0
    source = open_alos2(ceos_product(tmp_path, product_id, {"HH": dn}, utm={**UTM_54, "corners": corners}))
    assert source.grid.crs == CRS.from_epsg(32654)
    assert source.grid.transform.almost_equals(Affine(2.5, 0, 400000, 0, -2.5, 4000000), 1e-3)
    scene = source.read(Window(0, 0, 60, 10))
    assert scene.bands == (Band("HH", "power", "sigma0", date(2022, 11, 19)),)
    assert not scene.valid[0].any()
    expected = 20 * np.log10(dn[1:10].astype(float)) - 83
    assert power_to_db(scene.pixels[0, 1:]) == pytest.approx(expected, abs=1e-3)
    assert source.overview(30).grid.shape == (20, 30)


def test_a_turned_scene_of_the_south_is_placed_as_such(tmp_path):
    angle = np.deg2rad(12)
    along, down = np.array([np.cos(angle), np.sin(angle)]), np.array([np.sin(angle), -np.cos(angle)])
    corner = np.array([400000, 6000000])
    corners = [tuple(corner), tuple(corner + 150 * along), tuple(corner + 100 * down)]
    folder = ceos_product(
        tmp_path, "UBSR1.5RUD", {"HH": dn_values()}, utm={**UTM_54, "south": True, "corners": corners}
    )
    grid = open_alos2(folder).grid
    assert grid.crs == CRS.from_epsg(32754)
    assert grid.transform @ (60, 0) == pytest.approx(corners[1], abs=1e-3)
    assert grid.transform @ (0, 40) == pytest.approx(corners[2], abs=1e-3)


def test_the_leader_s_factor_is_used_and_overridden(tmp_path):
    folder = ceos_product(tmp_path, "UBSR2.1GUD", {"HH": dn_values()}, factor_db=-80.5)
    source = open_alos2(folder)
    assert source.factor_db == -80.5
    assert "calibration factor -80.5 dB." in source.notes
    assert any("no UTM grid" in note for note in source.notes)
    higher = power_to_db(source.read().pixels) - power_to_db(open_alos2(folder, factor_db=-83).read().pixels)
    assert higher == pytest.approx(2.5, abs=1e-3)


@pytest.mark.parametrize(
    ("leader", "given", "used"), [(-80.5, None, -80.5), (-80.5, -70, -70), (None, None, -83)]
)
def test_a_factor_counts_at_level_1_1_too(tmp_path, leader, given, used):
    z = slc_values()
    factor = {} if leader is None else {"factor_db": leader}
    source = open_alos2(ceos_product(tmp_path, "FBDR1.1__A", {"HH": z}, **factor), factor_db=given)
    assert f"calibration factor {used:g} dB." in source.notes
    power = detect(source.read())
    assert power_to_db(power.pixels[0]) == pytest.approx(20 * np.log10(np.abs(z)) + used - 32, abs=1e-3)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "holds no ALOS-2 image"),
        ({f"IMG-HH-{SCENE}-UBSR3.1GUD": b""}, "level 3.1"),
        ({f"IMG-HH-{SCENE}": b""}, "no level"),
        ({f"IMG-HH-{SCENE}-UBSR1.5GUD": b""}, "cut short"),
        ({f"IMG-HH-{SCENE}-UBSR1.5GUD": b" " * 900}, "cut short"),
        ({f"IMG-HH-{SCENE}-UBSR1.1__D.tif": b""}, "take the CEOS format"),
        ({f"IMG-HH-{SCENE}-UBSR1.5GUD": b"", "IMG-HH-ALOS2458503220-221119-UBSR1.5GUD": b""}, "several"),
        ({f"IMG-HH-{SCENE}-WBDR1.1__D-F1": b"", f"IMG-HH-{SCENE}-WBDR1.1__D-F2": b""}, "several"),
    ],
)
def test_bad_products(tmp_path, files, words):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words):
        open_alos2(tmp_path)


def test_cut_and_unequal_images_are_named(tmp_path):
    folder = ceos_product(tmp_path, "FBDR1.5GUD", {"HH": dn_values(), "HV": dn_values((40, 50))})
    with pytest.raises(DataError, match="differ in size"):
        open_alos2(folder)
    path = folder / f"IMG-HH-{SCENE}-FBDR1.5GUD"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="cut short"):
        open_alos2(path)
    (folder / f"LED-{SCENE}-FBDR1.5GUD").write_bytes(b"\0\0\0\1\x12\x32\x12\x14\0\0\0\x20" + b" " * 20)
    with pytest.raises(DataError, match=r"LED-.*damaged"):
        open_alos2(folder / f"IMG-HV-{SCENE}-FBDR1.5GUD")
    with pytest.raises(DataError, match="does not exist"):
        open_alos2(folder / "gone")


def test_the_missing_extra_is_named(tmp_path, monkeypatch):
    folder = ceos_product(tmp_path, "UBSR1.5GUD", {"HH": dn_values()})
    monkeypatch.setitem(sys.modules, "ceos_alos2.sar_image.io", None)
    with pytest.raises(DataError, match=r'pip install "sartutor\[online\]"'):
        open_alos2(folder)


@pytest.mark.mirror
def test_the_mosaic_tile_is_calibrated_to_its_known_levels(mirror):
    """Ocean is even: mean of dB and power mean differ by the averaging bias; land is not: its contrast adds."""
    scene = read_mosaic(mirror / "palsar2-mosaic-n23w161" / "N23W161_20_MOS_F02DAR.tar.gz")
    hh, mask = scene.band("HH").astype(np.float64), scene.band("mask")
    levels = {50: (-17.61, -18.07, -18.14), 255: (-7.90, -11.62, -11.46)}
    for value, (mean, median, mean_db) in levels.items():
        power = hh[scene.valid & (mask == value)]
        found = [*power_to_db([power.mean(), np.median(power)]), power_to_db(power).mean()]
        assert found == pytest.approx([mean, median, mean_db], abs=0.05)
