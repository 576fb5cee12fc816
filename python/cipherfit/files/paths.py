"""Files by name, where ``-`` is standard input or output."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from cipherfit.exceptions import SerializationError

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
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as new:
        try:
            new.write(data)
            new.close()
            mask = os.umask(0)
            os.umask(mask)
            Path(new.name).chmod(0o666 & ~mask)
            Path(new.name).replace(path)
        except BaseException:
            Path(new.name).unlink(missing_ok=True)
            raise


def called(source: str) -> str:
    """Return how errors call a source."""
    return "standard input" if source == "-" else source
