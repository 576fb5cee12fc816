"""Numbers of float32 as integers times one unit, where they are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

#: The largest number of a row is at most so many units: up to there rounding hides no other unit.
_MOST_UNITS = 1 << 16
#: Part of a unit that numbers may be off by.
_MOST_ERROR = 1 / 32
#: Part of the largest of values that differences between two of them may be off by: roundings to
#: float32 as they are shifted and scaled, and some to spare.
ROUNDINGS = 2.0**-21
#: Relative difference that products of float32 have from those of reals.
_TOLERANCE = 5e-7


class NotWholeError(ValueError):
    """Numbers of a row are no whole multiples of anything.

    Parameters
    ----------
    row : int
        Which row.
    """

    def __init__(self, row: int) -> None:
        super().__init__(f"row {row}")
        self.row = row


def whole_multiples(values: Float64, error: Float64 | None = None) -> tuple[Int64, Float64]:
    """Return integers (n_rows, n) and units (n_rows,) whose products are given values.

    The unit of a row is the largest one, up to the rounding of float32; that of a row of zeros is
    1. Two or three numbers that never were multiples have a unit too, but a tiny one.

    Parameters
    ----------
    values : ndarray of shape (n_rows, n), float64
        Computed from float32.
    error : ndarray of shape (n_rows,), float64, optional
        What each number may be off by, beside a rounding of its own. Default: nothing.

    Raises
    ------
    NotWholeError
        Naming the first row that has no unit.
    """
    integers = np.zeros(values.shape, dtype=np.int64)
    units = np.ones(len(values))
    errors = np.zeros(len(values)) if error is None else error
    for row, numbers in enumerate(values):
        magnitudes = np.unique(np.abs(numbers[np.abs(numbers) > errors[row]]))
        if not len(magnitudes):
            continue
        units[row] = _unit(magnitudes, float(errors[row]), row)
        integers[row] = np.rint(numbers / units[row])
    return integers, units


def _unit(magnitudes: Float64, error: float, row: int) -> float:
    least, most = magnitudes[0], magnitudes[-1]
    for parts in range(1, int(_MOST_UNITS * least / most) + 1):
        unit = _fitted_unit(magnitudes, least / parts)
        if error > _MOST_ERROR * unit:
            break
        whole = np.rint(magnitudes / unit)
        if (np.abs(magnitudes - whole * unit) <= _TOLERANCE * magnitudes + error).all():
            return unit
    raise NotWholeError(row)


def _fitted_unit(magnitudes: Float64, unit: float) -> float:
    """Return a unit that more and more of sorted magnitudes, the least of them first, agree on."""
    reach = 16 * magnitudes[0]
    while True:
        near = magnitudes[: np.searchsorted(magnitudes, reach, side="right")]
        unit = float(near.sum() / np.rint(near / unit).sum())
        if len(near) == len(magnitudes):
            return unit
        reach *= 16
