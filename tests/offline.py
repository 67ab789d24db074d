"""Run a command where nothing but loopback can be reached, and say how that was done."""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

GUARD = Path(__file__).parent / "notebooks" / "guard"
IN_NAMESPACE = ("unshare", "-rn", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
NOWHERE = "http://127.0.0.1:9"  # the discard port: what asks a proxy finds nobody


@functools.cache
def has_namespaces() -> bool:
    """Whether this machine lets us make a network namespace with loopback only."""
    try:
        return subprocess.run([*IN_NAMESPACE, "true"], capture_output=True, timeout=20).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def isolation() -> str:
    """How commands are kept off the network here, in words."""
    if has_namespaces():
        return "a network namespace with loopback only"
    return "a guard inside every Python process (no network namespaces on this machine)"


def run(
    command: Sequence[str | Path], env: Mapping[str, str], cwd: Path, timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run a command off the network; `env` is added to the environment, `timeout` is in seconds."""
    full = [str(part) for part in command]
    settings = {**os.environ, **env}
    if has_namespaces():
        full = [*IN_NAMESPACE, *full]
    else:
        settings |= {
            "PYTHONPATH": str(GUARD),
            "http_proxy": NOWHERE,
            "https_proxy": NOWHERE,
            "GDAL_HTTP_PROXY": NOWHERE,
        }
    return subprocess.run(full, env=settings, cwd=cwd, timeout=timeout, capture_output=True, text=True)
