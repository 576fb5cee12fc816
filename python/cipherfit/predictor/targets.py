"""What a model predicts: how targets are encoded for training, and outputs decoded."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cipherfit.exceptions import InvalidInputError
from cipherfit.validation import check_labels, check_targets

Float64 = NDArray[np.float64]


class Targets(Protocol):
    """Targets of one kind, learned from `y` in `fit`."""

    n_outputs: int

    def encode(self, y: Any, n_samples: int) -> NDArray[Any]:
        """Return `y` as skorch trains on it."""

    def decode(self, outputs: Float64) -> NDArray[Any]:
        """Return predictions of outputs (n_samples, n_outputs)."""


class ClassTargets:
    """Class labels of any kind, encoded as their index among the sorted classes.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Labels.
    n_samples : int
        How many there must be.
    classes : array-like of shape (n_classes,), optional
        All labels, where `y` may not hold every one.
    """

    def __init__(self, y: Any, n_samples: int, classes: Any = None) -> None:
        labels = check_labels(y, n_samples)
        self.classes = np.unique(labels) if classes is None else np.asarray(classes)
        if len(self.classes) < 2:
            raise InvalidInputError(
                f"y holds one class only ({self.classes.tolist()}); a classifier needs at least 2"
            )
        self.n_outputs = len(self.classes)

    def encode(self, y: Any, n_samples: int) -> NDArray[np.int64]:
        """Return the index of each label, or say which one is no known class."""
        labels = check_labels(y, n_samples)
        unknown = ~np.isin(labels, self.classes)
        if unknown.any():
            row = int(np.flatnonzero(unknown)[0])
            raise InvalidInputError(
                f"y[{row}] = {labels[row]!r} is not among the classes {self.classes.tolist()!r}"
            )
        order = np.argsort(self.classes, kind="stable")
        indices = order[np.searchsorted(self.classes, labels, sorter=order)]
        return np.asarray(indices, dtype=np.int64)

    def decode(self, outputs: Float64) -> NDArray[Any]:
        """Return the label of the largest output in each row."""
        return np.asarray(self.classes[outputs.argmax(axis=1)])


class RealTargets:
    """Real targets, one or several per row; predictions have the shape of `y`.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or (n_samples, n_targets)
        Targets.
    n_samples : int
        How many rows there must be.
    """

    def __init__(self, y: Any, n_samples: int) -> None:
        matrix, self.flat = check_targets(y, n_samples)
        self.n_outputs = matrix.shape[1]

    def encode(self, y: Any, n_samples: int) -> NDArray[np.float32]:
        """Return the targets as a float32 matrix."""
        return check_targets(y, n_samples)[0]

    def decode(self, outputs: Float64) -> Float64:
        """Return outputs in the shape that `y` had."""
        return outputs[:, 0] if self.flat else outputs
