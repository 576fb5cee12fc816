"""From an integer graph to encrypted runs with Concrete: a back end of predictors."""

from cipherfit.fhe.circuit import compile_graph
from cipherfit.fhe.configuration import restored_configuration, stored_options
from cipherfit.fhe.estimate import estimate_circuit, modelled_seconds
from cipherfit.fhe.run import run_encrypted

__all__ = [
    "compile_graph",
    "estimate_circuit",
    "modelled_seconds",
    "restored_configuration",
    "run_encrypted",
    "stored_options",
]
