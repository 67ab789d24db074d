"""What the draw control holds and what the session holds: told apart, and brought together again.

The control's synchronised `data`, a list of GeoJSON features in degrees, is the only thing trusted: it is complete
after drawing, editing and deleting alike, where single events get lost or repeat. Features that the session knows carry
their object's number; the map rounds coordinates to six decimals, so shapes are compared with that tolerance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from shapely.geometry import MultiPoint, Point, Polygon, shape

from sartutor.lab.annotator.annotation import Annotation
from sartutor.lab.annotator.placement import Placement

ROUNDING = 1.5e-6
"""Degrees within which two corners count as the same."""
BOX_COLOUR = "#56B4E9"
"""Sky blue of the palette of Okabe and Ito (2008)."""

Feature = dict[str, Any]


@dataclass(frozen=True)
class Changes:
    """What a reader did since the session was last shown; polygons in degrees."""

    added: list[Polygon] = field(default_factory=list)
    edited: dict[int, Polygon] = field(default_factory=dict)
    deleted: list[int] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.added or self.edited or self.deleted)


Shapes = Mapping[int, Polygon]
"""Shapes in degrees, without holes, by the number of their object."""


class Sent:
    """What the map was told to show, revision by revision, for it may answer from an earlier one.

    Objects that were added while a shape was being drawn are unknown to the map, and are not deleted by its answer.
    """

    REMEMBERED = 200
    """Revisions that an answer may come from."""

    def __init__(self, placement: Placement) -> None:
        self.placement = placement
        self.revision = 0
        self._shapes: dict[int, Shapes] = {0: {}}
        self._placed: WeakKeyDictionary[Annotation, Polygon] = WeakKeyDictionary()

    def shape(self, one: Annotation) -> Polygon:
        """Where an object's shape lies on the map, in degrees; computed once."""
        if one not in self._placed:
            self._placed[one] = self.placement.to_map(one.polygon, one.crs)
        return self._placed[one]

    def features(self, objects: Sequence[Annotation]) -> list[Feature]:
        """The draw control's `data` that shows these objects; a new revision only where a shape is another."""
        shapes = {one.id: self._shown(one) for one in objects}
        if shapes != self._shapes[self.revision]:
            self.revision += 1
            self._shapes[self.revision] = shapes
            self._shapes.pop(self.revision - self.REMEMBERED, None)
        return [
            {
                "type": "Feature",
                "properties": {"id": id, "revision": self.revision, "style": style(strong=False)},
                "geometry": _geometry(shape),
            }
            for id, shape in shapes.items()
        ]

    def changes(self, objects: Sequence[Annotation], data: Sequence[Feature]) -> Changes:
        """What `data` says that differs from what the map was told when it was drawn."""
        revisions = [feature.get("properties", {}).get("revision", 0) for feature in data]
        newest = max(revisions, default=self.revision)
        told = self._shapes.get(newest, {})
        known = {one.id: self._shown(one) for one in objects}
        return changes(told, known, data)

    def _shown(self, one: Annotation) -> Polygon:
        return Polygon(self.shape(one).exterior)


def style(strong: bool = True) -> dict[str, Any]:
    """Leaflet's options for a drawn shape."""
    return {"color": BOX_COLOUR, "weight": 3 if strong else 1.5, "opacity": 1, "fill": True, "fillOpacity": 0}


def changes(told: Shapes, known: Shapes, data: Sequence[Feature]) -> Changes:
    """What `data` says that differs from what the map was `told`, of the objects that are `known` still.

    A feature without a number that lies where an object lies is that object: the map has not heard its number yet.
    """
    found = Changes()
    seen: set[int] = set()
    for feature in data:
        polygon = Polygon(shape(feature["geometry"]))
        id = feature.get("properties", {}).get("id")
        if id is None:
            id = next((i for i, other in known.items() if i not in seen and same(polygon, other)), None)
        if id is None:
            found.added.append(polygon)
        elif id in known:
            seen.add(id)
            if id in told and not same(polygon, told[id]) and not same(polygon, known[id]):
                found.edited[id] = reshaped(told[id], polygon)
    found.deleted.extend(id for id in told if id in known and id not in seen)
    return found


def same(one: Polygon, other: Polygon) -> bool:
    """Whether two polygons agree up to the map's rounding."""
    return bool(
        one.equals_exact(other, ROUNDING) or one.normalize().equals_exact(other.normalize(), ROUNDING)
    )


def reshaped(before: Polygon, after: Polygon) -> Polygon:
    """What an edit means: a box stays a box when one of its corners, or the handle of one edge, was moved.

    The map's edit tool moves single corners, which would turn every box into a crooked polygon.
    """
    if not same(before, before.envelope):
        return after
    corners, ring = MultiPoint(before.exterior.coords), list(after.exterior.coords)[:-1]
    moved = [index for index, point in enumerate(ring) if corners.distance(Point(point)) > ROUNDING]
    if len(moved) != 1 or len(ring) not in (4, 5):
        return after
    ring = ring[moved[0] :] + ring[: moved[0]]
    (x, y), following, previous = ring[0], ring[1], ring[-1]
    if len(ring) == 5:  # the handle in the middle of an edge, which keeps its direction
        upright = abs(following[0] - previous[0]) < ROUNDING
        x, y = (x, following[1]) if upright else (following[0], y)
    across = MultiPoint([(x, y), *ring[2 : len(ring) - 1]]).envelope
    return across if isinstance(across, Polygon) else after


def _geometry(polygon: Polygon) -> dict[str, Any]:
    """GeoJSON with lists, as the browser returns it, where shapely has tuples."""
    return {"type": "Polygon", "coordinates": [[list(point) for point in polygon.exterior.coords]]}
