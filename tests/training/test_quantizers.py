"""Quantizers: codes stay in range for every input, and round as the integer graph does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from torch import nn

from cipherfit import exceptions
from cipherfit.training.quantizers import ActivationQuantizer, InputQuantizer

FINITE = st.floats(-(2.0**100), 2.0**100, width=32)


def calibrated(data, n_bits=3, **options):
    x = torch.as_tensor(np.asarray(data, dtype=np.float32))
    quantizer = InputQuantizer(x.shape[1], n_bits)
    quantizer.calibrate(x, **options)
    return quantizer.eval()


@given(
    train=npst.arrays(np.float32, st.tuples(st.integers(1, 20), st.just(3)), elements=FINITE),
    unseen=npst.arrays(np.float32, (8, 3), elements=FINITE),
    n_bits=st.integers(1, 16),
)
def test_every_finite_input_becomes_a_code_in_range_seen_or_not(train, unseen, n_bits):
    quantizer = calibrated(train, n_bits)
    codes = quantizer(torch.as_tensor(unseen)).double().numpy()
    assert np.array_equal(codes, np.round(codes))
    assert codes.min() >= 0
    assert codes.max() <= 2**n_bits - 1


@given(
    train=npst.arrays(np.float32, (12, 2), elements=st.floats(-100, 100, width=32)),
    n_bits=st.integers(1, 10),
)
def test_codes_follow_the_normative_formula(train, n_bits):
    quantizer = calibrated(train, n_bits)
    steps = np.rint(train.astype(np.float64) / quantizer.scale.numpy())
    expected = np.clip(steps + quantizer.zero_point.numpy(), 0, 2**n_bits - 1)
    assert np.array_equal(quantizer(torch.as_tensor(train)).numpy(), expected)


@given(
    low=st.floats(-1000, 1000, width=32),
    span=st.floats(0.125, 1000, width=32),
    n_bits=st.integers(2, 8),
)
def test_calibration_spans_the_data(low, span, n_bits):
    column = np.linspace(low, low + span, 50, dtype=np.float32)[:, None]
    quantizer = calibrated(column, n_bits, tail=0.0)
    codes = quantizer(torch.as_tensor(column)).numpy()
    # The grid contains 0, which costs at most one code at an end.
    assert codes.min() <= 1
    assert codes.max() >= 2**n_bits - 2
    assert np.all(np.diff(codes[:, 0]) >= 0)


@given(
    scale=st.floats(1e-30, 1e30),
    train=npst.arrays(np.float64, (12, 2), elements=st.floats(-1, 1)),
    n_bits=st.integers(1, 8),
)
def test_one_multiplication_in_single_precision_gives_the_codes_of_division(scale, train, n_bits):
    quantizer = InputQuantizer(2, n_bits)
    quantizer.calibrate(torch.as_tensor(train * scale))
    steps = quantizer.scale.numpy()
    steps = steps[(steps > 1e-35) & (steps < 1e35)]
    factors = (1 / steps).astype(np.float32)
    assert np.array_equal(1 / factors.astype(np.float64), steps)
    # Values beside every tie: a product of two floats of single precision is exact in double.
    ties = (np.arange(-(2**n_bits), 2**n_bits)[:, None] + 0.5) * steps
    for x in (np.nextafter(ties.astype(np.float32), end) for end in (-np.inf, np.inf)):
        in_range = np.isfinite(x)
        products = np.rint(x.astype(np.float64) * factors)
        quotients = np.rint(x.astype(np.float64) / steps)
        assert np.array_equal(products[in_range], quotients[in_range])


def test_steps_beyond_single_precision_are_kept():
    for span in (1e-44, 1e44):
        quantizer = InputQuantizer(1, 3)
        quantizer.calibrate(torch.tensor([[0.0], [span]], dtype=torch.float64))
        codes = quantizer.eval()(torch.tensor([[0.0], [span]], dtype=torch.float64))
        assert codes.flatten().tolist() == [0, 7]


def test_outliers_do_not_stretch_the_grid():
    column = np.concatenate([np.linspace(0, 1, 998), [1e6, -1e6]])[:, None]
    codes = calibrated(column, 4)(torch.as_tensor(column, dtype=torch.float32)).numpy()
    assert len(np.unique(codes)) == 16


def test_rare_values_of_a_mostly_constant_feature_still_get_codes_of_their_own():
    column = np.zeros((1000, 1))
    column[:5] = 1.0
    codes = calibrated(column)(torch.tensor([[0.0], [1.0]])).numpy()
    assert codes[0] != codes[1]


@pytest.mark.parametrize("value", [0.0, 1.0, -3.5, 1e20, 1e-20])
def test_a_constant_feature_calibrates_to_one_code(value):
    quantizer = calibrated(np.full((10, 1), value))
    codes = quantizer(torch.full((4, 1), value)).numpy()
    assert np.isfinite(quantizer.scale.numpy()).all()
    assert len(np.unique(codes)) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_calibration_refuses_values_that_are_not_finite(value):
    with pytest.raises(exceptions.InvalidInputError, match="NaN or infinity"):
        calibrated([[0.0], [value]])


def test_the_first_training_batch_calibrates_where_nobody_did():
    quantizer = InputQuantizer(2, 3).train()
    x = torch.randn(30, 2)
    codes = quantizer(x)
    assert bool(quantizer.calibrated)
    assert codes.max() == 7
    scale = quantizer.scale.clone()
    quantizer(100 * x)
    assert torch.equal(quantizer.scale, scale), "a later batch moved the grid"


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.Sigmoid(), nn.Tanh(), nn.GELU(), nn.ReLU6()])
@pytest.mark.parametrize("n_bits", [1, 2, 4, 8])
def test_activation_codes_start_out_using_their_whole_range(activation, n_bits):
    quantizer = ActivationQuantizer(3, n_bits, activation)
    codes = quantizer(activation(3 * torch.randn(2000, 3))).detach()
    assert torch.equal(codes, codes.round())
    assert codes.min() == 0
    assert codes.max() == 2**n_bits - 1


def test_an_activation_that_is_constant_still_gives_finite_codes():
    for constant, code in ((0.7, 7), (0.0, 0), (-0.7, 0)):
        quantizer = ActivationQuantizer(2, 3, lambda x, value=constant: torch.full_like(x, value))
        assert torch.isfinite(quantizer.log_step).all()
        assert quantizer(torch.full((5, 2), constant)).unique().tolist() == [code]


@pytest.mark.parametrize("n_bits", [1, 3, 8, 16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_activation_codes_and_gradients_are_those_that_autograd_gives(n_bits, dtype):
    torch.manual_seed(0)
    quantizer = ActivationQuantizer(5, n_bits, torch.nn.ReLU()).to(dtype)
    with torch.no_grad():
        quantizer.offset.add_(torch.rand(5))
    y = (2 * torch.randn(40, 5, dtype=dtype)).requires_grad_()
    scaled = y * (-quantizer.log_step).exp() + quantizer.offset
    soft = scaled.clamp(0, quantizer.max_code)
    expected = soft + (soft.round() - soft).detach()
    codes = quantizer(y)
    # In 16 bits of float32 the order of operations can move a tie.
    torch.testing.assert_close(codes, expected, rtol=0, atol=1e-6 if n_bits < 16 else 1)
    upstream = torch.randn(40, 5, dtype=dtype)
    tensors = [y, quantizer.log_step, quantizer.offset]
    wanted = torch.autograd.grad(expected, tensors, upstream)
    for got, each in zip(torch.autograd.grad(codes, tensors, upstream), wanted, strict=True):
        torch.testing.assert_close(got, each, rtol=1e-4, atol=1e-4 * float(each.abs().max()))


def test_step_and_offset_learn():
    quantizer = ActivationQuantizer(4, 3, nn.ReLU())
    quantizer(torch.rand(50, 4) * 2).pow(2).sum().backward()
    for parameter in (quantizer.log_step, quantizer.offset):
        assert torch.isfinite(parameter.grad).all()
        assert (parameter.grad != 0).all()


@pytest.mark.parametrize("n_bits", [2, 3, 4])
@pytest.mark.parametrize("largest", [2, 6, 7, 10, 12, 16, 42, 100, 255])
def test_no_count_is_a_tie_between_two_codes(largest, n_bits):
    counts = np.arange(largest + 1, dtype=np.float32)[:, None]
    quantizer = calibrated(counts, n_bits, tail=0.0)
    steps = counts / quantizer.scale.numpy()
    assert np.abs(steps - np.floor(steps) - 0.5).min() > 1e-4
    assert quantizer(torch.as_tensor(counts)).max() == 2**n_bits - 1
