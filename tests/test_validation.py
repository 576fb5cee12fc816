"""Bad data is refused with an error that says where and why; good data of any kind is taken."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from samples import load
from scipy import sparse

from cipherfit import NeuralNetClassifier, NeuralNetRegressor
from cipherfit.exceptions import CipherfitError

ESTIMATORS = [NeuralNetClassifier, NeuralNetRegressor]


def small(kind):
    return kind(module__n_hidden_neurons=3, max_epochs=2)


def data(n=40, d=3):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, d)).astype(np.float32), np.arange(n) % 2


both = pytest.mark.parametrize("kind", ESTIMATORS)


@both
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("method", ["fit", "predict"])
def test_a_value_that_is_not_finite_is_refused_with_row_and_column(kind, value, method):
    X, y = data()
    model = small(kind).fit(X, y)
    X[7, 2] = value
    name = "NaN" if np.isnan(value) else "infinity"
    with pytest.raises(ValueError, match=f"{name} at row 7, column 2") as error:
        model.fit(X, y) if method == "fit" else model.predict(X)
    assert isinstance(error.value, CipherfitError)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_targets_that_are_not_finite_are_refused_with_their_row(value):
    X, y = data()
    y = y.astype(float)
    y[5] = value
    for kind in ESTIMATORS:
        with pytest.raises(ValueError, match=r"y contains .* at row 5"):
            small(kind).fit(X, y)


BAD_X = {
    "complex": (lambda X: X + 1j, "[Cc]omplex"),
    "strings": (lambda X: X.astype(str).astype(object) + "a", "could not convert|convert string"),
    "words": (lambda X: np.full(X.shape, "word"), "numeric"),
    "one-dimensional": (lambda X: X[:, 0], "[Ee]xpected 2D array"),
    "three-dimensional": (lambda X: X[:, :, None], "dim 3|trained on flat rows"),
    "a number": (lambda X: 3.0, "[Ee]xpected 2D array"),
    "no rows": (lambda X: X[:0], r"0 sample\(s\)"),
    "no columns": (lambda X: X[:, :0], r"0 feature\(s\)"),
    "None": (lambda X: None, "None|NoneType"),
    "beyond float32": (lambda X: X.astype(np.float64) * 1e300, "float32"),
    "integers beyond float32": (lambda X: np.full(X.shape, 2**24 + 1), r"X\[0, 0\] = 16777217"),
    "unsigned beyond float32": (lambda X: np.full(X.shape, 2**64 - 1, np.uint64), "float32"),
}


@both
@pytest.mark.parametrize("case", BAD_X)
@pytest.mark.parametrize("method", ["fit", "predict"])
def test_features_that_cannot_be_used_are_refused_with_the_reason(kind, case, method):
    spoil, message = BAD_X[case]
    X, y = data()
    model = small(kind).fit(X, y)
    with pytest.raises((ValueError, TypeError), match=message):
        model.fit(spoil(X), y) if method == "fit" else model.predict(spoil(X))


SPARSE = [sparse.csr_matrix, sparse.csc_array, sparse.coo_matrix, sparse.lil_matrix]


@both
@pytest.mark.parametrize("form", SPARSE)
def test_sparse_features_train_and_predict_as_dense_ones_do(kind, form):
    X, y = data()
    X[np.abs(X) < 0.7] = 0
    torch.manual_seed(0)
    expected = small(kind).fit(X, y)
    torch.manual_seed(0)
    model = small(kind).fit(form(X), y)
    assert model.graph_ == expected.graph_
    assert np.array_equal(model.predict(form(X)), expected.predict(X))
    many = np.repeat(X, 300, axis=0)  # more rows than are dense at once
    assert np.array_equal(model.predict(form(many)), expected.predict(many))


@both
def test_sparse_features_that_are_not_finite_are_refused_with_row_and_column(kind):
    X, y = data()
    model = small(kind).fit(X, y)
    X[7, 2] = np.nan
    for use in (lambda S: model.fit(S, y), model.predict):
        with pytest.raises(ValueError, match="NaN at row 7, column 2"):
            use(sparse.csr_matrix(X))


@both
@pytest.mark.parametrize("n_features", [2, 4])
def test_another_number_of_features_than_in_fit_is_refused(kind, n_features):
    X, y = data()
    model = small(kind).fit(X, y)
    for method in ("predict", "quantize_input"):
        with pytest.raises(ValueError, match=f"{n_features} features.*expecting 3"):
            getattr(model, method)(np.zeros((5, n_features), np.float32))


@both
@pytest.mark.parametrize("n_rows", [0, 39, 41])
def test_y_of_another_length_is_refused_with_both_lengths(kind, n_rows):
    X, _ = data()
    with pytest.raises(ValueError, match=r"inconsistent numbers of samples|0 sample") as error:
        small(kind).fit(X, np.arange(n_rows) % 2)
    assert str(n_rows) in str(error.value)


@both
def test_y_is_required(kind):
    with pytest.raises(ValueError, match="y to be passed"):
        small(kind).fit(data()[0], None)


@pytest.mark.parametrize("value", [0.5, -1.25, 1e-9])
def test_labels_that_are_not_whole_are_refused_not_truncated(value):
    X, y = data()
    y = y.astype(float)
    y[3] = value
    with pytest.raises(ValueError, match=rf"y\[3\] = {re.escape(str(value))}"):
        small(NeuralNetClassifier).fit(X, y)


@pytest.mark.parametrize(
    "y",
    [np.zeros(40, int), np.full(40, "a"), np.ones(40, bool), np.full(40, 7.0)],
    ids=["zeros", "strings", "booleans", "floats"],
)
def test_one_class_only_is_refused(y):
    with pytest.raises(ValueError, match="one class"):
        small(NeuralNetClassifier).fit(data()[0], y)


@pytest.mark.parametrize(
    "y",
    [
        np.eye(2)[np.arange(40) % 2],
        np.zeros((40, 2, 2)),
        np.arange(40) + 1j,
        np.array([None, "a"] * 20, dtype=object),
        np.array([1, "a"] * 20, dtype=object),
        np.array([np.nan, "a"] * 20, dtype=object),
    ],
    ids=["one-hot", "3-D", "complex", "None", "mixed", "NaN among strings"],
)
def test_labels_that_are_no_labels_are_refused(y):
    with pytest.raises(ValueError, match=r"y should be|y mixes|Complex data|with dim 3"):
        small(NeuralNetClassifier).fit(data()[0], y)


def test_numbers_held_as_objects_are_labels():
    X, y = data()
    model = small(NeuralNetClassifier).fit(X, y.astype(object))
    assert model.classes_.tolist() == [0, 1]
    with pytest.raises(ValueError, match=r"y\[0\] = 0.5"):
        small(NeuralNetClassifier).fit(X, (y + 0.5).astype(object))


@pytest.mark.parametrize(
    "y",
    [np.full(40, "a"), np.zeros((40, 1, 1)), np.arange(40) + 1j, np.full(40, 1e300)],
    ids=["strings", "3-D", "complex", "beyond float32"],
)
def test_targets_that_are_no_numbers_are_refused(y):
    with pytest.raises(ValueError, match=r"numeric|with dim 3|Complex|infinity"):
        small(NeuralNetRegressor).fit(data()[0], y)


CONTAINERS = {
    "float64": lambda X: X.astype(np.float64),
    "float16 and back": lambda X: X.astype(np.float16).astype(np.float32),
    "list": lambda X: X.tolist(),
    "tensor": torch.tensor,
    "frame": lambda X: pd.DataFrame(X, columns=["a", "b", "c", "d"]),
    "polars": lambda X: pl.DataFrame(X, schema=["a", "b", "c", "d"]),
    "columns first": np.asfortranarray,
    "strided": lambda X: np.repeat(X, 2, axis=0)[::2],
    "objects": lambda X: X.astype(object),
    "read-only": lambda X: X,
}


@both
@pytest.mark.parametrize("container", CONTAINERS)
def test_any_container_of_the_same_numbers_gives_the_same_predictions(kind, container):
    X, y = load("iris")
    X = np.round(X * 2) / 2  # exact in every type
    X.setflags(write=False)
    held = CONTAINERS[container](X)
    torch.manual_seed(0)
    expected = small(kind).fit(X, y)
    torch.manual_seed(0)
    model = small(kind).fit(held, y)
    assert model.graph_ == expected.graph_
    assert np.array_equal(model.predict(held), expected.predict(X))


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int64, bool])
def test_integers_and_booleans_are_features(dtype):
    X = (load("digits")[0] > 8).astype(dtype)
    y = load("digits")[1]
    model = small(NeuralNetClassifier).fit(X, y)
    assert np.array_equal(model.predict(X), model.predict(X.astype(np.float32)))


@both
@pytest.mark.filterwarnings("error")
def test_read_only_features_train_without_a_warning_and_stay_as_they_are(kind):
    X, y = load("iris")
    assert not X.flags.writeable
    before = X.copy()
    model = small(kind).fit(X, y)
    model.partial_fit(X, y).predict(X)
    assert np.array_equal(X, before)


def test_frames_with_other_column_names_are_refused():
    X, y = data()
    model = small(NeuralNetClassifier).fit(pd.DataFrame(X, columns=["a", "b", "c"]), y)
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    with pytest.raises(ValueError, match="feature names"):
        model.predict(pd.DataFrame(X, columns=["c", "b", "a"]))


def test_names_of_polars_columns_are_features_names_too():
    X, y = data()
    model = small(NeuralNetRegressor).fit(pl.DataFrame(X, schema=["a", "b", "c"]), y)
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    with pytest.raises(ValueError, match="feature names"):
        model.predict(pl.DataFrame(X, schema=["a", "b", "x"]))


@both
def test_columns_that_float32_would_blur_are_refused(kind):
    X, y = data()
    seconds = X.astype(np.float64) * 60 + 1.7e9
    with pytest.raises(ValueError, match=r"column 0 of X varies too little around 1\.7e\+09"):
        small(kind).fit(seconds, y)
    assert small(kind).fit(seconds - 1.7e9, y).graph_.n_features == 3


@pytest.mark.parametrize("dtype", [np.int64, np.float64])
def test_targets_that_float32_would_blur_are_refused(dtype):
    X, _ = data()
    with pytest.raises(ValueError, match="column 0 of y varies too little"):
        small(NeuralNetRegressor).fit(X, np.arange(len(X)).astype(dtype) + 10**10)
