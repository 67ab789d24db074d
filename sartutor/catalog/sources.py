"""Where one file can come from: a folder or an http(s) address, each writing into a partial file."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import requests
from tqdm import tqdm

from sartutor.catalog.schema import File

CHUNK = 1 << 14
"""Bytes read at once; of a broken download less than this is lost."""

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 30.0
PAUSES_SECONDS = (1.0, 2.0, 4.0)
"""Waiting before a broken download is continued; after the last pause without progress it is given up."""

Bar = tqdm


class Missing(Exception):
    """The source answers, but does not hold the file."""


class Unreachable(Exception):
    """The source does not answer at all."""


class Interrupted(Exception):
    """The source stopped in the middle; what arrived is good as far as it goes."""


class Corrupt(Exception):
    """The source holds something else under this name."""


class Source(Protocol):
    """`address` and `cure` (what to do when it does not answer) serve the error sentences."""

    @property
    def address(self) -> str: ...

    @property
    def cure(self) -> str: ...

    def write(self, part: Path, file: File, bar: Bar) -> None:
        """Complete the partial file `part`, of which a beginning may be there; raises one of the four above."""


@dataclass(frozen=True)
class FolderSource:
    """A file below the folder `root`."""

    root: Path
    path: Path
    cure: str

    @property
    def address(self) -> str:
        return str(self.path)

    def write(self, part: Path, file: File, bar: Bar) -> None:
        if not self.root.is_dir() and self.root != self.path:
            raise Unreachable(f"there is no folder {self.root}")
        if not self.path.is_file():
            raise Missing
        if self.path.stat().st_size != file.bytes:
            raise Corrupt
        try:
            stream = self.path.open("rb")
        except PermissionError as error:
            raise Unreachable("it cannot be read") from error
        with stream, part.open("wb") as out:
            while chunk := stream.read(CHUNK):
                out.write(chunk)
                bar.update(len(chunk))


@dataclass(frozen=True)
class HttpSource:
    """A file behind an http(s) address; continues a partial file where the server can (Range), else starts again."""

    address: str
    cure: str

    def write(self, part: Path, file: File, bar: Bar) -> None:
        reached, pauses = 0, list(PAUSES_SECONDS)
        while True:
            try:
                return self._receive(part, file, bar)
            except Interrupted as error:
                lost = error
            except Unreachable as error:
                if not reached:
                    raise
                lost = Interrupted(str(error))
            if _size(part) > reached:
                reached, pauses = _size(part), list(PAUSES_SECONDS)
            if not pauses:
                raise lost
            time.sleep(pauses.pop(0))

    def _receive(self, part: Path, file: File, bar: Bar) -> None:
        start = _size(part)
        if start >= file.bytes:
            return
        with self._ask(start) as answer:
            appended = _continues(answer, start)
            if not appended and _announced(answer) not in (None, file.bytes):
                raise Corrupt
            bar.reset()
            bar.update(start if appended else 0)
            with part.open("ab" if appended else "wb") as out:
                for chunk in _body(answer):
                    out.write(chunk)
                    bar.update(len(chunk))
                    if out.tell() > file.bytes:
                        raise Corrupt
        if _size(part) < file.bytes:
            raise Interrupted

    def _ask(self, start: int) -> requests.Response:
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        limits = (CONNECT_SECONDS, SILENCE_SECONDS)
        try:
            answer = requests.get(self.address, headers=headers, stream=True, timeout=limits)
        except requests.RequestException as error:
            raise Unreachable(_reason(error)) from error
        if answer.status_code in (401, 403, 404, 410):
            raise Missing
        if answer.status_code == 416:
            raise Corrupt
        if not answer.ok:
            raise Unreachable(f"it answers with HTTP status {answer.status_code}")
        return answer


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _continues(answer: requests.Response, start: int) -> bool:
    """Whether the answer goes on from byte `start` > 0."""
    return answer.status_code == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {start}-")


def _announced(answer: requests.Response) -> int | None:
    """The announced length of the whole body, when it is sent as stored."""
    length = answer.headers.get("Content-Length", "")
    return int(length) if length.isdigit() and "Content-Encoding" not in answer.headers else None


def _body(answer: requests.Response) -> Iterator[bytes]:
    try:
        yield from answer.iter_content(CHUNK)
    except requests.RequestException as error:
        raise Interrupted(_reason(error)) from error


def _reason(error: requests.RequestException) -> str:
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not accepted"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return " ".join(str(error).split())
