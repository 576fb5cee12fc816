"""What fitting an imported network to narrow accumulators changes, and how it is told."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from cipherfit.exceptions import CipherfitWarning

Float64 = NDArray[np.float64]

#: Variance, as a part of the mean square, that is but rounding of float64, or no score.
_ROUNDING = 2.0**-80


def lost_variance(outputs: Float64, real: Float64) -> float:
    """Return the mean squared difference, in units of each real output's variance, of the worst.

    That of constants is in units of their square, and rounding to float64 makes no variance.
    """
    spread, square = real.var(axis=0), (real**2).mean(axis=0)
    error = ((outputs - real) ** 2).mean(axis=0)
    unit = np.where(spread > _ROUNDING * square, spread, square)
    return float((error / np.where(unit > 0, unit, 1)).max())


def tell_what_is_lost(
    n_accum_bits: int | None,
    n_pruned: int,
    n_weights: int,
    lost: float,
    is_classifier: bool,
    source: str,
    *,
    frames: int = 3,
) -> None:
    """Warn of what accumulators of so many bits change on given rows.

    Parameters
    ----------
    n_accum_bits : int or None
        Bits that were asked for, if any were.
    n_pruned, n_weights : int
        How many weights are 0 for that, of how many.
    lost : float
        Fraction of the rows that get another label, or of the outputs' variance.
    is_classifier : bool
        Which of the two.
    source : str
        What it is compared with.
    frames : int, default=3
        How many there are up to who called the importing function, this one included.
    """
    what = "rows of X get another label" if is_classifier else "outputs' variance on X is lost"
    told = f"{lost:.2%} of the {what}, compared with {source}"
    if n_accum_bits is None:
        told += "; more bits (n_w_bits, n_a_bits, n_in_bits) lose less"
    else:
        pruned = f"{n_pruned} of {n_weights} weights are pruned"
        told = f"with n_accum_bits={n_accum_bits}, {pruned}, and {told}"
    warnings.warn(told, CipherfitWarning, stacklevel=frames)
