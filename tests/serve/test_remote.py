from __future__ import annotations

import hashlib
import json
import threading
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from service_process import predictor, token_of

from cipherfit import Client
from cipherfit.exceptions import InvalidParameterError, ServiceError
from cipherfit.serve import remote
from cipherfit.serve.remote import HttpTransport
from cipherfit.serve.transport import UnknownKeyError

KEYS = bytes(range(256)) * 10
KEY = hashlib.sha256(KEYS).hexdigest()
DIGEST = "ab" * 32


class Handler(BaseHTTPRequestHandler):
    """Follows a script: for each request what to answer, or None to close the connection."""

    def answer(self):
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        self.server.asked.append((self.command, self.path, dict(self.headers), body))
        step = self.server.script(self.command, self.path, self.headers, body)
        if step is None:
            self.connection.close()
            return
        status, headers, data = step
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data if self.command != "HEAD" else b"")

    do_GET = do_POST = do_PUT = do_PATCH = do_HEAD = answer  # noqa: N815

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked = []
    server.handle_error = lambda *_: None  # clients go away on purpose
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    server.url = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def waits(monkeypatch):
    waited = []
    monkeypatch.setattr(remote.time, "sleep", waited.append)
    return waited


def steps(*answers):
    left = list(answers)
    return lambda *_: left.pop(0)


def refused(status, kind="busy", message="later", **headers):
    body = json.dumps({"error": kind, "message": message}).encode()
    return status, {name.replace("_", "-"): value for name, value in headers.items()}, body


FINE = (200, {}, b"answer")


def test_rows_are_asked_again_where_no_answer_comes_or_not_now(server, waits):
    server.script = steps(
        None, refused(429, Retry_After="7"), refused(503), refused(503, Retry_After="x"), FINE
    )
    transport = HttpTransport(server.url, "secret")
    assert transport.predict(DIGEST, KEY, b"rows", 99) == b"answer"
    assert len({(method, path, body) for method, path, _, body in server.asked}) == 1
    assert server.asked[0][1] == f"/v1/models/{DIGEST}/predict?key={KEY}"
    assert server.asked[0][2]["Authorization"] == "Bearer secret"
    assert waits[1] == 7.0
    assert 0 < waits[0] <= 0.5 < waits[2] + waits[3] <= 6


def test_a_wait_that_a_server_asks_for_is_bounded(server, waits):
    server.script = steps(refused(429, Retry_After="999999"), FINE)
    HttpTransport(server.url).predict(DIGEST, KEY, b"", 99)
    assert waits == [60.0]


def test_a_service_that_is_busy_is_asked_for_the_whole_timeout_and_one_that_is_down_is_not(
    server, monkeypatch
):
    now = [0.0]
    monkeypatch.setattr(remote.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(remote.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    server.script = steps(*[refused(429, Retry_After="5")] * 20, FINE)
    transport = HttpTransport(server.url, timeout=101, attempts=2)
    assert transport.predict(DIGEST, KEY, b"", 99) == b"answer"
    server.script = lambda *_: refused(429, Retry_After="5")
    with pytest.raises(ServiceError, match="asked 23 times: status 429: later"):
        transport.predict(DIGEST, KEY, b"", 99)


@pytest.mark.parametrize(
    ("form", "seconds"),
    [
        ("%a, %d %b %Y %H:%M:%S GMT", 20),
        ("%A, %d-%b-%y %H:%M:%S GMT", 20),
        ("%a %b %d %H:%M:%S %Y", 20),
        ("%a, %d %b %Y %H:%M:%S GMT", -3600),
        ("%a, %d %b %Y %H:%M:%S GMT", 10**7),
    ],
)
def test_a_wait_may_be_asked_for_as_a_date(form, seconds, server, waits, monkeypatch):
    now = 1_800_000_000.0
    monkeypatch.setattr(remote.time, "time", lambda: now)
    when = datetime.fromtimestamp(now + seconds, timezone.utc).strftime(form)
    server.script = steps(refused(503, Retry_After=when), FINE)
    HttpTransport(server.url).predict(DIGEST, KEY, b"", 99)
    assert waits == [min(max(seconds, 0), 60)]


def test_it_gives_up_in_the_end(server, waits):
    server.script = lambda *_: refused(503, message="not ready")
    with pytest.raises(ServiceError, match="asked 3 times: status 503: not ready"):
        HttpTransport(server.url, attempts=3).predict(DIGEST, KEY, b"", 99)
    server.server_close()
    with pytest.raises(ServiceError, match="asked 2 times: ConnectError"):
        HttpTransport("http://127.0.0.1:9", attempts=2).models()


@pytest.mark.parametrize("status", [400, 401, 403, 409, 413, 422, 500, 504, 302])
def test_what_is_refused_is_not_asked_again(status, server, waits):
    server.script = lambda *_: refused(status, "kind", "\x1b[31mwhy")
    with pytest.raises(ServiceError, match=rf"\({status}\): kind: \[31mwhy$"):
        HttpTransport(server.url).predict(DIGEST, KEY, b"", 99)
    assert len(server.asked) == 1
    assert not waits


def test_a_key_that_is_gone_is_an_error_of_its_own(server):
    server.script = lambda *_: refused(404, "unknown_key")
    with pytest.raises(UnknownKeyError):
        HttpTransport(server.url).predict(DIGEST, KEY, b"", 99)
    server.script = lambda *_: (404, {}, b"<html>")
    with pytest.raises(ServiceError, match="no reason given"):
        HttpTransport(server.url).predict(DIGEST, KEY, b"", 99)


def test_answers_that_are_too_long_are_not_read_to_their_end(server):
    server.script = lambda *_: (200, {}, bytes(1 << 20))
    with pytest.raises(ServiceError, match="more than 99 bytes"):
        HttpTransport(server.url).predict(DIGEST, KEY, b"", 99)
    server.script = lambda *_: (500, {}, bytes(2 << 20))
    with pytest.raises(ServiceError, match="more than 1048576 bytes"):
        HttpTransport(server.url).predict(DIGEST, KEY, b"", 99)


def test_a_server_that_is_slow_is_given_up(server):
    release = threading.Event()
    server.script = lambda *_: release.wait(600) and FINE
    try:
        with pytest.raises(ServiceError, match="larger timeout"):
            HttpTransport(server.url, timeout=0.1).predict(DIGEST, KEY, b"", 99)
    finally:
        release.set()


class Uploads:
    """A service that takes uploads, and fails as it is told."""

    def __init__(self, *failures):
        self.data = b""
        self.failures = list(failures)

    def __call__(self, method, path, headers, body):
        assert path.startswith(f"/v1/keys/{KEY}")
        if method == "HEAD":
            if self.data == KEYS:
                return 200, {}, b""
            return 404, {"Upload-Offset": str(len(self.data))}, b""
        offset = int(headers.get("Upload-Offset", 0))
        failure = self.failures.pop(0) if self.failures else ""
        if failure == "before":
            return None
        if offset != len(self.data):
            return refused(409, "offset")
        self.data += body
        if failure == "after":
            return None
        status = 201 if self.data == KEYS else 204
        return status, {"Upload-Offset": str(len(self.data))}, b""


@pytest.fixture
def _small_pieces(monkeypatch):
    monkeypatch.setattr(remote, "_PIECE_BYTES", 1000)


@pytest.mark.usefixtures("_small_pieces")
def test_an_upload_goes_on_where_it_was_interrupted(server, waits):
    server.script = uploads = Uploads("", "before", "after")
    HttpTransport(server.url).put_keys(KEY, KEYS, DIGEST)
    assert uploads.data == KEYS
    patches = [headers for method, _, headers, _ in server.asked if method == "PATCH"]
    assert [sent["Upload-Offset"] for sent in patches] == ["0", "1000", "1000", "2000"]
    assert {sent["Upload-Length"] for sent in patches} == {str(len(KEYS))}
    HttpTransport(server.url).put_keys(KEY, KEYS, DIGEST)
    assert server.asked[-1][0] == "HEAD"


@pytest.mark.usefixtures("_small_pieces")
def test_an_upload_that_makes_no_progress_ends(server, waits):
    server.script = Uploads(*["before"] * 99)
    with pytest.raises(ServiceError, match="asked 4 times"):
        HttpTransport(server.url, attempts=4).put_keys(KEY, KEYS, DIGEST)
    server.script = lambda method, *_: (
        (404, {"Upload-Offset": "0"}, b"") if method == "HEAD" else (204, {}, b"")
    )
    with pytest.raises(ServiceError, match="makes no progress"):
        HttpTransport(server.url, attempts=4).put_keys(KEY, KEYS, DIGEST)
    server.script = lambda method, *_: (
        (404, {"Upload-Offset": "0"}, b"") if method == "HEAD" else refused(413, "quota")
    )
    with pytest.raises(ServiceError, match="quota"):
        HttpTransport(server.url).put_keys(KEY, KEYS, DIGEST)


def test_small_keys_go_at_once_and_again_if_no_answer_comes(server, waits):
    server.script = uploads = Uploads("before")
    HttpTransport(server.url).put_keys(KEY, KEYS, DIGEST)
    assert uploads.data == KEYS
    assert [one[0] for one in server.asked] == ["PUT", "PUT"]


@pytest.mark.parametrize("listed", [b"", b"{}", b"[1]", b"[" * 99999, b"<html>", b'{"models": []}'])
def test_what_is_no_service_is_an_error(listed, server):
    server.script = lambda *_: (200, {}, listed)
    with pytest.raises(ServiceError, match="is it a cipherfit service"):
        HttpTransport(server.url).models()


@pytest.mark.parametrize(
    "url", ["", "host", "ftp://host", "https://", "https://host/?a=b", "https://a:b@host"]
)
def test_urls_that_are_none_are_refused(url):
    with pytest.raises(InvalidParameterError, match="server"):
        HttpTransport(url)


def test_a_token_never_travels_in_clear():
    with pytest.raises(InvalidParameterError, match="use https") as info:
        HttpTransport("http://example.com", "secret")
    assert "secret" not in str(info.value)
    for url in ("http://localhost:1", "http://127.0.0.1", "http://[::1]", "https://example.com"):
        transport = HttpTransport(url, "secret")
        assert "secret" not in repr(transport)
        transport.close()


@pytest.mark.usefixtures("_small_pieces")
def test_the_service_takes_uploads_in_pieces_and_after_it_was_killed(running, tmp_path):
    service = running("small")
    made, rows = predictor("small"), np.ones((3, 6), dtype=np.float32)
    url = f"http://127.0.0.1:{service.port}"
    client = Client(url, tmp_path / "keys", passphrase="phrase", token=token_of("alice"))
    assert len(client.evaluation_keys) > 3000
    assert (client.predict(rows) == made.predict(rows)).all()
    service.kill()
    service.start()
    again = Client(url, tmp_path / "keys", passphrase="phrase", token=token_of("alice"))
    assert again._transport.has_keys(again.key_id)
    assert (again.predict(rows) == made.predict(rows)).all()
    again._transport._send("DELETE", f"/v1/keys/{again.key_id}")
    assert (again.predict(rows) == made.predict(rows)).all()
