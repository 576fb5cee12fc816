"""Estimators know their module: it is not a parameter, and takes its sizes from the data."""

from __future__ import annotations

import pytest
import torch
from samples import load
from sklearn.base import clone
from torch import nn

from cipherfit import NeuralNetClassifier, NeuralNetRegressor, SparseQuantNeuralNetImpl
from cipherfit.estimators.schedule import OneCycle
from cipherfit.exceptions import InvalidParameterError, NotFittedError

ESTIMATORS = {"iris": NeuralNetClassifier, "diabetes": NeuralNetRegressor}
both = pytest.mark.parametrize("name", ESTIMATORS)


def estimator(name, **options):
    return ESTIMATORS[name](**{"module__n_hidden_neurons": 3, "max_epochs": 1, **options})


@both
def test_the_module_is_the_sparse_network_whatever_is_given(name):
    model = estimator(name, module=nn.Linear)
    assert "module" not in model.get_params()
    assert type(model.fit(*load(name)).module_) is SparseQuantNeuralNetImpl


@both
def test_sizes_are_those_of_the_data_and_two_layers_the_default(name):
    X, y = load(name)
    module = estimator(name).fit(X, y).module_
    assert (module.input_dim, module.n_outputs) == (X.shape[1], 3 if name == "iris" else 1)
    assert module.n_layers == 2
    assert estimator(name, module__n_layers=3).fit(X, y).module_.n_layers == 3


@both
def test_a_network_without_data_asks_for_them_or_for_its_sizes(name):
    with pytest.raises(NotFittedError, match=r"module__input_dim is taken from the data"):
        estimator(name).initialize()
    with pytest.raises(NotFittedError, match=r"module__n_outputs is taken from the data"):
        estimator(name, module__input_dim=5).initialize()
    model = estimator(name, module__input_dim=5, module__n_outputs=2).initialize()
    assert (model.module_.input_dim, model.module_.n_outputs) == (5, 2)


@both
def test_sizes_that_contradict_the_data_are_named_with_both_numbers(name):
    X, y = load(name)
    with pytest.raises(InvalidParameterError, match=f"input_dim=2.*{X.shape[1]} features in X"):
        estimator(name, module__input_dim=2).fit(X, y)
    with pytest.raises(InvalidParameterError, match=r"n_outputs=9.*there are \d classes or targ"):
        estimator(name, module__n_outputs=9).fit(X, y)


@both
def test_construction_keeps_parameters_and_nothing_trained(name):
    model = estimator(name, lr=0.3, module__n_a_bits=2)
    names = {key for key in vars(model) if key.endswith("_") and not key.startswith("_")}
    assert not names
    assert model.history_ is None
    assert model.initialized_ is False
    copied = clone(model)
    assert (copied.lr, copied.module__n_a_bits) == (0.3, 2)
    assert model.fit(*load(name)).initialized_ is True


@both
def test_the_learning_rate_follows_one_cycle_unless_told_otherwise(name):
    X, y = load(name)
    of_default = dict(estimator(name).fit(X, y).callbacks_)
    assert type(of_default["lr_schedule"]) is OneCycle
    without = dict(estimator(name, callbacks__lr_schedule=None).fit(X, y).callbacks_)
    assert "lr_schedule" not in without


def test_defaults_for_few_bits_belong_to_the_kinds_that_they_were_found_with():
    class Own(torch.optim.Adam):
        pass

    options = estimator("iris").get_params_for("optimizer")
    assert options["betas"] == (0.9, 0.99)
    assert "betas" not in estimator("iris", optimizer=Own).get_params_for("optimizer")
    assert "label_smoothing" not in estimator("diabetes").get_params_for("criterion")
    assert estimator("iris").get_params_for("module") == {"n_hidden_neurons": 3}


@pytest.mark.parametrize("taken", ["fused", "foreach", "differentiable", "capturable"])
def test_adam_is_fused_on_a_cpu_where_nothing_speaks_against_it(taken):
    options = estimator("iris").get_params_for("optimizer")
    # torch before 2.4 can't.
    assert options.get("fused", True) is True
    chosen = estimator("iris", **{f"optimizer__{taken}": False}).get_params_for("optimizer")
    assert chosen.get("fused", False) is False
    assert chosen[taken] is False
    elsewhere = estimator("iris", device="cuda").get_params_for("optimizer")
    assert "fused" not in elsewhere
