"""One catalogued file into one folder: cached, locked, checked and moved into place whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pooch
from filelock import FileLock
from tqdm import tqdm

from sartutor.catalog.disk import human, make_room, writing
from sartutor.catalog.schema import File, Item
from sartutor.catalog.sources import Corrupt, Interrupted, Missing, Source, Unreachable
from sartutor.errors import CatalogError

KEEP_FROM_BYTES = 8_000_000
"""An interrupted download of at least this size is kept and resumed; a smaller one starts again from nothing."""


def digest(path: Path, bar: tqdm | None = None) -> str:
    """SHA-256 of a file, hexadecimal."""
    sha = sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            sha.update(chunk)
            if bar is not None:
                bar.update(len(chunk))
    return sha.hexdigest()


def intact(path: Path, file: File) -> bool:
    """Whether `path` holds exactly the catalogued content. Raises CatalogError when it cannot be read."""
    try:
        return path.is_file() and path.stat().st_size == file.bytes and digest(path) == file.sha256
    except OSError as error:
        raise CatalogError(
            f"{path} is in the cache but cannot be read ({error.strerror}); "
            "correct its permissions, delete it, or set SARTUTOR_CACHE to another folder."
        ) from error


def obtain(
    entry: Item, file: File, folder: Path, sources: Sequence[Source], locks: Path, progress: bool
) -> Path:
    """The path of `file` in `folder`, taken from the first source that holds it unless it is already there, intact.

    Sources are asked in order; one that answers without holding the file passes on to the next, one that does not
    answer or sends something else ends the search. `locks` is a folder for lock files: two processes never write one
    file. Raises CatalogError (nothing incomplete stays under the file's name) and OutputError (disk full, forbidden).
    """
    target = folder / file.name
    if intact(target, file):
        return target
    make_room(folder, file.bytes)
    with writing(locks), writing(folder), FileLock(locks / f"{entry.name}.lock"):
        for source in sources:
            try:
                return _Taking(entry, file, target, source, progress).take()
            except Missing:
                continue
    asked = " nor ".join(source.address for source in sources)
    raise CatalogError(
        f"{entry.name}/{file.name} is held neither by the cache nor {asked}; "
        f"get it from {entry.homepage} and run `sartutor fetch {entry.name} --from PATH`."
    )


@dataclass
class _Taking:
    """One file from one source, into place."""

    entry: Item
    file: File
    target: Path
    source: Source
    progress: bool

    @property
    def part(self) -> Path:
        return self.target.with_name(self.target.name + ".part")

    def take(self) -> Path:
        """The file in place. Raises Missing, or CatalogError with what went wrong and what to do."""
        where = f"{self.entry.name}/{self.file.name}"
        try:
            self._into_place()
        except Unreachable as error:
            raise CatalogError(
                f"{where}: {self.source.address} is not at hand ({error}); {self.source.cure}."
            ) from error
        except Corrupt as error:
            raise CatalogError(
                f"{where}: what {self.source.address} holds is not the catalogued file (its size or SHA-256 differs); "
                f"nothing of it was kept: {self.source.cure}."
            ) from error
        except Interrupted as error:
            kept = "goes on from there" if self.part.exists() else "starts again"
            raise CatalogError(
                f"{where}: {self.source.address} stopped before all {human(self.file.bytes)} had arrived; "
                f"the same command {kept}."
            ) from error
        return self.target

    def _into_place(self) -> None:
        resumed = self.part.exists()
        try:
            self._retrieve()
        except Corrupt:
            if not resumed:
                raise
            self._retrieve()

    def _retrieve(self) -> None:
        try:
            pooch.retrieve(
                self.source.address,
                f"sha256:{self.file.sha256}",
                fname=self.file.name,
                path=self.target.parent,
                downloader=self._download,
            )
        except ValueError as error:
            raise Corrupt from error

    def _download(self, _address: str, output: str, _pooch: object) -> None:
        """Write the partial file and hand it to pooch, which checks the hash and moves it into place."""
        try:
            with self._bar() as bar:
                self.source.write(self.part, self.file, bar)
            self.part.replace(output)
        except (Interrupted, Missing, Unreachable, KeyboardInterrupt):
            self._drop_small_part()
            raise
        except BaseException:
            self.part.unlink(missing_ok=True)
            raise

    def _drop_small_part(self) -> None:
        if self.part.exists() and self.part.stat().st_size < KEEP_FROM_BYTES:
            self.part.unlink()

    def _bar(self) -> tqdm:
        return tqdm(
            total=self.file.bytes,
            unit="B",
            unit_scale=True,
            desc=self.file.name,
            delay=0.5,
            disable=not self.progress,
        )
