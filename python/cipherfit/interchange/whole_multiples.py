"""Numbers of float32 as integers times one unit, where they are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

#: The largest number of a row is at most so many units: up to there rounding hides no other unit.
_MOST_UNITS = 1 << 16
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


def whole_multiples(values: Float64) -> tuple[Int64, Float64]:
    """Return integers (n_rows, n) and units (n_rows,) whose products are given values.

    The unit of a row is the largest one, up to the rounding of float32; that of a row of zeros is
    1. Two or three numbers that never were multiples have a unit too, but a tiny one.

    Parameters
    ----------
    values : ndarray of shape (n_rows, n), float64
        Computed from float32.

    Raises
    ------
    NotWholeError
        Naming the first row that has no unit.
    """
    integers = np.zeros(values.shape, dtype=np.int64)
    units = np.ones(len(values))
    for row, numbers in enumerate(values):
        magnitudes = np.unique(np.abs(numbers[numbers != 0]))
        if not len(magnitudes):
            continue
        units[row] = _unit(magnitudes, row)
        integers[row] = np.rint(numbers / units[row])
    return integers, units


def _unit(magnitudes: Float64, row: int) -> float:
    least, most = magnitudes[0], magnitudes[-1]
    for parts in range(1, int(_MOST_UNITS * least / most) + 1):
        multiples = magnitudes * (parts / least)
        whole = np.rint(multiples)
        if (np.abs(multiples - whole) <= _TOLERANCE * whole).all():
            # The mean is closer than the least number alone, which float32 has rounded.
            return float(magnitudes.sum() / whole.sum())
    raise NotWholeError(row)
