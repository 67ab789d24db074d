"""Published data sets as folders of your own data: AvalCD, BigEarthNet-S1, CrossEarth-SAR, SEN12-FLOOD, Sen1Floods11.

Layouts are those that public readers of each set rely on; what no source confirms is marked assumed. All of this is
tested on folders made in those layouts, not on the originals (of Sen1Floods11 on one original chip, too). Sources are
only read. Images that are written stay when a conversion is continued or its splits are changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from sartutor.errors import DataError
from sartutor.sar.folder import Dataset
from sartutor.sar.published import avalcd, bigearthnet, crossearth, sen1floods11, sen12flood
from sartutor.sar.published.common import Plan, write

__all__ = ["NAMES", "convert"]

PLANS: dict[str, Callable[[Path, tuple[str, ...], tuple[str, ...]], Plan]] = {
    "avalcd": avalcd.plan,
    "bigearthnet-v1": bigearthnet.plan_v1,
    "bigearthnet-v2": bigearthnet.plan_v2,
    "sen12-flood": sen12flood.plan,
    "sen1floods11": sen1floods11.plan,
}

CROSSEARTH = "crossearth-sar-benchmarks"
"""The set whose layout is given as a file."""

NAMES = tuple(sorted((*PLANS, CROSSEARTH)))
"""Data sets that can be converted, named as in the catalogue."""


def convert(
    name: str,
    source: str | Path,
    out: str | Path,
    *,
    test: Sequence[str] = (),
    val: Sequence[str] = (),
    layout: Path | None = None,
    progress: bool = True,
) -> Dataset:
    """Write a published data set as a folder of your own data, and open it.

    Args:
        name: one of `NAMES`.
        source: the unpacked original; it is only read.
        out: folder to write; continued where it was left. Converting again with other places rewrites the splits alone.
        test: places to hold out for testing: events of AvalCD, countries of Sen1Floods11, tiles of BigEarthNet, folders
            of SEN12-FLOOD; those that the publisher or a seeded draw holds out when empty.
        val: places for validation, likewise.
        layout: YAML file that says where images and labels are, for crossearth-sar-benchmarks alone, which has no
            places to name (`sartutor.sar.published.crossearth`).
        progress: whether a bar is shown.

    Raises:
        DataError: an unknown name or place, or a source that does not have the layout of that set.
    """
    if name not in NAMES:
        raise DataError(f"there is no converter for {name!r}; use one of {', '.join(NAMES)}.")
    source, out = Path(source), Path(out)
    if not source.is_dir():
        raise DataError(f"{source} is no folder; give the one that {name} was unpacked to.")
    if out.resolve() == source.resolve():
        raise DataError(f"{out} is the source itself; write to another folder.")
    if name == CROSSEARTH:
        if test or val:
            raise DataError(f"{name} has no places to hold out; name its splits in the layout file.")
        return write(crossearth.plan(source, layout), out, progress)
    if layout is not None:
        raise DataError(f"the layout of {name} is known; leave out the layout file.")
    return write(PLANS[name](source, tuple(test), tuple(val)), out, progress)
