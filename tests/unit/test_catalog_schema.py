"""What the catalogue accepts, what it refuses, and that every manifest file holds what is known."""

import hashlib
from pathlib import Path
from typing import get_args

import pytest
import yaml

from sartutor import catalog
from sartutor.catalog import schema
from sartutor.errors import CatalogError
from sartutor.sar import scene

ENTRIES = catalog.items()
VERIFIED = {"avaframe-alr", "palsar2-mosaic-n23w161", "sam-vit-b", "sam-vit-h", "sen1floods11-spain"}

FILE = {"name": "a.tif", "url": "https://example.org/a.tif", "sha256": "0" * 64, "bytes": 3}
GOOD = {
    "name": "an-item",
    "title": "An item",
    "description": "What it is",
    "homepage": "https://example.org",
    "status": "verified",
    "access": "open",
    "files": [FILE],
    "licence": "CC-BY-4.0",
    "citation": "Somebody (2020)",
    "credit": "Somebody",
    "bands": [{"name": "VV", "units": "db", "quantity": "sigma0"}],
    "splits": {"train": "the first half"},
}
CATALOGUED = {**GOOD, "status": "catalogued", "files": [], "steps": ["open the homepage"]}


def parse(**changes):
    return schema.parse(yaml.safe_dump({**GOOD, **changes}), "an-item.yaml")


def without(key):
    return {name: value for name, value in FILE.items() if name != key}


def test_a_good_item_is_accepted():
    assert parse().bytes == 3
    assert schema.parse(yaml.safe_dump(CATALOGUED), "an-item.yaml").bytes == 0


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"files": []}, "lists its files"),
        ({"files": [without("sha256")]}, "files.0.sha256"),
        ({"files": [without("bytes")]}, "files.0.bytes"),
        ({"files": [without("url")]}, "files.0.url"),
        ({"files": [{**FILE, "sha256": "unknown"}]}, "files.0.sha256"),
        ({"files": [{**FILE, "bytes": 0}]}, "files.0.bytes"),
        ({"files": [{**FILE, "url": "http://example.org/a.tif"}]}, "files.0.url"),
        ({"files": [{**FILE, "name": "../a.tif"}]}, "files.0.name"),
        ({"files": [FILE, FILE]}, "same name"),
        ({"access": "login"}, "without an account"),
        ({"access": "anyone"}, "access"),
        ({"status": "guessed"}, "status"),
        ({"name": "An Item"}, "name"),
        ({"licence": ""}, "licence"),
        ({"colour": "red"}, "colour"),
        ({"bands": [{"name": "VV", "units": "decibel"}]}, "bands.0.units"),
    ],
)
def test_a_bad_verified_item_is_refused(changes, complaint):
    with pytest.raises(CatalogError, match=r"an-item\.yaml") as caught:
        parse(**changes)
    assert complaint in str(caught.value)


def test_a_catalogued_item_with_a_checksum_is_refused():
    with pytest.raises(CatalogError, match="a checksum nobody verified"):
        parse(**{**CATALOGUED, "files": [FILE]})


def test_a_catalogued_item_without_steps_is_refused():
    with pytest.raises(CatalogError, match="how to get it"):
        parse(**{**CATALOGUED, "steps": []})


@pytest.mark.parametrize("text", ["a: [", "- just\n- a list\n", ""])
def test_what_is_no_manifest_is_refused(text):
    with pytest.raises(CatalogError, match=r"x\.yaml"):
        schema.parse(text, "x.yaml")


def test_a_file_is_named_after_its_item(tmp_path):
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(GOOD))
    with pytest.raises(CatalogError, match=r"an-item\.yaml"):
        schema.load(tmp_path)


def test_units_and_quantities_are_those_of_a_scene():
    assert get_args(schema.Units) == get_args(scene.Units)
    assert get_args(schema.Quantity) == get_args(scene.Quantity)


def test_what_is_verified():
    assert {name for name, entry in ENTRIES.items() if entry.status == "verified"} == VERIFIED
    assert len(ENTRIES) >= 20


def test_the_models_are_whole():
    (base,), (huge,) = ENTRIES["sam-vit-b"].files, ENTRIES["sam-vit-h"].files
    assert (base.name, base.bytes) == ("sam_vit_b_01ec64.pth", 375_042_383)
    assert (huge.name, huge.bytes) == ("sam_vit_h_4b8939.pth", 2_564_550_879)


@pytest.mark.mirror
@pytest.mark.parametrize("name", sorted(VERIFIED - {"sam-vit-b", "sam-vit-h"}))
def test_the_samples_are_as_catalogued(mirror: Path, name: str, tmp_path, monkeypatch):
    monkeypatch.setenv("SARTUTOR_CACHE", str(tmp_path))
    paths = catalog.fetch(name, progress=False)
    assert list(paths) == [file.name for file in ENTRIES[name].files]
    for file in ENTRIES[name].files:
        assert hashlib.sha256(paths[file.name].read_bytes()).hexdigest() == file.sha256
    assert catalog.is_here(ENTRIES[name])


def test_an_unknown_item_names_its_neighbours():
    with pytest.raises(CatalogError, match="did you mean sam-vit-b"):
        catalog.item("sam_vit_b")
    with pytest.raises(CatalogError, match="sartutor fetch --list"):
        catalog.item("xyzzy")
