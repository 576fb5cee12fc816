"""Networks without lookups against scikit-learn's linear models: `accuracy.py --linear`.

The peers are `LogisticRegressionCV` and `RidgeCV` at their defaults (but for more iterations, a
finer grid for the ridge, and a coarser one with three folds for Fashion-MNIST), on standardized
features. A seed draws the split; both see the same rows.
"""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegressionCV, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tables import Table, available, load
from tqdm.auto import tqdm

from cipherfit import NeuralNetClassifier, NeuralNetRegressor

#: From how many rows on the peer searches its penalty coarsely, which takes minutes even so.
_MANY_ROWS = 20_000


def compare(names: list[str], fashion_folder: Path, n_seeds: int) -> None:
    """Print a Markdown table of both on data sets, means over splits, and the means over those.

    Fashion-MNIST, which has one split and takes minutes, doesn't count in them.
    """
    warnings.filterwarnings("ignore", category=ConvergenceWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    print("| data | cipherfit | scikit-learn | difference | bits of sums | fit, s | its fit, s |")
    print("|---|---|---|---|---|---|---|")
    differences = []
    for table in available(names, fashion_folder):
        n_splits = 1 if table.name == "fashion_mnist" else n_seeds
        results = np.array([
            _both(load(table.name, fashion_folder, seed), seed)
            for seed in tqdm(range(n_splits), desc=table.name, leave=False)
        ])  # fmt: skip
        ours, theirs, bits, seconds, their_seconds = results.mean(axis=0)
        cost = f"{bits:.1f} | {seconds:.2f} | {their_seconds:.2f}"
        row = f"| {table.name} | {ours:.4f} | {theirs:.4f} | {ours - theirs:+.4f} | {cost} |"
        tqdm.write(row)
        if table.name != "fashion_mnist":
            differences.append(ours - theirs)
    print(f"\nmean difference {np.mean(differences):+.4f}, least {min(differences):+.4f}")


def _both(table: Table, seed: int) -> tuple[float, ...]:
    """Return both scores, the bits of our sums, and both times to fit."""
    X, X_test, y, y_test = table.split
    kind = NeuralNetClassifier if table.is_classes else NeuralNetRegressor
    ours, seconds = _fitted(kind(module__n_layers=1, random_state=seed), X, y)
    peer = _logistic(len(X)) if table.is_classes else RidgeCV(np.logspace(-4, 4, 17))
    theirs, their_seconds = _fitted(make_pipeline(StandardScaler(), peer), X, y)
    bits = ours.graph_.prove().max_accumulator_bits
    scores = (float(model.score(X_test, y_test)) for model in (ours, theirs))
    return (*scores, bits, seconds, their_seconds)


def _fitted(model: Any, X: Any, y: Any) -> tuple[Any, float]:
    start = time.perf_counter()
    model.fit(X, y)
    return model, time.perf_counter() - start


def _logistic(n_rows: int) -> LogisticRegressionCV:
    if n_rows < _MANY_ROWS:
        return LogisticRegressionCV(max_iter=1000)
    return LogisticRegressionCV(Cs=np.logspace(-4, 0, 5), cv=3, max_iter=100)
