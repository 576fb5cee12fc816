"""Worker processes: each runs one request at a time, may end over it, and is replaced."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool

from pebble import ProcessExpired, ProcessPool

from cipherfit.serve import worker
from cipherfit.serve.logs import event

#: Keys whose worker is remembered.
_REMEMBERED = 4096
#: Tries to hand over a request: a worker that ended between two of them costs none.
_TRIES = 3


class WorkerDiedError(Exception):
    """A worker ended while it ran a request."""


class Worker:
    """A process, one at a time: if it ends, another takes its place.

    Parameters
    ----------
    setting : worker.Setting
        What it is started with.
    """

    def __init__(self, setting: worker.Setting) -> None:
        self._setting = setting
        self._turn = asyncio.Lock()
        self.waiting = 0
        self._pool = self._started()
        self._first = self._pool.schedule(worker.ready)

    @property
    def is_ready(self) -> bool:
        """Whether the first process was ready; a later one takes its place within seconds."""
        return self._first.done() and self._first.exception() is None

    async def run(self, path: str, frames: Sequence[bytes]) -> list[bytes]:
        """Run a request when its turn comes; cancelled, it ends the process that runs it.

        Raises
        ------
        WorkerDiedError
            If the process ended over it.
        """
        self.waiting += 1
        try:
            # A pool gets one request at a time, so that one that ends it takes no other along.
            async with self._turn:
                return await self._run(path, frames)
        finally:
            self.waiting -= 1

    def close(self) -> None:
        """End the process."""
        self._pool.stop()  # type: ignore[no-untyped-call]
        self._pool.join()

    async def _run(self, path: str, frames: Sequence[bytes]) -> list[bytes]:
        for _ in range(_TRIES):
            if not self._pool.active:
                # It ended while nothing ran.
                event("worker_renewed")
                self._pool.stop()  # type: ignore[no-untyped-call]
                self._pool = self._started()
            try:
                future = self._pool.schedule(worker.run, args=(path, frames))
                answers: list[bytes] = await asyncio.wrap_future(future)
            except BrokenProcessPool:
                continue
            except ProcessExpired as error:
                raise WorkerDiedError(f"exit code {error.exitcode}") from error
            return answers
        raise WorkerDiedError("no worker starts")

    def _started(self) -> ProcessPool:
        return ProcessPool(
            max_workers=1,
            initializer=worker.start,
            initargs=(self._setting,),
            context=multiprocessing.get_context("spawn"),
        )


class Workers:
    """Several of them; requests under one key go to one that has it ready.

    Parameters
    ----------
    setting : worker.Setting
        What each is started with.
    number : int
        How many.
    """

    def __init__(self, setting: worker.Setting, number: int) -> None:
        self._workers = [Worker(setting) for _ in range(number)]
        self._places: OrderedDict[str, int] = OrderedDict()

    @property
    def is_ready(self) -> bool:
        """Whether all can run."""
        return all(one.is_ready for one in self._workers)

    async def run(self, path: str, frames: Sequence[bytes]) -> list[bytes]:
        """Run a request: see `Worker.run`."""
        return await self._workers[self._place(path)].run(path, frames)

    def close(self) -> None:
        """End all."""
        for one in self._workers:
            one.close()

    def _place(self, path: str) -> int:
        """Return the worker that ran with a key last, unless it is busy while another is not."""
        waiting = [one.waiting for one in self._workers]
        idlest = waiting.index(min(waiting))
        place = self._places.pop(path, idlest)
        if waiting[place] and not waiting[idlest]:
            place = idlest
        self._places[path] = place
        while len(self._places) > _REMEMBERED:
            self._places.popitem(last=False)
        return place
