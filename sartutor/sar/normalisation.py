"""Named normalisations: the constants by which each product or paper turns physical values into network input.

Every channel follows one formula, y = (r - mean) / std with r = (x - low) / (high - low), clipped to [0, 1]
where the source clips. Parameters are found by the band's name or polarisation, never by its position:
BigEarthNet lists VH before VV, others the other way round.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sartutor.errors import DataError
from sartutor.sar.scene import Band, Scene, Units

_MARK = "normalised by "
_POLARISATION = re.compile(r"(?<![A-Z])(VV|VH|HH|HV)(?![A-Z])")


@dataclass(frozen=True)
class Channel:
    """The normalisation of one band: values in `units` are brought to r by `low` and `high`, then to y.

    `fill` is y at the mean of the training data; pixels without data hold it.
    """

    units: Units
    low: float = 0.0
    high: float = 1.0
    clip: bool = False
    mean: float = 0.0
    std: float = 1.0
    fill: float = 0.0

    def apply(self, values: NDArray[Any]) -> NDArray[Any]:
        """Network input of physical values."""
        rescaled = (values - self.low) / (self.high - self.low)
        rescaled = np.clip(rescaled, 0, 1) if self.clip else rescaled
        return (rescaled - self.mean) / self.std

    def invert(self, values: NDArray[Any]) -> NDArray[Any]:
        """Physical values of network input; what was clipped comes back as the range's end."""
        return (values * self.std + self.mean) * (self.high - self.low) + self.low


@dataclass(frozen=True)
class Normalisation:
    """A named set of channels and where its numbers come from.

    `follows` names the normalisation that its input went through before, "" where that is none.
    """

    name: str
    channels: Mapping[str, Channel]
    source: str
    follows: str = ""

    @property
    def units(self) -> tuple[Units, ...]:
        """Units that its channels take, each once."""
        return tuple(dict.fromkeys(channel.units for channel in self.channels.values()))

    def apply(self, scene: Scene) -> Scene:
        """The scene normalised, in units "1"; pixels that are not valid, or not a number, hold the fill.

        Raises DataError when a band has no channel here, is in other units than its channel takes, or has
        been normalised before.
        """
        self._check_once(scene)
        channels = [self._channel(scene.name, band) for band in scene.bands]
        valid = scene.valid & np.isfinite(scene.pixels).all(axis=0)
        layers = [
            np.where(valid, channel.apply(np.where(valid, layer, channel.low)), channel.fill)
            for layer, channel in zip(scene.pixels, channels, strict=True)
        ]
        notes = (*_unmarked(scene.notes), f"{_MARK}{self.name}: {self.source}.")
        bands = tuple(replace(band, units="1") for band in scene.bands)
        pixels = np.stack(layers).astype(np.float32)
        return replace(scene, pixels=pixels, valid=valid, bands=bands, notes=notes)

    def invert(self, scene: Scene) -> Scene:
        """The scene in physical units again; DataError when it was not normalised by this."""
        if normalised_by(scene) != self.name:
            raise DataError(f"{scene.name} was not normalised by {self.name}; nothing to invert.")
        channels = [self._match(scene.name, band) for band in scene.bands]
        layers = [channel.invert(layer) for layer, channel in zip(scene.pixels, channels, strict=True)]
        bands = tuple(replace(b, units=c.units) for b, c in zip(scene.bands, channels, strict=True))
        earlier = [f"{_MARK}{self.follows}: {NORMALISATIONS[self.follows].source}."] if self.follows else []
        notes = (*_unmarked(scene.notes), *earlier)
        return replace(scene, pixels=np.stack(layers).astype(np.float32), bands=bands, notes=notes)

    def _check_once(self, scene: Scene) -> None:
        if (earlier := normalised_by(scene)) not in ("", self.follows):
            raise DataError(
                f"{scene.name} was normalised by {earlier} before; normalise only once, from physical values."
            )

    def _channel(self, scene: str, band: Band) -> Channel:
        channel = self._match(scene, band)
        if band.units != channel.units:
            raise DataError(
                f"{scene}: {self.name} takes {band.name} in {channel.units}, not in {band.units}; "
                f"{_cure(band.units, channel.units)}."
            )
        return channel

    def _match(self, scene: str, band: Band) -> Channel:
        by_name = {name.upper(): channel for name, channel in self.channels.items()}
        found = set(_POLARISATION.findall(band.name.upper()))
        for name in (band.name.upper(), *(found if len(found) == 1 else ())):
            if name in by_name:
                return by_name[name]
        raise DataError(
            f"{scene}: {self.name} has no constants for band {band.name} (it has {', '.join(self.channels)}); "
            "select or rename the bands."
        )


def normalise(scene: Scene, name: str) -> Scene:
    """The scene normalised by the constants called `name` in `NORMALISATIONS`; errors as `Normalisation.apply`."""
    if name not in NORMALISATIONS:
        raise DataError(f"no normalisation is called {name!r}; choose from {', '.join(NORMALISATIONS)}.")
    return NORMALISATIONS[name].apply(scene)


def normalised_by(scene: Scene) -> str:
    """The name of the normalisation that a scene went through, as its notes tell; "" when none."""
    marks = [note.removeprefix(_MARK) for note in scene.notes if note.startswith(_MARK)]
    return marks[-1].split(":")[0] if marks else ""


def _unmarked(notes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(note for note in notes if not note.startswith(_MARK))


def _cure(units: Units, wanted: Units) -> str:
    if units == "1":
        return "it is normalised already or has no physical unit, so start from physical values"
    if wanted == "db" and units in ("power", "amplitude"):
        return "convert it with to_units(scene, 'db') first"
    if wanted == "db" and units in ("dn", "complex"):
        return "calibrate it to power and convert it with to_units(scene, 'db') first"
    return f"give the band in {wanted}"


def _standard(units: Units, **parameters: tuple[float, float]) -> dict[str, Channel]:
    """Channels of (mean, standard deviation) in physical units."""
    return {name: Channel(units, mean=mean, std=std) for name, (mean, std) in parameters.items()}


_RANGES = {
    "VV": Channel("db", -23, -3, clip=True),
    "VH": Channel("db", -27, -7, clip=True),
    "DEM": Channel("m", 0, 4000),
    "slope": Channel("degree", 0, 90),
}
"""r of arXiv 2601.01213: VV and VH clipped to 20 dB, height / 4000 m, slope / 90 degrees."""

_VV_BRANCH = {"VV0": (0.5431, 0.2603), "VV1": (0.5184, 0.2646), "DEM": (0.1657, 0.0673)}
_VH_BRANCH = {"VH0": (0.4225, 0.2327), "VH1": (0.3967, 0.2314), "slope": (0.2487, 0.1542)}
"""Mean and standard deviation of r in the training data of arXiv 2601.01213 (its released code)."""


def _range_of(name: str) -> Channel:
    return _RANGES[name.rstrip("01")]


def _branch(parameters: Mapping[str, tuple[float, float]]) -> dict[str, Channel]:
    return {name: replace(_range_of(name), mean=m, std=s) for name, (m, s) in parameters.items()}


def _ranges() -> dict[str, Channel]:
    """The ranges alone; a band that does not say its date is filled with the mean of both dates."""
    means = {name: mean for name, (mean, _) in {**_VV_BRANCH, **_VH_BRANCH}.items()}
    dated = {name: replace(_range_of(name), fill=mean) for name, mean in means.items()}
    both = {p: replace(_RANGES[p], fill=(means[f"{p}0"] + means[f"{p}1"]) / 2) for p in ("VV", "VH")}
    return {**dated, **both}


_AVALANCHE = "arXiv 2601.01213, constants of the released code"

NORMALISATIONS: dict[str, Normalisation] = {
    entry.name: entry
    for entry in (
        Normalisation("avalanche-ranges", _ranges(), f"ranges of {_AVALANCHE}"),
        Normalisation("avalanche-vv", _branch(_VV_BRANCH), f"VV branch of {_AVALANCHE}"),
        Normalisation("avalanche-vh", _branch(_VH_BRANCH), f"VH branch of {_AVALANCHE}"),
        Normalisation(
            "avalanche-composite",
            _standard("1", composite0=(0.5183, 0.2547), composite1=(0.5139, 0.2572), DEM=(0.1656, 0.0673)),
            f"single-encoder composite of {_AVALANCHE}",
            follows="avalanche-ranges",
        ),
        Normalisation(
            "bigearthnet-v1",
            _standard("db", VH=(-19.2309, 3.1672), VV=(-12.5951, 2.9644)),
            "BigEarthNet v1, constants of arXiv 2503.01181's released code",
        ),
        Normalisation(
            "bigearthnet-v2",
            _standard("db", VH=(-19.1966, 5.4501), VV=(-12.5144, 5.0019)),
            "BigEarthNet v2, constants of arXiv 2503.01181's released code",
        ),
        Normalisation(
            "alos2-hh",
            _standard("db", HH=(-10.4327, 5.8041)),
            "ALOS-2 ultra-fine HH of Japan, constants of arXiv 2603.15119's released code",
        ),
        Normalisation(
            "sam-pixels",
            _standard("1", R=(123.675, 58.395), G=(116.28, 57.12), B=(103.53, 57.375)),
            "pixel mean and standard deviation of Segment Anything (arXiv 2304.02643's released code), 0 to 255",
        ),
    )
}
"""All named normalisations. avalanche-vv and -vh take dB, metres and degrees in one step, ranges included."""
