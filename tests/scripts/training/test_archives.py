"""Files are found, verified, downloaded, and never overwritten."""

import hashlib
import threading
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler

import pytest

from scripts.command.program import UserError
from scripts.training.archives import ARCHIVES, TEST_FILES, TRAIN_FILES, Archive, locate

NAME = "train-images-idx3-ubyte"
CONTENT = b"content"
HASH = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder without a word on stderr."""

    def log_message(self, *_):
        pass


@pytest.fixture
def url(tmp_path):
    """Address of a folder that has `NAME`.gz."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / f"{NAME}.gz").write_bytes(CONTENT)
    with HTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_the_published_data_sets():
    for archive in ARCHIVES.values():
        assert archive.url.endswith("/")
        assert set(archive.hashes) == {f"{name}.gz" for name in TRAIN_FILES + TEST_FILES}


def test_found(tmp_path):
    (tmp_path / NAME).write_bytes(CONTENT)
    assert locate(tmp_path, NAME) == tmp_path / NAME
    (tmp_path / f"{NAME}.gz").write_bytes(CONTENT)
    assert locate(tmp_path, NAME) == tmp_path / f"{NAME}.gz"


def test_missing(tmp_path):
    with pytest.raises(UserError, match=f"{NAME}: expected this file, or {NAME}.gz: there is nei"):
        locate(tmp_path, NAME)


def test_downloaded_once(tmp_path, url):
    archive = Archive(url, {f"{NAME}.gz": HASH})
    path = locate(tmp_path / "data", NAME, archive)
    assert path.read_bytes() == CONTENT
    assert locate(tmp_path / "data", NAME, Archive("http://unused/", archive.hashes)) == path


def test_a_download_with_another_hash_is_not_kept(tmp_path, url):
    archive = Archive(url, {f"{NAME}.gz": "md5:0123"})
    with pytest.raises(UserError, match=f"{url}{NAME}.gz: expected md5:0123, got another file"):
        locate(tmp_path / "data", NAME, archive)
    assert not list((tmp_path / "data").iterdir())


def test_no_network(tmp_path):
    archive = Archive("http://127.0.0.1:1/", {f"{NAME}.gz": HASH})
    with pytest.raises(
        UserError, match=f"cannot be downloaded .ConnectionError.: get http://127.0.0.1:1/{NAME}.gz"
    ):
        locate(tmp_path, NAME, archive)


def test_a_file_with_another_hash_stays(tmp_path):
    path = tmp_path / f"{NAME}.gz"
    path.write_bytes(b"my own")
    with pytest.raises(UserError, match=r"expected sha256 .*, got .*: not the published file"):
        locate(tmp_path, NAME, Archive("http://unused/", {path.name: HASH}))
    assert path.read_bytes() == b"my own"
