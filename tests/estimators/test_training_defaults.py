"""Default training: options that suit few bits, on data as they come, the same under a seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from samples import load
from sklearn.model_selection import train_test_split
from torch import nn

from cipherfit import NeuralNetClassifier, NeuralNetRegressor, SparseQuantNeuralNetImpl
from cipherfit.exceptions import CipherfitWarning


def options_of(component, model):
    return model.get_params_for(component)


def test_loss_and_optimizer_have_options_that_suit_few_bits():
    model = NeuralNetClassifier()
    assert options_of("criterion", model) == {"label_smoothing": 0.1}
    optimizer = options_of("optimizer", model)
    assert optimizer.pop("fused", True)  # torch before 2.4 can't on a CPU
    assert optimizer == {"betas": (0.9, 0.99)}
    assert options_of("criterion", NeuralNetRegressor()) == {}


def test_options_that_are_given_win():
    model = NeuralNetClassifier(criterion__label_smoothing=0.0, optimizer__betas=(0.5, 0.9))
    assert options_of("criterion", model) == {"label_smoothing": 0.0}
    assert options_of("optimizer", model)["betas"] == (0.5, 0.9)


@pytest.mark.parametrize("option", ["fused", "foreach"])
def test_adam_is_not_fused_where_that_is_asked_for_or_ruled_out(option):
    X, y = load("iris")
    value = option != "fused"
    model = NeuralNetClassifier(max_epochs=1, **{f"optimizer__{option}": value}).fit(X, y)
    assert not model.optimizer_.defaults.get("fused")
    assert model.optimizer_.defaults[option] is value


def test_other_losses_and_optimizers_get_none_of_them():
    X, y = load("iris")
    model = NeuralNetClassifier(
        criterion=nn.MultiMarginLoss, optimizer=torch.optim.SGD, max_epochs=1
    )
    assert options_of("criterion", model) == options_of("optimizer", model) == {}
    model.fit(X, y)


@pytest.mark.parametrize("n_in_bits", [1, 4, 5])
def test_input_bits_can_be_set(n_in_bits):
    X, y = load("iris")
    model = NeuralNetClassifier(module__n_in_bits=n_in_bits, max_epochs=1).fit(X, y)
    assert model.graph_.n_bits == n_in_bits
    assert model.quantize_input(X).max() == 2**n_in_bits - 1
    assert model.graph_.prove().max_accumulator_bits <= 8


@pytest.mark.parametrize(
    ("n_in_bits", "phrase"),
    [(0, "n_in_bits=0"), (17, "n_in_bits=17"), (2.5, "n_in_bits"), (6, "accumulator bitwidth")],
)
def test_input_bits_out_of_range_are_refused(n_in_bits, phrase):
    with pytest.raises(ValueError, match=phrase):
        SparseQuantNeuralNetImpl(4, 2, 3, n_in_bits=n_in_bits)


def held_out(name, y_is_classes=True):
    X, y = load(name)
    return train_test_split(
        X, y, test_size=0.25, random_state=0, stratify=y if y_is_classes else None
    )


@pytest.mark.parametrize(("name", "least"), [("breast_cancer", 0.94), ("wine", 0.93)])
def test_unscaled_tables_are_learned_as_they_come(name, least):
    X, X_test, y, y_test = held_out(name)
    assert X.std(axis=0).max() > 100 * X.std(axis=0).min()
    model = NeuralNetClassifier(random_state=0).fit(X, y)
    assert model.score(X_test, y_test) >= least


def test_skewed_columns_and_targets_of_a_large_unit_are_learned():
    rng = np.random.default_rng(0)
    X = np.exp(2 * rng.normal(size=(800, 4))).astype(np.float32)
    y = 1e6 + 1e4 * np.log(X[:, 0]) - 2e4 * (X[:, 1] > 1) + 1e3 * rng.normal(size=800)
    with pytest.warns(CipherfitWarning, match="QuantileTransformer"):
        model = NeuralNetRegressor(random_state=0).fit(X[:600], y[:600])
    assert model.score(X[600:], y[600:]) > 0.6


@pytest.mark.parametrize(("kind", "name"), [(NeuralNetClassifier, "wine"),
                                            (NeuralNetRegressor, "diabetes")])  # fmt: skip
def test_training_is_deterministic_under_a_seed(kind, name):
    X, y = load(name)
    first, again, other = (
        kind(random_state=seed, max_epochs=3).fit(X, y).graph_ for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
