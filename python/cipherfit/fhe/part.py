"""What a worker needs to run encrypted rows, and what it keeps of that.

It is the server's part of a model, evaluation keys and encrypted rows: who holds them can compute
on rows, and read none.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from functools import cache
from typing import Any

import numpy as np
import threadpoolctl
from numpy.typing import NDArray

from cipherfit.fhe.handover import LeftAnswers, brief
from cipherfit.fhe.rows import RowServer
from cipherfit.fhe.runtime import fhe
from cipherfit.fhe.server_part import ServerPart

#: Models and keys that stay in a process: each pair takes about twice the bytes of its keys.
MOST_KEPT = 2


class SharedKeys:
    """Evaluation keys where a cluster has a store of its own that all of its workers read.

    Parameters
    ----------
    reference : ray.ObjectRef
        Of the bytes, as an array.
    """

    def __init__(self, reference: Any) -> None:
        self._reference = reference

    def array(self) -> NDArray[np.uint8]:
        """Return the bytes, which are not copied where they are on this machine."""
        import ray

        found: NDArray[np.uint8] = ray.get(self._reference)
        return found


class Kept:
    """Circuits with keys, ready to run: those that were used last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pairs: OrderedDict[tuple[str, str], tuple[RowServer, Any]] = OrderedDict()

    def put(self, part: ServerPart, key: str, rows: RowServer, keys: fhe.EvaluationKeys) -> None:
        """Keep what threads of this process will ask for."""
        with self._lock:
            self._pairs[part.name, key] = (rows, keys)

    def names(self) -> list[tuple[str, str]]:
        """Return what is kept: names of parts and of keys."""
        with self._lock:
            return list(self._pairs)

    def drop(self, part: ServerPart, key: str) -> None:
        """Keep it no longer, if it still is."""
        with self._lock:
            self._pairs.pop((part.name, key), None)

    def get(
        self, part: ServerPart, key: str, keys: NDArray[np.uint8] | SharedKeys | None
    ) -> tuple[RowServer, Any]:
        """Return what runs rows; threads that need the same wait for the one that makes it."""
        name = (part.name, key)
        with self._lock:
            pair = self._pairs.pop(name, None)
            if pair is None:
                while len(self._pairs) >= MOST_KEPT:
                    self._pairs.popitem(last=False)
                data = keys.array() if isinstance(keys, SharedKeys) else keys
                assert data is not None
                pair = part.row_server(), fhe.EvaluationKeys.deserialize(data.tobytes())
            self._pairs[name] = pair
            return pair


kept = Kept()


@cache
def _threads() -> threadpoolctl.ThreadpoolController:
    return threadpoolctl.ThreadpoolController()


def run_task(
    number: int,
    part: ServerPart,
    key: str,
    keys: NDArray[np.uint8] | SharedKeys | None,
    rows: list[bytes],
    folder: str | None = None,
) -> tuple[int, list[bytes] | LeftAnswers | Exception]:
    """Return encrypted answers to encrypted rows, computed on one core: a worker's task.

    An error is returned, since one that is raised takes the tasks of all other workers with it.

    Parameters
    ----------
    number : int
        Of the task; returned with the answers.
    part : ServerPart
        The circuit.
    key : str
        What the evaluation keys are called by.
    keys : ndarray of uint8 or SharedKeys, optional
        Their bytes; not needed in the process that encrypts.
    rows : list of bytes
        As they travel.
    folder : str, optional
        Where to leave the answers, instead of returning them.
    """
    try:
        server, evaluation_keys = kept.get(part, key, keys)
        with _threads().limit(limits=1):
            answers = server.run(rows, evaluation_keys)
        return number, answers if folder is None else LeftAnswers.of(answers, folder)
    except Exception as error:
        return number, brief(error)
