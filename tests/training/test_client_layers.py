"""Networks with client layers: what they compute, what they disclose, what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from samples import calibrated_network

from cipherfit import IntegerGraph, SparseQuantNeuralNetImpl, lower
from cipherfit.exceptions import InvalidParameterError
from cipherfit.training.float_twin import float_copy
from cipherfit.training.linear import QuantLinear
from cipherfit.training.random_layers import RandomLayer

WIDE = {"n_w_bits": 8, "n_accum_bits": 32}
#: Random and learned, one and two of them, with and without encrypted hidden layers behind.
KINDS = [
    {"n_layers": 2, "n_client_layers": 1, "n_hidden_neurons": 40, **WIDE},
    {"n_layers": 3, "n_client_layers": 2, "n_hidden_neurons": [40, 30], **WIDE},
    {"n_layers": 3, "n_client_layers": 1, "n_hidden_neurons": [40, 5]},
    {"n_layers": 2, "n_client_layers": 1, "client_layers": "learned", **WIDE},
    {"n_layers": 3, "n_client_layers": 2, "client_layers": "learned", **WIDE},
    {"n_layers": 3, "n_client_layers": 1, "client_layers": "learned", "n_hidden_neurons": [20, 5]},
    {"n_layers": 2, "n_client_layers": 1, "input_dim": 64, "n_hidden_neurons": 40, **WIDE},
    {"n_layers": 2, "n_client_layers": 1, "n_in_bits": 16, "n_client_a_bits": 9, **WIDE},
]


def kind_of(options):
    return "-".join(f"{key}={value}" for key, value in options.items() if key not in WIDE)


every_kind = pytest.mark.parametrize("options", KINDS, ids=kind_of)


@every_kind
def test_the_graph_computes_what_torch_does(options):
    network, x = calibrated_network(**options)
    graph = lower(network)
    x = torch.cat([x, 100 * x])
    expected = network(x.double()).detach().numpy()
    np.testing.assert_allclose(graph.run(x.numpy()), expected, rtol=1e-9, atol=1e-9)
    assert graph.n_client_layers == options["n_client_layers"]


@every_kind
def test_only_what_follows_the_client_is_encrypted(options):
    network, x = calibrated_network(**options)
    graph = lower(network)
    client, server = graph.split()
    assert (
        server.n_lookups
        == graph.n_lookups
        <= sum(network.hidden_widths[options["n_client_layers"] :])
    )
    codes = graph.quantize(x.numpy())
    np.testing.assert_array_equal(server.simulate(client.simulate(codes)), graph.simulate(codes))


@every_kind
def test_the_clients_lookups_are_exact(options):
    network, _ = calibrated_network(**options)
    lookups = lower(network).to_dict()["layers"][1::2][: options["n_client_layers"]]
    assert all(lookup["exact"] for lookup in lookups)
    assert any(lookup["lsbs"] > 0 for lookup in lookups)


@every_kind
def test_codes_in_training_are_those_in_evaluation(options):
    network, x = calibrated_network(**options)
    drawn = network.features[: 1 + len(network.random_layers)]
    in_evaluation = drawn(x.double())
    torch.testing.assert_close(drawn.train()(x).double(), in_evaluation, rtol=0, atol=0)


@pytest.mark.parametrize("input_dim", [6, 64])
def test_random_client_layers_are_the_same_byte_for_byte_whatever_is_trained_behind(input_dim):
    clients = []
    for seed in (1, 2):
        torch.manual_seed(0)
        network = SparseQuantNeuralNetImpl(input_dim, 2, 3, n_client_layers=1, **WIDE)
        network.calibrate(torch.linspace(-1, 1, 50)[:, None].repeat(1, input_dim))
        torch.manual_seed(seed)
        head = network.linear_layers[-1]
        with torch.no_grad():
            head.weight.normal_()
            head.weight[:, 10 * seed :] = 0.0  # what nothing reads would tell of the head
        clients.append(lower(network).split()[0].to_bytes())
    assert clients[0] == clients[1]


def test_the_seed_draws_random_client_layers():
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        network = SparseQuantNeuralNetImpl(6, 2, 3, n_client_layers=1)
        drawn.append(network.random_layers[0].weight)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_random_layers_have_nothing_to_train_and_learned_ones_do():
    random = SparseQuantNeuralNetImpl(6, 3, 2, n_client_layers=1, n_hidden_neurons=[20, 5])
    assert [type(each) for each in random.features[:3]][1:] == [RandomLayer, QuantLinear]
    assert not list(random.features[1].parameters())
    learned = SparseQuantNeuralNetImpl(6, 2, 2, n_client_layers=1, client_layers="learned")
    assert learned.linear_layers[0].weight.requires_grad
    assert "public" in repr(learned)
    assert "drawn from a seed" in repr(random)
    assert "client" not in repr(SparseQuantNeuralNetImpl(6, 2, 2))


def test_gradients_reach_the_head_behind_random_layers():
    network, x = calibrated_network(**KINDS[0])
    network.train()(x).square().mean().backward()
    assert network.linear_layers[0].weight.grad.abs().sum() > 0


def test_widths_of_client_layers_are_their_own():
    options = {"client_layers": "learned", "n_client_w_bits": 6, "n_client_accum_bits": 14}
    network = SparseQuantNeuralNetImpl(
        20, 3, 2, n_client_layers=1, n_client_a_bits=5, n_hidden_neurons=[30, 7], **options
    )
    client, hidden, head = network.linear_layers
    assert (client.n_w_bits, client.n_accum_bits, client.out_features) == (6, 14, 30)
    assert (hidden.n_w_bits, hidden.n_in_bits, hidden.n_accum_bits) == (3, 5, 8)
    assert (head.n_w_bits, head.n_in_bits) == (3, 3)
    assert network.encrypted_layers == [hidden, head]
    assert network.roundings == ["approximate"]


@pytest.mark.parametrize(
    ("input_dim", "options", "widths"),
    [
        (6, {}, [1024]),
        (64, {}, [1024]),
        (784, {}, [2048]),
        (784, {"client_layers": "learned"}, [256]),
        (20, {"client_layers": "learned"}, [40]),
        (6, {"client_layers": "learned"}, [16]),
        (6, {"n_hidden_neurons": 7}, [7]),
    ],
)
def test_client_layers_have_widths_by_default(input_dim, options, widths):
    network = SparseQuantNeuralNetImpl(input_dim, 2, 2, n_client_layers=1, **options)
    assert network.hidden_widths == widths


def test_states_of_other_seeds_load():
    first, _ = calibrated_network(seed=1, **KINDS[0])
    second, _ = calibrated_network(seed=4, **KINDS[0])
    shapes = [each.random_layers[0].tables.shape for each in (first, second)]
    assert shapes[0] != shapes[1]
    second.load_state_dict(first.state_dict())
    assert lower(second).to_bytes() == lower(first).to_bytes()
    assert isinstance(lower(second), IntegerGraph)


@every_kind
def test_float_copies_compute_about_the_same(options):
    network, x = calibrated_network(**options)
    outputs = network(x).detach()
    error = (float_copy(network)(x) - outputs).std() / outputs.std()
    assert error < (0.8 if options.get("client_layers") or "n_w_bits" not in options else 0.05)


@pytest.mark.parametrize(
    ("options", "phrase"),
    [
        ({"n_client_layers": 2}, r"number of client layers: n_client_layers=2 .* in \[0, 1\]"),
        ({"n_client_layers": -1}, r"n_client_layers=-1 .* in \[0, 1\]"),
        ({"n_client_layers": True}, "n_client_layers=True"),
        ({"client_layers": "frozen"}, "client_layers: 'frozen' is neither 'random' nor 'learned'"),
        ({"n_client_w_bits": 17}, r"n_client_w_bits=17 must be an integer in \[1, 16\]"),
        ({"n_client_a_bits": 0}, r"n_client_a_bits=0 must be an integer in \[1, 16\]"),
        ({"n_client_accum_bits": 49}, r"n_client_accum_bits=49 must be an integer in \[1, 48\]"),
        ({"n_client_accum_bits": 4}, r"n_client_accum_bits=4 can't hold the product"),
        ({"n_client_a_bits": 7}, r"n_accum_bits=8 can't hold .* 7-bit client activation"),
        ({"n_hidden_neurons": [3, 4]}, r"n_hidden_neurons: \[3, 4\] has 2 values.* 1 hidden"),
        ({"n_lookup_bits": [4]}, r"n_lookup_bits: \[4\] has 1 value, .* 0 encrypted hidden layers"),
        ({"rounding": ["exact"]}, r"rounding: .* there are 0 encrypted hidden layers"),
    ],
)
def test_bad_parameters_are_named_with_what_is_allowed(options, phrase):
    with pytest.raises(InvalidParameterError, match=phrase):
        SparseQuantNeuralNetImpl(6, 2, 2, **{"n_client_layers": 1, **options})
