"""The page to try a model on, as a browser, a stranger and a terminal meet it."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import math
import os
import re
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pytest
from processes import LONG, lives, wait_until
from processes import free_port as port_for_tests
from service_process import predictor
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import cipherfit
from cipherfit import NeuralNetClassifier
from cipherfit.exceptions import InvalidParameterError
from cipherfit.predictor.saving import save
from cipherfit.report import strokes
from cipherfit.report.digits import train_digit_reader
from cipherfit.serve import demo
from cipherfit.serve.page.drawing import drawing_of
from cipherfit.serve.page.processes import free_port, listening

COMMAND = [sys.executable, "-c", "import sys; from cipherfit.cli import main; sys.exit(main())"]


class Demo:
    """`cipherfit serve --demo`, and what tests ask its page."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        self.log = folder / "log"
        with self.log.open("wb") as log:
            ports = ("--port", str(port_for_tests()), "--page-port", "0")
            self.process = subprocess.Popen(
                [*COMMAND, "serve", "--demo", *ports, *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "TMPDIR": str(self.temporary), "OMP_NUM_THREADS": "1"},
            )
        wait_until(lambda: self.process.poll() is not None or "Ctrl-C ends both" in self.said)
        assert self.process.poll() is None, self.said[-3000:]
        self.service, service = re.search(r"service  (\S+)  \(process (\d+)", self.said).groups()
        self.url, client = re.search(r"page     (\S+)  \(process (\d+)", self.said).groups()
        self.processes = int(client), int(service)
        self.host = urlsplit(self.url).netloc

    @property
    def said(self) -> str:
        return self.log.read_text()

    def ask(self, method: str, path: str, body: object = None, **headers: str):
        """Return status, headers and body of an answer."""
        connection = http.client.HTTPConnection(self.host, timeout=LONG)
        sent = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, sent, named)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def own(self, **other: str) -> dict[str, str]:
        """Return the headers that the page sends."""
        page = self.ask("GET", "/")[2].decode()
        token = json.loads(re.search(r'id="page">(.*?)</script>', page)[1])["token"]
        return {
            "Origin": self.url,
            "X_Page_Token": token,
            "Content_Type": "application/json",
            **other,
        }

    def answer(self, row: list):
        """Return status and JSON of the answer to a row."""
        status, _, body = self.ask("POST", "/answer", {"row": row}, **self.own())
        return status, json.loads(body)

    def is_over(self) -> bool:
        """Whether neither process is there, nor anything that they wrote."""
        return not any(map(lives, self.processes)) and not [*self.temporary.iterdir()]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def running(folder: Path, *arguments: str):
    folder.mkdir(exist_ok=True)
    started = Demo(folder, *arguments)
    try:
        yield started
    finally:
        started.kill()


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Run it with a network that reads digits, trained in less time than the command's own."""
    folder = tmp_path_factory.mktemp("digits")
    reader = train_digit_reader(max_epochs=10, n_hidden_neurons=128, n_drawn=60)
    reader.predictor.save(folder / "digits.cipherfit")
    with running(folder / "demo", str(folder / "digits.cipherfit")) as started:
        yield started


EVIL = "<script>alert(1)</script>"
CLASSES = ['"&<b>', "</script><script>alert(2)</script>"]


@pytest.fixture(scope="module")
def evil_model(tmp_path_factory):
    """Save a pipeline whose features, categories and classes are called as an attacker would."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            EVIL: rng.integers(18, 90, 120).astype(float),
            'job" onfocus="alert(3)': rng.choice(["cook", "<img src=x onerror=alert(4)>"], 120),
        }
    )
    labels = np.array(CLASSES)[(table[EVIL] > 50).astype(int)]
    table.loc[3, EVIL] = np.nan
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    steps = ColumnTransformer(
        [("numbers", numbers, [EVIL]), ("texts", OneHotEncoder(), [table.columns[1]])]
    )
    model = NeuralNetClassifier(module__n_layers=1, max_epochs=10, random_state=0)
    pipeline = make_pipeline(steps, model).fit(table, labels)
    path = tmp_path_factory.mktemp("evil") / "evil.cipherfit"
    pipeline[-1].compile()
    save(pipeline, path)
    return path


@pytest.fixture(scope="module")
def evil(evil_model, tmp_path_factory):
    with running(tmp_path_factory.mktemp("evil-demo"), str(evil_model)) as started:
        yield started


def oval(x, y, width, height, n=30):
    turns = [2 * math.pi * index / n - math.pi / 2 for index in range(n + 1)]
    return [(x + width * math.cos(t), y + height * math.sin(t)) for t in turns]


#: Digits as a hand draws them; not those of the sources.
HAND = {
    "0": [oval(0.48, 0.5, 0.2, 0.33)],
    "1": [[(0.52, 0.18), (0.5, 0.5), (0.49, 0.84)]],
    "7": [[(0.27, 0.2), (0.5, 0.21), (0.73, 0.19), (0.58, 0.5), (0.43, 0.85)]],
    "4": [[(0.35, 0.15), (0.28, 0.5), (0.3, 0.56), (0.74, 0.52)], [(0.62, 0.35), (0.58, 0.88)]],
    "3": [[(0.33, 0.2), (0.5, 0.14), (0.64, 0.24), (0.6, 0.4), (0.46, 0.47), (0.62, 0.55),
           (0.67, 0.7), (0.55, 0.84), (0.34, 0.8)]],
}  # fmt: skip


def draw(shown, lines) -> None:
    """Draw with the mouse."""
    box = shown.page.locator("#pad").bounding_box()
    mouse = shown.page.mouse
    for line in lines:
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in line]
        mouse.move(*places[0])
        mouse.down()
        for place in places[1:]:
            mouse.move(*place, steps=4)
        mouse.up()


NO_ANSWER = "\N{EN DASH}"


def answer_of(shown) -> str:
    """Return the answer once it is there."""
    shown.page.locator(f"#answer:not(:text-is('{NO_ANSWER}'))").wait_for()
    return shown.page.inner_text("#answer")


def wait_for_answer(shown, answer: str) -> None:
    """Wait for the answer to a drawing: after each of its lines one may be asked for."""
    shown.page.locator(f"#answer:text-is('{answer}')").wait_for()


def test_without_a_model_one_is_trained_and_read_with_digits_that_it_has_not_seen(tmp_path, page):
    with running(tmp_path / "demo") as started:
        accuracy = float(re.search(r"([\d.]+)% of 450 digits held out", started.said)[1])
        assert accuracy > 97
        shown = page(started.url)
        assert "not trained on" in shown.page.inner_text("legend")
        shown.page.click("[aria-label='sample: 0']")
        assert answer_of(shown) == "0"
        shown.page.click("#clear")
        draw(shown, HAND["3"])
        wait_for_answer(shown, "3")
        assert shown.errors == []


def test_drawn_digits_are_read_with_a_mouse(digits, page):
    shown = page(digits.url)
    for digit, lines in HAND.items():
        shown.page.click("#clear")
        assert shown.page.inner_text("#answer") == NO_ANSWER
        draw(shown, lines)
        wait_for_answer(shown, digit)
    assert "answer" in shown.page.inner_text("#same")
    assert shown.page.locator("#log tbody tr").count() == len(HAND)
    assert (shown.errors, shown.refused) == ([], [])
    assert {urlsplit(url).netloc for url in shown.requests if url[:4] == "http"} == {digits.host}


def test_drawn_digits_are_read_with_a_finger_on_a_phone(digits, page):
    shown = page(digits.url, width=390, has_touch=True, is_mobile=True)
    shown.page.locator("#pad").scroll_into_view_if_needed()
    box = shown.page.locator("#pad").bounding_box()
    session = shown.page.context.new_cdp_session(shown.page)

    def touch(kind, *points):
        places = [
            {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]} for x, y in points
        ]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    for line in HAND["7"]:
        touch("touchStart", line[0])
        for point in line[1:]:
            touch("touchMove", point)
        touch("touchEnd")
    wait_for_answer(shown, "7")
    assert shown.errors == []


def test_samples_and_buttons_do_without_a_pointer(digits, page):
    shown = page(digits.url)
    shown.page.focus("#clear")
    shown.page.keyboard.press("Tab")
    assert shown.page.evaluate("document.activeElement.ariaLabel") == "sample: 0"
    shown.page.keyboard.press("Enter")
    assert answer_of(shown) == "0"
    first = shown.page.inner_text("#up-hex")
    shown.page.focus("#ask")
    shown.page.keyboard.press("Enter")
    shown.page.wait_for_selector("#anew:not(:empty)")
    assert shown.page.inner_text("#up-hex") != first
    share = float(re.search(r"([\d.]+) %", shown.page.inner_text("#anew"))[1])
    assert share > 98
    assert shown.page.evaluate("document.activeElement.id") == "ask"
    shown.page.focus("#clear")
    shown.page.keyboard.press("Enter")
    assert shown.page.is_visible("#hint")
    assert shown.page.is_disabled("#ask")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("which", ["digits", "evil"])
def test_nobody_is_kept_out_and_a_phone_is_wide_enough(request, page, which, dark):
    shown = page(request.getfixturevalue(which).url, dark=dark)
    shown.page.click("#samples button" if which == "digits" else "#ask")
    answer_of(shown)
    assert shown.barriers("moderate", "serious", "critical") == []
    assert not shown.is_wider_than(320)
    assert shown.errors == []


def test_pixels_of_strokes_are_those_that_the_network_was_trained_on(digits, page):
    shown = page(digits.url)
    for ways in strokes.digits():
        for way in ways:
            found = shown.page.evaluate(
                "strokes => import('/drawing.js').then(({ pixels }) => pixels(strokes, 8))",
                [stroke.tolist() for stroke in way],
            )
            expected = strokes.picture(way) / 16
            assert np.abs(np.array(found) - expected).mean() < 0.015


def test_a_larger_picture_is_centred_by_its_mass(digits, page):
    shown = page(digits.url)
    corner = [[[0.05, 0.05], [0.2, 0.05], [0.1, 0.25]]]
    found = shown.page.evaluate(
        "strokes => import('/drawing.js').then(({ pixels }) => pixels(strokes, 28))", corner
    )
    picture = np.array(found).reshape(28, 28)
    places = np.arange(28) + 0.5
    middle = [picture.sum(axis=axis) @ places / picture.sum() for axis in (0, 1)]
    assert middle == pytest.approx([14, 14], abs=0.6)
    rows = np.flatnonzero((picture > 0.05).any(axis=1))
    assert 18 <= rows[-1] - rows[0] + 1 <= 21
    assert 0.9 < picture.max() <= 1.0001


def test_hostile_names_are_shown_as_text(evil, evil_model, page):
    shown = page(evil.url)
    labels = shown.page.locator(".field label")
    assert labels.all_inner_texts() == [EVIL, 'job" onfocus="alert(3)']
    shown.page.fill("#field-0", "80")
    shown.page.select_option("#field-1", label="<img src=x onerror=alert(4)>")
    shown.page.click("#ask")
    model = cipherfit.load(evil_model)
    row = pd.DataFrame([[80.0, "<img src=x onerror=alert(4)>"]], columns=labels.all_inner_texts())
    assert answer_of(shown) == model.predict(row)[0]
    assert shown.page.locator("#bars .label").all_inner_texts() == sorted(CLASSES)
    assert shown.page.locator("main img, #bars script, #answer *").count() == 0
    assert (shown.errors, shown.refused) == ([], [])


def test_a_form_begins_with_what_the_steps_know_and_says_what_is_wrong(evil, page):
    shown = page(evil.url)
    low, high = map(float, re.findall(r"[\d.]+", shown.page.inner_text("#range-0")))
    assert 15 < low < 25
    assert 80 < high < 95
    assert low < float(shown.page.input_value("#field-0")) < high
    shown.page.fill("#field-0", "many")
    shown.page.click("#ask")
    shown.page.wait_for_selector("#error-0:not(:empty)")
    assert "must be a finite number, or nothing" in shown.page.inner_text("#error-0")
    assert shown.page.get_attribute("#field-0", "aria-invalid") == "true"
    assert shown.page.evaluate("document.activeElement.id") == "field-0"
    shown.page.fill("#field-0", "")
    shown.page.click("#ask")
    assert answer_of(shown) in CLASSES
    shown.page.fill("#field-0", "1000")
    shown.page.click("#ask")
    shown.page.wait_for_selector("#notes li")
    assert "1000 is outside" in shown.page.inner_text("#notes")


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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_both_processes_and_leaves_nothing(evil_model, tmp_path, number):
    with running(tmp_path / "demo", str(evil_model)) as started:
        started.process.send_signal(number)
        assert started.process.wait(LONG) == 0
        assert started.is_over()
        assert "Traceback" not in started.said


def test_the_service_ends_with_a_client_that_is_killed(evil_model, tmp_path):
    with running(tmp_path / "demo", str(evil_model)) as started:
        started.kill()
        wait_until(started.is_over)


def test_a_service_that_ends_is_told(evil_model, tmp_path):
    with running(tmp_path / "demo", str(evil_model)) as started:
        os.kill(started.processes[1], signal.SIGKILL)
        wait_until(lambda: not lives(started.processes[1]))
        status, said = started.answer([60, "cook"])
        assert (status, said["error"]) == (502, "service")
        started.process.send_signal(signal.SIGTERM)
        assert started.process.wait(LONG) == 0
        assert started.is_over()


@pytest.mark.fhe
def test_a_network_with_lookups_is_tried_the_same_way(tmp_path, page):
    model = predictor("lookups")
    model.save(tmp_path / "lookups.cipherfit")
    with running(tmp_path / "demo", str(tmp_path / "lookups.cipherfit")) as started:
        status, said = started.answer([1, 3])
        assert status == 200
        assert said["answer"] == model.predict([[1, 3]])[0].tolist()
        assert said["probabilities"] is None
        shown = page(started.url)
        assert "2 encrypted lookups" in shown.page.inner_text("main")
        assert "p_error" in shown.page.inner_text("main")
        shown.page.click("#ask")
        assert answer_of(shown)
        assert shown.errors == []


def arguments(*given: str) -> subprocess.CompletedProcess:
    return subprocess.run([*COMMAND, "serve", *given], capture_output=True, text=True, timeout=LONG)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "serve needs models and --keys; or --demo"),
        (["model"], "serve needs models and --keys; or --demo"),
        (["--demo", "--keys", "keys"], "--keys doesn't go with --demo"),
        (["--demo", "--tokens", "tokens"], "--tokens doesn't go with --demo"),
        (["--demo", "one", "two"], "--demo takes one model, and 2 are given"),
        (["model", "--keys", "keys", "--page-port", "1"], "--page-port is for --demo"),
        (["model", "--keys", "keys", "--open"], "--open is for --demo"),
        (["--demo", "model", "--host", "0.0.0.0"], "host='0.0.0.0' must be a loopback address"),
    ],
)
def test_arguments_that_do_not_go_together_are_named(given, message):
    done = arguments(*given)
    assert done.returncode == 2
    assert done.stderr.startswith(f"cipherfit: {message}")


def test_a_port_that_is_taken_is_named_or_the_next_is_used():
    with listening("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InvalidParameterError, match=f"page_port={port} is taken"):
            demo(predictor("small"), page_port=port)
        assert port < free_port("port", "127.0.0.1", None, port) <= port + 100
    with pytest.raises(InvalidParameterError, match="port=70000"):
        free_port("port", "127.0.0.1", 70000, 8000)


def test_only_what_looks_like_a_picture_is_drawn():
    graph = cipherfit.IntegerGraph.from_layers(
        {"scale": np.full(64, 16 / 15), "zero_point": np.zeros(64, int), "n_bits": 4},
        [{"kind": "linear", "weights": np.ones((3, 64), int), "offset": np.zeros(3, int)}],
        {"scale": np.ones(3), "offset": np.zeros(3)},
    )
    from cipherfit.predictor.targets import ClassTargets, RealTargets

    classes = ClassTargets(np.arange(3))
    found = drawing_of(cipherfit.Predictor(graph, classes))
    assert (found.side, found.paper, found.ink) == (8, 0, 16)
    names = [f"pixel {index}" for index in range(64)]
    assert drawing_of(cipherfit.Predictor(graph, classes, feature_names=names)) is None
    assert drawing_of(cipherfit.Predictor(graph, RealTargets(3, flat=False))) is None
    assert drawing_of(predictor("small")) is None
