"""Converters of published data sets, on folders made in their layouts, not on the originals but for one chip."""

import csv
import json
import shutil
import sys

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS
from rasters import HERE, UTM, write

from sartutor import cli
from sartutor.errors import DataError, GeometryError
from sartutor.sar.folder import IGNORE, SAME_PLACE, Entry, open_dataset
from sartutor.sar.published import NAMES, avalcd, convert
from sartutor.sar.published.bigearthnet import CLASSES, WITHOUT_CLASS, tile, to_19_classes
from sartutor.sar.published.common import kept_apart
from sartutor.sar.scene import Grid

DEGREES = CRS.from_epsg(4326)
EVENTS = (
    "Livigno_20240403",
    "Livigno_20250129",
    "Nuuk_20160413",
    "Nuuk_20210411",
    "Pish_20230221",
    "Tromso_20241220",
)


def db(seed, shape=(20, 30)):
    return np.random.default_rng(seed).normal(-12, 2, shape).astype(np.float32)


def at(number):
    """A grid of its own for every number, 100 km from the next."""
    return Affine(10, 0, 300000 + 1e5 * number, 0, -10, 5200000)


def splits(dataset):
    return {entry.id: entry.split for entry in dataset.entries}


def quiet(name, source, out, **places):
    return convert(name, source, out, progress=False, **places)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rows(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


# what all share


def test_the_source_stays_as_it_was(flood_chips, tmp_path):
    before = contents(flood_chips)
    quiet("sen1floods11", flood_chips, tmp_path / "out")
    assert contents(flood_chips) == before


def test_unknown_names_sources_and_places_are_refused(flood_chips, tmp_path):
    for arguments, words in (
        (("eurosat", flood_chips, tmp_path / "out"), "avalcd"),
        (("avalcd", tmp_path / "nowhere", tmp_path / "out"), "no folder"),
        (("avalcd", flood_chips, tmp_path / "out"), r"no \*_GT\.tif"),
        (("sen1floods11", flood_chips, flood_chips), "another folder"),
    ):
        with pytest.raises(DataError, match=words):
            quiet(*arguments)
    with pytest.raises(DataError, match="no place 'Atlantis'; it has Bolivia"):
        quiet("sen1floods11", flood_chips, tmp_path / "out", test=["Atlantis"])
    with pytest.raises(DataError, match="name it once"):
        quiet("sen1floods11", flood_chips, tmp_path / "out", test=["Ghana"], val=["Ghana"])
    assert len(NAMES) == 6


def test_a_conversion_continues_and_splits_are_changed_without_writing_images_again(flood_chips, tmp_path):
    out = tmp_path / "out"
    quiet("sen1floods11", flood_chips, out, test=["Ghana"], val=["Spain"])
    (out / "masks" / "Spain_2.tif").unlink()
    times = {path: path.stat().st_mtime_ns for path in (out / "images").iterdir()}
    again = quiet("sen1floods11", flood_chips, out, test=["Spain"], val=["Ghana"])
    assert splits(again)["Spain_2"] == "test"
    changed = {path.stem for path, time in times.items() if path.stat().st_mtime_ns != time}
    assert changed == {"Spain_2"}


def test_images_that_share_ground_with_another_split_are_set_aside():
    def grid(x, crs=UTM):
        return Grid(Affine(10, 0, 500000 + x, 0, -10, 5200000), crs, 20, 20)

    entries = [
        Entry("a", "train", "A"),
        Entry("b", "train", "B"),
        Entry("c", "test", "C"),
        Entry("d", "val", "D"),
    ]
    moved = kept_apart(entries, [grid(0), grid(1000), grid(1100), grid(-150)])
    assert moved == [Entry("a", SAME_PLACE, "A & D"), Entry("b", SAME_PLACE, "B & C"), *entries[2:]]
    beside = [grid(0), grid(200), grid(400), grid(600)]
    assert kept_apart(entries, beside) == entries
    assert kept_apart(entries, [grid(0, None)] * 4) == entries


# AvalCD


def write_event(folder, event, number, radar=("VV", "VH")):
    (folder / event).mkdir(parents=True)
    layers = {f"{when}{name}": db(i + number) for i, (when, name) in enumerate(
        (when, name) for when in ("pre", "post") for name in radar)}  # fmt: skip
    layers[f"pre{radar[0]}"][0, 0] = -60
    layers |= {"DEM": np.full((20, 30), 1500, np.float32), "SLP": np.full((20, 30), 30, np.float32)}
    mask = np.zeros((20, 30), np.uint8)
    mask[5:9, 6:12] = 1
    for name, values in {**layers, "GT": mask}.items():
        write(folder / event / f"{event}_{name}.tif", values, transform=at(number % 4))


@pytest.fixture
def avalanches(tmp_path):
    for event in EVENTS:
        place = ("Livigno", "Nuuk", "Pish", "Tromso").index(event.split("_")[0])
        write_event(tmp_path / "AvalCD", event, place, ("HH", "HV") if place == 1 else ("VV", "VH"))
    return tmp_path / "AvalCD"


def test_avalcd_has_the_bands_of_two_encoders(avalanches, tmp_path):
    dataset = quiet("avalcd", avalanches, tmp_path / "out")
    dataset.check(progress=False)
    assert dataset.primary == ("VV0", "VV1", "DEM")
    assert dataset.secondary == ("VH0", "VH1", "slope")
    assert dataset.ranges["VV0"] == (-23, -3)
    scene, mask = dataset.scene("Nuuk_20160413_0_0"), dataset.mask("Nuuk_20160413_0_0")
    assert scene.band("VV1")[3, 4] == pytest.approx(db(3)[3, 4])
    assert scene.valid.sum() == scene.valid.size - 1
    assert not scene.valid[0, 0]
    assert (mask == 1).sum() == 24


def test_avalcd_leaves_one_event_out_with_its_place(avalanches, tmp_path):
    out = tmp_path / "out"
    published = quiet("avalcd", avalanches, out)
    assert published.ids("test") == ("Tromso_20241220_0_0",)
    assert published.ids("val") == ("Pish_20230221_0_0",)
    for event in EVENTS:
        fold = quiet("avalcd", avalanches, out, test=[event])
        assert fold.ids("test") == (f"{event}_0_0",)
        place = event.split("_")[0]
        others = {other for other in EVENTS if other.startswith(place)} - {event}
        assert {id for id, split in splits(fold).items() if split == SAME_PLACE} == {
            f"{o}_0_0" for o in others
        }
        assert not {fold.block(id) for id in fold.ids("train")} & {place, *map(fold.block, fold.ids("val"))}


def test_avalcd_validates_on_the_place_that_is_named(avalanches, tmp_path):
    fold = quiet("avalcd", avalanches, tmp_path / "out", test=["Pish_20230221"], val=["Nuuk_20210411"])
    assert fold.ids("val") == ("Nuuk_20160413_0_0", "Nuuk_20210411_0_0")
    with pytest.raises(DataError, match="another place"):
        quiet("avalcd", avalanches, tmp_path / "out", test=["Nuuk_20160413"], val=["Nuuk_20210411"])
    with pytest.raises(DataError, match="no event 'Davos'"):
        quiet("avalcd", avalanches, tmp_path / "out", test=["Davos"])


def test_large_events_are_cut_into_chips_that_cover_them_once(avalanches, tmp_path, monkeypatch):
    monkeypatch.setattr(avalcd, "CHIP_SIDE", 10)
    dataset = quiet("avalcd", avalanches, tmp_path / "out")
    assert len(dataset.ids("test")) == 2 * 3
    assert sum(dataset.mask(id).size for id in dataset.ids("test")) == 20 * 30
    assert sum((dataset.mask(id) == 1).sum() for id in dataset.ids("test")) == 24


def test_an_event_with_a_layer_missing_is_named(avalanches, tmp_path):
    (avalanches / "Pish_20230221" / "Pish_20230221_SLP.tif").unlink()
    with pytest.raises(DataError, match=r"Pish_20230221_SLP\.tif is missing"):
        quiet("avalcd", avalanches, tmp_path / "out")


# Sen1Floods11


@pytest.fixture
def flood_chips(tmp_path):
    for kind in ("S1Hand", "LabelHand"):
        (tmp_path / "v1.1" / kind).mkdir(parents=True)
    for number, chip in enumerate(("Bolivia_9", "Ghana_1", "Mekong_3", "Spain_1", "Spain_2", "USA_7")):
        label = np.zeros((20, 30), np.int16)
        label[0, :3] = 1, -1, 1
        write(
            tmp_path / "v1.1" / "S1Hand" / f"{chip}_S1Hand.tif",
            db(number, (2, 20, 30)),
            transform=at(number % 6),
        )
        write(tmp_path / "v1.1" / "LabelHand" / f"{chip}_LabelHand.tif", label, transform=at(number % 6))
    return tmp_path / "v1.1"


def test_sen1floods11_holds_countries_out(flood_chips, tmp_path):
    dataset = quiet("sen1floods11", flood_chips, tmp_path / "out")
    dataset.check(progress=False)
    assert dataset.ids("test") == ("Bolivia_9",)
    assert set(dataset.splits) == {"train", "val", "test"}
    assert splits(dataset)["Spain_1"] == splits(dataset)["Spain_2"]
    assert dataset.scene("Ghana_1").pixels == pytest.approx(db(1, (2, 20, 30)))
    assert [(band.units, band.quantity) for band in dataset.scene("Ghana_1").bands] == [("db", "sigma0")] * 2
    assert dataset.mask("Ghana_1")[0, :4].tolist() == [1, IGNORE, 1, 0]


def test_the_command_line_converts_and_counts(flood_chips, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["convert", "sen1floods11", str(flood_chips), str(out), "--test", "Ghana", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["folder"] == str(out)
    assert sum(report["images"].values()) == len(open_dataset(out).entries)
    assert cli.main(["convert", "sen1floods11", str(tmp_path / "nowhere"), str(out)]) == cli.BAD_INPUT
    assert "is no folder" in capsys.readouterr().err


def test_chips_without_data_are_left_out_and_without_label_named(flood_chips, tmp_path):
    write(flood_chips / "S1Hand" / "USA_7_S1Hand.tif", np.full((2, 20, 30), np.nan, np.float32))
    assert "USA_7" not in splits(quiet("sen1floods11", flood_chips, tmp_path / "out"))
    (flood_chips / "LabelHand" / "Ghana_1_LabelHand.tif").unlink()
    with pytest.raises(DataError, match="Ghana_1_LabelHand"):
        quiet("sen1floods11", flood_chips, tmp_path / "new")


def test_a_label_that_lies_elsewhere_is_refused(flood_chips, tmp_path):
    write(flood_chips / "LabelHand" / "Ghana_1_LabelHand.tif", np.zeros((20, 30), np.int16), transform=HERE)
    with pytest.raises(GeometryError, match="does not lie on the grid"):
        quiet("sen1floods11", flood_chips, tmp_path / "out")


@pytest.mark.mirror
def test_the_real_chip_of_sen1floods11(mirror, tmp_path):
    dataset = quiet("sen1floods11", mirror / "sen1floods11-spain", tmp_path / "out")
    (id,) = dataset.ids("test")
    assert (id, dataset.block(id)) == ("Spain_7370579", "Spain")
    scene, mask = dataset.scene(id), dataset.mask(id)
    assert [float(np.median(layer[scene.valid])) for layer in scene.pixels] == pytest.approx(
        [-10.481, -17.734], abs=1e-3
    )
    assert [(mask == value).sum() for value in (1, IGNORE)] == [70035, 99]
    assert scene.grid.crs == DEGREES


# BigEarthNet-S1


PATCHES = {
    "S1A_IW_GRDH_1SDV_20170613T165043_33UUP_61_39": ["Airports", "Pastures", "Rice fields"],
    "S1B_IW_GRDH_1SDV_20170612T165809_33UUP_61_40": ["Sea and ocean"],
    "S1A_IW_GRDH_1SDV_20170613T165043_34VEN_10_11": ["Coniferous forest", "Peatbogs"],
    "S1A_IW_GRDH_1SDV_20170613T165043_29UPU_10_11": ["Pastures"],
    "S1A_IW_GRDH_1SDV_20170613T165043_29UPU_10_12": ["Airports"],
}


@pytest.fixture
def patches(tmp_path):
    root = tmp_path / "BigEarthNet-S1-v1.0"
    for number, (name, labels) in enumerate(PATCHES.items()):
        (root / name).mkdir(parents=True)
        for index, band in enumerate(("VV", "VH")):
            write(root / name / f"{name}_{band}.tif", db(10 * number + index), transform=at(number))
        (root / name / f"{name}_labels_metadata.json").write_text(
            json.dumps({"labels": labels, "corresponding_s2_patch": "S2A", "projection": ""})
        )
    return root


def test_the_19_classes_take_in_43():
    assert len(CLASSES) == 19
    assert sum(map(len, CLASSES.values())) + len(WITHOUT_CLASS) == 43
    assert to_19_classes(["Sea and ocean", "Airports", "Estuaries", "Rice fields"]) == (
        "Arable land",
        "Marine waters",
    )
    with pytest.raises(DataError, match="'Moon'"):
        to_19_classes(["Moon"])


def test_bigearthnet_v1_labels_patches_and_holds_tiles_out(patches, tmp_path):
    dataset = quiet("bigearthnet-v1", patches, tmp_path / "out", test=["34VEN"], val=["29UPU"])
    assert len(dataset.entries) == 4
    assert dataset.image_labels[next(iter(PATCHES))] == ("Arable land", "Pastures")
    assert [dataset.block(id) for id in dataset.ids("test")] == ["34VEN"]
    assert {tile(id) for id in dataset.ids("train")} == {"33UUP"}
    assert dataset.scene(next(iter(PATCHES))).band("VH") == pytest.approx(db(1))
    assert not (tmp_path / "out" / "masks").exists()


def test_patches_of_overlapping_tiles_are_not_learned_and_tested_on(patches, tmp_path):
    name = "S1A_IW_GRDH_1SDV_20170613T165043_29UPU_10_11"
    for band in ("VV", "VH"):
        write(patches / name / f"{name}_{band}.tif", db(5), transform=at(2))
    dataset = quiet("bigearthnet-v1", patches, tmp_path / "out", test=["34VEN"], val=["33UUP"])
    assert splits(dataset)[name] == SAME_PLACE


def test_a_patch_without_labels_is_named(patches, tmp_path):
    name = next(iter(PATCHES))
    (patches / name / f"{name}_labels_metadata.json").unlink()
    with pytest.raises(DataError, match=r"_labels_metadata\.json is missing"):
        quiet("bigearthnet-v1", patches, tmp_path / "out")


def test_bigearthnet_v2_takes_its_table(patches, tmp_path, monkeypatch):
    import pandas

    names = list(PATCHES)
    table = pandas.DataFrame(
        {
            "s1_name": names[:3],
            "labels": [
                np.array(["Pastures", "Arable land"]),
                np.array(["Mixed forest"]),
                np.array(["Pastures"]),
            ],
            "split": ["train", "validation", "test"],
        }
    )
    with pytest.raises(DataError, match=r"metadata\.parquet is missing"):
        quiet("bigearthnet-v2", patches, tmp_path / "out")
    (patches / "metadata.parquet").touch()
    monkeypatch.setattr(pandas, "read_parquet", lambda path, columns: table[columns])
    dataset = quiet("bigearthnet-v2", patches, tmp_path / "out")
    assert splits(dataset) == dict(zip(names[:3], ("train", "val", "test"), strict=True))
    assert dataset.image_labels[names[0]] == ("Arable land", "Pastures")
    assert dataset.block(names[1]) == "33UUP val"
    held = quiet("bigearthnet-v2", patches, tmp_path / "out", test=["33UUP"])
    assert held.ids("test") == tuple(sorted(names[:2]))


def test_a_table_that_needs_another_package_says_so(patches, tmp_path, monkeypatch):
    (patches / "metadata.parquet").touch()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "fastparquet", None)
    with pytest.raises(DataError, match='pip install "pyarrow"'):
        quiet("bigearthnet-v2", patches, tmp_path / "out")


# SEN12-FLOOD


def product(mission, day, orbit):
    return f"{mission}_IW_GRDH_1SDV_{day}T030905_{day}T030930_{orbit:06}_02E4EB_98B8"


SERIES = [
    (product("S1A", "20190218", 25978), False, "DESCENDING"),
    (product("S1B", "20190401", 15600), True, "ASCENDING"),
    (product("S1A", "20190302", 25978 + 175), "True", "DESCENDING"),
    (product("S1A", "20190314", 25978 + 350), False, "DESCENDING"),
]


@pytest.fixture
def floods(tmp_path):
    listed = {}
    for number, place in enumerate(("0001", "0002", "0140")):
        (tmp_path / place).mkdir()
        listed[place] = {"count": len(SERIES), "folder": place, "geo": {"type": "Polygon"}}
        for index, (name, flooding, orbit) in enumerate(SERIES):
            shift = 1e-4 * (index == 1)
            grid = Affine(1e-4, 0, number + shift, 0, -1e-4, 10)
            for band in ("VV", "VH"):
                power = 10 ** (db(index, (40, 50)) / 10)
                power[:, : 30 * (index == 3)] = 0
                write(tmp_path / place / f"{name}_corrected_{band}.tif", power, transform=grid, crs=DEGREES)
            listed[place][str(index + 1)] = {
                "date": "2019-02-18",
                "FLOODING": flooding,
                "filename": name,
                "orbit": orbit,
            }
    (tmp_path / "S1list.json").write_text(json.dumps(listed))
    return tmp_path


def test_sen12flood_labels_images_and_lists_pairs(floods, tmp_path):
    dataset = quiet("sen12-flood", floods, tmp_path / "out", test=["0140"], val=["0002"])
    first, second, third, partly = (f"0140_{name}" for name, *_ in SERIES)
    assert dataset.ids("test") == (first, second, third)
    assert partly not in splits(dataset)
    assert [dataset.image_labels[id] for id in (first, second, third)] == [(), ("flood",), ("flood",)]
    own = [
        tuple(row.values())
        for row in rows(tmp_path / "out" / "pairs.csv")
        if row["before"].startswith("0140")
    ]
    assert own == [(first, second, "true", "false"), (first, third, "true", "true")]
    assert dataset.scene(first).bands[0].units == "power"
    assert str(dataset.scene(first).bands[0].date) == "2019-02-18"


def test_images_of_a_place_come_onto_one_grid_in_power(floods, tmp_path):
    dataset = quiet("sen12-flood", floods, tmp_path / "out")
    scenes = [dataset.scene(f"0001_{name}") for name, *_ in SERIES[:3]]
    assert len({scene.grid.key() for scene in scenes}) == 1
    inside = scenes[1].pixels[0, 5:-5, 6:-5]
    assert inside == pytest.approx(10 ** (db(1, (40, 50))[5:-5, 5:-6] / 10), rel=1e-3)


def test_a_missing_or_wrong_list_is_named(floods, tmp_path):
    (floods / "S1list.json").write_text("[]")
    with pytest.raises(DataError, match=r"S1list\.json is not the list"):
        quiet("sen12-flood", floods, tmp_path / "out")
    (floods / "S1list.json").unlink()
    with pytest.raises(DataError, match=r"S1list\.json is missing"):
        quiet("sen12-flood", floods, tmp_path / "out")


def test_images_that_were_not_downloaded_are_passed_over(floods, tmp_path):
    shutil.rmtree(floods / "0002")
    dataset = quiet("sen12-flood", floods, tmp_path / "out", test=["0140"])
    assert {dataset.block(entry.id) for entry in dataset.entries} == {"0001", "0140"}
    assert open_dataset(tmp_path / "out").splits == dataset.splits


# CrossEarth-SAR

LAYOUT = """
bands: [{name: VV, units: dn}]
level_db: -40
labels: {water: [1], forest: [2, 3]}
ignore: 0
splits:
  train: {images: a/img, labels: a/lab}
  test: {images: b/img, labels: b/lab}
"""


@pytest.fixture
def suite(tmp_path):
    """Nine training images and one for testing, three bands alike and no place; and a layout file."""
    for folder, count in (("a", 9), ("b", 1)):
        for part in ("img", "lab"):
            (tmp_path / "suite" / folder / part).mkdir(parents=True)
        for number in range(count):
            pixels = np.full((3, 8, 10), 10 + number, np.uint8)
            pixels[:, 0, 0] = 0
            label = np.resize(np.arange(4, dtype=np.uint8), (8, 10))
            for part, values, ending in (("img", pixels, "tif"), ("lab", label[None], "png")):
                path = tmp_path / "suite" / folder / part / f"{number}.{ending}"
                write(
                    path,
                    values,
                    crs=None,
                    transform=Affine.identity(),
                    driver="PNG" if ending == "png" else "GTiff",
                )
    (tmp_path / "layout.yaml").write_text(LAYOUT)
    return tmp_path / "suite"


def crossearth(suite, out, layout=LAYOUT, **places):
    (suite.parent / "layout.yaml").write_text(layout)
    return quiet("crossearth-sar-benchmarks", suite, out, layout=suite.parent / "layout.yaml", **places)


def test_a_layout_file_says_where_images_and_labels_are(suite, tmp_path):
    dataset = crossearth(suite, tmp_path / "out")
    dataset.check(progress=False)
    assert {split: len(dataset.ids(split)) for split in dataset.splits} == {"train": 8, "val": 1, "test": 1}
    scene, mask = dataset.scene("test_0"), dataset.mask("test_0")
    assert [(band.name, band.units) for band in scene.bands] == [("VV", "power")]
    assert 10 * np.log10(scene.pixels[0, 3, 4]) == pytest.approx(20 * np.log10(10) - 40)
    assert not scene.valid[0, 0]
    assert scene.valid.sum() == 79
    assert np.array_equal(mask, np.resize([IGNORE, 0, 1, 1], (8, 10)))
    assert dataset.description.classes == ("water", "forest")


def test_digital_numbers_without_a_level_stay_what_they_are(suite, tmp_path):
    dataset = crossearth(suite, tmp_path / "out", LAYOUT.replace("level_db: -40\n", ""))
    assert dataset.scene("test_0").bands[0].units == "dn"
    assert dataset.scene("test_0").pixels[0, 3, 4] == 10


def test_a_named_validation_is_not_drawn(suite, tmp_path):
    layout = LAYOUT.replace("  test:", "  val:")
    assert splits(crossearth(suite, tmp_path / "out", layout))["val_0"] == "val"
    assert len(open_dataset(tmp_path / "out").ids("train")) == 9


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("a/img", "a/images", "images is no folder; correct the layout"),
        ("b/lab", "a/img", r"img/0.tif has 3 bands; turn its colours into one number"),
        ("forest: [2, 3]", "forest: [2]", "0.png holds the value 3, which the layout lists nowhere"),
        ("labels: {water: [1], forest: [2, 3]}\n", "", "labels are missing; name the classes"),
        ("units: dn", "units: db", "level_db is given and a band is not in dn"),
        ("train:", "training:", "no image in split|has the layout"),
        ("[{name: VV, units: dn}]", "[{name: A, units: dn}, {name: B, units: dn}, {name: C, units: dn}, "
         "{name: D, units: dn}]", "has 3 bands and the layout names 4"),
        ("splits:", "parts:", "layout.yaml"),
    ],
)  # fmt: skip
def test_layouts_that_do_not_fit(suite, tmp_path, old, new, words):
    with pytest.raises(DataError, match=words):
        crossearth(suite, tmp_path / "out", LAYOUT.replace(old, new)).ids("train")


def test_labels_that_are_missing_or_of_another_size(suite, tmp_path):
    write(
        suite / "b" / "lab" / "0.png",
        np.ones((1, 4, 4), np.uint8),
        crs=None,
        transform=Affine.identity(),
        driver="PNG",
    )
    with pytest.raises(DataError, match=r"0.png has 4 x 4 px and .*0.tif 8 x 10; give both the same size"):
        crossearth(suite, tmp_path / "out")
    (suite / "a" / "lab" / "3.png").unlink()
    with pytest.raises(DataError, match=r"3.tif has no label of that name in .*lab"):
        crossearth(suite, tmp_path / "other")


def test_a_layout_is_for_the_set_without_one(suite, flood_chips, tmp_path):
    with pytest.raises(DataError, match="is not known here; say in a YAML file"):
        quiet("crossearth-sar-benchmarks", suite, tmp_path / "out")
    with pytest.raises(DataError, match="has no places to hold out"):
        crossearth(suite, tmp_path / "out", test=["a"])
    with pytest.raises(DataError, match="is known; leave out the layout file"):
        quiet("sen1floods11", flood_chips, tmp_path / "out", layout=tmp_path / "layout.yaml")
