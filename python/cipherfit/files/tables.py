"""Tables of features in files: CSV, NumPy's npy and Parquet in; answers as CSV out."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from cipherfit.exceptions import InvalidInputError, MissingDependencyError

_MOST_LISTED = 5


@dataclass(frozen=True)
class Column:
    """A column, as data frames have it.

    Parameters
    ----------
    cells : ndarray of shape (n_rows,)
        Numbers, or texts as objects; NaN where a cell was empty.
    """

    cells: NDArray[Any]

    def to_numpy(self) -> NDArray[Any]:
        """Return the cells."""
        return self.cells


@dataclass(frozen=True)
class Table:
    """Columns of cells, and their names where they have some.

    It is a data frame as far as predictors ask: `columns`, `to_numpy` and columns by name.

    Parameters
    ----------
    cells : sequence of ndarray of shape (n_rows,)
        The columns.
    columns : tuple of str, optional
        Their names.
    """

    cells: Sequence[NDArray[Any]]
    columns: tuple[str, ...] | None = None

    def to_numpy(self) -> NDArray[Any]:
        """Return the cells (n_rows, n_columns)."""
        return np.column_stack(self.cells)

    def __array__(self, dtype: Any = None, copy: Any = None) -> NDArray[Any]:
        """Return the cells, for NumPy."""
        return self.to_numpy().astype(dtype)

    @property
    def ndim(self) -> int:
        """Dimensions."""
        return 2

    def __len__(self) -> int:
        return len(self.cells[0])

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self.columns or ())

    def __getitem__(self, name: str) -> Column:
        """Return the column with a name."""
        return Column(self.cells[(self.columns or ()).index(name)])

    def select(self, names: Sequence[str] | None) -> Table:
        """Return the columns that a model asks for, in its order.

        Parameters
        ----------
        names : sequence of str, optional
            The model's feature names. Where one side has none, columns are taken as they come.

        Raises
        ------
        InvalidInputError
            If columns are missing.
        """
        if names is None:
            return Table(self.cells)
        if self.columns is None:
            if len(names) != len(self.cells):
                raise InvalidInputError(
                    f"the data have {len(self.cells)} columns without names, and the model takes "
                    f"{len(names)}: {_listed(names)}"
                )
            return Table(self.cells, tuple(names))
        places = {name: place for place, name in enumerate(self.columns)}
        missing = [name for name in names if name not in places]
        if missing:
            raise InvalidInputError(
                f"the data have no column {_listed(missing)}; their columns are "
                f"{_listed(self.columns)}"
            )
        return Table([self.cells[places[name]] for name in names], tuple(names))

    def numbered(self) -> Table:
        """Return it with names, the columns' numbers where it has none."""
        return Table(self.cells, self.columns or tuple(map(str, range(len(self.cells)))))

    def left_out(self, names: Sequence[str] | None) -> list[str]:
        """Return the names of columns that `select` drops."""
        if names is None or self.columns is None:
            return []
        return [column for column in self.columns if column not in set(names)]


def read_table(
    data: bytes,
    *,
    names: Sequence[str] | None = None,
    texts: bool = False,
    name: str = "the data",
) -> Table:
    """Read a table; what kind it is, its first bytes tell.

    Parameters
    ----------
    data : bytes
        CSV in UTF-8, with a header or without; npy; or Parquet, for which polars or pyarrow must be
        installed.
    names : sequence of str, optional
        The model's feature names: a first line that holds them is a header, even if they look like
        numbers.
    texts : bool, default=False
        Whether columns may hold texts. A first line of CSV is a header then if no cell of it is
        a number.
    name : str, default="the data"
        How errors call it.

    Returns
    -------
    Table

    Raises
    ------
    InvalidInputError
        If it can't be read, naming line and column of what is no number.
    MissingDependencyError
        If it is Parquet, and nothing that reads it is installed.
    """
    if data.startswith(b"\x93NUMPY"):
        return _from_npy(data, name)
    if data.startswith(b"PAR1"):
        return _from_parquet(data, texts, name)
    return _from_csv(data, names, texts, name)


def write_answers(stream: TextIO, header: Sequence[str], answers: NDArray[Any]) -> None:
    """Write answers as CSV.

    Parameters
    ----------
    stream : text stream
        Where to.
    header : sequence of str
        A name for each column.
    answers : ndarray of shape (n_rows,) or (n_rows, n_columns)
        Labels, targets or probabilities.
    """
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(answers.reshape(len(answers), -1).tolist())


def _from_npy(data: bytes, name: str) -> Table:
    try:
        values = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise InvalidInputError(f"{name} can't be read as npy: {error}") from error
    if values.ndim != 2 or not values.size or values.dtype.kind not in "biuf":
        raise InvalidInputError(
            f"{name} holds {values.dtype} of shape {values.shape}; a table is numbers of shape "
            "(n_rows, n_columns)"
        )
    return Table([*values.T])


def _from_parquet(data: bytes, texts: bool, name: str) -> Table:
    try:
        columns, values = _parquet(io.BytesIO(data))
    except ImportError as error:
        raise MissingDependencyError(
            f"{name} is Parquet, which polars or pyarrow reads, and neither is installed: "
            "pip install polars"
        ) from error
    except Exception as error:  # Each of the two raises errors of its own.
        raise InvalidInputError(f"{name} can't be read as Parquet: {error}") from error
    for column, cells in zip(columns, values, strict=True):
        if not texts and cells.dtype.kind not in "biuf":
            raise InvalidInputError(f"column {column!r} of {name} holds no numbers: {cells.dtype}")
    if not columns or not len(values[0]):
        raise InvalidInputError(f"{name} has no rows")
    return Table(values, columns)


def _parquet(stream: io.BytesIO) -> tuple[tuple[str, ...], list[NDArray[Any]]]:
    """Return names and columns, read by whichever of two libraries is installed."""
    try:
        import polars
    except ImportError:
        from pyarrow import parquet

        table = parquet.read_table(stream)
        columns = tuple(map(str, table.column_names))
        return columns, [column.to_numpy() for column in table.itercolumns()]
    frame = polars.read_parquet(stream)
    return tuple(frame.columns), [column.to_numpy() for column in frame.iter_columns()]


def _from_csv(data: bytes, names: Sequence[str] | None, texts: bool, name: str) -> Table:
    try:
        lines = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        rows = [(lines.line_num, line) for line in lines if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(f"{name} can't be read as CSV in UTF-8: {error}") from error
    if not rows:
        raise InvalidInputError(f"{name} is empty; give a table of CSV, npy or Parquet")
    columns = _header(rows[0], names, texts, name)
    if columns is not None:
        rows = rows[1:]
        if not rows:
            raise InvalidInputError(f"{name} has a header and no rows")
    width = len(rows[0][1] if columns is None else columns)
    for number, line in rows:
        if len(line) != width:
            raise InvalidInputError(
                f"line {number} of {name} has {len(line)} cells, and the first has {width}"
            )
    return Table(_numbers(rows, columns, name) if not texts else _typed(rows), columns)


def _header(
    first: tuple[int, list[str]], names: Sequence[str] | None, texts: bool, name: str
) -> tuple[str, ...] | None:
    """Return the names in a first line, or None where it holds numbers."""
    number, line = first
    cells = tuple(cell.strip() for cell in line)
    numeric = [_is_number(cell) for cell in cells if cell]
    if names is None or not set(names) <= set(cells):
        if all(numeric):
            return None
        if any(numeric) and texts:
            return None
        if any(numeric):
            raise InvalidInputError(
                f"line {number} of {name} holds numbers and words: a header names every column, "
                "and rows hold numbers alone"
            )
    doubles = sorted({cell for cell in cells if cells.count(cell) > 1})
    if doubles:
        raise InvalidInputError(f"the header of {name} has {_listed(doubles)} more than once")
    return cells


def _numbers(
    rows: list[tuple[int, list[str]]], columns: tuple[str, ...] | None, name: str
) -> list[NDArray[np.float64]]:
    """Return columns of numbers, or say which cell holds none."""
    try:
        return [*np.array([line for _, line in rows], dtype=np.float64).T]
    except ValueError:
        pass
    values = np.empty((len(rows), len(rows[0][1])))
    for place, (number, line) in enumerate(rows):
        for index, cell in enumerate(line):
            if cell.strip() and not _is_number(cell):
                column = f"column {index + 1}" if columns is None else f"column {columns[index]!r}"
                raise InvalidInputError(f"line {number}, {column} of {name}: {cell!r} is no number")
            values[place, index] = float(cell) if cell.strip() else np.nan
    return [*values.T]


def _typed(rows: list[tuple[int, list[str]]]) -> list[NDArray[Any]]:
    """Return columns of numbers where all cells are such or empty, and of texts else."""
    columns: list[NDArray[Any]] = []
    for cells in zip(*(line for _, line in rows), strict=True):
        if all(_is_number(cell) for cell in cells if cell.strip()):
            columns.append(np.array([float(cell) if cell.strip() else np.nan for cell in cells]))
        else:
            columns.append(np.array([cell or np.nan for cell in cells], dtype=object))
    return columns


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _listed(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > _MOST_LISTED else ""
    return ", ".join(map(repr, names[:_MOST_LISTED])) + more
