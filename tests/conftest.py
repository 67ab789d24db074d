"""What all tests share: the folder of real samples, and the rule that a required test may not be skipped."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import offline
import pytest

from sartutor import catalog

SAMPLES = ("sen1floods11-spain", "palsar2-mosaic-n23w161", "avaframe-alr")
REQUIRED = frozenset(filter(None, os.environ.get("SARTUTOR_REQUIRE", "").split(",")))


# A shell that runs its jobs in the background hides Ctrl-C from them; tests of interruptions need it.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str:
    """Say how the notebooks are kept off the network here."""
    return f"notebooks run in {offline.isolation()}"


@pytest.fixture(scope="session")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of real samples that SARTUTOR_MIRROR names, or a copy of it where it is served over http.

    The test is skipped without it.
    """
    folder = os.environ.get("SARTUTOR_MIRROR", "")
    if folder.startswith(("http://", "https://")):
        copy = tmp_path_factory.mktemp("mirror")
        catalog.mirror(copy, SAMPLES, progress=False)
        return copy
    if not folder or not Path(folder).is_dir():
        pytest.skip("no real samples: set SARTUTOR_MIRROR to a folder made by 'sartutor mirror DIR NAME...'")
    return Path(folder)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Count a skip as a failure where SARTUTOR_REQUIRE names one of the test's markers."""
    report = yield
    needed = REQUIRED & {mark.name for mark in item.iter_markers()}
    if report.skipped and needed and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        kinds = ", ".join(sorted(needed))
        report.longrepr = f"{item.nodeid} was skipped, but {kinds} tests are required: {skip_reason(report)}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    """Count a module skipped as a whole as a failure where anything is required."""
    report = yield
    if report.skipped and REQUIRED:
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid} was skipped as a whole: {skip_reason(report)}"
    return report


def skip_reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """The reason of a skip, without file and line."""
    return report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
