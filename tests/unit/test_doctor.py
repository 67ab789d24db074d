"""The doctor: every state of every line, by changing what it looks at."""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from sartutor import cli
from sartutor.lab import doctor


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SARTUTOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SARTUTOR_MIRROR", raising=False)
    return tmp_path / "cache"


def states(checks):
    return {check.name: check.state for check in checks}


def test_this_machine_can_run_the_notebooks():
    checks = doctor.examine()
    names = [
        "python",
        "torch",
        "memory",
        "cores",
        "bf16",
        "gpu",
        "disk",
        "widgets",
        "cache",
        "mirror",
        "ports",
    ]
    assert [check.name for check in checks] == names
    assert {states(checks)[name] for name in ("python", "torch", "widgets", "cache", "mirror")} == {"ok"}
    assert all(check.cure for check in checks if check.state != "ok")


@pytest.mark.parametrize(("memory", "state"), [(16e9, "ok"), (6e9, "warn"), (2e9, "fail")])
def test_memory(monkeypatch, memory, state):
    monkeypatch.setattr(doctor, "memory_bytes", lambda: memory)
    assert doctor.check_memory().state == state


@pytest.mark.parametrize(("cores", "state"), [(8, "ok"), (2, "ok"), (1, "warn")])
def test_cores(monkeypatch, cores, state):
    monkeypatch.setattr(doctor, "core_count", lambda: cores)
    assert doctor.check_cores().state == state


@pytest.mark.parametrize(("free", "state"), [(50e9, "ok"), (2e9, "warn"), (1e8, "fail")])
def test_disk(monkeypatch, free, state):
    monkeypatch.setattr(doctor, "free_bytes", lambda _folder: free)
    assert doctor.check_disk().state == state


def test_an_old_python(monkeypatch):
    monkeypatch.setattr(doctor, "PYTHON_NEEDED", (99, 0))
    check = doctor.check_python()
    assert (check.state, "Python 99.0" in check.cure) == ("fail", True)


def test_a_pair_that_does_not_match(monkeypatch):
    import torchvision

    def nms(*_):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(torchvision.ops, "nms", nms)
    check = doctor.check_torch()
    assert check.state == "fail"
    assert "nms does not exist" in check.value
    assert "pip install" in check.cure


def test_widgets_without_their_browser_half(monkeypatch):
    monkeypatch.setattr(doctor, "LAB_EXTENSIONS", ("@nobody/nothing",))
    check = doctor.check_widgets()
    assert (check.state, check.value) == ("fail", "missing: @nobody/nothing")


def test_widgets_without_their_python_half(monkeypatch):
    monkeypatch.setattr(doctor, "WIDGET_PACKAGES", ("no_such_widgets",))
    assert doctor.check_widgets().value == "missing: no_such_widgets"


def test_a_cache_that_cannot_be_written(cache):
    cache.write_text("a file")
    check = doctor.check_cache()
    assert (check.state, "SARTUTOR_CACHE" in check.cure) == ("fail", True)


def test_a_mirror_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SARTUTOR_MIRROR", str(tmp_path))
    assert doctor.check_mirror().state == "ok"
    monkeypatch.setenv("SARTUTOR_MIRROR", str(tmp_path / "unplugged"))
    assert doctor.check_mirror().state == "fail"


def test_a_mirror_server(monkeypatch):
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        monkeypatch.setenv("SARTUTOR_MIRROR", f"http://127.0.0.1:{server.server_port}")
        assert doctor.check_mirror().state == "ok"
    assert doctor.check_mirror().state == "fail"


def test_a_port_that_is_taken(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr(doctor, "PORT", taken.getsockname()[1])
        assert doctor.check_ports().state == "warn"
    assert doctor.check_ports().state == "ok"


def test_no_port_at_all(monkeypatch):
    monkeypatch.setattr(doctor, "port_is_free", lambda _port: False)
    assert doctor.check_ports().state == "fail"


def check_luck():
    raise RuntimeError("no luck")


def test_a_check_that_breaks_is_a_line_of_its_own(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "CHECKS", (check_luck,))
    assert cli.main(["doctor", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is False
    assert report["checks"][0]["value"] == "could not be checked: no luck"


def test_the_report_shows_states_and_cures(monkeypatch, capsys):
    good, poor = doctor.Check("luck", "ok", "plenty"), doctor.Check("time", "warn", "little", "start earlier")
    monkeypatch.setattr(doctor, "CHECKS", (lambda: good, lambda: poor))
    assert cli.main(["doctor"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [["ok", "luck", "plenty"], ["warn", "time", "little"], ["->", "start", "earlier"]]
