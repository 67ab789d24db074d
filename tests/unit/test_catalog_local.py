"""Local copies: registered once, recognised later, refused when lost or changed."""

import hashlib
import os

import pytest

from sartutor import catalog
from sartutor.catalog import schema
from sartutor.errors import CatalogError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SARTUTOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SARTUTOR_MIRROR", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path):
    """A data set of three files, as a reader has it on disk."""
    root = tmp_path / "mmflood"
    for name in ("activations.json", "EMSR107-1/s1_raw/a.tif", "EMSR107-1/mask/a.tif"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def test_a_catalogued_item_says_the_steps():
    with pytest.raises(
        CatalogError, match=r"\(1\) .+ then run `sartutor fetch mmflood --from PATH`\."
    ) as caught:
        catalog.fetch("mmflood")
    assert "\n" not in str(caught.value)


def test_a_folder_is_taken_where_it_lies(folder, cache):
    given = catalog.register("mmflood", folder, progress=False)
    assert given == catalog.fetch("mmflood")
    assert given["EMSR107-1/mask/a.tif"] == folder / "EMSR107-1/mask/a.tif"
    assert len(given) == 3
    assert [path.name for path in (cache / "mmflood").iterdir()] == ["registered.json"]
    assert catalog.is_here(catalog.item("mmflood"))


def test_a_single_file_is_taken(folder):
    catalog.register("dinov2", folder / "activations.json", progress=False)
    assert catalog.fetch("dinov2") == {"activations.json": folder / "activations.json"}


def test_a_touched_file_is_compared_again(folder):
    catalog.register("mmflood", folder, progress=False)
    os.utime(folder / "activations.json", ns=(1, 1))
    assert len(catalog.fetch("mmflood")) == 3


@pytest.mark.parametrize("content", ["changed", "Activations.json"], ids=["size", "content"])
def test_a_changed_file_is_refused(folder, content):
    catalog.register("mmflood", folder, progress=False)
    (folder / "activations.json").write_text(content)
    os.utime(folder / "activations.json", ns=(1, 1))
    with pytest.raises(CatalogError, match=r"activations\.json has changed"):
        catalog.fetch("mmflood")


def test_a_lost_file_is_refused(folder):
    catalog.register("mmflood", folder, progress=False)
    (folder / "activations.json").unlink()
    with pytest.raises(CatalogError, match=r"activations\.json.+is gone"):
        catalog.fetch("mmflood")


def test_a_damaged_record_is_refused(folder, cache):
    catalog.register("mmflood", folder, progress=False)
    (cache / "mmflood" / "registered.json").write_text("{")
    with pytest.raises(CatalogError, match=r"registered\.json is damaged"):
        catalog.fetch("mmflood")


def test_nothing_to_register(tmp_path):
    with pytest.raises(CatalogError, match="There is no"):
        catalog.register("mmflood", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CatalogError, match="holds no files"):
        catalog.register("mmflood", tmp_path / "empty", progress=False)


def test_a_catalogued_item_is_not_mirrored(tmp_path):
    with pytest.raises(CatalogError, match="cannot be mirrored"):
        catalog.mirror(tmp_path / "stick", ["mmflood"])
    assert not (tmp_path / "stick").exists()


@pytest.fixture
def verified(monkeypatch):
    """A catalogue of one verified item with two files, whose publisher does not exist."""
    files = tuple(
        schema.File(name=name, url=f"https://127.0.0.1:9/{name}", sha256=sha(name), bytes=len(name))
        for name in ("one.tif", "two.tif")
    )
    fields = dict.fromkeys(("title", "description", "licence", "citation", "credit"), "x")
    fields |= {"name": "pair", "homepage": "https://example.org", "status": "verified", "access": "open"}
    entry = schema.Item(**fields, files=files)
    monkeypatch.setattr(schema, "_packaged", lambda: {"pair": entry})
    return entry


def sha(text):
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_verified_copy_is_checked_and_copied(verified, tmp_path, cache):
    for name in ("one.tif", "two.tif"):
        (tmp_path / name).write_text(name)
    given = catalog.register("pair", tmp_path, progress=False)
    assert given["two.tif"] == cache / "pair" / "two.tif"
    assert catalog.fetch("pair", progress=False) == given


def test_a_verified_copy_that_differs_is_refused(verified, tmp_path, cache):
    (tmp_path / "one.tif").write_text("ONE.tif")
    with pytest.raises(CatalogError, match="not the catalogued file"):
        catalog.register("pair", tmp_path, progress=False)
    assert not list(cache.glob("pair/*"))


def test_half_a_verified_copy_is_refused(verified, tmp_path):
    (tmp_path / "one.tif").write_text("one.tif")
    with pytest.raises(CatalogError, match="give the folder that holds them all"):
        catalog.register("pair", tmp_path / "one.tif", progress=False)
