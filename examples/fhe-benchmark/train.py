"""Networks for the FHE benchmark's MNIST workload, each with its client's file.

    python train.py mnist.npz -o networks

takes an npz file with X_train, y_train, X_test and y_test (uint8), and writes NAME.cipherfit and
NAME.client of each network. README.md beside this file says which of them stands for what.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from cipherfit import NeuralNetClassifier

#: What the estimator is given, and the probability of an error that a lookup may have.
NETWORKS: dict[str, tuple[dict[str, Any], float | None]] = {
    # All weights are the server's; no lookups.
    "linear": ({"module__n_layers": 1}, None),
    # The client computes neurons drawn from a seed; all that was trained is the server's.
    "random": ({"module__n_client_layers": 1, "module__client_layers": "random"}, None),
    # The client computes trained neurons, so that it has most of the network.
    "learned": ({"module__n_client_layers": 1, "module__client_layers": "learned"}, None),
    # All weights are the server's; 32 encrypted lookups.
    "lookups": (
        {
            "module__n_hidden_neurons": [32],
            "module__n_w_bits": 4,
            "module__n_a_bits": 4,
            "module__n_accum_bits": 10,
            "module__n_lookup_bits": 5,
        },
        0.05,
    ),
}


def main(arguments: list[str] | None = None) -> None:
    """Train the networks that were asked for, and save them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mnist", type=Path, metavar="FILE", help="npz file of MNIST")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--networks", nargs="*", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--epochs", type=int, default=15)
    options = parser.parse_args(arguments)
    X_train, X_test, y_train, y_test = split(options.mnist)
    options.output.mkdir(parents=True, exist_ok=True)
    for name in options.networks:
        parameters, p_error = NETWORKS[name]
        model = NeuralNetClassifier(**parameters, max_epochs=options.epochs, random_state=0)
        model.fit(X_train, y_train)
        save(model, options.output / name, p_error)
        print(f"{name}: accuracy {model.score(X_test, y_test):.4f}, {model.graph_!r}", flush=True)


def save(model: NeuralNetClassifier, path: Path, p_error: float | None = None) -> None:
    """Write the server's file of a network, and the client's, which hold the same parameters."""
    model.compile(p_error=p_error)
    model.save(path.with_suffix(".cipherfit"))
    model.save_client(path.with_suffix(".client"))


def split(mnist: Path) -> tuple[Any, Any, Any, Any]:
    """Return images as the benchmark gives them: 784 pixels in [0, 1], of six decimals."""
    with np.load(mnist) as file:
        images = [file[name].reshape(-1, 784) for name in ("X_train", "X_test")]
        labels = [file[name].astype(np.int64) for name in ("y_train", "y_test")]
    X_train, X_test = (np.round(pixels / 255, 6).astype(np.float32) for pixels in images)
    return X_train, X_test, labels[0], labels[1]


if __name__ == "__main__":
    main()
