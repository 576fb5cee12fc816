"""Checks of numbers in arrays, and the errors that say which one can't be used."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherfit.exceptions import InvalidInputError

Float32 = NDArray[np.float32]

#: Bytes of a number, integer or not, that float32 always holds.
_SMALL = 2


def to_float32(values: NDArray[Any]) -> Float32:
    """Return features as float32, or say which of them can't be one.

    Parameters
    ----------
    values : ndarray of shape (n_samples, n_features)
        Numbers or booleans.

    Returns
    -------
    ndarray of shape (n_samples, n_features), float32, C-contiguous and writable

    Raises
    ------
    InvalidInputError
        If a value is NaN or infinite, too large for float32, or an integer that it would round.
    """
    check_finite(values, "X")
    # Training shares the memory with torch, which warns where it can't be written to.
    with np.errstate(over="ignore", under="ignore"):
        features = np.require(values, dtype=np.float32, requirements=["C", "W"])
    _check_lossless(values, features)
    return features


def check_finite(values: NDArray[Any], name: str) -> None:
    """Refuse NaN and infinity in a matrix, with row and column."""
    if values.dtype.kind != "f" or np.isfinite(values).all():
        return
    row, column = (int(i) for i in np.argwhere(~np.isfinite(values))[0])
    kind = "NaN" if np.isnan(values[row, column]) else "infinity"
    advice = (
        "impute missing values first, for instance with sklearn.impute.SimpleImputer"
        if kind == "NaN"
        else "only finite values can be quantized"
    )
    raise InvalidInputError(
        f"Input {name} contains {kind} at row ", row, f", column {column}; {advice}"
    )


def check_rows(n_targets: int, n_samples: int) -> None:
    """Refuse targets of another number than there are rows."""
    if n_targets != n_samples:
        raise InvalidInputError(
            f"Found input variables with inconsistent numbers of samples: X has {n_samples} rows "
            f"and y has {n_targets}"
        )


def _check_lossless(values: NDArray[Any], features: Float32) -> None:
    """Refuse what float32 can't hold: overflow, and integers that it would round."""
    if values.dtype == features.dtype or values.dtype.itemsize <= _SMALL:
        return
    lost = np.isinf(features)
    if values.dtype.kind in "iu":
        # Compared in double precision where exact, so that no cast back can overflow.
        lost |= features.astype(np.longdouble) != values.astype(np.longdouble)
    if lost.any():
        row, column = (int(i) for i in np.argwhere(lost)[0])
        raise InvalidInputError(
            "X[",
            row,
            f", {column}] = {values[row, column]} can't be held in float32 without loss; rescale "
            "this feature first",
        )
