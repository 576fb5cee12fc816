"""What a worker process does: it runs Concrete on bytes of others, and may end over it.

It is a process of its own, since Concrete trusts what it is given. It holds no secrets: weights are
those of the model, keys and rows are encrypted or public.
"""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cipherfit._core import IntegerGraph
from cipherfit.exceptions import CompilationError

_PARENT_SECONDS = 1.0


@dataclass(frozen=True)
class Setting:
    """What a worker is started with.

    Parameters
    ----------
    graph : bytes
        What is encrypted of the network.
    options : dict
        How it is compiled: as of `cipherfit.fhe.stored_options`.
    specs : str
        SHA-256 of the client specs that clients have.
    memory_bytes : int
        Of address space, at most.
    ready_keys : int
        Keys that stay in memory.
    parent : int
        Process without which it ends.
    """

    graph: bytes
    options: dict[str, Any]
    specs: str
    memory_bytes: int
    ready_keys: int
    parent: int


class _Runner:
    """A compiled circuit, and the keys that were used last."""

    def __init__(self, setting: Setting) -> None:
        from cipherfit.fhe import compile_graph, restored_configuration
        from cipherfit.fhe.run import run_row
        from cipherfit.fhe.runtime import fhe

        self._fhe, self._run_row = fhe, run_row
        self._ready_keys = setting.ready_keys
        self._keys: OrderedDict[str, Any] = OrderedDict()
        graph = IntegerGraph.from_bytes(setting.graph)
        configuration = restored_configuration(setting.options)
        circuit = compile_graph(graph, configuration=configuration, warn_of_size=False)
        specs = hashlib.sha256(circuit.client.specs.serialize()).hexdigest()
        if specs != setting.specs:
            raise CompilationError("the circuit compiled here has other specs than clients have")
        self._server = circuit.server
        self._circuit = circuit

    def run(self, path: str, frames: Sequence[bytes]) -> list[bytes]:
        keys = self._keys_at(path)
        return [self._run_row(self._server, frame, keys) for frame in frames]

    def _keys_at(self, path: str) -> Any:
        keys = self._keys.pop(path, None)
        if keys is None:
            while len(self._keys) >= self._ready_keys:
                self._keys.popitem(last=False)
            keys = self._fhe.EvaluationKeys.deserialize(Path(path).read_bytes())
        self._keys[path] = keys
        return keys


_runner: _Runner | None = None


def start(setting: Setting) -> None:
    """Prepare this process: bounds, then the circuit."""
    global _runner
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Python's own handlers wait until Concrete is back.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (setting.memory_bytes, setting.memory_bytes))
    threading.Thread(target=_end_with, args=(setting.parent,), daemon=True).start()
    _runner = _Runner(setting)


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
