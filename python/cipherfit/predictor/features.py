"""The features that a predictor takes: how many, by which names, in which containers."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherfit.exceptions import CipherfitError, InputTypeError, InvalidInputError
from cipherfit.predictor.arrow import ArrowRows
from cipherfit.validation import Float32, to_float32

#: Names that an error lists.
_MOST_LISTED = 5
#: Bytes of the largest numbers that graphs know.
_LARGE = 8
#: Rows of a data frame from which on it is worth looking at each of its columns.
_MANY_ROWS = 1024


@dataclass(frozen=True)
class Features:
    """The columns of X, as they were in training.

    Parameters
    ----------
    n_features : int
        How many.
    names : tuple of str, optional
        Their names, where the model was trained on a data frame.
    """

    n_features: int
    names: tuple[str, ...] | None = None

    def check(self, X: Any) -> Float32:
        """Return features as float32, or say which value can't be one.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Numbers: floats, integers or booleans, in an array, a tensor, a list, a data frame or a
            sparse matrix, which becomes dense. An array of as many numbers per row, such as of
            shape (n_samples, channels, height, width), is taken row by row.

        Returns
        -------
        ndarray of shape (n_samples, n_features), float32, C-contiguous

        Raises
        ------
        InvalidInputError
            If X is empty, of one dimension or not finite, has other features than in training,
            or an integer that float32 can't hold.
        InputTypeError
            If X is complex, or no numbers.
        """
        self._check_names(_names_of(X))
        values = _numbers(X)
        if values.ndim > 2 and math.prod(values.shape[1:]) == self.n_features:
            values = values.reshape(len(values), self.n_features)
        if values.ndim != 2:
            raise InvalidInputError(
                f"Expected 2D array of shape (n_samples, {self.n_features}), got an array with dim "
                f"{values.ndim}. Reshape your data: X.reshape(1, -1) if it is one row"
            )
        if not values.size:
            what = "sample" if not len(values) else "feature"
            raise InvalidInputError(
                f"Found array with 0 {what}(s) (shape={values.shape}) while a minimum of 1 is "
                "required"
            )
        if values.shape[1] != self.n_features:
            raise InvalidInputError(
                f"X has {values.shape[1]} features, but Predictor is expecting {self.n_features} "
                "features as input"
            )
        return to_float32(values)

    def rows(self, X: Any) -> NDArray[Any] | None:
        """Return rows of which a graph takes the numbers as they are; None where `check` must look.

        A graph refuses what `check` would refuse of them, in other words.
        """
        if (
            self.names is None
            and isinstance(X, np.ndarray)
            and _are_numbers(X)
            and X.ndim > 1
            and X.flags.c_contiguous
            and math.prod(X.shape[1:]) == self.n_features
            and len(X) > 0
        ):
            return np.asarray(X).reshape(len(X), self.n_features)
        return None

    def columns(self, X: Any) -> list[NDArray[Any]] | None:
        """Return what `rows` does, column by column, where that is how X holds them."""
        columns = _columns_of(X)
        if columns is None or len(columns) != self.n_features:
            return None
        if not all(column.ndim == 1 and _are_numbers(column) for column in columns):
            return None
        self._check_names(_names_of(X))
        return columns

    def _check_names(self, given: tuple[str, ...] | None) -> None:
        if given == self.names:
            return
        if self.names is None:
            message = "X has feature names, but Predictor was fitted without feature names"
            warnings.warn(message, UserWarning, stacklevel=4)
        elif given is None:
            message = (
                "X does not have valid feature names, but Predictor was fitted with feature names"
            )
            warnings.warn(message, UserWarning, stacklevel=4)
        else:
            raise InvalidInputError(_difference(self.names, given))


def _difference(expected: tuple[str, ...], given: tuple[str, ...]) -> str:
    """Say how feature names differ, in scikit-learn's words."""
    lines = ["The feature names should match those that were passed during fit."]
    unseen, missing = sorted({*given} - {*expected}), sorted({*expected} - {*given})
    if unseen:
        lines += ["Feature names unseen at fit time:", *_listed(unseen)]
    if missing:
        lines += ["Feature names seen at fit time, yet now missing:", *_listed(missing)]
    if not (unseen or missing):
        lines.append("Feature names must be in the same order as they were in fit.")
    return "\n".join([*lines, ""])


def _listed(names: list[str]) -> list[str]:
    more = ["- ..."] if len(names) > _MOST_LISTED else []
    return [*(f"- {name}" for name in names[:_MOST_LISTED]), *more]


def _are_numbers(values: NDArray[Any]) -> bool:
    """Return whether a graph knows the type of these."""
    dtype = values.dtype
    return dtype.kind in "biuf" and dtype.itemsize <= _LARGE and dtype.isnative


def _columns_of(X: Any) -> list[NDArray[Any]] | None:
    """Return the columns of X; None where it holds rows, or is so small that it doesn't matter."""
    if isinstance(X, np.ndarray):
        in_columns = X.ndim == 2 and X.strides[0] == X.itemsize and len(X) > 0
        return list(X.T) if in_columns else None
    if isinstance(X, ArrowRows):
        return X.arrays()
    names = getattr(X, "columns", None)
    if names is None or callable(names) or not hasattr(X, "to_numpy") or len(X) < _MANY_ROWS:
        return None
    return [np.asarray(X[name].to_numpy()) for name in names]


def _names_of(X: Any) -> tuple[str, ...] | None:
    """Return the column names of a data frame, if all are strings."""
    names = getattr(X, "columns", None)
    if names is None or callable(names):
        return None
    names = tuple(names)
    return names if names and all(isinstance(name, str) for name in names) else None


def _numbers(X: Any) -> NDArray[Any]:
    """Return the numbers of any container as an array."""
    if hasattr(X, "toarray"):
        X = X.toarray()
    if X is None:
        raise InputTypeError("X is None; give features of shape (n_samples, n_features)")
    if hasattr(X, "detach"):  # a torch tensor
        X = X.detach().cpu()
    try:
        values = np.asarray(X.to_numpy() if hasattr(X, "to_numpy") else X)
        if values.dtype.kind in "OUST":
            values = values.astype(np.float64)
    except CipherfitError:
        raise
    except (TypeError, ValueError) as error:
        kind = type(error)
        standard = InputTypeError if kind is TypeError else InvalidInputError
        raise standard(f"X must be numeric: {error}") from error
    if values.dtype.kind == "c":
        raise InvalidInputError("Complex data not supported: X must be numeric and real")
    if values.dtype.kind not in "biuf":
        raise InputTypeError(f"X has dtype {values.dtype}; it must be numeric")
    return values
