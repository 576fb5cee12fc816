"""What a service answers with: models, and what is admitted to each."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import anyio.to_thread

from cipherfit import _core
from cipherfit.exceptions import CipherfitError
from cipherfit.serve.frames import OVERHEAD
from cipherfit.serve.keys import Key
from cipherfit.serve.refusals import unprocessable

#: Public keys of BFV clients that are held ready; each takes some tens of kilobytes.
_READY_KEYS = 512


class ServedModel(Protocol):
    """A model, and what is admitted to it."""

    name: str
    digest: str
    backend: str
    n_features: int
    #: The client's file.
    client: bytes
    #: What keys are made for: keys of another model with the same `fits` do, too.
    fits: str
    #: Bytes that evaluation keys have.
    key_bytes: int
    #: Frames of a request, and bytes of its body, at most.
    max_frames: int
    max_body: int

    def check_keys(self, path: Path) -> None:
        """Refuse a file that is no evaluation keys for this model."""

    def check_frames(self, frames: Sequence[bytes]) -> None:
        """Refuse frames that are no rows for this model, before the back end sees them."""

    async def run(self, key: Key, frames: Sequence[bytes]) -> list[bytes]:
        """Return the encrypted answers to encrypted rows."""

    def start(self) -> None:
        """Start what runs for it; within the event loop that requests run in."""

    @property
    def is_ready(self) -> bool:
        """Whether it can answer now."""

    async def close(self) -> None:
        """End what runs for it."""


class BfvModel:
    """A network without encrypted lookups: it answers in this process, in milliseconds.

    Its Rust code checks every byte and lets other threads run: it needs no worker processes.

    Parameters
    ----------
    name, digest : str
        As people call it, and as clients pin it.
    n_features : int
        Features of a row, before the client's layers.
    client : bytes
        The client's file.
    server : bytes
        The server's part, as `BfvServer.serialize` returns it.
    max_rows : int
        Rows of a request, at most.
    """

    backend = "bfv"
    max_frames = 1

    def __init__(
        self,
        *,
        name: str,
        digest: str,
        n_features: int,
        client: bytes,
        server: bytes,
        max_rows: int,
    ) -> None:
        self.name = name
        self.digest = digest
        self.n_features = n_features
        self.client = client
        self._server = _core.BfvServer.from_bytes(server)
        self._specs = self._server.specs
        self.fits = hashlib.sha256(self._specs.to_bytes()).hexdigest()
        self.key_bytes = self._specs.public_key_bytes
        self._lengths = {self._specs.request_bytes(rows) for rows in range(1, max_rows + 1)}
        self.max_body = max(self._lengths) + 2 * OVERHEAD
        self._ready: OrderedDict[tuple[str, str], _core.BfvPublicKey] = OrderedDict()
        self._lock = threading.Lock()

    def check_keys(self, path: Path) -> None:
        """Refuse a file that is no public key for this model."""
        try:
            _core.BfvPublicKey.from_bytes(self._specs, path.read_bytes())
        except CipherfitError as error:
            raise unprocessable("keys", str(error)) from error

    def check_frames(self, frames: Sequence[bytes]) -> None:
        """Refuse a frame whose length is not that of encrypted rows."""
        if len(frames[0]) not in self._lengths:
            raise unprocessable(
                "frame_length", f"no encrypted rows of this model have {len(frames[0])} bytes"
            )

    async def run(self, key: Key, frames: Sequence[bytes]) -> list[bytes]:
        """Return the encrypted sums of encrypted rows."""
        return await anyio.to_thread.run_sync(self._run, key, frames[0])

    def start(self) -> None:
        """Nothing runs for it between requests."""

    @property
    def is_ready(self) -> bool:
        """Whether it can answer now: always."""
        return True

    async def close(self) -> None:
        """Nothing runs for it between requests."""

    def _run(self, key: Key, frame: bytes) -> list[bytes]:
        try:
            return [self._server.run(frame, self._public_key(key))]
        except CipherfitError as error:
            raise unprocessable("rows", str(error)) from error

    def _public_key(self, key: Key) -> _core.BfvPublicKey:
        """Return a public key, read and checked once while it is in use."""
        name = (key.tenant, key.id)
        with self._lock:
            ready = self._ready.pop(name, None)
        if ready is None:
            ready = _core.BfvPublicKey.from_bytes(self._specs, key.path.read_bytes())
        with self._lock:
            self._ready[name] = ready
            while len(self._ready) > _READY_KEYS:
                self._ready.popitem(last=False)
        return ready


def described(model: ServedModel) -> dict[str, Any]:
    """Return what anyone with a token may know of a model."""
    return {
        "digest": model.digest,
        "name": model.name,
        "backend": model.backend,
        "n_features": model.n_features,
        "key_bytes": model.key_bytes,
        "max_frames": model.max_frames,
        "max_body_bytes": model.max_body,
    }
