"""Measure Concrete ML's own models; run by fhe.py and logistic.py where it is installed."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from concrete.ml import __version__
from concrete.ml.sklearn import LogisticRegression, NeuralNetClassifier

#: Its default network, and the fastest of a few smaller ones that keeps about its accuracy, each
#: with the optimizer and learning rate that served it best of three.
NETWORKS: dict[str, dict[str, Any]] = {
    "network, defaults": {"optimizer": torch.optim.Adam, "lr": 0.01},
    "network, w3 a3 acc 12, multiplier 0.5": {
        "module__n_w_bits": 3,
        "module__n_a_bits": 3,
        "module__n_accum_bits": 12,
        "module__n_hidden_neurons_multiplier": 0.5,
        "optimizer": torch.optim.AdamW,
        "lr": 0.03,
    },
}


def models() -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield names, and what makes a model of each."""
    yield "logistic regression, 8 bits", lambda: LogisticRegression(n_bits=8, max_iter=1000)
    for name, setting in NETWORKS.items():

        def network(setting: dict[str, Any] = setting) -> Any:
            torch.manual_seed(0)
            return NeuralNetClassifier(
                module__n_layers=2, max_epochs=40, batch_size=32, verbose=0, **setting
            )

        yield name, network


def logistic_models(
    data: dict[str, np.ndarray], least: float
) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield logistic regression of 8 bits, its default, and of the fewest that are as accurate."""
    of_bits = partial(LogisticRegression, max_iter=1000)
    yield "n_bits=8", partial(of_bits, n_bits=8)
    for n_bits in range(2, 13):
        model = of_bits(n_bits=n_bits).fit(data["X_train"], data["y_train"])
        if accuracy(model, data) >= least:
            yield f"n_bits={n_bits}", partial(of_bits, n_bits=n_bits)
            return


def accuracy(model: Any, data: dict[str, np.ndarray]) -> float:
    """Return the accuracy on the rows held out, not encrypted."""
    return float((model.predict(data["X_test"]) == data["y_test"]).mean())


def measured(name: str, model: Any, data: dict[str, np.ndarray], n_rows: int) -> dict[str, Any]:
    """Fit, compile and run encrypted rows one by one."""
    fitting = time.perf_counter()
    model.fit(data["X_train"], data["y_train"])
    start = time.perf_counter()
    circuit = model.compile(data["X_train"][:500])
    compiled = time.perf_counter()
    circuit.client.keygen(force=True)
    keyed = time.perf_counter()
    rows, labels = data["X_test"][:n_rows], data["y_test"][:n_rows]
    answers, seconds = [], []
    for row in rows:
        began = time.perf_counter()
        answers.append(model.predict(row[None], fhe="execute")[0])
        seconds.append(time.perf_counter() - began)
    return {
        "version": __version__,
        "setting": name,
        "clear": accuracy(model, data),
        "accuracy": float((np.array(answers) == labels).mean()),
        "rows": len(rows),
        "seconds": float(np.median(seconds)),
        "fit": start - fitting,
        "compile": compiled - start,
        "keys": keyed - compiled,
        "up": int(circuit.size_of_inputs),
        "down": int(circuit.size_of_outputs),
        "key_bytes": int(circuit.size_of_bootstrap_keys + circuit.size_of_keyswitch_keys),
    }


def main() -> None:
    """Print a line of JSON for each model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", help="npz file with X_train, X_test, y_train, y_test")
    parser.add_argument("--rows", type=int, default=30, help="encrypted rows of each model")
    parser.add_argument("--logistic", type=float, metavar="ACCURACY", help="to compare with")
    options = parser.parse_args()
    table = np.load(options.table)
    X_train, X_test = table["X_train"].astype(np.float32), table["X_test"].astype(np.float32)
    mean, spread = X_train.mean(axis=0), X_train.std(axis=0)
    spread = np.where(spread > 0, spread, 1)
    data = {
        "X_train": (X_train - mean) / spread,
        "X_test": (X_test - mean) / spread,
        "y_train": table["y_train"].astype(np.int64),
        "y_test": table["y_test"].astype(np.int64),
    }
    chosen = models() if options.logistic is None else logistic_models(data, options.logistic)
    for name, model in chosen:
        print(json.dumps(measured(name, model(), data, options.rows)), flush=True)


if __name__ == "__main__":
    main()
