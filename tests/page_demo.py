"""`cipherfit serve --demo` in a process of its own, and what tests ask its page."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
from processes import LONG, free_port, lives, wait_until
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from cipherfit import NeuralNetClassifier
from cipherfit.predictor.saving import save

COMMAND = [sys.executable, "-c", "import sys; from cipherfit.cli import main; sys.exit(main())"]


class Demo:
    """`cipherfit serve --demo`, and what tests ask its page."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        self.log = folder / "log"
        with self.log.open("wb") as log:
            ports = ("--port", str(free_port()), "--page-port", "0")
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
def running_demo(folder: Path, *arguments: str):
    folder.mkdir(exist_ok=True)
    started = Demo(folder, *arguments)
    try:
        yield started
    finally:
        started.kill()


EVIL = "<script>alert(1)</script>"
CLASSES = ['"&<b>', "</script><script>alert(2)</script>"]


def save_evil_model(path: Path) -> None:
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
    pipeline[-1].compile()
    save(pipeline, path)


NO_ANSWER = "\N{EN DASH}"


def answer_of(shown) -> str:
    """Return the answer once it is there."""
    shown.page.locator(f"#answer:not(:text-is('{NO_ANSWER}'))").wait_for()
    return shown.page.inner_text("#answer")
