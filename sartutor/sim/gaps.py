"""The benchmark `gaps`: 22 questions of the form "trained here, asked there", in eight kinds of difference.

The kinds, and the names of sub-benchmarks that are not in `OWN_NAMES`, are those of arXiv 2603.12008. Letters stand for
simulated domains that differ from each other as the kind says, not for what the data sets of that paper show; which
letter belongs to which kind is assumed here.
"""

from __future__ import annotations

from itertools import product
from typing import Literal, NamedTuple

import numpy as np

from sartutor.errors import DataError
from sartutor.sim.backscatter import LAND_COVERS
from sartutor.sim.landcover import INCIDENCE_DEGREE, Domain
from sartutor.sim.layout import REGIONS, Labels
from sartutor.sim.sensor import SENSORS, RadarBand
from sartutor.sim.shapes import fractal_field

Rng = np.random.Generator
Part = Literal["real", "imag"] | None
"""Part of a complex image; None is detected power."""


class Gap(NamedTuple):
    """One sub-benchmark: a model is trained on `source` and asked on `target`; `kind` names what differs."""

    kind: str
    source: Domain
    target: Domain


def _gaofen3(region: str, polarisation: str, part: Part = None) -> Domain:
    return Domain(region, polarisation, part, "gaofen3", "C")


def _airborne(region: str, polarisation: str, band: RadarBand) -> Domain:
    return Domain(region, polarisation, None, "airborne", band)


PLACES = {
    "N": _gaofen3("north", "full"),
    "S": _gaofen3("south", "full"),
}
"""North and south, of the gap in region."""

POLARISATIONS = {name: _gaofen3("plains", name) for name in ("VV", "HH", "HV", "VH")} | {
    "F": _gaofen3("plains", "full")
}
"""One channel, or full polarisation."""

PARTS = {
    "C(r)": _gaofen3("plains", "HH", "real"),
    "C(i)": _gaofen3("plains", "HH", "imag"),
    "R": _gaofen3("plains", "HH"),
}
"""Real and imaginary part of the complex image, and detected power."""

STAND_INS = {
    "A": _gaofen3("metropolis", "full"),
    "F": _gaofen3("delta", "HH"),
    "S": _airborne("plains", "full", "C"),
    "W": _airborne("plains", "HH", "C"),
    "D": _airborne("south", "HH", "X"),
    "O": _airborne("north", "VV", "L"),
}
"""Stand-ins for AIR-PolSAR-Seg 2.0, FUSAR-Map, SARBuD, WHU-OPT-SAR, DDHR-SK and OpenEarthMap-SAR (all assumed)."""

_KINDS = (
    ("region", PLACES, ("N2S", "S2N")),
    ("polarisation", POLARISATIONS, ("VV2F", "HH2F", "HV2F", "VH2F", "F2VV", "F2HH")),
    ("complex", PARTS, ("C(r)2R", "C(i)2R", "R2C(r)", "R2C(i)")),
    ("region+polarisation", STAND_INS, ("F2A", "A2F")),
    ("region+platform", STAND_INS, ("S2A", "A2S")),
    ("region+band", STAND_INS, ("W2D", "D2W")),
    ("region+polarisation+band", STAND_INS, ("O2D", "D2O")),
    ("region+platform+band", STAND_INS, ("D2F", "F2D")),
)


def _gap(kind: str, domains: dict[str, Domain], name: str) -> Gap:
    source, target = name.split("2")
    return Gap(kind, domains[source], domains[target])


GAPS = {name: _gap(kind, domains, name) for kind, domains, names in _KINDS for name in names}
"""The sub-benchmarks by name: 12 of one difference, 10 of several."""

OWN_NAMES = ("F2VV", "F2HH", "R2C(r)", "R2C(i)", "A2S", "D2W", "D2O", "F2D")
"""Names that are not from the paper, each the way back of one that is."""

FIRST = {kind: names[0] for kind, _, names in _KINDS}
"""The first sub-benchmark of each kind, for comparisons of many models."""

DOMAINS = {domain.name: domain for gap in GAPS.values() for domain in (gap.source, gap.target)}
"""All sources and targets by name."""


def _world() -> tuple[Domain, ...]:
    """Every region through every radar in one or all polarisations, but for the domains of the benchmark."""
    radars = [
        (platform, SENSORS[platform].band, SENSORS[platform].polarisations) for platform in INCIDENCE_DEGREE
    ]
    radars += [
        ("airborne", SENSORS[f"airborne_{band.lower()}"].band, ("HH", "HV", "VH", "VV")) for band in "LCX"
    ]
    seen = [
        Domain(region, polarisation, None, platform, band)
        for region, (platform, band, single) in product(REGIONS, radars)
        for polarisation in (*single, *(("full",) if "HH" in single else ()))
    ]
    parts: tuple[Part, ...] = ("real", "imag")
    seen += [
        Domain(region, polarisation, part, "terrasarx", "X")
        for region, polarisation, part in product(REGIONS, ("HH", "VV"), parts)
    ]
    return tuple(domain for domain in seen if domain not in DOMAINS.values())


WORLD = _world()
"""Domains to pretrain on; no domain of the benchmark is among them, though its regions and radars are."""


def weak_labels(rng: Rng, labels: Labels, agreement: float) -> Labels:
    """Labels (rows, columns) of which the share `agreement` (rounded to pixels) is right, as of a model that is wrong
    in coherent places: there every class is taken for another one, the same all over the scene.

    Pseudo-labels in arXiv 2603.12008 agree with true ones in 75.88 % of the pixels, in one data set in 63.20 %. Raises
    DataError for a share outside 0 to 1.
    """
    if not 0 <= agreement <= 1:
        raise DataError(f"{agreement:g} is no share of right labels; use a number from 0 to 1.")
    order = rng.permutation(len(LAND_COVERS)).astype(labels.dtype)
    taken_for = np.empty_like(order)
    taken_for[order] = np.roll(order, 1)
    place = fractal_field(rng, len(labels), 3.0).ravel().argsort()
    wrong = place[: round((1 - agreement) * labels.size)]
    weak = labels.copy()
    weak.flat[wrong] = taken_for[labels.flat[wrong]]
    return weak
