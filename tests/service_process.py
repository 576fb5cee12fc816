"""A service in a process of its own, and what tests ask it with."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from processes import LONG, free_port, wait_until

from cipherfit import IntegerGraph, Predictor
from cipherfit.predictor.targets import RealTargets

TENANTS = ("alice", "bob")
#: Networks without lookups, by features and outputs, and one with two lookups.
SHAPES = {"small": (6, 3), "wide": (40, 2)}
#: As models are compiled that are served.
COMPRESSED = {
    "compress_evaluation_keys": True,
    "compress_input_ciphertexts": True,
    "dump_artifacts_on_unexpected_failures": False,
}


def network(name: str) -> IntegerGraph:
    """Return a network; every process makes the same."""
    if name == "lookups":
        return with_lookups()
    n_features, n_outputs = SHAPES[name]
    weights = np.random.default_rng(7).integers(-3, 4, (n_outputs, n_features))
    return IntegerGraph.from_layers(
        {"scale": np.ones(n_features), "zero_point": np.zeros(n_features, int), "n_bits": 4},
        [{"kind": "linear", "weights": weights, "offset": np.arange(n_outputs)}],
        {"scale": np.ones(n_outputs), "offset": np.zeros(n_outputs)},
    )


def with_lookups() -> IntegerGraph:
    """Return a network of two lookups of three bits."""
    weights = np.array([[1, 1], [1, 0]])
    tables = [np.arange(7) % 4, np.arange(4)]
    return IntegerGraph.from_layers(
        {"scale": np.ones(2), "zero_point": np.zeros(2, int), "n_bits": 2},
        [
            {"kind": "linear", "weights": weights, "offset": np.zeros(2, int)},
            {"kind": "lookup", "low": np.zeros(2, int), "lsbs": 0, "exact": True, "tables": tables},
            {"kind": "linear", "weights": weights, "offset": np.zeros(2, int)},
        ],
        {"scale": np.ones(2), "offset": np.zeros(2)},
    )


def token_of(tenant: str) -> str:
    return f"token-of-{tenant}"


def predictor(name: str) -> Predictor:
    """Return a compiled predictor."""
    graph = network(name)
    made = Predictor(graph, RealTargets(graph.n_outputs, flat=False))
    if name == "lookups":
        from cipherfit.fhe.runtime import fhe

        made.compile(configuration=fhe.Configuration(**COMPRESSED), p_error=1e-7)
    else:
        made.compile()
    return made


class Running:
    """A service that runs, on a port of its own."""

    def __init__(
        self, folder: Path, models: list[str], *, tenants: Sequence[str] = TENANTS, **options
    ) -> None:
        self.folder = folder
        self.tenants = tenants
        tokens = folder / "tokens"
        tokens.write_text(
            "".join(
                f"{tenant} {hashlib.sha256(token_of(tenant).encode()).hexdigest()}\n"
                for tenant in tenants
            )
        )
        self.port = free_port()
        self.options = {
            "keys": str(folder / "keys"), "tokens": str(tokens), "port": self.port, **options,
        }  # fmt: skip
        self.models = models
        self.log = folder / "log"
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, __file__, json.dumps([self.models, self.options])],
                stderr=log,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        wait_until(self._is_ready_or_over)
        assert self.process.poll() is None, self.log.read_text()[-3000:]

    def _is_ready_or_over(self) -> bool:
        with contextlib.suppress(OSError):
            if self.ask("GET", "/health/ready", token=None)[0] == 200:
                return True
        return self.process.poll() is not None

    def runs(self, number: int) -> bool:
        """Whether so many predictions wait or run."""
        page = self.ask("GET", "/metrics", token=None)[2]
        return f"cipherfit_predictions_running {number}.0".encode() in page

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LONG)

    def ask(self, method, path, body=None, *, token="alice", headers=None):
        """Return status, headers and body of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LONG)
        sent = token_of(token) if token in self.tenants else token
        own = {"Authorization": f"Bearer {sent}"} if token else {}
        try:
            connection.request(method, path, body, {**own, **(headers or {})})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def refusal(self, *arguments, **options) -> tuple[int, str]:
        """Return status and kind of a refusal, and check that it says what is wrong."""
        status, _, body = self.ask(*arguments, **options)
        said = json.loads(body)
        assert set(said) == {"error", "message"}
        assert said["message"]
        return status, said["error"]

    def raw(self, data: bytes) -> bytes:
        """Send bytes as they are; return the beginning of what comes back, if anything does."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=LONG) as connection:
            try:
                connection.sendall(data)
                return connection.recv(65536)
            except (BrokenPipeError, ConnectionResetError):
                return b""


def digest_of(name: str) -> str:
    return hashlib.sha256(network(name).to_bytes()).hexdigest()


def key_id(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def framed(*frames: bytes) -> bytes:
    """Write frames without the code under test."""
    parts = [struct.pack("<I", len(frame)) + frame for frame in frames]
    return struct.pack("<I", len(frames)) + b"".join(parts)


def unframed(body: bytes) -> list[bytes]:
    (count,) = struct.unpack_from("<I", body)
    frames, position = [], 4
    for _ in range(count):
        (length,) = struct.unpack_from("<I", body, position)
        frames.append(body[position + 4 : position + 4 + length])
        position += 4 + length
    assert position == len(body)
    return frames


if __name__ == "__main__":
    from cipherfit.serve import serve

    names, given = json.loads(sys.argv[1])
    serve({name: predictor(name) for name in names}, **given)
