"""The browser that tests use keeps to this machine, and keeps nothing back."""

from __future__ import annotations

import http.server
import threading

import pytest
from browser import REQUIRED, find_browser, lacking
from processes import wait_until

FAULTY = """
<!doctype html><title>Faulty</title>
<img src="https://example.org/spy.png">
<script>
console.error("said"); console.log("not an error");
new WebSocket("wss://example.org/spy");
fetch("https://example.org/data").catch(() => {});
navigator.sendBeacon("https://example.org/beacon", "x");
throw new Error("thrown");
</script>
<p style="width: 600px">wide
"""
GOOD = """<!doctype html><html lang="en"><title>Good</title><main><h1>Good</h1></main>"""


def test_pages_reach_this_machine_only_and_their_errors_are_told(page, tmp_path):
    (tmp_path / "faulty.html").write_text(FAULTY)
    shown = page(tmp_path / "faulty.html")
    paths = {"spy.png", "spy", "data", "beacon"}

    def is_told():
        shown.page.wait_for_timeout(50)  # playwright listens meanwhile
        return len(shown.refused) >= len(paths) and all(
            any(word in error for error in shown.errors) for word in ("said", "thrown")
        )

    wait_until(is_told)
    shown.page.wait_for_timeout(200)
    assert {url.rpartition("/")[2] for url in shown.refused} == paths
    assert {*shown.refused} < {*shown.requests}
    assert not any("not an error" in error for error in shown.errors)


def test_pages_of_this_machine_are_fetched(page):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(GOOD.encode())

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        shown = page(f"http://127.0.0.1:{server.server_port}/")
        assert shown.page.inner_text("h1") == "Good"
        assert shown.refused == []
        server.shutdown()


def test_barriers_and_width_are_found_where_they_are_and_nowhere_else(page, tmp_path):
    (tmp_path / "faulty.html").write_text(FAULTY)
    (tmp_path / "good.html").write_text(GOOD)
    faulty, good = page(tmp_path / "faulty.html"), page(tmp_path / "good.html")
    assert any(one.startswith("image-alt") for one in faulty.barriers())
    assert faulty.is_wider_than(390)
    assert good.barriers() == []
    assert not good.is_wider_than(390)
    picture = good.screenshot(tmp_path / "good.png", 390).read_bytes()
    assert int.from_bytes(picture[16:20], "big") == 390  # PNG: the width


def test_without_a_browser_tests_are_skipped_or_where_one_has_to_be_fail(monkeypatch):
    monkeypatch.setenv("CHROMIUM", "/no/such/browser")
    assert find_browser() is None
    monkeypatch.delenv(REQUIRED, raising=False)
    with pytest.raises(pytest.skip.Exception, match="there is nothing"):
        lacking("nothing")
    monkeypatch.setenv(REQUIRED, "1")
    with pytest.raises(pytest.fail.Exception, match="there is nothing"):
        lacking("nothing")
