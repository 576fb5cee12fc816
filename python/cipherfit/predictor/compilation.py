"""How a model was compiled, as plain values for files, and the check of what a file says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from cipherfit._core import IntegerGraph
from cipherfit.exceptions import CipherfitError, CompilationError, SerializationError
from cipherfit.limits import LEAST_OUTPUT_BITS
from cipherfit.predictor.backend import backend_for, backend_of, imported, specs_digest
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
    specs : str or None
        SHA-256 of the public parameters, which clients have; None where it only simulates.
    """

    backend: str
    options: dict[str, Any]
    specs: str | None

    @classmethod
    def of(cls, circuit: Any) -> Compilation:
        """Return how a circuit was compiled.

        Raises
        ------
        SerializationError
            If there is an option that can't be stored.
        """
        backend = backend_of(circuit)
        options = imported(backend).stored_options(circuit.configuration)
        return cls(backend, options, _specs_digest(circuit))

    @classmethod
    def from_record(cls, record: Any, graph: IntegerGraph) -> Compilation | None:
        """Return what `record` gave, checked; None where the model was not compiled."""
        if record is None:
            return None
        if not isinstance(record, dict) or set(record) != {"backend", "options", "specs"}:
            raise SerializationError("how it was compiled is no back end with options and specs")
        backend, options, specs = record["backend"], record["options"], record["specs"]
        if backend not in ("bfv", "concrete") or not isinstance(options, dict):
            raise SerializationError(f"the back end {backend!r:.60} is unknown")
        try:
            backend_for(graph, backend)
        except CipherfitError as error:
            raise SerializationError(f"the back end can't run this graph: {error}") from None
        (_check_bfv if backend == "bfv" else _check_concrete)(options)
        if specs is not None and not (isinstance(specs, str) and is_digest(specs)):
            raise SerializationError(
                f"specs={specs!r:.80} must be a SHA-256 in hexadecimal, or null"
            )
        return cls(backend, options, specs)

    def record(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"backend": self.backend, "options": self.options, "specs": self.specs}

    def circuit(self, graph: IntegerGraph) -> Any:
        """Compile a graph as it was, for the clients that it had.

        Raises
        ------
        CompilationError
            If its public parameters are others now, so that these clients' keys don't fit.
        """
        backend = imported(self.backend)
        configuration = backend.restored_configuration(self.options)
        circuit = backend.compile_graph(graph, configuration=configuration)
        if _specs_digest(circuit) != self.specs:
            raise CompilationError(
                f"compiled anew, this model has other public parameters of {self.backend} than "
                "when it was saved, and its clients' keys don't fit: take the versions that it was "
                "saved with, or call compile() and hand out new client files"
            )
        return circuit


def is_digest(text: str) -> bool:
    """Whether a text is a SHA-256 in hexadecimal."""
    return re.fullmatch("[0-9a-f]{64}", text) is not None


def _specs_digest(circuit: Any) -> str | None:
    if not circuit.configuration.fhe_execution:
        return None
    return specs_digest(circuit)


def _check_bfv(options: dict[str, Any]) -> None:
    bits = options.get("flooding_bits")
    allowed = bits is None or (is_plain(bits, int) and 0 <= bits <= _MOST_FLOODING_BITS)
    if set(options) != {"flooding_bits"} or not allowed:
        raise SerializationError(f"the options of bfv are not flooding_bits in [0, 64]: {bits!r}")


def _check_concrete(options: dict[str, Any]) -> None:
    if set(options) != {*_FLAGS, *_PROBABILITIES, "n_output_bits"}:
        raise SerializationError("the options of concrete are not those that are stored")
    for name in _FLAGS:
        if not is_plain(options[name], bool):
            raise SerializationError(f"{name}={options[name]!r:.60} must be true or false")
    for name in _PROBABILITIES:
        value = options[name]
        if value is not None and not (is_plain(value, float) and 0 < value < 1):
            raise SerializationError(f"{name}={value!r:.60} must be a number in (0, 1), or null")
    bits = options["n_output_bits"]
    if bits is not None and not (is_plain(bits, int) and bits >= LEAST_OUTPUT_BITS):
        raise SerializationError(
            f"n_output_bits={bits!r:.60} must be an integer, at least {LEAST_OUTPUT_BITS}, or null"
        )
