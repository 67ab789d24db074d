"""Weights for measuring speed, where the official ones need a network."""

from __future__ import annotations

from pathlib import Path

import torch
from segment_anything import sam_model_registry


def random_weights(path: Path) -> str:
    """Write random weights of ViT-B as the official file has them; returns its path."""
    torch.manual_seed(0)
    torch.save(sam_model_registry["vit_b"]().state_dict(), path)
    return str(path)
