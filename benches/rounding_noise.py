"""Measure how often approximately rounded lookups err in encrypted runs, against the model.

The circuit reads one accumulator per neuron, known beforehand, through an approximately rounded
lookup that gives its own index back. Every decrypted index is compared with the exact one, by how
far the accumulator lies from the rounding threshold.

Run `python benches/rounding_noise.py [--rows 60]`; results are kept in
benches/data/rounding_noise.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from cipherfit import IntegerGraph, compile_graph, run_encrypted

DATA = Path(__file__).parent / "data" / "rounding_noise.json"
N_NEURONS = 16
#: (bits of the accumulator, bits that its lookup reads, p_error)
CASES = [(8, 6, 0.01), (8, 6, 0.05), (8, 5, 0.01), (8, 4, 0.05), (10, 6, 0.01), (10, 5, 0.05)]


def index_graph(n_bits: int, n_lookup_bits: int) -> IntegerGraph:
    """Return a graph whose outputs are the indexes that its lookups read."""
    lsbs = n_bits - n_lookup_bits
    identity = np.eye(N_NEURONS, dtype=np.int64)
    zeros = np.zeros(N_NEURONS, dtype=np.int64)
    # Rounding the largest accumulators up gives one index more than the bits have.
    table = np.arange((((1 << n_bits) - 1 + (1 << lsbs >> 1)) >> lsbs) + 1)
    return IntegerGraph.from_layers(
        {"scale": np.ones(N_NEURONS), "zero_point": zeros, "n_bits": n_bits},
        [
            {"kind": "linear", "weights": identity, "offset": zeros},
            {"kind": "lookup", "low": zeros, "lsbs": lsbs, "exact": False,
             "tables": [table] * N_NEURONS},
            {"kind": "linear", "weights": identity, "offset": zeros},
        ],
        {"scale": np.ones(N_NEURONS), "offset": np.zeros(N_NEURONS)},
    )  # fmt: skip


def predicted(fraction: float, p_error: float) -> tuple[float, float]:
    """Return the modelled probabilities of reading one index less, and one more.

    The accumulator lies `fraction` of a lookup's step above the centre of the interval that is
    read as its index, in (-0.5, 0.5). Its noise is normal, and such that half a step is exceeded
    with probability `p_error`: what TFHE's parameters are chosen for.
    """
    deviation = 0.5 / NormalDist().inv_cdf(1 - p_error / 2)
    noise = NormalDist(sigma=deviation)
    return noise.cdf(-0.5 - fraction), 1 - noise.cdf(0.5 - fraction)


def measure(n_bits: int, n_lookup_bits: int, p_error: float, n_rows: int) -> list[dict[str, Any]]:
    """Return counts of errors down and up for every distance from the rounding threshold."""
    graph = index_graph(n_bits, n_lookup_bits)
    lsbs = n_bits - n_lookup_bits
    rng = np.random.default_rng(0)
    # Away from the table's ends, where an error would be cut off.
    codes = rng.integers(1 << (lsbs + 1), (1 << n_bits) - (1 << (lsbs + 1)), (n_rows, N_NEURONS))
    circuit = compile_graph(graph, p_error=p_error)
    errors = run_encrypted(circuit, codes.astype(np.uint16)) - graph.simulate(codes)
    remainder = (codes + (1 << lsbs >> 1)) % (1 << lsbs)
    records = []
    for value in range(1 << lsbs):
        # Thresholds lie between two integers, where Concrete puts them.
        fraction = (value + 0.5) / (1 << lsbs) - 0.5
        found = errors[remainder == value]
        down, up = predicted(fraction, p_error)
        records.append({
            "accumulator_bits": n_bits, "lookup_bits": n_lookup_bits, "p_error": p_error,
            "fraction": fraction, "lookups": len(found), "down": int((found == -1).sum()),
            "up": int((found == 1).sum()), "further": int((abs(found) > 1).sum()),
            "predicted_down": round(down, 5), "predicted_up": round(up, 5),
        })  # fmt: skip
    return records


def record_case(record: dict[str, Any]) -> tuple[int, int, float]:
    """Return the case that a record belongs to."""
    return record["accumulator_bits"], record["lookup_bits"], record["p_error"]


#: Lookups, errors found and errors modelled, of one record.
COUNTS: list[Callable[[dict[str, Any]], float]] = [
    lambda r: r["lookups"],
    lambda r: r["down"] + r["up"] + r["further"],
    lambda r: r["lookups"] * (r["predicted_down"] + r["predicted_up"]),
]


def main() -> None:
    """Measure every case, print a table and keep it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=60, help="encrypted rows per case")
    n_rows = parser.parse_args().rows
    records = [record for case in CASES for record in measure(*case, n_rows)]
    print("| accumulator bits | lookup bits | p_error | lookups | errors | modelled |")
    print("|---|---|---|---|---|---|")
    for case in CASES:
        of_case = [record for record in records if case == record_case(record)]
        lookups, errors, modelled = (sum(map(count, of_case)) for count in COUNTS)
        print(
            f"| {case[0]} | {case[1]} | {case[2]} | {lookups} | {errors / lookups:.3f} | "
            f"{modelled / lookups:.3f} |"
        )
    DATA.parent.mkdir(exist_ok=True)
    DATA.write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    main()
