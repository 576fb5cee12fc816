"""What a worker process does: it runs Concrete on bytes of others, and may end over it.

It is a process of its own, since Concrete trusts what it is given. It holds no secrets: weights are
those of the model, keys and rows are encrypted or public.
"""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cipherfit.fhe.server_part import ServerPart

_PARENT_SECONDS = 1.0
#: What keys take at most, by the bytes of their file: while they are read they are there several
#: times, and compressed ones are written out at their first run.
_TIMES, _TIMES_COMPRESSED = 5, 12
#: Address space that threads take for their stacks and heaps, and don't use.
_UNUSED_BYTES = 3 << 30


@dataclass(frozen=True)
class Setting:
    """What a worker is started with.

    Parameters
    ----------
    part : ServerPart
        The circuit.
    memory_bytes : int
        That it may take: keys that were not used for longest make room for others.
    parent : int
        Process without which it ends.
    """

    part: ServerPart
    memory_bytes: int
    parent: int


class _Runner:
    """A compiled circuit, and the keys that were used last."""

    def __init__(self, setting: Setting) -> None:
        from cipherfit.fhe.runtime import fhe

        self._rows = setting.part.row_server()
        times = _TIMES_COMPRESSED if setting.part.options["compress_evaluation_keys"] else _TIMES
        self._keys = ReadyKeys(fhe.EvaluationKeys.deserialize, setting.memory_bytes, times)

    def run(self, path: str, frames: Sequence[bytes]) -> list[bytes]:
        answers: list[bytes] = self._rows.run(frames, self._keys.at(path))
        return answers


class ReadyKeys:
    """Keys that were used last, as many as memory is for.

    Parameters
    ----------
    read : callable
        From a file's bytes to keys.
    memory_bytes : int
        That this process may take. The keys in use are ready whatever they take.
    times : int
        What keys take at most, by the bytes of their file.
    """

    def __init__(self, read: Callable[[bytes], Any], memory_bytes: int, times: int) -> None:
        self._read = read
        self._bytes = memory_bytes
        self._times = times
        self._keys: OrderedDict[str, Any] = OrderedDict()

    def __len__(self) -> int:
        return len(self._keys)

    def at(self, path: str) -> Any:
        """Return the keys in a file."""
        keys = self._keys.pop(path, None)
        if keys is None:
            self._make_room(self._times * os.path.getsize(path))
            keys = self._read(Path(path).read_bytes())
        self._keys[path] = keys
        return keys

    def _make_room(self, n_bytes: int) -> None:
        while self._keys and memory()[1] + n_bytes > self._bytes:
            self._keys.popitem(last=False)


def memory() -> tuple[int, int]:
    """Return the bytes of address space that this process has, and of memory."""
    pages = Path("/proc/self/statm").read_text().split()
    return int(pages[0]) * resource.getpagesize(), int(pages[1]) * resource.getpagesize()


_runner: _Runner | None = None


def start(setting: Setting) -> None:
    """Prepare this process: bounds, then the circuit."""
    global _runner
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Python's own handlers wait until Concrete is back.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.Thread(target=_end_with, args=(setting.parent,), daemon=True).start()
    _runner = _Runner(setting)
    # From here on bytes of others count: one that claims too many gets no more than this.
    most = memory()[0] + _UNUSED_BYTES + setting.memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def ready() -> bool:
    """Tell that the circuit is there."""
    return _runner is not None


def run(path: str, frames: Sequence[bytes]) -> list[bytes]:
    """Return encrypted answers to encrypted rows, with the keys in a file."""
    assert _runner is not None
    return _runner.run(path, frames)


def _end_with(parent: int) -> None:
    """End this process when its parent is gone, however that ended."""
    while os.getppid() == parent:
        time.sleep(_PARENT_SECONDS)
    os._exit(1)
