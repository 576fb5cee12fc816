"""What encrypts for a predictor: the seam between it and the back ends.

A predictor knows back ends by name and by these protocols only, and imports one when it is first
asked to encrypt: what answers in clear needs none of them installed.
"""

from __future__ import annotations

import hashlib
import os
from importlib import import_module
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from cipherfit._core import IntegerGraph
from cipherfit.exceptions import CompilationError, InvalidParameterError

#: Modules by the name of their back end: TFHE with lookups, and BFV where there are none.
MODULES = {"concrete": "cipherfit.fhe", "bfv": "cipherfit.bfv"}


class Circuit(Protocol):
    """A compiled graph."""

    @property
    def p_error(self) -> float:
        """Probability that one lookup errs."""

    @property
    def configuration(self) -> Any:
        """The options that it was compiled with; `fhe_execution` tells whether it can encrypt."""


class Backend(Protocol):
    """Compiles graphs, and runs rows encrypted: `cipherfit.fhe` and `cipherfit.bfv` are such.

    Of a graph with client layers it takes what follows them, so its rows are the codes that the
    last of them gives.
    """

    def compile_graph(self, graph: IntegerGraph, **options: Any) -> Any:
        """Return the circuit of a graph."""

    def run_encrypted(
        self,
        circuit: Any,
        codes: NDArray[np.uint16],
        *,
        progress: bool | None = None,
        n_jobs: int | None = None,
        storage: str | os.PathLike[str] | None = None,
    ) -> NDArray[np.int64]:
        """Encrypt, run and decrypt codes (n_samples, n_features): (n_samples, n_outputs)."""

    def estimate_circuit(self, circuit: Any, graph: IntegerGraph) -> Any:
        """Return what encrypted rows cost."""

    def modelled_seconds(
        self,
        graph: IntegerGraph,
        p_error: float | None = None,
        *,
        n_output_bits: int | None = None,
    ) -> float:
        """Return seconds per encrypted row, on the machine of the latency model."""

    def stored_options(self, configuration: Any) -> dict[str, Any]:
        """Return how a circuit was compiled, as numbers and booleans by name."""

    def restored_configuration(self, options: dict[str, Any]) -> Any:
        """Return the configuration of what `stored_options` gave."""


def imported(name: str) -> Backend:
    """Return the back end with a name, imported when it is first asked for."""
    return cast(Backend, import_module(MODULES[name]))


def run_encrypted(
    circuit: Any,
    codes: NDArray[np.uint16],
    *,
    progress: bool | None = None,
    n_jobs: int | None = None,
    storage: str | os.PathLike[str] | None = None,
) -> NDArray[np.int64]:
    """Encrypt, run and decrypt codes, with the back end that the circuit is of.

    Parameters
    ----------
    circuit : fhe.Circuit or BfvCircuit
        As `Predictor.compile` or `compile_graph` of a back end returns it; keys are made at the
        first run.
    codes : ndarray of shape (n_samples, n_features)
        Input codes; of a graph with client layers, the codes that the last of them gives.
    progress : bool, optional
        Whether to show a progress bar on standard error. Default: on a terminal only.
    n_jobs : int, optional
        Workers that run rows with lookups, as joblib has them: see `cipherfit.fhe.run_encrypted`.
    storage : str or path, optional
        A file that keeps each decrypted row, and from which an interrupted run goes on.

    Returns
    -------
    ndarray of shape (n_samples, n_outputs), int64
        The decrypted accumulators.

    Raises
    ------
    UnansweredRowsError
        If workers keep failing; it names the rows that have no answer, and keeps all others.
    InvalidParameterError
        If the file is of another model, key or data, or there are no lookups.
    """
    return imported(backend_of(circuit)).run_encrypted(
        circuit, codes, progress=progress, n_jobs=n_jobs, storage=storage
    )


def backend_of(circuit: Any) -> str:
    """Return the name of the back end that a circuit is of."""
    return "bfv" if type(circuit).__module__.startswith(MODULES["bfv"]) else "concrete"


def output_bits_of(circuit: Any) -> int | None:
    """Return how many high bits of a circuit's outputs are free of noise; None where all are."""
    bits: int | None = getattr(circuit.configuration, "n_output_bits", None)
    return bits


def specs_of(circuit: Any) -> bytes:
    """Return the public parameters of a circuit, which its clients are made from."""
    specs = circuit.client.specs
    return bytes(specs if backend_of(circuit) == "bfv" else specs.serialize())


def specs_digest(circuit: Any) -> str:
    """Return the SHA-256 of the public parameters of a circuit, in hexadecimal."""
    return hashlib.sha256(specs_of(circuit)).hexdigest()


def backend_for(
    graph: IntegerGraph, name: str = "auto", *, options: dict[str, Any] | None = None
) -> str:
    """Return the name of the back end for a graph.

    Parameters
    ----------
    graph : IntegerGraph
        What is to be compiled.
    name : {"auto", "concrete", "bfv"}, default="auto"
        "auto" takes BFV where no lookup is encrypted, but Concrete where its options are named.
    options : dict, optional
        Concrete's options, by parameter: those that are named are neither None nor False.

    Raises
    ------
    InvalidParameterError
        If there is no such back end, or BFV is asked for with options that are Concrete's.
    CompilationError
        If BFV is asked for and there are lookups to encrypt.
    """
    named = [
        option
        for option, value in (options or {}).items()
        if value is not None and value is not False
    ]
    if name not in ("auto", *MODULES):
        raise InvalidParameterError(f"backend={name!r} must be 'auto', 'concrete' or 'bfv'")
    if name == "auto":
        return "concrete" if graph.n_lookups or named else "bfv"
    if name == "bfv" and named:
        raise InvalidParameterError(
            f"{', '.join(named)} are options of Concrete's: leave them out, or give "
            "backend='concrete'"
        )
    if name == "bfv" and graph.n_lookups:
        raise CompilationError(
            f"backend='bfv' runs networks without encrypted lookups, and this one has "
            f"{graph.n_lookups}: give backend='concrete', or train with module__n_layers=1 or with "
            "all hidden layers as client layers (module__n_client_layers)"
        )
    return name
