"""Several annotators: matched objects, agreement beyond chance, conflicts, and a session of what they share."""

from __future__ import annotations

import math
from dataclasses import replace

import annotating
import numpy as np
import pytest
from rasterio.windows import Window

from sartutor.errors import DataError, OutputError
from sartutor.lab.annotator import Session
from sartutor.lab.annotator.annotation import Annotation
from sartutor.lab.annotator.imports import from_mask
from sartutor.lab.annotator.merging import (
    agreement,
    cohen_kappa,
    conflicts,
    fleiss_kappa,
    mask_iou,
    match,
    merge,
    merged,
    read_work,
)

SCENE = annotating.scene()


def drawn(row: int, col: int, height: int = 6, width: int = 8, id: int = 1, **more) -> Annotation:
    """A filled rectangle in pixels of the scene, accepted."""
    mask = np.ones((height, width), bool)
    one = from_mask(mask, Window(col, row, width, height), SCENE.grid, "manual")
    return replace(one, **{"id": id, "status": "accepted", **more})


def test_iou_of_masks_on_different_windows():
    assert mask_iou(drawn(3, 4), drawn(3, 4)) == 1
    assert mask_iou(drawn(3, 4), drawn(5, 6)) == pytest.approx(24 / (48 + 48 - 24))
    assert mask_iou(drawn(3, 4), drawn(20, 30)) == 0
    empty = replace(drawn(3, 4), threshold=1.0)
    assert mask_iou(empty, empty) == 0


def test_objects_are_matched_for_the_greatest_sum_and_once():
    one = [drawn(0, 0, 10, 10), drawn(0, 3, 10, 10)]
    other = [drawn(0, 2, 10, 10, id=7), drawn(0, 5, 10, 10, id=8), drawn(30, 30, id=9)]
    pairs = match(one, other)
    assert [(pair.one, pair.other) for pair in pairs] == [(one[0], other[0]), (one[1], other[1])]
    assert pairs[0].iou == pytest.approx(80 / 120)
    assert match(one, [drawn(0, 9, 10, 10)]) == []
    assert match([], other) == match(one, []) == []


def test_kappas_are_those_of_the_literature():
    # Fleiss, Cohen and Everitt's kind of table, by hand: p_o .7, p_e .5
    assert cohen_kappa([[20, 5], [10, 15]]) == pytest.approx(0.4)
    assert cohen_kappa([[9, 0], [0, 4]]) == 1
    assert math.isnan(cohen_kappa([[9, 0], [0, 0]]))
    # four items of three people: all no, one yes, two yes, all yes; P 2/3, p 1/2
    assert fleiss_kappa([1, 1, 1, 1]) == pytest.approx((2 / 3 - 1 / 2) / (1 / 2))
    assert fleiss_kappa([5, 0, 0, 3]) == pytest.approx(1)
    # of two people who say yes equally often it is Cohen's
    assert fleiss_kappa([15, 20, 15]) == pytest.approx(cohen_kappa([[15, 10], [10, 15]]))


def test_people_who_agree_by_chance_have_no_kappa_above_zero():
    rng = np.random.default_rng(0)
    said = rng.random((3, 20_000)) < 0.3
    table = np.bincount(2 * said[0] + said[1], minlength=4).reshape(2, 2)
    assert abs(cohen_kappa(table)) < 0.02
    assert abs(fleiss_kappa(np.bincount(said.sum(0), minlength=4))) < 0.02


def test_agreement_counts_pairs_and_valid_pixels():
    work = {"Ada": [drawn(3, 4), drawn(20, 30, id=2)], "Ben": [drawn(3, 5), drawn(34, 48, 6, 12, id=2)]}
    found = agreement(SCENE, work)
    assert (found.annotators, found.objects, found.alone) == (("Ada", "Ben"), 1, 2)
    assert found.iou == pytest.approx(42 / 54)
    assert found.iou_of_all == pytest.approx(42 / 54 / 3)
    valid = int(SCENE.valid.sum())
    seen = 6 * 12 - 5 * 10  # the rest of the last rectangle holds no data
    yes_yes, ada, ben = 42, 6 + 48, 6 + seen
    table = [[valid - yes_yes - ada - ben, ben], [ada, yes_yes]]
    assert found.kappa == pytest.approx(cohen_kappa(table))
    work["Cid"] = [drawn(3, 4), drawn(20, 30, id=2, status="rejected")]
    three = agreement(SCENE, work)
    assert (three.objects, three.alone) == (3, 4)
    assert -1 < three.kappa < 1
    same = agreement(SCENE, dict.fromkeys("ab", work["Ada"]))
    assert (same.kappa, same.iou, same.alone) == (1, 1, 0)
    nothing = agreement(SCENE, {"a": [], "b": []})
    assert math.isnan(nothing.iou)
    assert math.isnan(nothing.kappa)


def test_conflicts_name_what_differs():
    ada = [drawn(3, 4), drawn(20, 30, id=2), drawn(3, 20, id=3, label="debris"), drawn(3, 40, id=4)]
    ben = [
        drawn(3, 4, id=11, status="rejected"),
        drawn(3, 20, id=12),
        drawn(3, 40, id=13),
        drawn(25, 5, id=14),
        drawn(25, 20, id=15, status="rejected"),
    ]
    table = conflicts({"Ada": ada, "Ben": ben})
    assert list(table["conflict"]) == ["status", "class", "only in A", "only in B"]
    assert table[["a", "b"]].fillna(0).to_numpy().tolist() == [[1, 11], [3, 12], [2, 0], [0, 14]]
    assert table.loc[1, ["A", "B", "label_a", "label_b", "iou"]].tolist() == [
        "Ada",
        "Ben",
        "debris",
        "object",
        1.0,
    ]
    assert conflicts({"Ada": ada, "Ben": ada}).empty
    assert len(conflicts({"Ada": ada, "Ben": ben, "Cid": ben})) == 8


def test_two_people_decide_what_both_say_and_leave_the_rest_open():
    ada = [
        drawn(3, 4, seconds=5.0),
        drawn(20, 30, id=2),
        drawn(3, 20, id=3, label="debris"),
        drawn(25, 5, status="rejected"),
    ]
    ben = [drawn(3, 5, seconds=7.0), drawn(3, 20, id=12)]
    both, alone, differs, gone = merged({"Ada": ada, "Ben": ben})
    assert (both.status, both.note, both.seconds) == ("accepted", "", 12.0)
    assert both.pixels == 42
    assert both.score == pytest.approx(42 / 54, abs=1e-4)
    assert (alone.status, alone.note, alone.pixels) == ("open", "Ada: object, accepted; Ben: nothing", 48)
    assert (differs.status, differs.note) == ("open", "Ada: debris, accepted; Ben: object, accepted")
    assert gone.status == "rejected"


def test_the_model_of_an_object_stays_where_all_asked_the_same():
    ada, ben = drawn(3, 4, model="m", model_digest="d"), drawn(3, 5, model="m", model_digest="d")
    (one,) = merged({"Ada": [ada], "Ben": [ben]})
    assert (one.model, one.model_digest) == ("m", "d")
    (one,) = merged({"Ada": [ada], "Ben": [drawn(3, 5)]})
    assert (one.model, one.model_digest) == ("", "")


def test_three_people_decide_by_majority():
    ada, ben, cid = drawn(3, 4), drawn(3, 5), drawn(4, 4, status="open")
    (one,) = merged({"Ada": [ada], "Ben": [ben], "Cid": [cid]})
    whole = np.zeros(SCENE.grid.shape, int)
    for each in (ada, ben, cid):
        whole[each.window.toslices()] += each.mask
    found = np.zeros(SCENE.grid.shape, bool)
    found[one.window.toslices()] = one.mask
    assert np.array_equal(found, whole >= 2)
    assert one.status == "accepted"
    (one,) = merged({"Ada": [ada], "Ben": [], "Cid": []})
    assert one.status == "rejected"
    (one,) = merged({"Ada": [ada], "Ben": [replace(ben, status="rejected")], "Cid": [cid]})
    assert one.status == "open"


def kept_session(path, objects, annotator, scene=SCENE) -> Session:
    session = Session.open(scene, path, annotator)
    session.apply(added=objects)
    return session


def test_sessions_become_one(tmp_path):
    held = kept_session(tmp_path / "ada.sqlite", [drawn(3, 4), drawn(20, 30)], "Ada")
    kept_session(tmp_path / "ben.sqlite", [drawn(3, 5)], "Ben")
    paths = [tmp_path / "ada.sqlite", tmp_path / "ben.sqlite"]
    before = [path.read_bytes() for path in paths]
    assert list(read_work(SCENE, paths)) == ["Ada", "Ben"]
    session = merge(SCENE, paths, tmp_path / "both.sqlite")
    assert [one.status for one in session.objects] == ["accepted", "open"]
    again = Session.read(SCENE, tmp_path / "both.sqlite")
    assert [one.annotator for one in again.objects] == ["Ada, Ben"] * 2
    assert [path.read_bytes() for path in paths] == before
    assert held.held_by is None
    with pytest.raises(OutputError, match=r"both\.sqlite is there already"):
        merge(SCENE, paths, tmp_path / "both.sqlite")


def test_files_that_do_not_fit_are_named(tmp_path):
    one = tmp_path / "ada.sqlite"
    kept_session(one, [drawn(3, 4)], "Ada")
    other = annotating.scene(units="power")
    kept_session(tmp_path / "other.sqlite", [drawn(3, 4)], "Ben", other)
    with pytest.raises(DataError, match=r"other\.sqlite belongs to another scene"):
        merge(SCENE, [one, tmp_path / "other.sqlite"], tmp_path / "both.sqlite")
    with pytest.raises(DataError, match=r"none\.sqlite is not there"):
        read_work(SCENE, [one, tmp_path / "none.sqlite"])
    with pytest.raises(DataError, match="two annotators"):
        read_work(SCENE, [one])
    assert not (tmp_path / "both.sqlite").exists()
    (tmp_path / "same.sqlite").write_bytes(one.read_bytes())
    assert len(read_work(SCENE, [one, tmp_path / "same.sqlite"])) == 2
