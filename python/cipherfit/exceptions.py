"""What cipherfit raises: each error also is the standard kind that it is."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

__all__ = [
    "CipherfitError",
    "CipherfitWarning",
    "CompilationError",
    "DivergenceError",
    "ForkedProcessError",
    "GraphError",
    "InputTypeError",
    "InvalidInputError",
    "InvalidParameterError",
    "KeyStoreError",
    "MissingDependencyError",
    "NotCompiledError",
    "NotFittedError",
    "ProofError",
    "SecurityError",
    "SerializationError",
    "ServiceError",
    "UnansweredRowsError",
    "UnsupportedModuleError",
]


class CipherfitError(Exception):
    """Base of every error that cipherfit raises on purpose."""


class CipherfitWarning(UserWarning):
    """Base of every warning that cipherfit gives: something works, but likely not as meant."""


class InvalidParameterError(CipherfitError, ValueError):
    """An option has a value that it can't have, such as a bit-width out of range."""


class InvalidInputError(CipherfitError, ValueError):
    """Data has the wrong shape, or values that can't be used: NaN, infinity, codes out of range.

    Parameters
    ----------
    message : str
        What is wrong; where a row is given, what the message says before its number.
    row : int, optional
        The row that is meant, from 0.
    rest : str, default=""
        What the message says after the number.

    Attributes
    ----------
    row
        As given.
    """

    def __init__(self, message: str = "", row: int | None = None, rest: str = "") -> None:
        super().__init__(*((message,) if row is None else (message, row, rest)))
        self.row = row
        self._parts = message, rest

    def __str__(self) -> str:
        """Return the message."""
        before, rest = self._parts
        return str(before) if self.row is None else f"{before}{self.row}{rest}"

    def of_rows_from(self, first: int) -> InvalidInputError:
        """Return the error with its row counted from before the rows that it was found in.

        Parameters
        ----------
        first : int
            How many rows were before them.
        """
        before, rest = self._parts
        return type(self)(before, None if self.row is None else first + self.row, rest)


class InputTypeError(CipherfitError, TypeError):
    """Data has a type that can't be used: text, objects, complex numbers, floats as codes."""


class GraphError(CipherfitError, ValueError):
    """Layers don't form an integer graph; the message names the part that is wrong."""


class ProofError(CipherfitError, ValueError):
    """An accumulator or a lookup index can't be proven to fit.

    Parameters
    ----------
    message : str
        What does not fit, in words.
    layer, neuron : int or None, default=None
        Position of the Linear layer in the graph's list of layers, and its neuron.
    low, high : int or None, default=None
        Proven interval of the neuron's accumulator.
    bits_needed, bits_allowed : int or None, default=None
        Bits that the interval needs, and those that it may take.

    Attributes
    ----------
    layer, neuron, low, high, bits_needed, bits_allowed : int or None
        As given.
    """

    def __init__(
        self,
        message: str,
        layer: int | None = None,
        neuron: int | None = None,
        low: int | None = None,
        high: int | None = None,
        bits_needed: int | None = None,
        bits_allowed: int | None = None,
    ) -> None:
        # All of them are args, since it is args that pickle hands to a new exception.
        super().__init__(message, layer, neuron, low, high, bits_needed, bits_allowed)
        self.layer = layer
        self.neuron = neuron
        self.low = low
        self.high = high
        self.bits_needed = bits_needed
        self.bits_allowed = bits_allowed

    def __str__(self) -> str:
        """Return the message alone."""
        return str(self.args[0])


class SerializationError(CipherfitError, ValueError):
    """Bytes are not a stored graph, or not one that this version reads."""


class SecurityError(CipherfitError, ValueError):
    """Parameters of encryption are weaker than 128 bits, or none that are known."""


class KeyStoreError(CipherfitError, ValueError):
    """Stored secret keys can't be opened or kept: passphrase, file or permissions are wrong."""


class ServiceError(CipherfitError, ConnectionError):
    """A service can't be reached, refuses, or answers with something else."""


class UnansweredRowsError(CipherfitError, RuntimeError):
    """Workers kept failing over some encrypted rows; the answers to all others are kept.

    Parameters
    ----------
    message : str
        What happened, and to which rows.
    rows : sequence of int, default=()
        Positions of the rows that have no answer: ascending.
    sums : ndarray of shape (n_samples, n_outputs), optional
        The decrypted accumulators, with zeros for those rows: `Predictor.answer` reads them.

    Attributes
    ----------
    rows, sums
        As given.
    """

    def __init__(self, message: str, rows: Sequence[int] = (), sums: Any = None) -> None:
        super().__init__(message, rows, sums)
        self.rows = tuple(rows)
        self.sums = sums

    def __str__(self) -> str:
        """Return the message alone."""
        return str(self.args[0])


class NotCompiledError(CipherfitError, ValueError):
    """An estimator is asked for something that it has only after ``compile``."""


class CompilationError(CipherfitError, RuntimeError):
    """The compiled circuit is missing, or isn't what the certificate says it must be."""


class DivergenceError(CipherfitError, ArithmeticError):
    """Training has left the numbers: its loss or the network's parameters are not finite."""


class ForkedProcessError(CipherfitError, RuntimeError):
    """Encryption is asked for in a process that was forked from one that used Concrete."""


class UnsupportedModuleError(CipherfitError, ValueError):
    """A torch module, or another's model, has no counterpart in an integer graph."""


class MissingDependencyError(CipherfitError, ImportError):
    """An optional package is not installed; the message says how to install it."""


if TYPE_CHECKING:

    class NotFittedError(CipherfitError, ValueError, AttributeError):
        """An estimator is asked for something that it has only after ``fit``."""


@cache
def _not_fitted_error() -> type[CipherfitError]:
    """Return `NotFittedError`, which also is scikit-learn's where that is installed."""
    standard: tuple[type[Exception], ...]
    try:
        from sklearn.exceptions import NotFittedError as Standard
    except ImportError:
        standard = (ValueError, AttributeError)
    else:
        standard = (Standard,)
    doc = "An estimator is asked for something that it has only after ``fit``."
    members = {"__module__": __name__, "__doc__": doc}
    return type("NotFittedError", (CipherfitError, *standard), members)


def __getattr__(name: str) -> Any:
    """Make `NotFittedError` when it is first used: scikit-learn takes long to import."""
    if name == "NotFittedError":
        return _not_fitted_error()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the lazy name, too."""
    return sorted({*globals(), *__all__})
