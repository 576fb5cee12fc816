"""What one task of the demonstration gave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from cipherfit.estimators.classifier import NeuralNetClassifier


@dataclass(frozen=True)
class Task:
    """A data set and the network that is to learn it.

    Parameters
    ----------
    name : str
        Its name in the report.
    load : callable
        Returns features and labels, as scikit-learn's loaders do.
    n_hidden_neurons : int
        Neurons of the hidden layer.
    in_clear : bool, default=False
        Whether the client computes that layer in clear, with random weights.
    """

    name: str
    load: Callable[..., Any]
    n_hidden_neurons: int
    in_clear: bool = False


@dataclass(frozen=True)
class TaskReport:
    """What one task gave."""

    task: Task
    model: NeuralNetClassifier
    X_test: NDArray[Any]
    y_test: NDArray[Any]
    encrypted: NDArray[Any]
    float_accuracy: float
    fit_seconds: float
    compile_seconds: float
    key_seconds: float
    row_seconds: float

    @property
    def row_time(self) -> str:
        """Time of an encrypted row, in units that suit it."""
        if self.row_seconds < 0.01:
            return f"{1e3 * self.row_seconds:.2f} ms"
        return f"{self.row_seconds:.3f} s"

    @property
    def accuracy(self) -> float:
        """Accuracy of the integer graph in clear, on all test rows."""
        return float(self.model.score(self.X_test, self.y_test))

    @property
    def encrypted_accuracy(self) -> float:
        """Accuracy of the decrypted predictions, on the rows that were encrypted."""
        return float((self.encrypted == self.y_test[: len(self.encrypted)]).mean())

    @property
    def clear(self) -> NDArray[Any]:
        """Predictions in clear of the rows that were encrypted."""
        return self.model.predict(self.X_test[: len(self.encrypted)])

    @property
    def same_rows_accuracy(self) -> float:
        """Accuracy in clear on the rows that were encrypted."""
        return float((self.clear == self.y_test[: len(self.encrypted)]).mean())

    @property
    def agreement(self) -> float:
        """Fraction of the encrypted rows where the decrypted class is that in clear."""
        return float((self.encrypted == self.clear).mean())
