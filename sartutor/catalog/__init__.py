"""Floor 1: what data exists and how it gets here (`data_manifest/*.yaml` -> local files).

An item is *verified* (address, size and SHA-256 are known: `fetch` gets it and checks it) or *catalogued* (only the
way to it is known: `fetch` says the steps, `register` takes note of a local copy).
"""

from sartutor.catalog.archive import unpack
from sartutor.catalog.schema import Band, File, Item, item, items
from sartutor.catalog.store import cache_dir, fetch, is_here, mirror, register

__all__ = [
    "Band",
    "File",
    "Item",
    "cache_dir",
    "fetch",
    "is_here",
    "item",
    "items",
    "mirror",
    "register",
    "unpack",
]
