"""A predictor takes features in any container, by the names of training, or says what is wrong."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from cipherfit.exceptions import InputTypeError, InvalidInputError
from cipherfit.predictor.features import Features

X = np.arange(12.0).reshape(4, 3)
NAMES = ("a", "b", "c")
CONTAINERS = {
    "array": X,
    "integers": X.astype(np.int16),
    "list": X.tolist(),
    "text of numbers": X.astype(str),
    "objects": X.astype(object),
    "tensor": torch.tensor(X, requires_grad=True),
    "by columns": np.asfortranarray(X),
    "frame without names": pd.DataFrame(X),
}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_any_container_gives_the_same_rows_in_single_precision(kind):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checked = Features(3).check(CONTAINERS[kind])
    assert checked.dtype == np.float32
    assert checked.flags.c_contiguous
    assert np.array_equal(checked, X)


@pytest.mark.parametrize("frame", [pd.DataFrame, lambda X, columns: pl.DataFrame(X, list(columns))])
def test_frames_are_taken_by_the_names_of_training_without_a_word(frame):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checked = Features(3, NAMES).check(frame(X, columns=NAMES))
    assert np.array_equal(checked, X)


def test_names_on_one_side_only_are_a_warning():
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        Features(3, NAMES).check(X)
    with pytest.warns(UserWarning, match="fitted without feature names"):
        Features(3).check(pd.DataFrame(X, columns=NAMES))


def test_other_names_are_listed_and_many_of_them_cut_short():
    with pytest.raises(InvalidInputError, match="same order as they were in fit"):
        Features(3, NAMES).check(pd.DataFrame(X, columns=["b", "a", "c"]))
    wide = pd.DataFrame(np.ones((2, 7)), columns=[f"f{i}" for i in range(7)])
    with pytest.raises(InvalidInputError) as error:
        Features(3, NAMES).check(wide)
    assert str(error.value).splitlines()[1:] == [
        "Feature names unseen at fit time:", *(f"- f{i}" for i in range(5)), "- ...",
        "Feature names seen at fit time, yet now missing:", "- a", "- b", "- c",
    ]  # fmt: skip


BAD = {
    "one row alone": (X[0], InvalidInputError, r"Expected 2D array.*X\.reshape\(1, -1\)"),
    "three dimensions": (X[None], InvalidInputError, "dim 3"),
    "no rows": (X[:0], InvalidInputError, r"0 sample\(s\) \(shape=\(0, 3\)\)"),
    "no columns": (X[:, :0], InvalidInputError, r"0 feature\(s\)"),
    "too few": (X[:, :2], InvalidInputError, "X has 2 features, but Predictor is expecting 3"),
    "None": (None, InputTypeError, "X is None"),
    "complex": (X + 1j, InvalidInputError, "Complex data"),
    "words": (np.full((2, 3), "word"), InvalidInputError, "X must be numeric"),
    "ragged": ([[1, 2, 3], [1, 2]], InvalidInputError, "X must be numeric"),
    "dates": (np.zeros((2, 3), "M8[s]"), InputTypeError, "datetime64"),
    "NaN": (np.where(X == 5, np.nan, X), InvalidInputError, "NaN at row 1, column 2"),
    "integers beyond float32": (np.full((2, 3), 2**24 + 1), InvalidInputError, "16777217"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_table_of_numbers_is_refused_with_the_reason(case):
    given, kind, message = BAD[case]
    with pytest.raises(kind, match=message):
        Features(3).check(given)
