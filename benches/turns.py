"""Simulation against its peers, taking turns: nobody finds the rows of its last call in the cache.

Run with `python benches/turns.py`. `simulation.py` gives each contender its rounds in a row; here
they are called once each, in random order, again and again, on one thread and the same 100,000
rows. Results are checked before they are timed.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from peers import NETWORKS, features, peers
from tqdm.auto import trange

ROWS = 100_000
TURNS = 40
OWN = ("cipherfit", "its AVX2 path", "its portable path")
FASTEST_PEER = "ONNX Runtime float32"


def medians(name: str) -> dict[str, float]:
    """Median seconds of a call of each contender on one network."""
    X, contenders = features(name, ROWS), peers(name, 1)
    for contender in (*OWN, FASTEST_PEER):
        contenders[contender].check(X[:300])
    calls = {contender: contenders[contender].call for contender in (*OWN, FASTEST_PEER)}
    order, seconds = np.random.default_rng(0), {contender: [] for contender in calls}
    for _ in trange(TURNS, desc=name, leave=False):
        for contender in order.permutation(list(calls)):
            start = time.perf_counter()
            calls[contender](X)
            seconds[contender].append(time.perf_counter() - start)
    return {contender: float(np.median(taken)) for contender, taken in seconds.items()}


def main() -> None:
    torch.set_num_threads(1)
    print(f"| network | {' | '.join(OWN)} |\n|{'---|' * (len(OWN) + 1)}")
    for name in NETWORKS:
        taken = medians(name)
        ratios = [f"{taken[FASTEST_PEER] / taken[own]:.2f}" for own in OWN]
        print(f"| {name} | {' | '.join(ratios)} |", flush=True)


if __name__ == "__main__":
    main()
