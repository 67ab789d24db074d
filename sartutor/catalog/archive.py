"""Tar and zip files unpacked without letting a member out of its folder."""

from __future__ import annotations

import lzma
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Protocol

from sartutor.catalog.disk import make_room, writing
from sartutor.errors import DataError

_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, RuntimeError)


@dataclass(frozen=True)
class _Member:
    """What must be known of a member before anything is written."""

    name: str
    size: int
    is_folder: bool
    is_plain: bool


class _Archive(Protocol):
    def members(self) -> list[_Member]: ...

    def open(self, name: str) -> IO[bytes]: ...


class _Tar:
    def __init__(self, path: Path) -> None:
        self.file = tarfile.open(path)  # noqa: SIM115 (closed by _opened)

    def members(self) -> list[_Member]:
        found = [_Member(one.name, one.size, one.isdir(), one.isreg()) for one in self.file.getmembers()]
        self._read_to_end()
        return found

    def open(self, name: str) -> IO[bytes]:
        stream = self.file.extractfile(name)
        assert stream is not None, "only plain members are opened"
        return stream

    def _read_to_end(self) -> None:
        """Behind the last member lies the checksum of a compressed archive: reading on compares it."""
        stream = self.file.fileobj
        while stream is not None and stream.read(1 << 20):
            pass


class _Zip:
    def __init__(self, path: Path) -> None:
        self.file = zipfile.ZipFile(path)

    def members(self) -> list[_Member]:
        return [self._member(one) for one in self.file.infolist()]

    def open(self, name: str) -> IO[bytes]:
        return self.file.open(name)

    @staticmethod
    def _member(one: zipfile.ZipInfo) -> _Member:
        kind = stat.S_IFMT(one.external_attr >> 16)  # 0 where the archive was made without Unix modes
        return _Member(one.filename, one.file_size, one.is_dir(), kind in (0, stat.S_IFREG))


def unpack(archive: str | Path, folder: str | Path) -> list[Path]:
    """Unpack a tar (any compression) or zip file into `folder`; returns the files, in the archive's order.

    Every member is checked before the first is written, and the files move into `folder` only after all could be read.
    Raises DataError for a damaged archive or a member that is absolute, climbs out with "..", or is a link or device,
    and OutputError where `folder` cannot be written.
    """
    source, target = Path(archive), Path(folder)
    with _opened(source) as content:
        plain = _checked(content.members(), source)
        make_room(target, sum(member.size for member in plain))
        with writing(target), tempfile.TemporaryDirectory(prefix=".unpack-", dir=target) as scratch:
            names = [_copy(content, member, Path(scratch)) for member in plain]
            return [_move(Path(scratch) / name, target / name) for name in names]


@contextmanager
def _opened(source: Path) -> Iterator[_Archive]:
    try:
        content = _Zip(source) if zipfile.is_zipfile(source) else _Tar(source)
        with content.file:
            yield content
    except FileNotFoundError as error:
        raise DataError(f"There is no archive {source}; check the path.") from error
    except _DAMAGE as error:
        raise DataError(f"{source} is not a complete tar or zip archive ({error}); get it again.") from error


def _checked(members: list[_Member], source: Path) -> list[_Member]:
    for member in members:
        reason = _danger(member)
        if reason:
            raise DataError(
                f"{source}: member {member.name!r} {reason}; nothing was unpacked, get the archive elsewhere."
            )
    return [member for member in members if not member.is_folder]


def _danger(member: _Member) -> str:
    """Why a member must not be unpacked; empty when it may."""
    posix, windows = PurePosixPath(member.name), PureWindowsPath(member.name)
    if posix.is_absolute() or windows.drive or windows.root:
        return "has an absolute path"
    if ".." in posix.parts or ".." in windows.parts:
        return "climbs out of its folder"
    if not (member.is_plain or member.is_folder):
        return "is a link or a device"
    return ""


def _copy(content: _Archive, member: _Member, scratch: Path) -> PurePosixPath:
    name = PurePosixPath(member.name)
    copy = scratch / name
    copy.parent.mkdir(parents=True, exist_ok=True)
    with content.open(member.name) as stream, copy.open("wb") as out:
        shutil.copyfileobj(stream, out)
    return name


def _move(source: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(source, target)
    return target
