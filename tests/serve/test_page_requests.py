"""The page to try a model on answers those who may ask, and no stranger."""

from __future__ import annotations

import http.client
import http.server
import json
import re
import stat
import threading
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pytest
from page_demo import EVIL
from processes import LONG

import cipherfit


def test_answers_are_the_models_and_say_what_travelled(evil, evil_model):
    status, said = evil.answer([60, "cook"])
    assert status == 200
    model = cipherfit.load(evil_model)
    table = pd.DataFrame([[60.0, "cook"]], columns=[EVIL, 'job" onfocus="alert(3)'])
    assert said["answer"] == model.predict(table)[0]
    shares = [one["probability"] for one in said["probabilities"]]
    np.testing.assert_allclose(shares, model.predict_proba(table)[0], rtol=1e-6)
    assert said["same_answer"]
    assert said["same_integers"]
    circuit = model.circuit
    assert said["request"]["bytes"] == circuit.size_of_inputs + 8
    assert said["reply"]["bytes"] == circuit.size_of_outputs + 8
    assert bytes.fromhex(said["request"]["beginning"])[:4] == b"\1\0\0\0"
    assert min(said["milliseconds"].values()) > 0
    assert evil.answer([None, "cook"])[0] == 200
    again = evil.answer([60, "cook"])[1]["request"]["beginning"]
    assert again != said["request"]["beginning"]


@pytest.mark.parametrize(
    ("row", "feature", "value", "allowed"),
    [
        (["x", "cook"], EVIL, "x", "a finite number, or nothing"),
        ([1e300, "cook"], EVIL, "1e+300", "a finite number, or nothing"),
        ([50, "baker"], 'job" onfocus="alert(3)', "baker", "one of '<img src"),
        ([50, None], 'job" onfocus="alert(3)', None, "one of '<img src"),
    ],
)
def test_a_value_that_cannot_be_is_named_with_what_may_be(evil, row, feature, value, allowed):
    status, said = evil.answer(row)
    assert (status, said["error"]) == (422, "row")
    assert (said["feature"], said["value"]) == (feature, value)
    assert said["allowed"].startswith(allowed)
    assert feature in said["message"]


BODIES = {
    "nothing": b"",
    "no JSON": b"{",
    "no object": b"[1]",
    "no row": b'{"rows": []}',
    "more": b'{"row": [1, "cook"], "key": 1}',
    "deep": b"[" * 100_000,
    "an object in it": b'{"row": [{}, "cook"]}',
    "a truth in it": b'{"row": [true, "cook"]}',
    "NaN": b'{"row": [NaN, "cook"]}',
    "too few": b'{"row": [1]}',
    "long digits": b'{"row": [' + b"9" * 5000 + b', "cook"]}',
}


@pytest.mark.parametrize("which", BODIES)
def test_bodies_that_are_no_row_are_refused(evil, which):
    status, _, body = evil.ask("POST", "/answer", BODIES[which], **evil.own())
    assert status == 422
    assert set(json.loads(body)) >= {"error", "message"}


def test_bodies_are_bounded(evil):
    headers = evil.own()
    assert evil.ask("POST", "/answer", b" " * (1 << 20) + b"x", **headers)[0] == 413
    connection = http.client.HTTPConnection(evil.host, timeout=LONG)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("POST", "/answer", iter([b"{}"]), named, encode_chunked=True)
    assert connection.getresponse().status == 411
    connection.close()


STRANGERS = {
    "another host": (421, {"Host": "evil.example"}),
    "another host on the port": (421, {"Host": "evil.example:PORT"}),
    "the host without its port": (421, {"Host": "127.0.0.1"}),
    "another origin": (403, {"Origin": "http://evil.example"}),
    "another port's origin": (403, {"Origin": "http://127.0.0.1:1"}),
    "no origin that is told": (403, {"Origin": "null"}),
    "another site": (403, {"Sec_Fetch_Site": "cross-site"}),
    "another port": (403, {"Sec_Fetch_Site": "same-site"}),
    "no token": (403, {"X_Page_Token": ""}),
    "another token": (403, {"X_Page_Token": "A" * 43}),
    "a form": (415, {"Content_Type": "text/plain"}),
}


@pytest.mark.parametrize("who", STRANGERS)
def test_strangers_are_refused(evil, who):
    status, headers = STRANGERS[who]
    port = evil.host.rpartition(":")[2]
    changed = {name: value.replace("PORT", port) for name, value in headers.items()}
    good = {"row": [60, "cook"]}
    assert evil.ask("POST", "/answer", good, **evil.own())[0] == 200
    found, answered, body = evil.ask("POST", "/answer", good, **evil.own(**changed))
    assert found == status
    assert set(json.loads(body)) == {"error", "message"}
    assert not [name for name in answered if name.lower().startswith("access-control")]


def test_a_request_without_an_origin_is_refused(evil):
    headers = evil.own()
    del headers["Origin"]
    assert evil.ask("POST", "/answer", {"row": [60, "cook"]}, **headers)[0] == 403


def test_the_page_itself_is_not_shown_to_a_rebound_name_nor_to_scripts_of_others(evil):
    assert evil.ask("GET", "/", Host="evil.example")[0] == 421
    assert (
        evil.ask("GET", "/demo.js", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors")[0] == 403
    )
    assert evil.ask("GET", "/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")[0] == 200
    localhost = evil.host.replace("127.0.0.1", "localhost")
    assert evil.ask("GET", "/", Host=localhost)[0] == 200


def test_the_page_admits_no_script_but_its_own(evil, page):
    status, headers, body = evil.ask("GET", "/")
    assert status == 200
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self';")
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Frame-Options"] == "DENY"
    scripts = re.findall(r"<script([^>]*)>", body.decode())
    assert scripts == [' type="application/json" id="page"', ' type="module" src="/demo.js"']
    assert not re.search(r"<[^>]* (on\w+|style)=", body.decode())
    shown = page(evil.url)
    shown.page.evaluate(
        "() => { const one = document.createElement('script');"
        " one.textContent = 'window.ran = true'; document.body.append(one); }"
    )
    assert shown.page.evaluate("window.ran") is None
    assert "Content Security Policy" in shown.errors[0]


def test_other_paths_and_methods_are_refused(evil):
    for path in ("/docs", "/openapi.json", "/base.html", "/../pyproject.toml", "/%2e%2e/x"):
        assert evil.ask("GET", path)[0] == 404
    assert evil.ask("GET", "/answer")[0] == 405
    assert evil.ask("DELETE", "/", **evil.own())[0] == 405
    assert evil.ask("OPTIONS", "/answer", Origin="http://evil.example")[0] == 403


def test_a_page_of_another_origin_gets_nothing(evil, page):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>Evil</title>")

        def log_message(self, *_):
            pass

    attempt = """async ([url, token]) => {
        const tries = [
            [url, {}],
            [url + "/answer", {method: "POST", body: '{"row": [60, "cook"]}', headers:
                {"Content-Type": "application/json", "X-Page-Token": token}}],
            [url + "/answer", {method: "POST", mode: "no-cors", body: '{"row": [60, "cook"]}'}],
        ];
        const got = [];
        for (const [where, how] of tries)
            got.push(await fetch(where, how).then((one) => one.text(), (error) => error.name));
        const frame = document.createElement("iframe");
        frame.src = url;
        document.body.append(frame);
        await new Promise((done) => { frame.onload = done; setTimeout(done, 2000); });
        let text = null;
        try { text = frame.contentDocument.body.innerText; } catch { text = "none"; }
        return [...got, text];
    }"""
    token = evil.own()["X_Page_Token"]
    before = evil.said.count("/predict")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        shown = page(f"http://127.0.0.1:{server.server_port}/")
        got = shown.page.evaluate(attempt, [evil.url, token])
        server.shutdown()
    assert got[:2] == ["TypeError", "TypeError"]
    assert got[2] in ("", "TypeError")
    assert got[3] in ("none", "")
    assert evil.said.count("/predict") == before


def test_the_service_knows_its_client_by_a_token_and_keys_are_for_their_owner(evil):
    connection = http.client.HTTPConnection(urlsplit(evil.service).netloc, timeout=LONG)
    connection.request("GET", "/v1/models")
    assert connection.getresponse().status == 401
    connection.close()
    (folder,) = evil.temporary.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert evil.own()["X_Page_Token"] not in evil.said
