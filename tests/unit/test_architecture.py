"""The shape of the package: imports point downwards, start-up is light, functions are short."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LONGEST_FUNCTION = 60  # lines
SOURCES = sorted((ROOT / "sartutor").rglob("*.py"))


def fresh_python(code: str) -> str:
    """Run code in a new interpreter and return what it prints."""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout


def test_imports_point_downwards():
    checker = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([checker, "--no-cache"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout


def test_package_import_loads_nothing_heavy():
    loaded = fresh_python("import sys, sartutor; print(*sys.modules)").split()
    assert not {"torch", "leafmap", "rasterio", "numpy", "matplotlib"} & set(loaded)


def test_command_line_starts_without_torch_and_leafmap():
    loaded = fresh_python("import sys, sartutor.cli; print(*sys.modules)").split()
    assert not {"torch", "leafmap"} & set(loaded)


def test_package_import_is_quick():
    code = "import time; t = time.perf_counter(); import sartutor; print(time.perf_counter() - t)"
    assert min(float(fresh_python(code)) for _ in range(3)) < 0.3  # s


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_are_short(path: Path):
    tree = ast.parse(path.read_text("utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    too_long = {
        node.name: lines
        for node in functions
        if (lines := node.end_lineno - node.lineno + 1) > LONGEST_FUNCTION
    }
    assert not too_long


def test_every_package_folder_is_installed():
    """A wheel holds every sub-package: each folder with Python files is named in pyproject.toml."""
    packages = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    folders = {".".join(path.parent.relative_to(ROOT).parts) for path in SOURCES}
    assert folders <= packages
