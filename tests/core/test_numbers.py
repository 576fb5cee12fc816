"""Numbers of every type, by rows and by columns: what they are in single precision counts."""

from __future__ import annotations

import numpy as np
import pytest
from core_graphs import random_parts

from cipherfit import IntegerGraph, twin
from cipherfit.exceptions import InputTypeError, InvalidInputError, InvalidParameterError

GRAPH = IntegerGraph.from_layers(**random_parts(3))
WHOLE = np.random.default_rng(0).integers(-3, 4, (700, GRAPH.n_features))
TYPES = ("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "g")


def as_type(dtype):
    halves = WHOLE + 0.375 if np.dtype(dtype).kind == "f" else WHOLE
    return (np.abs(halves) if np.dtype(dtype).kind in "u?" else halves).astype(dtype)


@pytest.mark.parametrize("dtype", TYPES)
def test_rows_and_columns_are_what_they_are_in_single_precision(dtype):
    X = as_type(dtype)
    single = X.astype(np.float32)
    codes, values = GRAPH.quantize(single), GRAPH.run(single)
    assert np.array_equal(codes, twin.quantize(GRAPH.to_dict(), single))
    assert np.array_equal(GRAPH.quantize(X, single=True), codes)
    assert np.array_equal(GRAPH.run(X, single=True), values)
    for columns in (list(X.T), [column.copy() for column in X.T], X.T.tolist(), X.T):
        assert np.array_equal(GRAPH.quantize_columns(columns), codes)
        assert np.array_equal(GRAPH.run_columns(columns), values)


def test_doubles_are_rounded_to_single_precision_only_where_that_is_asked_for():
    graph = GRAPH.to_dict()
    graph["input"] |= {"scale": np.ones(GRAPH.n_features), "zero_point": np.zeros(6, np.int64)}
    graph = IntegerGraph.from_layers(**graph)
    near = np.full((1, GRAPH.n_features), 1.5 - 1e-12)  # in single precision a tie, which is even
    assert graph.quantize(near)[0, 0] == 1
    assert graph.quantize(near, single=True)[0, 0] == 2
    assert graph.quantize_columns(near.T)[0, 0] == 2


def test_errors_of_lookups_are_those_that_simulate_gives_with_the_same_seed():
    codes = GRAPH.quantize(WHOLE)
    for p_error in (0.0, 0.3):
        options = {"p_error": p_error, "seed": 5}
        expected = GRAPH.dequantize(GRAPH.simulate(codes, **options))
        assert np.array_equal(GRAPH.run(WHOLE, **options), expected)
        assert np.array_equal(GRAPH.run(WHOLE, single=True, **options), expected)
        assert np.array_equal(GRAPH.run_columns(WHOLE.T, **options), expected)
    assert not np.array_equal(GRAPH.run(WHOLE, p_error=0.3), GRAPH.run(WHOLE, p_error=0.3))
    with pytest.raises(InvalidParameterError, match=r"p_error must be a probability in \[0, 1\]"):
        GRAPH.run(WHOLE, p_error=2)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.nan, "NaN at row 600, column 2; it must be finite"),
        (1e300, "at row 600, column 2, which single precision can't hold without loss"),
        (np.int64(2**24 + 1), "value 16777217 at row 600, column 2, which single precision"),
        (np.uint64(2**64 - 1), "value 18446744073709551615 at row 600, column 2"),
    ],
)
def test_what_single_precision_can_not_hold_is_named(value, text):
    X = np.abs(WHOLE).astype(np.asarray(value).dtype)
    X[600, 2] = value
    for call in (
        lambda: GRAPH.run(X, single=True),
        lambda: GRAPH.quantize(X, single=True),
        lambda: GRAPH.run_columns(X.T),
        lambda: GRAPH.quantize_columns(X.T),
    ):
        with pytest.raises(InvalidInputError, match=text):
            call()


def test_what_is_no_columns_of_the_features_is_refused():
    columns = list(WHOLE.T)
    for given, text in (
        (columns[1:], r"columns must have shape \(6, n\), got 5 columns"),
        (
            [*columns[1:], columns[0][1:]],
            r"columns must have shape \(6, 700\), got a column of 699",
        ),
        ([*columns[1:], WHOLE], r"a column must have shape \(n,\), got \(700, 6\)"),
    ):
        for call in (GRAPH.run_columns, GRAPH.quantize_columns):
            with pytest.raises(InvalidInputError, match=text):
                call(given)
    with pytest.raises(InputTypeError, match="a column must hold real numbers"):
        GRAPH.run_columns([*columns[1:], np.array(["word"] * 700)])
    with pytest.raises(InvalidInputError, match=r"X must have shape \(n, 6\), got \(700, 5\)"):
        GRAPH.run(WHOLE[:, 1:], single=True)
