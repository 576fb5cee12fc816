"""What the service adds to an encrypted run: medians over loopback, beside the bare run.

Run with ``make bench-service``; ``--quick`` leaves out the network with lookups.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import multiprocessing
import socket
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from cipherfit import IntegerGraph, Predictor
from cipherfit.predictor.backend import backend_of
from cipherfit.predictor.targets import RealTargets

ROUNDS = {"bfv": 300, "concrete": 15}


def network(n_features: int, n_hidden: int, n_outputs: int) -> IntegerGraph:
    """Return a network with 4-bit inputs and, if it has hidden neurons, lookups of 6 bits."""
    random = np.random.default_rng(0)
    layers: list[dict[str, object]] = []
    width = n_features
    if n_hidden:
        # 8 inputs of 1 each make sums of at most 63 with codes of 3 bits.
        weights = np.zeros((n_hidden, n_features), int)
        for row in weights:
            row[random.permutation(n_features)[:8]] = 1
        tables = [np.arange(57) % 8 for _ in range(n_hidden)]
        zeros = np.zeros(n_hidden, int)
        layers = [
            {"kind": "linear", "weights": weights, "offset": zeros},
            {"kind": "lookup", "low": zeros, "lsbs": 0, "exact": True, "tables": tables},
        ]
        width = n_hidden
    weights = random.integers(-3, 4, (n_outputs, width))
    layers.append({"kind": "linear", "weights": weights, "offset": np.zeros(n_outputs, int)})
    return IntegerGraph.from_layers(
        {
            "scale": np.ones(n_features),
            "zero_point": np.zeros(n_features, int),
            "n_bits": 3 if n_hidden else 4,
        },
        layers,
        {"scale": np.ones(n_outputs), "offset": np.zeros(n_outputs)},
    )


def median_ms(function: Callable[[], object], rounds: int) -> float:
    """Return the median milliseconds of a call, after two to warm up."""
    seconds = []
    for index in range(rounds + 2):
        start = time.perf_counter()
        function()
        if index >= 2:
            seconds.append(time.perf_counter() - start)
    return 1e3 * statistics.median(seconds)


def serve(path: Path, folder: Path, port: int, **options: Any) -> None:
    """Serve a model, in a process of its own."""
    from cipherfit.serve import serve

    # Its log would come between the results.
    with (folder / "log").open("w") as sys.stderr:
        serve(path, keys=folder / "keys", port=port, **options)


class Asking:
    """A connection to a service that has a client's key."""

    def __init__(self, port: int, digest: str, key: bytes) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port)
        while not self._is_ready():
            time.sleep(0.1)
        identity = hashlib.sha256(key).hexdigest()
        start = time.perf_counter()
        status, _ = self.ask("PUT", f"/v1/keys/{identity}?model={digest}", key)
        assert status in (200, 201), status
        self.upload_ms = 1e3 * (time.perf_counter() - start)
        self._path = f"/v1/models/{digest}/predict?key={identity}"

    def _is_ready(self) -> bool:
        try:
            return self.ask("GET", "/health/ready", b"")[0] == 200
        except OSError:
            self._connection.close()
            return False

    def ask(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """Return status and body of an answer."""
        self._connection.request(method, path, body)
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def predict(self, frame: bytes) -> None:
        """Have one frame of rows answered."""
        status, body = self.ask("POST", self._path, struct.pack("<II", 1, len(frame)) + frame)
        assert status == 200, body


def rows_per_second(askings: list[Asking], frame: bytes, rounds: int) -> float:
    """Return how many rows are answered, where so many clients ask for one at a time."""

    def ask(asking: Asking) -> None:
        for _ in range(rounds):
            asking.predict(frame)

    with ThreadPoolExecutor(len(askings)) as pool:
        start = time.perf_counter()
        list(pool.map(ask, askings))
        return len(askings) * rounds / (time.perf_counter() - start)


def measure(name: str, graph: IntegerGraph) -> None:
    """Print what a row takes with and without the service."""
    predictor = Predictor(graph, RealTargets(graph.n_outputs, flat=False))
    circuit = predictor.compile()
    circuit.client.keygen()
    codes = np.ones(graph.n_features, dtype=np.int64)
    question = circuit.client.encrypt(codes)
    frame = question.serialize()
    key = circuit.client.evaluation_keys.serialize()
    client = predictor.client_model()
    rounds = ROUNDS[client.backend]
    bare = median_ms(bare_run(circuit, frame), rounds)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.cipherfit"
        predictor.save(path)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=serve, args=(path, Path(folder), port))
        process.start()
        try:
            asking = Asking(port, client.digest, key)
            served = median_ms(lambda: asking.predict(frame), rounds)
            together = ""
            if client.backend == "concrete":
                many = [Asking(port, client.digest, key) for _ in range(16)]
                rate = rows_per_second(many, frame, 4)
                together = f"; 16 requests at a time: {rate:.2f} rows/s, {rate * bare / 1e3:.2f}x"
        finally:
            process.terminate()
            process.join()
    added = served - bare
    print(
        f"| {name} | {bare:.2f} | {served:.2f} | {added:.2f} ({added / bare:.0%}) | "
        f"{len(key) / 1e6:.3g} MB in {asking.upload_ms:.0f} ms{together} |",
        flush=True,
    )


def bare_run(circuit: Any, frame: bytes) -> Callable[[], object]:
    """Return what a server does at least, from bytes to bytes."""
    if backend_of(circuit) == "bfv":
        keys = circuit.client.evaluation_keys
        return lambda: circuit.server.run(frame, keys).serialize()
    from cipherfit.fhe.runtime import fhe

    keys = circuit.client.evaluation_keys
    return lambda: circuit.server.run(
        fhe.Value.deserialize(frame), evaluation_keys=keys
    ).serialize()


def main() -> None:
    """Measure each network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="without lookups")
    options = parser.parse_args()
    print("| network | bare run, ms | served, ms | added | key uploaded |\n|---|---|---|---|---|")
    measure("64 features, no lookups", network(64, 0, 10))
    measure("784 features, no lookups", network(784, 0, 10))
    if not options.quick:
        measure("16 lookups of 6 bits", network(16, 16, 3))


if __name__ == "__main__":
    main()
