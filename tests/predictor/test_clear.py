"""Rows are computed with as they lie in memory, and however they lie the results are the same."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from circuits import network

from cipherfit.exceptions import InvalidInputError
from cipherfit.predictor.clear import Clear
from cipherfit.predictor.surroundings import Surroundings
from cipherfit.predictor.targets import RealTargets

GRAPH = network(n_features=8)
X = np.random.default_rng(0).uniform(-1, 4, (1500, 8)).astype(np.float32)
LAYOUTS = {
    "rows": X,
    "columns": np.asfortranarray(X),
    "every other row": np.repeat(X, 2, axis=0)[::2],
    "double": X.astype(np.float64),
    "list": X.tolist(),
    "frame": pd.DataFrame(X),
}


def clear(names=None):
    return Clear(GRAPH, Surroundings(RealTargets(2, False), (), names, None))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_codes_and_outputs_are_the_same_however_rows_lie(layout):
    rows = LAYOUTS[layout]
    assert np.array_equal(clear().codes(rows), GRAPH.quantize(X))
    assert np.array_equal(clear().outputs(rows), GRAPH.run(X))
    assert np.array_equal(clear().features(rows), X)


def test_columns_are_not_copied_into_rows(monkeypatch):
    monkeypatch.setattr(Clear, "features", lambda *_: pytest.fail("copied"))
    names = tuple("abcdefgh")
    rows = pd.DataFrame(X, columns=list(names))
    assert np.array_equal(clear(names).codes(rows), GRAPH.quantize(X))
    assert np.array_equal(clear().outputs(np.asfortranarray(X)), GRAPH.run(X))


@pytest.mark.parametrize("order", ["C", "F"])
def test_what_is_wrong_is_named_by_row_and_column(order):
    wrong = np.array(X, order=order)
    wrong[1234, 5] = np.nan
    with pytest.raises(InvalidInputError, match=r"row 1234.*column 5"):
        clear().codes(wrong)
