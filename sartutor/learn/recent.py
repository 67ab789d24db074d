"""What was made lately, kept under a number of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """What says how many bytes it holds."""

    @property
    def bytes(self) -> int: ...


Kept = TypeVar("Kept", bound=Sized)


class Recent(Generic[Kept]):
    """The least recently used go first once all hold more than `max_bytes`; the last one asked for always stays."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._held = 0

    def get(self, key: str, make: Callable[[str], Kept]) -> Kept:
        """What is kept under a key, made by `make(key)` where it is not."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        made = self._kept[key] = make(key)
        self._held += made.bytes
        while len(self._kept) > 1 and self._held > self.max_bytes:
            self._held -= self._kept.popitem(last=False)[1].bytes
        return made

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)
