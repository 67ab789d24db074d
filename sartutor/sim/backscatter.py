"""Mean backscatter of land covers by radar band, polarisation and incidence angle: the simulator's one table.

Every row names its source. "assumed" rows are plausible levels, set so that the orderings hold that radar
engineers agree on (smooth surfaces dark, volumes bright in cross-polarisation, double bounce brightest, levels of
natural surfaces rising with frequency); they stand in for tables such as Ulaby and Dobson (Handbook of Radar
Scattering Statistics for Terrain, 1989) and are no measurements. Six numbers of the four other rows are published or
measured, and these rows say how. Limits: no moisture, season, row direction or wind speed as parameters; their effect
is the spread between fields.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sartutor.errors import DataError

LAND_COVERS = ("building", "road", "water", "bare", "forest", "cropland", "background")
"""The seven classes of CrossEarth-SAR-200K (arXiv 2603.12008); background is grass- and shrubland here."""

MOUNTAIN_COVERS = ("dry_snow", "wet_snow", "rock", "debris", "grass")
"""Covers of the avalanche scenes; debris is that of a snow avalanche."""

COVERS: tuple[str, ...] = LAND_COVERS + MOUNTAIN_COVERS

REFERENCE_DEGREE = 35.0
"""Incidence angle of the table, in degrees."""

INCIDENCE_RANGE_DEGREE = (10.0, 75.0)
"""Incidence angles within which the angular law is used; angles outside count as the nearer limit."""


@dataclass(frozen=True)
class Row:
    """Mean sigma0 of one cover in one radar band at 35 degrees incidence, in dB.

    `hv` serves HV and VH (reciprocity); `spread_db` is the standard deviation between fields of the dB of a
    field's mean power, after speckle is averaged out.
    """

    cover: str
    band: str
    hh: float
    vv: float
    hv: float
    spread_db: float
    source: str

    def level(self, polarisation: str) -> float:
        """Sigma0 of a polarisation at 35 degrees, in dB."""
        return {"HH": self.hh, "VV": self.vv, "HV": self.hv, "VH": self.hv}[polarisation]


ASSUMED = "assumed"
SPAIN = (
    "VV: own statistics of the Sen1Floods11 chip Spain_7370579: median sigma0 of water 3 px inside its label, "
    "-20.7 dB, plus 0.3 dB between median and mean of speckle with 4.4 looks, brought to 35 deg by the row's angular "
    "law from 38 deg, the middle of the swath, as the chip's own incidence is not known. HH, HV, spread: assumed"
)
PALSAR_OCEAN = (
    "HH, HV: own statistics of the PALSAR-2 mosaic N23W161: mean gamma0 power of the ocean, times the cosine of its "
    "median incidence of 37 deg, less noise of -36 dB, brought to 35 deg by the row's angular law. VV, spread: assumed"
)
PALSAR_LAND = (
    "HH, HV: own statistics of the PALSAR-2 mosaic N23W161: median gamma0 of its land, times the cosine of the median "
    "incidence of 41 deg, less noise of -36 dB, brought to 35 deg by the row's angular law, plus 0.2 dB between median "
    "and mean of speckle with 7 looks; within the -10 to -13 dB of pastures (JERS-1, as the row of forest). "
    "VV, spread: assumed"
)
RAIN_FOREST = (
    "HH: middle of the published sigma0 of primary (-6 to -7 dB) and secondary forest (-7.5 to -8.5 dB), abstract of "
    "'Normalized back scattering radar cross section of tropical rain forest in Rondonia, Northern Brazil' (JERS-1), "
    "brought from 39 to 35 deg by the row's angular law. SMAP's ATBD of Level 1 radar products, Table 14, has sigma0 "
    "-6.9 dB and gamma0 -5.8 dB (hence 39 deg) for rain forest of the Amazon. VV, HV, spread: assumed"
)
WET_SNOW = "assumed; 5 dB below dry snow, beyond the -3 dB wet-snow threshold of Nagler and Rott (2000)"
DEBRIS = "assumed; 3 to 5 dB above undisturbed snow"

TABLE = (
    Row("building", "L", -3.0, -5.0, -14.0, 2.5, ASSUMED),
    Row("building", "C", -3.5, -4.5, -12.5, 2.5, ASSUMED),
    Row("building", "X", -3.0, -3.5, -11.5, 2.5, ASSUMED),
    Row("road", "L", -22.0, -21.0, -33.0, 1.5, ASSUMED),
    Row("road", "C", -18.5, -17.5, -27.0, 1.5, ASSUMED),
    Row("road", "X", -16.5, -15.5, -24.5, 1.5, ASSUMED),
    Row("water", "L", -17.7, -15.2, -33.8, 1.5, PALSAR_OCEAN),
    Row("water", "C", -20.8, -18.8, -32.0, 2.5, SPAIN),
    Row("water", "X", -20.5, -19.0, -31.0, 2.5, ASSUMED),
    Row("bare", "L", -17.5, -16.5, -28.0, 2.0, ASSUMED),
    Row("bare", "C", -13.5, -13.0, -22.0, 2.0, ASSUMED),
    Row("bare", "X", -11.5, -11.0, -19.5, 2.0, ASSUMED),
    Row("forest", "L", -7.0, -7.5, -12.5, 0.8, RAIN_FOREST),
    Row("forest", "C", -8.0, -8.0, -13.5, 0.8, ASSUMED),
    Row("forest", "X", -8.5, -8.5, -14.0, 0.8, ASSUMED),
    Row("cropland", "L", -13.5, -13.5, -22.5, 2.0, ASSUMED),
    Row("cropland", "C", -11.0, -11.0, -17.5, 2.0, ASSUMED),
    Row("cropland", "X", -10.0, -10.0, -16.0, 2.0, ASSUMED),
    Row("background", "L", -12.1, -12.3, -20.1, 1.8, PALSAR_LAND),
    Row("background", "C", -12.0, -12.0, -18.5, 1.5, ASSUMED),
    Row("background", "X", -11.0, -11.0, -17.0, 1.5, ASSUMED),
    Row("dry_snow", "L", -14.0, -13.5, -23.5, 1.2, ASSUMED),
    Row("dry_snow", "C", -12.0, -11.5, -19.0, 1.2, ASSUMED),
    Row("dry_snow", "X", -10.0, -10.0, -16.5, 1.2, ASSUMED),
    Row("wet_snow", "L", -16.0, -15.5, -25.5, 1.2, ASSUMED),
    Row("wet_snow", "C", -17.0, -16.5, -24.0, 1.2, WET_SNOW),
    Row("wet_snow", "X", -15.5, -15.5, -22.0, 1.2, ASSUMED),
    Row("rock", "L", -12.0, -12.0, -20.5, 1.5, ASSUMED),
    Row("rock", "C", -9.5, -9.0, -16.5, 1.5, ASSUMED),
    Row("rock", "X", -8.5, -8.0, -15.0, 1.5, ASSUMED),
    Row("debris", "L", -12.0, -11.5, -20.5, 1.0, ASSUMED),
    Row("debris", "C", -8.0, -7.5, -15.0, 1.0, DEBRIS),
    Row("debris", "X", -6.5, -6.5, -13.0, 1.0, DEBRIS),
    Row("grass", "L", -15.0, -14.5, -24.5, 1.5, ASSUMED),
    Row("grass", "C", -12.5, -12.0, -19.5, 1.5, ASSUMED),
    Row("grass", "X", -11.0, -11.0, -17.0, 1.5, ASSUMED),
)
"""One row per cover and radar band (L, C, X)."""

ANGULAR_EXPONENT = {
    "building": 1.0,
    "road": 5.0,
    "water": 9.0,
    "bare": 3.0,
    "forest": 1.0,
    "cropland": 1.5,
    "background": 1.5,
    "dry_snow": 2.0,
    "wet_snow": 4.0,
    "rock": 1.5,
    "debris": 1.5,
    "grass": 2.0,
}
"""n of co-polarised sigma0 ~ cos^n(incidence), assumed: 1 is a volume of constant gamma0, 2 a Lambertian surface."""

_ROWS = {(row.cover, row.band): row for row in TABLE}


def mean_db(
    cover: str, band: str, polarisation: str, incidence_deg: ArrayLike = REFERENCE_DEGREE
) -> NDArray[np.float32]:
    """Mean sigma0 of a cover in dB at (local) incidence angles in degrees, in their shape.

    sigma0(theta) = sigma0(35 deg) (cos theta / cos 35 deg)^n with the exponent n of `angular_exponent`. DataError
    for a cover, band or polarisation that the table does not have.
    """
    level = _row(cover, band, polarisation).level(polarisation)
    return np.asarray(level + angular_exponent(cover, polarisation) * falloff_db(incidence_deg), np.float32)


def falloff_db(incidence_deg: ArrayLike) -> NDArray[np.float32]:
    """10 log10(cos theta / cos 35 deg): the change of a volume's sigma0 with incidence, in dB."""
    cosine = np.cos(np.radians(np.clip(np.asarray(incidence_deg, np.float32), *INCIDENCE_RANGE_DEGREE)))
    return np.asarray(10.0 * np.log10(cosine / np.cos(np.radians(REFERENCE_DEGREE))), np.float32)


def angular_exponent(cover: str, polarisation: str) -> float:
    """Exponent n of the cosine law; in cross-polarisation what exceeds a volume's 1 counts half (assumed)."""
    exponent = ANGULAR_EXPONENT[cover]
    return exponent if polarisation in ("HH", "VV") else (1 + exponent) / 2


def spread_db(cover: str, band: str, polarisation: str) -> float:
    """Standard deviation between fields of a cover's mean backscatter, in dB."""
    return _row(cover, band, polarisation).spread_db


def _row(cover: str, band: str, polarisation: str) -> Row:
    for what, value, known in (
        ("cover", cover, COVERS),
        ("radar band", band, ("L", "C", "X")),
        ("polarisation", polarisation, ("HH", "HV", "VH", "VV")),
    ):
        if value not in known:
            raise DataError(f"no backscatter is tabled for {what} {value!r}; choose from {', '.join(known)}.")
    return _ROWS[cover, band]
