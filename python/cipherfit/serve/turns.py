"""Whose rows a worker runs next: tenants take turns, and rows under one key run together."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from cipherfit.serve.keys import Key


@dataclass(eq=False)
class Job:
    """A request: rows under a key, which are answered in their order.

    Parameters
    ----------
    key : Key
        What they are encrypted under.
    frames : sequence of bytes
        A row each.
    done : asyncio.Future
        Gets all answers.
    """

    key: Key
    frames: Sequence[bytes]
    done: asyncio.Future[list[bytes]]
    answers: list[bytes] = field(default_factory=list)
    #: Whether its rows run without those of others, since an error among them was someone's.
    is_alone: bool = False

    @property
    def n_left(self) -> int:
        """Rows without an answer."""
        return len(self.frames) - len(self.answers)


@dataclass(frozen=True)
class Batch:
    """Rows that run together.

    Parameters
    ----------
    key : Key
        What all are encrypted under.
    parts : list of (Job, int)
        Requests, and how many of the next rows of each.
    """

    key: Key
    parts: list[tuple[Job, int]]

    @property
    def jobs(self) -> list[Job]:
        """The requests."""
        return [job for job, _ in self.parts]

    @property
    def frames(self) -> list[bytes]:
        """The rows."""
        return [
            frame
            for job, number in self.parts
            for frame in job.frames[len(job.answers) : len(job.answers) + number]
        ]

    def answer(self, answers: Sequence[bytes]) -> None:
        """Give requests the answers to their rows."""
        start = 0
        for job, number in self.parts:
            job.answers += answers[start : start + number]
            start += number


class Turns:
    """Requests that wait for a worker.

    While others wait, a tenant has the worker for so many seconds and the batch that then runs. So
    nobody waits for longer than the turns of those who came before, however much these ask for.

    Parameters
    ----------
    rows : int
        Rows of a batch, at most.
    seconds : float
        Of a turn.
    """

    def __init__(self, rows: int, seconds: float) -> None:
        self._rows = rows
        self._seconds = seconds
        #: By tenant, in the order of their turns; of each in the order they came.
        self._jobs: OrderedDict[str, list[Job]] = OrderedDict()
        #: Who has the turn, under which key, and since when.
        self._turn: tuple[str, str, float] = ("", "", 0.0)

    @property
    def n_rows(self) -> int:
        """Rows that wait or run."""
        return sum(job.n_left for jobs in self._jobs.values() for job in jobs)

    def add(self, job: Job) -> None:
        """Take a request on."""
        self._jobs.setdefault(job.key.tenant, []).append(job)

    def discard(self, job: Job) -> None:
        """Forget a request, if it is here: it is answered, or no one waits for it any more."""
        jobs = self._jobs.get(job.key.tenant, [])
        if job in jobs:
            jobs.remove(job)
            if not jobs:
                del self._jobs[job.key.tenant]

    def take(self, now: float) -> Batch | None:
        """Return what runs next, at a time in seconds; None if nothing waits.

        Requests stay here until they are discarded.
        """
        if not self._jobs:
            return None
        holder, key, since = self._turn
        first = next(iter(self._jobs))
        is_over = now - since >= self._seconds
        if first == holder and is_over and len(self._jobs) > 1:
            self._jobs.move_to_end(first)
            first = next(iter(self._jobs))
        if first != holder:
            key, since = "", now
        elif is_over:
            key = ""
        jobs = self._jobs[first]
        # During a turn the key that is ready goes first: others have to be loaded.
        leader = next((job for job in jobs if job.key.id == key), jobs[0])
        self._turn = (first, leader.key.id, since)
        return self._batch(leader, jobs)

    def _batch(self, leader: Job, jobs: Sequence[Job]) -> Batch:
        parts, room = [], self._rows
        for job in [leader, *(job for job in jobs if job is not leader)]:
            joins = job.key.id == leader.key.id and not (leader.is_alone or job.is_alone)
            if room and (job is leader or joins):
                parts.append((job, min(room, job.n_left)))
                room -= parts[-1][1]
        return Batch(leader.key, parts)
