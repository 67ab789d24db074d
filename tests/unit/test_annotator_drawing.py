"""What the draw control holds against what the session holds."""

from __future__ import annotations

import copy
from dataclasses import replace

import annotating
import pytest
from shapely.geometry import MultiPoint, Polygon, box, mapping

from sartutor.lab.annotator import Session
from sartutor.lab.annotator.drawing import Sent, reshaped
from sartutor.lab.annotator.placement import Placement

BOX = box(10.31, 46.94, 10.312, 46.942)


@pytest.fixture
def held(tmp_path):
    """The objects of a session, what the map was told, and the draw control's data for it."""
    scene = annotating.scene()
    session, placement = Session.open(scene, tmp_path / "kept.sqlite"), Placement(scene.grid)
    for west in (600_080, 600_300):
        corners = box(west, 5_199_780, west + 150, 5_199_930)
        drawn = placement.to_map(corners, annotating.UTM)
        session.add(annotating.annotation(scene, drawn, annotating.DEGREES))
    sent = Sent(placement)
    return session.objects, sent, sent.features(session.objects)


def unnumbered(polygon: Polygon) -> dict:
    """A feature as the map sends it after drawing."""
    return {"type": "Feature", "properties": {"style": {}}, "geometry": mapping(polygon)}


def test_nothing_changes_where_nothing_was_done(held):
    objects, sent, data = held
    assert not sent.changes(objects, data)


def test_rounding_by_the_map_is_no_edit(held):
    objects, sent, data = held
    for feature in data:
        rings = feature["geometry"]["coordinates"]
        feature["geometry"]["coordinates"] = [
            [[round(v, 6) for v in point] for point in ring] for ring in rings
        ]
    assert not sent.changes(objects, data)


def test_drawn_edited_and_deleted_shapes_are_told_apart(held):
    objects, sent, data = held
    edited = copy.deepcopy(data[1])
    edited["geometry"] = mapping(BOX)
    found = sent.changes(objects, [edited, unnumbered(BOX.buffer(0.1).envelope)])
    assert found.edited == {2: BOX}
    assert found.deleted == [1]
    assert len(found.added) == 1


def test_a_shape_whose_number_the_map_has_not_heard_yet_is_not_added_again(held):
    objects, sent, data = held
    late = [unnumbered(Polygon(feature["geometry"]["coordinates"][0])) for feature in data]
    found = sent.changes(objects, [*late, unnumbered(BOX)])
    assert found.added == [BOX]
    assert not found.edited
    assert not found.deleted


def test_a_shape_that_was_undone_meanwhile_does_not_come_back(held):
    objects, sent, data = held
    assert not sent.changes(objects[:1], data)


def test_objects_that_were_added_while_a_box_was_drawn_are_not_deleted(held):
    objects, sent, _ = held
    early = sent.features(objects[:1])
    sent.features(objects)
    found = sent.changes(objects, [*early, unnumbered(BOX)])
    assert found.added == [BOX]
    assert not found.deleted
    assert sent.changes(objects, [unnumbered(BOX)]).deleted == []


def test_all_shapes_deleted_are_all_deleted(held):
    objects, sent, _ = held
    assert sent.changes(objects, []).deleted == [1, 2]


def test_a_shape_with_a_hole_is_not_edited_by_being_shown(held):
    objects, sent, _ = held
    inner = box(10.3105, 46.9405, 10.3115, 46.9415)
    lake = replace(objects[0], polygon=Polygon(BOX.exterior, [inner.exterior]))
    data = sent.features([lake])
    assert not sent.changes([lake], [*data])
    assert sent.changes([lake], [*data, unnumbered(BOX.buffer(0.1).envelope)]).edited == {}


def moved(index: int, by: tuple[float, float], insert: bool = False) -> Polygon:
    """`BOX` with one corner moved, or with the handle after that corner pulled out."""
    ring = [list(point) for point in BOX.exterior.coords[:-1]]
    if insert:
        following = ring[(index + 1) % 4]
        ring.insert(index + 1, [(a + b) / 2 for a, b in zip(ring[index], following, strict=True)])
        index += 1
    ring[index] = [ring[index][0] + by[0], ring[index][1] + by[1]]
    return Polygon(ring)


@pytest.mark.parametrize("corner", range(4))
@pytest.mark.parametrize("by", [(0.0003, -0.0004), (0.0005, 0), (0, -0.0005)])
def test_a_box_stays_a_box_when_a_corner_moves(corner, by):
    after = reshaped(BOX, moved(corner, by))
    (x, y), opposite = BOX.exterior.coords[corner], BOX.exterior.coords[(corner + 2) % 4]
    assert after.equals(after.envelope)
    assert after.bounds == pytest.approx(MultiPoint([(x + by[0], y + by[1]), opposite]).bounds)


@pytest.mark.parametrize("edge", range(4))
def test_a_box_stays_a_box_when_an_edge_moves(edge):
    by = (0.0003, -0.0002)
    after = reshaped(BOX, moved(edge, by, insert=True))
    (ax, ay), (bx, by_) = BOX.exterior.coords[edge], BOX.exterior.coords[edge + 1]
    rest = [BOX.exterior.coords[(edge + 2) % 4], BOX.exterior.coords[(edge + 3) % 4]]
    shift = (by[0], 0) if ax == bx else (0, by[1])
    edge_moved = [(ax + shift[0], ay + shift[1]), (bx + shift[0], by_ + shift[1])]
    assert after.equals(after.envelope)
    assert after.bounds == pytest.approx(MultiPoint([*edge_moved, *rest]).bounds)


def test_other_shapes_are_left_as_they_were_edited():
    crooked = moved(1, (0.001, 0.0005))
    assert reshaped(crooked, BOX) == BOX
    twice = Polygon([(10.3, 46.9), *crooked.exterior.coords[1:-1]])
    assert reshaped(BOX, twice) == twice
