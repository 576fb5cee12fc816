"""Regression: how diabetes will progress, a number instead of a class.

442 patients with 10 measurements, which scikit-learn ships; the target is a score of the disease
one year later. Regression asks for finer steps than classes do, hence 4 bits, and accumulators of
10. Results of encrypted rows may differ a little from those in clear: `p_error` and approximate
rounding move hidden codes by a step now and then.
"""

import argparse
from typing import Any

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split

from cipherfit import NeuralNetRegressor


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the example; returns what it found, for tests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less training, fewer rows")
    quick = parser.parse_args(arguments).quick

    X, y = load_diabetes(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    model = NeuralNetRegressor(
        module__n_hidden_neurons=4,
        module__n_w_bits=4,
        module__n_a_bits=4,
        module__n_accum_bits=10,
        max_epochs=20 if quick else 100,
        random_state=0,
    )
    model.fit(X_train, y_train)
    score = model.score(X_test, y_test)
    error = np.abs(model.predict(X_test) - y_test).mean()
    print(
        f"R2 {score:.3f}, mean absolute error {error:.1f} on a scale of {y.min():.0f}-{y.max():.0f}"
    )

    model.compile()
    rows = X_test[: 2 if quick else 10]
    print(f"predicting {len(rows)} patients under encryption ...")
    encrypted, clear = model.predict(rows, fhe="execute"), model.predict(rows)
    print("encrypted:", *encrypted.round().astype(int))
    print("in clear: ", *clear.round().astype(int))
    print("measured: ", *y_test[: len(rows)].astype(int))
    return {"score": score, "encrypted": encrypted, "clear": clear}


if __name__ == "__main__":
    main()
