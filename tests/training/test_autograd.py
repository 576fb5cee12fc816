"""The layers' gradients by hand are autograd's; what Rust computes is what torch computes.

`test_linear` holds a linear layer's and `test_quantizers` an activation's in the shapes that
training has; here are the pieces themselves, at their edges and in other shapes.
"""

from __future__ import annotations

import pytest
import torch

from cipherfit.training.autograd import (
    ActivationCodesFunction,
    OutputUnitsFunction,
    QuantLinearFunction,
    in_rust,
)
from cipherfit.training.linear import QuantLinear


def codes_by_autograd(y, log_step, offset, max_code):
    soft = (y * (-log_step).exp() + offset).clamp(0, max_code)
    return soft + (soft.round() - soft).detach()


def activations(shape, dtype, max_code=7):
    """Return activations beyond both ends of the codes, and steps and offsets per neuron."""
    torch.manual_seed(0)
    y = (4 * torch.randn(shape, dtype=dtype)).requires_grad_()
    log_step = (0.3 * torch.randn(shape[-1], dtype=dtype) - 1).requires_grad_()
    offset = (2 * torch.rand(shape[-1], dtype=dtype)).requires_grad_()
    return y, log_step, offset, max_code


def with_gradients(function, tensors, *others):
    outputs = function(*tensors, *others)
    torch.manual_seed(1)
    upstream = torch.randn_like(outputs)
    return [outputs.detach(), *torch.autograd.grad(outputs, tensors, upstream)]


def assert_same(found, expected, tolerance):
    for got, wanted in zip(found, expected, strict=True):
        assert got.shape == wanted.shape
        scale = float(wanted.abs().max())
        torch.testing.assert_close(got, wanted, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(5,), (40, 5), (1, 1), (0, 5), (3, 4, 5)])
def test_codes_of_any_shape_have_the_gradients_of_autograd(shape, dtype):
    *tensors, max_code = activations(shape, dtype)
    found = with_gradients(ActivationCodesFunction.apply, tensors, max_code)
    expected = with_gradients(codes_by_autograd, tensors, max_code)
    if 0 in shape:
        assert [each.shape for each in found] == [each.shape for each in expected]
        assert not any(gradient.any() for gradient in found)
        return
    assert_same(found, expected, 1e-5 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize("max_code", [1, 7, 255])
def test_rust_gives_the_codes_and_gradients_of_torch(max_code, monkeypatch):
    *tensors, _ = activations((200, 6), torch.float32)
    in_place = with_gradients(ActivationCodesFunction.apply, tensors, max_code)
    monkeypatch.setattr("cipherfit.training.autograd.in_rust", lambda *_: False)
    by_torch = with_gradients(ActivationCodesFunction.apply, tensors, max_code)
    assert torch.equal(in_place[0], by_torch[0])
    assert_same(in_place[1:], by_torch[1:], 1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ties_are_rounded_half_to_even_and_the_ends_still_learn(dtype):
    y = torch.tensor([[-0.5], [0.0], [0.5], [1.5], [2.5], [3.0], [3.5]], dtype=dtype)
    y.requires_grad_()
    step, offset = torch.zeros(1, dtype=dtype), torch.zeros(1, dtype=dtype)
    codes = ActivationCodesFunction.apply(y, step, offset, 3)
    assert codes.flatten().tolist() == [0, 0, 0, 2, 2, 3, 3]
    codes.sum().backward()
    assert y.grad.flatten().tolist() == [0, 1, 1, 1, 1, 1, 0]


@pytest.mark.parametrize("scale", [0.25, 1.0, 1e6])
def test_outputs_are_in_the_targets_unit_and_learn_in_their_own(scale):
    outputs = torch.tensor([[1.0, -2.0], [0.0, 3.0]], requires_grad=True)
    scales, means = torch.tensor([scale, 2.0]), torch.tensor([10.0, -1.0])
    real = OutputUnitsFunction.apply(outputs, scales, means)
    assert real.tolist() == [[10 + scale, -5.0], [10.0, 5.0]]
    # A squared error in the targets' unit, whatever that is, pulls as one in units of the outputs.
    (real - means).mul(scales).sum().backward()
    assert torch.equal(outputs.grad, torch.ones(2, 2))


def linear(bias=True, **options):
    torch.manual_seed(0)
    settings = {"n_w_bits": 3, "n_in_bits": 3, "n_accum_bits": 8, "n_lookup_bits": 6, **options}
    return QuantLinear(12, 4, bias=bias, **settings)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_layer_without_a_bias_has_the_gradients_of_one_whose_bias_is_0(dtype):
    bare, biased = linear(bias=False).to(dtype), linear().to(dtype)
    biased.load_state_dict({**bare.state_dict(), "bias": torch.zeros(4)})
    x = torch.randint(0, 8, (9, 12)).to(dtype).requires_grad_()
    found, expected = (
        with_gradients(lambda *_, made=made: made(x), [x, made.weight, made.log_scale])
        for made in (bare, biased)
    )
    assert all(map(torch.equal, found, expected))


def test_codes_that_need_no_gradient_get_none_and_change_no_other():
    made = linear()
    x = torch.randint(0, 8, (9, 12)).float()
    gradients = {}
    for needed in (False, True):
        codes = x.clone().requires_grad_(needed)
        made.zero_grad()
        made(codes).square().sum().backward()
        assert (codes.grad is not None) is needed
        gradients[needed] = [each.grad.clone() for each in made.parameters()]
    assert all(map(torch.equal, gradients[False], gradients[True]))


def test_rust_is_used_in_training_in_single_precision_alone(monkeypatch):
    used = []

    def noted(self):
        used.append(True)
        return original(self)

    original = QuantLinear.quantizer_in_rust
    monkeypatch.setattr(QuantLinear, "quantizer_in_rust", noted)
    x = torch.randint(0, 8, (9, 12)).float()
    linear().eval()(x)
    linear().double().train()(x.double())
    assert not used
    linear().train()(x)
    assert used
    assert in_rust(x, x)
    assert not in_rust(x, x.double())
    assert not in_rust(torch.empty(1, device="meta"))


def test_second_derivatives_are_refused_instead_of_wrong():
    made = linear()
    x = torch.randint(0, 8, (9, 12)).float()
    outputs = QuantLinearFunction.apply(x, made.weight, made.log_scale, made.bias, made)
    (gradient,) = torch.autograd.grad(outputs.square().sum(), [made.weight], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()
