"""UniformQuantizer: the formula that relates real values and codes, by hand and on real data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from samples import fitted, load

from cipherfit.predictor.quantizer import UniformQuantizer

BY_HAND = UniformQuantizer(np.array([0.5, 2.0]), np.array([1, -2]), 3)


def test_real_values_are_steps_from_the_zero_point():
    assert BY_HAND.dequant([[1, -2], [3, 0], [7, 7]]).tolist() == [[0, 0], [1, 4], [3, 18]]


def test_codes_are_rounded_half_to_even_and_clamped_to_their_bits():
    real = [[0.0, 4.0], [0.25, 5.0], [0.75, 7.0], [-9.0, 0.0], [99.0, 99.0]]
    codes = BY_HAND.quant(real)
    assert codes.dtype == np.int64
    assert codes.tolist() == [[1, 0], [1, 0], [3, 2], [0, 0], [7, 7]]


@given(
    codes=npst.arrays(np.int64, (9, 2), elements=st.integers(0, 255)),
    scale=npst.arrays(np.float64, 2, elements=st.floats(1e-6, 1e6)),
    zero_point=npst.arrays(np.int64, 2, elements=st.integers(-300, 300)),
)
def test_codes_come_back_from_their_real_values(codes, scale, zero_point):
    quantizer = UniformQuantizer(scale, zero_point, 8)
    assert np.array_equal(quantizer.quant(quantizer.dequant(codes)), codes)


@given(
    values=npst.arrays(np.float64, (9, 1), elements=st.floats(-60, 60)),
    scale=st.floats(0.5, 10),
)
def test_within_its_range_a_value_is_off_by_half_a_step_at_most(values, scale):
    quantizer = UniformQuantizer(np.array([scale]), np.array([128]), 8)
    error = np.abs(quantizer.dequant(quantizer.quant(values)) - values)
    assert error.max() <= scale / 2 * (1 + 1e-9)


@pytest.mark.parametrize("name", ["iris", "digits", "diabetes"])
def test_that_of_an_estimators_inputs_quantizes_as_its_graph_does(name):
    model, (X, _) = fitted(name), load(name)
    (quantizer,) = model.input_quantizers
    codes = quantizer.quant(X)
    assert np.array_equal(codes, model.graph_.quantize(X))
    assert np.array_equal(quantizer.quant(quantizer.dequant(codes)), codes)
    inner = (codes > 0) & (codes < 2**quantizer.n_bits - 1)
    error = np.abs(quantizer.dequant(codes) - X)
    assert (error <= quantizer.scale / 2 * (1 + 1e-6))[inner].all()
