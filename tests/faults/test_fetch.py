"""Downloads that go wrong: against a local server, a mirror folder and a disk that refuses. No internet."""

import errno
import hashlib
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sartutor import catalog
from sartutor.catalog import disk, schema, sources, transfer
from sartutor.errors import CatalogError, OutputError, SarTutorError

CONTENT = bytes(range(256)) * 1000
NAME = "test-item"


class Server(ThreadingHTTPServer):
    """Serves CONTENT in one of several bad manners; keeps the Range headers that it was asked with."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.manner = "good"
        self.content = CONTENT
        self.ranges = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        server = self.server
        server.ranges.append(self.headers.get("Range"))
        getattr(self, f"_{server.manner}")(server.content)

    def _send(self, body, status=200, headers=(), announced=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if announced is None else announced))
        for key, value in headers:
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def _start(self):
        asked = self.headers.get("Range")
        return int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0

    def _good(self, content):
        start = self._start()
        if not start:
            return self._send(content)
        self._send(
            content[start:], 206, [("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")]
        )

    def _no_range(self, content):
        self._send(content)

    def _truncated(self, content):
        """Announce all, send a third, hang up; every time, ignoring Range."""
        self._send(content[: len(content) // 3], announced=len(content))

    def _drops(self, content):
        """Hang up after a third of what was asked for; honour Range."""
        start = self._start()
        part = content[start : start + len(content) // 3]
        rest = len(content) - start
        headers = [("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")] if start else []
        self._send(part, 206 if start else 200, headers, announced=rest)

    def _bad_range(self, content):
        """Answer every Range with the wrong part."""
        start = self._start()
        if not start:
            return self._send(content)
        self._send(
            content[:-start], 206, [("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")]
        )

    def _missing(self, _content):
        self.send_error(404)

    def _broken(self, _content):
        self.send_error(503)

    def _login_page(self, _content):
        self._send(b"<html>please log in</html>")

    def _unannounced(self, content):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(content + b"more" * 100_000)

    def _slow(self, _content):
        time.sleep(3)


@pytest.fixture
def server():
    running = Server()
    thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()


@pytest.fixture
def cache(tmp_path, monkeypatch, server):
    """An empty cache and a catalogue of one item, published by the server."""
    item = schema.Item.model_construct(
        name=NAME,
        homepage="https://example.org",
        status="verified",
        access="open",
        steps=(),
        files=(
            schema.File.model_construct(
                name="data.bin",
                url=f"{server.url}/data.bin",
                sha256=hashlib.sha256(CONTENT).hexdigest(),
                bytes=len(CONTENT),
            ),
        ),
    )
    monkeypatch.setattr(schema, "_packaged", lambda: {NAME: item})
    monkeypatch.setattr(sources, "PAUSES_SECONDS", (0.01, 0.01))
    monkeypatch.setenv("SARTUTOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SARTUTOR_MIRROR", raising=False)
    return tmp_path / "cache"


def kept(cache: Path) -> list[str]:
    """All files in the cache but the (empty) lock files."""
    return sorted(path.name for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock")


def fetch() -> Path:
    return catalog.fetch(NAME, progress=False)["data.bin"]


def refused(kind: type[SarTutorError] = CatalogError) -> str:
    """The sentence with which a fetch is refused: one line, ending like a sentence."""
    with pytest.raises(kind) as caught:
        fetch()
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


def write_mirror(folder: Path, content: bytes = CONTENT) -> Path:
    (folder / NAME).mkdir(parents=True)
    (folder / NAME / "data.bin").write_bytes(content)
    return folder


def test_a_good_server_is_asked_once(cache, server):
    assert fetch().read_bytes() == CONTENT
    assert fetch().read_bytes() == CONTENT
    assert server.ranges == [None]
    assert kept(cache) == ["data.bin"]


def test_a_file_that_others_may_read(cache):
    old = os.umask(0o022)
    try:
        assert fetch().stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(old)


def test_a_damaged_cached_file_is_fetched_again(cache, server):
    fetch().write_bytes(CONTENT[:-1] + b"x")
    assert fetch().read_bytes() == CONTENT
    assert len(server.ranges) == 2


def test_a_damaged_cached_file_is_refused_offline(cache, server):
    fetch().write_bytes(b"x")
    server.manner = "broken"
    assert "503" in refused()


def test_wrong_checksum(cache, server):
    server.content = CONTENT[:-1] + b"x"
    assert "SHA-256" in refused()
    assert kept(cache) == []


@pytest.mark.parametrize("manner", ["login_page", "unannounced"])
def test_something_else_in_its_place(cache, server, manner):
    server.manner = manner
    assert "not the catalogued file" in refused()
    assert kept(cache) == []


def test_a_connection_that_drops_is_resumed_within_one_fetch(cache, server):
    server.manner = "drops"
    assert fetch().read_bytes() == CONTENT
    starts = [int(asked.removeprefix("bytes=").rstrip("-")) for asked in server.ranges[1:]]
    assert starts == sorted(set(starts))
    assert starts[0] > len(CONTENT) // 4


def test_a_body_that_always_ends_early(cache, server):
    server.manner = "truncated"
    assert "stopped before all 256.0 kB" in refused()
    assert kept(cache) == []


def test_a_large_partial_file_is_kept_and_resumed(cache, server, monkeypatch):
    monkeypatch.setattr(transfer, "KEEP_FROM_BYTES", 1000)
    server.manner = "truncated"
    assert "goes on from there" in refused()
    assert kept(cache) == ["data.bin.part"]
    server.manner, server.ranges = "good", []
    assert fetch().read_bytes() == CONTENT
    assert server.ranges[0].startswith("bytes=")
    assert kept(cache) == ["data.bin"]


def test_a_kept_part_survives_being_offline(cache, server, monkeypatch):
    monkeypatch.setattr(transfer, "KEEP_FROM_BYTES", 1000)
    write_part(cache, CONTENT[:2000])
    server.manner = "broken"
    refused()
    assert kept(cache) == ["data.bin.part"]


def write_part(cache: Path, content: bytes) -> None:
    (cache / NAME).mkdir(parents=True)
    (cache / NAME / "data.bin.part").write_bytes(content)


@pytest.mark.parametrize("manner", ["good", "no_range", "bad_range"])
@pytest.mark.parametrize("part", [CONTENT[:1000], b"x" * 1000, CONTENT + b"x", CONTENT], ids=str)
def test_any_partial_file_ends_as_the_whole(cache, server, part, manner):
    write_part(cache, part)
    server.manner = manner
    assert fetch().read_bytes() == CONTENT
    assert kept(cache) == ["data.bin"]


def test_not_found_anywhere_names_the_way_out(cache, server):
    server.manner = "missing"
    assert f"`sartutor fetch {NAME} --from PATH`" in refused()


def test_offline_names_the_command_and_where_to_run_it(cache, server):
    server.shutdown()
    server.server_close()
    sentence = refused()
    assert f"on a machine with a network run `sartutor mirror DIR {NAME}`" in sentence
    assert "SARTUTOR_MIRROR=DIR" in sentence
    assert kept(cache) == []


def test_a_silent_server_is_given_up(cache, server, monkeypatch):
    monkeypatch.setattr(sources, "SILENCE_SECONDS", 0.2)
    server.manner = "slow"
    started = time.monotonic()
    assert "no answer in time" in refused()
    assert time.monotonic() - started < 2


def test_a_mirror_folder_comes_before_the_network(cache, server, tmp_path, monkeypatch):
    monkeypatch.setenv("SARTUTOR_MIRROR", str(write_mirror(tmp_path / "mirror")))
    assert fetch().read_bytes() == CONTENT
    assert server.ranges == []


def test_a_mirror_server_comes_before_the_network(cache, server, monkeypatch):
    mirror = Server()
    threading.Thread(target=mirror.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setenv("SARTUTOR_MIRROR", mirror.url + "/")
    assert fetch().read_bytes() == CONTENT
    assert (len(mirror.ranges), server.ranges) == (1, [])
    mirror.shutdown()
    mirror.server_close()


def test_a_mirror_without_the_item_passes_on(cache, server, tmp_path, monkeypatch):
    (tmp_path / "mirror").mkdir()
    monkeypatch.setenv("SARTUTOR_MIRROR", str(tmp_path / "mirror"))
    assert fetch().read_bytes() == CONTENT
    assert server.ranges == [None]


@pytest.mark.parametrize("mirror", ["http://127.0.0.1:9", "{tmp}/unplugged"])
def test_a_dead_mirror_is_named(cache, tmp_path, monkeypatch, mirror):
    monkeypatch.setenv("SARTUTOR_MIRROR", mirror.format(tmp=tmp_path))
    sentence = refused()
    assert mirror.format(tmp=tmp_path) in sentence
    assert "unset SARTUTOR_MIRROR" in sentence
    assert kept(cache) == []


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT[:-1] + b"x"], ids=["short", "other"])
def test_a_damaged_mirror_is_named(cache, server, tmp_path, monkeypatch, content):
    monkeypatch.setenv("SARTUTOR_MIRROR", str(write_mirror(tmp_path / "mirror", content)))
    sentence = refused()
    assert str(tmp_path / "mirror" / NAME / "data.bin") in sentence
    assert "`sartutor mirror`" in sentence
    assert kept(cache) == []


def test_mirror_writes_what_the_variable_reads(cache, server, tmp_path, monkeypatch):
    (path,) = catalog.mirror(tmp_path / "stick", [NAME], progress=False)
    assert path == tmp_path / "stick" / NAME / "data.bin"
    server.shutdown()
    server.server_close()
    monkeypatch.setenv("SARTUTOR_CACHE", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("SARTUTOR_MIRROR", str(tmp_path / "stick"))
    assert fetch().read_bytes() == CONTENT


def test_a_whole_mirror_needs_no_network_to_be_written_again(cache, server, tmp_path, monkeypatch):
    catalog.mirror(tmp_path / "stick", [NAME], progress=False)
    server.shutdown()
    server.server_close()
    monkeypatch.setenv("SARTUTOR_CACHE", str(tmp_path / "elsewhere"))
    assert catalog.mirror(tmp_path / "stick", [NAME], progress=False)


def test_a_disk_too_small_is_refused_before_the_download(cache, server, monkeypatch):
    monkeypatch.setattr(disk, "free_bytes", lambda _folder: 1000)
    assert "256.0 kB are needed" in refused(OutputError)
    assert server.ranges == []


def test_a_disk_that_fills_up_on_the_way(cache, server, monkeypatch):
    monkeypatch.setattr(transfer, "KEEP_FROM_BYTES", 1000)
    monkeypatch.setattr(sources.Path, "open", filling_disk(sources.Path.open, limit=100_000))
    assert "The disk of" in refused(OutputError)
    assert kept(cache) == []


def filling_disk(real, limit):
    """`Path.open` whose partial files take `limit` bytes and then fail as a full disk does."""

    def opened(path, mode="r", *rest, **options):
        stream = real(path, mode, *rest, **options)
        return Filling(stream, limit) if path.suffix == ".part" and mode != "rb" else stream

    return opened


class Filling:
    def __init__(self, stream, limit):
        self.stream, self.limit = stream, limit

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()

    def tell(self):
        return self.stream.tell()

    def write(self, chunk):
        self.stream.write(chunk)
        if self.stream.tell() > self.limit:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_cache_that_is_a_file(cache):
    cache.write_text("not a folder")
    assert "is in the way" in refused(OutputError)


def test_a_cache_that_may_not_be_written(cache, monkeypatch):
    def forbidden(self, *_args, **_options):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", forbidden)
    assert "SARTUTOR_CACHE" in refused(OutputError)


def test_a_cached_file_that_cannot_be_read(cache, monkeypatch):
    fetch()

    def forbidden(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(transfer, "digest", forbidden)
    assert "cannot be read" in refused()


def test_an_interrupted_fetch_leaves_no_small_part(cache, monkeypatch):
    monkeypatch.setattr(sources.HttpSource, "_receive", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch()
    assert kept(cache) == []


def interrupted(_source, part, _file, _bar):
    part.write_bytes(b"x")
    raise KeyboardInterrupt


def test_two_fetches_at_once_download_once(cache, server):
    found = []
    threads = [threading.Thread(target=lambda: found.append(fetch().read_bytes())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [CONTENT] * 3
    assert server.ranges == [None]
