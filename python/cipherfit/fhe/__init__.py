"""From an integer graph to encrypted runs with Concrete: a back end of predictors.

Names are imported when they are first used, so that messages can be checked without Concrete.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cipherfit.fhe.circuit import compile_graph as compile_graph
    from cipherfit.fhe.configuration import restored_configuration as restored_configuration
    from cipherfit.fhe.configuration import stored_options as stored_options
    from cipherfit.fhe.estimate import estimate_circuit as estimate_circuit
    from cipherfit.fhe.estimate import modelled_seconds as modelled_seconds
    from cipherfit.fhe.run import run_encrypted as run_encrypted
    from cipherfit.fhe.throughput import measure_costs as measure_costs

#: The module that each name is imported from.
_HOMES = {
    "compile_graph": "circuit",
    "estimate_circuit": "estimate",
    "measure_costs": "throughput",
    "modelled_seconds": "estimate",
    "restored_configuration": "configuration",
    "run_encrypted": "run",
    "stored_options": "configuration",
}

__all__ = [
    "compile_graph",
    "estimate_circuit",
    "measure_costs",
    "modelled_seconds",
    "restored_configuration",
    "run_encrypted",
    "stored_options",
]


def __getattr__(name: str) -> Any:
    """Import a name, and with it Concrete, when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"cipherfit.fhe.{_HOMES[name]}"), name)
    globals()[name] = found
    return found
