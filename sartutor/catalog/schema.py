"""The checked form of `data_manifest/*.yaml`: one file an item."""

from __future__ import annotations

import difflib
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Annotated, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    StringConstraints,
    ValidationError,
    model_validator,
)

from sartutor.errors import CatalogError

Access = Literal["open", "registration", "login"]
Status = Literal["verified", "catalogued"]
Units = Literal["dn", "amplitude", "power", "db", "complex", "m", "degree", "class", "1"]
Quantity = Literal["sigma0", "beta0", "gamma0", "none"]

Text = Annotated[str, StringConstraints(min_length=1)]
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Url = Annotated[str, StringConstraints(pattern=r"^https://[^\s]+$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class File(_Strict):
    """One file whose content is known: `bytes` long, with this SHA-256, once seen at `url`."""

    name: FileName
    url: Url
    sha256: Sha256
    bytes: PositiveInt


class Band(_Strict):
    """One layer of the data as delivered; units and quantities are those of `sartutor.sar.scene`."""

    name: Text
    units: Units
    quantity: Quantity = "none"


class Item(_Strict):
    """One entry of the catalogue.

    `splits` maps the publisher's split names to what they hold; `steps` say how a person gets the data, in order.
    A verified item lists its files and is open; a catalogued one lists none (nothing is known to check them by) and
    has steps.
    """

    name: Slug
    title: Text
    description: Text
    homepage: Url
    status: Status
    access: Access
    files: tuple[File, ...] = ()
    licence: Text
    citation: Text
    credit: Text
    bands: tuple[Band, ...] = ()
    splits: dict[str, Text] = Field(default_factory=dict)
    steps: tuple[Text, ...] = ()

    @model_validator(mode="after")
    def _status_fits(self) -> Self:
        if self.status == "verified" and not self.files:
            raise ValueError("a verified item lists its files with url, sha256 and bytes")
        if self.status == "verified" and self.access != "open":
            raise ValueError("a verified item is fetched without an account, so its access is open")
        if self.status == "catalogued" and self.files:
            raise ValueError(
                "a catalogued item lists no files: a checksum nobody verified is worse than none"
            )
        if self.status == "catalogued" and not self.steps:
            raise ValueError("a catalogued item says in steps how to get it")
        names = [file.name for file in self.files]
        if len(set(names)) < len(names):
            raise ValueError("two files of one item have the same name")
        return self

    @property
    def bytes(self) -> int:
        """Size of all files; 0 for a catalogued item."""
        return sum(file.bytes for file in self.files)


def parse(text: str, source: str) -> Item:
    """One item from YAML; `source` names the text in errors. Raises CatalogError on anything the schema refuses."""
    try:
        return Item.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise CatalogError(f"{source} is not YAML ({' '.join(str(error).split())}); correct it.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "item"
        raise CatalogError(f"{source}, {where}: {first['msg']}; correct the manifest.") from error


def load(folder: Traversable) -> dict[str, Item]:
    """All items of a folder of YAML files by name, sorted; a file is named after its item."""
    found: dict[str, Item] = {}
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if not entry.name.endswith(".yaml"):
            continue
        one = parse(entry.read_text(encoding="utf-8"), entry.name)
        if entry.name != f"{one.name}.yaml":
            raise CatalogError(f"{entry.name} describes {one.name!r}; call the file {one.name}.yaml.")
        found[one.name] = one
    return found


@cache
def _packaged() -> dict[str, Item]:
    return load(files("sartutor.data_manifest"))


def items() -> dict[str, Item]:
    """The whole catalogue, by name."""
    return dict(_packaged())


def item(name: str) -> Item:
    """The item of that name. Raises CatalogError, with the nearest names, when there is none."""
    known = _packaged()
    if name in known:
        return known[name]
    close = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(close)}" if close else "`sartutor fetch --list` shows what there is"
    raise CatalogError(f"The catalogue has no item {name!r}; {hint}.")
