"""Both estimators pass every check that scikit-learn has for estimators; none is excused."""

from __future__ import annotations

import pytest
from sklearn.utils.estimator_checks import (
    check_classifiers_train,
    check_regressors_train,
    parametrize_with_checks,
)

from cipherfit import NeuralNetClassifier, NeuralNetRegressor

# The checks fit some 400 times; what they ask for is learned in a tenth of the default epochs.
QUICK = [NeuralNetClassifier(max_epochs=10), NeuralNetRegressor(max_epochs=10)]


# skorch looks into `callbacks` whenever a parameter is set; the check sets it to nonsense first.
@pytest.mark.filterwarnings("ignore:TypeError occurred during set_params")
@parametrize_with_checks(QUICK)
def test_scikit_learns_check(estimator, check):
    check(estimator)


@pytest.mark.parametrize(
    ("estimator", "check"),
    [
        (NeuralNetClassifier(), check_classifiers_train),
        (NeuralNetRegressor(), check_regressors_train),
    ],
)
def test_the_default_number_of_epochs_learns_what_the_checks_ask_for(estimator, check):
    check(type(estimator).__name__, estimator)
