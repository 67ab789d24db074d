"""A small Sentinel-1 GRD product in the layout of a SAFE folder, with an orbit and a geometry of known answer.

The satellite flies north on a circle in the plane of longitude 0 and looks east; Earth stands still. Image lines are
its zero-Doppler planes, image columns are equal steps along the ellipsoid away from the track.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyproj
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasters import write

EQUATOR, POLE = 6378137.0, 6356752.314245
RADIUS = 7_071_000.0
RATE = 7_590.0 / RADIUS
LATITUDE = np.radians(47.0)
LIGHT = 299_792_458.0
START = datetime(2023, 1, 5, 17, 8, 24)
INTERVAL = 10 / 6_850.0
"""Seconds a line: about 10 m on the ground."""

STEP = 10.0
"""Metres a column."""

NEAR = 0.075
"""Angle at Earth's centre between the track and the first column, radians."""

NAME = "S1A_IW_GRDH_1SDV_20230105T170824_20230105T170849_046653_04098A_2F79"
STEM = "s1a-iw-grd-{}-20230105t170824-20230105t170849-046653-04098a-00{}"


@dataclass(frozen=True)
class Product:
    """What a product holds: digital numbers by polarisation, tables as functions of (line, pixel)."""

    dn: dict[str, np.ndarray]
    beta: float = 400.0
    noise: float = 0.0
    azimuth: tuple[tuple[int, int, int, int, str, str], ...] = ()
    """Blocks of noise along azimuth: first line and pixel, last line and pixel, lines, values."""

    lines: tuple[int, ...] = (0, 120, 199)
    early: bool = False
    """Whether noise is stated as by processors before version 2.9: along range alone, under other names."""

    changes: dict[str, str] = field(default_factory=dict)
    """Words of the manifest to replace."""

    @property
    def shape(self):
        return next(iter(self.dn.values())).shape


def seconds(line):
    """Time of a line after the first, and of the middle of the product's orbit at 0."""
    return np.asarray(line) * INTERVAL


def in_plane(line):
    """Semi-axes of the ellipse in which a line's zero-Doppler plane cuts the ellipsoid, and the satellite's angle."""
    angle = LATITUDE + RATE * seconds(line)
    return 1 / np.sqrt((np.cos(angle) / EQUATOR) ** 2 + (np.sin(angle) / POLE) ** 2), EQUATOR, angle


def arc_to_psi(line, metres):
    """Angle along the ellipse at which that many metres from the first column are reached."""
    across, along, _ = in_plane(line)
    psi = np.linspace(NEAR - 0.002, NEAR + 0.003, 20_001)
    speed = np.hypot(across * np.sin(psi), along * np.cos(psi))
    length = np.concatenate([[0], np.cumsum((speed[1:] + speed[:-1]) / 2 * np.diff(psi))])
    return np.interp(np.asarray(metres) + np.interp(NEAR, psi, length), length, psi)


def ground(line, pixel):
    """ECEF coordinates (3, n) of pixels of one line."""
    across, along, angle = in_plane(line)
    psi = arc_to_psi(line, np.asarray(pixel) * STEP)
    radial, east = across * np.cos(psi), along * np.sin(psi)
    return np.stack([radial * np.cos(angle), east, radial * np.sin(angle)])


def satellite(line):
    _, _, angle = in_plane(line)
    return RADIUS * np.array([np.cos(angle), 0 * angle, np.sin(angle)])


def slant_range(line, pixel):
    return np.linalg.norm(ground(line, pixel) - satellite(line)[:, None], axis=0)


def incidence(line, pixel):
    """Degrees between the ellipsoid's normal and the direction to the satellite."""
    point = ground(line, pixel)
    normal = point / np.array([EQUATOR**2, EQUATOR**2, POLE**2])[:, None]
    to_satellite = satellite(line)[:, None] - point
    cosine = (
        (normal * to_satellite).sum(0) / np.linalg.norm(normal, axis=0) / np.linalg.norm(to_satellite, axis=0)
    )
    return np.degrees(np.arccos(cosine))


def place(line, pixel):
    """Longitude, latitude (degrees) and height (m) of pixels of one line."""
    return pyproj.Transformer.from_crs(4978, 4979, always_xy=True).transform(*ground(line, pixel))


def stamp(line):
    return (START + timedelta(seconds=float(seconds(line)))).isoformat(timespec="microseconds")


def calibration_table(product):
    """(lines, pixels of each line) of the tables; each line has its own pixels."""
    last = product.shape[1] - 1
    return [(line, (0, last // (i + 2), last)) for i, line in enumerate(product.lines)]


def write_safe(parent: Path, product: Product) -> Path:
    """Write the product; returns its SAFE folder."""
    folder = parent / f"{NAME}.SAFE"
    for name in ("measurement", "annotation/calibration"):
        (folder / name).mkdir(parents=True)
    listed = []
    for number, (polarisation, dn) in enumerate(product.dn.items(), start=1):
        stem = STEM.format(polarisation.lower(), number)
        write(
            folder / f"measurement/{stem}.tiff",
            dn,
            transform=None,
            crs=CRS.from_epsg(4326),
            gcps=tie_points(dn.shape),
        )
        for kind, name, text in (
            ("Product", f"annotation/{stem}.xml", annotation(product)),
            ("Calibration", f"annotation/calibration/calibration-{stem}.xml", calibration(product)),
            ("Noise", f"annotation/calibration/noise-{stem}.xml", noise(product)),
        ):
            (folder / name).write_text(text)
            listed.append((f"s1Level1{kind}Schema", f"./{name}"))
        listed.append(("s1Level1MeasurementSchema", f"./measurement/{stem}.tiff"))
    text = manifest(product, listed)
    for old, new in product.changes.items():
        assert old in text
        text = text.replace(old, new)
    (folder / "manifest.safe").write_text(text)
    return folder


def tie_points(shape):
    corners = [(line, pixel) for line in (0, shape[0] - 1) for pixel in (0, shape[1] - 1)]
    found = [(line, pixel, *(float(v[0]) for v in place(line, [pixel]))) for line, pixel in corners]
    return [GroundControlPoint(row=r, col=c, x=x, y=y, z=z) for r, c, x, y, z in found]


def manifest(product: Product, listed) -> str:
    objects = "".join(
        f'<dataObject ID="d{i}" repID="{kind}"><byteStream><fileLocation href="{href}"/></byteStream></dataObject>'
        for i, (kind, href) in enumerate(listed)
    )
    channels = "".join(
        f"<s1sarl1:transmitterReceiverPolarisation>{name}</s1sarl1:transmitterReceiverPolarisation>"
        for name in product.dn
    )
    orbits = "".join(
        f'<safe:{kind} type="{when}">{number}</safe:{kind}>'
        for kind, number in (("orbitNumber", 46653), ("relativeOrbitNumber", 31))
        for when in ("start", "stop")
    )
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<xfdu:XFDU xmlns:xfdu="urn:ccsds:schema:xfdu:1" xmlns:safe="http://www.esa.int/safe/sentinel-1.0"
 xmlns:s1="http://www.esa.int/safe/sentinel-1.0/sentinel-1"
 xmlns:s1sarl1="http://www.esa.int/safe/sentinel-1.0/sentinel-1/sar/level-1">
<metadataSection>
<safe:platform><safe:familyName>SENTINEL-1</safe:familyName><safe:number>A</safe:number>
<s1sarl1:instrumentMode><s1sarl1:mode>IW</s1sarl1:mode><s1sarl1:swath>IW</s1sarl1:swath></s1sarl1:instrumentMode>
</safe:platform>
<safe:orbitReference>{orbits}<s1:orbitProperties><s1:pass>ASCENDING</s1:pass>
<s1:ascendingNodeTime>2023-01-05T16:55:00.000000</s1:ascendingNodeTime></s1:orbitProperties></safe:orbitReference>
<safe:acquisitionPeriod><safe:startTime>{stamp(0)}</safe:startTime>
<safe:stopTime>{stamp(product.shape[0] - 1)}</safe:stopTime></safe:acquisitionPeriod>
<s1sarl1:standAloneProductInformation><s1sarl1:missionDataTakeID>264586</s1sarl1:missionDataTakeID>{channels}
<s1sarl1:productType>GRD</s1sarl1:productType></s1sarl1:standAloneProductInformation>
</metadataSection><dataObjectSection>{objects}</dataObjectSection></xfdu:XFDU>"""


def numbers(name, values) -> str:
    return counted(name, " ".join(f"{value:.9g}" for value in values))


def counted(name, text) -> str:
    return f'<{name} count="{len(text.split())}">{text}</{name}>'


def calibration(product: Product) -> str:
    """beta is the same everywhere; sigma and gamma follow the incidence of the middle line."""
    vectors = []
    for line, pixels in calibration_table(product):
        theta = np.radians(incidence(product.shape[0] // 2, np.array(pixels)))
        beta = np.full(len(pixels), product.beta)
        vectors.append(
            f"<calibrationVector><azimuthTime>{stamp(line)}</azimuthTime><line>{line}</line>"
            + numbers("pixel", pixels)
            + numbers("sigmaNought", beta / np.sqrt(np.sin(theta)))
            + numbers("betaNought", beta)
            + numbers("gamma", beta / np.sqrt(np.tan(theta)))
            + numbers("dn", beta)
            + "</calibrationVector>"
        )
    return (
        "<calibration><calibrationInformation><absoluteCalibrationConstant>1.0</absoluteCalibrationConstant>"
        f'</calibrationInformation><calibrationVectorList count="{len(vectors)}">{"".join(vectors)}'
        "</calibrationVectorList></calibration>"
    )


def noise(product: Product) -> str:
    ranges = "".join(
        f"<noiseRangeVector><azimuthTime>{stamp(line)}</azimuthTime><line>{line}</line>"
        + numbers("pixel", pixels)
        + numbers("noiseRangeLut", [product.noise] * len(pixels))
        + "</noiseRangeVector>"
        for line, pixels in calibration_table(product)
    )
    if product.early:
        ranges = ranges.replace("noiseRange", "noise")
        return f"<noise><noiseVectorList>{ranges}</noiseVectorList></noise>"
    names = ("firstAzimuthLine", "firstRangeSample", "lastAzimuthLine", "lastRangeSample")
    blocks = "".join(
        "<noiseAzimuthVector><swath>IW1</swath>"
        + "".join(f"<{name}>{value}</{name}>" for name, value in zip(names, block[:4], strict=True))
        + f"{counted('line', block[4])}{counted('noiseAzimuthLut', block[5])}</noiseAzimuthVector>"
        for block in product.azimuth
    )
    return (
        f"<noise><noiseRangeVectorList>{ranges}</noiseRangeVectorList>"
        f"<noiseAzimuthVectorList>{blocks}</noiseAzimuthVectorList></noise>"
    )


def annotation(product: Product) -> str:
    height, width = product.shape
    near = slant_range(height // 2, [0])[0]
    return f"""<product><adsHeader><polarisation>VV</polarisation></adsHeader><generalAnnotation>
<productInformation><pass>Ascending</pass><timelinessCategory>Fast-24h</timelinessCategory>
<platformHeading>0.0</platformHeading><projection>Ground Range</projection>
<rangeSamplingRate>6.434523812571428e+07</rangeSamplingRate><radarFrequency>5.405000454334350e+09</radarFrequency>
<azimuthSteeringRate>1.59</azimuthSteeringRate></productInformation>
<orbitList>{orbit_vectors(height)}</orbitList></generalAnnotation>
<imageAnnotation><imageInformation><productFirstLineUtcTime>{stamp(0)}</productFirstLineUtcTime>
<productLastLineUtcTime>{stamp(height - 1)}</productLastLineUtcTime>
<ascendingNodeTime>2023-01-05T16:55:00.000000</ascendingNodeTime><anchorTime>{stamp(0)}</anchorTime>
<slantRangeTime>{2 * near / LIGHT:.15e}</slantRangeTime><rangePixelSpacing>{STEP:.6e}</rangePixelSpacing>
<azimuthPixelSpacing>{line_metres(height, width):.6e}</azimuthPixelSpacing>
<azimuthTimeInterval>{INTERVAL:.15e}</azimuthTimeInterval>
<numberOfSamples>{width}</numberOfSamples><numberOfLines>{height}</numberOfLines>
<incidenceAngleMidSwath>{incidence(height // 2, [width // 2])[0]:.9e}</incidenceAngleMidSwath></imageInformation>
</imageAnnotation>
<coordinateConversion><coordinateConversionList>{conversions(height, width, near)}</coordinateConversionList>
</coordinateConversion>
<swathTiming><linesPerBurst>0</linesPerBurst><samplesPerBurst>0</samplesPerBurst><burstList count="0"/></swathTiming>
<geolocationGrid><geolocationGridPointList>{tie_grid(height, width)}</geolocationGridPointList></geolocationGrid>
</product>"""


def line_metres(height, width) -> float:
    middle = height // 2
    step = ground(middle + 1, [width // 2]) - ground(middle, [width // 2])
    return float(np.linalg.norm(step))


def orbit_vectors(height) -> str:
    lines = height / 2 + np.arange(-8, 9) * 10 / INTERVAL
    return "".join(
        f"<orbit><time>{stamp(line)}</time><frame>Earth Fixed</frame>{vector('position', satellite(line))}"
        f"{vector('velocity', (satellite(line + 1) - satellite(line - 1)) / (2 * INTERVAL))}</orbit>"
        for line in lines
    )


def vector(name, xyz) -> str:
    inside = "".join(f"<{axis}>{value:.6f}</{axis}>" for axis, value in zip("xyz", xyz, strict=True))
    return f"<{name}>{inside}</{name}>"


def conversions(height, width, near) -> str:
    """Polynomials between ground and slant range, fitted beyond both borders of the image."""
    pixels = np.arange(-20, width + 20)
    there = []
    for line in (-50, height // 2, height + 50):
        slant, metres = slant_range(line, pixels) - near, pixels * STEP
        forth, back = (np.polynomial.polynomial.polyfit(*p, 3) for p in ((slant, metres), (metres, slant)))
        there.append(
            f"<coordinateConversion><azimuthTime>{stamp(line)}</azimuthTime>"
            f"<slantRangeTime>{2 * near / LIGHT:.15e}</slantRangeTime><sr0>{near:.9f}</sr0>"
            + numbers("srgrCoefficients", forth)
            + "<gr0>0.0</gr0>"
            + numbers("grsrCoefficients", back + np.array([near, 0, 0, 0]))
            + "</coordinateConversion>"
        )
    return "".join(there)


def tie_grid(height, width) -> str:
    points = []
    for line in (0, height - 1):
        for pixel in (0, width - 1):
            lon, lat, _ = (float(v[0]) for v in place(line, [pixel]))
            points.append(
                f"<geolocationGridPoint><azimuthTime>{stamp(line)}</azimuthTime>"
                f"<slantRangeTime>{2 * slant_range(line, [pixel])[0] / LIGHT:.15e}</slantRangeTime>"
                f"<line>{line}</line><pixel>{pixel}</pixel><latitude>{lat:.12f}</latitude>"
                f"<longitude>{lon:.12f}</longitude><height>0.0</height>"
                f"<incidenceAngle>{incidence(line, [pixel])[0]:.9f}</incidenceAngle>"
                "<elevationAngle>30.0</elevationAngle></geolocationGridPoint>"
            )
    return "".join(points)
