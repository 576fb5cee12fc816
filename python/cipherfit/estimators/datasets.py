"""Data sets that training goes through: encoded for the network, with the user's labels beside."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skorch.dataset import Dataset
from skorch.utils import data_from_dataset, is_dataset, multi_indexing, to_numpy
from torch.utils.data import Subset

from cipherfit.exceptions import InputTypeError, InvalidInputError


class TrainingDataset(Dataset):  # type: ignore[misc]
    """Rows with encoded targets for the network, and labels for whoever scores.

    Parameters
    ----------
    X : ndarray or dict
        Features, with the weights of the rows where they have some.
    codes : ndarray of shape (n_samples, ...)
        What the network is trained on.
    labels : array-like of shape (n_samples, ...)
        What these stand for: callbacks that read `y` get them.
    """

    def __init__(self, X: Any, codes: NDArray[Any], labels: Any) -> None:
        super().__init__(X, codes)
        self.codes, self.y = codes, labels

    def __getitem__(self, i: Any) -> tuple[Any, Any]:
        """Return features and code of a row."""
        row = multi_indexing(self.X, i, self.X_indexing)
        transformed: tuple[Any, Any] = self.transform(row, self.codes[i])
        return transformed


def encoded_rows(dataset: Any) -> tuple[Any, NDArray[Any]]:
    """Return features and encoded targets of the rows that a network is trained on.

    Parameters
    ----------
    dataset : Dataset or Subset
        Skorch's, or a `TrainingDataset`, or a part of one.

    Returns
    -------
    X : ndarray or dict
        Features, with the weights of the rows where they have some.
    codes : ndarray of shape (n_samples, ...)
        What the network is trained on.
    """
    if isinstance(dataset, Subset):
        X, codes = encoded_rows(dataset.dataset)
        return multi_indexing(X, dataset.indices), codes[np.asarray(dataset.indices)]
    codes = dataset.codes if isinstance(dataset, TrainingDataset) else dataset.y
    return dataset.X, np.asarray(codes)


def is_part_of(part: Any, other: Any) -> bool:
    """Tell whether two data sets are subsets of one."""
    return isinstance(part, Subset) and isinstance(other, Subset) and part.dataset is other.dataset


def unpacked(X: Any, y: Any) -> tuple[Any, Any]:
    """Return features and targets of whatever container holds them.

    Parameters
    ----------
    X : array-like, scipy.sparse matrix, or data set
        Torch's and skorch's data sets hold rows of features and target, or, beside a given `y`,
        of features alone.
    y : array-like or None
        Targets.

    Raises
    ------
    InputTypeError
        If it is a dict or a tuple of several inputs, or rows of a data set are no pairs.
    """
    if isinstance(X, dict):
        raise InputTypeError(
            f"X is a dict of {sorted(map(str, X))}; one array of shape (n_samples, n_features) is "
            "needed: put its columns side by side, such as with numpy.column_stack"
        )
    if not is_dataset(X):
        return _rows_of_slices(X), _rows_of_slices(y)
    if y is not None:
        return np.stack([_array(_first(X[i])) for i in range(len(X))]), y
    try:
        features, targets = data_from_dataset(X)
    except AttributeError:
        return _pairs(X)
    return features, targets


def _first(row: Any) -> Any:
    return row[0] if isinstance(row, tuple) else row


def _pairs(dataset: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    rows = [dataset[i] for i in range(len(dataset))]
    for number, row in enumerate(rows):
        if not (isinstance(row, (tuple, list)) and len(row) == 2):
            raise InvalidInputError(
                f"row {number} of {type(dataset).__name__} is a {type(row).__name__}; it must be a "
                "pair of features and target, or give the targets as y"
            )
    features = np.stack([_array(row[0]) for row in rows])
    return features, np.stack([_array(row[1]) for row in rows])


def _rows_of_slices(values: Any) -> Any:
    """Return what skorch's `SliceDataset` and its like hold, which NumPy would take for objects."""
    if type(values).__name__ != "SliceDataset":
        return values
    return np.stack([_array(row) for row in values])


def _array(row: Any) -> NDArray[Any]:
    return np.asarray(to_numpy(row) if isinstance(row, torch.Tensor) else row)
