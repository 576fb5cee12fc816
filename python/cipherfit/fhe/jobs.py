"""Encrypted rows by workers: those of the joblib back end that is set, on this machine or others.

Rows are encrypted here, and answers decrypted here. Workers get what `cipherfit.fhe.part` tells,
and may die over it: rows without an answer are sent again.
"""

from __future__ import annotations

import hashlib
import tempfile
import uuid
from collections.abc import Generator, Iterator
from contextlib import closing, nullcontext
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray

from cipherfit.costs import rows_per_task
from cipherfit.exceptions import CipherfitError, UnansweredRowsError
from cipherfit.fhe.encryption import decrypted_rows, encrypted_rows
from cipherfit.fhe.handover import LeftAnswers
from cipherfit.fhe.head import while_there
from cipherfit.fhe.latency import reference_seconds
from cipherfit.fhe.messages import output_template
from cipherfit.fhe.part import SharedKeys, kept, run_task
from cipherfit.fhe.runtime import fhe
from cipherfit.fhe.server_part import ServerPart
from cipherfit.fhe.workers import (
    backend,
    in_processes,
    in_ray,
    in_threads,
    n_workers,
    returned_workers,
    streams,
    watched,
)

Int64 = NDArray[np.int64]

#: How often workers may fail in a row, with not a single answer in between.
ATTEMPTS = 3
#: Seconds that workers may take to start and to get keys before the first answer, and, on this
#: machine, between two answers; beside them, how many times the modelled seconds rows may take.
#: Dask gives up workers that it doesn't hear from for 300 s, and has others run what they had.
START_SECONDS, QUIET_SECONDS, SLOWER = 330.0, 60.0, 50.0

#: Modelled seconds of each worker's rows that go out together where answers don't come one by one.
WAVE_SECONDS = 120.0


def shared_out(circuit: fhe.Circuit, rows: Int64, n_jobs: int | None) -> list[Int64]:
    """Return rows as workers get them, a task each; none where this process runs them by itself.

    Parameters
    ----------
    circuit : fhe.Circuit
        Of `compile_graph`.
    rows : ndarray of int
        Which rows to run.
    n_jobs : int or None
        As joblib has it.

    Raises
    ------
    UnansweredRowsError
        If there are no workers.
    """
    if not len(rows):
        return []
    gone = returned_workers(n_jobs)
    if gone is not None:
        raise _unanswered({0: rows}, "there are no workers", gone)
    workers = n_workers(n_jobs)
    if not workers:
        return []
    size = rows_per_task(circuit.rows.most_rows, len(rows), workers)
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def run_by_workers(
    circuit: fhe.Circuit, codes: Int64, pieces: list[Int64], n_jobs: int | None
) -> Generator[tuple[Int64, Int64], None, None]:
    """Yield rows and their decrypted sums, piece by piece as they come.

    Parameters
    ----------
    circuit : fhe.Circuit
        Of `compile_graph`, with keys.
    codes : ndarray of shape (n_samples, n_features)
        Quantized inputs.
    pieces : list of ndarray of int
        Which of them to run: a task each.
    n_jobs : int or None
        As joblib has it.

    Raises
    ------
    UnansweredRowsError
        If workers keep failing; it names the rows that have no answer.
    """
    left, failures = dict(enumerate(pieces)), 0
    with closing(Errand(circuit)) as errand:
        while left:
            before, first = len(left), next(iter(left))
            # Pieces over which workers die are found one by one: they take others with them.
            chosen = {first: left[first]} if failures else dict(left)
            error = yield from _attempt(errand, codes, left, chosen, n_jobs)
            if first in left:
                left[first] = left.pop(first)
            failures = 0 if len(left) < before else failures + 1
            if failures == ATTEMPTS:
                raise _unanswered(left, f"workers failed {ATTEMPTS} times over them", error)
            gone = None if error is None else returned_workers(n_jobs)
            if gone is not None:
                raise _unanswered(left, "there are no workers", gone)


def _attempt(
    errand: Errand,
    codes: Int64,
    left: dict[int, Int64],
    chosen: dict[int, Int64],
    n_jobs: int | None,
) -> Generator[tuple[Int64, Int64], None, Exception | None]:
    """Yield answers to chosen pieces, which are no longer left then; return what went wrong."""
    failed: Exception | None = None
    try:
        for number, answers in errand.run(codes, chosen, n_jobs):
            if isinstance(answers, CipherfitError):
                raise answers
            if isinstance(answers, Exception):
                failed = answers
            else:
                sums = errand.decrypted(answers)
                yield left.pop(number), sums
    except CipherfitError:
        raise
    except Exception as error:
        return error
    return failed


class Errand:
    """What all tasks of a run share, and the way to workers and back.

    Parameters
    ----------
    circuit : fhe.Circuit
        With keys.
    """

    def __init__(self, circuit: fhe.Circuit) -> None:
        self._client = circuit.client
        self._part = ServerPart.of(circuit)
        self._answer = output_template(self._client)
        self._seconds = reference_seconds(circuit)
        self._evaluation = circuit.keys.evaluation
        self._keys: NDArray[np.uint8] | SharedKeys | None = None
        self._folder = tempfile.TemporaryDirectory("-answers") if in_processes() else None
        if in_threads():
            self._key = uuid.uuid4().hex
            kept.put(self._part, self._key, circuit.rows, self._evaluation)
            return
        data = self._evaluation.serialize()
        self._key = hashlib.sha256(data).hexdigest()
        array = np.frombuffer(data, dtype=np.uint8)
        self._keys = _in_ray(array) if in_ray() else array

    def close(self) -> None:
        """Let go of what this process kept for its threads, or of what processes left."""
        if self._keys is None:
            kept.drop(self._part, self._key)
        if self._folder is not None:
            self._folder.cleanup()

    def run(
        self, codes: Int64, pieces: dict[int, Int64], n_jobs: int | None
    ) -> Iterator[tuple[int, list[bytes] | LeftAnswers | Exception]]:
        """Yield numbers of pieces, and what workers say to each, until one of them is lost."""
        # Some back ends hand over all answers at once: what is lost with a worker is bounded there.
        for wave in self._waves(pieces, n_jobs):
            slow = SLOWER * max(map(len, wave.values())) * self._seconds
            workers = joblib.Parallel(
                n_jobs=n_jobs,
                batch_size=1,
                return_as="generator_unordered" if streams() else "list",
                timeout=START_SECONDS + slow,
            )
            outcomes = self._sent(workers, self.tasks(codes, wave))
            with closing(outcomes) if streams() else nullcontext(), watched(workers):
                for number, outcome in outcomes:
                    if in_threads() or in_processes():
                        workers.timeout = QUIET_SECONDS + slow
                    yield number, outcome

    def _sent(self, workers: joblib.Parallel, tasks: Iterator[Any]) -> Any:
        """Return outcomes of tasks: as they come, or all of them."""
        if not in_ray():
            return workers(tasks)
        abort = backend().abort_everything
        return while_there(lambda: workers(tasks), lambda: abort(ensure_ready=False))

    def _waves(self, pieces: dict[int, Int64], n_jobs: int | None) -> Iterator[dict[int, Int64]]:
        """Yield pieces that go out together: all, or some minutes' worth."""
        numbers = list(pieces)
        step = len(numbers)
        if not streams():
            seconds = self._seconds * sum(map(len, pieces.values())) / len(pieces)
            step = n_workers(n_jobs) * max(1, int(WAVE_SECONDS / seconds))
        for start in range(0, len(numbers), step):
            yield {number: pieces[number] for number in numbers[start : start + step]}

    def tasks(self, codes: Int64, pieces: dict[int, Int64]) -> Iterator[Any]:
        """Yield what is sent: calls of `run_task`, as joblib takes them."""
        for number, piece in pieces.items():
            rows = encrypted_rows(self._client, codes[piece])
            folder = None if self._folder is None else self._folder.name
            yield joblib.delayed(run_task)(number, self._part, self._key, self._keys, rows, folder)

    def decrypted(self, answers: list[bytes] | LeftAnswers) -> Int64:
        """Return the sums (n, n_outputs) of encrypted answers."""
        if isinstance(answers, LeftAnswers):
            answers = answers.taken()
        return decrypted_rows(self._client, answers, self._answer)


def _in_ray(array: NDArray[np.uint8]) -> SharedKeys:
    """Put an array in Ray's store, from where each machine gets it once, and not with each task."""
    import ray

    return SharedKeys(ray.put(array))


def _unanswered(left: dict[int, Int64], why: str, error: Exception | None) -> UnansweredRowsError:
    rows = np.sort(np.concatenate(list(left.values()))).tolist()
    named = ", ".join(map(str, rows[:10])) + (", ..." if len(rows) > 10 else "")
    unanswered = UnansweredRowsError(
        f"{len(rows)} encrypted rows have no answer ({named}), since {why}, the last time with "
        f"{type(error).__name__}: {error}. The answers to all others are kept in this error's "
        "`sums`, where `rows` names those that are missing",
        rows,
    )
    unanswered.__cause__ = error
    return unanswered
