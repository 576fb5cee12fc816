"""Both estimators pass every check that scikit-learn has for estimators; none is excused."""

from __future__ import annotations

from sklearn.utils.estimator_checks import parametrize_with_checks

from cipherfit import NeuralNetClassifier, NeuralNetRegressor


@parametrize_with_checks([NeuralNetClassifier(), NeuralNetRegressor()])
def test_scikit_learns_check(estimator, check):
    check(estimator)
