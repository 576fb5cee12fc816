"""What a model predicts: classes or real values, and how its outputs stand for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cipherfit.exceptions import InvalidInputError
from cipherfit.validation import check_rows

Float64 = NDArray[np.float64]
Loss = Callable[[NDArray[Any]], Float64]


class Targets(Protocol):
    """Targets of one kind."""

    @property
    def n_outputs(self) -> int:
        """Outputs that stand for the targets."""

    def decode(self, outputs: Float64) -> NDArray[Any]:
        """Return predictions of outputs (n_samples, n)."""

    def loss_against(self, truth: Any, shape: tuple[int, ...]) -> Loss:
        """Return the function from predictions of a shape to each row's loss (n_samples,).

        The score is 1 less their mean.
        """


class ClassTargets:
    """Classes, by their index among all; the score is accuracy.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
        Labels of any kind, at least two.
    """

    def __init__(self, classes: NDArray[Any]) -> None:
        self.classes = np.asarray(classes)
        if len(self.classes) < 2:
            raise InvalidInputError(
                f"y holds one class only ({self.classes.tolist()}); a classifier needs at least 2"
            )

    @property
    def n_outputs(self) -> int:
        """Number of classes."""
        return len(self.classes)

    def encode(self, labels: NDArray[Any]) -> NDArray[np.int64]:
        """Return the index of each label (n_samples,), or say which one is no known class."""
        unknown = ~np.isin(labels, self.classes)
        if _are_text(labels) != _are_text(self.classes) and "O" not in (
            labels.dtype.kind,
            self.classes.dtype.kind,
        ):
            unknown[:] = True  # NumPy would compare numbers to words by their digits
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

    def loss_against(self, truth: Any, shape: tuple[int, ...]) -> Loss:
        """Return the function that gives 1 for each wrong label, else 0."""
        labels = _of_shape(truth, shape)
        self.encode(labels)
        return lambda predicted: np.asarray(predicted != labels, dtype=np.float64)


class RealTargets:
    """Real values, one or several per row; the score is R2.

    Parameters
    ----------
    n_outputs : int
        How many per row.
    flat : bool
        Whether predictions are one-dimensional, as the targets were.
    """

    def __init__(self, n_outputs: int, flat: bool) -> None:
        self.n_outputs, self.flat = n_outputs, flat

    def decode(self, outputs: Float64) -> Float64:
        """Return outputs in the shape that the targets had."""
        return outputs[:, 0] if self.flat else outputs

    def loss_against(self, truth: Any, shape: tuple[int, ...]) -> Loss:
        """Return the function that gives squared errors in units of the truth's variance."""
        values = _of_shape(truth, shape).astype(np.float64).reshape(shape[0], -1)
        variance = values.var(axis=0)
        if not (variance > 0).all():
            raise InvalidInputError(
                "y is constant, so that R2 has no meaning; give rows that differ"
            )
        return lambda predicted: np.asarray(
            (np.square(predicted.reshape(values.shape) - values) / variance).mean(axis=1)
        )


def _of_shape(truth: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    values = np.asarray(truth)
    if values.shape != shape:
        if values.ndim:
            check_rows(len(values), shape[0])
        raise InvalidInputError(f"y has shape {values.shape}, and predictions have {shape}")
    return values


def _are_text(labels: NDArray[Any]) -> bool:
    return labels.dtype.kind in "US"
