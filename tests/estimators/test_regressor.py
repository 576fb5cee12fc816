"""NeuralNetRegressor: one target or many, in the targets' own unit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from samples import fitted, load
from skorch.callbacks import EpochScoring
from skorch.dataset import ValidSplit
from torch import nn

from cipherfit import NeuralNetRegressor


def regressor(**options):
    torch.manual_seed(0)
    defaults = {"module__n_hidden_neurons": 8, "max_epochs": 30, "lr": 0.02}
    return NeuralNetRegressor(**{**defaults, **options})


def test_it_learns_better_than_the_mean():
    X, y = load("diabetes")
    assert regressor().fit(X, y).score(X, y) > 0.4


@pytest.mark.parametrize("shift", [0.0, 1e5])
@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_the_unit_of_the_targets_does_not_matter(shift, unit):
    X, y = load("diabetes")
    y = (y - y.mean()) / y.std()
    model = regressor(max_epochs=15).fit(X, shift * unit + unit * y)
    assert model.score(X, shift * unit + unit * y) > 0.3


@pytest.mark.parametrize(("shape", "expected"), [((-1,), (442,)), ((-1, 1), (442, 1))])
def test_predictions_have_the_shape_of_the_targets(shape, expected):
    X, y = load("diabetes")
    assert regressor(max_epochs=2).fit(X, y.reshape(shape)).predict(X).shape == expected


def test_several_targets_are_learned_together():
    X, y = load("diabetes")
    both = np.stack([y, -2 * y + 7, X[:, 0]], axis=1)
    model = regressor(max_epochs=40, module__n_hidden_neurons=12).fit(X, both)
    assert model.predict(X).shape == (442, 3)
    assert model.score(X, both) > 0.3
    assert np.corrcoef(model.predict(X)[:, :2].T)[0, 1] < -0.8


def test_predictions_are_the_graphs_outputs():
    X, _ = load("diabetes")
    model = fitted("diabetes")
    assert np.array_equal(model.predict(X), model.graph_.run(X)[:, 0])
    assert not hasattr(model, "predict_proba")
    accumulators = model.graph_.simulate(model.quantize_input(X))
    outputs = model.post_processing(model.dequantize_output(accumulators))
    assert np.array_equal(outputs[:, 0], model.predict(X))


@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.int8, bool])
def test_targets_of_any_number_type_train(dtype):
    X, y = load("diabetes")
    y = (y / 3 if dtype is not bool else y > y.mean()).astype(dtype)
    assert regressor(max_epochs=15).fit(X, y).score(X, y) > 0.25


def test_a_constant_target_is_predicted():
    X, _ = load("diabetes")
    predicted = regressor(max_epochs=20).fit(X, np.full(len(X), 42.0)).predict(X)
    np.testing.assert_allclose(predicted, 42.0, atol=1.0)


def test_the_number_of_outputs_can_be_given_right_and_not_wrong():
    X, y = load("diabetes")
    assert regressor(module__n_outputs=1, max_epochs=1).fit(X, y).graph_.n_outputs == 1
    with pytest.raises(ValueError, match=r"module__n_outputs=2.*1 .*targets"):
        regressor(module__n_outputs=2).fit(X, y)


def test_validation_and_scoring_callbacks_work():
    X, y = load("diabetes")
    score = EpochScoring("r2", lower_is_better=False, name="r2")
    model = regressor(callbacks=[score], train_split=ValidSplit(5)).fit(X, y)
    assert model.history[-1, "r2"] > 0.2
    assert np.isfinite(model.history[:, "valid_loss"]).all()


def test_other_criteria_train():
    X, y = load("diabetes")
    assert regressor(criterion=nn.L1Loss).fit(X, y).score(X, y) > 0.3
