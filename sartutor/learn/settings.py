"""The settings of a row as its record keeps them, so that choices can be added and records of before still hold."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any


def meant_before(value: object) -> dict[str, object]:
    """Metadata of a field of a dataclass that came after the first records, when all was done as with `value`."""
    return {"before": value}


def as_settings(configuration: object) -> dict[str, Any]:
    """A configuration as it comes back from a record; a later choice is left out where it is made as it was before."""
    return json.loads(json.dumps(_plain(configuration)))


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        each = {field: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {
            field.name: _plain(chosen)
            for field, chosen in each.items()
            if "before" not in field.metadata or chosen != field.metadata["before"]
        }
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value
