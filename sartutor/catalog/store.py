"""The cache of the user's machine: what is in it, what gets into it, and mirrors of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import pooch

from sartutor.catalog import local
from sartutor.catalog.schema import File, Item, item
from sartutor.catalog.sources import FolderSource, HttpSource, Source
from sartutor.catalog.transfer import intact, obtain
from sartutor.errors import CatalogError

pooch.get_logger().setLevel("WARNING")


def cache_dir() -> Path:
    """The folder for all that is fetched: SARTUTOR_CACHE, else the operating system's place for caches."""
    chosen = os.environ.get("SARTUTOR_CACHE", "").strip()
    return from_home(chosen) if chosen else Path(pooch.os_cache("sartutor"))


def from_home(path: str | Path) -> Path:
    """The path with a leading ~ replaced; that of an unknown user stays as it is, and then does not exist."""
    return Path(os.path.expanduser(path))


def fetch(name: str, progress: bool = True) -> dict[str, Path]:
    """The files of an item, by file name, as local paths; what the cache lacks comes from the mirror or the network.

    Every file is checked by SHA-256 on every call. A catalogued item gives the files that were registered for it.
    Raises CatalogError (unknown, offline, corrupt, or catalogued and not registered: then with the steps to get it)
    and OutputError (cache not writable, disk full).
    """
    entry = item(name)
    if entry.status == "catalogued":
        return local.registered(entry, cache_dir())
    folder = cache_dir() / entry.name
    return {
        file.name: obtain(entry, file, folder, _sources(entry, file), cache_dir() / ".locks", progress)
        for file in entry.files
    }


def is_here(entry: Item) -> bool:
    """Whether all files of an item are in the cache with their sizes (their content is not read)."""
    if entry.status == "catalogued":
        return local.record_path(entry, cache_dir()).is_file()
    paths = [(cache_dir() / entry.name / file.name, file.bytes) for file in entry.files]
    return all(path.is_file() and path.stat().st_size == size for path, size in paths)


def register(name: str, path: str | Path, progress: bool = True) -> dict[str, Path]:
    """Take a local file or folder for an item; returns its files as `fetch` will.

    Files of a verified item are checked and copied into the cache. Files of a catalogued item stay where they are:
    their size and SHA-256 are recorded in the cache and compared on later use.
    """
    entry, source = item(name), from_home(path).absolute()
    if not source.exists():
        raise CatalogError(f"There is no {source} to register as {name}; check the path.")
    if entry.status == "catalogued":
        return local.record(entry, source, cache_dir(), progress)
    folder = cache_dir() / entry.name
    return {
        file.name: obtain(
            entry, file, folder, [_given(entry, file, source)], cache_dir() / ".locks", progress
        )
        for file in entry.files
    }


def mirror(folder: str | Path, names: Sequence[str], progress: bool = True) -> list[Path]:
    """Write verified items to `folder` as `<item>/<file>`: a SARTUTOR_MIRROR for machines without a network."""
    entries = [item(name) for name in names]
    for entry in entries:
        if entry.status == "catalogued":
            raise CatalogError(
                f"{entry.name} cannot be mirrored, as nothing is known to check it by; "
                f"carry your own copy and run `sartutor fetch {entry.name} --from PATH` there."
            )
    return [path for entry in entries for path in _mirror_item(from_home(folder), entry, progress)]


def _mirror_item(folder: Path, entry: Item, progress: bool) -> list[Path]:
    target = folder / entry.name
    if all(intact(target / file.name, file) for file in entry.files):
        return [target / file.name for file in entry.files]
    here = fetch(entry.name, progress)
    locks = cache_dir() / ".locks"
    return [
        obtain(entry, file, target, [_given(entry, file, here[file.name])], locks, progress)
        for file in entry.files
    ]


def _sources(entry: Item, file: File) -> list[Source]:
    """Where to ask for a file, in order: the mirror, if one is set, and the publisher."""
    elsewhere = f"on a machine with a network run `sartutor mirror DIR {entry.name}`"
    offline = f"{elsewhere}, carry DIR here and set SARTUTOR_MIRROR=DIR"
    publisher = HttpSource(file.url, offline)
    chosen = os.environ.get("SARTUTOR_MIRROR", "").strip()
    if not chosen:
        return [publisher]
    cure = "start the mirror, write it again with `sartutor mirror`, or correct or unset SARTUTOR_MIRROR"
    if chosen.startswith(("http://", "https://")):
        address = f"{chosen.rstrip('/')}/{entry.name}/{quote(file.name)}"
        return [HttpSource(address, cure), publisher]
    root = from_home(chosen).absolute()
    return [FolderSource(root, root / entry.name / file.name, cure), publisher]


def _given(entry: Item, file: File, path: Path) -> FolderSource:
    """A file that the user (or the cache) holds: `path` itself, or the file of that name in it."""
    if path.is_file() and len(entry.files) > 1 and path.name != file.name:
        raise CatalogError(
            f"{entry.name} has {len(entry.files)} files; give the folder that holds them all, not {path}."
        )
    return FolderSource(
        path, path / file.name if path.is_dir() else path, "give the path of an unchanged copy"
    )
