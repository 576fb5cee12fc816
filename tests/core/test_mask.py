from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cipherfit import accumulator_mask
from cipherfit.exceptions import InputTypeError, InvalidInputError, InvalidParameterError

WEIGHTS = np.array([[3, -2, 1, 0], [1, 1, -1, 1]])


def naive_mask(weights, low, high, n_accum_bits, importance=None, reserve=0):
    """Sort each row; keep from the front until one does not fit."""
    mask = np.zeros(weights.shape, dtype=bool)
    importance = np.abs(weights) if importance is None else importance
    costs = np.abs(weights) * (high - low)
    for neuron in range(len(weights)):
        order = np.lexsort((np.arange(weights.shape[1]), costs[neuron], -importance[neuron]))
        spent = np.cumsum(costs[neuron][order])
        mask[neuron, order] = spent <= 2**n_accum_bits - 1 - reserve
    return mask


@given(
    st.integers(0, 2**32),
    st.tuples(st.integers(0, 5), st.integers(1, 30)),
    st.integers(1, 12),
    st.booleans(),
    st.sampled_from(["i1", "i4", "i8"]),
)
def test_the_mask_equals_the_naive_one(seed, shape, n_accum_bits, by_importance, dtype):
    rng = np.random.default_rng(seed)
    weights = rng.integers(-7, 8, shape).astype(dtype)
    low = rng.integers(0, 4, shape[1])
    high = low + rng.integers(0, 8, shape[1])
    reserve = int(rng.integers(0, 2**n_accum_bits))
    importance = rng.integers(-2, 3, shape).astype("f4") if by_importance else None
    mask = accumulator_mask(
        weights, low, high, n_accum_bits, importance=importance, reserve=reserve
    )
    assert mask.dtype == bool
    expected = naive_mask(weights.astype(int), low, high, n_accum_bits, importance, reserve)
    np.testing.assert_array_equal(mask, expected)


def test_one_interval_for_all_columns_may_be_two_integers():
    np.testing.assert_array_equal(
        accumulator_mask(WEIGHTS, 0, 7, 5), accumulator_mask(WEIGHTS, [0] * 4, [7] * 4, 5)
    )


def test_all_is_kept_where_all_fits():
    # The first row costs 6 * 7 = 42, the second 4 * 7 = 28.
    assert accumulator_mask(WEIGHTS, 0, 7, 6).all()
    assert accumulator_mask(WEIGHTS, 0, 7, 6, reserve=63 - 42).all()
    assert accumulator_mask(WEIGHTS, 0, 7, 6, reserve=63 - 41).tolist() == [
        [True, True, False, False],
        [True, True, True, True],
    ]


def test_layouts_do_not_matter_and_empty_layers_are_fine():
    expected = accumulator_mask(WEIGHTS, 0, 7, 4)
    np.testing.assert_array_equal(accumulator_mask(np.asfortranarray(WEIGHTS), 0, 7, 4), expected)
    np.testing.assert_array_equal(accumulator_mask(WEIGHTS.tolist(), 0, 7, 4), expected)
    double = WEIGHTS.astype("f8")
    np.testing.assert_array_equal(
        accumulator_mask(WEIGHTS, 0, 7, 4, importance=np.abs(double)), expected
    )
    assert accumulator_mask(np.empty((0, 3), int), 0, 7, 4).shape == (0, 3)
    assert accumulator_mask(np.empty((3, 0), int), 0, 7, 4).shape == (3, 0)


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        ({"weights": [1, 2]}, InvalidInputError, r"weights must have shape \(n_out, n_in\), got"),
        ({"weights": WEIGHTS * 1.0}, InputTypeError, "weights must hold integers, got dtype"),
        ({"low": [0, 0]}, InvalidInputError, r"low must have shape \(4,\), got \(2,\)"),
        ({"high": [[7] * 4]}, InvalidInputError, r"high must have shape \(4,\), got \(1, 4\)"),
        ({"high": 7.0}, InputTypeError, "high must hold integers"),
        ({"low": 8}, InvalidInputError, "column 0 is empty: low 8 is above high 7"),
        ({"n_accum_bits": 0}, InvalidParameterError, r"n_accum_bits must be in \[1, 62\], got 0"),
        ({"n_accum_bits": 63}, InvalidParameterError, r"n_accum_bits must be in \[1, 62\]"),
        ({"reserve": 64}, InvalidParameterError, r"reserve must be in \[0, 63\], got 64"),
        ({"reserve": -1}, InvalidParameterError, r"reserve must be in \[0, 63\], got -1"),
        ({"reserve": 10**50}, InvalidParameterError, "reserve is out of range"),
        ({"importance": [1.0]}, InvalidInputError, r"importance must have shape \(2, 4\)"),
        ({"importance": WEIGHTS * np.nan}, InvalidInputError, "importance has the value NaN"),
        ({"importance": WEIGHTS * 1j}, InputTypeError, "importance must hold real numbers"),
    ],
)
def test_bad_arguments_are_named(change, kind, text):
    arguments = {"weights": WEIGHTS, "low": 0, "high": 7, "n_accum_bits": 6, **change}
    with pytest.raises(kind, match=text):
        accumulator_mask(**arguments)
