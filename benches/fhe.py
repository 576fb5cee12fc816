"""Measure encrypted rows of trained networks: accuracy, seconds, keys, against simulation.

Run with `make bench-fhe`, or `python benches/fhe.py`. `--concrete-ml PYTHON` also measures Concrete
ML's built-in classifier, in the environment of that interpreter, on the same data in the same run.
Results of a run are kept in benches/README.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from tables import FASHION_FOLDER, Table, available
from tqdm.auto import tqdm

from cipherfit import NeuralNetClassifier, compile_graph, run_encrypted
from cipherfit.fhe.estimate import estimate_circuit
from cipherfit.predictor.p_error import NoisyScore


@dataclass(frozen=True)
class Network:
    """A network, as `design_network` found it, and what it must reach."""

    data: str
    least_accuracy: float
    most_seconds: float
    n_rows: int  # encrypted rows per seed, of those held out
    n_seeds: int
    p_error: float
    parameters: dict[str, Any] = field(default_factory=dict)


NETWORKS = [
    Network("digits", 0.97, 0.18, 200, 5, 0.1,
            {"n_hidden_neurons": [29], "n_w_bits": 4, "n_a_bits": 4, "n_lookup_bits": 5}),
    Network("breast_cancer", 0.95, 0.05, 143, 5, 1e-6, {"n_layers": 1, "n_accum_bits": 16}),
    Network("breast_cancer", 0.95, 0.05, 143, 5, 0.03, {"n_hidden_neurons": [2]}),
    Network("fashion_mnist", 0.86, 0.8, 150, 1, 0.01,
            {"n_hidden_neurons": [64], "n_w_bits": 4, "n_a_bits": 4, "n_accum_bits": 10}),
]  # fmt: skip


def measure(network: Network, table: Table, seed: int) -> dict[str, float]:
    """Train, compile and run encrypted rows; return what was measured."""
    X_train, X_test, y_train, y_test = table.split
    module = {f"module__{name}": value for name, value in network.parameters.items()}
    model = NeuralNetClassifier(**module, random_state=seed).fit(X_train, y_train)
    graph = model.graph_
    start = time.perf_counter()
    circuit = compile_graph(graph, p_error=network.p_error)
    compiled = time.perf_counter()
    circuit.keygen()
    keyed = time.perf_counter()
    chosen = np.random.default_rng(seed).permutation(len(X_test))[: network.n_rows]
    rows, labels = np.asarray(X_test)[chosen], np.asarray(y_test)[chosen]
    codes = model.quantize_input(rows)
    seconds, results = [], []
    for row in tqdm(codes, desc=f"{network.data}, seed {seed}", leave=False):
        began = time.perf_counter()
        results.append(run_encrypted(circuit, row[None], progress=False)[0])
        seconds.append(time.perf_counter() - began)
    decrypted = np.array(results)
    expected = graph.simulate(codes)
    classes = model.targets_.decode(graph.dequantize(decrypted))
    clear = model.targets_.decode(graph.dequantize(expected))
    judge = NoisyScore(model.predictor_, rows, labels, confidence=0.99)
    low, high = judge.trial(graph, network.p_error).score_interval
    accuracy = float((classes == labels).mean())
    estimate = estimate_circuit(circuit, graph)
    return {
        "accuracy": accuracy,
        "clear": float((clear == labels).mean()),
        "clear_all": float(model.score(X_test, y_test)),
        "within": float(low <= accuracy <= high),
        "same_class": float((classes == clear).mean()),
        "same_integers": float((decrypted == expected).all(axis=1).mean()),
        "seconds": float(np.median(seconds)),
        "modelled": estimate.seconds_per_row,
        "compile": compiled - start,
        "keys": keyed - compiled,
        "key_mb": (estimate.bootstrap_key_bytes + estimate.keyswitch_key_bytes) / 1e6,
        "ciphertext_mb": (estimate.input_bytes + estimate.output_bytes) / 1e6,
        "lookups": float(graph.n_lookups),
    }


def report(network: Network, runs: list[dict[str, float]]) -> None:
    """Print a line of the table, and whether the network reached what it must."""
    mean = {name: float(np.mean([run[name] for run in runs])) for name in runs[0]}
    named = ", ".join(f"{name}={value}" for name, value in network.parameters.items())
    print(
        f"| {network.data} | {named} | {network.p_error:g} | {mean['lookups']:.0f} | "
        f"{mean['accuracy']:.4f} | {mean['clear']:.4f} | {mean['clear_all']:.4f} | "
        f"{mean['same_integers']:.3f} | {mean['same_class']:.3f} | "
        f"{sum(run['within'] for run in runs):.0f} of {len(runs)} | {mean['seconds']:.4f} | "
        f"{mean['modelled']:.4f} | {mean['compile']:.2f} | {mean['keys']:.2f} | "
        f"{mean['key_mb']:.0f} | {mean['ciphertext_mb']:.2f} |",
        flush=True,
    )
    for name, reached, asked in (
        ("accuracy", mean["accuracy"] >= network.least_accuracy, network.least_accuracy),
        ("seconds", mean["seconds"] <= network.most_seconds, network.most_seconds),
        ("compile", mean["compile"] <= 1, 1),
    ):
        if not reached:
            print(f"  MISSED: {name} {mean[name]:.4f}, asked for {asked}", flush=True)


def concrete_ml(python: Path, table: Table) -> None:
    """Run Concrete ML on a table in an environment of its own."""
    script = Path(__file__).parent / "concrete_ml_peer.py"
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "table.npz"
        names = ("X_train", "X_test", "y_train", "y_test")
        np.savez(data, **{n: np.asarray(p) for n, p in zip(names, table.split, strict=True)})
        done = subprocess.run(
            [str(python), str(script), str(data)], check=True, stdout=subprocess.PIPE, text=True
        )
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            run = json.loads(line)
            print(
                f"| {table.name} | Concrete ML {run['version']}, {run['setting']} | "
                f"accuracy in clear {run['clear']:.4f} | encrypted accuracy "
                f"{run['accuracy']:.4f} of {run['rows']} rows | {run['seconds']:.3f} s per row | "
                f"compile {run['compile']:.2f} s | keys {run['keys']:.2f} s |",
                flush=True,
            )


def main() -> None:
    """Run every measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed and 20 rows each")
    parser.add_argument("--data", nargs="*", default=[n.data for n in NETWORKS], help="data sets")
    parser.add_argument("--fashion-mnist", type=Path, default=FASHION_FOLDER, metavar="FOLDER")
    parser.add_argument("--concrete-ml", type=Path, metavar="PYTHON", help="its interpreter")
    options = parser.parse_args()
    print(
        "| data | network | p_error | lookups | accuracy, encrypted | clear, same rows | clear, "
        "all held out | rows with equal integers | equal class | runs within the predicted "
        "interval | s per row | modelled | compile, s | keys, s | keys, MB | ciphertexts, MB |"
    )
    print("|" + "---|" * 16)
    for table in available(list(dict.fromkeys(options.data)), options.fashion_mnist):
        for network in NETWORKS:
            if network.data != table.name:
                continue
            seeds = 1 if options.quick else network.n_seeds
            if options.quick:
                network = replace(network, n_rows=20)
            report(network, [measure(network, table, seed) for seed in range(seeds)])
        if options.concrete_ml is not None:
            concrete_ml(options.concrete_ml, table)


if __name__ == "__main__":
    main()
