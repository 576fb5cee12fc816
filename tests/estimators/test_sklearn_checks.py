"""Both estimators pass every check that scikit-learn has for estimators; none is excused."""

from __future__ import annotations

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from cipherfit import NeuralNetClassifier, NeuralNetRegressor


# skorch looks into `callbacks` whenever a parameter is set; the check sets it to nonsense first.
@pytest.mark.filterwarnings("ignore:TypeError occurred during set_params")
@parametrize_with_checks([NeuralNetClassifier(), NeuralNetRegressor()])
def test_scikit_learns_check(estimator, check):
    check(estimator)
