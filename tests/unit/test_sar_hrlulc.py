"""The ALOS-2 land-cover chips, on small files made in the layout of JAXA's scenes and maps, not on the originals."""

import csv

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS
from rasters import write

from sartutor.errors import DataError, GeometryError
from sartutor.sar.alos2_products import open_alos2
from sartutor.sar.folder import IGNORE
from sartutor.sar.hrlulc import (
    CLASSES,
    INDEX_COLUMNS,
    Chip,
    candidates,
    choose,
    labels_on_grid,
    make_dataset,
    merge_classes,
    pixel_ratio,
)
from sartutor.sar.radiometry import alos2_dn_to_power, power_to_db
from sartutor.sar.scene import Grid

DEGREES = CRS.from_epsg(4326)
JAPAN = CRS.from_epsg(32654)
SCENE = "IMG-HH-ALOS2458503210-221119-UBSR2.1GUD.tif"
OTHER = "IMG-HH-ALOS2458503220-221120-UBSR2.1GUD.tif"
MAP_PIXEL = 1 / 12000
WEST, NORTH = 140.0, 36.0
METRES = 2.5
SIDE = 16


def at(crs_x, crs_y, size):
    return Affine(size, 0, crs_x, 0, -size, crs_y)


def write_map(path, values, west=WEST, north=NORTH, size=MAP_PIXEL):
    return write(path, np.asarray(values, np.uint8), at(west, north, size), DEGREES)


def write_scene(path, dn, east=0.0):
    """A level 2.1 scene in UTM whose upper left corner lies 500 m inside the map."""
    return write(path, np.asarray(dn, np.uint16), at(409900 + 500 + east, 3984500 - 500, METRES), JAPAN)


@pytest.fixture
def lulc(tmp_path):
    """A map: fields (4) with a forest of four kinds in the east, and no data (0) at the bottom."""
    values = np.full((160, 200), 4)
    values[:, 90::4], values[:, 91::4], values[:, 92::4], values[:, 93::4] = 6, 7, 8, 9
    values[120:] = 0
    return write_map(tmp_path / "LC_N35E140.tif", values)


def test_twelve_classes_become_nine_and_the_rest_is_ignored():
    assert len(CLASSES) == 9
    merged = merge_classes(np.array([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 13, 255, -3, np.nan]))
    assert [CLASSES[number] for number in merged[5:9]] == ["forest"] * 4
    assert merged[:12].tolist() == [0, 1, 2, 3, 4, 5, 5, 5, 5, 6, 7, 8]
    assert merged[12:].tolist() == [IGNORE] * 5


def grid(size, shape, west=WEST, north=NORTH):
    return Grid(at(west, north, size), DEGREES, *shape)


def test_large_radar_pixels_get_the_class_of_most_of_their_area(tmp_path):
    """Of 16 map pixels, forest kinds have 3 + 2 + 2 and grass 6: merged before the vote, forest wins."""
    block = np.array([[5, 5, 5, 5], [5, 5, 6, 6], [6, 7, 7, 8], [8, 1, 1, 2]])
    path = write_map(tmp_path / "map.tif", np.tile(block, (3, 5)))
    coarse = grid(4 * MAP_PIXEL, (3, 5))
    assert pixel_ratio(coarse, grid(MAP_PIXEL, (12, 20))) == pytest.approx(16)
    assert np.unique(labels_on_grid([path], coarse)).tolist() == [CLASSES.index("forest")]
    assert labels_on_grid([path], grid(4 * MAP_PIXEL, (1, 1))).tolist() == [[CLASSES.index("forest")]]


def test_no_data_has_no_vote(tmp_path):
    block = np.zeros((4, 4))
    block[0, :2] = 1
    path = write_map(tmp_path / "map.tif", np.tile(block, (2, 2)))
    assert np.unique(labels_on_grid([path], grid(4 * MAP_PIXEL, (2, 2)))).tolist() == [0]


def test_classes_are_never_averaged(tmp_path):
    values = np.random.default_rng(0).choice([1, 12], (40, 40))
    path = write_map(tmp_path / "map.tif", values)
    for factor in (0.3, 1.7, 3):
        found = labels_on_grid([path], grid(factor * MAP_PIXEL, (10, 10)))
        assert set(np.unique(found)) <= {0, 8}


def test_small_radar_pixels_get_the_class_at_their_centre(tmp_path):
    values = np.arange(12).reshape(3, 4) % 5 + 1
    path = write_map(tmp_path / "map.tif", values)
    fine = labels_on_grid([path], grid(MAP_PIXEL / 3, (9, 12)))
    assert fine.tolist() == np.kron(values - 1, np.ones((3, 3), int)).tolist()


def test_tiles_of_the_map_are_put_together_and_what_lies_outside_is_ignored(tmp_path):
    west = write_map(tmp_path / "west.tif", np.full((10, 10), 1))
    east = write_map(tmp_path / "east.tif", np.full((10, 10), 2), west=WEST + 10 * MAP_PIXEL)
    found = labels_on_grid([west, east], grid(MAP_PIXEL / 2, (20, 60)))
    assert np.unique(found[:, :20]).tolist() == [0]
    assert np.unique(found[:, 20:40]).tolist() == [1]
    assert np.unique(found[:, 40:]).tolist() == [IGNORE]


def test_radar_without_a_reference_system_is_refused(lulc):
    with pytest.raises(GeometryError, match="no coordinate reference system"):
        labels_on_grid([lulc], Grid(Affine.identity(), None, 4, 4))


def digital_numbers(rows, cols):
    dn = np.random.default_rng(0).integers(1500, 6000, (rows, cols))
    dn[:5, :5] = 0
    return dn


def test_chips_lie_on_a_regular_grid_inside_valid_data(tmp_path, lulc):
    scene = open_alos2(write_scene(tmp_path / SCENE, digital_numbers(70, 90)))
    found = list(candidates(scene, [lulc], SIDE))
    assert len(found) == 4 * 5 - 1
    assert all(chip.row % SIDE == chip.col % SIDE == 0 for chip in found)
    assert (0, 0) not in {(chip.row, chip.col) for chip in found}


CHIPS = [Chip(number, 0, category) for number, category in enumerate([5] * 60 + [0] * 30 + [1] * 10)]


def test_forest_is_excluded():
    chosen = choose(np.random.default_rng(0), CHIPS, 25, "no_forest")
    assert len(chosen) == len(set(chosen)) == 25
    assert {chip.category for chip in chosen} == {0, 1}
    assert len(choose(np.random.default_rng(0), CHIPS, 1000, "no_forest")) == 40


def test_classes_are_balanced():
    chosen = choose(np.random.default_rng(0), CHIPS, 30, "balanced")
    assert np.bincount([chip.category for chip in chosen]).tolist() == [10, 10, 0, 0, 0, 10]
    few = choose(np.random.default_rng(0), CHIPS, 60, "balanced")
    assert np.bincount([chip.category for chip in few]).tolist() == [20, 10, 0, 0, 0, 20]


def test_the_draw_repeats_with_its_seed():
    first, again, other = (choose(np.random.default_rng(seed), CHIPS, 20, "balanced") for seed in (1, 1, 2))
    assert first == again != other


def test_an_unknown_strategy_is_refused():
    with pytest.raises(DataError, match="no_forest, balanced"):
        choose(np.random.default_rng(0), CHIPS, 20, "random")
    assert choose(np.random.default_rng(0), [], 20, "balanced") == []


def test_the_data_set_and_its_index(tmp_path, lulc):
    dn = digital_numbers(70, 90)
    path = write_scene(tmp_path / SCENE, dn)
    before = path.read_bytes()
    dataset = make_dataset(
        {path: "train"}, [lulc], tmp_path / "out", per_scene=6, side=SIDE, strategy="balanced", progress=False
    )
    dataset.check(progress=False)
    with (tmp_path / "out" / "index.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == INDEX_COLUMNS
    assert len(rows) == len(dataset.ids("train")) > 0
    for row in rows:
        assert (row["Year"], row["Month"], row["Day"], row["FolderPath"]) == ("2022", "11", "19", "images")
        assert float(row["MinLon"]) < float(row["Longitude"]) < float(row["MaxLon"])
        assert float(row["MinLat"]) < float(row["Latitude"]) < float(row["MaxLat"])
        assert 139.9 < float(row["MinLon"]) < 140.1
        col, line = map(int, row["FileName"].removesuffix(".tif").split("_")[-2:])
        id = row["FileName"].removesuffix(".tif")
        scene, mask = dataset.scene(id), dataset.mask(id)
        expected = power_to_db(alos2_dn_to_power(dn[line : line + SIDE, col : col + SIDE]))
        assert scene.pixels[0] == pytest.approx(expected, abs=1e-3)
        assert (scene.bands[0].name, scene.bands[0].units, scene.bands[0].quantity) == ("HH", "db", "sigma0")
        assert mask[SIDE // 2, SIDE // 2] == int(row["Category"])
    assert path.read_bytes() == before


def test_the_same_ground_is_not_learned_and_tested_on(tmp_path, lulc):
    one = write_scene(tmp_path / SCENE, digital_numbers(70, 90))
    other = write_scene(tmp_path / OTHER, digital_numbers(70, 90), east=50)
    with pytest.raises(GeometryError, match="same ground"):
        make_dataset(
            {one: "train", other: "test"}, [lulc], tmp_path / "out", per_scene=2, side=SIDE, progress=False
        )


def test_scenes_projected_without_heights_are_refused(tmp_path, lulc):
    path = write_scene(tmp_path / SCENE.replace("2.1", "1.5"), digital_numbers(70, 90))
    with pytest.raises(DataError, match=r"level 1\.5.*take level 2\.1"):
        make_dataset({path: "train"}, [lulc], tmp_path / "out", per_scene=2, side=SIDE, progress=False)
    assert not (tmp_path / "out").exists()
