"""From an integer graph without lookups to encrypted rows, with BFV: a back end of predictors.

It needs NumPy and `cipherfit._core`, nothing else, on either side.
"""

from cipherfit.bfv.circuit import (
    BfvCircuit,
    BfvConfiguration,
    compile_graph,
    restored_configuration,
    stored_options,
)
from cipherfit.bfv.estimate import BfvEstimate, estimate_circuit, modelled_seconds
from cipherfit.bfv.parties import BfvCiphertext, BfvClient, BfvEvaluationKeys, BfvServer
from cipherfit.bfv.run import run_encrypted

__all__ = [
    "BfvCiphertext",
    "BfvCircuit",
    "BfvClient",
    "BfvConfiguration",
    "BfvEstimate",
    "BfvEvaluationKeys",
    "BfvServer",
    "compile_graph",
    "estimate_circuit",
    "modelled_seconds",
    "restored_configuration",
    "run_encrypted",
    "stored_options",
]
