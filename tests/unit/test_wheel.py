"""A built wheel carries what is not Python: the manifest, the notebooks, the weights, the type marker."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from sartutor import catalog
from sartutor.learn.records import read_records, recorded

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "data_manifest", "notebooks", "results", "sartutor")

LOOK = """
import json, sartutor
from sartutor import catalog
from sartutor.lab.launch import find_notebooks
from sartutor.learn.records import recorded
from pathlib import Path
found = sorted(catalog.items()), find_notebooks(Path.cwd()).name, recorded("sam_tiny_base")
print(json.dumps([sartutor.__file__, *found]))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, unpacked into a folder; built off the network with the setuptools that is installed here."""
    work = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        source, copy = REPOSITORY / name, work / "repository" / name
        if source.is_dir():
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(source, copy)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*build, "-w", work, work / "repository"], check=True, capture_output=True, timeout=300)
    (built,) = work.glob("*.whl")
    with zipfile.ZipFile(built) as content:
        content.extractall(work / "site")
    return work / "site"


def names(folder: Path, pattern: str) -> set[str]:
    return {path.name for path in folder.glob(pattern)}


@pytest.mark.parametrize(
    ("source", "packaged", "pattern"),
    [
        ("data_manifest", "sartutor/data_manifest", "*.yaml"),
        ("notebooks", "sartutor/notebooks", "*.ipynb"),
        ("results/records", "sartutor/records", "*/*.json"),
        ("sartutor/weights", "sartutor/weights", "*.safetensors"),
        ("sartutor/weights", "sartutor/weights", "*.md"),
        ("sartutor", "sartutor", "py.typed"),
        ("sartutor", "sartutor", "**/*.py"),
    ],
)
def test_everything_is_in_the_wheel(wheel, source, packaged, pattern):
    assert names(REPOSITORY / source, pattern) <= names(wheel / packaged, pattern)


def test_catalogue_notebooks_and_records_are_read_from_the_wheel(wheel, tmp_path):
    look = subprocess.run(
        [sys.executable, "-c", LOOK],
        cwd=tmp_path,
        env={"PYTHONPATH": str(wheel)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    package, items, notebooks, records = json.loads(look.stdout)
    assert Path(package).is_relative_to(wheel)
    assert items == sorted(catalog.items())
    assert notebooks == "sartutor-notebooks"
    assert (tmp_path / notebooks / "00_welcome.ipynb").is_file()
    assert records
    assert (
        records
        == recorded("sam_tiny_base")
        == read_records(REPOSITORY / "results" / "records", "sam_tiny_base")
    )
