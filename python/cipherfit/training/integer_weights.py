"""Integer weights that give nearly a linear model's outputs: each rounding is made up for.

Rounding one weight moves the outputs; the weights that are still to be rounded move so that they
cancel what their codes' covariance lets them, as in GPTQ (Frantar et al., 2022, arXiv:2210.17323)
after optimal brain surgery (Hassibi and Stork, 1993). It costs about a bit less than rounding to
nearest for the same error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky

Float64 = NDArray[np.float64]

#: Fractions of the scale at which the largest weight has the largest code, and more where a budget
#: asks for it: finer scales clamp few weights, and suit the rest.
_FACTORS = (1.5, 1.2, 1.1, 1.05, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
#: Part of the mean variance by which the covariance is made safe to invert.
_DAMPING = 1e-4
#: Weights of an output that are rounded before those behind them make up for it, in one product.
_BLOCK = 32


@dataclass(frozen=True)
class IntegerWeights:
    """What rounding made: weights are about ``codes * scale``.

    Parameters
    ----------
    codes : ndarray of shape (n_outputs, n_inputs)
        Integers.
    scale : ndarray of shape (n_outputs,)
        Real weight of a unit, above 0.
    """

    codes: Float64
    scale: Float64


def integer_weights(
    weights: Float64, covariance: Float64, *, max_code: int, most_weight: float
) -> IntegerWeights:
    """Return the integer weights, with a scale per output, that change its outputs least.

    Parameters
    ----------
    weights : ndarray of shape (n_outputs, n_inputs)
        Real weights.
    covariance : ndarray of shape (n_inputs, n_inputs)
        Of the inputs; one that never varies has zeros.
    max_code : int
        Largest magnitude of an integer.
    most_weight : float
        Largest L1 norm of an output's integers.
    """
    largest = np.abs(weights).max(axis=1)
    norm = np.abs(weights).sum(axis=1)
    full = np.maximum(largest / max_code, norm / most_weight)
    full = np.where(full > 0, full, 1.0)
    order = np.argsort(-np.diag(covariance), kind="stable")
    upper = _inverse_factor(covariance[np.ix_(order, order)])
    best = IntegerWeights(np.zeros_like(weights), full)
    least = np.full(len(weights), np.inf)
    for factor in _FACTORS:
        scale = full * factor
        codes = np.empty_like(weights)
        codes[:, order] = _rounded(weights[:, order] / scale[:, None], upper, max_code)
        change = codes * scale[:, None] - weights
        error = ((change @ covariance) * change).sum(axis=1)
        better = (error < least) & (np.abs(codes).sum(axis=1) <= most_weight)
        best.codes[better], best.scale[better] = codes[better], scale[better]
        least[better] = error[better]
    return best


def _inverse_factor(covariance: Float64) -> Float64:
    """Return the upper Cholesky factor of a covariance's inverse."""
    damping = _DAMPING * max(float(np.diag(covariance).mean()), 1e-12)
    safe = covariance + damping * np.eye(len(covariance))
    factor: Float64 = cholesky(np.linalg.inv(safe), lower=False)
    return factor


def _rounded(weights: Float64, upper: Float64, max_code: int) -> Float64:
    """Round weights in units of their scale one after the other, and let the rest make up for it.

    Parameters
    ----------
    weights : ndarray of shape (n_outputs, n_inputs)
        Changed on the way.
    upper : ndarray of shape (n_inputs, n_inputs)
        As of `_inverse_factor`.
    max_code : int
        Largest magnitude.
    """
    codes = np.empty_like(weights)
    n = weights.shape[1]
    for start in range(0, n, _BLOCK):
        end = min(start + _BLOCK, n)
        block, errors = weights[:, start:end], np.empty((len(weights), end - start))
        for j in range(end - start):
            row = upper[start + j, start:end]
            codes[:, start + j] = np.rint(block[:, j]).clip(-max_code, max_code)
            errors[:, j] = (block[:, j] - codes[:, start + j]) / row[j]
            block[:, j + 1 :] -= errors[:, j, None] * row[j + 1 :]
        weights[:, end:] -= errors @ upper[start:end, end:]
    return codes
