"""A network with encrypted lookups as a service has it: templates in front, workers behind."""

from __future__ import annotations

import os
from collections.abc import Sequence
from mmap import ACCESS_READ, mmap
from pathlib import Path

from cipherfit.exceptions import CipherfitError
from cipherfit.fhe.messages import Templates
from cipherfit.fhe.server_part import ServerPart
from cipherfit.serve.frames import OVERHEAD
from cipherfit.serve.keys import Key
from cipherfit.serve.refusals import RefusedError, unknown_key, unprocessable
from cipherfit.serve.worker import Setting
from cipherfit.serve.workers import NoteDeath, WorkerDiedError, Workers


class ConcreteModel:
    """A network that Concrete runs, in worker processes.

    This process compares bytes with templates and moves them; it never gives them to Concrete.

    Parameters
    ----------
    name, digest : str
        As people call it, and as clients pin it.
    n_features : int
        Features of a row, before the client's layers.
    client : bytes
        The client's file.
    part : ServerPart
        The compiled circuit.
    templates : Templates
        What keys, rows and answers look like.
    max_rows : int
        Rows of a request, at most.
    batch_rows : int
        Rows that run together, at most.
    workers : int
        Processes.
    worker_bytes : int
        Memory of each.
    note_death : callable
        Called with a key, and why its worker ended.
    """

    backend = "concrete"

    def __init__(
        self,
        *,
        name: str,
        digest: str,
        n_features: int,
        client: bytes,
        part: ServerPart,
        templates: Templates,
        max_rows: int,
        batch_rows: int,
        workers: int,
        worker_bytes: int,
        note_death: NoteDeath,
    ) -> None:
        self.name = name
        self.digest = digest
        self.n_features = n_features
        self.client = client
        self.fits = part.specs
        self.key_bytes = templates.keys.length
        self.max_frames = max_rows
        self.max_body = OVERHEAD + max_rows * (OVERHEAD + templates.input.length)
        self._templates = templates
        self._note_death = note_death
        self._setting = Setting(part, memory_bytes=worker_bytes, parent=os.getpid())
        self._n_workers = workers
        self._batch_rows = batch_rows
        self._workers: Workers | None = None

    def start(self) -> None:
        """Start the workers; within the event loop that requests run in."""
        self._workers = Workers(self._setting, self._n_workers, self._batch_rows, self._note_death)

    @property
    def is_ready(self) -> bool:
        """Whether its workers have compiled it."""
        return self._workers is not None and self._workers.is_ready

    def check_keys(self, path: Path) -> None:
        """Refuse a file that is not laid out as this circuit's evaluation keys are."""
        try:
            # Keys are large, and many may come at a time: all but some hundred bytes stay on disk.
            with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
                self._templates.check_keys(data)
        except CipherfitError as error:
            raise unprocessable("keys", str(error)) from error

    def check_frames(self, frames: Sequence[bytes]) -> None:
        """Refuse a frame that is not laid out as this circuit's encrypted rows are."""
        try:
            for frame in frames:
                self._templates.check_input(frame)
        except CipherfitError as error:
            raise unprocessable("rows", str(error)) from error

    async def run(self, key: Key, frames: Sequence[bytes]) -> list[bytes]:
        """Return the encrypted answers to encrypted rows."""
        if self._workers is None:
            raise RefusedError(503, "not_ready", "workers are starting", {"Retry-After": "2"})
        try:
            return await self._workers.run(key, frames)
        except WorkerDiedError as error:
            raise RefusedError(503, "worker_died", "the worker ended over this request") from error
        except FileNotFoundError as error:
            raise unknown_key(key.id) from error
        except MemoryError as error:
            raise RefusedError(503, "memory", "the worker's memory doesn't suffice") from error
        except (RuntimeError, ValueError) as error:
            raise unprocessable("rows", "Concrete can't run these rows with this key") from error

    async def close(self) -> None:
        """End the workers."""
        if self._workers is not None:
            await self._workers.close()
