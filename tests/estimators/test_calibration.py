"""Training keeps what a rare class, or a heavy row, shows in a feature's tail alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skorch import NeuralNetClassifier as SkorchClassifier
from torch import nn

from cipherfit import NeuralNetClassifier, NeuralNetRegressor, QuantizedSkorchEstimatorMixin


def with_rare(n_features=10, shift=8.0, n=3000, seed=0):
    """Return normal features, the first shifted in the few rows of a rare class."""
    rng = np.random.default_rng(seed)
    X, rare = rng.normal(size=(n, n_features)), rng.random(n) < 0.008
    X[rare, 0] += shift
    return X, rare.astype(int)


def estimator(kind=NeuralNetClassifier, **options):
    return kind(**{"module__n_hidden_neurons": 8, "max_epochs": 15, "random_state": 0} | options)


@pytest.mark.parametrize(
    ("n_features", "shift"), [(10, 8.0), (10, -8.0), (10, 100.0), (3, 8.0), (30, 8.0)]
)
def test_a_class_that_one_tail_alone_shows_is_recalled(n_features, shift):
    model = estimator().fit(*with_rare(n_features, shift))
    X, y = with_rare(n_features, shift, seed=1)
    predicted = model.predict(X)
    assert (predicted[y == 1] == 1).mean() >= 0.8
    assert (predicted[y == 0] == 0).mean() >= 0.995


def test_a_rare_class_beside_frequent_ones_is_recalled():
    X, rare = with_rare()
    y = np.where(rare, "rare", np.where(X[:, 1] > 0, "up", "down"))
    # Two networks, as 24 rows depend on the draw.
    networks = [estimator(max_epochs=40, random_state=seed).fit(X, y) for seed in (0, 1)]
    right = np.mean([network.predict(X) == y for network in networks], axis=0)
    assert right[rare == 1].mean() >= 0.85
    assert right.mean() >= 0.95


def test_heavy_rows_in_a_tail_are_told_apart():
    X, rare = with_rare()
    # Among all other rows the second feature decides, among these few the first.
    y = np.where(rare, X[:, 0] > 8, X[:, 1] > 0).astype(int)
    weight = np.where(rare, 100.0, 1.0)
    model = estimator(max_epochs=30).fit(X, y, sample_weight=weight)
    assert (model.predict(X) == y)[rare == 1].mean() >= 0.8
    codes = model.quantize_input(X)[:, 0]
    assert len(np.unique(codes[rare == 1])) > 5


def test_class_weights_count_in_the_ranges():
    X, y = with_rare()
    plain, weighted = (
        estimator(max_epochs=1, criterion__weight=weight).fit(X, y)
        for weight in (None, np.array([1.0, 50.0]))
    )
    ends = [model.graph_.to_dict()["input"]["scale"][0] for model in (plain, weighted)]
    assert ends[0] < ends[1]


def test_rare_rows_that_hold_a_regression_target_are_learned():
    X, rare = with_rare()
    y = 0.1 * X[:, 1] + 10.0 * rare
    model = estimator(NeuralNetRegressor, max_epochs=40).fit(X, y)
    assert model.score(X, y) > 0.7


class Perceptron(nn.Module):
    """A float module of one's own."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 2))

    def forward(self, x):
        return self.layers(x)


class Own(QuantizedSkorchEstimatorMixin, SkorchClassifier):
    """Quantizes a float module after training."""


def test_a_module_quantized_after_training_keeps_a_class_in_a_tail():
    X, y = with_rare()
    torch.manual_seed(0)
    model = Own(
        Perceptron,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=0.01,
        max_epochs=15,
        batch_size=32,
        verbose=0,
        train_split=None,
    ).fit(X, y)
    with torch.no_grad():
        real = model.module_(torch.as_tensor(X, dtype=torch.float32)).argmax(dim=1).numpy()
    assert (real == y)[y == 1].mean() > 0.9
    assert (model.predict(X) == y)[y == 1].mean() > 0.6
    model.rebuild_predictor(torch.as_tensor(X, dtype=torch.float32))
    assert (model.predict(X) == y)[y == 1].mean() < 0.3, "nothing to mend"
