"""The circuit of a predictor's graph: compiled, compiled again, estimated, run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherfit._core import IntegerGraph
from cipherfit.exceptions import InvalidParameterError, NotCompiledError
from cipherfit.predictor.backend import (
    Circuit,
    backend_for,
    backend_of,
    imported,
    output_bits_of,
    run_encrypted,
)
from cipherfit.predictor.chunks import stored
from cipherfit.predictor.compilation import Compilation
from cipherfit.predictor.output_noise import OutputNoise
from cipherfit.stages import client_part

#: By what the largest error probability is divided, in search of a faster one.
_PARTS_OF_LARGEST = (1, 1.5, 2.5, 4, 7)


class Encrypted:
    """A graph's way to encrypted rows.

    Pickled or copied, it keeps how the graph was compiled, and neither circuit nor keys: both are
    made again when they are needed.

    Parameters
    ----------
    graph : IntegerGraph
        What is run.
    compiled : Compilation, optional
        How it was compiled, where a file says so.
    """

    def __init__(self, graph: IntegerGraph, compiled: Compilation | None = None) -> None:
        self._graph = graph
        self._circuit: Any = None
        self._saved: tuple[str, Any] | Compilation | None = compiled

    def __getstate__(self) -> dict[str, Any]:
        """Return the state to pickle or copy: of the circuit, only how to compile it again."""
        state = vars(self).copy()
        circuit = state.pop("_circuit")
        if circuit is not None:
            state["_saved"] = (backend_of(circuit), circuit.configuration)
        return {**state, "_circuit": None}

    def twin(self) -> Encrypted:
        """Return one with the same circuit, from where either may be compiled otherwise."""
        copy = Encrypted.__new__(Encrypted)
        vars(copy).update(vars(self))
        return copy

    @property
    def is_compiled(self) -> bool:
        """Whether there is a circuit now."""
        return self._circuit is not None

    @property
    def circuit(self) -> Any:
        """The circuit, compiled again where it was before; None where it never was."""
        if self._circuit is None and self._saved is not None:
            if isinstance(self._saved, Compilation):
                self.circuit = self._saved.circuit(self._graph)
            else:
                name, configuration = self._saved
                self.circuit = imported(name).compile_graph(
                    self._graph, configuration=configuration
                )
        return self._circuit

    @circuit.setter
    def circuit(self, circuit: Circuit | None) -> None:
        self._circuit, self._saved = circuit, None

    def compilation(self) -> Compilation | None:
        """Return how it was compiled, as it is stored."""
        if isinstance(self._saved, Compilation):
            return self._saved
        circuit = self.circuit
        return None if circuit is None else Compilation.of(circuit)

    def check(self, mode: str) -> None:
        """Refuse to predict with ``fhe=mode`` where there is no circuit that can."""
        self.circuit_for(f"predicting with fhe={mode!r}", encrypts=mode == "execute")

    def circuit_for(self, what: str, *, encrypts: bool = True) -> Any:
        """Return the circuit.

        Parameters
        ----------
        what : str
            What needs it, for messages.
        encrypts : bool, default=True
            Whether one for simulation only doesn't do.

        Raises
        ------
        NotCompiledError
            If there is none that does.
        """
        circuit = self.circuit
        if circuit is None:
            raise NotCompiledError(
                f"this model is not yet compiled to FHE: call compile() before {what}"
            )
        if encrypts and not circuit.configuration.fhe_execution:
            raise NotCompiledError(
                "this model is not yet compiled for encrypted execution, only for simulation: call "
                f"compile() without use_virtual_lib before {what}"
            )
        return circuit

    def compile(self, backend: str, flooding_bits: int | None, **options: Any) -> Any:
        """Compile the graph: see `Predictor.compile`.

        Parameters
        ----------
        backend : {"bfv", "concrete"}
            Its name, as `backend_for` gives it.
        flooding_bits : int or None
            For BFV.
        **options
            For Concrete, as `cipherfit.fhe.compile_graph` takes them.
        """
        if backend == "bfv":
            options = {"flooding_bits": flooding_bits}
        elif flooding_bits is not None:
            raise InvalidParameterError(
                f"flooding_bits={flooding_bits!r} is for backend='bfv', and this network goes to "
                "Concrete"
            )
        self.circuit = imported(backend).compile_graph(self._graph, **options)
        return self.circuit

    def estimate(self, p_error: float | None, backend: str) -> Any:
        """Estimate what rows cost: see `Predictor.estimate_fhe`."""
        circuit = self.circuit
        stays = circuit is not None and backend == "auto"
        name = backend_of(circuit) if stays else backend_for(self._graph, backend)
        if (
            circuit is None
            or backend_of(circuit) != name
            or not circuit.configuration.fhe_execution
            or (name == "concrete" and p_error is not None)
        ):
            options = {"p_error": p_error, "warn_of_size": False} if name == "concrete" else {}
            circuit = imported(name).compile_graph(self._graph, **options)
        return imported(name).estimate_circuit(circuit, self._graph)

    def fastest_p_error(self, largest: float, n_output_bits: int | None) -> float:
        """Return the error probability up to the largest that runs fastest.

        Rarer errors can be faster, as TFHE's parameters come in steps.
        """
        seconds = partial(
            imported("concrete").modelled_seconds, self._graph, n_output_bits=n_output_bits
        )
        return min((largest / part for part in _PARTS_OF_LARGEST), key=seconds)

    @property
    def p_error(self) -> float:
        """How often a lookup of the circuit errs."""
        return float(self.circuit.p_error)

    @property
    def output_noise(self) -> OutputNoise:
        """What encryption may leave in the low bits of the circuit's outputs."""
        return OutputNoise.of(self._graph, self.p_error, output_bits_of(self.circuit))

    def run(
        self,
        chunks: Iterator[NDArray[np.uint16]],
        *,
        n_jobs: int | None = None,
        storage: str | os.PathLike[str] | None = None,
    ) -> NDArray[np.int64]:
        """Compute client layers in clear, and encrypt, run and decrypt what follows them.

        Codes are kept until their rows are run: many of them in a file.

        Parameters
        ----------
        chunks : iterator of ndarray of shape (n, n_features)
            Quantized inputs, some rows after the other.
        n_jobs, storage : optional
            As of `Predictor.predict`.
        """
        layers = client_part(self._graph)
        if layers is not None:
            chunks = (layers.simulate(codes).astype(np.uint16) for codes in chunks)
        return run_encrypted(self.circuit, stored(chunks), n_jobs=n_jobs, storage=storage)
