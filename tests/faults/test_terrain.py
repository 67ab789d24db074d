"""Height models that are none, lie elsewhere or hide their no-data: one clear sentence, and never a cliff."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS
from rasters import HERE, write

from sartutor.errors import DataError, GeometryError, SarTutorError
from sartutor.sar.flattening import flatten_terrain
from sartutor.sar.geotiff import read_scene
from sartutor.sar.terrain import View, spacing_m, terrain_layers
from sartutor.sar.warp import warp

VIEW = View(39, 78)
DEGREES = CRS.from_epsg(4326)
LOCAL = CRS.from_wkt('LOCAL_CS["pixels",UNIT["metre",1]]')


@contextmanager
def one_sentence(kind, *words):
    """The block must raise `kind` with one sentence that holds all `words`."""
    with pytest.raises(SarTutorError) as caught:
        yield
    message = str(caught.value)
    assert isinstance(caught.value, kind), message
    assert "\n" not in message
    assert message.endswith(".")
    assert len(message) < 400
    for word in words:
        assert word in message


def hill(base=1500.0, shape=(60, 80)):
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    return (base + 3 * cols + 2 * rows).astype(np.float32)


def model(folder, height, units="m", name="dem.tif", **place):
    return read_scene(write(folder / name, height, **place), units=units)


def take(folder, shape=(60, 80), quantity="sigma0", **place):
    power = np.random.default_rng(0).gamma(4, 0.02, shape).astype(np.float32)
    return read_scene(write(folder / "take.tif", power, **place), units="power", quantity=quantity)


def collar(value, dtype=np.float32):
    height = hill()
    height[:, :12] = value
    return height.astype(dtype)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (-9999, ("-9999 to", "no-data")),
        (32767, ("32767 m", "no-data")),
        (-32768, ("-32768 to", "no-data")),
        (np.finfo(np.float32).min, ("-3.40282e+38", "no-data")),
        (0, ("exactly 0 m", "cliffs", "no-data")),
        (1, ("exactly 1 m", "cliffs", "no-data")),
    ],
)
def test_a_collar_without_a_tag_is_no_cliff(tmp_path, value, words):
    dem = model(tmp_path, hill())
    dem = replace(dem, pixels=collar(value)[None])
    with one_sentence(DataError, "dem", *words):
        terrain_layers(dem)
    with one_sentence(DataError, "dem", *words):
        flatten_terrain(take(tmp_path), dem, VIEW)


@pytest.mark.parametrize("value", [-9999, 32767, np.finfo(np.float32).min, np.nan, 0, 1])
def test_a_collar_with_a_tag_is_masked_and_stays_so(tmp_path, value):
    dem = model(tmp_path, collar(value), nodata=value)
    layers = terrain_layers(dem)
    assert not layers.valid[:, :13].any()
    assert layers.valid[:, 13:].all()
    expected = np.rad2deg(np.arctan(np.hypot(0.3, 0.2)))
    assert layers.band("slope")[layers.valid] == pytest.approx(expected, abs=0.01)
    flattened = flatten_terrain(take(tmp_path), dem, VIEW)
    assert not flattened.valid[:, :12].any()
    assert flattened.valid[:, 12:].mean() > 0.999
    ratio = (flattened.pixels / take(tmp_path).pixels)[0, flattened.valid]
    assert ratio == pytest.approx(np.median(ratio), rel=1e-3)


def test_the_sea_is_no_collar(tmp_path):
    coast = np.tile(np.maximum(0, 6.0 * (np.arange(80) - 30)), (60, 1)).astype(np.float32)
    assert terrain_layers(model(tmp_path, coast)).valid.all()


@pytest.mark.parametrize("height", [np.zeros((60, 80), np.float32), np.zeros((60, 80), np.int16)])
def test_a_model_of_zeros_is_none(tmp_path, height):
    with one_sentence(DataError, "dem", "0 or no data"):
        terrain_layers(model(tmp_path, height))


@pytest.mark.parametrize("units", ["dn", "1", "power", "db", None])
def test_heights_without_metres_are_refused(tmp_path, units):
    with one_sentence(DataError, "dem", "metres", "units='m'", "feet"):
        terrain_layers(model(tmp_path, hill(), units=units))


def test_two_heights_are_one_too_many(tmp_path):
    with one_sentence(DataError, "exactly one band", "B1 in m, B2 in m"):
        terrain_layers(model(tmp_path, np.stack([hill(), hill()])))


def test_heights_in_feet_by_their_reference_system_are_refused(tmp_path):
    height_feet = CRS.from_user_input("EPSG:32632+6360")  # NAVD88 height in US survey feet
    dem = model(tmp_path, hill())
    dem = replace(dem, grid=replace(dem.grid, crs=height_feet))
    with one_sentence(DataError, "dem", "US survey foot", "0.3048"):
        terrain_layers(dem)


@pytest.mark.parametrize("call", [terrain_layers, lambda dem: spacing_m(dem.grid)])
@pytest.mark.parametrize(
    ("place", "words"),
    [
        ({"crs": None}, ("no coordinate reference system", "a_srs")),
        ({"crs": DEGREES}, ("coordinates", "EPSG:4326")),
        ({"transform": Affine(10, 0, 6e9, 0, -10, 5.2e9)}, ("coordinates", "EPSG:32632")),
        ({"crs": LOCAL}, ("pixels has no place on Earth",)),
    ],
    ids=["no crs", "metres tagged as degrees", "far away", "local"],
)
def test_grids_that_are_nowhere_are_refused(tmp_path, place, words, call):
    dem = model(tmp_path, hill())
    dem = replace(dem, grid=replace(dem.grid, **place))
    with one_sentence(GeometryError, *words):
        call(dem)


@pytest.mark.parametrize(
    "transform",
    [Affine(10, 3, 6e5, 0, -10, 5.2e6), Affine(10, 0, 6e5, 4, -10, 5.2e6)],
    ids=["sheared", "sheared the other way"],
)
def test_sheared_grids_are_refused(tmp_path, transform):
    with one_sentence(GeometryError, "dem", "warp"):
        terrain_layers(model(tmp_path, hill(), transform=transform))


def test_turned_degrees_are_refused(tmp_path):
    turned = Affine.translation(9, 47) @ Affine.rotation(20) @ Affine.scale(1e-4, -1e-4)
    with one_sentence(GeometryError, "dem", "warp"):
        terrain_layers(model(tmp_path, hill(), transform=turned, crs=DEGREES))


def test_a_model_one_pixel_wide_has_no_slope(tmp_path):
    with one_sentence(GeometryError, "2 x 2"):
        terrain_layers(model(tmp_path, hill(shape=(60, 1))))


@pytest.mark.parametrize(
    "place",
    [
        {"crs": CRS.from_epsg(32633)},
        {"transform": HERE @ Affine.translation(0.5, 0)},
        {"transform": HERE @ Affine.scale(2)},
        {"transform": Affine(1e-4, 0, 10.3, 0, -1e-4, 46.9), "crs": DEGREES},
    ],
    ids=["other zone", "half a pixel off", "coarser", "degrees"],
)
def test_heights_on_another_grid_are_refused_with_the_cure(tmp_path, place):
    with one_sentence(GeometryError, "take", "dem", "warp(dem, scene.grid)"):
        flatten_terrain(take(tmp_path), model(tmp_path, hill(), **place), VIEW)


def test_heights_of_another_size_are_refused(tmp_path):
    with one_sentence(GeometryError, "different grids"):
        flatten_terrain(take(tmp_path), model(tmp_path, hill(shape=(60, 81))), VIEW)


def test_heights_elsewhere_are_refused_when_the_cure_is_tried(tmp_path):
    radar, dem = take(tmp_path), model(tmp_path, hill(), transform=Affine(10, 0, 3e5, 0, -10, 5.5e6))
    with one_sentence(GeometryError, "dem", "does not overlap"):
        warp(dem, radar.grid)


def test_the_cure_works(tmp_path):
    degrees = Affine(1.3e-4, 0, 10.3120, 0, -0.9e-4, 46.9480)
    dem = model(tmp_path, hill(shape=(90, 120)), transform=degrees, crs=DEGREES)
    radar = take(tmp_path)
    flattened = flatten_terrain(radar, warp(dem, radar.grid), VIEW)
    assert flattened.valid.mean() > 0.9
    assert flattened.bands[0].quantity == "gamma0"


@pytest.mark.parametrize("missing", ["take", "dem"])
def test_radar_or_heights_without_a_place_are_refused_by_name(tmp_path, missing):
    none = {"crs": None}
    radar = take(tmp_path, **(none if missing == "take" else {}))
    dem = model(tmp_path, hill(), **(none if missing == "dem" else {}))
    with one_sentence(GeometryError, missing, "no coordinate reference system"):
        flatten_terrain(radar, dem, VIEW)


def test_backscatter_of_unknown_kind_is_refused(tmp_path):
    with one_sentence(DataError, "take", "quantity"):
        flatten_terrain(take(tmp_path, quantity="none"), model(tmp_path, hill()), VIEW)


def test_heights_in_place_of_radar_are_refused(tmp_path):
    dem = model(tmp_path, hill())
    with one_sentence(DataError, "dem", "no band is radar"):
        flatten_terrain(dem, dem, VIEW)
