"""Is this machine ready? One line a check: ok, warn or fail, with the cure."""

from __future__ import annotations

import importlib
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from sartutor.catalog import cache_dir, is_here, items
from sartutor.catalog.disk import free_bytes, human
from sartutor.lab.launch import PORT, port_is_free

State = Literal["ok", "warn", "fail"]

PYTHON_NEEDED = (3, 11)
MEMORY_NEEDED, MEMORY_GOOD = 4e9, 8e9
CORES_GOOD = 2
DISK_NEEDED, DISK_GOOD = 1e9, 5e9
MIRROR_SECONDS = 3.0
WIDGET_PACKAGES = ("jupyterlab", "ipywidgets", "ipyleaflet", "leafmap")
LAB_EXTENSIONS = ("@jupyter-widgets/jupyterlab-manager", "jupyter-leaflet")


@dataclass(frozen=True)
class Check:
    """One line of the report; `cure` is empty when all is well."""

    name: str
    state: State
    value: str
    cure: str = ""


def check_python() -> Check:
    """The interpreter is new enough."""
    needed = ".".join(map(str, PYTHON_NEEDED))
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info[:2] >= PYTHON_NEEDED:
        return Check("python", "ok", found)
    return Check(
        "python", "fail", found, f"install Python {needed} or newer and make a new environment with it"
    )


def check_torch() -> Check:
    """torch and torchvision are a matching pair: an operator of the second, compiled against the first, runs."""
    try:
        import torch
        import torchvision

        torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except Exception as error:  # a broken pair raises whatever its loader raises
        reason = " ".join(str(error).split())[:120]
        cure = "run `pip install --upgrade --force-reinstall torch torchvision`, both from one registry"
        return Check("torch", "fail", f"torch and torchvision do not work together: {reason}", cure)
    return Check("torch", "ok", f"torch {torch.__version__}, torchvision {torchvision.__version__}")


def memory_bytes() -> int:
    """Memory this process may use: that of the machine, or the limit of its container."""
    import psutil

    total = int(psutil.virtual_memory().total)
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else ""
    return min(total, int(text)) if text.isdigit() else total


def check_memory() -> Check:
    """Enough memory for a scene and a model."""
    memory = memory_bytes()
    if memory >= MEMORY_GOOD:
        return Check("memory", "ok", human(memory))
    cure = "close other programs, keep to the smoke preset and to sam_tiny_base"
    return Check("memory", "warn" if memory >= MEMORY_NEEDED else "fail", human(memory), cure)


def core_count() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_cores() -> Check:
    """Enough cores for the times that the notebooks promise."""
    cores = core_count()
    if cores >= CORES_GOOD:
        return Check("cores", "ok", str(cores))
    return Check("cores", "warn", str(cores), "give the machine two cores, or wait about twice as long")


def check_bf16() -> Check:
    """Whether bfloat16 makes training on this processor faster."""
    from sartutor.learn.device import bf16_pays, pick_device

    if bf16_pays(pick_device("cpu")):
        return Check("bf16", "ok", "fast on this processor (AMX or AVX512-BF16); training uses it")
    return Check("bf16", "ok", "not faster on this processor; training uses float32")


def check_gpu() -> Check:
    """Whether a GPU is at hand; none is needed."""
    import torch

    if torch.cuda.is_available():
        return Check("gpu", "ok", torch.cuda.get_device_name(0))
    return Check("gpu", "ok", "none; the smoke and laptop presets need none")


def check_disk() -> Check:
    """Room for data and models where the cache is."""
    free = free_bytes(cache_dir().absolute())
    if free >= DISK_GOOD:
        return Check("disk", "ok", f"{human(free)} free")
    cure = "free some space, or set SARTUTOR_CACHE to a folder on another disk"
    return Check("disk", "warn" if free >= DISK_NEEDED else "fail", f"{human(free)} free", cure)


def missing_packages() -> list[str]:
    """Packages of the browser side that cannot be imported."""
    return [name for name in WIDGET_PACKAGES if not _imports(name)]


def missing_extensions() -> list[str]:
    """Browser halves of the widgets that JupyterLab will not find."""
    from jupyter_core.paths import jupyter_path

    folders = [Path(folder) for folder in jupyter_path("labextensions")]
    return [name for name in LAB_EXTENSIONS if not any((folder / name).is_dir() for folder in folders)]


def check_widgets() -> Check:
    """Both halves of the widgets are there: the Python packages and what JupyterLab loads into the browser."""
    missing = missing_packages() + missing_extensions()
    if missing:
        again = "pip install --force-reinstall ipywidgets jupyterlab_widgets ipyleaflet leafmap"
        cure = f"run `{again}` and start JupyterLab again"
        return Check("widgets", "fail", f"missing: {', '.join(missing)}", cure)
    return Check("widgets", "ok", ", ".join(f"{name} {version(name)}" for name in WIDGET_PACKAGES))


def _imports(name: str) -> bool:
    try:
        importlib.import_module(name)
        version(name)
    except (ImportError, PackageNotFoundError):
        return False
    return True


def check_cache() -> Check:
    """The cache can be written; which verified items are in it."""
    folder = cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        cure = "correct its permissions, or set SARTUTOR_CACHE to a folder of your own"
        return Check("cache", "fail", f"{folder} cannot be written ({error.strerror})", cure)
    here = [name for name, entry in items().items() if is_here(entry)]
    return Check("cache", "ok", f"{folder}: {', '.join(here) or 'empty'}")


def check_mirror() -> Check:
    """The mirror, if one is set, answers."""
    chosen = os.environ.get("SARTUTOR_MIRROR", "").strip()
    if not chosen:
        return Check("mirror", "ok", "none set; data come from their publishers")
    if chosen.startswith(("http://", "https://")):
        alive, cure = _answers(chosen), "start its server, or correct or unset SARTUTOR_MIRROR"
    else:
        alive = Path(chosen).expanduser().is_dir()
        cure = (
            "connect the disk, write it with `sartutor mirror DIR NAME`, or correct or unset SARTUTOR_MIRROR"
        )
    return (
        Check("mirror", "ok", chosen) if alive else Check("mirror", "fail", f"{chosen} is not at hand", cure)
    )


def _answers(address: str) -> bool:
    import requests

    try:
        requests.head(address, timeout=MIRROR_SECONDS)
    except requests.RequestException:
        return False
    return True


def check_ports() -> Check:
    """JupyterLab and its kernels can listen on loopback."""
    if not port_is_free(0):
        return Check(
            "ports", "fail", "nothing may listen on 127.0.0.1", "allow loopback connections in the firewall"
        )
    if port_is_free(PORT):
        return Check("ports", "ok", f"{PORT} is free")
    cure = "nothing to do (JupyterLab takes the next free port), or choose one with `sartutor lab --port`"
    return Check("ports", "warn", f"{PORT} is taken", cure)


CHECKS: tuple[Callable[[], Check], ...] = (
    check_python,
    check_torch,
    check_memory,
    check_cores,
    check_bf16,
    check_gpu,
    check_disk,
    check_widgets,
    check_cache,
    check_mirror,
    check_ports,
)


def examine() -> list[Check]:
    """All checks, in order; one that cannot even run counts as failed."""
    return [_guarded(check) for check in CHECKS]


def _guarded(check: Callable[[], Check]) -> Check:
    try:
        return check()
    except Exception as error:  # a report with one line missing helps nobody
        name = check.__name__.removeprefix("check_")
        return Check(
            name, "fail", f"could not be checked: {error}", "install sartutor again in a new environment"
        )


def as_json(checks: list[Check]) -> dict[str, Any]:
    """The report as one object; `ok` means that nothing failed."""
    return {
        "ok": all(check.state != "fail" for check in checks),
        "checks": [asdict(check) for check in checks],
    }


def show(checks: list[Check]) -> None:
    """Print the report, coloured where the terminal can."""
    from rich.console import Console
    from rich.text import Text

    colours = {"ok": "green", "warn": "yellow", "fail": "bold red"}
    console = Console(soft_wrap=True)
    for check in checks:
        console.print(
            Text.assemble((f"{check.state:<5}", colours[check.state]), f"{check.name:<9}{check.value}")
        )
        if check.cure:
            console.print(Text(f"{'':14}-> {check.cure}"))
