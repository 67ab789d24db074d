"""Searches of STAC and of the Alaska Satellite Facility, against recorded answers on a local server.

The answers in tests/recorded have the form that the services document; the services themselves are not asked, so
that a change of theirs does not show here.
"""

import json
import sys
import threading
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

from sartutor import cli
from sartutor.catalog import search
from sartutor.catalog.search import Found, check_box, check_dates, search_asf, search_stac
from sartutor.errors import CatalogError

RECORDED = Path(__file__).parents[1] / "recorded"
BOX = (9.5, 46.5, 10.0, 47.0)
LATER = "S1A_IW_GRDH_1SDV_20230117T170824_20230117T170849_046828_04098A_rtc"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        self._answer("stac-root")

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(asked)
        name = f"stac-{asked['collections'][0]}"
        self._answer(name if (RECORDED / f"{name}.json").exists() else "stac-empty")

    def _answer(self, name):
        text = (RECORDED / f"{name}.json").read_text().replace("{url}", self.server.url)
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(text.encode() if self.server.status == 200 else b"<html>out of order</html>")


@pytest.fixture
def server(monkeypatch):
    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.url, running.asked, running.status = f"http://127.0.0.1:{running.server_port}", [], 200
    threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setattr(search, "PLANETARY_COMPUTER", running.url)
    yield running
    running.shutdown()
    running.server_close()


def test_a_stac_item_says_view_date_size_and_data_files(server):
    first, second = search_stac("sentinel-1-rtc", BOX, "2023-01-01/2023-01-31", limit=7)
    files = {name: f"{server.url}/measurement/iw-{name}.rtc.tiff" for name in ("vv", "vh")}
    assert first == Found(LATER, date(2023, 1, 17), "ascending", 31, ("VV", "VH"), files, 900_000_000)
    assert second.date == date(2023, 1, 5)
    assert second.bytes is None


def test_the_service_is_asked_for_box_and_dates(server):
    search_stac("sentinel-1-rtc", BOX, "2023-01-01/2023-01-31")
    (asked,) = server.asked
    assert asked["collections"] == ["sentinel-1-rtc"]
    assert asked["bbox"] == list(BOX)
    first, last = asked["datetime"].split("/")
    assert first.startswith("2023-01-01T00:00:00")
    assert last.startswith("2023-01-31T23:59:59")


def test_no_more_than_the_limit(server):
    assert len(search_stac("sentinel-1-rtc", BOX, limit=1)) == 1


def test_an_item_of_a_whole_year_has_the_year_s_first_day(server):
    (tile,) = search_stac("alos-palsar-mosaic", BOX)
    assert tile == Found(
        "N47E009_20_MOS_F02DAR", date(2020, 1, 1), hrefs={"HH": f"{server.url}/N47E009_20_sl_HH_F02DAR.tif"}
    )


class Answer:
    def __init__(self):
        self.headers = {}

    def json(self):
        return json.loads((RECORDED / "cmr-grd.json").read_text())

    def raise_for_status(self):
        pass


@pytest.fixture
def facility(monkeypatch):
    """What asf_search posts to NASA's CMR, answered from the record."""
    import asf_search

    asked = []

    def post(_session, url, data, timeout):
        asked.append(dict(data))
        return Answer()

    monkeypatch.setattr(asf_search.ASFSession, "post", post)
    return asked


def test_a_product_of_the_facility(facility):
    (one,) = search_asf("GRD_HD", BOX, "2023-01-01/2023-01-31")
    name = "S1A_IW_GRDH_1SDV_20230105T170824_20230105T170849_046653_04098A_2F79"
    href = {"product": f"https://datapool.asf.alaska.edu/GRD_HD/SA/{name}.zip"}
    assert one == Found(name, date(2023, 1, 5), "ascending", 31, ("VV", "VH"), href, 950_000_000)
    assert facility[0]["temporal"].startswith("2023-01-01T00:00:00Z,2023-01-31T23:59:59Z")


@pytest.mark.parametrize(
    ("box", "word"),
    [
        ((9, 46, 10), "3 numbers"),
        ((9, 47, 10, 46), "no box in degrees"),
        ((600000, 5200000, 610000, 5210000), "no box in degrees"),
        ((9, 46, 9, 47), "no box in degrees"),
        ((float("nan"), 46, 9, 47), "no box in degrees"),
    ],
)
def test_boxes_that_cannot_be(box, word):
    with pytest.raises(CatalogError, match=word):
        check_box(box)


def test_a_box_across_the_antimeridian_is_a_box():
    assert check_box((179, -18, -179, -16)) == (179, -18, -179, -16)
    assert search._polygon((179, -18, -179, -16)).startswith("POLYGON((179 -18, 181 -18,")


@pytest.mark.parametrize(
    ("dates", "word"),
    [
        ("January", "2023-01-01/2023-01-31"),
        ("2023-02-30", "are no dates"),
        ("2023-02-01/2023-01-01", "earlier"),
    ],
)
def test_dates_that_cannot_be(dates, word):
    with pytest.raises(CatalogError, match=word):
        check_dates(dates)


def test_one_day_is_a_period():
    assert check_dates("2023-01-05") == ("2023-01-05", "2023-01-05")


def complaint(capsys, *arguments):
    assert cli.main(["fetch", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    return line


PLACE = ("--bbox", "9.5", "46.5", "10", "47")


def test_the_command_lists_a_table(capsys, server):
    assert cli.main(["fetch", "--stac", "sentinel-1-rtc", *PLACE, "--dates", "2023-01-01/2023-01-31"]) == 0
    out, err = capsys.readouterr()
    first, second = out.splitlines()
    assert first.split() == ["2023-01-17", "ascending", "31", "VV", "VH", "900.0", "MB", LATER]
    assert len(second.split()) == 6
    assert "--json" in err


def test_the_command_gives_addresses_as_json(capsys, server):
    assert cli.main(["fetch", "--stac", "sentinel-1-rtc", *PLACE, "--limit", "1", "--json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)["found"]
    assert one["hrefs"]["vv"].endswith("iw-vv.rtc.tiff")
    assert one["date"] == "2023-01-17"


def test_the_command_asks_the_facility(capsys, facility):
    assert cli.main(["fetch", "--asf", "GRD_HD", "--bbox", "-70.5", "-33", "-70", "-32.5"]) == 0
    assert "_046653_" in capsys.readouterr().out


def test_bad_input_is_one_line_and_code_2(capsys, server):
    rtc = ("--stac", "sentinel-1-rtc")
    assert "--bbox W S E N" in complaint(capsys, *rtc)
    assert "four numbers" in complaint(capsys, *rtc, "--bbox", "1", "2")
    assert "no box in degrees" in complaint(capsys, *rtc, "--bbox", "9", "47", "10", "46")
    assert "are no dates" in complaint(capsys, *rtc, *PLACE, "--dates", "soon")
    assert "has nothing of nix" in complaint(capsys, "--stac", "nix", *PLACE)
    assert server.asked[-1]["collections"] == ["nix"]


def test_a_service_out_of_order_is_one_line(capsys, server):
    server.status = 500
    assert "gives no answer that can be used" in complaint(capsys, "--stac", "sentinel-1-rtc", *PLACE)


def test_no_network_is_one_line(capsys, monkeypatch):
    monkeypatch.setattr(search, "PLANETARY_COMPUTER", "http://127.0.0.1:9")
    assert "http://127.0.0.1:9 cannot be reached" in complaint(capsys, "--stac", "sentinel-1-rtc", *PLACE)


def test_no_network_at_the_facility_is_one_line(capsys, monkeypatch):
    import asf_search

    def post(*_arguments, **_named):
        raise requests.ConnectionError("refused")

    monkeypatch.setattr(asf_search.ASFSession, "post", post)
    assert "cannot be reached" in complaint(capsys, "--asf", "GRD_HD", *PLACE)


@pytest.mark.parametrize(("option", "module"), [("--stac", "pystac_client"), ("--asf", "asf_search")])
def test_a_missing_extra_is_one_line(capsys, monkeypatch, option, module):
    monkeypatch.setitem(sys.modules, module, None)
    assert 'pip install "sartutor[online]"' in complaint(capsys, option, "sentinel-1-rtc", *PLACE)
