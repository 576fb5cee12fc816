"""Files by name, where ``-`` is standard input or output."""

from __future__ import annotations

import sys
from pathlib import Path

from cipherfit.exceptions import SerializationError
from cipherfit.predictor.container import write_file

#: Bytes that are read at most: several times the largest evaluation keys in use.
MAX_BYTES = 1 << 34


def read_bytes(source: str, *, limit: int = MAX_BYTES) -> bytes:
    """Return what is in a file, or all that comes on standard input.

    Parameters
    ----------
    source : str
        A path, or ``-``.
    limit : int, default=2**34
        Bytes that it may have.

    Raises
    ------
    SerializationError
        If it has more.
    """
    if source == "-":
        data = sys.stdin.buffer.read(limit + 1)
    else:
        with Path(source).open("rb") as file:
            data = file.read(limit + 1)
    if len(data) > limit:
        raise SerializationError(f"{called(source)} has more than {limit} bytes")
    return data


def write_bytes(target: str, data: bytes) -> None:
    """Write a file, whole or not at all, or to standard output.

    Parameters
    ----------
    target : str
        A path, or ``-``. A file that is there is replaced.
    data : bytes
        What to write.
    """
    if target == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    path = Path(target)
    if path.exists() and not path.is_file():  # such as /dev/stdout, which can't be replaced
        path.write_bytes(data)
        return
    write_file(path, data)


def called(source: str) -> str:
    """Return how errors call a source."""
    return "standard input" if source == "-" else source
