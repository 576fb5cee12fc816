"""A circuit as it travels to whoever runs its rows.

Concrete is imported when a part is made or compiled: a process that gets one can prepare first.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cipherfit._core import IntegerGraph
from cipherfit.exceptions import CompilationError

if TYPE_CHECKING:
    from cipherfit.fhe.rows import RowServer
    from cipherfit.fhe.runtime import fhe


@dataclass(frozen=True)
class ServerPart:
    """A circuit as it travels: what it is compiled of.

    Parameters
    ----------
    graph : bytes
        What is encrypted of the network, with its weights.
    options : dict
        How it is compiled: as of `cipherfit.fhe.stored_options`.
    specs : str
        SHA-256 of the client specs that it has where its rows are encrypted.
    """

    graph: bytes
    options: dict[str, Any]
    specs: str

    @classmethod
    def of(cls, circuit: fhe.Circuit) -> ServerPart:
        """Return that of a circuit of `compile_graph`.

        Raises
        ------
        SerializationError
            If an option that it was compiled with can't be stored.
        """
        from cipherfit.fhe.configuration import stored_options

        return cls(
            circuit.integer_graph.to_bytes(),
            stored_options(circuit.configuration),
            _digest_of_specs(circuit),
        )

    @property
    def name(self) -> str:
        """SHA-256 of all of it."""
        options = json.dumps(self.options, sort_keys=True).encode()
        parts = (self.graph, options, self.specs.encode())
        return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()

    def row_server(self) -> RowServer:
        """Compile it here.

        Raises
        ------
        CompilationError
            If it gets other parameters here, as of another version of Concrete.
        """
        from cipherfit.fhe.circuit import compile_graph
        from cipherfit.fhe.configuration import restored_configuration

        circuit = compile_graph(
            IntegerGraph.from_bytes(self.graph),
            configuration=restored_configuration(self.options),
            warn_of_size=False,
        )
        if _digest_of_specs(circuit) != self.specs:
            raise CompilationError(
                "the circuit compiled by a worker has other parameters than the one that rows are "
                "encrypted for: give workers the same version of concrete-python"
            )
        rows: RowServer = circuit.rows
        return rows


def _digest_of_specs(circuit: fhe.Circuit) -> str:
    return hashlib.sha256(circuit.client.specs.serialize()).hexdigest()
