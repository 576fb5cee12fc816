"""Parts of data that are read while the one before them is computed with."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Part = TypeVar("Part")


def read_ahead(parts: Iterator[Part]) -> Generator[Part, None, None]:
    """Yield parts, while a thread takes the next one, and no more, from where they come.

    Parameters
    ----------
    parts : iterator
        Parts, none of which is None. All are taken in that thread.
    """
    with ThreadPoolExecutor(1, "cipherfit-read") as thread:
        coming = thread.submit(next, parts, None)
        while (part := coming.result()) is not None:
            coming = thread.submit(next, parts, None)
            yield part
