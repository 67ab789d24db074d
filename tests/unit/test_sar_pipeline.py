"""Whole scenes made into tiles: equal to the whole processed at once, restarted where they stopped."""

import csv
import json

import numpy as np
import pytest
from rasters import HERE, UTM, write

from sartutor.errors import DataError, OutputError
from sartutor.sar import pipeline
from sartutor.sar.geotiff import open_scene, read_scene
from sartutor.sar.pipeline import Recipe, calibrated, prepare, prepare_window, tiles_in_flight, with_looks
from sartutor.sar.radiometry import power_to_db, to_units
from sartutor.sar.scene import Band, Grid, Scene
from sartutor.sar.speckle import FILTERS, filter_scene
from sartutor.sar.tiles import tile_grid

SHAPE = (600, 500)
LOOKS = 4.0
RAW = Recipe(calibration_db=-83.0, quantity="gamma0", speckle="lee", side=256, overlap=32)


def digital_numbers(shape=SHAPE, seed=0):
    """HH and HV amplitudes of four looks over ground that brightens eastward, with no-data in a corner."""
    rng = np.random.default_rng(seed)
    mean = 10 ** (np.linspace(-1.6, -0.6, shape[1]) + np.array([0, -0.7])[:, None, None])
    power = mean * rng.gamma(LOOKS, 1 / LOOKS, (2, *shape))
    dn = np.round(np.sqrt(power * 10**8.3)).astype(np.uint16)
    dn[:, :40, :300] = 0
    return dn


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    path = tmp_path_factory.mktemp("scene") / "L21.tif"
    write(
        path,
        digital_numbers(),
        descriptions=("HH", "HV"),
        nodata=0,
        tiled=True,
        blockxsize=128,
        blockysize=128,
    )
    return open_scene(path, units="dn")


def scene(values, *bands, name="small"):
    pixels = np.asarray(values, np.float32)
    return Scene(pixels, bands, Grid(HERE, UTM, *pixels.shape[1:]), np.ones(pixels.shape[1:], bool), name)


def written(out):
    return sorted((out / "images").glob("*.tif"))


def index(out):
    with (out / "tiles.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_tiles_equal_the_scene_processed_at_once_also_at_their_borders(raw, tmp_path):
    recipe = with_looks(RAW, raw)
    records = prepare(raw, recipe, tmp_path / "tiles", progress=False)
    whole = to_units(filter_scene(calibrated(raw.read(), recipe), "lee", recipe.looks, 7), "db")
    assert len(records) == len(tile_grid(SHAPE, 256, 32)) == len(written(tmp_path / "tiles"))
    for record, tile in zip(records, tile_grid(SHAPE, 256, 32), strict=True):
        part, expected = (
            read_scene(tmp_path / "tiles" / "images" / f"{record.id}.tif"),
            whole.read(tile.window),
        )
        assert (part.valid == expected.valid).all()
        np.testing.assert_allclose(part.pixels[:, part.valid], expected.pixels[:, expected.valid], atol=1e-4)
        assert part.grid.key() == expected.grid.key()
        assert part.bands == (Band("HH", "db", "gamma0"), Band("HV", "db", "gamma0"))


@pytest.mark.parametrize("name", FILTERS)
def test_no_filter_sees_the_border_of_a_tile(name):
    power = np.random.default_rng(1).gamma(LOOKS, 0.05 / LOOKS, (1, 60, 70))
    source = scene(power, Band("VV", "power"))
    recipe = Recipe(speckle=name, looks=LOOKS, units="power", side=32)
    whole = filter_scene(source, name, LOOKS, recipe.size).pixels
    for tile in tile_grid((60, 70), 32):
        part = prepare_window(source, recipe, tile.window).pixels
        np.testing.assert_allclose(part, whole[:, *tile.window.toslices()], rtol=1e-5)


def test_the_index_says_where_tiles_lie_and_how_much_of_them_is_valid(raw, tmp_path):
    prepare(raw, RAW, tmp_path, progress=False)
    first, *_, last = index(tmp_path)
    assert first == {
        "id": "L21_00000_00000",
        "row": "0",
        "col": "0",
        "y": "0",
        "x": "0",
        "height": "256",
        "width": "256",
        "valid": str(round(1 - 40 / 256, 4)),
    }
    assert (last["id"], last["valid"]) == ("L21_00344_00244", "1.0")


def test_power_is_written_where_asked_for_and_without_a_filter_nothing_is_smoothed(tmp_path):
    power = np.random.default_rng(1).gamma(1, 0.1, (2, 40, 50)).astype(np.float32)
    power[0, 0, 0] = -0.01  # noise was subtracted
    source = scene(power, Band("VV", "power", "sigma0"), Band("linci", "degree"), name="pass 12/06")
    (record,) = prepare(source, Recipe(units="power"), tmp_path / "a", progress=False)
    assert record.id == "pass-12-06_00000_00000"
    part = read_scene(tmp_path / "a" / "images" / f"{record.id}.tif")
    assert (part.pixels == power).all()
    assert part.bands == source.bands
    (record,) = prepare(source, Recipe(), tmp_path / "b", progress=False)
    part = read_scene(tmp_path / "b" / "images" / f"{record.id}.tif")
    assert part.band("VV") == pytest.approx(power_to_db(power[0]))
    assert part.band("linci") == pytest.approx(power[1])
    assert any("1 px" in note for note in part.notes)


def test_a_tile_without_data_is_neither_written_nor_listed(tmp_path):
    source = scene(np.full((1, 20, 60), 0.1), Band("VV", "power"))
    source.valid[:, 20:40] = False
    records = prepare(source, Recipe(side=20), tmp_path, progress=False)
    assert [record.x for record in records] == [0, 40]
    assert [path.stem for path in written(tmp_path)] == [record.id for record in records]
    assert [line["x"] for line in index(tmp_path)] == ["0", "40"]


def test_looks_are_estimated_once_for_all_tiles(raw, tmp_path, monkeypatch):
    recipe = with_looks(RAW, raw)
    assert recipe.looks == pytest.approx((LOOKS, LOOKS), rel=0.1)
    used = []
    monkeypatch.setattr(pipeline, "filter_scene", lambda *args: used.append(args[2]) or filter_scene(*args))
    prepare(raw, RAW, tmp_path, progress=False)
    assert used == [recipe.looks] * len(tile_grid(SHAPE, 256, 32))
    assert json.loads((tmp_path / "recipe.json").read_text())["looks"] == list(recipe.looks)
    prepare(raw, RAW, tmp_path, progress=False)


def test_a_dark_band_without_its_noise_has_looks_of_its_own():
    """VH of -30 dB whose noise of -27 dB was subtracted varies by three times its mean over sqrt(L)."""
    rng = np.random.default_rng(3)
    echo, noise = np.array([0.1, 10**-3.0])[:, None, None], 10**-2.7
    power = (echo + noise) * rng.gamma(LOOKS, 1 / LOOKS, (2, 300, 300)) - noise
    power = np.concatenate([power, np.full((1, 300, 300), 35)])
    source = scene(power, Band("VV", "power"), Band("VH", "power"), Band("linci", "degree"))
    bright, dark = with_looks(Recipe(speckle="lee"), source).looks
    assert bright == pytest.approx(LOOKS, rel=0.1)
    assert dark == pytest.approx(LOOKS / 9, rel=0.2)


def test_looks_need_speckle():
    even = scene(np.full((1, 30, 30), 0.1), Band("VV", "power"))
    with pytest.raises(DataError, match="small: VV shows no speckle to estimate looks from; name the looks"):
        with_looks(Recipe(speckle="lee"), even)
    assert with_looks(Recipe(speckle="lee", looks=3), even).looks == 3
    assert with_looks(Recipe(), even).looks is None


def test_a_second_run_keeps_every_tile_and_writes_the_same_index(raw, tmp_path):
    first = prepare(raw, RAW, tmp_path, progress=False)
    times = [path.stat().st_mtime_ns for path in written(tmp_path)]
    assert prepare(raw, RAW, tmp_path, progress=False) == first
    assert [path.stat().st_mtime_ns for path in written(tmp_path)] == times


def test_progress_counts_tiles(raw, tmp_path, capsys):
    prepare(raw, RAW, tmp_path)
    assert "9/9" in capsys.readouterr().err


def test_zero_amplitude_becomes_no_data_when_calibrated():
    raw = scene([[[0, 1000, 3000]]], Band("HH", "dn"))
    power = calibrated(raw, Recipe(calibration_db=-83.0, quantity="sigma0"))
    assert power.valid.tolist() == [[False, True, True]]
    assert power_to_db(power.pixels[0, 0, 1]) == pytest.approx(-23.0, abs=1e-4)
    assert power.bands == (Band("HH", "power", "sigma0"),)


def test_calibration_is_neither_forgotten_nor_done_twice(tmp_path):
    raw, done = scene([[[7, 9]]], Band("HH", "dn")), scene([[[0.1, 0.2]]], Band("HH", "power"))
    with pytest.raises(DataError, match="HH holds digital numbers; name the calibration factor"):
        prepare(raw, Recipe(), tmp_path, progress=False)
    with pytest.raises(DataError, match="small holds no digital numbers to calibrate"):
        prepare(done, Recipe(calibration_db=-83.0), tmp_path, progress=False)
    assert not written(tmp_path)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"speckle": "median"}, "use one of boxcar"), ({"units": "dn"}, "'dn'"), ({"size": 6}, "odd")],
)
def test_impossible_recipes_are_refused(wrong, words):
    with pytest.raises(DataError, match=words):
        Recipe(**wrong)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"side": 128}, "side"), ({"units": "power"}, "units"), ({"speckle": "frost"}, "speckle")],
)
def test_another_recipe_in_the_same_folder_is_refused(raw, tmp_path, change, words):
    small = Recipe(calibration_db=-83.0, side=512)
    prepare(raw, small, tmp_path, progress=False)
    settings = {"calibration_db": -83.0, "side": 512, **change}
    with pytest.raises(OutputError, match=rf"\(.*{words}.*differ\); choose another folder"):
        prepare(raw, Recipe(**settings), tmp_path, progress=False)


def test_another_scene_in_the_same_folder_is_refused(tmp_path):
    one, other = (scene(np.full((1, 9, 9), value), Band("VV", "power")) for value in (0.1, 0.2))
    prepare(one, Recipe(), tmp_path, progress=False)
    with pytest.raises(OutputError, match="scene digest differ"):
        prepare(other, Recipe(), tmp_path, progress=False)


def test_tiles_in_flight_keep_within_memory():
    from dask.system import CPU_COUNT

    assert tiles_in_flight(64, 2) == CPU_COUNT
    assert tiles_in_flight(16384, 2) == 1
    assert tiles_in_flight(2048, 6) <= max(1, 2**30 // (2048**2 * 24))


@pytest.mark.mirror
def test_the_real_sentinel1_chip_in_tiles_equals_the_chip_filtered_at_once(mirror, tmp_path):
    chip = open_scene(mirror / "sen1floods11-spain/Spain_7370579_S1Hand.tif")
    recipe = with_looks(Recipe(speckle="lee", side=200, overlap=20), chip)
    assert all(3 < looks < 12 for looks in recipe.looks)  # nominal 4.4, more where pixels are correlated
    whole = filter_scene(chip.read(), "lee", recipe.looks, 7)
    for record in prepare(chip, recipe, tmp_path, progress=False):
        part = read_scene(tmp_path / "images" / f"{record.id}.tif")
        there = np.s_[record.y : record.y + record.height, record.x : record.x + record.width]
        assert (part.valid == whole.valid[there]).all()
        expected = whole.pixels[:, *there][:, part.valid]
        np.testing.assert_allclose(part.pixels[:, part.valid], expected, atol=1e-4)
