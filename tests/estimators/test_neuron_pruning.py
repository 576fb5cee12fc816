"""Structured pruning: neurons leave the graph, the best ones stay, accuracy stays."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from samples import calibrated_network, fitted, load
from torch import nn

from cipherfit import NeuralNetClassifier, lower
from cipherfit.estimators.neuron_pruning import _kept_state, neuron_importance
from cipherfit.exceptions import CipherfitError, NotFittedError


def test_removed_neurons_are_gone_from_the_graph():
    X, y = load("wine")
    model = fitted("wine", n_hidden=12)
    pruned = model.prune(X, y, 0.5)
    assert pruned.graph_.n_lookups <= model.graph_.n_lookups - model.graph_.n_lookups // 2
    assert pruned.module_.hidden_widths == [6]
    assert pruned.get_params()["module__n_hidden_neurons"] == [6]
    assert pruned.graph_.prove().max_accumulator_bits <= 8


def test_the_pruned_estimator_is_a_new_one():
    X, y = load("wine")
    model = fitted("wine", n_hidden=12)
    before = model.graph_
    pruned = model.prune(X, y, 0.25)
    assert pruned is not model
    assert model.graph_ == before
    assert model.module_.hidden_widths == [12]
    assert pruned.fhe_circuit is None


@pytest.mark.parametrize("n_lookups", [3, 7])
def test_lookups_are_at_most_those_asked_for_over_all_layers(n_lookups):
    X, y = load("wine")
    pruned = fitted("wine", 4, n_hidden=8).prune(X, y, n_lookups=n_lookups)
    assert 3 <= sum(pruned.module_.hidden_widths) == n_lookups
    assert pruned.graph_.n_lookups <= n_lookups


def test_a_network_that_is_small_enough_is_returned_as_it_is():
    X, y = load("wine")
    model = fitted("wine", n_hidden=12)
    for options in ({"fraction": 0.0}, {"n_lookups": 99}):
        pruned = model.prune(X, y, **options)
        assert pruned is not model
        assert pruned.graph_ == model.graph_


def test_half_the_neurons_keep_the_accuracy_of_digits():
    X, y = load("digits")
    torch.manual_seed(0)
    model = NeuralNetClassifier(module__n_hidden_neurons=32, max_epochs=20).fit(X[:1300], y[:1300])
    pruned = model.prune(X[:1300], y[:1300], 0.5)
    assert pruned.graph_.n_lookups <= 16
    assert pruned.score(X[1300:], y[1300:]) >= model.score(X[1300:], y[1300:]) - 0.03


def test_a_tolerance_finds_a_smaller_network_of_nearly_the_same_score():
    X, y = load("breast_cancer")
    model = NeuralNetClassifier(module__n_hidden_neurons=12, max_epochs=10, random_state=0)
    model.fit(X, y)
    pruned = model.prune(X, y, tolerance=0.03)
    assert pruned.graph_.n_lookups < model.graph_.n_lookups
    assert pruned.score(X, y) >= model.score(X, y) - 0.05


def test_a_regressor_is_pruned_too():
    X, y = load("diabetes")
    pruned = fitted("diabetes", n_hidden=8).prune(X, y, 0.5)
    assert pruned.graph_.n_lookups <= 4
    assert pruned.score(X, y) > 0.3


def test_pruning_is_deterministic_under_a_seed():
    X, y = load("iris")
    model = NeuralNetClassifier(module__n_hidden_neurons=6, max_epochs=5, random_state=3).fit(X, y)
    assert model.prune(X, y, 0.5).graph_ == model.prune(X, y, 0.5).graph_


def test_neurons_that_nobody_reads_or_that_never_vary_have_no_importance():
    network, x = calibrated_network(n_hidden_neurons=6, seed=3)
    norm = next(module for module in network.features if isinstance(module, nn.BatchNorm1d))
    with torch.no_grad():
        network.linear_layers[1].weight[:, 1] = 0
        norm.weight[4] = 0
    first, second = neuron_importance(network, x)
    assert first[[1, 4]].tolist() == [0.0, 0.0]
    assert (first >= 0).all()
    assert (first > 0).sum() >= 3
    assert len(second) == 6


def test_what_stays_computes_what_it_did_before():
    network, x = calibrated_network(n_hidden_neurons=6, seed=3, activation_function=nn.PReLU)
    removed = [1, 4]
    with torch.no_grad():
        for layer in network.linear_layers[1:]:
            layer.weight[:, removed] = 0
    kept = [torch.tensor([0, 2, 3, 5])] * 2
    smaller, _ = calibrated_network(n_hidden_neurons=4, seed=5, activation_function=nn.PReLU)
    smaller.load_state_dict(_kept_state(network, kept))
    # Settled, since a centre that is gone leaves each neuron's norm as it was.
    outputs = lower(copy.deepcopy(network)).run(x.numpy())
    np.testing.assert_allclose(lower(smaller).run(x.numpy()), outputs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("options", "phrase"),
    [
        ({}, "exactly one"),
        ({"fraction": 0.5, "n_lookups": 3}, "exactly one"),
        ({"fraction": 1.0}, "fraction"),
        ({"fraction": -0.1}, "fraction"),
        ({"fraction": "half"}, "fraction"),
        ({"fraction": float("nan")}, "fraction"),
        ({"fraction": True}, "fraction"),
        ({"n_lookups": 0}, "n_lookups"),
        ({"n_lookups": 2.5}, "n_lookups"),
        ({"tolerance": -0.1}, "tolerance"),
        ({"tolerance": 0.1, "sample_weight": [1.0]}, "sample_weight"),
    ],
)
def test_targets_out_of_range_are_errors_that_name_them(options, phrase):
    X, y = load("wine")
    with pytest.raises(ValueError, match=phrase) as error:
        fitted("wine").prune(X, y, **options)
    assert isinstance(error.value, CipherfitError)


def test_a_network_without_hidden_layers_has_nothing_to_prune():
    X, y = load("wine")
    with pytest.raises(ValueError, match="hidden layer"):
        fitted("wine", 1).prune(X, y, 0.5)


def test_an_unfitted_estimator_is_not_pruned():
    X, y = load("wine")
    with pytest.raises(NotFittedError, match="call fit"):
        NeuralNetClassifier().prune(X, y, 0.5)
