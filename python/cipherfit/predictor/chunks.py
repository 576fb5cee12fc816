"""Rows of any container, as many at a time as are worth holding in memory.

Predictions are small, and features may be more than memory holds. Memory maps, sparse matrices,
Arrow's tables and streams, and Dask's collections are gone through once, chunk by chunk. Lists and
data frames, which are in memory, are one chunk.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import chain
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cipherfit.exceptions import InvalidInputError
from cipherfit.predictor.ahead import read_ahead
from cipherfit.predictor.arrow import arrow_rows, is_arrow

Result = TypeVar("Result")

#: Values of a chunk. Rows come in multiples of what the core computes at once.
_VALUES, _ROWS = 1 << 19, 256
#: Bytes of all chunks that are held in memory rather than in a file.
_HELD_BYTES = 1 << 28


def each_chunk(X: Any, compute: Callable[[Any], Result]) -> Iterator[Result]:
    """Yield what is computed of some rows of X, then of the next ones.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features), Arrow data or Dask collection
        Rows.
    compute : callable
        Takes any container that `Features.check` or a `Preparation` takes.

    Raises
    ------
    InvalidInputError
        If X has no rows; and what `compute` raises, which names rows as X counts them.
    """
    chunks = _chunks(X)
    if chunks is None:
        yield compute(X)
        return
    first = 0
    for rows in chunks:
        if rows.shape[0]:
            yield _computed(compute, rows, first)
            first += int(rows.shape[0])
    if not first:
        raise InvalidInputError(f"this {type(X).__name__} gives no rows: X needs at least 1 sample")


def joined(parts: Iterator[NDArray[Any]], X: Any = None) -> NDArray[Any]:
    """Return results of chunks, all of one type, as one array.

    Each is copied while it is in a core's cache, and its memory goes to the next one.

    Parameters
    ----------
    parts : iterator of ndarray of shape (n, ...)
        The results.
    X : object, optional
        Rows that they are of, which may know how many they are.
    """
    whole = first = next(parts)
    n = len(first)
    for part in parts:
        if n + len(part) > len(whole):
            most = max(_known_rows(X), 2 * len(whole), n + len(part))
            grown = np.empty((most, *first.shape[1:]), first.dtype)
            grown[:n] = whole[:n]
            whole = grown
        whole[n : n + len(part)] = part
        n += len(part)
    return whole[:n]


def _known_rows(X: Any) -> int:
    n = next(iter(getattr(X, "shape", ())), 0)
    return n if isinstance(n, int) else 0


def stored(parts: Iterator[NDArray[Any]]) -> NDArray[Any]:
    """Return parts as one array, to be read often: in memory if they are few, else in a file.

    The file has no name, so that it goes with the array, and lies where `tempfile` puts files.
    """
    first = next(parts)
    held, n_bytes = [first], first.nbytes
    for part in parts:
        held.append(part)
        n_bytes += part.nbytes
        if n_bytes > _HELD_BYTES:
            break
    else:
        return joined(iter(held))
    with tempfile.TemporaryFile() as file:
        for part in chain(held, parts):
            part.tofile(file)
        return np.memmap(file, first.dtype, "r").reshape(-1, *first.shape[1:])


def as_rows(X: Any) -> Any:
    """Return one row of shape (n_features,) as a matrix, and all else as it is."""
    return X if is_arrow(X) or np.ndim(X) != 1 else np.asarray(X).reshape(1, -1)


def _computed(compute: Callable[[Any], Result], rows: Any, first: int) -> Result:
    try:
        return compute(rows)
    except InvalidInputError as error:
        raise error.of_rows_from(first) from error.__cause__


def _chunks(X: Any) -> Iterator[Any] | None:
    """Return what yields the rows of X; None where X is to be taken as it is."""
    if is_arrow(X):
        return arrow_rows(X, rows_of_width)
    if _is_dask(X):
        return chain.from_iterable(_chunks(block) or [block] for block in read_ahead(_blocks(X)))
    is_sparse = hasattr(X, "tocsr") and X.ndim == 2
    if not is_sparse and not (isinstance(X, np.ndarray) and X.dtype.kind in "biuf" and X.ndim > 1):
        return None
    most = rows_of_width(math.prod(X.shape[1:]))
    if X.shape[0] <= most:
        return None
    rows = X.tocsr() if is_sparse else X
    return (rows[first : first + most] for first in range(0, X.shape[0], most))


def rows_of_width(n_values: int) -> int:
    """Return the most rows of a chunk, each of so many values."""
    return max(_ROWS, _VALUES // max(1, n_values) // _ROWS * _ROWS)


def _is_dask(X: Any) -> bool:
    """Return whether X is a matrix or data frame of Dask's."""
    is_its_own = type(X).__module__.partition(".")[0] == "dask"
    return is_its_own and hasattr(X, "to_delayed") and getattr(X, "ndim", 1) > 1


def _blocks(X: Any) -> Iterator[Any]:
    """Yield the rows of a Dask collection as they are chunked.

    Small blocks are computed together, no more rows than are a chunk, since each call of Dask's
    takes its time.
    """
    compute = import_module("dask").compute
    if max(getattr(X, "numblocks", ())[1:], default=1) > 1:
        X = X.rechunk(dict.fromkeys(range(1, X.ndim), -1))
    blocks = np.ravel(X.to_delayed())
    known = getattr(X, "chunks", ((math.nan,) * len(blocks),))[0]
    first, rows, most = 0, 0.0, rows_of_width(math.prod(X.shape[1:]))
    for index, n_rows in enumerate(known):
        # Nothing is less than a number of rows that is not known.
        if index > first and not rows + n_rows <= most:
            yield from compute(*blocks[first:index])
            first, rows = index, 0.0
        rows += n_rows
    yield from compute(*blocks[first:])
