"""SAFE folders of Sentinel-1 GRD products: made-up ones whose geometry, tables and noise are known."""

from datetime import date

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS
from rasterio.windows import Window
from rasters import write
from safe_product import NAME, Product, incidence, place, write_safe

from sartutor.sar.pairs import Acquisition
from sartutor.sar.radiometry import to_units
from sartutor.sar.safe import open_safe, terrain_correct
from sartutor.sar.scene import Band

SHAPE = (200, 300)
BLOCKS = ((0, 0, 199, 149, "0 199", "1.0 2.0"), (0, 150, 199, 299, "0", "3.0"))
DAY = date(2023, 1, 5)


def even(vv=200, vh=60):
    return {name: np.full(SHAPE, dn, np.uint16) for name, dn in (("VV", vv), ("VH", vh))}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """VV of DN 200 with a margin of zeros at the left, VH of DN 60; noise power 900, more along azimuth."""
    dn = even()
    dn["VV"][:, :10] = 0
    return write_safe(tmp_path_factory.mktemp("safe"), Product(dn, noise=900.0, azimuth=BLOCKS))


def test_a_product_says_where_and_when_it_was_taken(folder):
    safe = open_safe(folder)
    assert safe.acquisition == Acquisition(31, "IW", "right", "ascending", DAY)
    assert safe.bands == (Band("VV", "power", "sigma0", DAY), Band("VH", "power", "sigma0", DAY))
    assert safe.name == NAME
    assert safe.product == "sentinel-1"
    assert safe.grid.shape == SHAPE
    assert safe.grid.crs is None
    assert "radar geometry" in safe.notes[0]
    assert "thermal noise subtracted" in safe.notes[1]
    assert "Copernicus" in safe.notes[2]


def test_the_manifest_names_the_folder_too(folder):
    assert open_safe(folder / "manifest.safe").digest() == open_safe(folder).digest()


def test_beta0_without_noise_removal_by_hand(folder):
    scene = open_safe(folder, quantity="beta0", denoise=False).read()
    assert scene.band("VV")[:, 10:] == pytest.approx((200 / 400) ** 2)
    assert scene.band("VH") == pytest.approx((60 / 400) ** 2)
    assert not scene.valid[:, :10].any()
    assert scene.valid[:, 10:].all()


def test_noise_is_subtracted_by_range_and_azimuth(folder):
    scene = open_safe(folder, quantity="beta0").read()
    factor = np.where(np.arange(300) < 150, 1 + np.arange(200)[:, None] / 199, 3.0)
    truth = (60**2 - 900 * factor) / 400**2
    assert scene.band("VH") == pytest.approx(truth, abs=1e-7)


def test_the_noise_that_was_subtracted_is_told(folder):
    safe, window = open_safe(folder, quantity="beta0"), Window(100, 30, 120, 90)
    kept = open_safe(folder, quantity="beta0", denoise=False)
    with_noise = safe.read(window).pixels + safe.noise(window)
    assert with_noise == pytest.approx(kept.read(window).pixels, abs=1e-7)
    assert safe.noise().shape == (2, *SHAPE)
    assert not kept.noise().any()


def test_products_of_early_processors_have_noise_along_range_alone_and_dark_margins(tmp_path, folder):
    safe = open_safe(write_safe(tmp_path, Product(even(), noise=900.0, early=True)), quantity="beta0")
    assert safe.read().band("VH") == pytest.approx((60**2 - 900) / 400**2, abs=1e-7)
    assert "before version 2.9" in safe.notes[-1]
    kept = open_safe(safe.folder, denoise=False)
    assert "before version 2.9" in kept.notes[-1]
    assert not any("before version" in note for note in open_safe(folder).notes)


def test_power_below_the_noise_stays_signed_until_decibels(tmp_path):
    safe = open_safe(write_safe(tmp_path, Product(even(vh=20), noise=900.0)))
    scene = safe.read(Window(0, 0, 50, 40))
    assert (scene.band("VH") < 0).all()
    assert "VH: 2000 px not above the thermal noise, kept signed." in scene.notes
    assert to_units(scene, "db").band("VH") == pytest.approx(-80)


@pytest.mark.parametrize(("quantity", "factor"), [("sigma0", np.sin), ("gamma0", np.tan)])
def test_conventions_follow_the_incidence(folder, quantity, factor):
    beta = open_safe(folder, ["VH"], "beta0").read()
    other = open_safe(folder, ["VH"], quantity).read()
    theta = np.radians(incidence(100, [0, 299]))
    assert other.pixels[0][0, [0, 299]] == pytest.approx(
        beta.pixels[0][0, [0, 299]] * factor(theta), rel=1e-5
    )
    assert other.bands == (Band("VH", "power", quantity, DAY),)


def test_windows_are_parts_of_the_whole(folder):
    safe, window = open_safe(folder), Window(100, 30, 120, 90)
    whole, part = safe.read(), safe.read(window)
    assert np.array_equal(part.pixels, whole.pixels[:, 30:120, 100:220])
    assert part.grid == safe.grid.crop(window)


def test_the_order_of_bands_is_that_asked_for(folder):
    assert open_safe(folder, ["vh", "VV"]).band_names == ("VH", "VV")


def test_an_overview_averages_power(folder):
    small = open_safe(folder, ["VH"], "beta0", denoise=False).overview(30)
    assert small.grid.shape == (20, 30)
    assert small.pixels == pytest.approx((60 / 400) ** 2)


def dem(path, metres=20.0, height=-45.0, crs=None, rows=84, columns=130):
    """Even heights over the geoid in the middle of the product's image, geographic unless told."""
    lon, lat, _ = (float(v[0]) for v in place(100, [150]))
    step = metres / 111_000
    east = step / np.cos(np.radians(lat))
    corner = Affine(east, 0, lon - east * columns / 2, 0, -step, lat + step * rows / 2)
    values = np.broadcast_to(height, (rows, columns)).astype(np.float32)
    return write(path, values, corner, CRS.from_epsg(4326) if crs is None else crs)


@pytest.fixture(scope="module")
def corrected(tmp_path_factory):
    """A product with a block of bright pixels, on the ellipsoid, which the model tells in heights over the geoid."""
    place_ = tmp_path_factory.mktemp("terrain")
    dn = {"VV": np.full(SHAPE, 200, np.uint16)}
    dn["VV"][90:110, 140:160] = 600
    product = write_safe(place_, Product(dn, noise=900.0))
    return terrain_correct(product, dem(place_ / "dem.tif"), geoid_m=45.0)


def inner(scene):
    """The part without the border of the model, whose illuminated areas lack neighbours."""
    return scene.pixels[0][8:-8, 8:-8]


def test_flat_ground_has_gamma0_of_beta0_times_the_tangent(corrected):
    theta = np.radians(incidence(100, [150])[0])
    truth = (200**2 - 900) / 400**2 * np.tan(theta)
    values = inner(corrected)
    assert np.median(values) == pytest.approx(truth, rel=0.01)
    even = np.delete(values, slice(20, 50), axis=0)
    assert (10 * np.log10(even)).std() < 0.06
    assert corrected.bands == (Band("VV", "power", "gamma0", DAY),)


def test_a_target_lies_where_it_is(corrected):
    rows, columns = np.nonzero(corrected.valid & (corrected.pixels[0] > 0.9))
    middle = corrected.grid.transform @ (columns.mean() + 0.5, rows.mean() + 0.5)
    truth = [float(v[0]) for v in place(99.5, [149.5])[:2]]
    metres = (np.array(middle) - truth) * [111_000 * np.cos(np.radians(truth[1])), 111_000]
    assert np.abs(metres) == pytest.approx(0, abs=10)


def test_the_grid_is_that_of_the_height_model(corrected):
    assert corrected.grid.shape == (84, 130)
    assert corrected.grid.transform.e < 0
    assert corrected.name == NAME
    assert "flattened by dem" in corrected.notes[0]
    assert corrected.valid[8:-8, 8:-8].all()


@pytest.mark.parametrize("tilt", [-12, 12])
def test_a_slope_has_the_tangent_of_its_own_incidence(tmp_path, tilt):
    product = write_safe(tmp_path, Product({"VV": np.full(SHAPE, 200, np.uint16)}))
    east = (np.arange(130) - 64.5) * 20.0
    model = dem(tmp_path / "dem.tif", height=east * np.tan(np.radians(tilt)))
    scene = terrain_correct(product, model, radiometry="gamma_nearest")
    middle = scene.pixels[0][20:-20, 50:-50]
    local = np.radians(
        incidence(100, [150])[0] - tilt
    )  # rising eastwards is towards the satellite in the west
    assert middle.mean() == pytest.approx((200 / 400) ** 2 * np.tan(local), rel=0.02)


def test_the_border_where_areas_are_cut_is_left_out(corrected):
    rows, columns = np.nonzero(corrected.valid)
    assert (rows.min(), columns.min(), columns.max()) == (4, 4, 125)
    assert corrected.pixels[0][corrected.valid].min() > 0.18
