"""Where an export comes from, and what of a session leaves it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import sartutor
from sartutor.lab.annotator.annotation import Annotation
from sartutor.sar.scene import Readable


def kept(objects: Iterable[Annotation]) -> list[Annotation]:
    """What leaves a session: all but what was rejected, so that open objects are not lost; their status is written."""
    return [annotation for annotation in objects if annotation.status != "rejected"]


def provenance(scene: Readable, objects: Sequence[Annotation]) -> dict[str, Any]:
    """Program, scene and its content hash, models with theirs, annotators and time (UTC), as JSON can hold them."""
    return {
        "software": f"sartutor {sartutor.__version__}",
        "scene": scene.name,
        "scene_digest": scene.digest(),
        "models": _digests(objects),
        "annotators": sorted({one.annotator for one in objects if one.annotator}),
        "exported": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _digests(objects: Sequence[Annotation]) -> dict[str, str]:
    """By model, its hash; several where it changed, or was asked at several scales."""
    pairs = sorted({(one.model, one.model_digest) for one in objects if one.model})
    return {name: ", ".join(digest for model, digest in pairs if model == name) for name, _ in pairs}


def as_tags(about: Mapping[str, Any]) -> dict[str, str]:
    """Provenance as names and texts, for files that hold nothing else."""
    return {
        name.upper(): value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in about.items()
    }
