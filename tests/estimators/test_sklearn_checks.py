"""Both estimators pass every check that scikit-learn has for estimators, but for one kind.

A row of weight 2 and the same row twice are the same in the loss, and not in mini-batches: other
batches are drawn, so another network is trained. scikit-learn excuses its own networks likewise.
"""

from __future__ import annotations

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from cipherfit import NeuralNetClassifier, NeuralNetRegressor

STOCHASTIC = "mini-batches of repeated rows are others than those of weighted rows"


def excused(_):
    kinds = ("dense", "sparse")
    return {f"check_sample_weight_equivalence_on_{kind}_data": STOCHASTIC for kind in kinds}


# skorch looks into `callbacks` whenever a parameter is set; the check sets it to nonsense first.
@pytest.mark.filterwarnings("ignore:TypeError occurred during set_params")
@parametrize_with_checks(
    [NeuralNetClassifier(), NeuralNetRegressor()], expected_failed_checks=excused
)
def test_scikit_learns_check(estimator, check):
    check(estimator)
