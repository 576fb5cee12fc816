"""Linear layers: no accumulator leaves its budget, and rounding is the circuit's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cipherfit._core import WeightQuantizer
from cipherfit.training.linear import AMPLE_WEIGHT, QuantLinear, surviving


def layer(fan_in=6, fan_out=4, **options):
    defaults = {"n_w_bits": 3, "n_in_bits": 3, "n_accum_bits": 8, "n_lookup_bits": 6}
    return QuantLinear(fan_in, fan_out, **{**defaults, **options})


def worst_widths(codes, max_in_code):
    """Return max(acc) - min(acc) of each neuron over all input codes, in exact integers."""
    return [sum(abs(int(w)) * max_in_code for w in row) for row in codes.numpy()]


@st.composite
def extreme_layers(draw):
    made = layer(
        draw(st.integers(1, 40)),
        draw(st.integers(1, 5)),
        n_w_bits=draw(st.integers(1, 8)),
        n_in_bits=draw(st.integers(1, 6)),
        n_accum_bits=draw(st.integers(1, 16)),
        n_lookup_bits=draw(st.none() | st.integers(1, 16)),
    )
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    spread = 10.0 ** draw(st.integers(-6, 30))
    with torch.no_grad():
        made.weight.copy_(spread * torch.randn(made.weight.shape, generator=generator))
        made.log_scale.copy_(
            draw(st.integers(0, 40)) * torch.randn(made.log_scale.shape, generator=generator)
        )
    return made


@given(made=extreme_layers())
def test_no_weights_are_extreme_enough_to_leave_the_accumulator_budget(made):
    codes = made.weight_codes().detach()
    assert torch.equal(codes, codes.round())
    assert codes.abs().max() <= max(1, 2 ** (made.n_w_bits - 1) - 1)
    budget = 2**made.n_accum_bits - 1
    # What rounding half up can add must fit as well.
    reserve = 2 ** (made.lsbs - 1) if made.lsbs else 0
    for width in worst_widths(codes, 2**made.n_in_bits - 1):
        assert width == 0 or width + reserve <= budget


@given(made=extreme_layers())
def test_the_mask_keeps_the_largest_weights_and_stops_only_at_the_budget(made):
    mask = made.mask().numpy()
    scaled = np.abs(made.scaled_weight().numpy())
    unpruned = made._round(made.scaled_weight()).numpy().astype(int)
    budget = 2**made.n_accum_bits - 1 - (2 ** (made.lsbs - 1) if made.lsbs else 0)
    for magnitudes, codes, kept in zip(scaled, unpruned, mask, strict=True):
        dropped = ~kept & (codes != 0)
        if not dropped.any():
            continue
        cost = np.abs(codes) * (2**made.n_in_bits - 1)
        first = magnitudes[dropped].max()
        assert (magnitudes[kept & (codes != 0)] >= first).all()
        largest_dropped = cost[dropped & (magnitudes == first)].max()
        assert cost[kept].sum() + largest_dropped > budget


@pytest.mark.parametrize("n_lookup_bits", [2, 3, 4, 5, 8, None])
def test_the_budget_leaves_room_for_rounding_up_and_for_nothing_more(n_lookup_bits):
    made = layer(60, 1, n_lookup_bits=n_lookup_bits)
    with torch.no_grad():
        made.log_scale.zero_()
        made.weight.fill_(1.0)
    rounds_up_by = {2: 32, 3: 16, 4: 8, 5: 4, 8: 0, None: 0}[n_lookup_bits]
    assert made.weight_codes().sum() == (255 - rounds_up_by) // 7


def test_wide_layers_keep_more_weights_than_the_documented_worst_case():
    made = layer(64, 8)
    kept = (made.weight_codes() != 0).sum(dim=1)
    assert (kept > 255 // (7 * 7)).all()


@pytest.mark.parametrize("n_w_bits", [1, 2, 3, 6])
@pytest.mark.parametrize("training", [True, False])
def test_forward_without_a_lookup_is_a_plain_affine_map_of_the_codes(n_w_bits, training):
    made = layer(n_w_bits=n_w_bits, n_lookup_bits=None).double().train(training)
    torch.nn.init.normal_(made.bias)
    x = torch.randint(0, 8, (50, 6)).double()
    codes, scale = made.weight_codes(), made.log_scale.exp()
    centred = 2 * x / 7 - 1
    expected = centred @ (codes * scale[:, None]).T + made.bias
    torch.testing.assert_close(made(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n_lookup_bits", [2, 4, 6])
def test_forward_rounds_accumulators_half_up_on_the_grid_of_their_minimum(n_lookup_bits):
    made = layer(40, 5, n_lookup_bits=n_lookup_bits).double().train()
    x = torch.randint(0, 8, (200, 40)).double()
    codes = made.weight_codes().detach().numpy().astype(int)
    lsbs = 8 - n_lookup_bits
    low = 7 * np.minimum(codes, 0).sum(axis=1)
    accumulators = x.numpy().astype(int) @ codes.T
    rounded = low + (((accumulators - low + 2 ** (lsbs - 1)) >> lsbs) << lsbs)
    centre = 3.5 * codes.sum(axis=1)
    scale = made.log_scale.exp().detach().numpy() * 2 / 7
    expected = (rounded - centre) * scale + made.bias.detach().numpy()
    np.testing.assert_allclose(made(x).detach().numpy(), expected, rtol=1e-12, atol=1e-12)


def test_small_layers_whose_accumulators_fit_their_lookup_are_not_rounded():
    assert layer(1, 3, n_lookup_bits=6).lsbs == 0
    assert layer(64, 3, n_lookup_bits=6).lsbs == 2
    assert layer(64, 3, n_lookup_bits=None).lsbs == 0


def straight_through(hard, soft):
    return hard.detach() + (soft - soft.detach())


def outputs_by_autograd(made, x):
    """Compute the layer's outputs as a chain of operations that torch differentiates itself."""
    scale = made.log_scale.exp().unsqueeze(1)
    clamped = (made.weight / scale).clamp(-made.max_weight_code, made.max_weight_code)
    counted = torch.ones_like(clamped)
    if made.most_weight < AMPLE_WEIGHT * made.in_features:
        counted = surviving(clamped.detach().abs(), made.most_weight)
    norm = (clamped * counted).abs().sum(dim=1, keepdim=True)
    fitted = clamped * (made.most_weight / norm).clamp(max=1)
    mask = made.mask()
    codes = straight_through(fitted.round() * mask, fitted * mask)
    accumulators = x @ codes.T
    low = made.max_in_code * codes.detach().clamp(max=0).sum(dim=1)
    step = 2**made.lsbs
    rounded = low + ((accumulators - low + made.rounding_half) / step).floor() * step
    centre = codes.sum(dim=1) * made.max_in_code / 2
    real = straight_through(rounded, accumulators) - centre
    return real * scale.squeeze(1) * made.input_step + made.bias


@pytest.mark.parametrize("fan_in", [5, 64, 300])
@pytest.mark.parametrize("n_lookup_bits", [None, 4])
@pytest.mark.parametrize("n_accum_bits", [8, 12])
def test_outputs_and_gradients_are_those_that_autograd_gives(fan_in, n_lookup_bits, n_accum_bits):
    made = layer(fan_in, 8, n_lookup_bits=n_lookup_bits, n_accum_bits=n_accum_bits).double()
    x = torch.randint(0, 8, (32, fan_in)).double().requires_grad_()
    tensors = [x, made.weight, made.log_scale, made.bias]
    upstream = torch.randn(32, 8).double()
    made.train()
    outputs, expected = made(x), outputs_by_autograd(made, x)
    torch.testing.assert_close(outputs, expected, rtol=1e-12, atol=1e-12)
    gradients = torch.autograd.grad(outputs, tensors, upstream)
    for got, wanted in zip(
        gradients, torch.autograd.grad(expected, tensors, upstream), strict=True
    ):
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)


def by_torch(made, x, upstream, monkeypatch):
    """Return the layer's outputs and gradients as torch computes them, without Rust."""
    with monkeypatch.context() as patched:
        patched.setattr("cipherfit.training.autograd.in_rust", lambda *tensors: False)
        return outputs_and_gradients(made, x, upstream)


def outputs_and_gradients(made, x, upstream):
    outputs = made(x)
    tensors = [x, *made.parameters()]
    return [outputs.detach(), *torch.autograd.grad(outputs, tensors, upstream)]


@pytest.mark.parametrize("fan_in", [1, 5, 64, 300])
@pytest.mark.parametrize("n_w_bits", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("n_accum_bits", [7, 8, 12, 16])
@pytest.mark.parametrize("n_lookup_bits", [None, 4])
@pytest.mark.parametrize("settled", [False, True])
def test_rust_trains_as_torch_does(
    fan_in, n_w_bits, n_accum_bits, n_lookup_bits, settled, monkeypatch
):
    torch.manual_seed(0)
    options = {"n_w_bits": n_w_bits, "n_accum_bits": n_accum_bits, "n_lookup_bits": n_lookup_bits}
    made = layer(fan_in, 8, **options)
    if settled:
        made.settle()
    x = torch.randint(0, 8, (32, fan_in)).float().requires_grad_()
    upstream = torch.randn(32, 8)
    expected = by_torch(made, x, upstream, monkeypatch)
    for got, wanted in zip(outputs_and_gradients(made, x, upstream), expected, strict=True):
        torch.testing.assert_close(
            got, wanted, rtol=1e-4, atol=1e-4 * (1 + float(wanted.abs().max()))
        )


@given(made=extreme_layers())
def test_rust_keeps_the_accumulator_budget_in_training(made):
    inverse = (-made.log_scale).exp().detach()
    codes, mask, _ = made.quantizer_in_rust().quantize(made.weight.detach(), inverse)
    assert np.array_equal(codes, np.rint(codes))
    assert np.abs(codes).max() <= made.max_weight_code
    assert mask is None or not codes[~mask].any()
    budget = 2**made.n_accum_bits - 1 - made.rounding_half
    for width in worst_widths(torch.from_numpy(codes), made.max_in_code):
        assert width <= budget


@pytest.mark.parametrize("n_accum_bits", [6, 8, 10])
def test_rust_drops_the_weights_that_the_mask_drops(n_accum_bits):
    # Few distinct weights, so that many are equally important; none are shrunk.
    generator = torch.Generator().manual_seed(0)
    made = layer(200, 30, n_accum_bits=n_accum_bits)
    with torch.no_grad():
        made.log_scale.zero_()
        made.weight.copy_(torch.randint(-6, 7, made.weight.shape, generator=generator) / 2)
    made.settled.fill_(True)
    inverse = torch.ones(30)
    codes, mask, _ = made.quantizer_in_rust().quantize(made.weight.detach(), inverse)
    assert mask is not None
    expected = made.quantize(made.weight.detach(), inverse)
    assert np.array_equal(codes, expected.codes.numpy())
    assert np.array_equal(codes != 0, mask)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"n_w_bits": 0}, "n_w_bits"),
        ({"n_in_bits": 17}, "n_in_bits"),
        ({"n_accum_bits": 49}, "n_accum_bits"),
        ({"reserve": 256}, "reserve"),
    ],
)
def test_a_quantizer_out_of_range_is_refused(change, named):
    good = {"n_w_bits": 3, "n_in_bits": 3, "n_accum_bits": 8, "reserve": 2}
    with pytest.raises(ValueError, match=named):
        WeightQuantizer(**{**good, **change}, shrinks=True, is_scarce=False)


@pytest.mark.parametrize(
    ("weights", "inverse", "named"),
    [
        (np.zeros(3), np.ones(3), "weights"),
        (np.zeros((2, 0)), np.ones(2), "weights"),
        (np.zeros((2, 3)), np.ones(3), "inverse_scale"),
    ],
)
def test_weights_of_another_shape_are_refused(weights, inverse, named):
    quantizer = WeightQuantizer(3, 3, 8, 0, shrinks=True, is_scarce=False)
    with pytest.raises(ValueError, match=named):
        quantizer.quantize(weights, inverse)


def test_gradients_reach_kept_weights_scales_and_biases():
    made = layer(64, 8)
    made(torch.randint(0, 8, (32, 64)).float()).pow(2).sum().backward()
    mask = made.mask()
    saturated = (made.weight / made.log_scale.exp()[:, None]).abs() >= made.max_weight_code
    assert torch.isfinite(made.weight.grad).all()
    assert (made.weight.grad[mask & ~saturated] != 0).all()
    assert (made.log_scale.grad != 0).all()
    assert (made.bias.grad != 0).all()


def test_a_masked_weight_moves_only_with_the_norm_that_all_share():
    made = layer(64, 8)
    with torch.no_grad():
        # After fit, all lie above a half, so they round up to more than the accumulator holds.
        spread = torch.rand(8, 64) * 0.1 + 0.95
        made.weight.copy_(made.weight.sign() * spread * made.log_scale.exp().unsqueeze(1))
    made(torch.randint(0, 8, (32, 64)).float()).pow(2).sum().backward()
    pulls = made.weight.grad * made.weight.sign()
    for pull, kept in zip(pulls, made.mask(), strict=True):
        assert (~kept).any()
        torch.testing.assert_close(pull[~kept], pull[~kept][:1].expand((~kept).sum()))


@pytest.mark.parametrize("fan_in", [64, 784])
def test_weights_are_shrunk_to_the_norm_that_their_accumulator_holds(fan_in):
    made = layer(fan_in, 8)
    codes = made.weight_codes()
    assert (codes.abs().sum(dim=1) <= made.most_weight).all()
    assert (codes.abs().sum(dim=1) >= 0.5 * made.most_weight).all()


def test_settled_weights_keep_their_codes_to_the_last_one():
    made = layer(300, 8)
    codes = made.weight_codes()
    made.settle()
    assert torch.equal(made.weight_codes(), codes)
    made.settle()
    assert torch.equal(made.weight_codes(), codes)


def test_a_masked_weight_returns_when_the_others_shrink():
    made = layer(12, 1, n_accum_bits=6)
    with torch.no_grad():
        made.log_scale.zero_()
        made.weight.fill_(3.0)
        made.weight[0, 0] = 2.6
    assert not made.mask()[0, 0]
    with torch.no_grad():
        made.weight[0, 1:] = 1.0
    assert made.mask()[0, 0]


@pytest.mark.parametrize(("fan_in", "largest"), [(1, 1), (3, 3), (200, 3)])
def test_fresh_layers_start_at_the_scale_of_lsq_with_a_weight_that_counts_in_every_neuron(
    fan_in, largest
):
    torch.manual_seed(0)
    made = layer(fan_in, 20, n_w_bits=4, n_accum_bits=16)
    codes = made.weight_codes()
    mean = made.weight.detach().abs().mean(dim=1, keepdim=True)
    assert torch.equal(codes, (made.weight.detach() / (2 * mean / 7**0.5)).round())
    assert codes.abs().max() == largest
    assert (codes != 0).any(dim=1).all()
