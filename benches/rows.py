"""Many encrypted rows: one by one, several in a call, by two workers, and by earlier versions.

Run with `python benches/rows.py`. Contenders take turns on the same rows, with the same keys; an
earlier version, of which `--before` names a checkout with its core built, has a process and keys of
its own. Wall time says what the machine had to spare, CPU time what a row takes; that of other
processes is counted, too. Workers are started before. The network has lookups that round
approximately, or exact ones of 6 bits (`--exact`), or none (`--no-lookups`).
"""

from __future__ import annotations

import argparse
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import psutil
from sklearn.datasets import load_digits

from cipherfit import IntegerGraph, NeuralNetClassifier, run_encrypted

#: What an earlier version runs: it answers each line with one of its own.
BEFORE = """
import pickle, sys, warnings
warnings.simplefilter("ignore")
from cipherfit import IntegerGraph
try:
    from cipherfit import fhe
    compile_graph, run_encrypted = fhe.compile_graph, fhe.run_encrypted
except ImportError:
    from cipherfit.circuit import compile_graph, run_encrypted
parts, codes = pickle.load(sys.stdin.buffer)
circuit = compile_graph(IntegerGraph.from_layers(**parts))
circuit.keygen()
while True:
    sums = run_encrypted(circuit, codes, progress=False)
    pickle.dump(sums, sys.stdout.buffer)
    sys.stdout.buffer.flush()
    if not sys.stdin.buffer.read(1):
        break
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--turns", type=int, default=3)
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--no-lookups", action="store_true")
    kind.add_argument("--exact", action="store_true", help="exact lookups of 6 bits")
    parser.add_argument("--before", type=Path, nargs="*", default=[], help="checkouts, core built")
    options = parser.parse_args()
    X, y = load_digits(return_X_y=True)
    sizes = {"n_hidden_neurons": 16}
    if options.no_lookups:
        sizes = {"n_layers": 1, "n_w_bits": 3, "n_a_bits": 3, "n_accum_bits": 8}
    elif options.exact:
        sizes |= {"n_w_bits": 2, "n_a_bits": 2, "n_accum_bits": 6}
    network = {f"module__{name}": value for name, value in sizes.items()}
    model = NeuralNetClassifier(**network, random_state=0, max_epochs=20).fit(X, y)
    circuit = model.compile()
    circuit.keygen()
    codes = model.graph_.quantize(np.resize(X, (options.rows, X.shape[1])).astype(np.float32))
    contenders: dict[str, Callable[[], Any]] = {}
    for folder in options.before:
        contenders[f"before ({folder.name})"] = earlier(folder, model.graph_, codes)
    if options.no_lookups:
        contenders["now"] = lambda: run_encrypted(circuit, codes)
    else:
        contenders |= with_lookups(circuit, codes)
    expected = model.graph_.simulate(codes)
    for name, call in contenders.items():
        close = np.mean(np.asarray(call()).argmax(axis=1) == expected.argmax(axis=1))
        assert close > 0.9, f"{name}: {close:.0%} of the rows have the same class"
    taken: dict[str, list[np.ndarray]] = {name: [] for name in contenders}
    for _ in range(options.turns):
        for name, call in contenders.items():
            taken[name].append(seconds(call) / options.rows)
    first = np.array(next(iter(taken.values())))
    print(f"{options.rows} rows of {model.graph_.n_lookups} lookups")
    print("| | rows/s, median (best) | CPU s a row | times as many rows/s | CPU, times |")
    print("|---|---|---|---|---|")
    for name, turns in taken.items():
        wall, cpu = np.array(turns).T
        gain, saved = np.median(first / np.array(turns), axis=0)
        print(
            f"| {name} | {np.median(1 / wall):.2f} ({(1 / wall).max():.2f}) | "
            f"{np.median(cpu):.3g} | {gain:.2f} | {saved:.2f} |"
        )


def with_lookups(circuit: Any, codes: np.ndarray) -> dict[str, Callable[[], Any]]:
    """Return the ways that rows with lookups are run."""
    return {
        "one by one": lambda: [circuit.encrypt_run_decrypt(row) for row in codes.astype(np.int64)],
        f"{circuit.rows.most_rows} in a call": lambda: run_encrypted(circuit, codes),
        "two threads": lambda: by_threads(circuit, codes),
        "two processes": lambda: run_encrypted(circuit, codes, n_jobs=2),
    }


def earlier(folder: Path, graph: IntegerGraph, codes: np.ndarray) -> Callable[[], Any]:
    """Return what runs the rows by an earlier version, in a process that goes on for more."""
    parts = graph.to_dict()
    parts.pop("n_client_layers", None)
    parts["input"] = {name: parts["input"][name] for name in ("scale", "zero_point", "n_bits")}
    process = subprocess.Popen(
        [sys.executable, "-c", BEFORE],
        env={**os.environ, "PYTHONPATH": str(folder / "python")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    to, answers = process.stdin, process.stdout
    assert to is not None
    assert answers is not None
    pickle.dump((parts, codes), to)
    to.flush()
    first = [pickle.load(answers)]

    def run() -> Any:
        if first:
            return first.pop()
        to.write(b"\n")
        to.flush()
        return pickle.load(answers)

    return run


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
