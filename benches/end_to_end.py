"""Measure the whole way, from training to decrypted predictions, and check every equality.

Run with `make bench`, or `python benches/end_to_end.py [--quick]`. Results of a run are kept in
benches/README.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.model_selection import train_test_split
from tqdm.auto import tqdm

from cipherfit import IntegerGraph, NeuralNetClassifier, compile_graph, run_encrypted

SEEDS = range(5)


def split(load: Callable[..., Any]) -> list[Any]:
    """Return X_train, X_test, y_train, y_test with a stratified quarter held out."""
    X, y = load(return_X_y=True)
    return train_test_split(X, y, test_size=0.25, stratify=y, random_state=0)


def train(load: Callable[..., Any], seed: int, **parameters: Any) -> NeuralNetClassifier:
    """Train a classifier at the defaults, but for the module parameters given."""
    X_train, _, y_train, _ = split(load)
    torch.manual_seed(seed)
    module = {f"module__{name}": value for name, value in parameters.items()}
    return NeuralNetClassifier(**module).fit(X_train, y_train)


def accuracy(name: str, load: Callable[..., Any], n_hidden_neurons: int) -> None:
    """Report the accuracy of the integer graph over seeds."""
    _, X_test, _, y_test = split(load)
    start = time.perf_counter()
    scores = [
        train(load, seed, n_hidden_neurons=n_hidden_neurons).score(X_test, y_test)
        for seed in tqdm(SEEDS, desc=name, leave=False)
    ]
    seconds = (time.perf_counter() - start) / len(scores)
    print(
        f"{name}, {n_hidden_neurons} hidden neurons, w3 a3 acc 8: accuracy "
        f"{np.mean(scores):.4f} (min {min(scores):.4f}) over {len(scores)} seeds; "
        f"{seconds:.1f} s per training"
    )


def encrypted(name: str, model: NeuralNetClassifier, rows: Any, p_error: float) -> float:
    """Report an encrypted run against the simulated integers; return seconds per row."""
    graph = model.graph_
    start = time.perf_counter()
    circuit = compile_graph(graph, p_error=p_error)
    compile_seconds = time.perf_counter() - start
    start = time.perf_counter()
    circuit.keygen()
    key_seconds = time.perf_counter() - start
    codes = graph.quantize(rows)
    expected = graph.simulate(codes)
    seconds, results = [], []
    for row in tqdm(codes, desc=name, leave=False):
        start = time.perf_counter()
        results.append(run_encrypted(circuit, row[None], progress=False)[0])
        seconds.append(time.perf_counter() - start)
    decrypted = np.array(results)
    classes = [graph.dequantize(values).argmax(axis=1) for values in (decrypted, expected)]
    same_class = (classes[0] == classes[1]).mean()
    print(
        f"{name}, p_error {p_error:g}: {np.median(seconds):.3f} s per encrypted row (median of "
        f"{len(rows)}), {graph.n_lookups} lookups, compile {compile_seconds:.2f} s, keys "
        f"{key_seconds:.2f} s; rows with equal integers "
        f"{(decrypted == expected).all(axis=1).mean():.3f}, equal class "
        f"{same_class:.3f}"
    )
    return float(np.median(seconds))


def proof(name: str, graph: IntegerGraph, n_rows: int) -> None:
    """Report how many accumulators of random and adversarial rows leave their proven interval."""
    certificate = graph.prove()
    layers = graph.to_dict()["layers"]
    rng = np.random.default_rng(0)
    top = 2**graph.n_bits - 1
    at_low, at_high = certificate.witnesses()
    outside, checked = 0, 0
    for _ in tqdm(range(max(1, n_rows // 100_000)), desc=name, leave=False):
        uniform = rng.integers(0, top + 1, (50_000, graph.n_features))
        extremes = rng.integers(0, 2, (40_000, graph.n_features)) * top
        codes = np.concatenate([uniform, extremes, _mutate(np.concatenate([at_low, at_high]), rng)])
        checked += len(codes)
        for index, record in enumerate(certificate.layers):
            linear = layers[2 * index]
            # Exact in double precision, and BLAS makes it quick: all sums are below 2**53.
            sums = codes.astype(np.float64) @ linear["weights"].T.astype(np.float64)
            accumulators = sums.astype(np.int64) + linear["offset"]
            outside += int(((accumulators < record.low) | (accumulators > record.high)).sum())
            if 2 * index + 1 < len(layers):
                codes = _look_up(accumulators, layers[2 * index + 1])
    print(f"{name}: {outside} accumulators outside their proven interval, {checked:,} rows")


def _mutate(witnesses: Any, rng: np.random.Generator) -> Any:
    """Return 10 000 witness rows, each with a few features redrawn."""
    rows = witnesses[rng.integers(0, len(witnesses), 10_000)].astype(np.int64)
    redrawn = rng.random(rows.shape) < 2 / rows.shape[1]
    return np.where(redrawn, rng.integers(0, rows.max() + 1, rows.shape), rows)


def _look_up(accumulators: Any, lookup: Any) -> Any:
    half = (1 << lookup["lsbs"]) >> 1
    index = (accumulators - lookup["low"] + half) >> lookup["lsbs"]
    columns = [table[index[:, j]] for j, table in enumerate(lookup["tables"])]
    return np.stack(columns, axis=1)


def main() -> None:
    """Run every measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rows, no accuracy over seeds")
    quick = parser.parse_args().quick
    rows = 10 if quick else 40
    if not quick:
        accuracy("digits", load_digits, 32)
        accuracy("digits", load_digits, 16)
        accuracy("breast cancer", load_breast_cancer, 8)
    _, X_test, _, _ = split(load_digits)
    X_test = X_test[:rows].astype(np.float32)
    rounded = train(load_digits, 0, n_hidden_neurons=16)
    proof("digits, 16 neurons", rounded.graph_, 100_000 if quick else 3_000_000)
    fast = encrypted("digits, 16 neurons, approximate rounding", rounded, X_test, 0.01)
    exact = train(load_digits, 0, n_hidden_neurons=16, rounding="exact")
    slow = encrypted("digits, 16 neurons, exact rounding", exact, X_test, 0.01)
    whole = train(load_digits, 0, n_hidden_neurons=16, n_lookup_bits=8)
    slowest = encrypted("digits, 16 neurons, exact 8-bit lookups", whole, X_test[:10], 0.01)
    print(
        f"encrypted row, approximate rounding: {slow / fast:.1f} times faster than exact rounding, "
        f"{slowest / fast:.1f} times faster than exact 8-bit lookups"
    )
    narrow = train(load_digits, 0, n_hidden_neurons=16, n_accum_bits=6, n_w_bits=2, n_a_bits=2)
    encrypted("digits, 16 neurons, w2 a2 acc 6, exact lookups", narrow, X_test, 1e-6)


if __name__ == "__main__":
    main()
