"""What encrypted rows cost: bytes, parameters, and seconds by a model."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import cache

import numpy as np

from cipherfit._core import BfvSpecs, IntegerGraph
from cipherfit.bfv.circuit import BfvCircuit, compile_graph
from cipherfit.costs import FheEstimate

#: Seconds per coefficient and prime of one product, which `BfvSpecs.cost` counts in, and of the
#: calls from Python: fitted on one core of the machine of `benches/README.md`.
_PER_COEFFICIENT = 3.0e-9
_PER_CALL = 2.0e-5
_REFERENCE_RUNS = 20


@dataclass(frozen=True, kw_only=True)
class BfvEstimate(FheEstimate):
    """What encrypted rows of a linear layer cost, and under which parameters.

    Parameters
    ----------
    degree : int
        N, the degree of the ring.
    modulus_bits : float
        log2 of the ciphertext modulus q.
    plaintext_modulus : int
        t, a power of two that holds every proven sum.
    flooding_bits : int
        Statistical bits with which a row's answer hides the weights beyond its sums.
    batch_rows : int
        Rows of a full batch.
    batch_input_bytes, batch_output_bytes : int
        Such a batch up, and its sums down.
    """

    degree: int
    modulus_bits: float
    plaintext_modulus: int
    flooding_bits: int
    batch_rows: int
    batch_input_bytes: int
    batch_output_bytes: int

    def __str__(self) -> str:
        return f"{super().__str__()}\nin batches of {self.batch_rows}: {self._batch_sizes()}"

    def _batch_sizes(self) -> str:
        return (
            f"input {self.batch_input_bytes / self.batch_rows / 1e3:.2f} kB, "
            f"output {self.batch_output_bytes / self.batch_rows / 1e3:.2f} kB per row"
        )

    def _facts(self) -> list[tuple[str, str]]:
        return [*super()._facts(), (f"in batches of {self.batch_rows} rows", self._batch_sizes())]


def estimate_circuit(circuit: BfvCircuit, graph: IntegerGraph) -> BfvEstimate:
    """Return what encrypted rows of a compiled circuit cost.

    The first call measures how fast this machine is: some milliseconds, once per process.

    Parameters
    ----------
    circuit : BfvCircuit
        As `compile_graph` returns it.
    graph : IntegerGraph
        What it was compiled from.

    Returns
    -------
    BfvEstimate
    """
    specs = circuit.parameters
    batch = max(rows for _, _, rows in specs.layouts)
    modulus_bits = math.log2(specs.modulus)
    return BfvEstimate(
        backend="bfv",
        parameters=f"N={specs.degree}, q of {modulus_bits:.0f} bits, t=2**{specs.sum_bits}, "
        f"{specs.flooding_bits} bits of flooding",
        layers=(),
        output_bits=graph.prove().layers[-1].bits,
        p_error=circuit.p_error,
        seconds_per_row=machine_factor() * reference_seconds(specs),
        input_bytes=specs.request_bytes(1),
        output_bytes=specs.answer_bytes(1),
        public_key_bytes=specs.public_key_bytes,
        degree=specs.degree,
        modulus_bits=modulus_bits,
        plaintext_modulus=1 << specs.sum_bits,
        flooding_bits=specs.flooding_bits,
        batch_rows=batch,
        batch_input_bytes=specs.request_bytes(batch),
        batch_output_bytes=specs.answer_bytes(batch),
    )


def reference_seconds(specs: BfvSpecs, n_rows: int = 1) -> float:
    """Return modelled seconds of encrypting, running and decrypting rows, on the reference machine.

    Parameters
    ----------
    specs : BfvSpecs
        Parameters of a circuit.
    n_rows : int, default=1
        Rows that are encrypted together.

    Returns
    -------
    float
    """
    coefficients = specs.degree * len(specs.primes)
    return _PER_CALL + _PER_COEFFICIENT * coefficients * specs.cost(n_rows)


def modelled_seconds(
    graph: IntegerGraph,
    p_error: float | None = None,
    *,
    n_output_bits: int | None = None,
    flooding_bits: int | None = None,
) -> float:
    """Return modelled seconds per row of a graph, as of `reference_seconds`.

    Parameters
    ----------
    graph : IntegerGraph
        What is compiled for it.
    p_error, n_output_bits : optional
        As other back ends take them; here nothing errs.
    flooding_bits : int, optional
        As of `compile_graph`.

    Returns
    -------
    float

    Raises
    ------
    CompilationError
        If the graph has lookups, or no parameters fit.
    """
    del p_error, n_output_bits
    return reference_seconds(compile_graph(graph, flooding_bits=flooding_bits).parameters)


@cache
def machine_factor() -> float:
    """Return how much longer than modelled a small reference circuit takes on this machine."""
    ones = np.ones(128, dtype=np.int64)
    graph = IntegerGraph.from_layers(
        {"scale": np.ones(128), "zero_point": 0 * ones, "n_bits": 4},
        [{"kind": "linear", "weights": np.ones((10, 128), dtype=np.int64), "offset": ones[:10]}],
        {"scale": np.ones(10), "offset": np.zeros(10)},
    )
    circuit = compile_graph(graph)
    seconds = []
    for _ in range(_REFERENCE_RUNS):
        start = time.perf_counter()
        circuit.encrypt_run_decrypt(ones)
        seconds.append(time.perf_counter() - start)
    return min(seconds) / reference_seconds(circuit.parameters)
