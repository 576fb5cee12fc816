"""Both estimators pass every check that scikit-learn has for estimators, but for one kind.

A row of weight 2 and the same row twice are the same in the loss, and not in mini-batches: other
batches are drawn, so another network is trained. scikit-learn excuses its own networks likewise.
"""

from __future__ import annotations

import pytest
from sklearn.utils.estimator_checks import (
    check_classifiers_train,
    check_regressors_train,
    parametrize_with_checks,
)

from cipherfit import NeuralNetClassifier, NeuralNetRegressor

STOCHASTIC = "mini-batches of repeated rows are others than those of weighted rows"


def excused(_):
    kinds = ("dense", "sparse")
    return {f"check_sample_weight_equivalence_on_{kind}_data": STOCHASTIC for kind in kinds}


# The checks fit some 400 times; what they ask for is learned in a tenth of the default epochs.
QUICK = [NeuralNetClassifier(max_epochs=10), NeuralNetRegressor(max_epochs=10)]


# skorch looks into `callbacks` whenever a parameter is set; the check sets it to nonsense first.
@pytest.mark.filterwarnings("ignore:TypeError occurred during set_params")
@parametrize_with_checks(QUICK, expected_failed_checks=excused)
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
