"""Which bands of a scene show the same at two dates, as their names tell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

DATE_WORDS = (("before", "after"), ("pre", "post"))
"""What names of bands of two dates differ in, where they do not end in 0 and 1."""


def before_after(bands: Sequence[str]) -> tuple[str, str] | None:
    """The first two bands that show the same at two dates, as `named_pairs` tells; or None."""
    return next(iter(named_pairs(bands).values()), None)


def named_pairs(bands: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Bands before and after, by what their names have in common.

    They are named alike but for a 0 and a 1 at the end, such as VV0 and VV1, or for one of `DATE_WORDS` anywhere, in
    any case; the former come first.
    """
    plain = {name.lower(): name for name in bands}
    found: dict[str, tuple[str, str]] = {}
    for common, earlier, later in (*_numbered(plain), *_worded(plain)):
        if later in plain:
            found.setdefault(common.strip(" _-.").upper() or "BAND", (plain[earlier], plain[later]))
    return found


def _numbered(names: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """What is common, a name that ends in a single 0, and the same with 1; B10 has no such partner."""
    for name in names:
        stem = name[:-1]
        if name.endswith("0") and stem and not stem[-1].isdigit():
            yield stem, name, f"{stem}1"


def _worded(names: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """What is common, a name with a word for the earlier date, and the same with its partner."""
    for name in names:
        for before, after in DATE_WORDS:
            if before in name:
                yield name.replace(before, "", 1), name, name.replace(before, after, 1)
