"""How a model was compiled, as plain values for files, and the check of what a file says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cipherfit._core import IntegerGraph
from cipherfit.exceptions import CipherfitError, SerializationError
from cipherfit.predictor.backend import backend_for, imported
from cipherfit.predictor.records import is_plain

_FLAGS = (
    "auto_parallelize",
    "compress_evaluation_keys",
    "compress_input_ciphertexts",
    "dataflow_parallelize",
    "fhe_execution",
    "fhe_simulation",
    "loop_parallelize",
    "single_precision",
)
_PROBABILITIES = ("global_p_error", "p_error")
_MOST_FLOODING_BITS = 64


@dataclass(frozen=True)
class Compilation:
    """Which back end a model was compiled with, and how.

    Parameters
    ----------
    backend : {"bfv", "concrete"}
        What encrypts.
    options : dict
        Its options: numbers and booleans by name.
    """

    backend: str
    options: dict[str, Any]

    @classmethod
    def of(cls, backend: str, configuration: Any) -> Compilation:
        """Return how a circuit with a back end's configuration was compiled.

        Raises
        ------
        SerializationError
            If there is an option that can't be stored.
        """
        return cls(backend, imported(backend).stored_options(configuration))

    @classmethod
    def from_record(cls, record: Any, graph: IntegerGraph) -> Compilation | None:
        """Return what `record` gave, checked; None where the model was not compiled."""
        if record is None:
            return None
        if not isinstance(record, dict) or set(record) != {"backend", "options"}:
            raise SerializationError("how it was compiled is no back end with options")
        backend, options = record["backend"], record["options"]
        if backend not in ("bfv", "concrete") or not isinstance(options, dict):
            raise SerializationError(f"the back end {backend!r:.60} is unknown")
        try:
            backend_for(graph, backend)
        except CipherfitError as error:
            raise SerializationError(f"the back end can't run this graph: {error}") from None
        (_check_bfv if backend == "bfv" else _check_concrete)(options)
        return cls(backend, options)

    def record(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"backend": self.backend, "options": self.options}

    def configuration(self) -> Any:
        """Return the back end's own configuration, to compile with."""
        return imported(self.backend).restored_configuration(self.options)


def _check_bfv(options: dict[str, Any]) -> None:
    bits = options.get("flooding_bits")
    allowed = bits is None or (is_plain(bits, int) and 0 <= bits <= _MOST_FLOODING_BITS)
    if set(options) != {"flooding_bits"} or not allowed:
        raise SerializationError(f"the options of bfv are not flooding_bits in [0, 64]: {bits!r}")


def _check_concrete(options: dict[str, Any]) -> None:
    if set(options) != {*_FLAGS, *_PROBABILITIES}:
        raise SerializationError("the options of concrete are not those that are stored")
    for name in _FLAGS:
        if not is_plain(options[name], bool):
            raise SerializationError(f"{name}={options[name]!r:.60} must be true or false")
    for name in _PROBABILITIES:
        value = options[name]
        if value is not None and not (is_plain(value, float) and 0 < value < 1):
            raise SerializationError(f"{name}={value!r:.60} must be a number in (0, 1), or null")
