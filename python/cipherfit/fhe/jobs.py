"""Encrypted rows by workers: those of the joblib back end that is set, on this machine or others.

Rows are encrypted here, and answers decrypted here. Workers get what `cipherfit.fhe.part` tells,
and may die over it: rows without an answer are sent again.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Generator, Iterator
from contextlib import closing, nullcontext
from typing import Any

import joblib
import numpy as np
from joblib import parallel
from numpy.typing import NDArray

from cipherfit.exceptions import CipherfitError, InvalidParameterError, UnansweredRowsError
from cipherfit.fhe.latency import reference_seconds
from cipherfit.fhe.messages import output_template
from cipherfit.fhe.part import ServerPart, SharedKeys, kept, run_task
from cipherfit.fhe.runtime import fhe
from cipherfit.parameters import integer

Int64 = NDArray[np.int64]

#: More workers than anyone has.
MOST_JOBS = 1_000_000
#: How often workers may fail in a row, with not a single answer in between.
ATTEMPTS = 3
#: Seconds that a worker may take to start and to get keys, and how many times the modelled seconds
#: its rows may take, before it counts as one that never answers.
START_SECONDS, SLOWER = 300.0, 50.0

#: Modelled seconds of each worker's rows that go out together where answers don't come one by one.
WAVE_SECONDS = 120.0

#: Back ends of which a single worker is this process, or gains nothing over it.
_LOCAL = (
    parallel.LokyBackend,
    parallel.ThreadingBackend,
    parallel.MultiprocessingBackend,
    parallel.SequentialBackend,
)


def n_workers(n_jobs: int | None) -> int:
    """Return how many workers are asked for; 0 where this process runs the rows by itself.

    Parameters
    ----------
    n_jobs : int or None
        As joblib has it: None is what the context says, -1 all cores.
    """
    if n_jobs is not None and not integer("n_jobs", n_jobs, -MOST_JOBS, MOST_JOBS):
        raise InvalidParameterError(
            "n_jobs=0 must be a number of workers, -1 for all cores, or None"
        )
    jobs = int(joblib.effective_n_jobs(n_jobs))
    return 0 if jobs == 1 and isinstance(_backend(), _LOCAL) else jobs


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
                raise _unanswered(left, error) from error


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
                yield left.pop(number), errand.decrypted(answers)
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
        self._circuit = circuit
        self._part = ServerPart.of(circuit)
        self._answer = output_template(circuit.client)
        self._seconds = reference_seconds(circuit)
        self._evaluation = circuit.keys.evaluation
        self._keys: NDArray[np.uint8] | SharedKeys | None = None
        backend = _backend()
        if getattr(backend, "uses_threads", False):
            self._key = uuid.uuid4().hex
            kept.put(self._part, self._key, circuit.rows, self._evaluation)
            return
        data = self._evaluation.serialize()
        self._key = hashlib.sha256(data).hexdigest()
        array = np.frombuffer(data, dtype=np.uint8)
        self._keys = _in_ray(array) if type(backend).__module__.startswith("ray.") else array

    def close(self) -> None:
        """Let go of what this process kept for its threads."""
        if self._keys is None:
            kept.drop(self._part, self._key)

    def run(
        self, codes: Int64, pieces: dict[int, Int64], n_jobs: int | None
    ) -> Iterator[tuple[int, list[bytes] | Exception]]:
        """Yield numbers of pieces, and what workers say to each, until one of them is lost."""
        # Some back ends hand over all answers at once: what is lost with a worker is bounded there.
        for wave in self._waves(pieces, n_jobs):
            most = max(map(len, wave.values()))
            workers = joblib.Parallel(
                n_jobs=n_jobs,
                batch_size=1,
                return_as="generator_unordered" if _streams() else "list",
                timeout=START_SECONDS + SLOWER * most * self._seconds,
            )
            outcomes = workers(self.tasks(codes, wave))
            with closing(outcomes) if _streams() else nullcontext():
                yield from outcomes

    def _waves(self, pieces: dict[int, Int64], n_jobs: int | None) -> Iterator[dict[int, Int64]]:
        """Yield pieces that go out together: all, or some minutes' worth."""
        n_rows = sum(map(len, pieces.values()))
        seconds = self._seconds * n_rows / len(pieces)
        size = n_workers(n_jobs) * max(1, int(WAVE_SECONDS / seconds))
        numbers = list(pieces)
        step = len(numbers) if _streams() else size
        for start in range(0, len(numbers), step):
            yield {number: pieces[number] for number in numbers[start : start + step]}

    def tasks(self, codes: Int64, pieces: dict[int, Int64]) -> Iterator[Any]:
        """Yield what is sent: calls of `run_task`, as joblib takes them."""
        for number, piece in pieces.items():
            rows = [bytes(self._circuit.encrypt(row).serialize()) for row in codes[piece]]
            yield joblib.delayed(run_task)(number, self._part, self._key, self._keys, rows)

    def decrypted(self, answers: list[bytes]) -> Int64:
        """Return the sums (n, n_outputs) of encrypted answers."""
        for answer in answers:
            self._answer.check(answer)  # Concrete trusts what it is given
        decrypt = self._circuit.decrypt
        return np.array([decrypt(fhe.Value.deserialize(answer)) for answer in answers])


def _backend() -> Any:
    return parallel.get_active_backend()[0]


def _streams() -> bool:
    """Tell whether answers come one by one; with Ray and with forks they come all at once."""
    return bool(getattr(_backend(), "supports_return_generator", False))


def _in_ray(array: NDArray[np.uint8]) -> SharedKeys:
    """Put an array in Ray's store, from where each machine gets it once, and not with each task."""
    import ray

    return SharedKeys(ray.put(array))


def _unanswered(left: dict[int, Int64], error: Exception | None) -> UnansweredRowsError:
    rows = np.sort(np.concatenate(list(left.values()))).tolist()
    named = ", ".join(map(str, rows[:10])) + (", ..." if len(rows) > 10 else "")
    return UnansweredRowsError(
        f"{len(rows)} encrypted rows have no answer ({named}), since workers failed {ATTEMPTS} "
        f"times over them, the last time with {type(error).__name__}: {error}. The answers to all "
        "others are kept in this error's `sums`, where `rows` names those that are missing",
        rows,
    )
