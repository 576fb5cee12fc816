"""Arrow's tables, streams and data sets as data frames of some rows, one after the other.

Nothing here imports pyarrow: who has such data has imported it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherfit.exceptions import InputTypeError, InvalidInputError

#: Rows of a matrix that are filled column by column while they are in a core's cache.
_ROWS_AT_ONCE = 4096


class ArrowRows:
    """A record batch with what predictors ask of a data frame.

    Parameters
    ----------
    batch : pyarrow.RecordBatch
        Some rows.

    Attributes
    ----------
    columns : tuple of str
        Names of the columns.
    shape : tuple of (int, int)
        Rows and columns.
    """

    def __init__(self, batch: Any) -> None:
        self._batch = batch
        self.columns = tuple(map(str, batch.schema.names))
        self.shape = (int(batch.num_rows), len(self.columns))
        if len({*self.columns}) < len(self.columns):
            twice = next(name for name in self.columns if self.columns.count(name) > 1)
            raise InvalidInputError(f"X has more than one column {twice!r}; give each another name")

    def __getitem__(self, name: str) -> ArrowColumn:
        """Return a column by its name."""
        return ArrowColumn(self._batch.column(self.columns.index(name)), name)

    def to_numpy(self) -> NDArray[Any]:
        """Return the numbers of all columns, shape (n_samples, n_columns).

        Raises
        ------
        InvalidInputError
            If a value is null.
        InputTypeError
            If a column holds no numbers.
        """
        columns = [self[name].numbers() for name in self.columns]
        if not columns:
            return np.empty(self.shape)
        matrix = np.empty(self.shape, np.result_type(*columns))
        for first in range(0, len(matrix), _ROWS_AT_ONCE):
            rows = slice(first, first + _ROWS_AT_ONCE)
            for index, column in enumerate(columns):
                matrix[rows, index] = column[rows]
        return matrix


class ArrowColumn:
    """A column of a record batch.

    Parameters
    ----------
    values : pyarrow.Array
        Its values.
    name : str
        Its name.
    """

    def __init__(self, values: Any, name: str) -> None:
        self._values = values.dictionary_decode() if hasattr(values, "dictionary") else values
        self._name = name

    def to_numpy(self) -> NDArray[Any]:
        """Return its values; null is NaN among numbers, and None elsewhere."""
        return np.asarray(self._values.to_numpy(zero_copy_only=False))

    def numbers(self) -> NDArray[Any]:
        """Return its values, all of which are numbers."""
        if self._values.null_count:
            row = int(np.flatnonzero(self._values.is_null().to_numpy(zero_copy_only=False))[0])
            raise InvalidInputError(
                "Input X contains null at row ",
                row,
                f", column {self._name!r}; impute missing values first",
            )
        values = self.to_numpy()
        if values.dtype.kind not in "biuf":
            raise InputTypeError(
                f"the column {self._name!r} of X has type {self._values.type}; it must be numeric"
            )
        return values


def is_arrow(X: Any) -> bool:
    """Return whether X holds, or gives, record batches of pyarrow's."""
    is_its_own = type(X).__module__.partition(".")[0] == "pyarrow"
    return is_its_own and _reader_of(X) is not None


def arrow_rows(X: Any, rows_of_width: Callable[[int], int]) -> Iterator[ArrowRows]:
    """Yield the rows of a table, record batch, reader, data set, scanner or Parquet file.

    Parameters
    ----------
    X : pyarrow object
        For which `is_arrow` holds.
    rows_of_width : callable
        Gives the most rows to yield at once, of so many columns.
    """
    read = _reader_of(X)
    if read is None:
        raise InputTypeError(f"{type(X).__name__} has no record batches")
    for batch in read(rows_of_width):
        most = rows_of_width(batch.num_columns)
        for first in range(0, batch.num_rows, most):
            yield ArrowRows(batch.slice(first, most))


Reader = Callable[[Callable[[int], int]], Any]


def _reader_of(X: Any) -> Reader | None:
    """Return what gives the record batches of X; None if there are none."""
    if hasattr(X, "iter_batches"):  # a Parquet file
        return lambda rows: X.iter_batches(batch_size=rows(len(X.schema_arrow)))
    if hasattr(X, "get_fragments"):  # a data set
        return lambda rows: _batches_of(X, rows(len(X.schema)))
    if hasattr(X, "to_batches"):  # a table, or the scanner of a data set
        return lambda _: X.to_batches()
    if hasattr(X, "read_next_batch"):  # a stream
        return lambda _: X
    if hasattr(X, "num_rows") and hasattr(X, "schema"):  # a record batch
        return lambda _: [X]
    return None


def _batches_of(dataset: Any, most: int) -> Iterator[Any]:
    """Yield the record batches of a data set.

    pyarrow reads ahead of who takes its batches, faster than they are taken: so it gets one row
    group after the other, but for a data set with a filter, which has no parts to ask for.
    """
    options = {"batch_size": most, "batch_readahead": 1, "fragment_readahead": 1}
    try:
        fragments = dataset.get_fragments()
    except ValueError:
        yield from dataset.to_batches(**options)
        return
    for fragment in fragments:
        splits = hasattr(fragment, "split_by_row_group")
        for part in fragment.split_by_row_group() if splits else [fragment]:
            yield from part.to_batches(schema=dataset.schema, **options)
