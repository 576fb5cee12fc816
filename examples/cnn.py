"""A convolutional network of your own, trained quantization-aware, reads encrypted digits.

It is trained in float as skorch trains any module, then on with quantized layers: weights and
activations of 4 bits, whose accumulators are proven. Average pooling costs no lookups.
"""

import argparse
from typing import Any

import numpy as np
import skorch
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from cipherfit import QuantizedSkorchEstimatorMixin


class OwnClassifier(QuantizedSkorchEstimatorMixin, skorch.NeuralNetClassifier):
    """Skorch's classifier, trained on with few bits."""


def network() -> nn.Sequential:
    """Return the float network: two convolutions, for 8 x 8 pixels."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 16, 2),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 10),
    )


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the example; returns what it found, for tests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less training, fewer rows")
    quick = parser.parse_args(arguments).quick

    X, y = load_digits(return_X_y=True)
    images = X.astype(np.float32).reshape(-1, 1, 8, 8)
    X_train, X_test, y_train, y_test = train_test_split(images, y, stratify=y, random_state=0)
    torch.manual_seed(0)
    classifier = OwnClassifier(
        network(),
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=0.01,
        batch_size=32,
        max_epochs=15 if quick else 30,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
        qat=True,
        n_w_bits=4,
        n_a_bits=4,
    )
    classifier.fit(X_train, y_train)
    score = classifier.score(X_test, y_test)
    print(f"accuracy of the integer network on {len(X_test)} digits: {score:.3f}")
    print(classifier.graph_)
    print(classifier.estimate_fhe())

    classifier.compile()
    rows = X_test[: 1 if quick else 10]
    print(f"reading {len(rows)} digits under encryption ...")
    encrypted, clear = classifier.predict(rows, fhe="execute"), classifier.predict(rows)
    print("encrypted:", *encrypted)
    print("in clear: ", *clear)
    print("digit:    ", *y_test[: len(rows)])
    return {"score": score, "encrypted": encrypted, "clear": clear}


if __name__ == "__main__":
    main()
