"""The whole way: saved files, the command, and the project's own client."""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest
from processes import LONG, free_port
from service_process import predictor

import cipherfit
from cipherfit.exceptions import (
    InvalidParameterError,
    NotCompiledError,
    SerializationError,
    ServiceError,
)
from cipherfit.serve import serve
from cipherfit.serve.service import Options

COMMAND = [sys.executable, "-c", "import sys; from cipherfit.cli import main; sys.exit(main())"]


@contextlib.contextmanager
def served(folder, model):
    """Run the command on a saved model; yields its address."""
    path = folder / "model.cipherfit"
    model.save(path)
    tokens = folder / "tokens"
    tokens.write_text(f"alice {hashlib.sha256(b'secret').hexdigest()}\n")
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [*COMMAND, "serve", str(path), "--keys", str(folder / "service")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--tokens", str(tokens), "--port", str(port)], stderr=log
        )
    try:
        while True:
            assert process.poll() is None, (folder / "log").read_text()
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{address}/health/ready")
                break
            time.sleep(0.05)
        yield address
        process.terminate()
        assert process.wait(LONG) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("name", "rows"),
    [("small", 300), pytest.param("lookups", 3, marks=pytest.mark.fhe)],
)
def test_a_client_predicts_what_the_model_does(tmp_path, name, rows):
    X = np.random.default_rng(0).integers(0, 4, (rows, 6 if name == "small" else 2))
    X = X.astype(np.float32)
    model = predictor(name)
    expected = model.predict(X).tolist()
    with served(tmp_path, model) as address:
        options = {"keys": tmp_path / "keys", "passphrase": "words", "token": "secret"}
        with cipherfit.Client(address, **options) as client:
            assert client.predict(X).tolist() == expected
        # Made again, it has its keys, and the service has them, too.
        with cipherfit.Client(address, **options) as client:
            assert client.predict(X[:1]).tolist() == expected[:1]
        with pytest.raises(ServiceError, match="token"):
            cipherfit.Client(address, **{**options, "token": "wrong"})
    log = (tmp_path / "log").read_text()
    assert log.count('"status": 201') == 1
    assert "secret" not in log


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"host": "0.0.0.0"}, "host='0.0.0.0' is open to others"),
        ({"host": "example.org"}, "is open to others"),
        ({"port": 70000}, "port=70000"),
        ({"queue": 0}, "queue=0"),
        ({"max_rows": 0}, "max_rows=0"),
        ({"deadline": 0}, "deadline=0"),
        ({"keep_days": -1}, "keep_days=-1"),
    ],
)
def test_options_that_cannot_be_are_named(tmp_path, options, message):
    with pytest.raises(InvalidParameterError, match=message):
        serve(predictor("small"), keys=tmp_path, **options)


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ([], "must be at least one"),
        ([3], "models=3 must be predictors"),
        ({"a": "small", "b": "small"}, "models='b' is the same network as 'a'"),
    ],
)
def test_models_that_cannot_be_served_are_named(tmp_path, models, message):
    if isinstance(models, dict):
        models = {key: predictor(name) for key, name in models.items()}
    with pytest.raises(InvalidParameterError, match=message):
        serve(models, keys=tmp_path)


def test_a_model_that_is_not_compiled_or_no_file_is_an_error(tmp_path):
    made = predictor("small").with_graph(predictor("small").graph)
    with pytest.raises(NotCompiledError, match="call compile"):
        serve(made, keys=tmp_path / "a")
    (tmp_path / "m").write_bytes(b"x")
    with pytest.raises(SerializationError):
        serve(tmp_path / "m", keys=tmp_path / "b")


def test_the_command_has_the_defaults_of_the_function():
    from cipherfit.serve.command import _BOUNDS

    defaults = {name.replace("-", "_"): bound[1] for name, bound in _BOUNDS.items()}
    assert {name: defaults[name] for name in vars(Options())} == vars(Options())
