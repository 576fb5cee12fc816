"""Estimators answer with their predictor, under the seed's names, described as it is."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from samples import fitted, load

from cipherfit import NeuralNetClassifier, NeuralNetRegressor, Predictor
from cipherfit.exceptions import InvalidParameterError, NotFittedError

DELEGATED = ["compile", "estimate_fhe", "dequantize_output"]


@pytest.mark.parametrize("name", DELEGATED)
def test_a_method_that_delegates_has_the_description_of_what_it_delegates_to(name):
    assert "Parameters" in getattr(Predictor, name).__doc__
    assert getattr(NeuralNetClassifier, name).__doc__ == getattr(Predictor, name).__doc__


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"execute_in_fhe": True, "fhe": "disable"}, "contradicts fhe='disable'"),
        ({"execute_in_fhe": True, "fhe": "simulate"}, "contradicts fhe='simulate'"),
        ({"fhe": "encrypt"}, "must be one of disable, simulate, execute"),
    ],
)
@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_ways_to_predict_that_contradict_or_do_not_exist_are_refused(method, arguments, message):
    with pytest.raises(InvalidParameterError, match=message):
        getattr(fitted("iris"), method)(load("iris")[0], **arguments)


def test_only_classifiers_have_classes_and_probabilities():
    assert not hasattr(fitted("diabetes"), "predict_proba")
    assert not hasattr(fitted("diabetes"), "classes_")
    assert fitted("iris").classes_.tolist() == [0, 1, 2]


def test_before_fit_there_is_no_graph_and_no_circuit_can_be_set():
    model = NeuralNetRegressor()
    assert not hasattr(model, "graph_")
    model.fhe_circuit = None
    assert model.fhe_circuit is None
    with pytest.raises(NotFittedError):
        model.fhe_circuit = object()


def test_weights_set_by_hand_answer_once_the_predictor_is_rebuilt():
    model = copy.deepcopy(fitted("diabetes"))
    X = load("diabetes")[0]
    before = model.predict(X)
    model.module_.linear_layers[-1].bias.data += 1.0
    assert np.array_equal(model.predict(X), before)
    model.rebuild_predictor()
    scale = float(model.module_.output_scale[0])
    np.testing.assert_allclose(model.predict(X), before + scale, rtol=1e-6)
