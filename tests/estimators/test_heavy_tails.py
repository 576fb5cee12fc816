"""Fit tells of features whose rows nearly all share one code, and of no others."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from samples import load
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer

from cipherfit import NeuralNetClassifier, NeuralNetRegressor
from cipherfit.estimators.heavy_tails import crowded_features
from cipherfit.exceptions import CipherfitWarning


def heavy(n_rows=1200, n_features=20):
    normal = np.random.default_rng(0).normal(size=(n_rows, n_features))
    return np.exp(2 * normal), (normal[:, :3].sum(axis=1) > 0).astype(int)


def untrained(**options):
    return NeuralNetClassifier(
        **{"module__n_hidden_neurons": 4, "max_epochs": 1, "random_state": 0} | options
    )


@pytest.mark.parametrize("n_in_bits", [None, 2, 3, 5, 8])
def test_a_warning_names_features_shares_and_remedy(n_in_bits):
    X, y = heavy()
    X[:, [0, 2]] = np.log(X[:, [0, 2]])
    frame = pd.DataFrame(X[:, :4], columns=["a", "b", "c", "d"])
    options = {} if n_in_bits is None else {"module__n_in_bits": n_in_bits}
    options["module__n_accum_bits"] = 12
    with pytest.warns(CipherfitWarning, match="QuantileTransformer") as caught:
        model = untrained(**options).fit(frame, y)
    message = str(caught[0].message)
    codes = model.quantize_input(frame).astype(int)
    for index, name in enumerate("abcd"):
        share = np.bincount(codes[:, index]).max() / len(X)
        assert (f"'{name}' ({share:.0%})" in message) == (name in "bd")
    assert caught[0].filename == __file__


def test_features_without_names_go_by_their_index():
    X, y = heavy()
    with pytest.warns(CipherfitWarning, match=r"feature\(s\) 1 \(\d+%\): their"):
        untrained().fit(np.c_[np.log(X[:, 0]), X[:, 1]], y)
    with pytest.warns(CipherfitWarning, match="and 15 more"):
        untrained().fit(X, y)


def test_the_remedy_silences_it_and_mends_accuracy():
    X, y = heavy()
    options = {"max_epochs": 30, "module__n_hidden_neurons": 8}
    with pytest.warns(CipherfitWarning):
        raw = untrained(**options).fit(X[:800], y[:800])
    transformer = QuantileTransformer(n_quantiles=100, output_distribution="normal")
    mended = make_pipeline(transformer, untrained(**options)).fit(X[:800], y[:800])
    assert mended.score(X[800:], y[800:]) > raw.score(X[800:], y[800:]) + 0.05


@pytest.mark.parametrize("n_in_bits", [2, 3, 4, 6, 8])
def test_features_that_need_no_more_codes_raise_no_alarm(n_in_bits):
    rng = np.random.default_rng(0)
    n = 1000
    counts = rng.poisson(np.exp(rng.normal(size=n)))
    X = np.c_[
        np.full(n, 3.5),
        np.arange(n) < 10,
        np.eye(4)[rng.integers(0, 4, n)],
        counts,
        np.where(rng.random(n) < 0.8, 0, counts),
        np.where(rng.random(n) < 0.7, 0.0, np.exp(2 * rng.normal(size=n))),
        rng.geometric(0.5, n),
        np.where(rng.random(n) < 0.03, 500, rng.integers(0, 30, n)),
        rng.normal(size=n),
        rng.uniform(size=n),
        rng.exponential(size=n),
    ]
    model = untrained(module__n_in_bits=n_in_bits, module__n_accum_bits=14)
    model.fit(X, np.arange(n) % 2)  # a warning is an error in these tests


@pytest.mark.parametrize("n_in_bits", [2, 3, 4, 6, 8])
@pytest.mark.parametrize("name", ["iris", "wine", "digits", "breast_cancer", "diabetes"])
def test_tables_as_people_have_them_raise_no_alarm(name, n_in_bits):
    X, y = load(name)
    kind = NeuralNetRegressor if name == "diabetes" else NeuralNetClassifier
    with warnings.catch_warnings():
        warnings.simplefilter("error", CipherfitWarning)
        kind(
            module__n_in_bits=n_in_bits,
            module__n_accum_bits=14,
            module__n_hidden_neurons=2,
            max_epochs=1,
            iterator_train__min_batches=1,
            batch_size=-1,
        ).fit(X, y)


def test_few_rows_say_nothing():
    X, _ = heavy(40, 1)
    assert not crowded_features(X, np.zeros((40, 1), dtype=int), 3)
