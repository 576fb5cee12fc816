"""Handwritten digits: accuracy, proof, cost, then digits read under encryption.

1,797 images of 8 x 8 pixels, which scikit-learn ships. A network of 16 hidden neurons needs 16
lookups for an image, and nearly all of the time is theirs.
"""

import argparse
from typing import Any

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from cipherfit import NeuralNetClassifier


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the example; returns what it found, for tests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less training, fewer rows")
    quick = parser.parse_args(arguments).quick

    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
    model = NeuralNetClassifier(
        module__n_hidden_neurons=16, max_epochs=10 if quick else 100, random_state=0
    )
    model.fit(X_train, y_train)
    score = model.score(X_test, y_test)
    print(f"accuracy of the integer network on {len(X_test)} images: {score:.3f}")
    print(model.graph_.prove())
    print(model.estimate_fhe())

    model.compile()
    rows = X_test[: 2 if quick else 10]
    print(f"reading {len(rows)} images under encryption ...")
    encrypted, clear = model.predict(rows, fhe="execute"), model.predict(rows)
    print("encrypted:", *encrypted)
    print("in clear: ", *clear)
    print("written:  ", *y_test[: len(rows)])
    return {"score": score, "encrypted": encrypted, "clear": clear}


if __name__ == "__main__":
    main()
