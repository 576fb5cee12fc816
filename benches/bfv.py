"""Rows of linear heads in BFV: milliseconds of each step, bytes, and rows per second on one core.

Run: python benches/bfv.py
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from cipherfit._core import IntegerGraph
from cipherfit.bfv import BfvCircuit, compile_graph, run_encrypted

REPEATS = 101
BATCH_REPEATS = 5
BATCH_ROWS = 4096

#: Features, outputs, bits of a code, largest weight, bits of flooding asked for.
HEADS = [
    (64, 10, 3, 7, None),
    (128, 10, 4, 15, None),
    (128, 10, 4, 15, 40),
    (256, 10, 5, 127, None),
    (784, 10, 2, 7, None),
    (2048, 10, 4, 15, None),
    (2048, 1, 4, 15, None),
    (512, 300, 4, 15, None),
]


def head(n_features: int, n_outputs: int, n_bits: int, weight: int) -> IntegerGraph:
    rng = np.random.default_rng(0)
    weights = rng.integers(-weight, weight + 1, (n_outputs, n_features))
    zeros = np.zeros(n_features, dtype=int)
    return IntegerGraph.from_layers(
        {"scale": np.ones(n_features), "zero_point": zeros, "n_bits": n_bits},
        [{"kind": "linear", "weights": weights, "offset": rng.integers(-9, 9, n_outputs)}],
        {"scale": np.ones(n_outputs), "offset": np.zeros(n_outputs)},
    )


def milliseconds(work: Callable[[], Any], repeats: int = REPEATS) -> float:
    work()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return 1e3 * statistics.median(seconds)


def steps(circuit: BfvCircuit, row: np.ndarray) -> list[float]:
    """Return milliseconds of encryption, run and decryption of a row, and of all from Python."""
    encrypted = circuit.encrypt(row)
    answer = circuit.run(encrypted)
    return [
        milliseconds(lambda: circuit.encrypt(row)),
        milliseconds(lambda: circuit.run(encrypted)),
        milliseconds(lambda: circuit.decrypt(answer)),
        milliseconds(lambda: circuit.encrypt_run_decrypt(row)),
    ]


def measured(
    n_features: int, n_outputs: int, n_bits: int, weight: int, flooding: int | None
) -> str:
    graph = head(n_features, n_outputs, n_bits, weight)
    circuit = compile_graph(graph, flooding_bits=flooding)
    codes = np.random.default_rng(1).integers(0, 2**n_bits, (BATCH_ROWS, n_features))
    codes = codes.astype(np.uint16)
    assert np.array_equal(run_encrypted(circuit, codes), graph.simulate(codes))
    batch = milliseconds(lambda: run_encrypted(circuit, codes), BATCH_REPEATS)
    specs = circuit.parameters
    cells = [
        f"{n_features} x {n_outputs}, w{weight.bit_length() + 1} a{n_bits}",
        f"{specs.degree}",
        f"{specs.flooding_bits}",
        *(f"{ms:.3f}" for ms in steps(circuit, codes[0])),
        f"{circuit.size_of_inputs / 1e3:.1f}",
        f"{circuit.size_of_outputs / 1e3:.1f}",
        f"{BATCH_ROWS / batch * 1e3:,.0f}",
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    names = ["head", "N", "flooding bits", "encrypt ms", "run ms", "decrypt ms", "row ms"]
    names += ["kB up", "kB down", "rows/s, batches"]
    print("| " + " | ".join(names) + " |")
    print("|" + "---|" * len(names))
    for sizes in HEADS:
        print(measured(*sizes), flush=True)


if __name__ == "__main__":
    main()
