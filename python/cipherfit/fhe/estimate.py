"""What an encrypted run costs, before any key of the model is made.

Concrete's optimizer says of a compiled circuit how complex it is and how large its keys are, and
`cipherfit.fhe.latency` of that how long a row takes on one machine. How much longer it takes here
and now a small reference circuit tells.
"""

from __future__ import annotations

import json
import time
from functools import cache

import numpy as np

from cipherfit._core import IntegerGraph
from cipherfit.costs import FheEstimate, LayerCost
from cipherfit.fhe.circuit import compile_graph
from cipherfit.fhe.latency import reference_seconds
from cipherfit.fhe.runtime import fhe
from cipherfit.stages import encrypted_part, stages_of

#: Encrypted runs of the reference circuit; the fastest counts.
_REFERENCE_RUNS = 4


def estimate_circuit(circuit: fhe.Circuit, graph: IntegerGraph) -> FheEstimate:
    """Return what encrypted runs of a compiled circuit cost.

    The first call runs a small reference circuit with keys of its own, to see how fast this machine
    is: about two seconds, once per process.

    Parameters
    ----------
    circuit : fhe.Circuit
        As `compile_graph` returns it.
    graph : IntegerGraph
        What it was compiled from.

    Returns
    -------
    FheEstimate
    """
    return FheEstimate(
        backend="concrete",
        parameters=_parameters(circuit),
        layers=_layers(graph),
        output_bits=graph.prove().layers[-1].bits,
        p_error=float(circuit.p_error) if circuit.size_of_bootstrap_keys else 0.0,
        complexity=float(circuit.complexity),
        seconds_per_row=machine_factor() * reference_seconds(circuit),
        bootstrap_key_bytes=int(circuit.size_of_bootstrap_keys),
        keyswitch_key_bytes=int(circuit.size_of_keyswitch_keys),
        input_bytes=int(circuit.size_of_inputs),
        output_bytes=int(circuit.size_of_outputs),
    )


def _parameters(circuit: fhe.Circuit) -> str:
    """Say which parameters of TFHE Concrete has chosen."""
    keys = json.loads(circuit.client.specs.serialize())["keyset"]
    secret = [key["params"]["lweDimension"] for key in keys.get("lweSecretKeys", [])]
    bootstrap = [
        f"{key['params']['glweDimension']} x {key['params']['polynomialSize']}"
        for key in keys.get("lweBootstrapKeys", [])
    ]
    lwe = f"TFHE, LWE of dimension {', '.join(map(str, sorted(secret)))}"
    return f"{lwe}, GLWE of {', '.join(bootstrap)}" if bootstrap else lwe


def modelled_seconds(
    graph: IntegerGraph, p_error: float | None = None, *, n_output_bits: int | None = None
) -> float:
    """Return modelled seconds per row of a graph, as of `reference_seconds`.

    Parameters
    ----------
    graph : IntegerGraph
        What is compiled for it.
    p_error : float in (0, 1), default=0.01
        Probability that one lookup errs.
    n_output_bits : int, optional
        As of `compile_graph`.

    Returns
    -------
    float

    Raises
    ------
    CompilationError
        If Concrete can't run the graph.
    """
    circuit = compile_graph(graph, p_error=p_error, n_output_bits=n_output_bits, warn_of_size=False)
    return reference_seconds(circuit)


@cache
def machine_factor() -> float:
    """Return how much longer than modelled a small reference circuit takes on this machine."""
    circuit = compile_graph(_reference_graph(), p_error=0.01)
    encrypted = circuit.encrypt(np.ones(16, dtype=np.int64))
    seconds = []
    for _ in range(_REFERENCE_RUNS):
        start = time.perf_counter()
        circuit.run(encrypted)
        seconds.append(time.perf_counter() - start)
    return min(seconds) / reference_seconds(circuit)


def _reference_graph() -> IntegerGraph:
    """Return sixteen 6-bit lookups between layers of a network's kind."""
    identity, zeros = np.eye(16, dtype=np.int64), np.zeros(16, dtype=np.int64)
    first = 9 * identity  # 3-bit codes give accumulators of 6 bits
    table = np.arange(64) // 8
    return IntegerGraph.from_layers(
        {"scale": np.ones(16), "zero_point": zeros, "n_bits": 3},
        [
            {"kind": "linear", "weights": first, "offset": zeros},
            {"kind": "lookup", "low": zeros, "lsbs": 0, "exact": True, "tables": [table] * 16},
            {"kind": "linear", "weights": first, "offset": zeros},
        ],
        {"scale": np.ones(16), "offset": np.zeros(16)},
    )


def _layers(graph: IntegerGraph) -> tuple[LayerCost, ...]:
    return tuple(
        LayerCost(
            n_lookups=stage.n_neurons,
            accumulator_bits=stage.proof.bits,
            lookup_bits=max(1, stage.proof.bits - stage.lookup.lsbs),
            rounding=stage.lookup.rounding,
        )
        for stage in stages_of(encrypted_part(graph))
        if stage.lookup is not None
    )
