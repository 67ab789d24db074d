"""The session: add, edit, delete, undo and redo, and a file that always says the same."""

from __future__ import annotations

import json
from pathlib import Path

import annotating
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import box

from sartutor.errors import DataError, GeometryError, OutputError
from sartutor.lab.annotator import Annotation, Session
from sartutor.lab.annotator.session import default_path, plain_name

SCENE = annotating.scene()
ACTIONS = st.lists(
    st.tuples(st.sampled_from(["add", "add", "edit", "delete", "undo", "redo"]), st.integers(0, 30)),
    max_size=25,
)


def shape(number: int) -> annotating.Segment:
    """One of many different segments."""
    west, north = 600_050 + 10 * number, 5_199_930 + number
    return annotating.segment(SCENE, box(west, north - 120, west + 100, north), annotating.UTM)


def seen(objects: tuple[Annotation, ...]) -> list[tuple]:
    """What matters of a state, comparable."""
    return [
        (o.id, o.polygon.wkt, o.window.flatten(), o.mask.tobytes(), o.score, o.note, o.model) for o in objects
    ]


def act(session: Session, what: str, number: int) -> None:
    """One random action; edits and deletes do nothing where there is no object."""
    ids = [annotation.id for annotation in session.objects]
    if what == "add":
        session.add(shape(number), "model")
    elif what in ("undo", "redo"):
        getattr(session, what)()
    elif ids and what == "edit":
        session.edit(ids[number % len(ids)], shape(number), "model")
    elif ids:
        session.delete(ids[number % len(ids)])


@settings(max_examples=25, deadline=None)
@given(actions=ACTIONS)
def test_the_file_says_what_the_session_says_after_every_action(tmp_path_factory, actions):
    path = tmp_path_factory.mktemp("session") / "kept.geojson"
    session = Session.open(SCENE, path)
    for action in actions:
        act(session, *action)
        assert seen(Session.open(SCENE, path).objects) == seen(session.objects)


@settings(max_examples=25, deadline=None)
@given(actions=ACTIONS)
def test_undo_leads_back_through_every_state_and_redo_forth_again(tmp_path_factory, actions):
    session = Session.open(SCENE, tmp_path_factory.mktemp("session") / "kept.geojson")
    states = [seen(session.objects)]
    for what, number in actions:
        if what not in ("undo", "redo"):
            act(session, what, number)
            if seen(session.objects) != states[-1] or what != "add":
                states.append(seen(session.objects))
    forth = [seen(session.objects)]
    while session.undo():
        forth.append(seen(session.objects))
    assert forth[-1] == []
    back = [seen(session.objects)]
    while session.redo():
        back.append(seen(session.objects))
    assert back == forth[::-1]


@settings(max_examples=15, deadline=None)
@given(actions=ACTIONS)
def test_numbers_are_never_given_twice(tmp_path_factory, actions):
    session = Session.open(SCENE, tmp_path_factory.mktemp("session") / "kept.geojson")
    given_numbers = []
    for what, number in actions:
        act(session, what, number)
        if what == "add":
            given_numbers.append(session.objects[-1].id)
    assert len(set(given_numbers)) == len(given_numbers)


def test_the_mask_is_cropped_to_the_drawn_box_and_loses_nothing(tmp_path):
    segment = shape(4)
    annotation = Session.open(SCENE, tmp_path / "kept.geojson").add(segment)
    whole = np.zeros((2, *SCENE.grid.shape), bool)
    whole[0][segment.window.toslices()] = segment.mask
    whole[1][annotation.window.toslices()] = annotation.mask
    assert np.array_equal(whole[0], whole[1])
    assert annotation.mask.size < segment.mask.size
    assert annotation.pixels == segment.mask.sum() > 0
    assert annotation.area_m2 == pytest.approx(100 * annotation.pixels, rel=2e-3)


def test_several_changes_are_one_step(tmp_path):
    session = Session.open(SCENE, tmp_path / "kept.geojson")
    session.apply(added=[shape(1), shape(2)])
    session.apply(added=[shape(3)], edited={1: shape(5)}, deleted=[2])
    assert [o.id for o in session.objects] == [1, 3]
    session.undo()
    assert [o.id for o in session.objects] == [1, 2]
    session.undo()
    assert session.objects == ()
    assert not session.can_undo
    assert session.can_redo


def test_a_change_of_an_object_that_is_not_there_changes_nothing(tmp_path):
    session = Session.open(SCENE, tmp_path / "kept.geojson")
    session.add(shape(1))
    before = seen(session.objects)
    for wrong in (lambda: session.delete(9), lambda: session.edit(9, shape(2)), lambda: session.get(9)):
        with pytest.raises(GeometryError, match="no object 9"):
            wrong()
    assert seen(session.objects) == before


def test_when_the_file_cannot_be_written_the_change_stands_and_the_next_one_tries_again(tmp_path):
    (tmp_path / "folder").write_text("a file where a folder should be")
    session = Session(SCENE, tmp_path / "folder" / "kept.geojson")
    with pytest.raises(OutputError, match="kept"):
        session.add(shape(1))
    assert len(session.objects) == 1
    (tmp_path / "folder").unlink()
    session.add(shape(2))
    assert seen(Session.open(SCENE, session.path).objects) == seen(session.objects)


def test_a_session_of_another_scene_or_a_damaged_one_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "kept.geojson"
    Session.open(SCENE, path).add(shape(1))
    kept = path.read_text()
    with pytest.raises(DataError, match="another scene"):
        Session.open(annotating.scene(None), path)
    for damaged in (
        kept[:300],
        "[]",
        json.dumps({"sartutor": {"format": "other"}}),
        kept.replace('"mask": "', '"mask": "x'),
    ):
        path.write_text(damaged)
        with pytest.raises(DataError, match=r"kept\.geojson .*move it away"):
            Session.open(SCENE, path)
        assert path.read_text() == damaged


def test_the_file_is_geojson_with_the_shapes_as_drawn(tmp_path):
    session = Session.open(SCENE, tmp_path / "new" / "kept.geojson")
    annotation = session.add(shape(1))
    content = json.loads(session.path.read_text())
    assert content["type"] == "FeatureCollection"
    assert content["features"][0]["geometry"]["coordinates"][0][0] == list(
        annotation.polygon.exterior.coords[0]
    )
    assert [path.name for path in session.path.parent.iterdir()] == ["kept.geojson"]


@pytest.mark.parametrize("name", ["../../etc/x", "a b/<c>", "", "Täl.tif", ".."])
def test_a_scene_name_cannot_lead_out_of_the_folder(name):
    scene = annotating.scene(name=name)
    assert default_path(scene).parent == Path("annotations")
    assert plain_name(scene).strip(".")
