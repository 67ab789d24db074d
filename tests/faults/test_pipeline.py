"""Runs over whole scenes that are stopped: whole tiles alone are left, and the next run goes on from them."""

import signal
import subprocess
import sys

import numpy as np
import pytest
from filelock import FileLock
from rasters import write

from sartutor.errors import OutputError
from sartutor.sar import pipeline
from sartutor.sar.geotiff import open_scene, read_scene, write_scene
from sartutor.sar.pipeline import Recipe, prepare

RECIPE = Recipe(units="db", side=100)
TILES = 12

KILLED = """
import os, sys
from pathlib import Path
from sartutor.sar import geotiff, pipeline

def replacing(path):
    if len(list(Path(path).parent.glob("[!.]*.tif"))) >= 4 and not killed:
        killed.append(path)
        (Path(path).parent / f".{Path(path).stem}.0123abcd.tif").write_bytes(b"II*half")
        os.kill(os.getpid(), int(sys.argv[3]))
    return whole(path)

killed = []
whole, geotiff.replacing = geotiff.replacing, replacing
pipeline.prepare(geotiff.open_scene(sys.argv[1]), pipeline.Recipe(side=100), sys.argv[2], progress=False)
"""


@pytest.fixture
def source(tmp_path):
    db = np.random.default_rng(0).normal(-12, 2, (300, 400)).astype(np.float32)
    return open_scene(write(tmp_path / "scene.tif", db, descriptions=["VV"]))


@pytest.fixture
def out(tmp_path):
    return tmp_path / "tiles"


def finished(out):
    """Each finished tile with its content and the time it was written."""
    return {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in (out / "images").glob("[!.]*.tif")}


def parts(out):
    return list((out / "images").glob(".*"))


def assert_goes_on(source, out, before):
    assert 0 < len(before) < TILES
    assert not (out / "tiles.csv").exists()
    assert len(prepare(source, RECIPE, out, progress=False)) == TILES
    after = finished(out)
    assert len(after) == TILES
    assert {name: after[name] for name in before} == before
    assert not parts(out)
    assert len((out / "tiles.csv").read_text().splitlines()) == TILES + 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError("power failure")])
def test_a_run_that_is_interrupted_leaves_whole_tiles_and_is_continued(source, out, monkeypatch, error):
    def write_some(scene, path):
        if len(finished(out)) >= 5:
            raise error
        write_scene(scene, path)

    monkeypatch.setattr(pipeline, "write_scene", write_some)
    with pytest.raises((KeyboardInterrupt, RuntimeError)):
        prepare(source, RECIPE, out, progress=False)
    monkeypatch.undo()
    for name in finished(out):
        assert read_scene(out / "images" / name).valid.all()
    assert not parts(out)
    assert_goes_on(source, out, finished(out))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows kills without signals")
@pytest.mark.parametrize("name", ["SIGKILL", "SIGINT"])
def test_a_run_that_is_killed_while_it_writes_is_continued(source, out, tmp_path, name):
    number = int(signal.Signals[name])
    command = [sys.executable, "-c", KILLED, str(tmp_path / "scene.tif"), str(out), str(number)]
    assert subprocess.run(command, capture_output=True).returncode == -number
    assert parts(out)
    assert_goes_on(source, out, finished(out))


def test_a_damaged_tile_is_made_again(source, out):
    prepare(source, RECIPE, out, progress=False)
    whole = finished(out)
    name = sorted(whole)[3]
    (out / "images" / name).write_bytes(whole[name][1][:2000])
    prepare(source, RECIPE, out, progress=False)
    again = finished(out)
    assert again[name][1] == whole[name][1]
    assert {key: again[key] for key in whole if key != name} == {
        key: whole[key] for key in whole if key != name
    }


def test_a_folder_in_use_is_left_alone(source, out):
    out.mkdir()
    with FileLock(out / ".lock"), pytest.raises(OutputError, match="is being written to by another run"):
        prepare(source, RECIPE, out, progress=False)


def test_a_file_in_the_place_of_the_folder_is_named(source, out):
    out.write_text("mine")
    with pytest.raises(OutputError, match="cannot write tiles to "):
        prepare(source, RECIPE, out, progress=False)
    assert out.read_text() == "mine"


def test_foreign_images_are_not_taken_for_tiles(source, out):
    (out / "images").mkdir(parents=True)
    (out / "images" / "mine.tif").write_bytes(b"mine")
    (out / "recipe.json").write_text("no json")
    with pytest.raises(OutputError, match="holds tiles made otherwise"):
        prepare(source, RECIPE, out, progress=False)
    assert (out / "images" / "mine.tif").read_bytes() == b"mine"
