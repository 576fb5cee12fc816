"""Arrow's tables, streams and data sets as data frames of some rows, one after the other.

Nothing here imports pyarrow: who has such data has imported it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherfit.exceptions import InputTypeError, InvalidInputError
from cipherfit.predictor.ahead import read_ahead

#: Rows of a matrix that are filled column by column while they are in a core's cache.
_ROWS_AT_ONCE = 4096
#: How many times the rows of a chunk are decoded at once: fewer take longer.
_DECODED = 8

#: Gives the most rows to yield at once, of so many columns.
RowsOfWidth = Callable[[int], int]
#: Gives record batches.
Reader = Callable[[RowsOfWidth], Iterable[Any]]


class ArrowRows:
    """A record batch with what predictors ask of a data frame.

    Parameters
    ----------
    batch : pyarrow.RecordBatch
        Some rows.
    names : tuple of str, optional
        Names of its columns, where they are known.
    arrays : list of ndarray of shape (n_samples,), optional
        Its columns as they lie in memory, where that is known.

    Attributes
    ----------
    columns : tuple of str
        Names of the columns.
    shape : tuple of (int, int)
        Rows and columns.
    """

    def __init__(
        self,
        batch: Any,
        names: tuple[str, ...] | None = None,
        arrays: list[NDArray[Any]] | None = None,
    ) -> None:
        self._batch, self._arrays = batch, arrays
        self.columns = tuple(map(str, batch.schema.names)) if names is None else names
        self.shape = (int(batch.num_rows), len(self.columns))
        if names is None and len({*self.columns}) < len(self.columns):
            twice = next(name for name in self.columns if self.columns.count(name) > 1)
            raise InvalidInputError(f"X has more than one column {twice!r}; give each another name")

    def parts(self, most: int) -> Iterator[ArrowRows]:
        """Yield its rows, so many at a time."""
        lying = _lying(self._batch) if self.shape[0] > most else None
        for first in range(0, self.shape[0], most):
            arrays = None if lying is None else [array[first : first + most] for array in lying]
            yield ArrowRows(self._batch.slice(first, most), self.columns, arrays)

    def __getitem__(self, name: str) -> ArrowColumn:
        """Return a column by its name."""
        return ArrowColumn(self._batch.column(self.columns.index(name)), name)

    def arrays(self) -> list[NDArray[Any]] | None:
        """Return the values of all columns; None if one is missing."""
        if self._arrays is not None:
            return self._arrays
        if any(values.null_count for values in self._batch.columns):
            return None
        return [ArrowColumn(values, "").to_numpy() for values in self._batch.columns]

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


def arrow_rows(X: Any, rows_of_width: RowsOfWidth) -> Iterator[ArrowRows]:
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
    batches = iter(read(rows_of_width))
    for batch in batches if hasattr(X, "num_rows") else read_ahead(batches):
        yield from ArrowRows(batch).parts(rows_of_width(batch.num_columns))


def _reader_of(X: Any) -> Reader | None:
    """Return what gives the record batches of X; None if there are none."""
    if hasattr(X, "iter_batches"):  # a Parquet file
        return lambda rows: _batches_of_file(X, rows)
    if hasattr(X, "get_fragments"):  # a data set
        return lambda rows: _batches_of(X, rows)
    if hasattr(X, "to_batches"):  # a table, or the scanner of a data set
        return lambda _: X.to_batches()
    if hasattr(X, "read_next_batch"):  # a stream
        return lambda _: X
    if hasattr(X, "num_rows") and hasattr(X, "schema"):  # a record batch
        return lambda _: [X]
    return None


def _batches_of(dataset: Any, rows_of_width: RowsOfWidth) -> Iterator[Any]:
    """Yield the record batches of a data set.

    pyarrow's threads read ahead of who takes its batches, faster than they are taken, and what is
    buffered before it is decoded is kept to the end of a file. So it gets one row group after the
    other; and where there is a filter, so that there are no parts to ask for, it reads when it is
    asked for more, and buffers nothing. Files with no more and no less than the columns of the data
    set are read as such, which costs less.
    """
    most = rows_of_width(len(dataset.schema))
    options: dict[str, Any] = {"batch_size": most, "batch_readahead": 1, "fragment_readahead": 1}
    try:
        fragments = dataset.get_fragments()
    except ValueError:
        if _is_parquet(dataset):
            from pyarrow.dataset import ParquetFragmentScanOptions

            options["fragment_scan_options"] = ParquetFragmentScanOptions(pre_buffer=False)
        yield from dataset.to_batches(**options, use_threads=False)
        return
    for fragment in fragments:
        if _is_parquet(fragment) and fragment.physical_schema.equals(dataset.schema):
            from pyarrow.parquet import ParquetFile

            groups = [group.id for group in fragment.row_groups]
            with ParquetFile(fragment.open()) as file:
                yield from _batches_of_file(file, rows_of_width, groups)
            continue
        splits = hasattr(fragment, "split_by_row_group")
        for part in fragment.split_by_row_group() if splits else [fragment]:
            yield from part.to_batches(schema=dataset.schema, **options)


def _batches_of_file(
    file: Any, rows_of_width: RowsOfWidth, groups: Iterable[int] | None = None
) -> Iterator[Any]:
    """Yield the record batches of a Parquet file: row groups, or parts of large ones."""
    most = _DECODED * rows_of_width(len(file.schema_arrow))
    for group in range(file.num_row_groups) if groups is None else groups:
        if file.metadata.row_group(group).num_rows <= most:
            yield from file.read_row_group(group).to_batches()
        else:
            yield from file.iter_batches(batch_size=most, row_groups=[group])


def _is_parquet(data: Any) -> bool:
    """Return whether a data set, or a file of one, is of Parquet."""
    return getattr(getattr(data, "format", None), "default_extname", None) == "parquet"


def _lying(batch: Any) -> list[NDArray[Any]] | None:
    """Return the columns of a batch where they lie in memory; None where one would be copied."""
    if any(values.null_count for values in batch.columns):
        return None
    try:
        return [values.to_numpy(zero_copy_only=True) for values in batch.columns]
    except ValueError:  # as pyarrow's errors are
        return None
