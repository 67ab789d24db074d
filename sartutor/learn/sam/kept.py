"""Embeddings by encoders that no longer change: every image is encoded once, however often it is learned from."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from sartutor.learn.embeddings import EmbeddingCache, embedding_key
from sartutor.learn.sam.adapted import AdaptedSam
from sartutor.learn.sam.model import Embedding


class KeptEmbeddings:
    """What the encoders of a model make of images, kept as float16 by the content of the image and of the encoder.

    Encoders must not change afterwards: their weights are looked at once, here.
    """

    def __init__(self, model: AdaptedSam, cache: EmbeddingCache) -> None:
        self.model, self.cache = model, cache
        self.digests = [encoder_digest(model, index) for index in range(len(model.branches))]

    def encode(self, images: Tensor) -> Embedding:
        """As `AdaptedSam.encode` of images (B, branches, 3, S, S); only the gate carries a gradient."""
        phase = self.model.phase
        if phase < 3:
            return self.embed(images, phase - 1)
        return self.model.fuse([self.embed(images, index) for index in range(len(self.digests))])

    @torch.no_grad()
    def embed(self, images: Tensor, index: int) -> Embedding:
        """The embedding of images (B, branches, 3, S, S) by one branch."""
        each = [self._one(image[None], index) for image in images]
        return tuple(torch.cat(level) for level in zip(*each, strict=True))

    def _one(self, image: Tensor, index: int) -> Embedding:
        seen = self.model.seen(image, index).half().cpu().contiguous().numpy()
        key = embedding_key(hashlib.sha256(seen.tobytes()).hexdigest(), self.digests[index])
        kept = self.cache.get(key, lambda: self.model.encode_branch(image, index))
        return tuple(level.to(image.device) for level in kept)


def encoder_digest(model: AdaptedSam, index: int) -> str:
    """SHA-256 of all weights that one branch encodes with."""
    base = {k: v for k, v in model.base.state_dict().items() if not k.startswith("mask_decoder.")}
    sha = hashlib.sha256()
    for state in (base, model.branches[index].state_dict()):
        for name, tensor in sorted(state.items()):
            sha.update(name.encode())
            sha.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()
