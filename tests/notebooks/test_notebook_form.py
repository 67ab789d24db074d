"""Notebooks are what their sources give, and have the form that readers and tools rely on."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LONGEST_CODE_CELL = 25  # lines
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_there_is_a_notebook_for_every_source_and_no_other():
    assert {path.stem for path in NOTEBOOKS} == {path.stem for path in FOLDER.glob("src/*.py")}


@each_notebook
def test_is_what_its_source_gives(path: Path):
    build = runpy.run_path(str(FOLDER / "build.py"))["build"]
    assert path.read_text("utf-8") == build(FOLDER / "src" / f"{path.stem}.py")


@each_notebook
def test_opens_without_questions_and_carries_no_output(path: Path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@each_notebook
def test_first_code_cell_holds_the_parameters(path: Path):
    code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    tagged = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    assert tagged == code[:1]
    names = re.findall(r"^(\w+) = ", code[0].source, flags=re.MULTILINE)
    assert names == ["PRESET", "SEED", "DATA"]


@each_notebook
def test_reads_as_a_lesson(path: Path):
    """A title first, text before code, short cells, exercises with hidden solutions, references last."""
    cells = nbformat.read(path, as_version=4).cells
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    text = [cell.source for cell in cells if cell.cell_type == "markdown"]
    assert text[0].startswith("# ")
    assert cells[0].cell_type == "markdown"
    assert max(len(source.splitlines()) for source in code) <= LONGEST_CODE_CELL
    shown = [
        cell for cell in cells if cell.cell_type == "code" and "solution" not in cell.metadata.get("tags", [])
    ]
    assert len(text) >= len(shown)
    assert "## References" in cells[-1].source
    for heading in (
        "What you will do",
        "What you will learn",
        "What you need",
        "## Where it fails",
        "## Exercises",
    ):
        assert any(heading in source for source in text), heading
    solutions = [cell for cell in cells if "solution" in cell.metadata.get("tags", [])]
    assert solutions
    assert all(cell.metadata.jupyter.source_hidden for cell in solutions)


@each_notebook
def test_never_installs(path: Path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            assert not re.search(r"^\s*[!%].*\b(pip|conda|apt)\b", cell.source, flags=re.MULTILINE)
