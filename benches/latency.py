"""Measure encrypted rows of circuits of many kinds against the latency model of `estimate_fhe`.

Networks have random sparse weights and random tables: what they compute is no matter here. Run
`python benches/latency.py`; it takes a minute or two.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from cipherfit import IntegerGraph, compile_graph
from cipherfit.fhe.estimate import estimate_circuit, machine_factor

N_RUNS = 5


@dataclass(frozen=True)
class Case:
    """A circuit: sizes of its layers, bits, and Concrete's error probability."""

    widths: tuple[int, ...]
    code_bits: int
    accumulator_bits: int
    lookup_bits: int
    p_error: float = 0.01


CASES = [
    Case((30, 4, 2), 3, 8, 6),
    Case((64, 16, 10), 2, 5, 5),
    Case((64, 16, 10), 3, 6, 6),
    Case((64, 16, 10), 3, 7, 7),
    Case((64, 16, 10), 3, 8, 4),
    Case((64, 16, 10), 3, 8, 5),
    Case((64, 16, 10), 3, 8, 6),
    Case((64, 16, 10), 3, 8, 6, p_error=0.05),
    Case((64, 16, 10), 3, 8, 6, p_error=1e-4),
    Case((64, 32, 10), 3, 8, 6),
    Case((64, 32, 10), 4, 10, 5),
    Case((64, 16, 16, 10), 3, 8, 6),
    Case((784, 64, 10), 4, 10, 5),
]


def random_graph(case: Case) -> IntegerGraph:
    """Return a network whose accumulators just fit."""
    rng = np.random.default_rng(0)
    top, lsbs = 2**case.code_bits - 1, case.accumulator_bits - case.lookup_bits
    layers: list[dict[str, Any]] = []
    for n_inputs, n_outputs in zip(case.widths, case.widths[1:], strict=False):
        weights = np.zeros((n_outputs, n_inputs), dtype=np.int64)
        for row in weights:
            left = (2**case.accumulator_bits - 1) // top
            for column in rng.permutation(n_inputs):
                row[column] = min(left, rng.integers(1, 4)) * rng.choice([-1, 1])
                left -= abs(row[column])
        low = np.minimum(weights, 0).sum(axis=1) * top
        layers.append({"kind": "linear", "weights": weights, "offset": -low})
        width = abs(weights).sum(axis=1) * top
        sizes = ((width + (1 << lsbs >> 1)) >> lsbs) + 1
        tables = [np.arange(size) * top // (size - 1) for size in sizes]
        zeros = np.zeros(n_outputs, dtype=np.int64)
        layers.append(
            {"kind": "lookup", "low": zeros, "lsbs": lsbs, "exact": False, "tables": tables}
        )
    n_features, n_outputs = case.widths[0], case.widths[-1]
    return IntegerGraph.from_layers(
        {
            "scale": np.ones(n_features),
            "zero_point": np.zeros(n_features, dtype=np.int64),
            "n_bits": case.code_bits,
        },
        layers[:-1],
        {"scale": np.ones(n_outputs), "offset": np.zeros(n_outputs)},
    )


def measured_seconds(circuit: Any, n_features: int) -> float:
    """Return the least of some encrypted runs, keys and encryption apart."""
    encrypted = circuit.encrypt(np.ones(n_features, dtype=np.int64))
    seconds = []
    for _ in range(N_RUNS):
        start = time.perf_counter()
        circuit.run(encrypted)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main() -> None:
    """Print modelled and measured seconds per row."""
    print(f"machine factor {machine_factor():.2f}\n")
    print(
        "| network | codes | accumulators | lookups | p_error | modelled, s | measured, s | off |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for case in CASES:
        graph = random_graph(case)
        circuit = compile_graph(graph, p_error=case.p_error)
        modelled = estimate_circuit(circuit, graph).seconds_per_row
        measured = measured_seconds(circuit, case.widths[0])
        print(
            f"| {'-'.join(map(str, case.widths))} | {case.code_bits} bits | "
            f"{case.accumulator_bits} bits | {case.lookup_bits} bits | {case.p_error:g} | "
            f"{modelled:.3f} | {measured:.3f} | {modelled / measured - 1:+.0%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
