"""Worker processes: each runs one batch of rows at a time, may end over it, and is replaced."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress

from pebble import ProcessExpired, ProcessPool

from cipherfit.serve import worker
from cipherfit.serve.keys import Key
from cipherfit.serve.logs import event
from cipherfit.serve.turns import Batch, Job, Turns

#: Why a worker ended: over its request, or since that took too long.
DIED, LATE = "died", "late"
#: Called with a key, and why its worker ended.
NoteDeath = Callable[[Key, str], None]

#: Keys whose worker is remembered.
_REMEMBERED = 4096
#: Tries to hand over a batch: a worker that ended between two of them costs none.
_TRIES = 3
#: Seconds for which a tenant has a worker while others wait: keys take one or two to load.
_TURN_SECONDS = 5.0


class WorkerDiedError(Exception):
    """A worker ended while it ran a request."""


class Worker:
    """A process, one at a time: if it ends, another takes its place.

    Made within the event loop that it is used in.

    Parameters
    ----------
    setting : worker.Setting
        What it is started with.
    rows : int
        Rows of a batch, at most.
    note_death : callable
        Called with a key, and why its worker ended.
    """

    def __init__(self, setting: worker.Setting, rows: int, note_death: NoteDeath) -> None:
        self._setting = setting
        self._note_death = note_death
        self._turns = Turns(rows, _TURN_SECONDS)
        self._came = asyncio.Event()
        self._batch: Batch | None = None
        self._call: asyncio.Future[list[bytes]] | None = None
        self._pool = self._started()
        self._first = self._pool.schedule(worker.ready)
        self._task = asyncio.create_task(self._work())

    @property
    def is_ready(self) -> bool:
        """Whether the first process was ready; a later one takes its place within seconds."""
        return self._first.done() and self._first.exception() is None

    @property
    def n_rows(self) -> int:
        """Rows that wait or run."""
        return self._turns.n_rows

    async def run(self, key: Key, frames: Sequence[bytes]) -> list[bytes]:
        """Run a request when its turns come; cancelled, it ends the process if that runs it.

        Raises
        ------
        WorkerDiedError
            If the process ended over it, or over rows that ran with it.
        """
        job = Job(key, frames, asyncio.get_running_loop().create_future())
        self._turns.add(job)
        self._came.set()
        try:
            return await job.done
        finally:
            self._turns.discard(job)
            if self._call is not None and self._batch is not None and job in self._batch.jobs:
                self._call.cancel()

    async def close(self) -> None:
        """End the process."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        self._pool.stop()  # type: ignore[no-untyped-call]
        self._pool.join()

    async def _work(self) -> None:
        while True:
            self._batch = self._turns.take(time.monotonic())
            if self._batch is None:
                self._came.clear()
                await self._came.wait()
                continue
            try:
                answers = await self._answers(self._batch)
            except Exception as error:
                self._fail(self._batch, error)
            else:
                self._hand_out(self._batch, answers)
            finally:
                self._batch = self._call = None

    async def _answers(self, batch: Batch) -> list[bytes] | None:
        """Return the answers to a batch, or None if it was ended."""
        for _ in range(_TRIES):
            if not self._pool.active:
                # It ended while nothing ran.
                event("worker_renewed")
                self._pool.stop()  # type: ignore[no-untyped-call]
                self._pool = self._started()
            try:
                # A pool gets one batch at a time, so that one that ends it takes no other along.
                work = self._pool.schedule(worker.run, args=(str(batch.key.path), batch.frames))
                self._call = asyncio.wrap_future(work)
                await asyncio.wait([self._call])
                return None if self._call.cancelled() else self._call.result()
            except BrokenProcessPool:
                continue
            except ProcessExpired as error:
                raise WorkerDiedError(f"exit code {error.exitcode}") from error
        raise WorkerDiedError("no worker starts")

    def _hand_out(self, batch: Batch, answers: list[bytes] | None) -> None:
        if answers is None:
            # What ran with the request that took too long runs again, without it.
            self._note_death(batch.key, LATE)
            event("worker_ended", tenant=batch.key.tenant, key=batch.key.id[:12])
            return
        batch.answer(answers)
        for job in batch.jobs:
            if not job.n_left:
                self._turns.discard(job)
                if not job.done.done():
                    job.done.set_result(job.answers)

    def _fail(self, batch: Batch, error: Exception) -> None:
        if isinstance(error, WorkerDiedError):
            self._note_death(batch.key, DIED)
            event("worker_died", tenant=batch.key.tenant, key=batch.key.id[:12], how=str(error))
        elif len(batch.parts) > 1:
            # One of them is wrong: each runs again by itself.
            for job in batch.jobs:
                job.is_alone = True
            return
        for job in batch.jobs:
            self._turns.discard(job)
            if not job.done.done():
                job.done.set_exception(error)

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
    rows : int
        Rows of a batch, at most.
    note_death : callable
        Called with a key, and why its worker ended.
    """

    def __init__(
        self, setting: worker.Setting, number: int, rows: int, note_death: NoteDeath
    ) -> None:
        self._workers = [Worker(setting, rows, note_death) for _ in range(number)]
        self._places: OrderedDict[str, int] = OrderedDict()

    @property
    def is_ready(self) -> bool:
        """Whether all can run."""
        return all(one.is_ready for one in self._workers)

    async def run(self, key: Key, frames: Sequence[bytes]) -> list[bytes]:
        """Run a request: see `Worker.run`."""
        return await self._workers[self._place(str(key.path))].run(key, frames)

    async def close(self) -> None:
        """End all."""
        for one in self._workers:
            await one.close()

    def _place(self, path: str) -> int:
        """Return the worker that ran with a key last, unless it is busy while another is not."""
        waiting = [one.n_rows for one in self._workers]
        idlest = waiting.index(min(waiting))
        place = self._places.pop(path, idlest)
        if waiting[place] and not waiting[idlest]:
            place = idlest
        self._places[path] = place
        while len(self._places) > _REMEMBERED:
            self._places.popitem(last=False)
        return place
