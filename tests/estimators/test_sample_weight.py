"""Rows count in training as much as their weights say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from samples import load
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import EpochScoring
from skorch.dataset import ValidSplit

from cipherfit import NeuralNetClassifier, NeuralNetRegressor
from cipherfit.estimators.sample_weight import unreduced, weighted_mean

ESTIMATORS = {"iris": NeuralNetClassifier, "diabetes": NeuralNetRegressor}
both = pytest.mark.parametrize("name", ESTIMATORS)


def estimator(name, **options):
    if name == "iris" and "criterion" not in options:
        # With smoothing, torch sums a batch's losses in another order than ours: to the last bit,
        # weights of 1 would not be no weights.
        options = {"criterion__label_smoothing": 0.0, **options}
    return ESTIMATORS[name](
        **{"module__n_hidden_neurons": 4, "max_epochs": 3, "random_state": 0, **options}
    )


@both
@pytest.mark.parametrize("scale", [1, 7.5])
def test_equal_weights_are_no_weights(name, scale):
    X, y = load(name)
    model = estimator(name).fit(X, y, sample_weight=np.full(len(X), scale))
    assert model.graph_ == estimator(name).fit(X, y).graph_


@both
def test_rows_of_weight_0_are_as_good_as_absent(name):
    X, y = load(name)
    stay = np.arange(len(X)) % 3 > 0
    weighted = estimator(name).fit(X, y, sample_weight=stay.astype(int))
    assert weighted.graph_ == estimator(name).fit(X[stay], y[stay]).graph_


def test_the_loss_is_the_weighted_mean():
    torch.manual_seed(0)
    outputs, labels = torch.randn(5, 3), torch.tensor([0, 1, 2, 1, 0])
    weights = np.array([0.5, 2, 0.25, 1.25, 1], dtype=np.float32)
    criterion = torch.nn.CrossEntropyLoss()
    with unreduced(criterion):
        losses = criterion(outputs, labels)
    assert criterion.reduction == "mean"
    by_hand = sum(
        float(weights[i] * criterion(outputs[i : i + 1], labels[i : i + 1])) for i in range(5)
    )
    assert weighted_mean(losses, {"sample_weight": weights}).item() == pytest.approx(by_hand / 5)


def test_a_heavy_class_wins_where_classes_overlap():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 2)).astype(np.float32), np.arange(300) % 2
    for heavy in (0, 1):
        model = estimator("iris", max_epochs=30)
        model.fit(X, y, sample_weight=np.where(y == heavy, 20.0, 1.0))
        assert (model.predict(X) == heavy).mean() > 0.9


@both
def test_weights_go_through_pipelines_searches_and_partial_fit(name):
    X, y = load(name)
    weight = np.random.default_rng(0).uniform(0.1, 2, len(X))
    pipeline = make_pipeline(StandardScaler(), estimator(name))
    step = list(pipeline.named_steps)[-1]
    pipeline.fit(X, y, **{f"{step}__sample_weight": weight})
    scaled = StandardScaler().fit_transform(X)
    alone = estimator(name).fit(scaled, y, sample_weight=weight)
    assert pipeline[-1].graph_ == alone.graph_ != estimator(name).fit(scaled, y).graph_
    search = GridSearchCV(estimator(name), {"max_epochs": [1, 2]}, cv=2, error_score="raise")
    search.fit(X, y, sample_weight=weight)
    alone = estimator(name, **search.best_params_).fit(X, y, sample_weight=weight)
    assert search.best_estimator_.graph_ == alone.graph_
    twice = [estimator(name), estimator(name)]
    for model, weights in zip(twice, ({}, {"sample_weight": weight}), strict=True):
        model.partial_fit(X, y).partial_fit(X, y, **weights)
    assert twice[0].graph_ != twice[1].graph_


@both
def test_weights_go_with_validation_and_scoring(name):
    X, y = load(name)
    scoring = "accuracy" if name == "iris" else "r2"
    sixth = len(X) // 6
    X, y = X[: 6 * sixth], y[: 6 * sixth]
    # Only rows that are held out, the first third, weigh more or less than 1, and 1 in the mean.
    more = np.ones(len(X))
    more[:sixth], more[sixth : 2 * sixth] = 1.5, 0.5
    weights = [np.ones(len(X)), more, 2 - more]
    losses, scores = [], []
    for weight in weights:
        callbacks = [EpochScoring(scoring, lower_is_better=False, name="score")]
        model = estimator(name, train_split=ValidSplit(3), callbacks=callbacks)
        history = model.fit(X, y, sample_weight=weight).history
        losses.append(history[:, "valid_loss"])
        scores.append(history[:, "score"])
    assert scores[0] == scores[1] == scores[2]
    even, one, other = np.array(losses)
    assert (np.abs(one - even) > 1e-3 * even).all()
    np.testing.assert_allclose((one + other) / 2, even, rtol=1e-5)


@both
@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (lambda n: np.ones(n - 1), r"has shape \(\d+,\); expected"),
        (lambda n: np.ones((n, 1)), "one per row"),
        (lambda n: -np.ones(n), r"sample_weight\[0\] = -1.0"),
        (lambda n: np.r_[1, np.nan, np.ones(n - 2)], r"sample_weight\[1\] = nan"),
        (lambda n: np.zeros(n), "zero for every row"),
    ],
)
def test_weights_that_cannot_be_are_refused(name, weight, message):
    X, y = load(name)
    with pytest.raises(ValueError, match=message):
        estimator(name).fit(X, y, sample_weight=weight(len(X)))


def test_a_criterion_without_reduction_is_refused():
    class Own(torch.nn.Module):
        def forward(self, outputs, labels):
            return torch.nn.functional.cross_entropy(outputs, labels)

    X, y = load("iris")
    with pytest.raises(ValueError, match="Own has none"):
        estimator("iris", criterion=Own).fit(X, y, sample_weight=np.ones(len(X)))
