"""Lowering: the integer graph computes what torch computes in evaluation mode, on every row."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from samples import calibrated_network, fitted, load
from torch import nn

from cipherfit import lower, twin
from cipherfit.exceptions import NotFittedError

DATA = ["iris", "wine", "breast_cancer", "digits", "diabetes"]
CLASSES = DATA[:-1]


def assert_graph_is_torch(graph, network, X):
    """Outputs agree to the rounding of the last multiplication, and so does each row's argmax."""
    x = torch.tensor(X)
    with torch.no_grad():
        single, double = network(x).numpy(), network(x.double()).numpy()
    outputs = graph.run(X)
    size = np.abs(double).max()
    np.testing.assert_allclose(outputs, double, rtol=1e-12, atol=1e-12 * size)
    np.testing.assert_allclose(outputs, single, rtol=1e-6, atol=1e-6 * size)
    assert np.array_equal(outputs.argmax(axis=1), double.argmax(axis=1))


@pytest.mark.parametrize("n_layers", [1, 2, 3, 4])
@pytest.mark.parametrize("name", DATA)
def test_graph_is_torch_on_every_row_of_real_data(name, n_layers):
    model = fitted(name, n_layers)
    assert_graph_is_torch(model.graph_, model.module_, load(name)[0])


@pytest.mark.parametrize("name", CLASSES)
def test_predicted_classes_are_those_of_torch_on_every_row(name):
    X, _ = load(name)
    model = fitted(name)
    with torch.no_grad():
        expected = model.module_(torch.tensor(X)).argmax(dim=1).numpy()
    assert np.array_equal(model.predict(X), model.classes_[expected])


@pytest.mark.parametrize("rounding", ["exact", "approximate"])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU, nn.Mish, nn.Sigmoid, nn.Softsign])
def test_graph_is_torch_for_activations_monotone_and_not(activation, rounding):
    model = fitted("wine", 3, activation_function=activation, rounding=rounding)
    assert_graph_is_torch(model.graph_, model.module_, load("wine")[0])


@pytest.mark.parametrize(
    ("w", "a", "acc", "lookup"),
    [(1, 1, 3, None), (1, 4, 8, 4), (2, 2, 6, None), (3, 3, 8, 8), (3, 3, 8, 3), (4, 5, 12, None),
     (5, 6, 14, 7), (6, 6, 16, 16), (6, 1, 10, 2), (16, 16, 40, None)],
)  # fmt: skip
def test_graph_is_torch_at_every_mix_of_widths(w, a, acc, lookup):
    options = {"n_w_bits": w, "n_a_bits": a, "n_accum_bits": acc, "n_lookup_bits": lookup}
    for seed in range(5):
        network, x = calibrated_network(8, 3, seed=seed, **options)
        assert_graph_is_torch(lower(network), network, x.numpy())


@given(
    seed=st.integers(0, 2**32),
    spread=st.floats(0.1, 8),
    n_layers=st.integers(1, 4),
    n_w_bits=st.integers(1, 6),
    n_a_bits=st.integers(1, 6),
    spare=st.integers(0, 4),
    activation=st.sampled_from([nn.ReLU, nn.GELU, nn.Hardshrink, nn.Softsign, nn.PReLU]),
)
def test_graph_is_torch_for_random_parameters_and_unseen_inputs(
    seed, spread, n_layers, n_w_bits, n_a_bits, spare, activation
):
    network, x = calibrated_network(
        n_layers=n_layers,
        seed=seed,
        spread=spread,
        n_w_bits=n_w_bits,
        n_a_bits=n_a_bits,
        n_accum_bits=n_w_bits + n_a_bits + spare,
        activation_function=activation,
    )
    unseen = torch.cat([x, 10 * x, -x, torch.full_like(x[:1], 1e30)])
    assert_graph_is_torch(lower(network), network, unseen.numpy())


@pytest.mark.parametrize("name", DATA)
def test_the_numpy_twin_agrees_with_the_graph_on_every_row(name):
    X, _ = load(name)
    graph = fitted(name, 3).graph_
    parts = graph.to_dict()
    codes = graph.quantize(X)
    assert np.array_equal(twin.quantize(parts, X), codes)
    accumulators = graph.simulate(codes)
    assert np.array_equal(twin.simulate(parts, codes), accumulators)
    assert np.array_equal(twin.run(parts, X), graph.run(X))


def silence(network, layer, neurons):
    """Let nobody read these neurons of a hidden layer."""
    with torch.no_grad():
        network.linear_layers[layer + 1].weight[:, neurons] = 0


def freeze(network, layer, neurons, *, how):
    """Make these neurons of a hidden layer constant, by their weights or after them."""
    norm = [module for module in network.features if isinstance(module, nn.BatchNorm1d)][layer]
    with torch.no_grad():
        if how == "no weights":
            network.linear_layers[layer].weight[neurons] = 0
        elif how == "no slope":
            norm.weight[neurons] = 0
        else:
            norm.bias[neurons] = -1e6


@pytest.mark.parametrize("n_w_bits", [1, 3])
@pytest.mark.parametrize("how", ["no weights", "no slope", "saturated"])
def test_constant_neurons_are_folded_away(how, n_w_bits):
    network, x = calibrated_network(n_hidden_neurons=6, n_w_bits=n_w_bits, seed=3)
    before = lower(network).n_lookups
    freeze(network, 0, [1, 4], how=how)
    graph = lower(network)
    assert before == 12
    assert graph.n_lookups == 10
    assert_graph_is_torch(graph, network, x.numpy())


@pytest.mark.parametrize("layer", [0, 1])
def test_neurons_that_nobody_reads_are_dropped(layer):
    network, x = calibrated_network(n_hidden_neurons=6, seed=3)
    silence(network, layer, [0, 2, 5])
    graph = lower(network)
    assert graph.n_lookups == 9
    assert_graph_is_torch(graph, network, x.numpy())


def test_neurons_read_only_by_dropped_ones_are_dropped_too():
    network, x = calibrated_network(n_hidden_neurons=4, seed=3)
    silence(network, 1, [0, 1])
    with torch.no_grad():
        # Neuron 3 of the first layer speaks only to those two.
        network.linear_layers[1].weight[2:, 3] = 0
    graph = lower(network)
    assert graph.n_lookups == 3 + 2
    assert_graph_is_torch(graph, network, x.numpy())


@pytest.mark.parametrize("how", ["no weights", "no slope", "saturated", "unread"])
def test_a_network_that_is_constant_as_a_whole_still_lowers(how):
    network, x = calibrated_network(n_hidden_neurons=3)
    if how == "unread":
        silence(network, 0, [0, 1, 2])
    else:
        freeze(network, 0, [0, 1, 2], how=how)
    graph = lower(network)
    assert len(np.unique(graph.run(x.numpy()), axis=0)) == 1
    assert_graph_is_torch(graph, network, x.numpy())


def test_a_network_that_was_never_calibrated_is_not_lowered():
    network, _ = calibrated_network()
    network.input_quantizer.calibrated.fill_(False)
    with pytest.raises(NotFittedError, match=r".* needs to be calibrated .*") as error:
        lower(network)
    assert isinstance(error.value, ValueError)


@pytest.mark.parametrize("training", [True, False])
def test_lowering_leaves_mode_and_parameters_as_they_are(training):
    network, _ = calibrated_network()
    network.train(training)
    before = [parameter.clone() for parameter in network.parameters()]
    first = lower(network)
    assert network.training is training
    assert all(map(torch.equal, before, network.parameters()))
    assert lower(network) == first


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("n_accum_bits", [6, 8, 11])
def test_proven_bits_are_at_most_those_asked_for(name, n_accum_bits):
    model = fitted(name, 3, epochs=2, n_accum_bits=n_accum_bits)
    assert model.graph_.prove().max_accumulator_bits <= n_accum_bits
