"""Trainings of tests in two processes that torchrun starts, in float32 so that they can be compared with one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import {module}
{module}.loop.bf16_pays = lambda device: False
{module}.{function}(Path({out!r}))
"""


def in_two_processes(module: str, function: str, out: Path) -> None:
    """Call a function of a test module, which has `sartutor.learn.loop` by that name, with the path `out`."""
    script = out.parent / "script.py"
    tests = str(Path(__file__).parent)
    script.write_text(SCRIPT.format(tests=tests, module=module, function=function, out=str(out)))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*torchrun, script], capture_output=True, text=True, timeout=400, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
