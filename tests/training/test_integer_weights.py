"""Integer weights: within their codes and budget, and closer than rounding to nearest."""

from __future__ import annotations

import numpy as np
import pytest

from cipherfit.training import integer_weights as module
from cipherfit.training.integer_weights import integer_weights

WIDE = 1e12


def problem(n_outputs=4, n_inputs=20, seed=0):
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(n_inputs, 5))
    covariance = shared @ shared.T + 0.05 * np.eye(n_inputs)
    return rng.normal(size=(n_outputs, n_inputs)), covariance


def errors(change, covariance):
    return ((change @ covariance) * change).sum(axis=1)


@pytest.mark.parametrize("max_code", [1, 3, 7, 31, 127])
@pytest.mark.parametrize("seed", range(5))
def test_outputs_change_less_than_by_rounding_to_nearest(max_code, seed):
    weights, covariance = problem(seed=seed)
    rounded = integer_weights(weights, covariance, max_code=max_code, most_weight=WIDE)
    scale = np.abs(weights).max(axis=1, keepdims=True) / max_code
    nearest = np.rint(weights / scale) * scale
    ours = rounded.codes * rounded.scale[:, None]
    assert (errors(ours - weights, covariance) <= errors(nearest - weights, covariance)).all()
    assert errors(ours - weights, covariance).sum() < (
        0.5 * errors(nearest - weights, covariance).sum()
    )


@pytest.mark.parametrize("max_code", [1, 3, 127])
@pytest.mark.parametrize("most_weight", [2.0, 9.0, 200.0])
def test_codes_are_integers_within_their_bound_and_budget(max_code, most_weight):
    weights, covariance = problem()
    codes = integer_weights(weights, covariance, max_code=max_code, most_weight=most_weight).codes
    assert np.array_equal(codes, np.rint(codes))
    assert np.abs(codes).max() <= max_code
    assert np.abs(codes).sum(axis=1).max() <= most_weight
    assert codes.any()


def test_inputs_that_never_vary_and_outputs_without_weights_stay_at_zero():
    weights, covariance = problem()
    weights[:, 3] = 0.0
    covariance[3] = covariance[:, 3] = 0.0
    weights[2] = 0.0
    rounded = integer_weights(weights, covariance, max_code=7, most_weight=WIDE)
    assert not rounded.codes[:, 3].any()
    assert not rounded.codes[2].any()
    assert (rounded.scale > 0).all()


@pytest.mark.parametrize("block", [1, 7, 20, 32])
@pytest.mark.parametrize("n_inputs", [1, 20, 64, 65])
def test_weights_that_make_up_for_others_block_by_block_do_so_as_one_by_one(
    block, n_inputs, monkeypatch
):
    weights, covariance = problem(n_inputs=n_inputs)
    upper = np.linalg.cholesky(np.linalg.inv(covariance)).T
    units, expected = 8 * weights, np.empty_like(weights)
    left = units.copy()
    for j in range(n_inputs):
        expected[:, j] = np.rint(left[:, j]).clip(-15, 15)
        error = (left[:, j] - expected[:, j]) / upper[j, j]
        left[:, j + 1 :] -= np.outer(error, upper[j, j + 1 :])
    monkeypatch.setattr(module, "_BLOCK", block)
    assert np.array_equal(module._rounded(units, upper, 15), expected)
