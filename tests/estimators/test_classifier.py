"""NeuralNetClassifier: labels of any kind, probabilities, class weights, callbacks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from samples import fitted, load
from skorch.callbacks import EpochScoring
from skorch.dataset import ValidSplit
from torch import nn

from cipherfit import NeuralNetClassifier

SETTINGS = {"module__n_hidden_neurons": 6, "max_epochs": 8, "lr": 0.05}


def classifier(**options):
    torch.manual_seed(0)
    return NeuralNetClassifier(**{**SETTINGS, **options})


LABELS = {
    "strings": np.array(["setosa", "versicolor", "virginica"]),
    "strings as objects": np.array(["b", "c", "a"], dtype=object),
    "offset integers": np.array([5, 6, 7]),
    "negative integers": np.array([-3, 0, 12]),
    "unsigned": np.array([250, 3, 9], dtype=np.uint8),
    "whole floats": np.array([1.0, 2.0, 4.0]),
    "not in order": np.array([2, 0, 1]),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_any_kind_come_back_as_they_were_given(kind):
    X, y = load("iris")
    names = LABELS[kind]
    model = classifier().fit(X, names[y])
    predicted = model.predict(X)
    assert model.classes_.tolist() == sorted(names.tolist())
    assert predicted.dtype == names.dtype
    assert np.mean(predicted == names[y]) > 0.8
    best = model.classes_[model.predict_proba(X).argmax(axis=1)]
    assert np.array_equal(best, predicted)
    assert model.score(X, names[y]) == np.mean(predicted == names[y])


@pytest.mark.parametrize(
    "y",
    [load("breast_cancer")[1].astype(bool), pd.Series(load("breast_cancer")[1]).map(str)],
    ids=["booleans", "series of strings"],
)
def test_binary_labels_work_and_their_probabilities_sum_to_one(y):
    X, _ = load("breast_cancer")
    model = classifier().fit(X, y)
    assert model.score(X, y) > 0.9
    probabilities = model.predict_proba(X)
    assert probabilities.shape == (len(X), 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-12)


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "digits"])
def test_probabilities_are_the_softmax_of_the_graphs_outputs(name):
    X, _ = load(name)
    model = fitted(name)
    outputs = model.graph_.run(X)
    powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    expected = powers / powers.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.predict_proba(X), expected, rtol=1e-9, atol=1e-300)
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1.0, rtol=1e-12)


def test_outputs_pass_through_the_documented_steps():
    X, _ = load("iris")
    model = fitted("iris")
    codes = model.quantize_input(X)
    assert np.array_equal(codes, model.graph_.quantize(X))
    outputs = model.dequantize_output(model.graph_.simulate(codes))
    np.testing.assert_array_equal(model.post_processing(outputs), model.predict_proba(X))


@pytest.mark.parametrize("n_outputs", [1, 0, -2])
def test_fewer_than_two_classes_are_refused_at_construction(n_outputs):
    with pytest.raises(ValueError, match=r".* number of classes.*"):
        NeuralNetClassifier(module__n_outputs=n_outputs)


def test_the_number_of_classes_can_be_given_right_and_not_wrong():
    X, y = load("iris")
    assert classifier(module__n_outputs=3).fit(X, y).graph_.n_outputs == 3
    with pytest.raises(ValueError, match=r"module__n_outputs=4.*3 classes"):
        classifier(module__n_outputs=4).fit(X, y)


def test_classes_may_name_more_than_the_data_show():
    X, y = load("iris")
    model = classifier(classes=[0, 1, 2, 9]).fit(X, y)
    assert model.predict_proba(X).shape == (len(X), 4)
    assert set(model.predict(X)) <= {0, 1, 2, 9}
    assert model.score(X, y) > 0.8


def test_classes_may_be_named_in_any_order():
    X, y = load("iris")
    names = np.array(["setosa", "versicolor", "virginica"])
    model = classifier(classes=names[[2, 0, 1]]).fit(X, names[y])
    assert set(model.classes_) == set(names)
    assert model.score(X, names[y]) > 0.8


def test_a_label_that_classes_do_not_name_is_refused_with_its_row():
    X, y = load("iris")
    with pytest.raises(ValueError, match=r"y\[100\] = .*2.* is not among the classes \[0, 1\]"):
        classifier(classes=[0, 1]).fit(X, y)


def test_an_ndarray_of_class_weights_becomes_a_float_tensor_and_counts():
    X, y = load("iris")
    weight = np.array([1, 1, 200])
    model = classifier(criterion__weight=weight)
    held = model.get_params()["criterion__weight"]
    assert isinstance(held, torch.Tensor)
    assert held.dtype == torch.float32
    heavy = np.sum(model.fit(X, y).predict(X) == 2)
    even = np.sum(classifier().fit(X, y).predict(X) == 2)
    assert heavy > even


@pytest.mark.parametrize("labels", ["strings", "offset integers", "negative integers"])
def test_validation_and_accuracy_callbacks_work_with_any_labels(labels):
    X, y = load("iris")
    scores = [
        ("train_acc", EpochScoring("accuracy", name="train_acc", on_train=True)),
    ]
    split = ValidSplit(5, stratified=True)
    names = LABELS[labels]
    model = classifier(callbacks=scores, train_split=split, max_epochs=15).fit(X, names[y])
    # Three passes over the rows that are not held out make an epoch of at least ten batches.
    for name, n_rows in (("valid_acc", 30), ("train_acc", 3 * 120)):
        counts = n_rows * np.array(model.history[:, name])
        np.testing.assert_allclose(counts, np.rint(counts), atol=1e-9)
        assert counts[-1] > 0.8 * n_rows
    assert all(np.isfinite(model.history[:, "valid_loss"]))


def test_other_criteria_train():
    X, y = load("iris")
    model = classifier(criterion=nn.MultiMarginLoss).fit(X, y)
    assert model.score(X, y) > 0.7


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "digits"])
def test_few_neurons_and_bits_learn_real_data(name):
    X, y = load(name)
    torch.manual_seed(0)
    model = NeuralNetClassifier(module__n_hidden_neurons=12, max_epochs=30, lr=0.02).fit(X, y)
    assert model.score(X, y) > 0.9
    assert model.graph_.prove().max_accumulator_bits <= 8


def test_rows_sorted_by_class_train_as_well_as_shuffled_ones():
    X, y = load("iris")
    assert (np.diff(y) >= 0).all()
    assert classifier(max_epochs=30).fit(X, y).score(X, y) > 0.9
