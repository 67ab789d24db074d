"""The only embedding cache: keyed by the content of the window and what encodes it, so it cannot be stale."""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Lock

import torch

from sartutor.errors import CheckpointError, OutputError
from sartutor.learn.checkpoints import load_tensors, save_tensors
from sartutor.learn.sam.model import Embedding
from sartutor.sar.scene import Scene

KIND = "embedding"
"""Of the files of a cache."""

ENCODING = 1
"""Counts up when the same window and weights begin to make another embedding: other levels, resizing or layers."""

REMEMBERED, MOST_REMEMBERED = 2, 2**23
"""How many windows `Digests` compares with, and the most values of one."""


def embedding_key(content: str, encoder: str) -> str:
    """Name of the embedding of `content` (digest of a window) by `encoder` (of its weights, and how it computes)."""
    return hashlib.sha256(f"{ENCODING} {content} {encoder}".encode()).hexdigest()


class Digests:
    """Digests of windows; one that was asked about a moment ago is compared with what it was, and not hashed again."""

    def __init__(self) -> None:
        self._last: deque[tuple[Scene, str]] = deque(maxlen=REMEMBERED)

    def of(self, piece: Scene) -> str:
        """The digest of a window's content."""
        for known, digest in tuple(self._last):
            if piece.equals(known):
                return digest
        digest = piece.digest()
        if piece.pixels.size <= MOST_REMEMBERED:
            copy = replace(piece, pixels=piece.pixels.copy(), valid=piece.valid.copy())
            self._last.append((copy, digest))
        return digest


class EmbeddingCache:
    """Least recently used embeddings in memory as float16, and in `folder` too where one is given.

    Memory and folder are each held under `max_bytes`. A file in the folder that is damaged, or another embedding than
    its name says, is dropped and made anew; a folder that cannot be written to is done without. Nobody waits for a file
    to be written, but for `wait` and the end of the program. Threads may share a cache: one embedding is made at a
    time, and what is in memory is never waited for.
    """

    def __init__(self, folder: Path | None = None, max_bytes: int = 512 * 2**20) -> None:
        self.folder, self.max_bytes = folder, max_bytes
        self._memory: OrderedDict[str, Embedding] = OrderedDict()
        self._looking, self._making = Lock(), Lock()
        self._writer = ThreadPoolExecutor(1, "embeddings")

    def get(self, key: str, make: Callable[[], Embedding]) -> Embedding:
        """The embedding of `key`, made by `make()` where it is not known yet; float32."""
        found = self._known(key)
        if found is None:
            with self._making:
                found = self._known(key) or self._remember(key, self._read(key) or self._write(key, make()))
        return tuple(part.float() for part in found)

    def wait(self) -> None:
        """Until all that was made lies in the folder."""
        self._writer.submit(lambda: None).result()

    def __contains__(self, key: str) -> bool:
        return key in self._memory or (self.folder is not None and self._path(key).exists())

    def __len__(self) -> int:
        return len(self._memory)

    def _known(self, key: str) -> Embedding | None:
        with self._looking:
            if key in self._memory:
                self._memory.move_to_end(key)
            return self._memory.get(key)

    def _remember(self, key: str, embedding: Embedding) -> Embedding:
        with self._looking:
            self._memory[key] = embedding
            while len(self._memory) > 1 and sum(map(_bytes, self._memory.values())) > self.max_bytes:
                self._memory.popitem(last=False)
        return embedding

    def _path(self, key: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{key}.safetensors"

    def _read(self, key: str) -> Embedding | None:
        if self.folder is None or not self._path(key).exists():
            return None
        try:
            tensors, about = load_tensors(self._path(key))
            found = tuple(tensors[str(i)] for i in range(len(tensors)))
        except (CheckpointError, KeyError):
            found, about = (), {}
        if about.get("kind") != KIND or about.get("key") != key:
            with suppress(OSError):
                self._path(key).unlink(missing_ok=True)
            return None
        with suppress(OSError):
            os.utime(self._path(key))  # used just now
        return found

    def _write(self, key: str, embedding: Embedding) -> Embedding:
        halves = tuple(part.detach().to(torch.float16) for part in embedding)
        if self.folder is not None:
            self._writer.submit(self._save, self.folder, key, halves)
        return halves

    def _save(self, folder: Path, key: str, embedding: Embedding) -> None:
        numbered = {str(i): part for i, part in enumerate(embedding)}
        with suppress(OutputError, OSError):
            save_tensors(self._path(key), numbered, {"kind": KIND, "key": key})
            self._shrink(folder)

    def _shrink(self, folder: Path) -> None:
        """Remove the files used longest ago until the folder is small enough; the last one stays."""
        files = sorted(
            (path.stat().st_mtime_ns, path.stat().st_size, path) for path in folder.glob("*.safetensors")
        )
        total = sum(size for _, size, _ in files)
        for _, size, path in files[:-1]:
            if total <= self.max_bytes:
                break
            total -= size
            path.unlink(missing_ok=True)


def _bytes(embedding: Embedding) -> int:
    return sum(part.nelement() * part.element_size() for part in embedding)
