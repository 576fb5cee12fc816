"""What Concrete does to the process that it runs in, and how its users are spared it.

Every other module takes Concrete from here: ``from cipherfit.fhe.runtime import fhe``. Read off
concrete-python 2.10 and 2.11, left alone it

- ends the process with status 0 at exit, whatever happened before (its dataflow runtime's
  termination is registered with `atexit`, and calls C's ``exit``);
- takes over fifteen signals when it is imported (LLVM's crash reports), and six more at the first
  encrypted run (those of HPX, which reports a closed pipe as a crash, over 200 lines);
- kills the process on Ctrl-C during compilation, key generation and encrypted runs;
- hangs in a child that was forked after keys were made, since its threads stay in the parent, and
  leaves the parent's secret keys in the child's hands;
- leaves a temporary directory behind for each circuit;
- announces its use of ``pkg_resources`` to every user;
- imports torch, in more time and memory than it takes itself, for two operators that integer graphs
  don't use.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import importlib
import os
import shutil
import signal
import sys
import tempfile
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.util import Finalize
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from cipherfit.exceptions import ForkedProcessError, MissingDependencyError
from cipherfit.fhe.elf import import_slots

__all__ = ["fhe", "integer_type", "prepare_thread", "remove_with"]

#: More than a `struct sigaction` takes on any Linux.
_SIGACTION_BYTES = 512
#: Signals with a meaning to the user's program that LLVM takes over.
_TAKEN = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1)

#: Concrete's modules that need torch, and the operator of each.
_NEED_TORCH = {
    "concrete.fhe.extensions.convolution": "conv",
    "concrete.fhe.extensions.maxpool": "maxpool",
}

_libc = ctypes.CDLL(None, use_errno=True)


def _signal_actions(numbers: Iterable[int]) -> dict[int, Any]:
    """Return what the process does on some signals, as C keeps it."""
    actions = {}
    for number in numbers:
        action = ctypes.create_string_buffer(_SIGACTION_BYTES)
        if _libc.sigaction(int(number), None, action) == 0:
            actions[int(number)] = action
    return actions


def _restore(actions: dict[int, Any]) -> None:
    for number, action in actions.items():
        _libc.sigaction(number, action, None)


def _import_concrete() -> Any:
    """Import Concrete's front end, and leave signals and exit status to their owner."""
    came_before = "mlir._mlir_libs._concretelang" in sys.modules
    actions = _signal_actions(signal.valid_signals())
    _put_torch_off()
    # HPX reads it when it starts, with the first encrypted run, and has no other switch for it.
    os.environ.setdefault("HPX_HANDLE_SIGNALS", "0")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*pkg_resources")
            from concrete import compiler, fhe
    except ImportError as error:
        raise MissingDependencyError(
            f"encrypted lookups need concrete-python, which can't be imported ({error}). It has "
            "wheels for Linux on x86-64 with Python 3.10 to 3.12: pip install "
            "'concrete-python>=2.10,<2.12' 'numpy<2' 'setuptools<81'. Networks without lookups run "
            "encrypted without it (backend='bfv')"
        ) from error
    finally:
        _restore(actions)
    if came_before:
        # What C did before is no longer known; Python's own view of it is.
        for number in _TAKEN:
            handler = signal.getsignal(number)
            if handler is not None:
                signal.signal(number, handler)
    atexit.unregister(compiler._terminate_df_parallelization)
    return fhe


def _put_torch_off() -> None:
    """Have Concrete import torch when an operator that needs it is called, and not before."""
    for name, operator in _NEED_TORCH.items():
        if name not in sys.modules:
            stand_in = ModuleType(name)
            setattr(stand_in, operator, _called_later(stand_in, operator))
            sys.modules[name] = stand_in


def _called_later(stand_in: ModuleType, operator: str) -> Callable[..., Any]:
    """Return what calls an operator of the module that another stands in for."""
    name = stand_in.__name__

    def call(*arguments: Any, **options: Any) -> Any:
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]
        return getattr(importlib.import_module(name), operator)(*arguments, **options)

    return call


def _keep_interrupts() -> None:
    """Leave SIGINT to Python while Concrete works, so that Ctrl-C is a `KeyboardInterrupt`.

    Around its work Concrete's extension module calls ``signal(SIGINT, ...)``, the only use that it
    has for this function, with a handler that kills the process, and again to restore what it
    found. No option turns that off; so the module's own import of ``signal`` is bound to C's
    ``abs``, which changes nothing. Python then notes the signal, and raises once the call is back:
    after the row, or the keys, at work. (A function of Python's in that place would swallow it.)
    """
    from mlir._mlir_libs import _concretelang

    harmless = ctypes.cast(_libc.abs, ctypes.c_void_p).value
    assert harmless is not None
    for slot in import_slots(_concretelang.__file__, "signal"):
        slot.value = harmless


@contextmanager
def _own_abort() -> Iterator[None]:
    """Restore what the process does on SIGABRT, which HPX takes over when it starts."""
    actions = _signal_actions({signal.SIGABRT})
    try:
        yield
    finally:
        _restore(actions)


class _Forks:
    """Which process may encrypt: the one that made keys, or ran, and none that it forked."""

    def __init__(self) -> None:
        self.keys: weakref.WeakSet[Any] = weakref.WeakSet()
        self.started = self.forked = False

    def after_fork_in_child(self) -> None:
        self.forked = self.started
        for keys in self.keys:
            keys._keyset = None

    def watch(self, method: Callable[..., Any], keys: Callable[..., Any]) -> Callable[..., Any]:
        """Return a method that notes its use here, and refuses it in a forked child."""

        @functools.wraps(method)
        def watched(*arguments: Any, **options: Any) -> Any:
            if self.forked:
                raise ForkedProcessError(
                    "this process was forked from one that had made keys or run encrypted rows, "
                    "and Concrete's threads stayed there. Start it another way, such as with "
                    "multiprocessing.get_context('spawn') or joblib's default backend"
                )
            self.started = True
            with _own_abort():
                result = method(*arguments, **options)
            self.keys.update(keys(*arguments, result))
            return result

        return watched


def _watch_forks(fhe: Any) -> None:
    forks = _Forks()
    from concrete.fhe.compilation.keys import Keys

    for name in ("generate", "load", "load_from_bytes"):
        setattr(Keys, name, forks.watch(getattr(Keys, name), lambda keys, *_: [keys]))
    Keys.deserialize = staticmethod(forks.watch(Keys.deserialize, lambda *results: results[-1:]))
    fhe.Server.run = forks.watch(fhe.Server.run, lambda *_: [])
    os.register_at_fork(after_in_child=forks.after_fork_in_child)


def _remove_directory(path: str) -> None:
    shutil.rmtree(path, ignore_errors=True)


#: What removes each directory that no circuit was found for yet, by its path.
_removals: dict[str, Finalize] = {}


def _make_directory(*arguments: Any, **options: Any) -> str:
    """Make a temporary directory that goes, at the latest, when this process ends."""
    path: str = tempfile.mkdtemp(*arguments, **options)
    _removals[path] = Finalize(None, _remove_directory, (path,), exitpriority=0)
    return path


def _remove_directories() -> None:
    """Give Concrete's servers, which never remove a directory, another way to make them."""
    from concrete.fhe.compilation import server

    server.tempfile = SimpleNamespace(
        mkdtemp=_make_directory, TemporaryDirectory=tempfile.TemporaryDirectory
    )


def remove_with(circuit: Any) -> Any:
    """Remove a circuit's temporary directory with the circuit, before the process ends.

    Parameters
    ----------
    circuit : fhe.Circuit
        As Concrete compiled it.

    Returns
    -------
    fhe.Circuit
        The same.
    """
    server = circuit.server
    Finalize(server, _removals.pop(server._library.get_output_dir_path()))
    return circuit


def integer_type(bits: int, signed: bool) -> Any:
    """Return a type of Concrete's, which keeps the class to itself."""
    from concrete.fhe.dtypes import Integer

    return Integer(signed, bits)


def prepare_thread() -> None:
    """Give the calling thread what Concrete makes for the thread that imports it only."""
    from concrete.fhe.extensions.tag import tag_context

    if not hasattr(tag_context, "stack"):
        tag_context.stack = []


def _check_numpy() -> None:
    """Refuse a NumPy whose arrays Concrete's extension module misreads.

    It was built with a pybind11 that knows the memory layout of NumPy 1's types only. Scalars pass,
    arrays don't, in either direction.
    """
    if int(np.__version__.partition(".")[0]) > 1:
        raise MissingDependencyError(
            f"encryption needs NumPy 1, and {np.__version__} is installed, whose arrays "
            "concrete-python can't read: pip install 'numpy<2'. All else works as it is"
        )


_check_numpy()
fhe: Any = _import_concrete()
_keep_interrupts()
_watch_forks(fhe)
_remove_directories()
