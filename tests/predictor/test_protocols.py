"""Searches find the predictor in whatever holds one, and features as it takes them."""

from __future__ import annotations

import numpy as np
import pytest
from samples import fitted, load
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from cipherfit.exceptions import NotFittedError
from cipherfit.predictor.protocols import predictor_of, unwrapped


def test_pipelines_and_searches_are_unwrapped_with_all_steps_applied():
    model, (X, y) = fitted("iris"), load("iris")
    doubled = FunctionTransformer(lambda values: 2 * values).fit(X)
    scaled = StandardScaler().fit(2 * X)
    inner = Pipeline([("scale", scaled), ("model", model)])
    last, features = unwrapped(Pipeline([("double", doubled), ("inner", inner)]), X)
    assert last is model
    np.testing.assert_array_equal(features, scaled.transform(2 * X))
    alone, same = unwrapped(make_pipeline(model), X)
    assert alone is model
    assert same is X
    search = GridSearchCV(StandardScaler(), {}, scoring=lambda *_: 0.0)
    search.best_estimator_ = inner
    assert unwrapped(search, X)[0] is model
    assert y is not None


def test_a_predictor_is_its_own_and_an_estimator_has_one():
    model = fitted("iris")
    assert predictor_of(model) is predictor_of(model.predictor_) is model.predictor_


@pytest.mark.parametrize("model", ["model", None, StandardScaler()])
def test_what_has_none_is_told_what_to_give(model):
    with pytest.raises(NotFittedError, match="give a fitted estimator of cipherfit's"):
        predictor_of(model)
