"""Ray's head: once it is gone no worker answers, and nobody says so.

Ray goes on waiting for it, and ends this process a minute later. So who waits for workers looks
after the head, too: by a connection, since Ray's own questions to it may wait with the rest.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from concurrent.futures import Future, wait
from threading import Thread
from typing import TypeVar

Result = TypeVar("Result")

#: Seconds between two looks, and how often in a row the head must be missed.
LOOK_SECONDS, MISSES = 2.0, 3


def missed_head() -> ConnectionError | None:
    """Return why Ray's head is not there; None if it is, or this process has not its address."""
    import ray

    address = str(getattr(ray.get_runtime_context(), "gcs_address", ""))
    host, colon, port = address.rpartition(":")
    if not colon:
        return None
    try:
        socket.create_connection((host, int(port)), timeout=LOOK_SECONDS).close()
    except OSError as error:
        return ConnectionError(
            f"Ray's head is gone ({address}: {error}), and Ray ends this process soon"
        )
    return None


def while_there(call: Callable[[], Result], abort: Callable[[], None]) -> Result:
    """Return what a call returns that waits for workers, as long as Ray's head is there.

    Parameters
    ----------
    call : callable
        Made in a thread, which is left alone once the head is gone.
    abort : callable
        Ends the call where its caller is interrupted.

    Raises
    ------
    ConnectionError
        If the head is gone.
    """
    made: Future[Result] = Future()
    Thread(target=_make, args=(call, made), daemon=True).start()
    missed: list[ConnectionError] = []
    try:
        while len(missed) < MISSES:
            if wait([made], LOOK_SECONDS).done:
                return made.result()
            error = missed_head()
            missed = [] if error is None else [*missed, error]
    except BaseException:
        if not made.done():
            abort()
        raise
    raise missed[-1]


def _make(call: Callable[[], Result], made: Future[Result]) -> None:
    try:
        made.set_result(call())
    except BaseException as error:
        made.set_exception(error)
