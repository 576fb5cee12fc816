"""SparseQuantNeuralNetImpl: the seed's constructor, pruning, and training steps."""

from __future__ import annotations

import copy
import inspect
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from samples import calibrated_network
from torch import nn

from cipherfit import SparseQuantNeuralNetImpl, lower
from cipherfit.exceptions import CipherfitError

ELEMENTWISE = [
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish,
    nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Softsign,
    nn.Identity, nn.LogSigmoid, nn.Softshrink, nn.Hardshrink, nn.Tanhshrink,
]  # fmt: skip


def network(input_dim=6, n_layers=2, n_outputs=3, **options):
    return SparseQuantNeuralNetImpl(input_dim, n_layers, n_outputs, **options)


def test_signature_and_defaults_are_the_seeds():
    parameters = inspect.signature(SparseQuantNeuralNetImpl).parameters
    shared = {k: p.default for k, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD}
    empty = inspect.Parameter.empty
    assert shared == {
        "input_dim": empty,
        "n_layers": empty,
        "n_outputs": empty,
        "n_hidden_neurons_multiplier": 4,
        "n_w_bits": 3,
        "n_a_bits": 3,
        "n_accum_bits": 8,
        "activation_function": nn.ReLU,
    }
    assert list(shared) == list(parameters)[: len(shared)]


@pytest.mark.parametrize("w", [1, 2, 3, 8, 16])
@pytest.mark.parametrize("a", [1, 3, 16])
@pytest.mark.parametrize("acc", [32, 40])
def test_max_active_neurons_is_the_documented_worst_case(w, a, acc):
    made = network(n_layers=1, n_w_bits=w, n_a_bits=a, n_accum_bits=acc)
    assert made.max_active_neurons() == (2**acc - 1) // ((2**w - 1) * (2**a - 1))


def test_hidden_layers_are_20_wide_at_the_defaults():
    made = network(n_layers=3)
    assert made.max_active_neurons() == 5
    assert [layer.out_features for layer in made.linear_layers] == [20, 20, 3]


@pytest.mark.parametrize("multiplier", [1, 2, 0.5])
def test_hidden_width_follows_the_multiplier(multiplier):
    made = network(n_hidden_neurons_multiplier=multiplier)
    assert made.linear_layers[0].out_features == int(multiplier * 5)


@pytest.mark.parametrize(("given_", "widths"), [(7, [7, 7]), ([4, 9], [4, 9]), ((3, 2), [3, 2])])
def test_n_hidden_neurons_sets_the_widths_outright(given_, widths):
    made = network(n_layers=3, n_hidden_neurons=given_)
    assert [layer.out_features for layer in made.linear_layers] == [*widths, 3]
    assert [layer.in_features for layer in made.linear_layers] == [6, *widths]


def test_attributes_of_the_seed_are_there():
    made = network(5, 3, 4, n_w_bits=2, n_a_bits=4, n_accum_bits=9)
    assert isinstance(made.features, nn.Sequential)
    assert made.pruned_layers == set(made.linear_layers)
    wanted = {"n_w_bits": 2, "n_a_bits": 4, "n_accum_bits": 9}
    wanted |= {"n_layers": 3, "n_outputs": 4, "input_dim": 5}
    assert {name: getattr(made, name) for name in wanted} == wanted


@pytest.mark.parametrize("value", [0, -1])
def test_errors_come_in_the_documented_order(value):
    valid = {"input_dim": 6, "n_layers": 2, "n_outputs": 3}
    steps = [
        ({"input_dim": value}, "Invalid number of input dimensions"),
        ({"n_layers": value}, "Invalid number of layers"),
        ({"n_outputs": value}, "Invalid number of outputs"),
        ({"n_w_bits": value, "n_a_bits": value}, "quantization bitwidth"),
        ({"n_accum_bits": 1}, "accumulator bitwidth"),
    ]
    # Each step is wrong together with all later ones, and its own message wins.
    for index, (wrong, phrase) in enumerate(steps):
        options = dict(valid)
        for later, _ in steps[index:]:
            options.update(later)
        with pytest.raises(ValueError, match=phrase) as error:
            SparseQuantNeuralNetImpl(**options)
        assert isinstance(error.value, CipherfitError)
        assert str(next(iter(wrong.values()))) in str(error.value)


@pytest.mark.parametrize(
    ("options", "phrase"),
    [
        ({"n_a_bits": 0}, "quantization bitwidth"),
        ({"n_w_bits": 17}, "quantization bitwidth"),
        ({"n_a_bits": 17}, "quantization bitwidth"),
        ({"n_w_bits": 3.0}, "quantization bitwidth"),
        ({"n_w_bits": True}, "quantization bitwidth"),
        ({"n_w_bits": None}, "quantization bitwidth"),
        ({"n_w_bits": "3"}, "quantization bitwidth"),
        ({"n_accum_bits": 49}, "accumulator bitwidth"),
        ({"n_accum_bits": 5}, "accumulator bitwidth"),
        ({"n_accum_bits": 0}, "accumulator bitwidth"),
        ({"input_dim": 2.5}, "input dimensions"),
        ({"n_hidden_neurons": 0}, "hidden neurons"),
        ({"n_hidden_neurons": [4, 4]}, "2 values"),
        ({"n_hidden_neurons_multiplier": 0}, "n_hidden_neurons_multiplier"),
        ({"n_hidden_neurons_multiplier": -4}, "n_hidden_neurons_multiplier"),
        ({"n_lookup_bits": 0}, "lookup bitwidth"),
        ({"n_lookup_bits": 17}, "lookup bitwidth"),
        ({"rounding": "half-up"}, "half-up"),
    ],
)
def test_options_out_of_range_are_value_errors_that_name_them(options, phrase):
    with pytest.raises(ValueError, match=phrase):
        network(**{"input_dim": 6, **options})


def test_numpy_integers_are_integers():
    made = network(np.int64(4), np.int32(2), np.uint8(3), n_w_bits=np.int64(2))
    assert made(torch.randn(3, 4)).shape == (3, 3)


@pytest.mark.parametrize("activation", ELEMENTWISE, ids=lambda kind: kind.__name__)
def test_every_elementwise_activation_trains_and_lowers(activation):
    made = network(activation_function=activation, n_hidden_neurons=4).train()
    x, y = torch.randn(64, 6), torch.randint(0, 3, (64,))
    optimizer = torch.optim.Adam(made.parameters(), lr=0.02)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(made(x), y)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    made.eval()
    graph = lower(made)
    np.testing.assert_allclose(graph.run(x.numpy()), made(x).detach(), rtol=1e-6, atol=1e-6)


class Doubling(nn.Module):
    def forward(self, x):
        return torch.cat([x, x], dim=1)


class Mean(nn.Module):
    def forward(self, x):
        return x - x.mean()


class NeedsArguments(nn.Module):
    def __init__(self, slope):
        super().__init__()


@pytest.mark.filterwarnings("ignore:Implicit dimension choice")
@pytest.mark.parametrize(
    "activation",
    [nn.Softmax, nn.LogSoftmax, nn.GLU, nn.Softmin, Doubling, Mean, NeedsArguments, nn.Threshold,
     torch.relu, lambda: torch.relu, "relu", None],
)  # fmt: skip
def test_what_is_no_elementwise_activation_class_is_refused_at_construction(activation):
    name = getattr(activation, "__name__", repr(activation))
    with pytest.raises(ValueError, match=re.escape(name)):
        network(activation_function=activation)


def test_layers_do_not_share_a_learned_activation():
    made = network(n_layers=3, activation_function=nn.PReLU)
    first, second = (module for module in made.features if isinstance(module, nn.PReLU))
    assert first.weight is not second.weight


def accumulator_widths(made):
    """Yield how far each accumulator can range, rounding included, from the integer weights."""
    for layer in made.linear_layers:
        codes = layer.weight_codes().detach().numpy().astype(object)
        reserve = 2 ** (layer.lsbs - 1) if layer.lsbs else 0
        for row in codes:
            width = sum(abs(int(w)) for w in row) * (2**made.n_a_bits - 1)
            yield width + (reserve if width else 0)


@given(
    seed=st.integers(0, 2**32),
    spread=st.sampled_from([0.1, 1.0, 30.0, 1e4]),
    n_w_bits=st.integers(1, 6),
    n_a_bits=st.integers(1, 4),
    spare=st.integers(0, 6),
    training=st.booleans(),
)
def test_after_any_forward_every_accumulator_fits(
    seed, spread, n_w_bits, n_a_bits, spare, training
):
    bits = n_w_bits + n_a_bits + spare
    made, x = calibrated_network(
        seed=seed, spread=spread, n_w_bits=n_w_bits, n_a_bits=n_a_bits, n_accum_bits=bits
    )
    made.train(training)
    made(x)
    assert max(accumulator_widths(made)) <= 2**bits - 1


def test_pruning_made_permanent_leaves_exact_zeros_and_nothing_else_behind():
    made, x = calibrated_network(40, n_hidden_neurons=30)
    before = made(x)
    masks = [layer.mask() for layer in made.linear_layers]
    names = set(made.state_dict())
    made.make_pruning_permanent()
    assert not made.pruned_layers
    assert any(not mask.all() for mask in masks), "nothing to prune, so nothing is tested"
    for layer, mask in zip(made.linear_layers, masks, strict=True):
        assert (layer.weight[~mask] == 0.0).all()
        assert not layer._forward_hooks
        assert not layer._forward_pre_hooks
    assert set(made.state_dict()) == names
    assert torch.equal(made(x), before)


@pytest.mark.parametrize("method", ["enable_pruning", "make_pruning_permanent", "on_train_end"])
def test_pruning_methods_are_idempotent(method):
    made, _ = calibrated_network(40, n_hidden_neurons=30)
    getattr(made, method)()
    once, layers = copy.deepcopy(made.state_dict()), set(made.pruned_layers)
    getattr(made, method)()
    assert made.pruned_layers == layers
    assert all(torch.equal(value, once[name]) for name, value in made.state_dict().items())


def test_pruning_can_be_enabled_again():
    made, _ = calibrated_network()
    made.on_train_end()
    made.enable_pruning()
    assert made.pruned_layers == set(made.linear_layers)


def test_a_batch_of_one_row_trains():
    made = network().train()
    made(torch.randn(16, 6))
    made(torch.randn(1, 6)).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in made.parameters())


@pytest.mark.parametrize("n_layers", [1, 2, 4])
def test_gradients_flow_to_every_parameter(n_layers):
    made = network(n_layers=n_layers, n_outputs=2).train()
    made(torch.randn(256, 6)).pow(2).sum().backward()
    silent = [name for name, p in made.named_parameters() if not p.grad.abs().sum() > 0]
    assert not silent


def test_same_seed_same_network_other_seed_another():
    def outputs(seed):
        torch.manual_seed(seed)
        made = network().train()
        return made(torch.linspace(-1, 1, 60).reshape(10, 6))

    assert torch.equal(outputs(1), outputs(1))
    assert not torch.equal(outputs(1), outputs(2))


def test_state_dict_round_trip_keeps_every_output():
    made, x = calibrated_network(activation_function=nn.PReLU)
    other = network(6, 3, 3, n_hidden_neurons=5, activation_function=nn.PReLU).eval()
    other.load_state_dict(made.state_dict())
    assert torch.equal(other(x), made(x))
    assert lower(other) == lower(made)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_outputs_have_the_type_of_the_inputs(dtype):
    made, x = calibrated_network()
    assert made(x.to(dtype)).dtype == dtype


def test_targets_set_the_unit_of_the_outputs():
    made = network(n_layers=1, n_outputs=2)
    y = torch.tensor([[100.0, 5.0], [300.0, 5.0]])
    made.calibrate(torch.randn(2, 6), y)
    assert made.output_mean.tolist() == [200.0, 5.0]
    assert made.output_scale.tolist() == [100.0, 1.0]
