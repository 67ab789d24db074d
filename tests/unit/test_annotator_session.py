"""The session: add, edit, change, delete, undo and redo, and a file that always says the same."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path

import annotating
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import box

from sartutor.errors import DataError, GeometryError, OutputError
from sartutor.lab.annotator import Annotation, Session, session
from sartutor.lab.annotator.annotation import Fields, packed
from sartutor.lab.annotator.imports import outlined
from sartutor.lab.annotator.session import default_path, plain_name

resource = pytest.importorskip("resource", reason="limits of a process are those of Unix")

SCENE = annotating.scene()
WHATS = ["add", "add", "edit", "threshold", "choice", "accept", "reject", "label", "delete", "undo", "redo"]
ACTIONS = st.lists(st.tuples(st.sampled_from(WHATS), st.integers(0, 30)), max_size=25)


def shape(number: int) -> Annotation:
    """One of many different annotations."""
    west, north = 600_050 + 10 * number, 5_199_930 + number
    return annotating.annotation(SCENE, box(west, north - 120, west + 100, north), annotating.UTM)


def seen(objects: tuple[Annotation, ...]) -> list[tuple]:
    """What matters of a state, comparable."""
    return [(*packed(o), o.mask.tobytes()) for o in objects]


def act(session: Session, what: str, number: int) -> None:
    """One random action; those on an object do nothing where there is none."""
    ids = [annotation.id for annotation in session.objects]
    if what == "add":
        session.add(shape(number))
        return
    if what in ("undo", "redo"):
        getattr(session, what)()
        return
    if not ids:
        return
    id = ids[number % len(ids)]
    fields: dict[str, Fields] = {
        "threshold": {"threshold": number / 31},
        "choice": {"choice": number % 4},
        "label": {"label": f"class {number}"},
    }
    if what in fields:
        session.change(id, **fields[what])
    elif what == "edit":
        session.edit(id, shape(number))
    else:
        getattr(session, what)(id)


def sessions(tmp_path_factory, actions) -> Session:
    """A session after some actions."""
    made = Session.open(SCENE, tmp_path_factory.mktemp("session") / "kept.sqlite")
    for action in actions:
        act(made, *action)
    return made


@settings(max_examples=20, deadline=None)
@given(actions=ACTIONS)
def test_the_file_says_what_the_session_says_after_every_action(tmp_path_factory, actions):
    path = tmp_path_factory.mktemp("session") / "kept.sqlite"
    made = Session.open(SCENE, path)
    for action in actions:
        act(made, *action)
        assert made.saved
        assert seen(Session.read(SCENE, path).objects) == seen(made.objects)


@settings(max_examples=20, deadline=None)
@given(actions=ACTIONS, cut=st.integers(0, 24))
def test_a_later_kernel_undoes_and_redoes_what_an_earlier_one_did(tmp_path_factory, actions, cut):
    made = sessions(tmp_path_factory, actions)
    history = [seen(made.objects)]
    while made.undo():
        history.append(seen(made.objects))
    for _ in range(cut):
        made.redo()
    later = Session.open(SCENE, made.path)
    assert seen(later.objects) == seen(made.objects)
    while later.redo():
        pass
    again = [seen(later.objects)]
    while later.undo():
        again.append(seen(later.objects))
    assert again[-1] == []
    assert len(again) >= len(history)
    assert all(state in again for state in history)


@settings(max_examples=15, deadline=None)
@given(actions=ACTIONS)
def test_redo_goes_the_way_back_that_undo_went(tmp_path_factory, actions):
    made = sessions(tmp_path_factory, actions)
    while made.redo():
        pass
    forth = [seen(made.objects)]
    while made.undo():
        forth.append(seen(made.objects))
    back = [seen(made.objects)]
    while made.redo():
        back.append(seen(made.objects))
    assert back == forth[::-1]
    assert all(one != other for one, other in pairwise(back)) or any(w == "accept" for w, _ in actions)


@settings(max_examples=15, deadline=None)
@given(actions=ACTIONS)
def test_numbers_are_never_given_twice(tmp_path_factory, actions):
    made = Session.open(SCENE, tmp_path_factory.mktemp("session") / "kept.sqlite")
    given_numbers = []
    for what, number in actions:
        act(made, what, number)
        if what == "add":
            given_numbers.append(made.objects[-1].id)
    assert len(set(given_numbers)) == len(given_numbers)


def test_the_mask_is_cropped_to_the_drawn_box_and_loses_nothing():
    polygon = box(600_090, 5_199_814, 600_190, 5_199_934)
    segment = annotating.segment(SCENE, polygon, annotating.UTM)
    annotation = annotating.annotation(SCENE, polygon, annotating.UTM)
    whole = np.zeros((2, *SCENE.grid.shape), bool)
    whole[0][segment.window.toslices()] = segment.inside & (segment.probabilities[0] > 0.5)
    whole[1][annotation.window.toslices()] = annotation.mask
    assert np.array_equal(whole[0], whole[1])
    assert annotation.mask.size < segment.inside.size
    assert annotation.pixels == whole.sum() / 2 > 0
    assert annotation.area_m2 == pytest.approx(100 * annotation.pixels, rel=2e-3)


def test_threshold_smoothing_and_alternative_change_the_mask_without_a_model(tmp_path):
    made = Session.open(SCENE, tmp_path / "kept.sqlite")
    first = made.add(shape(4))
    assert made.change(1, threshold=0.999).pixels < first.pixels < made.change(1, threshold=0.001).pixels
    assert made.change(1, threshold=0.5).pixels == first.pixels
    other = made.change(1, choice=3)
    assert (other.score, first.score) == (0.6, 0.9)
    assert other.pixels <= first.pixels
    smooth = made.change(1, choice=0, smoothing=3.0)
    edge = sum(np.abs(np.diff(one.mask.astype(int), axis=1)).sum() for one in (first, smooth))
    assert smooth.pixels != first.pixels
    assert edge > 0


def test_dragging_a_slider_is_one_step(tmp_path):
    made = Session.open(SCENE, tmp_path / "kept.sqlite")
    made.add(shape(4))
    for threshold in (0.6, 0.7, 0.8):
        made.change(1, threshold=threshold)
    made.change(1, smoothing=2.0)
    assert seen(Session.read(SCENE, made.path).objects) == seen(made.objects)
    made.undo()
    assert (made.get(1).threshold, made.get(1).smoothing) == (0.8, 0.0)
    made.undo()
    assert made.get(1).threshold == 0.5
    made.redo()
    assert made.get(1).threshold == 0.8
    made.undo()
    made.undo()
    assert made.objects == ()


def test_a_slider_after_a_decision_is_a_step_of_its_own(tmp_path):
    made = Session.open(SCENE, tmp_path / "kept.sqlite")
    made.add(shape(4))
    for decide in (lambda: made.accept(1), lambda: made.change(1, label="debris")):
        decide()
        made.change(1, threshold=made.get(1).threshold + 0.1)
        before = made.get(1)
        made.undo()
        assert (made.get(1).status, made.get(1).label) == (before.status, before.label)
        made.redo()


def test_a_new_answer_keeps_how_the_mask_is_made(tmp_path):
    made = Session.open(SCENE, tmp_path / "kept.sqlite")
    made.add(shape(4))
    made.change(1, threshold=0.3)
    made.change(1, smoothing=1.0)
    made.change(1, choice=2)
    again = made.edit(1, shape(5))
    assert (again.threshold, again.smoothing, again.choice) == (0.3, 1.0, 2)


def test_states_of_one_object_share_their_pixels_on_disk_and_in_memory(tmp_path):
    made = Session.open(SCENE, tmp_path / "kept.sqlite")
    made.add(shape(4))
    made.accept(1)
    made.change(1, label="debris")
    later = Session.read(SCENE, made.path)
    states = [state for step in later._steps for state in step.after.values()]
    assert len(states) == 3
    assert all(state.soft is states[0].soft for state in states)
    with sqlite3.connect(made.path) as file:
        assert file.execute("SELECT COUNT(*) FROM bodies").fetchone() == (1,)


def test_several_changes_are_one_step(tmp_path):
    made = Session.open(SCENE, tmp_path / "kept.sqlite")
    made.apply(added=[shape(1), shape(2)])
    made.apply(added=[shape(3)], edited={1: shape(5)}, deleted=[2])
    assert [o.id for o in made.objects] == [1, 3]
    made.undo()
    assert [o.id for o in made.objects] == [1, 2]
    made.undo()
    assert made.objects == ()
    assert not made.can_undo
    assert made.can_redo


def test_an_edited_object_keeps_its_class_and_is_open_again(tmp_path):
    made = Session.open(SCENE, tmp_path / "kept.sqlite", annotator="A")
    made.add(shape(1))
    made.change(1, label="debris")
    made.accept(1)
    edited = made.edit(1, shape(6))
    assert (edited.id, edited.label, edited.status, edited.annotator) == (1, "debris", "open", "A")


def test_work_is_timed_and_pauses_are_not(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(session.time, "monotonic", lambda: now[0])
    made = Session.open(SCENE, tmp_path / "kept.sqlite")
    now[0] += 4
    made.apply(added=[shape(1), shape(2)])
    now[0] += 3
    made.accept(1)
    now[0] += 3600
    made.edit(2, shape(3))
    assert [o.seconds for o in made.objects] == [2 + 3, 2 + session.LONGEST_PAUSE_S]


def test_a_change_of_an_object_that_is_not_there_changes_nothing(tmp_path):
    made = Session.open(SCENE, tmp_path / "kept.sqlite")
    made.add(shape(1))
    before = seen(made.objects)
    for wrong in (lambda: made.delete(9), lambda: made.edit(9, shape(2)), lambda: made.accept(9)):
        with pytest.raises(GeometryError, match="no object 9"):
            wrong()
    assert seen(made.objects) == before


def test_when_the_file_cannot_be_written_the_change_stands_and_the_next_one_tries_again(tmp_path):
    path = tmp_path / "folder" / "kept.sqlite"
    made = Session.open(SCENE, path)
    path.mkdir()
    with pytest.raises(OutputError, match=r"kept\.sqlite .*kept in memory"):
        made.add(shape(1))
    assert len(made.objects) == 1
    assert not made.saved
    path.rmdir()
    made.add(shape(2))
    assert made.saved
    assert seen(Session.read(SCENE, path).objects) == seen(made.objects)


def fill(made: Session) -> None:
    """Add objects until something goes wrong."""
    for number in range(2, 30):
        made.add(shape(number))


def test_a_full_disk_loses_neither_what_is_written_nor_what_is_not(tmp_path):
    made = Session.open(SCENE, tmp_path / "kept.sqlite")
    made.add(shape(1))
    before, limits = seen(made.objects), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (made.path.stat().st_size, limits[1]))
    try:
        with pytest.raises(OutputError, match="free some space"):
            fill(made)
        assert not made.saved
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert seen(Session.read(SCENE, made.path).objects)[:1] == before
    made.add(shape(0))
    assert made.saved
    assert seen(Session.read(SCENE, made.path).objects) == seen(made.objects)


def test_what_could_not_be_saved_is_saved_before_the_session_is_opened_again(tmp_path):
    path = tmp_path / "folder" / "kept.sqlite"
    made = Session.open(SCENE, path)
    path.mkdir()
    with pytest.raises(OutputError):
        made.add(shape(1))
    path.rmdir()
    assert len(Session.open(SCENE, path).objects) == 1


def test_a_file_that_is_gone_is_written_anew(tmp_path):
    made = Session.open(SCENE, tmp_path / "kept.sqlite")
    made.add(shape(1))
    made.path.unlink()
    made.add(shape(2))
    assert seen(Session.read(SCENE, made.path).objects) == seen(made.objects)


def test_steps_of_another_kernel_are_never_written_over(tmp_path):
    made = Session.open(SCENE, tmp_path / "kept.sqlite")
    made.add(shape(1))
    other = Session.read(SCENE, made.path)
    other.held_by = None  # as where locks do not work
    other.add(shape(2))
    with pytest.raises(OutputError, match="changed by another kernel"):
        made.add(shape(3))
    assert seen(Session.read(SCENE, made.path).objects) == seen(other.objects)


def test_a_session_killed_while_it_wrote_opens_as_it_was_before(tmp_path):
    path = tmp_path / "kept.sqlite"
    Session.open(SCENE, path).add(shape(1))
    process = multiprocessing.get_context("fork").Process(target=die_writing, args=(path,))
    process.start()
    process.join()
    assert path.with_name("kept.sqlite-journal").exists()
    assert [one.id for one in Session.open(SCENE, path).objects] == [1]


def die_writing(path: Path) -> None:
    """Another kernel that is killed in the middle of a step, when part of it is in the file already."""
    file = sqlite3.connect(path, isolation_level=None)
    file.execute("PRAGMA cache_size = 1")
    file.execute("BEGIN IMMEDIATE")
    file.execute("UPDATE about SET value = '7' WHERE key = 'done'")
    for number in range(200):
        file.execute("INSERT INTO bodies VALUES (?, ?)", (str(number), os.urandom(8000)))
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("content", [b"", b"empty database"])
def test_a_file_that_was_begun_and_never_written_is_a_new_session(tmp_path, content):
    path = tmp_path / "kept.sqlite"
    if content:
        sqlite3.connect(path).execute("PRAGMA user_version = 1").connection.close()
    else:
        path.write_bytes(content)
    made = Session.open(SCENE, path)
    made.add(shape(1))
    assert len(Session.read(SCENE, path).objects) == 1


def test_a_session_of_another_scene_or_a_damaged_one_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "kept.sqlite"
    Session.open(SCENE, path).add(shape(1))
    kept = path.read_bytes()
    with pytest.raises(DataError, match="another scene"):
        Session.open(annotating.scene(None), path)
    for damaged in (
        kept[:3000],
        b"[]",
        kept.replace(b'"kind"', b'"kin"'),
        kept.replace(b"session-2", b"session-9"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"kept\.sqlite .*move it away"):
            Session.open(SCENE, path)
        assert path.read_bytes() == damaged


def test_a_file_that_no_kernel_can_trust_is_not_believed(tmp_path):
    path = tmp_path / "kept.sqlite"
    Session.open(SCENE, path).add(shape(1))
    with sqlite3.connect(path) as file:
        file.execute("UPDATE versions SET head = replace(head, '\"window\": [', '\"window\": [900')")
    with pytest.raises(DataError, match="move it away"):
        Session.open(SCENE, path)


def work(path: Path, pipe: Connection) -> None:
    """Another kernel: add objects for ever, and tell how many there are."""
    made = Session.open(SCENE, path, annotator="B")
    for number in range(10_000):
        made.add(shape(number % 30))
        pipe.send(len(made.objects))
        if number == 4:
            pipe.recv()


@pytest.fixture
def other_kernel(tmp_path):
    """A kernel that has added five objects to a session and holds it; its process, and the file."""
    mine, its = multiprocessing.Pipe()
    context = multiprocessing.get_context("fork")
    process = context.Process(target=work, args=(tmp_path / "kept.sqlite", its))
    process.start()
    for _ in range(5):
        mine.recv()
    yield process, mine, tmp_path / "kept.sqlite"
    process.kill()
    process.join()


def test_the_second_kernel_reads_and_says_who_holds_the_session(other_kernel):
    process, _, path = other_kernel
    made = Session.open(SCENE, path)
    assert f"process {process.pid}" in str(made.held_by)
    assert len(made.objects) == 5
    assert not made.can_undo
    assert not made.undo()
    for change in (lambda: made.add(shape(1)), lambda: made.accept(1), lambda: made.delete(1)):
        with pytest.raises(OutputError, match=f"held by .*process {process.pid}"):
            change()
    assert len(made.objects) == 5


def test_a_killed_kernel_loses_nothing_and_holds_nothing(other_kernel):
    process, pipe, path = other_kernel
    pipe.send("go on")
    told = 5
    while told < 12:
        told = pipe.recv()
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    while pipe.poll():
        try:
            told = pipe.recv()
        except EOFError:
            break
    made = Session.open(SCENE, path)
    assert made.held_by is None
    assert told <= len(made.objects) <= told + 1
    made.accept(1)
    assert made.get(1).status == "accepted"


def test_a_session_opened_again_in_one_kernel_takes_over(tmp_path):
    first = Session.open(SCENE, tmp_path / "kept.sqlite")
    first.add(shape(1))
    second = Session.open(SCENE, tmp_path / "kept.sqlite")
    second.accept(1)
    with pytest.raises(OutputError, match="a later session of this kernel"):
        first.reject(1)
    assert Session.read(SCENE, second.path).get(1).status == "accepted"


def test_an_outline_drawn_by_hand_is_the_object(tmp_path):
    polygon = box(600_100, 5_199_800, 600_200, 5_199_900)
    made = Session.open(SCENE, tmp_path / "kept.sqlite")
    drawn = made.add(outlined([polygon], annotating.UTM, SCENE, "manual", label="debris"))
    assert (drawn.kind, drawn.label, drawn.pixels, drawn.window.flatten()) == (
        "manual",
        "debris",
        100,
        (10, 10, 10, 10),
    )
    assert drawn.mask.all()


@pytest.mark.parametrize("name", ["../../etc/x", "a b/<c>", "", "Täl.tif", ".."])
def test_a_scene_name_cannot_lead_out_of_the_folder(name):
    scene = annotating.scene(name=name)
    assert default_path(scene).parent == Path("annotations")
    assert plain_name(scene).strip(".")
