"""What `fit` accepts as features, labels and targets, and the errors that say what it doesn't."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_array, column_or_1d, validate_data
from torch import Tensor

from cipherfit.exceptions import CipherfitError, InputTypeError, InvalidInputError
from cipherfit.validation import Float32, check_finite, check_rows, to_float32

#: Largest rounding error of a column in float32, as a fraction of its standard deviation.
_MOST_BLUR = 1e-2


@contextmanager
def as_own_errors() -> Iterator[None]:
    """Raise what scikit-learn's checks of data raise as the library's own errors."""
    try:
        yield
    except CipherfitError:
        raise
    except TypeError as error:
        raise InputTypeError(str(error)) from error
    except ValueError as error:
        raise InvalidInputError(str(error)) from error


def check_features(estimator: BaseEstimator, X: Any, *, reset: bool) -> Float32:
    """Return training features as float32, or say which value can't be one.

    Parameters
    ----------
    estimator : BaseEstimator
        Whose `n_features_in_`, `feature_names_in_` and `row_shape_` are set (`reset`) or compared.
    X : array-like of shape (n_samples, n_features)
        Numbers: floats, integers or booleans, in an array, a tensor, a list, a data frame, or a
        sparse matrix, which becomes dense. Where `estimator.takes_shapes`, a row may have a shape,
        such as (channels, height, width).
    reset : bool
        True where training starts anew, False where it goes on.

    Returns
    -------
    ndarray of shape (n_samples, n_features), float32, C-contiguous

    Raises
    ------
    ValueError
        If X is empty, not two-dimensional, complex, not numeric or not finite, if it has another
        number of features than before, if an integer can't be held exactly, or (with `reset`) if
        float32 would blur how a column varies.
    """
    if getattr(estimator, "takes_shapes", False):
        X = _flattened(estimator, X, reset=reset)
    with as_own_errors():
        checked = validate_data(
            estimator,
            X,
            reset=reset,
            dtype="numeric",
            ensure_all_finite=False,
            order="C",
            accept_sparse=True,
        )
    if issparse(checked):
        checked = checked.toarray()
    features = to_float32(checked)
    if reset:
        _check_variation(checked, features, "X")
    return features


def check_shape(estimator: BaseEstimator, X: Any) -> None:
    """Refuse rows of another shape than in training; flat rows have the order of memory."""
    known: tuple[int, ...] | None = vars(estimator).get("row_shape_")
    given = tuple(getattr(X, "shape", ()))[1:]
    if len(given) > 1 and given != known:
        trained = "flat rows" if known is None else f"rows of shape {known}"
        raise InvalidInputError(
            f"X has rows of shape {given}, but {type(estimator).__name__} was trained on {trained}"
        )


def _flattened(estimator: Any, X: Any, *, reset: bool) -> Any:
    """Return flat rows, and keep the shape that they had, or compare it."""
    if isinstance(X, Tensor):
        X = X.detach().cpu()
    if not hasattr(X, "shape") and isinstance(X, (list, tuple)):
        X = _nested(X)
    if not reset:
        check_shape(estimator, X)
    shape = tuple(getattr(X, "shape", ()))
    has_shape = len(shape) > 2 and 0 not in shape
    if reset:
        vars(estimator).pop("row_shape_", None)
        if has_shape:
            estimator.row_shape_ = tuple(map(int, shape[1:]))
    return X.reshape(len(X), -1) if has_shape else X


def _nested(X: Any) -> Any:
    """Return lists within lists within lists as an array; others as they are."""
    if len(X) and isinstance(X[0], (list, tuple)) and len(X[0]) and np.ndim(X[0][0]):
        with as_own_errors():
            return np.asarray(X)
    return X


def check_targets(y: Any, n_samples: int) -> tuple[Float32, bool]:
    """Return regression targets as a float32 matrix, and whether they were one-dimensional.

    Raises
    ------
    ValueError
        If y is None, not numeric, not finite, has another number of rows than X, or if float32
        would blur how a column varies.
    """
    if y is None:
        raise InvalidInputError(
            "requires y to be passed, but the target y is None; give one target per row of X"
        )
    with as_own_errors():
        checked = check_array(
            y, ensure_2d=False, dtype="numeric", ensure_all_finite=False, input_name="y"
        )
    flat = checked.ndim == 1
    matrix = checked.reshape(-1, 1) if flat else checked
    if matrix.ndim != 2:
        raise InvalidInputError(f"y has shape {checked.shape}; expected (n_samples,) or 2-D")
    check_finite(matrix, "y")
    check_rows(len(matrix), n_samples)
    with np.errstate(over="ignore", under="ignore"):
        targets = matrix.astype(np.float32)
    check_finite(targets, "y")
    _check_variation(matrix, targets, "y")
    return targets, flat


def check_labels(y: Any, n_samples: int) -> NDArray[Any]:
    """Return class labels of any kind as a 1-D array.

    Raises
    ------
    ValueError
        If y is None, not one-dimensional, holds NaN or values that are no classes, or has another
        number of rows than X.
    """
    if y is None:
        raise InvalidInputError(
            "requires y to be passed, but the target y is None; give one label per row of X"
        )
    with as_own_errors():
        labels: NDArray[Any] = column_or_1d(y, warn=True)
    if labels.dtype.kind == "O":
        labels = _one_kind(labels)
    if labels.dtype.kind == "f":
        check_finite(labels.reshape(-1, 1), "y")
        broken = np.flatnonzero(labels != np.round(labels))
        if len(broken):
            row = int(broken[0])
            raise InvalidInputError(
                f"Unknown label type: y[{row}] = {labels[row]} is continuous, not a class; for "
                "real-valued targets use NeuralNetRegressor"
            )
    check_rows(len(labels), n_samples)
    return labels


def _one_kind(labels: NDArray[Any]) -> NDArray[Any]:
    """Return labels held as objects, where they all are strings, or all are numbers."""
    if all(isinstance(label, str) for label in labels):
        return labels
    kinds = sorted({type(label).__name__ for label in labels})
    held = np.array(labels.tolist()) if "str" not in kinds else labels
    if held.dtype.kind not in "biuf":
        raise InvalidInputError(
            f"Unknown label type: y mixes {', '.join(kinds)}; labels must be strings, booleans or "
            "whole numbers"
        )
    return held


def _check_variation(values: NDArray[Any], held: Float32, name: str) -> None:
    """Refuse columns whose variation float32 rounds away, as that of time stamps in seconds."""
    if values.dtype.kind not in "iuf" or values.dtype.itemsize <= held.dtype.itemsize:
        return
    exact = values.astype(np.float64)
    lost = np.abs(exact - held).max(axis=0) > _MOST_BLUR * exact.std(axis=0)
    varies = exact.max(axis=0) > exact.min(axis=0)
    if (lost & varies).any():
        column = int(np.flatnonzero(lost & varies)[0])
        raise InvalidInputError(
            f"column {column} of {name} varies too little around {exact[:, column].mean():g} to be "
            "held in float32; subtract an offset from it first"
        )
