"""Measure simulation against its peers on the same rows of the same networks.

Run with `make bench`, or `python -m pytest benches/simulation.py --benchmark-only`; add
`-k "100000 and 1-thread"` for the largest batches on one thread alone. Results are checked before
they are timed. `conftest.py` prints the table of ratios; benches/README.md keeps one.
"""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from peers import NETWORKS, PEERS, Peer, concrete, features, network, peers

BATCHES = (1, 64, 1000, 100_000)
#: Seconds after which threads that other libraries keep busy while they wait have gone to sleep.
IDLE = 0.5
ONE_THREAD = pytest.mark.parametrize("n_threads", [1], ids=["1-thread"])


def measure(benchmark, record, key: tuple[str, int, int], name: str, peer: Peer) -> None:
    network_name, rows, n_threads = key
    X = features(network_name, rows)[: peer.max_rows]
    peer.check(X[: min(300, peer.max_rows)])
    time.sleep(IDLE)
    benchmark.group = f"{network_name}, {rows} rows, {n_threads} thread(s)"
    benchmark.extra_info["rows"] = len(X)
    iterations = max(1, 2000 // len(X)) if peer.max_rows == max(BATCHES) else 1
    rounds = 30 if peer.max_rows == max(BATCHES) else 3
    # Schedulers take a while to spread threads.
    warm_up = 1 if n_threads == 1 else rounds
    benchmark.pedantic(peer.call, (X,), rounds=rounds, iterations=iterations, warmup_rounds=warm_up)
    record(key, name, benchmark, len(X))


# The first varies fastest: peers follow each other, so that a busy machine is so for all of them.
@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("rows", BATCHES)
@pytest.mark.parametrize("n_threads", [1, 2], ids=["1-thread", "2-threads"])
def test_run(benchmark, record, name, rows, n_threads, peer):
    torch.set_num_threads(n_threads)
    measure(benchmark, record, (name, rows, n_threads), peer, peers(name, n_threads)[peer])


@ONE_THREAD
@pytest.mark.parametrize("name", ["30-16-2", "64-32-10"])
@pytest.mark.parametrize("rows", BATCHES)
@pytest.mark.filterwarnings("ignore:the keys of this circuit")
def test_concrete(benchmark, record, name, rows, n_threads):
    measure(benchmark, record, (name, rows, n_threads), "Concrete", concrete(name))


@ONE_THREAD
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("rows", BATCHES[-1:])
def test_reading_the_input(benchmark, record, name, rows, n_threads):
    """The roofline: one core reads the float32 rows and does next to nothing with them."""
    read = Peer(np.max, np.max)
    measure(benchmark, record, (name, rows, n_threads), "reading", read)


@ONE_THREAD
@pytest.mark.parametrize("p_error", [0.0, 0.01])
@pytest.mark.parametrize("name", NETWORKS)
def test_errors_of_lookups(benchmark, record, name, p_error, n_threads):
    graph = network(name)
    codes = graph.quantize(features(name, max(BATCHES)))

    def simulate(codes: np.ndarray) -> np.ndarray:
        return graph.simulate(codes, p_error=p_error, seed=0, n_threads=n_threads)

    benchmark.group = f"{name}, errors of lookups"
    benchmark.pedantic(simulate, (codes,), rounds=30, warmup_rounds=1)
    record((name, max(BATCHES), n_threads), f"p_error {p_error}", benchmark, len(codes))
