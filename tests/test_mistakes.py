"""Whatever a user gets wrong is an error of ours, in fit, prediction and compilation."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import skorch
from samples import load
from sklearn.pipeline import make_pipeline
from torch import nn

from cipherfit import (
    NeuralNetClassifier,
    NeuralNetRegressor,
    QuantizedSkorchEstimatorMixin,
    design_network,
    search_p_error,
)
from cipherfit.exceptions import CipherfitError

X, Y = load("iris")
WORDS = np.array(["one", "three", "two"])[Y]
QUICK = {"max_epochs": 3, "module__n_hidden_neurons": 4, "random_state": 0}


def classifier(**options):
    return NeuralNetClassifier(**{**QUICK, **options})


def regressor(**options):
    return NeuralNetRegressor(**{**QUICK, **options})


class Own(QuantizedSkorchEstimatorMixin, skorch.NeuralNetClassifier):
    pass


@pytest.fixture(scope="module")
def trained():
    return classifier().fit(X, Y)


MISTAKES = {
    "words as features": lambda: classifier().fit(WORDS.reshape(-1, 1), Y),
    "one feature": lambda: classifier().fit(X[:, 0], Y),
    "no rows": lambda: classifier().fit(X[:0], Y[:0]),
    "ragged rows": lambda: classifier().fit([[1.0, 2.0], [3.0]], [0, 1]),
    "two labels a row": lambda: classifier().fit(X, np.stack([Y, Y], axis=1)),
    "words as targets": lambda: regressor().fit(X, WORDS),
    "weights of words": lambda: classifier().fit(X, Y, sample_weight=WORDS),
    "a loss by name": lambda: classifier(criterion="cross entropy").fit(X, Y),
    "an optimizer by name": lambda: classifier(optimizer="adam").fit(X, Y),
    "a loss of two classes for three": lambda: classifier(criterion=nn.BCEWithLogitsLoss).fit(X, Y),
    "a loss of real targets": lambda: classifier(criterion=nn.MSELoss).fit(X, Y),
    "an unknown option": lambda: classifier(learning_rate=0.1).fit(X, Y),
    "an unknown option of the module": lambda: classifier(module__n_bits=3).fit(X, Y),
    "an unknown device": lambda: classifier(device="cuda:7").fit(X, Y),
    "a row that is missing": lambda: classifier().fit(X, Y[1:]),
    "a pipeline to design": lambda: design_network(X, Y, estimator=make_pipeline(classifier())),
    "a layer that waits for its size": lambda: Own(
        nn.Sequential(nn.LazyLinear(3)), criterion=nn.CrossEntropyLoss, verbose=0
    ).fit(X, Y),
    "a search of nothing": lambda: search_p_error("model", X, Y),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_every_mistake_is_an_error_of_ours(mistake):
    with pytest.raises(CipherfitError):
        MISTAKES[mistake]()


PREDICTIONS = {
    "words": lambda X: np.full(X.shape, "word"),
    "fewer features": lambda X: X[:, :3],
    "one row flat": lambda X: X[0],
    "nothing": lambda X: X[:0],
    "complex": lambda X: X + 1j,
    "ragged": lambda X: [[1.0], [2.0, 3.0]],
    "a dict": lambda X: {"a": X},
    "None": lambda X: None,
}


@pytest.mark.parametrize("mistake", PREDICTIONS)
def test_every_mistake_in_prediction_is_an_error_of_ours(trained, mistake):
    for use in (trained.predict, trained.predict_proba, trained.quantize_input):
        with pytest.raises(CipherfitError):
            use(PREDICTIONS[mistake](X))


@pytest.mark.fhe
@pytest.mark.parametrize(
    "options",
    [{"p_error": "much"}, {"p_error": "auto"}, {"p_error": 2}, {"configuration": {"p_error": 0.1}}],
)
def test_every_mistake_in_compilation_is_an_error_of_ours(trained, options):
    with pytest.raises(CipherfitError):
        copy.deepcopy(trained).compile(**options)
