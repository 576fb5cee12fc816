"""Measure circuits against those of Concrete's default way to share parameters out to lookups.

Networks have several layers of lookups, random sparse weights and random tables; the last one has
the layers of the digits CNN of importing.py. Rows are run in turns, after keys and encryption. Run
`python benches/strategies.py`; it takes a few minutes. With `--output-bits 7` circuits whose
outputs are right to their last bit are measured against those that are right to so many.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import torch
from importing import COMMON, Own, cnn
from latency import Case, random_graph
from sklearn.datasets import load_digits

from cipherfit import IntegerGraph
from cipherfit.fhe import circuit as circuits
from cipherfit.fhe import compile_graph

N_RUNS = 7
CASES = [
    Case((30, 4, 4, 2), 3, 8, 6),
    Case((30, 8, 8, 2), 2, 6, 6),
    Case((64, 16, 16, 10), 3, 8, 6),
    Case((64, 16, 16, 16, 10), 3, 8, 5),
    Case((64, 32, 16, 10), 4, 10, 5),
    Case((64, 8, 8, 8, 8, 2), 2, 7, 5),
    Case((30, 4, 4, 2), 3, 8, 6, p_error=1e-6),
]
#: With wide outputs, but the first.
WITH_OUTPUTS = [
    Case((64, 16, 10), 3, 8, 6),
    Case((64, 32, 10), 4, 10, 5),
    Case((784, 64, 10), 4, 10, 5),
    Case((784, 64, 10), 4, 12, 5),
    Case((64, 32, 16, 10), 4, 10, 5),
]


def digits_cnn() -> IntegerGraph:
    """Return the digits CNN, hardly trained, quantized to 4 bits."""
    X, y = load_digits(return_X_y=True)
    X = X.astype(np.float32).reshape(-1, 1, 8, 8)
    torch.manual_seed(0)
    return Own(cnn(), max_epochs=2, lr=0.1, n_lookup_bits=5, **COMMON).fit(X, y).graph_


def main() -> None:
    """Print sizes of keys and seconds per row, of both ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output-bits", type=int, help="measure so many against all")
    bits = parser.parse_args().output_bits
    print(
        "| network | outputs | lookups read | p_error | keys, MB | CPU s a row | ratio | s a row "
        "| ratio |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for case in CASES if bits is None else WITH_OUTPUTS:
        _compare(random_graph(case), "-".join(map(str, case.widths)), case, bits)
    cnn_case = Case((), 4, 0, 5, p_error=0.01 if bits is None else 0.05)
    _compare(digits_cnn(), "digits CNN, w4 a4", cnn_case, bits)


def _compare(graph: IntegerGraph, name: str, case: Case, bits: int | None) -> None:
    first = compile_graph if bits is not None else _with_concretes_default
    both = [
        first(graph, p_error=case.p_error),
        compile_graph(graph, p_error=case.p_error, n_output_bits=bits),
    ]
    size = [_key_bytes(circuit) / 1e6 for circuit in both]
    seconds: list[list[tuple[float, float]]] = [[], []]
    for circuit in both:
        circuit.keygen()
    codes = np.random.default_rng(0).integers(0, 1 << graph.n_bits, (N_RUNS, graph.n_features))
    for row in codes:
        for circuit, times in zip(both, seconds, strict=True):
            encrypted = circuit.encrypt(row)
            began, busy = time.perf_counter(), time.process_time()
            circuit.run(encrypted)
            times.append((time.process_time() - busy, time.perf_counter() - began))
    before, after = (np.median(times, axis=0) for times in seconds)
    columns = [f"{b:.3f}, {a:.3f} | {b / a:.2f}" for b, a in zip(before, after, strict=True)]
    outputs = graph.prove().layers[-1].bits
    print(
        f"| {name} | {outputs} bits | {case.lookup_bits} bits | {case.p_error:g} | "
        f"{size[0]:.0f}, {size[1]:.0f} | {' | '.join(columns)} |",
        flush=True,
    )


def _with_concretes_default(graph: IntegerGraph, p_error: float) -> Any:
    chosen = circuits.strategies_for
    circuits.strategies_for = lambda *_: ({},)
    try:
        return compile_graph(graph, p_error=p_error)
    finally:
        circuits.strategies_for = chosen


def _key_bytes(circuit: Any) -> int:
    return int(circuit.size_of_bootstrap_keys + circuit.size_of_keyswitch_keys)


if __name__ == "__main__":
    main()
