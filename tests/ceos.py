"""Small ALOS-2 products in JAXA's CEOS layout, for tests.

No public product is at hand. Field positions are taken from the record layouts of `xarray-ceos-alos2`; fields
that nothing reads stay blank, and of the leader file's records only those that are read are written.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ceos_alos2.sar_image.file_descriptor import file_descriptor_record
from ceos_alos2.sar_image.processed_data import processed_data_record
from ceos_alos2.sar_image.signal_data import signal_data_record
from ceos_alos2.sar_leader.map_projection import map_projection_record
from ceos_alos2.sar_leader.radiometric_data import radiometric_data_record
from numpy.typing import NDArray


def place(layout: Any, *names: str) -> tuple[int, int]:
    """First byte and length of a field, by its names from the outermost record inwards."""
    at, layout = 0, getattr(layout, "subcon", layout)
    while not hasattr(layout, "subcons"):
        layout = layout.subcon
    for part in layout.subcons:
        if part.name == names[0]:
            inside = place(part, *names[1:]) if len(names) > 1 else (0, part.sizeof())
            return at + inside[0], inside[1]
        at += part.sizeof()
    raise KeyError(names)


def put(record: bytearray, layout: Any, value: object, *names: str) -> None:
    """Write a value as text, right-justified as numbers are, into a field."""
    at, size = place(layout, *names)
    text = value.ljust(size) if isinstance(value, str) else str(value).rjust(size)
    assert len(text) == size
    record[at : at + size] = text.encode()


def preamble(kind: tuple[int, int, int, int], length: int, number: int = 1) -> bytes:
    """The twelve bytes that every record begins with."""
    return number.to_bytes(4, "big") + bytes(kind) + length.to_bytes(4, "big")


def write_image(path: Path, pixels: NDArray[Any]) -> Path:
    """An image file of complex or unsigned 16-bit pixels (rows, columns)."""
    signal = np.iscomplexobj(pixels)
    prefix, kind = (544, 10) if signal else (192, 11)
    stored = pixels.astype(">c8" if signal else ">u2")
    length = prefix + stored[0].nbytes
    header = bytearray(b" " * 720)
    header[:12] = preamble((50, 192, 18, 18), 720)
    layout = file_descriptor_record
    put(header, layout, len(pixels), "number_of_sar_data_records")
    put(header, layout, length, "sar_data_record_length")
    put(header, layout, len(pixels), "sar_related_data_in_the_record", "number_of_lines_per_dataset")
    put(header, layout, pixels.shape[1], "sar_related_data_in_the_record", "number_of_data_groups_per_line")
    code = "C*8" if signal else "IU2"
    put(header, layout, code, "prefix_suffix_data_locators", "sar_data_format_type_code")
    lines = [line_start(number, kind, prefix, length) + row.tobytes() for number, row in enumerate(stored, 1)]
    path.write_bytes(bytes(header) + b"".join(lines))
    return path


def line_start(number: int, kind: int, prefix: int, length: int) -> bytes:
    """What stands before the pixels of a line: here its number, the date and zeros."""
    record = bytearray(prefix)
    record[:12] = preamble((50, kind, 18, 20), length, number + 1)
    layout = signal_data_record if kind == 10 else processed_data_record
    for name, value in (("sar_image_data_line_number", number), ("sensor_acquisition_date", 2022)):
        at = place(layout, name)[0]
        record[at : at + 4] = value.to_bytes(4, "big")
    day = place(layout, "sensor_acquisition_date")[0] + 4
    record[day : day + 4] = (323).to_bytes(4, "big")
    return bytes(record)


def write_leader(path: Path, factor_db: float | None = None, utm: dict[str, Any] | None = None) -> Path:
    """A leader file: a blank descriptor, then the map projection and radiometric records that are asked for.

    `utm`: zone, south, shape, spacing (m) and corners (left top, right top, left bottom as easting, northing in m).
    """
    records = [bytearray(preamble((11, 192, 18, 18), 720) + b" " * 708)]
    if utm:
        records.append(map_projection(**utm))
    records.append(bytearray(preamble((18, 50, 18, 20), 9860) + b" " * (9860 - 12)))
    if factor_db is not None:
        put(records[-1], radiometric_data_record, f"{factor_db:.7E}", "calibration_factor")
    path.write_bytes(b"".join(records))
    return path


def map_projection(
    zone: int, south: bool, shape: tuple[int, int], spacing: float, corners: list[tuple[float, float]]
) -> bytearray:
    """The map projection record of a UTM grid."""
    record = bytearray(preamble((18, 20, 18, 20), 1620) + b" " * (1620 - 12))
    layout, general = map_projection_record, "map_projection_general_information"
    put(record, layout, shape[0], general, "number_of_lines")
    put(record, layout, shape[1], general, "number_of_pixels_per_line")
    put(record, layout, spacing, general, "inter_pixel_distance_in_output_scene")
    put(record, layout, "UTM-PROJECTION", "map_projection_designator")
    put(record, layout, f"{zone:4}", "utm_projection", "zone_number")
    put(record, layout, 1e7 if south else 0.0, "utm_projection", "map_origin", "false_northing")
    names = ("top_left_corner", "top_right_corner", "bottom_left_corner")
    for name, (east, north) in zip(names, corners, strict=True):
        put(record, layout, f"{east / 1000:.7f}", "corner_points", "projected", name, "easting")
        put(record, layout, f"{north / 1000:.7f}", "corner_points", "projected", name, "northing")
    return record
