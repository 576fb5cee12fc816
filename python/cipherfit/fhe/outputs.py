"""Outputs of which encryption keeps only the high bits free of noise.

Concrete chooses parameters by which every integer is right to its last bit. The sums that a circuit
gives are its widest, and no lookup reads them, so that their low bits can be all that asks for the
dearest parameters. Where lookups err now and then, these bits say nothing in any case.

A circuit whose last operation calls its sums integers of their high bits alone gets parameters for
these, and the ciphertexts stay what they were: a client that decrypts them as integers of all bits
reads sums with noise in the low ones, and rounds nothing away. Sums at an end of their type noise
takes beyond it: see `cipherfit.fhe.client.Client`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cipherfit.fhe.client import Client
from cipherfit.fhe.runtime import fhe

#: The file by which Concrete's servers and clients know a circuit's inputs and outputs.
_PROGRAM_INFO = "program_info.concrete.params.json"


class BareOutputs(fhe.GraphProcessor):  # type: ignore[misc]
    """Give rounded outputs as they are: Concrete would widen each again, by a lookup."""

    def apply(self, graph: Any) -> None:
        """Take the widening off a graph's outputs."""
        for place, node in list(graph.output_nodes.items()):
            (rounded,) = graph.ordered_preds_of(node)
            graph.output_nodes[place] = rounded
            graph.graph.remove_node(node)


def read_in_full(circuit: fhe.Circuit, bits: int) -> None:
    """Have a circuit's clients decrypt all bits of its outputs, whatever Concrete thinks they have.

    Parameters
    ----------
    circuit : fhe.Circuit
        It has made no keys, and not run.
    bits : int
        How many they have.
    """
    path = Path(circuit.server._library.get_output_dir_path()) / _PROGRAM_INFO
    info = json.loads(path.read_text())
    (output,) = info["circuits"][0]["outputs"]
    encoding = output["typeInfo"]["lweCiphertext"]["encoding"]["integer"]
    encoding.update(width=bits, isSigned=False)  # what is below zero, `Client` sees
    path.write_text(json.dumps(info))
    # Both parties have read the file before.
    server, configuration = circuit.server, circuit.configuration
    server._library = type(server._library)(str(path.parent))
    insecure = configuration.use_insecure_key_cache
    circuit._module.execution_runtime.val.client = Client(
        server.client_specs, configuration.insecure_key_cache_location if insecure else None
    )
