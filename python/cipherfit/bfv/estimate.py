"""What encrypted rows cost: bytes, parameters, and seconds by a model."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import cache

import numpy as np

from cipherfit._core import BfvSpecs, IntegerGraph
from cipherfit.bfv.circuit import BfvCircuit, compile_graph

#: Seconds per coefficient and prime of one product, which `BfvSpecs.cost` counts in, and of the
#: calls from Python: fitted on one core of the machine of `benches/README.md`.
_PER_COEFFICIENT = 3.0e-9
_PER_CALL = 2.0e-5
_REFERENCE_RUNS = 20


@dataclass(frozen=True)
class BfvEstimate:
    """What encrypted rows of a circuit cost.

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
    input_bytes, output_bytes : int
        One row up, and its sums down.
    key_bytes : int
        A client's public key, up once.
    batch_rows : int
        Rows of a full batch.
    batch_input_bytes, batch_output_bytes : int
        Such a batch up, and its sums down.
    seconds_per_row : float
        Modelled, on this machine: client and server together, one row.
    """

    degree: int
    modulus_bits: float
    plaintext_modulus: int
    flooding_bits: int
    input_bytes: int
    output_bytes: int
    key_bytes: int
    batch_rows: int
    batch_input_bytes: int
    batch_output_bytes: int
    seconds_per_row: float

    @property
    def p_error(self) -> float:
        """Probability that a result is wrong: none is."""
        return 0.0

    @property
    def n_lookups(self) -> int:
        """Lookups per row: none."""
        return 0

    @property
    def memory_bytes(self) -> int:
        """Bytes of keys and one row's ciphertexts."""
        return self.key_bytes + self.input_bytes + self.output_bytes

    def __str__(self) -> str:
        sum_bits = self.plaintext_modulus.bit_length() - 1
        keys, row_in, row_out = (
            f"{size / 1e3:.1f} kB" for size in (self.key_bytes, self.input_bytes, self.output_bytes)
        )
        return "\n".join([
            f"BFV: N={self.degree}, q of {self.modulus_bits:.0f} bits, t=2**{sum_bits}, "
            f"{self.flooding_bits} bits of flooding",
            "no lookups, results are exact",
            f"{self.seconds_per_row:.3g} s per encrypted row on this machine (modelled)",
            f"public key {keys} once, input {row_in}, output {row_out} per row",
            f"in batches of {self.batch_rows}: input {self._per_row(self.batch_input_bytes)}, "
            f"output {self._per_row(self.batch_output_bytes)} per row",
        ])  # fmt: skip

    def _per_row(self, size: int) -> str:
        return f"{size / self.batch_rows / 1e3:.2f} kB"


def estimate_circuit(circuit: BfvCircuit, graph: IntegerGraph | None = None) -> BfvEstimate:
    """Return what encrypted rows of a compiled circuit cost.

    The first call measures how fast this machine is: some milliseconds, once per process.

    Parameters
    ----------
    circuit : BfvCircuit
        As `compile_graph` returns it.
    graph : IntegerGraph, optional
        As other back ends take it; the circuit tells everything.

    Returns
    -------
    BfvEstimate
    """
    del graph
    specs = circuit.parameters
    batch = max(rows for _, _, rows in specs.layouts)
    return BfvEstimate(
        degree=specs.degree,
        modulus_bits=math.log2(specs.modulus),
        plaintext_modulus=1 << specs.sum_bits,
        flooding_bits=specs.flooding_bits,
        input_bytes=specs.request_bytes(1),
        output_bytes=specs.answer_bytes(1),
        key_bytes=specs.public_key_bytes,
        batch_rows=batch,
        batch_input_bytes=specs.request_bytes(batch),
        batch_output_bytes=specs.answer_bytes(batch),
        seconds_per_row=machine_factor() * reference_seconds(specs),
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
    graph: IntegerGraph, p_error: float | None = None, *, flooding_bits: int | None = None
) -> float:
    """Return modelled seconds per row of a graph, as of `reference_seconds`.

    Parameters
    ----------
    graph : IntegerGraph
        What is compiled for it.
    p_error : float, optional
        As other back ends take it; nothing errs here.
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
    del p_error
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
