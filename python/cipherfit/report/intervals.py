"""Numbers with their 95 % confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from cipherfit.report.measured import Interval

Float64 = NDArray[np.float64]

CONFIDENCE = 0.95
_Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
#: Resamples of a bootstrap, and rows that are drawn in all of them together at most.
_MOST_RESAMPLES, _LEAST_RESAMPLES, _MOST_DRAWN = 2000, 200, 20_000_000


def share(hits: int, n: int) -> Interval:
    """Return a share with Wilson's score interval.

    Parameters
    ----------
    hits, n : int
        How many of how many; n at least 1.

    Returns
    -------
    Interval
        As in Wilson, "Probable inference, the law of succession, and statistical inference", 1927,
        doi:10.1080/01621459.1927.10502953.
    """
    part, square = hits / n, _Z * _Z
    middle = (part + square / (2 * n)) / (1 + square / n)
    reach = _Z / (1 + square / n) * math.sqrt(part * (1 - part) / n + square / (4 * n * n))
    low = 0.0 if not hits else middle - reach
    return Interval(part, low, 1.0 if hits == n else middle + reach)


def mean(values: Float64) -> Interval:
    """Return a mean with the normal interval of its standard error.

    Parameters
    ----------
    values : ndarray of shape (n,)
        One per row.
    """
    middle = float(values.mean())
    if len(values) < 2:
        return Interval(middle, -math.inf, math.inf)
    reach = _Z * float(values.std(ddof=1)) / math.sqrt(len(values))
    return Interval(middle, middle - reach, middle + reach)


def paired_shares(ours: NDArray[np.bool_], others: NDArray[np.bool_]) -> Interval:
    """Return by how much another share of the same rows is above ours.

    Parameters
    ----------
    ours, others : ndarray of shape (n,), bool
        Which rows count, for either.

    Returns
    -------
    Interval
        As in Agresti and Min, "Simple improved confidence intervals for comparing matched
        proportions", Statistics in Medicine 24, 2005: half a row is added to each of the four
        cases, so that it has a width even where no row differs.
    """
    n = len(ours)
    gained, lost = int((others & ~ours).sum()), int((ours & ~others).sum())
    up, down = (gained + 0.5) / (n + 2), (lost + 0.5) / (n + 2)
    reach = _Z * math.sqrt((up + down - (up - down) ** 2) / (n + 2))
    return Interval((gained - lost) / n, up - down - reach, up - down + reach)


def bootstrapped(statistics: Callable[[NDArray[np.intp]], Float64], n_rows: int) -> list[Interval]:
    """Return statistics of rows with percentile bootstrap intervals.

    Parameters
    ----------
    statistics : callable
        From the positions of rows to statistics (n,).
    n_rows : int
        Rows in all.

    Returns
    -------
    list of Interval
        As in Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13. The same
        for the same rows: its random numbers have a fixed seed.
    """
    n_resamples = min(max(_MOST_DRAWN // n_rows, _LEAST_RESAMPLES), _MOST_RESAMPLES)
    random = np.random.default_rng(0)
    with np.errstate(divide="ignore", invalid="ignore"):  # rows that are all alike have no R2
        drawn = np.array(
            [statistics(random.integers(n_rows, size=n_rows)) for _ in range(n_resamples)]
        )
        values = statistics(np.arange(n_rows))
    drawn[~np.isfinite(drawn)] = np.nan
    tail = 50 * (1 - CONFIDENCE)
    lows, highs = (_percentile(drawn, at) for at in (tail, 100 - tail))
    return [Interval(*map(float, each)) for each in zip(values, lows, highs, strict=True)]


def _percentile(drawn: Float64, at: float) -> Float64:
    if np.isnan(drawn).all(axis=0).any():
        return np.full(drawn.shape[1], np.nan)
    return np.asarray(np.nanpercentile(drawn, at, axis=0))
