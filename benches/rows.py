"""Many encrypted rows with lookups: one by one, several in a call, and by two workers.

Run with `python benches/rows.py`. Contenders take turns on the same rows, with the same keys. Wall
time says what the machine had to spare, CPU time what a row takes; that of worker processes is
counted, too. Workers are started before.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import joblib
import numpy as np
import psutil
from sklearn.datasets import load_digits

from cipherfit import NeuralNetClassifier, run_encrypted

TURNS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=32)
    options = parser.parse_args()
    X, y = load_digits(return_X_y=True)
    model = NeuralNetClassifier(module__n_hidden_neurons=16, random_state=0, max_epochs=20)
    circuit = model.fit(X, y).compile()
    circuit.keygen()
    codes = model.graph_.quantize(X[: options.rows].astype(np.float32))
    contenders = {
        "one by one": lambda: [circuit.encrypt_run_decrypt(row) for row in codes.astype(np.int64)],
        f"{circuit.rows.most_rows} in a call": lambda: run_encrypted(circuit, codes),
        "two threads": lambda: by_threads(circuit, codes),
        "two processes": lambda: run_encrypted(circuit, codes, n_jobs=2),
    }
    for call in contenders.values():
        call()
    taken: dict[str, list[np.ndarray]] = {name: [] for name in contenders}
    for _ in range(TURNS):
        for name, call in contenders.items():
            taken[name].append(seconds(call) / options.rows)
    first = np.array(taken["one by one"])
    print(f"{options.rows} rows of {model.graph_.n_lookups} lookups")
    print("| | rows/s, median (best) | CPU s a row | times as many rows/s | CPU, times |")
    print("|---|---|---|---|---|")
    for name, turns in taken.items():
        wall, cpu = np.array(turns).T
        gain, saved = np.median(first / np.array(turns), axis=0)
        print(
            f"| {name} | {np.median(1 / wall):.2f} ({(1 / wall).max():.2f}) | "
            f"{np.median(cpu):.3f} | {gain:.2f} | {saved:.2f} |"
        )


def by_threads(circuit: Any, codes: np.ndarray) -> np.ndarray:
    with joblib.parallel_config("threading", n_jobs=2):
        return run_encrypted(circuit, codes)


def seconds(call: Callable[[], Any]) -> np.ndarray:
    """Return wall and CPU seconds of a call, in this process and its children."""
    before, start = cpu_seconds(), time.perf_counter()
    call()
    return np.array([time.perf_counter() - start, cpu_seconds() - before])


def cpu_seconds() -> float:
    this = psutil.Process()
    times = [process.cpu_times() for process in (this, *this.children(recursive=True))]
    return sum(spent.user + spent.system for spent in times)


if __name__ == "__main__":
    main()
