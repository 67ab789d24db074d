"""`sartutor rival` trains what `evaluate` compares with; `evaluate --phase` asks an adapted model as it was."""

import json

import pytest
from adapting import write_folder
from test_cli_adapt import one_line, run

from sartutor import cli
from sartutor.learn.checkpoints import load_header
from sartutor.learn.evaluate import evaluate, questions, score
from sartutor.learn.rivals import load_rival, rival_answer
from sartutor.learn.scores import summary
from sartutor.sar.folder import open_dataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("six")).folder


@pytest.fixture(scope="module")
def rival(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "unet.safetensors"
    assert run("rival", folder, "--preset", "smoke", "--out", out, "--device", "cpu") == 0
    return out


@pytest.fixture(scope="module")
def adapted(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "mine.safetensors"
    assert run("adapt", folder, "--preset", "smoke", "--out", out, "--device", "cpu") == 0
    return out


def test_a_rival_is_evaluated_beside_the_same_baselines(folder, rival, capsys):
    given = ("evaluate", folder, "--model", rival, "--split", "test", "--device", "cpu", "--json")
    assert run(*given) == 0
    found = json.loads(capsys.readouterr().out)
    data = open_dataset(folder)
    answer = rival_answer(load_rival(rival), data)
    expected = summary([score(each, answer) for each in questions(data, "test", "box")])
    assert found["objects"] == pytest.approx(expected["objects"])
    assert set(found["baselines"]) == {"fill_box", "otsu_box"}
    assert found["objects"] != found["baselines"]["fill_box"]["objects"]


def test_an_adapted_model_is_asked_as_it_was_after_a_phase(folder, adapted):
    said = [evaluate(folder, adapted, device="cpu", phase=phase, progress=False) for phase in (None, 1, 2, 3)]
    assert [each["phase"] for each in said[1:]] == [1, 2, 3]
    assert said[0]["phase"] == load_header(adapted)["phase"]
    assert said[0]["pooled"] == said[said[0]["phase"]]["pooled"]
    assert said[1]["pooled"] != said[3]["pooled"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--network", "transformer"), "There is no rival 'transformer'"),
        (("--preset", "huge"), "no preset 'huge'"),
        (("--out", "unet.pth"), "unet.pth"),
    ],
)
def test_what_cannot_be_trained(folder, tmp_path, capsys, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    assert run("rival", folder, "--out", tmp_path / "a.safetensors", "--device", "cpu", *options) == 2
    one_line(capsys, words)


def test_phases_that_there_are_not(folder, rival, adapted, tmp_path, capsys):
    for model, phase, words in (
        (adapted, 4, "has not learned phase 4 (it has 1, 2, 3)"),
        ("sam_tiny_base", 1, "sam_tiny_base has not learned phase 1 (it has none)"),
        (rival, 1, "is a rival and has no phases"),
    ):
        assert run("evaluate", folder, "--model", model, "--phase", phase, "--device", "cpu") == 2
        one_line(capsys, words)


def test_a_folder_without_the_bands_of_a_rival(rival, tmp_path, capsys):
    other = write_folder(tmp_path / "other", ("HH",)).folder
    assert cli.main(["evaluate", str(other), "--model", str(rival), "--device", "cpu"]) == 2
    one_line(capsys, "has no band 'VV0', which the rival needs")
