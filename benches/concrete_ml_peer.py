"""Measure Concrete ML's built-in classifier; run by fhe.py in an environment that has it."""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import torch
from concrete.ml import __version__
from concrete.ml.sklearn import NeuralNetClassifier

N_ROWS = 5
#: Its default network, and the fastest of a few smaller ones that keeps about its accuracy, each
#: with the optimizer and learning rate that served it best of three.
SETTINGS = {
    "defaults": {"optimizer": torch.optim.Adam, "lr": 0.01},
    "w3 a3 acc 12, multiplier 0.5": {
        "module__n_w_bits": 3,
        "module__n_a_bits": 3,
        "module__n_accum_bits": 12,
        "module__n_hidden_neurons_multiplier": 0.5,
        "optimizer": torch.optim.AdamW,
        "lr": 0.03,
    },
}


def main() -> None:
    """Print a line of JSON for each setting."""
    data = np.load(sys.argv[1])
    X_train, X_test = data["X_train"].astype(np.float32), data["X_test"].astype(np.float32)
    y_train, y_test = data["y_train"].astype(np.int64), data["y_test"].astype(np.int64)
    mean, spread = X_train.mean(axis=0), X_train.std(axis=0)
    X_train, X_test = [
        (part - mean) / np.where(spread > 0, spread, 1) for part in (X_train, X_test)
    ]
    for name, setting in SETTINGS.items():
        torch.manual_seed(0)
        model = NeuralNetClassifier(
            module__n_layers=2, max_epochs=40, batch_size=32, verbose=0, **setting
        )
        model.fit(X_train, y_train)
        start = time.perf_counter()
        circuit = model.compile(X_train[:500])
        compiled = time.perf_counter()
        circuit.client.keygen(force=True)
        keyed = time.perf_counter()
        rows = X_test[:N_ROWS]
        answers = model.predict(rows, fhe="execute")
        seconds = (time.perf_counter() - keyed) / len(rows)
        print(
            json.dumps(
                {
                    "version": __version__,
                    "setting": name,
                    "clear": float((model.predict(X_test) == y_test).mean()),
                    "accuracy": float((answers == y_test[:N_ROWS]).mean()),
                    "rows": len(rows),
                    "seconds": seconds,
                    "compile": compiled - start,
                    "keys": keyed - compiled,
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
