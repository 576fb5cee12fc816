"""What models predict: labels and targets go in and come back as they were given."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from samples import load

from cipherfit import NeuralNetClassifier, NeuralNetRegressor
from cipherfit.exceptions import InvalidInputError

WORDS = np.array(["setosa", "versicolor", "virginica"])


def trained(kind, X, y, epochs=6, **options):
    torch.manual_seed(0)
    return kind(module__n_hidden_neurons=6, max_epochs=epochs, lr=0.05, **options).fit(X, y)


def outputs(model, X):
    return model.graph_.run(X)


def test_names_of_classes_change_nothing_but_the_names():
    X, y = load("iris")
    by_number, by_word = (trained(NeuralNetClassifier, X, each) for each in (y, WORDS[y]))
    assert by_number.graph_ == by_word.graph_
    assert np.array_equal(by_word.predict(X), WORDS[by_number.predict(X)])


@pytest.mark.parametrize("classes", [None, WORDS, WORDS[[2, 0, 1]]])
def test_each_column_of_outputs_belongs_to_the_class_of_its_place(classes):
    X, y = load("iris")
    model = trained(NeuralNetClassifier, X, WORDS[y], classes=classes)
    assert np.array_equal(model.predict(X), model.classes_[outputs(model, X).argmax(axis=1)])
    # The column that separates a class from the others is the one that its place says.
    for column, name in enumerate(model.classes_):
        probability = model.predict_proba(X)[:, column]
        assert probability[WORDS[y] == name].mean() > probability[WORDS[y] != name].mean() + 0.2


def test_a_class_that_was_not_seen_has_a_column_too():
    X, y = load("iris")
    model = trained(NeuralNetClassifier, X, y, classes=[0, 1, 2, 7])
    assert outputs(model, X).shape == (150, 4)
    assert model.classes_.tolist() == [0, 1, 2, 7]


@pytest.mark.parametrize(("unknown", "row"), [("rosa", 149), ("", 0)])
def test_a_label_of_no_known_class_is_named_with_its_row(unknown, row):
    X, y = load("iris")
    labels = WORDS[y].astype(object)
    labels[row] = unknown
    with pytest.raises(InvalidInputError, match=rf"y\[{row}\] = '{unknown}' is not among"):
        trained(NeuralNetClassifier, X, labels, classes=WORDS)


def test_training_on_knows_the_classes_of_the_first_batch_and_no_others():
    X, y = load("iris")
    model = NeuralNetClassifier(module__n_hidden_neurons=3, max_epochs=1)
    model.partial_fit(X[:100], y[:100], classes=[0, 1, 2]).partial_fit(X[100:], y[100:])
    assert model.classes_.tolist() == [0, 1, 2]
    with pytest.raises(InvalidInputError, match=r"y\[3\] = 5"):
        model.partial_fit(X[:4], np.array([0, 1, 2, 5]))


@pytest.mark.parametrize("n_targets", [None, 1, 3])
def test_predictions_are_the_outputs_in_the_shape_of_the_targets(n_targets):
    X, y = load("diabetes")
    shaped = y if n_targets is None else np.stack([y] * n_targets, axis=1)
    model = trained(NeuralNetRegressor, X, shaped, epochs=2)
    assert model.predict(X).shape == shaped.shape
    assert np.array_equal(model.predict(X).reshape(len(X), -1), outputs(model, X))


def test_targets_keep_their_own_unit_and_order():
    X, y = load("diabetes")
    model = trained(NeuralNetRegressor, X, np.stack([y, 1e-3 * y, 1e6 - y], axis=1), epochs=20)
    predicted = model.predict(X)
    for column, (mean, sign, unit) in enumerate(
        [(y.mean(), 1, 1), (1e-3 * y.mean(), 1, 1e-3), (1e6 - y.mean(), -1, 1)]
    ):
        assert predicted[:, column].mean() == pytest.approx(mean, abs=0.2 * unit * y.std())
        assert np.corrcoef(sign * predicted[:, column], y)[0, 1] > 0.6
