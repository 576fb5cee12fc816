"""Logistic regression under encryption: `from_sklearn` against Concrete ML's own.

``logistic.py PYTHON`` names the interpreter of an environment that has Concrete ML. Both see the
same rows, standardized, in the same run; a seed draws the split. Concrete ML runs with its default
of 8 bits, and with the fewest bits at which it is as accurate as `from_sklearn`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tables import Table, load

from cipherfit import from_sklearn

NAMES = ["breast_cancer", "digits", "wine", "credit_scoring", "churn"]


def ours(table: Table, n_rows: int) -> tuple[dict[str, Any], float]:
    """Measure `from_sklearn`, and return the accuracy of the fitted model, too."""
    X, X_test, y, y_test = table.split
    start = time.perf_counter()
    fitted = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(X, y)
    predictor = from_sklearn(fitted, X)
    trained = time.perf_counter()
    circuit = predictor.compile()
    compiled = time.perf_counter()
    circuit.keygen()
    keyed = time.perf_counter()
    answers, seconds = [], []
    for row in X_test[:n_rows]:
        began = time.perf_counter()
        answers.append(predictor.predict(row[None], fhe="execute")[0])
        seconds.append(time.perf_counter() - began)
    estimate = predictor.estimate_fhe()
    measured = {
        "fit": trained - start,
        "compile": compiled - trained,
        "keys": keyed - compiled,
        "seconds": float(np.median(seconds)),
        "clear": float((predictor.predict(X_test) == y_test).mean()),
        "accuracy": float((np.array(answers) == y_test[:n_rows]).mean()),
        "rows": len(answers),
        "up": estimate.input_bytes,
        "down": estimate.output_bytes,
    }
    return measured, float(fitted.score(X_test, y_test))


def theirs(python: Path, table: Table, n_rows: int, least: float) -> list[dict[str, Any]]:
    """Measure Concrete ML in its own environment."""
    X, X_test, y, y_test = table.split
    classes = np.unique(y)
    labels = {name: np.searchsorted(classes, part) for name, part in
              (("y_train", y), ("y_test", y_test))}  # fmt: skip
    script = Path(__file__).parent / "concrete_ml_peer.py"
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "table.npz"
        np.savez(data, X_train=X, X_test=X_test, **labels)
        done = subprocess.run(
            [str(python), str(script), str(data), "--rows", str(n_rows), "--logistic", str(least)],
            check=True, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def line(table: str, model: str, run: dict[str, Any]) -> str:
    """Return a row of the table."""
    cells = [
        *(f"{run[name]:.3g}" for name in ("fit", "compile", "keys")),
        f"{1e3 * run['seconds']:.3g}",
        f"{run['clear']:.4f}",
        f"{run['accuracy']:.4f} of {run['rows']}",
        f"{run['up'] / 1e3:.3g}",
        f"{run['down'] / 1e3:.3g}",
    ]
    return f"| {table} | {model} | {' | '.join(cells)} |"


def main() -> None:
    """Print the comparison as a Markdown table."""
    warnings.filterwarnings("ignore")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("python", type=Path, help="interpreter of Concrete ML's environment")
    parser.add_argument("--data", nargs="*", default=NAMES)
    parser.add_argument("--rows", type=int, default=100, help="encrypted rows of each model")
    options = parser.parse_args()
    columns = (
        "fit, s", "compile, s", "keys, s", "ms per row", "accuracy, clear", "encrypted rows",
        "kB up", "kB down",
    )  # fmt: skip
    print(f"| data | model | {' | '.join(columns)} |\n|" + "---|" * (2 + len(columns)))
    for name in options.data:
        table = load(name)
        measured, real = ours(table, options.rows)
        print(line(name, f"`from_sklearn` (float {real:.4f})", measured), flush=True)
        for run in theirs(options.python, table, options.rows, measured["clear"]):
            print(line(name, f"Concrete ML {run['version']}, {run['setting']}", run), flush=True)


if __name__ == "__main__":
    main()
