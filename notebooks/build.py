"""Build notebooks/*.ipynb from notebooks/src/*.py, the one source; `--check` only compares.

A source is a jupytext py:percent file. The build adds what a source need not repeat: the kernel, the
`parameters` tag on the first code cell, hidden source for cells tagged `solution`, and cell ids that depend
on nothing but name and content.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections import Counter
from pathlib import Path

import jupytext
import nbformat

FOLDER = Path(__file__).parent
FIRST_LINE = "# Run me to check your answer; click the dots to see a solution."
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def build(source: Path) -> str:
    """The text of the notebook that belongs to one source file."""
    notebook = jupytext.read(source, fmt="py:percent")
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    tag(code[0], "parameters")
    for cell in code:
        cell.outputs, cell.execution_count = [], None
        if "solution" in cell.metadata.get("tags", []):
            hide(cell)
    number_cells(notebook, source.stem)
    nbformat.validate(notebook)
    return nbformat.writes(notebook) + "\n"


def hide(cell: nbformat.NotebookNode) -> None:
    """Collapse a cell; JupyterLab then shows its first line alone, so that line gives nothing away."""
    cell.metadata["jupyter"] = {"source_hidden": True}
    cell.source = f"{FIRST_LINE}\n{cell.source}"


def tag(cell: nbformat.NotebookNode, name: str) -> None:
    """Add a tag to a cell once."""
    tags = cell.metadata.get("tags", [])
    cell.metadata["tags"] = tags if name in tags else [*tags, name]


def number_cells(notebook: nbformat.NotebookNode, name: str) -> None:
    """Give every cell an id made of the notebook's name and content, counting repeats."""
    seen: Counter[str] = Counter()
    for cell in notebook.cells:
        key = f"{name}\n{cell.cell_type}\n{cell.source}"
        cell.id = hashlib.sha256(f"{key}\n{seen[key]}".encode()).hexdigest()[:12]
        seen[key] += 1


def main(arguments: list[str] | None = None) -> int:
    """Write what differs, or with `--check` name it; the exit code is 1 when a check finds something."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--check", action="store_true", help="write nothing, fail when a notebook is not up to date"
    )
    check = parser.parse_args(arguments).check
    wanted = {FOLDER / f"{source.stem}.ipynb": build(source) for source in sorted(FOLDER.glob("src/*.py"))}
    strays = [path for path in sorted(FOLDER.glob("*.ipynb")) if path not in wanted]
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text("utf-8") != text]
    if check:
        for path in strays + stale:
            print(f"{path.name} is not what notebooks/src gives: run 'make notebooks'.", file=sys.stderr)
        return int(bool(strays or stale))
    for path in stale:
        path.write_text(wanted[path], "utf-8")
        print(f"built {path.name}")
    for path in strays:
        print(f"{path.name} has no source in notebooks/src: remove it or write one.", file=sys.stderr)
    return int(bool(strays))


if __name__ == "__main__":
    sys.exit(main())
