"""Estimators with client layers: what is trained, how well, and that scikit-learn's tools work."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from samples import load
from sklearn.base import clone
from sklearn.datasets import make_friedman1
from sklearn.model_selection import GridSearchCV, train_test_split

from cipherfit import NeuralNetClassifier, NeuralNetRegressor
from cipherfit.exceptions import InvalidParameterError

ESTIMATORS = {"iris": NeuralNetClassifier, "diabetes": NeuralNetRegressor}
both = pytest.mark.parametrize("name", ESTIMATORS)
KINDS = pytest.mark.parametrize("kind", ["random", "learned"])


def estimator(name, kind="random", **options):
    given = {"module__n_hidden_neurons": 30, "max_epochs": 5, "random_state": 0, **options}
    return ESTIMATORS[name](module__n_client_layers=1, module__client_layers=kind, **given)


@KINDS
@both
def test_predictions_are_those_of_the_servers_graph_on_the_clients_codes(name, kind):
    X, y = load(name)
    model = estimator(name, kind).fit(X, y)
    graph = model.graph_
    assert (graph.n_client_layers, graph.n_lookups) == (1, 0)
    client, server = graph.split()
    sums = server.simulate(client.simulate(graph.quantize(X)))
    outputs = graph.dequantize(sums)
    torch.testing.assert_close(
        model.module_(torch.tensor(X)).double(), torch.from_numpy(outputs), rtol=1e-5, atol=1e-5
    )
    by_class = outputs.argmax(axis=1) if name == "iris" else outputs[:, 0]
    np.testing.assert_allclose(model.predict(X), by_class, rtol=1e-5)


@both
def test_the_head_behind_random_layers_is_solved_with_wide_weights(name):
    model = estimator(name, max_epochs=50).fit(*load(name))
    head = model.module_.linear_layers[-1]
    assert (head.n_w_bits, head.n_accum_bits) == (8, 48)
    assert len(model.history) < 50


def test_random_layers_are_the_same_whatever_the_targets_are():
    X, y = load("iris")
    clients = [
        estimator("iris").fit(X, labels).graph_.split()[0].to_bytes() for labels in (y, y[::-1])
    ]
    assert clients[0] == clients[1]
    other = estimator("iris", random_state=1).fit(X, y).graph_.split()[0]
    assert other.to_bytes() != clients[0]


def test_pairs_learn_interactions():
    X, y = make_friedman1(600, noise=1.0, random_state=0)
    X, X_test, y, y_test = train_test_split(X, y, random_state=0)
    linear = NeuralNetRegressor(module__n_layers=1).fit(X, y)
    random = NeuralNetRegressor(module__n_client_layers=1, random_state=0).fit(X, y)
    assert random.score(X_test, y_test) > linear.score(X_test, y_test) + 0.1


def test_learned_layers_learn_and_leave_the_head_its_widths():
    X, y = load("digits")
    X, X_test, y, y_test = train_test_split(X[:900], y[:900], random_state=0)
    options = {"module__n_client_a_bits": 5, "module__n_client_w_bits": 4, "max_epochs": 8}
    model = NeuralNetClassifier(
        module__n_client_layers=1, module__client_layers="learned", random_state=0, **options
    ).fit(X, y)
    assert model.score(X_test, y_test) > 0.9
    client, head = model.module_.linear_layers
    assert (client.n_w_bits, head.n_in_bits, head.n_w_bits) == (4, 5, 8)


@KINDS
def test_encrypted_hidden_layers_follow_those_of_the_client(kind):
    X, y = load("iris")
    model = estimator("iris", kind, module__n_layers=3, module__n_hidden_neurons=[30, 4])
    graph = model.set_params(max_epochs=30).fit(X, y).graph_
    assert (graph.n_client_layers, graph.n_lookups) == (1, 4)
    assert model.predictor_.client_layers == kind
    assert model.module_.n_accum_bits == 8
    assert model.score(X, y) > 0.8
    pruned = model.prune(X, y, n_lookups=2)
    assert (pruned.graph_.n_lookups, pruned.module_.hidden_widths) == (2, [30, 2])
    if kind == "random":
        assert pruned.graph_.split()[0].to_bytes() == graph.split()[0].to_bytes()


def test_there_is_nothing_to_prune_where_all_hidden_neurons_are_the_clients():
    X, y = load("iris")
    with pytest.raises(InvalidParameterError, match="hidden layer, which is not the client's"):
        estimator("iris").fit(X, y).prune(X, y, 0.5)


@KINDS
@both
def test_copies_of_all_kinds_answer_alike(name, kind):
    X, y = load(name)
    model = estimator(name, kind).fit(X, y)
    expected = model.predict(X)
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), clone(model).fit(X, y)):
        np.testing.assert_array_equal(copied.predict(X), expected)


def test_a_state_on_disk_brings_its_random_layers_along(tmp_path):
    X, y = load("iris")
    model = estimator("iris").fit(X, y)
    model.save_params(tmp_path / "state.pt")
    other = estimator("iris", random_state=5).fit(X[::2], y[::2])
    other.load_params(tmp_path / "state.pt")
    assert other.graph_.to_bytes() == model.graph_.to_bytes()


def test_kinds_and_widths_can_be_searched():
    X, y = load("iris")
    grid = {"module__client_layers": ["random", "learned"], "module__n_client_a_bits": [2, 4]}
    search = GridSearchCV(estimator("iris"), grid, cv=2, error_score="raise").fit(X, y)
    assert search.best_estimator_.graph_.n_client_layers == 1
    assert search.best_score_ > 0.7


@KINDS
@both
def test_rows_of_no_weight_do_not_count_for_what_is_trained(name, kind):
    X, y = load(name)
    weights = np.ones(len(X))
    weights[::3] = 0
    wrong = np.where(weights == 0, y[::-1], y)
    model = estimator(name, kind).fit(X, wrong, sample_weight=weights)
    expected = estimator(name, kind).fit(X, y, sample_weight=weights)
    np.testing.assert_array_equal(model.predict(X), expected.predict(X))


@both
def test_features_of_either_precision_give_the_same_network(name):
    X, y = load(name)
    graphs = [estimator(name).fit(X.astype(dtype), y).graph_ for dtype in (np.float32, np.float64)]
    assert graphs[0] == graphs[1]


@KINDS
def test_partial_fit_trains_on_and_leaves_random_layers_as_they_are(kind):
    X, y = load("iris")
    model = estimator("iris", kind).partial_fit(X[::2], y[::2], classes=[0, 1, 2])
    before = model.graph_.split()
    after = model.partial_fit(X[1::2], y[1::2]).graph_.split()
    assert (before[0].to_bytes() == after[0].to_bytes()) is (kind == "random")
    assert before[1].to_bytes() != after[1].to_bytes()


def test_float_twins_of_a_benchmark_read_the_same_random_layers():
    X, y = load("diabetes")
    model, twin = estimator("diabetes").fit_benchmark(X, y)
    difference = twin.predict(X)[:, 0] - model.predict(X)
    assert np.std(difference) < 0.1 * np.std(model.predict(X))
