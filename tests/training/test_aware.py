"""Own modules train quantized as they are lowered, from their float weights on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import load
from torch import nn

from cipherfit.exceptions import InvalidParameterError, UnsupportedModuleError
from cipherfit.training.aware import aware_network
from cipherfit.training.calls import Steps, leaves
from cipherfit.training.integer_graph import integer_graph
from cipherfit.training.linear import QuantLinear
from cipherfit.training.lowering import lower
from cipherfit.training.shared_linear import SharedQuantLinear
from cipherfit.training.sharing import Sharing
from cipherfit.training.widths import NamedWidths, per_layer


def small(activation=nn.ReLU):
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), activation(), nn.AvgPool2d(2),
        nn.Conv2d(3, 4, 3, padding=1), activation(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(16, 10), nn.LogSoftmax(1),
    ).eval()  # fmt: skip


def images(n=100):
    X, _ = load("digits")
    return torch.tensor(X[:n])


def aware(module, x, n_bits=4, shape=(1, 8, 8), **options):
    widths = {"n_w_bits": n_bits, "n_a_bits": n_bits, "n_in_bits": n_bits}
    return aware_network(module, x, NamedWidths(**{**widths, **options}), shape=shape)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.SiLU, nn.Tanh])
def test_training_starts_where_the_float_module_is(activation):
    torch.manual_seed(0)
    module, x = small(activation), images(300)
    with torch.no_grad():
        real = module(x.reshape(-1, 1, 8, 8))
        errors = [
            float((aware(module, x, n_bits).eval()(x) - real).std() / real.std())
            for n_bits in (3, 5, 8)
        ]
    assert errors[2] < errors[1] < errors[0]
    assert errors[2] < 0.2


def test_of_many_rows_some_tell_the_ranges(monkeypatch):
    torch.manual_seed(0)
    module, x = small(), images(300)
    whole = aware(module, x)
    monkeypatch.setattr("cipherfit.training.aware._MOST_ROWS", 100)
    some = aware(module, x)
    every_third = aware(module, x[::3])
    assert torch.equal(some.input_quantizer.scale, every_third.input_quantizer.scale)
    steps = [network.features[3].log_step.detach() for network in (whole, some, every_third)]
    assert torch.equal(steps[1], steps[2])
    assert float((steps[0] - steps[1]).abs().max()) < 0.2


def moved(network, x, steps=4, *, advance=False):
    """Take a few steps of training, such that weights, scales and ranges change."""
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    network.train()
    for step in range(steps):
        optimizer.zero_grad()
        outputs = network(x)
        nn.functional.nll_loss(outputs, torch.arange(len(x)) % outputs.shape[1]).backward()
        optimizer.step()
        if advance:
            network.advance((step + 1) / steps)
    return network.eval()


@settings(max_examples=12)
@given(
    n_bits=st.integers(2, 5),
    n_accum_bits=st.sampled_from([None, 10, 12, 16]),
    activation=st.sampled_from([nn.ReLU, nn.SiLU, nn.Sigmoid]),
)
def test_the_graph_equals_the_trained_network(n_bits, n_accum_bits, activation):
    torch.manual_seed(n_bits)
    x = images()
    network = moved(aware(small(activation), x, n_bits, n_accum_bits=n_accum_bits), x)
    graph = lower(network)
    bits = graph.prove().max_accumulator_bits
    assert bits <= (n_accum_bits or 16)
    with torch.no_grad():
        expected = network(x.double()).numpy()
        outputs = network.epilogue(torch.from_numpy(graph.run(x.numpy()))).numpy()
    np.testing.assert_allclose(outputs, expected, rtol=1e-9, atol=1e-9)


@settings(max_examples=12)
@given(
    n_lookup_bits=st.one_of(st.integers(1, 7), st.tuples(st.integers(1, 7), st.integers(1, 7))),
    rounding=st.sampled_from(["approximate", "exact", ("exact", "approximate")]),
    n_accum_bits=st.sampled_from([None, 9, (8, 10, 12)]),
    n_a_bits=st.sampled_from([3, (3, 2)]),
    n_lookups=st.sampled_from([None, 40]),
    seed=st.integers(0, 99),
)
def test_the_graph_equals_the_trained_network_however_few_bits_its_lookups_read(
    n_lookup_bits, rounding, n_accum_bits, n_a_bits, n_lookups, seed
):
    torch.manual_seed(seed)
    x = images()
    options = {"n_w_bits": (4, 3, 2), "n_a_bits": n_a_bits, "n_accum_bits": n_accum_bits}
    network = aware(small(), x, n_lookup_bits=n_lookup_bits, rounding=rounding, **options)
    if n_lookups is not None:
        network.keep_lookups(n_lookups)
    network = moved(network, x, advance=True)
    graph = lower(network)
    assert graph.n_lookups <= (n_lookups or 4 * 64)
    stages, proven = graph.to_dict()["layers"], graph.prove().layers
    named = [per_layer("", each, n) for each, n in [(n_lookup_bits, 2), (rounding, 2)]]
    for lookup, proof, n_bits, kind in zip(stages[1::2], proven[:2], *named, strict=True):
        assert proof.bits - lookup["lsbs"] <= n_bits
        assert lookup["exact"] == (kind == "exact" or lookup["lsbs"] == 0)
    for proof, most in zip(proven, per_layer("", n_accum_bits, 3), strict=True):
        assert proof.bits <= (most or 48)
    anything = torch.rand(60, 64) * 40 - 10
    for rows in (x, anything):
        codes = graph.quantize(rows.numpy())
        with torch.no_grad():
            expected = network(rows.double()).numpy()
            real = graph.dequantize(graph.simulate(codes))
            outputs = network.epilogue(torch.from_numpy(real)).numpy()
        np.testing.assert_allclose(outputs, expected, rtol=1e-9, atol=1e-9)


def test_training_rounds_where_the_graph_does():
    torch.manual_seed(0)
    x = images(60)
    network = moved(aware(small(), x, n_lookup_bits=3, rounding="exact"), x).double()
    first = network.features[3]
    held = torch.arange(len(first.groups)) % 3 == 0
    first.hold(held, torch.full((len(held),), 5.0, dtype=torch.float64))
    with torch.no_grad():
        elsewhere = network.train()(x.double())
        network.advance(1.0)
        trained = network(x.double())
        lowered = torch.from_numpy(lower(network).run(x.numpy()))
    torch.testing.assert_close(network.epilogue(lowered), trained)
    assert not torch.allclose(elsewhere, trained)


def test_training_meets_the_noise_of_approximate_rounding():
    torch.manual_seed(0)
    x = images(60)
    for rounding, is_noisy in [("approximate", True), ("exact", False)]:
        network = aware(small(), x, n_lookup_bits=4, rounding=rounding)
        layer, codes = network.linear_layers[0].train(), network.features[0](x)
        assert layer.lsbs > 0
        with torch.no_grad():
            outputs, again = layer(codes), layer(codes)
            changed = (outputs != again).float().mean()
            # No value moves by more than a few steps, and half of a step is seldom exceeded.
            steps = ((outputs - again) / (layer.unit * (1 << layer.lsbs))).abs()
        assert bool(changed > 0.1) == is_noisy
        assert float(steps.max()) < 2.5
        layer.eval()
        assert torch.equal(layer(codes), layer(codes))


def test_a_trained_convolution_has_the_same_weights_everywhere():
    x = images()
    network = moved(aware(small(), x), x)
    first = network.linear_layers[0]
    assert isinstance(first, SharedQuantLinear)
    codes = first.weight_codes().reshape(3, 8, 8, 8, 8)
    kernel = codes[:, 4, 4, 3:6, 3:6]
    assert torch.equal(kernel, codes[:, 2, 5, 1:4, 4:7])
    assert torch.equal(kernel[:, 1:, 1:], codes[:, 0, 0, :2, :2])
    assert kernel.any()


def test_where_nothing_is_shared_gradients_are_those_of_the_plain_layer():
    torch.manual_seed(0)
    plain = QuantLinear(6, 5, n_w_bits=4, n_in_bits=3, n_accum_bits=7, n_lookup_bits=5)
    sharing = Sharing.of(np.random.default_rng(0).normal(size=(5, 6)))
    half = torch.full((6,), plain.max_in_code / 2)
    shared = SharedQuantLinear(
        sharing, half, torch.zeros(5), 1.0, n_w_bits=4, n_in_bits=3, n_accum_bits=7,
        n_lookup_bits=5,
    )  # fmt: skip
    # Slots of a channel are in the order of the random numbers, not of the inputs.
    with torch.no_grad():
        shared.weight.copy_(torch.from_numpy(sharing.kernels(plain.weight.numpy())))
        shared.log_scale.copy_(plain.log_scale)
        for layer in (plain, shared):
            layer.bias.copy_(torch.arange(5.0))
    for precision in (torch.float32, torch.float64):
        x = torch.randint(0, 8, (20, 6)).to(precision).requires_grad_()
        wanted = torch.randn(20, 5, dtype=precision)
        gradients = []
        for layer in (plain.to(precision), shared.to(precision)):
            layer.zero_grad()
            x.grad = None
            outputs = layer(x)
            (outputs * wanted).sum().backward()
            of_weight = layer.weight.grad
            if layer is shared:
                of_weight = layer.spread(of_weight)
            gradients.append([outputs, x.grad, of_weight, layer.log_scale.grad, layer.bias.grad])
        for one, other in zip(*gradients, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_gradients_of_shared_weights_are_the_sums_over_their_places():
    torch.manual_seed(0)
    conv = nn.Conv1d(2, 3, 3, padding=1, bias=False)
    pattern = torch.randn(3, 2, 3)
    eye = torch.eye(12).reshape(12, 2, 6)
    matrix = nn.functional.conv1d(eye, pattern, padding=1).reshape(12, -1).T
    sharing = Sharing.of(matrix.double().numpy())
    shared = SharedQuantLinear(
        sharing, torch.zeros(12), torch.zeros(18), 1.0, n_w_bits=8, n_in_bits=4, n_accum_bits=30,
        n_lookup_bits=None,
    ).double()  # fmt: skip
    real = nn.functional.conv1d(eye, conv.weight, padding=1).reshape(12, -1).T
    with torch.no_grad():
        kernels = torch.from_numpy(sharing.kernels(real.double().numpy()))
        shared.weight.copy_(kernels / shared.input_step)
        shared.log_scale.fill_(np.log(shared.weight.abs().max() / 127))
    x = torch.randint(0, 16, (9, 2, 6)).double()
    wanted = torch.randn(9, 18).double()
    outputs = shared(x.flatten(1))
    (outputs * wanted).sum().backward()
    conv = conv.double()
    expected = conv(x).flatten(1)
    (expected * wanted).sum().backward()
    torch.testing.assert_close(outputs, expected, rtol=0.05, atol=0.2)
    at_positions = nn.functional.conv1d(eye.double(), conv.weight.grad, padding=1)
    torch.testing.assert_close(
        shared.spread(shared.weight.grad / 1).mul(1 / shared.input_step)[6:8, :],
        at_positions.reshape(12, -1).T[6:8, :],
    )


def test_features_that_are_scaled_first_keep_what_shares_weights_on_one_step():
    torch.manual_seed(0)
    x = images(200)
    norm = nn.BatchNorm1d(64)
    norm.running_mean.copy_(x.mean(0))
    norm.running_var.copy_(x.var(0) + 0.5)
    with torch.no_grad():
        norm.weight.copy_(torch.where(torch.arange(64) % 3 == 0, -1.0, 2.0))
    module = nn.Sequential(
        norm, nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(72, 3),
    ).eval()  # fmt: skip
    network = aware_network(module, x, NamedWidths(8, 8, 8)).eval()
    with torch.no_grad():
        real, outputs = module(x), network(x)
    assert float((outputs - real).std() / real.std()) < 0.1
    np.testing.assert_allclose(lower(network).run(x.numpy()), network(x.double()).detach().numpy())


def test_constants_go_where_the_network_goes_and_stay_in_double_precision():
    network = aware(small(), images())
    tails = [each for each in network.modules() if isinstance(each, Steps)]

    def constants():
        calls = [call for tail in tails for call in tail.calls.values()]
        found = [leaf for call in calls for leaf in leaves(call.args)]
        return {(each.device.type, each.dtype) for each in found if isinstance(each, torch.Tensor)}

    assert constants() == {("cpu", torch.float64)}
    network.float()
    assert constants() == {("cpu", torch.float64)}
    network.to("meta")
    assert constants() == {("meta", torch.float64)}
    assert tails[0](torch.empty(5, 192, device="meta")).shape == (5, 192)


def test_what_follows_the_graph_stays_on_the_client_wherever_the_network_trained():
    network = aware(small(), images())
    _, epilogue = integer_graph(network, None, 4)
    network.epilogue.to("meta")
    rows = torch.randn(5, 10)
    torch.testing.assert_close(epilogue(rows), rows.log_softmax(1))


def test_accumulators_that_hold_nothing_are_refused():
    with pytest.raises(InvalidParameterError, match=r"n_accum_bits=5 can't hold 4 .* least 6"):
        aware(small(), images(), n_accum_bits=5)


def test_functions_that_are_undefined_on_the_data_are_named():
    class Logarithm(nn.Module):
        def forward(self, x):
            return x.log()

    module = nn.Sequential(nn.Linear(64, 3), Logarithm(), nn.Linear(3, 2))
    with pytest.raises(UnsupportedModuleError, match="what follows layer 0 gives NaN or infinity"):
        aware_network(module, images(), NamedWidths(4, 4, 4))


class OnOneDevice(nn.Module):
    """Names its device, and holds a constant, in its forward."""

    def __init__(self, device):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Linear(8, 10)
        self.device = device

    def forward(self, x):
        x = self.norm(self.first(x.to(self.device)))
        return self.last(torch.relu(x * torch.full((8,), 0.5).to(self.device, x.dtype)).to("cpu"))


@pytest.mark.parametrize("module", [OnOneDevice("cpu"), OnOneDevice(torch.device("cpu"))])
def test_steps_follow_their_network_to_another_device(module):
    """Meta tensors stand in for another device: they don't mix with the host's."""
    network = aware(module.eval(), images(), shape=None)
    steps = [each for each in network.modules() if isinstance(each, Steps)]
    assert steps
    for each in steps:
        taken = torch.empty(4, *each.shape, device="meta")
        assert each.to("meta")(taken.flatten(1)).device.type == "meta"


def test_steps_stay_in_double_precision_whatever_their_network_is_made():
    network = aware(small(), images()).eval()
    steps = [each for each in network.modules() if isinstance(each, Steps)]
    rows = [torch.rand(4, int(np.prod(each.shape)), dtype=torch.float64) for each in steps]
    before = [each(x) for each, x in zip(steps, rows, strict=True)]
    network.half()
    assert all(torch.equal(one(x), y) for one, x, y in zip(steps, rows, before, strict=True))


@pytest.mark.parametrize(
    ("n_inputs", "widths", "expected"),
    [
        (9, {}, 9),
        (64, {}, 11),
        (400, {}, 13),
        (400, {"n_lookup_bits": 8}, 15),
        (400, {"n_accum_bits": 14}, 14),
    ],
)
def test_accumulators_in_front_of_few_bits_grow_as_sums_do(n_inputs, widths, expected):
    module = nn.Sequential(nn.Linear(n_inputs, 3), nn.ReLU(), nn.Linear(3, 2))
    network = aware_network(module, torch.randn(20, n_inputs), NamedWidths(**widths))
    assert network.linear_layers[0].n_accum_bits == expected
