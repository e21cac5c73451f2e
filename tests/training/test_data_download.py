"""Downloads from a server of our own on the loopback: whole, broken off, resumed, wrong, absent."""

import gzip
import hashlib
import http.server
import threading
from pathlib import Path

import pytest

from training.data import download
from training.data.download import DataError, File, fetch, read_file

CONTENT = bytes(range(256)) * 1000


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.content`; `server.ranges` says whether it knows ranges, `server.limit` after
    how many bytes of a body the connection breaks off. `server.seen` has the ranges asked for."""

    def do_GET(self):
        server, wanted = self.server, self.headers.get("Range")
        server.seen.append(wanted)
        if self.path != "/file.txt":
            return self.send_error(404)
        partial = wanted and server.ranges
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if partial else 0
        body = server.content[start:]
        self.send_response(206 if partial else 200)
        self.send_header("Content-Length", str(len(body)))
        if partial:
            size = len(server.content)
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.end_headers()
        self.wfile.write(body[: server.limit])
        return None

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.content, server.ranges, server.limit, server.seen = CONTENT, True, None, []
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The folder of the data set `toy` in an empty cache; no ZOO_DATA and no proxy."""
    monkeypatch.setattr(download, "cache_directory", lambda: tmp_path / "cache")
    monkeypatch.delenv("ZOO_DATA", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "cache" / "toy"


def listed(server, path="file.txt"):
    url = f"http://127.0.0.1:{server.server_port}/{path}"
    return File("file.txt", url, len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


def failure(file):
    """The one line that the user sees."""
    with pytest.raises(DataError) as caught:
        fetch("toy", file)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def kept(cache):
    return {path.name for path in cache.iterdir() if path.suffix != ".lock"}


def test_a_file_is_downloaded_once(server, cache, capsys):
    assert fetch("toy", listed(server)) == CONTENT
    assert "file.txt: 100%" in capsys.readouterr().err
    assert fetch("toy", listed(server)) == CONTENT
    assert server.seen == [None]
    assert kept(cache) == {"file.txt"}


def test_a_download_that_broke_off_goes_on_where_it_was(server, cache):
    server.limit = 100_000
    assert "broken off at 100000 of 256000 bytes; run again to resume" in failure(listed(server))
    assert kept(cache) == {"file.txt.part"}
    server.limit = None
    assert fetch("toy", listed(server)) == CONTENT
    assert server.seen == [None, "bytes=100000-"]
    assert kept(cache) == {"file.txt"}


def test_a_server_without_ranges_sends_all_again(server, cache):
    server.limit = 100_000
    failure(listed(server))
    server.limit, server.ranges = None, False
    assert fetch("toy", listed(server)) == CONTENT


@pytest.mark.parametrize("size", [len(CONTENT), len(CONTENT) + 1])
def test_a_part_that_cannot_be_a_beginning_is_thrown_away(server, cache, size):
    cache.mkdir(parents=True)
    (cache / "file.txt.part").write_bytes(b"x" * size)
    assert fetch("toy", listed(server)) == CONTENT
    assert server.seen == [None]


@pytest.mark.parametrize(
    "content", [CONTENT[:-1] + b"x", CONTENT + b"x", b"<html>Please log in</html>".ljust(256_000)]
)
def test_a_file_that_fails_its_checksum_is_not_kept(server, cache, content):
    server.content = content
    message = failure(listed(server))
    assert "SHA-256 differs" in message
    assert "try again" in message
    assert kept(cache) == set()


def test_a_resumed_download_that_fails_its_checksum_starts_anew(server, cache):
    cache.mkdir(parents=True)
    (cache / "file.txt.part").write_bytes(b"x" * 1000)
    assert "SHA-256 differs" in failure(listed(server))
    assert fetch("toy", listed(server)) == CONTENT
    assert server.seen == ["bytes=1000-", None]


def test_a_cached_file_that_was_damaged_is_downloaded_again(server, cache):
    fetch("toy", listed(server))
    (cache / "file.txt").write_bytes(CONTENT[:1000])
    assert fetch("toy", listed(server)) == CONTENT


def test_nothing_is_written_for_what_is_there(server, cache):
    cache.mkdir(parents=True)
    (cache / "file.txt").write_bytes(CONTENT)
    assert fetch("toy", listed(server)) == CONTENT
    assert [path.name for path in cache.iterdir()] == ["file.txt"]


def test_a_file_that_the_server_does_not_have(server, cache):
    message = failure(listed(server, "other.txt"))
    assert "404" in message
    assert "toy/file.txt and set ZOO_DATA" in message
    assert kept(cache) == set()


def test_no_network(server, cache):
    file = listed(server)
    server.shutdown()
    server.server_close()
    message = failure(file)
    assert message.startswith(f"no connection to {file.url} (")
    assert "ZOO_DATA" in message
    assert kept(cache) == set()


def test_a_cache_that_cannot_be_written(server, cache):
    cache.parent.write_text("a file where the folder should be")
    assert "cannot write to the cache" in failure(listed(server))


@pytest.mark.parametrize("packed", [False, True])
def test_zoo_data_comes_first(server, cache, tmp_path, monkeypatch, packed):
    folder = tmp_path / "data" / "toy"
    folder.mkdir(parents=True)
    if packed:
        (folder / "file.txt.gz").write_bytes(gzip.compress(CONTENT))
    else:
        (folder / "file.txt").write_bytes(CONTENT)
    monkeypatch.setenv("ZOO_DATA", str(tmp_path / "data"))
    assert fetch("toy", listed(server)) == CONTENT
    assert server.seen == []
    assert not cache.exists()
    # What the folder does not have is downloaded.
    assert fetch("other", listed(server)) == CONTENT


def test_zoo_data_that_is_wrong_is_named(server, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_DATA", str(tmp_path / "nothing"))
    assert "nothing is not a folder" in failure(listed(server))
    folder = tmp_path / "data" / "toy"
    folder.mkdir(parents=True)
    monkeypatch.setenv("ZOO_DATA", str(tmp_path / "data"))
    (folder / "file.txt.gz").write_bytes(gzip.compress(CONTENT)[:-20])
    assert "truncated or damaged archive" in failure(listed(server))
    (folder / "file.txt").write_bytes(CONTENT[1:])
    assert f"{folder / 'file.txt'} is not the file listed" in failure(listed(server))
    assert server.seen == []


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:15], lambda b: b"x" + b[1:]])
def test_a_damaged_archive_of_the_user(tmp_path, damage):
    path = tmp_path / "text.gz"
    path.write_bytes(gzip.compress(b"some text " * 100))
    assert read_file(path) == b"some text " * 100
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match="truncated or damaged archive: copy it again"):
        read_file(path)


def test_a_file_that_is_not_there():
    with pytest.raises(DataError, match=r"cannot read nowhere\.txt: No such file"):
        read_file(Path("nowhere.txt"))
