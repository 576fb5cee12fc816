"""Networks that need no lookups: linear ones, and heads behind random or learned client layers.

Run with `python benches/client_layers.py [--mnist FILE]`. Scores are of the integer graph on rows
held out, accuracy or R2, over seeds; the tables of a run are kept in benches/README.md.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tables import FASHION_FOLDER, NAMES, Table, available, mnist
from tqdm.auto import tqdm

from cipherfit import NeuralNetClassifier, NeuralNetRegressor

KINDS: dict[str, dict[str, Any]] = {
    "linear": {"module__n_layers": 1},
    "random": {"module__n_client_layers": 1},
    "learned": {"module__n_client_layers": 1, "module__client_layers": "learned"},
}
#: Epochs of training by batches on as many rows as images have.
IMAGE_EPOCHS = 15
MANY_ROWS = 20_000
#: Data set, kind, and what it must reach.
TARGETS = {
    ("digits", "learned"): 0.985,
    ("digits", "random"): 0.98,
    ("friedman1", "random"): 0.93,
    ("mnist", "learned"): 0.981,
    ("mnist", "random"): 0.97,
    ("fashion_mnist", "learned"): 0.895,
    ("fashion_mnist", "random"): 0.87,
}


def tables(names: list[str], mnist_file: Path | None, fashion_folder: Path) -> Iterator[Table]:
    """Yield the data sets that are there, MNIST among them where its file is given."""
    yield from available(names, fashion_folder)
    if mnist_file is not None:
        yield mnist(mnist_file)


def measure(table: Table, kind: str, seeds: list[int]) -> str:
    """Return a line of the Markdown table: one kind of network on a data set, over seeds."""
    X, X_test, y, y_test = table.split
    options: dict[str, Any] = dict(KINDS[kind])
    if len(X) > MANY_ROWS:
        options["max_epochs"] = IMAGE_EPOCHS
    scores, seconds = [], []
    for seed in tqdm(seeds, desc=f"{table.name}, {kind}", leave=False):
        estimator = NeuralNetClassifier if table.is_classes else NeuralNetRegressor
        start = time.perf_counter()
        model = estimator(**options, random_state=seed).fit(X, y)
        seconds.append(time.perf_counter() - start)
        scores.append(float(model.score(X_test, y_test)))
    head = model.module_.linear_layers[-1]
    bits = model.graph_.prove().layers[-1].bits
    score = f"{np.mean(scores):.4f} ({min(scores):.4f})"
    target = TARGETS.get((table.name, kind), "")
    codes = f"{head.in_features} x {head.n_in_bits} bits"
    fit = f"{np.mean(seconds):.1f}"
    return f"| {table.name} | {kind} | {score} | {target} | {codes} | {bits} | {fit} |"


def main() -> None:
    """Measure every kind on every data set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="*", choices=NAMES, default=NAMES, help="data sets")
    parser.add_argument("--kinds", nargs="*", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--mnist", type=Path, metavar="FILE", help="MNIST, as an .npz archive")
    parser.add_argument("--fashion-mnist", type=Path, default=FASHION_FOLDER, metavar="FOLDER")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    torch.set_num_threads(1)
    print(
        "| data | network | score, mean (min) | target | codes of a row | bits of a sum | fit, s |"
    )
    print("|---|---|---|---|---|---|---|")
    for table in tables(options.data, options.mnist, options.fashion_mnist):
        for kind in options.kinds:
            print(measure(table, kind, list(range(options.seeds))), flush=True)


if __name__ == "__main__":
    main()
