"""The warning that a feature's codes are spent on its tail, since most rows share one of them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherfit.exceptions import CipherfitWarning

#: Share of the rows on one code from which it says too little, by bits of a code; of a normal
#: variable it is 0.56 at 2 bits, 0.26 at 3, 0.13 at 4 and 0.06 at 5.
_MOST_SHARE = {1: 0.95, 2: 0.85, 3: 0.7, 4: 0.5}
_MOST_SHARE_OF_MANY = 0.4
#: Fewer rows, or values on the code, are not taken for a continuous feature's.
_LEAST_ROWS, _LEAST_VALUES = 50, 20
#: Features that a warning names.
_NAMED = 5


def crowded_features(features: NDArray[Any], codes: NDArray[Any], n_bits: int) -> dict[int, float]:
    """Return which continuous features have most rows on one code, and what share of them.

    A value that many rows have in common, such as the zero of counts, does deserve a code of its
    own: rows with a code's commonest value don't count, and the others must differ.

    Parameters
    ----------
    features : ndarray of shape (n_samples, n_features)
        Values.
    codes : ndarray of shape (n_samples, n_features)
        Their codes.
    n_bits : int
        Bits of a code.

    Returns
    -------
    dict of int to float
        Share of all rows that lie on the commonest code, by index of the feature.
    """
    n_rows = len(features)
    most = _MOST_SHARE.get(n_bits, _MOST_SHARE_OF_MANY)
    crowded: dict[int, float] = {}
    if n_rows < _LEAST_ROWS:
        return crowded
    for j in range(features.shape[1]):
        counts = np.bincount(codes[:, j])
        share = counts.max() / n_rows
        if share < most:
            continue
        values, ties = np.unique(features[codes[:, j] == counts.argmax(), j], return_counts=True)
        others = counts.max() - ties.max()
        if others >= most * n_rows and len(values) > max(_LEAST_VALUES, others / 4):
            crowded[j] = float(share)
    return crowded


def warn_of_heavy_tails(
    features: NDArray[Any], codes: NDArray[Any], n_bits: int, names: Sequence[Any] | None
) -> None:
    """Warn (`CipherfitWarning`) of continuous features most of whose rows share one code.

    Parameters
    ----------
    features, codes, n_bits
        As of `crowded_features`.
    names : sequence of str, optional
        Names of the features. Default: their indices.
    """
    crowded = crowded_features(features, codes, n_bits)
    if not crowded:
        return
    worst = sorted(crowded, key=lambda j: -crowded[j])
    listed = ", ".join(
        f"{j if names is None else repr(str(names[j]))} ({crowded[j]:.0%})" for j in worst[:_NAMED]
    )
    more = f" and {len(worst) - _NAMED} more" if len(worst) > _NAMED else ""
    warnings.warn(
        f"most rows share one of the {2**n_bits} input codes, so that the network can't tell them "
        f"apart, in feature(s) {listed}{more}: their tails are heavy. Put a transformer before the "
        "estimator in a Pipeline, such as sklearn.preprocessing.QuantileTransformer() or "
        "PowerTransformer(), or take logarithms",
        CipherfitWarning,
        stacklevel=5,  # the caller of fit
    )
