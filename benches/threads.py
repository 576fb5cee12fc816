"""A second thread against a second process, which says how much it could gain here at most.

Run with `python benches/threads.py`. Two virtual cores may share one real core, or wait for other
tenants, so the gain of a second thread says little without that of a second process, which shares
nothing with the first: each has half of the rows, and both start at the same time. Contenders take
turns, some calls each with a pause between them, in which a caller would look at the results; the
second process stays awake. Results are checked before they are timed.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from peers import NETWORKS, features, network
from tqdm.auto import trange

from cipherfit import IntegerGraph

BATCHES = (10_000, 30_000, 100_000)
TURNS = 30
CALLS = 20
#: Seconds of calls before those that are timed: schedulers take a while to spread threads.
WARM_UP = 0.03
PAUSE = 1e-4


def main() -> None:
    print("| network | rows | two threads, times one | two processes, times one |")
    print("|---|---|---|---|")
    for name in NETWORKS:
        for rows in BATCHES:
            threads, processes = (spread(gain) for gain in gains(name, rows))
            print(f"| {name} | {rows} | {threads} | {processes} |", flush=True)


def spread(gains: np.ndarray) -> str:
    """Return the median and, in brackets, the quartiles."""
    first, median, third = np.percentile(gains, [25, 50, 75])
    return f"{median:.2f} ({first:.2f}-{third:.2f})"


def gains(name: str, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """How many times as fast as one thread two threads and two processes are, turn by turn."""
    graph, X = network(name), features(name, rows)
    expected = graph.run(X, n_threads=1)
    np.testing.assert_array_equal(graph.run(X, n_threads=2), expected)
    with SecondProcess(graph, X[rows // 2 :], expected[rows // 2 :]) as second:
        contenders = {
            "one thread": lambda: graph.run(X, n_threads=1),
            "two threads": lambda: graph.run(X, n_threads=2),
            "two processes": lambda: second.beside(graph.run, X[: rows // 2]),
        }
        seconds: dict[str, list[float]] = {contender: [] for contender in contenders}
        for _ in trange(TURNS, desc=f"{name}, {rows} rows", leave=False):
            for contender, call in contenders.items():
                second.is_needed(contender == "two processes")
                seconds[contender].append(time_of(call))
    one, threads, processes = (np.array(taken) for taken in seconds.values())
    return one / threads, one / processes


def time_of(call: Callable[[], Any]) -> float:
    """Return the median seconds of a call, after some that don't count."""
    taken: list[float] = []
    first = start = time.perf_counter()
    while start < first + WARM_UP:
        call()
        start = pause()
    for _ in range(CALLS):
        call()
        taken.append(time.perf_counter() - start)
        start = pause()
    return float(np.median(taken))


def pause() -> float:
    """Let some time pass without sleeping, and return when that was over."""
    end = time.perf_counter() + PAUSE
    while (now := time.perf_counter()) < end:
        pass
    return now


class SecondProcess:
    """Runs a graph on rows of its own, as often and as soon as it is told to.

    Both processes watch two counters in shared memory without sleeping: the calls that were asked
    for, and those that are done.
    """

    def __init__(self, graph: IntegerGraph, X: np.ndarray, expected: np.ndarray) -> None:
        context = multiprocessing.get_context("fork")
        shared = context.RawArray("q", 2)
        self.counters = np.frombuffer(shared, dtype=np.int64)
        self.pipe, theirs = context.Pipe()
        arguments = (theirs, shared, graph.to_bytes(), X)
        self.process = context.Process(target=serve, args=arguments, daemon=True)
        self.process.start()
        np.testing.assert_array_equal(self.pipe.recv(), expected)

    def __enter__(self) -> SecondProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.pipe.send(None)
        self.process.join()

    def is_needed(self, needed: bool) -> None:
        """Wake it, or let it sleep until it is needed."""
        self.pipe.send(needed)
        self.pipe.recv()

    def beside(self, run: Callable[..., Any], X: np.ndarray) -> None:
        """Run on `X` here while the other process runs on its rows."""
        self.counters[0] += 1
        run(X, n_threads=1)
        while self.counters[1] < self.counters[0]:
            pass


def serve(pipe: Connection, shared: Any, graph_bytes: bytes, X: np.ndarray) -> None:
    """Do what `SecondProcess` asks for."""
    counters, graph = np.frombuffer(shared, dtype=np.int64), IntegerGraph.from_bytes(graph_bytes)
    pipe.send(graph.run(X, n_threads=1))
    while (needed := pipe.recv()) is not None:
        pipe.send(needed)
        while needed and not pipe.poll():
            while counters[1] < counters[0]:
                graph.run(X, n_threads=1)
                counters[1] += 1


if __name__ == "__main__":
    main()
