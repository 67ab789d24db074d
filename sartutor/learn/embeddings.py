"""The only embedding cache: keyed by the content of the window and the weights of the model, so it cannot be stale."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import torch

from sartutor.errors import CheckpointError
from sartutor.learn.checkpoints import load_tensors, save_tensors
from sartutor.learn.sam.model import Embedding


def embedding_key(content: str, model: str) -> str:
    """Name of the embedding of `content` (digest of a window) by `model` (digest of its weights)."""
    return hashlib.sha256(f"{content} {model}".encode()).hexdigest()


class EmbeddingCache:
    """Least recently used embeddings in memory as float16, and in `folder` too where one is given.

    Memory and folder are each held under `max_bytes`. A damaged file in the folder is dropped and made anew.
    """

    def __init__(self, folder: Path | None = None, max_bytes: int = 512 * 2**20) -> None:
        self.folder, self.max_bytes = folder, max_bytes
        self._memory: OrderedDict[str, Embedding] = OrderedDict()

    def get(self, key: str, make: Callable[[], Embedding]) -> Embedding:
        """The embedding of `key`, made by `make()` where it is not known yet; float32."""
        if key not in self._memory:
            self._memory[key] = self._read(key) or self._write(key, make())
            self._shrink()
        self._memory.move_to_end(key)
        return tuple(part.float() for part in self._memory[key])

    def __contains__(self, key: str) -> bool:
        return key in self._memory or (self.folder is not None and self._path(key).exists())

    def __len__(self) -> int:
        return len(self._memory)

    def _path(self, key: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{key}.safetensors"

    def _read(self, key: str) -> Embedding | None:
        if self.folder is None or not self._path(key).exists():
            return None
        try:
            tensors, _ = load_tensors(self._path(key))
        except CheckpointError:
            self._path(key).unlink(missing_ok=True)
            return None
        return tuple(tensors[str(i)] for i in range(len(tensors)))

    def _write(self, key: str, embedding: Embedding) -> Embedding:
        halves = tuple(part.detach().to(torch.float16) for part in embedding)
        if self.folder is not None:
            save_tensors(
                self._path(key), {str(i): part for i, part in enumerate(halves)}, {"kind": "embedding"}
            )
        return halves

    def _shrink(self) -> None:
        while len(self._memory) > 1 and sum(map(_bytes, self._memory.values())) > self.max_bytes:
            self._memory.popitem(last=False)
        if self.folder is None:
            return
        files = sorted(self.folder.glob("*.safetensors"), key=lambda path: path.stat().st_mtime)
        total = sum(path.stat().st_size for path in files)
        for path in files[:-1]:
            if total <= self.max_bytes:
                break
            total -= path.stat().st_size
            path.unlink(missing_ok=True)


def _bytes(embedding: Embedding) -> int:
    return sum(part.nelement() * part.element_size() for part in embedding)
