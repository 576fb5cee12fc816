"""What is wrong in rows that memory need not hold is named, from the start of the data."""

from __future__ import annotations

import threading

import numpy as np
import pandas as pd
import pytest
from row_containers import NAMES, N, X, predictor, table, with_value
from scipy import sparse

from cipherfit.exceptions import InputTypeError, InvalidInputError

pa = pytest.importorskip("pyarrow")
da = pytest.importorskip("dask.array")

pytestmark = pytest.mark.usefixtures("small_chunks")


def test_what_reading_raises_is_raised_and_nothing_is_read_after_the_last_answer(tmp_path):
    def broken(block):
        raise OSError("the disk is gone")

    rows = da.from_array(X, chunks=(250, -1)).map_blocks(broken, meta=X[:0])
    with pytest.raises(OSError, match="the disk is gone"):
        predictor().predict(rows)
    stream = table(with_value(np.nan, row=300)).to_reader(max_chunksize=256)
    with pytest.raises(InvalidInputError, match="NaN at row 300"):
        predictor(NAMES).predict(stream)
    left = stream.read_all().num_rows  # of 1500: two were answered, one was read ahead
    assert left == N - 3 * 256
    assert not [thread for thread in threading.enumerate() if "cipherfit-read" in thread.name]


def with_null():
    columns = {name: list(map(float, X[:, index])) for index, name in enumerate(NAMES)}
    columns["f2"][1234] = None
    return pa.table(columns)


BAD = {
    "NaN": (lambda: with_value(np.nan), "NaN at row 1234, column 2"),
    "infinity": (lambda: with_value(np.float32(np.inf)), "infinity at row 1234, column 2"),
    "NaN in a block": (
        lambda: da.from_array(with_value(np.nan), chunks=(500, 1)), "NaN at row 1234, column 2",
    ),
    "large integer": (
        lambda: with_value(np.int64(2**24 + 1)), r"X\[1234, 2\] = 16777217 can't be held",
    ),
    "NaN in a sparse matrix": (
        lambda: sparse.csr_matrix(with_value(np.nan)), "at row 1234, column 2",
    ),
    "null": (with_null, "null at row 1234, column 'f2'; impute"),
    "null in a stream": (lambda: with_null().to_reader(100), "null at row 1234, column 'f2'"),
    "other names": (
        lambda: table(names=["f0", "other", *NAMES[2:]]), "names unseen at fit time:\n- other",
    ),
    "a column twice": (
        lambda: table().append_column("f0", pa.array(X[:, 0])), "more than one column 'f0'",
    ),
    "no rows": (lambda: table(X[:0]), "this Table gives no rows"),
    "no rows in a block": (
        lambda: da.from_array(X, chunks=(500, -1))[da.from_array(X[:, 0]) > 99], "gives no rows",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_errors_name_rows_from_the_start_of_the_data(kind):
    rows, message = BAD[kind]
    rows = rows()
    answers = predictor(NAMES if type(rows).__module__.startswith("pyarrow") else None)
    with pytest.raises(InvalidInputError, match=message) as error:
        answers.predict(rows)
    assert error.value.row == (1234 if "1234" in message else None)


def test_columns_of_no_numbers_are_named():
    words = table().set_column(1, "f1", pa.array(["word"] * N))
    with pytest.raises(InputTypeError, match="column 'f1' of X has type string"):
        predictor(NAMES).predict(words)
    answers = table().set_column(1, "f1", pa.array(X[:, 1] > 0))
    as_numbers = X.copy()
    as_numbers[:, 1] = X[:, 1] > 0
    assert np.array_equal(predictor(NAMES).predict(answers), predictor().predict(as_numbers))


def test_integers_that_single_precision_rounds_are_only_refused_where_all_are_integers():
    large = np.full((N, len(NAMES)), 2**24 + 1)
    with pytest.raises(InvalidInputError, match="can't be held in float32"):
        predictor().predict(large)
    frame = pd.DataFrame(large, columns=NAMES)
    with pytest.raises(InvalidInputError, match="can't be held in float32"):
        predictor(NAMES).predict(frame)
    frame["f0"] = 0.5  # now pandas' own array of it is of floats
    assert len(predictor(NAMES).predict(frame)) == N
