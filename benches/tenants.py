"""Fifty tenants who ask at once, with more keys than disk quota and worker memory hold.

Run with ``make bench-service``. Each tenant has keys of its own, uploads them, and asks for four
rows, twice; another asks all the time. All answers are compared with simulated ones.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import multiprocessing
import socket
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from service import serve

from cipherfit import Client, IntegerGraph, Predictor
from cipherfit.exceptions import ServiceError
from cipherfit.predictor.targets import RealTargets

ROWS, ROUNDS = 4, 2
#: Megabytes: of keys on disk, some 30 of 50, and of a worker, which has a handful ready.
KEYS_MB, WORKER_MB = 400, 1300
GREEDY = "greedy"


def network() -> IntegerGraph:
    """Return a network of four lookups of four bits."""
    random = np.random.default_rng(0)
    zeros, ones = np.zeros(4, int), np.ones(4)
    hidden = np.ones((4, 4), int)
    tables = [random.integers(0, 4, 13) for _ in range(4)]
    return IntegerGraph.from_layers(
        {"scale": ones, "zero_point": zeros, "n_bits": 2},
        [
            {"kind": "linear", "weights": hidden, "offset": zeros},
            {"kind": "lookup", "low": zeros, "lsbs": 0, "exact": True, "tables": tables},
            {"kind": "linear", "weights": random.integers(-1, 2, (2, 4)), "offset": zeros[:2]},
        ],
        {"scale": ones[:2], "offset": np.zeros(2)},
    )


class Memory:
    """The most memory that a service and its workers have, sampled until told to stop."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._stop = threading.Event()
        self.front = self.worker = 0
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            self.front = max(self.front, _megabytes(self._pid))
            for child in _children(self._pid):
                self.worker = max(self.worker, _megabytes(child))

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        self._thread.join()


def _megabytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 // 1_000_000
    except OSError:
        return 0


def _children(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        yield from map(int, task.read_text().split())


@contextmanager
def running(model: Predictor, folder: Path, tenants: list[str]) -> Iterator[tuple[str, int]]:
    """Serve a model to tenants; yields its address and process."""
    path, tokens = folder / "model.cipherfit", folder / "tokens"
    model.save(path)
    lines = [f"{tenant} {hashlib.sha256(tenant.encode()).hexdigest()}\n" for tenant in tenants]
    tokens.write_text("".join(lines))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {"keys_mb": KEYS_MB, "worker_mb": WORKER_MB, "deadline": 900, "tokens": tokens}
    process = multiprocessing.get_context("spawn").Process(
        target=serve, args=(path, folder, port), kwargs=options
    )
    process.start()
    url = f"http://127.0.0.1:{port}"
    try:
        while True:
            try:
                urllib.request.urlopen(f"{url}/health/ready")
                break
            except OSError:
                time.sleep(0.1)
        assert process.pid is not None
        yield url, process.pid
    finally:
        process.terminate()
        process.join()


def counted(url: str, name: str, label: str = "") -> int:
    """Return the sum of a counter's values, of those with a label."""
    lines = urllib.request.urlopen(f"{url}/metrics").read().decode().splitlines()
    return sum(
        int(float(line.split()[-1])) for line in lines if line.startswith(name) and label in line
    )


def tenant_of(url: str, name: str, folder: Path) -> Client:
    """Return a client that has made its keys."""
    client = Client(url, folder / name, passphrase="words", token=name)
    assert client.key_id
    return client


class Greedy:
    """A tenant that asks for as much as it can, all the time."""

    def __init__(self, client: Client, graph: IntegerGraph) -> None:
        client.upload()
        self._client = client
        self.rows = 0
        self.right = True
        self._graph = graph
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(8)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        codes = np.random.default_rng(0).integers(0, 4, (8, 4))
        expected = self._graph.simulate(codes)
        while not self._stop.is_set():
            try:
                sums = self._client.sums(codes.astype(np.float32))
            except ServiceError:
                return  # the service ended before
            self.right &= bool(np.array_equal(sums, expected))
            self.rows += len(codes)

    def stop(self) -> None:
        """Ask no more."""
        self._stop.set()


def measure(number: int, keys: Path | None) -> None:
    """Let tenants ask, and print how it went."""
    from cipherfit.fhe.runtime import fhe

    graph = network()
    model = Predictor(graph, RealTargets(graph.n_outputs, flat=False))
    model.compile(
        configuration=fhe.Configuration(
            compress_evaluation_keys=True,
            compress_input_ciphertexts=True,
            dump_artifacts_on_unexpected_failures=False,
        ),
        p_error=1e-7,
    )
    names = [f"tenant{index}" for index in range(number)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with running(model, folder, [*names, GREEDY]) as (url, pid):
            start = time.perf_counter()
            clients = [tenant_of(url, tenant, keys or folder) for tenant in [*names, GREEDY]]
            made = time.perf_counter() - start
            sizes = sum(len(client.evaluation_keys) for client in clients)
            assert len({client.key_id for client in clients}) == number + 1
            memory, greedy = Memory(pid), Greedy(clients.pop(), graph)
            results = ask(clients, graph)
            greedy.stop()
            memory.stop()
            uploads = counted(url, "cipherfit_requests_total", 'status="201"')
            deaths = counted(url, "cipherfit_worker_deaths_total")
    waits = sorted(wait for _, wait in results)
    print(
        f"{number} tenants, {ROUNDS} times {ROWS} rows each, and one with 8 requests of 8 rows "
        "at any time"
    )
    print(f"keys: {sizes / 1e6:.0f} MB in all, made in {made:.0f} s; {KEYS_MB} MB are kept")
    print(
        f"right: {sum(right for right, _ in results)} of {len(results)} requests of tenants, "
        f"{'all' if greedy.right else 'not all'} of {greedy.rows} rows of the greedy one"
    )
    print(f"waits: median {statistics.median(waits):.1f} s, longest {waits[-1]:.1f} s")
    print(f"memory at most: front {memory.front} MB, worker {memory.worker} MB of {WORKER_MB}")
    print(f"uploads: {uploads} of {number + 1} keys; workers that ended: {deaths}")


def ask(clients: list[Client], graph: IntegerGraph) -> list[tuple[bool, float]]:
    """Have all clients ask at once; return whether each answer was right, and how long it took."""
    barrier = threading.Barrier(len(clients))

    def one(seed: int, client: Client) -> list[tuple[bool, float]]:
        random, results = np.random.default_rng(seed), []
        for _ in range(ROUNDS):
            codes = random.integers(0, 4, (ROWS, 4))
            barrier.wait()
            start = time.perf_counter()
            try:
                sums: Any = client.sums(codes.astype(np.float32))
            except ServiceError as error:
                print("not answered:", error, flush=True)
                sums = None
            waited = time.perf_counter() - start
            results.append((bool(np.array_equal(sums, graph.simulate(codes))), waited))
        return results

    with ThreadPoolExecutor(len(clients)) as pool:
        return list(itertools.chain(*pool.map(one, range(len(clients)), clients)))


def main() -> None:
    """Measure once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenants", type=int, default=50)
    parser.add_argument("--keys", type=Path, help="folder where clients' keys stay for another run")
    options = parser.parse_args()
    measure(options.tenants, options.keys)


if __name__ == "__main__":
    sys.exit(main())
