"""Who runs encrypted rows: the workers of the joblib back end that is set, if they are there.

Asking a cluster takes as long as its scheduler takes to answer, which may be for ever: here it is
asked with a limit.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import joblib
from joblib import parallel

from cipherfit.exceptions import InvalidParameterError
from cipherfit.fhe.head import missed_head
from cipherfit.parameters import integer

#: More workers than anyone has.
MOST_JOBS = 1_000_000
#: Seconds that a scheduler may take to say who its workers are.
REACH_SECONDS = 30.0
#: Seconds between two looks at the connection to a scheduler.
LOOK_SECONDS = 1.0
#: Seconds until workers must be there again, after all of them, or their scheduler, have gone.
RETURN_SECONDS = 60.0


def n_workers(n_jobs: int | None) -> int:
    """Return how many workers are asked for; 0 where this process runs the rows by itself.

    Parameters
    ----------
    n_jobs : int or None
        As joblib has it: None is what the context says, -1 all cores.

    Raises
    ------
    Exception
        What a cluster's library raises if it can't be reached or has no workers.
    """
    if n_jobs is not None and not integer("n_jobs", n_jobs, -MOST_JOBS, MOST_JOBS):
        raise InvalidParameterError(
            "n_jobs=0 must be a number of workers, -1 for all cores, or None"
        )
    client = _dask_client()
    if client is not None:
        client.sync(client.scheduler.ncores, callback_timeout=REACH_SECONDS)
    missed = missed_head() if in_ray() else None
    if missed is not None:
        raise missed
    jobs = int(joblib.effective_n_jobs(n_jobs))
    return 0 if jobs == 1 else jobs  # joblib itself runs a single worker's tasks in this process


def returned_workers(n_jobs: int | None) -> Exception | None:
    """Wait until there are workers, and return None; or return why there are none in time."""
    # A head of Ray's that is gone is gone for this process.
    until = time.monotonic() + (0.0 if in_ray() else RETURN_SECONDS)
    while True:
        gone = _why_none(n_jobs)
        if gone is None or time.monotonic() > until:
            return gone
        time.sleep(1.0)


def _why_none(n_jobs: int | None) -> Exception | None:
    try:
        n_workers(n_jobs)
    except InvalidParameterError:
        raise
    except Exception as error:
        return error
    return None


@contextmanager
def watched(call: joblib.Parallel) -> Iterator[None]:
    """End a call once Dask's scheduler has been lost: what was on its way is, and nobody says so.

    Parameters
    ----------
    call : joblib.Parallel
        Which has streamed or will stream answers; joblib looks at its time limit all the time.
    """
    client = _dask_client()
    if client is None:
        yield
        return
    over, connection = Event(), client.scheduler_comm

    def watch() -> None:
        while not over.wait(LOOK_SECONDS):
            if client.scheduler_comm is None or client.scheduler_comm is not connection:
                call.timeout = 0.0
                return

    Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _dask_client() -> Any:
    """Return the client of Dask's that the back end has, if it is Dask's."""
    return getattr(backend(), "client", None)


def backend() -> Any:
    """Return joblib's active back end."""
    return parallel.get_active_backend()[0]


def in_threads() -> bool:
    """Tell whether workers are threads of this process."""
    return bool(getattr(backend(), "uses_threads", False))


def in_processes() -> bool:
    """Tell whether workers are processes that joblib starts on this machine."""
    return isinstance(backend(), parallel.LokyBackend)


def in_ray() -> bool:
    """Tell whether workers are Ray's."""
    return type(backend()).__module__.startswith("ray.")


def streams() -> bool:
    """Tell whether answers come one by one; with Ray and with forks they come all at once."""
    return bool(getattr(backend(), "supports_return_generator", False))
