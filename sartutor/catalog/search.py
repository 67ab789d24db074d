"""Scenes found by place and date: STAC catalogues (the Planetary Computer) and the Alaska Satellite Facility.

A search lists, it downloads nothing: what these services hold has no checksum that is known beforehand. The addresses
it gives can be opened with rasterio or fetched with any downloader; `sartutor fetch NAME --from PATH` then records the
copy and its hash. Needs the extra `online`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from types import ModuleType
from typing import Any

import requests

from sartutor.errors import CatalogError

PLANETARY_COMPUTER = "https://planetarycomputer.microsoft.com/api/stac/v1"
"""STAC endpoint that is asked unless another is named; its addresses come signed and hold for about an hour."""

ANSWER_SECONDS = 30

_FACILITY = "the Alaska Satellite Facility"

Box = tuple[float, float, float, float]
"""West, south, east and north in degrees; west is larger than east across the antimeridian."""


@dataclass(frozen=True)
class Found:
    """One item of a search; what the service does not say is None or empty.

    `hrefs` are the addresses of its data by name, `bytes` their size together.
    """

    id: str
    date: date | None = None
    orbit_pass: str | None = None
    relative_orbit: int | None = None
    polarisations: tuple[str, ...] = ()
    hrefs: dict[str, str] = field(default_factory=dict)
    bytes: int | None = None


def search_stac(
    collection: str,
    bbox: Sequence[float],
    dates: str | None = None,
    limit: int = 20,
    endpoint: str | None = None,
) -> list[Found]:
    """Items of a STAC collection that touch a box, newest first as the service sorts them.

    Args:
        collection: such as sentinel-1-rtc, sentinel-1-grd, alos-palsar-mosaic or cop-dem-glo-30.
        bbox: west, south, east, north in degrees.
        dates: "2023-01-01/2023-01-31", both days included, or one day; any when None.
        limit: most items.
        endpoint: address of the STAC service; the Planetary Computer when None.

    Raises:
        CatalogError: a box or dates that cannot be, nothing found, no connection, or the extra `online` missing.
    """
    where = endpoint or PLANETARY_COMPUTER
    box, days = check_box(bbox), check_dates(dates)
    client, signer = _online("pystac_client"), _online("planetary_computer")
    reader = _online("pystac_client.stac_api_io").StacApiIO(timeout=ANSWER_SECONDS, max_retries=1)
    with _asked(where, client.exceptions.APIError, _online("pystac").STACError):
        service = client.Client.open(where, modifier=signer.sign_inplace, stac_io=reader)
        asked = service.search(
            collections=[collection], bbox=box, datetime="/".join(days) if days else None, max_items=limit
        )
        found = [_of_item(item) for item in asked.items()]
    return _some(found, collection, where)


def search_asf(level: str, bbox: Sequence[float], dates: str | None = None, limit: int = 20) -> list[Found]:
    """Sentinel-1 products of the Alaska Satellite Facility that touch a box; downloads need an Earthdata login.

    `level` is a processing level of the facility, such as GRD_HD or SLC. The other arguments and the errors are those
    of `search_stac`.
    """
    box, days = check_box(bbox), check_dates(dates)
    asf: Any = _online("asf_search")
    asf.REPORT_ERRORS = False  # a reader's search is nobody else's business
    with _asked(_FACILITY, asf.ASFSearchError):
        products = asf.search(
            dataset="SENTINEL-1",
            processingLevel=level,
            intersectsWith=_polygon(box),
            start=f"{days[0]}T00:00:00Z" if days else None,
            end=f"{days[1]}T23:59:59Z" if days else None,
            maxResults=limit,
        )
    return _some([_of_product(one.properties) for one in products], level, _FACILITY)


def check_box(bbox: Sequence[float]) -> Box:
    """The box as four numbers; CatalogError where it cannot be one in degrees."""
    if len(bbox) != 4:
        raise CatalogError(
            f"a search box has {len(bbox)} numbers; give four: west south east north, in degrees."
        )
    west, south, east, north = (float(value) for value in bbox)
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south < north <= 90 and west != east):
        raise CatalogError(
            f"{west:g} {south:g} {east:g} {north:g} is no box in degrees; give west south east north."
        )
    return west, south, east, north


def check_dates(dates: str | None) -> tuple[str, str] | None:
    """First and last day as ISO dates; CatalogError where they cannot be."""
    if dates is None:
        return None
    first, _, last = dates.partition("/")
    try:
        days = date.fromisoformat(first), date.fromisoformat(last or first)
    except ValueError as error:
        raise CatalogError(
            f"{dates!r} are no dates ({error}); write them as 2023-01-01/2023-01-31."
        ) from error
    if days[0] > days[1]:
        raise CatalogError(f"{first} comes after {last}; write the earlier date first.")
    return days[0].isoformat(), days[1].isoformat()


def _online(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise CatalogError(
            f'searching needs {module} ({error}); run pip install "sartutor[online]".'
        ) from error


@contextmanager
def _asked(where: str, *faults: type[Exception]) -> Iterator[None]:
    """Turn whatever goes wrong while a service is asked, its library's own `faults` too, into one sentence."""
    expected: tuple[type[Exception], ...] = (requests.RequestException, ValueError, KeyError, *faults)
    try:
        yield
    except expected as error:
        if any(
            isinstance(one, requests.ConnectionError) for one in (error, error.__cause__, error.__context__)
        ):
            raise CatalogError(f"{where} cannot be reached; check the network, or the address.") from error
        reason = " ".join(str(error).split())[:160]
        raise CatalogError(
            f"{where} gives no answer that can be used ({reason}); try again later."
        ) from error


def _some(found: list[Found], what: str, where: str) -> list[Found]:
    if not found:
        raise CatalogError(
            f"{where} has nothing of {what} for this box and these dates; widen them, or check the name."
        )
    return found


def _of_item(item: Any) -> Found:  # noqa: ANN401 (a pystac item)
    facts = item.properties
    taken = item.datetime or item.common_metadata.start_datetime
    data = {name: asset for name, asset in item.assets.items() if "data" in (asset.roles or ())}
    sizes = [asset.extra_fields.get("file:size") for asset in data.values()]
    return Found(
        id=item.id,
        date=taken.date() if taken else None,
        orbit_pass=facts.get("sat:orbit_state"),
        relative_orbit=facts.get("sat:relative_orbit"),
        polarisations=tuple(facts.get("sar:polarizations") or ()),
        hrefs={name: asset.href for name, asset in data.items()},
        bytes=sum(sizes) if sizes and None not in sizes else None,
    )


def _of_product(facts: dict[str, Any]) -> Found:
    started, size, where = facts.get("startTime"), facts.get("bytes"), facts.get("flightDirection")
    return Found(
        id=facts["sceneName"],
        date=date.fromisoformat(started[:10]) if started else None,
        orbit_pass=where.lower() if where else None,
        relative_orbit=facts.get("pathNumber"),
        polarisations=tuple((facts.get("polarization") or "").split("+")),
        hrefs={"product": facts["url"]} if facts.get("url") else {},
        bytes=int(size) if isinstance(size, int | float) else None,
    )


def _polygon(box: Box) -> str:
    """The box as WKT; across the antimeridian its east runs on beyond 180 degrees."""
    west, south, east, north = box
    east = east + 360 if east < west else east
    ring = ((west, south), (east, south), (east, north), (west, north), (west, south))
    return f"POLYGON(({', '.join(f'{x:g} {y:g}' for x, y in ring)}))"
